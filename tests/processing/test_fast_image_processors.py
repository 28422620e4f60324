import json
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clipseg.errors import ConfigurationError, PictureError, UsageError
from clipseg.processing.fast_image_processors import CLIPImageProcessorFast
from clipseg.processing.image_processors import CLIPImageProcessor, ViTImageProcessor

RNG = np.random.default_rng(0)
PLAIN = {"do_resize": False, "do_center_crop": False}


def noise(height=37, width=53):
    return Image.fromarray(RNG.integers(0, 256, (height, width, 3), dtype=np.uint8))


def tensor(picture):
    return torch.from_numpy(np.asarray(picture).transpose(2, 0, 1).copy())


def test_what_comes_back():
    fast, pictures = CLIPImageProcessorFast(), [noise(), noise(60, 20)]
    listed = fast(pictures).pixel_values
    assert isinstance(listed, list)
    assert all((each.shape, each.dtype) == ((3, 224, 224), torch.float32) for each in listed)
    assert torch.equal(fast(pictures, return_tensors="pt").pixel_values, torch.stack(listed))
    assert np.array_equal(fast(pictures, return_tensors="np").pixel_values, torch.stack(listed).numpy())
    assert torch.equal(fast.pixel_values(pictures[0]), listed[0][None])
    assert isinstance(fast, CLIPImageProcessor)
    with pytest.raises(UsageError, match="data_format is one of channels_first, None"):
        fast(pictures, data_format="channels_last")
    assert torch.equal(fast(np.asarray(pictures[0]), data_format=None).pixel_values[0], listed[0])


def test_every_form_of_a_picture_is_the_same_picture(tmp_path):
    fast, picture = CLIPImageProcessorFast(), noise()
    expected = fast(picture, return_tensors="pt").pixel_values
    picture.save(tmp_path / "a.png")
    array = np.asarray(picture)  # not writable, which torch would warn of
    forms = [array, tensor(picture), torch.from_numpy(array.copy()), [picture], array[None], tmp_path / "a.png"]
    for form in [
        *forms,
        array.astype(">u2"),
        tensor(picture).to(torch.uint16),
        array.astype(np.int64),
        tensor(picture)[None],
        [[array]],
    ]:
        assert torch.equal(fast(form, return_tensors="pt").pixel_values, expected)


def test_half_precision_and_gradients_go_no_further_than_the_door():
    half = torch.rand(3, 20, 30, dtype=torch.bfloat16, requires_grad=True)
    found = CLIPImageProcessorFast()(half, do_rescale=False, return_tensors="pt").pixel_values
    assert (found.dtype, found.requires_grad) == (torch.float32, False)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 50), st.integers(1, 50), st.integers(1, 40), st.integers(1, 40))
