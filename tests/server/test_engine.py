"""The engine: what is asked together is computed together, and nobody suffers for another's fault."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import torch

import ready
from clipseg.errors import PictureError, PromptError
from clipseg.fits import Fit
from clipseg.prompting.prompts import EmbeddingPrompt
from clipseg.prompting.questions import Question
from clipseg.segmenter import Segmenter
from clipseg.server.engine import Engine
from clipseg.server.metrics import Metrics
from clipseg.server.pictures import Picture, Pictures
from clipseg.server.refusals import GoneError, NotReadyError, TimeLimitError
from clipseg.server.settings import Limits
from clipseg.server.tickets import Ticket
from http_files import file_of

FILE = file_of()


class Watched:
    """A segmenter that notes how often it is used, and whose first use can be held up."""

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter
        self.encoded: list[int] = []
        self.decoded: list[int] = []
        self.embedded: list[int] = []
        self.go = threading.Event()
        self.go.set()
        self.busy = threading.Event()

    def warm_up(self) -> None:
        self._segmenter.warm_up()

    def encode(self, pictures: list[Any], **how: Any) -> Any:
        self.encoded.append(len(pictures))
        return self._segmenter.encode(pictures, **how)

    def asking(self, prompts: list[Any]) -> Any:
        self.decoded.append(len(prompts))
        return self._segmenter.asking(prompts)

    def embed(self, prompts: list[Any]) -> Any:
        self.embedded.append(len(prompts))
        return self._segmenter.embed(prompts)

    def hold(self) -> None:
        self.busy.set()
        assert self.go.wait(30)


class Room:
    """An engine that is started, and threads that ask it."""

    def __init__(self, segmenter: Segmenter, **limits: Any) -> None:
        self.watched = Watched(segmenter)
        self.limits = Limits(**limits)
        self.metrics = Metrics()
        self.pictures = Pictures(self.limits)
        self.engine = Engine(lambda: self.watched, self.limits, self.metrics)  # type: ignore[arg-type, return-value]
        self.threads = ThreadPoolExecutor(40)

    def __enter__(self) -> Room:
        self.engine.start()
        assert self.engine.loaded.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self.watched.go.set()
        self.engine.close()
        self.threads.shutdown()

    def hold(self) -> Future[None]:
        """Keep the engine busy until `go`."""
        self.watched.go.clear()
        held = self.threads.submit(self.engine.call, Ticket(30), lambda _: self.watched.hold())
        assert self.watched.busy.wait(30)
        return held

    def ask(self, picture: Picture, *prompts: Any, ticket: Ticket | None = None, fit: Fit | None = None) -> Future[Any]:
        waiting = self.engine.waiting
        asked = self.threads.submit(
            self.engine.ask, ticket or Ticket(30), picture, picture.content, fit or Fit(), Question.of(prompts)
        )
        while not asked.done() and not self.watched.go.is_set() and self.engine.waiting == waiting:
            threading.Event().wait(0.001)  # so that questions come in the order they are asked
        return asked


@pytest.fixture
def room(segmenter: Segmenter):
    with Room(segmenter) as room:
        yield room


def test_one_picture_is_encoded_once_and_its_prompts_are_decoded_together(room: Room, segmenter: Segmenter) -> None:
    picture = room.pictures.add(FILE)
    room.hold()
    asked = [room.ask(picture, prompt) for prompt in ("wood", "a cat", "wood", "jar OR wood")]
    room.watched.go.set()
    answers = [one.result(30) for one in asked]
    assert (room.watched.encoded, room.watched.decoded) == ([1], [3])
    assert not room.watched.embedded  # what is decoded together is read together
    assert all(one.encoded for one in answers)
    assert [len(one.logits) for one in answers] == [1, 1, 1, 2]
    expected = segmenter.segment(ready.picture(), ["wood", "a cat"]).logits
    torch.testing.assert_close(answers[0].logits[0], expected[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(answers[1].logits[0], expected[1], atol=1e-4, rtol=1e-4)
    again = room.ask(picture, "wood").result(30)
    assert (again.encoded, room.watched.encoded) == (False, [1])
    assert (room.metrics.encoded.value(), room.metrics.decoded.value()) == (1, 4)


def test_pictures_are_encoded_together_by_their_fit(room: Room) -> None:
    pictures = [room.pictures.add(file_of(seed)) for seed in range(1, 6)]
    room.hold()
    asked = [room.ask(picture, f"thing {place % 2}") for place, picture in enumerate(pictures)]
    asked.append(room.ask(pictures[0], "wood", fit=Fit("letterbox")))
    room.watched.go.set()
    for one in asked:
        one.result(30)
    assert sorted(room.watched.encoded) == [1, 5]
    assert len(room.watched.decoded) == 6
    assert room.watched.embedded[0] == 6  # all phrases of the round in one call


def test_rounds_are_not_without_end(room: Room) -> None:
    pictures = [room.pictures.add(file_of(seed)) for seed in range(20, 32)]
    room.hold()
    asked = [room.ask(picture, "wood") for picture in pictures]
    room.watched.go.set()
    for one in asked:
        one.result(30)
    assert room.watched.encoded == [8, 4]


def test_tiles_are_decoded_a_few_at_a_time(room: Room) -> None:
    picture = room.pictures.add(file_of(60, 80, 60))
    room.hold()
    asked = [room.ask(picture, *(f"{n} {m}" for m in range(7)), fit=Fit("tile", "60%")) for n in range(4)]
    room.watched.go.set()
    for one in asked:
        one.result(30)
    assert room.watched.decoded == [14, 14]


def test_one_bad_question_fails_alone(room: Room) -> None:
    picture = room.pictures.add(FILE)
    broken = Picture("0" * 64, b"no picture", (30, 40))
    other = room.pictures.add(file_of(9))
    room.hold()
    asked = [
        room.ask(picture, "wood"),
        room.ask(picture, EmbeddingPrompt(torch.ones(3))),
        room.ask(broken, "wood"),
        room.ask(other, "wood"),
    ]
    room.watched.go.set()
    assert len(asked[0].result(30).logits) == 1
    with pytest.raises(PromptError, match="width 3"):
        asked[1].result(30)
    with pytest.raises(PictureError):
        asked[2].result(30)
    assert len(asked[3].result(30).logits) == 1


def test_nobody_computes_for_those_who_left(room: Room) -> None:
    picture = room.pictures.add(FILE)
    ticket = Ticket(30)
    room.hold()
    gone, late = room.ask(picture, "wood", ticket=ticket), room.ask(picture, "wood", ticket=Ticket(0.05))
    ticket.give_up()
    with pytest.raises(TimeLimitError, match=r"longer than 0\.05 seconds"):
        late.result(30)
    room.watched.go.set()
    with pytest.raises(GoneError):
        gone.result(30)
    assert (room.watched.encoded, room.watched.decoded) == ([], [])


def test_an_error_of_a_call_is_its_callers(room: Room) -> None:
    with pytest.raises(ZeroDivisionError):
        room.engine.call(Ticket(30), lambda _: 1 / 0)
    assert room.engine.call(Ticket(30), lambda _: 7) == 7


def test_it_survives_whatever_goes_wrong(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = room.pictures.add(FILE)

    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("nobody expected this")

    for name in ("encode", "asking"):
        with monkeypatch.context() as patch:
            patch.setattr(room.watched, name, fail)
            with pytest.raises(RuntimeError, match="nobody expected"):
                room.ask(picture, "wood").result(30)
    with monkeypatch.context() as patch:
        patch.setattr(room.engine, "_decode", fail)
        with pytest.raises(RuntimeError, match="nobody expected"):
            room.ask(picture, "wood").result(30)
    called = []

    def fail_and_note(*_: Any) -> None:
        called.append(True)
        fail()

    monkeypatch.setattr(room.watched, "embed", fail_and_note)  # only a help, where several pictures are asked about
    room.hold()
    asked = [room.ask(one, "wood") for one in (picture, room.pictures.add(file_of(1)))]
    room.watched.go.set()
    assert [len(one.result(30).logits) for one in asked] == [1, 1]
    assert called


def test_the_end_finishes_what_was_taken(segmenter: Segmenter) -> None:
    with Room(segmenter) as room:
        picture = room.pictures.add(FILE)
        room.hold()
        asked = room.ask(picture, "wood")
        closing = room.threads.submit(room.engine.close)
        while room.engine.ready:
            threading.Event().wait(0.001)
        with pytest.raises(NotReadyError, match="about to end"):
            room.engine.call(Ticket(30), lambda _: 7)
        room.watched.go.set()
        assert len(asked.result(30).logits) == 1
        closing.result(30)
    room.engine.close()


def test_features_are_bounded_in_bytes(segmenter: Segmenter) -> None:
    with Room(segmenter, features_bytes=20_000) as room:
        for seed in range(12):
            room.ask(room.pictures.add(file_of(seed)), "wood").result(30)
            assert room.engine.features.bytes <= 20_000
        assert 0 < len(room.engine.features) < 12
        assert room.ask(room.pictures.add(file_of(0)), "wood").result(30).encoded


def test_a_model_that_cannot_be_loaded() -> None:
    def fail() -> Segmenter:
        raise PromptError("no model")

    engine = Engine(fail, Limits(), Metrics())
    engine.start()
    assert engine.loaded.wait(30)
    assert isinstance(engine.failure, PromptError)
    with pytest.raises(NotReadyError, match="not loaded yet"):
        _ = engine.segmenter
    engine.close()
