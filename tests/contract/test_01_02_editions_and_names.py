"""Sections 1 and 2: which edition is followed, and the names that exist."""

import inspect
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

import clipseg
import ready
from clipseg import CLIPImageProcessor, CLIPImageProcessorFast, CLIPModel, CLIPSegConfig, CLIPSegModel
from clipseg.image_utils import load_image
from rows import SECTIONS, row
from tiny import clip_config, config, model, pixels, segmenter, texts


@row("1", "get_*_features answer with a tensor")
@pytest.mark.parametrize(("cls", "whole"), [(CLIPModel, clip_config()), (CLIPSegModel, config())])
def test_features_are_tensors(cls: type[CLIPModel], whole: clipseg.CLIPConfig) -> None:
    ours = model(cls, whole)
    assert type(ours.get_text_features(**texts(3)).detach()) is torch.Tensor
    assert ours.get_image_features(pixels(3)).shape == (3, 12)


@row("1", "one prompt keeps its axis")
def test_one_prompt() -> None:
    assert segmenter()(**texts(1), pixel_values=pixels(1)).logits.shape == (1, 64, 64)


@row("1", "interpolate_pos_encoding: CLIPSeg True, CLIP False")
def test_interpolation_defaults() -> None:
    for name in clipseg.__all__:
        forward = getattr(getattr(clipseg, name), "forward", None)
        parameter = inspect.signature(forward).parameters.get("interpolate_pos_encoding") if forward else None
        if parameter is not None:
            assert parameter.default is name.startswith("CLIPSeg"), name


@row("1", "the position table's target grid is (H // p, W // p)")
def test_grid() -> None:
    ours = segmenter()
    assert ours(**texts(1), pixel_values=pixels(1, 70, 130)).logits.shape == (1, 64, 128)
    table = ours.clip.vision_model.embeddings
    wide, tall = table.positions((2, 8)), table.positions((8, 2))  # as many cells as the table's own 4 x 4
    assert wide.shape == tall.shape == table.positions((4, 4)).shape
    assert not torch.allclose(wide, tall)
    assert not torch.allclose(wide, table.positions((4, 4)))


@row("1", "over-long text is a ValueError")
def test_long_text() -> None:
    with pytest.raises(ValueError, match="Sequence length"):
        segmenter().clip.get_text_features(**texts(1, 21))


@row("1", "CLIPSegConfig.from_text_vision_configs, no warning")
def test_from_text_vision_configs() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        built = CLIPSegConfig.from_text_vision_configs(config().text_config, config().vision_config)
    assert built.text_config == config().text_config


@row("1", "pooler_output in towers' outputs is before the projection")
def test_pooler_output() -> None:
    output = model(CLIPSegModel, config())(**texts(2), pixel_values=pixels(2))
    assert output.text_model_output.pooler_output.shape == (2, 16)
    assert output.vision_model_output.pooler_output.shape == (2, 24)


@row("1", "decoder hidden_states: one a layer")
def test_decoder_states() -> None:
    output = segmenter()(**texts(1), pixel_values=pixels(1), output_hidden_states=True)
    assert len(output.decoder_output.hidden_states) == 3


@row("1", "batch_decode and decode on the processor", "get_special_tokens_mask and save_vocabulary work")
def test_on_the_processor(tmp_path: object) -> None:
    processor = ready.processor()
    ids = processor(text=["a cat", "the dog"])["input_ids"]
    assert processor.batch_decode(ids, skip_special_tokens=True) == ["a cat", "the dog"]
    assert processor.decode(ids[0], skip_special_tokens=True) == "a cat"
    assert processor.tokenizer.get_special_tokens_mask(ids[0][1:-1]) == [1, *[0] * (len(ids[0]) - 2), 1]
    assert len(processor.tokenizer.save_vocabulary(str(tmp_path))) == 2


@row("1", "PIL results are the reference, Fast is the tensor back end")
def test_back_ends() -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8))
    pil = CLIPImageProcessor()(picture, return_tensors="pt")["pixel_values"]
    fast = CLIPImageProcessorFast()(picture, return_tensors="pt")["pixel_values"]
    assert pil.shape == fast.shape == (1, 3, 224, 224)
    assert (pil - fast).abs().max() < 1e-1
    assert (pil - fast).abs().mean() < 5e-3
    by_hand = picture.resize((298, 224), Image.Resampling.BICUBIC).crop((37, 0, 261, 224))
    mean, std = np.array(CLIPImageProcessor().image_mean), np.array(CLIPImageProcessor().image_std)
    wanted = ((np.asarray(by_hand) / 255 - mean) / std).transpose(2, 0, 1)
    np.testing.assert_allclose(pil[0].numpy(), wanted, atol=1e-6)


NAMED = [
    pytest.param(name.strip(), marks=row("2", title), id=name.strip())
    for title in SECTIONS["2"][1]
    for name in title.split(",")
]


# What the inventory names in brackets: member -> the classes that have it.
MEMBERS = {
    "from_text_vision_configs": ("CLIPSegConfig",),
    "forward": ("CLIPSegModel", "CLIPSegForImageSegmentation", "CLIPModel"),
    "get_text_features": ("CLIPSegModel", "CLIPModel"),
    "get_image_features": ("CLIPSegModel", "CLIPModel"),
    "get_special_tokens_mask": ("CLIPTokenizer", "CLIPTokenizerFast"),
    "save_vocabulary": ("CLIPTokenizer", "CLIPTokenizerFast"),
    "preprocess": ("CLIPImageProcessor", "CLIPImageProcessorFast", "ViTImageProcessor"),
    "from_pretrained": ("AutoProcessor", "AutoTokenizer", "AutoModel", "AutoImageProcessor"),
}


@pytest.mark.parametrize("member", MEMBERS)
def test_members(member: str) -> None:
    for name in MEMBERS[member]:
        assert callable(getattr(getattr(clipseg, name), member))


@pytest.mark.parametrize("name", NAMED)
def test_names(name: str) -> None:
    owner, _, member = name.partition(".")
    if owner == "image_utils":
        assert callable(load_image)
        return
    found = getattr(clipseg, owner)
    assert callable(getattr(found, member) if member else found)
    assert owner in clipseg.__all__
