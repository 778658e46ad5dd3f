"""Whether a llama.cpp module was built for this processor; says what it lacks.

usage: native.py MODULE [--isa avx2]
Exit status 0 if it uses all instructions of this processor that its kernels know, else 1. With
--isa avx2: if it uses AVX2, FMA and F16C and nothing newer.
"""

import ctypes
import importlib
import re
import sys

AVX2 = {"avx2": "AVX2", "fma": "FMA", "f16c": "F16C"}
FLAGS = AVX2 | {"avx512f": "AVX512", "avx512_vnni": "AVX512_VNNI", "avx512_bf16": "AVX512_BF16"}
NEWER = re.compile("AVX512|AVX_VNNI|AMX")


def processor_flags():
    with open("/proc/cpuinfo", encoding="ascii") as file:
        return set(re.search(r"^flags\s*:(.*)$", file.read(), re.M).group(1).split())


def used_instructions(module):
    api = importlib.import_module(module)
    if not hasattr(api, "llama_print_system_info"):  # a module that binds only what it needs
        api = importlib.import_module(f"{module}._ctypes_api")._lib
    api.llama_print_system_info.restype = ctypes.c_char_p
    return set(re.findall(r"(\w+) = 1", api.llama_print_system_info().decode()))


def main():
    module, avx2_only = sys.argv[1], sys.argv[2:] == ["--isa", "avx2"]
    used = used_instructions(module)
    wanted = AVX2 if avx2_only else FLAGS
    lacking = [name for flag, name in wanted.items()
               if flag in processor_flags() and name not in used]
    newer = sorted(filter(NEWER.match, used)) if avx2_only else []
    print(f"{module} uses {' '.join(sorted(used))}"
          + (f"; this processor also has {' '.join(lacking)}" if lacking else "")
          + (f"; AVX2 has no {' '.join(newer)}" if newer else ""))
    return 1 if lacking or newer else 0


sys.exit(main())
