"""The stack for signals is as it was, whatever an engine does to it."""

from __future__ import annotations

import ctypes
import sys

import pytest

import ready
from clipseg import Segmenter
from clipseg.runtime.signal_stack import _Stack, signal_stack_kept

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux is asked")


def now() -> tuple[int | None, int]:
    stack = _Stack()
    ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack))
    return stack.address, stack.size


def test_what_a_block_does_is_undone() -> None:
    before, room = now(), ctypes.create_string_buffer(1 << 16)
    other = _Stack(ctypes.addressof(room), 0, len(room))
    with signal_stack_kept():
        assert ctypes.CDLL(None).sigaltstack(ctypes.byref(other), None) == 0
        assert now() != before
    assert now() == before


def test_openvino_leaves_it_alone(openvino_folder) -> None:
    before = now()
    segmenter = Segmenter.from_pretrained(openvino_folder, backend="openvino")
    segmenter.encode(ready.picture())
    assert now() == before
