"""What the side-by-side comparison found, as tables and bars: pure functions of the results by row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bar_chart import Group
from performance_cases import BASE, COUNTS, EIGHT, FULL, MOST_OF_THE_REFERENCE, OURS, ROWS

Results = Mapping[str, Mapping[str, Any]]

CHARTED = {
    "prompts_1": "1 picture, 1 prompt",
    "prompts_10": "1 picture, 10 prompts",
    "prompts_100": "1 picture, 100 prompts",
    "prompts_1000": "1 picture, 1,000 prompts",
    "stream": "12-megapixel files, 3 prompts",
    "picture_prompts": "8 pictures, 1 example picture",
    "similarity": "CLIP similarity, 100 labels",
    "batch_8": "8 pictures, 1 prompt",
    "batch_64": "64 pictures, 1 prompt",
    "cold_start": "command to the first mask",
}
CHART_SERIES = {OURS: "clipseg, as it comes", EIGHT: "clipseg, 8-bit option"}


@dataclass(frozen=True)
class Goal:
    """What is aimed at. `kind` says how: times or share (at least), ratio or ms, which is of a prompt (at most)."""

    row: str
    side: str
    kind: str
    wanted: float
    device: str = "cpu"


GOALS = (
    *(Goal("prompts_1", side, "times", wanted) for side, wanted in ((OURS, 1.9), (FULL, 1.2), (EIGHT, 3.2))),
    *(Goal("prompts_10", side, "times", wanted) for side, wanted in ((OURS, 16), (EIGHT, 26))),
    *(Goal("prompts_100", side, "times", wanted) for side, wanted in ((OURS, 80), (EIGHT, 115))),
    *(Goal("prompts_1000", side, "ms", wanted) for side, wanted in ((OURS, 6), (EIGHT, 4))),
    *(Goal("known_1000", side, "ms", wanted) for side, wanted in ((OURS, 6), (EIGHT, 4))),
    *(Goal("stream", side, "times", wanted) for side, wanted in ((OURS, 5), (EIGHT, 7))),
    *(Goal("memory_32", side, "ratio", wanted) for side, wanted in ((OURS, 0.5), (EIGHT, 0.35))),
    Goal("cold_start", OURS, "ratio", 0.5),
    Goal("encoder", OURS, "share", 0.6),
    Goal("batch_64", OURS, "times", 5, "cuda"),
    Goal("prompts_100", OURS, "times", 100, "cuda"),
)  # fmt: skip


# -- numbers -----------------------------------------------------------------------------------------------------------


def fitted(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """(P, t) of at least two different P -> a and b of t = a + b P with the least squares of relative errors.

    Relative, for times go over three orders of magnitude, and the longest would decide alone.
    """
    weights = [1 / t**2 for _, t in points]
    total = sum(weights)
    mean_p = sum(w * p for w, (p, _) in zip(weights, points, strict=True)) / total
    mean_t = sum(w * t for w, (_, t) in zip(weights, points, strict=True)) / total
    over = sum(w * (p - mean_p) * (t - mean_t) for w, (p, t) in zip(weights, points, strict=True))
    under = sum(w * (p - mean_p) ** 2 for w, (p, _) in zip(weights, points, strict=True))
    slope = over / under
    return mean_t - slope * mean_p, slope


def growth(results: Results, side: str) -> tuple[float, float] | None:
    """A side -> its fit over the rows of prompts that were measured, in seconds; None for fewer than two counts."""
    rows = [results[name] for name in (f"prompts_{count}" for count in COUNTS) if name in results]
    points = {row["prompts"]: row["sides"][side]["median"] for row in rows if side in row["sides"]}
    return fitted(list(points.items())) if len(points) > 1 else None


def completed(results: Results) -> dict[str, Any]:
    """Results -> the same, with the reference's times of more prompts than it was asked, which are extrapolated."""
    largest = results.get(f"prompts_{MOST_OF_THE_REFERENCE}")
    out = dict(results)
    for count in COUNTS:
        name = f"prompts_{count}"
        if count <= MOST_OF_THE_REFERENCE or largest is None or name not in out:
            continue
        times = out[name]["prompts"] / largest["prompts"]
        added = {
            side: {"median": times * figures["median"], "extrapolated": True}
            for side, figures in largest["sides"].items()
            if side not in out[name]["sides"]
        }
        out[name] = {**out[name], "sides": {**added, **out[name]["sides"]}}
    return out


def times_as_fast(row: Mapping[str, Any], side: str) -> float | None:
    """A row and a side -> how often it fits into the reference's median; None where one of the two is missing."""
    sides = row["sides"]
    if side not in sides or BASE not in sides:
        return None
    value: float = sides[BASE]["median"] / sides[side]["median"]
    return value


def reached(goal: Goal, results: Results) -> float | None:
    """A goal -> the number that was reached, to be compared with what is wanted; None where it was not measured."""
    row = results.get(goal.row)
    if row is None or goal.side not in row["sides"] or row.get("device", "cpu") != goal.device:
        return None
    own = row["sides"][goal.side]
    if goal.kind == "share":
        return own.get("share_of_peak")
    if goal.kind == "ms":
        return 1000 * own["median"] / row["prompts"]
    times = times_as_fast(row, goal.side)
    return times if times is None or goal.kind == "times" else 1 / times


