"""Pictures to look at, as files: heat maps, overlays and outlines. H W a picture's size.

Nothing here should be read back: probabilities are kept exactly by `png.write_soft`.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipseg.errors import UsageError
from clipseg.formats.colormaps import DEFAULT_COLORMAP, colormap
from clipseg.formats.cutouts import picture_of
from clipseg.formats.png import soft_picture
from clipseg.masks.draw import Colour
from clipseg.masks.mask import Mask
from clipseg.masks.masks import Masks
from clipseg.masks.png import save_picture
from clipseg.masks.thresholds import Threshold


def heat_map(
    values: NDArray[np.floating[Any]],
    colormap_name: str = DEFAULT_COLORMAP,
    picture: Image.Image | None = None,
    alpha: float = 0.6,
) -> Image.Image:
    """Probabilities (H, W) -> RGB, each in the colour of its own level; the scale is 0 to 1, never stretched.

    On a picture of the same size, that keeps 1 - `alpha` of its own colours. Raises UsageError for numbers beyond 0 to
    1, an unknown colour map, a picture of another size and an `alpha` that is not in 0 to 1.
    """
    if not 0 <= alpha <= 1:
        raise UsageError(f"alpha is how strong the colours are, from 0 to 1; got {alpha}")
    heat = Image.fromarray(colormap(colormap_name)[np.asarray(soft_picture(values))])
    if picture is None:
        return heat
    if picture.size != heat.size:
        sizes = f"{picture.height}x{picture.width} but its map is {heat.height}x{heat.width}"
        raise UsageError(f"the picture is {sizes}; hand over the very picture that was segmented")
    return Image.blend(picture.convert("RGB"), heat, alpha)


def write_heat_map(
    path: str | os.PathLike[str],
    mask: Mask,
    *,
    colormap: str = DEFAULT_COLORMAP,
    alpha: float | None = None,
) -> list[Path]:
    """A mask -> the heat map of its probabilities, and its path.

    With `alpha` it is drawn on the picture. Raises as `heat_map`, UsageError for masks without their picture, and
    OutputError.
    """
    values = mask.soft().numpy()
    on_picture = () if alpha is None else (picture_of(mask), alpha)
    save_picture(path, heat_map(values, colormap, *on_picture))
    return [Path(path)]


def write_overlay(
    path: str | os.PathLike[str],
    masks: Masks,
    threshold: Threshold | None = None,
    *,
    alpha: float = 0.5,
    legend: bool = True,
    colours: str | Sequence[str | Colour] | None = None,
) -> list[Path]:
    """Masks -> their picture with each filled and outlined, above a legend, and its path; as `Masks.overlay`."""
    save_picture(path, masks.overlay(threshold=threshold, alpha=alpha, legend=legend, colours=colours))
    return [Path(path)]


def write_contours(
    path: str | os.PathLike[str],
    masks: Masks,
    threshold: Threshold | None = None,
    *,
    legend: bool = False,
    colours: str | Sequence[str | Colour] | None = None,
) -> list[Path]:
    """Masks -> their picture with each outlined and none filled, and its path; as `Masks.overlay`."""
    save_picture(path, masks.overlay(threshold=threshold, alpha=0, legend=legend, soft=False, colours=colours))
    return [Path(path)]
