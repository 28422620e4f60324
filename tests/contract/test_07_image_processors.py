"""Section 7: image processors."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import ready
from clipseg import CLIPImageProcessor, CLIPImageProcessorFast, ViTImageProcessor
from rows import row

PICTURE = ready.picture(0, 60, 40)
CLASSES: list[type[Any]] = [CLIPImageProcessor, CLIPImageProcessorFast, ViTImageProcessor]
every = pytest.mark.parametrize("cls", CLASSES)
SQUARE = {"height": 224, "width": 224}
CLIP = {
    "do_resize": True, "size": {"shortest_edge": 224}, "resample": 3, "do_center_crop": True, "crop_size": SQUARE,
    "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
    "do_convert_rgb": True,
}  # fmt: skip
DEFAULTS: dict[type[Any], dict[str, Any]] = {
    CLIPImageProcessor: CLIP,
    CLIPImageProcessorFast: CLIP,
    ViTImageProcessor: CLIP | {
        "size": SQUARE, "resample": 2, "do_center_crop": None, "crop_size": None, "do_convert_rgb": None,
        "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
    },
}  # fmt: skip
ROW_OF = {"do_rescale": "do_rescale, rescale_factor", "rescale_factor": "do_rescale, rescale_factor"}
PLAIN = {"do_resize": False, "do_center_crop": False, "do_rescale": False, "do_normalize": False}


def values(processor: Any, images: Any = PICTURE, **options: Any) -> torch.Tensor:
    return processor(images, return_tensors="pt", **options)["pixel_values"]


def pixels() -> torch.Tensor:
    """-> the picture (1, 3, 40, 60), 0 … 255."""
    return torch.tensor(np.asarray(PICTURE)).permute(2, 0, 1)[None].float()


@every
@pytest.mark.parametrize("name", [pytest.param(name, marks=row("7", ROW_OF.get(name, name))) for name in CLIP])
def test_defaults(cls: type[Any], name: str) -> None:
    assert getattr(cls(), name) == DEFAULTS[cls][name]


# Every option's effect, in the constructor and in a call


@every
@pytest.mark.parametrize("by_call", [False, True])
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param(options, expected, marks=row("7", title))
        for title, options, expected in (
            ("do_resize", {}, lambda x: x),
            ("do_rescale, rescale_factor", {"do_rescale": True}, lambda x: x / 255),
            ("do_rescale, rescale_factor", {"do_rescale": True, "rescale_factor": 0.5}, lambda x: x / 2),
            ("do_normalize", {"do_normalize": True, "image_mean": 100.0, "image_std": 50.0}, lambda x: (x - 100) / 50),
            ("image_mean", {"do_normalize": True, "image_mean": [1, 2, 3], "image_std": 1.0},
             lambda x: x - torch.tensor([1, 2, 3])[:, None, None]),
            ("image_std", {"do_normalize": True, "image_mean": 0.0, "image_std": [1, 2, 4]},
             lambda x: x / torch.tensor([1, 2, 4])[:, None, None]),
            ("do_center_crop", {"do_center_crop": True, "crop_size": {"height": 20, "width": 30}},
             lambda x: x[:, :, 10:30, 15:45]),
            ("crop_size", {"do_center_crop": True, "crop_size": 20}, lambda x: x[:, :, 10:30, 20:40]),
        )
    ],
)  # fmt: skip
def test_effects(cls: type[Any], options: dict[str, Any], expected: Any, by_call: bool) -> None:
    options = PLAIN | options
    found = values(cls(), **options) if by_call else values(cls(**options))
    torch.testing.assert_close(found.float(), expected(pixels()), rtol=0, atol=1e-4)


@row("7", "size", "crop_size")
@every
@pytest.mark.parametrize(
    ("size", "shape"),
    [({"height": 30, "width": 20}, (30, 20)), ({"shortest_edge": 20}, (20, 30)), (20, None)],
)
def test_sizes(cls: type[Any], size: Any, shape: tuple[int, int] | None) -> None:
    """A number is the shortest edge for CLIP, and a square for ViT."""
    if shape is None:
        shape = (20, 20) if cls is ViTImageProcessor else (20, 30)
    assert values(cls(size=size, do_center_crop=False)).shape == (1, 3, *shape)
    assert values(cls(do_center_crop=False), size=size).shape == (1, 3, *shape)


@row("7", "size", "crop_size", "do_pad, pad_size")
@every
@pytest.mark.parametrize("size", [{"longest": 3}, {"height": 3}, (1, 2, 3), -1, "large"])
def test_sizes_that_are_none(cls: type[Any], size: Any) -> None:
    for name in ("size", "crop_size"):
        with pytest.raises(ValueError, match=name):
            cls(**{name: size})
    with pytest.raises(ValueError, match="size"):
        cls()(PICTURE, size=size)


@row("7", "resample")
@pytest.mark.parametrize("resample", [Image.Resampling.NEAREST, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])
@pytest.mark.parametrize("cls", [CLIPImageProcessor, ViTImageProcessor])
def test_resample(cls: type[Any], resample: Image.Resampling) -> None:
    only = PLAIN | {"do_resize": True, "size": {"height": 30, "width": 20}}
    by_pil = torch.tensor(np.asarray(PICTURE.resize((20, 30), resample))).permute(2, 0, 1)[None].float()
    assert torch.equal(values(cls(**only, resample=int(resample))), by_pil)
    if resample != Image.Resampling.NEAREST:
        assert (values(CLIPImageProcessorFast(**only), resample=resample) - by_pil).abs().mean() < 1


@row("7", "do_convert_rgb")
@every
def test_conversion_to_rgb(cls: type[Any]) -> None:
    grey = PICTURE.convert("L")
    assert values(cls(do_convert_rgb=True, do_center_crop=False), grey).shape[1] == 3
    only = cls(**PLAIN | {"do_convert_rgb": False})
    assert values(only, grey).shape[1] == 1


@row("7", "do_pad, pad_size")
def test_padding() -> None:
    """Right and below, with 0 and after normalisation."""
    small, large = ready.picture(0, 20, 10), ready.picture(1, 30, 25)
    processor = CLIPImageProcessorFast(do_resize=False, do_center_crop=False)
    assert not processor.do_pad
    for options, (height, width) in (({}, (25, 30)), ({"pad_size": {"height": 40, "width": 50}}, (40, 50))):
        found = values(processor, [small, large], do_pad=True, **options)
        assert found.shape == (2, 3, height, width)
        assert torch.equal(found[0, :, :10, :20], values(processor, small)[0])
        assert not found[0, :, 10:].any()
        assert not found[0, :, :, 20:].any()
    with pytest.raises(ValueError, match="pad_size"):
        processor([small, large], do_pad=True, pad_size={"height": 20, "width": 50})


@row("7", "device, disable_grouping, image_seq_length")
def test_further_options_of_the_tensor_back_end() -> None:
    usual = values(CLIPImageProcessorFast(), [PICTURE] * 3)
    processor = CLIPImageProcessorFast(device="cpu", disable_grouping=True, image_seq_length=7)
    assert processor.image_seq_length == 7
    torch.testing.assert_close(values(processor, [PICTURE] * 3), usual)
    assert values(CLIPImageProcessorFast(), PICTURE, device="cpu", disable_grouping=False).device.type == "cpu"


# Calls


@row("7", "per-call overrides")
@every
def test_a_call_overrides_and_changes_nothing(cls: type[Any]) -> None:
    processor = cls()
    before = processor.to_dict()
    options = {"size": {"height": 30, "width": 30}, "crop_size": {"height": 30, "width": 30}}
    assert values(processor, **options).shape == (1, 3, 30, 30)
    torch.testing.assert_close(processor.preprocess(PICTURE, return_tensors="pt", **options)["pixel_values"],
                               values(cls(**options)))  # fmt: skip
    assert processor.to_dict() == before


@row("7", "return_tensors")
@every
def test_return_tensors(cls: type[Any]) -> None:
    processor = cls()
    kept = processor([PICTURE, PICTURE])["pixel_values"]
    assert isinstance(kept, list)
    assert [type(each) for each in kept] == [torch.Tensor if cls is CLIPImageProcessorFast else np.ndarray] * 2
    for kind, expected in (("np", np.ndarray), ("pt", torch.Tensor)):
        stacked = processor([PICTURE, PICTURE], return_tensors=kind)["pixel_values"]
        assert isinstance(stacked, expected)
        assert stacked.shape == (2, 3, 224, 224)
    with pytest.raises(ValueError, match="return_tensors"):
        processor(PICTURE, return_tensors="tf")


@row("7", "data_format, input_data_format")
@every
def test_formats(cls: type[Any]) -> None:
    processor, array = cls(), np.asarray(PICTURE)
    first = values(processor)
    assert torch.equal(values(processor, array.transpose(2, 0, 1), input_data_format="channels_first"), first)
    assert torch.equal(values(processor, array, input_data_format="channels_last"), first)
    assert values(cls(**PLAIN | {"do_convert_rgb": False}), array[..., 0], input_data_format="none").shape == (
        1,
        1,
        40,
        60,
    )
    assert torch.equal(values(processor, data_format="channels_first"), first)
    if cls is CLIPImageProcessorFast:
        with pytest.raises(ValueError, match="data_format"):
            values(processor, data_format="channels_last")
    else:
        last = first.permute(0, 2, 3, 1)
        assert torch.equal(values(processor, data_format="channels_last"), last)
        assert torch.equal(values(processor, array, data_format=None), last)


@row("7", "inputs: PIL, numpy, torch, single or list")
@every
def test_inputs(cls: type[Any]) -> None:
    processor, array = cls(), np.asarray(PICTURE)
    expected = values(processor)
    tensor = torch.tensor(array)
    for given in (PICTURE, [PICTURE], array, [array], tensor, tensor.permute(2, 0, 1), array[None], tensor[None]):
        torch.testing.assert_close(values(processor, given), expected)
    scaled = values(processor, array.astype(np.float32) / 255, do_rescale=False)
    assert (scaled - expected).abs().max() < 0.05  # resized in floats, not in bytes


@row("7", "a warning when scaled input would be scaled again")
@every
def test_a_warning_of_scaling_twice(cls: type[Any]) -> None:
    with pytest.warns(UserWarning, match="do_rescale=False"):
        values(cls(), np.asarray(PICTURE) / np.float32(255))


@row("7", "files: to_dict … from_pretrained")
@every
def test_files(cls: type[Any], tmp_path: Path) -> None:
    processor = cls(size={"height": 30, "width": 20}, image_mean=[0.1, 0.2, 0.3])
    options = processor.to_dict()
    assert options["size"] == {"height": 30, "width": 20}
    assert json.loads(processor.to_json_string()) == options
    processor.to_json_file(tmp_path / "some.json")
    assert json.loads((tmp_path / "some.json").read_text()) == options
    assert cls.from_dict(options).to_dict() == options
    assert cls.from_dict(options, do_resize=False).do_resize is False
    processor.save_pretrained(tmp_path)
    assert cls.from_pretrained(tmp_path).to_dict() == options
    assert cls.from_pretrained(tmp_path, resample=0).resample == 0


@row("7", "an unsupported input is a ValueError")
@every
@pytest.mark.parametrize("given", [3, None, {"a": 1}, [object()], np.zeros(5)])
def test_no_picture(cls: type[Any], given: Any) -> None:
    with pytest.raises(ValueError):
        cls()(given)
