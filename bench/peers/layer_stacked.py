"""Programs whose experts are stacked in one tensor: transformers' modules and vLLM's operator.

On a latent they compute the layer where one latent serves all experts on every side: dense experts
between two linear layers.
"""

import types

import torch
import vllm_operators
from layer_routing import Turn
from layer_shape import check_memory
from layer_torch import Experts, RandomValues, add_expert, num_group_sets, stack
from torch.nn.functional import linear

COPIED_AT_MOST = 2e9  # bytes: batched_mm copies the weights of every choice


class Stacked(Experts):
    """Every expert of the layer in place; moe(x, experts_TK, weights_TK) is the program's part."""

    copies = 1

    def __init__(self, layer, job):
        super().__init__(layer, job)
        self.inner = inner = layer.inner() if layer.latent else layer
        check_memory(inner, self.type.itemsize, self.copies)
        values = RandomValues(self.type)
        self.gate_up = stack(values, layer.experts, 2 * layer.hidden, inner.dim)
        self.down = stack(values, layer.experts, inner.dim, layer.hidden)
        groups = num_group_sets(layer, job["distinct"])
        self.projections = None
        if layer.latent:
            self.projections = (stack(values, groups, inner.dim, layer.dim),
                                stack(values, groups, layer.dim, inner.dim))
        self.turns = Turn(layer.experts), Turn(groups)

    def prepare(self, rows, plan):
        places = self.turns[0].labels(plan.by_expert())
        experts_TK = torch.tensor([[places[e] for e in row] for row in plan.experts],
                                  dtype=self.index_type)
        weights_TK = torch.tensor(plan.weights, dtype=self.weight_type or self.type)
        group = self.turns[1].labels([0])[0]
        return self.activations(rows), experts_TK, weights_TK, group

    index_type, weight_type = torch.int64, None

    def on_latent(self, moe):
        if not self.projections:
            return lambda x, experts, weights, group: moe(x, experts, weights)
        into, out_of = self.projections
        return lambda x, experts, weights, group: linear(
            moe(linear(x, into[group]), experts, weights), out_of[group])

    def reference(self, prepared):
        x, experts_TK, weights_TK, group = prepared
        width = self.layer.hidden
        into, out_of = self.projections or (None, None)
        weights = types.SimpleNamespace(gate=self.gate_up[:, :width], up=self.gate_up[:, width:],
                                        down=self.down, gate_in=into, up_in=into, down_out=out_of)
        y = torch.zeros(x.shape)
        for row, (experts, shares) in enumerate(zip(experts_TK.tolist(), weights_TK.tolist())):
            for expert, share in zip(experts, shares):
                add_expert(y, x, weights, (expert, group), [(row, share)])
        return y


class Transformers(Stacked):
    """The experts of Qwen3MoeSparseMoeBlock, in each implementation that runs on a CPU."""

    def __init__(self, layer, job):
        super().__init__(layer, job)
        from transformers import Qwen3MoeConfig
        from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeSparseMoeBlock
        config = Qwen3MoeConfig(hidden_size=self.inner.dim, moe_intermediate_size=layer.hidden,
                                num_experts=layer.experts, num_experts_per_tok=layer.top_k)
        with torch.device("meta"):
            self.module = Qwen3MoeSparseMoeBlock(config).experts
        self.module.gate_up_proj = torch.nn.Parameter(self.gate_up, requires_grad=False)
        self.module.down_proj = torch.nn.Parameter(self.down, requires_grad=False)

    def ways(self, rows):
        copied = rows * self.layer.top_k * self.inner.expert_params * self.gate_up.element_size()
        names = ["eager", "grouped_mm"] + ["batched_mm"] * (copied < COPIED_AT_MOST)
        return {name: self.on_latent(self.implementation(name)) for name in names}

    def implementation(self, name):
        def moe(x, experts, weights):
            self.module.config._experts_implementation = name
            return self.module(x, experts, weights)
        return moe


class Vllm(Stacked):
    """vLLM's cpu_fused_moe with the weights packed as it packs them when it loads a model."""

    copies = 1.7
    index_type, weight_type = torch.int32, torch.float32

    def __init__(self, layer, job):
        avx2_only = job["isa"] == "avx2"
        self.operators = vllm_operators.load(avx2_only)
        super().__init__(layer, job)
        tiles = not avx2_only and torch.cpu._is_amx_tile_supported() and job["dtype"] == "bf16"
        self.isa = "amx" if tiles else "vec"

    def pack(self):
        self.gate_up, self.down = self.packed(self.gate_up), self.packed(self.down)

    def packed(self, weights):
        packed = torch.empty_like(weights)
        self.operators.prepack_moe_weight(weights, packed, self.isa)
        return packed

    def ways(self, rows):
        return {self.isa: self.on_latent(self.moe)}

    def moe(self, x, experts, weights):
        y = torch.empty_like(x)
        self.operators.cpu_fused_moe(y, x, self.gate_up, self.down, None, None, weights, experts,
                                     False, "silu", self.isa)
        return y
