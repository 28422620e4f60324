"""COCO's files, read back by pycocotools and supervision, extended, and continued after a run that was killed."""

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from clipseg.errors import DataError, UsageError
from clipseg.formats.coco import CocoResultsWriter, CocoWriter, read_coco, read_results
from clipseg.masks.masks import Masks
from interrupted import contents, write_all, write_killed
from made_masks import blobs, iou, masks_of, rectangle

SIZE = (30, 40)
JOURNAL = ".set.json.partial.jsonl"


def one_block(*labels: str) -> Masks:
    return masks_of(np.stack([rectangle((6, 9), (2, 1, 7, 4))] * len(labels)), labels)


def two_parts() -> Masks:
    ring = rectangle(SIZE, (2, 2, 12, 12)) & ~rectangle(SIZE, (5, 5, 9, 9))
    return masks_of(np.stack([ring | rectangle(SIZE, (20, 20, 30, 25)), np.zeros(SIZE, bool)]), ("cat", "dog"))


def written(path: Path) -> dict:
    return json.loads(path.read_text())


def test_every_field(tmp_path: Path) -> None:
    with CocoWriter(tmp_path / "set.json", ["bus"]) as coco:
        assert coco.add(one_block("a cup"), "in/cat.jpg") == 1
    content = written(tmp_path / "set.json")
    assert content["images"] == [{"id": 1, "file_name": "in/cat.jpg", "width": 9, "height": 6}]
    assert content["categories"] == [{"id": 1, "name": "bus"}, {"id": 2, "name": "a cup"}]
    (annotation,) = content["annotations"]
    assert annotation.pop("segmentation")["size"] == [6, 9]
    assert 0.9 < annotation.pop("score") <= 1
    expected = {"id": 1, "image_id": 1, "category_id": 2, "area": 15, "bbox": [2, 1, 5, 3], "iscrowd": 0}
    assert annotation == expected
    assert [path.name for path in tmp_path.iterdir()] == ["set.json"]


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # within pycocotools
@pytest.mark.parametrize("form", ["rle", "plain", "polygons"])
@pytest.mark.parametrize("instances", [False, True])
def test_pycocotools_and_we_read_the_very_masks(tmp_path: Path, form: str, instances: bool) -> None:
    masks = two_parts()
    with CocoWriter(tmp_path / "set.json", segmentation=form, instances=instances) as coco:
        coco.add(masks, "cat.jpg")
    api = COCO(str(tmp_path / "set.json"))
    found = [api.annToMask(row).astype(bool) for row in api.loadAnns(api.getAnnIds(imgIds=[1], catIds=[1]))]
    assert len(found) == 1 + instances
    assert iou(np.logical_or.reduce(found), masks.binary()[0].numpy()) >= (0.98 if form == "polygons" else 1)
    assert sum(row["area"] for row in api.anns.values()) == masks.areas().sum()
    assert api.getAnnIds(catIds=[2]) == []
    (image,) = read_coco(tmp_path / "set.json").images
    assert all(np.array_equal(ours.mask(), theirs) for ours, theirs in zip(image.annotations, found, strict=True))
    if form == "polygons":  # a ring for each part
        assert sum(len(row["segmentation"]) for row in api.anns.values()) == 2


def test_supervision_reads_it(tmp_path: Path, supervision: ModuleType) -> None:
    masks = two_parts()
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "cat.png")
    with CocoWriter(tmp_path / "set.json", instances=True) as coco:
        coco.add(masks, "cat.png")
    read = supervision.DetectionDataset.from_coco(str(tmp_path), str(tmp_path / "set.json"), force_masks=True)
    ((_, _, detections),) = list(read)
    assert read.classes == ["cat", "dog"]
    assert np.array_equal(detections.mask.any(0), masks.binary()[0].numpy())


@pytest.mark.parametrize("instances", [False, True])
def test_results_are_scored_by_pycocotools(tmp_path: Path, instances: bool) -> None:
    with CocoWriter(tmp_path / "set.json", instances=instances) as coco:
        for n in range(3):
            coco.add(masks_of(blobs(n, SIZE)[None], ("cat",)), f"{n}.jpg")
    truth = read_coco(tmp_path / "set.json")
    with CocoResultsWriter(tmp_path / "out.json", truth.category_ids, instances=instances) as out:
        for n in range(3):
            out.add(masks_of(blobs(n, SIZE)[None], ("cat",)), truth.image_ids[f"{n}.jpg"])
    api = COCO(str(tmp_path / "set.json"))
    scored = COCOeval(api, api.loadRes(str(tmp_path / "out.json")), "segm")
    scored.evaluate()
    scored.accumulate()
    scored.summarize()
    assert scored.stats[0] == pytest.approx(1)
    assert set(written(tmp_path / "out.json")[0]) == {"image_id", "category_id", "segmentation", "score"}
    assert all(row.score is not None for row in read_results(tmp_path / "out.json"))


