"""The fastest this machine multiplies matrices, by what they are made of: what a model's speed is compared with."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch

from clipseg.runtime.linear import packed
from clipseg.runtime.precision import beside, native_int8

Way: TypeAlias = Callable[[torch.device, str, int], Callable[[], torch.Tensor] | None]

PRECISIONS = ("float32", "bfloat16", "int8")
SIDES = (512, 1024, 2048, 4096, 8192)
LONG = 0.05  # seconds of a product that is large enough
TIMES = 5


def matrix_peaks(
    device: torch.device, precisions: Sequence[str] = PRECISIONS, sides: Sequence[int] = (), times: int = TIMES
) -> dict[str, float]:
    """A device -> 10^9 operations a second by precision, 2 of them a multiply-add; those it cannot do are left out.

    The best of `times` products of square matrices of each side, SIDES unless others are given, which grow until a
    product takes LONG: of torch's own product and of that with packed weights, for either may be the slower one. int8
    multiplies 8 bits by 8 into 32.
    """
    found = {}
    for precision in precisions:
        best = _best(device, precision, sides or SIDES, times)
        if best is not None:
            found[precision] = best
    return found


def synchronised(device: torch.device) -> None:
    """Wait until a device has done all that it was given; a CPU always has."""
    if device.type in ("cuda", "mps"):
        getattr(torch, device.type).synchronize()


def _best(device: torch.device, precision: str, sides: Sequence[int], times: int) -> float | None:
    best = None
    for side in sides:
        seconds = [
            min(_seconds(product) for _ in range(times))
            for way in (_own_product, _packed_product)
            if (product := _working(way, device, precision, side)) is not None
        ]
        if not seconds:
            break
        best = max(best or 0.0, 2 * side**3 / min(seconds) / 1e9)
        if min(seconds) > LONG:
            break
    return best


def _working(way: Way, device: torch.device, precision: str, side: int) -> Callable[[], None] | None:
    """-> a product that was done once; None where torch has no such kernel here."""
    try:
        multiply = way(device, precision, side)
        if multiply is None:
            return None

        def product() -> None:
            multiply()
            synchronised(device)

        product()
    except (AttributeError, RuntimeError):  # RuntimeError: also what torch raises for a kernel that was not written
        return None
    return product


def _seconds(multiply: Callable[[], None]) -> float:
    start = time.perf_counter()
    multiply()
    return time.perf_counter() - start


def _own_product(device: torch.device, precision: str, side: int) -> Callable[[], torch.Tensor]:
    if precision == "int8":
        left = torch.ones(side, side, dtype=torch.int8, device=device)
        right = torch.ones(side, side, dtype=torch.int8, device=device).t()
        return lambda: torch._int_mm(left, right)
    square = torch.ones(side, side, dtype=getattr(torch, precision), device=device)
    return lambda: square @ square


def _packed_product(device: torch.device, precision: Any, side: int) -> Callable[[], torch.Tensor] | None:
    if device.type != "cpu" or (precision == "int8" and not native_int8(device)):
        return None
    layer = packed(torch.ones(side, side), None, precision, side)
    rows = torch.ones(side, side, dtype=getattr(torch, beside(precision, device)))

    def multiply() -> torch.Tensor:
        with torch.inference_mode():
            return layer(rows)

    return multiply
