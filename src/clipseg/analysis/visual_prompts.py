"""Which style of showing an example does most for it: the paper's comparison, on any pictures with masks.

    objects = read_objects("kitchen")
    report = compare_styles(Segmenter.from_pretrained("nano"), objects)
    report.sorted_by("gain")[0].style

Of each thing, shown whole and in every style, CLIP says how probable its name is among some names; the gain of a style
is the mean rise of that probability over the whole picture, in points out of a hundred. CLIPSeg asks more of an example
than its name, so the masks that it finds by it in other pictures of the same thing are compared as well.

The paper scales its examples to 224 pixels after engineering; here CLIP sees them at the size that CLIPSeg shows them
to it. Its protocol else is `among="picture"`: the names are those of one picture, and there are at least three.

Shapes: O things · N names · S styles · E condition width.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it

from clipseg.analysis.marked_objects import MarkedObject
from clipseg.errors import DataError, UsageError
from clipseg.metrics import iou_per_mask
from clipseg.processing.images import to_mask, to_rgb
from clipseg.prompting.prompts import ImagePrompt, TextPrompt
from clipseg.prompting.styles import STYLES, VisualStyle, style_named
from clipseg.prompting.templates import Templates
from clipseg.segmenter import Segmenter

WHOLE = "whole"  # what every style is compared with
AMONG = ("folder", "picture")
FEWEST_NAMES = 3  # in a picture, for its things to count under among="picture"; as in the paper
THRESHOLD = 0.5
PAPER_GAINS: Mapping[str, float] = {
    "attend_last": 1.34,
    "attend": 1.71,
    "attend_all": -14.44,
    "tint": 1.21,
    "outline": 2.29,
    "dim": 3.08,
    "dark": 13.85,
    "cut_out": 23.40,
    "blur": 13.15,
    "blur3_highlight01": 21.73,
    "crop_large": 6.27,
    "crop": 13.60,
    "crop_blur": 15.34,
    "crop_dim": 21.73,
    "crop_blur_highlight": 23.50,
}
"""Style -> its gain in the paper (Lüddecke and Ecker 2022, table of visual prompts), by CLIP ViT-B/16 on LVIS.

