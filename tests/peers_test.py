#!/usr/bin/env python3
"""Tests the statistics, routings and guards of bench/peers, and those peers that are installed."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "bench/peers"))
import isas  # noqa: E402
import layer_programs  # noqa: E402
import layer_report  # noqa: E402
import layer_routing  # noqa: E402
import layer_shape  # noqa: E402
import machine  # noqa: E402
import programs  # noqa: E402
import summary  # noqa: E402


def run(program, number, seconds, busy=False, model="m"):
    """Prefill of 100 tokens in `seconds`, decode of 10 in twice that, two cores used."""
    return summary.Run(model, program, number, busy, summary.Phase(100, seconds, 2 * seconds),
                       summary.Phase(10, 2 * seconds, 4 * seconds), 0.01)


class Statistics(unittest.TestCase):
    def test_rates(self):
        phase = summary.Phase(tokens=512, wall=2.0, cpu=4.0)
        self.assertEqual((phase.per_second, phase.per_core_second), (256, 128))

    def test_ratio_is_paired_by_round(self):
        # The machine is slow in the third round, and ours alone was disturbed in the second: the
        # ratio of the medians would be 0.5.
        ours, theirs = {0: 300.0, 1: 50.0, 2: 30.0}, {0: 100.0, 1: 100.0, 2: 10.0}
        ratio = summary.paired_ratio(ours, theirs)
        self.assertEqual((ratio.median, ratio.low, ratio.high, ratio.rounds), (3.0, 0.5, 3.0, 3))

    def test_rounds_that_one_lacks_are_left_out(self):
        ratio = summary.paired_ratio({0: 1.0, 1: 2.0, 2: 9.0}, {1: 1.0, 2: 3.0, 3: 1.0})
        self.assertEqual((ratio.median, ratio.rounds), (2.5, 2))
        self.assertIsNone(summary.paired_ratio({0: 1.0}, {1: 1.0}))

    def test_best_peer_is_the_one_with_the_highest_median(self):
        runs = [run("talpa", 0, 1.0), run("talpa", 1, 1.0), run("talpa", 2, 1.0)]
        runs += [run("steady", i, 2.0) for i in range(3)]
        runs += [run("lucky", 0, 0.5), run("lucky", 1, 4.0), run("lucky", 2, 4.0)]
        for phase in summary.PHASES:
            name, ratio = summary.against_best_peer(runs, "m", "talpa", phase)
            self.assertEqual((name, ratio.median), ("steady", 2.0))
        self.assertIsNone(summary.against_best_peer(runs[:3], "m", "talpa", "decode"))
        self.assertIsNone(summary.against_best_peer(runs[3:], "m", "talpa", "decode"))

    def test_share_of_quiet_is_paired_and_apart_from_quiet_medians(self):
        runs = [run("talpa", 0, 1.0), run("talpa", 1, 2.0)]
        runs += [run("talpa", 0, 2.0, busy=True), run("talpa", 1, 8.0, busy=True)]
        share = summary.share_of_quiet(runs, "m", "talpa", "prefill")
        self.assertEqual((share.median, share.low, share.high), (0.375, 0.25, 0.5))
        self.assertEqual(summary.median_rate(summary.select(runs, "m"), "prefill"), 75.0)


class Tables(unittest.TestCase):
    runs = [run(*arguments) for arguments in (
        ("talpa", 0, 1.0), ("other", 0, 2.0), ("talpa", 0, 1.0, True), ("other", 0, 8.0, True))]

    def test_table(self):
        lines = summary.speed_table(self.runs).splitlines()
        self.assertEqual(len({len(line) for line in lines}), 1)
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        self.assertEqual(cells[2], ["m", "talpa", "100.0", "50.0", "-", "5.0", "2.5", "-", "1.0 %",
                                    "2.00 (2.00-2.00) other", "2.00 (2.00-2.00) other"])
        self.assertEqual(cells[3][1:4] + cells[3][9:], ["other", "50.0", "25.0", "", ""])

    def test_share_of_limit_holds_for_programs_that_did_not_measure_it(self):
        decode = summary.Phase(10, 2.0, 4.0, share=0.5, limit="memory")
        runs = [summary.Run("m", "talpa", 0, False, self.runs[0].prefill, decode, 0.0),
                self.runs[1]]
        self.assertEqual(summary.limit_of(runs, "m", "decode"), (10.0, "memory"))
        lines = summary.speed_table(runs).splitlines()
        self.assertIn("50 % of memory", lines[2])
        self.assertIn("25 % of memory", lines[3])
        self.assertIsNone(summary.limit_of(runs, "m", "prefill"))

    def test_busy_table_has_shares(self):
        cells = [[cell.strip() for cell in line.strip("|").split("|")]
                 for line in summary.speed_table(self.runs, busy=True).splitlines()]
        self.assertEqual(cells[2][9], "8.00 (8.00-8.00) other")
        self.assertEqual(cells[2][11], "1.00 (1.00-1.00)")
        self.assertEqual(cells[3][11], "0.25 (0.25-0.25)")

    def test_report_holds_every_run_and_ratio(self):
        report = summary.report(self.runs)
        self.assertEqual(len(report["runs"]), 4)
        self.assertEqual(len(report["ratios"]), 8)  # quiet and busy, phases, measures


class Output(unittest.TestCase):
    job = programs.Job(Path("m.gguf"), Path("ids"), 100, 10, 2)

    def test_bench(self):
        phase = {"tokens": 100, "seconds": 2.0, "core_seconds": 4.0,
                 "share": {"limit": "memory", "of_second": 0.5, "of_core_second": 0.4}}
        output = programs.json.dumps({"models": [{"prefill": phase, "decode": phase}]})
        prefill, decode = programs.Talpa("talpa").read(output, self.job)
        self.assertEqual(prefill, summary.Phase(100, 2.0, 4.0, 0.5, "memory"))
        self.assertEqual(decode, prefill)


    def test_avx2_alone(self):
        self.check_kernels("blocks avx2, bf16 avx2, floats avx2, rows avx2")
        for kernels in ("blocks avx512_vnni, bf16 avx2", "blocks avx2, bf16 amx"):
            with self.assertRaisesRegex(ValueError, "AVX2 alone"):
                self.check_kernels(kernels)

    def check_kernels(self, kernels):
        isas.check_talpa(json.dumps({"machine": {"kernels": kernels}}), isas.AVX2)

    def test_a_limit_of_newer_instructions_is_none_of_avx2(self):
        restricted = programs.Talpa("talpa", isas.AVX2)
        self.assertEqual(restricted.share({"limit": "int8", "of_second": 0.5}), (None, None))
        self.assertEqual(restricted.share({"limit": "memory", "of_second": 0.5}), (0.5, "memory"))

    def test_layer(self):
        layer = layer_shape.Layer("small", 16, 4, 64, 32)
        found = {"latent": None, "dtype": "BF16", "rows": 8, "seconds": 1.0, "core_seconds": 2.0,
                 "bytes": 3.0, "macs": 8 * 4 * 3 * 64 * 32 + 1e-4, "held_bytes": 40 * 6144 * 2,
                 "share": {"limit": "memory", "of_second": 0.5}}
        program = layer_programs.TalpaLayer("talpa")
        timings, distinct = program.read(json.dumps({"layers": [found]}), layer)
        timing = layer_programs.Timing(1.0, 2.0, 3.0, "", 0.5, "memory")
        self.assertEqual((timings, distinct), ({(layer, "bf16", 8): timing}, {"bf16": 40}))
        with self.assertRaisesRegex(ValueError, "expected"):
            program.read(json.dumps({"layers": [found | {"macs": 1e6}]}), layer)


class Layers(unittest.TestCase):
    dense = layer_shape.Layer("small", 16, 4, 64, 32)

    def latent(self, factors=("gate", "up"), group_size=4, shared=False):
        return dataclasses.replace(
            self.dense, latent=layer_shape.Latent(24, group_size, factors, shared))

    def test_sizes(self):
        self.assertEqual(self.dense.bytes_read(2, 0, "bf16"), 2 * 2 * 3 * 32 * 64)
        self.assertEqual(self.latent().expert_params, 32 * (24 + 24 + 64))
        self.assertEqual(self.latent().group_params, 2 * 24 * 64)
        self.assertEqual(self.latent(shared=True).group_params, 24 * 64)

    def test_only_one_shared_latent_is_a_moe_on_it(self):
        all_three = ("gate", "up", "down")
        self.assertTrue(self.latent(all_three, 0, True).is_moe_on_a_latent)
        self.assertEqual(self.latent(all_three, 0, True).inner(),
                         dataclasses.replace(self.dense, dim=24))
        for other in (self.dense, self.latent(all_three, 0, False), self.latent(all_three, 4, True),
                      self.latent(("gate", "up"), 0, True)):
            self.assertFalse(other.is_moe_on_a_latent)

    def test_random_numbers_are_those_of_talpa(self):
        random = layer_routing.Random(0, "")
        random.state = [1, 2, 3, 4]  # tests/base/random_test.cc has the same outputs
        self.assertEqual([random.next() for _ in range(4)],
                         [11520, 0, 1509978240, 1215971899390074240])

    def test_plan(self):
        plan = layer_routing.Plan([[3, 0], [3, 2]], [[0.6, 0.4], [0.7, 0.3]])
        self.assertEqual(plan.by_expert(), {0: [(0, 0.4)], 2: [(1, 0.3)],
                                            3: [(0, 0.6), (1, 0.7)]})
        self.assertEqual(plan.by_group(2), {0: [0], 1: [0, 1]})

    def test_plans_are_uniform_and_repeat(self):
        plans = layer_routing.uniform_plans(self.dense, 40, 64)
        self.assertEqual(len(plans), 5)
        self.assertEqual(plans, layer_routing.uniform_plans(self.dense, 40, 64))
        counts = [len(rows) for rows in plans[0].by_expert().values()]
        self.assertEqual((sum(counts), len(counts)), (160, 16))
        self.assertNotEqual(plans[0], plans[1])

    def test_weights_take_turns(self):
        turn = layer_routing.Turn(4)
        self.assertEqual(turn.labels([7, 9, 11]), {7: 0, 9: 1, 11: 2})
        self.assertEqual(turn.labels([1, 2]), {1: 3, 2: 0})


def pass_of(program, dtype, number, wall, way=""):
    return layer_report.Run("a layer", dtype, 8, program, number, wall, 2 * wall, 1e6, way,
                            0.5 if program == "talpa" else None, "memory", 0.0)


class LayerTables(unittest.TestCase):
    runs = [pass_of("talpa", "bf16", i, 0.001 * (i + 1)) for i in range(3)]
    runs += [pass_of("talpa", "f32", i, 0.002) for i in range(3)]
    runs += [pass_of("peer", "bf16", i, 0.009) for i in range(3)]
    runs += [pass_of("peer", "f32", i, 0.004 * (i + 1), "grouped_mm") for i in range(3)]

    def test_bf16_stands_beside_the_faster_of_a_peers_types(self):
        (_, (bf16,)), (_, (f32,)) = layer_report.comparisons(self.runs)
        self.assertEqual((bf16.dtype, bf16.seconds), ("f32", 0.008))
        self.assertEqual((bf16.ratio.median, bf16.ratio.low, bf16.ratio.high), (4.0, 4.0, 4.0))
        self.assertEqual((f32.ratio.median, f32.ratio.low, f32.ratio.high), (4.0, 2.0, 6.0))

    def test_table(self):
        lines = layer_report.tables(self.runs).splitlines()
        self.assertEqual(len({len(line) for line in lines[2:]}), 1)
        cells = [cell.strip() for cell in lines[4].strip("|").split("|")]
        self.assertEqual(cells, ["bf16", "8", "2", "50 % of memory",
                                 "8 f32 grouped_mm: 4.00 (4.00-4.00)", "4.00 (4.00-4.00) peer"])
        self.assertEqual(len(layer_report.report(self.runs)["comparisons"]), 2)


class InstalledPeers(unittest.TestCase):
    """Workers check their result against the equations, and fail if it is off."""

    moe = layer_shape.Layer("small", 8, 2, 64, 32)

    def compute(self, name, layer):
        program = layer_programs.peers(passive=True)[name]
        reason = program.missing()
        if reason:
            self.skipTest(reason)
        for dtype in program.dtypes:
            job = layer_programs.Job(layer, dtype, (1, 4), 1, 16, 1e-3, 1)
            done = machine.run(program.command(job), program.environment, 120,
                               machine.NoNeighbour())
            timings = program.read(done.output, job)
            self.assertEqual(sorted(timings), [1, 4])
            self.assertEqual(timings[1].bytes, layer.bytes_read(2, 1 if layer.latent else 0, dtype))

    def with_latent(self, *latent):
        return dataclasses.replace(self.moe, latent=layer_shape.Latent(*latent))

    def test_torch(self):
        self.compute("torch", self.with_latent(32, 0, ("gate", "up", "down"), False))

    def test_vllm(self):
        self.compute("vllm", self.moe)

    def test_llama_cpp(self):
        self.compute("llama.cpp", self.with_latent(32, 0, ("gate", "up", "down"), True))

    def test_ik_llama_cpp(self):
        self.compute("ik_llama.cpp", self.moe)
        self.compute("ik_llama.cpp-repacked", self.moe)

    def test_kernels_for_avx2_have_no_avx512(self):
        library = isas.LLAMA_AVX2 / "libggml-cpu.so"
        if not shutil.which("objdump") or not library.exists():
            self.skipTest("no library for AVX2, or no objdump: run bench/peers/setup --isa avx2")
        code = subprocess.run(["objdump", "--disassemble", library], capture_output=True,
                              check=True).stdout
        self.assertTrue(b"ymm" in code and b"zmm" not in code)


class Guards(unittest.TestCase):
    def test_output_and_cpu_time(self):
        done = machine.run([sys.executable, "-c", "sum(range(10**6)); print(7)"], os.environ, 60,
                           machine.NoNeighbour())
        self.assertEqual(done.output, "7\n")
        self.assertGreater(done.cpu, 0)
        self.assertTrue(0 <= done.others <= 1)

    def test_failure_carries_what_was_said(self):
        with self.assertRaisesRegex(machine.Failed, "status 3: because"):
            machine.run([sys.executable, "-c", "import sys; print('because', file=sys.stderr); "
                         "sys.exit(3)"], os.environ, 60, machine.NoNeighbour())

    def test_timeout_kills_what_the_command_started(self):
        script = ("import subprocess, sys, time; child = subprocess.Popen(['sleep', '60']);"
                  "open(sys.argv[1], 'w').write(str(child.pid)); time.sleep(60)")
        with machine.tempfile.NamedTemporaryFile("r") as file:
            with self.assertRaisesRegex(machine.Failed, "not done after"):
                machine.run([sys.executable, "-c", script, file.name], os.environ, 2,
                            machine.NoNeighbour())
            self.assert_gone(int(file.read()))

    def test_busy_core_ends_with_its_context(self):
        with machine.BusyCore(machine.available_cores()[0], 60) as neighbour:
            pid = neighbour.process.pid
            self.assertEqual(os.sched_getaffinity(pid), {machine.available_cores()[0]})
        self.assert_gone(pid)

    def assert_gone(self, pid):
        for _ in range(100):
            stat = Path(f"/proc/{pid}/stat")
            if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
                return
            time.sleep(0.05)
        self.fail(f"process {pid} still runs")


if __name__ == "__main__":
    unittest.main(verbosity=2)
