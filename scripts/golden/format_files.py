#!/usr/bin/env python3
"""Golden model files, written by the reference implementations.

Writes into tests/golden/format:
  plain.safetensors      every element type that talpa reads; element i has value i - 2
                         (i + 1 if unsigned, i % 2 if boolean)
  sharded/               two tensors of 2 x 3 in two shards, with index and config files
  types.gguf             every metadata type, tensors of every type that gguf-py quantises
  types.safetensors      what gguf-py reads from these tensors, as F32
  written.gguf           what talpa's own writer must reproduce byte for byte
"""
import json
import pathlib

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType, quants
from safetensors.numpy import save_file as save_numpy
from safetensors.torch import save_file

OUT = pathlib.Path(__file__).parents[2] / "tests/golden/format"
TYPES = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"]


def plain():
    signed = torch.arange(6) - 2
    types = {"f64": torch.float64, "f32": torch.float32, "f16": torch.float16,
             "bf16": torch.bfloat16, "i64": torch.int64, "i32": torch.int32,
             "i16": torch.int16, "i8": torch.int8}
    tensors = {name: signed.to(t).reshape(2, 3) for name, t in types.items()}
    tensors["u8"] = (torch.arange(6) + 1).to(torch.uint8).reshape(2, 3)
    tensors["bool"] = (torch.arange(6) % 2).to(torch.bool).reshape(2, 3)
    tensors["scalar"] = torch.tensor(2.5)
    tensors["empty"] = torch.zeros(0, 4)
    save_file(tensors, OUT / "plain.safetensors", metadata={"format": "pt", "note": "caf\u00e9"})


def sharded():
    directory = OUT / "sharded"
    directory.mkdir(exist_ok=True)
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    save_file({"a": torch.arange(6.0).reshape(2, 3)}, directory / names[0], {"format": "pt"})
    save_file({"b": torch.arange(6.0).reshape(2, 3) + 6}, directory / names[1], {"format": "pt"})
    index = {"metadata": {"total_size": 48}, "weight_map": {"a": names[0], "b": names[1]}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    (directory / "config.json").write_text('{"model_type": "llama"}\n')
    (directory / "generation_config.json").write_text('{"eos_token_id": [1, 2]}\n')


def add_all_value_types(writer):
    writer.add_uint8("t.u8", 200)
    writer.add_int8("t.i8", -100)
    writer.add_uint16("t.u16", 60000)
    writer.add_int16("t.i16", -30000)
    writer.add_uint32("t.u32", 4000000000)
    writer.add_int32("t.i32", -2000000000)
    writer.add_uint64("t.u64", 2**63 + 5)
    writer.add_int64("t.i64", -(2**62))
    writer.add_float32("t.f32", 0.5)
    writer.add_float64("t.f64", 0.1)
    writer.add_bool("t.bool", True)
    writer.add_string("t.string", "caf\u00e9")
    writer.add_array("t.strings", ["a", "", "\u0120the"])
    writer.add_array("t.integers", [1, -2, 3])
    writer.add_array("t.floats", [0.5, -1.25])
    writer.add_array("t.nested", [[1, 2], [3]])


def types():
    rng = np.random.default_rng(3)
    writer = gguf.GGUFWriter(OUT / "types.gguf", "llama")
    writer.add_custom_alignment(64)
    add_all_value_types(writer)
    expected = {}
    for name in TYPES:
        kind = GGMLQuantizationType[name]
        packed = quants.quantize(rng.standard_normal((3, 64)).astype(np.float32), kind)
        writer.add_tensor(f"blk.{name.lower()}", packed, raw_dtype=kind)
        expected[f"blk.{name.lower()}"] = quants.dequantize(packed, kind).reshape(3, 64)
    writer.add_tensor("experts", np.arange(24, dtype=np.float32).reshape(2, 3, 4))
    expected["experts"] = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    finish(writer)
    save_numpy(expected, OUT / "types.safetensors")


def written():
    writer = gguf.GGUFWriter(OUT / "written.gguf", "llama")
    writer.add_uint32("llama.block_count", 2)
    writer.add_float32("llama.rope.freq_base", 10000.0)
    writer.add_bool("tokenizer.ggml.add_bos_token", False)
    writer.add_array("tokenizer.ggml.tokens", ["<s>", "a", "\u0120b"])
    writer.add_array("tokenizer.ggml.token_type", [3, 1, 1])
    writer.add_array("tokenizer.ggml.scores", [0.0, -1.0, -2.5])
    weights = (np.arange(64, dtype=np.float32) - 20).reshape(2, 32) / 8
    writer.add_tensor("f32", weights[:, :3].copy())
    for name in ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1"]:
        kind = GGMLQuantizationType[name]
        writer.add_tensor(name.lower(), quants.quantize(weights, kind), raw_dtype=kind)
    finish(writer)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    plain()
    sharded()
    types()
    written()
