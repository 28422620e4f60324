"""The one callable that every engine runs: items -> rows of a part. No picture makes it raise."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import islice
from typing import Any

from clipseg.answering import Answered
from clipseg.batch.columns import Row, error_row, row_of, table_of
from clipseg.batch.items import Fetched, Item, fetched
from clipseg.batch.settings import BatchConfig
from clipseg.batch.wording import identity
from clipseg.behind import StoppedError, following
from clipseg.errors import ClipsegError, PictureError
from clipseg.masks.masks import Masks
from clipseg.processing.on_demand import SettledPicture
from clipseg.prompting.expressions import Term
from clipseg.prompting.prompts import parse
from clipseg.segmenter import Segmenter

BEHIND = 4
"""Pictures whose masks wait to become rows, at most, while the model goes on."""

TOGETHER = 4
"""Pictures that one of several lanes takes through the model together, at most: it gains nothing of more."""

_REMEMBERED = 64  # questions of items that have prompts of their own

Stopped = Callable[[], bool]


@dataclass(frozen=True)
class Asking:
    """What is asked of a picture: a function of pictures, and the ids of the prompts."""

    answered: Answered
    prompt_ids: tuple[str, ...]


class SegmentRows:
    """Items -> the table of their rows, in order. A picture's failure is its row's `error`, and nobody else's.

    A value of the model and the question: it may be called for any part, in any process, any number of times.
    """

    def __init__(
        self, segmenter: Segmenter, config: BatchConfig, prompts: Sequence[Term], negative: Sequence[Term] = ()
    ) -> None:
        self._segmenter = segmenter
        self._config = config
        self._prompts, self._negative = tuple(prompts), tuple(negative)
        self._own: dict[tuple[str, ...], Asking] = {}
        self._asking_lock = threading.Lock()  # lanes may ask the same

    def embed(self) -> None:
        """Embed the prompts now, those aside that items have of their own: no text is asked for them any more."""
        _ = self._common

    def __call__(
        self, items: Sequence[Item], contents: Iterable[Fetched] | None = None, stopped: Stopped = lambda: False
    ) -> Any:
        """Items, and the bytes of each if they were fetched already -> a pyarrow table as `columns.schema` has it.

        Raises StoppedError as soon as `stopped` says so.
        """
        return table_of(self.rows(items, contents, stopped), heatmap=self._config.heatmap)

    def rows(
        self, items: Sequence[Item], contents: Iterable[Fetched] | None = None, stopped: Stopped = lambda: False
    ) -> Iterator[Row]:
        """As a call, row by row."""
        coming = fetched(items, 2 * self._config.batch_size) if contents is None else iter(contents)
        lanes = self._segmenter.lanes
        made = self._in_turn if len(items) < 2 * lanes or lanes < 2 else partial(self._in_lanes, lanes)
        with closing(made(items, coming, stopped)) as rows:
            for row in rows:
                yield row
                if stopped():
                    raise StoppedError

    def _in_turn(
        self, items: Sequence[Item], contents: Iterator[Fetched], stopped: Stopped
    ) -> Generator[Row, None, None]:
        """One batch after another through the model, which has the whole machine; rows are made behind it."""
        begun = time.perf_counter()
        with closing(following(self._calls(items, contents, stopped), BEHIND)) as rows:
            for row in rows:
                now = time.perf_counter()
                row["ms"], begun = 1000 * (now - begun), now
                yield row

    def _in_lanes(
        self, lanes: int, items: Sequence[Item], contents: Iterator[Fetched], stopped: Stopped
    ) -> Generator[Row, None, None]:
        """Several batches side by side, each all the way from its files to its rows, in a thread of its own."""

        def alone(share: Sequence[Item], own: Iterable[Fetched], ended: Stopped) -> list[Row]:
            begun = time.perf_counter()
            calls = self._calls(share, iter(own), lambda: stopped() or ended(), alone=True)
            rows = [call(ended) for call in calls]
            each = 1000 * (time.perf_counter() - begun) / len(rows)
            return [row | {"ms": each} for row in rows]

        shares = _shares(items, lanes, min(TOGETHER, self._config.batch_size))
        calls = (partial(alone, share, list(islice(contents, len(share)))) for share in shares)
        with closing(following(calls, 2 * lanes, lanes)) as made:
            for rows in made:
                yield from rows

    def _calls(
        self, items: Sequence[Item], contents: Iterator[Fetched], stopped: Stopped, *, alone: bool = False
    ) -> Iterator[Callable[[Stopped], Row]]:
        """Items in order -> what makes the row of each; neighbours asked the same go through the model together."""
        start = 0
        while start < len(items):
            asked = items[start].prompts
            stop = start + 1
            while stop < len(items) and items[stop].prompts == asked:
                stop += 1
            try:
                asking = self._asking(asked)
            except ClipsegError as error:  # a prompt of its own that cannot be read
                for item in items[start:stop]:
                    next(contents)
                    yield partial(_failed, item, error)
            else:
                answered = replace(asking.answered, alone=alone)
                yield from self._answered(Asking(answered, asking.prompt_ids), items[start:stop], contents, stopped)
            start = stop

    def _answered(
        self, asking: Asking, items: Sequence[Item], contents: Iterator[Fetched], stopped: Stopped
    ) -> Iterator[Callable[[Stopped], Row]]:
        """Items that are asked the same -> what makes the row of each.

        A picture that could not be fetched is not shown to the model, and told in its turn.
        """
        waiting: deque[tuple[Item, PictureError | None]] = deque()

        def pictures() -> Iterator[SettledPicture]:
            for item in items:
                if stopped():
                    raise StoppedError
                content = next(contents)
                if isinstance(content, PictureError):
                    waiting.append((item, content))
                else:
                    waiting.append((item, None))
                    yield content

        for masks in asking.answered.each(pictures()):
            while waiting[0][1] is not None:
                yield partial(_failed, *waiting.popleft())
            item, _ = waiting.popleft()
            yield partial(self._row, item, asking.prompt_ids, masks)
        for item, failure in waiting:
            yield partial(_failed, item, failure)

    def _row(self, item: Item, prompt_ids: Sequence[str], masks: Masks | PictureError, _stopped: Stopped) -> Row:
        if isinstance(masks, PictureError):
            return error_row(item, masks)
        try:
            return row_of(item, masks, prompt_ids, heatmap=self._config.heatmap)
        except (ClipsegError, MemoryError) as error:  # such as a picture that is needed in full only now
            return error_row(item, error)
        except RuntimeError as error:  # what torch makes of a mask that is too large for this machine
            if "allocate memory" not in str(error):
                raise
            return error_row(
                item, MemoryError(f"there is too little for masks of {masks.size_hw[0]}x{masks.size_hw[1]}")
            )

    def _asking(self, own: list[str] | None) -> Asking:
        if own is None:
            return self._common
        key = tuple(own)
        with self._asking_lock:
            if key not in self._own:
                if len(self._own) >= _REMEMBERED:
                    self._own.clear()
                self._own[key] = self._asked([parse(text) for text in own])
            return self._own[key]

    @cached_property
    def _common(self) -> Asking:
        return self._asked(self._prompts)

    def _asked(self, prompts: Sequence[Term]) -> Asking:
        config = self._config
        answered = self._segmenter.asking(
            prompts,
            negative=self._negative,
            combine=config.combine,
            fit=config.fit,
            tile=config.tile,
            overlap=config.overlap,
            reduced_decoding=config.reduced_decoding,
            batch_size=config.batch_size,
            **config.mask,
        )
        ids = tuple(map(identity, prompts))
        return Asking(answered, ids if config.combine is None else (_joined(ids, config.combine),))


def _shares(items: Sequence[Item], lanes: int, most: int) -> Iterator[Sequence[Item]]:
    """Items -> the same in shares of `most`, at most, and smaller ones towards the end: lanes are to end together."""
    start = 0
    while start < len(items):
        size = max(1, min(most, (len(items) - start) // (2 * lanes)))
        yield items[start : start + size]
        start += size


def _failed(item: Item, error: Exception | None, _stopped: Stopped) -> Row:
    return error_row(item, error or PictureError(f"{item.uri} was not read"))


def _joined(ids: Sequence[str], combine: str) -> str:
    """The ids of prompts that become one mask, and how -> the id of that."""
    import hashlib

    return hashlib.sha256(" ".join((combine, *ids)).encode()).hexdigest()[:16]
