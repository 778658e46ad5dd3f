#!/usr/bin/env python3
"""Makes SmolLM2-135M as GGUF in BF16 and Q8_0 from the Q4_1 file's weights, written out.

The three files hold nearly the same numbers, so that types can be compared on one model.
"""

import argparse
import sys

import gguf
from gguf_files import PEERS, SMOLLM2, Kind, copy_metadata, file_kind, write


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--force", action="store_true", help="also what is there already")
    parser.add_argument("--types", default="BF16,Q8_0")
    options = parser.parse_args()
    if not SMOLLM2.exists():
        sys.exit(f"{SMOLLM2} is missing: run scripts/fetch-models")
    PEERS.mkdir(parents=True, exist_ok=True)
    source = gguf.GGUFReader(SMOLLM2)
    tensors = {tensor.name: tensor for tensor in source.tensors}
    shapes = {name: tuple(map(int, reversed(tensor.shape))) for name, tensor in tensors.items()}

    def values_of(name):
        return gguf.quants.dequantize(tensors[name].data, tensors[name].tensor_type)

    for kind in (Kind[name] for name in options.types.split(",")):
        path = PEERS / f"smollm2-{kind.name}.gguf"
        if path.exists() and not options.force:
            print(f"{path}: there already")
            continue
        writer = gguf.GGUFWriter(None, "llama")
        writer.add_name("SmolLM2-135M-Instruct")
        writer.add_file_type(file_kind(kind))
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        copy_metadata(source, writer, ["llama.", "tokenizer."])
        write(writer, path, shapes, values_of, kind)


main()
