"""Folders of pictures with masks, in every documented layout."""

from pathlib import Path

import pytest
from PIL import Image

from clipseg.analysis.marked_objects import read_objects
from clipseg.errors import DataError


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (2, 2)).save(path)


def read(folder: Path) -> list[tuple[str, str, str]]:
    return [(one.picture.name, one.mask.name, one.name) for one in read_objects(folder)]


def test_masks_in_a_folder_of_their_own(tmp_path):
    touch(*(tmp_path / "images" / name for name in ("red-jar_03.jpg", "b.jpg", "no_mask.jpg")))
    touch(*(tmp_path / "masks" / name for name in ("red-jar_03.png", "b.oak_table.png", "b.cup.png")))
    assert read(tmp_path) == [
        ("b.jpg", "b.cup.png", "cup"),
        ("b.jpg", "b.oak_table.png", "oak table"),
        ("red-jar_03.jpg", "red-jar_03.png", "red jar"),
    ]


def test_masks_beside_their_pictures(tmp_path):
    touch(*(tmp_path / name for name in ("jar_1.png", "jar_1.mask.png", "b.png", "b.cup.mask.png")))
    assert read(tmp_path) == [("b.png", "b.cup.mask.png", "cup"), ("jar_1.png", "jar_1.mask.png", "jar")]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("names.csv", "file,name\na.png,a jar\na.x.mask.png,lid\n"),
        ("names.json", '{"a.png":"a jar","a.x.mask.png":"lid"}'),
    ],
)
def test_names_in_a_file_come_first_and_the_masks_own_line_before_its_pictures(tmp_path, file, text):
    touch(*(tmp_path / name for name in ("a.png", "a.mask.png", "a.x.mask.png")))
    (tmp_path / file).write_text(text, encoding="utf-8")
    assert [name for _, _, name in read(tmp_path)] == ["a jar", "lid"]


@pytest.mark.parametrize(("file", "text"), [("names.csv", "a.png,a,b\n"), ("names.json", "[1]"), ("names.json", "{")])
def test_names_that_cannot_be_read(tmp_path, file, text):
    touch(tmp_path / "a.png", tmp_path / "a.mask.png")
    (tmp_path / file).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="names"):
        read_objects(tmp_path)


def test_refused(tmp_path):
    with pytest.raises(DataError, match="is no folder"):
        read_objects(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no picture with a mask"):
        read_objects(tmp_path)
    touch(tmp_path / "a.mask.png")
    with pytest.raises(DataError, match="has no picture of its name"):
        read_objects(tmp_path)
