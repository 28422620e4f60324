"""The options of image processors, and their files; what the options do to pictures is in test_image_processors.py."""

import json

import numpy as np
import pytest
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from clipseg.errors import CheckpointError, CheckpointNotFoundError
from clipseg.processing.image_processors import CLIPImageProcessor, ViTImageProcessor

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


def noise(height=37, width=53):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_defaults():
    assert ViTImageProcessor().to_dict() == {
        "do_resize": True,
        "size": {"height": 224, "width": 224},
        "resample": 2,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
        "image_processor_type": "ViTImageProcessor",
    }
    clip = CLIPImageProcessor()
    assert (clip.size, clip.crop_size, clip.resample) == ({"shortest_edge": 224}, {"height": 224, "width": 224}, 3)
    assert (clip.do_center_crop, clip.do_convert_rgb) == (True, True)
    assert clip.image_mean == [0.48145466, 0.4578275, 0.40821073]
    assert clip.image_std == [0.26862954, 0.26130258, 0.27577711]
    assert (CLIPImageProcessor(size=30).size, ViTImageProcessor(size=30).size) == (
        {"shortest_edge": 30},
        {"height": 30, "width": 30},
    )


@pytest.mark.parametrize("kind", [ViTImageProcessor, CLIPImageProcessor])
def test_saved_and_loaded(kind, tmp_path):
    processor = kind(size={"height": 40, "width": 50}, unheard_of={"kept": [1]}, image_mean=(0.1, 0.2, 0.3))
    assert processor.save_pretrained(tmp_path / "new") == [str(tmp_path / "new" / "preprocessor_config.json")]
    again = kind.from_pretrained(tmp_path / "new")
    assert type(again) is kind
    assert again.to_dict() == processor.to_dict() == json.loads(processor.to_json_string())
    assert again.to_dict()["unheard_of"] == {"kept": [1]}
    assert kind.from_pretrained(str(tmp_path / "new"), size=30, use_fast=False).size != again.size
    processor.to_json_file(tmp_path / "one.json")
    assert kind.from_dict(json.loads((tmp_path / "one.json").read_text()), do_resize=False).do_resize is False


def test_files_by_themselves(tmp_path):
    processor = CLIPImageProcessor(size=(30, 40), image_mean=np.array([0.1, 0.2, 0.3]), unheard_of=1)
    processor.to_json_file(tmp_path / "a.json")
    assert CLIPImageProcessor.from_json_file(tmp_path / "a.json").to_dict() == processor.to_dict()
    lines = (tmp_path / "a.json").read_text().splitlines()
    assert (lines[0], lines[-1], lines[1][:3]) == ("{", "}", '  "')


def test_overrides_that_nobody_uses_come_back(tmp_path):
    given = {"size": 42, "crop_size": 84, "unheard_of": 1}
    processor, unused = CLIPImageProcessor.from_dict({"size": 20}, return_unused_kwargs=True, **given)
    assert (processor.size, processor.crop_size) == ({"shortest_edge": 42}, {"height": 84, "width": 84})
    assert unused == {"unheard_of": 1}
    assert "unheard_of" not in processor.to_dict()
    processor.save_pretrained(tmp_path)
    again, unused = CLIPImageProcessor.from_pretrained(tmp_path, return_unused_kwargs=True, do_resize=False, a=1)
    assert (again.do_resize, unused) == (False, {"a": 1})


def test_the_released_files(tmp_path):
    clipseg = {
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "feature_extractor_type": "ViTImageProcessor",
        "processor_class": "CLIPSegProcessor",
        "resample": 2,
        "rescale_factor": 0.00392156862745098,
        "size": {"height": 352, "width": 352},
        **IMAGENET,
    }
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(clipseg))
    processor = ViTImageProcessor.from_pretrained(tmp_path)
    names = {"feature_extractor_type", "processor_class"}  # of classes: written anew, whoever saves
    kept = {name: value for name, value in clipseg.items() if name not in names}
    assert processor.to_dict() == {**kept, "image_processor_type": "ViTImageProcessor"}
    reference = ViTImageProcessorPil.from_pretrained(tmp_path)
    picture = noise(480, 640)
    assert np.array_equal(processor(picture).pixel_values[0], reference(picture).pixel_values[0])
    old = {"size": 224, "crop_size": 224, "do_center_crop": True, "feature_extractor_type": "CLIPFeatureExtractor"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(old))
    clip = CLIPImageProcessor.from_pretrained(tmp_path)
    assert (clip.size, clip.crop_size) == ({"shortest_edge": 224}, {"height": 224, "width": 224})


def test_files_of_the_reference(tmp_path):
    reference = CLIPImageProcessorPil(size={"shortest_edge": 40}, crop_size=30)
    reference.save_pretrained(tmp_path)
    picture = noise()
    assert np.array_equal(
        CLIPImageProcessor.from_pretrained(tmp_path)(picture).pixel_values[0], reference(picture).pixel_values[0]
    )
    CLIPImageProcessor(size=50, crop_size=20).save_pretrained(tmp_path / "ours")
    theirs = CLIPImageProcessorPil.from_pretrained(tmp_path / "ours")
    assert np.array_equal(
        theirs(picture).pixel_values[0],
        CLIPImageProcessor.from_pretrained(tmp_path / "ours")(picture).pixel_values[0],
    )


def test_options_inside_a_processors_file(tmp_path):
    path = tmp_path / "processor_config.json"
    path.write_text(json.dumps({"image_processor": {"size": {"height": 9, "width": 8}}}))
    assert ViTImageProcessor.from_pretrained(tmp_path).size == {"height": 9, "width": 8}
    path.write_text(json.dumps({"processor_class": "CLIPSegProcessor"}))
    with pytest.raises(CheckpointError, match='has no "image_processor"'):
        ViTImageProcessor.from_pretrained(tmp_path)
    with pytest.raises(CheckpointNotFoundError):
        ViTImageProcessor.from_pretrained(tmp_path / "..", subfolder="nowhere")