def test_results_are_extended_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    for ids in ((1, 2), (2, 3)):
        with CocoResultsWriter(path, {"cat": 7}) as out:
            for number in ids:
                out.add(one_block("cat"), number)
    assert [(row.image_id, row.category_id) for row in read_results(path)] == [(1, 7), (2, 7), (3, 7)]
    with CocoResultsWriter(path, {"cat": 7}) as out, pytest.raises(UsageError, match="'dog' is no category"):
        out.add(one_block("dog"), 1)
    with CocoResultsWriter(path, {"cat": 7}) as out, pytest.raises(UsageError, match="whole number"):
        out.add(one_block("cat"), "1")
    assert len(read_results(path)) == 3


def test_an_older_file_is_extended_and_a_picture_that_comes_again_replaced(tmp_path: Path) -> None:
    path = tmp_path / "set.json"
    old = {
        "info": {"year": 2026},
        "categories": [{"id": 5, "name": "dog", "supercategory": "animal"}],
        "images": [
            {"id": 9, "file_name": "a.jpg", "width": 40, "height": 30, "license": 3},
            {"id": 4, "file_name": "b.jpg", "width": 9, "height": 6},
        ],
        "annotations": [
            {"id": 70, "image_id": 9, "category_id": 5, "segmentation": [[1, 1, 5, 1, 5, 5]], "mine": 1},
            {"id": 80, "image_id": 4, "category_id": 5, "segmentation": [[1, 1, 5, 1, 5, 5]]},
        ],
    }
    path.write_text(json.dumps(old))
    with CocoWriter(path, ["bus"]) as coco:
        assert [coco.add(one_block("cat", "dog"), name) for name in ("b.jpg", "c.jpg")] == [4, 10]
    new = written(path)
    assert new["info"] == old["info"]
    assert new["images"][:2] == old["images"]
    assert [row["id"] for row in new["images"]] == [9, 4, 10]
    assert new["categories"][0] == old["categories"][0]
    assert [(row["id"], row["name"]) for row in new["categories"][1:]] == [(6, "bus"), (7, "cat")]
    assert new["annotations"][0] == old["annotations"][0]
    rows = [(row["id"], row["image_id"], row["category_id"]) for row in new["annotations"][1:]]
    assert rows == [(71, 4, 7), (72, 4, 5), (73, 10, 7), (74, 10, 5)]


def test_written_twice_is_written_once(tmp_path: Path) -> None:
    write_all("coco", tmp_path / "set.json")
    first = contents(tmp_path)
    write_all("coco", tmp_path / "set.json")
    assert contents(tmp_path) == first


def test_killed_and_run_again(tmp_path: Path) -> None:
    write_all("coco", tmp_path / "whole" / "set.json")
    (tmp_path / "killed").mkdir()
    path = tmp_path / "killed" / "set.json"
    write_killed("coco", path, after=4)
    assert list(contents(tmp_path / "killed")) == [JOURNAL]
    with path.with_name(JOURNAL).open("a") as journal:
        assert journal.tell() > 0
        journal.write('{"file_name": "in/4.jpg", "wid')
    with CocoWriter(path):
        pass
    assert [image.file_name for image in read_coco(path).images] == [f"in/{n}.jpg" for n in range(4)]
    write_all("coco", path)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_what_a_block_that_failed_has_added_goes_into_the_next(tmp_path: Path) -> None:
    path = tmp_path / "set.json"
    with pytest.raises(KeyError), CocoWriter(path) as coco:  # noqa: PT012
        coco.add(one_block("cat"), "a.jpg")
        coco.add(one_block("cat"), "b.jpg")
        raise KeyError
    assert list(contents(tmp_path)) == [JOURNAL]
    with CocoWriter(path) as coco:
        assert coco.add(one_block("cat", "dog"), "b.jpg") == 2
        assert coco.add(one_block("dog"), "c.jpg") == 3
    assert [(row["image_id"], row["category_id"]) for row in written(path)["annotations"]] == [
        *[(1, 1), (2, 1), (2, 2), (3, 2)]
    ]
    assert list(contents(tmp_path)) == ["set.json"]


