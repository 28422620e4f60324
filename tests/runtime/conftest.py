"""Exports of one tiny model, made once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import exports
import ready


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    exports.model().save_pretrained(folder)
    ready.processor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def programs() -> dict[str, Any]:
    """The traced graphs, once the first export has been made."""
    return {}


@pytest.fixture(scope="session")
def onnx_folder(model_folder: Path, programs: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exports.exported(model_folder, tmp_path_factory.mktemp("exports") / "onnx", programs=programs)


@pytest.fixture(scope="session")
def int8_folder(model_folder: Path, onnx_folder: Path) -> Path:
    return exports.exported(model_folder, onnx_folder.with_name("int8"), source=onnx_folder, int8=True)


@pytest.fixture(scope="session")
def openvino_folder(model_folder: Path, onnx_folder: Path) -> Path:
    return exports.exported(model_folder, onnx_folder.with_name("openvino"), "openvino", source=onnx_folder)


@pytest.fixture(scope="session")
def program_folder(model_folder: Path, onnx_folder: Path, programs: dict[str, Any]) -> Path:
    return exports.exported(model_folder, onnx_folder.with_name("program"), "exported-program", programs=programs)


@pytest.fixture(scope="session")
def openvino_int8_folder(model_folder: Path, onnx_folder: Path) -> Path:
    folder = onnx_folder.with_name("openvino-int8")
    return exports.exported(model_folder, folder, "openvino", source=onnx_folder, int8=True)
