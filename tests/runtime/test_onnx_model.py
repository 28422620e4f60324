"""A segmenter under ONNX Runtime is the segmenter under torch."""

from __future__ import annotations

import copy
import json
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
from clipseg.errors import CheckpointError, MissingPackageError, PictureError, PromptError, UsageError
from clipseg.prompting.prompts import ImagePrompt
from clipseg.runtime.onnx_model import ONNXModel
from clipseg.segmenter import Segmenter

SEVEN = ["a cat", "a red cup", "the dog", "wood", "something to fill", "a glass", "jar"]


@pytest.fixture(scope="module")
def ours(model_folder: Path) -> Segmenter:
    return Segmenter.from_pretrained(model_folder, dtype="float32")


@pytest.fixture(scope="module")
def theirs(onnx_folder: Path) -> Segmenter:
    return Segmenter.from_pretrained(onnx_folder, backend="onnx")


def near(found: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-4) -> None:
    assert found.shape == expected.shape
    assert float((found - expected).abs().max() / expected.std()) < tolerance


@pytest.mark.parametrize("pictures", [1, 3])
@pytest.mark.parametrize("prompts", [1, 7])
@pytest.mark.parametrize("size_hw", [(64, 64), (48, 112), (16, 16), (70, 90)])
def test_shapes(onnx_folder: Path, pictures: int, prompts: int, size_hw: tuple[int, int]) -> None:
    runner, model = ONNXModel.from_folder(onnx_folder), exports.model()
    pixels, texts = tiny.pixels(pictures, *size_hw), exports.texts(prompts)
    with torch.inference_mode():
        found, expected = runner.encode_images(pixels), model.encode_images(pixels)
        for pair in zip(found.reduced, expected.reduced, strict=True):
            near(*pair)
        assert found.grid == expected.grid
        conditions = model.get_conditional_embeddings(prompts, **texts)
        near(runner.get_conditional_embeddings(prompts, **texts), conditions)
        near(runner.decode(found, conditions), model.decode(expected, conditions))
        each = torch.randn(pictures, prompts, 12, generator=torch.Generator().manual_seed(0))
        near(runner.decode(found, each), model.decode(expected, each))
        near(
            runner.get_conditional_embeddings(conditional_pixel_values=pixels),
            model.get_conditional_embeddings(conditional_pixel_values=pixels),
        )
    assert runner.decode(found, conditions).dtype == runner.dtype == torch.float32


@pytest.mark.parametrize("fit", ["squash", "letterbox", "tile"])
def test_segmenting(ours: Segmenter, theirs: Segmenter, fit: str) -> None:
    picture = ready.picture(3, 200, 120)
    example = ImagePrompt(ready.picture(4), box=(5, 5, 20, 20), style="crop")
    prompts = [*SEVEN, "a cat AND NOT (wood OR jar)", example]
    found, expected = (each.segment(picture, prompts, fit=fit) for each in (theirs, ours))
    near(found.logits, expected.logits)
    assert found.labels == expected.labels
    same, either = (found.binary(0.5) & expected.binary(0.5)).sum(), (found.binary(0.5) | expected.binary(0.5)).sum()
    assert either > 0
    assert same / either >= 0.99


def test_streams_and_similarity(ours: Segmenter, theirs: Segmenter) -> None:
    pictures = [ready.picture(seed) for seed in range(5)]
    for found, expected in zip(
        theirs.asking(SEVEN, batch_size=3)(pictures), ours.segment_many(pictures, SEVEN), strict=True
    ):
        near(found.logits, expected.logits)
    near(theirs.similarity(pictures[0], SEVEN), ours.similarity(pictures[0], SEVEN))
    near(theirs.embed(SEVEN), ours.embed(SEVEN))


def test_8_bit_is_near(ours: Segmenter, int8_folder: Path) -> None:
    theirs = Segmenter.from_pretrained(int8_folder, backend="onnx", dtype="int8")
    picture = ready.picture(3)
    found, expected = (each.segment(picture, SEVEN).logits for each in (theirs, ours))
    difference = (found - expected).square().mean().sqrt() / expected.std()
    assert 1e-4 < difference < 0.1


