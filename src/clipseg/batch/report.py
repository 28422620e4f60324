"""A run as a page to look at: what was found, shown on pictures; how sure, how large, how fast, and what went wrong."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipseg.batch.page import bars, chart, chip, facts, hue, page, share, sheet, spark, table, text, tiles
from clipseg.batch.reading import Picture, Run
from clipseg.batch.summary import EDGES, throughput
from clipseg.batch.survey import BINS, MS_EDGES, PromptSurvey, Ranked, Survey, survey
from clipseg.errors import PictureError, UsageError
from clipseg.formats.classes import one_line
from clipseg.formats.files import write_text
from clipseg.masks.draw import PALETTE, paint_masks
from clipseg.processing.images import FileContent, reduced_rgb

REPORT = "report.html"
THUMBNAIL = 336  # pixels of a thumbnail's longer side: twice what it is shown at
MOST_SHEETS = 24  # labels that have sheets of their own, those found most often
MOST_ROWS = 200  # labels in the table, likewise
ALPHA = 0.55
_MOMENTS = 48  # bars of the throughput


def write_report(
    out: str | os.PathLike[str],
    path: str | os.PathLike[str] | None = None,
    *,
    sample: int = 24,
    each: int = 6,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Path:
    """A batch run, finished or not -> its report, one HTML file at `path` or beside the run's parts, and where it is.

    It shows `sample` pictures drawn at random, always the same, and for each label `each` of the masks with the highest
    and the lowest scores. A picture that is not where it was any more is grey. Raises UsageError for numbers below 0
    and where there is no folder of this machine to write into, DataError for no run, and OutputError.
    """
    if sample < 0 or each < 0:
        raise UsageError(f"sample and each are numbers of pictures, 0 at least; got {sample} and {each}")
    run = Run(out)
    folder = run.folder.storage.folder
    if path is None and folder is None:
        raise UsageError(f"{run.folder.path} is not on this machine; say with -o where the report is to be")
    target = Path(path) if path is not None else (folder or Path()) / REPORT
    write_text(target, _page(run, survey(run, sample=sample, each=each), progress))
    return target


def _page(run: Run, found: Survey, progress: Callable[[int, int], None]) -> str:
    places = {label: place % len(PALETTE) for place, label in enumerate(run.labels)}
    shown = sorted((prompt for prompt in found.prompts if prompt.found), key=lambda one: -one.found)[:MOST_SHEETS]
    wanted = {number for prompt in shown for _, number in (*prompt.surest, *prompt.doubtful)} | set(found.sample)
    pictures: dict[int, tuple[Picture, Image.Image]] = {}
    for done, picture in enumerate(run.some(wanted)):
        progress(done, len(wanted))
        pictures[picture.number] = picture, _thumbnail(run, picture)
    drawn = [pictures[number] for number in found.sample]
    legend = "".join(f"<span>{chip(place)}{text(label)}</span>" for label, place in places.items())
    body = [
        *_head(run, found),
        *_prompts(found, places),
        *_charts(run, found),
        "<h2>Drawn at random</h2>",
        f"<p>{len(drawn)} of {found.counts.ok:,} pictures, with all their masks.</p>",
        f'<div class="legend">{legend}</div>' if len(places) <= len(PALETTE) else "",
        sheet((_painted(one, thumbnail, places), _labels_of(one), one.id) for one, thumbnail in drawn),
        *_sheets(shown, pictures, places),
        *_errors(found),
        f"<footer>Made by clipseg from {text(run.folder.path)}.</footer>",
    ]
    return page(f"{Path(run.folder.path).name}: {_title(run)}", body)


def _title(run: Run) -> str:
    pictures, prompts = run.description.rows, len(run.labels)
    return f"{pictures:,} picture{'s' * (pictures != 1)}, {prompts:,} prompt{'s' * (prompts != 1)}"


def _head(run: Run, found: Survey) -> list[str]:
    """-> title, what the run is, and its figures."""
    about, counts = run.description, found.counts
    settings = about.settings
    masks = sum(prompt.found for prompt in found.prompts)
    rate = throughput(run.folder)
    state = "finished" if run.finished else f"not finished: {counts.missing:,} pictures are missing"
    last = next(iter(run.folder.entries()[-1:]), {})
    if last.get("event") == "failed":
        state += f"; it was ended by {last.get('error')}"
    versions = ", ".join(f"{name} {version}" for name, version in about.versions.items())
    return [
        f"<h1>{text(_title(run))}</h1>",
        f'<p class="about">{text(Path(run.folder.path).name)}, {text(state)}</p>',
        tiles(
            [
                ("pictures done", f"{counts.ok:,}", False),
                ("pictures failed", f"{counts.errors:,}", counts.errors > 0),
                ("pictures missing", f"{counts.missing:,}", counts.missing > 0),
                ("masks that are not empty", f"{masks:,}", False),
                ("pictures a second", f"{rate['pictures_per_second']:,.4g}", False),
                ("worked on it", _lasting(rate["seconds"]), False),
            ]
        ),
        facts(
            [
                ("Pictures", ", ".join(settings.source)),
                ("Model", f"{settings.model} ({about.weights[:12]})"),
                ("Mask options", ", ".join(f"{name} {value}" for name, value in settings.mask.items()) or "defaults"),
                ("Begun", time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(about.created))),
                ("Versions", versions),
                ("Fingerprint", about.fingerprint),
            ]
        ),
    ]


def _prompts(found: Survey, places: Mapping[str, int]) -> list[str]:
    """-> a table with a row for each prompt, or for those found most often."""
    headings = [
        ("Prompt", "name"),
        ("Found in", "number"),
        ("Of the picture", "number"),
        ("Score", ""),
        ("Presence", ""),
    ]
    rows = []
    order = {prompt.label: place for place, prompt in enumerate(found.prompts)}
    told = sorted(sorted(found.prompts, key=lambda one: -one.found)[:MOST_ROWS], key=lambda one: order[one.label])
    for prompt in told:
        place = places[prompt.label]
        part = prompt.found / prompt.asked if prompt.asked else 0.0
        rows.append(
            (
                f"{chip(place)}{text(prompt.label)}",
                f"{prompt.found:,} of {prompt.asked:,} ({part:.1%}){share(part, place)}",
                f"{prompt.mean_share:.1%}",
                spark(prompt.scores.tolist(), hue(place)),
                spark(prompt.presences.tolist(), hue(place)),
            )
        )
    about = (
        "Found in: pictures whose mask is not empty. Of the picture: what such a mask covers, on average. Score: the "
        "mean probability inside a mask, from 0 to 1. Presence: how sure the model is that it is there at all, of all "
        "pictures. A mask for what is not there shows as low presence."
    )
    more = len(places) - len(told)
    rest = f"<p>and {more:,} more, found less often</p>" if more else ""
    return ["<h2>Prompts</h2>", f"<p>{text(about)}</p>", table(headings, rows), rest]


def _charts(run: Run, found: Survey) -> list[str]:
    """-> histograms of all prompts together, and the throughput."""
    steps = [f"{place / BINS:.2f} to {(place + 1) / BINS:.2f}" for place in range(BINS)]
    sizes = [f"{100 * low:g}% to {100 * high:g}%" for low, high in pairwise(EDGES)]
    edges = [_lasting(edge / 1000) for edge in MS_EDGES]
    first, last = (int(place) for place in np.flatnonzero(found.times)[[0, -1]]) if found.times.any() else (0, 0)
    taken, named = found.times[first : last + 1].tolist(), [f"{edge} and more" for edge in edges[first : last + 1]]
    drawn = [
        chart("Scores", "masks that are not empty", bars(_total(found, "scores"), steps, "0", "1")),
        chart("Presence", "all masks", bars(_total(found, "presences"), steps, "0", "1")),
        chart("Areas", "masks, by part of the picture", bars(_total(found, "areas"), sizes, "0%", "100%")),
        chart("Time", "pictures, by doubling times", bars(taken, named, edges[first], edges[last])),
    ]
    rates, spans = _throughput(run.folder.entries())
    if rates:
        drawn.append(chart("Throughput", "pictures a second", bars(rates, spans, "begin", spans[-1])))
    return ["<h2>Figures</h2>", f'<div class="charts">{"".join(drawn)}</div>']


def _total(found: Survey, name: str) -> list[int]:
    counts: list[int] = np.sum([getattr(prompt, name) for prompt in found.prompts], axis=0).tolist()
    return counts


def _throughput(entries: Sequence[Mapping[str, Any]]) -> tuple[list[float], list[str]]:
    """Entries of the log -> pictures a second in equal spans of the run, and the spans. Pauses are spans of nothing."""
    parts = [(float(one["time"]), float(one["seconds"]), int(one["rows"])) for one in entries if one["event"] == "part"]
    if not parts:
        return [], []
    begin, end = min(at - seconds for at, seconds, _ in parts), max(at for at, _, _ in parts)
    width = max(end - begin, 1e-3) / _MOMENTS
    rates = np.zeros(_MOMENTS)
    for at, seconds, rows in parts:  # a part's pictures are spread over the time that it took
        edges = begin + width * np.arange(_MOMENTS + 1)
        inside = np.clip(np.minimum(edges[1:], at) - np.maximum(edges[:-1], at - seconds), 0, None)
        if inside.sum() > 0:
            rates += rows * inside / inside.sum() / width
    return rates.tolist(), [f"after {_lasting(width * (place + 1))}" for place in range(_MOMENTS)]


def _lasting(seconds: float) -> str:
    """Seconds -> how a person says it: "60 ms", "48 s", "12 min 5 s", "3 h 7 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{1000 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
    minutes, hours = whole // 60, whole // 3600
    return f"{minutes} min {whole % 60} s" if hours == 0 else f"{hours:,} h {minutes % 60} min"


