"""One owner of the model: a thread that answers what all clients ask, together where that is faster.

Whatever has come in while the thread was busy is its next round. In a round every picture that is not known yet is
encoded once, several together; and all prompts that are asked of one picture, by whomever, are decoded in one call.
Nobody waits for a round to fill up; but while answers of the last one are still being finished, on the same processors,
the next one lets them pass, for a moment. Those who get them often ask again at once, and are in it then.

Shapes: L distinct prompts of a question · h, w low-resolution logits.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeAlias, TypeVar

import torch
from PIL import Image

from clipseg.features import PICTURE_BATCH, ImageFeatures
from clipseg.fits import Fit
from clipseg.processing.on_demand import PictureOnDemand
from clipseg.prompting.prompts import TextPrompt
from clipseg.prompting.questions import Question
from clipseg.segmenter import Segmenter
from clipseg.server.metrics import Metrics
from clipseg.server.pictures import Bounded, Picture
from clipseg.server.refusals import NotReadyError, RefusedError
from clipseg.server.settings import Limits
from clipseg.server.tickets import Ticket

T = TypeVar("T")

MOST_PROMPTS = 256
"""Prompts in one round: others wait for the next, so that no round keeps them long."""

TILED_PROMPTS = 16
"""Prompts that are decoded together on a picture in tiles, whose maps may have 2048 cells a side: 16 MB each."""

PATIENCE = 0.03
"""Seconds that a round is put off, at most, while other work needs the processors."""

FeatureKey: TypeAlias = "tuple[str, Fit]"
"""A picture's id, and how it is brought to the model's input."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """What the model says of one question.

    Fields
        maps     (R, h, w), logits of all prompts of the round on this picture
        places   of the question's prompts in them
        encoded  whether the picture had to be encoded for it
        since    when it was asked
        begun    when its round began, by the same clock
    """

    maps: torch.Tensor
    places: Sequence[int]
    encoded: bool
    since: float
    begun: float

    @property
    def logits(self) -> torch.Tensor:
        """(L, h, w) of the question's prompts, in their order: a copy, made by who needs it and not by the engine."""
        return self.maps[list(self.places)]

    @property
    def queued_ms(self) -> float:
        """How long it waited for its round."""
        return round(1000 * (self.begun - self.since), 2)


@dataclass(eq=False)
class _Asked:
    """A question about a picture, and who waits for its answer."""

    ticket: Ticket
    picture: Picture
    source: Image.Image | bytes
    fit: Fit
    question: Question
    future: Future[Decoded] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)

    @property
    def key(self) -> FeatureKey:
        return self.picture.id, self.fit


@dataclass(eq=False)
class _Call:
    """Anything else that needs the model."""

    ticket: Ticket
    function: Callable[[Segmenter], Any]
    future: Future[Any] = field(default_factory=Future)


_Work: TypeAlias = "_Asked | _Call"


