"""COCO's run lengths: a mask as the lengths of its runs, column by column, the first of them zeros.

    {"size": [H, W], "counts": "<ASCII>"}          compressed, what most tools expect
    {"size": [H, W], "counts": [n0, n1, n2, ...]}  plain

H W a mask's size, R its number of runs.
"""

from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from clipseg.errors import DataError, UsageError


class Rle(TypedDict):
    """A mask as run lengths, ready for JSON: `counts` is text, or a list where it is plain."""

    size: list[int]
    counts: str | list[int]


def compressed(mask: NDArray[np.bool_]) -> Rle:
    """(H, W) bool -> compressed run lengths as pycocotools makes them, `counts` as text. Raises UsageError."""
    checked_mask(mask)
    counts: bytes = coco_mask.encode(np.asfortranarray(mask.view(np.uint8)))["counts"]
    return {"size": list(mask.shape), "counts": counts.decode("ascii")}


def plain(mask: NDArray[np.bool_]) -> Rle:
    """(H, W) bool -> plain run lengths. Raises UsageError for anything but a mask."""
    flat = checked_mask(mask).ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = np.concatenate(([0, 0] if flat[0] else [0], changes, [flat.size]))
    return {"size": list(mask.shape), "counts": np.diff(starts).tolist()}


def decode(rle: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Run lengths of either form -> (H, W) bool.

    Raises DataError for anything malformed. The text is read here and not by pycocotools, which takes runs that do not
    fill the mask for granted.
    """
    try:
        height, width = (side for side in rle["size"] if type(side) is int and side > 0)
        counts = rle["counts"]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f'run lengths are {{"size": [H, W], "counts": ...}}; got {str(rle)[:80]}') from error
    if isinstance(counts, str | bytes):
        runs = _read_text(counts)
    else:
        if not isinstance(counts, list) or not all(type(run) is int and 0 <= run < 2**62 for run in counts):
            raise DataError(f"plain run lengths are a list of whole numbers; got {str(counts)[:80]}")
        runs = np.array(counts, np.int64)
    largest = height * width
    if (runs < 0).any() or (runs > largest).any() or runs.sum() != largest:
        raise DataError(f"run lengths must fill {height}x{width} = {largest} pixels; got a sum of {runs.sum()}")
    flat: NDArray[np.bool_] = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    mask: NDArray[np.bool_] = flat.reshape(width, height).T
    return mask


def _read_text(counts: str | bytes) -> NDArray[np.int64]:
    """Compressed counts -> runs (R,).

    A run is written in groups of five bits, the lowest first, each as a letter from "0" on; 32 says that more follow,
    and 16 in the last that the number is negative. From the fourth on it is the difference from the last but one.
    """
    try:
        letters = counts.encode("ascii") if isinstance(counts, str) else counts
    except UnicodeEncodeError as error:
        raise DataError("compressed run lengths are ASCII letters; got others") from error
    codes = np.frombuffer(letters, np.uint8).astype(np.int64) - 48
    if ((codes < 0) | (codes > 63)).any() or (len(codes) and codes[-1] & 32):
        raise DataError(f"compressed run lengths are letters from '0' to 'o', all complete; got {counts[:80]!r}")
    ends = np.flatnonzero(codes & 32 == 0)
    starts = np.concatenate((np.zeros(1, np.int64), ends[:-1] + 1))[: len(ends)]
    lengths = ends - starts + 1
    if len(lengths) and lengths.max() > 10:
        raise DataError("compressed run lengths hold a number beyond all pictures")
    shifts = 5 * (np.arange(len(codes)) - np.repeat(starts, lengths))
    values: NDArray[np.int64] = np.add.reduceat((codes & 31) << shifts, starts) if len(ends) else codes
    values -= np.where(codes[ends] & 16, np.int64(1) << (5 * lengths), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def checked_mask(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """-> the mask itself. Raises UsageError unless it is (H, W) bool with a pixel at least."""
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.ndim != 2 or not mask.size:
        got = f"{mask.shape} {mask.dtype}" if isinstance(mask, np.ndarray) else type(mask).__name__
        raise UsageError(f"a mask is an array (H, W) bool with a pixel at least; got {got}")
    return mask
