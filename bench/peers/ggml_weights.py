"""Random matrices in ggml's types, and what they stand for in fp32."""

import ctypes

import numpy as np
from ggml_library import TYPES
from layer_shape import BYTES

UNIT = {"f32": 4, "bf16": 2, "q8_0": 34}  # bytes that stay together


def bf16_bits(values):
    bits = values.view(np.uint32)
    return ((bits + 0x7fff + (bits >> 16 & 1)) >> 16).astype(np.uint16)


class RandomBytes:
    """Matrices cut from one long row of random weights, each from another place."""

    def __init__(self, ggml, dtype):
        self.ggml, self.dtype, self.place, self.rows = ggml, dtype, 0, {}
        self.values = np.random.default_rng(1).standard_normal(1 << 22, dtype=np.float32)

    def row(self, columns):
        """Encoded, of the magnitude that keeps the size of what it multiplies."""
        if columns not in self.rows:
            values = self.values * np.float32(columns ** -0.5)
            self.rows[columns] = self.encode(values)
        return self.rows[columns]

    def encode(self, values):
        if self.dtype == "f32":
            return values.view(np.uint8)
        if self.dtype == "bf16":
            return bf16_bits(values).view(np.uint8)
        encoded = np.empty(values.size // 32 * 34, np.uint8)
        self.ggml.quantize_chunk(TYPES[self.dtype], values.ctypes.data, encoded.ctypes.data, 0, 1,
                                 values.size, None)
        return encoded

    def fill(self, target, columns):
        row, unit, at = self.row(columns), UNIT[self.dtype], 0
        self.place = (self.place + 104729) % (row.size // unit // 2)
        while at < target.size:
            part = row[self.place * unit:][:target.size - at]
            target[at:at + part.size] = part
            at += part.size


def decode(data, dtype, columns):
    if dtype == "f32":
        return data.view(np.float32).reshape(-1, columns)
    if dtype == "bf16":
        return (data.view(np.uint16).astype(np.uint32) << 16).view(np.float32).reshape(-1, columns)
    blocks = data.reshape(-1, 34)
    scale = np.ascontiguousarray(blocks[:, :2]).view(np.float16).astype(np.float32)
    return (blocks[:, 2:].view(np.int8) * scale).reshape(-1, columns)


class Stack:
    """Matrices of one shape in one tensor."""

    def __init__(self, context, values, count, rows, columns):
        self.dtype, self.rows, self.columns = values.dtype, rows, columns
        self.tensor = context.tensor(self.dtype, count, rows, columns)
        self.each = int(rows * columns * BYTES[self.dtype])
        self.start = context.ggml.get_data(self.tensor)
        for i in range(count):
            values.fill(self.bytes(i), columns)

    def bytes(self, i):
        address = self.start + int(i) * self.each
        return np.ctypeslib.as_array((ctypes.c_uint8 * self.each).from_address(address))

    def view(self, context, i):
        return context.ggml.view_2d(context.handle, self.tensor, self.columns, self.rows,
                                    self.each // self.rows, i * self.each)

    def matrix(self, i):
        return decode(self.bytes(i), self.dtype, self.columns)
