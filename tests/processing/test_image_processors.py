import enum
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from clipseg.errors import ConfigurationError, PictureError, UsageError
from clipseg.processing.image_processors import CLIPImageProcessor, ViTImageProcessor
from clipseg.processing.images import to_rgb

RNG = np.random.default_rng(0)
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
PAIRS = [(ViTImageProcessor, ViTImageProcessorPil), (CLIPImageProcessor, CLIPImageProcessorPil)]


def noise(height=37, width=53, channels=3):
    array = RNG.integers(0, 256, (height, width, channels), dtype=np.uint8)
    return Image.fromarray(array[..., 0] if channels == 1 else array)


def assert_bits(found, expected):
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    assert np.array_equal(found, expected)


def assert_as_reference(pair, images, **options):
    ours, reference = (each(**options)(images)["pixel_values"] for each in pair)
    assert len(ours) == len(reference)
    for found, expected in zip(ours, reference, strict=True):
        assert_bits(found, np.asarray(expected))


# Bit for bit the reference over PIL


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("size", [(37, 53), (600, 417), (224, 224), (2, 9), (500, 31)])
def test_pictures_of_any_size(pair, size):
    assert_as_reference(pair, noise(*size))
    assert_as_reference(pair, [np.asarray(noise(*size)), noise(*size)])


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize(
    "options",
    [
        {"size": {"height": 352, "width": 352}, **IMAGENET},
        {"size": {"height": 20, "width": 90}, "do_center_crop": False},
        {"size": {"shortest_edge": 30}, "do_center_crop": True, "crop_size": {"height": 64, "width": 21}},
        {"size": {"shortest_edge": 31}, "do_center_crop": True, "crop_size": {"height": 64, "width": 65}},
        {"size": {"shortest_edge": 30}, "do_center_crop": True, "crop_size": 17, "resample": 0},
        {"size": 40, "resample": 1},
        {"do_resize": False},
        {"do_resize": False, "do_center_crop": False, "do_rescale": False},
        {"do_rescale": False},
        {"do_normalize": False},
        {"do_normalize": False, "do_rescale": False},
        {"rescale_factor": 1 / 127.5, "image_mean": 1.0, "image_std": 1.0},
        {"do_convert_rgb": True, "resample": 3},
    ],
    ids=str,
)
def test_options(pair, options):
    picture = noise(41, 67)
    array = np.asarray(picture)
    assert_as_reference(pair, picture, **options)
    assert_as_reference(pair, array, **options)
    assert_as_reference(pair, array.transpose(2, 0, 1), **options)
    assert_as_reference(pair, torch.from_numpy(array.transpose(2, 0, 1).copy()), **options)
    assert_as_reference(pair, array.astype(np.float64), **options)
    assert_as_reference(pair, array.astype(np.int64), **options)


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("resize", [True, False])
def test_floats_from_0_to_1(pair, dtype, resize):
    array = RNG.random((3, 41, 67)).astype(dtype)
    assert_as_reference(pair, array, do_rescale=False, do_resize=resize)
    with pytest.warns(UserWarning, match="rescaled once more"):
        assert_as_reference(pair, array, do_resize=resize)


@settings(max_examples=150, deadline=None)
@given(
    hnp.arrays(
        np.uint8,
        st.one_of(
            st.tuples(st.integers(5, 40), st.integers(5, 40), st.just(3)),
            st.tuples(st.just(3), st.integers(5, 40), st.integers(5, 40)),
        ),
    ),
    st.integers(1, 50),
    st.integers(1, 50),
    st.sampled_from(range(6)),
    st.sampled_from(PAIRS),
)
def test_any_array(array, height, width, resample, pair):
    assert_as_reference(pair, array, size={"height": height, "width": width}, resample=resample, crop_size=16)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from(PAIRS),
)
def test_any_crop(height, width, edge, crop_height, crop_width, pair):
    options = {"size": {"shortest_edge": edge}, "crop_size": {"height": crop_height, "width": crop_width}}
    assert_as_reference(pair, noise(height, width), do_center_crop=True, **options)


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "1", "P", "LA"])
def test_conversion_to_rgb(mode):
    picture = noise().convert(mode)
    for pair in PAIRS:
        assert_as_reference(pair, picture, do_convert_rgb=True)


