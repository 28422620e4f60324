"""People's own data sets, written as the tools of the field write them: the same four pictures in every format.

Each writer takes a folder and gives it back; `TRUTH` is what has to be read, `WRITERS` names them all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from clipseg.formats.png import label_picture
from clipseg.masks import rle

Box = tuple[int, int, int, int]  # x0, y0, x1, y1, half-open

SIZES: dict[str, tuple[int, int]] = {"cat_1": (40, 30), "cat_2": (44, 32), "cup_3": (30, 40), "room_4": (40, 30)}
"""Stem -> width and height."""

BOXES: dict[str, dict[str, Box]] = {
    "cat_1": {"cat": (5, 4, 20, 24)},
    "cat_2": {"cat": (2, 2, 14, 12), "red cup": (20, 8, 36, 26)},
    "cup_3": {"red cup": (8, 10, 26, 30)},
    "room_4": {},
}
"""Stem -> what is in the picture, and where."""

NAMES = ("cat", "red cup")
COLOURS = {"cat": (200, 120, 40), "red cup": (200, 20, 30)}


def mask(stem: str, name: str) -> NDArray[np.bool_]:
    width, height = SIZES[stem]
    inside = np.zeros((height, width), np.bool_)
    x0, y0, x1, y1 = BOXES[stem][name]
    inside[y0:y1, x0:x1] = True
    return inside


TRUTH = {(stem, name): mask(stem, name) for stem, boxes in BOXES.items() for name in boxes}
"""(stem, thing) -> mask (H, W) of everything that is marked."""


def picture(stem: str) -> Image.Image:
    image = Image.new("RGB", SIZES[stem], (90, 110, 100))
    for name, (x0, y0, x1, y1) in BOXES[stem].items():
        ImageDraw.Draw(image).rectangle((x0, y0, x1 - 1, y1 - 1), fill=COLOURS[name])
    return image


def write_pictures(folder: Path, *stems: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for stem in stems or BOXES:
        picture(stem).save(folder / f"{stem}.jpg", quality=95)


def save_mask(path: Path, inside: NDArray[np.bool_]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(inside.astype(np.uint8) * 255).save(path)


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


# Tables


def _flat(root: Path) -> Path:
    write_pictures(root / "images")
    for (stem, name), inside in TRUTH.items():
        save_mask(root / "masks" / f"{stem}_{name.replace(' ', '_')}.png", inside)
    return root


def _mask_name(stem: str, name: str) -> str:
    return f"{stem}_{name.replace(' ', '_')}.png"


def csv(root: Path) -> Path:
    rows = [f"images/{stem}.jpg,masks/{_mask_name(stem, name)},{name}" for stem, name in TRUTH]
    write_text(_flat(root) / "data.csv", "\n".join(["image,mask,phrase", *rows, "images/room_4.jpg,,cat"]) + "\n")
    return root


def semicolons(root: Path) -> Path:
    """As a spreadsheet of another country saves it, with a byte order mark."""
    rows = [f'{stem}.jpg;{_mask_name(stem, name)};"{name}"' for stem, name in TRUTH]
    write_text(_flat(root) / "data.csv", "\ufeff" + "\r\n".join(["Image;Mask;Text", *rows]))
    return root


def jsonl(root: Path) -> Path:
    rows = [{"image": f"{s}.jpg", "mask": _mask_name(s, n), "phrase": [n, f"the {n}"]} for s, n in TRUTH]
    write_text(_flat(root) / "data.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return root


def prompts(root: Path) -> Path:
    """The list of fine-tuners of medical sets: a file for each split, prompts from none to a sentence."""
    rows = [
        {
            "img_name": f"{stem}.jpg",
            "mask_name": _mask_name(stem, name),
            "prompts": {"p0": "", "p1": name, "p2": [f"one {name}", f"a {name}"], "p3": f"a {name} in a picture"},
        }
        for stem, name in TRUTH
    ]
    _flat(root)
    write_text(root / "anns" / "train.json", json.dumps(rows[:2], indent=2))
    write_text(root / "anns" / "val.json", json.dumps(rows[2:3], indent=2))
    write_text(root / "anns" / "test.json", json.dumps(rows[3:], indent=2))
    return root


# Names of files and folders


def folders(root: Path) -> Path:
    write_pictures(root / "images")
    for (stem, name), inside in TRUTH.items():
        save_mask(root / "masks" / name.replace(" ", "_") / f"{stem}.png", inside)
    return root


def dotted(root: Path) -> Path:
    write_pictures(root / "images")
    for (stem, name), inside in TRUTH.items():
        save_mask(root / "masks" / f"{stem}.{name.replace(' ', '-')}.png", inside)
    return root


def beside(root: Path) -> Path:
    """As `clipseg segment` writes masks."""
    write_pictures(root)
    for (stem, name), inside in TRUTH.items():
        save_mask(root / f"{stem}.{name.replace(' ', '-')}.mask.png", inside)
    return root


# COCO


def coco_content(*stems: str, form: str = "polygons") -> dict[str, Any]:
    images, annotations = [], []
    for number, stem in enumerate(BOXES, 1):
        if stem not in (stems or BOXES):
            continue
        width, height = SIZES[stem]
        images.append({"id": number, "file_name": f"{stem}.jpg", "width": width, "height": height})
        for name, (x0, y0, x1, y1) in BOXES[stem].items():
            inside = mask(stem, name)
            half = (x0 + x1) // 2
            written: Mapping[str, Any] = {
                # two halves, as one thing behind a post is annotated
                "polygons": [[x0, y0, half, y0, half, y1, x0, y1], [half, y0, x1, y0, x1, y1, half, y1]],
                "rle": rle.compressed(inside),
                "plain": rle.plain(inside),
            }
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": 3 + 4 * NAMES.index(name),
                    "segmentation": written[form],
                    "area": int(inside.sum()),
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "iscrowd": 0,
                }
            )
    categories = [{"id": 3 + 4 * number, "name": name.replace(" ", "_")} for number, name in enumerate(NAMES)]
    return {"info": {"year": 2026}, "images": images, "annotations": annotations, "categories": categories}


def write_json(path: Path, content: Any) -> None:
    """A row on each line, so that a line means a row."""
    if isinstance(content, dict):
        parts = []
        for key, value in content.items():
            rows = ",\n".join(json.dumps(row) for row in value) if isinstance(value, list) else ""
            parts.append(
                f"{json.dumps(key)}: [\n{rows}\n]" if isinstance(value, list) else f'"{key}": {json.dumps(value)}'
            )
        write_text(path, "{" + ",\n".join(parts) + "}\n")
    else:
        write_text(path, "[" + ",\n".join(json.dumps(row) for row in content) + "]\n")


def coco(root: Path) -> Path:
    write_pictures(root / "images")
    write_json(root / "annotations" / "instances_default.json", coco_content())
    return root


def coco_rle(root: Path) -> Path:
    write_pictures(root)
    write_json(root / "result.json", coco_content(form="rle"))
    return root


def coco_plain(root: Path) -> Path:
    write_pictures(root / "images")
    write_json(root / "result.json", coco_content(form="plain"))
    return root


def coco_2017(root: Path) -> Path:
    """The folders of COCO itself, with annotations that are no masks beside."""
    for split, stems in (("train", ("cat_1", "cat_2")), ("val", ("cup_3", "room_4"))):
        write_pictures(root / f"{split}2017", *stems)
        write_json(root / "annotations" / f"instances_{split}2017.json", coco_content(*stems))
        captions = [{"id": 1, "image_id": 1, "caption": "a cat"}]
        content = {**coco_content(*stems), "annotations": captions}
        write_json(root / "annotations" / f"captions_{split}2017.json", content)
    return root


def coco_roboflow(root: Path) -> Path:
    for split, stems in (("train", ("cat_1", "cat_2")), ("valid", ("cup_3", "room_4"))):
        write_pictures(root / split, *stems)
        write_json(root / split / "_annotations.coco.json", coco_content(*stems))
    return root


# YOLO


def yolo_lines(stem: str) -> str:
    width, height = SIZES[stem]
    lines = []
    for name, (x0, y0, x1, y1) in BOXES[stem].items():
        points = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
        values = " ".join(f"{x / width:.6f} {y / height:.6f}" for x, y in points)
        lines.append(f"{NAMES.index(name)} {values}\n")
    return "".join(lines)


def yolo(root: Path) -> Path:
    for split, stems in (("train", ("cat_1", "cat_2")), ("val", ("cup_3", "room_4"))):
        write_pictures(root / "images" / split, *stems)
        for stem in stems:
            write_text(root / "labels" / split / f"{stem}.txt", yolo_lines(stem))
    write_text(
        root / "data.yaml",
        "# made by hand\npath: .  # here\ntrain: images/train\nval: images/val\ntest:\n\nnc: 2\nnames:\n  0: cat\n"
        "  1: red cup\n",
    )
    return root


def yolo_roboflow(root: Path) -> Path:
    for split, stems in (("train", ("cat_1", "cat_2")), ("valid", ("cup_3", "room_4"))):
        write_pictures(root / split / "images", *stems)
        for stem in stems:
            write_text(root / split / "labels" / f"{stem}.txt", yolo_lines(stem))
    write_text(
        root / "data.yaml",
        "train: ../train/images\nval: ../valid/images\n\nnc: 2\nnames: ['cat', 'red cup']\n\nroboflow:\n  version: 1\n",
    )
    return root


def yolo_lists(root: Path) -> Path:
    """Splits as text files, names as dashes."""
    write_pictures(root / "images")
    for stem in BOXES:
        write_text(root / "labels" / f"{stem}.txt", yolo_lines(stem))
    write_text(root / "train.txt", "./images/cat_1.jpg\n./images/cat_2.jpg\n")
    write_text(root / "val.txt", "images/cup_3.jpg\nimages/room_4.jpg\n")
    write_text(root / "set.yaml", "path: ../elsewhere\ntrain: [train.txt]\nval: val.txt\nnames:\n- cat\n- red cup\n")
    return root


# Pascal VOC


def voc_map(stem: str) -> NDArray[np.uint8]:
    width, height = SIZES[stem]
    numbers = np.zeros((height, width), np.uint8)
    for name in BOXES[stem]:
        numbers[mask(stem, name)] = 1 + NAMES.index(name)
    numbers[:, -1] = 255
    return numbers


def voc(root: Path) -> Path:
    write_pictures(root / "JPEGImages")
    for stem in BOXES:
        path = root / "SegmentationClass" / f"{stem}.png"
        path.parent.mkdir(exist_ok=True)
        label_picture(voc_map(stem)).save(path)
    lists = root / "ImageSets" / "Segmentation"
    write_text(lists / "train.txt", "cat_1\ncat_2\n")
    write_text(lists / "val.txt", "cup_3\nroom_4\n")
    write_text(lists / "trainval.txt", "cat_1\ncat_2\ncup_3\nroom_4\n")
    write_text(
        root / "labelmap.txt", "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:128,0,0::\nred cup:0,128,0::\n"
    )
    return root


def voc_colours(root: Path) -> Path:
    """As annotation tools export it: pictures in the colours of the label map, one list named default."""
    voc(root)
    colours = np.zeros((256, 3), np.uint8)
    colours[[1, 2, 255]] = (250, 50, 83), (51, 221, 255), (224, 224, 192)
    for stem in BOXES:
        Image.fromarray(colours[voc_map(stem)]).save(root / "SegmentationClass" / f"{stem}.png")
    for name in ("train", "val", "trainval"):
        (root / "ImageSets" / "Segmentation" / f"{name}.txt").unlink()
    write_text(root / "ImageSets" / "Segmentation" / "default.txt", "cat_1\ncat_2\ncup_3\nroom_4\n")
    write_text(root / "labelmap.txt", "background:0,0,0::\ncat:250,50,83::\nred cup:51,221,255::\n")
    return root


def voc_labelme(root: Path) -> Path:
    """As labelme exports it: no lists, a file with the names of classes."""
    voc(root)
    for path in (root / "ImageSets" / "Segmentation").iterdir():
        path.unlink()
    (root / "labelmap.txt").unlink()
    write_text(root / "class_names.txt", "_background_\ncat\nred cup\n")
    (root / "SegmentationClass").rename(root / "SegmentationClassPNG")
    return root


WRITERS: dict[str, Callable[[Path], Path]] = {
    writer.__name__: writer
    for writer in (
        *(csv, semicolons, jsonl, prompts, folders, dotted, beside),
        *(coco, coco_rle, coco_plain, coco_2017, coco_roboflow),
        *(yolo, yolo_roboflow, yolo_lists, voc, voc_colours, voc_labelme),
    )
}