def _sheets(
    shown: Iterable[PromptSurvey], pictures: Mapping[int, tuple[Picture, Image.Image]], places: Mapping[str, int]
) -> list[str]:
    """-> for each label its surest and least sure masks."""
    body = ["<h2>Prompt by prompt</h2>", "<p>Each mask alone, with its score.</p>"]
    for prompt in shown:
        body.append(f'<div class="group"><h3>{chip(places[prompt.label])}{text(prompt.label)}</h3>')
        for name, ranked in (("Surest", prompt.surest), ("Least sure", prompt.doubtful)):
            body += [f"<h4>{name}</h4>", _ranked(prompt.label, ranked, pictures, places)]
        body.append("</div>")
    return body if len(body) > 2 else []


def _ranked(
    label: str, ranked: Ranked, pictures: Mapping[int, tuple[Picture, Image.Image]], places: Mapping[str, int]
) -> str:
    cells = []
    for score, number in ranked:
        picture, thumbnail = pictures[number]
        cells.append((_painted(picture, thumbnail, places, label), f"{score:.2f}", picture.id))
    return sheet(cells)


def _errors(found: Survey) -> list[str]:
    """-> what went wrong, by kind, and the first few pictures."""
    if not found.counts.errors:
        return []
    kinds = ", ".join(f"{kind}: {count:,}" for kind, count in found.kinds.most_common())
    rows = [(f"<code>{text(name)}</code>", text(error)) for name, error in found.failures]
    more = found.counts.errors - len(rows)
    return [
        "<h2>Errors</h2>",
        f"<p>{text(kinds)}</p>",
        table([("Picture", "name"), ("What happened", "")], rows),
        f"<p>and {more:,} more</p>" if more else "",
    ]


