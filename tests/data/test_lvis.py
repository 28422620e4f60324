"""Generalised prompts over LVIS, in the release's format and in the authors': the table, masks, crops, bad rows."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader

from class_set_files import LVIS_CATEGORIES, LVIS_SHOWN, write_authors_lvis, write_lvis
from clipseg.data.lvis import CROP_SHARE, EARS, GROUPS, PROMPTS, LVISPrompts
from clipseg.errors import DataError, UsageError

AREA = 48 * 44


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both layouts; read by tests and not written to."""
    folder = tmp_path_factory.mktemp("lvis")
    write_lvis(folder)
    write_authors_lvis(folder)
    return folder


def named(*names: str) -> list[tuple[int, str]]:
    """-> the pictures of LVIS_SHOWN, from 1, in which these categories are, and which."""
    return [
        (place, LVIS_CATEGORIES[number])
        for place, numbers in enumerate(LVIS_SHOWN, 1)
        for number in sorted(numbers)
        if LVIS_CATEGORIES[number] in names
    ]


# The table


def test_the_groups_are_those_of_the_paper() -> None:
    assert {group: len(prompts) for group, prompts in GROUPS.items()} == {
        "affordance": 3, "attribute": 3, "meronymy": 2,
    }  # fmt: skip
    assert {prompt: len(names) for prompt, names in PROMPTS.items()} == {
        "sit on": 10, "drink from": 5, "ride on": 3, "can fly": 12, "can be driven": 6, "can swim": 7,
        "has wheels": 10, "has legs": 33, "has ears": 11,
    }  # fmt: skip
    assert all(len(set(names)) == len(names) for names in PROMPTS.values())
    assert set(PROMPTS) == {prompt for prompts in GROUPS.values() for prompt in prompts} | {EARS}
    assert set(PROMPTS["sit on"]) < set(PROMPTS["has legs"])
    assert set(PROMPTS[EARS]) < set(PROMPTS["has legs"])
    assert {"car (automobile)", "wheelchair"} <= set(PROMPTS["has wheels"])


# Samples


@pytest.mark.parametrize("split", ["val", "all"])
def test_an_entry_for_each_category_in_each_picture(root: Path, split: str) -> None:
    dataset = LVISPrompts(root, split, group="affordance", crop=False)
    assert dataset.problems == []
    assert dataset.labels == ("sit on", "drink from", "ride on")
    meant = {"armchair": "sit on", "wheelchair": "sit on", "beer_bottle": "drink from", "horse": "ride on"}
    samples = list(dataset)
    assert len(samples) == len(dataset)
    assert Counter(sample.phrase for sample in samples) == Counter(meant[name] for _, name in named(*meant))
    for sample in samples:
        assert sample.phrase == dataset.labels[sample.label]
        assert sample.phrase in sample.name
        assert sample.mask.shape == sample.picture.shape[:2]
        assert sample.mask.sum() == AREA  # two annotations of three polygons are one thing
        assert sample.support is None
        assert sample.picture[sample.mask].std(0).max() < 25  # of one colour: the thing, and nothing else


def test_entries_are_by_picture(root: Path) -> None:
    names = [sample.name for sample in LVISPrompts(root, group="affordance", crop=False)]
    expected = [
        f"lvis_v1_val.json, picture {place}, {name}"
        for place, name in named("armchair", "wheelchair", "beer_bottle", "horse")
    ]
    assert [name.rpartition(", ")[0] for name in names] == expected


def test_a_category_of_several_prompts_draws_one(root: Path) -> None:
    dataset = LVISPrompts(root, group="meronymy", crop=False)
    index = next(index for index in range(len(dataset)) if "wheelchair" in dataset[index].name)
    drawn = Counter(dataset.draw(index, np.random.default_rng(seed)).phrase for seed in range(60))
    assert set(drawn) == {"has wheels", "has legs"}
    assert min(drawn.values()) > 15


