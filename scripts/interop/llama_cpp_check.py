"""Checks that llama.cpp runs the GGUF files that talpa writes.

Every golden model that a GGUF can express is written by `resave_tool` as F32, loaded by
llama-cpp-python, and must continue the golden prompt greedily with the tokens of transformers.
gguf-py must read the same files.

Run: .venv-oracle/bin/python scripts/interop/llama_cpp_check.py
"""

import ctypes
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import gguf
import numpy as np
import torch
import transformers
from safetensors.torch import load_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOL = ROOT / os.environ.get("BUILD", "build/release") / "bin" / "resave_tool"
GOLDEN = ROOT / "tests" / "golden" / "model"
# Experts in every layer, no clamp (see strip_clamp).
CASES = ["llama", "llama_tied", "mixtral", "qwen2_moe", "qwen3_moe_sparse", "olmoe"]


def strip_clamp(case, scratch):
    """A copy of the checkpoint without clip_qkv, which llama.cpp's olmoe does not apply."""
    copy = scratch / case.name
    shutil.copytree(case, copy)
    config = json.loads((copy / "config.json").read_text())
    config["clip_qkv"] = None
    (copy / "config.json").write_text(json.dumps(config))
    return copy


@torch.no_grad()
def greedy(directory, prompt, steps):
    model = transformers.AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager").eval()
    sequence, margins = list(prompt), []
    for _ in range(steps):
        best = model(torch.tensor([sequence])).logits[0, -1].topk(2)
        margins.append((best.values[0] - best.values[1]).item())
        sequence.append(best.indices[0].item())
    return sequence[len(prompt):], margins


def llama_greedy(path, prompt, steps, vocab_size):
    import llama_cpp

    silent = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(silent, None)
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(
        str(path).encode(), llama_cpp.llama_model_default_params())
    if not model:
        raise SystemExit(f"{path}: llama.cpp does not load it")
    params = llama_cpp.llama_context_default_params()
    params.n_ctx, params.n_threads, params.n_threads_batch = 128, 1, 1
    params.type_k = params.type_v = 0  # F32
    context = llama_cpp.llama_init_from_model(model, params)
    sequence, feed = list(prompt), list(prompt)
    for _ in range(steps):
        ids = (llama_cpp.llama_token * len(feed))(*feed)
        if llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(ids, len(feed))) != 0:
            raise SystemExit(f"{path}: llama_decode failed")
        logits = llama_cpp.llama_get_logits_ith(context, -1)
        row = np.ctypeslib.as_array(ctypes.cast(logits, ctypes.POINTER(ctypes.c_float)),
                                    (vocab_size,))
        feed = [int(row.argmax())]
        sequence += feed
    llama_cpp.llama_free(context)
    llama_cpp.llama_model_free(model)
    return sequence[len(prompt):]


def check(case, scratch):
    directory = strip_clamp(case, scratch)
    path = scratch / f"{case.name}.gguf"
    subprocess.run([TOOL, directory, path, "f32"], check=True)
    reader = gguf.GGUFReader(path)
    prompt = load_file(case / "expected.safetensors")["tokens"].tolist()
    wanted, margins = greedy(directory, prompt, 16)
    vocab_size = json.loads((case / "config.json").read_text())["vocab_size"]
    got = llama_greedy(path, prompt, 16, vocab_size)
    same = next((i for i, (a, b) in enumerate(zip(wanted, got)) if a != b), len(wanted))
    # A step that is nearly a tie may go either way; nothing behind it can be compared.
    tied = same < len(wanted) and margins[same] < 1e-3
    print(f"{case.name:18} {len(reader.tensors):3} tensors, {same} of {len(wanted)} tokens equal"
          + (", then a tie" if tied else ""))
    return same == len(wanted) or tied


def main():
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        good = [check(GOLDEN / case, pathlib.Path(scratch)) for case in CASES]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
