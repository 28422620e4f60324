"""The zero-shot pipeline answers as the reference implementation's does, from one folder that both read."""

from pathlib import Path
from typing import Any

import pytest
import torch

import ready
from clipseg.pipelines import pipeline
from twins import quiet

TASK = "zero-shot-image-classification"
LABELS = ["a cat", "the dog", "wood", "something to fill"]
PICTURES = [ready.picture(0), ready.picture(1, 70, 64), ready.picture(2, 33, 90), ready.picture(3)]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    import transformers

    folder = str(ready.clip_folder(tmp_path_factory.mktemp("clip")))
    with quiet():
        theirs = transformers.pipeline(
            TASK,
            folder,
            device="cpu",
            dtype=torch.float32,
            # Their default resizes with torchvision, or not at all where that is missing.
            image_processor=transformers.CLIPImageProcessorPil.from_pretrained(folder),
        )
    return pipeline(TASK, folder, device="cpu"), theirs


def same(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    assert [entry["label"] for entry in ours] == [entry["label"] for entry in theirs]
    assert [list(entry) for entry in ours] == [list(entry) for entry in theirs]
    for ours_entry, theirs_entry in zip(ours, theirs, strict=True):
        assert type(ours_entry["score"]) is float
        assert ours_entry["score"] == pytest.approx(theirs_entry["score"], abs=1e-5)


def ask(theirs: Any, *args: Any, **options: Any) -> Any:
    with quiet():
        return theirs(*args, **options)


@pytest.mark.parametrize(
    "options",
    [{}, {"hypothesis_template": "{}"}, {"hypothesis_template": "a {} jar"}],
    ids=["default", "none", "own"],
)
def test_one_picture(pair: tuple[Any, Any], options: dict[str, str]) -> None:
    ours, theirs = pair
    for picture in PICTURES:
        result = ours(picture, candidate_labels=LABELS, **options)
        same(result, ask(theirs, picture, candidate_labels=LABELS, **options))
        assert len({round(entry["score"], 3) for entry in result}) == len(LABELS)  # no label is like another


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4])
def test_many_pictures(pair: tuple[Any, Any], batch_size: int) -> None:
    ours, theirs = pair
    options: dict[str, Any] = {"candidate_labels": LABELS, "batch_size": batch_size}
    expected = ask(theirs, PICTURES, **options)
    results = ours(PICTURES, **options)
    assert len(results) == len(expected)
    for result, wanted in zip(results, expected, strict=True):
        same(result, wanted)


def test_files_and_keyword(pair: tuple[Any, Any], tmp_path: Path) -> None:
    ours, theirs = pair
    PICTURES[0].convert("L").save(path := tmp_path / "grey.png")
    same(ours(images=str(path), candidate_labels=LABELS), ask(theirs, str(path), candidate_labels=LABELS))


def test_brain_floats(tmp_path: Path) -> None:
    """The first documented example's type, against our own float32."""
    folder = ready.clip_folder(tmp_path)
    coarse, fine = (
        {entry["label"]: entry["score"] for entry in pipeline(TASK, folder, dtype=dtype)(PICTURES[0], LABELS)}
        for dtype in (torch.bfloat16, "float32")
    )
    assert coarse == pytest.approx(fine, abs=0.05)
    assert coarse != fine
