"""The programs that are compared: how each is started and what its output says.

A new one is a class with missing(), command() and read(), and a line in PROGRAMS.
"""

import dataclasses
import json
import os
import pathlib
import subprocess

import isas
from isas import ROOT
from summary import Phase

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
    """The user's, without what would change which libraries and threads programs use."""
    kept = {key: value for key, value in os.environ.items()
            if not key.startswith(("OMP_", "GOMP_", "KMP_", "MKL_", "GGML_", "TALPA_", "ATEN_",
                                   "ONEDNN_", "THP_", "LLAMA_CPP_", "IK_LLAMA_"))}
    return kept | dict(extra)


class Talpa:
    """talpa bench, which times random tokens of its own, drawn alike."""

    def __init__(self, binary, isa=isas.NATIVE):
        self.binary, self.isa = pathlib.Path(binary), isa
        self.environment = clean_environment(isas.TALPA[isa])

    def missing(self):
        if not self.binary.exists():
            return f"no {self.binary}: build talpa, or name it with --talpa"
        done = subprocess.run([self.binary, "bench", "--help"], capture_output=True, check=False)
        return f"{self.binary} has no bench command" if done.returncode else None

    def command(self, job):
        return [self.binary, "bench", job.model, "--prompt", job.prompt, "--decode", job.decode,
                "--rounds", 1, "--threads", job.threads, "--json", "--quiet"]

    def read(self, output, job):
        isas.check_talpa(output, self.isa)
        model = json.loads(output)["models"][0]
        return tuple(Phase(phase["tokens"], phase["seconds"], phase["core_seconds"],
                           *self.share(phase["share"]))
                     for phase in (model["prefill"], model["decode"]))

    def share(self, share):
        """Limits of arithmetic are those of the processor's best instructions."""
        if self.isa != isas.NATIVE and share["limit"] != "memory":
            return None, None
        return share["of_second"], share["limit"]


class LlamaCpp:
    """llama.cpp or ik_llama.cpp, by the module that holds it, with the library `needed`."""

    def __init__(self, module, environments, options=(), variables=(), needed=None):
        self.module, self.environments, self.options = module, environments, options
        self.environment, self.needed = clean_environment(variables), needed

    def python(self):
        for name in self.environments:
            package = self.module.partition(".")[0]
            if any((ROOT / name).glob(f"lib/python3*/site-packages/{package}")):
                return ROOT / name / "bin/python"
        return None

    def missing(self):
        if not self.python():
            return f"no Python module {self.module}: run bench/peers/setup"
        if self.needed and not self.needed.exists():
            return f"no {self.needed}: run bench/peers/setup --isa avx2"
        return None

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

    def __init__(self, isa=isas.NATIVE):
        self.environment = clean_environment(isas.TORCH[isa])

    python = ROOT / ".venv-oracle/bin/python"

    def missing(self):
        return None if self.python.exists() else "no .venv-oracle: run scripts/bootstrap --oracle"

    def command(self, job):
        return [self.python, HERE / "transformers_worker.py", job.model, job.ids, "--prompt",
                job.prompt, "--decode", job.decode, "--threads", job.threads]

    def read(self, output, job):
        result = json.loads(output)
        return tuple(Phase(**result[name]) for name in ("prefill", "decode"))


def all_programs(talpa, isa=isas.NATIVE):
    llama = ("llama_cpp", [".venv-peers", ".venv-oracle"])
    ik = ("ik_llama_cpp._ctypes_api", [".venv-peers"])
    llama_library = isas.LLAMA_AVX2 / "libllama.so" if isa == isas.AVX2 else None
    passive = {"OMP_WAIT_POLICY": "passive"}

    def llama_cpp(variables=()):
        return LlamaCpp(*llama, (), isas.llama_variables(isa) | dict(variables), llama_library)

    def ik_llama_cpp(options=(), variables=()):
        return LlamaCpp(*ik, options, isas.ik_variables(isa) | dict(variables))

    return {
        "talpa": Talpa(talpa, isa),
        "llama.cpp": llama_cpp(),
        "ik_llama.cpp": ik_llama_cpp(),
        "ik_llama.cpp-repacked": ik_llama_cpp(["--repack"]),
        "transformers": Transformers(isa),
        "llama.cpp-passive": llama_cpp(passive),
        "ik_llama.cpp-passive": ik_llama_cpp(variables=passive),
    }


DEFAULT = ["talpa", "llama.cpp", "ik_llama.cpp", "ik_llama.cpp-repacked"]
WITH_NEIGHBOUR = [*DEFAULT, "llama.cpp-passive", "ik_llama.cpp-passive"]
