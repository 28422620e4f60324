import inspect
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from clipseg.errors import CheckpointNotFoundError, UsageError
from clipseg.processing.image_processors import CLIPImageProcessor, ViTImageProcessor
from clipseg.processing.processors import CLIPProcessor, CLIPSegProcessor
from clipseg.processing.tokenization import CLIPTokenizer, CLIPTokenizerFast
from clipseg.processing.vocabulary import train_vocabulary

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))


@pytest.fixture
def tokenizer():
    return CLIPTokenizer(*train_vocabulary(["lower newer", "a photo of a cat"], 530), model_max_length=77)


@pytest.fixture
def processor(tokenizer):
    return CLIPSegProcessor(ViTImageProcessor(size=32), tokenizer)


def test_keys_and_their_order(processor):
    text, keys = ["input_ids", "attention_mask"], lambda **given: list(processor(**given))
    assert keys(text="a cat", images=PICTURE) == [*text, "pixel_values"]
    assert keys(images=PICTURE, visual_prompt=PICTURE) == ["pixel_values", "conditional_pixel_values"]
    assert keys(text="a cat") == text
    assert keys(images=PICTURE) == ["pixel_values"]
    assert keys(visual_prompt=PICTURE) == ["conditional_pixel_values"]
    assert processor.model_input_names == [*text, "pixel_values"]


def test_each_part_does_its_own(processor, tokenizer):
    batch = processor(["a cat", "lower"], [PICTURE], padding="max_length", truncation=True, return_tensors="pt")
    assert torch.equal(
        batch.input_ids, tokenizer(["a cat", "lower"], padding="max_length", return_tensors="pt").input_ids
    )
    assert torch.equal(batch.pixel_values, processor.image_processor(PICTURE, return_tensors="pt").pixel_values)
    both = processor(images=PICTURE, visual_prompt=[PICTURE] * 2, return_tensors="pt", do_normalize=False, size=16)
    assert both.pixel_values.shape == (1, 3, 16, 16)
    assert both.conditional_pixel_values.shape == (2, 3, 16, 16)
    assert both.pixel_values.min() >= 0
    words = processor(text=["a", "cat"], is_split_into_words=True)
    assert words.input_ids == tokenizer("a cat").input_ids


def test_every_result_moves(processor):
    for given in ({"text": "a cat"}, {"images": PICTURE}, {"visual_prompt": PICTURE}):
        batch = processor(**given, return_tensors="pt").to("meta", torch.float16)
        assert all(value.is_meta for value in batch.values())
        assert all(value.dtype in (torch.float16, torch.int64) for value in batch.values())


def test_nothing_and_too_much(processor, tokenizer):
    with pytest.raises(ValueError) as caught:
        processor()
    assert str(caught.value) == "You have to specify either text, visual prompt or images."
    with pytest.raises(ValueError) as caught:
        processor(text="a cat", visual_prompt=PICTURE)
    assert str(caught.value) == "You have to specify exactly one type of prompt. Either text or visual prompt."
    with pytest.raises(ValueError) as caught:
        CLIPProcessor(CLIPImageProcessor(), tokenizer)()
    assert str(caught.value) == "You have to specify either text or images. Both cannot be none."


def test_missing_parts(tokenizer):
    with pytest.raises(ValueError) as caught:
        CLIPSegProcessor(tokenizer=tokenizer)
    assert str(caught.value) == "You need to specify an `image_processor`."
    with pytest.raises(ValueError) as caught:
        CLIPProcessor(CLIPImageProcessor())
    assert str(caught.value) == "You need to specify a `tokenizer`."
    with pytest.raises(UsageError, match="not imageprocessor"):
        CLIPSegProcessor(imageprocessor=ViTImageProcessor(), tokenizer=tokenizer)


def test_options_that_nobody_knows(processor):
    with pytest.raises(UsageError, match="has an option 'paddding'; did you mean padding"):
        processor(text="a cat", paddding=True)
    with pytest.raises(UsageError, match="has an option 'zzz'; known are add_special_tokens, "):
        processor(text="a cat", zzz=True)


def test_the_deprecated_name(tokenizer):
    images = ViTImageProcessor()
    with pytest.warns(FutureWarning, match="use image_processor"):
        processor = CLIPSegProcessor(feature_extractor=images, tokenizer=tokenizer)
    with pytest.warns(FutureWarning, match="use image_processor"):
        assert processor.feature_extractor is images


def test_decoding_passes_through(processor, tokenizer):
    ids = tokenizer(["a cat", "lower"]).input_ids
    assert processor.batch_decode(ids, skip_special_tokens=True) == ["a cat", "lower"]
    assert processor.decode(ids[0], skip_special_tokens=True) == "a cat"


