"""A run as a page: figures that are right, pictures that show masks, and nothing that runs."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import made_runs
from clipseg.batch import report
from clipseg.batch import survey as surveying
from clipseg.batch.reading import Run
from clipseg.batch.report import write_report
from clipseg.batch.summary import EDGES
from clipseg.batch.survey import Survey, survey
from clipseg.errors import UsageError
from clipseg.masks.draw import PALETTE
from made_masks import rectangle
from made_runs import LABELS, SHELF, SIZE_HW

EVIL = "<script>alert('&\"')</script>\n"


class Elements(HTMLParser):
    """The elements of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def pictures(self) -> dict[str, list[np.ndarray]]:
        """Name -> the pictures that the page shows under it."""
        found: dict[str, list[np.ndarray]] = {}
        for tag, attributes in self.tags:
            if tag == "img":
                content = base64.b64decode((attributes["src"] or "").removeprefix("data:image/jpeg;base64,"))
                found.setdefault(attributes["alt"] or "", []).append(np.array(Image.open(io.BytesIO(content))))
        return found


def of(out: Path, **options: int) -> Survey:
    return survey(Run(out), **options)


# Figures


def test_what_was_found_is_counted(out: Path) -> None:
    found = of(out)
    assert tuple(found.counts) == (4, 1, 0)
    assert [prompt.label for prompt in found.prompts] == list(LABELS)
    done = [inside for inside in SHELF.values() if inside is not None]
    for prompt in found.prompts:
        shares = [inside[prompt.label].mean() for inside in done]
        assert prompt.asked == 4
        assert prompt.found == prompt.scores.sum() == prompt.areas.sum() == sum(share > 0 for share in shares) == 3
        assert prompt.presences.sum() == 4
        assert prompt.presences[0] == 1  # the empty mask
        assert prompt.mean_share == pytest.approx(sum(shares) / 3)
        assert prompt.areas.tolist() == np.histogram([share for share in shares if share], EDGES)[0].tolist()
    assert dict(found.kinds) == {"PictureError": 1}
    assert found.failures == [("b/broken.jpg", "PictureError: b/broken.jpg is no picture")]
    assert found.times.tolist()[:5] == [0, 0, 3, 2, 0]  # 5 ms three times, 10 ms twice


def test_figures_do_not_depend_on_the_parts(tmp_path: Path, shelf: Path) -> None:
    found = []
    for rows in (1, 3, 100):
        made_runs.run(tmp_path / str(rows), shelf, part_rows=rows)
        found.append(of(tmp_path / str(rows), sample=2, each=1))
    assert len({str(one.sample) for one in found}) == 1
    for one in found[1:]:
        for ours, theirs in zip(one.prompts, found[0].prompts, strict=True):
            assert (ours.surest, ours.doubtful) == (theirs.surest, theirs.doubtful)
            assert ours.share == pytest.approx(theirs.share)


def test_surest_and_least_sure(tmp_path: Path) -> None:
    shelf = {f"{n}.jpg": {"a cat": rectangle(SIZE_HW, (0, 0, n, n))} for n in range(1, 9)}
    run = made_runs.run(tmp_path / "out", made_runs.pictures(tmp_path / "shelf", shelf), shelf, ("a cat",))
    for number in sorted(run.done()):  # the n-th picture's score is n tenths and a little
        table = run.read_part(number)
        scores = [[int(name[0]) / 10 + 0.02] for name in table.column("id").to_pylist()]
        place = table.schema.get_field_index("score")
        run.write_part(number, table.set_column(place, "score", [scores]).cast(table.schema))
    (prompt,) = of(tmp_path / "out", each=3).prompts
    assert [round(score, 2) for score, _ in prompt.surest] == [0.82, 0.72, 0.62]
    assert [number for _, number in prompt.surest] == [8, 7, 6]
    assert [number for _, number in prompt.doubtful] == [1, 2, 3]
    assert np.flatnonzero(prompt.scores).tolist() == list(range(2, 17, 2))


# The page


