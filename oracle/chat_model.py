#!/usr/bin/env python3
"""Models of a few kilobytes that say what they are told to, for the tests of `plumb chat` and `plumb run`.

    chat_model.py --out tests/vectors/chat

A Llama whose attention and feed-forward parts add nothing: the next token depends on the last one alone.
Token c has a code of 16 signs, and the head's row of the token that follows c is half that code, so the
right one always has logit 8 and no other has more than 7 minus something: greedy answers are known
beforehand in any arithmetic, and drawn ones differ from seed to seed.

    think/          Hugging Face directory, vocabulary with <think> (added, not special, as Qwen3 has it): answers
                    <think>hm.</think>Paris + é + ! and ends
    loop.gguf       GGUF F16, no thinking: answers the alphabet for ever
    complete.gguf   the same without a chat template

The vocabulary is the 256 bytes and a few added tokens; a GGUF file must have a merge, so it has zz. The script asks transformers for the
answer of think/ and refuses to write anything else.
"""
import argparse
import json
import os
import shutil
import tempfile

import gguf
import numpy as np
import safetensors.numpy
import transformers

D = 16
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
THINK = ["<think>", "</think>"]
SYSTEM = "You are a test."
TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\n" + SYSTEM + "<|im_end|>\\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")


def byte_names():
    """GPT-2's printable spelling of each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    names, extra = {b: chr(b) for b in plain}, 0
    for b in range(256):
        if b not in names:
            names[b] = chr(256 + extra)
            extra += 1
    return [names[b] for b in range(256)]


def chain(text):
    """Pairs (token, next token) of a list of bytes and names."""
    return list(zip(text, text[1:]))


def weights(vocab, pairs, seed):
    rng = np.random.default_rng(seed)
    codes = np.unique(rng.choice([-1.0, 1.0], size=(4 * len(vocab), D)), axis=0)
    rng.shuffle(codes)
    codes = codes[:len(vocab)]
    head = np.zeros((len(vocab), D))
    index = {name: i for i, name in enumerate(vocab)}
    used = set()
    for a, b in pairs:
        head[index[b]] = 0.5 * codes[index[a]]
        assert a not in used
        used.add(a)
    zero, one = np.zeros((D, D)), np.ones(D)
    logits = codes @ head.T
    for a, b in pairs:
        others = np.delete(logits[index[a]], index[b])
        assert logits[index[a]][index[b]] == 8 and others.max() <= 7
    w = {"model.embed_tokens.weight": codes, "lm_head.weight": head, "model.norm.weight": one}
    for name in ("self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"):
        w[f"model.layers.0.{name}.weight"] = zero
    for name in ("self_attn.k_proj", "self_attn.v_proj"):
        w[f"model.layers.0.{name}.weight"] = zero[:D // 2]
    for name in ("input_layernorm", "post_attention_layernorm"):
        w[f"model.layers.0.{name}.weight"] = one
    return {k: np.ascontiguousarray(v, dtype=np.float16) for k, v in w.items()}


def config(vocab, context):
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": D, "num_hidden_layers": 1,
            "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": D // 2, "intermediate_size": D,
            "vocab_size": len(vocab), "max_position_embeddings": context, "rms_norm_eps": 1e-9, "rope_theta": 10000.0,
            "hidden_act": "silu", "tie_word_embeddings": False, "bos_token_id": 256, "eos_token_id": 258,
            "torch_dtype": "float16"}


def write_directory(path, names):
    vocab = [*range(256), *SPECIAL, *THINK]
    said = [ord("\n"), "<think>", *b"hm.", "</think>", *"Parisé!".encode(), "<|im_end|>"]
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": 256 + i, "content": t, "single_word": False, "lstrip": False, "rstrip": False,
                          "normalized": False, "special": t in SPECIAL} for i, t in enumerate(SPECIAL + THINK)],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {n: i for i, n in enumerate(names)}, "merges": []}}
    files = {"config.json": config(vocab, 512), "tokenizer.json": tokenizer,
             "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>",
                                       "bos_token": "<|endoftext|>", "add_bos_token": False}}
    for name, value in files.items():
        with open(os.path.join(path, name), "w", encoding="utf-8") as f:
            json.dump(value, f, ensure_ascii=False, separators=(",", ":"))
            f.write("\n")
    with open(os.path.join(path, "chat_template.jinja"), "w", encoding="utf-8") as f:
        f.write(TEMPLATE + "\n")
    safetensors.numpy.save_file(weights(vocab, chain(said), 1), os.path.join(path, "model.safetensors"),
                                metadata={"format": "pt"})


def ask_reference(path):
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype="float32")
    ids = tokenizer.apply_chat_template([{"role": "user", "content": "Which city?"}], add_generation_prompt=True,
                                        return_tensors="pt", return_dict=True)
    out = model.generate(**ids, max_new_tokens=40, do_sample=False)
    return tokenizer.decode(out[0, ids["input_ids"].shape[1]:])


GGUF_NAMES = {"model.embed_tokens": "token_embd", "lm_head": "output", "model.norm": "output_norm",
              "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
              "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
              "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}


def gguf_name(name):
    stem = name.removesuffix(".weight")
    if stem.startswith("model.layers."):
        layer, rest = stem.removeprefix("model.layers.").split(".", 1)
        return f"blk.{layer}.{GGUF_NAMES[rest]}.weight"
    return GGUF_NAMES[stem] + ".weight"


def write_gguf(path, names, template):
    vocab = [*range(256), *SPECIAL, "zz"]
    letters = list(b"abcdefghijklmnopqrstuvwxyz")
    w = weights(vocab, [(ord("\n"), letters[0])], 2)
    # The alphabet is a circle, so its first letter follows two: half of both codes, which leaves 8 for either
    # if the two are orthogonal; the seed is chosen so.
    pairs = chain(letters + letters[:1])
    for a, b in pairs:
        w["lm_head.weight"][b] += np.float16(0.5) * w["model.embed_tokens.weight"][a]
    logits = w["model.embed_tokens.weight"].astype(float) @ w["lm_head.weight"].astype(float).T
    for a, b in [(ord("\n"), letters[0]), *pairs]:
        assert logits[a].argmax() == b and np.sort(logits[a])[-2] <= logits[a][b] - 0.9, (a, b)
    c = config(vocab, 65536)
    g = gguf.GGUFWriter(path, "llama")
    g.add_name("loop")
    g.add_context_length(c["max_position_embeddings"])
    g.add_embedding_length(D)
    g.add_block_count(1)
    g.add_feed_forward_length(D)
    g.add_head_count(2)
    g.add_head_count_kv(1)
    g.add_rope_dimension_count(D // 2)
    g.add_rope_freq_base(c["rope_theta"])
    g.add_layer_norm_rms_eps(c["rms_norm_eps"])
    g.add_vocab_size(len(vocab))
    g.add_tokenizer_model("gpt2")
    g.add_tokenizer_pre("smollm")
    g.add_token_list(names + SPECIAL + ["zz"])
    g.add_token_types([gguf.TokenType.NORMAL] * 256 + [gguf.TokenType.CONTROL] * len(SPECIAL) + [gguf.TokenType.NORMAL])
    g.add_token_merges(["z z"])
    g.add_bos_token_id(256)
    g.add_eos_token_id(258)
    g.add_add_bos_token(False)
    if template:
        g.add_chat_template(template)
    for name, value in w.items():
        g.add_tensor(gguf_name(name), value.astype(np.float32) if value.ndim == 1 else value)
    g.write_header_to_file()
    g.write_kv_data_to_file()
    g.write_tensors_to_file()
    g.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    names = byte_names()
    with tempfile.TemporaryDirectory() as tmp:
        think = os.path.join(tmp, "think")
        os.mkdir(think)
        write_directory(think, names)
        answer = ask_reference(think)
        if answer != "<think>hm.</think>Parisé!<|im_end|>":
            raise SystemExit(f"transformers answers {answer!r}")
        write_gguf(os.path.join(tmp, "loop.gguf"), names, TEMPLATE)
        write_gguf(os.path.join(tmp, "complete.gguf"), names, None)
        shutil.rmtree(args.out, ignore_errors=True)
        shutil.copytree(tmp, args.out)
    for where, _, files in os.walk(args.out):
        os.chmod(where, 0o755)
        for name in files:
            os.chmod(os.path.join(where, name), 0o644)
    print(f"transformers {transformers.__version__} answers {answer}")


if __name__ == "__main__":
    main()
