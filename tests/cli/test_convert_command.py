"""`clipseg convert`: every option reaches the conversion, there and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from clipseg.checkpoints import convert as conversion


def test_there_and_back(call, folder, model) -> None:
    there = call("convert", model, "original", "--to", "original")
    assert (there.code, there.err) == (0, "")
    (record,) = there.records
    assert record == {"model": "original", "files": ["original/decoder.pth", "original/clip.pth"], "missing": []}

    arguments = ("convert", "original/decoder.pth", "back", "--clip", model, "--extract-layers", "0,1")
    back = call(*arguments)
    assert (back.code, back.err) == (0, "")
    assert back.records[0]["missing"] == []
    before, after = load_file(model / "model.safetensors"), load_file("back/model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert json.loads(Path("back/config.json").read_text())["extract_layers"] == [0, 1]

    assert call(*arguments).code == 7
    assert call(*arguments, "--overwrite", "--dtype", "float16").code == 0
    assert {tensor.dtype for tensor in load_file("back/model.safetensors").values() if tensor.is_floating_point()} == {
        torch.float16
    }


def test_missing_tokenizer_files_are_named(call, monkeypatch) -> None:
    done = conversion.Conversion(Path("m"), (Path("m/config.json"),), ("vocab.json", "merges.txt"))
    monkeypatch.setattr(conversion, "convert", lambda *arguments, **options: done)
    outcome = call("convert", "x.pth", "m")
    assert outcome.code == 0
    assert outcome.err.startswith("warning: text prompts need vocab.json and merges.txt in m as well")
    assert outcome.records == [{"model": "m", "files": ["m/config.json"], "missing": ["vocab.json", "merges.txt"]}]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere.pth", "out"], 6, "nowhere.pth"),
        (["nowhere.pth", "out", "--extract-layers", "3;6"], 2, "'3;6' is not a list of layers"),
        (["nowhere.pth", "out", "--to", "onnx"], 2, "'onnx' is not one of"),
        (["nowhere.pth", "out", "--dtype", "auto"], 2, "'auto' is not one of"),
    ],
)
def test_refused(call, folder, arguments, code, message) -> None:
    outcome = call("convert", *arguments)
    assert outcome.code == code
    assert message in outcome.error
    assert not Path("out").exists()
