"""Streams of pictures through a segmenter: order, errors, threads, and how little changes by reading ahead."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

import ready
from clipseg import Segmenter
from clipseg.answering import masks_of
from clipseg.errors import PictureError, PictureNotFoundError, UsageError
from clipseg.masks.masks import Masks
from clipseg.masks.options import MaskOptions
from clipseg.prompting.questions import Question


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return ready.segmenter()


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.png" for number in range(7)]
    for number, path in enumerate(paths):
        ready.picture(number, 40 + number, 30).save(path)
    return paths


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("clipseg-")]


def assert_no_threads() -> None:
    end = time.monotonic() + 5
    while threads() and time.monotonic() < end:
        time.sleep(0.01)
    assert threads() == []


@pytest.mark.parametrize("batch_size", [1, 3, 100])
@pytest.mark.parametrize("kind", [list, iter])
def test_a_stream_of_files_is_segment_one_by_one(segmenter, files, batch_size, kind) -> None:
    answers = list(segmenter.asking("wood", batch_size=batch_size)(kind(files)))
    for path, masks in zip(files, answers, strict=True):
        expected = segmenter.segment(Image.open(path), "wood")
        assert masks.size_hw == expected.size_hw
        assert masks.picture == expected.picture
        torch.testing.assert_close(masks.logits, expected.logits, atol=1e-4, rtol=1e-4)
    assert_no_threads()


@pytest.mark.parametrize("one", ["4.png", b"4.png", Path("4.png"), Image.new("RGB", (4, 4)), None, 4])
def test_one_picture_is_no_stream(segmenter, one) -> None:
    with pytest.raises(UsageError, match=f"got one {type(one).__name__}; put a single picture into a list"):
        segmenter.segment_many(one, "wood")


def test_all_kinds_mixed_keep_their_order(segmenter, files) -> None:
    features = segmenter.encode(files[1])
    mixed = [files[0], features, Image.open(files[2]), files[3].read_bytes(), str(files[4])]
    sizes = [masks.size_hw for masks in segmenter.asking("wood", batch_size=2)(mixed)]
    assert sizes == [(30, 40 + number) for number in range(5)]


def test_one_picture_costs_no_thread(segmenter, files, monkeypatch) -> None:
    monkeypatch.setattr(threading.Thread, "start", None)
    segmenter.segment(files[0], "wood")
    segmenter.segment_many([files[0]], "wood")
    segmenter.encode(files[0])


def test_an_error_is_raised_in_its_turn(segmenter, files) -> None:
    files[4].write_text("no picture")
    files[5].unlink()
    for pictures in (files, iter(files)):
        answers = segmenter.asking("wood", batch_size=3)(pictures)
        assert [next(answers).size_hw for _ in range(4)] == [(30, 40 + number) for number in range(4)]
        with pytest.raises(PictureError, match=r"4\.png is no picture"):
            next(answers)
        assert_no_threads()


def test_each_gives_errors_and_goes_on(segmenter, files) -> None:
    files[0].write_text("no picture")
    files[3].unlink()
    foreign = ready.segmenter(reduce_dim=16).encode(files[1])
    found = list(segmenter.asking("wood", batch_size=2).each([*files, foreign]))
    assert [type(one) for one in found] == [
        PictureError, Masks, Masks, PictureNotFoundError, Masks, Masks, Masks, PictureError,
    ]  # fmt: skip
    assert "come from another model" in str(found[-1])


def test_an_input_too_small_for_the_model_is_an_error_of_its_picture(segmenter) -> None:
    keeping = Segmenter(segmenter.model, ready.processor(do_resize=False))
    pictures = [ready.picture(0, *size) for size in ((64, 64), (3, 3), (3, 3), (64, 64))]
    found = list(keeping.asking("wood").each(pictures))
    assert [isinstance(one, PictureError) for one in found] == [False, True, True, False]


def test_an_error_of_the_iterator_comes_after_what_it_gave(segmenter, files) -> None:
    def pictures() -> Iterator[Path]:
        yield from files[:2]
        raise LookupError("that is all")

    answers = segmenter.asking("wood")(pictures())
    assert [next(answers).size_hw for _ in range(2)] == [(30, 40), (30, 41)]
    with pytest.raises(LookupError, match="that is all"):
        next(answers)
    assert_no_threads()


@pytest.mark.parametrize("end", ["close", "drop", "throw", "usage"])
def test_threads_end_with_the_stream(segmenter, files, end) -> None:
    features = segmenter.encode(files[0], fit="crop")
    answers = segmenter.asking("wood", batch_size=1, fit="squash")([*files[:2], features, *files[2:]])
    next(answers)
    if end == "close":
        answers.close()
    elif end == "throw":
        with pytest.raises(KeyboardInterrupt):
            answers.throw(KeyboardInterrupt)
    elif end == "usage":
        with pytest.raises(UsageError, match="of fit 'crop'"):
            list(answers)
    del answers
    gc.collect()
    assert_no_threads()


def test_nothing_global_changes(segmenter, files) -> None:
    before = torch.get_num_threads(), torch.is_grad_enabled()
    for masks in segmenter.asking("wood", batch_size=2)(files):
        assert (torch.get_num_threads(), torch.is_grad_enabled()) == before
        assert not masks.logits.is_inference()


def test_logits_that_were_asked_for_together_make_the_masks_of_each(segmenter) -> None:
    picture = ready.picture()
    first, second = Question.of("wood AND NOT jar", "a cat"), Question.of(["a cat", "wood"])
    prompts = list(dict.fromkeys((*first.prompts, *second.prompts)))
    maps = dict(zip(prompts, segmenter.segment(picture, prompts).logits, strict=True))
    for question, asked, finish in (
        (first, ("wood AND NOT jar",), {"negative": "a cat", "smooth": 1}),
        (second, ("a cat", "wood"), {"combine": "mean"}),
    ):
        options = {name: value for name, value in finish.items() if name != "negative"}
        logits = torch.stack([maps[prompt] for prompt in question.prompts])
        found = masks_of(question, logits, picture, MaskOptions(**options), "combine" in finish)
        expected = segmenter.segment(picture, asked, **finish)
        assert found.labels == expected.labels
        torch.testing.assert_close(found.soft(), expected.soft(), atol=1e-4, rtol=1e-4)