def _labels_of(picture: Picture) -> str:
    """-> how many masks of a picture are not empty."""
    return f"{sum(found.area > 0 for found in picture.found)}/{len(picture.found)}"


def _thumbnail(run: Run, picture: Picture) -> Image.Image:
    """A picture that was done -> it, small; grey where its file is not there any more."""
    height, width = picture.size_hw or (3, 4)
    scale = min(1.0, THUMBNAIL / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    try:
        whole, _ = reduced_rgb(FileContent(run.content(picture), picture.uri), THUMBNAIL)
    except PictureError:
        return Image.new("RGB", size, "#8b8f96")
    return whole.resize(size, Image.Resampling.LANCZOS)


def _painted(
    picture: Picture, thumbnail: Image.Image, places: Mapping[str, int], only: str | None = None
) -> Image.Image:
    """A picture and its thumbnail -> with its masks over it, or with those of one label, each in its colour."""
    small: dict[int, NDArray[np.bool_]] = {}
    for found in picture.found:
        label = one_line(found.label)
        if found.area and only in (None, label):
            mask = Image.fromarray(found.mask()).convert("L").resize(thumbnail.size, Image.Resampling.BOX)
            inside = np.asarray(mask) > 127
            place = places[label]
            small[place] = small[place] | inside if place in small else inside
    nothing = np.zeros((thumbnail.height, thumbnail.width), np.bool_)
    return paint_masks(thumbnail, (small.get(place, nothing) for place in range(max(small, default=-1) + 1)), ALPHA)