@pytest.mark.parametrize("channels", [1, 4])
def test_conversion_of_arrays_to_rgb(channels):
    array = RNG.integers(0, 256, (20, 30, channels), dtype=np.uint8)
    for pair in PAIRS:
        assert_as_reference(pair, array, do_convert_rgb=True)
        assert_as_reference(pair, array.transpose(2, 0, 1) / 255, do_convert_rgb=True, do_rescale=False)


def test_grey_without_conversion():
    options = {"image_mean": [0.5], "image_std": [0.25]}
    picture = noise(20, 30, 1)
    assert_as_reference(PAIRS[0], picture, **options)
    assert_as_reference(PAIRS[0], np.asarray(picture)[..., None], **options)
    flat = ViTImageProcessor(**options)(np.asarray(picture), return_tensors="np").pixel_values
    assert_bits(flat[0], ViTImageProcessor(**options)(picture).pixel_values[0])
    assert flat.shape == (1, 1, 224, 224)
    with pytest.raises(PictureError, match=r"has 1 channels but .* 3 values; pass do_convert_rgb=True"):
        ViTImageProcessor()(noise(20, 30, 1))


def test_the_table_of_bytes_is_the_plain_computation():
    every_byte = np.arange(256, dtype=np.uint8).reshape(1, 16, 16).repeat(3, axis=0)
    mean, std = (np.float32(IMAGENET[name])[:, None, None] for name in ("image_mean", "image_std"))
    expected = ((every_byte.astype(np.float64) * (1 / 255)).astype(np.float32) - mean) / std
    assert_bits(ViTImageProcessor(do_resize=False, **IMAGENET)(every_byte).pixel_values[0], expected)


# What comes back


def test_the_products_path_is_the_documented_one():
    processor = ViTImageProcessor(size=352, **IMAGENET)
    picture = noise(480, 640)
    quick = processor.pixel_values(picture)
    assert (quick.shape, quick.dtype, quick.is_contiguous()) == ((1, 3, 352, 352), torch.float32, True)
    assert torch.equal(quick, processor(picture, return_tensors="pt").pixel_values)
    for value in (quick, processor(picture).pixel_values[0]):
        value[:] = 0  # nobody's table
    assert torch.equal(processor.pixel_values(picture), processor(picture, return_tensors="pt").pixel_values)
    assert processor.pixel_values(picture).any()


def test_kinds_of_results():
    processor = ViTImageProcessor()
    pictures = [noise(), noise(20, 20)]
    listed = processor(pictures).pixel_values
    assert isinstance(listed, list)
    assert_bits(processor.preprocess(pictures, return_tensors="np").pixel_values, np.stack(listed))
    tensor = processor(pictures, return_tensors="pt").pixel_values
    assert torch.equal(tensor, torch.from_numpy(np.stack(listed)))
    assert tensor.dtype == torch.float32
    assert list(processor(pictures)) == processor.model_input_names == ["pixel_values"]


def test_kinds_of_batches():
    processor = ViTImageProcessor()
    array = np.stack([np.asarray(noise()) for _ in range(3)])
    expected = processor(list(array), return_tensors="np").pixel_values
    for batch in (
        array,
        torch.from_numpy(array),
        array.transpose(0, 3, 1, 2),
        tuple(array),
        [[array[0]], [*array[1:]]],
    ):
        assert_bits(processor(batch, return_tensors="np").pixel_values, expected)


def test_a_path(tmp_path):
    picture = noise()
    picture.save(tmp_path / "a.png")
    processor = ViTImageProcessor()
    assert_bits(processor(tmp_path / "a.png").pixel_values[0], processor(picture).pixel_values[0])


