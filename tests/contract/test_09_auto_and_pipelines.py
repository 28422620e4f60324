"""Section 9: Auto classes, types and attentions, pipelines."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import clipseg
import ready
from clipseg import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForZeroShotImageClassification,
    AutoProcessor,
    AutoTokenizer,
    CLIPModel,
    CLIPSegForImageSegmentation,
    CLIPTokenizer,
    CLIPTokenizerFast,
    pipeline,
)
from hub_server import HubServer
from rows import row

CLASSIFY = "zero-shot-image-classification"
LABELS = ["a cat", "wood", "a red cup"]
PICTURES = [ready.picture(seed) for seed in range(5)]
INPUTS = ready.processor()(text=LABELS[:2], images=PICTURES[:2], padding=True, return_tensors="pt")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {"clip": ready.clip_folder(root / "clip"), "clipseg": ready.folder(root / "clipseg")}


@pytest.fixture(scope="module")
def nameless(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same files with no class named in them, so that `model_type` decides."""
    copies = {kind: tmp_path_factory.mktemp("nameless") / kind for kind in folders}
    for kind, copied in copies.items():
        shutil.copytree(folders[kind], copied)
        for name in ("preprocessor_config.json", "tokenizer_config.json"):
            values = json.loads((copied / name).read_text())
            kept = {key: value for key, value in values.items() if not key.endswith(("_type", "_class"))}
            (copied / name).write_text(json.dumps(kept))
    return copies


@pytest.fixture(scope="module")
def classify(folders: dict[str, Path]) -> Any:
    return pipeline(CLASSIFY, model=str(folders["clip"]), device="cpu")


# Auto classes

OTHERS = "AutoConfig, AutoModelForImageClassification, AutoModelForZeroShotImageClassification"


@pytest.mark.parametrize(
    ("auto", "kind", "expected"),
    [
        pytest.param(auto, kind, expected, marks=row("9", title))
        for title, auto, clip_class, clipseg_class in (
            ("AutoModel", AutoModel, "CLIPModel", "CLIPSegModel"),
            ("AutoProcessor", AutoProcessor, "CLIPProcessor", "CLIPSegProcessor"),
            ("AutoImageProcessor", AutoImageProcessor, "CLIPImageProcessor", "ViTImageProcessor"),
            (OTHERS, AutoConfig, "CLIPConfig", "CLIPSegConfig"),
            (OTHERS, AutoModelForZeroShotImageClassification, "CLIPModel", "CLIPSegModel"),
        )
        for kind, expected in (("clip", clip_class), ("clipseg", clipseg_class))
    ],
)
def test_classes(
    folders: dict[str, Path], nameless: dict[str, Path], auto: type[Any], kind: str, expected: str
) -> None:
    for files in (folders, nameless):
        assert type(auto.from_pretrained(files[kind])).__name__ == expected


@row("9", "AutoModel")
@pytest.mark.parametrize("name", ["CLIPTextModel", "CLIPVisionModel", "CLIPSegTextModel", "CLIPSegVisionModel"])
def test_towers(name: str, folders: dict[str, Path], tmp_path: Path) -> None:
    kind = "clipseg" if name.startswith("CLIPSeg") else "clip"
    getattr(clipseg, name).from_pretrained(folders[kind]).save_pretrained(tmp_path)
    assert type(AutoModel.from_pretrained(tmp_path)).__name__ == name


@row("9", "AutoTokenizer", "AutoImageProcessor")
@pytest.mark.parametrize("kind", ["clip", "clipseg"])
def test_tokenizers(folders: dict[str, Path], nameless: dict[str, Path], kind: str) -> None:
    for files in (folders, nameless):
        assert isinstance(AutoTokenizer.from_pretrained(files[kind]), (CLIPTokenizer, CLIPTokenizerFast))
    fast = AutoImageProcessor.from_pretrained(folders[kind], use_fast=True)
    assert type(fast).__name__ == {"clip": "CLIPImageProcessorFast", "clipseg": "ViTImageProcessor"}[kind]


