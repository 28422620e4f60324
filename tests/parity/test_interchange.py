"""Folders we save are read by the reference implementation, and the reverse, with the same answers."""

from pathlib import Path
from typing import Any

import pytest
import torch

from clipseg.modeling.clip import CLIPSegModel
from clipseg.modeling.pretrained import PreTrainedModel
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
from clipseg.modeling.text import CLIPSegTextModel
from clipseg.modeling.vision import CLIPSegVisionModel
from tiny import config, pixels, randomise, segmenter, texts
from twins import Twin, difference, quiet

INPUTS: dict[str, Any] = {"pixel_values": pixels(2, 80), **texts(2)}
SHARDS = pytest.mark.parametrize("shard", ["5GB", "20KB"])


def reference(name: str, folder: Path) -> Any:
    import transformers

    with quiet():
        model, report = getattr(transformers, name).from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]
    return model.eval()


@SHARDS
@pytest.mark.parametrize("refined", [True, False])
def test_ours_to_theirs(tmp_path: Path, shard: str, refined: bool) -> None:
    model = segmenter(use_complex_transposed_convolution=refined)
    model.save_pretrained(tmp_path, max_shard_size=shard)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (shard == "20KB")
    with torch.no_grad():
        theirs = reference("CLIPSegForImageSegmentation", tmp_path)(**INPUTS).logits
        assert difference(model(**INPUTS).logits, theirs) <= 1e-5


@SHARDS
@pytest.mark.parametrize("refined", [True, False])
def test_theirs_to_ours(tmp_path: Path, shard: str, refined: bool) -> None:
    twin = Twin(segmenter(use_complex_transposed_convolution=refined), "sdpa")
    with quiet():
        twin.model.save_pretrained(tmp_path, max_shard_size=shard)
    model = CLIPSegForImageSegmentation.from_pretrained(tmp_path)
    with torch.no_grad():
        assert difference(model(**INPUTS).logits, twin.segment(**INPUTS).logits) <= 1e-5


@pytest.mark.parametrize("cls", [CLIPSegModel, CLIPSegTextModel, CLIPSegVisionModel])
def test_every_class_both_ways(tmp_path: Path, cls: type[PreTrainedModel]) -> None:
    part = {CLIPSegTextModel: "text_config", CLIPSegVisionModel: "vision_config"}.get(cls)
    model = randomise(cls(getattr(config(), part) if part else config())).eval()
    model.save_pretrained(tmp_path / "ours")
    theirs = reference(cls.__name__, tmp_path / "ours")
    with quiet():
        theirs.save_pretrained(tmp_path / "theirs")
    back = cls.from_pretrained(tmp_path / "theirs")
    assert back.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(back.state_dict()[key], value) for key, value in model.state_dict().items())
    inputs = {CLIPSegTextModel: texts(2), CLIPSegVisionModel: {"pixel_values": pixels(2, 80)}}.get(cls, INPUTS)
    with torch.no_grad():
        assert difference(back(**inputs)[0], theirs(**inputs)[0]) <= 1e-5


def test_parts_of_a_reference_segmentation_model(tmp_path: Path) -> None:
    whole = segmenter()
    with quiet():
        Twin(whole, "sdpa").model.save_pretrained(tmp_path)
    with torch.no_grad():
        clip = CLIPSegModel.from_pretrained(tmp_path)
        assert torch.equal(clip.get_text_features(**texts(2)), whole.clip.get_text_features(**texts(2)))
        text = CLIPSegTextModel.from_pretrained(tmp_path)
        assert torch.equal(text(**texts(2))[0], whole.clip.text_model(**texts(2))[0])
        vision = CLIPSegVisionModel.from_pretrained(tmp_path)
        assert torch.equal(vision(pixels(2))[0], whole.clip.vision_model(pixels(2))[0][0])


def test_half_precision_to_theirs(tmp_path: Path) -> None:
    model = segmenter()
    model.save_pretrained(tmp_path, dtype="float16")
    theirs = reference("CLIPSegForImageSegmentation", tmp_path)
    assert theirs.dtype == torch.float16
    assert all(torch.equal(value, model.state_dict()[key].half()) for key, value in theirs.state_dict().items())
