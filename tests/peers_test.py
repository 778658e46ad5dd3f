#!/usr/bin/env python3
"""Tests the statistics and guards of bench/peers; needs none of the peers."""

import os
import sys
import time
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "bench/peers"))
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
