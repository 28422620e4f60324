"""What a picture and a mask of a batch cost beside the model: the figures that docs/scale.md reckons with.

    python benchmarks/batch_costs.py

Each is of one core, and the median of some rounds: decoding and shrinking a JPEG file by its pixels, making a mask and
its run lengths by theirs, and the bytes that a row takes in a part, which come from real answers of the bundled model.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from clipseg import Segmenter
from clipseg.batch.columns import part_of, row_of, table_of
from clipseg.batch.items import Item
from clipseg.benchmark.materials import photograph
from clipseg.data.kinds import SEEN
from clipseg.data.scenes import SceneGenerator, SceneOptions
from clipseg.masks.masks import Masks
from clipseg.prompting.prompts import TextPrompt

SIDE = 352
LARGE_HW, SMALL_HW = (3000, 4000), (480, 640)
SCENE = 640  # pixels of a scene's side
ROWS = 256


def median(work: Callable[[], object], rounds: int) -> float:
    """-> milliseconds."""
    work()
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - begun))
    return statistics.median(times)


def decoding(size_hw: tuple[int, int], least: int | None, rounds: int) -> dict[str, float]:
    """A photograph's bytes -> what the model is shown of it, perhaps decoded at a reduced scale."""
    sink = io.BytesIO()
    photograph(size_hw).save(sink, "JPEG", quality=90)

    def shown() -> Image.Image:
        picture = Image.open(io.BytesIO(sink.getvalue()))
        if least is not None:
            picture.draft(None, (least, least))
        return picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)

    return {"ms": round(median(shown, rounds), 2), "file_bytes": len(sink.getvalue())}


def masks(size_hw: tuple[int, int], rounds: int) -> float:
    """-> milliseconds for a mask at full size, its run lengths, box, area and score, from logits."""
    coarse = torch.randn(10, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    logits = torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bicubic")[:, 0] * 4 - 2
    answer = Masks(logits, tuple(f"label {number}" for number in range(len(logits))), size_hw)
    ids = ["id"] * len(logits)
    return round(median(lambda: row_of(Item("a", "b"), answer, ids, heatmap=False), rounds) / len(logits), 3)


def row_bytes() -> dict[str, float]:
    """Answers of the bundled model to scenes, under three prompts of which one or two are there -> bytes of rows."""
    generator = SceneGenerator(SEEN, SceneOptions(size=SCENE))
    names = [one.name for one in generator.pictograms][:3]
    segmenter = Segmenter.from_pretrained("nano")
    rows, found = [], 0
    for number in range(ROWS):
        scene = generator.scene([7, 0, number])
        asked = [TextPrompt(generator.pictograms[kind].name) for kind in scene.kinds][:1]
        asked += [TextPrompt(name) for name in names if name not in {one.text for one in asked}][:2]
        answer = segmenter.segment(Image.fromarray(scene.picture), asked)
        item = Item(f"folder/{number:09}.jpg", f"s3://bucket/photos/folder/{number:09}.jpg")
        rows.append({**row_of(item, answer, ["0123456789abcdef"] * len(asked), heatmap=False), "ms": 20.0})
        found += int((answer.areas() > 0).sum())
    sizes = [len(part_of(table_of(kept, heatmap=False))) for kept in (rows, [_emptied(row) for row in rows])]
    return {
        "row": round(sizes[0] / ROWS, 1),
        "empty_row": round(sizes[1] / ROWS, 1),
        "found_a_row": round(found / ROWS, 2),
        "mask": round((sizes[0] - sizes[1]) / found, 1),
    }


def _emptied(row: dict[str, object]) -> dict[str, object]:
    """The same row as if nothing had been found."""
    count = len(row["prompt"])  # type: ignore[arg-type]
    nothing = {"rle_counts": ["0"] * count, "area": [0] * count, "bbox": [[0, 0, 0, 0]] * count, "score": [0.0] * count}
    return {**row, **nothing}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    megapixels = {"large": np.prod(LARGE_HW) / 1e6, "small": np.prod(SMALL_HW) / 1e6}
    figures = {
        "decode_large": decoding(LARGE_HW, None, rounds),
        "decode_large_reduced": decoding(LARGE_HW, 2 * SIDE, rounds),
        "decode_small": decoding(SMALL_HW, None, rounds),
        "mask_large_ms": masks(LARGE_HW, rounds),
        "mask_small_ms": masks(SMALL_HW, rounds),
        "bytes": row_bytes(),
        "megapixels": {name: round(float(size), 2) for name, size in megapixels.items()},
    }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