@pytest.mark.parametrize(
    ("kind", "images"), [(CLIPSegProcessor, ViTImageProcessor), (CLIPProcessor, CLIPImageProcessor)]
)
def test_saved_and_loaded(kind, images, tokenizer, tmp_path):
    processor = kind(images(size={"height": 12, "width": 14}), tokenizer)
    names = {path.removeprefix(f"{tmp_path}/") for path in processor.save_pretrained(tmp_path)}
    assert names == {path.name for path in tmp_path.iterdir()} >= {"preprocessor_config.json", "vocab.json"}
    assert json.loads((tmp_path / "preprocessor_config.json").read_text())["processor_class"] == kind.__name__
    again = kind.from_pretrained(tmp_path)
    assert (type(again.image_processor), type(again.tokenizer)) == (images, CLIPTokenizerFast)
    first, second = (p(text="a cat", images=PICTURE, return_tensors="np") for p in (processor, again))
    for key in first:
        assert np.array_equal(first[key], second[key])


def test_keywords_reach_the_part_that_knows_them(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    options = {"bos_token": "(BOS)", "eos_token": "(EOS)", "do_normalize": False, "padding_value": 1.0}
    loaded = CLIPSegProcessor.from_pretrained(tmp_path, **options)
    tokenizer = CLIPTokenizerFast.from_pretrained(tmp_path, bos_token="(BOS)", eos_token="(EOS)", padding_value=1.0)
    images = ViTImageProcessor.from_pretrained(tmp_path, do_normalize=False, padding_value=1.0)
    assert loaded.tokenizer.get_vocab() == tokenizer.get_vocab()
    assert loaded.image_processor.to_json_string() == images.to_json_string()
    assert loaded.tokenizer.bos_token == "(BOS)"
    assert loaded.image_processor.do_normalize is False


def test_a_subfolder(processor, tmp_path):
    processor.save_pretrained(tmp_path / "inner")
    assert CLIPSegProcessor.from_pretrained(tmp_path, subfolder="inner").image_processor.size["height"] == 32
    with pytest.raises(CheckpointNotFoundError):
        CLIPSegProcessor.from_pretrained(tmp_path)


def test_from_the_hub(processor, tmp_path, hub_server):
    written = [Path(path) for path in processor.save_pretrained(tmp_path / "local")]
    hub_server.repositories["someone/model"] = {path.name: path.read_bytes() for path in written}
    loaded = CLIPSegProcessor.from_pretrained("someone/model", revision="main")
    assert loaded(text="a cat").input_ids == processor(text="a cat").input_ids
    assert loaded.image_processor.to_dict() == {
        **processor.image_processor.to_dict(),
        "processor_class": "CLIPSegProcessor",
    }
    assert "revision" not in loaded.tokenizer.init_kwargs


def test_the_reference_gives_the_same(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    images = transformers.models.vit.image_processing_pil_vit.ViTImageProcessorPil.from_pretrained(tmp_path)
    reference = transformers.CLIPSegProcessor(images, transformers.CLIPTokenizer.from_pretrained(tmp_path))
    given = {"text": ["lower newer", "a cat"], "images": [PICTURE, PICTURE], "padding": True, "return_tensors": "pt"}
    found, expected = processor(**given), reference(**given)
    assert list(found) == list(expected)
    assert all(torch.equal(found[key], expected[key]) for key in found)


def test_files_of_the_reference(processor, tmp_path):
    processor.save_pretrained(tmp_path / "ours")
    images = transformers.models.vit.image_processing_pil_vit.ViTImageProcessorPil.from_pretrained(tmp_path / "ours")
    tokenizer = transformers.CLIPTokenizer.from_pretrained(tmp_path / "ours")
    transformers.CLIPSegProcessor(images, tokenizer).save_pretrained(tmp_path / "theirs")
    again = CLIPSegProcessor.from_pretrained(tmp_path / "theirs")
    first, second = (p(text="a cat", images=PICTURE, return_tensors="np") for p in (processor, again))
    assert all(np.array_equal(first[key], second[key]) for key in first)


def test_options_of_clip_in_a_clipseg_processor(tokenizer, tmp_path):
    """A folder of CLIP read by CLIPSegProcessor: its image options, in ViTImageProcessor."""
    CLIPProcessor(CLIPImageProcessor(), tokenizer).save_pretrained(tmp_path)
    processor = CLIPSegProcessor.from_pretrained(tmp_path)
    assert type(processor.image_processor) is ViTImageProcessor
    expected = CLIPImageProcessor()(PICTURE).pixel_values[0]
    assert np.array_equal(processor(images=PICTURE).pixel_values[0], expected)


def test_documented_signatures():
    assert list(inspect.signature(CLIPSegProcessor.__call__).parameters)[1:] == [
        *("text", "images", "visual_prompt", "return_tensors", "kwargs")
    ]
    assert list(inspect.signature(CLIPProcessor.__call__).parameters)[1:] == [
        "text",
        "images",
        "return_tensors",
        "kwargs",
    ]
