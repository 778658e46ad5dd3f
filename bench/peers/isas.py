"""What programs may use of the processor: everything, or AVX2, FMA and F16C and nothing newer."""

import json
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
PEERS = ROOT / ".venv-peers"
NATIVE, AVX2 = "native", "avx2"
NAMES = (NATIVE, AVX2)

TALPA = {NATIVE: {}, AVX2: {"TALPA_IMPL": "matmul:avx2,rows:avx2"}}
TORCH = {NATIVE: {}, AVX2: {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2",
                            "MKL_ENABLE_INSTRUCTIONS": "AVX2"}}
LLAMA_AVX2 = PEERS / "avx2/llama.cpp"
IK_NATIVE = PEERS / "ik_llama.cpp/libllama.so"


def llama_variables(isa):
    return {"LLAMA_CPP_LIB_PATH": str(LLAMA_AVX2)} if isa == AVX2 else {}


def ik_variables(isa):
    """Its wheel is the build for AVX2; setup compiles one for this processor."""
    return {"IK_LLAMA_CPP_LIB_PATH": str(IK_NATIVE)} if isa == NATIVE and IK_NATIVE.exists() else {}


def first(paths):
    return next((path for path in paths if path.exists()), None)


def llama_ggml(isa):
    """The folder of llama.cpp's libraries, or None."""
    installed = (folder for name in (".venv-peers", ".venv-oracle")
                 for folder in (ROOT / name).glob("lib/python3*/site-packages/llama_cpp/lib"))
    return first([LLAMA_AVX2] if isa == AVX2 else installed)


def ik_ggml(isa):
    """ik_llama.cpp's library of kernels, or None."""
    wheel = PEERS.glob("lib/python3*/site-packages/ik_llama_cpp_python.libs/libggml-*.so")
    return first([*([IK_NATIVE.parent / "libggml.so"] if isa == NATIVE else []), *wheel])


def setup_option(isa):
    return "" if isa == NATIVE else f" --isa {isa}"


def add_option(parser):
    parser.add_argument("--isa", choices=NAMES, default=NATIVE,
                        help="avx2: peers compiled for AVX2, talpa and torch restricted to it "
                        "(needs setup --isa avx2)")


def check_talpa(output, isa):
    """Throws ValueError if talpa's report names kernels that `isa` leaves out."""
    if isa == NATIVE:
        return
    kernels = json.loads(output)["machine"]["kernels"]
    if "avx512" in kernels or "amx" in kernels:
        raise ValueError(f"talpa was to use AVX2 alone, and used {kernels}")


def description(isa):
    return ("all instructions of the processor" if isa == NATIVE else
            "AVX2 alone: peers compiled for it, talpa and torch restricted to it")
