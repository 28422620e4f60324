"""Files, folders, patterns, lists and standard input."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from clipseg.cli.inputs import Picture, find_pictures
from clipseg.errors import PictureNotFoundError, UsageError


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def found(*arguments: str, recursive: bool = False, listed: str | None = None) -> list[tuple[str, str]]:
    pictures = find_pictures(arguments, recursive=recursive, listed=listed)
    return [(picture.path, picture.below.as_posix()) for picture in pictures]


def test_files_in_the_order_given_and_each_once(folder) -> None:
    touch("b.png", "a.weird", "x/b.png")
    assert found("b.png", "a.weird", "./b.png", "x/b.png") == [("b.png", "."), ("a.weird", "."), ("x/b.png", ".")]


def test_a_folder(folder) -> None:
    touch("in/b.png", "in/a.JPG", "in/.hidden.png", "in/notes.txt", "in/deep/c.webp", "in/a.cat.mask.png")
    touch("in/a.overlay.png", "in/a.cup.3.mask.png", "in/.git/x.png")
    assert found("in") == [("in/a.JPG", "."), ("in/b.png", ".")]
    assert found("in", recursive=True) == [("in/a.JPG", "."), ("in/b.png", "."), ("in/deep/c.webp", "deep")]
    touch("here.png")
    assert found(".") == [("here.png", ".")]
    assert found("in/a.cat.mask.png") == [("in/a.cat.mask.png", ".")]  # when it is named


def test_patterns(folder) -> None:
    touch("in/a.png", "in/b.png", "in/deep/c.png", "odd[1].png", "in/deep/d.txt")
    assert found("in/*.png") == [("in/a.png", "."), ("in/b.png", ".")]
    assert found("in/**/?.png") == [("in/a.png", "."), ("in/b.png", "."), ("in/deep/c.png", ".")]
    assert found("odd[1].png") == [("odd[1].png", ".")]


def stdin(monkeypatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))


@pytest.mark.parametrize("content", [b"a.png\n\nmissing.png\r\n", b"a.png\0missing.png\0"])
def test_lists(folder, monkeypatch, content) -> None:
    touch("a.png", "z.png")
    stdin(monkeypatch, content)
    expected = [("a.png", "."), ("missing.png", ".")]  # which is found out when its turn comes
    assert found(listed="-") == expected
    Path("list.txt").write_bytes(content)
    assert found("z.png", listed="list.txt") == [("z.png", "."), *expected]


def test_standard_input(monkeypatch) -> None:
    stdin(monkeypatch, b"pixels")
    (picture,) = find_pictures(["-"], recursive=False, listed=None)
    assert (picture.stem, picture.name, picture.source()) == ("stdin", "stdin.png", b"pixels")
    for arguments, listed in ((["-", "a.png"], None), (["-"], "-"), (["-"], "list.txt")):
        with pytest.raises(UsageError, match="worked on alone"):
            find_pictures(arguments, recursive=False, listed=listed)


def test_names() -> None:
    assert Picture("in/deep/a.b.png", Path("deep")).name == "deep/a.b.png"
    assert Picture("in/deep/a.b.png").stem == "a.b"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["nowhere.png"], PictureNotFoundError, "there is no picture file nowhere.png"),
        (["empty"], PictureNotFoundError, "with --recursive its folders are searched as well"),
        (["*.jpg"], PictureNotFoundError, "no file matches '*.jpg'"),
        (["https://example.org/cat.png"], PictureNotFoundError, "download it first"),
        ([], UsageError, "no picture given"),
    ],
)
def test_refused(folder, arguments, error, message) -> None:
    touch("empty/deep/a.png", "bare/x.txt")
    with pytest.raises(error) as caught:
        found(*arguments)
    assert message in str(caught.value)
    with pytest.raises(PictureNotFoundError, match=r"no pictures in it$"):
        found("bare", recursive=True)
    with pytest.raises(UsageError, match=r"--from-file nowhere.txt cannot be read"):
        found(listed="nowhere.txt")
