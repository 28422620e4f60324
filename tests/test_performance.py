"""benchmarks/performance.py: what its tables are made of, and that all of it runs; not what it measures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks" / "performance.py"
THREE = ("transformers float32", "clipseg", "clipseg int8")


@pytest.fixture(scope="module")
def scripts() -> Iterator[SimpleNamespace]:
    """The modules of the benchmark, found as where a script is run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        import bar_chart
        import performance
        import performance_report

        yield SimpleNamespace(bars=bar_chart, main=performance, report=performance_report)


def row(prompts: int | None = None, **medians: float) -> dict[str, Any]:
    """A row's figures; the keywords are medians of transformers, ours and ours in 8 bits."""
    names = dict(zip(("reference", "ours", "eight"), THREE, strict=True))
    sides = {
        names[key]: {"median": value, "lowest": value / 2, "highest": 2 * value, "seconds": [value]}
        for key, value in medians.items()
    }
    return {"sides": sides, **({} if prompts is None else {"prompts": prompts})}


@settings(max_examples=20)
@given(st.floats(0.001, 10), st.floats(1e-4, 1))
def test_a_fit_finds_the_line_again(a: float, b: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        from performance_report import fitted

    assert fitted([(count, a + b * count) for count in (1, 10, 100, 1000)]) == pytest.approx((a, b), rel=1e-4)


def test_a_fit_weighs_relative_errors(scripts) -> None:
    a, b = scripts.report.fitted([(1, 1.0), (2, 1.5), (1000, 600.0)])
    assert a + b == pytest.approx(1.0, rel=0.05)  # the largest does not decide alone


def test_more_than_was_asked_is_extrapolated_and_said_to_be(scripts) -> None:
    results = {"prompts_100": row(100, reference=50, ours=0.5), "prompts_1000": row(1000, ours=4)}
    whole = scripts.report.completed(results)
    assert whole["prompts_1000"]["sides"][THREE[0]] == {"median": 500, "extrapolated": True}
    assert whole["prompts_1000"]["sides"]["clipseg"]["median"] == 4
    assert THREE[0] not in results["prompts_1000"]["sides"]
    text = scripts.report.tables(results, scripts.main.SAYS, scripts.main.TOPICS)
    assert "| 1 picture, 1,000 prompts | 500 s (extrapolated) | **125×** 4 s (2 s–8 s) |" in text
    assert scripts.report.growth(whole, "clipseg") == pytest.approx((0.111, 0.00389), rel=0.01)
    assert [group.label for group in scripts.report.bars(results)] == [
        "1 picture, 100 prompts",
        "1 picture, 1,000 prompts (extrapolated)",
    ]


def test_goals_stand_beside_what_was_reached(scripts) -> None:
    results = {
        "prompts_10": row(10, reference=6, ours=0.3, eight=0.3),
        "prompts_1000": row(1000, ours=5, eight=5),
        "memory_32": {"unit": "MB", **row(reference=1000, ours=400)},
        "encoder": {"sides": {"clipseg": {"median": 1, "lowest": 1, "highest": 1, "precision": "bfloat16",
                                          "share_of_peak": 0.5}}},
        "batch_64": row(reference=6, ours=1),
    }  # fmt: skip
    text = scripts.report.tables(results, scripts.main.SAYS, scripts.main.TOPICS)
    assert "| 1 picture, 10 prompts | clipseg | ≥ 16× | 20× | yes |" in text
    assert "| 1 picture, 10 prompts | clipseg int8 | ≥ 26× | 20× | **no** |" in text
    assert "| 1 picture, 1,000 prompts | clipseg | ≤ 6 ms a prompt | 5 ms a prompt | yes |" in text
    assert "| 1 picture, 1,000 prompts | clipseg int8 | ≤ 4 ms a prompt | 5 ms a prompt | **no** |" in text
    assert "| loading, 1 picture, 32 prompts | clipseg | ≤ 0.50× | 0.40× | yes |" in text
    assert "| clipseg | ≥ 60% of the peak | 50% of the peak | **no** |" in text
    assert "64 pictures, 1 prompt | clipseg | ≥" not in text  # a goal for GPUs, and this was none
    assert "| **0.40×** 400 MB |" in text
    assert "1 s (1 s–1 s), 50% of the bfloat16 peak" in text


def test_what_was_measured_once_says_so(scripts) -> None:
    figures = row(100, reference=70, ours=1)
    figures["sides"][THREE[0]]["once"] = True
    assert "| 70 s (once) |" in scripts.report.tables({"prompts_100": figures}, scripts.main.SAYS, scripts.main.TOPICS)


def test_every_row_stands_in_a_table(scripts) -> None:
    assert {goal.row for goal in scripts.report.GOALS} <= set(scripts.main.NAMES)
    assert set(scripts.report.CHARTED) <= set(scripts.main.NAMES)
    assert all(scripts.main.TOPICS[name] for name in scripts.main.NAMES if name != "peaks")


def test_masks_are_compared_at_the_median(scripts) -> None:
    one = torch.arange(8.0).reshape(1, 2, 4)
    assert scripts.main.overlap(one, one) == 1
    assert scripts.main.overlap(one, 10 * one) < 0.6
    assert scripts.main.overlap(one, -one) == 0
    inside = torch.tensor([[True, True, False]])
    assert scripts.main.overlap(inside, torch.tensor([[True, False, False]])) == 0.5
    assert scripts.main.overlap(~inside & False, ~inside & False) == 1


def test_a_mismatch_ends_it(scripts, tmp_path) -> None:
    setting = scripts.main.Setting(tmp_path, tiny=True)
    maps = torch.randn(2, 8, 8)
    calls = {THREE[0]: lambda: maps, "transformers bfloat16": lambda: -maps}
    with pytest.raises(SystemExit, match=r"a_row: the answers of transformers bfloat16 .* expected at least 0.97"):
        scripts.main.turns("a_row", calls, "maps", setting, scripts.main.Effort(1, 0))
    calls["transformers bfloat16"] = lambda: maps[:1]
    with pytest.raises(SystemExit, match=r"answers \(1, 8, 8\), expected \(2, 8, 8\)"):
        scripts.main.turns("a_row", calls, "maps", setting, scripts.main.Effort(1, 0))


def test_what_is_slow_is_asked_once(scripts, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(scripts.main, "SLOW", 0.02)
    asked: list[str] = []

    def slow() -> None:
        asked.append("slow")
        __import__("time").sleep(0.05)

    calls = {"slow": slow, "quick": lambda: asked.append("quick")}
    found = scripts.main.turns("a_row", calls, "", scripts.main.Setting(tmp_path), scripts.main.Effort(2, 60))
    assert (asked.count("slow"), asked.count("quick")) == (1, 3)  # the first of quick is its warm-up
    assert found["sides"]["slow"]["once"]
    assert found["sides"]["slow"]["median"] >= 0.05
    assert len(found["sides"]["quick"]["seconds"]) == 2


def test_prompts_are_new_in_each_round_and_the_same_for_all(scripts, tmp_path) -> None:
    setting = scripts.main.Setting(tmp_path, seed=5)
    one, other = setting.prompts(3), setting.prompts(3)
    rounds = [next(one) for _ in range(4)]
    assert rounds == [next(other) for _ in range(4)]
    assert len({phrase for each in rounds for phrase in each}) == 12
    assert rounds[0] != next(scripts.main.Setting(tmp_path, seed=6).prompts(3))


def test_bars(scripts) -> None:
    groups = [
        scripts.bars.Group("one", {"a": 100.0, "b": 0.5}, {"a": 80.0}),
        scripts.bars.Group("two", {"a": 1.9}),
    ]
    picture = scripts.bars.draw_bars("Title", "note", groups)
    colours = {colour for _, colour in picture.getcolors(2**24)}
    inks = [tuple(int(ink[i : i + 2], 16) for i in (1, 3, 5)) for ink in scripts.bars.INKS]
    assert set(inks[:2]) <= colours
    assert inks[2] not in colours
    blue = [x for x in range(picture.width) if picture.getpixel((x, scripts.bars.TOP + 8)) == inks[0]]
    assert max(blue) > 0.85 * picture.width - scripts.bars.RIGHT
    assert scripts.bars.ticks(0.4, 120) == pytest.approx([0.5, 1, 2, 5, 10, 20, 50, 100])


def test_all_of_it_runs_and_goes_on_where_it_stopped(scripts, tmp_path, monkeypatch, capsys) -> None:
    page, out = tmp_path / "page.md", tmp_path / "out"
    page.write_text("before\n<!-- figures: begin -->\n<!-- figures: end -->\nafter\n")
    out.mkdir()
    kept = {"row": "prompts_1", "tiny": True, "machine": scripts.main.machine(1), **row(1, reference=4, ours=2)}
    (out / "prompts_1.json").write_text(json.dumps(kept))
    chosen = ["--out", str(out), "--rows", "prompts_1", "prompts_3", "stream", "--repeats", "1"]
    command = [sys.executable, str(SCRIPT), "--tiny", "--markdown", str(page), *chosen]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert [line.split(":")[0] for line in done.stdout.splitlines() if "measured in" in line] == ["prompts_3", "stream"]
    found = json.loads((out / "stream.json").read_text())
    assert set(found["sides"]) == {*THREE, "transformers bfloat16", "clipseg float32"}
    assert found["agreement"]["clipseg float32"] >= 0.999
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "| 1 picture, 1 prompt | 4 s (2 s–8 s) |" in text
    assert (tmp_path / "images" / "performance.png").stat().st_size > 1000

    for name in ("HF_HUB_OFFLINE", "CLIPSEG_PROMPT_CACHE"):
        monkeypatch.setenv(name, "off")  # what main sets is undone by this
    scripts.main.main(["--tiny", *chosen])
    told = capsys.readouterr().out
    assert "measured in" not in told
    assert "| 1 picture, 1 prompt | 4 s (2 s–8 s) |" in told
    scripts.main.main(["--tiny", *chosen, "--again", "--minutes", "0"])
    assert "left to measure, call again: prompts_1 prompts_3 stream" in capsys.readouterr().out
    monkeypatch.setattr(scripts.main.Setting, "write_model", lambda setting: None)
    with pytest.raises(SystemExit, match="was measured with --tiny; name another folder with --out"):
        scripts.main.main(chosen)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--rows", "nonsense"), "no row is called nonsense; there are peaks, "),
        (("--repeats", "0"), "at least 1, got 0"),
    ],
)
def test_options_that_cannot_be(scripts, tmp_path, capsys, options, told) -> None:
    with pytest.raises(SystemExit):
        scripts.main.arguments(["--out", str(tmp_path), *options])
    assert told in capsys.readouterr().err
