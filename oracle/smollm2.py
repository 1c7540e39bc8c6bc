#!/usr/bin/env python3
"""What transformers computes for SmolLM2-135M-Instruct, from the weights that its GGUF file holds.

    smollm2.py MODEL.gguf WIKITEXT --out DIR      writes DIR/smollm2.json and DIR/smollm2.safetensors

The file is dequantised with the `gguf` package, q and k rows go back to half-split order, and
LlamaForCausalLM runs in float32. The ids come from `tokenizers` with the vocabulary and merges of the file and
the pre-tokenizer `smollm` (every digit alone, then the GPT-2 pattern), not from transformers' GGUF loader,
which misses the digits. Recorded:
    prompt          a chat of some 40 ids: five best ids and logits of every position, every 384th logit of
                    some, the streams of the last position behind some layers, eight greedy ids
    window          the first 512 ids of the text: the same at a few positions
    perplexity      as llama-perplexity counts (no BOS; of each window of 512 ids the logits 256..510 predict
                    the ids 257..511), 16 windows, negative log-likelihood of each
    ids             how many the first 60,000 bytes of the text give, their digest, the first ones
"""
import argparse
import hashlib
import json
import math
import os
import sys

import gguf
import numpy as np
import tokenizers
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import llama_gguf
import llama_ref

PROMPT = ("<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
          "<|im_start|>user\nWhat is the capital of Japan?<|im_end|>\n<|im_start|>assistant\n")
STRIDE = 384
BYTES = 60000
WINDOW = 512
WINDOWS = 16
LAYERS = (0, 9, 19, 29)
ROWS_PROMPT = (0, 1, 20, -1)
ROWS_WINDOW = (0, 63, 255, 256, 400, 511)


def open_model(path):
    """(LlamaConfig, state by Hugging Face name, reader) of a llama GGUF file without rotary scaling."""
    r = gguf.GGUFReader(path)
    key = lambda k: r.fields["llama." + k].contents()
    heads, kv = key("attention.head_count"), key("attention.head_count_kv")
    names = {t.name for t in r.tensors}
    assert "rope_freqs.weight" not in names and "llama.rope.scaling.type" not in r.fields
    config = LlamaConfig(
        vocab_size=key("vocab_size"), hidden_size=key("embedding_length"), num_hidden_layers=key("block_count"),
        intermediate_size=key("feed_forward_length"), num_attention_heads=heads, num_key_value_heads=kv,
        max_position_embeddings=key("context_length"), rms_norm_eps=key("attention.layer_norm_rms_epsilon"),
        tie_word_embeddings="output.weight" not in names,
        rope_parameters={"rope_type": "default", "rope_theta": key("rope.freq_base")})
    back = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight",
            "output.weight": "lm_head.weight"}
    stems = {v: k for k, v in llama_gguf.NAMES.items()}
    state = {}
    for t in r.tensors:
        x = gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32).reshape(tuple(t.shape)[::-1])
        if t.name in back:
            name = back[t.name]
        else:
            _, layer, stem, kind = t.name.split(".")
            name = f"model.layers.{layer}.{stems[stem]}.{kind}"
            if stem in ("attn_q", "attn_k"):
                x = llama_gguf.from_pairs(x, heads if stem == "attn_q" else kv)
        state[name] = torch.from_numpy(np.ascontiguousarray(x))
    return config, state, r


def open_tokenizer(r, specials=True):
    text = r.fields["tokenizer.ggml.tokens"].contents()
    kinds = r.fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(m.split(" ")) for m in r.fields["tokenizer.ggml.merges"].contents()]
    assert r.fields["tokenizer.ggml.pre"].contents() == "smollm"
    t = Tokenizer(models.BPE(vocab={s: i for i, s in enumerate(text)}, merges=merges))
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    t.decoder = decoders.ByteLevel()
    if not specials:                    # text that looks like a marker stays text
        return t
    t.add_special_tokens([AddedToken(s, special=True, normalized=False) for s, k in zip(text, kinds) if k == 3])
    return t


def digest(ids):
    return hashlib.sha256(np.array(ids, dtype="<i4").tobytes()).hexdigest()


def best(row, n=5):
    top = row.topk(n)
    return {"ids": top.indices.tolist(), "logits": [round(x, 5) for x in top.values.tolist()]}


