"""Generalised prompts: what things afford, what they are and what they have, asked of LVIS.

    LVISPrompts("lvis", group="affordance")        "sit on" where there is an armchair, a sofa, …

    ROOT/lvis_v1_{train,val}.json, or in ROOT/annotations/
        "categories": [{"id": 1, "name": "armchair", …}, …]
        "images": [{"id": 9, "height": 480, "width": 640, "coco_url": ".../train2017/000000000009.jpg", …}, …]
        "annotations": [{"image_id": 9, "category_id": 1, "area": 5000.0, "segmentation": [[x, y, x, y, …], …], …}, …]
    ROOT/{train2017,val2017}/*.jpg                 where `coco_url` says; pictures of either folder are in either file

or, for split="all", the folder of the paper's authors

    ROOT/category_info.json                        [{"id": 1, "name": "armchair"}, …]
    ROOT/all/CATEGORY_ID/IMAGE_ID.jpg, and IMAGE_ID-seg.png: 0 where the category is not

Which pictures the authors tested is not known: of their files, `all_splits.json` and the areas of the objects were
never published. What is done here is what their loader does, to all of LVIS. Its figures can be compared with one
another, and with those of the paper no more than roughly.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clipseg.data.geometry import crop_square
from clipseg.data.json_rows import NO_ROW, json_lists, json_rows
from clipseg.data.labelled import check_choice, check_layout
from clipseg.data.mask_files import mask_levels
from clipseg.data.problems import OnProblem, Problems
from clipseg.data.sample import Sample, SampleDataset
from clipseg.errors import ClipsegError, DataError, UsageError
from clipseg.masks.polygons import rasterise
from clipseg.processing.images import to_rgb

_SEATS = (
    *("armchair", "sofa", "loveseat", "deck chair", "rocking chair", "highchair", "folding chair", "chair"),
    *("recliner", "wheelchair"),
)
_LEGGED_BIRDS = ("eagle", "bird", "duck", "gull", "owl", "seabird", "pigeon", "goose", "parakeet")
_EARED = ("dog", "cat", "flamingo", "penguin", "cow", "puppy", "sheep", "black sheep")

PROMPTS: Mapping[str, tuple[str, ...]] = {
    "sit on": _SEATS,
    "drink from": ("bottle", "beer bottle", "water bottle", "wine bottle", "thermos bottle"),
    "ride on": ("horse", "pony", "motorcycle"),
    "can fly": (
        *("eagle", "jet plane", "airplane", "fighter jet", "bird", "duck", "gull", "owl", "seabird", "pigeon"),
        *("goose", "parakeet"),
    ),
    "can be driven": ("minivan", "bus (vehicle)", "cab (taxi)", "jeep", "ambulance", "car (automobile)"),
    "can swim": ("duck", "duckling", "water scooter", "penguin", "boat", "kayak", "canoe"),
    "has wheels": (
        *("dirt bike", "car (automobile)", "wheelchair", "motorcycle", "bicycle", "cab (taxi)", "minivan"),
        *("bus (vehicle)", "jeep", "ambulance"),
    ),
    "has legs": (
        *(*_SEATS, "horse", "pony", *_LEGGED_BIRDS, *_EARED, "ostrich", "ram (animal)", "chicken (animal)", "person"),
    ),
    "has ears": ("horse", "pony", *_EARED, "person"),
}
"""Prompt -> the categories of LVIS that it means, with blanks for the underscores in their names."""

EARS = "has ears"
"""In the authors' code, and in no table of the paper."""

GROUPS: Mapping[str, tuple[str, ...]] = {
    "affordance": ("sit on", "drink from", "ride on"),
    "attribute": ("can fly", "can be driven", "can swim"),
    "meronymy": ("has wheels", "has legs"),
}
"""Group -> its prompts, as the paper tests them."""

SPLITS = ("train", "val", "all")
PICTURES = ("train2017", "val2017", "test2017")
MIN_AREA = 0.03
"""Of the picture, that what is asked for has to have more of."""
CROP_TRIES = 200
"""Random positions of which the first good one is taken."""
CROP_SHARE = 0.02
"""A position is good with more than this share of the mask in it, and of its own area covered."""

_FAR = 1e6  # pixels; no point of a polygon is further out
_LAYOUT = "LVIS v1 with lvis_v1_{train,val}.json, there or in annotations/, and {train2017,val2017}/*.jpg"
_AUTHORS_LAYOUT = "category_info.json and all/CATEGORY_ID/IMAGE_ID.jpg with IMAGE_ID-seg.png"

_Rings: TypeAlias = tuple[NDArray[np.float32], ...]  # polygons, each (N, 2): x and y in pixels from the top left corner
_Categories: TypeAlias = dict[int, tuple[str, tuple[int, ...]]]  # id -> name, and the places of prompts that mean it


