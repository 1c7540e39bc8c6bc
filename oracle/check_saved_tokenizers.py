#!/usr/bin/env python3
"""Tokenizers that Plumb wrote from GGUF keys, in the reference library.

    check_saved_tokenizers.py [--plumb build/plumb] [--writer build/tests/unit/test_tokenizer_save] [GGUF...]

Without files: the vocabularies in ../shared, and a small one under every `pre` name that Plumb knows. For each, the
directory that tokenizer_save makes is opened by transformers (AutoTokenizer); its ids of the texts of ../shared, of
hostile Unicode and of texts with special tokens must be those of `plumb tokenize` on the GGUF file, and so must be
those of `plumb tokenize` on the directory. Named tokens and the chat template must be those of the keys."""
import argparse
import glob
import json
import os
import subprocess
import sys
import tempfile

import gguf
import tokenizers
import transformers
from transformers import AutoTokenizer

import hostile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SHARED = os.environ.get("PLUMB_SHARED", os.path.join(ROOT, "..", "shared"))
PRE = """default gpt-2 phi-2 olmo mpt jais trillion exaone4 smollm starcoder refact command-r codeshell llama-bpe llama3
llama-v3 falcon3 pixtral dbrx smaug-bpe glm4 chatglm-bpe qwen2 deepseek-r1-qwen qwen35 gpt-4o llama4 tekken deepseek-v3
deepseek-llm deepseek-coder""".split()
SPECIAL = ["<s>", "</s>", "<|im_start|>", "<pad>"]
TEMPLATE = "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}\n{% endfor %}"


def small_gguf(path, pre):
    with open(os.path.join(ROOT, "tests", "vectors", "tokenizer_cases.json"), encoding="utf-8") as f:
        model = json.load(f)["models"]["base"]
    w = gguf.GGUFWriter(path, "llama")
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre(pre)
    w.add_token_list(tokens + SPECIAL + ["<tool>"])
    w.add_token_types([1] * len(tokens) + [3] * len(SPECIAL) + [4])
    w.add_token_merges(model["merges"])
    w.add_bos_token_id(len(tokens))
    w.add_eos_token_id(len(tokens) + 1)
    w.add_pad_token_id(len(tokens) + 3)
    w.add_chat_template(TEMPLATE)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.close()


def keys_of(path):
    fields = gguf.GGUFReader(path).fields
    get = lambda k: fields["tokenizer." + k].contents() if "tokenizer." + k in fields else None
    tokens = get("ggml.tokens")
    named = {k: get(f"ggml.{g}_token_id") for k, g in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"))}
    return {k: None if v is None else tokens[v] for k, v in named.items()}, get("chat_template")


def plumb_ids(plumb, tokenizer, text_path):
    p = subprocess.run([plumb, "tokenize", "--tokenizer", tokenizer, "--file", text_path], capture_output=True, text=True)
    if p.returncode:
        raise SystemExit(p.stderr)
    return list(map(int, p.stdout.split()))


def texts(directory):
    """Files to compare on: (path, text)."""
    made = ["\n".join(hostile.text(i) for i in range(4000)), "<s>a<tool> b</s>\n<|im_start|>user\nhi <pad><|im_end|><|endoftext|>", "",
            *(hostile.text(100000 + i) for i in range(8))]
    for i, text in enumerate(made):
        path = os.path.join(directory, f"made{i}.txt")
        with open(path, "w", encoding="utf-8", newline="") as f:
            f.write(text)
        yield path, text
    for path in sorted(glob.glob(os.path.join(SHARED, "data", "text", "*.txt"))):
        with open(path, encoding="utf-8", newline="") as f:
            yield path, f.read()


def check(args, name, path, files):
    bad, ids = [], 0
    with tempfile.TemporaryDirectory() as out:
        env = dict(os.environ, PLUMB_SAVED_FROM=path, PLUMB_SAVED_TO=out)
        subprocess.run([args.writer], env=env, check=True)
        with open(os.path.join(out, "config.json"), "w", encoding="utf-8") as f:
            json.dump({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}, f)
        t = AutoTokenizer.from_pretrained(out)
        named, template = keys_of(path)
        for k, want in named.items():
            if getattr(t, k + "_token") != want:
                bad.append(f"{k} {getattr(t, k + '_token')!r}, expected {want!r}")
        if t.chat_template != template:
            bad.append("chat template")
        for file, text in files:
            want = t(text)["input_ids"]
            got, again = plumb_ids(args.plumb, path, file), plumb_ids(args.plumb, out, file)
            ids += len(want)
            if got != want or again != want:
                at = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))
                bad.append(f"{os.path.basename(file)}: from id {at}: {got[at:at + 4]} (back {again[at:at + 4]}), "
                           f"expected {want[at:at + 4]} {t.decode(want[at:at + 4])!r}")
    print(f"{'ok  ' if not bad else 'FAIL'} {name:28} {type(t).__name__} {ids} ids" + "".join("\n     " + b for b in bad), flush=True)
    return not bad


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--plumb", default=os.path.join(ROOT, "build", "plumb"))
    p.add_argument("--writer", default=os.path.join(ROOT, "build", "tests", "unit", "test_tokenizer_save"))
    p.add_argument("files", nargs="*")
    args = p.parse_args()
    transformers.logging.set_verbosity_error()
    print(f"transformers {transformers.__version__}, tokenizers {tokenizers.__version__}")
    ok = True
    with tempfile.TemporaryDirectory() as directory:
        files = list(texts(directory))
        real = args.files or sorted(glob.glob(os.path.join(SHARED, "data", "tokenizers", "gguf", "*.gguf")))
        for path in real:
            if "-spm" not in path:
                ok &= check(args, os.path.basename(path), path, files)
        for pre in [] if args.files else PRE:
            path = os.path.join(directory, f"{pre}.gguf")
            small_gguf(path, pre)
            ok &= check(args, pre, path, files[:11])
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
