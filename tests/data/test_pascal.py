"""Pascal-5i and zero-shot VOC in their releases' format: episodes, folds, names, protocols, and what is malformed."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader

from class_set_files import FOLD_0, THE_REST, painted, write_pascal5i, write_voc
from clipseg.data.pascal import (
    ENOUGH,
    LIST_FOLDERS,
    UNSEEN,
    VOC_NAMES,
    ZERO_SHOT_NAMES,
    Pascal5i,
    VOCZeroShot,
    fold_classes,
)
from clipseg.data.sample import Sample
from clipseg.errors import DataError, UsageError


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both data sets, test and training split; read by tests and not written to."""
    folder = tmp_path_factory.mktemp("voc")
    write_pascal5i(folder)
    write_voc(folder)
    return folder


def same(one: Sample, other: Sample) -> bool:
    arrays = [(one.picture, other.picture), (one.mask, other.mask), (one.ignore, other.ignore)]
    if one.support is not None and other.support is not None:
        arrays += [(one.support.picture, other.support.picture), (one.support.mask, other.support.mask)]
    return (one.phrase, one.label, one.name) == (other.phrase, other.label, other.name) and all(
        np.array_equal(mine, yours) for mine, yours in arrays
    )


# Names and folds


def test_names_are_those_of_voc() -> None:
    assert len(VOC_NAMES) == 20
    assert {"diningtable", "pottedplant", "tvmonitor", "aeroplane"} <= set(VOC_NAMES)
    assert len(ZERO_SHOT_NAMES) == 21
    assert ZERO_SHOT_NAMES[:3] == ("background", "airplane", "bicycle")
    assert ZERO_SHOT_NAMES[2:] == VOC_NAMES[1:]


def test_folds_test_five_and_train_on_the_rest() -> None:
    assert [fold_classes(fold, "val") for fold in range(4)] == [
        (1, 2, 3, 4, 5), (6, 7, 8, 9, 10), (11, 12, 13, 14, 15), (16, 17, 18, 19, 20),
    ]  # fmt: skip
    for fold in range(4):
        assert sorted(fold_classes(fold, "val") + fold_classes(fold, "train")) == list(range(1, 21))


def test_unseen_classes_are_those_of_the_table() -> None:
    added = {2: {"cow", "motorbike"}, 4: {"airplane", "sofa"}, 6: {"cat", "tvmonitor"}, 8: {"train", "bottle"}}
    added[10] = {"chair", "pottedplant"}
    before: set[str] = set()
    for count, names in added.items():
        before |= names
        assert {ZERO_SHOT_NAMES[number] for number in UNSEEN[count]} == before
    assert {ZERO_SHOT_NAMES[number] for number in UNSEEN["last-5"]} == {
        "pottedplant", "sheep", "sofa", "train", "tvmonitor",
    }  # fmt: skip
    assert 5 not in UNSEEN


# Pascal-5i


def test_an_episode_for_each_picture_of_the_fold(root: Path) -> None:
    dataset = Pascal5i(root)
    assert dataset.problems == []
    listed = [shown for shown in FOLD_0 if {1, 2, 3, 4, 5}.intersection(shown)]
    samples = list(dataset)
    assert len(samples) == len(dataset) == len(listed)
    assert dataset.labels == VOC_NAMES
    for sample, shown in zip(samples, listed, strict=True):
        number = sample.label + 1
        assert number in {1, 2, 3, 4, 5}.intersection(shown)
        assert sample.phrase == VOC_NAMES[sample.label]
        classes = painted(shown)
        assert np.array_equal(sample.mask, classes == number)
        assert np.array_equal(sample.ignore, classes == 255)
        assert sample.picture.shape == (*classes.shape, 3)
        assert "val.txt, line " in sample.name
        assert sample.phrase in sample.name
        assert sample.support is not None
        assert sample.support.mask.sum() >= ENOUGH
        assert sample.support.picture.shape[:2] == sample.support.mask.shape


def test_the_support_is_any_other_picture_of_the_class(tmp_path: Path) -> None:
    write_pascal5i(tmp_path, shown=((1,), (1, 6), (1, 6, 7), (1, 6, 7, 8), (6,)))
    dataset = Pascal5i(tmp_path)
    widths = [dataset[index].picture.shape[1] for index in range(4)]
    for index in range(4):
        supports = [dataset.draw(index, np.random.default_rng(seed)).support for seed in range(40)]
        drawn = Counter(support.picture.shape[1] for support in supports if support)
        assert set(drawn) == set(widths) - {widths[index]}


