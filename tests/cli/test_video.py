"""`clipseg video`."""

from __future__ import annotations

import inspect
import signal
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipseg import video as library
from clipseg.cli import video as command
from clipseg.errors import CheckpointNotFoundError
from clipseg.masks.options import DEFAULT_OPTIONS
from clipseg.segmenter import Segmenter
from clipseg.video_files import opened, written

LIBRARY = library.segment_video
ASKED = ("-p", "a cat", "-p", "wood", "--threshold", "area:0.3")


@pytest.fixture
def film(folder: Path) -> Callable[..., Path]:
    """`film("film.mkv", 9)` -> a video of that many frames, noise that moves to the right, in the current folder."""

    def film(name: str = "film.mkv", count: int = 9, size: tuple[int, int] = (64, 48)) -> Path:
        noise = np.random.default_rng(0).integers(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
        pixels = noise.repeat(8, 0).repeat(8, 1)
        with written(Path(name), Fraction(25)) as add:
            for number in range(count):
                add(Image.fromarray(np.roll(pixels, number, 1)), Fraction(number, 25))
        return Path(name)

    return film


@pytest.fixture
def unloadable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that must not be asked for."""

    def load(*_arguments: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(command, "load_segmenter", load)


def frames_of(path: str | Path) -> list[np.ndarray]:
    with opened(path) as clip:
        return [np.asarray(frame.picture) for frame in clip.frames]


def mask(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture) > 0


# -- what is written ---------------------------------------------------------------------------------------------------


def test_an_overlay_without_a_thought(call, film, model) -> None:
    film()
    outcome = call("video", "film.mkv", *ASKED, "--model", model)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.records == [
        {
            "video": "film.mkv",
            "labels": ["a cat", "wood"],
            "computed": 9,
            "reused": 0,
            "file": "film.overlay.mp4",
            "folders": [],
        }
    ]
    shown, plain = frames_of("film.overlay.mp4"), frames_of("film.mkv")
    assert len(shown) == 9
    assert np.abs(shown[4].astype(int) - plain[4]).mean() > 10
    assert sorted(path.name for path in Path().iterdir()) == ["film.mkv", "film.overlay.mp4"]


def test_masks_of_frames_are_the_library_s_and_are_gone_on_with(call, film, model) -> None:
    film("film.mp4")
    arguments = ("video", "film.mp4", *ASKED, "--every", 3, "--frames", "masks", "--model", model)
    (record,) = call(*arguments).records
    assert (record["computed"], record["reused"], record["file"]) == (3, 0, None)
    assert record["folders"] == ["masks/a-cat", "masks/wood"]
    segmenter = Segmenter.from_pretrained(model)
    for number in (0, 3, 6):
        picture = Image.fromarray(frames_of("film.mp4")[number])
        expected = segmenter.segment(picture, ["a cat", "wood"], threshold="area:0.3").binary().numpy()
        for folder, one in zip(record["folders"], expected, strict=True):
            assert (mask(Path(folder, f"{number:06d}.png")) == one).mean() > 0.99
    Path("masks/wood/000003.png").unlink()
    (record,) = call(*arguments).records
    assert (record["computed"], record["reused"]) == (1, 2)
    (record,) = call(*arguments, "--no-resume").records
    assert (record["computed"], record["reused"]) == (3, 0)


def test_one_mask_in_white_on_black(call, film, model) -> None:
    film()
    Path("shown").mkdir()
    arguments = ("--masks-only", "--combine", "max", "-o", "shown", "--frames", "masks")
    (record,) = call("video", "film.mkv", *ASKED, *arguments, "--model", model).records
    assert record["labels"] == ["a cat | wood"]
    assert record["file"] == "shown/film.mask.mp4"
    (masks,) = record["folders"]
    for number, frame in enumerate(frames_of(record["file"])):
        assert ((frame > 127).all(2) == mask(Path(masks, f"{number:06d}.png"))).mean() > 0.95


def test_a_line_to_read_on_a_terminal(call, film, model, terminal_out) -> None:
    film()
    outcome = call("video", "film.mkv", *ASKED, "--frames", "masks", "--model", model)
    assert outcome.out == "film.mkv: 9 frames computed, 0 reused -> masks/a-cat, masks/wood\n"


# -- what is asked -----------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the library's function is called with, which then does nothing."""
    seen: dict[str, Any] = {}

    def segment_video(*arguments: Any, **keywords: Any) -> library.VideoReport:
        seen.update(inspect.signature(LIBRARY).bind(*arguments, **keywords).arguments)
        return library.VideoReport(0, 0)

    monkeypatch.setattr(library, "segment_video", segment_video)
    monkeypatch.setattr(command, "load_segmenter", lambda *_: None)
    return seen


def test_defaults_are_the_library_s(call, film, asked) -> None:
    film()
    assert call("video", "film.mkv", "-p", "a cat").code == 0
    names = ("overlay", "alpha", "frames_dir", "every", "smoothing", "combine", "options", "resume", "batch_size")
    parameters = inspect.signature(LIBRARY).parameters
    assert {name: asked[name] for name in names} == {name: parameters[name].default for name in names}
    assert asked["fit"] == "squash"
    assert asked["negative"] == ()


def test_every_option_arrives(call, film, asked) -> None:
    film()
    call(
        *("video", "film.mkv", "-p", "a cat", "-p", "a dog", "-n", "wood", "--combine", "mean", "--grow", "2"),
        *("--fit", "tile", "--tile", "50%", "--overlap", "8", "--every", "4", "--smoothing", "0.6", "--opacity", "0.3"),
        *("--no-resume", "--batch-size", "2", "-o", "out/x.mkv", "--frames", "masks"),
    )
    assert [prompt.label for prompt in asked["prompts"]] == ["a cat", "a dog"]
    assert [prompt.label for prompt in asked["negative"]] == ["wood"]
    assert (asked["combine"], asked["options"].grow) == ("mean", DEFAULT_OPTIONS.from_mapping({"grow": "2"}).grow)
    assert (asked["fit"], asked["tile"], asked["overlap"]) == ("tile", "50%", 8)
    assert (asked["every"], asked["smoothing"], asked["alpha"]) == (4, 0.6, 0.3)
    assert (asked["resume"], asked["batch_size"]) == (False, 2)
    assert (asked["out"], asked["frames_dir"]) == (Path("out/x.mkv"), Path("masks"))


# -- when something is wrong -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["none.mkv", "-p", "x"], 3, "there is no video file none.mkv"),
        (["words.mp4", "-p", "x"], 3, "words.mp4 cannot be read as a video"),
        (["empty.mp4", "-p", "x"], 3, "empty.mp4 cannot be read as a video"),
        (["cat.png/no.mp4", "-p", "x"], 3, "cat.png/no.mp4"),
        (["film.mkv"], 2, "no prompt given"),
        ([], 2, "Missing argument 'VIDEO'"),
        (["film.mkv", "-p", "a AND"], 4, "a AND"),
        (["film.mkv", "-p", "x", "-o", "film.mkv"], 2, "film.mkv is one of the inputs and would be overwritten"),
        (["film.mkv", "-p", "x", "-o", "./film.mkv"], 2, "would be overwritten"),
        (["film.mkv", "-p", "x", "-o", "out.txt"], 7, "'.txt' is of no video format"),
        (["film.mkv", "-p", "x", "-o", "out"], 7, "'' is of no video format"),
        (["film.mkv", "-p", "x", "-o", "words.mp4/x.mp4"], 7, "words.mp4 is no folder"),
        (["film.mkv", "-p", "x", "--frames", "words.mp4"], 7, "words.mp4 is no folder"),
        (["film.mkv", "-p", "x", "--threshold", "none"], 2, "masks that are decided"),
        (["film.mkv", "-p", "x", "--threshold", "much"], 2, "threshold must be"),
        (["film.mkv", "-p", "x", "--existing", "cat.png"], 2, "No such option"),
        (["film.mkv", "-p", "x", "--every", "0"], 2, "--every"),
        (["film.mkv", "-p", "x", "--smoothing", "1"], 2, "--smoothing"),
        (["film.mkv", "-p", "x", "--opacity", "2"], 2, "--opacity"),
        (["film.mkv", "-p", "x", "--opacity", "0.2", "--masks-only"], 2, "--opacity is of masks over the frames"),
        (["film.mkv", "-p", "x", "--frames", "m", "--masks-only"], 2, "--masks-only is of the video"),
        (["film.mkv", "-p", "x", "--frames", "m", "--opacity", "1"], 2, "--opacity is of the video"),
        (["film.mkv", "-p", "x", "--fit", "tiles"], 2, "did you mean 'tile'?"),
    ],
)
def test_refused_before_a_model_is_loaded(call, film, draw, unloadable, arguments, code, message) -> None:
    film(count=1)
    draw("cat.png")
    Path("words.mp4").write_text("only words " * 90)
    Path("empty.mp4").touch()
    before = sorted(path.name for path in Path().iterdir())
    outcome = call("video", *arguments)
    assert outcome.code == code, outcome.err
    assert message in outcome.error
    assert sorted(path.name for path in Path().iterdir()) == before


