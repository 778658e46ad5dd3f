#!/usr/bin/env python3
"""Makes a random qwen3moe of 567 million weights as GGUF in BF16, Q8_0 and Q4_0.

The tokenizer is SmolLM2's. The weights mean nothing, but are of a trained model's magnitude: the
routing is even, and nothing is so small that arithmetic slows down.
"""

import argparse
import sys
import zlib

import gguf
import numpy as np
from gguf_files import PEERS, SMOLLM2, Kind, copy_metadata, file_kind, write

LAYERS, DIM, HEADS, KEY_HEADS, HEAD_DIM = 5, 1024, 16, 4, 64
EXPERTS, TOP_K, HIDDEN = 64, 8, 512


def make_shapes(vocab_size):
    shapes = {"token_embd.weight": (vocab_size, DIM), "output_norm.weight": (DIM,)}
    for layer in range(LAYERS):
        block = {"attn_norm": (DIM,), "attn_q": (HEADS * HEAD_DIM, DIM),
                 "attn_k": (KEY_HEADS * HEAD_DIM, DIM), "attn_v": (KEY_HEADS * HEAD_DIM, DIM),
                 "attn_q_norm": (HEAD_DIM,), "attn_k_norm": (HEAD_DIM,),
                 "attn_output": (DIM, HEADS * HEAD_DIM), "ffn_norm": (DIM,),
                 "ffn_gate_inp": (EXPERTS, DIM), "ffn_gate_exps": (EXPERTS, HIDDEN, DIM),
                 "ffn_up_exps": (EXPERTS, HIDDEN, DIM), "ffn_down_exps": (EXPERTS, DIM, HIDDEN)}
        shapes |= {f"blk.{layer}.{name}.weight": shape for name, shape in block.items()}
    return shapes


def values_of(name, shape):
    """The same for every type of file: drawn from the name."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    values = random.standard_normal(shape, dtype=np.float32)
    if len(shape) == 1:
        return 1 + np.float32(0.1) * values
    values *= np.float32(0.02 if name.startswith("token_embd") else shape[-1] ** -0.5)
    return values


def describe(writer, vocab_size, kind):
    writer.add_name("random qwen3moe")
    writer.add_file_type(file_kind(kind))
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_block_count(LAYERS)
    writer.add_context_length(4096)
    writer.add_embedding_length(DIM)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_vocab_size(vocab_size)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_key_length(HEAD_DIM)
    writer.add_value_length(HEAD_DIM)
    writer.add_rope_freq_base(1e6)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_expert_count(EXPERTS)
    writer.add_expert_used_count(TOP_K)
    writer.add_expert_feed_forward_length(HIDDEN)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--force", action="store_true", help="also what is there already")
    parser.add_argument("--types", default="BF16,Q8_0,Q4_0")
    options = parser.parse_args()
    if not SMOLLM2.exists():
        sys.exit(f"{SMOLLM2} is missing: run scripts/fetch-models")
    PEERS.mkdir(parents=True, exist_ok=True)
    source = gguf.GGUFReader(SMOLLM2)
    vocab_size = len(source.fields["tokenizer.ggml.tokens"].data)
    shapes = make_shapes(vocab_size)
    for kind in (Kind[name] for name in options.types.split(",")):
        path = PEERS / f"moe-{kind.name}.gguf"
        if path.exists() and not options.force:
            print(f"{path}: there already")
            continue
        writer = gguf.GGUFWriter(None, "qwen3moe")
        describe(writer, vocab_size, kind)
        copy_metadata(source, writer, ["tokenizer."])
        write(writer, path, shapes, lambda name: values_of(name, shapes[name]), kind)


main()
