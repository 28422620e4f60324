"""The stack that signals are handled on, kept as it was.

Compiling a model, OpenVINO gives the thread that asks it to a stack of its own for signals, of 11 kB, and leaves it
there. Python handles every signal on such a stack, and on a processor with AVX-512 that is too little: the next Ctrl-C,
or the end of a worker process, would be the end of the program. Linux only; elsewhere nothing is done.

Source: sigaltstack(2).
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class _Stack(ctypes.Structure):
    """`stack_t` of Linux."""

    _fields_ = (("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextmanager
def signal_stack_kept() -> Iterator[None]:
    """Whatever the block does to this thread's stack for signals is undone after it."""
    change = getattr(ctypes.CDLL(None), "sigaltstack", None) if sys.platform.startswith("linux") else None
    if change is None:
        yield
        return
    before = _Stack()
    change(None, ctypes.byref(before))
    try:
        yield
    finally:
        change(ctypes.byref(before), None)
