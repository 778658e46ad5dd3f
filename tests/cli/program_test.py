"""The program itself: start, libraries, help, version, completion, doctor."""

import json
import os
import shutil
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from harness import PROGRAM, run

LABORATORY = os.environ.get("TALPA_HAS_LABORATORY", "1") == "1"


class Start(unittest.TestCase):
    def test_version_comes_quickly(self):
        if os.environ.get("TALPA_SANITIZE"):
            self.skipTest("sanitizers start slowly")
        best, deadline = 1.0, time.monotonic() + 30  # the machine may be busy
        while best >= 0.05 and time.monotonic() < deadline:
            start = time.monotonic()
            result = run("--version")
            best = min(best, time.monotonic() - start)
            self.assertRegex(result.stdout, r"^talpa \d+\.\d+\.\d+\n$")
        self.assertLess(best, 0.05)

    def test_links_no_libtorch(self):
        libraries = subprocess.run(["ldd", PROGRAM], capture_output=True, text=True, check=True)
        # Names alone: an address may spell "c10".
        names = [line.split()[0] for line in libraries.stdout.splitlines()]
        self.assertIn("libc.so.6", names)
        for library in ("torch", "c10", "mkl", "cuda", "openblas"):
            self.assertFalse([name for name in names if library in name])


class Help(unittest.TestCase):
    def test_groups_the_commands(self):
        result = run("--help")
        self.assertEqual(result.returncode, 0)
        places = [result.stdout.index(group) for group in
                  ("\nRun:\n", "\nShrink:\n", "\nTrain:\n", "\nTools:\n")]
        self.assertEqual(places, sorted(places))
        for command in ("generate", "serve", "eval", "tokenize", "convert", "compare", "inspect", "train",
                        "tokenizer", "doctor", "completion"):
            self.assertRegex(result.stdout, rf"\n  {command} +\w")
        self.assertLessEqual(max(map(len, result.stdout.splitlines())), 100)

    def test_nothing_asked_is_a_usage_error(self):
        result = run()
        self.assertEqual((result.returncode, result.stdout), (2, ""))
        self.assertIn("Usage: talpa", result.stderr)

    def test_every_runtime_command_has_help(self):
        for command in (["generate"], ["serve"], ["eval"], ["eval", "ppl"], ["tokenize"], ["compare"],
                        ["inspect"], ["runs"], ["plot"],
                        ["tokenizer", "train"], ["doctor"], ["completion"],
                        ["embed"], ["man"]):
            result = run(*command, "--help")
            self.assertEqual((result.returncode, result.stderr), (0, ""), command)
            self.assertLessEqual(max(map(len, result.stdout.splitlines())), 100, command)


class Laboratory(unittest.TestCase):
    def test_missing_laboratory_says_how_to_get_it(self):
        with tempfile.TemporaryDirectory() as folder:
            lonely = Path(folder) / "talpa"
            shutil.copy(PROGRAM, lonely)
            for command in ("train", "convert"):
                result = subprocess.run([lonely, command, "x"], capture_output=True, text=True,
                                        check=False)
                self.assertEqual(result.returncode, 1)
                self.assertIn("talpa: error: `talpa " + command, result.stderr)
                self.assertIn("TALPA_BUILD_LABORATORY=ON", result.stderr)
                self.assertEqual(result.stderr.count("\n"), 1)

    def test_is_found_in_libexec_and_gets_its_environment(self):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "bin").mkdir()
            libexec = Path(folder) / "libexec/talpa"
            libexec.mkdir(parents=True)
            shutil.copy(PROGRAM, Path(folder) / "bin/talpa")
            script = libexec / "talpa-lab"
            script.write_text('#!/bin/sh\necho "$OMP_WAIT_POLICY $OMP_NUM_THREADS $*"\nexit 3\n')
            script.chmod(0o755)
            environment = {k: v for k, v in os.environ.items() if not k.startswith("OMP_")}
            result = subprocess.run(
                [Path(folder) / "bin/talpa", "train", "a b", "--threads", "2"],
                capture_output=True, text=True, env=environment, check=False)
            self.assertEqual(result.stdout, "passive 2 train a b --threads 2\n")
            self.assertEqual(result.returncode, 3)

    @unittest.skipUnless(LABORATORY, "built without the laboratory")
    def test_says_its_version(self):
        result = subprocess.run([Path(PROGRAM).parent / "talpa-lab", "--version"],
                                capture_output=True, text=True, check=False)
        self.assertRegex(result.stdout, r"^talpa-lab \d+\.\d+\.\d+ \(libtorch \d+\.\d+")


