"""Whether a llama.cpp module was built for this processor; says what it lacks.

usage: native.py MODULE
Exit status 0 if it uses all instructions of this processor that its kernels know, else 1.
"""

import ctypes
import importlib
import re
import sys

FLAGS = {"avx2": "AVX2", "fma": "FMA", "f16c": "F16C", "avx512f": "AVX512",
         "avx512_vnni": "AVX512_VNNI", "avx512_bf16": "AVX512_BF16"}


def processor_flags():
    with open("/proc/cpuinfo", encoding="ascii") as file:
        return set(re.search(r"^flags\s*:(.*)$", file.read(), re.M).group(1).split())


def main():
    api = importlib.import_module(sys.argv[1])
    if not hasattr(api, "llama_print_system_info"):  # a module that binds only what it needs
        api = importlib.import_module(f"{sys.argv[1]}._ctypes_api")._lib
    api.llama_print_system_info.restype = ctypes.c_char_p
    said = api.llama_print_system_info().decode()
    used = set(re.findall(r"(\w+) = 1", said))
    lacking = [name for flag, name in FLAGS.items()
               if flag in processor_flags() and name not in used]
    print(f"{sys.argv[1]} uses {' '.join(sorted(used))}"
          + (f"; this processor also has {' '.join(lacking)}" if lacking else ""))
    return 1 if lacking else 0


sys.exit(main())
