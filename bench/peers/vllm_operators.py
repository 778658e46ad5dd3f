"""The library of vLLM's operators for this processor: says its name, or loads it into torch.

vLLM itself chooses by the same rule (vllm/platforms/cpu.py, import_kernels). The library needs
torch 2.13 and nothing else of vLLM.

usage: vllm_operators.py [--isa avx2]
"""

import pathlib
import sys

import torch

LIBRARIES = pathlib.Path(__file__).resolve().parents[2] / ".venv-peers/vllm"


def name(avx2_only=False):
    if avx2_only or not torch.cpu._is_avx512_supported():
        return "_C_AVX2.abi3.so"
    return "_C.abi3.so" if torch.cpu._is_avx512_bf16_supported() else "_C_AVX512.abi3.so"


def load(avx2_only=False):
    """torch.ops._C after that; throws OSError if it is not there or does not fit this torch."""
    torch.ops.load_library(LIBRARIES / name(avx2_only))
    return torch.ops._C


if __name__ == "__main__":
    print(name(sys.argv[1:] == ["--isa", "avx2"]))
