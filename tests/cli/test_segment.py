"""`clipseg segment`: what it writes and prints, and what it refuses."""

from __future__ import annotations

import json
import shutil
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from clipseg import Segmenter
from clipseg.cli import segment as command
from clipseg.errors import PictureNotFoundError
from clipseg.masks.thresholds import DEFAULT_THRESHOLD
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
from clipseg.prompting.conditioning import Conditioner
from clipseg.prompting.prompts import ImagePrompt
from clipseg.prompting.visual import DEFAULT_STYLE, STYLES
from clipseg.segmenter import DEFAULT_MODEL


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int) -> bytes:
    """A PNG whose header states a size and whose pixels are not there."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def pixels(path: str | Path) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture)


def test_the_defaults_are_the_library_s() -> None:
    assert command.MODEL == DEFAULT_MODEL
    assert command.THRESHOLD == DEFAULT_THRESHOLD
    assert command.STYLE == DEFAULT_STYLE
    assert set(command.STYLES) == set(STYLES)


# -- what it does ----------------------------------------------------------------------------------------------------


def test_masks_overlay_and_lines(call, draw, folder, model) -> None:
    draw("cat.png")
    outcome = call("segment", "cat.png", "-p", "a cat", "-p", "A Remote!", "--model", model)
    assert (outcome.code, outcome.err) == (0, "")
    assert files_in(folder) == {"cat.png", "cat.a-cat.mask.png", "cat.a-remote.mask.png", "cat.overlay.png"}
    masks = Segmenter.from_pretrained(model).segment("cat.png", ["a cat", "A Remote!"])
    assert [record["label"] for record in outcome.records] == ["a cat", "A Remote!"]
    for record, mask in zip(outcome.records, masks, strict=True):
        assert list(record) == ["picture", "label", "score", "area", "box", "file", "overlay"]
        assert (pixels(record["file"]) == mask.binary().numpy() * 255).all()
        assert record["picture"] == "cat.png"
        assert record["area"] == mask.area()
        assert record["score"] == round(mask.score(), 4)
        assert record["box"] == (None if mask.empty() else mask.box().tolist())
        assert record["overlay"] == "cat.overlay.png"
    height, width, channels = pixels("cat.overlay.png").shape
    assert (width, channels) == (40, 3)
    assert height > 30  # the legend


@pytest.mark.parametrize(("threshold", "area", "box"), [(0, 1200, [0, 0, 40, 30]), (1, 0, None)])
def test_threshold_and_no_overlay(call, draw, folder, model, threshold, area, box) -> None:
    draw("cat.png")
    outcome = call("segment", "cat.png", "-p", "cat", "--model", model, "--threshold", threshold, "--no-overlay")
    (record,) = outcome.records
    assert (record["area"], record["box"], record["overlay"]) == (area, box, None)
    assert files_in(folder) == {"cat.png", "cat.cat.mask.png"}


def test_pictures_of_one_name_and_prompts_of_one_slug(call, draw, folder, model) -> None:
    draw("one/cat.png", (20, 20))
    draw("two/CAT.jpg", (30, 30))
    outcome = call(
        "segment", "one/cat.png", "two/CAT.jpg", "-p", "a cat", "-p", "a  cat?", "--model", model, "-o", "out/x"
    )
    assert outcome.code == 0
    files = [record["file"] for record in outcome.records]
    assert files == [f"out/x/{name}.mask.png" for name in ("cat.a-cat", "cat.a-cat-2", "CAT-2.a-cat", "CAT-2.a-cat-2")]
    assert [pixels(file).shape[1] for file in files] == [20, 20, 30, 30]
    assert files_in(folder / "out") == {
        *(file.removeprefix("out/") for file in files),
        "x/cat.overlay.png",
        "x/CAT-2.overlay.png",
    }


def test_long_names_fit(call, draw, model) -> None:
    draw("é" * 120 + ".png")
    outcome = call("segment", "é" * 120 + ".png", "-p", "a " * 60 + "cat", "--model", model)
    assert outcome.code == 0
    assert Path(outcome.records[0]["file"]).is_file()


def test_image_prompts(call, draw, model) -> None:
    draw("cat.png")
    draw("jar.png", (20, 24))
    mask = np.zeros((24, 20), np.uint8)
    mask[4:20, 5:15] = 255
    Image.fromarray(mask).save("jar_mask.png")
    arguments = ("segment", "cat.png", "--image-prompt", "jar.png", "-p", "a cat", "--model", model)
    whole = call(*arguments)
    assert [record["label"] for record in whole.records] == ["a cat", "jar"]
    prompts = [ImagePrompt("jar.png", "jar_mask.png", style="crop"), ImagePrompt("jar.png")]
    expected = Segmenter.from_pretrained(model).segment("cat.png", prompts)
    arguments = ("segment", "cat.png", "--image-prompt", "jar.png:jar_mask.png", "--image-prompt", "jar.png")
    outcome = call(*arguments, "--style", "crop", "--model", model)
    assert [record["score"] for record in outcome.records] == [round(score, 4) for score in expected.scores().tolist()]
    assert [Path(record["file"]).name for record in outcome.records] == ["cat.jar.mask.png", "cat.jar-2.mask.png"]


def test_prompts_are_embedded_once_and_pictures_encoded_once(call, draw, model, monkeypatch) -> None:
    for name in "abc":
        draw(f"{name}.png")
    embedded, encoded = [], []
    texts, images = Conditioner._encode_texts, CLIPSegForImageSegmentation.encode_images
    monkeypatch.setattr(
        Conditioner, "_encode_texts", lambda self, texts_: embedded.append(texts_) or texts(self, texts_)
    )
    monkeypatch.setattr(
        CLIPSegForImageSegmentation,
        "encode_images",
        lambda self, pixels: encoded.append(len(pixels)) or images(self, pixels),
    )
    assert call("segment", "a.png", "b.png", "c.png", "-p", "x", "-p", "y", "--model", model).code == 0
    assert embedded == [["x", "y"]]
    assert encoded == [1, 1, 1]


def test_a_prompt_that_is_too_long_is_named(call, draw, model) -> None:
    draw("cat.png")
    text = "a cat and " * 30
    outcome = call("segment", "cat.png", "-p", text, "--model", model)
    assert outcome.code == 0
    assert len(outcome.records) == 1
    assert outcome.err.startswith("warning: prompt 'a cat and a cat")
    assert "reads 77" in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_broken_picture_among_whole_ones(call, draw, folder, model) -> None:
    draw("a.png")
    draw("c.png")
    Path("b.png").write_text("I am no picture")
    outcome = call("segment", "a.png", "b.png", "c.png", "-p", "cat", "--model", model)
    assert outcome.code == 3
    assert outcome.error.startswith("b.png is no picture")
    assert [record["picture"] for record in outcome.records] == ["a.png", "c.png"]
    assert "b.cat.mask.png" not in files_in(folder)


def test_stdout_holds_json_lines_only(process, draw, model) -> None:
    draw("cat.png")
    outcome = process("-v", "segment", "cat.png", "-p", "a cat", "--model", model, "--offline")
    assert outcome.code == 0
    assert [record["label"] for record in outcome.records] == ["a cat"]


def test_ctrl_c_leaves_whole_files(draw, folder, model) -> None:
    draw("cat.png", (300, 300))
    arguments = ["segment", *["cat.png"] * 500, "-p", "a cat", "--model", str(model), "-o", "out"]
    command = [sys.executable, "-m", "clipseg", *arguments]

    def heed() -> None:  # a shell's background jobs, such as this test may run in, hand down a deaf ear to SIGINT
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, preexec_fn=heed, **pipes) as running:
        lines = [running.stdout.readline() for _ in range(5)]
        running.send_signal(signal.SIGINT)
        rest, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert err.strip() == "interrupted; files already written are whole"
    written = files_in(folder / "out")
    assert 10 <= len(written) < 1000
    assert all(name.endswith((".mask.png", ".overlay.png")) for name in written)
    for name in written:
        pixels(folder / "out" / name)
    assert all(Path(json.loads(line)["file"]).is_file() for line in (*lines, *rest.splitlines()))


# -- what it refuses -------------------------------------------------------------------------------------------------


@pytest.fixture
def forbidden(monkeypatch) -> None:
    """A model must not be loaded."""

    def load(*arguments: object, **options: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(Segmenter, "from_pretrained", load)


@pytest.mark.usefixtures("forbidden")
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere.png", "-p", "cat"], 3, "there is no picture file nowhere.png"),
        (["cat.png", "nowhere.png", "-p", "cat"], 3, "there is no picture file nowhere.png"),
        (["https://example.org/cat.png", "-p", "cat"], 3, "download it first"),
        ([".", "-p", "cat"], 3, "is a folder"),
        (["cat.png", "a red cup"], 3, "there is no picture file 'a red cup'; did you mean -p 'a red cup'?"),
        (["cat.png", "nowhere.png"], 3, "there is no picture file nowhere.png"),
        (["cat.png"], 2, "no prompt given"),
        (["cat.png", "-p", ""], 4, "a text prompt is empty"),
        (["cat.png", "-p", " \n"], 4, "a text prompt is empty"),
        (["cat.png", "-p", "cat", "--threshold", "1.5"], 2, "1.5 is not a number from 0 to 1"),
        (["cat.png", "-p", "cat", "--threshold", "nan"], 2, "nan is not a number from 0 to 1"),
        (["cat.png", "-p", "cat", "--style", "crops"], 2, "'crop_blur_highlight'"),
        (["cat.png", "--image-prompt", "jar.png"], 3, "there is no example picture 'jar.png'"),
        (["cat.png", "--image-prompt", "cat.png:jar.png"], 3, "no mask file 'jar.png' for the example 'cat.png'"),
        (
            ["cat.png", "--image-prompt", "cat.png:small.png"],
            4,
            "cat.png:small.png: mask is 5x5 but its picture is 30x40",
        ),
        (["cat.png", "--image-prompt", "text.png"], 3, "text.png is no picture"),
        (["cat.png", "-p", "cat", "-o", "text.png"], 7, "text.png is no folder that can be written into"),
        (["cat.png", "-p", "cat", "-o", "text.png/deeper"], 7, "is no folder that can be written into"),
        (["cat.png", "-p", "cat", "-o", "/proc/nowhere"], 7, "/proc/nowhere is no folder that can be written into"),
        (["cat.png", "cat.cat.mask.png", "-p", "cat"], 2, "cat.cat.mask.png is one of the inputs"),
        (["cat.png", "--image-prompt", "cat.png:cat.cat.mask.png"], 2, "cat.cat.mask.png is one of the inputs"),
    ],
)
def test_refused_before_the_model_is_loaded(call, draw, folder, arguments, code, message) -> None:
    draw("cat.png")
    draw("small.png", (5, 5), "L")
    draw("cat.cat.mask.png", (40, 30), "L")
    Path("text.png").write_text("I am no picture")
    before = files_in(folder)
    outcome = call("segment", *arguments)
    assert outcome.code == code
    assert message in outcome.error
    assert outcome.out == ""
    assert files_in(folder) == before


def truncated_jpeg() -> bytes:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save("whole.jpg")
    content = Path("whole.jpg").read_bytes()
    Path("whole.jpg").unlink()
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.png", lambda: b"I am no picture", "is no picture that can be read"),
        ("cut.jpg", truncated_jpeg, "cannot be read whole"),
        ("flat.png", lambda: png(7, 0), "flat.png is no picture that can be read"),
        ("huge.png", lambda: png(100_000, 100_000), "allowed are"),
        ("empty.png", lambda: b"", "is empty (0 bytes)"),
    ],
)
def test_pictures_that_cannot_be_read(call, folder, model, name, content, message) -> None:
    (folder / name).write_bytes(content())
    outcome = call("segment", name, "-p", "cat", "--model", model, "-o", "out/deep")
    assert outcome.code == 3
    assert message in outcome.error
    assert outcome.out == ""
    assert files_in(folder) == {name}
    assert not Path("out").exists()


def test_an_unknown_model(process, draw, folder) -> None:
    draw("cat.png")
    outcome = process("segment", "cat.png", "-p", "cat", "--model", "nobody/nothing", "-o", "out")
    assert outcome.code == 6
    assert "nobody/nothing" in outcome.error
    assert files_in(folder) == {"cat.png"}
    assert not Path("out").exists()


def test_a_checkpoint_with_a_missing_key(call, draw, folder, model, tmp_path) -> None:
    draw("cat.png")
    broken = tmp_path / "broken"
    shutil.copytree(model, broken)
    tensors = load_file(broken / "model.safetensors")
    del tensors["decoder.reduces.0.weight"]
    save_file(tensors, broken / "model.safetensors")
    outcome = call("segment", "cat.png", "-p", "cat", "--model", broken)
    assert outcome.code == 6
    assert "decoder.reduces.0.weight" in outcome.error
    assert files_in(folder) == {"cat.png"}


def test_an_unknown_device(call, draw, folder, model) -> None:
    draw("cat.png")
    outcome = call("segment", "cat.png", "-p", "cat", "--model", model, "--device", "abacus")
    assert outcome.code == 2
    assert "device 'abacus' is not available" in outcome.error
    assert files_in(folder) == {"cat.png"}


def test_a_missing_picture_is_told_without_torch(folder) -> None:
    code = (
        "import sys\n"
        "from clipseg.cli.main import execute\n"
        "code = execute(['segment', 'nowhere.png', '-p', 'cat'])\n"
        "assert 'torch' not in sys.modules\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (3, "error: there is no picture file nowhere.png\n")


# -- FILE[:MASK] -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "text", "expected"),
    [
        (["jar.png"], "jar.png", ("jar.png", None)),
        (["jar.png", "m.png"], "jar.png:m.png", ("jar.png", "m.png")),
        (["a:b.png"], "a:b.png", ("a:b.png", None)),
        (["a:b.png", "m.png"], "a:b.png:m.png", ("a:b.png", "m.png")),
        (["jar.png", "m:n.png"], "jar.png:m:n.png", ("jar.png", "m:n.png")),
        (["C:\\jar.png"], "C:\\jar.png", ("C:\\jar.png", None)),
        (["C:\\jar.png", "D:\\m.png"], "C:\\jar.png:D:\\m.png", ("C:\\jar.png", "D:\\m.png")),
        (["C", "C:\\jar.png", "m.png"], "C:\\jar.png:m.png", ("C:\\jar.png", "m.png")),
    ],
)
def test_split_example(folder, there, text, expected) -> None:
    for name in there:
        Path(name).touch()
    assert command.split_example(text) == expected


@pytest.mark.parametrize("text", ["", ":", "jar.png:", ":jar.png", "x:y:z"])
def test_split_example_refuses(folder, text) -> None:
    Path("jar.png").touch()
    with pytest.raises(PictureNotFoundError):
        command.split_example(text)
