"""The routings of `talpa bench --layer`, drawn again, so that every program does the same work."""

import array
import dataclasses
import math

MASK = (1 << 64) - 1


class Random:
    """talpa::Random (base/random.h): xoshiro256**, seeded with splitmix64."""

    def __init__(self, seed, purpose):
        for char in purpose.encode():
            seed = (seed ^ char) * 0x100000001b3 & MASK
        self.state = []
        for _ in range(4):
            seed = (seed + 0x9e3779b97f4a7c15) & MASK
            z = (seed ^ seed >> 30) * 0xbf58476d1ce4e5b9 & MASK
            z = (z ^ z >> 27) * 0x94d049bb133111eb & MASK
            self.state.append(z ^ z >> 31)

    def next(self):
        a, b, c, d = self.state
        x = b * 5 & MASK
        result = (x << 7 | x >> 57) * 9 & MASK
        c ^= a
        d ^= b
        self.state = [a ^ d, b ^ c, c ^ (b << 17 & MASK), (d << 45 | d >> 19) & MASK]
        return result

    def uniform(self):
        return (self.next() >> 11) * 2.0**-53


@dataclasses.dataclass(frozen=True)
class Plan:
    """Experts of each row, best first, and their weights."""

    experts: list
    weights: list

    def by_expert(self):
        """{expert: [(row, weight), ...]}, both ascending."""
        found = {}
        for row, (experts, weights) in enumerate(zip(self.experts, self.weights)):
            for expert, weight in zip(experts, weights):
                found.setdefault(expert, []).append((row, weight))
        return dict(sorted(found.items()))

    def by_group(self, group_size):
        """{group: rows that hit one of its experts}, both ascending."""
        found = {}
        for row, experts in enumerate(self.experts):
            for group in {expert // group_size for expert in experts}:
                found.setdefault(group, []).append(row)
        return dict(sorted(found.items()))


def uniform_plan(layer, rows, seed):
    """talpa::uniform_plan (eval/random_experts.h): the largest of numbers rounded to 32 bits."""
    random, plan = Random(seed, "routing"), Plan([], [])
    for _ in range(rows):
        scores = array.array("f", (random.uniform() for _ in range(layer.experts)))
        chosen = sorted(range(layer.experts), key=lambda e: (-scores[e], e))[:layer.top_k]
        weights = [math.exp(scores[e]) for e in chosen]
        plan.experts.append(chosen)
        plan.weights.append([weight / sum(weights) for weight in weights])
    return plan


def uniform_plans(layer, rows, distinct):
    """As many routings as use up `distinct` experts once."""
    hit = layer.experts * (1 - (1 - layer.top_k / layer.experts) ** rows)
    return [uniform_plan(layer, rows, seed) for seed in range(math.ceil(distinct / hit - 1e-9))]


def mean_hits(layer, plans):
    """Experts and groups that a pass reads."""
    experts = sum(len(plan.by_expert()) for plan in plans) / len(plans)
    groups = sum(len(plan.by_group(layer.group_size)) for plan in plans) / len(plans)
    return experts, groups if layer.latent else 0


class Turn:
    """Gives each pass the weights that were not used for longest, so that no cache has them."""

    def __init__(self, count):
        self.count, self.next = count, 0

    def labels(self, used):
        """{one of `used`: its place among the weights}; distinct places where there are enough."""
        places = {name: (self.next + i) % self.count for i, name in enumerate(used)}
        self.next += len(places)
        return places
