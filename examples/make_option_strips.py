"""Draw what every option does: the picture strips of docs/options.md, with the bundled model.

    python examples/make_option_strips.py
    python examples/make_option_strips.py threshold grow

Writes docs/images/options/NAME.png for each strip, or for the ones that are named. The pictures are those of
examples/options. The same inputs give the same strips.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from clipseg import ImagePrompt, Masks, Segmenter, TextPrompt
from clipseg.formats.colormaps import ANCHORS
from clipseg.formats.cutouts import cutout
from clipseg.formats.drawings import heat_map
from clipseg.masks.draw import contact_sheet, paint_masks
from clipseg.masks.options import OPTIONS
from clipseg.processing.statistics import IMAGENET_MEAN, IMAGENET_STD
from clipseg.prompting.styles import STYLES
from clipseg.prompting.visual import engineer

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "examples" / "options"
FOLDER = ROOT / "docs" / "images" / "options"

WIDTH = 900  # pixels of a strip
TEXT = 13
GAP = 6  # what `contact_sheet` leaves between cells beside such text
LIMIT = 56_000  # bytes of a strip; its palette is as rich as that allows
PALETTES = (192, 128, 96, 64, 48, 40)

Box: TypeAlias = tuple[int, int, int, int]
Cells: TypeAlias = "Iterator[tuple[str, Image.Image]]"
"""Captions and pictures, in order."""


# -- what is asked ---------------------------------------------------------------------------------------------------


@cache
def segmenter() -> Segmenter:
    return Segmenter.from_pretrained("nano")


@cache
def picture(name: str) -> Image.Image:
    return Image.open(PICTURES / f"{name}.jpg").convert("RGB")


def asked(name: str, *prompts: Any, **options: Any) -> Masks:
    """The masks of some prompts in a picture."""
    return segmenter().segment(picture(name), list(prompts), **options)


@cache
def example_mask() -> NDArray[np.bool_]:
    return np.array(Image.open(PICTURES / "example.mask.png"))


def disc(size_hw: tuple[int, int]) -> NDArray[np.float32]:
    """A mask that was there before: a disc of half strength, in the lower left."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    inside = (x - 0.3 * size_hw[1]) ** 2 + (y - 0.55 * size_hw[0]) ** 2 < (0.25 * size_hw[0]) ** 2
    half: NDArray[np.float32] = inside * np.float32(0.5)
    return half


# -- how it is drawn -------------------------------------------------------------------------------------------------


def cell_width(columns: int) -> int:
    return (WIDTH - GAP * (columns + 1)) // columns


@dataclass(frozen=True)
class Look:
    """Cells of one strip: their width in pixels, and the part of the picture that they show."""

    width: int
    window: Box | None = None

    def shown(self, image: Image.Image, way: Image.Resampling = Image.Resampling.LANCZOS) -> Image.Image:
        """A picture -> what a cell shows of it."""
        part = image if self.window is None else image.crop(self.window)
        return part.resize((self.width, round(self.width * part.height / part.width)), way)

    def masks(self, image: Image.Image, found: torch.Tensor) -> Image.Image:
        """A picture and masks (P, H, W) bool -> the masks in colour on the picture made pale."""
        small = self.shown(image)
        pale = Image.blend(ImageOps.grayscale(small).convert("RGB"), Image.new("RGB", small.size, "white"), 0.65)
        way = Image.Resampling.NEAREST if self.enlarges(image) else Image.Resampling.BOX
        each = [np.asarray(self.shown(_grey(one.numpy()), way)) > 127 for one in found]
        return paint_masks(pale, each, 0.7)

    def soft(self, found: torch.Tensor, colours: str = "ember") -> Image.Image:
        """A map (H, W) from 0 to 1 -> its heat map."""
        heat = heat_map(found.numpy(), colours)
        return self.shown(heat, Image.Resampling.NEAREST if self.enlarges(heat) else Image.Resampling.BOX)

    def enlarges(self, image: Image.Image) -> bool:
        """Whether a cell shows pixels larger than they are."""
        part = image.width if self.window is None else self.window[2] - self.window[0]
        return part < self.width