class Engine:
    """Loads a model in its own thread, and answers questions there until it is closed.

    `load` gives the segmenter; `start` begins with it and comes back at once. Threads may ask; each waits for its own
    answer, at most as long as its ticket lasts.
    """

    def __init__(self, load: Callable[[], Segmenter], limits: Limits, metrics: Metrics) -> None:
        self.features: Bounded[FeatureKey, ImageFeatures] = Bounded(limits.features_bytes, _bytes_of)
        self.failure: BaseException | None = None
        self.loaded = threading.Event()  # or not to be loaded
        self._load = load
        self._metrics = metrics
        self._segmenter: Segmenter | None = None
        self._waiting: deque[_Work] = deque()
        self._beside = 0  # other work that needs the processors
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="serve-engine", daemon=True)

    def start(self) -> None:
        """Begin to load the model."""
        self._thread.start()

    def close(self) -> None:
        """Finish what was taken, take nothing more, and let go of the model. May be called again.

        A model that is still loading is not waited for.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self.loaded.is_set() and self._thread.is_alive():
            self._thread.join()

    @property
    def segmenter(self) -> Segmenter:
        """What answers. Raises NotReadyError before it is loaded and after the end.

        Only what does not compute may be asked of it here: everything else is for `call`.
        """
        if self._segmenter is None or self._closing:
            reason = "the server is about to end" if self._closing else "the model is not loaded yet"
            raise NotReadyError(f"{reason}; try again", 1)
        return self._segmenter

    @property
    def ready(self) -> bool:
        """Whether it answers."""
        return self._segmenter is not None and not self._closing

    @property
    def waiting(self) -> int:
        """Questions that no round has taken up yet."""
        return len(self._waiting)

    @contextmanager
    def beside(self) -> Iterator[None]:
        """While other work is waited for: it comes before the next round, as far as `PATIENCE` goes."""
        with self._changed:
            self._beside += 1
        try:
            yield
        finally:
            with self._changed:
                self._beside -= 1
                self._changed.notify_all()

    def ask(
        self, ticket: Ticket, picture: Picture, source: Image.Image | bytes, fit: Fit, question: Question
    ) -> Decoded:
        """A picture, what it can be encoded from, and a question -> the answer.

        Raises what `Segmenter.segment` does, TimeLimitError, GoneError and NotReadyError.
        """
        asked = _Asked(ticket, picture, source, fit, question)
        self._submit(asked)
        return _awaited(asked.future, ticket)

    def call(self, ticket: Ticket, function: Callable[[Segmenter], T]) -> T:
        """A function of the segmenter -> what it gives. Raises what it does, and as `ask`."""
        call = _Call(ticket, function)
        self._submit(call)
        answer: T = _awaited(call.future, ticket)
        return answer

    # ------------------------------------------------------------------------------------------------------------

    def _submit(self, work: _Work) -> None:
        with self._changed:
            _ = self.segmenter  # raises where there is none
            self._waiting.append(work)
            self._changed.notify_all()

    def _run(self) -> None:
        try:
            segmenter = self._load()
            segmenter.warm_up()
            self._segmenter = segmenter
        except BaseException as error:  # raised by whoever started this, as `failure`
            self.failure = error
            return
        finally:
            self.loaded.set()
        while works := self._round():
            still = [work for work in works if _is_wanted(work)]
            for work in still:
                if isinstance(work, _Call):
                    self._answer_call(segmenter, work)
            asked = [work for work in still if isinstance(work, _Asked)]
            try:
                self._answer(segmenter, asked)
            except Exception as error:  # whatever it is, this thread goes on
                _fail([one for one in asked if not one.future.done()], error)
        self._segmenter = None

    def _round(self) -> list[_Work]:
        """Wait for work -> all of it that is there, as far as a round goes; none at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            self._changed.wait_for(lambda: not self._beside or self._closing, PATIENCE)
            works: list[_Work] = []
            prompts, new = 0, set[FeatureKey]()
            while self._waiting and prompts < MOST_PROMPTS and len(new) < PICTURE_BATCH:
                work = self._waiting.popleft()
                works.append(work)
                if isinstance(work, _Asked):
                    prompts += len(work.question.prompts)
                    if work.key not in self.features:
                        new.add(work.key)
            return works

    def _answer_call(self, segmenter: Segmenter, call: _Call) -> None:
        try:
            call.future.set_result(call.function(segmenter))
        except Exception as error:
            call.future.set_exception(error)

    def _answer(self, segmenter: Segmenter, asked: Sequence[_Asked]) -> None:
        """The questions of a round -> their answers."""
        begun = time.monotonic()
        groups: dict[FeatureKey, list[_Asked]] = {}
        for one in asked:
            groups.setdefault(one.key, []).append(one)
        if len(groups) > 1:
            _remember_texts(segmenter, asked)
        found: dict[FeatureKey, ImageFeatures | Exception | None] = {key: self.features.get(key) for key in groups}
        new = [group[0] for key, group in groups.items() if found[key] is None]
        for fit in dict.fromkeys(one.fit for one in new):
            found |= self._encoded(segmenter, fit, [one for one in new if one.fit == fit])
        fresh = {one.key for one in new}
        for key, group in groups.items():
            features = found[key]
            if not isinstance(features, ImageFeatures):
                _fail(group, features)
                continue
            answer = partial(Decoded, encoded=key in fresh, begun=begun)
            for part in _parts(group, MOST_PROMPTS if features.tiles is None else TILED_PROMPTS):
                self._decode(segmenter, features, part, answer)

    def _encoded(
        self, segmenter: Segmenter, fit: Fit, asked: Sequence[_Asked]
    ) -> dict[FeatureKey, ImageFeatures | Exception | None]:
        """Pictures of one fit -> their features, which are kept, or why there are none."""
        how: dict[str, Any] = {"fit": fit.name, "tile": fit.tile, "overlap": fit.overlap}
        try:
            made = segmenter.encode([one.source for one in asked], **how)
        except Exception as error:
            if len(asked) == 1:
                return {asked[0].key: error}
            singly = (self._encoded(segmenter, fit, [one]) for one in asked)  # one of them must not fail the others
            return {key: found for each in singly for key, found in each.items()}
        self._metrics.encoded.add(len(made))
        found: dict[FeatureKey, ImageFeatures | Exception | None] = {}
        for one, features in zip(asked, made, strict=True):
            # Their pixels are decoded anew where they are needed: they would be all of what the cache holds.
            whole = PictureOnDemand(one.picture.content, one.picture.size_hw)
            found[one.key] = kept = replace(features, picture=whole)
            self.features.put(one.key, kept)
        return found

    def _decode(
        self, segmenter: Segmenter, features: ImageFeatures, asked: Sequence[_Asked], answer: Callable[..., Decoded]
    ) -> None:
        """Questions about one picture -> their answers: each distinct prompt in them is decoded once."""
        prompts = list(dict.fromkeys(prompt for one in asked for prompt in one.question.prompts))
        try:
            maps = segmenter.asking(prompts).logits(features)
        except Exception as error:
            if len(asked) == 1:
                _fail(asked, error)
            else:
                for one in asked:  # as above
                    self._decode(segmenter, features, [one], answer)
            return
        self._metrics.decoded.add(len(prompts))
        self._metrics.together.add(len(asked))
        places = {prompt: number for number, prompt in enumerate(prompts)}
        for one in asked:
            own = [places[prompt] for prompt in one.question.prompts]
            one.future.set_result(answer(maps, own, since=one.since))


