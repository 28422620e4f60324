"""A tiny model and some pictures that no test changes, and what a run of them gives that nothing disturbs."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

import made_runs
import ready
from small_batches import pictures, rows, small_run

COUNT = 22
"""Pictures: five parts of four, and one of two."""


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ready.folder(tmp_path_factory.mktemp("batch") / "model")


@pytest.fixture(scope="session")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures(tmp_path_factory.mktemp("collection"), COUNT)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, collection: Path, model: Path) -> pa.Table:
    out = tmp_path_factory.mktemp("undisturbed")
    small_run(collection, out, model)
    return rows(out)


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """Pictures whose masks are known."""
    return made_runs.pictures(tmp_path / "shelf")


@pytest.fixture
def out(tmp_path: Path, shelf: Path) -> Path:
    """A run over them, as if it had been made."""
    made_runs.run(tmp_path / "out", shelf)
    return tmp_path / "out"
