"""Where pictures come from: each kind of source, and what each item is called."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import ready
from clipseg.batch.items import Item, fetched, open_item
from clipseg.batch.manifest import manifest_of
from clipseg.batch.sources import absolute, find_items
from clipseg.errors import DataError, PictureError, UsageError
from small_batches import pictures, rows, small_run


def ids(*sources: object) -> list[str]:
    return sorted(item.id for item in find_items([absolute(str(one)) for one in sources]))


def png(number: int = 0) -> bytes:
    sink = io.BytesIO()
    ready.picture(number).save(sink, "PNG")
    return sink.getvalue()


def tar_of(path: Path, names: list[str]) -> Path:
    with tarfile.open(path, "w") as tar:
        for number, name in enumerate(names):
            content = png(number) if name.endswith(".png") else b"{}"
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_a_folder_and_those_in_it(tmp_path):
    pictures(tmp_path, 4)
    for name in ("notes.txt", ".hidden.png", ".cache/000.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(png())
    assert ids(tmp_path) == ["000.png", "001.png", "003.png", "more/002.png"]
    assert {item.uri for item in find_items([str(tmp_path)])} >= {str(tmp_path / "more" / "002.png")}


def test_a_pattern_a_file_and_several_sources(tmp_path):
    pictures(tmp_path / "a", 4)
    pictures(tmp_path / "b", 1)
    assert ids(tmp_path / "a" / "**" / "*2.png") == ["more/002.png"]
    assert ids(tmp_path / "*" / "000.png") == ["a/000.png", "b/000.png"]
    assert ids(tmp_path / "b" / "000.png") == ["000.png"]
    assert ids(tmp_path / "a" / "0*.png", tmp_path / "b") == ["a/000.png", "a/001.png", "a/003.png", "b/000.png"]


def test_a_relative_source_is_the_same_from_anywhere(tmp_path, monkeypatch):
    pictures(tmp_path / "in", 1)
    monkeypatch.chdir(tmp_path)
    source = absolute("in")
    monkeypatch.chdir("/")
    assert [item.uri for item in find_items([source])] == [str(tmp_path / "in" / "000.png")]


@pytest.fixture
def table(tmp_path):
    """Three pictures, of which the second asks something of its own."""
    pictures(tmp_path, 3)
    return {
        "id": ["first", "second", "third"],
        "uri": ["000.png", str(tmp_path / "001.png"), "more/002.png"],
        "prompts": [None, ["a glass", "a jar AND NOT wood"], None],
    }


def csv(path: Path, table: dict) -> None:
    lines = [f"{a},{b},{'|'.join(c or [])}" for a, b, c in zip(*table.values(), strict=True)]
    path.write_text("\n".join(["id,uri,prompts", *lines]))


def jsonl(path: Path, table: dict) -> None:
    rows = (dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True))
    path.write_text("\n".join(json.dumps(row) for row in rows))


def parquet(path: Path, table: dict) -> None:
    pq.write_table(pa.table(table), path)


@pytest.mark.parametrize(("suffix", "write"), [("csv", csv), ("jsonl", jsonl), ("parquet", parquet)])
def test_a_table_whose_pictures_may_ask_something_of_their_own(model, tmp_path, table, suffix, write):
    path = tmp_path / f"pictures.{suffix}"
    write(path, table)
    outcome = small_run(path, tmp_path / "out", model, ["a cat"])
    assert outcome.finished
    found = {row["id"]: row for row in rows(tmp_path / "out").to_pylist()}
    assert [row["status"] for row in found.values()] == ["ok"] * 3
    assert {key: row["prompt"] for key, row in found.items()} == {
        "first": ["a cat"],
        "second": ["a glass", "a jar AND NOT wood"],
        "third": ["a cat"],
    }
    assert len(found["second"]["area"]) == len(found["second"]["prompt_id"]) == 2
    assert outcome.summary["prompts"]["a cat"]["asked"] == 2


def test_a_prompt_of_its_own_that_cannot_be_read_is_that_pictures_error(model, tmp_path, table):
    table["prompts"] = [["AND AND"], None, None]
    jsonl(tmp_path / "pictures.jsonl", table)
    small_run(tmp_path / "pictures.jsonl", tmp_path / "out", model, ["a cat"])
    first, *others = rows(tmp_path / "out").to_pylist()
    assert first["error"].startswith("PromptError: ")
    assert [row["status"] for row in others] == ["ok", "ok"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("id,size\na,3\n", "no column of pictures; expected one of uri, path"),
        ("uri\n\n", "holds no pictures|expected the path or URL"),
        ("uri,id\na.png,1\nb.png,1\n", "two pictures have the id '1'"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, text, told):
    (tmp_path / "pictures.csv").write_text(text)
    with pytest.raises(DataError, match=told):
        manifest_of(find_items([str(tmp_path / "pictures.csv")]))


def test_tar_files_as_webdataset_has_them(model, tmp_path):
    for shard in range(2):
        tar_of(tmp_path / f"shard-{shard}.tar", [f"{shard}{n}.{kind}" for n in range(3) for kind in ("png", "json")])
    source = str(tmp_path / "shard-*.tar")
    assert ids(source) == [f"shard-{shard}.tar/{shard}{n}.png" for shard in range(2) for n in range(3)]
    (item, *_) = find_items([source])
    assert item.uri == f"tar://00.png::{tmp_path}/shard-0.tar"
    assert open_item(item.uri, item.offset, item.size) == png(0)
    outcome = small_run(source, tmp_path / "out", model)
    assert (outcome.summary["rows"], outcome.summary["errors"]) == (6, 0)
    (tmp_path / "shard-1.tar").write_bytes(b"")
    with pytest.raises(PictureError, match="of its"):
        open_item(f"tar://10.png::{tmp_path}/shard-1.tar", item.offset, item.size)


def test_tar_files_that_cannot_be_used(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"no tar" * 200)
    with pytest.raises(DataError, match="no whole tar file"):
        ids(tmp_path / "a.tar")
    (tmp_path / "a.tar.gz").write_bytes(b"")
    with pytest.raises(DataError, match="is compressed"):
        ids(tmp_path / "a.tar.gz")


@pytest.fixture
def bucket():
    """A store that is no folder of this machine."""
    files = fsspec.filesystem("memory")
    yield files
    files.rm("/", recursive=True)


def test_pictures_and_results_in_a_store(bucket, model, tmp_path):
    for number in range(5):
        bucket.pipe(f"/bucket/in/{number}.png", png(number))
    bucket.pipe("/bucket/in/broken.png", b"")
    outcome = small_run("memory://bucket/in", "memory://bucket/out", model)
    assert (outcome.finished, outcome.summary["rows"], outcome.summary["errors"]) == (True, 6, 1)
    assert bucket.exists(f"/bucket/out/{outcome.folder.path.rpartition('/')[2]}/_SUCCESS")
    found = rows("memory://bucket/out").to_pylist()
    assert [row["id"] for row in found] == ["0.png", "1.png", "2.png", "3.png", "4.png", "broken.png"]
    assert found[0]["uri"] == "memory:///bucket/in/0.png"
    for number in range(5):
        ready.picture(number).save(tmp_path / f"{number}.png")
    small_run(tmp_path, tmp_path / "out", model)
    assert [row["rle_counts"] for row in found[:5]] == rows(tmp_path / "out").column("rle_counts").to_pylist()
    events = [entry["event"] for entry in outcome.folder.entries()]
    assert events == ["begin", "part", "part", "end"]
    assert small_run("memory://bucket/in", "memory://bucket/out", model).summary == outcome.summary


def test_a_pattern_and_tar_files_in_a_store(bucket, tmp_path):
    bucket.pipe("/bucket/a/1.png", png())
    bucket.pipe("/bucket/a/1.txt", b"")
    bucket.pipe("/bucket/b/2.png", png())
    bucket.pipe("/bucket/s.tar", tar_of(tmp_path / "s.tar", ["x.png", "y.png"]).read_bytes())
    assert ids("memory://bucket/*/*.png") == ["a/1.png", "b/2.png"]
    items = list(find_items(["memory://bucket/s.tar"]))
    assert [item.id for item in items] == ["s.tar/x.png", "s.tar/y.png"]
    assert open_item(*items[1][1:4]) == png(1)
    with pytest.raises(DataError, match="there is nothing at"):
        ids("memory://bucket/none")


@pytest.mark.parametrize("source", ["/no/such/folder", "/no/such/*.png"])
def test_what_is_not_there(source):
    with pytest.raises(DataError, match=r"there is no folder or file|holds no pictures"):
        ids(source)


def test_a_store_that_nothing_opens(tmp_path):
    (tmp_path / "pictures.csv").write_text("uri\nnosuchstore://bucket/a.png\n")
    with pytest.raises(UsageError, match="cannot be opened"):
        manifest_of(find_items([str(tmp_path / "pictures.csv")]))


def test_what_is_fetched_comes_in_order_and_errors_are_values(tmp_path):
    pictures(tmp_path, 6)
    items = [Item(str(n), str(tmp_path / f"{n:03}.png")) for n in range(6)]
    got = list(fetched(items, ahead=2))
    assert [isinstance(one, PictureError) for one in got] == [False, False, True, False, False, True]
    assert [
        one.content == Path(item.uri).read_bytes()
        for one, item in zip(got, items, strict=True)
        if not isinstance(one, PictureError)
    ] == [True] * 4
