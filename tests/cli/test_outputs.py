"""Folders proven writable, and names that do not collide."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipseg.cli.outputs import output_folder, unique_stems
from clipseg.errors import OutputError


def test_an_unused_folder_is_gone_again(tmp_path: Path) -> None:
    with output_folder(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()
    assert os.listdir(tmp_path) == []


def test_also_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), output_folder(tmp_path / "a"):
        1 / 0  # noqa: B018
    assert os.listdir(tmp_path) == []


def test_a_used_folder_stays(tmp_path: Path) -> None:
    with output_folder(tmp_path / "a" / "b"):
        (tmp_path / "a" / "file").touch()
    assert os.listdir(tmp_path / "a") == ["file"]


def test_a_folder_that_was_there_stays(tmp_path: Path) -> None:
    with output_folder(tmp_path):
        assert os.listdir(tmp_path) == []
    assert tmp_path.is_dir()


def test_a_file_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is no folder that can be written into"), output_folder(tmp_path / "file"):
        pytest.fail("the block began")


def test_stems() -> None:
    paths = ["x/cat.png", "y/cat.jpg", "Cat.png", "cat-2.png", "dog.tar.png"]
    assert unique_stems(paths) == ["cat", "cat-2", "Cat-3", "cat-2-2", "dog.tar"]


names = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1).map(
    lambda n: f"{n}.png"
)


@given(st.lists(names | st.sampled_from(["a.png", "A.png", "a-2.png"])))
def test_stems_differ_and_fit(paths: list[str]) -> None:
    stems = unique_stems(paths)
    assert len(stems) == len(paths)
    assert len({stem.casefold() for stem in stems}) == len(stems)
    assert all(0 < len(stem.encode()) <= 160 for stem in stems)
