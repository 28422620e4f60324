"""What is made of a large run: seconds and memory of reading, `finalize` and `report`, and the size of its rows.

    python benchmarks/batch_outputs.py --rows 20000            # a run without a model: drawn masks, no pictures
    python benchmarks/batch_outputs.py --rows 1000000 --only coco,report --out /data/made

No model is asked, so this tells what a run costs after it, and before it what listing costs. Rows are drawn: a few
thousand different ones, told apart by their ids.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from clipseg.batch.columns import table_of
from clipseg.batch.data_sets import WRITERS
from clipseg.batch.finalizing import finalize
from clipseg.batch.items import Item
from clipseg.batch.manifest import MANIFEST, manifest_of, sum_of, written
from clipseg.batch.reading import Run
from clipseg.batch.report import write_report
from clipseg.batch.run_folder import RunDescription, RunFolder
from clipseg.batch.settings import BatchConfig, deciding, fingerprint
from clipseg.batch.storage import storage_of
from clipseg.batch.wording import phrases
from clipseg.batch.wording import written as written_terms
from clipseg.masks.boxes import boxes_xyxy
from clipseg.masks.rle import compressed
from clipseg.prompting.prompts import TextPrompt

SIZE_HW = (480, 640)
DRAWN = 2000  # different rows
PART = 512


def drawn_rows(prompts: int) -> list[dict[str, Any]]:
    """-> rows with smooth masks of a hundredth to a third of the picture; of three prompts one finds something."""
    rng = np.random.default_rng(0)
    import torch

    rows = []
    for _ in range(DRAWN):
        row: dict[str, Any] = {name: [] for name in ("rle_counts", "area", "bbox", "score", "presence")}
        for _ in range(prompts):
            mask = np.zeros(SIZE_HW, bool)
            if rng.random() < 1 / 3:
                coarse = ndimage.zoom(rng.standard_normal((3, 4)), 160, order=3)
                mask = coarse > np.quantile(coarse, rng.uniform(0.67, 0.99))
            x0, y0, x1, y1 = boxes_xyxy(torch.from_numpy(mask)[None])[0].tolist()
            row["rle_counts"].append(compressed(mask)["counts"])
            row["area"].append(int(mask.sum()))
            row["bbox"].append([x0, y0, x1 - x0, y1 - y0])
            row["score"].append(float(rng.uniform(0.5, 1)) if mask.any() else 0.0)
            row["presence"].append(float(rng.uniform(0.5, 1)) if mask.any() else float(rng.uniform(0, 0.3)))
        rows.append(row)
    return rows


def make_run(out: Path, rows: int, prompts: int) -> RunFolder:
    """A finished run of so many pictures, none of which is there."""
    asked = [TextPrompt(f"prompt number {number}") for number in range(prompts)]
    config = BatchConfig(source=(str(out),), prompts=written_terms(asked), phrases=phrases(asked), rows_per_part=PART)
    ids = [f"{number // 1000:06}/{number:09}.jpg" for number in range(rows)]
    content = written(manifest_of(Item(name, f"/photos/{name}") for name in ids))
    decided = deciding(config, "0" * 64, "benchmark")
    name = fingerprint(decided, sum_of(content))
    folder = RunFolder(storage_of(out / f"run-{name[:12]}"))
    folder.storage.write(MANIFEST, content)
    folder.claim(RunDescription(config, name, decided, rows, PART, time.time(), {"clipseg": "benchmark"}))
    labels, drawn = [prompt.label for prompt in asked], drawn_rows(prompts)
    height, width = SIZE_HW
    for number in range(folder.description().parts):
        table = [
            {
                **drawn[row % DRAWN],
                "id": ids[row],
                "uri": f"/photos/{ids[row]}",
                "width": width,
                "height": height,
                "prompt": labels,
                "prompt_id": labels,
                "status": "ok",
                "error": None,
                "ms": 20.0,
            }
            for row in range(*folder.bounds(number))
        ]
        folder.write_part(number, table_of(table, heatmap=False))
    folder.finish({})
    return folder


def measured(work: Callable[[], object]) -> dict[str, float]:
    """Seconds and peak memory of a call, in a process of its own."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(_measure, (work,))


def _measure(work: Callable[[], object]) -> dict[str, float]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.perf_counter()
    work()
    seconds = time.perf_counter() - begun
    return {
        "seconds": round(seconds, 2),
        "mb": round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024),
    }


class Finalizing:
    """A call that can be handed to a process."""

    def __init__(self, out: Path, to: str) -> None:
        self.out, self.to = out, to

    def __call__(self) -> object:
        if self.to == "read":
            return sum(len(picture.found) for picture in Run(self.out).pictures())
        return write_report(self.out) if self.to == "report" else finalize(self.out, self.to)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--prompts", type=int, default=3)
    parser.add_argument("--only", default=",".join(("read", *WRITERS, "report")))
    parser.add_argument("--out", type=Path, help="keep what is made here, and use what was made before")
    arguments = parser.parse_args()
    out = arguments.out or Path(tempfile.mkdtemp())
    try:
        folder = RunFolder.inside(storage_of(out)) or make_run(out, arguments.rows, arguments.prompts)
        rows = folder.description().rows
        root = Path(folder.path)
        size = sum(path.stat().st_size for path in root.glob("parts/*"))
        figures: dict[str, Any] = {
            "rows": rows,
            "bytes_a_row": round(size / rows, 1),
            "manifest_bytes_a_row": round((root / MANIFEST).stat().st_size / rows, 1),
        }
        print(json.dumps(figures), flush=True)
        for to in arguments.only.split(","):
            found = measured(Finalizing(out, to))
            print(json.dumps({"made": to, **found, "rows_per_second": round(rows / found["seconds"])}), flush=True)
    finally:
        if arguments.out is None:
            shutil.rmtree(out)


if __name__ == "__main__":
    main()