The original code computes some rows otherwise than it names them; these styles are as named.
"""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class StyleResult:
    """What one style is worth.

    Fields
        style        its name
        gain         mean rise of the name's probability over the whole picture, in points
        probability  mean probability of the name, 0 to 1
        iou          mean IoU of the masks found by it in other pictures of the same thing; None where there are none
        paper        the gain in the paper, if it is there
    """

    style: str
    gain: float
    probability: float
    iou: float | None
    paper: float | None


ORDERS: Mapping[str, Callable[[StyleResult], object]] = {
    "gain": lambda row: -row.gain,
    "iou": lambda row: -(row.iou if row.iou is not None else -1.0),
    "paper": lambda row: -(row.paper if row.paper is not None else -float("inf")),
    "style": lambda row: row.style,
}
"""Name -> what rows are sorted by, the best first."""


@dataclass(frozen=True)
class StyleReport:
    """The comparison: a row a style, and what it was made on.

    Fields
        rows     in the order in which the styles were given, the whole picture first
        objects  things whose names were judged
        names    different names among them
        pairs    things that had another picture to be found in
        among    which names a thing's own was weighed against
        seed     that drew the other pictures
    """

    rows: tuple[StyleResult, ...]
    objects: int
    names: int
    pairs: int
    among: str
    seed: int

    def sorted_by(self, order: str = "gain") -> list[StyleResult]:
        """-> the rows, the best first; `order` is a key of ORDERS. Raises UsageError for another."""
        if order not in ORDERS:
            raise UsageError(f"there is no order {order!r}; known are {', '.join(ORDERS)}")
        return sorted(self.rows, key=ORDERS[order])  # type: ignore[arg-type]  # each order gives values of one kind

    def to_dict(self, order: str = "gain") -> dict[str, object]:
        """-> plain values, rounded to four digits."""
        about = {name: getattr(self, name) for name in ("objects", "names", "pairs", "among", "seed")}
        return about | {"styles": [_rounded(row) for row in self.sorted_by(order)]}

    def table(self, order: str = "gain") -> list[tuple[str, ...]]:
        """-> rows of cells, under HEADINGS."""
        return [
            (
                row.style,
                f"{row.gain:+.2f}",
                f"{row.probability:.3f}",
                "–" if row.iou is None else f"{row.iou:.3f}",
                "–" if row.paper is None else f"{row.paper:+.2f}",
            )
            for row in self.sorted_by(order)
        ]

    def to_csv(self, order: str = "gain") -> str:
        """-> a line of field names and one for each style; what is not known is empty."""
        text = io.StringIO()
        writer = csv.DictWriter(text, [field.name for field in fields(StyleResult)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(_rounded(row) for row in self.sorted_by(order))
        return text.getvalue()


HEADINGS = ("style", "gain", "probability", "IoU", "gain in the paper")


def compare_styles(
    segmenter: Segmenter,
    objects: Sequence[MarkedObject],
    styles: Mapping[str, VisualStyle | str] | Sequence[str] = tuple(STYLES),
    *,
    among: str = "folder",
    templates: Templates = "photo",
    seed: int = 0,
    progress: Progress | None = None,
) -> StyleReport:
    """Things with masks -> what each style is worth for them; the whole picture is always compared.

    `styles` are names of `visual.STYLES`, or names of one's own and what they stand for. A thing's name is weighed
    against all names of the folder, or of its picture alone (`among="picture"`; things in pictures with fewer than
    three are left out then), put into `templates`. `seed` draws the other picture in which a thing is looked for.
    `progress` is called with the things done and their number.

    Raises UsageError for an `among` that is not known, PromptError for a style that is not and for a mask that is
    empty or does not fit its picture, PictureError for a file that cannot be read, and DataError where there are not
    enough names to choose from.
    """
    if among not in AMONG:
        raise UsageError(f"among is {among!r}; known are {', '.join(AMONG)}")
    judged = [one for one in objects if among == "folder" or len(_names_in(one.picture, objects)) >= FEWEST_NAMES]
    names = sorted({one.name for one in judged})
    if len(names) < 2:
        expected = (
            "at least two names in the folder"
            if among == "folder"
            else f"pictures with masks of {FEWEST_NAMES} names each; or weigh names among the folder"
        )
        raise DataError(f"there are {len(names)} names to choose from; expected {expected}")
    given = {name: name for name in styles} if not isinstance(styles, Mapping) else styles
    shown = {WHOLE: style_named(WHOLE)} | {name: style_named(style) for name, style in given.items()}
    name_conditions = segmenter.embed([TextPrompt(name, templates=templates) for name in names])  # (N, E)
    scale = float(segmenter.model.clip.logit_scale.exp())
    partners = _partners(judged, seed)

    probabilities: list[torch.Tensor] = []
    ious: list[torch.Tensor] = []
    for number, one in enumerate(judged, start=1):
        picture = to_rgb(one.picture)
        mask = to_mask(one.mask, (picture.height, picture.width))
        examples = [ImagePrompt(picture, mask, style=style, label=one.picture.stem) for style in shown.values()]
        conditions = segmenter.embed(examples)  # (S, E)
        known = names if among == "folder" else _names_in(one.picture, judged)
        places = [names.index(name) for name in known]
        probabilities.append(name_probabilities(conditions, name_conditions[places], scale)[:, known.index(one.name)])
        if (other := partners.get(one)) is not None:
            found = segmenter.segment(other, conditions).binary(THRESHOLD)
            ious.append(iou_per_mask(found, _truth(other, one.name, objects, found.shape[1:])))
        if progress is not None:
            progress(number, len(judged))
    each = torch.stack(probabilities)  # (O, S)
    gains = 100 * (each - each[:, :1]).mean(0)
    rows = tuple(
        StyleResult(
            name,
            float(gains[place]),
            float(each[:, place].mean()),
            fmean(float(iou[place]) for iou in ious) if ious else None,
            PAPER_GAINS.get(name),
        )
        for place, name in enumerate(shown)
    )
    return StyleReport(rows, len(judged), len(names), len(ious), among, seed)


def name_probabilities(examples: torch.Tensor, names: torch.Tensor, scale: float) -> torch.Tensor:
    """Embeddings (S, E) and (N, E), CLIP's factor on cosines -> how probable each name is (S, N); rows sum to 1."""
    cosines = F.normalize(examples, dim=-1) @ F.normalize(names, dim=-1).T
    return (scale * cosines).softmax(-1)


def _names_in(picture: Path, objects: Sequence[MarkedObject]) -> list[str]:
    return sorted({one.name for one in objects if one.picture == picture})


def _partners(objects: Sequence[MarkedObject], seed: int) -> dict[MarkedObject, Path]:
    """-> for each thing that is in several pictures another one of them, drawn at random."""
    rng = np.random.default_rng(seed)
    drawn = {}
    for one in objects:
        others = sorted({other.picture for other in objects if other.name == one.name} - {one.picture})
        if others:
            drawn[one] = others[rng.integers(len(others))]
    return drawn


def _truth(picture: Path, name: str, objects: Sequence[MarkedObject], size_hw: Sequence[int]) -> torch.Tensor:
    """-> (H, W) bool: all that has the name in a picture."""
    masks = [
        to_mask(one.mask, (size_hw[0], size_hw[1])) for one in objects if (one.picture, one.name) == (picture, name)
    ]
    return torch.from_numpy(np.logical_or.reduce(masks))


def _rounded(row: StyleResult) -> dict[str, object]:
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(row).items()}