def _grey(mask: NDArray[np.bool_]) -> Image.Image:
    return Image.fromarray(mask.astype(np.uint8) * 255)


# -- the strips ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One option at some values: masks of a picture, or the soft map of its first prompt.

    Fields
        option    its name
        picture   of examples/options
        prompts   what is asked
        values    what the option is set to, one cell each
        others    other options, the same in all cells
        kind      "masks", "soft" or "matte"
        window    the part of the picture that is shown; None: all of it
    """

    option: str
    picture: str
    prompts: tuple[str, ...]
    values: tuple[Any, ...]
    others: Mapping[str, Any] = field(default_factory=dict)
    kind: str = "masks"
    window: Box | None = None

    @property
    def columns(self) -> int:
        return 1 + len(self.values)

    def cells(self, width: int) -> Cells:
        """-> the picture, and what each value makes of it."""
        look, image = Look(width, self.window), picture(self.picture)
        masks = asked(self.picture, *self.prompts).with_options(**self.others)
        yield ", ".join(self.prompts), look.shown(image)
        for value in self.values:
            caption, finished = f"{self.option}={said(value)}", masks.with_options(**{self.option: value})
            if self.kind == "masks":
                yield caption, look.masks(image, finished.binary())
            else:
                yield caption, look.soft(finished.soft()[0] if self.kind == "soft" else finished.matte()[0])


def said(value: object) -> str:
    """A value -> as it is typed."""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


@dataclass(frozen=True)
class Strip:
    """Cells of a strip that is not one option at some values; `columns` of them in a row."""

    columns: int
    cells: Callable[[int], Cells]


FARM, MUG = ("cat face", "cow face", "cactus"), ("beer mug", "candle", "onion")
CLOVER, MAGNET = ("four leaf clover",), ("magnet",)
CACTUS = (215, 60, 325, 170)  # where it is, to be seen from near

ROWS = (
    Row("competition", "mug", MUG, ("none", "softmax", "argmax")),
    Row("upsample", "farm", ("cactus",), ("nearest", "bilinear", "bicubic"), kind="soft", window=CACTUS),
    Row("refine", "magnet", ("broccoli", "magnet", "camera"), ("none", "guided")),
    Row("smooth", "farm", ("cow face",), (0, 5, 15, 40), {"threshold": None}, "soft"),
    Row("median", "farm", ("cat face",), (0, 21, 41, 81), {"threshold": None}, "soft"),
    Row("threshold", "farm", ("cow face",), (0.1, 0.4, 0.7, 0.95)),
    Row("grow", "magnet", MAGNET, (0, 8, 20, 40)),
    Row("shrink", "magnet", MAGNET, (0, 5, 12, 20)),
    Row("shape", "magnet", MAGNET, ("disk", "square"), {"grow": 30}),
    Row("fill_holes", "mug", ("beer mug",), (False, True), {"threshold": 0.5}),
    Row("min_area", "clover", CLOVER, (0, 1500, "2%", "4%")),
    Row("keep", "clover", CLOVER, ("all", "largest", "1,-1", "big-to-small:1,2,3")),
    Row("invert", "farm", ("cat face",), (False, True)),
    Row("feather", "magnet", MAGNET, (0, 4, "3%", "8%"), kind="matte"),
)
"""Most options, in the order of the table."""

RULES = ("otsu", "area:0.05", "area:0.25", "hysteresis:0.1,0.9")


def templates(width: int) -> Cells:
    yield "cow face", Look(width).shown(picture("farm"))
    for name in ("plain", "photo", "shuffle", "shuffle+"):
        found = asked("farm", TextPrompt("cow face", templates=name))
        yield f"templates={name}", Look(width).soft(found.soft()[0])


def styles(width: int) -> Cells:
    """What the model is shown of one example in every style; masked attention leaves the picture alone."""
    processor = segmenter().processor.image_processor
    pixels = processor.pixel_values(picture("example"))[0]  # (3, h, w)
    height, width_in = pixels.shape[1:]
    small = Image.fromarray(example_mask()).resize((width_in, height), Image.Resampling.NEAREST)
    inside = torch.from_numpy(np.array(small))
    mean, std = (torch.tensor(each)[:, None, None] for each in (IMAGENET_MEAN, IMAGENET_STD))
    yield "the thing meant", Look(width).masks(picture("example"), torch.from_numpy(example_mask())[None])
    for name, style in STYLES.items():
        if style.attention == "free":
            shown = engineer(pixels, inside, style, (height, width_in)) * std + mean
            levels = (shown.clamp(0, 1) * 255).round().byte().permute(1, 2, 0)
            yield name, Look(width).shown(Image.fromarray(levels.numpy()))


def style(width: int) -> Cells:
    yield "asked of this picture", Look(width).shown(picture("farm"))
    yield "the example", Look(width).masks(picture("example"), torch.from_numpy(example_mask())[None])
    for name in ("whole", "crop", "crop_blur_highlight"):
        prompt = ImagePrompt(picture("example"), mask=example_mask(), style=name)
        yield f"style={name}", Look(width).soft(asked("farm", prompt).soft()[0])


def phrases(name: str, texts: tuple[str, ...], width: int) -> Cells:
    look, image = Look(width), picture(name)
    yield "picture", look.shown(image)
    for text in texts:
        yield text, look.masks(image, asked(name, text).binary())


def expressions(width: int) -> Cells:
    whole, part, less = "beer mug OR onion", "beer mug AND candle", "beer mug AND NOT candle"
    return phrases("mug", (*MUG, whole, part, less, "NOT (beer mug OR onion)"), width)


def modifiers(width: int) -> Cells:
    return phrases("farm", tuple(f"cow face{how}" for how in ("", "{*0.5}", "{*4}", "{+20}", "{-12}")), width)


def negative(width: int) -> Cells:
    look, image = Look(width), picture("mug")
    yield "picture", look.shown(image)
    yield "beer mug", look.masks(image, asked("mug", "beer mug").binary())
    yield "candle", look.masks(image, asked("mug", "candle").binary())
    without = asked("mug", "beer mug", negative="candle")
    yield "beer mug, negative=candle", look.masks(image, without.binary())


def normalize(width: int) -> Cells:
    look = Look(width)
    yield "no balloon in it", look.shown(picture("farm"))
    for prompt in ("balloon", "cow face"):
        for name in ("none", "minmax"):
            soft = asked("farm", prompt, normalize=name).soft()[0]
            yield f"{prompt}, {name}", look.soft(soft)


def fit(width: int) -> Cells:
    look, image = Look(width), picture("wide")
    yield "bucket, avocado", look.shown(image)
    for name in ("squash", "letterbox", "crop", "tile"):
        yield f"fit={name}", look.masks(image, asked("wide", "bucket", "avocado", fit=name).binary())


def tile(width: int) -> Cells:
    look, image, prompts = Look(width), picture("dots"), ("panda", "parrot", "kiwi fruit")
    yield ", ".join(prompts), look.shown(image)
    yield "fit=squash", look.masks(image, asked("dots", *prompts).binary())
    for side in ("33%", "20%"):
        yield f"fit=tile, tile={side}", look.masks(image, asked("dots", *prompts, fit="tile", tile=side).binary())


def combine(width: int) -> Cells:
    look, prompts = Look(width), ("beer mug", "candle")
    yield "picture", look.shown(picture("mug"))
    for prompt in prompts:
        yield prompt, look.soft(asked("mug", prompt).soft()[0])
    for name in ("max", "mean", "sum", "product"):
        yield f"combine={name}", look.soft(asked("mug", *prompts, combine=name).soft()[0])


def rules(width: int) -> Cells:
    row = Row("threshold", "farm", ("cow face",), RULES)
    masks = asked("farm", "cow face")
    yield "cow face, soft", Look(width).soft(masks.soft()[0])
    yield from list(row.cells(width))[1:]


def compose(width: int) -> Cells:
    masks, look = asked("mug", "beer mug"), Look(width)
    before = disc(masks.size_hw)
    yield "new: beer mug", look.shown(picture("mug"))
    yield "existing, of half strength", look.soft(torch.from_numpy(before), "grey")
    for name in OPTIONS["compose"].choices:
        yield f"compose={name}", look.soft(masks.onto(before, name).matte()[0], "grey")


def alpha(width: int) -> Cells:
    masks, look = asked("mug", "beer mug"), Look(width)
    before = disc(masks.size_hw) * 2
    yield "new: beer mug", look.shown(picture("mug"))
    for share in (0.0, 0.25, 0.5, 1.0):
        yield f"blend, alpha={share:g}", look.soft(masks.onto(before, "blend", share).matte()[0], "grey")


def instances(width: int) -> Cells:
    masks, image = asked("clover", *CLOVER), picture("clover")
    yield CLOVER[0], Look(width).shown(image)
    for order in ("left-to-right", "big-to-small"):
        yield f"order={order}", Look(width).shown(masks.preview(order=order))


def outputs(width: int) -> Cells:
    masks, image = asked("farm", *FARM), picture("farm")
    cat = masks["cat face"].with_options(refine="guided", keep="largest")
    look = Look(width)
    yield "picture", look.shown(image)
    yield "png", look.shown(_grey(cat.binary().numpy()))
    yield "soft", look.soft(cat.soft(), "grey")
    yield "heatmap", look.soft(cat.soft())
    yield "overlay", look.shown(masks.overlay(legend=False))
    yield "contours", look.shown(masks.overlay(legend=False, alpha=0, soft=False))
    yield "cutout", look.shown(on_squares(cutout(image, cat.binary().numpy())))
    white = cutout(image, cat.binary().numpy(), "white")
    yield "cutout:background=white", look.shown(white)


def colormaps(width: int) -> Cells:
    soft = asked("farm", "cow face").with_options(smooth="3%").soft()[0]
    yield "cow face", Look(width).shown(picture("farm"))
    for name in ANCHORS:
        yield f"colormap={name}", Look(width).soft(soft, name)


def on_squares(cut: Image.Image, side: int = 16) -> Image.Image:
    """A picture with transparency -> the same over the squares that stand for it."""
    y, x = np.mgrid[: cut.height, : cut.width] // side
    ground = Image.fromarray(np.where((x + y) % 2, 255, 205).astype(np.uint8)).convert("RGB")
    ground.paste(cut, mask=cut)
    return ground


STRIPS: Mapping[str, Strip] = {
    "templates": Strip(5, templates),
    "styles": Strip(7, styles),
    "style": Strip(5, style),
    "expressions": Strip(4, expressions),
    "modifiers": Strip(6, modifiers),
    "negative": Strip(4, negative),
    "fit": Strip(3, fit),
    "tile": Strip(4, tile),
    "combine": Strip(4, combine),
    "normalize": Strip(5, normalize),
    "rules": Strip(5, rules),
    "compose": Strip(4, compose),
    "alpha": Strip(5, alpha),
    "instances": Strip(3, instances),
    "outputs": Strip(4, outputs),
    "colormaps": Strip(6, colormaps),
    **{row.option: Strip(max(4, row.columns), row.cells) for row in ROWS},
}
"""Every strip by the name of its file."""


def drawn(name: str) -> Image.Image:
    """A strip's name -> the strip, in a palette."""
    strip = STRIPS[name]
    captions, images = zip(*strip.cells(cell_width(strip.columns)), strict=True)
    sheet = contact_sheet(images, strip.columns, captions, text_height=TEXT)
    for colours in PALETTES:
        small = sheet.quantize(colours, Image.Quantize.MEDIANCUT, kmeans=2, dither=Image.Dither.NONE)
        if len(encoded(small)) <= LIMIT:
            break
    return small


def encoded(image: Image.Image) -> bytes:
    """A picture -> its PNG, as small as Pillow makes it."""
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def main() -> None:
    """Draw strips."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(STRIPS)}; all without")
    names = parser.parse_args().names or list(STRIPS)
    if unknown := [name for name in names if name not in STRIPS]:
        parser.error(f"there is no strip {unknown[0]!r}; there are {', '.join(STRIPS)}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in names:
        (FOLDER / f"{name}.png").write_bytes(encoded(drawn(name)))


if __name__ == "__main__":
    main()
