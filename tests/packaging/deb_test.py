#!/usr/bin/env python3
"""Makes the Debian package of a build and looks at it as a stranger does: unpacked, it runs from
there; its pages are clean roff; lintian, systemd and hadolint find no error. What is not installed
here is skipped and named."""

import argparse
import gzip
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TOOLS = f"{ROOT}/.venv/bin:{os.environ['PATH']}:/usr/sbin"
OPTIONS = None


def need(program):
    found = shutil.which(program, path=TOOLS)
    if found is None:
        raise unittest.SkipTest(f"{program} is not installed (scripts/bootstrap --tools)")
    return found


def run(*command, expect=0, **options):
    result = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False,
                            **options)
    if expect is not None and result.returncode != expect:
        raise AssertionError(f"{' '.join(map(str, command))}: exit {result.returncode}, expected "
                             f"{expect}\n{result.stdout}\n{result.stderr}")
    return result


class DebianPackage(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        for program in ("dpkg-deb", "dpkg-shlibdeps"):
            need(program)
        scratch = tempfile.TemporaryDirectory(prefix="talpa-deb-")
        cls.addClassCleanup(scratch.cleanup)
        cls.scratch = Path(scratch.name)
        run(OPTIONS.cpack, "--config", Path(OPTIONS.build) / "CPackConfig.cmake",
            "-C", OPTIONS.config, "-B", cls.scratch / "package")
        cls.package, = (cls.scratch / "package").glob("talpa_*.deb")
        cls.prefix = cls.scratch / "unpacked"
        run("dpkg-deb", "-x", cls.package, cls.prefix)
        cls.program = cls.prefix / "usr/bin/talpa"

    def field(self, name):
        return run("dpkg-deb", "-f", self.package, name).stdout.strip()

    def test_depends_on_what_it_links_and_on_no_libtorch(self):
        self.assertEqual(self.field("Package"), "talpa")
        depends = self.field("Depends")
        for library in ("libc6", "libstdc++6", "libcpp-httplib0.11", "libfmt9", "libpcre2-8-0",
                        "libspdlog1.10", "libutf8proc2"):
            self.assertIn(library, depends)
        self.assertNotIn("torch", depends + run("ldd", self.program).stdout)

    def test_runs_from_where_it_is_unpacked(self):
        version = run(self.program, "--version").stdout.split()[1]
        self.assertTrue(self.field("Version").startswith(version + "-"))
        text = run(self.program, "generate", ROOT / "models/reference-moe", "-p", "The old town",
                   "-n", 4, "--temp", 0).stdout
        self.assertGreater(len(text.strip()), 0)

    def test_says_what_to_do_without_talpa_lab(self):
        error = run(self.program, "convert", "a", "b", expect=None)
        self.assertNotEqual(error.returncode, 0)
        self.assertRegex(error.stderr, r"talpa-lab, which needs libtorch.*TALPA_BUILD_LABORATORY=ON")

    def test_holds_the_runtime_and_its_documents_only(self):
        files = {str(path.relative_to(self.prefix)) for path in self.prefix.rglob("*")
                 if path.is_file()}
        documents = ("copyright", "changelog.gz", "changelog.Debian.gz", "examples/talpa.service",
                     "examples/talpa.default")
        self.assertLessEqual({f"usr/share/doc/talpa/{name}" for name in documents}, files)
        self.assertLessEqual({"usr/share/bash-completion/completions/talpa",
                              "usr/share/zsh/vendor-completions/_talpa",
                              "usr/share/fish/vendor_completions.d/talpa.fish"}, files)
        self.assertFalse([name for name in files if re.search(r"include|\.a$|libexec|cmake", name)])

    def test_lintian_finds_no_error(self):
        # It refuses to run as root unless asked, and knows no unpublished address.
        result = run(need("lintian"), "--fail-on", "error,warning", "--allow-root",
                     "--suppress-tags", "initial-upload-closes-no-bugs", self.package, expect=None)
        self.assertEqual((result.returncode, result.stdout), (0, ""), result.stderr)

    def pages(self):
        return sorted((self.prefix / "usr/share/man/man1").glob("*.1.gz"))

    def test_a_page_for_every_command_without_complaint(self):
        man = need("man")
        described = run(self.program, "--help").stdout
        commands = re.findall(r"^  ([a-z]+) +[A-Z]", described, re.MULTILINE)
        self.assertEqual({page.name for page in self.pages()},
                         {"talpa.1.gz", *(f"talpa-{name}.1.gz" for name in commands)})
        for page in self.pages():
            shown = run(man, "--warnings", "-E", "UTF-8", "-l", page,
                        env={**os.environ, "MANWIDTH": "100", "LC_ALL": "C.UTF-8"})
            self.assertEqual(shown.stderr, "", page.name)
            self.assertIn("EXIT STATUS", shown.stdout)

    def test_pages_show_what_help_shows(self):
        page = gzip.open(self.prefix / "usr/share/man/man1/talpa-serve.1.gz", "rt").read()
        options = re.findall(r"--[a-z][a-z-]+", run(self.program, "serve", "--help").stdout)
        self.assertGreater(len(options), 15)
        for option in options:
            self.assertIn(option.replace("-", "\\-"), page)

    def test_service_is_sound_and_confined(self):
        analyze = need("systemd-analyze")
        unit = self.scratch / "talpa.service"
        source = self.prefix / "usr/share/doc/talpa/examples/talpa.service"
        unit.write_text(source.read_text().replace("/usr/bin/talpa", str(self.program)))
        environment = {**os.environ, "MANPATH": str(self.prefix / "usr/share/man")}
        result = run(analyze, "verify", unit, env=environment)
        self.assertNotIn("talpa.service", result.stderr)
        run(analyze, "security", "--offline=true", "--threshold=20", unit)


class Image(unittest.TestCase):
    def test_hadolint_finds_nothing(self):
        result = run(need("hadolint"), ROOT / "packaging/Dockerfile")
        self.assertEqual(result.stdout, "")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("cpack", "build", "config"):
        parser.add_argument(f"--{name}", required=True)
    OPTIONS, rest = parser.parse_known_args()
    unittest.main(argv=[sys.argv[0]] + rest, verbosity=2)
