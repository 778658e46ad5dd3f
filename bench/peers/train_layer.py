#!/usr/bin/env python3
"""One MoE layer of transformers, forward and backward in fp32, in turn with talpa's.

In CPU time of all threads. Shapes are those of build/release/bin/moe_step_bench without latents. Each round runs talpa and
every experts implementation of transformers that trains on a CPU; the ratio is the median over
rounds of the fastest of them to talpa. Needs torch and transformers (scripts/bootstrap --oracle).

usage: bench/peers/train_layer.py [--rounds N]
"""

import argparse
import os
import statistics
import subprocess
import time
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_WAIT_POLICY"] = "passive"  # threads that wait take no CPU time
import torch  # noqa: E402
from transformers import Qwen3MoeConfig  # noqa: E402
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeSparseMoeBlock  # noqa: E402

BENCH = Path(__file__).resolve().parents[2] / "build/release/bin/moe_step_bench"
# Index in moe_step_bench: rows, width, experts, hidden, top_k.
SHAPES = {0: (6144, 256, 8, 512, 2), 1: (6144, 256, 32, 128, 4), 2: (6144, 256, 64, 128, 8),
          3: (4096, 512, 16, 384, 4), 5: (4096, 128, 32, 48, 4)}


def layer_of(shape, implementation):
    _, width, experts, hidden, top_k = shape
    config = Qwen3MoeConfig(hidden_size=width, num_experts=experts, moe_intermediate_size=hidden,
                            num_experts_per_tok=top_k, norm_topk_prob=True)
    config._experts_implementation = implementation
    layer = Qwen3MoeSparseMoeBlock(config)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return layer


def seconds_of(layer, x, direction):
    layer.zero_grad(set_to_none=True)
    x.grad = None
    start = time.process_time()
    y = layer(x)
    (y[0] if isinstance(y, tuple) else y).backward(direction)
    return time.process_time() - start


def talpa_seconds(index):
    done = subprocess.run([BENCH, "3", str(index)], check=True, capture_output=True, text=True)
    return float(done.stdout.splitlines()[-1].split("|")[3]) / 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(os.cpu_count())
    ways = ("eager", "grouped_mm")
    print("| shape | talpa, CPU ms | " + " | ".join(f"{way}, ms" for way in ways) + " | best / talpa |")
    print("|---|---|" + "---|" * (len(ways) + 1))
    for index, shape in SHAPES.items():
        rows, width, experts, hidden, top_k = shape
        x = torch.randn(1, rows, width, requires_grad=True)
        direction = torch.randn(1, rows, width)
        layers = {way: layer_of(shape, way) for way in ways}
        times = {way: [] for way in ("talpa", *ways)}
        for layer in layers.values():
            seconds_of(layer, x, direction)
        for _ in range(rounds):
            times["talpa"].append(talpa_seconds(index))
            for way, layer in layers.items():
                times[way].append(min(seconds_of(layer, x, direction) for _ in range(3)))
        ratios = [min(times[way][i] for way in ways) / times["talpa"][i] for i in range(rounds)]
        cells = [f"{1e3 * statistics.median(times[way]):.1f}" for way in ("talpa", *ways)]
        print(f"| {rows} x {width}, {top_k} of {experts} x {hidden} | {' | '.join(cells)} "
              f"| {statistics.median(ratios):.2f} |", flush=True)


if __name__ == "__main__":
    main()
