"""The programs that are compared: how each is started and what its output says.

A new one is a class with missing(), command() and read(), and a line in PROGRAMS.
"""

import dataclasses
import json
import os
import pathlib
import subprocess

from summary import Phase

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = ROOT / "bench/peers"


@dataclasses.dataclass(frozen=True)
class Job:
    """One run: `prompt` tokens at once, then `decode` single ones, from the ids of a file."""

    model: pathlib.Path
    ids: pathlib.Path
    prompt: int
    decode: int
    threads: int


def clean_environment(extra=()):
    """The user's, without what would change how programs use threads."""
    kept = {key: value for key, value in os.environ.items()
            if not key.startswith(("OMP_", "GOMP_", "KMP_", "GGML_", "TALPA_"))}
    return kept | dict(extra)


class Talpa:
    """talpa bench, which times random tokens of its own, drawn alike."""

    def __init__(self, binary):
        self.binary, self.environment = pathlib.Path(binary), clean_environment()

    def missing(self):
        if not self.binary.exists():
            return f"no {self.binary}: build talpa, or name it with --talpa"
        done = subprocess.run([self.binary, "bench", "--help"], capture_output=True, check=False)
        return f"{self.binary} has no bench command" if done.returncode else None

    def command(self, job):
        return [self.binary, "bench", job.model, "--prompt", job.prompt, "--decode", job.decode,
                "--rounds", 1, "--threads", job.threads, "--json", "--quiet"]

    def read(self, output, job):
        model = json.loads(output)["models"][0]
        return tuple(
            Phase(phase["tokens"], phase["seconds"], phase["core_seconds"],
                  phase["share"]["of_second"], phase["share"]["limit"])
            for phase in (model["prefill"], model["decode"]))


class LlamaCpp:
    """llama.cpp or ik_llama.cpp, by the module that holds it."""

    def __init__(self, module, environments, options=(), variables=()):
        self.module, self.environments, self.options = module, environments, options
        self.environment = clean_environment(variables)

    def python(self):
        for name in self.environments:
            package = self.module.partition(".")[0]
            if any((ROOT / name).glob(f"lib/python3*/site-packages/{package}")):
                return ROOT / name / "bin/python"
        return None

    def missing(self):
        return None if self.python() else f"no Python module {self.module}: run bench/peers/setup"

    def worker(self, task, job):
        return [self.python(), HERE / "llama_worker.py", task, job.model, job.ids, "--prompt",
                job.prompt, "--decode", job.decode, "--threads", job.threads, "--module",
                self.module, *self.options]

    def command(self, job):
        return self.worker("speed", job)

    def read(self, output, job):
        result = json.loads(output)
        return tuple(Phase(**result[name]) for name in ("prefill", "decode"))


class Transformers:
    """transformers on torch, with the weights of the GGUF written out to fp32."""

    environment = clean_environment()
    python = ROOT / ".venv-oracle/bin/python"

    def missing(self):
        return None if self.python.exists() else "no .venv-oracle: run scripts/bootstrap --oracle"

    def command(self, job):
        return [self.python, HERE / "transformers_worker.py", job.model, job.ids, "--prompt",
                job.prompt, "--decode", job.decode, "--threads", job.threads]

    def read(self, output, job):
        result = json.loads(output)
        return tuple(Phase(**result[name]) for name in ("prefill", "decode"))


def all_programs(talpa):
    llama = ("llama_cpp", [".venv-peers", ".venv-oracle"])
    ik = ("ik_llama_cpp._ctypes_api", [".venv-peers"])
    library = ROOT / ".venv-peers/ik_llama.cpp/libllama.so"  # for this processor, from setup
    native = {"IK_LLAMA_CPP_LIB_PATH": str(library)} if library.exists() else {}
    passive = {"OMP_WAIT_POLICY": "passive"}
    return {
        "talpa": Talpa(talpa),
        "llama.cpp": LlamaCpp(*llama),
        "ik_llama.cpp": LlamaCpp(*ik, variables=native),
        "ik_llama.cpp-repacked": LlamaCpp(*ik, ["--repack"], native),
        "transformers": Transformers(),
        "llama.cpp-passive": LlamaCpp(*llama, variables=passive),
        "ik_llama.cpp-passive": LlamaCpp(*ik, variables=native | passive),
    }


DEFAULT = ["talpa", "llama.cpp", "ik_llama.cpp", "ik_llama.cpp-repacked"]
WITH_NEIGHBOUR = [*DEFAULT, "llama.cpp-passive", "ik_llama.cpp-passive"]
