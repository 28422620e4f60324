import inspect
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

import clipseg
from clipseg.errors import CheckpointNotFoundError, UsageError
from clipseg.processing.fast_image_processors import CLIPImageProcessorFast
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


def test_a_batch_with_a_text_knows_its_tokens(processor):
    batch = processor(text=["a cat", "lower"], images=PICTURE, padding=True)
    assert batch.tokens(1)[1:4] == processor.tokenizer.tokenize("lower")
    assert batch[1].ids == batch.input_ids[1]
    assert batch.char_to_token(0, 2) == 2
    assert batch.convert_to_tensors("pt").pixel_values.shape == (1, 3, 32, 32)
    assert not hasattr(processor(images=PICTURE), "tokens")


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


def test_parts_in_the_wrong_place(tokenizer):
    with pytest.raises(
        TypeError, match="image_processor of a CLIPSegProcessor is a ImageProcessor, got a CLIPTokenizer"
    ):
        CLIPSegProcessor(tokenizer, ViTImageProcessor())
    with pytest.raises(TypeError, match="tokenizer of a CLIPProcessor is a CLIPTokenizer, got a dict"):
        CLIPProcessor(CLIPImageProcessor(), {})


def test_options_that_nobody_knows(processor):
    with pytest.raises(UsageError, match="has an option 'paddding'; did you mean padding"):
        processor(text="a cat", paddding=True)
    with pytest.raises(UsageError, match="has an option 'zzz'; known are add_special_tokens, "):
        processor(text="a cat", zzz=True)


def test_options_in_dictionaries(processor):
    plain = processor("a cat", PICTURE, return_tensors="pt", padding="max_length", max_length=20, rescale_factor=-1.0)
    nested = processor(
        "a cat",
        PICTURE,
        common_kwargs={"return_tensors": "pt"},
        text_kwargs={"padding": "max_length", "max_length": 20},
        images_kwargs={"rescale_factor": -1.0},
    )
    assert plain.input_ids.shape == (1, 20)
    assert plain.pixel_values.max() <= 0
    assert all(torch.equal(plain[key], nested[key]) for key in plain)
    mixed = processor("a cat", PICTURE, common_kwargs={"return_tensors": "np"}, text_kwargs={"return_tensors": "pt"})
    assert (type(mixed.input_ids), type(mixed.pixel_values)) == (torch.Tensor, np.ndarray)
    with pytest.raises(UsageError, match="size is given twice"):
        processor("a cat", PICTURE, size=9, images_kwargs={"size": 9})
    with pytest.raises(UsageError, match="has an option 'do_flip'"):
        processor("a cat", PICTURE, images_kwargs={"do_flip": True})
    with pytest.raises(UsageError, match="has an option 'size'"):
        processor("a cat", PICTURE, text_kwargs={"size": 3})
    with pytest.raises(UsageError, match="has an option 'zzz'"):
        processor("a cat", PICTURE, common_kwargs={"zzz": 3})


def test_options_of_the_parts_hold_until_a_call_says_otherwise(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    loaded = CLIPSegProcessor.from_pretrained(tmp_path, max_length=17, padding="max_length", rescale_factor=-1.0)
    assert "max_length" not in loaded.image_processor.to_dict()
    batch = loaded("a cat", PICTURE, return_tensors="pt")
    assert batch.input_ids.shape == (1, 17)
    assert batch.pixel_values.max() <= 0
    assert loaded("a cat", padding="max_length", max_length=12, return_tensors="pt").input_ids.shape == (1, 12)


def test_positions(processor):
    assert list(processor(None, PICTURE, PICTURE)) == ["pixel_values", "conditional_pixel_values"]
    batch = processor(["a cat"], [PICTURE], None, "pt")
    assert (batch.input_ids.ndim, batch.pixel_values.ndim) == (2, 4)
    assert processor(images=PICTURE, visual_prompt=PICTURE).to("cpu") is not None


def test_label_maps(processor):
    maps = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0))
    (labels,) = processor.post_process_semantic_segmentation({"logits": maps}, target_sizes=[(20, 30)], threshold=0.6)
    assert labels.shape == (20, 30)
    assert set(labels.unique().tolist()) == {-1, 0, 1, 2}


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


def test_parts_that_are_there_already(processor, tokenizer, tmp_path):
    processor.save_pretrained(tmp_path)
    images = ViTImageProcessor(size=9)
    loaded = CLIPSegProcessor.from_pretrained(tmp_path, image_processor=images, tokenizer=tokenizer)
    assert loaded.image_processor is images
    assert loaded.tokenizer is tokenizer
    other = CLIPSegProcessor.from_pretrained(tmp_path, image_processor=images, bos_token="(BOS)", do_resize=False)
    assert other.tokenizer.bos_token == "(BOS)"
    assert "do_resize" not in other.tokenizer.init_kwargs


def test_saving_leaves_the_parts_as_they_are(tokenizer, tmp_path):
    """The documented test: files without a class name, loaded, saved with the processor, loaded again."""
    written = {"size": 20, "do_center_crop": True, "crop_size": 18, "image_std": [0.2, 0.3, 0.4]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(written))
    for kind, images in ((CLIPSegProcessor, ViTImageProcessor), (CLIPProcessor, CLIPImageProcessor)):
        part = images.from_pretrained(tmp_path)
        processor = kind(tokenizer=tokenizer, image_processor=part)
        processor.save_pretrained(tmp_path / "saved")
        for use_fast in (None, False):
            again = kind.from_pretrained(tmp_path / "saved", use_fast=use_fast)
            assert again.image_processor.to_json_string() == part.to_json_string()
            assert type(again.image_processor) is images
            assert again.to_dict() == processor.to_dict() == json.loads(again.to_json_string())
            assert type(again.tokenizer) is (CLIPTokenizerFast if use_fast is None else CLIPTokenizer)
        processor.to_json_file(tmp_path / "one.json")
        assert json.loads((tmp_path / "one.json").read_text())["processor_class"] == kind.__name__


def test_the_image_processor_on_tensors_comes_back(tokenizer, tmp_path):
    processor = CLIPProcessor(CLIPImageProcessorFast(size=30, crop_size=20, do_pad=True), tokenizer)
    assert processor("a cat", PICTURE, do_pad=False, return_tensors="pt").pixel_values.shape == (1, 3, 20, 20)
    processor.save_pretrained(tmp_path)
    loaded = {flag: CLIPProcessor.from_pretrained(tmp_path, use_fast=flag, size=40) for flag in (None, True, False)}
    kinds = {flag: type(each.image_processor) for flag, each in loaded.items()}
    assert kinds == {None: CLIPImageProcessorFast, True: CLIPImageProcessorFast, False: CLIPImageProcessor}
    assert all(each.image_processor.size == {"shortest_edge": 40} for each in loaded.values())
    assert type(CLIPSegProcessor.from_pretrained(tmp_path, use_fast=True).image_processor) is ViTImageProcessor


def test_documented_names_of_the_parts():
    assert CLIPSegProcessor.attributes == CLIPProcessor.get_attributes() == ["image_processor", "tokenizer"]
    for kind in (CLIPSegProcessor, CLIPProcessor):
        assert kind.chat_template is None
        for attribute in kind.attributes:
            names = getattr(kind, f"{attribute}_class")
            assert all(hasattr(clipseg, name) for name in ((names,) if isinstance(names, str) else names))


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
    assert loaded.image_processor.to_dict() == processor.image_processor.to_dict()
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
