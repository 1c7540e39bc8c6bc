"""Files that our writer makes, loaded by the libraries that people load them with.

A tiny Llama of transformers is saved, copied through our reader and writer as one file and in shards
(build/tests/unit/test_tensordir copy), and loaded again: safetensors must read every tensor, transformers
must build the model without complaint, and all parameters must be the same bits. The single file must be
the same bytes as the one that save_pretrained wrote.
Usage: python oracle/check_safetensors.py [BUILD-FOLDER]
"""
import filecmp
import os
import shutil
import subprocess
import sys
import tempfile

import safetensors
import torch
import transformers


def same_model(want, folder):
    got, info = transformers.LlamaForCausalLM.from_pretrained(folder, output_loading_info=True, dtype=torch.bfloat16)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not info[kind], (folder, kind, info[kind])
    a, b = want.state_dict(), got.state_dict()
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), (folder, name)


def main():
    build = sys.argv[1] if len(sys.argv) > 1 else "build"
    tool = os.path.join(build, "tests/unit/test_tensordir")
    torch.manual_seed(1)
    config = transformers.LlamaConfig(hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
                                      num_key_value_heads=2, vocab_size=200)
    model = transformers.LlamaForCausalLM(config).to(torch.bfloat16)
    with tempfile.TemporaryDirectory() as root:
        source = os.path.join(root, "source")
        model.save_pretrained(source)
        for shard_bytes in (0, 30000, 10 ** 9):
            target = os.path.join(root, f"target-{shard_bytes}")
            os.mkdir(target)
            shutil.copy(os.path.join(source, "config.json"), target)
            out = target if shard_bytes else os.path.join(target, "model.safetensors")
            subprocess.run([tool, "copy", source, out, str(shard_bytes)], check=True)
            files = sorted(f for f in os.listdir(target) if f.endswith(".safetensors"))
            names = set()
            for f in files:
                with safetensors.safe_open(os.path.join(target, f), "pt") as s:
                    assert s.metadata() == {"format": "pt"}
                    names |= set(s.keys())
                    for name in s.keys():
                        assert torch.equal(s.get_tensor(name), model.state_dict()[name]), name
            assert names == set(model.state_dict()), (names, shard_bytes)
            same_model(model, target)
            if len(files) == 1:
                assert filecmp.cmp(os.path.join(source, "model.safetensors"), os.path.join(target, files[0]), shallow=False)
            print(f"shards of {shard_bytes} bytes: {len(files)} files, {len(names)} tensors, all the same bits")
    print(f"safetensors {safetensors.__version__}, transformers {transformers.__version__}, torch {torch.__version__}")


if __name__ == "__main__":
    main()
