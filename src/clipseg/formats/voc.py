"""Pascal VOC's folders for segmentation.

    SegmentationClass/STEM.png           class by class as an indexed picture: 0 background, 255 void
    SegmentationObject/STEM.png          the same with the number of an object, from 1, as the annotations list them
    Annotations/STEM.xml                 objects: name and box, of which both corners are inside, counted from 1
    JPEGImages/STEM.jpg                  the pictures, where there are any
    ImageSets/Segmentation/SPLIT.txt     the stems, a line each
    labelmap.txt                         NAME:R,G,B:: by number, the background first, as annotation tools keep it

Objects are connected parts of what a class has, not what a model took for separate things. The half-open box
x0, y0, x1, y1 is xmin x0 + 1, ymin y0 + 1, xmax x1, ymax y1 there. H W a picture's size.
"""

import os
import re
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from clipseg.errors import DataError, OutputError, UsageError
from clipseg.formats.classes import Classes, is_text, one_line
from clipseg.formats.files import WholeFile, append_line, read_text, write_text
from clipseg.formats.png import MOST_CLASSES, VOID, label_picture, read_label_map, voc_palette
from clipseg.formats.stems import Stems
from clipseg.masks.components import components
from clipseg.masks.masks import Masks
from clipseg.masks.png import save_picture
from clipseg.masks.thresholds import Threshold

BACKGROUND = "background"
LABELMAP = "labelmap.txt"
MASKS, OBJECTS, ANNOTATIONS, PICTURES = "SegmentationClass", "SegmentationObject", "Annotations", "JPEGImages"
QUALITY = 95
LONGEST = 200  # bytes of a split's name; file systems allow 255


class _Object(NamedTuple):
    """A connected part: its class's number, its window in the picture, and which pixels (h, w) of that it has."""

    number: int
    window: tuple[slice, slice]
    inside: NDArray[np.bool_]


class VocWriter:
    """Folders being written: `with VocWriter("set") as voc: voc.add(masks, "cat.jpg")`.

    Each file of a picture is written whole as it is added, and replaces one of that name; after them the picture is
    listed. `labelmap.txt` is written when the block begins, and again before a class that it does not name is used. So
    a run that is ended at any time can be run again. Classes are numbered from 1 as they come, `classes` first; where
    the folder has a `labelmap.txt` its lines come before both and stay, and an older list of the same split is
    continued. A pixel that several masks claim is the most probable one's. `quality` is that of the JPEG files.

    Raises UsageError for more than 254 classes and other qualities than 1 to 100.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        classes: Sequence[str] = (),
        *,
        split: str = "train",
        quality: float = QUALITY,
    ) -> None:
        if not isinstance(split, str) or not _is_file_name(split):
            raise UsageError(f"a split is a name such as train or val; got {split!r}")
        if isinstance(quality, bool) or quality not in range(1, 101):
            raise UsageError(f"the quality of JPEG files is a whole number from 1 to 100; got {quality!r}")
        self._folder, self._split, self._quality = Path(folder), split, int(quality)
        self._classes = Classes(classes)
        self._stems = Stems()
        self._listed: set[str] = set()

    def __enter__(self) -> "VocWriter":
        labelmap = self._folder / LABELMAP
        if labelmap.exists():
            self._classes = self._classes.after(read_labelmap(self._folder), labelmap)
        self._name_classes()
        if self._list.exists():
            stems = read_split(self._folder, self._split)
            write_text(self._list, "".join(f"{stem}\n" for stem in stems))  # its last line may have had no end
            self._listed = set(stems)
        return self

    def add(
        self,
        masks: Masks,
        file_name: str,
        threshold: Threshold | None = None,
        *,
        picture: Image.Image | None = None,
    ) -> Path:
        """Masks, the name of their picture and perhaps another picture than theirs -> the file of the classes.

        Of objects beyond 254 the smallest are void, and not listed. Raises as `Masks.label_map`, UsageError for a
        second picture of one stem and for a picture of another size, as `Stems.taken`, and OutputError.
        """
        picture = masks.picture if picture is None else picture
        if picture is not None and (picture.height, picture.width) != masks.size_hw:
            height, width = masks.size_hw
            raise UsageError(f"the picture is {picture.height}x{picture.width} but its masks are {height}x{width}")
        numbers = np.array([0, *(self._classes.number(label) + 1 for label in masks.labels)])
        return self.add_classes(numbers[masks.label_map(threshold).numpy()], file_name, picture)

    def add_classes(self, classes: NDArray[np.integer], file_name: str, picture: Image.Image | None = None) -> Path:
        """(H, W) numbers of classes, 0 background, the name of their picture, and that -> the file of the classes.

        Raises as `add`, but knows no masks.
        """
        if len(self._classes.names) != self._named:
            self._name_classes()
        stem = self._stems.taken(file_name)
        objects, places = _objects(classes)
        if picture is not None:
            self._save_jpeg(self._folder / PICTURES / f"{stem}.jpg", picture)
        write_text(self._folder / ANNOTATIONS / f"{stem}.xml", self._annotation(stem, objects, classes.shape))
        save_picture(self._folder / OBJECTS / f"{stem}.png", label_picture(places))
        path = self._folder / MASKS / f"{stem}.png"
        save_picture(path, label_picture(classes))
        if stem not in self._listed:
            append_line(self._list, stem)
            self._listed.add(stem)
        return path

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Everything is written already."""

    @property
    def _list(self) -> Path:
        return self._folder / "ImageSets" / "Segmentation" / f"{self._split}.txt"

    def _name_classes(self) -> None:
        """Write `labelmap.txt`, unless it names all classes; lines that are there stay. Raises UsageError."""
        path, names = self._folder / LABELMAP, (BACKGROUND, *self._classes.names)
        if len(names) - 1 > MOST_CLASSES:
            raise UsageError(f"an indexed picture holds {MOST_CLASSES} classes; there are {len(names) - 1}")
        text = read_text(path) if path.exists() else ""
        known = len(read_labelmap(self._folder)) + 1 if text else 0
        colours = voc_palette().tolist()
        rows = [f"{name}:{r},{g},{b}::\n" for name, (r, g, b) in zip(names, colours, strict=False)][known:]
        if rows:
            write_text(path, f"{text}{'' if text.endswith(chr(10)) or not text else chr(10)}{''.join(rows)}")
        self._named = len(names) - 1

    def _annotation(self, stem: str, objects: Sequence[_Object], size_hw: tuple[int, ...]) -> str:
        """-> the XML of a picture."""
        root = ElementTree.Element("annotation")
        _fill(root, {"folder": one_line(self._folder.absolute().name), "filename": f"{stem}.jpg"})
        _fill(ElementTree.SubElement(root, "size"), {"width": size_hw[1], "height": size_hw[0], "depth": 3})
        _fill(root, {"segmented": 1})
        for number, (rows, columns), _ in objects:
            thing = ElementTree.SubElement(root, "object")
            name = self._classes.names[number - 1]
            _fill(thing, {"name": name, "pose": "Unspecified", "truncated": 0, "difficult": 0})
            box = {"xmin": columns.start + 1, "ymin": rows.start + 1, "xmax": columns.stop, "ymax": rows.stop}
            _fill(ElementTree.SubElement(thing, "bndbox"), box)
        ElementTree.indent(root)
        return ElementTree.tostring(root, encoding="unicode") + "\n"

    def _save_jpeg(self, path: Path, picture: Image.Image) -> None:
        encoded = BytesIO()
        try:
            picture.convert("RGB").save(encoded, "JPEG", quality=self._quality)
        except (OSError, ValueError) as error:
            raise OutputError(f"{path} cannot be written, as JPEG has no such picture ({error})") from error
        with WholeFile(path) as file:
            file.write(encoded.getbuffer())


