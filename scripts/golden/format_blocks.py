#!/usr/bin/env python3
"""Golden values of the element types, made with gguf-py and numpy.

Writes tests/golden/format/blocks.safetensors: `source` (F32) and, for every type that talpa
writes, `<type>.narrowed` (U8, gguf-py's quantisation of `source`); for every block format
`<type>.bytes` (U8, random blocks) and `<type>.floats` (F32, gguf-py's reading of them).
"""
import pathlib

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants
from safetensors.numpy import save_file

OUT = pathlib.Path(__file__).parents[2] / "tests/golden/format/blocks.safetensors"
NARROWED = ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1"]
WIDENED = ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"]
# Byte offsets of the f16 scales of a block; the rest may be any bytes.
SCALES = {"Q4_1": [0, 2], "Q5_1": [0, 2], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}
NUM_BLOCKS = 6


def source(rng):
    """Blocks of 32: normal, of several magnitudes, zeros, ties, one-sided, constant."""
    blocks = [rng.standard_normal(32) * scale for scale in (1, 1, 1, 1e-3, 1e-2, 30, 1000)]
    blocks += [np.zeros(32), np.arange(32) * 0.5 - 8, np.abs(rng.standard_normal(32))]
    blocks += [-np.abs(rng.standard_normal(32)), np.full(32, 0.3), np.full(32, -2.5)]
    blocks += [np.where(np.arange(32) == 5, 7.0, 0), np.where(np.arange(32) == 9, -7.0, 0)]
    blocks += [np.tile([1.0, -1.0], 16), np.arange(32) / 127.0, np.arange(32) * 8.5 / 31]
    blocks += [rng.standard_normal(32) for _ in range(14)]
    return np.concatenate(blocks).astype(np.float32)


def random_blocks(rng, name):
    size = GGML_QUANT_SIZES[GGMLQuantizationType[name]][1]
    blocks = rng.integers(0, 256, (NUM_BLOCKS, size), dtype=np.uint8)
    for offset in SCALES.get(name, [0]):
        scales = (rng.standard_normal(NUM_BLOCKS) * 0.1).astype(np.float16)
        blocks[:, offset:offset + 2] = scales.view(np.uint8).reshape(NUM_BLOCKS, 2)
    return blocks


def main():
    rng = np.random.default_rng(7)
    tensors = {"source": source(rng)}
    for name in NARROWED:
        narrowed = quants.quantize(tensors["source"], GGMLQuantizationType[name])
        tensors[f"{name.lower()}.narrowed"] = narrowed.view(np.uint8).reshape(-1)
    for name in WIDENED:
        blocks = random_blocks(rng, name)
        floats = quants.dequantize(blocks, GGMLQuantizationType[name])
        tensors[f"{name.lower()}.bytes"] = blocks.reshape(-1)
        tensors[f"{name.lower()}.floats"] = floats.astype(np.float32).reshape(-1)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, OUT)


if __name__ == "__main__":
    main()
