"""What folders are taken for, and what the protocols set."""

from __future__ import annotations

import numpy as np
import pytest

from clipseg.data.table import DATASETS
from clipseg.errors import DataError, UsageError
from clipseg.evaluation.data_sets import PROTOCOLS, kind_of, opened_data, options_of
from clipseg.evaluation.options import TASKS
from phrasecut_files import write_all_splits


def test_every_kind_has_a_protocol():
    assert set(PROTOCOLS) == set(DATASETS)
    assert {task for protocol in PROTOCOLS.values() for task in protocol.tasks} == set(TASKS)


@pytest.mark.parametrize(
    ("mark", "task", "kind"),
    [
        ("refer_test.json", "referring", "phrasecut"),
        ("SegmentationClassAug", "one-shot", "pascal5i"),
        ("splits/coco", "one-shot", "coco20i"),
        ("SegmentationClass", "zero-shot", "voc-zero-shot"),
        ("SegmentationClass", "referring", "own"),
        ("annotations/lvis_v1_val.json", "generalised", "lvis"),
        ("images", "one-shot", "own"),
    ],
)
def test_folders(tmp_path, mark, task, kind):
    (tmp_path / mark).mkdir(parents=True)
    assert kind_of(tmp_path, task) == kind


def test_phrasecut_is_asked_by_the_protocol(tmp_path):
    write_all_splits(tmp_path)
    by_text = opened_data(
        "phrasecut", str(tmp_path), "referring", options_of("phrasecut", "referring"), seed=3, fold=None
    )
    assert (by_text.split, by_text.seed) == ("test", 3)
    assert by_text[0].support is None
    itself = {}
    for paper in (False, True):
        options = options_of("phrasecut", "one-shot", paper=paper)
        by_example = opened_data("phrasecut", str(tmp_path), "one-shot", options, split="train")
        samples = [by_example[index] for index in range(len(by_example))]
        itself[paper] = [np.array_equal(sample.support.picture, sample.picture) for sample in samples]
    assert not any(itself[False]), "an example is another picture"
    assert any(itself[True]), "the authors do not mind"


def test_the_paper_differs_by_data_set():
    assert options_of("pascal5i", "one-shot", paper=True).geometry == "placed"
    assert options_of("pascal5i", "one-shot").geometry == "own"
    assert options_of("coco20i", "one-shot", paper=True).threshold == 0.1
    assert options_of("coco20i", "one-shot", paper=True, threshold=0.5).threshold == 0.5
    assert options_of("coco20i", "one-shot", threshold=None).threshold == 0.4


def test_refused(tmp_path):
    with pytest.raises(DataError, match="there is no folder"):
        kind_of(tmp_path / "nowhere", "referring")
    with pytest.raises(UsageError, match="phrasecut data have no answers for --task zero-shot; voc-zero-shot have"):
        opened_data("phrasecut", str(tmp_path), "zero-shot", options_of("voc-zero-shot", "zero-shot"))
    write_all_splits(tmp_path)
    with pytest.raises(UsageError, match="unknown option 'fold' of phrasecut data"):
        opened_data("phrasecut", str(tmp_path), "referring", options_of("phrasecut", "referring"), fold=2)