def _is_wanted(work: _Work) -> bool:
    """Whether somebody still waits for it; otherwise its end is told."""
    try:
        work.ticket.check()
    except RefusedError as error:
        work.future.set_exception(error)
        return False
    return True


def _parts(asked: Sequence[_Asked], most: int) -> Iterator[list[_Asked]]:
    """Questions -> the same in parts with so many prompts at most; one question stays whole."""
    part: list[_Asked] = []
    for one in asked:
        if part and sum(len(each.question.prompts) for each in (*part, one)) > most:
            yield part
            part = []
        part.append(one)
    yield part


def _fail(asked: Iterable[_Asked], error: Exception | None) -> None:
    for one in asked:
        one.future.set_exception(error)


def _remember_texts(segmenter: Segmenter, asked: Iterable[_Asked]) -> None:
    """All phrases of a round through the text encoder together; the segmenter remembers them."""
    texts = [prompt for one in asked for prompt in one.question.prompts if isinstance(prompt, TextPrompt)]
    if texts:
        with suppress(
            Exception
        ):  # whatever it is, it comes again in the question that it belongs to, and is told there
            segmenter.embed(texts)


def _awaited(future: Future[T], ticket: Ticket) -> T:
    try:
        return future.result(ticket.left)
    except FutureTimeoutError:
        raise ticket.over() from None


def _bytes_of(features: ImageFeatures) -> int:
    """-> what features take; the picture's file is the store's."""
    parts = [features.encoded, *([features.tiles.encoded] if features.tiles else [])]
    return sum(tap.nbytes for part in parts for tap in part.reduced)
