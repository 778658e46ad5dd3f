#!/usr/bin/env python3
"""Installs a build into a scratch prefix, then builds and runs the example against it."""

import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

OPTIONS = None


def run(*command, expect=0, **options):
    result = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False,
                            **options)
    if result.returncode != expect:
        raise AssertionError(f"{' '.join(map(str, command))}: exit {result.returncode}, expected "
                             f"{expect}\n{result.stdout}\n{result.stderr}")
    return result


def write_safetensors(path, values):
    header = json.dumps({"w": {"dtype": "F32", "shape": [len(values)],
                               "data_offsets": [0, 4 * len(values)]}}).encode()
    data = struct.pack(f"<{len(values)}f", *values)
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)


class InstalledPackage(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        scratch = tempfile.TemporaryDirectory(prefix="talpa-install-")
        cls.addClassCleanup(scratch.cleanup)
        cls.scratch = Path(scratch.name)
        cls.prefix = cls.scratch / "prefix"
        run(OPTIONS.cmake, "--install", OPTIONS.build, "--prefix", cls.prefix,
            "--config", OPTIONS.config)
        run(OPTIONS.cmake, "-G", "Ninja", "-S", OPTIONS.example, "-B", cls.scratch / "example",
            f"-DCMAKE_PREFIX_PATH={cls.prefix}", f"-DCMAKE_BUILD_TYPE={OPTIONS.config}")
        run(OPTIONS.cmake, "--build", cls.scratch / "example")
        cls.example = cls.scratch / "example/list_tensors"

    def test_example_lists_a_file(self):
        path = self.scratch / "model.safetensors"
        write_safetensors(path, [0.5, -2.0, 1.0])
        output = run(self.example, path).stdout
        self.assertEqual(output, "w  f32 [3]  12 bytes  from -2 to 1\n1 tensors, 12 bytes\n")

    def test_example_reports_a_truncated_file(self):
        path = self.scratch / "short.safetensors"
        write_safetensors(path, [0.5, -2.0, 1.0])
        os.truncate(path, path.stat().st_size - 4)
        error = run(self.example, path, expect=1).stderr
        self.assertIn("short.safetensors", error)

    def test_runtime_programs_do_not_link_libtorch(self):
        for program in (self.example, self.prefix / "bin/talpa"):
            # Names alone: an address may spell "c10".
            names = [line.split()[0] for line in run("ldd", program).stdout.splitlines()]
            self.assertFalse([name for name in names if "torch" in name or "c10" in name], program)

    def test_installed_program_starts(self):
        self.assertRegex(run(self.prefix / "bin/talpa", "--version").stdout, r"\d+\.\d+\.\d+")

    def test_installed_headers_belong_to_the_runtime(self):
        folders = {path.name for path in (self.prefix / "include/talpa").iterdir()}
        self.assertIn("format", folders)
        self.assertFalse(folders & {"nn", "convert", "train", "task", "cli"}, folders)

    def test_unknown_component_is_an_error(self):
        project = self.scratch / "unknown"
        project.mkdir()
        (project / "CMakeLists.txt").write_text(
            "cmake_minimum_required(VERSION 3.25)\nproject(unknown CXX)\n"
            "find_package(talpa REQUIRED COMPONENTS train)\n")
        error = run(OPTIONS.cmake, "-G", "Ninja", "-S", project, "-B", project / "build",
                    f"-DCMAKE_PREFIX_PATH={self.prefix}", expect=1).stderr
        self.assertIn("train", error)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("cmake", "build", "config", "example"):
        parser.add_argument(f"--{name}", required=True)
    OPTIONS, rest = parser.parse_known_args()
    unittest.main(argv=[sys.argv[0]] + rest, verbosity=2)