def test_without_pyav(call, folder, unloadable, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    outcome = call("video", "film.mkv", "-p", "x")
    assert outcome.code == 10
    assert "pip install 'clipseg[video]'" in outcome.error


def test_masks_of_another_run(call, film, model) -> None:
    film()
    arguments = ("video", "film.mkv", "--frames", "masks", "--model", model)
    assert call(*arguments, "-p", "a cat").code == 0
    outcome = call(*arguments, "-p", "a cat", "--smoothing", 0.5)
    assert outcome.code == 2
    assert "made with another smoothing" in outcome.error
    assert "--no-resume" in outcome.error


def test_no_model_leaves_no_folder(call, film, monkeypatch) -> None:
    def load(*_arguments: object) -> None:
        raise CheckpointNotFoundError("there is no such model")

    film()
    monkeypatch.setattr(command, "load_segmenter", load)
    outcome = call("video", "film.mkv", "-p", "x", "-o", "new/film.mp4", "--frames", "masks")
    assert (outcome.code, outcome.error) == (6, "there is no such model")
    assert [path.name for path in Path().iterdir()] == ["film.mkv"]


def test_interrupted_terminated_and_gone_on_with(call, film, model) -> None:
    """Each signal leaves whole files, and the next run takes them."""

    def heed() -> None:  # a shell's background jobs, such as this test may run in, hand down a deaf ear to SIGINT
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    frames, count = Path("masks/a-cat"), 250
    film(count=count)
    arguments = ["video", "film.mkv", "-p", "a cat", "--frames", "masks", "-o", "out.mp4", "--batch-size", "1"]
    arguments += ["--model", str(model)]
    left = 0
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        run = subprocess.Popen(
            [sys.executable, "-m", "clipseg", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed,
        )  # fmt: skip
        while len(list(frames.glob("0*.png"))) < left + 3:
            assert run.poll() is None, run.communicate()
            sleep(0.01)
        run.send_signal(number)
        out, err = run.communicate(timeout=60)
        assert (run.returncode, out) == (code, ""), err
        assert err.count("\n") <= 2
        assert "Traceback" not in err
        found = sorted(frames.iterdir())
        left = len(found)
        assert [path.name for path in found] == [f"{one:06d}.png" for one in range(left)]  # no file half written
        assert all(mask(path).shape == (48, 64) for path in found)
        assert 3 <= left < count
        assert sorted(path.name for path in Path().iterdir()) == ["film.mkv", "masks"]
    (record,) = call(*arguments).records
    assert (record["computed"], record["reused"]) == (count - left, left)
    assert len(frames_of("out.mp4")) == count
