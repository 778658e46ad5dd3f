#!/usr/bin/env python3
"""Quantises a GGUF with llama.cpp's own tool, and says what the routed experts take.

usage: scripts/interop/llama_cpp_quantize.py IN.gguf OUT_PREFIX [TYPE...]

Writes OUT_PREFIX-TYPE.gguf for every type (Q8_0, Q4_K_S, Q3_K_S, Q2_K by default) and prints the
bits for each of the experts' parameters, scales included, and the types that llama.cpp chose: it
falls back to another where rows are not whole blocks of 256. Needs llama_cpp and gguf (.venv-oracle).
"""

import ctypes
import sys
from collections import Counter

import gguf
import llama_cpp

# llama_ftype of llama.h
FILE_TYPES = {"Q8_0": 7, "Q2_K": 10, "Q3_K_S": 11, "Q3_K_M": 12, "Q4_K_S": 14, "Q4_K_M": 15}


def quantise(source, target, file_type):
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = FILE_TYPES[file_type]
    params.nthread = 2
    if llama_cpp.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(params)) != 0:
        sys.exit(f"llama.cpp could not quantise {source} to {file_type}")


def experts_of(path):
    size, params, types = 0, 0, Counter()
    for tensor in gguf.GGUFReader(path).tensors:
        if "_exps" in tensor.name:
            size += tensor.n_bytes
            params += tensor.n_elements
            types[tensor.tensor_type.name] += 1
    return size, params, types


def main():
    if len(sys.argv) < 3 or any(name not in FILE_TYPES for name in sys.argv[3:]):
        sys.exit(__doc__)
    for name in sys.argv[3:] or ["Q8_0", "Q4_K_S", "Q3_K_S", "Q2_K"]:
        target = f"{sys.argv[2]}-{name}.gguf"
        quantise(sys.argv[1], target, name)
        size, params, types = experts_of(target)
        chosen = ", ".join(f"{count} {kind}" for kind, count in types.items())
        print(f"{target}: experts {size} bytes, {8 * size / params:.2f} bits a parameter ({chosen})")


if __name__ == "__main__":
    main()
