"""Every format that masks can be written in, as rows. Nothing heavy is imported before a row's writer is asked for.

A writer of scope

    mask      takes (path, mask, **options), a `Mask`, and writes a file, or several beside it
    picture   takes (path, masks, **options), the `Masks` of one picture, and writes a file
    data set  takes (path, **options), is a context manager, and has `add(masks, file_name, threshold)` for each picture

The first two give the list of paths they wrote.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from clipseg.errors import UsageError


@dataclass(frozen=True)
class Format:
    """One format.

    Fields
        name      what people choose it by
        suffix    of its file; empty for a folder
        scope     what one file is made of: a mask, all masks of a picture, or a data set
        home      module and name of its writer, within `clipseg.formats`
        summary   one line of help
        options   keywords that the writer understands
    """

    name: str
    suffix: str
    scope: Literal["mask", "picture", "data set"]
    home: str
    summary: str
    options: tuple[str, ...] = ()

    @property
    def writer(self) -> Callable[..., Any]:
        """What writes it."""
        module, name = self.home.split(":")
        writer: Callable[..., Any] = getattr(import_module(f"clipseg.formats.{module}"), name)
        return writer


_ROWS = (
    Format("png", ".png", "mask", "png:write_binary", "black and white, 0 and 255", ("threshold",)),
    Format("soft", ".png", "mask", "png:write_soft", "probabilities in 8 bits, round(255 p), never stretched"),
    Format("png16", ".png", "mask", "png:write_soft16", "probabilities in 16 bits, round(65535 p)"),
    Format("heatmap", ".png", "mask", "drawings:write_heat_map", "probabilities in colour", ("colormap", "alpha")),
    Format(
        "cutout",
        ".png",
        "mask",
        "cutouts:write_cutout",
        "the picture, transparent elsewhere",
        ("threshold", "soft", "background"),
    ),
    Format(
        "crops",
        ".png",
        "mask",
        "cutouts:write_objects",
        "each connected part, cropped",
        ("threshold", "margin", "background"),
    ),
    Format(
        "labels", ".png", "picture", "png:write_label_map", "indexed: 0 background, k the k-th prompt", ("threshold",)
    ),
    Format(
        "overlay",
        ".png",
        "picture",
        "drawings:write_overlay",
        "masks over the picture, a legend",
        ("threshold", "alpha", "legend", "colours"),
    ),
    Format(
        "contours",
        ".png",
        "picture",
        "drawings:write_contours",
        "outlines over the picture",
        ("threshold", "legend", "colours"),
    ),
    Format("npz", ".npz", "picture", "npz:write_npz", "a NumPy archive of all masks", ("threshold", "kind")),
    Format(
        "coco",
        ".json",
        "data set",
        "coco:CocoWriter",
        "COCO: run lengths or polygons, with scores",
        ("classes", "segmentation", "instances"),
    ),
    Format("yolo", "", "data set", "yolo:YoloWriter", "YOLO: polygons, a text file a picture", ("classes",)),
    Format(
        "voc",
        "",
        "data set",
        "voc:VocWriter",
        "Pascal VOC: folders of indexed pictures and boxes",
        ("classes", "split", "quality"),
    ),
)

FORMATS: dict[str, Format] = {row.name: row for row in _ROWS}
"""Name -> format."""


def format_named(name: str) -> Format:
    """A name -> its format. Raises UsageError, which lists all, for another name."""
    if name not in FORMATS:
        raise UsageError(f"there is no format {name!r}; known are {', '.join(FORMATS)}")
    return FORMATS[name]
