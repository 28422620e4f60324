"""`clipseg export`: every option reaches the library, and what comes of it is told."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clipseg.cli.export import TARGETS
from clipseg.runtime import export as exporting
from clipseg.runtime import export_files


def test_the_same_targets_as_the_library() -> None:
    assert tuple(export_files.TARGETS) == TARGETS


def test_options_arrive(call, folder, model, monkeypatch) -> None:
    told: dict[str, Any] = {}

    def export(*arguments: Any, **options: Any) -> Any:
        told.update(options, arguments=arguments)
        manifest = SimpleNamespace(to="onnx", precision="int8", graphs={"decoder": SimpleNamespace(largest_error=0.5)})
        return SimpleNamespace(folder=Path("out"), files=(Path("out/decoder.onnx"),), manifest=manifest)

    monkeypatch.setattr(exporting, "export", export)
    done = call("export", "nano", "-o", "out", "--int8", "--size", "32x64", "--overwrite", "--offline")
    assert told.pop("arguments") == ("nano", Path("out"), "onnx")
    assert told == {"int8": True, "size_hw": (32, 64), "overwrite": True, "local_files_only": True}
    assert done.records == [
        {
            "model": "out",
            "to": "onnx",
            "precision": "int8",
            "files": ["out/decoder.onnx"],
            "largest_errors": {"decoder": 0.5},
        }
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere/model", "--out", "out"], 6, "nowhere/model"),
        (["nano", "--out", "out", "--to", "tflite"], 2, "'tflite' is not one of"),
        (["nano", "--out", "out", "--size", "352"], 2, "'352' is not a size such as 352x352, height first"),
        (["nano", "--out", "out", "--size", "0x9"], 2, "'0x9' is not a size"),
        (["nano", "--out", "out", "--size", "8x99"], 2, "size is 8x99; expected at least one patch of 16"),
        (["nano", "--out", "out", "--to", "exported-program", "--int8"], 2, "cannot be in 8 bit"),
        (["nano"], 2, "Missing option '-o' / '--out'"),
    ],
)
def test_refused(call, folder, arguments, code, message) -> None:
    outcome = call("export", *arguments, "--offline")
    assert outcome.code == code
    assert message in outcome.error
    assert not Path("out").exists()