def test_styles_that_mask_attention_say_what_to_do(theirs: Segmenter) -> None:
    with pytest.raises(PromptError, match='backend="torch"'):
        theirs.embed(ImagePrompt(ready.picture(), box=(5, 5, 20, 20), style="attend"))


def test_there_are_no_modules_to_be_had(theirs: Segmenter) -> None:
    with pytest.raises(UsageError, match='backend="torch"'):
        _ = theirs.model
    assert theirs.config.reduce_dim == 8


def test_threads_and_copies(onnx_folder: Path) -> None:
    segmenter, pictures = Segmenter.from_pretrained(onnx_folder, backend="onnx"), [ready.picture(i) for i in range(6)]
    expected = [each.logits for each in segmenter.segment_many(pictures, SEVEN, batch_size=1)]
    again = pickle.loads(pickle.dumps(segmenter))
    for copied in (again, copy.deepcopy(segmenter)):
        assert torch.equal(copied.segment(pictures[0], SEVEN).logits, expected[0])
    fresh, found = pickle.loads(pickle.dumps(segmenter)), {}
    threads = [
        threading.Thread(target=lambda i=i: found.update({i: fresh.segment(pictures[i], SEVEN).logits}))
        for i in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(found[i], expected[i]) for i in range(6))


def test_a_graph_is_opened_when_it_is_needed(onnx_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(onnx_folder, tmp_path / "onnx")
    (folder / "picture_embedder.onnx").write_bytes(b"damaged")
    segmenter = Segmenter.from_pretrained(folder, backend="onnx")
    assert segmenter.segment(ready.picture(), "a cat").logits.isfinite().all()
    with pytest.raises(CheckpointError, match=r"picture_embedder\.onnx is not what was exported.*clipseg export"):
        segmenter.similarity(ready.picture(), "a cat")


def test_a_graph_that_cannot_be_opened(onnx_folder: Path, tmp_path: Path) -> None:
    from clipseg.runtime.onnx_model import opened

    (tmp_path / "a.onnx").write_bytes(b"no graph")
    with pytest.raises(CheckpointError, match="cannot be opened by ONNX Runtime"):
        opened(tmp_path / "a.onnx")


def _changed(onnx_folder: Path, tmp_path: Path, **changes: object) -> Path:
    folder = shutil.copytree(onnx_folder, tmp_path / "changed")
    manifest = json.loads((folder / "export.json").read_text())
    (folder / "export.json").write_text(json.dumps({**manifest, **changes}))
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"to": "openvino"}, "was exported to openvino, not to onnx"),
        ({"format_version": 2}, "format version 2, and this clipseg reads up to 1: update clipseg"),
        ({"format_version": None}, "format version None"),
        ({"graphs": None}, "is not a whole manifest"),
        (
            {"graphs": {"decoder": {"files": {"../decoder.onnx": ""}, "largest_error": 0, "rms_error": 0}}},
            "no plain file names",
        ),
        ({"graphs": {"decoder": {"files": {}, "largest_error": 0, "rms_error": 0}}}, "no plain file names"),
        (
            {"graphs": {"decoder": {"files": ["decoder.onnx"], "largest_error": 0, "rms_error": 0}}},
            "is not a whole manifest",
        ),
        ({"surplus": 1}, "is not a whole manifest"),
        ({"size_hw": 3}, "is not a whole manifest"),
    ],
)
def test_manifests(onnx_folder: Path, tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        ONNXModel.from_folder(_changed(onnx_folder, tmp_path, **changes))


def test_graphs_that_are_not_there(onnx_folder: Path, tmp_path: Path) -> None:
    without = _changed(onnx_folder, tmp_path, graphs={})
    with pytest.raises(CheckpointError, match="has no picture_encoder: export the model anew"):
        ONNXModel.from_folder(without).encode_images(tiny.pixels(1))
    folder = shutil.copytree(onnx_folder, tmp_path / "torn")
    (folder / "decoder.onnx.data").unlink()
    with pytest.raises(CheckpointError, match=r"lacks decoder\.onnx\.data: copy it whole"):
        ONNXModel.from_folder(folder)


def test_what_is_no_export(model_folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is no folder that was exported.*clipseg export"):
        Segmenter.from_pretrained(model_folder, backend="onnx")
    with pytest.raises(
        CheckpointError, match=r"some/name is no folder that was exported.*clipseg export some/name --to onnx"
    ):
        Segmenter.from_pretrained("some/name", backend="onnx")


@pytest.mark.parametrize(
    ("dtype", "message"),
    [
        ("int8", "again with --int8"),
        ("bfloat16", "openvino"),
        (torch.float16, 'backend="torch"'),
        ("int3", 'backend="torch"'),
    ],
)
def test_types(onnx_folder: Path, dtype: str | torch.dtype, message: str) -> None:
    with pytest.raises(UsageError, match=rf"exported in float32.*{message}"):
        ONNXModel.from_folder(onnx_folder, dtype=dtype)


def test_types_of_8_bit(int8_folder: Path) -> None:
    assert ONNXModel.from_folder(int8_folder).precision == "int8"
    with pytest.raises(UsageError, match=r"exported in int8.*again without --int8"):
        ONNXModel.from_folder(int8_folder, dtype="float32")


def test_devices(onnx_folder: Path) -> None:
    assert ONNXModel.from_folder(onnx_folder, torch.device("cpu"), torch.float32).device.type == "cpu"
    with pytest.raises(UsageError, match=r'device is "cuda".*backend="torch"'):
        ONNXModel.from_folder(onnx_folder, "cuda")


def test_what_cannot_be_run(onnx_folder: Path) -> None:
    runner = ONNXModel.from_folder(onnx_folder)
    encoded, texts = runner.encode_images(tiny.pixels(2)), exports.texts(2)
    for conditions in (torch.zeros(2, 11), torch.zeros(0, 12), torch.zeros(3, 1, 12), torch.zeros(12)):
        with pytest.raises(PromptError, match=r"expected \(P, 12\) or \(2, P, 12\)"):
            runner.decode(encoded, conditions)
    for pixels, message in (
        (tiny.pixels(1, 8), "smaller than one patch"),
        (torch.zeros(3, 64, 64), r"expected \(batch"),
    ):
        with pytest.raises(PictureError, match=message):
            runner.encode_images(pixels)
    with pytest.raises(PromptError, match="3 conditions are expected"):
        runner.get_conditional_embeddings(3, **texts)
    with pytest.raises(PromptError, match="neither"):
        runner.get_conditional_embeddings(1)
    with pytest.raises(PromptError, match="numbers positions itself"):
        runner.get_conditional_embeddings(2, **texts, position_ids=torch.arange(9))
    with pytest.raises(PromptError, match="reach from"):
        runner.get_conditional_embeddings(1, torch.full((1, 4), 10_000))
    with pytest.raises(PromptError, match="at most 16 tokens"):
        runner.get_conditional_embeddings(1, torch.zeros(1, 17, dtype=torch.long))
    with pytest.raises(PromptError, match="attention_mask has shape"):
        runner.get_conditional_embeddings(2, texts["input_ids"], texts["attention_mask"][:, 1:])


def test_without_the_package(onnx_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'clipseg\[onnx\]'"):
        Segmenter.from_pretrained(onnx_folder, backend="onnx")


@pytest.mark.slow
@pytest.mark.parametrize(("int8", "least"), [(False, 0.99), (True, 0.97)])
@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_nano(backend: str, int8: bool, least: float, tmp_path: Path) -> None:
    """The bundled model on the example scenes: the masks under torch and under another engine."""
    ours = Segmenter.from_pretrained("nano", dtype="float32")
    theirs = Segmenter.from_pretrained(exports.exported("nano", tmp_path / "nano", backend, int8=int8), backend=backend)
    scenes = Path(__file__).parents[2] / "examples" / "scenes"
    shared = either = 0
    for scene in json.loads((scenes / "scenes.json").read_text(encoding="utf-8")):
        found, expected = (
            each.segment(scenes / scene["picture"], scene["names"]).binary(0.5) for each in (theirs, ours)
        )
        shared, either = shared + int((found & expected).sum()), either + int((found | expected).sum())
    assert shared / either >= least
