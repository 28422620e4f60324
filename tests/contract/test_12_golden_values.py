"""Section 12: published numbers of the released weights, for whoever has them; see `tests/parity/test_released.py`.

The folder that CLIPSEG_RELEASED_MODELS names holds those of `clipseg-rd64-refined`, `clipseg-rd64`, `clipseg-rd16` and
`clip-vit-base-patch32` that there are, each with all files of its model, and the picture, as `000000039769.jpg`; where
a PNG copy of it lies beside it, that is taken for the values it was published with.
"""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from clipseg import (
    CLIPImageProcessorFast,
    CLIPModel,
    CLIPProcessor,
    CLIPSegForImageSegmentation,
    CLIPSegModel,
    CLIPSegProcessor,
    ViTImageProcessor,
    load_image,
    pipeline,
)
from rows import row

pytestmark = pytest.mark.released

CLIP, REFINED = "clip-vit-base-patch32", "clipseg-rd64-refined"
PIL_STATES = [[-0.1538, 0.0322, -0.3235], [0.2893, 0.1135, -0.5708], [0.0461, 0.1540, -0.6018]]
TENSOR_STATES = [[-0.1552, 0.0314, -0.3233], [0.2886, 0.1141, -0.5706], [0.0468, 0.1569, -0.6028]]


def released(name: str) -> Path:
    """A model or a picture -> where it lies; the test is skipped if it does not."""
    folder = os.environ.get("CLIPSEG_RELEASED_MODELS")
    if not folder or not (path := Path(folder, name)).exists():
        pytest.skip(f"CLIPSEG_RELEASED_MODELS names no folder with {name}")
    return path


def picture(kind: str = "jpg") -> Image.Image:
    path = released("000000039769.jpg")
    copy = path.with_suffix(f".{kind}")
    return load_image(str(copy if copy.exists() else path))


def close(ours: torch.Tensor, published: Any, rtol: float = 0, atol: float = 1e-3) -> None:
    torch.testing.assert_close(ours, torch.tensor(published), rtol=rtol, atol=atol)


@row("12", "pooled_output after tensor preprocessing")
@torch.inference_mode()
def test_tensor_preprocessing() -> None:
    model = CLIPSegForImageSegmentation.from_pretrained(released(REFINED))
    options = CLIPSegProcessor.from_pretrained(released(REFINED)).image_processor.to_dict()
    preprocess = CLIPImageProcessorFast.from_dict(options, do_center_crop=False)
    encoded = model.encode_images(preprocess(picture(), return_tensors="pt")["pixel_values"], pooled=True)
    assert encoded.pooled_output is not None
    close(encoded.pooled_output[0, :3], [0.4986, -0.2698, -0.2631])


@row("12", "logits_per_image of CLIP")
@torch.inference_mode()
def test_similarities() -> None:
    inputs = CLIPProcessor.from_pretrained(released(CLIP))(
        text=["a photo of a cat", "a photo of a dog"], images=picture(), padding=True, return_tensors="pt"
    )
    logits = CLIPModel.from_pretrained(released(CLIP))(**inputs).logits_per_image
    close(logits, [[24.5701, 19.3049]])
    close(logits.softmax(1), [[0.9949, 0.0051]], atol=1e-4)


@row("12", "last_hidden_state at 180 x 180", "180 x 180 without interpolation is refused")
@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("cls", [CLIPModel, CLIPSegModel])
@torch.inference_mode()
def test_another_size(cls: type[Any], fast: bool) -> None:
    size = {"size": {"height": 180, "width": 180}, "crop_size": {"height": 180, "width": 180}}
    processor = CLIPProcessor.from_pretrained(released(CLIP), use_fast=fast, **size)
    inputs = processor(text="what's in the image", images=picture("png"), return_tensors="pt")
    model = cls.from_pretrained(released(CLIP))
    states = model(**inputs, interpolate_pos_encoding=True).vision_model_output.last_hidden_state
    assert states.shape == (1, 26, 768)
    tolerance = {"rtol": 6e-3, "atol": 4e-4} if cls is CLIPModel else {"atol": 1e-4}
    close(states[0, :3, :3], TENSOR_STATES if fast else PIL_STATES, **tolerance)
    with pytest.raises(ValueError, match="doesn't match model"):
        model(**inputs, interpolate_pos_encoding=False)


@row("12", "pipeline scores")
def test_pipeline() -> None:
    classify = pipeline("zero-shot-image-classification", released(CLIP), device="cpu")
    labels = ["cat", "plane", "remote"]
    (alone, *several) = classify(picture(), labels), *classify([picture()] * 5, labels, batch_size=2)
    for answer in (alone, *several):
        assert [entry["label"] for entry in answer] == ["remote", "cat", "plane"]
        assert [entry["score"] for entry in answer] == pytest.approx([0.511, 0.485, 0.004], abs=5e-4)


@row("12", "conversion check: embeddings", "conversion check: logits")
@pytest.mark.parametrize(
    ("name", "logits"),
    [
        (REFINED, [[-10.0407, -9.9431, -10.2646], [-9.9751, -9.7064, -9.9586], [-9.6891, -9.5645, -9.9618]]),
        ("clipseg-rd64", [[-7.2877, -7.2711, -7.2463], [-7.2652, -7.2780, -7.2520], [-7.2239, -7.2204, -7.2001]]),
        ("clipseg-rd16", [[-6.3955, -6.4055, -6.4151], [-6.3911, -6.4033, -6.4100], [-6.3474, -6.3702, -6.3762]]),
    ],
)
@torch.inference_mode()
def test_conversion(name: str, logits: list[list[float]]) -> None:
    model = CLIPSegForImageSegmentation.from_pretrained(released(name))
    tokenizer = CLIPSegProcessor.from_pretrained(released(name)).tokenizer
    processor = CLIPSegProcessor(ViTImageProcessor(size={"height": 352, "width": 352}), tokenizer)
    texts = ["a glass", "something to fill", "wood", "a jar"]
    inputs = processor(text=texts, images=[picture()] * 4, padding="max_length", return_tensors="pt")
    assert inputs["input_ids"].shape == (4, 77)
    output = model(**inputs)
    close(output.conditional_embeddings[0, :3], [0.1110, -0.1882, 0.1645])
    close(output.pooled_output[0, :3], [0.2692, -0.7197, -0.1328])
    close(output.logits[0, :3, :3], logits)