def test_formats_of_data():
    processor = ViTImageProcessor()
    picture = noise()
    first = processor(picture).pixel_values[0]
    assert_bits(processor(picture, data_format="channels_last").pixel_values[0], first.transpose(1, 2, 0))
    assert_bits(processor(picture, data_format=None).pixel_values[0], first.transpose(1, 2, 0))
    assert_bits(processor(np.asarray(picture).transpose(2, 0, 1), data_format=None).pixel_values[0], first)
    odd = RNG.integers(0, 256, (3, 9, 3), dtype=np.uint8)
    assert_bits(
        processor(odd, input_data_format="channels_last").pixel_values[0],
        processor(Image.fromarray(odd)).pixel_values[0],
    )
    assert_bits(processor(odd).pixel_values[0], processor(odd, input_data_format="channels_first").pixel_values[0])
    grey = ViTImageProcessor(image_mean=0.5, image_std=0.5)
    assert grey(odd[..., 0], input_data_format="none").pixel_values[0].shape == (1, 224, 224)
    with pytest.raises(UsageError, match="data_format is one of"):
        processor(picture, data_format="last")


class Axis(str, enum.Enum):
    FIRST = "channels_first"
    LAST = "channels_last"


class Kind(enum.Enum):
    NUMPY = "np"


def test_members_of_enumerations_are_their_values():
    processor, picture = ViTImageProcessor(), noise()
    found = processor(picture, data_format=Axis.LAST, return_tensors=Kind.NUMPY, resample=Image.Resampling.BICUBIC)
    expected = processor(picture, data_format="channels_last", return_tensors="np", resample=3)
    assert_bits(found.pixel_values, expected.pixel_values)
    array = np.asarray(picture).transpose(2, 0, 1)
    assert_bits(processor(array, input_data_format=Axis.FIRST).pixel_values[0], processor(picture).pixel_values[0])


def test_documented_positions():
    picture = noise()
    clip = (
        True,
        {"shortest_edge": 30},
        2,
        True,
        20,
        True,
        1 / 127.5,
        True,
        0.4,
        0.5,
        True,
        "np",
        "channels_last",
        None,
    )
    options = {
        "size": 30,
        "resample": 2,
        "crop_size": 20,
        "rescale_factor": 1 / 127.5,
        "image_mean": 0.4,
        "image_std": 0.5,
    }
    expected = CLIPImageProcessor(**options)(picture, return_tensors="np").pixel_values.transpose(0, 2, 3, 1)
    assert_bits(CLIPImageProcessor().preprocess(picture, *clip).pixel_values, expected)
    assert_bits(CLIPImageProcessor()(picture, *clip).pixel_values, expected)
    assert CLIPImageProcessor(*clip[:11]).to_dict() == CLIPImageProcessor(**options).to_dict()
    vit = (True, {"height": 9, "width": 8}, 3, False, 0.5, True, [0.1, 0.2, 0.3], [0.4, 0.5, 0.6], "np")
    found = ViTImageProcessor().preprocess(picture, *vit).pixel_values
    again = ViTImageProcessor(size=(9, 8), resample=3, do_rescale=False, image_mean=vit[6], image_std=vit[7])
    assert_bits(found[0], again(picture).pixel_values[0])
    with pytest.raises(UsageError, match="size is given twice"):
        ViTImageProcessor().preprocess(picture, True, 9, size=9)
    with pytest.raises(UsageError, match="takes 12 options by position, got 13"):
        ViTImageProcessor().preprocess(picture, *[None] * 13)


def test_a_picture_that_is_there_twice_is_worked_on_once(monkeypatch):
    calls, values = [], ViTImageProcessor._values
    monkeypatch.setattr(ViTImageProcessor, "_values", lambda self, image: calls.append(image) or values(self, image))
    one, other = noise(), noise()
    found = ViTImageProcessor()([one, other, one]).pixel_values
    assert len(calls) == 2
    assert_bits(found[0], found[2])
    found[0][:] = 0
    assert found[2].any()


