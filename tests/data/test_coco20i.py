"""COCO-20i in HSNet's layout: folds, episodes, negatives, and lists that are malformed or would run code."""

from __future__ import annotations

import os
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader

from class_set_files import write_coco20i
from clipseg.data.coco20i import COCO_NAMES, COCO20i, fold_classes, read_lists
from clipseg.data.sample import Sample
from clipseg.errors import DataError, UnsafeFileError, UsageError


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Test and training lists of fold 1; read by tests and not written to."""
    folder = tmp_path_factory.mktemp("coco")
    write_coco20i(folder, "val", fold=1)
    write_coco20i(folder, "train", fold=1)
    return folder


def listed_in(folder: Path, lists: Any) -> Path:
    path = folder / "splits" / "coco" / "val" / "fold0.pkl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(lists))
    return path


def shown_of(sample: Sample) -> list[tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
    """-> the pictures of an episode with their masks: query and support."""
    assert sample.support is not None
    return [(sample.picture, sample.mask), (sample.support.picture, sample.support.mask)]


def same(one: Sample, other: Sample) -> bool:
    pairs = zip(shown_of(one), shown_of(other), strict=True)
    return (one.phrase, one.label, one.name) == (other.phrase, other.label, other.name) and all(
        np.array_equal(mine, yours) for pair in pairs for mine, yours in zip(*pair, strict=True)
    )


def test_folds_test_every_fourth_and_train_on_the_rest() -> None:
    assert len(set(COCO_NAMES)) == 80
    assert {"couch", "tv", "potted plant"} <= set(COCO_NAMES)
    assert [COCO_NAMES[number] for number in fold_classes(0, "val")[:3]] == ["person", "airplane", "boat"]
    for fold in range(4):
        assert fold_classes(fold, "val") == tuple(range(fold, 80, 4))
        assert sorted(fold_classes(fold, "val") + fold_classes(fold, "train")) == list(range(80))


@pytest.mark.parametrize("split", ["val", "train"])
def test_an_episode_is_a_class_in_two_pictures(root: Path, split: str) -> None:
    dataset = COCO20i(root, split, fold=1, episodes=40)
    assert dataset.problems == []
    assert dataset.labels == COCO_NAMES
    for sample in dataset:
        assert sample.label in fold_classes(1, split)
        assert sample.phrase == COCO_NAMES[sample.label]
        assert [mask.sum() for _, mask in shown_of(sample)] == [48 * 44, 48 * 44]
        assert not np.array_equal(*[picture for picture, _ in shown_of(sample)])
        assert sample.ignore is None
        assert {"val": "val2014", "train": "train2014"}[split] in sample.name
        # each class has its own colour, so both masks lie on the same thing
        colours = [picture[mask].mean(0) for picture, mask in shown_of(sample)]
        assert np.abs(colours[0] - colours[1]).max() < 12


def test_classes_and_pictures_are_all_alike_likely(tmp_path: Path) -> None:
    write_coco20i(tmp_path, shown=((0,), (0, 4), (0, 4), (4, 0), (4,)))
    dataset = COCO20i(tmp_path, episodes=400)
    samples = list(dataset)
    labels = Counter(sample.label for sample in samples)
    assert set(labels) == {0, 4}
    assert min(labels.values()) > 150
    queries = Counter(sample.name.split(", ")[2] for sample in samples if sample.label == 0)
    assert len(queries) == 4
    assert min(queries.values()) > 20


def test_how_many_episodes_there_are(root: Path) -> None:
    assert len(COCO20i(root, fold=1)) == 1000
    assert len(COCO20i(root, "train", fold=1)) == 60  # as many as there are pictures
    assert len(COCO20i(root, "train", fold=1, episodes=7)) == 7


def test_the_same_every_time_and_in_workers(root: Path) -> None:
    dataset = COCO20i(root, fold=1, episodes=6, negatives=0.3, seed=5)
    once = list(dataset)
    assert all(map(same, once, pickle.loads(pickle.dumps(dataset))))
    assert all(map(same, once, DataLoader(dataset, batch_size=None, num_workers=1)))
    assert all(map(same, once, COCO20i(root, fold=1, episodes=100, negatives=0.3, seed=5)))
    assert not all(map(same, once, COCO20i(root, fold=1, episodes=6, negatives=0.3, seed=6)))


# Negatives


def test_negatives_empty_the_target_and_keep_the_question(tmp_path: Path) -> None:
    write_coco20i(tmp_path, shown=((0,), (0,), (0, 4), (4, 0), (4,), (8,), (8, 0)))
    alone: dict[int, set[str]] = {0: set(), 4: set(), 8: set()}
    for place, shown in enumerate(((0,), (0,), (0, 4), (4, 0), (4,), (8,), (8, 0))):
        for number in set(alone) - set(shown):
            alone[number].add(f"COCO_val2014_{place:012}.jpg")
    samples = list(COCO20i(tmp_path, episodes=60, negatives=1.0))
    for sample in samples:
        assert [mask.any() for _, mask in shown_of(sample)] == [False, True]
        assert sample.phrase == COCO_NAMES[sample.label]
        assert sample.name.split(", ")[2] in alone[sample.label]  # and never a picture that shows it after all
    assert {sample.label for sample in samples} == {0, 4, 8}


def test_negatives_are_as_many_as_asked_for(root: Path) -> None:
    empty = sum(not sample.mask.any() for sample in COCO20i(root, fold=1, episodes=200, negatives=0.2))
    assert 20 < empty < 62


def test_without_a_picture_free_of_the_class_there_is_no_negative(tmp_path: Path) -> None:
    write_coco20i(tmp_path, shown=((0, 4), (0, 4)))
    assert all(sample.mask.any() for sample in COCO20i(tmp_path, episodes=3, negatives=1.0))
    write_coco20i(tmp_path / "one", shown=((0,), (0,)))
    assert all(sample.mask.any() for sample in COCO20i(tmp_path / "one", episodes=3, negatives=1.0))


# Lists


class Command:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("made-by-a-pickle",)


@pytest.mark.parametrize(
    "lists",
    [Command(), {0: [Command()]}, {0: [np.str_("val2014/a.jpg")]}, {Path("x"): []}],
    ids=["command", "command within", "array's text", "path"],
)
def test_a_list_that_is_more_than_data_is_refused(tmp_path: Path, lists: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = listed_in(tmp_path, lists)
    with pytest.raises(UnsafeFileError, match=r"fold0\.pkl wants .*, which lists of pictures do not need"):
        read_lists(path)
    assert not (tmp_path / "made-by-a-pickle").exists()


@pytest.mark.parametrize("lists", [[1], {"0": []}, {True: []}, {0: "val2014/a.jpg"}, {0: [3]}, {0: [["x"]]}, None])
def test_a_list_of_another_shape(tmp_path: Path, lists: Any) -> None:
    with pytest.raises(DataError, match=r"fold0\.pkl: expected a dictionary, place of a class -> list of pictures"):
        read_lists(listed_in(tmp_path, lists))


def test_a_damaged_list(tmp_path: Path) -> None:
    path = listed_in(tmp_path, {0: ["val2014/a.jpg"]})
    for content in (path.read_bytes()[:-7], b"", b"no pickle"):
        path.write_bytes(content)
        with pytest.raises(DataError, match="damaged pickle"):
            read_lists(path)


def test_old_protocols_are_read(tmp_path: Path) -> None:
    path = listed_in(tmp_path, {})
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path.write_bytes(pickle.dumps({3: ["val2014/a.jpg"]}, protocol))
        assert read_lists(path) == {3: ["val2014/a.jpg"]}


def test_what_is_missing_is_passed_over(tmp_path: Path) -> None:
    write_coco20i(tmp_path, shown=((0, 4), (0,), (0,), (4,), (4,), (8,), (8,)))
    (tmp_path / "val2014" / "COCO_val2014_000000000001.jpg").unlink()
    (tmp_path / "annotations" / "val2014" / "COCO_val2014_000000000005.png").unlink()
    path = tmp_path / "splits" / "coco" / "val" / "fold0.pkl"
    lists = read_lists(path)
    lists[4].append("../../etc/passwd.jpg")
    path.write_bytes(pickle.dumps(lists))
    dataset = COCO20i(tmp_path, episodes=30)
    messages = [problem.message for problem in dataset.problems]
    assert messages[:4] == [
        "person: no picture 'val2014/COCO_val2014_000000000001.jpg' with its annotation",
        "airplane: no picture '../../etc/passwd.jpg' with its annotation",
        "boat: no picture 'val2014/COCO_val2014_000000000005.jpg' with its annotation",
        "boat: fewer than two pictures, so no example",
    ]
    assert all(problem.path == path for problem in dataset.problems)
    assert {sample.label for sample in dataset} == {0, 4}
    with pytest.raises(DataError, match=r"fold0\.pkl: person: no picture"):
        COCO20i(tmp_path, on_problem="raise")


def test_an_annotation_of_another_size_is_told(tmp_path: Path) -> None:
    write_coco20i(tmp_path, shown=((0,), (0,)))
    for place in range(2):
        Image.new("L", (5, 4), 1).save(tmp_path / "annotations" / "val2014" / f"COCO_val2014_{place:012}.png")
    with pytest.raises(DataError, match=r"64x60 but its classes, .*, are 4x5"):
        COCO20i(tmp_path)[0]


def test_folders_that_are_no_coco(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no annotations, splits/coco/val/fold2\.pkl; expected COCO-20i as HSNet"):
        COCO20i(tmp_path, fold=2)
    write_coco20i(tmp_path, shown=((0,), (4,)))
    with pytest.raises(DataError, match="leaves no class with two pictures; 20 problems"):
        COCO20i(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "test"}, "split is 'test'; known are train, val"),
        ({"fold": 4}, "fold is 4; known are 0, 1, 2, 3"),
        ({"fold": True}, "fold is True"),
        ({"episodes": 0}, "episodes is 0; expected at least 1"),
        ({"negatives": 1.5}, "negatives is 1.5; expected a probability"),
    ],
)
def test_options_that_there_are_not(root: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        COCO20i(root, **options)
