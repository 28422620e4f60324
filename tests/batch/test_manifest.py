"""The manifest: sorted, the same bytes for the same pictures, and read from anywhere without the rest of it."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from clipseg.batch import manifest
from clipseg.batch.beginning import begin
from clipseg.batch.engine import DEFAULT_LOADING
from clipseg.batch.items import Item
from clipseg.batch.jobs import job_of
from clipseg.batch.manifest import MANIFEST, Manifest, manifest_of, sum_of, written
from clipseg.batch.parts import weights_sum
from clipseg.batch.run_folder import RunDescription, RunFolder
from clipseg.batch.settings import deciding, fingerprint
from clipseg.batch.storage import LocalStorage
from clipseg.errors import DataError
from clipseg.version import __version__


def items(count: int) -> list[Item]:
    return [Item(f"{number:07}.jpg", f"/data/{number:07}.jpg") for number in range(count)]


def kept(folder: Path, listed: list[Item]) -> Manifest:
    storage = LocalStorage(folder)
    storage.write(MANIFEST, written(manifest_of(listed)))
    return Manifest(storage)


def test_it_is_sorted_and_the_same_for_the_same_pictures(monkeypatch):
    monkeypatch.setattr(manifest, "_LISTED", 7)
    listed = items(50)
    shuffled = [listed[n] for n in np.random.default_rng(0).permutation(50)]
    table = manifest_of(iter(shuffled))
    assert table.column("id").to_pylist() == [item.id for item in listed]
    assert sum_of(written(table)) == sum_of(written(manifest_of(listed)))
    assert manifest_of(shuffled, limit=3).column("id").to_pylist() == [item.id for item in listed[:3]]


def test_any_rows_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "GROUP", 10)
    listed = [
        item._replace(offset=n, size=2 * n, prompts=["x"] if n == 33 else None) for n, item in enumerate(items(45))
    ]
    found = kept(tmp_path, listed)
    assert found.rows == 45
    assert found.has_prompts
    for start, stop in ((0, 4), (8, 12), (5, 31), (40, 45), (44, 99)):
        assert found.items(start, stop) == listed[start:stop]
    assert found.items(45, 50) == []


def test_whether_anything_is_asked_of_its_own(tmp_path):
    assert not kept(tmp_path, items(5)).has_prompts


@pytest.mark.parametrize(
    ("listed", "told"), [([], "no picture"), (items(3) + items(1), "two pictures have the id '0000000.jpg'")]
)
def test_what_is_no_manifest(listed, told):
    with pytest.raises(DataError, match=told):
        manifest_of(listed)


def test_a_damaged_one(tmp_path):
    (tmp_path / MANIFEST).write_bytes(b"PAR1" * 9)
    with pytest.raises(DataError, match="no whole manifest"):
        _ = Manifest(LocalStorage(tmp_path)).rows


def test_going_on_with_a_million_rows_begins_at_once(tmp_path, model):
    """What is read of them is where they end and the rows of a part; what is listed is the folder of parts."""
    count = 1_000_000
    ids = pa.array([f"{number:07}.jpg" for number in range(count)])
    none = pa.nulls(count)
    schema = manifest.manifest_schema()
    columns = [ids, ids, *(none.cast(field.type) for field in list(schema)[2:])]
    table = pa.table(columns, schema=schema)
    job = job_of("/data", "a cat", model=model)
    decided = deciding(job.config, weights_sum(job.config, DEFAULT_LOADING), __version__)
    content = written(table)
    print_ = fingerprint(decided, sum_of(content))
    folder = RunFolder(LocalStorage(tmp_path / f"run-{print_[:12]}"))
    folder.storage.write(MANIFEST, content)
    folder.claim(RunDescription(job.config, print_, decided, count, 512, 0.0, {}))
    for number in range(0, folder.description().parts, 2):
        (Path(folder.path) / folder.part_name(number)).parent.mkdir(exist_ok=True)
        (Path(folder.path) / folder.part_name(number)).touch()
    begun = time.monotonic()
    found = begin(LocalStorage(tmp_path), job, DEFAULT_LOADING)
    assert len(found.done()) == 977
    assert [item.id for item in found.manifest().items(*found.bounds(1953))][-1] == "0999999.jpg"
    assert time.monotonic() - begun < 5