@dataclass(frozen=True, slots=True)
class _Entry:
    """A picture, all things of one category in it, and the places of the prompts that mean them.

    The mask is a file, or polygons for a picture of `size_hw`.
    """

    picture: Path
    mask: Path | _Rings
    size_hw: tuple[int, int]
    prompts: tuple[int, ...]
    name: str


class LVISPrompts(SampleDataset):
    """Pictures with things of a category that one prompt of a group means, or several.

    An entry is a category in a picture; of several prompts that mean it one is drawn, which is the phrase. The mask has
    the things of that category alone, as the authors' has: another one that the prompt means as well, a sofa beside the
    armchair to "sit on", is outside. `label` is the place of the prompt in `labels`, the prompts of the group. `ears`
    adds the ninth prompt to "meronymy".

    Things that have no more than `min_area` of the picture are left out, by the sum of the areas that the annotations
    state. With `crop` a sample is a square of the shorter side: of CROP_TRIES random positions the first good one, or
    the one with the most of the mask. (The authors bring the shorter side to 1.001 times that of the model's
    square, rounded down, before they crop to it, which is the same square.)

    Malformed rows and pictures that are missing are `problems`. Raises DataError for a folder that is no such data set,
    for a file that is no JSON and where nothing is left, UsageError for options out of their range.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "val",
        *,
        group: str = "affordance",
        ears: bool = False,
        crop: bool = True,
        min_area: float = MIN_AREA,
        seed: int = 0,
        on_problem: OnProblem = "skip",
    ) -> None:
        check_choice("split", split, SPLITS)
        check_choice("group", group, GROUPS)
        if ears and group != "meronymy":
            raise UsageError(f"ears=True adds {EARS!r} to meronymy; the group is {group}")
        if not 0 <= min_area < 1:
            raise UsageError(f"min_area is {min_area}; expected a share of the picture's area, from 0 to below 1")
        root = Path(root).expanduser()
        self.seed, self.split, self.group, self.crop = seed, split, group, crop
        self.problems = Problems(on_problem)
        self.labels = (*GROUPS[group], EARS) if ears else GROUPS[group]
        if split == "all":
            entries = _from_folders(root, self.labels, min_area, self.problems)
        else:
            entries = _from_json(root, split, self.labels, min_area, self.problems)
        self._entries = list(entries)
        if not self._entries:
            raise DataError(
                f"{root} ({split}) shows nothing of {group} on more than {min_area:.0%} of a picture; "
                f"{len(self.problems)} rows or files are malformed"
            )

    def __len__(self) -> int:
        return len(self._entries)

    def draw(self, index: int, rng: np.random.Generator) -> Sample:
        """An entry and a source of chance -> a sample; raises PictureError or DataError for files that are broken."""
        entry = self._entries[index]
        prompt = int(rng.choice(entry.prompts))
        picture = np.asarray(to_rgb(entry.picture))
        mask = _mask(entry, picture.shape[:2])
        if self.crop:
            least = CROP_SHARE * max(np.count_nonzero(mask), min(mask.shape) ** 2)
            window = crop_square(mask, rng, tries=CROP_TRIES, least=least)
            picture, mask = picture[window], mask[window]
        return Sample(picture, mask, self.labels[prompt], label=prompt, name=f"{entry.name}, {self.labels[prompt]}")


def _mask(entry: _Entry, size_hw: tuple[int, ...]) -> NDArray[np.bool_]:
    """An entry and the size of its picture -> (H, W). Raises DataError for a mask of another size."""
    try:
        if isinstance(entry.mask, Path):
            mask = mask_levels(entry.mask)[0] > 0
        else:
            mask = rasterise([ring.astype(np.float64) for ring in entry.mask], entry.size_hw)
    except DataError as error:
        raise DataError(f"{entry.name}: {error}") from error
    if mask.shape != size_hw:
        raise DataError(
            f"{entry.picture} is {size_hw[0]}x{size_hw[1]} but its annotation is for {mask.shape[0]}x{mask.shape[1]}"
        )
    return mask


def _meant(name: object, labels: Sequence[str]) -> tuple[int, ...]:
    """The name of a category -> the places of the prompts that mean it."""
    spoken = str(name).replace("_", " ")
    return tuple(place for place, prompt in enumerate(labels) if spoken in PROMPTS[prompt])


def _categories(rows: Iterator[tuple[int, Any]], labels: Sequence[str], path: Path, problems: Problems) -> _Categories:
    """Rows with an id and a name -> the categories that a prompt means. Raises DataError where there are none."""
    found = {}
    for line, row in rows:
        number, name = row.get("id"), row.get("name")
        if type(number) is not int or not isinstance(name, str):
            problems.report(path, line, f"a category has an id and a name; got {str(row)[:60]}")
        elif prompts := _meant(name, labels):
            found[number] = (name, prompts)
    if not found:
        raise DataError(f"{path} has none of the categories that {', '.join(labels)} mean; is it LVIS?")
    return found


# The annotations that LVIS is published with


@dataclass
class _Things:
    """All things of a category in a picture: the line of the first, their polygons, and their areas in all."""

    line: int
    rings: list[NDArray[np.float32]]
    area: float = 0.0


def _from_json(root: Path, split: str, labels: Sequence[str], min_area: float, problems: Problems) -> Iterator[_Entry]:
    """A folder with LVIS's JSON -> its entries, by picture. The file is read twice, since its lists have any order."""
    path = root / f"lvis_v1_{split}.json"
    if not path.is_file():
        path = root / "annotations" / path.name
        check_layout(root, (f"annotations/{path.name}",), _LAYOUT)
    categories = _categories(json_rows(path, problems, "categories"), labels, path, problems)
    pictures: dict[int, tuple[str, tuple[int, int]]] = {}
    found: dict[tuple[int, int], _Things] = {}
    lists = set()
    for key, line, row in json_lists(path):
        lists.add(key)
        if row is NO_ROW or key not in ("images", "annotations"):
            continue
        try:
            if key == "images":
                number, picture, size_hw = _picture(row)
                pictures[number] = (picture, size_hw)
                continue
            place, area, rings = _thing(row, categories)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            problems.report(path, line, f"malformed row of {key} ({type(error).__name__}: {error})")
            continue
        if rings:
            things = found.setdefault(place, _Things(line, []))
            things.rings += rings
            things.area += area
    if missing := {"images", "annotations"} - lists:
        raise DataError(f"{path} has no {' and no '.join(sorted(missing))}; expected {_LAYOUT}")
    for (number, category), things in sorted(found.items(), key=lambda item: item[0]):
        if number not in pictures:
            problems.report(path, things.line, f"image_id {number} is not among the images")
            continue
        picture, (height, width) = pictures[number]
        if things.area <= min_area * height * width:
            continue
        if not (root / picture).is_file():
            problems.report(path, things.line, f"there is no picture {root / picture}")
            continue
        said, prompts = categories[category]
        yield _Entry(
            root / picture, tuple(things.rings), (height, width), prompts, f"{path.name}, picture {number}, {said}"
        )