def test_crops(height, width, crop_height, crop_width):
    """The crop takes from the picture what PIL's takes; what it lacks is 0, the larger half below and right."""
    picture = noise(height, width)
    options = {"do_resize": False, "do_normalize": False, "crop_size": (crop_height, crop_width)}
    found = CLIPImageProcessorFast(**options)(picture).pixel_values[0]
    assert found.shape == (3, crop_height, crop_width)
    pixels = tensor(picture) / 255
    top, left = (max(0, (wanted - got) // 2) for wanted, got in ((crop_height, height), (crop_width, width)))
    above, before = (max(0, (got - wanted) // 2) for wanted, got in ((crop_height, height), (crop_width, width)))
    inside = pixels[:, above : above + crop_height, before : before + crop_width]
    placed = found[:, top : top + inside.shape[1], left : left + inside.shape[2]]
    assert torch.allclose(placed, inside)
    assert found.sum() == pytest.approx(float(inside.sum()), rel=1e-4)


def test_padding_comes_last():
    pictures = [noise(20, 30), noise(25, 12)]
    fast = CLIPImageProcessorFast(**PLAIN)
    plain = fast(pictures).pixel_values
    batch = fast(pictures, do_pad=True, return_tensors="pt").pixel_values
    assert batch.shape == (2, 3, 25, 30)
    assert torch.equal(batch[0, :, :20], plain[0])
    assert torch.equal(batch[1, :, :, :12], plain[1])
    assert not batch[0, :, 20:].any()
    assert not batch[1, :, :, 12:].any()
    for size in ({"height": 40, "width": 50}, (40, 50)):
        assert fast(pictures, do_pad=True, pad_size=size, return_tensors="pt").pixel_values.shape == (2, 3, 40, 50)
    assert CLIPImageProcessorFast(do_pad=True, pad_size=230)(pictures, return_tensors="pt").pixel_values.shape[2] == 230
    with pytest.raises(ValueError, match="25x12 is to be padded to 24x40; pad_size is too small"):
        fast(pictures, do_pad=True, pad_size=(24, 40))
    assert fast([], do_pad=True).pixel_values == []


@pytest.mark.parametrize("resample", range(6))
def test_grouping_changes_nothing(resample):
    pictures = [noise(30, 40), noise(50, 40), noise(30, 40), noise(30, 40)]
    fast = CLIPImageProcessorFast(size=20, crop_size=18, resample=resample)
    together, apart = (
        fast(pictures, disable_grouping=flag, return_tensors="pt").pixel_values for flag in (False, True)
    )
    assert torch.equal(together, apart)


@pytest.mark.parametrize("resample", [1, 4, 5])
def test_filters_that_only_pil_has(resample):
    picture, options = noise(60, 80), {"size": 30, "crop_size": 28, "resample": resample}
    exact = CLIPImageProcessor(**options)(picture, return_tensors="pt").pixel_values
    assert torch.allclose(
        CLIPImageProcessorFast(**options)(picture, return_tensors="pt").pixel_values, exact, atol=1e-5
    )


def test_whole_numbers_are_rounded_and_bytes_do_not_overflow():
    edge = torch.zeros(3, 16, 16, dtype=torch.uint8)
    edge[:, :, 8:] = 255
    options = {"size": (37, 41), "do_center_crop": False, "do_rescale": False, "do_normalize": False}
    fast = CLIPImageProcessorFast(**options)
    grown = fast(edge).pixel_values[0]
    assert grown.dtype == torch.uint8
    assert (grown[:, :, :10] < 30).all()  # an overflow would be 250 or so
    assert torch.equal(fast(edge.int()).pixel_values[0], grown)
    assert torch.equal(fast(edge.bool(), resample=0).pixel_values[0].max(), torch.tensor(1, dtype=torch.uint8))
    wide = fast(edge.int() * 257).pixel_values[0]  # of 16 bits
    assert wide.dtype == torch.int32
    assert (wide.clamp(0, 65535) / 257 - grown).abs().max() <= 1


@pytest.mark.parametrize(
    ("steps", "expected"), [({}, 0.0), ({"do_normalize": False}, 0.2), ({"do_rescale": False}, 0.0)]
)
def test_each_step_alone(steps, expected):
    flat = torch.full((3, 8, 8), 0.2 if "do_rescale" in steps else 51)
    fast = CLIPImageProcessorFast(**PLAIN, image_mean=0.2, image_std=0.5)
    assert torch.allclose(fast(flat, **steps).pixel_values[0], torch.tensor(expected), atol=1e-6)


def test_devices():
    fast = CLIPImageProcessorFast(device=torch.device("cpu"))
    assert fast.device == "cpu"
    assert json.loads(fast.to_json_string())["device"] == "cpu"
    meta = CLIPImageProcessorFast(do_rescale=False)(noise(), device="meta").pixel_values[0]
    assert (meta.shape, meta.device.type) == ((3, 224, 224), "meta")
    with pytest.raises(ConfigurationError, match="device is one of torch's"):
        CLIPImageProcessorFast(device="toaster")


def test_options_of_the_tensor_back_end_belong_to_it(tmp_path):
    fast = CLIPImageProcessorFast(do_pad=True, pad_size=300, disable_grouping=True, image_seq_length=9)
    fast.save_pretrained(tmp_path)
    again = CLIPImageProcessorFast.from_pretrained(tmp_path)
    assert again.to_dict() == fast.to_dict()
    assert again.image_seq_length == 9
    with pytest.raises(UsageError, match="has no option do_pad"):
        ViTImageProcessor()(noise(), do_pad=True)


def test_either_class_loads_the_files_of_the_other(tmp_path):
    options = {"size": {"shortest_edge": 20}, "crop_size": 18}
    slow, fast = CLIPImageProcessor(**options), CLIPImageProcessorFast(**options)
    slow.save_pretrained(tmp_path / "slow")
    fast.save_pretrained(tmp_path / "fast")
    assert CLIPImageProcessorFast.from_pretrained(tmp_path / "slow").to_dict() == fast.to_dict()
    assert CLIPImageProcessor.from_pretrained(tmp_path / "fast").to_dict() == slow.to_dict()


def test_what_the_constructor_says_of_the_answer():
    fast = CLIPImageProcessorFast(return_tensors="pt", data_format="channels_first", input_data_format=None)
    assert fast(noise()).pixel_values.shape == (1, 3, 224, 224)
    assert isinstance(fast(noise(), return_tensors="np").pixel_values, np.ndarray)
    assert fast.to_dict()["return_tensors"] == "pt"


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (None, "NoneType is no picture"),
        (torch.zeros(3, 0, 4), r"got \(3, 0, 4\) torch.float32"),
        (torch.zeros(5, 5, 5), "no axis of 1, 3 or 4 channels"),
        (torch.full((3, 5, 5), float("nan")), "NaN"),
        (torch.zeros(3, 5, 5, dtype=torch.complex64), "complex"),
        (torch.full((4, 5, 5), 1.5), "RGBA floats"),
    ],
)
def test_what_is_no_picture(images, words):
    with pytest.raises(PictureError, match=words):
        CLIPImageProcessorFast()(images)


def test_one_warning_for_a_batch_that_is_scaled_already():
    scaled = torch.rand(4, 3, 9, 9)
    for processor in (CLIPImageProcessorFast(), CLIPImageProcessor()):
        with pytest.warns(UserWarning, match="rescaled once more") as caught:
            processor(scaled)
        assert len(caught) == 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            processor(scaled, do_rescale=False)


@pytest.mark.parametrize("channels", [1, 4])
def test_conversion_to_rgb(channels):
    array = RNG.integers(0, 256, (20, 30, channels), dtype=np.uint8)
    exact = CLIPImageProcessor(**PLAIN)(array, return_tensors="pt").pixel_values
    for form in (array, torch.from_numpy(array)):
        assert torch.allclose(CLIPImageProcessorFast(**PLAIN)(form, return_tensors="pt").pixel_values, exact, atol=2e-2)
