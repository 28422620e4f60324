"""Options that several commands share, with one name, one default and one meaning."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from clipseg.segmenter import Segmenter

Function = TypeVar("Function", bound=Callable[..., Any])

DTYPES = ("float32", "bfloat16", "float16")

_LOADING = (
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, mps, …"),
    click.option("--dtype", type=click.Choice(("auto", *DTYPES)), default="auto", show_default=True),
    click.option("--offline", is_flag=True, help="Use only what is on this machine."),
)


def loading_options(command: Function) -> Function:
    """Add the options of `load_segmenter` to a command."""
    for option in reversed(_LOADING):
        command = option(command)
    return command


def load_segmenter(model: str, device: str, dtype: str, offline: bool) -> Segmenter:
    """A model's name and the options above -> the segmenter. Raises what `Segmenter.from_pretrained` does."""
    from clipseg.segmenter import Segmenter

    return Segmenter.from_pretrained(model, device=device, dtype=dtype, local_files_only=offline)