class Doctor(unittest.TestCase):
    def test_reports_the_machine(self):
        report = json.loads(run("doctor", "--json").stdout)
        self.assertGreaterEqual(report["cores"], 1)
        self.assertGreater(report["memory_total_bytes"], report["memory_available_bytes"])
        self.assertTrue(report["cpu"] and report["kernels"])
        self.assertIsInstance(report["notes"], list)
        flags = Path("/proc/cpuinfo").read_text()
        self.assertEqual("avx512_bf16" in report["cpu_features"], " avx512_bf16" in flags)
        if LABORATORY:
            self.assertTrue(report["laboratory"]["works"])
            self.assertRegex(report["laboratory"]["libtorch"], r"^\d+\.\d+")
            self.assertTrue(report["laboratory"]["blas"])

    def test_prints_the_same(self):
        text = run("doctor").stdout
        for word in ("CPU", "features", "kernels", "cores", "memory", "talpa-lab"):
            self.assertRegex(text, rf"(?m)^{word} ")


class Completion(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.script = run("completion", "bash").stdout

    def complete(self, *words):
        """What bash offers for the last of `words`."""
        quoted = " ".join(f"'{word}'" for word in words)
        code = (f"{self.script}\nCOMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _talpa; "
                'printf "%s\\n" "${COMPREPLY[@]}"')
        result = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
        return set(result.stdout.split())

    def test_completes_commands_options_and_values(self):
        self.assertEqual(self.complete("talpa", "gen"), {"generate"})
        self.assertEqual(self.complete("talpa", "eval", ""), {"ppl"})
        self.assertLessEqual({"compare", "convert", "completion"}, self.complete("talpa", "co"))
        self.assertEqual(self.complete("talpa", "generate", "--top"), {"--top-k", "--top-p"})
        self.assertIn("--stride", self.complete("talpa", "eval", "ppl", "--s"))
        self.assertEqual(self.complete("talpa", "generate", "m", "--dtype", "q4"), {"q4_0", "q4_1"})
        self.assertEqual(self.complete("talpa", "completion", ""), {"bash", "zsh", "fish"})

    def test_manual_pages_hold_every_option(self):
        page = run("man", "eval").stdout
        self.assertTrue(page.startswith('.TH TALPA\\-EVAL 1 '))
        for option in ("--stride", "--convention", "--json"):
            self.assertIn(option.replace("-", "\\-"), page)
        with tempfile.TemporaryDirectory() as folder:
            self.assertEqual(run("man", "--out", folder).returncode, 0)
            names = {path.name for path in Path(folder).iterdir()}
            self.assertLessEqual({"talpa.1", "talpa-serve.1", "talpa-train.1"}, names)
        self.assertEqual(run("man", "nothing").returncode, 2)

    def test_hides_the_hidden(self):
        self.assertNotIn("__describe", self.complete("talpa", ""))

    def test_other_shells_get_scripts(self):
        zsh, fish = run("completion", "zsh").stdout, run("completion", "fish").stdout
        self.assertTrue(zsh.startswith("#compdef talpa"))
        self.assertIn("--min-p", zsh)
        self.assertIn("-l min-p", fish)
        for shell, script in (("zsh", zsh), ("fish", fish)):
            if shutil.which(shell):
                subprocess.run([shell, "-n"], input=script, text=True, check=True)


if __name__ == "__main__":
    unittest.main()