def is_met(goal: Goal, value: float) -> bool:
    return value >= goal.wanted if goal.kind in ("times", "share") else value <= goal.wanted


# -- tables ------------------------------------------------------------------------------------------------------------


def tables(results: Results, says: Mapping[str, str], topics: Mapping[str, str]) -> str:
    """Results by row, what each row says and the topic it stands under -> Markdown, a table for each topic."""
    whole = completed(results)
    lines = [*_goals(whole, says)]
    for topic in dict.fromkeys(topics[name] for name in whole if "sides" in whole[name]):
        chosen = {name: row for name, row in whole.items() if "sides" in row and topics[name] == topic}
        lines += [f"### {topic}", "", *_topic(chosen, says), ""]
        if topic == ROWS["prompts_1"].topic:
            lines += _growth(whole)
    return "\n".join(lines).strip()


def _topic(rows: Results, says: Mapping[str, str]) -> Iterator[str]:
    sides = list(dict.fromkeys(side for row in rows.values() for side in row["sides"]))
    ordered = sorted(sides, key=lambda side: not side.startswith("transformers"))
    yield f"| Case | {' | '.join(ordered)} |"
    yield "|---|" + "---|" * len(ordered)
    for name, row in rows.items():
        yield f"| {says[name]} | {' | '.join(_cell(row, side) for side in ordered)} |"


def _cell(row: Mapping[str, Any], side: str) -> str:
    if side not in row["sides"]:
        return "–"
    own, times = row["sides"][side], times_as_fast(row, side)
    compared = times is not None and side != BASE
    if row.get("unit") == "MB":
        return f"**{1 / times:.2f}×** {own['median']:,.0f} MB" if times and compared else f"{own['median']:,.0f} MB"
    if own.get("extrapolated"):
        text = f"{seconds(own['median'])} (extrapolated)"
    elif own.get("once"):
        text = f"{seconds(own['median'])} (once)"
    else:
        text = f"{seconds(own['median'])} ({seconds(own['lowest'])}–{seconds(own['highest'])})"
    if own.get("share_of_peak"):
        text += f", {own['share_of_peak']:.0%} of the {own['precision']} peak"
    return f"**{times:.3g}×** {text}" if compared else text


def _growth(results: Results) -> Iterator[str]:
    sides = dict.fromkeys(side for row in results.values() for side in row.get("sides", {}))
    fits = {side: fit for side in sides if (fit := growth(_as_measured(results), side)) is not None}
    if not fits:
        return
    yield from ("How time grows with prompts, fitted to the measured rows above as t = a + b · prompts:", "")
    yield from ("| | a | b, a prompt |", "|---|---:|---:|")
    yield from (f"| {side} | {seconds(a)} | {seconds(b)} |" for side, (a, b) in fits.items())
    yield ""


def _as_measured(results: Results) -> Results:
    return {
        name: {**row, "sides": {side: own for side, own in row["sides"].items() if not own.get("extrapolated")}}
        for name, row in results.items()
        if "sides" in row
    }


def _goals(results: Results, says: Mapping[str, str]) -> Iterator[str]:
    found = [(goal, value) for goal in GOALS if (value := reached(goal, results)) is not None]
    if not found:
        return
    yield from ("### Goals", "", "| Case | How | Goal | Reached | |", "|---|---|---:|---:|---|")
    for goal, value in found:
        mark = "yes" if is_met(goal, value) else "**no**"
        wanted = f"{'≥' if goal.kind in ('times', 'share') else '≤'} {_said(goal, goal.wanted)}"
        yield f"| {says[goal.row]} | {goal.side} | {wanted} | {_said(goal, value)} | {mark} |"
    yield ""


def _said(goal: Goal, value: float) -> str:
    forms = {"times": "{:.3g}×", "ratio": "{:.2f}×", "ms": "{:.3g} ms a prompt", "share": "{:.0%} of the peak"}
    return forms[goal.kind].format(value)


def seconds(value: float) -> str:
    """Seconds -> as a person reads them."""
    return f"{value:.3g} s" if abs(value) >= 1 else f"{1000 * value:.3g} ms"


# -- bars --------------------------------------------------------------------------------------------------------------


def bars(results: Results) -> list[Group]:
    """Results -> a group of bars for each charted row, with the goals that are ratios to the reference."""
    whole = completed(results)
    ratios_wanted = [goal for goal in GOALS if goal.kind in ("times", "ratio") and reached(goal, whole) is not None]
    wanted = {(goal.row, goal.side): goal for goal in ratios_wanted}
    groups = []
    for name in CHARTED:
        if name not in whole:
            continue
        ratios, goals = {}, {}
        for side, series in CHART_SERIES.items():
            times = times_as_fast(whole[name], side)
            if times is None:
                continue
            ratios[series] = times
            if (goal := wanted.get((name, side))) is not None:
                goals[series] = goal.wanted if goal.kind == "times" else 1 / goal.wanted
        if ratios:
            extrapolated = " (extrapolated)" if whole[name]["sides"][BASE].get("extrapolated") else ""
            groups.append(Group(f"{CHARTED[name]}{extrapolated}", ratios, goals))
    return groups
