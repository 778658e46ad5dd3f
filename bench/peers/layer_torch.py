"""Experts of a layer in torch: random weights, and the plain loop over the experts hit."""

import dataclasses

import torch
from layer_routing import Turn
from torch.nn.functional import linear, silu

TYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


class RandomValues:
    """Matrices cut from one long row of random numbers, each from another place."""

    def __init__(self, dtype):
        generator = torch.Generator().manual_seed(1)
        self.values = torch.randn(1 << 24, generator=generator).to(dtype)
        self.place = 0

    def fill(self, matrix):
        """Of the magnitude that keeps the size of what it multiplies."""
        flat, scale, at = matrix.view(-1), matrix.shape[-1] ** -0.5, 0
        self.place = (self.place + 104729) % (self.values.numel() // 2)
        while at < flat.numel():
            part = self.values[self.place:self.place + flat.numel() - at]
            torch.mul(part, scale, out=flat[at:at + part.numel()])
            at += part.numel()
        return matrix


def stack(values, count, rows, columns):
    matrices = torch.empty(count, rows, columns, dtype=values.values.dtype)
    for matrix in matrices:
        values.fill(matrix)
    return matrices


def num_group_sets(layer, distinct):
    """Of latent projections, used up with `distinct` experts at one row or later."""
    groups = min(layer.top_k, layer.experts // layer.group_size)
    return -(-distinct // layer.top_k) * groups


class Weights:
    """`experts` experts and `groups` sets of latent projections; what is not factored is absent."""

    def __init__(self, layer, dtype, experts, groups):
        values = RandomValues(dtype)
        self.gate = stack(values, experts, layer.hidden, layer.width_of("gate"))
        self.up = stack(values, experts, layer.hidden, layer.width_of("up"))
        self.down = stack(values, experts, layer.width_of("down"), layer.hidden)
        self.gate_in = self.up_in = self.down_out = None
        if layer.factored("gate"):
            self.gate_in = stack(values, groups, layer.latent.width, layer.dim)
        if layer.factored("up"):
            shared = layer.latent.shared and self.gate_in is not None
            self.up_in = self.gate_in if shared else stack(
                values, groups, layer.latent.width, layer.dim)
        if layer.factored("down"):
            self.down_out = stack(values, groups, layer.dim, layer.latent.width)


@dataclasses.dataclass(frozen=True)
class Group:
    place: int
    rows: torch.Tensor


@dataclasses.dataclass(frozen=True)
class Expert:
    place: int
    group: int
    rows: torch.Tensor
    members: torch.Tensor  # of the rows among the group's
    weights: torch.Tensor  # a column


class Dispatch:
    """A plan as tensors, made before anything is timed, with the weights that it meets."""

    def __init__(self, layer, plan, dtype, experts_turn, groups_turn):
        by_group, by_expert = plan.by_group(layer.group_size), plan.by_expert()
        group_places, places = groups_turn.labels(by_group), experts_turn.labels(by_expert)
        self.groups = {g: Group(group_places[g], torch.tensor(rows))
                       for g, rows in by_group.items()} if layer.latent else {}
        self.experts = []
        for expert, pairs in by_expert.items():
            group = expert // layer.group_size
            member = {row: i for i, row in enumerate(by_group[group])}
            rows, weights = zip(*pairs)
            self.experts.append(Expert(
                places[expert], group, torch.tensor(rows), torch.tensor([member[r] for r in rows]),
                torch.tensor(weights, dtype=dtype)[:, None]))


class Experts:
    """What programs on torch have in common; see layer_worker.py for what the methods are for."""

    def __init__(self, layer, job):
        torch.set_grad_enabled(False)
        torch.set_num_threads(job["threads"])
        self.layer, self.job, self.type, self.x_TD = layer, job, TYPES[job["dtype"]], {}

    def activations(self, rows):
        if rows not in self.x_TD:
            generator = torch.Generator().manual_seed(2)
            self.x_TD[rows] = torch.randn(rows, self.layer.dim, generator=generator).to(self.type)
        return self.x_TD[rows]

    def pack(self):
        pass


class Loop(Experts):
    """One product after the other: what the equations say, as torch users write them."""

    def __init__(self, layer, job):
        super().__init__(layer, job)
        groups = num_group_sets(layer, job["distinct"])
        self.weights = Weights(layer, self.type, job["distinct"], groups if layer.latent else 0)
        self.turns = Turn(job["distinct"]), Turn(groups)

    def ways(self, rows):
        return {"loop": self.run}

    def prepare(self, rows, plan):
        return self.activations(rows), Dispatch(self.layer, plan, self.type, *self.turns)

    def latent(self, x, groups, matrices):
        """{group: its rows in the latent}"""
        if matrices is None:
            return None
        return {g: linear(x.index_select(0, group.rows), matrices[group.place])
                for g, group in groups.items()}

    def run(self, x, dispatch):
        w, y = self.weights, torch.zeros_like(x)
        gate_in = self.latent(x, dispatch.groups, w.gate_in)
        up_in = gate_in if w.up_in is w.gate_in else self.latent(x, dispatch.groups, w.up_in)
        sums = {} if w.down_out is None else {
            g: x.new_zeros(group.rows.numel(), w.down_out.shape[-1])
            for g, group in dispatch.groups.items()}
        for e in dispatch.experts:
            gate = self.rows_of(x, gate_in, e)
            up = gate if up_in is gate_in else self.rows_of(x, up_in, e)
            hidden = silu(linear(gate, w.gate[e.place])) * linear(up, w.up[e.place])
            out = linear(hidden, w.down[e.place]) * e.weights
            if sums:
                sums[e.group].index_add_(0, e.members, out)
            else:
                y.index_add_(0, e.rows, out)
        for g, total in sums.items():
            group = dispatch.groups[g]
            y.index_add_(0, group.rows, linear(total, w.down_out[group.place]))
        return y

    @staticmethod
    def rows_of(x, latent, expert):
        if latent is None:
            return x.index_select(0, expert.rows)
        return latent[expert.group].index_select(0, expert.members)

    def reference(self, prepared):
        x, dispatch = prepared
        y = torch.zeros(x.shape)
        for e in dispatch.experts:
            group = dispatch.groups[e.group].place if dispatch.groups else 0
            add_expert(y, x, self.weights, (e.place, group), zip(e.rows.tolist(), e.weights))
        return y


def add_expert(y, x, weights, places, rows):
    """The equations in fp32, row by row: y += weight * expert(x) for (row, weight) of `rows`."""
    expert, group = places
    part = {name: getattr(weights, name)[expert].float() for name in ("gate", "up", "down")}
    for name in ("gate_in", "up_in", "down_out"):
        stacked = getattr(weights, name)
        part[name] = None if stacked is None else stacked[group].float()
    for row, weight in rows:
        z = x[row].float()
        gate = z if part["gate_in"] is None else part["gate_in"] @ z
        up = z if part["up_in"] is None else part["up_in"] @ z
        out = part["down"] @ (silu(part["gate"] @ gate) * (part["up"] @ up))
        y[row] += float(weight) * (out if part["down_out"] is None else part["down_out"] @ out)
