#!/usr/bin/env python3
"""Checks the folder layering of src/talpa against the lists in its CMakeLists.txt.

Every #include "talpa/<folder>/..." must name a folder that the file's own folder may use; the
runtime half includes nothing of libtorch; no header includes torch/torch.h; no file is too long.
"""

import re
import sys
import tempfile
import unittest
from pathlib import Path

REPORT_LINES = 500
FAIL_LINES = 800
# The launcher and the runtime commands: everything in cli/ but this folder.
CLI_LABORATORY = "cli/laboratory"

_FOLDER = re.compile(r"^\s*talpa_folder\((\w+)\s+([^)]*)\)", re.M)
_INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)
_TORCH = re.compile(r"(?:torch|ATen|c10|caffe2)/")


def read_folders(cmake_lists):
    """Maps folder -> (folders it names behind USES, whether it links libtorch)."""
    folders = {}
    for name, rest in _FOLDER.findall(cmake_lists):
        keyword, uses, torch = None, [], False
        for word in rest.split():
            if word == "TORCH":
                torch = True
            elif word in ("USES", "LINKS"):
                keyword = word
            elif keyword == "USES":
                uses.append(word)
        folders[name] = (uses, torch)
    return folders


def closure(folders, name):
    reached, waiting = set(), [name]
    while waiting:
        folder = waiting.pop()
        if folder not in reached:
            reached.add(folder)
            waiting += folders.get(folder, ([], False))[0]
    return reached


def allowed_folders(folders, path):
    """The folders that a file (relative to src/talpa) may include, and whether torch is one."""
    top = path.parts[0]
    if top == "cli":
        laboratory = path.as_posix().startswith(CLI_LABORATORY)
        allowed = {name for name, (_, torch) in folders.items() if laboratory or not torch}
        return allowed | {"cli"}, laboratory
    return closure(folders, top), folders.get(top, ([], False))[1]


def check_file(folders, source, path):
    text = (source / path).read_text(encoding="utf-8")
    allowed, may_torch = allowed_folders(folders, path)
    for bracket, include in _INCLUDE.findall(text):
        if bracket == '"' and include.startswith("talpa/"):
            folder = include.split("/")[1]
            if folder not in allowed and include.count("/") > 1:
                yield f"{path}: includes {include}, but {path.parts[0]} may not use {folder}"
        if _TORCH.match(include) and not may_torch:
            yield f"{path}: includes <{include}>, but is of the half without libtorch"
        if include == "torch/torch.h" and path.suffix == ".h":
            yield f"{path}: a header includes torch/torch.h; include <torch/types.h> or a module"
    lines = text.count("\n")
    if lines > FAIL_LINES:
        yield f"{path}: {lines} lines, at most {FAIL_LINES} are allowed"
    elif lines > REPORT_LINES:
        print(f"note: {path}: {lines} lines, {REPORT_LINES} is a reason to split")


def check_order(folders):
    """A folder may use only folders listed above it."""
    seen = set()
    for name, (uses, torch) in folders.items():
        for used in uses:
            if used not in seen:
                yield f"CMakeLists.txt: {name} uses {used}, which is not listed above it"
            elif folders[used][1] and not torch:
                yield f"CMakeLists.txt: {name} has no TORCH but uses {used}, which has"
        seen.add(name)


def check_tree(source):
    folders = read_folders((source / "CMakeLists.txt").read_text(encoding="utf-8"))
    errors = [] if folders else ["CMakeLists.txt: no talpa_folder(...) found"]
    errors += check_order(folders)
    files = sorted(p.relative_to(source) for p in source.rglob("*") if p.suffix in (".h", ".cc"))
    for path in files:
        if path.parts[0] not in folders and path.parts[0] != "cli":
            errors.append(f"{path}: its folder is not in CMakeLists.txt")
        else:
            errors += check_file(folders, source, path)
    return errors, len(files)


CMAKE_LISTS = """
talpa_folder(base LINKS fmt::fmt)
talpa_folder(format USES base)
talpa_folder(engine USES format)
talpa_folder(nn TORCH USES base format)
"""


class Layering(unittest.TestCase):
    source = None  # src/talpa of this repository

    def test_source_tree(self):
        errors, count = check_tree(self.source)
        self.assertEqual(errors, [])
        self.assertGreater(count, 20)

    def test_violations_are_found(self):
        for path, text, expected in (
            ("base/a.cc", '#include "talpa/format/x.h"', "may not use format"),
            ("format/a.h", "#include <torch/types.h>", "half without libtorch"),
            ("engine/a.cc", '#include "talpa/nn/x.h"', "may not use nn"),
            ("nn/a.h", "#include <torch/torch.h>", "a header includes torch/torch.h"),
            ("cli/runtime/a.cc", '#include "talpa/nn/x.h"', "may not use nn"),
            ("extra/a.cc", "", "its folder is not in CMakeLists.txt"),
            ("base/a.cc", "\n" * (FAIL_LINES + 1), "lines, at most"),
        ):
            with self.subTest(path=path, text=text[:40]):
                self.assertIn(expected, "\n".join(self.errors_of(path, text)))

    def test_allowed_includes_pass(self):
        for path, text in (
            ("engine/a.cc", '#include "talpa/format/x.h"\n#include "talpa/base/x.h"'),
            ("nn/a.cc", '#include <torch/torch.h>\n#include "talpa/format/x.h"'),
            ("cli/laboratory/a.cc", '#include <torch/torch.h>\n#include "talpa/nn/x.h"'),
            ("cli/main.cc", '#include "talpa/engine/x.h"\n#include "talpa/cli/x.h"'),
        ):
            with self.subTest(path=path):
                self.assertEqual(self.errors_of(path, text), [])

    def test_order_of_the_list(self):
        folders = read_folders(
            "talpa_folder(a USES b)\ntalpa_folder(b TORCH)\ntalpa_folder(c USES b)")
        errors = "\n".join(check_order(folders))
        self.assertIn("a uses b, which is not listed above it", errors)
        self.assertIn("c has no TORCH but uses b", errors)

    def errors_of(self, path, text):
        with tempfile.TemporaryDirectory() as scratch:
            source = Path(scratch)
            (source / "CMakeLists.txt").write_text(CMAKE_LISTS)
            (source / path).parent.mkdir(parents=True)
            (source / path).write_text(text)
            return check_tree(source)[0]


if __name__ == "__main__":
    Layering.source = Path(sys.argv.pop(1))
    unittest.main(verbosity=2)
