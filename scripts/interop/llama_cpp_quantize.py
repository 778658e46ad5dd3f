#!/usr/bin/env python3
"""The routed experts of a model as llama.cpp's own quantisation leaves them.

usage: scripts/interop/llama_cpp_quantize.py MODEL MODEL_F16.gguf OUT_PREFIX [TYPE...]

MODEL is a Hugging Face directory, MODEL_F16.gguf the same model of `talpa convert MODEL ... --dtype
f16`. For every type (Q8_0, Q4_K_S, Q3_K_S, Q2_K by default) writes OUT_PREFIX-TYPE, MODEL with the
experts' values that llama.cpp's file stands for, and prints what they take: llama.cpp mixes types,
and falls back to others where rows are not whole blocks of 256. Needs .venv-oracle.
"""

import ctypes
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

import gguf
import llama_cpp
import numpy as np
import torch
from safetensors.torch import load_file, save_file

# llama_ftype of llama.h
FILE_TYPES = {"Q8_0": 7, "Q2_K": 10, "Q3_K_S": 11, "Q3_K_M": 12, "Q4_K_S": 14, "Q4_K_M": 15}


def quantise(source, target, file_type):
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = FILE_TYPES[file_type]
    params.nthread = 2
    status = llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(),
                                            ctypes.byref(params))
    if status != 0:
        sys.exit(f"llama.cpp could not quantise {source} to {file_type}")


def experts_of(path):
    """What they take, and their values by llama.cpp's names."""
    size, params, types, values = 0, 0, Counter(), {}
    for tensor in gguf.GGUFReader(path).tensors:
        if "_exps" in tensor.name:
            size += int(tensor.n_bytes)
            params += int(tensor.n_elements)
            types[tensor.tensor_type.name] += 1
            values[tensor.name] = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    return size, params, types, values


def write_model(model, target, values):
    shutil.copytree(model, target, dirs_exist_ok=True)
    weights = {name: tensor.float() for name, tensor in
               load_file(model / "model.safetensors").items()}
    for name, experts in values.items():
        _, layer, kind, _ = name.split(".")
        side = kind.split("_")[1]
        for expert, matrix in enumerate(experts):
            key = f"model.layers.{layer}.mlp.experts.{expert}.{side}_proj.weight"
            if weights[key].shape != matrix.shape:
                sys.exit(f"{key}: {tuple(weights[key].shape)}, llama.cpp's is {matrix.shape}")
            weights[key] = torch.from_numpy(np.ascontiguousarray(matrix, dtype=np.float32))
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})


def main():
    if len(sys.argv) < 4 or any(name not in FILE_TYPES for name in sys.argv[4:]):
        sys.exit(__doc__)
    for name in sys.argv[4:] or ["Q8_0", "Q4_K_S", "Q3_K_S", "Q2_K"]:
        target = Path(f"{sys.argv[3]}-{name}")
        with tempfile.TemporaryDirectory() as folder:
            quantise(sys.argv[2], Path(folder) / "q.gguf", name)
            size, params, types, values = experts_of(Path(folder) / "q.gguf")
        write_model(Path(sys.argv[1]), target, values)
        chosen = ", ".join(f"{count} {kind}" for kind, count in types.items())
        print(f"{target}: experts {size} bytes, {8 * size / params:.2f} bits a parameter ({chosen})")


if __name__ == "__main__":
    main()
