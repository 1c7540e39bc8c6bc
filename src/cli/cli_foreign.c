/* Words people bring along from other programs, and what to use here. Consulted only when the command
 * has no such option itself, so a row may go stale but never in the way. */
#include "cli/cli_internal.h"

#include <string.h>

static const struct {
    const char *names;
    const char *ours;
} options[] = {
    {"ngl gpu-layers n-gpu-layers device main-gpu mg tensor-split ts cpu-moe n-cpu-moe cuda backend",
     "models are computed on the processor; leave it out"},
    {"hf hf-repo hf-file hff mu model-url", "fetch a model first with 'plumb pull NAME' (plumb ls --all lists names)"},
    {"i interactive interactive-first cnv conversation", "'plumb chat' is interactive on a terminal"},
    {"no-cnv no-conversation st single-turn", "'plumb run MODEL PROMPT' answers once"},
    {"fa flash-attn", "attention is always computed blockwise; leave it out"},
    {"mlock mmap no-mmap", "weights are mapped or copied as memory allows; leave it out"},
    {"b batch-size ub ubatch-size", "the prompt is read in blocks whose size does not change the answer; leave it out"},
    {"jinja chat-template chat-template-file", "the model's own template is used; leave it out"},
    {"co color", "colour is used on a terminal, NO_COLOR=1 switches it off"},
    {"e escape no-escape", "texts are taken as they are; $'...' of the shell has escapes"},
    {"tb threads-batch", "--threads counts for prompts and answers"},
    {"rope-scaling rope-scale rope-freq-base rope-freq-scale yarn-orig-ctx", "taken from the model's file; leave it out"},
    {"mirostat typical typical-p tfs xtc-probability dry-multiplier dynatemp-range",
     "the samplers are --temp, --top-k, --top-p, --min-p and the penalties"},
    {"dump-tokens verbose-prompt", "'plumb tokenize' shows the ids of a text"},
    {"perplexity ppl", "use 'plumb eval perplexity'"},
    {"ctx-size c num-ctx ctx", "the context is set where a model runs ('plumb chat', 'plumb run')"},
    {"temp temperature top-p top-k min-p seed", "sampling is set where a model answers ('plumb chat', 'plumb run')"},
    {"m model", "the model is given as an argument, without an option"},
    {"t threads", "this command has no work to share out among threads; leave it out"},
    {"json", "this command has no JSON output"},
};

static const struct {
    const char *names;
    const char *ours;
} commands[] = {
    {"cli llama-cli start", "use 'plumb chat' or 'plumb run MODEL'"},
    {"generate complete completion-text", "use 'plumb run MODEL PROMPT'"},
    {"create import", "a model file needs no import: 'plumb run FILE' opens it"},
    {"download get fetch install", "use 'plumb pull NAME'"},
    {"delete remove uninstall", "use 'plumb rm NAME'"},
    {"info", "use 'plumb show NAME', or 'plumb inspect FILE'"},
    {"perplexity ppl", "use 'plumb eval perplexity MODEL'"},
    {"gguf-dump dump", "use 'plumb inspect FILE'"},
    {"encode", "use 'plumb tokenize'"},
    {"decode", "use 'plumb detokenize'"},
    {"man", "use 'plumb help COMMAND'"},
};

const char *foreign_option(const char *name, size_t n)
{
    for (size_t k = 0; k < sizeof options / sizeof *options; k++)
        if (word_in_list(options[k].names, name, n))
            return options[k].ours;
    return NULL;
}

const char *foreign_command(const char *name)
{
    for (size_t k = 0; k < sizeof commands / sizeof *commands; k++)
        if (word_in_list(commands[k].names, name, strlen(name)))
            return commands[k].ours;
    return NULL;
}