def test_ears_are_asked_for_on_demand(root: Path) -> None:
    dataset = LVISPrompts(root, group="meronymy", ears=True, crop=False)
    assert dataset.labels == ("has wheels", "has legs", "has ears")
    index = next(index for index in range(len(dataset)) if "dog" in dataset[index].name)
    assert {dataset.draw(index, np.random.default_rng(seed)).phrase for seed in range(30)} == {"has legs", "has ears"}
    with pytest.raises(UsageError, match="ears=True adds 'has ears' to meronymy; the group is attribute"):
        LVISPrompts(root, group="attribute", ears=True)


@pytest.mark.parametrize("split", ["val", "all"])
def test_small_things_are_left_out(root: Path, split: str) -> None:
    alone, beside = AREA / (64 * 60), AREA / (64 * 112)
    assert beside < 0.4 < alone
    everything = LVISPrompts(root, split, crop=False)
    large = LVISPrompts(root, split, crop=False, min_area=0.4)
    assert 0 < len(large) < len(everything)
    assert {sample.picture.shape for sample in large} == {(64, 60, 3)}
    assert len(LVISPrompts(root, split, min_area=0.0)) == len(everything)


# Crops


def test_a_crop_is_a_square_that_shows_enough(root: Path) -> None:
    dataset = LVISPrompts(root, group="meronymy")
    for index in range(len(dataset)):
        for seed in range(10):
            sample = dataset.draw(index, np.random.default_rng(seed))
            side = sample.mask.shape[0]
            assert sample.mask.shape == (side, side)
            assert sample.picture.shape == (side, side, 3)
            assert side in (60, 64)
            assert sample.mask.sum() > CROP_SHARE * max(AREA, side**2)


def test_crops_are_random_but_the_same_for_an_index(root: Path) -> None:
    dataset = LVISPrompts(root, group="affordance", seed=1)
    index = next(index for index in range(len(dataset)) if "wheelchair" in dataset[index].name)
    shown = {int(dataset.draw(index, np.random.default_rng(seed)).mask.sum()) for seed in range(20)}
    assert len(shown) > 3
    assert np.array_equal(dataset[index].picture, dataset[index].picture)


def test_the_same_in_workers(root: Path) -> None:
    dataset = LVISPrompts(root, group="attribute", seed=2)
    once = [(sample.name, sample.mask.tobytes()) for sample in dataset]
    for other in (pickle.loads(pickle.dumps(dataset)), DataLoader(dataset, batch_size=None, num_workers=1)):
        assert [(sample.name, sample.mask.tobytes()) for sample in other] == once


# Files


def test_the_json_may_lie_in_annotations(tmp_path: Path) -> None:
    write_lvis(tmp_path, "train", folder="annotations")
    assert len(LVISPrompts(tmp_path, "train")) == 8


def test_lists_may_come_in_any_order(tmp_path: Path) -> None:
    content = write_lvis(tmp_path)
    before = [sample.name for sample in LVISPrompts(tmp_path)]
    (tmp_path / "lvis_v1_val.json").write_text(json.dumps(dict(reversed(content.items()))))
    assert [sample.name for sample in LVISPrompts(tmp_path)] == before


