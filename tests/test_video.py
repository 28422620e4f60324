"""Moving pictures: frames from anywhere, folders that can be gone on with, and, with PyAV installed, video files."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from itertools import count, islice
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import ready
from clipseg import video, video_files
from clipseg.errors import MissingPackageError, OutputError, PictureError, PictureNotFoundError, PromptError, UsageError
from clipseg.masks.options import MaskOptions
from clipseg.prompting.prompts import ImagePrompt
from clipseg.segmenter import Segmenter
from clipseg.video import VideoReport, segment_frames, segment_video
from clipseg.video_files import Clip, Frame, whole_file

PROMPTS = ["a cat", "wood"]
THRESHOLD = MaskOptions(threshold=0.55)  # where the little model's masks are neither full nor empty


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return ready.segmenter()


def pictures(number: int, width: int = 40, height: int = 30) -> list[Image.Image]:
    return [ready.picture(seed, width, height) for seed in range(number)]


# -- frames ------------------------------------------------------------------------------------------------------------


def test_frames_are_segmented_in_order(segmenter: Segmenter) -> None:
    frames = pictures(5)
    found = list(segment_frames(segmenter, iter(frames), PROMPTS, batch_size=2))
    assert [masks.picture for masks in found] == frames
    for masks, expected in zip(found, segmenter.segment_many(frames, PROMPTS), strict=True):
        assert masks.labels == tuple(PROMPTS)
        torch.testing.assert_close(masks.logits, expected.logits, rtol=1e-4, atol=1e-4)


def test_an_endless_source_is_read_a_batch_ahead(segmenter: Segmenter) -> None:
    asked: list[int] = []
    frames = (asked.append(number) or ready.picture(number % 3) for number in count())  # type: ignore[func-returns-value]
    found = segment_frames(segmenter, frames, "wood", batch_size=3)
    assert asked == []
    assert len(list(islice(found, 4))) == 4
    assert len(asked) == 6


def test_smoothing_is_an_exponential_average(segmenter: Segmenter) -> None:
    frames = pictures(6)
    average = None
    for masks, plain in zip(
        segment_frames(segmenter, frames, PROMPTS, smoothing=0.7, batch_size=4),
        segmenter.segment_many(frames, PROMPTS),
        strict=True,
    ):
        average = plain.logits if average is None else 0.7 * average + 0.3 * plain.logits
        torch.testing.assert_close(masks.logits, average, rtol=1e-3, atol=1e-3)


def test_smoothing_steadies_what_flickers(segmenter: Segmenter) -> None:
    base = np.asarray(ready.picture(1), dtype=np.int16)
    noise = np.random.default_rng(0).integers(-40, 41, (12, *base.shape))
    frames = [Image.fromarray((base + each).clip(0, 255).astype(np.uint8)) for each in noise]

    def flicker(smoothing: float) -> float:
        logits = torch.stack([each.logits for each in segment_frames(segmenter, frames, "wood", smoothing=smoothing)])
        return float(logits[4:].diff(dim=0).abs().mean())

    assert flicker(0.8) < 0.4 * flicker(0)


def test_prompts_are_embedded_once(segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    embed = segmenter.model.get_conditional_embeddings
    monkeypatch.setattr(
        segmenter.model,
        "get_conditional_embeddings",
        lambda *given, **named: asked.append(1) or embed(*given, **named),  # type: ignore[func-returns-value]
    )
    example = ImagePrompt(ready.picture(9), label="like this")
    found = list(segment_frames(segmenter, pictures(5), example, batch_size=2))
    assert found[-1].labels == ("like this",)
    assert len(asked) == 1


@pytest.mark.parametrize("options", [{"smoothing": 1.0}, {"smoothing": -0.1}, {"batch_size": 0}])
def test_options_out_of_range_are_told_at_once(segmenter: Segmenter, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        segment_frames(segmenter, pictures(1), PROMPTS, **options)
    with pytest.raises(PromptError, match="no prompts"):
        segment_frames(segmenter, pictures(1), [])


def test_frames_are_asked_what_pictures_are(segmenter: Segmenter) -> None:
    options: dict[str, Any] = {
        "negative": "the dog", "combine": "max", "fit": "letterbox", "threshold": 0.55, "fill_holes": True,
    }  # fmt: skip
    asked = ["a cat AND NOT wood", "a glass"]
    found = list(segment_frames(segmenter, pictures(3), asked, **options))
    for masks, expected in zip(found, segmenter.segment_many(pictures(3), asked, **options), strict=True):
        assert masks.labels == expected.labels
        assert masks.options == expected.options
        torch.testing.assert_close(masks.upsampled(), expected.upsampled(), rtol=1e-4, atol=1e-4)
    with pytest.raises(UsageError, match="did you mean 'threshold'"):
        segment_frames(segmenter, pictures(1), asked, treshold=1)


def test_negatives_are_smoothed_too(segmenter: Segmenter) -> None:
    first, second = (masks.negatives for masks in segmenter.segment_many(pictures(2), "wood", negative="a cat"))
    found = list(segment_frames(segmenter, pictures(2), "wood", negative="a cat", smoothing=0.25))
    assert first is not None
    assert second is not None
    torch.testing.assert_close(found[1].negatives, second.lerp(first, 0.25), rtol=1e-3, atol=1e-3)


# -- folders, with frames from a list instead of a file ----------------------------------------------------------------


class Tape:
    """Stands in for files: what is read from it, how far one may read, and what was written."""

    def __init__(self, path: Path, number: int) -> None:
        path.write_bytes(b"tape")
        self.path, self.number, self.breaks_at = path, number, number
        self.shown: list[tuple[Fraction, Image.Image]] = []
        self.read = 0

    def frames(self) -> Iterator[Frame]:
        for number, picture in enumerate(pictures(self.number)):
            if number == self.breaks_at:
                raise PictureError(f"the tape tears after {number} frames")
            self.read += 1
            yield Frame(number, Fraction(number**2, 10), picture)

    @contextmanager
    def opened(self, path: Path) -> Iterator[Clip]:
        yield Clip(Fraction(10), self.number, self.frames())

    @contextmanager
    def written(self, path: Path, rate: Fraction) -> Iterator[Callable[[Image.Image, Fraction], None]]:
        yield lambda picture, time: self.shown.append((time, picture))


@pytest.fixture
def tape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tape:
    tape = Tape(tmp_path / "tape.mp4", 10)
    monkeypatch.setattr(video, "opened", tape.opened)
    monkeypatch.setattr(video, "written", tape.written)
    return tape


@pytest.fixture
def run(segmenter: Segmenter, tape: Tape, tmp_path: Path) -> Callable[..., VideoReport]:
    def run(prompts: list[str] | str = PROMPTS, **options: Any) -> VideoReport:
        given = {"options": THRESHOLD, "batch_size": 4, "frames_dir": tmp_path / "masks", **options}
        return segment_video(segmenter, tape.path, prompts, **given)

    return run


def masks_in(folder: Path) -> dict[str, np.ndarray]:
    files = [file for file in folder.rglob("*") if file.is_file() and file.name != "settings.json"]
    return {file.relative_to(folder).as_posix(): np.asarray(Image.open(file)) for file in files}


def test_a_folder_for_each_prompt(segmenter: Segmenter, run: Callable[..., VideoReport], tmp_path: Path) -> None:
    steps: list[tuple[int, int | None]] = []
    assert run(progress=lambda *step: steps.append(step)) == VideoReport(10, 0)
    found = masks_in(tmp_path / "masks")
    assert sorted(found) == sorted(f"{name}/{number:06d}.png" for name in ("a-cat", "wood") for number in range(10))
    for number, masks in enumerate(segmenter.segment_many(pictures(10), PROMPTS)):
        for name, mask in zip(("a-cat", "wood"), masks.with_options(THRESHOLD).binary().numpy(), strict=True):
            assert np.mean((found[f"{name}/{number:06d}.png"] > 0) != mask) < 0.01
    assert steps == [(number, 10) for number in range(1, 11)]


def test_what_is_done_is_not_done_again(
    segmenter: Segmenter, run: Callable[..., VideoReport], tape: Tape, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(out="a.mp4")
    first, tape.shown = tape.shown, []
    with monkeypatch.context() as patched:
        patched.setattr(segmenter.model, "encode_images", None)
        assert run(out="a.mp4") == VideoReport(0, 10)
    assert len(tape.shown) == 10
    for (time, picture), (time_then, picture_then) in zip(tape.shown, first, strict=True):
        assert time == time_then
        assert np.array_equal(np.asarray(picture), np.asarray(picture_then))


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_going_on_ends_as_if_nothing_had_happened(
    run: Callable[..., VideoReport], tape: Tape, tmp_path: Path, smoothing: float
) -> None:
    run(frames_dir=tmp_path / "whole", smoothing=smoothing)
    tape.breaks_at = 7
    with pytest.raises(PictureError, match="tears"):
        run(smoothing=smoothing)
    assert len(masks_in(tmp_path / "masks")) == 2 * 7
    (tmp_path / "masks" / "wood" / "000002.png").unlink()
    tape.breaks_at = 10
    assert run(smoothing=smoothing) == VideoReport(4, 6)
    found, whole = masks_in(tmp_path / "masks"), masks_in(tmp_path / "whole")
    assert found.keys() == whole.keys()
    for name, mask in found.items():
        assert np.mean(mask != whole[name]) < 0.01, name
    assert not list(tmp_path.rglob("*.part*"))


def test_only_some_frames(run: Callable[..., VideoReport], tape: Tape, tmp_path: Path) -> None:
    assert run("wood", every=4, out="a.mp4", overlay=False) == VideoReport(3, 0)
    assert sorted(masks_in(tmp_path / "masks")) == [f"wood/{number:06d}.png" for number in (0, 4, 8)]
    assert [time for time, _ in tape.shown] == [Fraction(number**2, 10) for number in range(10)]
    shown = [np.asarray(picture) for _, picture in tape.shown]
    for number in range(10):
        assert np.array_equal(shown[number], shown[number // 4 * 4])
    assert not np.array_equal(shown[0], shown[4])
    assert run("wood", every=4) == VideoReport(0, 3)


def test_few_frames_are_held(run: Callable[..., VideoReport], tape: Tape) -> None:
    ahead: list[int] = []
    run(
        "wood",
        every=5,
        out="a.mp4",
        frames_dir=None,
        batch_size=2,
        progress=lambda done, _: ahead.append(tape.read - done),
    )
    assert max(ahead) <= 2


def test_masks_of_another_run_are_not_taken(run: Callable[..., VideoReport], tmp_path: Path) -> None:
    run()
    with pytest.raises(UsageError, match="another prompts; name another folder"):
        run(["a cat", "a glass"])
    with pytest.raises(UsageError, match="another every, options"):
        run(every=2, options=MaskOptions(threshold=0.6))
    assert run(every=5, resume=False) == VideoReport(2, 0)
    assert len(masks_in(tmp_path / "masks")) == 4
    (tmp_path / "masks" / "settings.json").unlink()
    with pytest.raises(UsageError, match=r"no settings\.json"):
        run(every=5)


def test_one_mask_of_all_prompts(segmenter: Segmenter, run: Callable[..., VideoReport], tmp_path: Path) -> None:
    asked: dict[str, Any] = {"combine": "max", "negative": "the dog", "fit": "tile", "tile": "50%"}
    assert run(**asked) == VideoReport(10, 0)
    found = masks_in(tmp_path / "masks")
    (name,) = {file.split("/")[0] for file in found}
    for number, masks in enumerate(segmenter.segment_many(pictures(10), PROMPTS, threshold=0.55, **asked)):
        assert np.mean((found[f"{name}/{number:06d}.png"] > 0) != masks.binary()[0].numpy()) < 0.01
    with pytest.raises(UsageError, match="another negative, fit"):
        run(combine="max")


def test_overlays_are_drawn(run: Callable[..., VideoReport], tape: Tape) -> None:
    run("wood", out="a.mp4", frames_dir=None, options=MaskOptions(threshold=0))
    assert len(tape.shown) == 10
    for (_, shown), picture in zip(tape.shown, pictures(10), strict=True):
        assert shown.size == picture.size
        assert np.abs(np.asarray(shown).astype(int) - np.asarray(picture)).mean() > 10


def test_bad_options(run: Callable[..., VideoReport], tape: Tape, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="leads nowhere"):
        run(frames_dir=None)
    with pytest.raises(UsageError, match="every is 0"):
        run(every=0)
    with pytest.raises(UsageError, match="alpha"):
        run(alpha=2)
    with pytest.raises(UsageError, match="soft"):
        run(options=MaskOptions(threshold=None))
    with pytest.raises(OutputError, match="cannot be written"):
        run(frames_dir=tape.path / "below a file")
    tape.breaks_at = tape.number = 0
    with pytest.raises(PictureError, match="no frame"):
        run(frames_dir=tmp_path / "other")


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    with suppress(RuntimeError), whole_file(tmp_path / "a.mp4") as unfinished:
        unfinished.write_bytes(b"half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with whole_file(tmp_path / "a.mp4") as unfinished:
        unfinished.write_bytes(b"whole")
        assert unfinished.suffix == ".mp4"
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"whole"]


def test_without_pyav(segmenter: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingPackageError, match=r"clipseg\[video\]"):
        segment_video(segmenter, tmp_path / "any.mp4", PROMPTS, tmp_path / "out.mp4")
    assert len(list(segment_frames(segmenter, pictures(2), PROMPTS))) == 2


# -- files, through PyAV -----------------------------------------------------------------------------------------------


@pytest.fixture
def av() -> Any:
    return importlib.import_module("av")  # here, so that all else is tested without it too


TIMES = [Fraction(tick, 30) for tick in (0, 1, 2, 5, 6, 12, 13, 20)]  # seconds


def film(av: Any, path: Path, size_wh: tuple[int, int] = (64, 48), rotation: int = 0) -> Path:
    """A video of ever lighter frames, black in the left half, shown at `TIMES`."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width, stream.height = size_wh
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 30)
        if rotation:
            stream.set_display_rotation(rotation)
        for number, time in enumerate(TIMES):
            pixels = np.full((size_wh[1], size_wh[0], 3), 60 + 20 * number, np.uint8)
            pixels[:, : size_wh[0] // 2] = 0
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = int(time * 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def frames_of(path: Path) -> list[Frame]:
    with video.opened(path) as clip:
        return list(clip.frames)


def test_frames_of_a_file(av: Any, tmp_path: Path) -> None:
    frames = frames_of(film(av, tmp_path / "film.mp4"))
    assert [frame.number for frame in frames] == list(range(8))
    assert [frame.time - frames[0].time for frame in frames] == pytest.approx(TIMES, abs=1e-3)
    for number, frame in enumerate(frames):
        pixels = np.asarray(frame.picture)
        assert pixels.shape == (48, 64, 3)
        assert pixels[:, :28].mean() < 16
        assert pixels[:, 36:].mean() == pytest.approx(60 + 20 * number, abs=12)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".gif"])
