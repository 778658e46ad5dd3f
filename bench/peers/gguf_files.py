"""Writing GGUF files whose matrices are all of one type, as every program reads them alike."""

import pathlib

import gguf
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
SMOLLM2 = ROOT / ".assets/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
PEERS = ROOT / ".assets/peers"
Kind = gguf.GGMLQuantizationType


def file_kind(kind):
    """The number that general.file_type has for files mostly of this type."""
    return {Kind.BF16: gguf.LlamaFileType.MOSTLY_BF16, Kind.Q8_0: gguf.LlamaFileType.MOSTLY_Q8_0,
            Kind.Q4_0: gguf.LlamaFileType.MOSTLY_Q4_0}[kind]


def copy_metadata(reader, writer, prefixes):
    for field in reader.fields.values():
        if field.name.startswith(tuple(prefixes)):
            kind = field.types[0]
            item = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), kind, sub_type=item)


def kind_of(name, shape, wanted):
    """Vectors and the router stay F32: llama.cpp keeps them so, and reads no other."""
    return Kind.F32 if len(shape) == 1 or "ffn_gate_inp" in name else wanted


def encode(values, kind):
    """In long rows, which the encoder takes sixteen at a time: blocks do not see rows."""
    if kind == Kind.F32:
        return values.astype(np.float32)
    row = 4096 if values.size % 4096 == 0 else values.shape[-1]
    return gguf.quants.quantize(values.reshape(-1, row), kind)


def write(writer, path, shapes, values_of, kind):
    """Writes the tensors of `shapes` {name: shape}; `values_of(name)` gives one, in fp32."""
    for name, shape in shapes.items():
        stored = kind_of(name, shape, kind)
        block, size = gguf.GGML_QUANT_SIZES[stored]
        count = int(np.prod(shape))
        writer.add_tensor_info(name, shape, np.dtype(np.float32), count // block * size, stored)
    partial = path.with_suffix(".partial")
    writer.write_header_to_file(partial)
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, shape in shapes.items():
        writer.write_tensor_data(encode(values_of(name), kind_of(name, shape, kind)))
    writer.close()
    partial.rename(path)
    print(f"{path}: {path.stat().st_size / 1e6:.0f} MB", flush=True)
