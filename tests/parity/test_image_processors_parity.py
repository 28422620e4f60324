"""Our image processors beside the reference implementation's over PIL, bit for bit, on drawn pictures and options.

The reference's tensor back end needs torchvision, which is no dependency of this project: `CLIPImageProcessorFast` is
held to the PIL one within the tolerances of the documented tests, and to the formulas, written out below.
"""

import warnings
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from clipseg.errors import ClipsegError
from clipseg.processing.fast_image_processors import CLIPImageProcessorFast
from clipseg.processing.image_processors import CLIPImageProcessor, ViTImageProcessor

PAIRS = [(ViTImageProcessor, ViTImageProcessorPil), (CLIPImageProcessor, CLIPImageProcessorPil)]
MODES = ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"]
DTYPES = ["uint8", "uint16", "int16", "int32", "int64", "float16", "float32", "float64", "bool"]
STATISTICS = [
    {"image_mean": [0.485, 0.456, 0.406], "image_std": (0.229, 0.224, 0.225)},
    {"image_mean": 0.5, "image_std": 0.25},
    {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]},
]
CASES = 160


def drawn_picture(rng: np.random.Generator) -> Image.Image:
    height, width = rng.integers(2, 90, 2)
    picture = Image.fromarray(rng.integers(0, 256, (height, width, 4), dtype=np.uint8))
    mode = MODES[rng.integers(len(MODES))]
    if mode == "LAB":  # which Pillow converts to nothing
        return Image.frombytes("LAB", picture.size, picture.convert("RGB").tobytes())
    if mode in ("LA", "RGBA"):
        return picture.convert(mode)
    return picture.convert("RGB").convert("P" if mode == "PA" else mode).convert(mode)


def drawn_array(rng: np.random.Generator) -> Any:
    shape = (int(rng.choice([1, 3, 3, 3, 4])), *rng.integers(5, 90, 2))
    dtype = np.dtype(DTYPES[rng.integers(len(DTYPES))])
    if dtype.kind == "b":
        array = rng.random(shape) < 0.5
    elif dtype.kind == "f" and rng.random() < 0.6:
        array = rng.random(shape).astype(dtype)
    else:
        array = rng.integers(0, 256, shape).astype(dtype)
    array = array.transpose(1, 2, 0) if rng.random() < 0.5 else array
    return torch.from_numpy(np.ascontiguousarray(array)) if rng.random() < 0.4 else array


def drawn_options(rng: np.random.Generator) -> dict[str, Any]:
    def edges(form: int) -> Any:
        one, two = (int(edge) for edge in rng.integers(1, 70, 2))
        return [{"height": one, "width": two}, one, [one, two], {"shortest_edge": one}][form]

    options: dict[str, Any] = {}
    if rng.random() < 0.7:
        options["size"] = edges(rng.integers(4))
    if rng.random() < 0.3:
        options["resample"] = Image.Resampling(rng.integers(6)) if rng.random() < 0.5 else int(rng.integers(6))
    if rng.random() < 0.6:
        options |= {"do_center_crop": bool(rng.random() < 0.7), "crop_size": edges(rng.integers(3))}
    options |= {step: False for step in ("do_resize", "do_rescale", "do_normalize") if rng.random() < 0.2}
    if rng.random() < 0.2:
        options["rescale_factor"] = float(rng.choice([1 / 127.5, -1, 2]))
    if rng.random() < 0.4:
        options |= STATISTICS[rng.integers(len(STATISTICS))]
    if rng.random() < 0.4:
        options["do_convert_rgb"] = bool(rng.random() < 0.7)
    return options


def answer(kind: Any, images: Any, options: dict[str, Any], at_the_call: bool) -> list[np.ndarray] | Exception:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            built = kind() if at_the_call else kind(**options)
            values = built(images, **(options if at_the_call else {}))["pixel_values"]
            return [np.asarray(each) for each in values]
    except ValueError as error:
        return error


COMPARED: list[int] = []


@pytest.mark.parametrize("seed", range(CASES))
def test_the_same_bits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kinds, options, at_the_call = PAIRS[rng.integers(2)], drawn_options(rng), bool(rng.random() < 0.5)
    images = [drawn_picture(rng) if rng.random() < 0.5 else drawn_array(rng) for _ in range(rng.integers(1, 3))]
    ours, theirs = (answer(kind, images, options, at_the_call) for kind in kinds)
    if isinstance(theirs, ValueError):
        assert isinstance(ours, ClipsegError), (ours, theirs)
        return
    assert not isinstance(ours, Exception), ours
    for found, expected in zip(ours, theirs, strict=True):
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        assert np.array_equal(found, expected)
    COMPARED.append(seed)


def test_most_cases_had_something_to_compare() -> None:
    if len(COMPARED) < 3:
        pytest.skip("the cases above did not run in this process")
    assert len(COMPARED) >= CASES // 2


def test_each_mode_of_picture() -> None:
    for index, mode in enumerate(MODES):
        rng = np.random.default_rng(index)
        picture = drawn_picture(rng)
        while picture.mode != mode:
            picture = drawn_picture(rng)
        ours, theirs = (answer(kind, picture, {"do_convert_rgb": True}, True) for kind in PAIRS[1])
        assert not isinstance(theirs, Exception)
        assert np.array_equal(ours, theirs), mode


