"""A model as intent-server computes it, without the server: CTorch's library, called on the calling thread."""

import ctypes
import os
import pathlib
import time
from ctypes import byref

ROOT = pathlib.Path(__file__).resolve().parent.parent
PRECISIONS = ["float32", "bfloat16", "float16"]


class BareModel:
    """A loaded TorchScript model of two inputs and two outputs."""

    def __init__(self, path: str, threads: int, precision: str = "auto", device: str = "cpu", library: str = str(ROOT / ".build/release/libCTorch.so")) -> None:
        # Read once, when the library comes in.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        self.library = ctypes.CDLL(library)
        self.library.ctorch_cpu_prefers_bfloat16.restype = ctypes.c_bool
        if precision == "auto":
            precision = "float16" if device != "cpu" else "bfloat16" if self.library.ctorch_cpu_prefers_bfloat16() else "float32"
        self.precision = precision
        self.handle, message = ctypes.c_void_p(), ctypes.c_char_p()
        self._check(self.library.ctorch_set_intra_op_threads(threads, byref(message)), message)
        code = self.library.ctorch_module_load(os.fsencode(path), device.encode(), PRECISIONS.index(precision), 2, 2, byref(self.handle), byref(message))
        self._check(code, message)

    def seconds(self, rows: int, length: int, seconds: float, least: int = 3) -> list[float]:
        """How long each pass of a shape takes, one after the other for so long and at least so many times, after one that does not count."""
        # What the library is called with is put together once: only its own time counts.
        count = rows * length
        ids, mask = (ctypes.c_int64 * count)(*[200 + i % 100 for i in range(count)]), (ctypes.c_int64 * count)(*[1] * count)
        data = (ctypes.c_void_p * 2)(ctypes.addressof(ids), ctypes.addressof(mask))
        ranks, dimensions = (ctypes.c_int32 * 2)(2, 2), (ctypes.c_int64 * 4)(rows, length, rows, length)
        outputs, message = ctypes.c_void_p(), ctypes.c_char_p()
        outputs_address, message_address = byref(outputs), byref(message)
        forward, free = self.library.ctorch_module_forward, self.library.ctorch_outputs_free

        def one_pass() -> float:
            start = time.perf_counter()
            code = forward(self.handle, data, ranks, dimensions, 2, outputs_address, message_address)
            took = time.perf_counter() - start
            self._check(code, message)
            free(outputs)
            return took

        one_pass()
        times: list[float] = []
        began = time.perf_counter()
        while len(times) < least or time.perf_counter() - began < seconds:
            times.append(one_pass())
        return times

    @staticmethod
    def _check(code: int, message: ctypes.c_char_p) -> None:
        if code != 0:
            raise RuntimeError((message.value or b"CTorch failed").decode())
