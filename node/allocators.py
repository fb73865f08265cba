"""What the allocators of this process have in use: the part of Platform that asks them.

Python's objects live in two places, and each keeps its own books: pymalloc has blocks of up to 512 bytes in arenas of a
mebibyte, the C library has everything bigger (and what C code asks for itself). CPython prints its books where one
lets it write to a C stream, glibc gives them by `mallinfo2`. Neither counts as it goes: pymalloc looks at the head of
each pool (10 ns for 16 KiB when warm), glibc walks its list of free pieces (some 100 ns each). So an answer costs 20 us
in a small process, a millisecond a gigabyte, and more where bigger values left many holes: whoever asks watches that.

Where one of them cannot be asked (another C library, another Python), what is resident stands for what is in use.
"""

import ctypes
import re
from collections.abc import Callable
from typing import NamedTuple

_IN_BLOCKS = re.compile(rb"# bytes in allocated blocks\s*=\s*([\d,]+)")
_ARENAS = re.compile(rb"([\d,]+) arenas \* (\d+) bytes/arena")


class Allocated(NamedTuple):
    """Bytes: `used` are in use by somebody, `held` are what the allocators have taken from the system for them."""

    used: int
    held: int


class _Mallinfo2(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    ]  # fmt: skip


class Allocators:
    """The two allocators. Raises AttributeError where they cannot be asked."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None)
        self._mallinfo = libc.mallinfo2
        self._mallinfo.restype = _Mallinfo2
        self._trim = libc.malloc_trim
        self._trim.argtypes = [ctypes.c_size_t]
        self._open_memstream = libc.open_memstream
        self._open_memstream.restype = ctypes.c_void_p
        self._open_memstream.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        self._close = libc.fclose
        self._close.argtypes = [ctypes.c_void_p]
        self._free = libc.free
        self._free.argtypes = [ctypes.c_void_p]
        self._print_blocks = ctypes.pythonapi._PyObject_DebugMallocStats
        self._print_blocks.argtypes = [ctypes.c_void_p]
        self._print_info = libc.malloc_info
        self._print_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
        self.allocated()

    def allocated(self) -> Allocated:
        """What is in use now. Raises AttributeError if CPython prints something unknown."""
        text = self._printed(self._print_blocks)
        blocks, arenas = _IN_BLOCKS.search(text), _ARENAS.search(text)
        if blocks is None or arenas is None:
            raise AttributeError("pymalloc's books have another form")
        info = self._mallinfo()
        small = int(blocks[1].replace(b",", b""))
        small_held = int(arenas[1].replace(b",", b"")) * int(arenas[2])
        return Allocated(small + info.uordblks + info.hblkhd, small_held + info.arena + info.hblkhd)

    def report(self) -> str:
        """Both books, for people."""
        big = self._printed(lambda stream: self._print_info(0, stream))
        return (self._printed(self._print_blocks) + b"\n" + big).decode("utf-8", "replace")

    def trim(self) -> None:
        """Give free pages back to the system."""
        self._trim(0)

    def _printed(self, write: Callable[[int | None], object]) -> bytes:
        """What `write` writes to a C stream."""
        buffer, size = ctypes.c_void_p(), ctypes.c_size_t()
        stream = self._open_memstream(ctypes.byref(buffer), ctypes.byref(size))
        try:
            write(stream)
        finally:
            self._close(stream)
        text = ctypes.string_at(buffer, size.value)
        self._free(buffer)
        return text


def find_allocators() -> Allocators | None:
    """The allocators of this process, None where they cannot be asked."""
    try:
        return Allocators()
    except (AttributeError, OSError):
        return None
