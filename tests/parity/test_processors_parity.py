"""Our processors beside the reference implementation's: the same keys in the same order, the same ids, the same bits.

The reference's image processors are those over PIL: its own processors would take the ones over torchvision.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from clipseg.errors import UsageError
from clipseg.processing.image_processors import CLIPImageProcessor, ViTImageProcessor
from clipseg.processing.processors import CLIPProcessor, CLIPSegProcessor, Processor
from ready import picture, tokenizer
from twins import quiet

TEXTS = ["a cat", "A red  cup!", "something to fill, a photo of a jar", "", "wood"]
OPTIONS: dict[type[Processor], dict[str, Any]] = {
    CLIPProcessor: {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}},
    CLIPSegProcessor: {"size": {"height": 48, "width": 40}, "image_mean": [0.485, 0.456, 0.406]},
}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[type[Processor], tuple[Any, Any]]:
    import transformers
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    folder: Path = tmp_path_factory.mktemp("words")
    words = tokenizer()
    words.save_pretrained(folder)
    with quiet():
        theirs = transformers.CLIPTokenizer.from_pretrained(folder)
        return {
            CLIPProcessor: (
                CLIPProcessor(CLIPImageProcessor(**OPTIONS[CLIPProcessor]), words),
                transformers.CLIPProcessor(CLIPImageProcessorPil(**OPTIONS[CLIPProcessor]), theirs),
            ),
            CLIPSegProcessor: (
                CLIPSegProcessor(ViTImageProcessor(**OPTIONS[CLIPSegProcessor]), words),
                transformers.CLIPSegProcessor(ViTImageProcessorPil(**OPTIONS[CLIPSegProcessor]), theirs),
            ),
        }


def drawn_call(rng: np.random.Generator, cls: type[Processor]) -> dict[str, Any]:
    """What a call may be given, texts and pictures in step."""

    def pictures(count: int) -> Any:
        sizes = [(int(height), int(width)) for height, width in rng.integers(9, 80, (count, 2))]
        drawn: list[Any] = [picture(index, *size) for index, size in enumerate(sizes)]
        if rng.random() < 0.4:
            drawn = [np.asarray(each) for each in drawn]
        if rng.random() < 0.3:
            drawn[0] = torch.from_numpy(np.array(drawn[0]).transpose(2, 0, 1).copy())
        return drawn[0] if count == 1 and rng.random() < 0.5 else drawn

    count = int(rng.integers(1, 4))
    kinds = [("text", "images"), ("text",), ("images",), ("images", "visual_prompt"), ("visual_prompt",)]
    given = kinds[rng.integers(3 if cls is CLIPProcessor else 5)]
    call: dict[str, Any] = {"return_tensors": ["pt", "np", None][rng.integers(3)]}
    call |= {name: pictures(count) for name in given if name != "text"}
    if "text" in given:
        texts = [str(text) for text in rng.choice(TEXTS, count)]
        call["text"] = texts[0] if count == 1 and rng.random() < 0.5 else texts
        width = int(rng.integers(6, 20))
        call |= [
            {"padding": True},
            {"padding": "max_length", "max_length": width, "truncation": True},
            {"padding": "longest", "pad_to_multiple_of": 8},
        ][rng.integers(3)]
    if len(given) > ("text" in given):
        call |= [{}, {"do_normalize": False}, {"size": {"height": 30, "width": 21}}, {"rescale_factor": 1 / 128}][
            rng.integers(4)
        ]
    return call


def assert_same(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    assert list(found) == list(expected)
    for key, value in expected.items():
        assert type(found[key]) is type(value), key
        assert np.array_equal(np.asarray(found[key]), np.asarray(value)), key


@pytest.mark.parametrize("cls", OPTIONS)
@pytest.mark.parametrize("seed", range(30))
def test_calls(pairs: Mapping[type[Processor], Any], cls: type[Processor], seed: int) -> None:
    ours, theirs = pairs[cls]
    call = drawn_call(np.random.default_rng(seed), cls)
    assert_same(ours(**call), theirs(**call))


@pytest.mark.parametrize("cls", OPTIONS)
def test_options_in_dictionaries(pairs: Mapping[type[Processor], Any], cls: type[Processor]) -> None:
    call: dict[str, Any] = {
        "text": TEXTS[:2],
        "images": [picture(0), picture(1, 33, 60)],
        "common_kwargs": {"return_tensors": "pt"},
        "text_kwargs": {"padding": "max_length", "max_length": 19},
        "images_kwargs": {"do_rescale": True, "rescale_factor": -1.0},
    }
    ours, theirs = (processor(**call) for processor in pairs[cls])
    assert_same(ours, theirs)
    for processor in pairs[cls]:
        with pytest.raises(ValueError):
            processor(**call, rescale_factor=2.0)


@pytest.mark.parametrize("cls", OPTIONS)
def test_what_else_they_say(pairs: Mapping[type[Processor], Any], cls: type[Processor]) -> None:
    ours, theirs = pairs[cls]
    # In the order of what a call gives, as up to 4.x; the reference names the pixels first since 5.0.
    assert ours.model_input_names == list(ours(text="a cat", images=picture(0)))
    assert sorted(ours.model_input_names) == sorted(theirs.model_input_names)
    assert ours.get_attributes() == theirs.get_attributes()
    ids = ours(text=TEXTS, padding=True)["input_ids"]
    assert ours.batch_decode(ids) == theirs.batch_decode(ids)
    assert ours.decode(ids[2], skip_special_tokens=True) == theirs.decode(ids[2], skip_special_tokens=True)


# Where we differ, on purpose


def test_visual_prompts_move_too(pairs: Mapping[type[Processor], Any]) -> None:
    """The reference answers them with a bare dictionary."""
    ours, theirs = (each(images=picture(0), visual_prompt=picture(1)) for each in pairs[CLIPSegProcessor])
    assert not hasattr(theirs, "to")
    assert ours.to("cpu") is ours


def test_an_option_that_nobody_knows_is_reported(pairs: Mapping[type[Processor], Any]) -> None:
    """The reference drops it, with a line in a log."""
    ours, _ = pairs[CLIPSegProcessor]
    with pytest.raises(UsageError, match="did you mean padding"):
        ours(text="a cat", paddding=True)


def test_texts_come_before_pictures(pairs: Mapping[type[Processor], Any]) -> None:
    """Up to 4.x, and here; since 5.0 the reference's CLIPProcessor is given pictures first, and finds out which."""
    ours, theirs = pairs[CLIPProcessor]
    assert_same(ours(["a cat"], [picture(0)]), theirs(images=[picture(0)], text=["a cat"]))


def test_pictures_may_be_of_any_mode(pairs: Mapping[type[Processor], Any]) -> None:
    grey = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40), dtype=np.uint8))
    ours, theirs = (each(images=grey, return_tensors="np") for each in pairs[CLIPProcessor])
    assert_same(ours, theirs)