def record_rows(logits, rows):
    rows = [r % len(logits) for r in rows]
    sample = logits[rows][:, ::STRIDE].contiguous()
    return rows, sample


def window_nll(logits, ids):
    half = WINDOW // 2
    p = torch.log_softmax(logits[half:WINDOW - 1].double(), dim=-1)
    return -float(p.gather(1, torch.tensor(ids[half + 1:WINDOW])[:, None]).sum())


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("model")
    ap.add_argument("text")
    ap.add_argument("--out", required=True)
    ap.add_argument("--threads", type=int, default=2)
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    config, state, r = open_model(a.model)
    tok = open_tokenizer(r)
    model = llama_ref.build(config, state, torch.float32, "eager")
    data = open(a.text, "rb").read(BYTES)
    text = data.decode("utf-8", errors="strict")
    ids = tok.encode(text, add_special_tokens=False).ids
    prompt = tok.encode(PROMPT, add_special_tokens=False).ids
    assert tok.decode(ids, skip_special_tokens=False) == text
    out = {"about": {"torch": torch.__version__, "transformers": transformers.__version__,
                     "tokenizers": tokenizers.__version__},
           "model_sha256": hashlib.sha256(open(a.model, "rb").read()).hexdigest(),
           "stride": STRIDE}
    tensors = {}

    double = llama_ref.DoubleModel(config, state)
    logits, hidden = llama_ref.forward(model, prompt)
    exact, _ = double.forward(prompt)
    rows, tensors["prompt.logits"] = record_rows(logits, ROWS_PROMPT)
    _, tensors["prompt.logits_f64"] = record_rows(exact, ROWS_PROMPT)
    for i in LAYERS:
        tensors[f"prompt.hidden.{i}.last"] = hidden[i][-1].contiguous()
    greedy, gap = [], math.inf
    run = list(prompt)
    for _ in range(8):
        row = llama_ref.forward(model, run)[0][-1]
        top = row.topk(2)
        gap = min(gap, float(top.values[0] - top.values[1]))
        greedy.append(int(top.indices[0]))
        run.append(greedy[-1])
    out["prompt"] = {"text": PROMPT, "ids": prompt, "rows": rows, "best": [best(x) for x in logits],
                     "greedy": greedy, "greedy_text": tok.decode(greedy, skip_special_tokens=False),
                     "greedy_gap": round(gap, 4), "float32_noise": float((logits.double() - exact).abs().max()),
                     "logit_max": float(logits.abs().max())}

    nll = []
    for w in range(WINDOWS):
        part = ids[w * WINDOW:(w + 1) * WINDOW]
        logits, _ = llama_ref.forward(model, part)
        nll.append(window_nll(logits, part))
        if w == 0:
            rows, tensors["window.logits"] = record_rows(logits, ROWS_WINDOW)
            exact, _ = double.forward(part)
            out["window"] = {"ids": part, "rows": rows, "best": {str(i): best(logits[i]) for i in rows},
                             "float32_noise": float((logits.double() - exact).abs().max()),
                             "logit_max": float(logits.abs().max())}
            _, tensors["window.logits_f64"] = record_rows(exact, ROWS_WINDOW)
            out["window"]["nll_f64"] = window_nll(exact, part)
        print(f"window {w:2}  nll {nll[-1]:.4f}  perplexity so far {math.exp(sum(nll) / (255 * (w + 1))):.4f}", flush=True)
    out["perplexity"] = {"bytes": BYTES, "window": WINDOW, "tokens": 255 * WINDOWS, "nll": nll,
                         "perplexity": math.exp(sum(nll) / (255 * WINDOWS))}
    out["ids"] = {"bytes": BYTES, "count": len(ids), "sha256_i32": digest(ids), "first": ids[:48],
                  "text_sha256": hashlib.sha256(data).hexdigest()}
    os.makedirs(a.out, exist_ok=True)
    json.dump(out, open(os.path.join(a.out, "smollm2.json"), "w"), separators=(",", ":"))
    save_file(tensors, os.path.join(a.out, "smollm2.safetensors"))
    os.chmod(os.path.join(a.out, "smollm2.safetensors"), 0o644)
    print(json.dumps({k: v for k, v in out["prompt"].items() if k not in ("best", "ids", "text")}))
    print({k: v for k, v in out["window"].items() if k not in ("best", "ids")}, out["ids"]["count"], len(prompt), out["perplexity"]["perplexity"])


if __name__ == "__main__":
    main()
