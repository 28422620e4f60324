"""The bundled model: what it promises, measured on scenes that no training step has drawn."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from PIL import Image

import clipseg
from clipseg import CLIPSegConfig, CLIPSegForImageSegmentation, CLIPSegProcessor, Segmenter
from clipseg.data.kinds import HELD_OUT, SEEN
from clipseg.evaluation.scenes import SceneReport, evaluate_scenes

NANO = Path(clipseg.__file__).parent / "assets" / "nano"
ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SCENES = 200  # of the README's 400, which begin with these


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.from_pretrained("nano")


@pytest.fixture(scope="module")
def report(segmenter: Segmenter, installed_pictograms: None) -> SceneReport:
    return evaluate_scenes(segmenter, scenes=SCENES)


def test_text_prompts(report: SceneReport) -> None:
    assert report.objects >= 400
    assert report.names >= 330
    assert report.iou_text_per_object_mean >= 0.75


def test_examples_of_seen_kinds(report: SceneReport) -> None:
    assert report.iou_example_per_object_mean >= 0.70


def test_examples_of_kinds_never_seen(report: SceneReport) -> None:
    assert report.unseen_kinds == 60
    assert report.iou_unseen_example_per_object_mean >= 0.65


def test_things_told_from_others_of_their_kind(report: SceneReport) -> None:
    assert report.described_objects >= 20
    assert report.iou_described_per_object_mean >= 0.4


def test_score_tells_present_from_absent_names(report: SceneReport) -> None:
    assert report.auroc_presence >= 0.975


def test_the_pages_tell_the_same(report: SceneReport) -> None:
    tables = [
        [float(value) for value in re.findall(r"^\| (?:mean|AUROC).* \| ([0-9.]+) \|$", page, flags=re.MULTILINE)]
        for page in (README, (ROOT / "docs" / "nano.md").read_text(encoding="utf-8"))
    ]
    measured = [
        report.iou_text_per_object_mean,
        report.iou_example_per_object_mean,
        report.iou_unseen_example_per_object_mean,
        report.iou_described_per_object_mean,
        report.boundary_f1_text_per_object_mean,
        report.auroc_presence,
    ]
    assert tables[0] == tables[1]
    assert [len(table) for table in tables] == [6, 6]
    for place, (told, found) in enumerate(zip(tables[0], measured, strict=True)):
        assert found == pytest.approx(told, abs=0.1 if place == 3 else 0.03)  # few things are described


def test_it_is_small_and_whole() -> None:
    assert sum(path.stat().st_size for path in NANO.iterdir()) <= 12e6
    names = {path.name for path in NANO.iterdir()}
    assert {"config.json", "model.safetensors", "preprocessor_config.json", "vocab.json", "merges.txt"} <= names
    assert {"vocabulary.json", "recipe.json", "training_log.jsonl"} <= names


def test_vocabulary_is_that_of_the_training() -> None:
    vocabulary = json.loads((NANO / "vocabulary.json").read_text(encoding="utf-8"))
    assert [entry["character"] for entry in vocabulary] == list(SEEN)
    assert not {entry["character"] for entry in vocabulary} & set(HELD_OUT)
    assert all(set(entry) == {"name", "synonyms", "character"} for entry in vocabulary)
    assert len(vocabulary) >= 500
    assert sum(1 + len(entry["synonyms"]) for entry in vocabulary) >= 600


def test_it_loads_strictly_and_clip_is_frozen() -> None:
    model = CLIPSegForImageSegmentation.from_pretrained("nano")
    assert isinstance(model.config, CLIPSegConfig)
    assert not any(parameter.requires_grad for parameter in model.clip.parameters())
    assert all(parameter.requires_grad for parameter in model.decoder.parameters())


def test_the_reference_implementation_gives_the_same_logits() -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.CLIPSegForImageSegmentation.from_pretrained(NANO, dtype=torch.float32).eval()
    ours = CLIPSegForImageSegmentation.from_pretrained("nano")
    processor = CLIPSegProcessor.from_pretrained("nano")
    picture = Image.open(ROOT / "examples" / "scenes" / "one.png")
    inputs = processor(text=["a cactus", "onion"], images=[picture] * 2, padding=True, return_tensors="pt")
    with torch.inference_mode():
        expected, found = theirs(**inputs).logits, ours(**inputs).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_a_synonym_finds_what_the_name_finds(segmenter: Segmenter) -> None:
    scene = ROOT / "examples" / "scenes" / "three.png"
    masks = segmenter.segment(scene, ["duck", "a duck", "the duck", "bus"]).binary(0.5)
    overlap = (masks[0] & masks[1:3]).sum((1, 2)) / (masks[0] | masks[1:3]).sum((1, 2))
    assert overlap.min() > 0.8
    assert (masks[0] & masks[3]).sum() < 0.1 * masks[0].sum()
