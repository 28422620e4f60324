"""PhraseCut and PhraseCut+ on a small set in the release's format: masks, sampling rules, and what is malformed."""

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

from clipseg.data.geometry import cropped
from clipseg.data.phrasecut import PhraseCut
from clipseg.data.sample import Sample
from clipseg.errors import DataError, UsageError
from phrasecut_files import DROPPED, UNIQUE, Row, mask_of, write_all_splits, write_phrasecut


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All four splits, read by tests and not written to."""
    folder = tmp_path_factory.mktemp("phrasecut")
    write_all_splits(folder)
    return folder


def rows_of(root: Path, split: str = "train") -> list[Row]:
    """The rows of a split that its data set has, in order."""
    return [row for row in json.loads((root / f"refer_{split}.json").read_text()) if row["image_id"] != DROPPED]


def same(left: Sample, right: Sample) -> bool:
    pairs = [(left.picture, right.picture), (left.mask, right.mask)]
    if left.support is not None and right.support is not None:
        pairs += [(left.support.picture, right.support.picture), (left.support.mask, right.support.mask)]
    words = [(one.phrase, one.label, one.name, one.support is None) for one in (left, right)]
    return words[0] == words[1] and all(np.array_equal(*pair) for pair in pairs)


def broken(root: Path, **changes: Any) -> Row:
    """A good row about picture 1, with some keys changed, or left out where the change is `...`."""
    row = rows_of(root)[0] | {"task_id": "made"} | changes
    return {key: value for key, value in row.items() if value is not ...}


@pytest.mark.parametrize(("split", "pictures"), [("train", 11), ("val", 6), ("test", 4), ("miniv", 2)])
def test_a_sample_is_a_phrase_about_a_picture(root: Path, split: str, pictures: int) -> None:
    dataset, rows = PhraseCut(root, split), rows_of(root, split)
    assert len(dataset) == len(rows) == 3 * pictures + 1
    assert dataset.problems == []
    assert dataset.labels == ()
    assert set(dataset.phrases) == {row["phrase"] for row in rows}
    for index, (sample, row) in enumerate(zip(dataset, rows, strict=True)):
        number = row["image_id"]
        assert sample.phrase == row["phrase"]
        assert sample.label == index
        assert sample.name == f"refer_{split}.json, task {row['task_id']}, picture {number}"
        assert sample.support is sample.ignore is None
        with Image.open(root / "images" / f"{number}.jpg") as picture:
            assert np.array_equal(sample.picture, np.asarray(picture.convert("RGB")))
        assert sample.picture.dtype == np.uint8
        truth = mask_of(row, sample.picture.shape[:2])
        assert sample.mask.dtype == bool
        assert sample.mask.shape == truth.shape
        assert (sample.mask & truth).sum() >= 0.96 * (sample.mask | truth).sum()
    assert dataset[-1].label == len(dataset) - 1
    with pytest.raises(IndexError):
        dataset[len(dataset)]


def test_masks_have_the_area_of_their_polygons(tmp_path: Path) -> None:
    """Over many triangles: neither too large nor too small. Pillow adds a third of a pixel along every border."""
    write_phrasecut(tmp_path)
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 60, (40, 3, 2))
    sides = np.roll(corners, -1, 1) - corners
    areas = np.abs(sides[:, 0, 0] * sides[:, 1, 1] - sides[:, 0, 1] * sides[:, 1, 0]) / 2
    lengths = np.linalg.norm(sides, axis=2).sum(1)
    rows = tuple(broken(tmp_path, Polygons=[[triangle.tolist()]], phrase="a triangle") for triangle in corners)
    write_phrasecut(tmp_path, extra=rows)
    dataset = PhraseCut(tmp_path)
    counted = np.array([sample.mask.sum() for sample in dataset if sample.phrase == "a triangle"])
    assert np.abs(counted - areas).max() < 0.15 * lengths.max()
    assert abs((counted - areas).sum()) < 0.02 * lengths.sum()


def test_parts_and_instances_are_united(tmp_path: Path) -> None:
    write_phrasecut(tmp_path)
    left, right = [[2, 2], [10, 2], [10, 10], [2, 10]], [[6, 6], [20, 6], [20, 12], [6, 12]]
    degenerate = [[30, 30], [40, 40]]
    beyond = [[-50, -50], [190, -50], [190, 190], [-50, 190]]  # nearly twice the longer side, which is as far as may be
    extra = (
        broken(tmp_path, Polygons=[[left, degenerate], [right]]),
        broken(tmp_path, Polygons=[[beyond]], phrase="more than there is"),
    )
    write_phrasecut(tmp_path, extra=extra)
    dataset = PhraseCut(tmp_path)
    mask = dataset[len(dataset) - 2].mask
    expected = np.zeros(mask.shape, bool)
    expected[2:10, 2:10] = expected[6:12, 6:20] = True
    assert np.array_equal(mask, expected)
    assert dataset[-1].mask.all()
    assert dataset.problems == []


def test_phrasecut_plus_draws_by_the_rules(root: Path) -> None:
    dataset, rows = PhraseCut(root, negatives=0.2, visual=True, seed=3), rows_of(root)
    counts = Counter(row["phrase"] for row in rows)
    shown: dict[str, list[np.ndarray]] = {}
    for sample in PhraseCut(root):
        shown.setdefault(str(sample.phrase), []).append(sample.mask)
    rng = np.random.default_rng(1)
    negatives, itself = 0, 0
    for number in range(400):
        index = number % len(dataset)
        sample, row = dataset.draw(index, rng), rows[index]
        here = {other["phrase"] for other in rows if other["image_id"] == row["image_id"]}
        assert sample.phrase is not None
        if sample.phrase == row["phrase"]:
            assert sample.mask.any()
        else:
            negatives += 1
            assert not sample.mask.any()
            assert sample.phrase not in here
            assert sample.phrase in counts
        assert sample.mask.shape == sample.picture.shape[:2]
        assert (sample.support is None) == (counts[sample.phrase] == 1)
        if sample.support is not None:
            assert sample.support.mask.shape == sample.support.picture.shape[:2]
            assert any(np.array_equal(sample.support.mask, mask) for mask in shown[sample.phrase])
            itself += np.array_equal(sample.support.picture, sample.picture)
        if number < 20:
            cut = cropped(sample, rng)
            assert len(set(cut.mask.shape)) == 1
            assert cut.mask.any() == sample.mask.any()
    assert 0.12 < negatives / 400 < 0.28
    assert itself > 0  # the support may be the query itself


@pytest.mark.parametrize("only_visual", [False, True])
def test_negatives_are_any_other_phrase_of_the_set_alike_likely(root: Path, only_visual: bool) -> None:
    dataset, rows = PhraseCut(root, negatives=1.0, visual=only_visual, only_visual=only_visual), rows_of(root)
    here = {row["phrase"] for row in rows if row["image_id"] == rows[0]["image_id"]}
    rng = np.random.default_rng(0)
    drawn = Counter(str(dataset.draw(0, rng).phrase) for _ in range(600))
    assert set(drawn) == set(dataset.phrases) - here
    expected = 600 / len(drawn)
    assert all(0.4 * expected < count < 1.8 * expected for count in drawn.values())


def test_where_a_picture_has_every_phrase_the_sample_stays(tmp_path: Path) -> None:
    write_phrasecut(tmp_path, "val", pictures=1)
    dataset = PhraseCut(tmp_path, "val", negatives=1.0)
    assert [sample.phrase for sample in dataset] == [row["phrase"] for row in rows_of(tmp_path, "val")]
    assert all(sample.mask.any() for sample in dataset)


def test_a_support_need_not_be_the_query(root: Path) -> None:
    dataset = PhraseCut(root, visual=True, support_may_be_query=False)
    for seed in range(5):
        for index in range(len(dataset)):
            sample = dataset.draw(index, np.random.default_rng([seed, index]))
            if sample.support is not None:
                assert not np.array_equal(sample.support.picture, sample.picture)


def test_only_visual_keeps_phrases_that_occur_again(root: Path) -> None:
    dataset, rows = PhraseCut(root, visual=True, only_visual=True, negatives=0.5), rows_of(root)
    counts = Counter(row["phrase"] for row in rows)
    assert len(dataset) == sum(counts[row["phrase"]] > 1 for row in rows) < len(rows)
    assert UNIQUE not in dataset.phrases
    assert all(sample.support is not None for sample in dataset)


def test_min_size_is_a_share_of_the_picture_and_leaves_supports_alone(root: Path) -> None:
    rows = rows_of(root)
    sizes = {}
    for row in rows:
        with Image.open(root / "images" / f"{row['image_id']}.jpg") as picture:
            area = sum(width * height for _, _, width, height in row["instance_boxes"])
            sizes[row["task_id"]] = area / (picture.width * picture.height)
    bound = 0.5
    dataset = PhraseCut(root, min_size=bound, visual=True)
    names = [sample.name.split(", ")[1].removeprefix("task ") for sample in dataset]
    assert names == [task for task, share in sizes.items() if share > bound]
    assert 0 < len(names) < len(rows)
    assert len(dataset.phrases) == len({row["phrase"] for row in rows})


def test_phrases_that_name_a_class_are_removed(tmp_path: Path) -> None:
    write_phrasecut(tmp_path)
    named = ("two dogs", "old boats", "a man sitting", "blue sky")
    write_phrasecut(tmp_path, extra=tuple(broken(tmp_path, phrase=phrase) for phrase in named))
    left = {rule: set(PhraseCut(tmp_path, remove=rule).phrases) for rule in ((), ("pas5i", 2), ("pas5i", 0), ("aff",))}
    everything = left[()]
    assert set(named) < everything
    assert everything - left["pas5i", 2] == {"two dogs", "a man sitting"}
    assert everything - left["pas5i", 0] == {"old boats"}
    assert everything - left["aff",] == {"a man sitting"}
    negatives = PhraseCut(tmp_path, remove=["pas5i", 2], negatives=1.0)  # as a recipe in TOML gives it
    assert not {"two dogs", "a man sitting"} & {str(negatives[0].phrase) for _ in range(50)}


MALFORMED: list[tuple[dict[str, Any], str]] = [
    ({"Polygons": ...}, "there is no Polygons"),
    ({"image_id": ..., "phrase": ...}, "there is no image_id, phrase"),
    ({"Polygons": []}, "no part of at least 3 points"),
    ({"Polygons": [[]]}, "no part of at least 3 points"),
    ({"Polygons": [[[[1, 1], [5, 5]]]]}, "no part of at least 3 points"),
    ({"Polygons": [[[[1, 1], [5, float("nan")], [5, 1]]]]}, "a point that is no number, or far outside"),
    ({"Polygons": [[[[1, 1], [5, None], [5, 1]]]]}, "a point that is no number"),
    ({"Polygons": [[[[1, 1], [5, 1e6], [5, 1]]]]}, "far outside a picture of 64x96"),
    ({"Polygons": [[[[1, 1], [5, 5, 5], [5, 1]]]]}, "Polygons is no list of instances"),
    ({"Polygons": [[[1, 1], [5, 5], [5, 1]]]}, "no part of at least 3 points"),
    ({"Polygons": 3}, "Polygons is no list of instances"),
    ({"Polygons": "abc"}, "no part of at least 3 points"),
    ({"instance_boxes": [[1, 2, 3]]}, "instance_boxes is no list"),
    ({"instance_boxes": [[1, 2, 3, float("inf")]]}, "not finite"),
    ({"image_id": "1"}, "image_id as a whole number, got '1'"),
    ({"image_id": 77}, "image_id 77 is not in image_data_split3000.json"),
    ({"phrase": " "}, "expected a phrase, got ' '"),
    ({"phrase": None}, "expected a phrase, got None"),
]


@pytest.mark.parametrize(("changes", "message"), MALFORMED, ids=[str(changes)[:40] for changes, _ in MALFORMED])
def test_malformed_rows_are_told_by_line(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    good = write_phrasecut(tmp_path, "val", pictures=2)
    bad = {key: value for key, value in (good[0] | changes).items() if value is not ...}
    write_phrasecut(tmp_path, "val", pictures=2, extra=(bad, good[0] | {"phrase": "after it"}))
    dataset = PhraseCut(tmp_path, "val")
    assert len(dataset) == len(good) + 1
    assert dataset[-1].phrase == "after it"
    (problem,) = dataset.problems
    assert problem.path == tmp_path / "refer_val.json"
    assert problem.line == 2 + len(good)
    assert message in problem.message
    assert len(list(dataset)) == len(dataset)
    with pytest.raises(DataError, match=f"refer_val.json:{2 + len(good)}: task"):
        PhraseCut(tmp_path, "val", on_problem="raise")


def test_rows_without_structure_and_dropped_pictures_are_left_out_in_silence(tmp_path: Path) -> None:
    good = write_phrasecut(tmp_path, pictures=3)
    assert good[-1]["image_id"] == DROPPED
    write_phrasecut(tmp_path, pictures=3, extra=(good[0] | {"phrase_structure": None},))
    dataset = PhraseCut(tmp_path, on_problem="raise")
    assert len(dataset) == len(good) - 3


def test_the_list_of_pictures_may_be_malformed_too(tmp_path: Path) -> None:
    write_phrasecut(tmp_path, "val", pictures=2)
    path = tmp_path / "image_data_split3000.json"
    rows = json.loads(path.read_text())
    path.write_text(json.dumps([rows[0] | {"width": 0}, rows[1], {"image_id": 9}], indent=0))
    dataset = PhraseCut(tmp_path, "val")
    assert [problem.path.name for problem in dataset.problems[:2]] == [path.name] * 2
    assert dataset.problems[0].line == 2
    assert "width and height from 1 to 65535" in dataset.problems[0].message
    assert {sample.name.split()[-1] for sample in dataset} == {"2"}
    path.write_text("[{]")
    with pytest.raises(DataError, match=r"image_data_split3000.json:1: "):
        PhraseCut(tmp_path, "val")


def test_pictures_that_are_missing_or_of_another_size(tmp_path: Path) -> None:
    rows = write_phrasecut(tmp_path, "val", pictures=4)
    images = tmp_path / "images"
    (images / "2.jpg").unlink()
    Image.new("RGB", (10, 20)).save(images / "3.jpg")
    (images / "4.jpg").write_bytes((images / "4.jpg").read_bytes()[:20])
    dataset = PhraseCut(tmp_path, "val")
    assert [str(problem) for problem in dataset.problems] == [
        f"{tmp_path / 'refer_val.json'}:{line}: task {row['task_id']}: there is no picture images/2.jpg"
        for line, row in enumerate(rows, 2)
        if row["image_id"] == 2
    ]
    places = {
        sample_id: index for index, sample_id in enumerate(row["image_id"] for row in rows if row["image_id"] != 2)
    }
    with pytest.raises(DataError, match=r"3\.jpg: the picture is 20x10 .* are for 72x72; check_pictures=True leaves"):
        dataset[places[3]]
    with pytest.raises(DataError, match=r"4\.jpg: .*; check_pictures=True"):
        dataset[places[4]]
    (images / "1.jpg").unlink()
    with pytest.raises(DataError, match=r"1\.jpg is no longer there; put it back"):
        dataset[places[1]]


def test_pictures_can_be_checked_at_the_start(tmp_path: Path) -> None:
    rows = write_phrasecut(tmp_path, "val", pictures=4)
    images = tmp_path / "images"
    Image.new("RGB", (10, 20)).save(images / "3.jpg")
    (images / "4.jpg").write_bytes(b"no picture")
    dataset = PhraseCut(tmp_path, "val", check_pictures=True)
    assert len(list(dataset)) == len(dataset) == sum(row["image_id"] < 3 for row in rows)
    messages = {problem.message.split(": ", 1)[1] for problem in dataset.problems}
    assert len(dataset.problems) == len(rows) - len(dataset)
    assert sorted(message[:12] for message in messages) == ["images/3.jpg", "images/4.jpg"]


def test_a_picture_is_taken_as_it_was_annotated(tmp_path: Path) -> None:
    write_phrasecut(tmp_path, "val", pictures=1)
    path = tmp_path / "images" / "1.jpg"
    with Image.open(path) as picture:
        exif = picture.getexif()
        exif[0x0112] = 6  # "turn me by a quarter"
        picture.save(path, exif=exif, quality=95)
    assert PhraseCut(tmp_path, "val")[0].picture.shape == (64, 96, 3)


def test_a_folder_that_is_none_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"image_data_split3000.json, refer_train.json, images/ missing"):
        PhraseCut(tmp_path / "nowhere")
    write_phrasecut(tmp_path)
    with pytest.raises(DataError, match=r"no PhraseCut with the split val: refer_val.json missing"):
        PhraseCut(tmp_path, "val")
    (tmp_path / "refer_train.json").write_text("[]")
    with pytest.raises(DataError, match="leaves no phrase to ask for: 0 rows"):
        PhraseCut(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "training"}, "PhraseCut has train, val, test, miniv"),
        ({"negatives": 1.5}, "negatives is 1.5"),
        ({"only_visual": True}, "needs visual=True"),
        ({"min_size": -0.1}, "min_size is -0.1"),
        ({"remove": ["pas5i", 7]}, r'\["pas5i", 0 to 3\]'),
        ({"on_problem": "ignore"}, "known are skip, raise"),
    ],
)
def test_options_out_of_range(root: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        PhraseCut(root, **options)


def test_entries_are_the_same_every_time_and_in_every_process(root: Path) -> None:
    dataset = PhraseCut(root, negatives=0.3, visual=True, seed=5)
    samples = list(dataset)
    assert all(same(*pair) for pair in zip(samples, pickle.loads(pickle.dumps(dataset)), strict=True))
    other = PhraseCut(root, negatives=0.3, visual=True, seed=6)
    assert not all(same(*pair) for pair in zip(samples, other, strict=True))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_workers_give_what_one_process_gives(root: Path) -> None:
    dataset = PhraseCut(root, negatives=0.3, visual=True)
    loader: DataLoader[Sample] = DataLoader(dataset, batch_size=8, num_workers=2, collate_fn=list)
    samples = [sample for batch in loader for sample in batch]
    assert all(same(*pair) for pair in zip(samples, dataset, strict=True))
