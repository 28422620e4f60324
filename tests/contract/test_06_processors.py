"""Section 6: processors."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import ready
from clipseg import CLIPImageProcessor, CLIPProcessor, CLIPSegProcessor
from rows import row

PICTURE, PROMPT, TEXT = ready.picture(0), ready.picture(1), "a red cup"
CLASSES = [CLIPSegProcessor, CLIPProcessor]
both = pytest.mark.parametrize("cls", CLASSES)


def made(cls: type[Any]) -> Any:
    image_processor = ready.image_processor() if cls is CLIPSegProcessor else CLIPImageProcessor()
    return cls(image_processor, ready.tokenizer())


@row("6", "constructor")
@both
def test_constructor(cls: type[Any]) -> None:
    image_processor, tokenizer = ready.image_processor(), ready.tokenizer()
    for processor in (cls(image_processor, tokenizer), cls(image_processor=image_processor, tokenizer=tokenizer)):
        assert processor.image_processor is image_processor
        assert processor.tokenizer is tokenizer


@row("6", "missing part")
@both
@pytest.mark.parametrize("missing", ["image_processor", "tokenizer"])
def test_a_missing_part(cls: type[Any], missing: str) -> None:
    parts = {"image_processor": ready.image_processor(), "tokenizer": ready.tokenizer()}
    del parts[missing]
    with pytest.raises(ValueError, match=rf"^You need to specify an? `{missing}`\.$"):
        cls(**parts)


@row("6", "deprecated alias")
@both
def test_the_deprecated_name_of_the_image_processor(cls: type[Any]) -> None:
    image_processor = ready.image_processor()
    with pytest.warns(FutureWarning, match="feature_extractor"):
        processor = cls(feature_extractor=image_processor, tokenizer=ready.tokenizer())
    assert processor.image_processor is image_processor


@row("6", "call", *(f"keys: {given}" for given in ("text + images", "text", "images")))
@both
def test_calls_and_keys(cls: type[Any]) -> None:
    processor = made(cls)
    whole = processor(TEXT, PICTURE, return_tensors="pt")
    assert list(whole) == ["input_ids", "attention_mask", "pixel_values"]
    assert torch.equal(whole["input_ids"], processor.tokenizer(TEXT, return_tensors="pt")["input_ids"])
    assert torch.equal(whole["pixel_values"], processor.image_processor(PICTURE, return_tensors="pt")["pixel_values"])
    assert list(processor(text=TEXT)) == ["input_ids", "attention_mask"]
    assert list(processor(images=PICTURE)) == ["pixel_values"]
    third = (None, "pt") if cls is CLIPSegProcessor else ("pt",)
    assert torch.equal(processor(TEXT, PICTURE, *third)["pixel_values"], whole["pixel_values"])


@row("6", "call", "keys: images + visual_prompt", "keys: visual_prompt")
def test_visual_prompts() -> None:
    processor = made(CLIPSegProcessor)
    pair = processor(None, PICTURE, PROMPT, return_tensors="pt")
    assert list(pair) == ["pixel_values", "conditional_pixel_values"]
    alone = processor(visual_prompt=PROMPT, return_tensors="pt")
    assert list(alone) == ["conditional_pixel_values"]
    expected = processor.image_processor(PROMPT, return_tensors="pt")["pixel_values"]
    assert torch.equal(alone["conditional_pixel_values"], expected)
    assert torch.equal(pair["conditional_pixel_values"], expected)


NOTHING = {
    CLIPSegProcessor: "You have to specify either text, visual prompt or images.",
    CLIPProcessor: "You have to specify either text or images. Both cannot be none.",
}
TWO_PROMPTS = "You have to specify exactly one type of prompt. Either text or visual prompt."


@row("6", "nothing given")
@both
def test_nothing_given(cls: type[Any]) -> None:
    with pytest.raises(ValueError) as caught:
        made(cls)()
    assert str(caught.value) == NOTHING[cls]


@row("6", "text and visual prompt")
def test_two_kinds_of_prompt() -> None:
    with pytest.raises(ValueError) as caught:
        made(CLIPSegProcessor)(TEXT, PICTURE, PROMPT)
    assert str(caught.value) == TWO_PROMPTS


@row("6", "pass-through")
@both
def test_what_is_passed_on(cls: type[Any], tmp_path: Path) -> None:
    processor = made(cls)
    ids = processor.tokenizer([TEXT, "a cat"])["input_ids"]
    assert processor.batch_decode(ids, skip_special_tokens=True) == [TEXT, "a cat"]
    assert processor.decode(ids[0], skip_special_tokens=True) == TEXT
    assert processor.model_input_names == ["input_ids", "attention_mask", "pixel_values"]
    processor.save_pretrained(tmp_path)
    same = cls.from_pretrained(tmp_path)
    assert type(same) is cls
    assert same.image_processor.to_dict() == processor.image_processor.to_dict()
    assert same(TEXT)["input_ids"] == processor(TEXT)["input_ids"]
    other = cls.from_pretrained(tmp_path, bos_token="(BOS)", do_normalize=False, padding_side="left")
    assert (other.tokenizer.bos_token, other.tokenizer.padding_side) == ("(BOS)", "left")
    assert other.image_processor.do_normalize is False


@row("6", "the result has .to(device)")
@pytest.mark.parametrize(
    "given",
    [{"text": TEXT}, {"images": PICTURE}, {"visual_prompt": PROMPT}, {"images": PICTURE, "visual_prompt": PROMPT}],
)
def test_results_move(given: dict[str, Any]) -> None:
    result = made(CLIPSegProcessor)(**given, return_tensors="pt")
    assert isinstance(result, Mapping)
    assert dict(**result).keys() == result.keys()
    moved = result.to("meta")
    assert all(tensor.is_meta for tensor in moved.values())


@row("6", "keywords are split by name, unknown ones reported")
@both
def test_keywords(cls: type[Any]) -> None:
    processor = made(cls)
    result = processor(TEXT, PICTURE, padding="max_length", max_length=13, do_resize=False, do_center_crop=False)
    assert len(result["input_ids"]) == 13
    assert result["pixel_values"][0].shape == (3, PICTURE.height, PICTURE.width)
    with pytest.raises(ValueError, match="paddding"):
        processor(TEXT, PICTURE, paddding=True)


@row("6", "text as str, list or split words")
@both
def test_forms_of_text(cls: type[Any]) -> None:
    processor = made(cls)
    ids = processor(TEXT)["input_ids"]
    assert processor([TEXT])["input_ids"] == [ids]
    assert processor(TEXT.split(), is_split_into_words=True)["input_ids"] == ids
    assert processor([TEXT.split()], is_split_into_words=True)["input_ids"] == [ids]