def test_a_file_in_and_out(av: Any, segmenter: Segmenter, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"out{suffix}"
    report = segment_video(segmenter, film(av, tmp_path / "film.mp4"), PROMPTS, out, alpha=0)
    assert report == VideoReport(8, 0)
    frames = frames_of(out)
    if suffix != ".avi":  # which knows a rate and no times
        assert [frame.time - frames[0].time for frame in frames] == pytest.approx(TIMES, abs=0.011)
        assert len(frames) == 8
    assert frames[0].picture.size == (64, 48)
    assert [file.suffix for file in tmp_path.iterdir() if file.name.startswith(".")] == []


def test_odd_sides_and_masks_alone(av: Any, segmenter: Segmenter, tmp_path: Path) -> None:
    source = film(av, tmp_path / "film.mp4", (62, 46))
    with av.open(str(source)) as container:
        assert container.streams.video[0].width == 62
    segment_video(segmenter, source, "wood", tmp_path / "out.mp4", overlay=False, options=MaskOptions(threshold=0))
    assert np.asarray(frames_of(tmp_path / "out.mp4")[3].picture).min() > 230


def test_rotated_files_are_turned_upright(av: Any, tmp_path: Path) -> None:
    if not hasattr(av.video.stream.VideoStream, "set_display_rotation"):
        pytest.skip("this PyAV cannot write a rotation")
    upright = np.asarray(frames_of(film(av, tmp_path / "film.mp4", rotation=90))[5].picture)
    assert upright.shape == (64, 48, 3)  # a quarter turn counter-clockwise: what was left is now below
    assert upright[40:].mean() < 16 < upright[:24].mean()


def test_files_that_cannot_be_read(av: Any, segmenter: Segmenter, tmp_path: Path) -> None:
    with pytest.raises(PictureNotFoundError, match="no video file"):
        segment_video(segmenter, tmp_path / "nothing.mp4", PROMPTS, tmp_path / "out.mp4")
    with pytest.raises(PictureError, match="cannot open"):
        segment_video(segmenter, tmp_path, PROMPTS, tmp_path / "out.mp4")
    (tmp_path / "words.mp4").write_text("no video at all, only words " * 50)
    with pytest.raises(PictureError, match="cannot be read as a video"):
        segment_video(segmenter, tmp_path / "words.mp4", PROMPTS, tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()


def test_files_that_cannot_be_written(av: Any, segmenter: Segmenter, tmp_path: Path) -> None:
    source = film(av, tmp_path / "film.mp4")
    for name in ("out.unheard-of", "film.mp4/out.mp4"):
        with pytest.raises(OutputError, match="cannot be written"):
            segment_video(segmenter, source, PROMPTS, tmp_path / name)
    assert [file.name for file in tmp_path.iterdir()] == ["film.mp4"]


def test_sound_does_no_harm(av: Any, segmenter: Segmenter, tmp_path: Path) -> None:
    silent, loud = film(av, tmp_path / "film.mp4"), tmp_path / "loud.mkv"
    with av.open(str(silent)) as source, av.open(str(loud), "w") as out:
        shown = out.add_stream_from_template(source.streams.video[0])
        heard = out.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        sound.rate = 8000
        out.mux(heard.encode(sound))
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = shown
                out.mux(packet)
        out.mux(heard.encode())
    with av.open(str(loud)) as container:
        assert len(container.streams.audio) == 1
    assert segment_video(segmenter, loud, "wood", tmp_path / "out.mp4") == VideoReport(8, 0)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert not container.streams.audio


def test_sound_alone_and_nothing_at_all(av: Any, segmenter: Segmenter, tmp_path: Path) -> None:
    with av.open(str(tmp_path / "song.wav"), "w") as out:
        heard = out.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        sound.rate = 8000
        out.mux(heard.encode(sound))
        out.mux(heard.encode())
    (tmp_path / "empty.mp4").write_bytes(b"")
    for name, message in (("song.wav", "has no pictures"), ("empty.mp4", "cannot be read as a video")):
        with pytest.raises(PictureError, match=message):
            segment_video(segmenter, tmp_path / name, "wood", tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()


def test_a_file_that_breaks_off_where_nobody_notices(av: Any, tmp_path: Path, recwarn: Any) -> None:
    whole, half = tmp_path / "whole.mkv", tmp_path / "half.mkv"
    with video_files.written(whole, Fraction(10)) as add:
        for number in range(60):
            add(ready.picture(number, 64, 48), Fraction(number, 10))
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with video_files.opened(whole) as clip:
        assert sum(1 for _ in clip.frames) == 60
    assert not recwarn
    with video_files.opened(half) as clip, pytest.warns(UserWarning, match=r"half\.mkv says that it is 6\.0 s long"):
        assert 0 < sum(1 for _ in clip.frames) < 50


def test_a_file_that_breaks_off(av: Any, segmenter: Segmenter, tmp_path: Path) -> None:
    """Half of a file: what can be read of it is used; where that is an error, it is told, and no half video is left."""
    whole = film(av, tmp_path / "film.mkv").read_bytes()
    for share in (0.02, 0.5, 0.9):
        broken, out = tmp_path / "broken.mkv", tmp_path / "out.mp4"
        broken.write_bytes(whole[: round(share * len(whole))])
        out.unlink(missing_ok=True)
        try:
            report = segment_video(segmenter, broken, "wood", out)
        except PictureError:
            assert not out.exists()
        else:
            assert 0 < report.computed <= 8
            assert len(frames_of(out)) == report.computed
    assert not list(tmp_path.glob(".*"))


KILLED = """
import sys, time
sys.path.insert(0, {tests!r})
import ready
from clipseg.video import segment_video
segment_video(ready.segmenter(), {source!r}, ["a cat", "wood"], {out!r}, frames_dir={folder!r}, batch_size=1,
              smoothing={smoothing}, progress=lambda *_: time.sleep({pause}))
"""


def test_killed_in_the_middle_and_gone_on_with(av: Any, tmp_path: Path) -> None:
    def started(name: str, pause: float) -> subprocess.Popen[bytes]:
        given = {
            "tests": str(Path(__file__).parent), "source": str(source), "smoothing": 0.3, "pause": pause,
            "out": str(tmp_path / f"{name}.mp4"), "folder": str(tmp_path / name),
        }  # fmt: skip
        return subprocess.Popen([sys.executable, "-c", KILLED.format(**given)])

    source = film(av, tmp_path / "film.mp4")
    whole, torn = started("whole", 0), started("torn", 0.5)
    assert whole.wait(timeout=120) == 0
    while len(list((tmp_path / "torn").rglob("*.png"))) < 5:
        sleep(0.05)
        assert torn.poll() is None
    os.kill(torn.pid, signal.SIGKILL)
    torn.wait()
    assert not (tmp_path / "torn.mp4").exists()
    assert len(list((tmp_path / "torn").rglob("*.png"))) < 16
    assert started("torn", 0).wait(timeout=120) == 0
    one, other = (masks_in(tmp_path / name) for name in ("whole", "torn"))
    assert one.keys() == other.keys()
    assert all(np.mean(one[name] != other[name]) < 0.01 for name in one)
    for first, second in zip(frames_of(tmp_path / "whole.mp4"), frames_of(tmp_path / "torn.mp4"), strict=True):
        assert first.time == second.time
        assert np.abs(np.asarray(first.picture).astype(int) - np.asarray(second.picture)).mean() < 3
