"""Folders of processors, ours read by the reference implementation and the reverse, with the same ids and pixels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clipseg.processing.image_processors import CLIPImageProcessor, ViTImageProcessor
from clipseg.processing.processors import CLIPProcessor, CLIPSegProcessor, Processor
from clipseg.processing.tokenization import CLIPTokenizer, CLIPTokenizerFast
from ready import picture, tokenizer
from twins import quiet

PIXELS = 1e-6
TEXTS = ["a cat", "A red  cup!", "something to fill, a photo of a jar", ""]
PICTURES = [picture(0), picture(1, 33, 60), picture(2, 90, 50).convert("L").convert("RGB")]

OPTIONS: dict[type[Processor], dict[str, Any]] = {
    CLIPProcessor: {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}},
    CLIPSegProcessor: {"size": {"height": 48, "width": 48}, "image_mean": [0.4, 0.5, 0.6], "rescale_factor": 1 / 128},
}
processors = pytest.mark.parametrize("cls", OPTIONS)


def built(cls: type[Processor]) -> Processor:
    return cls(cls.usual_image_processor(**OPTIONS[cls]), tokenizer())


def reference(name: str, folder: Path) -> Any:
    import transformers

    with quiet():
        return getattr(transformers, name).from_pretrained(folder)


def same(ours: Any, theirs: Any) -> None:
    """Two processors, tokenizers or image processors give the same batches."""
    if hasattr(ours, "tokenizer"):
        same(ours.tokenizer, theirs.tokenizer)
        same(ours.image_processor, theirs.image_processor)
        batches = [
            processor(text=TEXTS[:3], images=PICTURES, padding=True, return_tensors="pt")
            for processor in (ours, theirs)
        ]
        assert list(batches[0]) == list(batches[1]) == ["input_ids", "attention_mask", "pixel_values"]
        assert torch.equal(batches[0]["input_ids"], batches[1]["input_ids"])
        assert torch.equal(batches[0]["attention_mask"], batches[1]["attention_mask"])
        assert torch.allclose(batches[0]["pixel_values"], batches[1]["pixel_values"], atol=PIXELS)
    elif hasattr(ours, "preprocess"):
        mine, other = (processor(PICTURES, return_tensors="np")["pixel_values"] for processor in (ours, theirs))
        assert mine.dtype == other.dtype
        np.testing.assert_allclose(mine, other, atol=PIXELS)
    else:
        longest = {"padding": "max_length", "truncation": True, "max_length": 9}
        assert ours.model_max_length == theirs.model_max_length
        assert ours.get_vocab() == theirs.get_vocab()
        assert ours.all_special_tokens == theirs.all_special_tokens
        for options in ({"padding": True}, longest, {"add_special_tokens": False}):
            assert dict(ours(TEXTS, **options)) == dict(theirs(TEXTS, **options))
        ids = ours(TEXTS)["input_ids"]
        assert ours.batch_decode(ids) == theirs.batch_decode(ids)
        assert ours.batch_decode(ids, skip_special_tokens=True) == theirs.batch_decode(ids, skip_special_tokens=True)


@processors
def test_processors_both_ways(tmp_path: Path, cls: type[Processor]) -> None:
    ours = built(cls)
    ours.save_pretrained(tmp_path / "ours")
    for name in (cls.__name__, "AutoProcessor"):
        theirs = reference(name, tmp_path / "ours")
        assert type(theirs).__name__ == cls.__name__
        same(ours, theirs)
    with quiet():
        theirs.save_pretrained(tmp_path / "theirs")
    back = cls.from_pretrained(tmp_path / "theirs")
    same(back, theirs)
    assert back.image_processor.to_dict() == ours.image_processor.to_dict()


@processors
@pytest.mark.parametrize("style", ["one file", "a file a part"])
def test_processors_that_only_the_reference_has_seen(tmp_path: Path, cls: type[Processor], style: str) -> None:
    import transformers

    tokenizer().save_pretrained(tmp_path / "words")
    kind = getattr(transformers, f"{cls.usual_image_processor.__name__}Pil")
    with quiet():
        words = transformers.CLIPTokenizer.from_pretrained(tmp_path / "words")
        theirs = getattr(transformers, cls.__name__)(kind(**OPTIONS[cls]), words)
        if style == "one file":
            theirs.save_pretrained(tmp_path / "theirs")
        else:  # as releases before 5.0 did
            words.save_pretrained(tmp_path / "theirs")
            theirs.image_processor.save_pretrained(tmp_path / "theirs")
    names = {path.name for path in (tmp_path / "theirs").iterdir()}
    assert ("preprocessor_config.json" in names) == (style != "one file")
    same(cls.from_pretrained(tmp_path / "theirs"), theirs)


@pytest.mark.parametrize("cls", [CLIPTokenizer, CLIPTokenizerFast])
def test_tokenizers_both_ways(tmp_path: Path, cls: type[CLIPTokenizer]) -> None:
    ours = tokenizer()
    ours.save_pretrained(tmp_path / "ours")
    for name in ("CLIPTokenizer", "CLIPTokenizerFast", "AutoTokenizer"):
        theirs = reference(name, tmp_path / "ours")
        same(ours, theirs)
    with quiet():
        theirs.save_pretrained(tmp_path / "theirs")
    same(cls.from_pretrained(tmp_path / "theirs"), theirs)


@pytest.mark.parametrize("cls", [CLIPImageProcessor, ViTImageProcessor])
def test_image_processors_both_ways(tmp_path: Path, cls: Any) -> None:
    options = OPTIONS[CLIPProcessor if cls is CLIPImageProcessor else CLIPSegProcessor]
    ours = cls(**options)
    ours.save_pretrained(tmp_path / "ours")
    for name in (f"{cls.__name__}Pil", "AutoImageProcessor"):
        theirs = reference(name, tmp_path / "ours")
        same(ours, theirs)
    with quiet():
        theirs.save_pretrained(tmp_path / "theirs")
    same(cls.from_pretrained(tmp_path / "theirs"), theirs)
