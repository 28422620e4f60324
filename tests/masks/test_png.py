import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image

from clipseg.errors import OutputError, UsageError
from clipseg.masks.png import binary_png, save_binary, save_picture


@pytest.mark.parametrize("kind", [torch.from_numpy, np.asarray])
def test_a_binary_mask_comes_back_from_its_file(kind: type, tmp_path: Path) -> None:
    mask = np.random.default_rng(0).random((5, 7)) > 0.5
    save_binary(tmp_path / "new" / "folder" / "mask.png", kind(mask))
    with Image.open(tmp_path / "new" / "folder" / "mask.png") as image:
        assert (image.format, image.mode, image.size) == ("PNG", "L", (7, 5))
        assert np.array_equal(np.array(image), mask * 255)


@settings(max_examples=40, deadline=None)
@given(arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 40))), st.booleans())
def test_the_bytes_are_a_png_that_pillow_reads_and_checks(mask: NDArray[np.bool_], flipped: bool) -> None:
    mask = mask[::-1] if flipped else mask
    data = binary_png(mask)
    with Image.open(io.BytesIO(data)) as image:
        image.verify()
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.mode) == ("PNG", "L")
        assert np.array_equal(np.array(image), mask * 255)


@pytest.mark.parametrize("wrong", [torch.zeros(3, 4), torch.zeros(1, 3, 4, dtype=torch.bool)])
def test_only_a_plain_binary_mask_is_written(wrong: torch.Tensor, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\(H, W\) bool; got"):
        save_binary(tmp_path / "mask.png", wrong)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("suffix", "file_format"), [(".png", "PNG"), (".JPG", "JPEG"), (".webp", "WEBP")])
def test_the_suffix_chooses_the_format(suffix: str, file_format: str, tmp_path: Path) -> None:
    save_picture(str(tmp_path / f"picture{suffix}"), Image.new("RGB", (8, 6), (200, 10, 10)))
    with Image.open(tmp_path / f"picture{suffix}") as image:
        assert (image.format, image.size) == (file_format, (8, 6))


@pytest.mark.parametrize("name", ["picture", "picture.txt", ""])
def test_a_suffix_that_is_no_format_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"try \.png"):
        save_picture(tmp_path / name, Image.new("RGB", (2, 2)))


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(b"old")
    with pytest.raises(OutputError, match="RGBA"):
        save_picture(path, Image.new("RGBA", (2, 2)))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_older_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    save_binary(path, torch.zeros(3, 3, dtype=torch.bool))
    save_binary(path, torch.ones(3, 3, dtype=torch.bool))
    with Image.open(path) as image:
        assert image.getextrema() == (255, 255)
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_in_place_of_the_folder_and_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    for path in (tmp_path / "file" / "mask.png", tmp_path / "folder.png", tmp_path / "nul\0.png", Path("/")):
        with pytest.raises(OutputError, match="cannot be written"):
            save_binary(path, torch.ones(2, 2, dtype=torch.bool))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder.png"]


@pytest.mark.skipif(os.name != "posix", reason="permission bits are a POSIX notion")
def test_others_may_read_the_file_where_the_umask_lets_them(tmp_path: Path) -> None:
    save_binary(tmp_path / "mask.png", torch.ones(2, 2, dtype=torch.bool))
    (tmp_path / "plain").touch()
    assert (tmp_path / "mask.png").stat().st_mode == (tmp_path / "plain").stat().st_mode
