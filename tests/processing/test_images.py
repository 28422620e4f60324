import io
import os
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageFile

from clipseg.errors import PictureError, PictureNotFoundError, PromptError
from clipseg.processing.images import DEFAULT_MAX_PIXELS, to_mask, to_rgb, upright_size

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (24, 32, 3), dtype=np.uint8)


def encoded(picture, kind="PNG", **options):
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def noise():
    return Image.fromarray(NOISE)


def png_header(width, height):
    """A PNG that states a size and has no pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def pixels(source, **options):
    picture = to_rgb(source, **options)
    assert (type(picture).__module__.partition(".")[0], picture.mode) == ("PIL", "RGB")
    return np.asarray(picture)


def pixels_or_none(source, **options):
    """None for a PictureError of one line; any other error, or a message of more lines, fails the test."""
    try:
        return pixels(source, **options)
    except PictureError as error:
        if "\n" in str(error):
            raise
        return None


# Every kind of source


def test_every_source_of_one_picture(tmp_path, monkeypatch):
    content = encoded(noise())
    path = tmp_path / "noise.png"
    path.write_bytes(content)
    monkeypatch.setenv("HOME", str(tmp_path))
    sources = [path, str(path), "~/noise.png", os.fsencode(path).decode(), content, bytearray(content)]
    sources += [memoryview(content), io.BytesIO(content), noise(), NOISE, NOISE.transpose(2, 0, 1), NOISE / 255]
    sources += [torch.from_numpy(NOISE), torch.from_numpy(NOISE).permute(2, 0, 1), torch.from_numpy(NOISE / 255)]
    sources += [(torch.from_numpy(NOISE) / 255).requires_grad_(), NOISE.astype(np.int64), NOISE.astype(np.uint16) * 257]
    sources += [(NOISE.astype(np.uint16) * 257).astype(">u2")]
    for source in sources:
        assert np.array_equal(pixels(source), NOISE)
    with path.open("rb") as stream:
        stream.seek(5)
        assert np.array_equal(pixels(stream), NOISE)


def test_a_stream_that_cannot_seek():
    class Pipe(io.BytesIO):
        def seekable(self):
            return False

        def seek(self, *_):
            raise io.UnsupportedOperation

    assert np.array_equal(pixels(Pipe(encoded(noise()))), NOISE)


def test_half_precision_tensors():
    tensor = torch.tensor([[0.0, 1.0], [0.5, 0.25]], dtype=torch.bfloat16)
    assert pixels(tensor)[..., 0].tolist() == [[0, 255], [128, 64]]
    assert pixels(tensor.half())[..., 0].tolist() == [[0, 255], [128, 64]]


def test_the_ambiguous_layout_is_the_usual_one_of_its_library():
    array = RNG.integers(0, 256, (3, 5, 3), dtype=np.uint8)
    assert np.array_equal(pixels(array), array)
    assert np.array_equal(pixels(torch.from_numpy(array)), array.transpose(1, 2, 0))


def test_a_picture_in_rgb_comes_back_itself():
    picture = noise()
    assert to_rgb(picture) is picture


@settings(max_examples=150, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.uint16, bool]),
        st.one_of(
            hnp.array_shapes(min_dims=2, max_dims=2, max_side=7),
            st.tuples(st.integers(5, 7), st.integers(5, 7), st.sampled_from([1, 3, 4])),
            st.tuples(st.sampled_from([1, 3, 4]), st.integers(5, 7), st.integers(5, 7)),
        ),
    )
)
def test_any_array_and_its_tensor(array):
    found = pixels(array)
    if array.dtype != np.uint16:
        assert np.array_equal(found, pixels(torch.from_numpy(array)))
    last = array[..., None] if array.ndim == 2 else array if array.shape[2] in (1, 3, 4) else array.transpose(1, 2, 0)
    top = {"uint8": 255, "uint16": 65535, "bool": 1}[array.dtype.name]
    values = np.rint(last.astype(float) * 255 / top)
    if values.shape[2] == 4:
        alpha = values[..., 3:] / 255
        values = values[..., :3] * alpha + 255 * (1 - alpha)
    assert np.abs(found - values).max() <= 1


@settings(max_examples=100, deadline=None)
@given(hnp.arrays(np.float32, (4, 5), elements=st.floats(-2, 2, width=32) | st.just(np.nan)))
def test_floats_are_from_0_to_1_or_refused(array):
    if ((array >= 0) & (array <= 1)).all():
        assert np.array_equal(pixels(array)[..., 0], np.rint(array.astype(float) * 255))
    else:
        with pytest.raises(PictureError, match=r"pixels of float32 are from 0 to 1, got"):
            to_rgb(array)


# Modes and formats


def test_transparency_is_laid_on_white():
    clear = np.zeros((2, 2, 4), np.uint8)
    clear[0, 0] = (10, 20, 30, 255)
    clear[1, 1] = (0, 0, 0, 128)
    expected = [[[10, 20, 30], [255] * 3], [[255] * 3, [127] * 3]]
    picture = Image.fromarray(clear)
    for source in (clear, picture, encoded(picture), encoded(picture, "WEBP", lossless=True), picture.convert("RGBa")):
        assert pixels(source).tolist() == expected
    grey = Image.merge("LA", [Image.new("L", (1, 1), 9), Image.new("L", (1, 1), 0)])
    assert pixels(grey).tolist() == pixels(grey.convert("La")).tolist() == [[[255] * 3]]


def test_palettes_and_colour_keys():
    palette = Image.new("P", (2, 1))
    palette.putpalette([200, 0, 0, 0, 100, 0])
    palette.putdata([0, 1])
    assert pixels(palette).tolist() == [[[200, 0, 0], [0, 100, 0]]]
    assert pixels(encoded(palette, transparency=1)).tolist() == [[[200, 0, 0], [255, 255, 255]]]
    assert pixels(encoded(palette, "GIF", transparency=1)).tolist() == [[[200, 0, 0], [255, 255, 255]]]
    assert pixels(encoded(palette, transparency=b"\x00\xff")).tolist() == [[[255] * 3, [0, 100, 0]]]
    keyed = encoded(Image.new("RGB", (1, 1), (1, 2, 3)), transparency=(1, 2, 3))
    assert pixels(keyed).tolist() == [[[255] * 3]]


def test_sixteen_bits():
    values = np.array([[0, 257, 65535, 32896]], np.uint16)
    expected = [0, 1, 255, 128]
    sixteen = Image.fromarray(values)
    assert sixteen.mode == "I;16"
    big = Image.frombytes("I;16B", (4, 1), values.astype(">u2").tobytes())
    whole = Image.fromarray(values.astype(np.int32))
    assert whole.mode == "I"
    for source in (sixteen, encoded(sixteen), encoded(sixteen, "TIFF"), big, whole):
        assert pixels(source)[0, :, 0].tolist() == expected
    with pytest.raises(PictureError, match="from 0 to 65535, got -1"):
        to_rgb(Image.fromarray(np.array([[-1]], np.int32)))


def test_floating_point_pictures():
    assert pixels(Image.fromarray(np.array([[0, 0.5, 1]], np.float32)))[0, :, 0].tolist() == [0, 128, 255]
    with pytest.raises(PictureError, match="from 0 to 1, got"):
        to_rgb(Image.fromarray(np.array([[0, 200]], np.float32)))


@pytest.mark.parametrize("mode", ["1", "L", "CMYK", "YCbCr", "HSV"])
def test_other_modes_are_converted_by_pillow(mode):
    picture = noise().convert(mode)
    assert np.array_equal(pixels(picture), np.asarray(picture.convert("RGB")))


def test_cmyk_jpeg():
    content = encoded(noise().convert("CMYK"), "JPEG", quality=95)
    assert np.array_equal(pixels(content), np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "GIF", "TGA", "PCX", "ICO", "SGI", "QOI", "DIB"])
def test_lossless_formats(kind):
    source = Image.fromarray(np.full((16, 16, 3), (1, 2, 3), np.uint8))
    assert (pixels(encoded(source, kind)) == (1, 2, 3)).all()


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF", "JPEG2000"])
def test_lossy_formats(kind):
    content = encoded(noise(), kind)
    assert np.array_equal(pixels(content), np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_first_frame_of_an_animation(kind):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    red, _, blue = pixels(content)[4, 4].tolist()
    assert red > 200
    assert blue < 50


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(noise(), exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))
    once = to_rgb(content)
    assert np.array_equal(np.asarray(once), expected)
    assert np.array_equal(pixels(once), expected)  # an upright picture is not turned again
    assert np.array_equal(pixels(encoded(once)), expected)


def test_broken_exif_does_not_hide_the_pixels():
    assert np.array_equal(pixels(encoded(noise(), exif=b"Exif\x00\x00nonsense")), NOISE)


# What is no picture


def one_line(caught):
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_files_that_are_no_pictures(tmp_path):
    text = tmp_path / "text.png"
    text.write_text("this is no picture\n" * 10)
    empty = tmp_path / "empty.jpg"
    empty.touch()
    for source, words in [
        (text, f"{text} is no picture that can be read here"),
        (empty, "is empty"),
        (b"", "is empty"),
        (tmp_path, "is a folder"),
        ("", "the name of a picture file is empty"),
        ("a\0b.png", "cannot open"),
        ("x" * 5000, "cannot open"),
        ("http://example.org/a.png", "download it first"),
        ("HTTPS://example.org/a.png", "download it first"),
        (io.StringIO("text"), "binary mode"),
    ]:
        with pytest.raises(PictureError, match=words) as caught:
            to_rgb(source)
        assert len(one_line(caught)) < 6000
    with pytest.raises(PictureNotFoundError, match=r"there is no picture file .*missing\.png"):
        to_rgb(tmp_path / "missing.png")
    with pytest.raises(FileNotFoundError):
        to_rgb(str(tmp_path / "missing.png"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(noise()))
    (tmp_path / "a.png").chmod(0)
    with pytest.raises(PictureError, match="Permission denied"):
        to_rgb(tmp_path / "a.png")


def test_an_open_file_that_fails_is_one_line(tmp_path):
    stream = (tmp_path / "a").open("wb")
    with stream, pytest.raises(PictureError, match="an open file cannot be read"):
        to_rgb(stream)


@pytest.mark.parametrize("source", [None, 3, {"path": "a.png"}, [NOISE], torch.nn.Identity(), torch.float32])
def test_types_that_are_no_pictures(source):
    with pytest.raises(PictureError, match="is no picture; give a path"):
        to_rgb(source)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((0, 5), np.uint8), "0x5, expected at least 1x1"),
        (np.zeros((5, 0, 3)), "5x0, expected"),
        (np.zeros((3, 0, 5)), "0x5, expected"),
        (np.zeros(5), "give one at a time"),
        (np.zeros((1, 5, 5, 3)), "give one at a time"),
        (np.zeros((5, 5, 5)), "no axis of 1, 3 or 4 channels"),
        (np.full((5, 5), np.inf), "from 0 to 1"),
        (np.full((5, 5), 256), "from 0 to 255, got 256...256"),
        (np.zeros((5, 5), complex), "complex128"),
        (np.zeros((5, 5), object), "object"),
        (torch.zeros(2, 3, 5, 5), "give one at a time"),
    ],
)
def test_arrays_that_are_no_pictures(array, words):
    with pytest.raises(PictureError, match=words) as caught:
        to_rgb(array)
    one_line(caught)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "QOI"]), st.data())
def test_a_cut_file_is_whole_or_refused(kind, data):
    content = encoded(noise(), kind)
    cut = content[: data.draw(st.integers(0, len(content) - 1))]
    found = pixels_or_none(cut)
    assert found is None or np.array_equal(found, pixels(content))  # else what was cut was no pixel


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "TGA", "PCX", "ICO", "QOI"]), st.data())
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_a_damaged_file_never_ends_in_another_error(kind, data):
    content = bytearray(encoded(noise(), kind))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, min(len(content), 200) - 1))] = data.draw(st.integers(0, 255))
    pixels_or_none(bytes(content), max_pixels=10**6)


# Size


def test_the_header_is_checked_before_anything_is_decoded(tmp_path):
    content = png_header(100_000, 100_000)
    (tmp_path / "bomb.png").write_bytes(content)
    for source in (content, tmp_path / "bomb.png"):
        with pytest.raises(PictureError, match=r"100000x100000 = 10,000,000,000 pixels, allowed are 200,000,000"):
            to_rgb(source)
    assert DEFAULT_MAX_PIXELS == 200_000_000
    with pytest.raises(PictureError, match="24x32 = 768 pixels, allowed are 767"):
        to_rgb(NOISE, max_pixels=767)
    assert np.array_equal(pixels(encoded(noise()), max_pixels=768), NOISE)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "GIF"])
def test_pillows_own_bound_neither_warns_nor_raises(monkeypatch, kind):
    for bound in (500, 100):  # its warning, its error
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", bound)
        content = encoded(noise(), kind)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = pixels_or_none(content)
        assert found is not None or kind != "PNG"  # other readers also check by themselves, and may refuse
        assert bound == Image.MAX_IMAGE_PIXELS


def test_settings_of_pillow_are_left_alone():
    before = (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS, list(warnings.filters))
    to_rgb(encoded(noise(), "TIFF"))
    with pytest.raises(PictureError):
        to_rgb(encoded(noise(), "JPEG")[:300])
    assert (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS, list(warnings.filters)) == before


def test_pictures_from_files_need_no_torch(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(noise()))
    code = (
        "import sys; from clipseg.processing.images import to_rgb; to_rgb(sys.argv[1]); print('torch' in sys.modules)"
    )
    source = Path(sys.modules["clipseg.errors"].__file__).parents[1]
    result = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "a.png"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(source)},
    )
    assert result.stdout == "False\n"


# Masks

DISC = np.add.outer((np.arange(24) - 12) ** 2, (np.arange(32) - 16) ** 2) < 80


def test_every_form_of_one_mask(tmp_path):
    drawn = Image.fromarray(DISC.astype(np.uint8) * 255)
    drawn.save(tmp_path / "mask.png")
    coloured = Image.fromarray(np.where(DISC[..., None], np.uint8([128, 0, 0]), np.uint8([0, 0, 0])))
    cut_out = Image.new("RGBA", (32, 24), (255, 255, 255, 0))
    cut_out.paste((255, 255, 255, 255), mask=drawn)
    indexed = drawn.convert("P")
    sources = [DISC, DISC.astype(np.uint8), DISC.astype(np.uint8) * 255, DISC.astype(np.float32), DISC * 0.9]
    sources += [DISC.astype(np.int64), DISC[None], DISC[..., None], DISC.astype(np.uint16) * 65535]
    sources += [(DISC.astype(np.uint16) * 65535).astype(">u2")]
    sources += [torch.from_numpy(DISC), torch.from_numpy(DISC).float()[None], torch.from_numpy(DISC).long()]
    sources += [drawn, drawn.convert("1"), drawn.convert("RGB"), coloured, cut_out, indexed]
    sources += [Image.fromarray(DISC.astype(np.uint8)), tmp_path / "mask.png", encoded(drawn)]
    for source in sources:
        found = to_mask(source, (24, 32))
        assert found.dtype == bool
        assert np.array_equal(found, DISC)


def test_half_of_the_range():
    assert to_mask(np.array([[0.5, 0.51]]), (1, 2)).tolist() == [[False, True]]
    assert to_mask(np.array([[127, 128]], np.uint8), (1, 2)).tolist() == [[False, True]]
    assert not to_mask(np.zeros((2, 2), np.uint8), (2, 2)).any()


def test_a_mask_of_another_size():
    with pytest.raises(PromptError) as caught:
        to_mask(np.zeros((480, 640), bool), (512, 512))
    assert str(caught.value) == (
        "mask is 480x640 but its picture is 512x512; an image prompt needs a mask of its picture's own size"
    )
    with pytest.raises(PromptError, match="mask is 24x32x3 but"):
        to_mask(NOISE, (24, 32))
    with pytest.raises(PromptError, match="mask is 32x24 but"):
        to_mask(Image.new("L", (24, 32)), (24, 32))


@pytest.mark.parametrize(
    "mask", [np.full((2, 2), np.nan), np.full((2, 2), 1.5), np.full((2, 2), -1), np.full((2, 2), 256)]
)
def test_values_that_are_no_mask(mask):
    with pytest.raises(PromptError, match="has values from 0 to"):
        to_mask(mask, (2, 2))


def test_masks_that_cannot_be_read(tmp_path):
    with pytest.raises(PromptError, match="complex128"):
        to_mask(np.zeros((2, 2), complex), (2, 2))
    with pytest.raises(PictureNotFoundError):
        to_mask(tmp_path / "none.png", (2, 2))
    with pytest.raises(PictureError, match="is no picture"):
        to_mask(None, (2, 2))


@pytest.mark.parametrize("value", range(1, 9))
def test_the_size_of_an_upright_picture_is_in_its_header(value, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = value
    Image.effect_noise((40, 30), 60).save(tmp_path / "a.jpg", exif=exif)
    picture = to_rgb(tmp_path / "a.jpg")
    assert upright_size(tmp_path / "a.jpg") == (picture.height, picture.width)
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:-30])
    assert upright_size(str(tmp_path / "a.jpg")) == (picture.height, picture.width)
    with pytest.raises(PictureError, match="no picture"):
        upright_size(tmp_path / "b.jpg")