def test_every_class_of_a_picture_is_asked_for(root: Path) -> None:
    dataset = Pascal5i(root)
    phrases = Counter(dataset.draw(2, np.random.default_rng(seed)).phrase for seed in range(60))
    assert set(phrases) == {"aeroplane", "bicycle"}
    assert min(phrases.values()) > 15


def test_small_classes_do_not_count(tmp_path: Path) -> None:
    write_pascal5i(tmp_path, shown=((1,), (1,), (1,), (2,), (2,)), small=(1, 3, 4))
    dataset = Pascal5i(tmp_path)
    assert len(dataset) == 2
    assert {sample.phrase for sample in dataset} == {"aeroplane"}


def test_training_has_the_other_classes(tmp_path: Path) -> None:
    write_pascal5i(tmp_path, "train", THE_REST)
    dataset = Pascal5i(tmp_path, "train", fold=0)
    assert {sample.label + 1 for index in range(len(dataset)) for sample in [dataset[index]]} <= {6, 7, 8, 9, 15, 20}
    assert all("voc_sbd_merge_noduplicate.txt" in sample.name for sample in dataset)
    # of the pictures of classes 1 and 7, and of 2 and 1, only the 7 is left
    assert len(dataset) == 7


@pytest.mark.parametrize("folder", LIST_FOLDERS)
def test_lists_may_lie_where_pfenet_has_them(tmp_path: Path, folder: str) -> None:
    write_pascal5i(tmp_path, lists=folder)
    assert len(Pascal5i(tmp_path)) == 8


def test_a_palette_is_not_read_as_colours(tmp_path: Path) -> None:
    write_pascal5i(tmp_path)
    labels = write_voc(tmp_path)
    for stem in labels:
        (tmp_path / "SegmentationClass" / f"{stem}.png").replace(tmp_path / "SegmentationClassAug" / f"{stem}.png")
    assert {sample.phrase for sample in Pascal5i(tmp_path)} >= {"bicycle", "bird"}


def test_malformed_lines_are_passed_over_by_line(tmp_path: Path) -> None:
    stems = write_pascal5i(tmp_path)
    path = tmp_path / "val.txt"
    Image.new("RGB", (9, 9)).save(tmp_path / "JPEGImages" / f"{stems[4]}.jpg")
    (tmp_path / "SegmentationClassAug" / f"{stems[0]}.png").write_bytes(b"no picture")
    path.write_text(path.read_text() + f"\nonly-one-word\nJPEGImages/no.jpg SegmentationClassAug/{stems[1]}.png\n"
                    f"JPEGImages/{stems[1]}.jpg SegmentationClassAug/{stems[1]}.png\n")  # fmt: skip
    dataset = Pascal5i(tmp_path)
    problems = [(problem.line, problem.message) for problem in dataset.problems]
    assert [line for line, _ in problems] == [1, 5, 12, 13, 14, None, None]
    assert "cannot be read" in problems[0][1]
    assert "9x9" in problems[1][1]
    assert problems[2][1] == "expected `image label`, got 'only-one-word'"
    assert "there is no " in problems[3][1]
    assert problems[4][1].endswith("is listed in line 2 already")
    assert [message for _, message in problems[5:]] == [
        "aeroplane: only one picture, so no example", "bird: only one picture, so no example",
    ]  # fmt: skip
    assert {sample.phrase for sample in dataset} == {"bicycle", "boat", "bottle"}
    with pytest.raises(DataError, match=r"val\.txt:1: .*cannot be read"):
        Pascal5i(tmp_path, on_problem="raise")


