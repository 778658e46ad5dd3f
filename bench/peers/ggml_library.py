"""The C functions of ggml that a graph of experts needs, from either program's libraries."""

import ctypes
import mmap
import pathlib

P, I, L = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
TYPES = {"f32": 0, "q8_0": 8, "i32": 26, "bf16": 30}
HUGE_PAGE = 2 << 20


class InitParams(ctypes.Structure):
    _fields_ = [("mem_size", ctypes.c_size_t), ("mem_buffer", P), ("no_alloc", ctypes.c_bool)]


class ComputePlan(ctypes.Structure):
    """Both programs' begin so; the rest is theirs."""

    _fields_ = [("work_size", ctypes.c_size_t), ("work_data", P), ("rest", ctypes.c_uint8 * 112)]


SIGNATURES = {
    "ggml_init": (P, InitParams), "ggml_free": (None, P), "ggml_get_data": (P, P),
    "ggml_tensor_overhead": (ctypes.c_size_t,), "ggml_graph_overhead": (ctypes.c_size_t,),
    "ggml_new_tensor_2d": (P, P, I, L, L), "ggml_new_tensor_3d": (P, P, I, L, L, L),
    "ggml_reshape_3d": (P, P, P, L, L, L),
    "ggml_view_2d": (P, P, P, L, L, ctypes.c_size_t, ctypes.c_size_t),
    "ggml_mul_mat": (P, P, P, P), "ggml_mul_mat_id": (P, P, P, P, P), "ggml_mul": (P, P, P, P),
    "ggml_add": (P, P, P, P), "ggml_swiglu_split": (P, P, P, P),
    "ggml_new_graph": (P, P), "ggml_build_forward_expand": (None, P, P),
    "ggml_graph_plan": (ComputePlan, P, I, P), "ggml_graph_compute": (I, P, P),
    "ggml_quantize_chunk": (ctypes.c_size_t, I, P, P, L, L, L, P),
    "ggml_cpu_init": (None,),
    "ggml_moe_up_gate": (P, P, P, P, P, P, I), "ggml_mul_multi_add": (P, P, P, P),
    "iqk_repack_tensor": (None, P),
}


class Ggml:
    """Functions by their names without ggml_; those that the libraries lack are absent."""

    def __init__(self, libraries):
        loaded = [ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL) for path in libraries]
        for name, (result, *arguments) in SIGNATURES.items():
            for library in loaded:
                if hasattr(library, name):
                    function = getattr(library, name)
                    function.restype, function.argtypes = result, arguments
                    setattr(self, name.removeprefix("ggml_"), function)
        if hasattr(self, "cpu_init"):
            self.cpu_init()


class Context:
    """Tensors in memory of huge pages, as talpa's weights are in."""

    def __init__(self, ggml, data_bytes, tensors=64):
        self.ggml = ggml
        size = int(data_bytes) + tensors * (ggml.tensor_overhead() + 64) + ggml.graph_overhead()
        self.memory = mmap.mmap(-1, -(-size // HUGE_PAGE) * HUGE_PAGE,
                                flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.memory.madvise(mmap.MADV_HUGEPAGE)
        self.start = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        self.handle = ggml.init(InitParams(len(self.memory), self.start, False))
        if not self.handle:
            raise MemoryError("ggml_init failed")

    def tensor(self, kind, *shape):
        """`shape` in numpy's order."""
        make = self.ggml.new_tensor_3d if len(shape) == 3 else self.ggml.new_tensor_2d
        return make(self.handle, TYPES[kind], *reversed(shape))


def libraries_of(path):
    """libggml.so, whole or in two parts in the folder of that name; a wheel brings libgomp too."""
    path = pathlib.Path(path)
    if path.is_dir():
        return [path / "libggml-base.so", path / "libggml-cpu.so"]
    return [*path.parent.glob("libgomp-*.so*"), path]