def test_the_page_shows_masks_on_pictures(out: Path, shelf: Path) -> None:
    path = write_report(out, sample=4, each=1)
    assert path.parent.parent == out
    page = Elements(path.read_text(encoding="utf-8"))
    shown = page.pictures()
    assert shown.keys() == {name for name, inside in SHELF.items() if inside is not None}
    drawn = shown["c/four.jpg"][0].astype(int)
    plain = made_runs.opened(shelf / "c/four.jpg").astype(int)
    assert drawn.shape == plain.shape
    masks = SHELF["c/four.jpg"] or {}
    for mask, colour in zip(masks.values(), PALETTE, strict=False):
        # JPEG moves colours a little; half a mask's colour moves them more
        assert np.abs(drawn[mask] - colour).mean() < 0.75 * np.abs(plain[mask] - colour).mean()
    assert np.abs(drawn - plain)[~np.any(list(masks.values()), axis=0)].mean() < 12
    for text in ("4", "pictures done", "pictures failed", *LABELS, "b/broken.jpg is no picture", "Throughput"):
        assert text in page.text


def test_nothing_that_a_name_holds_is_markup(tmp_path: Path) -> None:
    mask = np.ones(SIZE_HW, bool)
    shelf = {"<img src=x onerror=y>.png": {EVIL: mask}, "'\"&.jpg": None}
    out = tmp_path / "out"
    made_runs.run(out, made_runs.pictures(tmp_path / "shelf", shelf), shelf, (EVIL,))
    page = write_report(out).read_text(encoding="utf-8")
    elements = Elements(page)
    tags = {tag for tag, _ in elements.tags}
    assert not tags & {"script", "link", "iframe", "object"}
    assert not any(name.startswith("on") or name == "href" for _, attributes in elements.tags for name in attributes)
    assert all((attributes.get("src") or "data:").startswith("data:") for _, attributes in elements.tags)
    assert EVIL.strip() in elements.text
    assert "default-src 'none'" in page


def test_a_picture_that_is_gone_is_grey(out: Path, shelf: Path) -> None:
    for path in shelf.rglob("*.*"):
        path.unlink()
    shown = Elements(write_report(out).read_text(encoding="utf-8")).pictures()
    assert np.ptp(shown["b/one.jpg"][0][0, 10:19], axis=0).max() < 20  # where no mask is
    assert shown["a/two.png"][0].shape == (*SIZE_HW, 3)


def test_a_run_that_has_hardly_begun(tmp_path: Path, shelf: Path) -> None:
    made_runs.run(tmp_path / "out", shelf, parts=0).write_log("failed", error="OutputError: the disk is full")
    page = Elements(write_report(tmp_path / "out", tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "not finished: 5 pictures are missing; it was ended by OutputError: the disk is full" in page.text
    assert not page.pictures()


def test_pictures_with_prompts_of_their_own(tmp_path: Path) -> None:
    shelf = dict(SHELF)
    shelf["a/two.png"] = {"wood": rectangle(SIZE_HW, (0, 0, 9, 9))}
    made_runs.run(tmp_path / "out", made_runs.pictures(tmp_path / "shelf", shelf), shelf, own={"a/two.png": ["wood"]})
    assert [(one.label, one.asked, one.found) for one in of(tmp_path / "out").prompts] == [
        ("a cat", 3, 2),
        ("the dog", 3, 3),
        ("wood", 1, 1),
    ]
    assert re.search(r"wood\s*1 of 1", Elements(write_report(tmp_path / "out").read_text(encoding="utf-8")).text)


def test_thousands_of_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surveying, "MOST_PROMPTS", 40)
    monkeypatch.setattr(report, "MOST_ROWS", 30)
    monkeypatch.setattr(report, "MOST_SHEETS", 2)
    shelf = {f"{n:02}.jpg": {f"thing {n}": rectangle(SIZE_HW, (0, 0, 9, 9))} for n in range(60)}
    own = {name: list(inside) for name, inside in shelf.items()}
    made_runs.run(tmp_path / "out", made_runs.pictures(tmp_path / "shelf", shelf), shelf, ("wood",), own=own)
    elements = Elements(write_report(tmp_path / "out").read_text(encoding="utf-8"))
    assert "60 pictures, 61 prompts" in elements.text
    assert "and 31 more, found less often" in elements.text
    assert [tag for tag, _ in elements.tags].count("h3") == 2


def test_numbers_below_nothing(out: Path) -> None:
    with pytest.raises(UsageError, match="sample and each"):
        write_report(out, sample=-1)
