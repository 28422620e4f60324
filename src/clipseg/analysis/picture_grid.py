"""Examples in every style, as the model sees them: a row a picture, a column a style.

Shapes: h, w the model's input.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from clipseg.analysis.marked_objects import MarkedObject
from clipseg.errors import DataError
from clipseg.masks.lettering import font, printable, shortened
from clipseg.processing.image_processors import ImageProcessor
from clipseg.processing.images import to_mask, to_rgb
from clipseg.processing.pixels import per_channel
from clipseg.prompting.attention import visible_tokens
from clipseg.prompting.conditioning import Conditioner
from clipseg.prompting.prompts import ImagePrompt
from clipseg.prompting.styles import VisualStyle, style_named
from clipseg.segmenter import Segmenter

CELL = 96  # pixels
GAP = 4
LETTERS = 11  # pixels high
_LINE = LETTERS + 5


def style_grid(
    segmenter: Segmenter, objects: Sequence[MarkedObject], styles: Mapping[str, VisualStyle | str] | Sequence[str]
) -> Image.Image:
    """Things with masks and styles -> a picture of how the model is shown each thing in each style.

    Patches that attention is kept away from are faded to white, though the model has them. Raises what reading
    pictures and masks does, and DataError for none.
    """
    if not objects or not styles:
        raise DataError("a grid needs at least one picture and one style")
    given = {name: style_named(name if not isinstance(styles, Mapping) else styles[name]) for name in styles}
    conditioner = Conditioner(segmenter.model, segmenter.processor)
    processor = segmenter.processor.image_processor
    rows = []
    for one in objects:
        picture = to_rgb(one.picture)
        mask = to_mask(one.mask, (picture.height, picture.width))
        cells = []
        for style in given.values():
            pixels = conditioner.prompt_pixels(ImagePrompt(picture, mask, style=style))
            cell = to_picture(pixels, processor)
            if style.attention != "free" and style.context is None:
                cell = _faded(cell, mask, segmenter.config.vision_config.patch_size)
            cells.append(cell)
        rows.append((one.name, cells))
    return labelled_grid(list(given), rows)


def to_picture(pixels: torch.Tensor, processor: ImageProcessor) -> Image.Image:
    """Pixels (3, h, w) as a model gets them -> the picture they were made of, beyond white and black cut off."""
    if processor.do_normalize:
        mean, std = (
            torch.tensor(per_channel(x, 3))[:, None, None] for x in (processor.image_mean, processor.image_std)
        )
        pixels = pixels * std + mean
    levels = pixels * 255 if processor.do_rescale else pixels
    return Image.fromarray(levels.round().clamp(0, 255).byte().permute(1, 2, 0).contiguous().numpy())


def _faded(cell: Image.Image, mask: NDArray[np.bool_], patch_size: int) -> Image.Image:
    """A picture as the model gets it, a mask -> the same with the patches outside the mask nearly white."""
    fitted = torch.from_numpy(np.array(Image.fromarray(mask).resize(cell.size, Image.Resampling.NEAREST)))
    columns, rows = cell.width // patch_size, cell.height // patch_size
    visible = visible_tokens(fitted[None], patch_size)[0, 1:].reshape(rows, columns)
    shown = Image.fromarray(visible.numpy()).resize(cell.size, Image.Resampling.NEAREST)
    return Image.composite(cell, Image.blend(cell, Image.new("RGB", cell.size, "white"), 0.75), shown.convert("L"))


def labelled_grid(columns: Sequence[str], rows: Iterable[tuple[str, Sequence[Image.Image]]]) -> Image.Image:
    """Names of columns, and names of rows with a picture for each column -> one picture of all, names on its edges."""
    rows = list(rows)
    letters = font(LETTERS)
    left = GAP + round(min(CELL, max(letters.getlength(printable(name)) for name, _ in rows))) + GAP
    step = CELL + GAP
    canvas = Image.new("RGB", (left + step * len(columns), _LINE + GAP + step * len(rows)), "white")
    draw = ImageDraw.Draw(canvas)
    for column, name in enumerate(columns):
        middle = left + column * step + CELL / 2
        text = shortened(printable(name), CELL, LETTERS)
        draw.text((middle, GAP + LETTERS / 2), text, fill="black", font=letters, anchor="mm")
    for row, (name, cells) in enumerate(rows):
        top = _LINE + GAP + row * step
        draw.text((GAP, top + CELL / 2), shortened(printable(name), CELL, LETTERS), fill="black", font=letters,
                  anchor="lm")  # fmt: skip
        for column, cell in enumerate(cells):
            canvas.paste(cell.resize((CELL, CELL), Image.Resampling.BICUBIC), (left + column * step, top))
    return canvas
