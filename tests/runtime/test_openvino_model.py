"""A segmenter under OpenVINO is the segmenter under torch; what all exported models share is in test_onnx_model."""

from __future__ import annotations

import pickle
import shutil
import sys
import threading
from pathlib import Path

import pytest
import torch

import exports
import ready
import tiny
from clipseg.errors import CheckpointError, MissingPackageError, UsageError
from clipseg.prompting.prompts import ImagePrompt
from clipseg.runtime.openvino_model import OpenVINOModel, opened
from clipseg.segmenter import Segmenter

PROMPTS = ["a cat", "a red cup", "the dog", "wood", "something to fill", "a glass AND NOT wood", "jar"]


@pytest.fixture(scope="module")
def ours(model_folder: Path) -> Segmenter:
    return Segmenter.from_pretrained(model_folder, dtype="float32")


@pytest.fixture(scope="module")
def theirs(openvino_folder: Path) -> Segmenter:
    return Segmenter.from_pretrained(openvino_folder, backend="openvino", dtype="float32")


def apart(found: torch.Tensor, expected: torch.Tensor) -> float:
    assert found.shape == expected.shape
    return float((found - expected).abs().max() / expected.std())


@pytest.mark.parametrize(("pictures", "prompts", "size_hw"), [(1, 1, (64, 64)), (3, 7, (48, 112)), (1, 7, (16, 16))])
def test_shapes(openvino_folder: Path, pictures: int, prompts: int, size_hw: tuple[int, int]) -> None:
    runner, model = OpenVINOModel.from_folder(openvino_folder, dtype="float32"), exports.model()
    pixels, texts = tiny.pixels(pictures, *size_hw), exports.texts(prompts)
    with torch.inference_mode():
        found, expected = runner.encode_images(pixels), model.encode_images(pixels)
        conditions = model.get_conditional_embeddings(prompts, **texts)
        assert apart(runner.get_conditional_embeddings(prompts, **texts), conditions) < 1e-4
        assert apart(runner.decode(found, conditions), model.decode(expected, conditions)) < 1e-4
        assert found.grid == expected.grid


@pytest.mark.parametrize("fit", ["squash", "tile"])
def test_segmenting(ours: Segmenter, theirs: Segmenter, fit: str) -> None:
    picture = ready.picture(3, 200, 120)
    prompts = [*PROMPTS, ImagePrompt(ready.picture(4), box=(5, 5, 20, 20), style="crop")]
    found, expected = (each.segment(picture, prompts, fit=fit) for each in (theirs, ours))
    assert apart(found.logits, expected.logits) < 1e-4
    same, either = (found.binary(0.5) & expected.binary(0.5)).sum(), (found.binary(0.5) | expected.binary(0.5)).sum()
    assert same / either >= 0.99
    assert apart(theirs.similarity(picture, ["a cat", "wood"]), ours.similarity(picture, ["a cat", "wood"])) < 1e-4


def test_bfloat16(ours: Segmenter, openvino_folder: Path) -> None:
    theirs = Segmenter.from_pretrained(openvino_folder, backend="openvino", dtype=torch.bfloat16)
    logits = [each.segment(ready.picture(3), "a cat").logits for each in (theirs, ours)]
    assert apart(*logits) < 0.2


def test_8_bit_is_near(ours: Segmenter, openvino_int8_folder: Path) -> None:
    theirs = Segmenter.from_pretrained(openvino_int8_folder, backend="openvino", dtype="int8")
    found, expected = (each.segment(ready.picture(3), PROMPTS).logits for each in (theirs, ours))
    assert 1e-4 < (found - expected).square().mean().sqrt() / expected.std() < 0.1


def test_the_precision_is_chosen(openvino_folder: Path, openvino_int8_folder: Path) -> None:
    assert OpenVINOModel.from_folder(openvino_folder).precision == "float32"  # too small to gain by another
    assert OpenVINOModel.from_folder(openvino_int8_folder).precision == "int8"
    for dtype, way in (("int8", "again with --int8"), ("float16", 'backend="torch"')):
        with pytest.raises(UsageError, match=f"float32 or bfloat16; use that, or .*{way}"):
            OpenVINOModel.from_folder(openvino_folder, dtype=dtype)
    with pytest.raises(UsageError, match=r"exported in int8.*again without --int8"):
        OpenVINOModel.from_folder(openvino_int8_folder, dtype="bfloat16")


def test_threads_and_copies(theirs: Segmenter) -> None:
    pictures = [ready.picture(i) for i in range(6)]
    expected = [each.logits for each in theirs.segment_many(pictures, PROMPTS, batch_size=1)]
    fresh, found = pickle.loads(pickle.dumps(theirs)), {}
    assert fresh._parts.runner.precision == "float32"
    threads = [
        threading.Thread(target=lambda i=i: found.update({i: fresh.segment(pictures[i], PROMPTS).logits}))
        for i in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(apart(found[i], expected[i]) < 1e-4 for i in range(6))


def test_answers_outlive_the_next_call(openvino_folder: Path) -> None:
    runner = OpenVINOModel.from_folder(openvino_folder, dtype="float32")
    first = runner.encode_images(tiny.pixels(1, seed=1)).reduced[0]
    before = first.clone()
    runner.encode_images(tiny.pixels(1, seed=2))
    assert torch.equal(first, before)


def test_damage(openvino_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(openvino_folder, tmp_path / "openvino")
    (folder / "decoder.bin").write_bytes((folder / "decoder.bin").read_bytes()[:-1])
    segmenter = Segmenter.from_pretrained(folder, backend="openvino")
    with pytest.raises(CheckpointError, match=r"decoder\.bin is not what was exported"):
        segmenter.segment(ready.picture(), "a cat")
    (tmp_path / "a.xml").write_text("<net/>")
    with pytest.raises(CheckpointError, match="cannot be opened by OpenVINO"):
        opened(tmp_path / "a.xml")


def test_what_is_another_export(onnx_folder: Path, model_folder: Path) -> None:
    with pytest.raises(CheckpointError, match="was exported to onnx, not to openvino"):
        OpenVINOModel.from_folder(onnx_folder)
    with pytest.raises(CheckpointError, match=r"is no folder that was exported.*clipseg export"):
        OpenVINOModel.from_folder(model_folder)


def test_without_the_package(openvino_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'clipseg\[openvino\]'"):
        Segmenter.from_pretrained(openvino_folder, backend="openvino")
