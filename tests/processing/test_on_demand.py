"""JPEG files decoded at a reduced scale, and in full only when their pixels are asked for."""

from __future__ import annotations

import copy
import os
import pickle
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

import ready
from clipseg import Segmenter
from clipseg.errors import PictureError, PictureNotFoundError
from clipseg.processing import on_demand
from clipseg.processing.images import FileContent, reduced_rgb, to_rgb
from clipseg.processing.on_demand import PictureOnDemand, shown_and_whole

SIZE = (480, 320)
SCENES = Path(__file__).parents[2] / "examples" / "scenes"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "wide.jpg"
    ready.picture(0, *SIZE).save(path, quality=95)
    return path


@pytest.fixture
def decodings(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What was decoded in full on demand."""
    seen: list[object] = []
    decoded = on_demand.decoded
    monkeypatch.setattr(on_demand, "decoded", lambda source: (seen.append(source), decoded(source))[1])
    return seen


@pytest.mark.parametrize(
    ("least", "expected"),
    [(40, (60, 40)), (41, (120, 80)), (80, (120, 80)), (81, (240, 160)), (160, (240, 160)), (161, SIZE), (999, SIZE)],
)
def test_the_smallest_scale_that_leaves_enough(file: Path, least: int, expected: tuple[int, int]) -> None:
    small, size_hw = reduced_rgb(file, least)
    assert (small.size, small.mode, size_hw) == (expected, "RGB", SIZE[::-1])
    near = np.asarray(to_rgb(file).resize(expected, Image.Resampling.BOX), np.int16)
    assert np.abs(np.asarray(small, np.int16) - near).mean() < 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_is_upright(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.jpg"
    ready.picture(1, *SIZE).save(path, exif=exif, quality=95)
    upright = to_rgb(path)
    small, whole = shown_and_whole(path, 40)
    assert whole.size == upright.size == (SIZE if orientation < 5 else SIZE[::-1])
    assert small.size == tuple(side // 8 for side in upright.size)
    near = np.asarray(upright.resize(small.size, Image.Resampling.BOX), np.int16)
    assert np.abs(np.asarray(small, np.int16) - near).mean() < 3
    assert whole.tobytes() == upright.tobytes()


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
def test_modes_and_kinds_of_sources(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "picture.jpg"
    ready.picture(0, *SIZE).convert(mode).save(path)
    data = path.read_bytes()
    for source in (path, str(path), data, FileContent(data, "a name")):
        small, whole = shown_and_whole(source, 40)
        assert (small.size, whole.size) == ((60, 40), SIZE)
        assert small.mode == whole.mode == "RGB"
        assert whole.tobytes() == to_rgb(path).tobytes()


def test_everything_else_is_decoded_in_full(tmp_path: Path, file: Path) -> None:
    to_rgb(file).save(tmp_path / "picture.png")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writing = threading.Thread(target=lambda: pipe.write_bytes(file.read_bytes()))
    writing.start()
    with Image.open(file) as opened, file.open("rb") as stream:
        for source in (tmp_path / "picture.png", pipe, opened, stream, np.asarray(to_rgb(file))):
            small, whole = shown_and_whole(source, 40)
            assert small is whole
            assert small.size == SIZE
    writing.join()
    assert shown_and_whole(file, None)[0].size == SIZE
    small, whole = shown_and_whole(file, 400)
    assert small is whole


@pytest.mark.parametrize(
    "use",
    [
        lambda one: one.copy(),
        lambda one: one.convert("RGBA").convert("RGB"),
        lambda one: one.crop((0, 0, *SIZE)),
        lambda one: one.resize(SIZE),
        lambda one: Image.fromarray(np.asarray(one)),
        lambda one: Image.blend(one, one, 0.5),
        lambda one: Image.merge("RGB", one.split()),
        lambda one: (ImageDraw.Draw(one), one)[1],
        lambda one: (canvas := Image.new("RGB", SIZE), canvas.paste(one))[0],
        lambda one: pickle.loads(pickle.dumps(one)),
        copy.copy,
        copy.deepcopy,
    ],
)
def test_whatever_needs_pixels_has_them(file: Path, decodings: list[object], use: Callable[..., Image.Image]) -> None:
    one = PictureOnDemand(file, SIZE[::-1])
    assert (one.size, one.mode, one.width, one.height) == (SIZE, "RGB", *SIZE)
    assert not decodings
    assert use(one).tobytes() == to_rgb(file).tobytes()
    use(one)
    assert decodings == [file], "it is decoded once"


def test_a_file_that_is_gone_or_another(file: Path) -> None:
    one = PictureOnDemand(file, SIZE[::-1])
    ready.picture(0, 200, 100).save(file)
    with pytest.raises(
        PictureError, match=r"the picture was 320x480 and now is 100x200; .* leave out reduced_decoding"
    ):
        one.load()
    file.unlink()
    with pytest.raises(PictureError, match=r"no picture file .*wide.jpg; it was decoded at a reduced scale"):
        one.copy()
    with pytest.raises(PictureNotFoundError):
        shown_and_whole(file, 40)


# -- a segmenter with it ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nano() -> Segmenter:
    return Segmenter.from_pretrained("nano")


@pytest.mark.parametrize(("name", "phrases"), [("one", ["a cactus", "an onion"]), ("two", ["a bus"])])
def test_masks_are_nearly_the_same(nano: Segmenter, tmp_path: Path, name: str, phrases: list[str]) -> None:
    path = tmp_path / "large.jpg"
    with Image.open(SCENES / f"{name}.png") as scene:
        scene.convert("RGB").resize((2700, 2600), Image.Resampling.BICUBIC).save(path, quality=92)
    exact = nano.segment(path, phrases).binary()
    quick = nano.segment(path, phrases, reduced_decoding=True)
    assert isinstance(quick.picture, PictureOnDemand)
    ious = [float((one & other).sum() / (one | other).sum()) for one, other in zip(exact, quick.binary(), strict=True)]
    assert min(ious) >= 0.98


@pytest.mark.parametrize("fit", ["squash", "letterbox", "crop", "tile"])
def test_each_fit(file: Path, decodings: list[object], fit: str) -> None:
    segmenter = Segmenter(ready.model(), ready.processor(20))
    exact = segmenter.encode(file, fit=fit)
    quick = segmenter.encode(file, fit=fit, reduced_decoding=True)
    assert (quick.size_hw, quick.content, quick.seen) == (exact.size_hw, exact.content, exact.seen)
    masks = segmenter.segment(file, "wood", fit=fit, reduced_decoding=True)
    assert masks.binary().shape == (1, *SIZE[::-1])
    assert isinstance(masks.picture, PictureOnDemand) == (fit != "tile")
    assert not decodings
    difference = (masks.logits - segmenter.segment(exact, "wood").logits).abs().max()
    assert (difference == 0) == (fit == "tile")
    assert masks.overlay().size[0] == SIZE[0]
    assert len(decodings) == (fit != "tile")


def test_exact_is_the_default_and_streams_have_it_too(file: Path) -> None:
    segmenter = Segmenter(ready.model(), ready.processor(20))
    exact, quick = segmenter.segment(file, "wood"), segmenter.segment(file, "wood", reduced_decoding=True)
    assert not isinstance(exact.picture, PictureOnDemand)
    assert (exact.logits != quick.logits).any()
    for pictures in ([file, file], iter([file, file])):
        for masks in segmenter.segment_many(pictures, "wood", reduced_decoding=True):
            assert masks.logits.equal(quick.logits)
    (features, _) = segmenter.encode([file, file], reduced_decoding=True)
    assert segmenter.segment(features, "wood").logits.equal(quick.logits)


def test_a_processor_that_does_not_resize_is_shown_all_of_it(file: Path) -> None:
    keeping = Segmenter(ready.model(), ready.processor(do_resize=False))
    assert not isinstance(keeping.encode(file, reduced_decoding=True).picture, PictureOnDemand)
