"""The engine of a cluster: what it makes is what one process makes, whoever of it is killed."""

from __future__ import annotations

import importlib.util
import io
import os
import signal
import socket
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import ready
from clipseg.batch import packages
from clipseg.batch.columns import row_of
from clipseg.batch.items import Item
from clipseg.batch.jobs import job_of
from clipseg.batch.ray import Shrinking, check_answers
from clipseg.batch.rows import SegmentRows
from clipseg.batch.run_folder import RunFolder
from clipseg.errors import MissingPackageError, PictureError, UsageError
from clipseg.processing.images import FileContent
from clipseg.segmenter import Segmenter
from small_batches import parts_of, pictures, rows, small_run, started, wait_for

on_a_cluster = [
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed"),
    pytest.mark.filterwarnings("ignore"),  # Ray's own
]


def slow_cluster(test):
    for mark in on_a_cluster:
        test = mark(test)
    return test


def family(pid: int) -> dict[int, str]:
    """A process -> those that it began, and those that they began, with their titles."""
    found: dict[int, tuple[int, str]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            found[int(path.name)] = (
                parent,
                (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"),
            )
        except (OSError, ValueError, IndexError):  # noqa: PERF203
            continue  # it ended meanwhile
    ours = {pid}
    while more := {one for one, (parent, _) in found.items() if parent in ours} - ours:
        ours |= more
    return {one: found[one][1] for one in ours - {pid} if one in found}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures(tmp_path_factory.mktemp("many"), 160)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, many: Path, model: Path) -> pa.Table:
    out = tmp_path_factory.mktemp("whole")
    small_run(many, out, model, rows_per_part=2)
    return rows(out)


# -- without a cluster -----------------------------------------------------------------------------------------------


def test_what_travels_gives_the_same_masks_to_the_last_bit(collection, model):
    """A picture that was decoded and shrunk elsewhere is shown to the model as the picture itself is."""
    job = job_of(collection, ["a cat", "wood"], model=model, batch_size=4)
    shrink = Shrinking.of(job.config, local_files_only=True)
    assert shrink is not None
    paths = sorted(collection.glob("*.png"))[:7]
    items = [Item(path.name, str(path)) for path in paths]
    segment = SegmentRows(Segmenter.from_pretrained(model), job.config, job.prompts)
    travelled = [shrink(FileContent(path.read_bytes(), str(path))) for path in paths]
    here, there = segment(items), segment(items, travelled)
    assert there.drop_columns(["ms"]).equals(here.drop_columns(["ms"]))


def test_a_broken_picture_travels_as_its_error(model, collection):
    shrink = Shrinking.of(job_of(collection, "a cat", model=model).config, local_files_only=True)
    assert shrink is not None
    assert isinstance(shrink(FileContent(b"", "empty.png")), PictureError)


@pytest.mark.parametrize("settings", [{"fit": "tile"}, {"fit": "letterbox"}, {"refine": "guided"}])
def test_where_more_of_the_picture_is_needed_its_file_travels(collection, model, settings):
    assert Shrinking.of(job_of(collection, "a cat", model=model, **settings).config, local_files_only=True) is None


def test_the_picture_itself_is_not_there(model):
    segmenter = Segmenter.from_pretrained(model)
    shrink = Shrinking({"height": 64, "width": 64}, 2, None)
    picture = ready.picture()
    sink = io.BytesIO()
    picture.save(sink, "PNG")
    (masks,) = segmenter.asking("a cat")([shrink(FileContent(sink.getvalue(), "cat.png"))])
    assert masks.size_hw == (30, 40)
    assert np.asarray(masks.binary()).shape == (1, 30, 40)
    with pytest.raises(PictureError, match=r"cat\.png, of which only what the model is shown is here"):
        row_of(Item("cat.png", "cat.png"), masks.with_options(refine="guided"), ["x"], heatmap=False)


def test_without_ray_its_extra_is_named(monkeypatch):
    def nothing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(packages.importlib, "import_module", nothing)
    with pytest.raises(MissingPackageError, match=r"pip install 'clipseg\[ray\]'"):
        packages.ray()
    with pytest.raises(MissingPackageError, match=r"pip install 'clipseg\[batch\]'"):
        packages.arrow("parquet")


# -- on one ----------------------------------------------------------------------------------------------------------


@slow_cluster
def test_a_cluster_makes_what_one_process_makes_and_either_goes_on_with_the_other(many, model, tmp_path, whole):
    (many / "broken.png").write_bytes(b"")
    try:
        small_run(many, tmp_path, model, rows_per_part=2, shard="0/2")
        outcome = small_run(many, tmp_path, model, rows_per_part=2, engine="ray", workers=2)
    finally:
        (many / "broken.png").unlink()
    assert (outcome.finished, outcome.summary["rows"], outcome.summary["errors"]) == (True, 161, 1)
    found = {row["id"]: row["rle_counts"] for row in rows(tmp_path).to_pylist() if row["status"] == "ok"}
    assert found == dict(zip(whole.column("id").to_pylist(), whole.column("rle_counts").to_pylist(), strict=True))
    engines = {entry["engine"] for entry in outcome.folder.entries() if entry["event"] == "part"}
    assert engines == {"local", "ray"}


@slow_cluster
def test_a_cluster_that_is_there_is_used_and_left_and_one_that_is_too_small_refused(
    collection, model, tmp_path, undisturbed
):
    import ray

    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        with pytest.raises(UsageError, match="3 workers and the tasks that decode for them need 4 processors"):
            small_run(collection, tmp_path, model, engine="ray", workers=3)
        assert small_run(collection, tmp_path, model, engine="ray", workers=2).finished
        assert ray.is_initialized()
    finally:
        ray.shutdown()
    assert rows(tmp_path).equals(undisturbed)


@slow_cluster
def test_a_worker_is_killed(many, model, tmp_path, whole):
    with started(many, tmp_path, model, rows_per_part=2, engine="ray", workers=2) as process:
        wait_for(lambda: len(parts_of(tmp_path)) >= 5, process)
        workers = [pid for pid, title in family(process.pid).items() if "MakePart" in title]
        os.kill(workers[0], signal.SIGKILL)
        _, said = process.communicate(timeout=300)
    assert workers
    assert process.returncode == 0, said
    assert list(tmp_path.glob("run-*/_SUCCESS"))
    assert rows(tmp_path).equals(whole)


@slow_cluster
def test_the_driver_is_killed(many, model, tmp_path, whole):
    with started(many, tmp_path, model, rows_per_part=2, engine="ray", workers=2) as process:
        wait_for(lambda: len(parts_of(tmp_path)) >= 5, process)
        others = list(family(process.pid))
        process.kill()
    assert others
    before = len(parts_of(tmp_path))
    assert before < 80
    for pid in others:
        wait_for(lambda pid=pid: not Path(f"/proc/{pid}").exists())
    outcome = small_run(many, tmp_path, model, rows_per_part=2, engine="ray", workers=2)
    assert outcome.finished
    assert rows(tmp_path).equals(whole)


@slow_cluster
def test_a_signal_ends_it_well(many, model, tmp_path, whole):
    with started(many, tmp_path, model, rows_per_part=2, engine="ray", workers=2) as process:
        wait_for(lambda: len(parts_of(tmp_path)) >= 3, process)
        process.send_signal(signal.SIGTERM)
        begun = time.monotonic()
        _, said = process.communicate(timeout=60)
    assert process.returncode == 143, said
    assert time.monotonic() - begun < 30
    assert RunFolder.find(tmp_path).entries()[-1]["event"] == "stop"
    assert small_run(many, tmp_path, model, rows_per_part=2).finished
    assert rows(tmp_path).equals(whole)


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "ray://127.0.0.1:{port}", "[::1]:{port}", "127.0.0.1:99999"])
def test_a_cluster_that_does_not_answer_is_told_at_once(address: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # and nobody listens
        with pytest.raises(UsageError, match=r"there is no Ray cluster at .*ray start --head"):
            check_answers(address.format(port=free.getsockname()[1]))


def test_a_cluster_that_answers_is_left_to_ray() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        check_answers(f"127.0.0.1:{server.getsockname()[1]}")
    check_answers("auto")