def test_a_name_comes_once_and_within_the_block(tmp_path: Path) -> None:
    with CocoWriter(tmp_path / "set.json") as coco:
        coco.add(one_block("cat"), "a/x.jpg")
        coco.add(one_block("cat"), "b/x.jpg")
        with pytest.raises(UsageError, match=r"'b/x\.jpg' was added before"):
            coco.add(one_block("cat"), "b/x.jpg")
    with pytest.raises(UsageError, match="outside the writer's block"):
        coco.add(one_block("cat"), "c.jpg")
    with pytest.raises(UsageError, match="known are rle, plain, polygons"):
        CocoWriter(tmp_path / "set.json", segmentation="png")
    assert set(read_coco(tmp_path / "set.json").image_ids) == {"a/x.jpg", "b/x.jpg"}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(st.characters(), min_size=1, max_size=5), min_size=1, max_size=4), st.text(st.characters()))
def test_odd_names(tmp_path_factory: pytest.TempPathFactory, labels: list[str], file_name: str) -> None:
    path = tmp_path_factory.mktemp("odd") / "set.json"
    masks = one_block(*labels)
    with CocoWriter(path) as coco:
        try:
            coco.add(masks, file_name)
        except UsageError:
            assert not all(any(letter.isprintable() for letter in label.strip()) for label in labels)
            return
    read = read_coco(path)
    assert read.images[0].file_name == file_name
    assert len(read.images[0].annotations) == len(labels)
    assert all(np.array_equal(row.mask(), masks.binary()[0].numpy()) for row in read.images[0].annotations)


def test_empty_masks_and_no_pictures(tmp_path: Path) -> None:
    with CocoWriter(tmp_path / "set.json"):
        pass
    with CocoWriter(tmp_path / "set.json") as coco:
        coco.add(masks_of(np.zeros((1, 5, 5), bool), ("cat",)), "a.jpg")
    read = read_coco(tmp_path / "set.json")
    assert (read.categories, read.images[0].annotations) == ({1: "cat"}, ())
    COCO(str(tmp_path / "set.json"))


ONE = json.dumps(
    {
        "images": [{"id": 3, "file_name": "a", "height": 1, "width": 1}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"image_id": 3, "category_id": 1, "score": 0}],
    }
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{\n]", "not readable as JSON .*line 2"),
        ("[]", "expected a list of categories; got NoneType"),
        ('{"images": [], "categories": []}', "expected a list of annotations"),
        (ONE.replace('"id": 3', '"id": "3"'), r"images\[0\] is malformed \(TypeError: '3'"),
        (ONE.replace('"image_id": 3', '"image_id": 4'), r"annotations\[0\] is malformed \(KeyError: 4"),
        (ONE.replace('"category_id": 1', '"category_id": 2'), "names category 2, which is not listed"),
        (ONE.replace('"score": 0', '"score": "x"'), r"annotations\[0\] is malformed \(ValueError"),
        (ONE.replace("[{", '[{"id": 3, "file_name": "b", "height": 1, "width": 1}, {', 1), "have one id"),
        (ONE.replace("[{", '[{"id": 5, "file_name": "a", "height": 1, "width": 1}, {', 1), "lists a picture twice"),
    ],
)
def test_files_there_that_are_no_data_set(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "set.json").write_text(text)
    with pytest.raises(DataError, match=rf"set\.json.*{message}"), CocoWriter(tmp_path / "set.json"):
        pytest.fail("the block began")
    assert (tmp_path / "set.json").read_text() == text


@pytest.mark.parametrize("text", ["{}", '[{"image_id": 1}]', '[{"image_id": 1.5, "category_id": 1}]', "[3]"])
def test_results_there_that_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "out.json").write_text(text)
    with pytest.raises(DataError, match=r"out\.json"), CocoResultsWriter(tmp_path / "out.json", {}):
        pytest.fail("the block began")


@pytest.mark.parametrize("line", ["x", "[]", "{}", '{"file_name": 1, "width": 1, "height": 1, "labels": []}'])
def test_a_journal_that_is_none(tmp_path: Path, line: str) -> None:
    (tmp_path / JOURNAL).write_text(f"{line}\n")
    with pytest.raises(DataError, match=r"partial\.jsonl, line 1: .*delete"), CocoWriter(tmp_path / "set.json"):
        pytest.fail("the block began")
