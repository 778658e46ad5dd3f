"""Experts of one layer, dense or latent: sizes, and what a pass reads and multiplies."""

import dataclasses

import machine

BYTES = {"f32": 4.0, "bf16": 2.0, "q8_0": 34 / 32}  # a weight


@dataclasses.dataclass(frozen=True)
class Latent:
    """Latents of `width` between the model and its experts, one for `group_size` experts (0: all).

    `factors`: which of gate, up and down go through one; `shared`: gate and up through the same.
    """

    width: int
    group_size: int
    factors: tuple
    shared: bool

    def __str__(self):
        group = f", groups of {self.group_size}" if self.group_size else ""
        return (f"latent {self.width} on {'+'.join(self.factors)}"
                f"{', gate and up share it' if self.shared else ''}{group}")


@dataclasses.dataclass(frozen=True)
class Layer:
    """Experts of `hidden` units on rows of `dim`, `top_k` of them a row."""

    name: str
    experts: int
    top_k: int
    dim: int
    hidden: int
    latent: Latent | None = None

    def __str__(self):
        return (f"{self.name}, {self.experts} experts, top {self.top_k}, {self.dim} x "
                f"{self.hidden}, {self.latent or 'dense'}")

    @property
    def group_size(self):
        return self.latent.group_size or self.experts if self.latent else 1

    def factored(self, matrix):
        return self.latent is not None and matrix in self.latent.factors

    def width_of(self, matrix):
        """What gate and up take, or down gives."""
        return self.latent.width if self.factored(matrix) else self.dim

    @property
    def expert_params(self):
        return self.hidden * sum(map(self.width_of, ("gate", "up", "down")))

    @property
    def num_projections(self):
        if self.latent is None:
            return 0
        return len(self.latent.factors) - (self.latent.shared and self.factored("up"))

    @property
    def group_params(self):
        return self.num_projections * self.latent.width * self.dim if self.latent else 0

    @property
    def is_moe_on_a_latent(self):
        """Dense experts between one projection and its way back, which others compute as well."""
        return (self.latent is not None and self.group_size == self.experts and self.latent.shared
                and set(self.latent.factors) == {"gate", "up", "down"})

    def inner(self):
        """Those dense experts."""
        return dataclasses.replace(self, dim=self.latent.width, latent=None)

    def bytes_read(self, experts_hit, groups_hit, dtype):
        return BYTES[dtype] * (experts_hit * self.expert_params + groups_hit * self.group_params)


def check_memory(layer, bytes_each, copies):
    """Throws MemoryError where all experts of the layer in one tensor would not fit."""
    needed, free = copies * layer.experts * layer.expert_params * bytes_each, machine.free_memory()
    if needed > 0.8 * free:
        raise MemoryError(f"all {layer.experts} experts in one tensor need {needed * 1e-9:.1f} GB, "
                          f"and {free * 1e-9:.1f} GB are free; --experts makes them fewer")


# Checked against what talpa says it computes.
PUBLISHED = {layer.name: layer for layer in (
    Layer("qwen3-30b-a3b", 128, 8, 2048, 768),
    Layer("olmoe-1b-7b", 64, 8, 2048, 1024),
    Layer("deepseek-v3", 256, 8, 7168, 2048))}


def to_json(layer):
    return dataclasses.asdict(layer)


def from_json(values):
    latent = values["latent"]
    if latent:
        latent = Latent(**latent | {"factors": tuple(latent["factors"])})
    return Layer(**values | {"latent": latent})
