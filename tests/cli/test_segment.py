"""`clipseg segment`: what it writes and prints, what it survives, and what it refuses."""

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
from clipseg.formats.outputs import MASK
from clipseg.prompting.conditioning import Conditioner
from clipseg.prompting.prompts import ImagePrompt
from clipseg.runtime.fused import FusedModel


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


# -- what it does ----------------------------------------------------------------------------------------------------


def test_masks_overlay_and_lines(call, draw, folder, model) -> None:
    draw("cat.png")
    outcome = call("segment", "cat.png", "-p", "a cat", "-p", "A Remote!", "--model", model)
    assert (outcome.code, outcome.err) == (0, "")
    assert files_in(folder) == {"cat.png", "cat.a-cat.mask.png", "cat.a-remote.mask.png", "cat.overlay.png"}
    masks = Segmenter.from_pretrained(model).segment("cat.png", ["a cat", "A Remote!"])
    assert [record["label"] for record in outcome.records] == ["a cat", "A Remote!"]
    for record, mask in zip(outcome.records, masks, strict=True):
        assert list(record) == ["picture", "label", "instance", "score", "presence", "area", "box", "file", "files"]
        assert record["instance"] is None
        assert (pixels(record["file"]) == mask.binary().numpy() * 255).all()
        assert record["picture"] == "cat.png"
        assert record["area"] == mask.area()
        assert record["score"] == round(mask.score(), 4)
        assert record["box"] == (None if mask.empty() else mask.box().tolist())
        assert record["files"] == {MASK: [record["file"]], "overlay": ["cat.overlay.png"]}
    height, width, channels = pixels("cat.overlay.png").shape
    assert (width, channels) == (40, 3)
    assert height > 30  # the legend


@pytest.mark.parametrize(("threshold", "area", "box"), [(0, 1200, [0, 0, 40, 30]), (1, 0, None)])
def test_threshold_and_no_overlay(call, draw, folder, model, threshold, area, box) -> None:
    draw("cat.png")
    outcome = call("segment", "cat.png", "-p", "cat", "--model", model, "--threshold", threshold, "--no-overlay")
    (record,) = outcome.records
    assert (record["area"], record["box"], list(record["files"])) == (area, box, [MASK])
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
    box = ImagePrompt("jar.png", box=(2, 3, 9, 12), style="crop")
    prompts = [ImagePrompt("jar.png", "jar_mask.png", style="crop"), ImagePrompt("jar.png"), box]
    expected = Segmenter.from_pretrained(model).segment("cat.png", prompts)
    arguments = ("segment", "cat.png", "--image-prompt", "jar.png:jar_mask.png", "--image-prompt", "jar.png")
    arguments = (*arguments, "--image-prompt", "jar.png:2,3,9,12")
    outcome = call(*arguments, "--style", "crop", "--model", model)
    assert [record["score"] for record in outcome.records] == [round(score, 4) for score in expected.scores().tolist()]
    assert [Path(record["file"]).name for record in outcome.records] == [
        f"cat.jar{n}.mask.png" for n in ("", "-2", "-3")
    ]


def test_prompts_are_embedded_once_and_pictures_encoded_once(call, draw, model, monkeypatch) -> None:
    for name in "abc":
        draw(f"{name}.png")
    embedded, encoded = [], []
    texts, images = Conditioner._encode_texts, FusedModel.encode_images
    monkeypatch.setattr(
        Conditioner, "_encode_texts", lambda self, texts_: embedded.append(texts_) or texts(self, texts_)
    )
    monkeypatch.setattr(
        FusedModel,
        "encode_images",
        lambda self, pixels: encoded.append(len(pixels)) or images(self, pixels),
    )
    assert call("segment", "a.png", "b.png", "c.png", "-p", "x", "-p", "y", "--model", model).code == 0
    assert embedded == [["x", "y"]]
    assert encoded == [3]
    encoded.clear()
    assert call("segment", "a.png", "b.png", "c.png", "-p", "x", "--model", model, "--batch-size", 2).code == 0
    assert encoded == [2, 1]


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
    broken, summary = outcome.err.splitlines()
    assert broken.startswith("error: b.png is no picture")
    assert summary == "error: 1 of 3 pictures could not be done, the other 2 are: b.png"
    assert [record["picture"] for record in outcome.records] == ["a.png", "c.png"]
    assert "b.cat.mask.png" not in files_in(folder)


