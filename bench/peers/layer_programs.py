"""The programs that layer.py compares: how each is started on a job and what its output says."""

import dataclasses
import json

import isas
import layer_shape
from programs import HERE, Talpa, clean_environment


@dataclasses.dataclass(frozen=True)
class Job:
    """A run on one layer: rows that pass together, weights held as `dtype`."""

    layer: layer_shape.Layer
    dtype: str
    rows: tuple
    threads: int
    distinct: int  # experts that talpa had, so that routings are the same
    seconds: float
    repeats: int


@dataclasses.dataclass(frozen=True)
class Timing:
    """One pass of the rows through the layer: seconds of the clock and of all cores together."""

    wall: float
    cpu: float
    bytes: float  # of weights read
    way: str = ""
    share: float | None = None
    limit: str | None = None


class TalpaLayer(Talpa):
    """talpa bench --layer: dense experts, and latent ones beside them."""

    def command(self, layer, dtypes, rows, options):
        latent = []
        if layer.latent:
            latent = ["--latent-dim", layer.latent.width, "--group-size", layer.latent.group_size,
                      "--factor", ",".join(layer.latent.factors)]
            latent += ["--share-gate-up"] if layer.latent.shared else []
        fewer = ["--num-experts", options.experts] if options.experts else []
        return [self.binary, "bench", "--config", layer.name, "--layer", "--dtype",
                ",".join(dtypes), "--rows", ",".join(map(str, rows)), "--rounds", options.repeats,
                "--threads", options.threads, "--json", "--quiet", *fewer, *latent]

    def read(self, output, layer):
        """{(layer, dtype, rows): Timing} and {dtype: distinct experts}; throws ValueError."""
        isas.check_talpa(output, self.isa)
        timings, distinct = {}, {}
        for found in json.loads(output)["layers"]:
            dtype, rows = found["dtype"].lower(), found["rows"]
            own = layer if found["latent"] else dataclasses.replace(layer, latent=None)
            timings[own, dtype, rows] = Timing(
                found["seconds"], found["core_seconds"], found["bytes"],
                "", *self.share(found["share"]))
            if own.latent is None:
                expert = own.expert_params * layer_shape.BYTES[dtype]
                distinct[dtype] = round(found["held_bytes"] / expert)
                check_work(own, rows, found["macs"])
        return timings, distinct


def check_work(layer, rows, macs):
    """The sizes here are talpa's."""
    expected = rows * layer.top_k * layer.expert_params
    if abs(macs / expected - 1) > 1e-6:
        raise ValueError(f"{layer.name}: talpa multiplies {macs:.0f} times, expected {expected}")


class Worker:
    """layer_worker.py with one of its programs."""

    dtypes = ("bf16", "f32")
    any_latent = False

    def __init__(self, program, environment, isa=isas.NATIVE):
        self.program, self.environment, self.isa = program, clean_environment(environment), isa

    def can(self, layer):
        return not layer.latent or self.any_latent or layer.is_moe_on_a_latent

    def values(self):
        return {"program": self.program, "isa": self.isa}

    def command(self, job):
        return [self.python(), HERE / "layer_worker.py",
                json.dumps(dataclasses.asdict(job) | self.values())]

    def read(self, output, job):
        """{rows: Timing}"""
        return {int(rows): Timing(found["wall"], found["cpu"], found["bytes"], found["way"])
                for rows, found in json.loads(output)["rows"].items()}


class TorchWorker(Worker):
    """In the environment that has torch and transformers."""

    def __init__(self, program, isa, environment):
        # Weights in huge pages, as talpa's are.
        super().__init__(program, isas.TORCH[isa] | {"THP_MEM_ALLOC_ENABLE": "1"} | environment,
                         isa)

    def python(self):
        return isas.ROOT / ".venv-oracle/bin/python"

    def missing(self):
        return (None if self.python().exists()
                else "no .venv-oracle: run scripts/bootstrap --oracle")


class TorchLoop(TorchWorker):
    any_latent = True


class Vllm(TorchWorker):
    """vLLM's operator without the rest of vLLM."""

    def missing(self):
        wanted = "_C_AVX2*" if self.isa == isas.AVX2 else "_C*"
        if not any((isas.PEERS / "vllm").glob(wanted)):
            return ("no operators of vLLM: run bench/peers/setup --vllm"
                    f"{isas.setup_option(self.isa)}")
        return super().missing()


class GgmlWorker(Worker):
    """llama.cpp's or ik_llama.cpp's kernels, without a model around them."""

    dtypes = ("bf16", "f32", "q8_0")

    def __init__(self, library, isa, environment, repack=False):
        super().__init__("ggml", environment, isa)
        self.library, self.repack = library, repack
        if repack:  # it rearranges no f32
            self.dtypes = ("bf16", "q8_0")

    def python(self):
        return isas.PEERS / "bin/python"

    def missing(self):
        if self.library and self.python().exists():
            return None
        return f"no library of it: run bench/peers/setup{isas.setup_option(self.isa)}"

    def values(self):
        return super().values() | {"library": str(self.library), "repack": self.repack}


def peers(isa=isas.NATIVE, passive=False):
    environment = {"OMP_WAIT_POLICY": "passive"} if passive else {}
    llama, ik = isas.llama_ggml(isa), isas.ik_ggml(isa)
    return {"torch": TorchLoop("torch", isa, environment),
            "transformers": TorchWorker("transformers", isa, environment),
            "vllm": Vllm("vllm", isa, environment),
            "llama.cpp": GgmlWorker(llama, isa, environment),
            "ik_llama.cpp": GgmlWorker(ik, isa, environment),
            "ik_llama.cpp-repacked": GgmlWorker(ik, isa, environment, repack=True)}
