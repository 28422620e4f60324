"""Names of files and folders that say what masks show."""

from __future__ import annotations

from pathlib import Path

import pytest

import own_data_files as files
from clipseg.data.folder import is_layout
from clipseg.data.own import open_data

CAT = files.TRUTH["cat_1", "cat"]


def lay(root: Path, picture: str, mask: str) -> None:
    (root / picture).parent.mkdir(parents=True, exist_ok=True)
    files.picture("cat_1").save(root / picture)
    files.save_mask(root / mask, CAT)


@pytest.mark.parametrize(
    ("picture", "mask", "thing", "splits"),
    [
        ("images/x.jpg", "masks/red_cup/x.png", "red cup", ()),
        ("imgs/x.jpg", "mask/red-cup/x_mask.png", "red cup", ()),
        ("images/x.jpg", "masks/x.red-cup.png", "red cup", ()),
        ("images/x.2.jpg", "masks/x.2.png", "no name", ()),
        ("images/red_cup_03.jpg", "masks/red_cup_03.png", "red cup", ()),
        ("images/cup12.jpg", "masks/cup12.png", "cup", ()),
        ("images/cup/x.jpg", "masks/cup/x.png", "cup", ()),
        ("images/train/x.jpg", "masks/train/cup/x.png", "cup", ("train",)),
        ("images/valid/cup_1.jpg", "masks/valid/cup_1.png", "cup", ("val",)),
        ("images/x.jpg", "masks/train/cup/x.png", "cup", ("train",)),
        ("x.jpg", "x.red-cup.mask.png", "red cup", ()),
        ("cup_1.jpg", "cup_1-masklabel.png", "cup", ()),
        ("IMG_0123.jpg", "IMG_0123_mask.png", "no name", ()),
        ("images/x.jpg", "masks/x.png", "no name", ()),
        ("images/07.jpg", "masks/07.png", "no name", ()),
    ],
)
def test_what_a_mask_shows(tmp_path: Path, picture: str, mask: str, thing: str, splits: tuple[str, ...]) -> None:
    lay(tmp_path, picture, mask)
    assert is_layout(tmp_path)
    data = open_data(tmp_path, phrase="no name" if thing == "no name" else None)
    assert [(entry.thing, entry.splits) for entry in data.entries] == [(thing, splits)]
    assert (data[0].mask == CAT).all()


def test_problems(tmp_path: Path) -> None:
    lay(tmp_path, "images/cat_1.jpg", "masks/cat_1.png")
    lay(tmp_path, "images/IMG_2.jpg", "masks/IMG_2.png")
    files.save_mask(tmp_path / "masks" / "cat" / "lost.png", CAT)
    files.save_mask(tmp_path / "masks" / "dog" / "cat_1.png", CAT.T)
    (tmp_path / "masks" / "dog" / "IMG_2.png").write_bytes(b"")
    data = open_data(tmp_path)
    assert {entry.thing for entry in data.entries} == {"cat"}
    told = {str(problem.path.relative_to(tmp_path / "masks")): problem.message for problem in data.problems}
    assert told.keys() == {"IMG_2.png", "cat/lost.png", "dog/cat_1.png", "dog/IMG_2.png"}
    for name, message in {
        "IMG_2.png": "give phrase=",
        "cat/lost.png": "no picture of this mask's name",
        "dog/cat_1.png": "is 40x30 but its picture 30x40; the picture is turned",
        "dog/IMG_2.png": "is empty (0 bytes)",
    }.items():
        assert message in told[name]
    assert data.unmarked == 1  # IMG_2


def test_no_layout(tmp_path: Path) -> None:
    files.write_pictures(tmp_path / "images")
    assert not is_layout(tmp_path)
    assert not is_layout(tmp_path / "nowhere")
