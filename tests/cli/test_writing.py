"""Files that are written behind the model, on the command line: whole, in order, and ended by what ends it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from clipseg.behind import StoppedError
from clipseg.cli import tasks
from clipseg.errors import OutputError
from clipseg.masks import png
from clipseg.processing.images import upright_size

pytestmark = pytest.mark.usefixtures("threads_end")

Stopped = Callable[[], bool]


def test_writing_is_behind_and_what_is_said_is_in_order(call, draw, folder, model, monkeypatch) -> None:
    for number in range(6):
        draw(f"in/{number}.png", (20 + number, 20))
    Path("in/3.png").write_text("no picture")
    by = set()
    save = png._write
    monkeypatch.setattr(png, "_write", lambda *given: (by.add(threading.current_thread().name), save(*given))[1])
    outcome = call("segment", "in", "-p", "cat", "--model", model, "-o", "out", "--batch-size", 2)
    assert outcome.code == 3
    assert [Path(record["picture"]).stem for record in outcome.records] == ["0", "1", "2", "4", "5"]
    assert by == {"clipseg-behind_0"}
    for record in outcome.records:
        assert upright_size(record["file"]) == (20, 20 + int(Path(record["picture"]).stem))
    by.clear()
    assert call("segment", "in/1.png", "-p", "cat", "--model", model, "-o", "out").code == 0
    assert by == {"MainThread"}, "a single picture does not pay for a thread"


def test_a_full_disk_ends_the_command_where_it_happened(call, draw, folder, model, monkeypatch) -> None:
    for number in range(6):
        draw(f"in/{number}.png")
    written = tasks._written

    def failing(*given: Any) -> Any:
        if given[5].number == 3:
            raise OutputError("out/2.png cannot be written: no space")
        return written(*given)

    monkeypatch.setattr(tasks, "_written", failing)
    outcome = call("segment", "in", "-p", "cat", "--model", model, "-o", "out", "--no-overlay", "--batch-size", 1)
    assert outcome.code == 7
    assert len(outcome.records) == 2
    assert sorted(path.name for path in Path("out").iterdir()) == ["0.cat.mask.png", "1.cat.mask.png"]


def test_masks_that_are_many_are_left_when_it_is_to_stop(folder, model) -> None:
    from clipseg import Segmenter
    from clipseg.cli.inputs import Picture
    from clipseg.cli.planning import Job, Plan, read_template
    from clipseg.cli.writing import write
    from clipseg.formats.outputs import read_formats

    segmenter = Segmenter.from_pretrained(model)
    masks = segmenter.segment(Image.new("RGB", (20, 20)), ["cat", "dog", "bus"])
    plan = Plan(
        folder,
        read_template(None, instances=False),
        masks.labels,
        tuple(read_formats([], soft=False, instances=False)),
        False,
    )
    asked = iter([False, True])
    with pytest.raises(StoppedError):
        write(plan, Job(Picture("a.png"), 1, "a", "a.png"), masks, None, lambda: next(asked))
    assert not (folder / "a.bus.mask.png").exists()


def test_reduced_decoding_reads_a_large_jpeg_in_part_and_draws_on_all_of_it(
    call, draw, folder, model, monkeypatch
) -> None:
    from clipseg.processing import on_demand

    decoded, seen = on_demand.decoded, []
    monkeypatch.setattr(on_demand, "decoded", lambda source: (seen.append(str(source)), decoded(source))[1])
    for name in "ab":
        draw(f"in/{name}.jpg", (700, 520))
    arguments = ("segment", "in", "-p", "cat", "--model", model, "--reduced-decoding")
    assert len(call(*arguments, "-o", "bare", "--no-overlay").records) == 2
    assert seen == []
    assert upright_size("bare/a.cat.mask.png") == (520, 700)
    assert len(call(*arguments, "-o", "drawn").records) == 2
    assert seen == ["in/a.jpg", "in/b.jpg"]
    assert upright_size("drawn/a.overlay.png")[1] == 700
