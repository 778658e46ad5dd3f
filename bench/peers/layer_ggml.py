"""Experts of a layer as graphs of ggml, put together as llama.cpp and ik_llama.cpp do it.

llama.cpp: build_moe_ffn in src/llama-graph.cpp; ik_llama.cpp: llm_build_std_moe_ffn with its
defaults, which fuse gate with up and the weights with the sum. Weights lie as in a GGUF file, or
rearranged by ik_llama.cpp's own function (--run-time-repack).
"""

import ctypes

import numpy as np
from ggml_library import Context, Ggml, libraries_of
from ggml_weights import RandomBytes, Stack
from layer_routing import Turn
from layer_shape import BYTES, check_memory

SILU = 10  # ggml_unary_op of ik_llama.cpp


class GgmlExperts:
    """Weights and graphs; see layer_worker.py for what the methods are for."""

    def __init__(self, layer, job):
        self.ggml, self.layer, self.job = Ggml(libraries_of(job["library"])), layer, job
        self.inner = inner = layer.inner() if layer.latent else layer
        bytes_each = BYTES[job["dtype"]]
        groups = -(-job["distinct"] // layer.top_k) if layer.latent else 0
        check_memory(inner, bytes_each, 1)
        self.context = context = Context(
            self.ggml, bytes_each * (layer.experts * layer.expert_params
                                     + 2 * groups * inner.dim * layer.dim))
        values = RandomBytes(self.ggml, job["dtype"])
        self.gate = Stack(context, values, layer.experts, layer.hidden, inner.dim)
        self.up = Stack(context, values, layer.experts, layer.hidden, inner.dim)
        self.down = Stack(context, values, layer.experts, inner.dim, layer.hidden)
        self.into = Stack(context, values, groups, inner.dim, layer.dim) if groups else None
        self.out_of = Stack(context, values, groups, layer.dim, inner.dim) if groups else None
        self.turns, self.x_TD, self.way = (Turn(layer.experts), Turn(max(1, groups))), {}, "plain"

    def activations(self, rows):
        if rows not in self.x_TD:
            self.x_TD[rows] = np.random.default_rng(2).standard_normal(
                (rows, self.layer.dim), dtype=np.float32)
        return self.x_TD[rows]

    def prepare(self, rows, plan):
        places, group = self.turns[0].labels(plan.by_expert()), self.turns[1].labels([0])[0]
        experts_TK = np.array([[places[e] for e in row] for row in plan.experts], np.int32)
        return (Pass(self, self.activations(rows), experts_TK,
                     np.array(plan.weights, np.float32), group),)

    def pack(self):
        if self.job["repack"]:
            for stack in filter(None, (self.gate, self.up, self.down)):
                self.ggml.iqk_repack_tensor(stack.tensor)
            self.way = "repacked"

    def ways(self, rows):
        return {self.way: Pass.run}

    def reference(self, prepared):
        return prepared[0].reference()


class Pass:
    """One routing: a graph, built when it is first run."""

    def __init__(self, experts, x_TD, experts_TK, weights_TK, group):
        self.of, self.x_TD, self.experts_TK, self.weights_TK = experts, x_TD, experts_TK, weights_TK
        self.group, self.result = group, None

    def run(self):
        if self.result is None:
            self.build()
        if self.of.ggml.graph_compute(self.graph, ctypes.byref(self.plan)) != 0:
            raise RuntimeError("ggml_graph_compute failed")
        return self.result

    def build(self):
        ggml, layer, (rows, top_k) = self.of.ggml, self.of.layer, self.experts_TK.shape
        widths = 4 * layer.hidden + 4 * self.of.inner.dim
        self.context = context = Context(ggml, 4 * rows * (top_k * widths + 4 * layer.dim))
        x = self.filled("f32", self.x_TD)
        experts = self.filled("i32", self.experts_TK)
        weights = self.filled("f32", self.weights_TK[:, :, None])
        if self.of.into:
            x = ggml.mul_mat(context.handle, self.of.into.view(context, self.group), x)
        y = self.moe(x, experts, weights)
        if self.of.into:
            y = ggml.mul_mat(context.handle, self.of.out_of.view(context, self.group), y)
        self.graph = ggml.new_graph(context.handle)
        ggml.build_forward_expand(self.graph, y)
        self.plan = ggml.graph_plan(self.graph, self.of.job["threads"], None)
        self.work = ctypes.create_string_buffer(self.plan.work_size + 64)
        self.plan.work_data = ctypes.addressof(self.work)
        pointer = ctypes.cast(ggml.get_data(y), ctypes.POINTER(ctypes.c_float))
        self.result = np.ctypeslib.as_array(pointer, (rows, layer.dim))

    def filled(self, kind, values):
        tensor = self.context.tensor(kind, *values.shape)
        ctypes.memmove(self.of.ggml.get_data(tensor), np.ascontiguousarray(values).ctypes.data,
                       values.nbytes)
        return tensor

    def moe(self, x, experts, weights):
        ggml, of, handle = self.of.ggml, self.of, self.context.handle
        rows, top_k = self.experts_TK.shape
        x = ggml.reshape_3d(handle, x, of.inner.dim, 1, rows)
        if hasattr(ggml, "moe_up_gate"):
            hidden = ggml.moe_up_gate(handle, of.up.tensor, of.gate.tensor, x, experts, SILU)
            slots = ggml.mul_mat_id(handle, of.down.tensor, hidden, experts)
            return ggml.mul_multi_add(handle, slots, weights)
        up = ggml.mul_mat_id(handle, of.up.tensor, x, experts)
        gate = ggml.mul_mat_id(handle, of.gate.tensor, x, experts)
        hidden = ggml.swiglu_split(handle, gate, up)
        slots = ggml.mul(handle, ggml.mul_mat_id(handle, of.down.tensor, hidden, experts), weights)
        width = 4 * of.inner.dim
        views = [ggml.view_2d(handle, slots, of.inner.dim, rows, top_k * width, k * width)
                 for k in range(top_k)]
        total = views[0]
        for view in views[1:]:
            total = ggml.add(handle, total, view)
        return total

    def reference(self):
        y_TD = np.zeros_like(self.x_TD)
        for y, x, experts, weights in zip(y_TD, self.x_TD, self.experts_TK, self.weights_TK):
            z = self.of.into.matrix(self.group) @ x if self.of.into else x
            total = sum(weight * self.of.down.matrix(e) @ silu_times(
                self.of.gate.matrix(e) @ z, self.of.up.matrix(e) @ z)
                for e, weight in zip(experts, weights))
            y[:] = self.of.out_of.matrix(self.group) @ total if self.of.into else total
        return y_TD


def silu_times(gate, up):
    return gate / (1 + np.exp(-gate)) * up
