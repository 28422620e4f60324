"""Packages that only batches need, imported where they are used."""

from __future__ import annotations

import importlib
from types import ModuleType

from clipseg.errors import MissingPackageError


def arrow(part: str = "") -> ModuleType:
    """-> pyarrow, or a module of it such as "parquet". Raises MissingPackageError."""
    return _needed("pyarrow", part, "a batch writes Parquet files", "batch")


def ray(part: str = "") -> ModuleType:
    """-> Ray, or a module of it such as "data". Raises MissingPackageError."""
    return _needed("ray", part, "the engine 'ray' is Ray's", "ray")


def _needed(package: str, part: str, why: str, extra: str) -> ModuleType:
    try:
        return importlib.import_module(f"{package}.{part}" if part else package)
    except ImportError as error:
        raise MissingPackageError(
            f"{why}, and {package} is not installed ({error}): pip install 'clipseg[{extra}]'"
        ) from error