@row("9", OTHERS)
def test_classifiers(folders: dict[str, Path]) -> None:
    with pytest.warns(UserWarning, match="untrained"):
        found = AutoModelForImageClassification.from_pretrained(folders["clip"])
    assert type(found).__name__ == "CLIPForImageClassification"
    with pytest.raises(ValueError, match="clipseg"):
        AutoModelForImageClassification.from_pretrained(folders["clipseg"])


# Types and attentions


@row("9", "dtype and torch_dtype; pixels are cast")
@pytest.mark.parametrize("keyword", ["dtype", "torch_dtype"])
@pytest.mark.parametrize("auto", [AutoModel, CLIPSegForImageSegmentation])
def test_types(folders: dict[str, Path], auto: Any, keyword: str, tmp_path: Path) -> None:
    for value in (torch.bfloat16, "bfloat16"):
        model = auto.from_pretrained(folders["clipseg"], **{keyword: value})
        assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    with torch.inference_mode():
        output = model(**INPUTS)
    assert output.vision_model_output.last_hidden_state.dtype is torch.bfloat16
    model.save_pretrained(tmp_path)
    assert auto.from_pretrained(tmp_path, **{keyword: "auto"}).dtype is torch.bfloat16
    assert auto.from_pretrained(tmp_path).dtype is torch.float32


@row("9", "attn_implementation")
@pytest.mark.parametrize(("cls", "kind"), [(CLIPModel, "clip"), (CLIPSegForImageSegmentation, "clipseg")])
def test_attentions(folders: dict[str, Path], cls: type[Any], kind: str) -> None:
    outputs = []
    for name in ("eager", "sdpa"):
        model = cls.from_pretrained(folders[kind], attn_implementation=name)
        used = {module.implementation for module in model.modules() if hasattr(module, "implementation")}
        assert used == {name}  # the decoder's too
        with torch.inference_mode():
            outputs.append(model(**INPUTS).to_tuple())
    torch.testing.assert_close(*outputs, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="flash_attention_2"):
        cls.from_pretrained(folders[kind], attn_implementation="flash_attention_2")


# Zero-shot classification


@row("9", "pipeline: construction")
def test_construction(folders: dict[str, Path], classify: Any) -> None:
    expected = classify(PICTURES[0], candidate_labels=LABELS)
    model, processor = AutoModel.from_pretrained(folders["clip"]), AutoProcessor.from_pretrained(folders["clip"])
    parts = {"tokenizer": processor.tokenizer, "image_processor": processor.image_processor}
    for pipe in (
        pipeline(CLASSIFY, folders["clip"], device="cpu"),
        pipeline(task=CLASSIFY, model=model, **parts),
        pipeline(CLASSIFY, model=model, processor=processor, device=torch.device("cpu")),
    ):
        assert pipe(PICTURES[0], candidate_labels=LABELS) == expected
    half = pipeline(CLASSIFY, model=str(folders["clip"]), dtype=torch.bfloat16, device="cpu")
    assert half.model.dtype is torch.bfloat16
    with pytest.raises(ValueError, match="no-such-task"):
        pipeline("no-such-task", model=str(folders["clip"]))


@row("9", "pipeline: construction")
def test_construction_by_id(folders: dict[str, Path], classify: Any, hub_server: HubServer) -> None:
    hub_server.repositories["org/clip"] = {path.name: path.read_bytes() for path in folders["clip"].iterdir()}
    pipe = pipeline(CLASSIFY, model="org/clip", device="cpu")
    assert pipe(PICTURES[0], candidate_labels=LABELS) == classify(PICTURES[0], candidate_labels=LABELS)


@row("9", "pipeline: image", "pipeline: timeout, batch_size")
def test_images(classify: Any, tmp_path: Path, hub_server: HubServer) -> None:
    PICTURES[0].save(tmp_path / "0.png")
    hub_server.repositories["some/pictures"] = {"0.png": (tmp_path / "0.png").read_bytes()}
    url = f"{hub_server.url}/some/pictures/resolve/main/0.png"
    expected = classify(PICTURES[0], LABELS)
    assert classify(images=PICTURES[0], candidate_labels=LABELS) == expected
    assert classify(str(tmp_path / "0.png"), candidate_labels=LABELS) == expected
    assert classify(url, candidate_labels=LABELS, timeout=20) == expected
    assert classify([url, PICTURES[0]], candidate_labels=LABELS) == [expected, expected]


