"""The fastest this machine multiplies matrices, by what they are made of: what a model's speed is compared with."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch

PRECISIONS = ("float32", "bfloat16", "int8")
SIDES = (512, 1024, 2048, 4096, 8192)
LONG = 0.05  # seconds of a product that is large enough
TIMES = 5


def matrix_peaks(
    device: torch.device, precisions: Sequence[str] = PRECISIONS, sides: Sequence[int] = (), times: int = TIMES
) -> dict[str, float]:
    """A device -> 10^9 operations a second by precision, 2 of them a multiply-add; those it cannot do are left out.

    The best of `times` products of square matrices of each side, SIDES unless others are given, which grow until a
    product takes LONG. int8 is what torch multiplies, 8 bits by 8 into 32.
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
        try:
            multiply = _product(device, precision, side)
            multiply()
        except (AttributeError, NotImplementedError, RuntimeError):  # torch has no such kernel here
            return best
        seconds = min(_seconds(multiply) for _ in range(times))
        best = max(best or 0.0, 2 * side**3 / seconds / 1e9)
        if seconds > LONG:
            break
    return best


def _seconds(multiply: Callable[[], None]) -> float:
    start = time.perf_counter()
    multiply()
    return time.perf_counter() - start


def _product(device: torch.device, precision: str, side: int) -> Callable[[], None]:
    if precision == "int8":
        left = torch.ones(side, side, dtype=torch.int8, device=device)
        right = torch.ones(side, side, dtype=torch.int8, device=device).t()
        multiply: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = torch._int_mm
    else:
        left = torch.ones(side, side, dtype=getattr(torch, precision), device=device)
        right, multiply = left, torch.mm

    def product() -> None:
        multiply(left, right)
        synchronised(device)

    return product
