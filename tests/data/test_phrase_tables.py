"""Tables of pictures, masks and phrases: every spelling that is read, and every row that is not."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import own_data_files as files
from clipseg.data.own import open_data
from clipseg.data.phrase_tables import TableRow, is_table, table_rows
from clipseg.data.problems import Problems
from clipseg.errors import DataError
from clipseg.formats.classes import one_line


def written(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def read(path: Path) -> tuple[list[TableRow], list[tuple[int | None, str]]]:
    problems = Problems()
    return list(table_rows(path, problems)), [(problem.line, problem.message) for problem in problems]


@pytest.mark.parametrize(
    "text",
    [
        "image,mask,phrase\na.jpg,a.png,a cat\n",
        "\ufeffImage;Mask;Prompt\r\na.jpg;a.png;a cat\r\n",
        "text\tnote\tmask_path\timg_name\n a  cat \t-\ta.png\ta.jpg",
        '"image","mask","phrase"\n\n"a.jpg","a.png","a cat"',
        "image,mask,phrase,phrase2\na.jpg,a.png,a cat,a dog",
        "image,mask,phrase\ra.jpg,a.png,a cat\r",
    ],
)
def test_csv(tmp_path: Path, text: str) -> None:
    rows, problems = read(written(tmp_path / "a.csv", text))
    assert [(row.image, row.mask, row.phrases, row.split) for row in rows] == [
        ("a.jpg", "a.png", {"": ("a cat",)}, None)
    ]
    assert rows[0].line == (3 if "\n\n" in text else 2)
    assert not problems
    assert is_table(tmp_path / "a.csv")


def test_csv_problems(tmp_path: Path) -> None:
    text = 'image,mask,phrase,split\na.jpg,a.png,"two\nlines",val\na.jpg,a.png\n\n ,a.png,cat,\nb.jpg,,cat,train\n'
    rows, problems = read(written(tmp_path / "a.csv", text))
    assert rows == [
        TableRow(2, "a.jpg", "a.png", {"": ("two lines",)}, "val"),
        TableRow(7, "b.jpg", "", {"": ("cat",)}, "train"),
    ]
    assert problems == [
        (4, "expected 4 cells as in the header, got 2"),
        (6, "expected the name of a file as its image"),
    ]


def test_what_is_no_csv(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"a\.csv:1: expected a header with the columns image, mask, phrase, split; got"
    ):
        read(written(tmp_path / "a.csv", "file,name\na.jpg,cat\n"))
    assert not is_table(tmp_path / "a.csv")
    with pytest.raises(DataError, match=r"a\.csv:3: no CSV from here on"):
        read(written(tmp_path / "a.csv", 'image,mask,phrase\na,b,c\na,b,"say "hello""\nd,e,f\n'))
    with pytest.raises(DataError, match=r"a\.csv:1: expected a header"):
        read(written(tmp_path / "a.csv", ""))


def test_a_table_with_other_columns_is_told_of_beside_masks_that_nothing_names(tmp_path: Path) -> None:
    path = files.csv(tmp_path) / "data.csv"
    path.write_text(path.read_text().replace("image,mask", "left,right"))
    with pytest.raises(DataError, match=rf"^{path}:1: expected a header with .* got 'left,right,phrase'"):
        open_data(tmp_path)
    files.folders(tmp_path)
    assert open_data(tmp_path).kind == "folder"
    path = files.prompts(tmp_path / "medical") / "anns" / "test.json"
    for other in ("train", "val"):
        path.with_name(f"{other}.json").unlink()
    path.write_text(path.read_text().replace('"img_name"', '"left"'))
    with pytest.raises(DataError, match=rf"^{path}:2: expected the name of a file as its image"):
        open_data(tmp_path / "medical")


def test_json(tmp_path: Path) -> None:
    content: list[Any] = [
        {"img_name": "a.jpg", "mask_name": "a.png", "prompts": {"p0": "", "p1": "polyp", "p2": ["one", "two"]}},
        {"Image": "b.jpg", "mask": None, "text": "cat", "split": "valid"},
        {"image": "c.jpg", "mask": "c.png", "phrase": ["a cat", "the pet"]},
        {"image": "d.jpg", "mask": "d.png", "phrase": 7},
        {"image": ["e.jpg"], "mask": "e.png", "phrase": "cat"},
        {"image": "f.jpg", "phrase": "cat"},
        {"mask": "g.png", "phrase": "cat"},
        "h.jpg",
        {"image": "i.jpg", "mask": "i.png"},
    ]
    rows = [
        TableRow(1, "a.jpg", "a.png", {"p0": ("",), "p1": ("polyp",), "p2": ("one", "two")}, None),
        TableRow(2, "b.jpg", "", {"": ("cat",)}, "valid"),
        TableRow(3, "c.jpg", "c.png", {"": ("a cat", "the pet")}, None),
        TableRow(9, "i.jpg", "i.png", {"": ()}, None),
    ]
    lines = "\n".join(map(json.dumps, content))
    for path in (
        written(tmp_path / "a.jsonl", lines),
        written(tmp_path / "a.json", f"[{lines.replace(chr(10), f',{chr(10)}')}]"),
    ):
        found, problems = read(path)
        assert found == rows
        assert problems == [
            (4, "expected a phrase, a list of phrases or an object of them; got 7"),
            (5, "expected the name of a file as its image"),
            (6, "has no mask; an empty one says that the phrase is not in the picture"),
            (7, "expected the name of a file as its image"),
            (8, 'expected an object, got "h.jpg"'),
        ]
        assert is_table(path)
    assert not is_table(written(tmp_path / "b.json", '[{"name": "cat"}]'))
    assert not is_table(written(tmp_path / "b.json", "[{"))
    assert not is_table(written(tmp_path / "b.txt", "image,mask,phrase"))


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=20)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(CELLS, CELLS), max_size=5), st.sampled_from(",;\t"), st.sampled_from(["\n", "\r\n"]))
def test_any_phrase_comes_back(tmp_path: Path, cells: list[tuple[str, str]], delimiter: str, end: str) -> None:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=delimiter, lineterminator=end)
    writer.writerow(["image", "mask", "phrase"])
    for name, phrase in cells:
        writer.writerow([f"{name}.jpg", "a.png", phrase])
    content = [{"image": f"{name}.jpg", "mask": "a.png", "phrase": phrase} for name, phrase in cells]
    wanted = [(f"{name}.jpg".strip(), {"": (one_line(phrase),)}) for name, phrase in cells]
    for path in (
        written(tmp_path / "a.csv", stream.getvalue()),
        written(tmp_path / "a.jsonl", "".join(f"{json.dumps(row)}\n" for row in content)),
        written(tmp_path / "a.json", json.dumps(content, indent=1)),
    ):
        rows, problems = read(path)
        assert [(row.image, row.phrases) for row in rows] == wanted
        assert not problems


def test_which_wording_asks(tmp_path: Path) -> None:
    files.prompts(tmp_path)

    def asked(wording: str, **options: Any) -> set[str | None]:
        data = open_data(tmp_path, "train", wording=wording, **options)
        return {data.draw(1, np.random.default_rng(seed)).phrase for seed in range(30)}

    assert asked("random") == {"cat", "one cat", "a cat", "a cat in a picture"}
    assert asked("p1") == {"cat"}
    assert asked("p2") == {"one cat", "a cat"}
    assert asked("p0", visual=True) == {None}
    with pytest.raises(DataError, match=r"test\.json:2: its prompt 'p0' is empty, so nothing asks"):
        open_data(tmp_path, wording="p0", on_problem="raise")
    with pytest.raises(DataError, match=r"has no prompt 'p9'; it has p0, p1, p2, p3"):
        open_data(tmp_path, wording="p9", on_problem="raise")


def test_rows_that_cannot_be_used(tmp_path: Path) -> None:
    files.csv(tmp_path)
    text = (tmp_path / "data.csv").read_text()
    rows = [
        "images/none.jpg,masks/cat_1_cat.png,cat",
        "images/cat_1.jpg,masks/none.png,cat",
        "images/cat_1.jpg,masks/cup_3_red_cup.png,cat",
        "images/cat_1.jpg,masks/cat_1_cat.png,",
        "data.csv,masks/cat_1_cat.png,cat",
        "images\\cat_1.jpg,masks\\cat_1_cat.png,a cat",
    ]
    (tmp_path / "data.csv").write_text(text + "\n".join(rows))
    data = open_data(tmp_path)
    assert len(data) == 6
    messages = [(problem.line, problem.message) for problem in data.problems]
    assert [line for line, _ in messages] == [7, 8, 9, 10, 11]
    for (_, message), expected in zip(
        messages,
        (
            "no picture 'images/none.jpg' in",
            "no mask 'masks/none.png' in",
            "is 40x30 but its picture 30x40",
            "no phrase",
            "",
        ),
        strict=True,
    ):
        assert expected in message
    assert "no picture that can be read" in messages[4][1]
    assert len(open_data(tmp_path, phrase="a thing")) == 7