def test_folders_that_are_no_pascal(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no folder .*; expected Pascal VOC 2012 with JPEGImages/\*\.jpg"):
        Pascal5i(tmp_path / "no")
    write_voc(tmp_path)
    with pytest.raises(DataError, match=r"has no val\.txt; .* in lists/pascal, lists, ImageSets"):
        Pascal5i(tmp_path)
    write_pascal5i(tmp_path, shown=((1,), (2,), (0,)))
    with pytest.raises(DataError, match="no two pictures of any class of fold 0"):
        Pascal5i(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "test"}, "split is 'test'; known are train, val"),
        ({"fold": 4}, "fold is 4; known are 0, 1, 2, 3"),
        ({"on_problem": "warn"}, "known are skip, raise"),
    ],
)
def test_options_that_there_are_not(root: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Pascal5i(root, **options)  # type: ignore[arg-type]


# Zero-shot VOC


def test_pictures_with_a_class_at_every_pixel(root: Path) -> None:
    dataset = VOCZeroShot(root)
    assert dataset.problems == []
    assert len(dataset) == len(FOLD_0)
    assert dataset.names == dataset.labels == ZERO_SHOT_NAMES
    for index, shown in enumerate(FOLD_0):
        picture = dataset.labelled(index)
        assert picture.classes.dtype == np.uint8
        assert np.array_equal(picture.classes, painted(shown))
        assert picture.picture.shape == (*picture.classes.shape, 3)
        assert picture.name.endswith(".jpg")


@pytest.mark.parametrize("unseen", UNSEEN)
def test_seen_and_unseen_share_nothing(root: Path, unseen: int | str) -> None:
    dataset = VOCZeroShot(root, unseen=unseen)
    assert dataset.unseen == UNSEEN[unseen]
    assert sorted(dataset.seen + dataset.unseen) == list(range(21))
    assert dataset.seen[0] == 0


def test_a_sample_asks_for_a_class_that_is_there(root: Path) -> None:
    for shown, sample in zip(FOLD_0, VOCZeroShot(root), strict=True):
        assert sample.label in shown
        assert sample.phrase == ZERO_SHOT_NAMES[sample.label]
        assert sample.mask.any()
        assert sample.support is None
    assert sample.phrase == "background"  # of the picture that shows nothing


def test_training_never_shows_an_unseen_class(tmp_path: Path) -> None:
    write_voc(tmp_path, "train", ((1, 15), (10,), (9, 14), (2,), (14, 2)))
    assert [sample.name.split(".")[0] for sample in VOCZeroShot(tmp_path, "train", unseen=2)] == [
        "2007_000000", "2010_000003",
    ]  # fmt: skip
    assert len(VOCZeroShot(tmp_path, "train", unseen="last-5")) == 5


def test_voc_with_lines_that_are_malformed(tmp_path: Path) -> None:
    write_voc(tmp_path)
    path = tmp_path / "ImageSets" / "Segmentation" / "val.txt"
    path.write_text("two words\nnothing\n" + path.read_text())
    dataset = VOCZeroShot(tmp_path)
    assert [problem.line for problem in dataset.problems] == [1, 2]
    assert len(dataset) == len(FOLD_0)
    with pytest.raises(DataError, match=r"val\.txt:1: expected `name`, got 'two words'"):
        VOCZeroShot(tmp_path, on_problem="raise")
    path.write_text("nothing\n")
    with pytest.raises(DataError, match="leaves no picture; 1 lines are malformed"):
        VOCZeroShot(tmp_path)


def test_zero_shot_without_its_files(tmp_path: Path) -> None:
    (tmp_path / "JPEGImages").mkdir()
    with pytest.raises(DataError, match=r"has no SegmentationClass, ImageSets/Segmentation/val\.txt; expected Pascal"):
        VOCZeroShot(tmp_path)


@pytest.mark.parametrize("unseen", [5, 3, "5", True])
def test_five_is_no_number_of_unseen_classes(root: Path, unseen: int | str) -> None:
    with pytest.raises(UsageError, match="known are 2, 4, 6, 8, 10, last-5"):
        VOCZeroShot(root, unseen=unseen)


# Both


@pytest.mark.parametrize("opened", [Pascal5i, VOCZeroShot])
def test_the_same_every_time_and_in_workers(root: Path, opened: Callable[..., Pascal5i | VOCZeroShot]) -> None:
    dataset = opened(root, seed=3)
    once = list(dataset)
    assert all(map(same, once, dataset))
    assert all(map(same, once, opened(root, seed=3)))
    assert all(map(same, once, pickle.loads(pickle.dumps(dataset))))
    assert any(not same(one, other) for one, other in zip(once, opened(root, seed=4), strict=True))
    loader = DataLoader(dataset, batch_size=None, num_workers=1)
    assert all(map(same, once, loader))
