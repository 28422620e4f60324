"""What the pipelines take, in which order they answer, how often they encode, and what they refuse."""

import base64
import io
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import ready
import tiny
from clipseg.auto import AutoConfig, AutoModel
from clipseg.errors import ClipsegError, PictureError, PictureNotFoundError, UsageError
from clipseg.modeling.clip import CLIPModel, CLIPSegModel
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
from clipseg.pipelines import TASKS, ImageSegmentationPipeline, Pipeline, ZeroShotImageClassificationPipeline, pipeline
from clipseg.processing.image_processors import ViTImageProcessor
from clipseg.processing.tokenization import CLIPTokenizerFast
from hub_server import HubServer

CLASSIFY, SEGMENT = "zero-shot-image-classification", "image-segmentation"
LABELS = ["a cat", "wood", "the dog"]
PICTURES = [ready.picture(0), ready.picture(1, 70, 64), ready.picture(2, 33, 90), ready.picture(3)]
CUT = {"truncation": True}
EXACT = {"threshold": None, "hypothesis_template": "{}"}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ready.clip_folder(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def clipseg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ready.folder(tmp_path_factory.mktemp("clipseg"))


@pytest.fixture(scope="module")
def classify(clip: Path) -> Any:
    return pipeline(CLASSIFY, clip, device="cpu")


@pytest.fixture(scope="module")
def segment(clipseg: Path) -> Any:
    return pipeline(SEGMENT, clipseg, device="cpu")


def plain(results: Any) -> Any:
    """Results with the masks as nested tuples of bytes, to be compared."""
    if isinstance(results, list):
        return [plain(result) for result in results]
    return {key: (value.size, value.tobytes()) if key == "mask" else value for key, value in results.items()}


# -- zero-shot classification ----------------------------------------------------------------------------------------


def test_scores_are_those_of_the_whole_model(classify: Any, clip: Path) -> None:
    inputs = classify.processor(
        text=[f"This is a photo of {label}." for label in LABELS], images=PICTURES, padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        expected = AutoModel.from_pretrained(clip)(**inputs).logits_per_image.softmax(dim=1)
    for result, row in zip(classify(PICTURES, LABELS), expected.tolist(), strict=True):
        assert {entry["label"]: entry["score"] for entry in result} == pytest.approx(
            dict(zip(LABELS, row, strict=True)), abs=1e-6
        )
        scores = [entry["score"] for entry in result]
        assert scores == sorted(scores, reverse=True)
        assert sum(scores) == pytest.approx(1)
        assert [list(entry) for entry in result] == [["score", "label"]] * 3


def test_on_a_clipseg_checkpoint(clipseg: Path) -> None:
    classify = pipeline(CLASSIFY, clipseg, hypothesis_template="{}")
    assert type(classify.model) is CLIPSegModel
    inputs = classify.processor(text=LABELS, images=PICTURES[:1], padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = classify.model(**inputs).logits_per_image.softmax(dim=1)[0].tolist()
    found = {entry["label"]: entry["score"] for entry in classify(PICTURES[0], LABELS)}
    assert found == pytest.approx(dict(zip(LABELS, expected, strict=True)), abs=1e-6)


def test_texts_are_encoded_once_and_pictures_in_batches(classify: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[int] = []
    batches: list[int] = []
    model = classify.model
    text_features, image_features = model.get_text_features, model.get_image_features
    monkeypatch.setattr(
        model, "get_text_features", lambda ids, mask: texts.append(len(ids)) or text_features(ids, mask)
    )
    monkeypatch.setattr(model, "get_image_features", lambda x: batches.append(len(x)) or image_features(x))
    classify(PICTURES, candidate_labels=LABELS, batch_size=3)
    assert (texts, batches) == ([3], [3, 1])


def test_labels_and_template(classify: Any) -> None:
    wanted = classify(PICTURES[0], LABELS)
    assert classify(PICTURES[0], candidate_labels=" a cat,wood , the dog") == wanted
    assert classify(PICTURES[0], candidate_labels=tuple(LABELS)) == wanted
    assert classify(PICTURES[0], iter(LABELS)) == wanted
    written = [f"This is a photo of {label}." for label in LABELS]
    bare = classify(PICTURES[0], written, hypothesis_template="{}")
    assert [entry["score"] for entry in bare] == [entry["score"] for entry in wanted]
    assert classify(PICTURES[0], LABELS, hypothesis_template="{}") != wanted
    for labels in (None, [], "", " , ", ["a cat", ""], [3]):
        with pytest.raises(UsageError, match="needs candidate_labels"):
            classify(PICTURES[0], labels)
    for template in ("a photo", "{nonsense}", "{", "{} {}"):
        with pytest.raises(UsageError, match="has no place for a label"):
            classify(PICTURES[0], LABELS, hypothesis_template=template)


def test_tokenizer_options(classify: Any, clip: Path) -> None:
    long = ["a red cup and a photo of a glass and something to fill " * 3, "wood"]
    with pytest.raises(ValueError, match="Sequence length must be less than max_position_embeddings"):
        classify(PICTURES[0], long)
    wanted = classify(PICTURES[0], long, tokenizer_kwargs=CUT)
    assert pipeline(CLASSIFY, clip, tokenizer_kwargs=CUT)(PICTURES[0], long) == wanted
    with pytest.raises(ValueError, match="Sequence length"):
        pipeline(CLASSIFY, clip, tokenizer_kwargs=CUT)(PICTURES[0], long, tokenizer_kwargs={})


# -- segmentation ----------------------------------------------------------------------------------------------------


def test_masks_are_those_of_the_whole_model(segment: Any, clipseg: Path) -> None:
    inputs = segment.processor(text=LABELS, images=[PICTURES[1]] * 3, padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = CLIPSegForImageSegmentation.from_pretrained(clipseg)(**inputs).logits
    full = F.interpolate(logits[None], size=(64, 70), mode="bilinear")[0].sigmoid()
    soft = segment(PICTURES[1], LABELS, threshold=None)
    assert [entry["label"] for entry in soft] == LABELS
    for entry, probabilities, map_ in zip(soft, full, logits, strict=True):
        assert list(entry) == ["score", "label", "mask"]
        assert (entry["mask"].mode, entry["mask"].size) == ("L", (70, 64))
        assert np.abs(np.asarray(entry["mask"], float) - 255 * probabilities.numpy()).max() <= 0.51
        brightest = map_.flatten().sort(descending=True).values[:41]  # a hundredth of 64 x 64
        assert entry["score"] == pytest.approx(brightest.sigmoid().mean().item(), abs=1e-6)
    for threshold in (0.4, 0, 0.7, 1):
        options = {} if threshold == 0.4 else {"threshold": threshold}
        for entry, probabilities in zip(segment(PICTURES[1], LABELS, **options), full, strict=True):
            mask, clear = np.asarray(entry["mask"]), (probabilities - threshold).abs().numpy() > 1e-5
            assert set(np.unique(mask)) <= {0, 255}
            assert np.array_equal((mask == 255)[clear], (probabilities.numpy() > threshold)[clear])
    assert {entry["mask"].getextrema() for entry in segment(PICTURES[1], LABELS, threshold=1)} == {(0, 0)}


def test_semantic_masks_never_overlap(segment: Any) -> None:
    alone = segment(PICTURES[1], LABELS, **EXACT)
    for threshold in (None, 0.5):
        shared = segment(PICTURES[1], LABELS, threshold=threshold, subtask="semantic")
        masks = np.stack([np.asarray(entry["mask"], int) for entry in shared])
        soft = np.stack([np.asarray(entry["mask"], int) for entry in alone])
        assert [entry["label"] for entry in shared] == LABELS
        assert ((masks > 0).sum(axis=0) <= 1).all()
        owner = masks.argmax(axis=0)
        owned = masks.max(axis=0) > 0
        assert (np.take_along_axis(soft, owner[None], 0)[0] == soft.max(axis=0))[owned].all()
        assert np.array_equal(owned, soft.max(axis=0) > (0 if threshold is None else 127))
    with pytest.raises(UsageError, match="Subtask panoptic is not supported for model"):
        segment(PICTURES[0], LABELS, subtask="panoptic")


def test_each_picture_is_encoded_once_whatever_the_labels(segment: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []
    decoded: list[int] = []
    texts: list[int] = []
    model = segment.model
    encode, decode, conditions = model.encode_images, model.decode, model.get_conditional_embeddings
    monkeypatch.setattr(model, "encode_images", lambda x: encoded.append(len(x)) or encode(x))
    monkeypatch.setattr(model, "decode", lambda e, c: decoded.append(len(c)) or decode(e, c))
    monkeypatch.setattr(model, "get_conditional_embeddings", lambda n, *a: texts.append(n) or conditions(n, *a))
    many = [f"{label} {number}" for label in LABELS for number in range(7)]
    results = segment(PICTURES, many, batch_size=2)
    assert encoded == [2, 2]
    assert decoded == [8, 8, 5] * 2
    assert texts == [21]
    assert [[entry["label"] for entry in result] for result in results] == [many] * 4


def test_segmentation_options(segment: Any, clipseg: Path) -> None:
    for threshold in (-0.1, 1.1, float("nan")):
        with pytest.raises(UsageError, match="expected 0 to 1, or None for soft masks"):
            segment(PICTURES[0], LABELS, threshold=threshold)
    soft = pipeline("zero-shot-image-segmentation", clipseg, threshold=None, candidate_labels="a cat, wood")
    assert soft.task == "zero-shot-image-segmentation"
    assert plain(soft(PICTURES[0])) == plain(segment(PICTURES[0], ["a cat", "wood"], threshold=None))
    crops = ViTImageProcessor(do_center_crop=True, crop_size=64)
    with pytest.raises(UsageError, match="do_center_crop=False"):
        pipeline(SEGMENT, clipseg, image_processor=crops)


# -- what both take --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", [CLASSIFY, SEGMENT])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 9])
def test_batches_change_nothing(request: Any, task: str, batch_size: int) -> None:
    pipe = request.getfixturevalue("classify" if task == CLASSIFY else "segment")
    options: dict[str, Any] = {} if task == CLASSIFY else {"threshold": None}
    each = [plain(pipe(picture, LABELS, **options)) for picture in PICTURES]
    together = plain(pipe(PICTURES, LABELS, batch_size=batch_size, **options))
    for one, other in zip(each, together, strict=True):
        for alone, among in zip(one, other, strict=True):
            assert alone["label"] == among["label"]
            assert alone["score"] == pytest.approx(among["score"], abs=1e-5)
            if task == SEGMENT:
                pixels = (np.frombuffer(entry["mask"][1], np.uint8).astype(int) for entry in (alone, among))
                assert alone["mask"][0] == among["mask"][0]
                assert np.abs(next(pixels) - next(pixels)).max() <= 1


def test_pictures_of_several_input_sizes_keep_their_order(clipseg: Path) -> None:
    free = ViTImageProcessor(do_resize=False)
    segment = pipeline(SEGMENT, clipseg, image_processor=free, batch_size=4)
    pictures = [ready.picture(0, 64, 64), ready.picture(1, 64, 64), ready.picture(2, 32, 48), ready.picture(3, 64, 64)]
    results = segment(pictures, LABELS)
    assert [result[0]["mask"].size for result in results] == [picture.size for picture in pictures]
    assert results[3][0]["score"] == pytest.approx(segment(pictures[3], LABELS)[0]["score"], abs=1e-5)


def test_forms_of_a_picture(classify: Any, tmp_path: Path, hub_server: HubServer) -> None:
    buffer = io.BytesIO()
    PICTURES[0].save(buffer, "PNG")
    (tmp_path / "cat.png").write_bytes(buffer.getvalue())
    hub_server.repositories["org/pictures"] = {"cat.png": buffer.getvalue()}
    wanted = classify(PICTURES[0], LABELS)
    url = f"{hub_server.url}/org/pictures/resolve/main/cat.png"
    forms = [url, str(tmp_path / "cat.png"), tmp_path / "cat.png", buffer.getvalue(), np.asarray(PICTURES[0])]
    forms += [
        torch.from_numpy(np.asarray(PICTURES[0]).copy()).permute(2, 0, 1),
        base64.b64encode(buffer.getvalue()).decode(),
    ]
    assert all(classify(form, candidate_labels=LABELS, timeout=5) == wanted for form in forms)
    assert classify(buffer, LABELS) == wanted
    assert classify(forms, LABELS, timeout=5) == [wanted] * len(forms)
    assert classify(images=PICTURES[0], candidate_labels=LABELS) == wanted
    assert classify(PICTURES[:1], LABELS) == [wanted]
    assert classify([], LABELS) == []


@pytest.mark.parametrize("task", [CLASSIFY, SEGMENT])
def test_no_picture(request: Any, task: str) -> None:
    pipe = request.getfixturevalue("classify" if task == CLASSIFY else "segment")
    with pytest.raises(ValueError, match=f"Cannot call the {task} pipeline without an images argument!"):
        pipe(None, candidate_labels=LABELS)
    with pytest.raises(ValueError, match="without an images argument!"):
        pipe(images=None, candidate_labels=LABELS)
    with pytest.raises(PictureNotFoundError, match=r"absent.png"):
        pipe("absent.png", candidate_labels=LABELS)
    for nothing in (3, object()):
        with pytest.raises(PictureError, match="is no picture"):
            pipe(nothing, LABELS)


class Album:
    """A data set by its methods: no list, and not iterable by name."""

    def __len__(self) -> int:
        return len(PICTURES)

    def __getitem__(self, place: int) -> Image.Image:
        return PICTURES[place]


def test_iterators_are_taken_a_batch_at_a_time(classify: Any) -> None:
    taken: list[int] = []

    def stream() -> Iterator[Image.Image]:
        for place, picture in enumerate(PICTURES):
            taken.append(place)
            yield picture

    results = classify(stream(), LABELS, batch_size=2)
    assert taken == []
    first = next(results)
    assert taken == [0, 1]
    wanted = classify(PICTURES, LABELS, batch_size=2)
    assert [first, *results] == wanted
    assert list(classify(Album(), LABELS, batch_size=2)) == wanted
    with pytest.raises(UsageError, match="needs candidate_labels"):  # at once, not when the first result is asked for
        classify(stream())


def test_unknown_options(classify: Any, clip: Path) -> None:
    with pytest.raises(UsageError, match="unknown argument 'hypothesis_templat'; did you mean 'hypothesis_template'"):
        classify(PICTURES[0], LABELS, hypothesis_templat="{}")
    with pytest.raises(UsageError, match="unknown argument 'threshold'"):
        pipeline(CLASSIFY, clip, threshold=0.3)
    with pytest.raises(UsageError, match="batch_size is 0; expected at least 1"):
        classify(PICTURES[0], LABELS, batch_size=0)
    assert pipeline(CLASSIFY, clip, framework="pt", num_workers=0, trust_remote_code=False)(PICTURES[0], LABELS)


# -- making one ------------------------------------------------------------------------------------------------------


def test_from_objects(clip: Path, classify: Any) -> None:
    wanted = classify(PICTURES[0], LABELS)
    named = AutoModel.from_pretrained(clip)
    unnamed = tiny.model(CLIPModel, named.config)
    unnamed.load_state_dict(named.state_dict())
    parts = {"tokenizer": classify.tokenizer, "image_processor": classify.image_processor}
    pipes: list[Any] = [
        pipeline(CLASSIFY, named),
        pipeline(CLASSIFY, unnamed, **parts),
        pipeline(CLASSIFY, unnamed, processor=classify.processor),
        pipeline(CLASSIFY, unnamed, processor=str(clip)),
        pipeline(CLASSIFY, unnamed, tokenizer=str(clip), feature_extractor=classify.image_processor),
        pipeline(CLASSIFY, str(clip), config=named.config, use_fast=False),
        pipeline(model=clip),
        pipeline(model=named),
        ZeroShotImageClassificationPipeline(unnamed, **parts),
        ZeroShotImageClassificationPipeline(model=unnamed.train(), processor=classify.processor),
    ]
    for pipe in pipes:
        found = pipe(PICTURES[0], LABELS)
        assert [row["label"] for row in found] == [row["label"] for row in wanted]
        # Weights lie elsewhere in memory when they are copied, and sums are rounded by where their numbers lie.
        assert [row["score"] for row in found] == pytest.approx([row["score"] for row in wanted], rel=1e-5)
        assert pipe.task == CLASSIFY
        assert not pipe.model.training
        assert pipe.processor.tokenizer is pipe.tokenizer
        assert pipe.processor.image_processor is pipe.image_processor
    assert type(pipes[5].tokenizer) is not CLIPTokenizerFast
    for parts in ({}, {"tokenizer": classify.tokenizer}, {"image_processor": classify.image_processor}):
        with pytest.raises(UsageError, match="needs a tokenizer and an image_processor, or a processor"):
            pipeline(CLASSIFY, unnamed, **parts)


def test_the_task_of_a_model(clip: Path, clipseg: Path) -> None:
    assert pipeline(model=str(clipseg)).task == SEGMENT
    assert pipeline(model=CLIPSegForImageSegmentation.from_pretrained(clipseg)).task == SEGMENT
    assert pipeline(model=clipseg, config=AutoConfig.from_pretrained(clipseg)).task == SEGMENT
    assert pipeline(model=AutoModel.from_pretrained(clipseg)).task == CLASSIFY
    assert type(pipeline(model="nano")) is ImageSegmentationPipeline
    with pytest.raises(UsageError, match="needs a task or a model; tasks are image-segmentation, zero-shot"):
        pipeline()
    with pytest.raises(UsageError, match="unknown task 'translation'; tasks are image-segmentation, zero-shot-image-c"):
        pipeline("translation", clip)
    with pytest.raises(UsageError, match="the image-segmentation pipeline runs a CLIPSegForImageSegmentation, got a"):
        pipeline(SEGMENT, AutoModel.from_pretrained(clip))


def test_device_and_dtype(clip: Path, classify: Any) -> None:
    for options in ({"device": "cpu"}, {"device": -1}, {"device": torch.device("cpu")}, {"device_map": "cpu"}, {}):
        pipe = pipeline(CLASSIFY, clip, dtype=torch.bfloat16, **options)
        expected = "cuda" if not options and torch.cuda.is_available() else "cpu"
        assert (pipe.device.type, pipe.dtype) == (expected, torch.bfloat16)
        assert repr(pipe).startswith("ZeroShotImageClassificationPipeline(CLIPModel, task='zero-shot")
    assert pipeline(CLASSIFY, clip, torch_dtype="float16").dtype == torch.float16
    assert (
        pipeline(CLASSIFY, clip, model_kwargs={"attn_implementation": "eager"}).model.config._attn_implementation
        == "eager"
    )
    assert pipeline(CLASSIFY, AutoModel.from_pretrained(clip), dtype="bfloat16").dtype == torch.bfloat16
    assert classify.dtype == torch.float32


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a GPU")
@pytest.mark.parametrize("device", [0, "cuda", "cuda:1", "cuda:99", "meteor"])
def test_a_device_that_is_not_there(clip: Path, device: Any) -> None:
    with pytest.raises(UsageError) as caught:
        pipeline(CLASSIFY, clip, device=device)
    assert "\n" not in str(caught.value)
    assert str(device) in str(caught.value)
    if device != "meteor":
        assert 'leave device out, or give device="cpu"' in str(caught.value)
    with pytest.raises(UsageError):
        pipeline(CLASSIFY, AutoModel.from_pretrained(clip), device=device)


def test_default_models(hub_server: HubServer, clip: Path, clipseg: Path) -> None:
    for name, folder in {"openai/clip-vit-base-patch32": clip, "CIDAS/clipseg-rd64-refined": clipseg}.items():
        hub_server.repositories[name] = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    for task in TASKS:
        pipe = pipeline(task, token="hf_secret")
        assert pipe(PICTURES[0], LABELS, hypothesis_template="{}")
        assert pipe.model.name_or_path == type(pipe).default_model
    asked = zip(hub_server.requests, hub_server.tokens, strict=True)
    assert {token for (_, path), token in asked if "/resolve/" in path} == {"Bearer hf_secret"}


@given(labels=st.lists(st.text(max_size=12), max_size=4), template=st.text(max_size=8))
@settings(max_examples=40, deadline=None)
def test_any_labels_and_template(classify: Pipeline, labels: list[str], template: str) -> None:
    result: Any = None
    with suppress(ClipsegError):
        result = classify(PICTURES[0], labels, hypothesis_template=template + "{}", tokenizer_kwargs=CUT)
    if result is not None:
        assert sorted(entry["label"] for entry in result) == sorted(labels)
        assert sum(entry["score"] for entry in result) == pytest.approx(1)
