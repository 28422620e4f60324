"""What a run has found, read back."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import made_runs
from clipseg.batch.reading import Counts, Run
from clipseg.errors import DataError, PictureNotFoundError
from made_runs import SHELF, SIZE_HW


@pytest.fixture
def out(tmp_path: Path) -> Path:
    made_runs.run(tmp_path / "out", made_runs.pictures(tmp_path / "shelf"), heatmap=True)
    return tmp_path / "out"


def test_pictures_come_in_order_with_what_was_found(out: Path) -> None:
    pictures = list(Run(out).pictures())
    assert [picture.id for picture in pictures] == sorted(SHELF)
    assert [picture.number for picture in pictures] == [1, 2, 3, 4, 5]
    for picture in pictures:
        inside = SHELF[picture.id]
        if inside is None:
            assert (picture.size_hw, picture.found) == (None, ())
            assert picture.error == f"PictureError: {picture.id} is no picture"
            continue
        assert (picture.size_hw, picture.error) == (SIZE_HW, None)
        assert [found.label for found in picture.found] == list(inside)
        for found in picture.found:
            mask = inside[found.label]
            assert (found.mask() == mask).all()
            assert found.area == mask.sum()
            assert found.prompt_id == f"id of {found.label}"
            assert 0.9 < found.presence <= 1 or found.area == 0
            x, y, width, height = map(int, found.bbox_xywh)
            rest = mask.copy()
            rest[y : y + height, x : x + width] = False
            assert not rest.any()
            assert (found.score > 0.9) == bool(found.area)


def test_what_is_not_asked_for_is_not_read(out: Path) -> None:
    assert all(picture.found == () for picture in Run(out).pictures(masks=False))
    assert [picture.size_hw for picture in Run(out).pictures(masks=False)].count(SIZE_HW) == 4
    assert all(found.heatmap is None for picture in Run(out).pictures() for found in picture.found)
    found = next(Run(out).pictures(heatmaps=True)).found[0]
    with Image.open(io.BytesIO(found.heatmap or b"")) as levels:
        assert ((np.array(levels) > 127) == found.mask()).all()


def test_some_of_them(out: Path) -> None:
    run = Run(out)
    everything = {picture.number: picture for picture in run.pictures()}
    assert list(run.some([5, 1, 4, 5])) == [everything[number] for number in (1, 4, 5)]
    assert list(run.ids()) == sorted(SHELF)


def test_a_run_s_own_folder_will_do(out: Path) -> None:
    (inner,) = out.iterdir()
    assert list(Run(inner).pictures()) == list(Run(out).pictures())


def test_counts(tmp_path: Path) -> None:
    folder = made_runs.pictures(tmp_path / "shelf")
    made_runs.run(tmp_path / "whole", folder)
    made_runs.run(tmp_path / "begun", folder, parts=1)
    made_runs.run(tmp_path / "bare", folder, parts=0)
    assert [Run(tmp_path / name).counts() for name in ("whole", "begun", "bare")] == [
        Counts(4, 1, 0),
        Counts(2, 0, 3),
        Counts(0, 0, 5),
    ]
    assert [Run(tmp_path / name).finished for name in ("whole", "begun")] == [True, False]
    assert [picture.number for picture in Run(tmp_path / "begun").pictures()] == [1, 2]


def test_parts_that_come_later_are_not_read(tmp_path: Path) -> None:
    made = made_runs.run(tmp_path / "out", made_runs.pictures(tmp_path / "shelf"))
    last = made.storage.folder / made.part_name(2)
    content = last.read_bytes()
    last.unlink()
    run = Run(tmp_path / "out")
    last.write_bytes(content)
    assert (len(list(run.pictures())), len(list(run.ids())), run.counts().missing) == (4, 4, 1)


def test_labels_of_pictures_with_prompts_of_their_own(tmp_path: Path) -> None:
    shelf = dict(SHELF)
    shelf["a/two.png"] = {"wood": np.ones(SIZE_HW, bool)}
    folder = made_runs.pictures(tmp_path / "shelf", shelf)
    made_runs.run(tmp_path / "out", folder, shelf, own={"a/two.png": ["wood"]})
    assert Run(tmp_path / "out").labels == ("a cat", "the dog", "wood")


def test_content_is_that_of_the_file(out: Path, tmp_path: Path) -> None:
    run = Run(out)
    first = next(run.pictures())
    assert run.content(first) == (tmp_path / "shelf" / first.id).read_bytes()
    (tmp_path / "shelf" / first.id).unlink()
    with pytest.raises(PictureNotFoundError):
        run.content(first)


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no run"):
        Run(tmp_path)
