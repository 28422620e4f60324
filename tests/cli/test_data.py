"""`clipseg data check`: a table or JSON, a sheet, problems by file and line, and the exit code."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

import own_data_files as files
from clipseg.cli.data import check
from clipseg.cli.options import GroupedOption


def test_json(call, folder) -> None:
    files.coco(folder)
    outcome = call("data", "check", ".", "--sheet", "out/sheet.png")
    assert (outcome.code, outcome.err) == (0, "")
    (record,) = outcome.records
    assert (record["kind"], record["samples"], record["pictures"], record["unmarked"]) == ("coco", 4, 3, 1)
    assert record["problems"] == {"count": 0, "first": []}
    with Image.open(record["sheet"]) as sheet:
        assert sheet.width > 900


def test_a_table(call, folder, terminal_out) -> None:
    files.csv(folder)
    outcome = call("data", "check", "data.csv", "--split", "train", "--limit", "1")
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines()[0].split() == ["what", "found"]
    assert "1 of them read" in outcome.out
    assert call("data", "check", "data.csv", "--json").records[0]["samples"] == 5


def test_problems_are_told_by_file_and_line(call, folder) -> None:
    files.csv(folder)
    with Path("data.csv").open("a") as table:
        table.write("images/lost.jpg,masks/cat_1_cat.png,cat\n" * 30)
    outcome = call("data", "check", ".")
    assert outcome.code == 0
    lines = outcome.err.splitlines()
    assert len(lines) == 21
    assert lines[0].startswith("data.csv:7: there is no picture 'images/lost.jpg'")
    assert "further problems" in lines[-1]
    (record,) = outcome.records
    assert (record["samples"], record["problems"]["count"], len(record["problems"]["first"])) == (5, 30, 20)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere"], 8, "there is no folder or file nowhere"),
        (["."], 8, "looked for data.yaml"),
        ([".", "--limit", "0"], 2, "--limit"),
        (["set", "--split", "tset"], 8, "there is no split 'tset'"),
        (["set", "--tokenizer", "nowhere/at-all"], 6, "nowhere/at-all"),
    ],
)
def test_refused(call, folder, monkeypatch, arguments, code, message) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    files.coco(folder / "set")
    outcome = call("data", "check", *arguments)
    assert outcome.code == code
    assert message in outcome.error


def test_nothing_usable(call, folder) -> None:
    files.coco(folder)
    for path in Path("images").iterdir():
        path.write_bytes(b"")
    outcome = call("data", "check", ".")
    assert outcome.code == 8
    assert outcome.out == ""
    assert "none of 4 samples can be read" in outcome.err


def test_options_are_those_of_the_library(call, folder) -> None:
    files.write_pictures(folder / "pictures", "cat_1")
    files.save_mask(folder / "set" / "cat.png", files.TRUTH["cat_1", "cat"])
    files.write_text(folder / "set" / "data.jsonl", '{"image": "cat_1.jpg", "mask": "cat.png"}\n')
    outcome = call("data", "check", "set", "--images", "pictures", "--phrase", "a cat", "--mask-value", "254")
    assert outcome.records[0]["phrases"] == {"count": 1, "most": {"a cat": 1}}
    assert outcome.records[0]["shares"]["empty"] == 1
    files.prompts(folder / "medical")
    assert call("data", "check", "medical", "--wording", "p1").records[0]["phrases"]["most"] == {"cat": 2, "red cup": 2}


def test_the_page_has_every_option_and_field(call, folder) -> None:
    page = (Path(__file__).parents[2] / "docs" / "commands.md").read_text(encoding="utf-8")
    page = page.split("## Data sets: `data`")[1].split("\n## ")[0]
    for one in check.params:
        if isinstance(one, GroupedOption):
            assert f"`{one.opts[0]}" in page, one.opts
    (record,) = call("data", "check", files.coco(folder)).records
    for field in record.keys() - {"sheet"}:
        assert f"`{field}`" in page, field
