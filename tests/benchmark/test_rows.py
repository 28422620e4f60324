"""What `clipseg bench` measures, of a tiny model: all rows, and what they mean."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import ready
import tiny
from clipseg.benchmark import materials, rows
from clipseg.benchmark.flops import decoder_flops, encoder_flops
from clipseg.benchmark.rows import ROWS, Measured, measure
from clipseg.errors import CheckpointError, UsageError
from clipseg.segmenter import Segmenter


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All rows of a tiny model, with small photographs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(materials, "PHOTOGRAPH_HW", (60, 80))
        patch.setattr(rows, "DECODED", (1, 3))
        patch.setattr(rows, "REMEMBERED", (2,))
        patch.setattr(rows, "STREAMED", 2)
        patch.setattr("clipseg.benchmark.peaks.SIDES", (64,))
        patch.setattr("gc.collect", lambda: 0)  # slow where as much is loaded as in a test run
        folder = ready.folder(tmp_path_factory.mktemp("model"))
        told: list[tuple[int, int, str]] = []
        state = torch.random.get_rng_state()
        found = measure(Measured(str(folder), dtype="float32"), repeats=1, moved=lambda *row: told.append(row))
        assert told == [(number, len(ROWS), name) for number, name in enumerate(ROWS)]
        assert torch.get_num_threads() == found["threads"]
        assert state.shape == torch.random.get_rng_state().shape
        return found


def test_it_is_json_with_all_rows(figures: dict[str, Any]) -> None:
    assert json.loads(json.dumps(figures)) == figures
    assert list(figures["rows"]) == list(ROWS)
    assert figures["precision"] == "float32"
    assert figures["input_size_hw"] == [ready.SIDE, ready.SIDE]
    assert figures["model"]["backend"] == "torch"


def test_speed_is_what_was_computed_over_the_median(figures: dict[str, Any]) -> None:
    found = figures["rows"]
    config, size_hw = tiny.config(), (ready.SIDE, ready.SIDE)
    peak = found["peak"]["gflops"]["float32"]
    counted = [(found["encode"], encoder_flops(config, size_hw))]
    counted += [(row, decoder_flops(config, size_hw, int(n))) for n, row in found["decode"]["prompts"].items()]
    for row, flops in counted:
        assert row["gflop"] == pytest.approx(flops / 1e9)
        assert row["gflops"] == pytest.approx(flops / 1e9 / row["median"])
        assert row["share_of_peak"] == pytest.approx(row["gflops"] / peak)
    three = found["decode"]["prompts"]["3"]
    assert three["milliseconds_a_prompt"] == pytest.approx(1000 * three["median"] / 3)


def test_files_and_processes(figures: dict[str, Any]) -> None:
    found = figures["rows"]
    assert 0 < found["first-mask"]["loading_median"] < found["first-mask"]["median"]
    assert found["stream"]["pictures_a_second"] == pytest.approx(2 / found["stream"]["median"])
    if sys.platform == "linux":
        assert found["memory"]["peak_megabytes"]["2"] > 0


def test_rows_are_chosen_and_a_share_needs_the_peak(tmp_path: Path) -> None:
    folder = ready.folder(tmp_path)
    found = measure(Measured(str(folder)), ["encode"], 2)["rows"]
    assert list(found) == ["encode"]
    assert len(found["encode"]["seconds"]) == 2
    assert found["encode"]["share_of_peak"] is None


def test_masks_are_written_at_full_size(tmp_path: Path) -> None:
    paths = materials.write_photographs(tmp_path / "photographs", 2, (30, 50))
    rows.write_masks(ready.segmenter(), paths, ["a cat", "wood"], tmp_path / "masks")
    written = sorted(path.name for path in (tmp_path / "masks").iterdir())
    assert written == ["000.0.png", "000.1.png", "001.0.png", "001.1.png"]
    with Image.open(tmp_path / "masks" / "000.0.png") as mask:
        assert mask.size == (50, 30)


def test_a_random_model_is_one_like_others(tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    folder = materials.write_random_model(tmp_path / "random", tiny.config({"vocab_size": 49_408}), side=64)
    assert torch.equal(torch.random.get_rng_state(), state)
    masks = Segmenter.from_pretrained(folder).segment(ready.picture(), ["a cat", "wood"])
    assert masks.logits.shape == (2, 64, 64)


def test_photographs_differ_and_come_again() -> None:
    first, same, other = (materials.photograph((20, 30), seed) for seed in (0, 0, 1))
    assert first.size == (30, 20)
    assert first.tobytes() == same.tobytes() != other.tobytes()


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"rows": ["encode", "speed"]}, "row 'speed' is not known; expected peak, encode"),
        ({"repeats": 0}, "repeats is 0; expected at least 1"),
        ({"loading": Measured("nano", backend="abacus")}, "backend 'abacus' is not known"),
    ],
)
def test_what_cannot_be_measured(asked: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        measure(**{"loading": Measured("nano"), **asked})


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        measure(Measured(str(tmp_path), local_files_only=True), ["encode"])