def _picture(row: Mapping[str, Any]) -> tuple[int, str, tuple[int, int]]:
    """A row of "images" -> its id, "train2017/000000000009.jpg" and (H, W). Raises as `_thing`."""
    path = PurePosixPath(row["coco_url"])
    if path.parent.name not in PICTURES:
        raise ValueError(f"coco_url ends in {' or '.join(PICTURES)} and the name of a file; got {str(path)[-60:]!r}")
    if type(row["id"]) is not int or not all(type(row[side]) is int and row[side] > 0 for side in ("height", "width")):
        raise ValueError("id, height and width are whole numbers, the last two above 0")
    return row["id"], f"{path.parent.name}/{path.name}", (row["height"], row["width"])


def _thing(row: Mapping[str, Any], categories: _Categories) -> tuple[tuple[int, int], float, list[NDArray[np.float32]]]:
    """A row of "annotations" -> (picture, category), its area and its polygons, none where no prompt means it.

    Raises KeyError, TypeError, ValueError or AttributeError for a malformed one.
    """
    place = (row["image_id"], row["category_id"])
    if not all(type(number) is int for number in place):
        raise TypeError(f"image_id and category_id are whole numbers; got {place}")
    if place[1] not in categories:
        return place, 0.0, []
    if not isinstance(row["segmentation"], list) or not row["segmentation"]:
        raise TypeError("segmentation is a list of polygons, [x, y, x, y, …] each")
    rings = [np.array(numbers, np.float64).reshape(-1, 2) for numbers in row["segmentation"]]
    area = float(row["area"])
    if not all(len(ring) > 2 and (np.abs(ring) < _FAR).all() for ring in rings) or not 0 <= area < np.inf:
        raise ValueError("a polygon has three points at least, and areas and points are numbers")
    return place, area, [ring.astype(np.float32) for ring in rings]


# The folder of the paper's authors


def _from_folders(root: Path, labels: Sequence[str], min_area: float, problems: Problems) -> Iterator[_Entry]:
    """A folder as the authors have it -> its entries, by category. Reads all of its masks, for their areas."""
    check_layout(root, ("category_info.json", "all"), _AUTHORS_LAYOUT)
    path = root / "category_info.json"
    categories = _categories(json_rows(path, problems), labels, path, problems)
    for number, (name, prompts) in sorted(categories.items()):
        for picture in sorted((root / "all" / str(number)).glob("*.jpg")):
            mask = picture.with_name(f"{picture.stem}-seg.png")
            try:
                inside = mask_levels(mask)[0] > 0
            except ClipsegError as error:
                problems.report(mask, None, str(error))
                continue
            if np.count_nonzero(inside) > min_area * inside.size:
                yield _Entry(picture, mask, inside.shape, prompts, f"{name}/{picture.name}")
