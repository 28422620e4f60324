"""What a run would take, from a sample of its pictures: nothing is written."""

from __future__ import annotations

import time
from dataclasses import dataclass

from clipseg.batch.columns import ERROR, part_of, table_of
from clipseg.batch.items import Item
from clipseg.batch.jobs import Job
from clipseg.batch.manifest import manifest_of
from clipseg.batch.parts import Loading, load_model
from clipseg.batch.rows import SegmentRows
from clipseg.batch.sources import find_items

SAMPLE = 32
"""Pictures that are done for an estimate, evenly spread over all."""


@dataclass(frozen=True)
class Estimate:
    """What a run is expected to take.

    Fields
        pictures     in all
        parts        that they are cut into
        sample       pictures that were done for this
        errors       of them could not be
        per_second   pictures a second, of one worker of this machine
        seconds      for all, by as many workers as were asked for, as if each had a machine like this
        bytes        of all results
    """

    pictures: int
    parts: int
    sample: int
    errors: int
    per_second: float
    seconds: float
    bytes: int


def estimate(job: Job, loading: Loading, workers: int = 1) -> Estimate:
    """What to do -> what it would take. Raises as beginning a run does."""
    config = job.config
    table = manifest_of(find_items(config.source), config.limit)
    rows = len(table)
    places = sorted({number * rows // min(SAMPLE, rows) for number in range(min(SAMPLE, rows))})
    columns = table.take(places).to_pydict()
    items = [Item(*values) for values in zip(*columns.values(), strict=True)]
    segment = SegmentRows(load_model(config, loading), config, job.prompts, job.negative)
    segment.embed()
    list(segment.rows(items[:1]))  # what only the first picture takes
    begun = time.perf_counter()
    done = list(segment.rows(items))
    seconds = time.perf_counter() - begun
    rate = len(items) / seconds
    # What each part begins and ends with weighs more in a small one, as parts of a small collection are.
    size = len(part_of(table_of(done, heatmap=config.heatmap))) * rows // len(items)
    return Estimate(
        pictures=rows,
        parts=-(-rows // config.part_size(rows)),
        sample=len(items),
        errors=sum(row["status"] == ERROR for row in done),
        per_second=round(rate, 3),
        seconds=round(rows / (rate * workers), 1),
        bytes=size,
    )
