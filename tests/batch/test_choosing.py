"""What is held out, what files are called, and what counts as found."""

from __future__ import annotations

from pathlib import PurePosixPath

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipseg.batch.choosing import Choice, Split, path_of, paths_of, stems_of
from clipseg.batch.reading import Found, Picture
from clipseg.errors import UsageError
from clipseg.masks.rle import compressed
from made_masks import blobs, rectangle

NAMES = [f"folder/{number}.jpg" for number in range(2000)]


def picture(mask: np.ndarray, score: float = 0.8, presence: float = 0.7) -> Picture:
    rows, columns = np.nonzero(mask)
    box = (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1) if mask.any() else (0, 0, 0, 0)
    size_hw = (mask.shape[0], mask.shape[1])
    counts = str(compressed(mask)["counts"])
    found = Found("a cat", "id", counts, int(mask.sum()), tuple(map(float, box)), score, presence, size_hw)  # type: ignore[arg-type]
    return Picture(1, "one.jpg", "/one.jpg", size_hw, (found,), None, 1.0)


# What counts


@pytest.mark.parametrize(
    ("choice", "counts"),
    [
        (Choice(), True),
        (Choice(min_score=0.8, min_presence=0.7, min_pixels=12), True),
        (Choice(min_score=0.81), False),
        (Choice(min_presence=0.71), False),
        (Choice(min_pixels=13), False),
    ],
)
def test_what_counts(choice: Choice, counts: bool) -> None:
    one = picture(rectangle((10, 10), (2, 3, 6, 6)))
    assert bool(list(choice.of(one))) == counts
    assert not list(choice.of(picture(np.zeros((10, 10), bool))))


@pytest.mark.parametrize("seed", range(5))
def test_parts_are_the_mask_cut_in_pieces(seed: int) -> None:
    mask = blobs(seed, (50, 70), 2)
    one = picture(mask)
    (whole,) = Choice().regions(one)
    assert (whole.mask == mask).all()
    parts = list(Choice(instances=True).regions(one))
    assert len(parts) > 3
    assert (np.sum([part.mask for part in parts], axis=0) == mask).all()  # each pixel once
    for part in parts:
        x0, y0, x1, y1 = part.box_xyxy
        inner = part.mask[y0:y1, x0:x1]
        assert part.area == part.mask.sum() == inner.sum()
        assert all(side.any() for side in (inner[0], inner[-1], inner[:, 0], inner[:, -1]))
        assert part.score == whole.score
    least = sorted(part.area for part in parts)[2]
    assert [part.area for part in Choice(instances=True, min_pixels=least).regions(one)] == [
        part.area for part in parts if part.area >= least
    ]


@pytest.mark.parametrize("options", [{"min_score": 1.1}, {"min_presence": -0.1}, {"min_pixels": -1}])
def test_choices_out_of_range(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        Choice(**options)  # type: ignore[arg-type]


# What is held out


def test_about_the_share_is_held_out() -> None:
    split = Split(0.2, NAMES)
    held_out = sum(split.of(name) == "val" for name in NAMES)
    assert 330 < held_out < 470  # four standard deviations around 400
    assert Split(0, NAMES).names == ("",)


def test_each_stays_on_its_side() -> None:
    before, after = Split(0.2, NAMES[:500]), Split(0.2, reversed(NAMES))
    assert [before.of(name) for name in NAMES[:500]] == [after.of(name) for name in NAMES[:500]]


@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
@pytest.mark.parametrize("count", [2, 3, 10])
def test_both_sides_have_one(share: float, count: int) -> None:
    split = Split(share, NAMES[:count])
    assert {split.of(name) for name in NAMES[:count]} == {"train", "val"}


def test_a_single_picture_is_trained_on() -> None:
    split = Split(0.999, NAMES[:1])
    assert split.of(NAMES[0]) == "train"


# Names of files


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a/cat.jpg", "a/cat.jpg"),
        ("s3://shop/a/cat.jpg", "s3/shop/a/cat.jpg"),
        ("../../etc/passwd", "etc/passwd"),
        ("/abs/./x//y.png", "abs/x/y.png"),
        ("C:\\pictures\\cat.jpg", "C/pictures/cat.jpg"),
        ("what? <a>:b|c\n.jpg", "what_ _a__b_c_.jpg"),
    ],
)
def test_paths(name: str, path: str) -> None:
    assert path_of(name) == PurePosixPath(path)


@given(st.text())
def test_no_name_leads_out(name: str) -> None:
    try:
        path = path_of(name)
    except UsageError:
        return
    assert not path.is_absolute()
    assert not {"..", ".", ""} & set(path.parts)
    assert "\0" not in str(path)


def test_names_of_nothing() -> None:
    for name in ("", "/", "..", "./..", " "):
        with pytest.raises(UsageError, match="no name that a file could have"):
            path_of(name)


def test_stems() -> None:
    assert list(map(str, stems_of(["a/cat.v2.jpg", "b/cat", "c.d/cat.jpg"]))) == ["a/cat.v2", "b/cat", "c.d/cat"]
    assert list(map(str, stems_of(["a/cat.v2.jpg"], "_"))) == ["a/cat_v2"]
    assert list(map(str, paths_of(["a/cat.jpg", "a/cat.png"]))) == ["a/cat.jpg", "a/cat.png"]
    with pytest.raises(UsageError, match=r"'a/CAT.png' and 'a/cat.jpg' would meet in one file"):
        list(stems_of(["a/cat.jpg", "a/CAT.png"]))