@pytest.mark.parametrize("sizes", [((30, 40), (30, 40)), ((33, 60), (47, 21))])
def test_batches(sizes: Any) -> None:
    rng = np.random.default_rng(5)
    arrays = [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for height, width in sizes]
    forms: list[Any] = [arrays, [Image.fromarray(array) for array in arrays], tuple(map(torch.from_numpy, arrays))]
    if len(set(sizes)) == 1:
        forms += [np.stack(arrays), torch.from_numpy(np.stack(arrays).transpose(0, 3, 1, 2).copy())]
    for kinds in PAIRS:
        for form in forms:
            for tensors in ("np", "pt"):
                ours, theirs = (kind()(form, return_tensors=tensors)["pixel_values"] for kind in kinds)
                assert type(ours) is type(theirs)
                assert np.array_equal(np.asarray(ours), np.asarray(theirs))


# Where we differ, on purpose


def grey(mode: str) -> Image.Image:
    ramp = np.linspace(0, 65535, 24 * 24).reshape(24, 24)
    return Image.fromarray({"I;16": ramp.astype(np.uint16), "I": ramp.astype(np.int32)}[mode])


@pytest.mark.parametrize("mode", ["I;16", "I"])
def test_sixteen_bits_are_scaled_where_the_reference_clips_them_to_white(mode: str) -> None:
    options = {"do_convert_rgb": True, "do_resize": False, "do_normalize": False, "do_center_crop": False}
    ours, theirs = (np.asarray(answer(kind, grey(mode), options, True))[0, 0] for kind in PAIRS[1])
    np.testing.assert_allclose(ours, np.linspace(0, 1, 24 * 24).reshape(24, 24), atol=1 / 255)
    assert (theirs[1:] == 1).all() or not np.allclose(ours, theirs, atol=0.1)


@pytest.mark.parametrize("mode", ["La", "RGBa"])
def test_premultiplied_alpha_is_laid_on_white_where_the_reference_drops_it_or_fails(mode: str) -> None:
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0)).convert("LA" if mode == "La" else "RGBA").convert(mode)
    options = {"do_resize": False, "do_normalize": False, "do_center_crop": False}
    assert np.array_equal(answer(CLIPImageProcessor, clear, options, True), np.ones((1, 3, 8, 8), np.float32))
    theirs = answer(CLIPImageProcessorPil, clear, options, True)
    assert isinstance(theirs, ValueError) or np.max(theirs) == 0


def test_grey_arrays_without_an_axis_of_channels_which_the_reference_refuses() -> None:
    array, options = np.random.default_rng(4).integers(0, 256, (30, 40), dtype=np.uint8), STATISTICS[1]
    picture = answer(ViTImageProcessorPil, Image.fromarray(array), options, False)
    for form in (array, [array], torch.from_numpy(array)):
        assert np.array_equal(answer(ViTImageProcessor, form, options, False), picture)
    assert isinstance(answer(ViTImageProcessorPil, array, options, False), ValueError)


def test_an_axis_may_be_laid_out_as_the_call_says() -> None:
    """`data_format` None or "channels_last": documented up to 4.56, ignored by the reference since 5.0."""
    picture = Image.fromarray(np.random.default_rng(3).integers(0, 256, (30, 40, 3), dtype=np.uint8))
    ours = CLIPImageProcessor()(picture, data_format="channels_last", return_tensors="np").pixel_values
    theirs = CLIPImageProcessorPil()(picture, return_tensors="np").pixel_values
    assert np.array_equal(ours, theirs.transpose(0, 2, 3, 1))


# The tensor back end


@pytest.mark.parametrize("seed", range(40))
def test_tensors_agree_with_pil(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = (int(edge) for edge in rng.integers(20, 300, 2))
    small = Image.fromarray(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8))  # soft, as photographs are
    picture = small.resize((width, height), Image.Resampling.BICUBIC)
    options: dict[str, Any] = {"resample": int(rng.integers(6))}
    if rng.random() < 0.6:
        options["size"] = [{"shortest_edge": 40}, {"height": 50, "width": 31}, 64][rng.integers(3)]
    options["crop_size"] = int(rng.choice([30, 39]))  # larger crops put their odd row elsewhere, see below
    form = [picture, np.asarray(picture), torch.from_numpy(np.asarray(picture).transpose(2, 0, 1).copy())][seed % 3]
    exact = CLIPImageProcessorPil(**options)(picture, return_tensors="pt").pixel_values
    found = CLIPImageProcessorFast(**options)(form, return_tensors="pt").pixel_values
    nearest = options["resample"] == 0  # a pixel beside its neighbour is no rounding error
    assert (found.shape, found.dtype) == (exact.shape, torch.float32)
    assert torch.allclose(found, exact, rtol=0, atol=1e-1) or nearest
    assert (found - exact).abs().mean() < (5e-2 if nearest else 5e-3)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_the_formulas_of_the_tensor_back_end(mode: str, dtype: torch.dtype) -> None:
    """Antialiased resize of the tensor, crop at int((H - h) / 2), (x - 255 mean) / (255 std) at once."""
    pictures = torch.randint(0, 256, (2, 3, 61, 83), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    resized = F.interpolate(pictures.to(dtype), (40, int(40 * 83 / 61)), mode=mode, antialias=True)
    top, left = int((40 - 33) / 2.0), int((resized.shape[3] - 28) / 2.0)
    cropped = resized[:, :, top : top + 33, left : left + 28].float()
    fast = CLIPImageProcessorFast(
        size={"shortest_edge": 40}, crop_size=(33, 28), resample={"bilinear": 2, "bicubic": 3}[mode]
    )
    mean, std = (torch.tensor(values)[:, None, None] * 255 for values in (fast.image_mean, fast.image_std))
    found = fast(pictures.to(dtype), return_tensors="pt").pixel_values
    assert torch.allclose(found, (cropped - mean) / std, rtol=0, atol=1e-6)
