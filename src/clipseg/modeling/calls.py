"""What the forward calls share: options that fall back on the configuration, answers, and looks at tensors' values."""

from __future__ import annotations

from typing import Any

import torch

from clipseg.configuration.base import Configuration
from clipseg.modeling.outputs import OutputType


def flag(given: bool | None, configured: bool) -> bool:
    """An argument that may be left out -> its value, or the configured one."""
    return configured if given is None else bool(given)


def answer(output: OutputType, config: Configuration, return_dict: bool | None) -> OutputType | tuple[Any, ...]:
    """An output object -> itself, or its tuple where argument or configuration ask for that."""
    return output if flag(return_dict, config.use_return_dict) else output.to_tuple()


def distinct_rows(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Pictures (B, C, H, W) -> one of each that are equal, and for all B which of those it is; None if all differ.

    A grid of 75 or so values a picture tells most of them apart; only where that agrees are pictures compared whole.
    All are given back where nobody may look.
    """
    if not can_look_at(x) or len(x) < 2:
        return x, None
    sparse = x[:, :, :: max(1, x.shape[2] // 4), :: max(1, x.shape[3] // 4)].flatten(1).tolist()
    firsts: dict[tuple[float, ...], list[int]] = {}
    rows: list[int] = []
    which: list[int] = []
    for row, values in enumerate(sparse):
        alike = firsts.setdefault(tuple(values), [])
        same = next((first for first in alike if torch.equal(x[first], x[row])), row)
        if same == row:
            alike.append(row)
            rows.append(row)
        which.append(rows.index(same))
    return (x[rows], torch.tensor(which, device=x.device)) if len(rows) < len(x) else (x, None)


def spread(output: OutputType, which: torch.Tensor) -> OutputType:
    """An output for distinct rows -> the output for all rows, each a copy of the row it equals."""
    copies = {
        name: tuple(item[which] for item in value) if isinstance(value, tuple) else value[which]
        for name, value in output.items()
    }
    return type(output)(**copies)


def can_look_at(x: torch.Tensor) -> bool:
    """Whether code may depend on a tensor's values: not while a graph is compiled, traced or captured, nor without any.

    Fake tensors of exports are of another type and have no values either.
    """
    if (
        torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
        or type(x) is not torch.Tensor
        or x.is_meta
    ):
        return False
    return not (x.is_cuda and torch.cuda.is_current_stream_capturing())