@row("9", "pipeline: image")
def test_no_image(classify: Any) -> None:
    with pytest.raises(ValueError) as caught:
        classify(None, candidate_labels=LABELS)
    assert str(caught.value) == f"Cannot call the {CLASSIFY} pipeline without an images argument!"


def read(pipe: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, Any]]]:
    """-> a list that grows by every call of a pipeline's tokenizer."""
    calls: list[tuple[list[str], dict[str, Any]]] = []
    usual = CLIPTokenizer.__call__

    def call(self: CLIPTokenizer, text: Any, *args: Any, **options: Any) -> Any:
        calls.append((list(text), options))
        return usual(self, text, *args, **options)

    monkeypatch.setattr(type(pipe.tokenizer), "__call__", call)
    return calls


@row("9", "pipeline: hypothesis_template")
@pytest.mark.parametrize(
    ("options", "template"),
    [
        ({}, "This is a photo of {}."),
        ({"hypothesis_template": "{}"}, "{}"),
        ({"hypothesis_template": "my {}!"}, "my {}!"),
    ],
)
def test_template(classify: Any, monkeypatch: pytest.MonkeyPatch, options: dict[str, str], template: str) -> None:
    calls = read(classify, monkeypatch)
    labels = ["a cat", "a photo of a dog"]
    classify(PICTURES[0], candidate_labels=labels, **options)
    assert [text for texts, _ in calls for text in texts] == [template.format(label) for label in labels]


@row("9", "pipeline: text")
def test_texts(classify: Any, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    cut = {"truncation": True, "max_length": 6}
    made = pipeline(CLASSIFY, folders["clip"], device="cpu", tokenizer_kwargs=cut)
    calls = read(classify, monkeypatch)
    classify(PICTURES[0], candidate_labels=LABELS)
    classify(PICTURES[0], candidate_labels=LABELS, tokenizer_kwargs=cut)
    made(PICTURES[0], candidate_labels=LABELS)
    assert all(options["padding"] is True for _, options in calls)
    assert [options.get("max_length") for _, options in calls] == [None, 6, 6]


@row("9", "pipeline: timeout, batch_size")
def test_batches_keep_the_order(classify: Any) -> None:
    alone = [classify(picture, candidate_labels=LABELS) for picture in PICTURES]
    for size in (1, 2, 5):
        together = classify(PICTURES, candidate_labels=LABELS, batch_size=size)
        assert [[entry["label"] for entry in answer] for answer in together] == [
            [entry["label"] for entry in answer] for answer in alone
        ]
        for answer, expected in zip(together, alone, strict=True):
            scores = [entry["score"] for entry in expected]
            assert [entry["score"] for entry in answer] == pytest.approx(scores, abs=1e-5)


@row("9", "pipeline: score", "pipeline: result")
def test_scores(classify: Any) -> None:
    answer = classify(PICTURES[0], candidate_labels=LABELS, hypothesis_template="{}")
    inputs = classify.processor(text=LABELS, images=PICTURES[0], padding=True, return_tensors="pt")
    with torch.inference_mode():
        scores = classify.model(**inputs).logits_per_image.softmax(1)[0].tolist()
    assert [type(entry["score"]) for entry in answer] == [float] * 3
    assert [list(entry) for entry in answer] == [["score", "label"]] * 3
    assert {entry["label"]: entry["score"] for entry in answer} == pytest.approx(dict(zip(LABELS, scores, strict=True)))
    assert [entry["score"] for entry in answer] == sorted(scores, reverse=True)
    assert classify([PICTURES[0]], candidate_labels=LABELS, hypothesis_template="{}") == [answer]


@row("9", "pipeline: image segmentation")
def test_segmentation(folders: dict[str, Path]) -> None:
    """Ours: the page carries the tag, and no pipeline of the reference serves it."""
    segment = pipeline("image-segmentation", model=str(folders["clipseg"]), device="cpu")
    answer = segment(PICTURES[0], candidate_labels=LABELS)
    assert [entry["label"] for entry in answer] == LABELS
    for entry in answer:
        assert isinstance(entry["mask"], Image.Image)
        assert (entry["mask"].mode, entry["mask"].size) == ("L", PICTURES[0].size)