def test_stdout_holds_json_lines_only(process, draw, model) -> None:
    draw("cat.png")
    outcome = process("-v", "segment", "cat.png", "-p", "a cat", "--model", model, "--offline")
    assert outcome.code == 0
    assert [record["label"] for record in outcome.records] == ["a cat"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_whole_files(draw, folder, model, number, code) -> None:
    draw("cat.png", (300, 300))
    names = [f"{number}.png" for number in range(500)]
    for name in names:
        Path(name).symlink_to("cat.png")
    arguments = ["segment", *names, "--batch-size", "1", "-p", "a cat", "--model", str(model), "-o", "out"]
    command = [sys.executable, "-m", "clipseg", *arguments]

    def heed() -> None:  # a shell's background jobs, such as this test may run in, hand down a deaf ear to SIGINT
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, preexec_fn=heed, **pipes) as running:
        lines = [running.stdout.readline() for _ in range(5)]
        running.send_signal(number)
        rest, err = running.communicate(timeout=60)
    assert running.returncode == code
    assert err.strip() == ("interrupted; files already written are whole" if code == 130 else "")
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
        (["empty", "-p", "cat"], 3, "is a folder with no pictures in it"),
        (["cat.png", "a red cup"], 3, "there is no picture file 'a red cup'; did you mean -p 'a red cup'?"),
        (["cat.png", "nowhere.png"], 3, "there is no picture file nowhere.png"),
        (["cat.png"], 2, "no prompt given"),
        (["cat.png", "-p", ""], 4, "a text prompt is empty"),
        (["cat.png", "-p", " \n"], 4, "a text prompt is empty"),
        (["cat.png", "-p", "cat", "--threshold", "1.5"], 2, "threshold must be a number from 0 to 1"),
        (["cat.png", "-p", "cat", "--threshold", "nan"], 2, "threshold must be a number from 0 to 1"),
        (["cat.png", "-p", "cat", "--style", "crops"], 2, "there is no style 'crops'; did you mean 'crop'?"),
        (["cat.png", "-p", "cat", "--grwo", "3"], 2, "No such option '--grwo'. Did you mean '--grow'?"),
        (["cat.png", "-p", "cat", "--grow", "far"], 2, "grow is 'far'"),
        (["cat.png", "-p", "cat", "--keep", "larges"], 2, "did you mean 'largest'?"),
        (["cat.png", "-p", "cat", "--fit", "squish"], 2, "fit is 'squish'; did you mean 'squash'?"),
        (["cat.png", "-p", "cat", "--tile", "5"], 2, "--tile is of tiles; add --fit tile"),
        (["cat.png", "-p", "cat", "--fit", "tile", "--tile", "wide"], 2, "tile is 'wide'"),
        (["cat.png", "-p", "cat", "--format", "sofd"], 2, "there is no format 'sofd'; did you mean 'soft'?"),
        (["cat.png", "-p", "cat", "--threshold", ".1", "--threshold", ".2"], 2, "2 times for 1 masks"),
        (["cat.png", "-p", "cat", "--compose", "add"], 2, "needs masks that were there before"),
        (["cat.png", "-p", "cat", "--existing", "small.png"], 2, "--existing without --compose"),
        (["cat.png", "-p", "cat", "--existing", "no.png", "--compose", "add"], 3, "there is no mask or folder no.png"),
        (["cat.png", "-p", "cat", "--name", "{stm}"], 2, "did you mean 'stem'?"),
        (["cat.png", "-p", "cat", "-p", "dog", "--name", "{kind}"], 2, "two results would be called mask.png"),
        (["cat.png", "-p", "cat", "--instances", "--name", "{stem}"], 2, "needs {instance}"),
        (["cat.png", "-p", "cat", "--name", "{stem}"], 2, "cat.png is one of the inputs"),
        (["cat.png", "-p", "(cat OR"], 4, "column"),
        (["cat.png", "-p", "cat", "--skip-existing", "--format", "coco"], 2, "out of the coco data set"),
        (["cat.png", "-p", "cat", "-p", "dog", "-o", "-"], 2, "standard output takes one result of one picture"),
        (["cat.png", "-p", "cat", "-o", "-", "--json"], 2, "--json has no meaning"),
        (["cat.png", "-p", "cat", "--threshold", "none", "--fail-if-empty"], 2, "--fail-if-empty needs masks"),
        (["cat.png", "-p", "cat", "--threshold", "none", "--format", "labels"], 2, "needs masks that are decided"),
        (["cat.png", "--average", "-p", "cat"], 2, "--average is of examples"),
        (["cat.png", "--prompt-file", "text.png"], 4, "text.png is no prompt file"),
        (["cat.png", "-p", "cat", "--template", "photos"], 2, "did you mean 'photo'?"),
        (["cat.png", "--image-prompt", "jar.png"], 3, "there is no example picture 'jar.png'"),
        (["cat.png", "--image-prompt", "cat.png:jar.png"], 3, "no mask file 'jar.png' for the example 'cat.png'"),
        (["cat.png", "--image-prompt", "cat.png:9,9,1,1"], 4, "cat.png:9,9,1,1: box"),
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
    Path("empty").mkdir()
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
