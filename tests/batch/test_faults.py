"""Whatever goes wrong: a row for each picture, every prompt in it, none lost, none twice, and the masks as ever."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import struct
import subprocess
import time
import zlib
from pathlib import Path

import pytest

from clipseg.batch import storage
from clipseg.batch.engine import Engine
from clipseg.batch.local import MOST_DEATHS
from clipseg.batch.run_folder import RunFolder
from clipseg.batch.running import retry
from clipseg.errors import ClipsegError, DataError, OutputError
from small_batches import parts_of, pictures, rows, small_run, started, wait_for


def huge_png() -> bytes:
    """A file of some bytes that says it has 40000 x 40000 pixels."""
    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


# -- pictures --------------------------------------------------------------------------------------------------------


@pytest.fixture
def spoilt(collection, tmp_path):
    """The pictures, and among them some that are none."""
    folder = shutil.copytree(collection, tmp_path / "in")
    (folder / "100.png").write_bytes(b"no picture at all")
    whole = (folder / "000.png").read_bytes()
    (folder / "101.png").write_bytes(whole[: len(whole) // 2])
    (folder / "102.png").touch()
    (folder / "103.png").write_bytes(huge_png())
    (folder / "104.png").symlink_to("104.png")
    os.mkfifo(folder / "105.png")
    return folder


def test_pictures_that_cannot_be_read_are_rows_with_errors(spoilt, model, tmp_path, undisturbed):
    outcome = small_run(spoilt, tmp_path / "out", model, rows_per_part=8)
    assert outcome.finished
    assert (outcome.summary["rows"], outcome.summary["errors"]) == (28, 6)
    assert outcome.summary["error_kinds"] == {"PictureError": 6}
    table = rows(tmp_path / "out").to_pylist()
    told = {row["id"]: row["error"] for row in table if row["status"] == "error"}
    assert "no picture that can be read" in told["100.png"]
    assert "cannot be read whole" in told["101.png"]
    assert "is empty" in told["102.png"]
    assert "1,600,000,000 pixels" in told["103.png"]
    assert "cannot be read" in told["104.png"]
    assert "is no file" in told["105.png"]
    for row in table:
        lists = [row[name] for name in ("prompt", "prompt_id", "rle_counts", "area", "bbox", "score", "presence")]
        assert [None if one is None else len(one) for one in lists] == [None if row["id"] in told else 2] * 7
    masks = {row["id"]: row["rle_counts"] for row in undisturbed.to_pylist()}
    assert {row["id"]: row["rle_counts"] for row in table if row["id"] not in told} == masks


def test_a_picture_that_vanishes_meanwhile(collection, model, tmp_path, undisturbed):
    folder = shutil.copytree(collection, tmp_path / "in")

    def vanish(_progress: object) -> None:
        (folder / "018.png").unlink(missing_ok=True)

    small_run(folder, tmp_path / "out", model, watcher=vanish)
    table = rows(tmp_path / "out").to_pylist()
    (gone,) = (row for row in table if row["status"] == "error")
    assert (gone["id"], gone["error"].partition(":")[0]) == ("018.png", "PictureNotFoundError")
    masks = {row["id"]: row["rle_counts"] for row in undisturbed.to_pylist() if row["id"] != "018.png"}
    assert {row["id"]: row["rle_counts"] for row in table if row is not gone} == masks


def test_what_failed_is_tried_again_and_only_that(collection, model, tmp_path, undisturbed):
    folder = shutil.copytree(collection, tmp_path / "in")
    whole = (folder / "003.png").read_bytes()
    (folder / "003.png").write_bytes(b"half")
    (folder / "016.png").write_bytes(b"")
    small_run(folder, tmp_path / "out", model)
    (folder / "003.png").write_bytes(whole)
    untouched = {path: path.stat().st_mtime_ns for n, path in enumerate(parts_of(tmp_path / "out")) if n not in (0, 2)}
    outcome = retry(tmp_path / "out", Engine())
    assert (outcome.finished, outcome.summary["errors"]) == (True, 1)
    table = {row["id"]: row for row in rows(tmp_path / "out").to_pylist()}
    assert [key for key, row in table.items() if row["status"] == "error"] == ["016.png"]
    assert table["003.png"]["area"] is not None
    assert {path: path.stat().st_mtime_ns for path in untouched} == untouched
    assert list(table) == undisturbed.column("id").to_pylist()


def test_too_many_failures_end_it_and_what_is_done_stays(spoilt, model, tmp_path):
    with pytest.raises(
        DataError, match=r"of 28 pictures could not be done, and allowed are 10\.0%; the last is \S+: \w+"
    ):
        small_run(spoilt, tmp_path / "out", model, max_error_rate=0.1)
    done = len(parts_of(tmp_path / "out"))
    assert done < 7
    assert not list(tmp_path.glob("out/run-*/_SUCCESS"))
    last = RunFolder.find(tmp_path / "out").entries()[-1]
    assert last["event"] == "failed"
    assert last["error"].startswith("DataError: ")
    outcome = small_run(spoilt, tmp_path / "out", model, max_error_rate=0.3)
    assert (outcome.finished, outcome.summary["errors"]) == (True, 6)


# -- processes -------------------------------------------------------------------------------------------------------


def test_a_process_is_killed_and_the_next_goes_on(collection, model, tmp_path, undisturbed):
    with started(collection, tmp_path, model) as process:
        wait_for(lambda: len(parts_of(tmp_path)) >= 2, process)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert small_run(collection, tmp_path, model).finished
    assert rows(tmp_path).equals(undisturbed)


@pytest.mark.slow
def test_a_process_is_killed_twenty_times(model, tmp_path):
    """At any moment: while it lists, while it works, while it writes, and while it ends."""
    folder = pictures(tmp_path / "in", 240)
    with started(folder, tmp_path / "whole", model, rows_per_part=2) as process:  # with threads as those have, below
        assert process.wait(120) == 0
    draw, killed = random.Random(8), 0
    out = tmp_path / "out"
    while killed < 20:
        before = len(parts_of(out))
        assert before < 120, "it is done before it was killed often enough"
        enough = before + draw.randint(0, 9)
        with started(folder, out, model, rows_per_part=2) as process:
            wait_for(lambda enough=enough: len(parts_of(out)) >= enough, process)
            time.sleep(draw.uniform(0, 0.03 if enough > before else 3))
            process.kill()
        killed += process.returncode == -signal.SIGKILL
    outcome = small_run(folder, out, model, rows_per_part=2)
    assert outcome.finished
    assert rows(out).equals(rows(tmp_path / "whole"))
    assert not list(out.glob("run-*/parts/.*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_well(collection, model, tmp_path, undisturbed, number):
    with started(collection, tmp_path, model) as process:
        wait_for(lambda: len(parts_of(tmp_path)) >= 1, process)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number, said
    assert said == ""
    assert 1 <= len(parts_of(tmp_path)) < 6
    assert [entry["event"] for entry in RunFolder.find(tmp_path).entries()][-1] == "stop"
    assert not list(tmp_path.glob("run-*/parts/.*"))
    assert small_run(collection, tmp_path, model).finished
    assert rows(tmp_path).equals(undisturbed)


def test_several_workers_one_of_which_is_killed(collection, model, tmp_path, undisturbed):
    def children() -> list[int]:
        text = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False).stdout
        return [int(line) for line in text.split()]

    with started(collection, tmp_path, model, workers=2) as process:
        wait_for(lambda: len(parts_of(tmp_path)) >= 1, process)
        os.kill(children()[0], signal.SIGKILL)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert list(tmp_path.glob("run-*/_SUCCESS"))
    assert rows(tmp_path).equals(undisturbed)


@pytest.mark.slow
def test_a_worker_that_always_dies_is_given_up(collection, model, tmp_path, monkeypatch):
    monkeypatch.setattr("clipseg.batch.local.sys.executable", "/bin/false")
    with pytest.raises(ClipsegError, match=f"workers died {MOST_DEATHS} times"):
        small_run(collection, tmp_path, model, workers=2)


@pytest.mark.slow
def test_workers_end_with_who_started_them(collection, model, tmp_path):
    with started(collection, tmp_path, model, workers=2) as process:
        wait_for(lambda: len(parts_of(tmp_path)) >= 1, process)
        text = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True).stdout
        process.kill()
    for line in text.split():
        wait_for(lambda line=line: not Path(f"/proc/{line}").exists(), seconds=20)


# -- disks -----------------------------------------------------------------------------------------------------------


def test_a_full_disk_ends_it_and_it_goes_on_once_there_is_room(collection, model, tmp_path, undisturbed, monkeypatch):
    write = storage.LocalStorage.write

    def full(self: storage.LocalStorage, name: str, content: bytes) -> None:
        if name.startswith("parts/part-00002"):
            (Path(self.root) / "parts" / ".half.tmp").write_bytes(content[:100])  # as a process that is killed there
            raise OutputError(f"{name} cannot be written ({os.strerror(errno.ENOSPC)})")
        write(self, name, content)

    monkeypatch.setattr(storage.LocalStorage, "write", full)
    with pytest.raises(OutputError, match="No space left"):
        small_run(collection, tmp_path, model)
    assert len(parts_of(tmp_path)) == 2
    monkeypatch.undo()
    assert small_run(collection, tmp_path, model).finished
    assert rows(tmp_path).equals(undisturbed)
    assert not list(tmp_path.glob("run-*/parts/.*"))


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 192 KB."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=192k", "tmpfs", str(place)], capture_output=True)
    if done.returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_is_really_full(collection, model, small_disk, undisturbed):
    filler = small_disk / "filler"
    filler.write_bytes(bytes(130_000))
    with pytest.raises(OutputError, match="No space left"):
        small_run(collection, small_disk, model, min_free=0)
    assert len(parts_of(small_disk)) < 6
    filler.unlink()
    assert small_run(collection, small_disk, model, min_free=0).finished
    assert rows(small_disk).equals(undisturbed)


def test_it_stops_while_there_is_still_room(collection, model, tmp_path, monkeypatch):
    free = [10**9, 10**9, 10**9, 10**6]
    monkeypatch.setattr(storage.LocalStorage, "free", lambda _self: free.pop(0))
    with pytest.raises(OutputError, match=r"has 1,000,000 bytes free, fewer than the 200,000,000 .* make room"):
        small_run(collection, tmp_path, model)
    assert len(parts_of(tmp_path)) == 3