def _is_file_name(split: str) -> bool:
    """Whether a file can be called that, with what is added to it."""
    named = split != "" and Path(split).name == split and all(map(is_text, split))
    return named and len(split.encode()) <= LONGEST


def _fill(element: ElementTree.Element, values: dict[str, str | int]) -> None:
    for name, value in values.items():
        ElementTree.SubElement(element, name).text = str(value)


def _objects(classes: NDArray[np.integer]) -> tuple[list[_Object], NDArray[np.integer]]:
    """(H, W) classes -> their connected parts, class by class, and (H, W) the place of each pixel's part, from 1."""
    found = []
    for number in np.unique(classes[classes > 0]).tolist():
        parts = components(classes == number)
        top, left = (side.start for side in parts.window)
        for place, (rows, columns) in enumerate(ndimage.find_objects(parts.numbers), 1):
            window = (slice(rows.start + top, rows.stop + top), slice(columns.start + left, columns.stop + left))
            found.append(_Object(number, window, parts.numbers[rows, columns] == place))
    largest = sorted(range(len(found)), key=lambda place: -int(found[place].inside.sum()))[:MOST_CLASSES]
    kept = [found[place] for place in sorted(largest)]
    places = np.where(classes > 0, VOID, 0)
    for place, (_, window, inside) in enumerate(kept, 1):
        places[window][inside] = place
    return kept, places


_ROW = re.compile(r"(.+):\d+,\d+,\d+:[^:]*:[^:]*")


def read_labelmap(folder: str | os.PathLike[str]) -> tuple[str, ...]:
    """A folder -> the names of its classes, of which the first has number 1. Raises DataError, which names the line."""
    path = Path(folder) / LABELMAP
    names = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        row = _ROW.fullmatch(line.strip())
        if row is None and line.strip() and not line.startswith("#"):
            raise DataError(f"{path}, line {number}: expected NAME:R,G,B::; got {line[:60]!r}")
        if row is not None:
            names.append(row[1])
    if not names or names[0] != BACKGROUND:
        raise DataError(f"{path}: expected lines NAME:R,G,B::, the first of them {BACKGROUND}")
    return tuple(names[1:])


def read_split(folder: str | os.PathLike[str], split: str = "train") -> list[str]:
    """A folder and a split -> the stems of its pictures. Raises DataError."""
    text = read_text(Path(folder) / "ImageSets" / "Segmentation" / f"{split}.txt")
    return [line.strip() for line in text.splitlines() if line.strip()]


def read_classes(folder: str | os.PathLike[str], stem: str) -> NDArray[np.uint8]:
    """A folder and a stem -> (H, W) uint8: the number of each pixel's class, 255 where it is void. Raises DataError."""
    return read_label_map(Path(folder) / MASKS / f"{stem}.png")