def test_malformed_rows_are_passed_over_by_line(tmp_path: Path) -> None:
    good = {"image_id": 1, "category_id": 3, "area": 50, "segmentation": [[0, 0, 9, 0, 9, 9]]}
    rows: list[tuple[Any, str]] = [
        ({**good, "image_id": "1"}, "whole numbers"),
        ({**good, "image_id": 999}, "image_id 999 is not among the images"),
        ({**good, "segmentation": {"counts": "x"}}, "list of polygons"),
        ({**good, "segmentation": [[0, 0, 9, 0]]}, "three points"),
        ({**good, "segmentation": [[0, 0, 9, 0, 9]]}, "malformed row of annotations"),
        ({**good, "segmentation": [[0, 0, 9, 0, 9, 1e300]]}, "three points"),
        ({**good, "area": "much"}, "malformed row of annotations"),
        ({**good, "area": float("nan")}, "areas and points are numbers"),
        ({"image_id": 1, "category_id": 3}, "KeyError"),
        (7, "TypeError"),
    ]
    content = write_lvis(tmp_path, annotations=[row for row, _ in rows])
    dataset = LVISPrompts(tmp_path)
    assert len(dataset) == 8
    first = 2 + len(content["annotations"]) - len(rows) + 1  # after `{"info": …,` and `"annotations": [`
    found = {problem.line: problem.message for problem in dataset.problems}
    assert sorted(line for line in found if line) == list(range(first, first + len(rows)))
    for line, (_, message) in enumerate(rows, first):
        assert message in found[line]
    with pytest.raises(DataError, match=rf"lvis_v1_val\.json:{first}: "):
        LVISPrompts(tmp_path, on_problem="raise")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": 50, "height": 0, "width": 5, "coco_url": "x/val2017/1.jpg"}, "above 0"),
        ({"id": 50, "height": 5, "width": 5, "coco_url": "x/../1.jpg"}, "coco_url ends in train2017 or"),
        ({"id": 50, "height": 5, "width": 5}, "KeyError"),
    ],
)
def test_malformed_pictures(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    write_lvis(tmp_path, images=[row])
    [problem] = LVISPrompts(tmp_path).problems
    assert problem.line is not None
    assert message in problem.message


def test_malformed_categories(tmp_path: Path) -> None:
    write_lvis(tmp_path, categories=[{"id": "1", "name": "pony"}, {"id": 90}])
    dataset = LVISPrompts(tmp_path)
    assert len(dataset.problems) == 2
    assert all("a category has an id and a name" in problem.message for problem in dataset.problems)


def test_pictures_that_are_missing_or_of_another_size(tmp_path: Path) -> None:
    write_lvis(tmp_path)
    (tmp_path / "train2017" / "000000000001.jpg").unlink()
    Image.new("RGB", (7, 5)).save(tmp_path / "val2017" / "000000000002.jpg")
    dataset = LVISPrompts(tmp_path)
    [problem] = dataset.problems
    assert problem.line == 3  # where the first annotation of the picture is
    assert "there is no picture" in problem.message
    with pytest.raises(DataError, match=r"000000000002\.jpg is 5x7 but its annotation is for 64x112"):
        dataset[0]


def test_the_authors_folder_with_a_broken_mask(tmp_path: Path) -> None:
    write_authors_lvis(tmp_path)
    broken = tmp_path / "all" / "3" / "1-seg.png"
    broken.write_bytes(b"")
    dataset = LVISPrompts(tmp_path, "all")
    assert [problem.path for problem in dataset.problems] == [broken]
    assert len(dataset) == 7
    with pytest.raises(DataError, match=r"1-seg\.png"):
        LVISPrompts(tmp_path, "all", on_problem="raise")


def test_folders_that_are_no_lvis(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no annotations/lvis_v1_val\.json; expected LVIS v1 with"):
        LVISPrompts(tmp_path)
    with pytest.raises(DataError, match=r"has no category_info\.json, all; expected category_info\.json and all/"):
        LVISPrompts(tmp_path, "all")
    path = tmp_path / "lvis_v1_val.json"
    path.write_text('{"categories": [{"id": 1, "name": "teapot"}]}')
    with pytest.raises(DataError, match="none of the categories that sit on, drink from, ride on mean"):
        LVISPrompts(tmp_path)
    path.write_text('{"categories": [{"id": 1, "name": "sofa"}], "images": []}')
    with pytest.raises(DataError, match="has no annotations; expected LVIS v1"):
        LVISPrompts(tmp_path)
    path.write_text('{"categories": [{"id": 1, "name": "sofa"}],\n "images": [], "annotations": []}')
    with pytest.raises(DataError, match="shows nothing of affordance on more than 3% of a picture"):
        LVISPrompts(tmp_path)
    path.write_text('{"categories": [{"id": 1, "name": "sofa"}],\n "images": [,')
    with pytest.raises(DataError, match=r"lvis_v1_val\.json:2: "):
        LVISPrompts(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "test"}, "split is 'test'; known are train, val, all"),
        ({"group": "affordances"}, "known are affordance, attribute, meronymy"),
        ({"min_area": 3}, "min_area is 3; expected a share"),
    ],
)
def test_options_that_there_are_not(root: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        LVISPrompts(root, **options)
