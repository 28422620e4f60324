"""A PhraseCut as it lies on disk, made of coloured shapes, and what its masks must be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

Row = dict[str, Any]

COLOURS = {"red": (220, 40, 40), "green": (40, 180, 60), "blue": (50, 80, 220), "white": (240, 240, 240)}
SHAPES = ("box", "diamond", "wedge")
DROPPED = 150417
"""One of the pictures whose annotations are for another size."""
UNIQUE = "the one and only thing"


def write_phrasecut(
    root: Path, split: str = "train", pictures: int = 12, seed: int = 0, first_id: int = 1, extra: tuple[Row, ...] = ()
) -> list[Row]:
    """Write a split of `pictures` pictures into a folder, beside what is there already -> its rows, `extra` at the end.

    Each picture shows two shapes and has three phrases: one colour and shape each, which occur in other pictures as
    well, and "a shape" for both. The first picture has one phrase more, which occurs nowhere else. Pictures are
    rectangles of several sizes, one is grey, and one is of those whose ids the paper's loader drops.
    """
    rng = np.random.default_rng([seed, first_id])
    (root / "images").mkdir(parents=True, exist_ok=True)
    listing: list[Row] = []
    rows: list[Row] = []
    for place in range(pictures):
        number = DROPPED if split == "train" and place == pictures - 1 else first_id + place
        width, height = (96, 64) if place % 3 == 0 else (56, 80) if place % 3 == 1 else (72, 72)
        image = Image.new("RGB", (width, height), (90, 90, 90))
        things = []
        for column in range(2):
            colour = list(COLOURS)[(place + 2 * column) % len(COLOURS)]
            shape = SHAPES[(place // 2 + column) % len(SHAPES)]
            left, right = column * width / 2 + 3, (column + 1) * width / 2 - 3
            top, bottom = 4 + float(rng.integers(0, 8)), height - 4 - float(rng.integers(0, 8))
            points = _outline(shape, left, top, right, bottom)
            ImageDraw.Draw(image).polygon([tuple(point) for point in points], COLOURS[colour])
            things.append((f"{colour} {shape}", [left, top, right - left, bottom - top], points))
        (image.convert("L") if place == 1 else image).save(root / "images" / f"{number}.jpg", quality=95)
        listing.append({
            "image_id": number, "coco_id": None, "flickr_id": None, "width": width, "height": height,
            "url": f"https://example.org/{number}.jpg", "split": split,
        })  # fmt: skip
        asked = [(name, [thing]) for thing in things for name in (thing[0],)] + [("a shape", things)]
        asked += [(UNIQUE, [things[0]])] if place == 0 else []
        rows += [_row(number, task, phrase, meant) for task, (phrase, meant) in enumerate(asked)]
    rows += extra
    list_file = root / "image_data_split3000.json"
    listing += json.loads(list_file.read_text()) if list_file.exists() else []
    list_file.write_text(json.dumps(listing))
    (root / f"refer_{split}.json").write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n")
    return rows


def write_all_splits(root: Path) -> None:
    """Write train (12 pictures), val (6), test (4) and miniv (2, pictures of their own here)."""
    for first_id, (split, pictures) in enumerate({"train": 12, "val": 6, "test": 4, "miniv": 2}.items()):
        write_phrasecut(root, split, pictures, first_id=1 + 100 * first_id)


def mask_of(row: Row, size_hw: tuple[int, int]) -> np.ndarray:
    """A row -> the pixels whose middle is inside a part, by counting crossings: an implementation of its own."""
    height, width = size_hw
    y, x = np.mgrid[:height, :width] + 0.5
    mask = np.zeros(size_hw, bool)
    for part in (part for instance in row["Polygons"] for part in instance):
        inside = np.zeros(size_hw, bool)
        for (x0, y0), (x1, y1) in zip(part, part[1:] + part[:1], strict=True):
            if y0 != y1:
                crosses = (y0 <= y) != (y1 <= y)
                inside ^= crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
        mask |= inside
    return mask


def _outline(shape: str, left: float, top: float, right: float, bottom: float) -> list[list[float]]:
    middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
    if shape == "box":
        return [[left, top], [right, top], [right, bottom], [left, bottom]]
    if shape == "diamond":
        return [[middle_x, top], [right, middle_y], [middle_x, bottom], [left, middle_y]]
    return [[left, bottom], [middle_x, top], [right, bottom]]


def _row(number: int, task: int, phrase: str, meant: list[tuple[str, list[float], list[list[float]]]]) -> Row:
    *attributes, name = phrase.split()
    return {
        "task_id": f"{number}__{task}",
        "image_id": number,
        "ann_ids": [1000 * number + place for place in range(len(meant))],
        "instance_boxes": [box for _, box, _ in meant],
        "Polygons": [[points] for _, _, points in meant],
        "phrase": phrase,
        "phrase_structure": {
            "name": name, "attributes": attributes, "relation_ids": [], "relation_descriptions": [], "type": "name",
        },
    }  # fmt: skip
