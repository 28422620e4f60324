"""`clipseg bench`: figures as a table, as a JSON line and as a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clipseg.benchmark import materials, rows
from clipseg.cli import bench, options
from clipseg.runtime.backends import BACKENDS


@pytest.fixture(autouse=True)
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(materials, "PHOTOGRAPH_HW", (60, 80))
    monkeypatch.setattr("clipseg.benchmark.peaks.SIDES", (32,))
    monkeypatch.setattr(rows, "DECODED", (1, 2))
    monkeypatch.setattr("gc.collect", lambda: 0)  # slow where as much is loaded as in a test run


def test_what_help_says_is_what_there_is() -> None:
    assert tuple(rows.ROWS) == bench.ROWS
    assert tuple(BACKENDS) == options.BACKENDS
    assert rows.REPEATS == bench.REPEATS
    assert rows.Measured().model == bench.NANO


def test_a_json_line_and_a_file(call, model, folder) -> None:
    chosen = ("--rows", "peak,encode", "--rows", "decode", "--repeats", 2)
    outcome = call("bench", model, *chosen, "-o", "figures.json", "--device", "cpu")
    assert (outcome.code, outcome.err) == (0, "")
    (record,) = outcome.records
    assert list(record["rows"]) == ["peak", "encode", "decode"]
    assert record["model"]["model"] == str(model)
    assert set(record["machine"]) == {"processor", "instruction_sets", "cores", "granted_cores", "memory_bytes"}
    assert record["repeats"] == len(record["rows"]["encode"]["seconds"]) == 2
    assert json.loads(Path("figures.json").read_text()) == record


def test_a_table_for_a_person(call, model, terminal_out) -> None:
    outcome = call("bench", model, "--rows", "peak,encode,stream", "--repeats", 1, "--dtype", "float32")
    assert (outcome.code, outcome.err) == (0, "")
    assert "encode a picture, 64x64" in outcome.out
    assert "pictures/s" in outcome.out
    assert "% " in outcome.out or "%\n" in outcome.out
    assert "matrix products, float32" in outcome.out
    assert "float32; 1 rounds" in outcome.out


def test_every_row_has_a_line() -> None:
    timed = {"median": 0.5, "lowest": 0.25, "highest": 2.0, "seconds": []}
    shared = {**timed, "gflops": 90.0, "share_of_peak": 0.5}
    found = {
        "peak": {"gflops": {"int8": 1234.5}},
        "encode": {**shared, "share_of_peak": None},
        "decode": {"prompts": {"1": {**shared, "milliseconds_a_prompt": 500.0}}},
        "first-mask": {**timed, "loading_median": 0.1},
        "stream": {**timed, "pictures": 4, "prompts": 3, "pictures_a_second": 8.0},
        "memory": {"peak_megabytes": {"1": 100.4, "32": None}},
    }
    assert list(bench.lines(found, [48, 64])) == [
        ("matrix products, int8", "", "", "1,234 GFLOP/s", ""),
        ("encode a picture, 64x48", "500 ms", "250 ms to 2.00 s", "90 GFLOP/s", ""),
        ("decode 1 prompt", "500 ms", "250 ms to 2.00 s", "500 ms each", "50%"),
        ("a fresh process to the first mask", "500 ms", "250 ms to 2.00 s", "100 ms of it loading", ""),
        ("4 photographs, 3 prompts, files to files", "500 ms", "250 ms to 2.00 s", "8 pictures/s", ""),
        ("memory at 1 prompt", "", "", "100 MB", ""),
        ("memory at 32 prompts", "", "", "not told here", ""),
    ]


def test_random_weights(call, folder, monkeypatch) -> None:
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = materials.released_configuration()
    for part in (config.text_config, config.vision_config):
        for name, value in small.items():
            setattr(part, name, value)
    config.extract_layers = [0, 1]
    monkeypatch.setattr(materials, "released_configuration", lambda: config)
    (record,) = call("bench", "--random", "--rows", "encode", "--repeats", 1, "--device", "cpu").records
    assert record["model"]["model"] == "random weights of the released size"
    assert record["input_size_hw"] == [352, 352]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("nano", "--random"), "--random takes the place of a model, and 'nano' is one"),
        (("--random", "--backend", "onnx"), "--random is for the back end torch"),
        (("--rows", "speed"), "row 'speed' is not known; expected peak, encode"),
    ],
)
def test_options_that_contradict_each_other(call, options: tuple[str, ...], told: str) -> None:
    outcome = call("bench", *options)
    assert outcome.code == 2
    assert told in outcome.error


@pytest.mark.parametrize("options", [("--repeats", "0"), ("--backend", "abacus"), ("--dtype", "int3")])
def test_values_that_are_none(call, options: tuple[str, ...]) -> None:
    outcome = call("bench", *options)
    assert outcome.code == 2
    assert options[0] in outcome.error


def test_a_place_that_cannot_be_written(call, model, folder) -> None:
    Path("file").write_text("")
    outcome = call("bench", model, "--rows", "encode", "--repeats", 1, "-o", "file/figures.json")
    assert outcome.code == 7


def test_the_page_has_every_row_and_option() -> None:
    page = (Path(__file__).parents[2] / "docs" / "performance.md").read_text(encoding="utf-8")
    assert [name for name in bench.ROWS if f"| `{name}` |" not in page] == []
    flags = [flag for one in bench.bench.params for flag in one.opts if flag.startswith("--") and flag != "--offline"]
    assert [flag for flag in flags if f"`{flag}" not in page] == []
