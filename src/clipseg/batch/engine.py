"""How a run is carried out: by whom, and what ends it early. Nothing of it changes what comes out."""

from __future__ import annotations

import re
from dataclasses import dataclass

from clipseg.batch.parts import Loading
from clipseg.checkpoints.files import parse_size
from clipseg.errors import UsageError

ENGINES = ("local", "ray")
MIN_FREE = "200MB"
MAX_ERROR_RATE = 0.5
DEFAULT_LOADING = Loading()

_SHARD = re.compile(r"(\d+)/(\d+)")


@dataclass(frozen=True, kw_only=True)
class Engine:
    """How a run is carried out.

    Fields
        name            "local" or "ray"
        workers         processes; None: one, or on several GPUs one for each
        shard           which share of the parts, counted from 0, of how many; None: all
        loading         how the model is loaded
        max_error_rate  part of all pictures that may fail before the run does
        min_free        bytes that are to stay free where results are written
        address         of a Ray cluster that is there already; None: one of this machine
    """

    name: str = "local"
    workers: int | None = None
    shard: tuple[int, int] | None = None
    loading: Loading = DEFAULT_LOADING
    max_error_rate: float = MAX_ERROR_RATE
    min_free: int = 0
    address: str | None = None

    def __post_init__(self) -> None:
        if self.name not in ENGINES:
            raise UsageError(f"engine is {self.name!r}; known are {', '.join(ENGINES)}")
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"workers is {self.workers}; expected at least 1")
        if not 0 <= self.max_error_rate <= 1:
            raise UsageError(f"max_error_rate is {self.max_error_rate}; expected a number from 0 to 1")
        if self.shard is not None and not 0 <= self.shard[0] < self.shard[1]:
            raise UsageError(f"shard is {self.shard[0]}/{self.shard[1]}; expected i/n with i from 0 to n - 1")
        if self.shard is not None and self.name == "ray":
            raise UsageError("a Ray cluster shares the work by itself; leave out the shard, or use engine local")
        if self.address is not None and self.name != "ray":
            raise UsageError(f"address {self.address!r} is of a Ray cluster; add engine ray, or leave it out")


def read_size(text: int | str) -> int:
    """Bytes, or text such as "200MB" or "0" -> bytes. Raises UsageError."""
    return int(text) if str(text).isdecimal() else parse_size(text)


def read_shard(text: str) -> tuple[int, int]:
    """i/n, with i from 0 to n - 1 or from 1 to n -> which share, counted from 0, of how many. Raises UsageError."""
    match = _SHARD.fullmatch(text.strip())
    if match is None or not int(match[2]) or int(match[1]) > int(match[2]):
        raise UsageError(f"shard is {text!r}; expected i/n, such as 0/8 to 7/8 or 1/8 to 8/8")
    return int(match[1]) % int(match[2]), int(match[2])