def test_options_of_a_call_change_nothing_else():
    processor = ViTImageProcessor()
    before = processor.to_dict()
    changed = processor(noise(), size=20, do_normalize=False, resample=None, return_tensors="np").pixel_values
    assert changed.shape == (1, 3, 20, 20)
    assert changed.min() >= 0
    assert processor.to_dict() == before
    processor.do_normalize = False  # options are attributes
    assert_bits(processor(noise(20, 20), size=20).pixel_values[0] >= 0, np.ones((3, 20, 20), bool))


# Misuse


@pytest.mark.parametrize(
    "options",
    [
        {"size": {"height": 3}},
        {"size": {"longest_edge": 3}},
        {"size": {"height": 3, "width": 0}},
        {"size": {"height": 3, "width": 2.5}},
        {"size": "large"},
        {"size": 0},
        {"size": True},
        {"crop_size": {"shortest_edge": 3}},
        {"resample": 9},
        {"resample": "bilinear"},
        {"resample": True},
        {"image_std": [0.1, 0, 0.1]},
        {"image_mean": "white"},
        {"size": [3, 4, 5]},
        {"size": (3, 0)},
        {"do_resize": "pt"},
        {"rescale_factor": float("nan")},
    ],
    ids=str,
)
def test_options_that_make_no_sense(options):
    with pytest.raises(ConfigurationError):
        ViTImageProcessor(**options)
    with pytest.raises(ValueError):
        CLIPImageProcessor()(noise(), **options)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (None, "NoneType is no picture"),
        (3, "int is no picture"),
        ([b"abc"], "bytes is no picture"),
        ({"a": 1}, "dict is no picture"),
        (np.zeros((3, 0, 4), np.uint8), r"got \(3, 0, 4\) uint8"),
        (np.zeros(5), r"got \(5,\)"),
        (np.zeros((5, 5, 5)), "no axis of 1, 3 or 4 channels"),
        (np.full((3, 5, 5), np.nan), "NaN"),
        (np.full((3, 5, 5), 0.5j), "complex"),
        (np.full((3, 5, 5), 300), r"300 to 300, expected 0\.\.\.255"),
        (np.full((3, 5, 5), 1.5), r"1.5 to 1.5, expected 0\.\.\.1"),
        (np.full((5, 5, 4), 1.5), "RGBA floats"),
        (Image.new("RGB", (0, 5)), "5x0"),
        ("no/such.png", "there is no picture file"),
        (np.zeros((1, 3_000_000, 3), np.uint8), "too long and thin"),
    ],
)
def test_what_is_no_picture(images, words):
    with pytest.raises(PictureError, match=words) as caught:
        CLIPImageProcessor()(images)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_other_misuse():
    processor = ViTImageProcessor()
    with pytest.raises(UsageError, match="has no option do_flip; it has do_resize"):
        processor(noise(), do_flip=True)
    with pytest.raises(UsageError, match="'tf'"):
        processor(noise(), return_tensors="tf")
    with pytest.raises(PictureError, match="one shape"):
        processor([noise(5, 5), noise(5, 6)], do_resize=False, return_tensors="pt")
    with pytest.raises(PictureError, match="no picture"):
        processor([], return_tensors="pt")
    with pytest.raises(PictureError, match="1 to 4 channels"):
        processor(np.zeros((5, 9, 9), np.uint8), input_data_format="channels_first")


def test_scaled_pictures_warn_only_when_scaled_again():
    scaled = np.asarray(noise()) / 255
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ViTImageProcessor()(scaled, do_rescale=False)
        ViTImageProcessor()(scaled * 0 + 255)
        ViTImageProcessor()(np.zeros((9, 9, 3), np.uint8))


def test_one_door_then_the_products_path(tmp_path):
    picture = noise().convert("LA")
    assert ViTImageProcessor(size=32).pixel_values(to_rgb(picture)).shape == (1, 3, 32, 32)
