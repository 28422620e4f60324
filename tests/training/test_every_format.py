"""Every data set, as it lies on disk, trains twenty steps and is evaluated by the model that came of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import class_set_files
import own_data_files
import ready
from clipseg.data.table import DATASETS
from clipseg.evaluation.data_sets import opened_data, options_of
from clipseg.evaluation.tasks import evaluate
from clipseg.segmenter import Segmenter
from clipseg.training.loop import Trainer
from clipseg.training.recipes import DataRecipe, Settings
from clipseg.training.run import _opened as open_data_of
from clipseg.training.stages import PromptedStage
from phrasecut_files import write_all_splits

STAGE = PromptedStage(steps=20, batch=2, lr=1e-2, size=32, crop=True, validate_every=0)
SETTINGS = Settings(name="formats", seed=1, workers=0, save_every=50)


def _coco20i(root: Path) -> None:
    for split in ("train", "val"):
        class_set_files.write_coco20i(root, split)


def _pascal5i(root: Path) -> None:
    for split in ("train", "val"):  # the same pictures: fold 1 trains on what fold 0 tests
        class_set_files.write_pascal5i(root, split)


def _voc(root: Path) -> None:
    class_set_files.write_voc(root, "train", class_set_files.THE_REST)
    class_set_files.write_voc(root)


def _lvis(root: Path) -> None:
    for split in ("train", "val"):
        class_set_files.write_lvis(root, split)


# kind -> what writes it, the options it is trained with, and the task it is evaluated by
SETS: dict[str, tuple[Callable[[Path], object], dict[str, object], str]] = {
    "phrasecut": (write_all_splits, {"negatives": 0.2, "visual": True}, "referring"),
    "pascal5i": (_pascal5i, {"split": "train", "fold": 1}, "one-shot"),
    "coco20i": (_coco20i, {"split": "train", "negatives": 0.2}, "one-shot"),
    "voc-zero-shot": (_voc, {"split": "train"}, "zero-shot"),
    "lvis": (_lvis, {"split": "train"}, "generalised"),
}
FORMATS = [*((kind, row) for kind, row in SETS.items())]
FORMATS += [(f"own {name}", (writer, {}, "referring")) for name, writer in own_data_files.WRITERS.items()]


@pytest.mark.filterwarnings("ignore:prompt .* tokens")  # the smallest tokenizer needs many for a phrase
@pytest.mark.parametrize(("name", "row"), FORMATS, ids=[name.replace(" ", "-") for name, _ in FORMATS])
def test_trains_and_evaluates(name: str, row: tuple, tmp_path: Path) -> None:
    write, options, task = row
    kind, root = name.split()[0], tmp_path / "data"
    written = write(root)
    root = written if isinstance(written, Path) else root
    data = open_data_of(DataRecipe(kind, str(root), options))
    model = Trainer(ready.segmenter(), STAGE, data=data, out=tmp_path / "run", settings=SETTINGS).fit()
    before, after = ready.model().state_dict(), (segmenter := Segmenter.from_pretrained(model)).model.state_dict()
    assert any(not before[key].half().equal(after[key].half()) for key in before if key.startswith("decoder"))
    assert all(before[key].half().equal(after[key].half()) for key in before if key.startswith("clip")), (
        "CLIP is frozen"
    )
    chosen = options_of(kind, task, limit=4)
    report = evaluate(task, segmenter, opened_data(kind, str(root), task, chosen), chosen)
    assert 0 < report.samples <= 4
    assert all(0 <= value <= 1 for key, value in report.metrics.items() if value == value), "NaN: nothing to tell"


def test_no_data_set_is_left_out() -> None:
    assert {name.split()[0] for name, _ in FORMATS} | {"scenes"} == set(DATASETS)
