"""Segment the example scenes with text, picture and mixed prompts, and say how right the masks are.

    python examples/demo.py --out out/demo

Writes an overlay for each row and a contact sheet, and prints the IoU of every mask with the true one.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from clipseg import ImagePrompt, Segmenter, TextPrompt
from clipseg.masks.draw import contact_sheet
from clipseg.masks.png import save_picture
from clipseg.metrics import iou_per_mask
from clipseg.prompting.prompts import Prompt

SCENES = Path(__file__).parent / "scenes"
THRESHOLD = 0.5


@dataclass(frozen=True)
class Row:
    """One picture under some prompts, and the names whose true masks they should find."""

    title: str
    scene: str
    prompts: list[Prompt]
    names: list[str]


def truth(scene: str) -> dict[str, np.ndarray]:
    """A scene's name -> the true mask (H, W) of each thing in it by name."""
    entries = json.loads((SCENES / "scenes.json").read_text(encoding="utf-8"))
    names = next(entry["names"] for entry in entries if entry["picture"] == f"{scene}.png")
    labels = np.asarray(Image.open(SCENES / f"{scene}.masks.png"))
    return {name: labels == number for number, name in enumerate(names, start=1)}


def rows() -> list[Row]:
    """-> what the demo asks."""
    asked = []
    for scene in ("one", "two", "three"):
        names = list(truth(scene))
        asked.append(Row(f"text: {', '.join(names)}", scene, [TextPrompt(name) for name in names], names))
    lion = ImagePrompt(SCENES / "four_example.png", mask=truth("four_example")["lion"], label="example of a lion")
    zebra = ImagePrompt(
        SCENES / "unseen_example.png", mask=truth("unseen_example")["zebra"], label="example of a zebra"
    )
    asked.append(Row("picture: an example of a lion", "four", [lion], ["lion"]))
    asked.append(Row("mixed: half text, half picture", "four", [0.5 * TextPrompt("a lion") + 0.5 * lion], ["lion"]))
    asked.append(Row("picture: a kind never seen in training", "unseen", [zebra], ["zebra"]))
    return asked


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="folder for the pictures")
    parser.add_argument("--model", default="nano", help="a folder, nano, or a hub id")
    arguments = parser.parse_args()

    segmenter = Segmenter.from_pretrained(arguments.model)
    sheet, titles, scores = [], [], []
    for number, row in enumerate(rows(), start=1):
        begin = time.perf_counter()
        masks = segmenter.segment(SCENES / f"{row.scene}.png", row.prompts)
        seconds = time.perf_counter() - begin
        true = torch.from_numpy(np.stack([truth(row.scene)[name] for name in row.names]))
        ious = iou_per_mask(masks.binary(THRESHOLD), true)
        overlay = masks.overlay(threshold=THRESHOLD)
        path = arguments.out / f"{number}-{row.scene}.overlay.png"
        save_picture(path, overlay)
        sheet.append(overlay)
        titles.append(row.title)
        scores += ious.tolist()
        print(f"{row.title}  ({seconds * 1000:.0f} ms)")
        for label, score, iou in zip(masks.labels, masks.scores().tolist(), ious.tolist(), strict=True):
            print(f"    {label:<32} score {score:.2f}   IoU with the true mask {iou:.2f}")
    path = arguments.out / "contact_sheet.png"
    save_picture(path, contact_sheet(sheet, columns=3, titles=titles))
    print(f"mean IoU {sum(scores) / len(scores):.2f} over {len(scores)} masks at threshold {THRESHOLD}")
    print(f"look at {path}")


if __name__ == "__main__":
    main()
