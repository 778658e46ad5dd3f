"""One run of a program on one layer: prints JSON {"rows": {number: result}}.

usage: layer_worker.py JOB, a JSON object; see layer_programs.py

As talpa bench: routings are made before, every weight is used before a pass is timed, passes take
other weights in turn, and the median of `repeats` is reported, each of at least `seconds`. Of
several ways to compute, the fastest in a first try is timed. The result of one routing is checked
against the equations.

A program is a class with prepare(rows, plan), which gives what a pass takes; reference(prepared),
its result by the equations; pack(), after which weights are as the program wants them; and
ways(rows), {name: pass}.
"""

import json
import math
import statistics
import sys
import time

import layer_shape
from layer_routing import mean_hits, uniform_plans

CHECKED_ROWS = 2
TOLERANCE = {"f32": 1e-4, "bf16": 2e-2, "q8_0": 2e-2}


def make_experts(job, layer):
    if job["program"] == "ggml":
        from layer_ggml import GgmlExperts as Experts
    elif job["program"] == "torch":
        from layer_torch import Loop as Experts
    elif job["program"] == "transformers":
        from layer_stacked import Transformers as Experts
    else:
        from layer_stacked import Vllm as Experts
    return Experts(layer, job)


class Stopwatch:
    def __init__(self):
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def elapsed(self):
        return time.perf_counter() - self.wall, time.process_time() - self.cpu


def run(way, prepared, first, count):
    watch = Stopwatch()
    for i in range(first, first + count):
        way(*prepared[i % len(prepared)])
    return [seconds / count for seconds in watch.elapsed()]


def pack_and_check(experts, layer, job):
    """Throws ArithmeticError if a way computes something else."""
    prepared = experts.prepare(CHECKED_ROWS, uniform_plans(layer, CHECKED_ROWS, 1)[0])
    expected = experts.reference(prepared)
    experts.pack()
    for name, way in experts.ways(CHECKED_ROWS).items():
        error = float((((way(*prepared) - expected) ** 2).sum() / (expected ** 2).sum()) ** 0.5)
        if not error < TOLERANCE[job["dtype"]]:
            raise ArithmeticError(f"{name} is off by {error:.1e} of the result")


def time_rows(experts, layer, job, rows):
    plans = uniform_plans(layer, rows, job["distinct"])
    prepared = [experts.prepare(rows, plan) for plan in plans]
    ways, tries = experts.ways(rows), {}
    for name, way in ways.items():
        run(way, prepared, 0, len(prepared))
        tries[name] = run(way, prepared, 0, len(prepared))[0]
    best = min(tries, key=tries.get)
    count = math.ceil(job["seconds"] / tries[best])
    times = [run(ways[best], prepared, i * count, count) for i in range(job["repeats"])]
    wall, cpu = (statistics.median(column) for column in zip(*times))
    return {"wall": wall, "cpu": cpu, "way": best, "tries": tries,
            "bytes": layer.bytes_read(*mean_hits(layer, plans), job["dtype"])}


def main():
    job = json.loads(sys.argv[1])
    layer = layer_shape.from_json(job["layer"])
    experts = make_experts(job, layer)
    pack_and_check(experts, layer, job)
    results = {rows: time_rows(experts, layer, job, rows) for rows in job["rows"]}
    print(json.dumps({"rows": results}), flush=True)


main()
