"""A run from its beginning to its end: what comes out, what is refused, and what a share of it does."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import ready
from clipseg.batch import running
from clipseg.batch.columns import schema
from clipseg.batch.engine import Engine
from clipseg.batch.parts import Loading
from clipseg.batch.run_folder import RunFolder
from clipseg.batch.running import carry_on, retry
from clipseg.batch.status import status_of
from clipseg.errors import ConfigurationError, DataError, OutputError, PromptError, UsageError
from clipseg.masks.rle import decode
from clipseg.prompting.prompts import ImagePrompt, TextPrompt
from clipseg.segmenter import Segmenter
from elsewhere import held_elsewhere
from small_batches import PROMPTS, parts_of, pictures, rows, small_run

COUNT = 22


@pytest.fixture(scope="module")
def finished(collection, model, tmp_path_factory):
    """A run that no test changes."""
    out = tmp_path_factory.mktemp("finished")
    small_run(collection, out, model)
    return out


def test_every_picture_is_a_row_with_what_the_segmenter_says(undisturbed, collection, model):
    assert undisturbed.column("id").to_pylist() == sorted(
        path.relative_to(collection).as_posix() for path in collection.rglob("*.png")
    )
    assert set(undisturbed.column("status").to_pylist()) == {"ok"}
    segmenter = Segmenter.from_pretrained(model)
    for row in undisturbed.slice(0, 5).to_pylist():
        masks = segmenter.segment(row["uri"], PROMPTS)
        assert (row["height"], row["width"]) == masks.size_hw
        assert row["prompt"] == list(PROMPTS)
        found = [decode({"size": [row["height"], row["width"]], "counts": one}) for one in row["rle_counts"]]
        assert np.mean(np.stack(found) != masks.binary().numpy()) < 1e-3  # batches round otherwise than one picture
        assert row["area"] == [int(one.sum()) for one in found]
        np.testing.assert_allclose(row["score"], masks.mean_inside(), atol=1e-4)
        np.testing.assert_allclose(row["presence"], masks.scores(), atol=1e-4)
        for mask, (x, y, width, height) in zip(found, row["bbox"], strict=True):
            down, across = np.nonzero(mask)
            assert [x, y, x + width, y + height] == [across.min(), down.min(), across.max() + 1, down.max() + 1]
    assert len({tuple(one) for one in undisturbed.column("rle_counts").to_pylist()}) > COUNT // 2


def test_what_lies_in_the_folder(finished):
    folder = RunFolder.find(finished)
    assert [path.name for path in finished.glob("run-*")] == [Path(folder.path).name]
    assert [path.name for path in parts_of(finished)][::5] == [
        "part-00000-of-00006.parquet",
        "part-00005-of-00006.parquet",
    ]
    for path in parts_of(finished):
        assert pq.read_schema(path).equals(schema())
    description = json.loads((Path(folder.path) / "run.json").read_text())
    assert description["fingerprint"].startswith(folder.path[-12:])
    assert description["settings"]["prompts"][0]["label"] == "a cat"
    assert (Path(folder.path) / "_SUCCESS").is_file()
    summary = folder.summary()
    assert (summary["rows"], summary["ok"], summary["errors"]) == (COUNT, COUNT, 0)
    areas = [area for area, _ in rows(finished).column("area").to_pylist()]
    assert summary["prompts"]["a cat"] == {"asked": COUNT, "found": COUNT, "area_mean": round(np.mean(areas), 1)}
    assert sum(summary["area_histogram"]["counts"]["a cat"]) == COUNT
    events = [entry["event"] for entry in folder.entries()]
    assert events == ["begin", *["part"] * 6, "end"]


def test_the_same_again_does_nothing(collection, model, finished):
    before = [path.stat().st_mtime_ns for path in parts_of(finished)]
    again = small_run(collection, finished, model)
    assert (again.finished, again.summary) == (True, RunFolder.find(finished).summary())
    assert [path.stat().st_mtime_ns for path in parts_of(finished)] == before


def test_what_is_missing_is_made_again_and_nothing_else(collection, model, tmp_path, undisturbed):
    small_run(collection, tmp_path, model)
    _, lost, *_ = parts_of(tmp_path)
    lost.unlink()
    kept = {path: path.stat().st_mtime_ns for path in parts_of(tmp_path)}
    small_run(collection, tmp_path, model)
    assert rows(tmp_path).equals(undisturbed)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_a_run_is_of_the_pictures_that_were_there_when_it_began(model, tmp_path):
    folder = pictures(tmp_path / "in", 5)
    small_run(folder, tmp_path / "out", model)
    pictures(folder, 9)
    assert small_run(folder, tmp_path / "out", model).summary["rows"] == 5


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"prompts": ["a cat", "a jar"]}, r"prompts \('a cat', 'wood AND NOT jar' there, 'a cat', 'a jar' here\)"),
        ({"prompts": PROMPTS[::-1]}, "prompts"),
        ({"negative": "a glass"}, r"negative \(\[\] there, 'a glass' here\)"),
        ({"threshold": 0.7}, r"mask \({} there, {'threshold': 0.7} here\)"),
        ({"heatmap": True}, "heatmap"),
        ({"limit": 3}, "limit"),
        ({"fit": "letterbox", "batch_size": 3}, "batch_size .* fit"),
        ({"prompts": [TextPrompt("a cat", templates="photo"), PROMPTS[1]]}, "prompts"),
    ],
)
def test_other_settings_are_refused_and_named(collection, model, finished, change, told):
    with pytest.raises(ConfigurationError, match=f"differing are .*{told}"):
        small_run(collection, finished, model, **change)
    assert len(list(finished.glob("run-*"))) == 1


def test_other_weights_are_refused_and_the_same_ones_by_another_name_are_not(collection, model, tmp_path):
    small_run(collection, tmp_path / "out", model)
    same = shutil.copytree(model, tmp_path / "same")
    assert small_run(collection, tmp_path / "out", same).finished
    with pytest.raises(ConfigurationError, match="weights"):
        small_run(collection, tmp_path / "out", ready.folder(tmp_path / "other", seed=1))


def test_shares_make_what_one_process_makes(collection, model, tmp_path, undisturbed):
    done = [small_run(collection, tmp_path, model, shard=f"{number}/3") for number in (1, 2, 3)]
    assert [one.finished for one in done] == [False, False, True]
    assert [one.progress.total for one in done] == [8, 6, 8]
    assert rows(tmp_path).equals(undisturbed)
    logs = sorted(path.name for path in Path(done[0].folder.path).glob("log*"))
    assert logs == [f"log-shard-{number}-of-3.jsonl" for number in range(3)]
    assert len([entry for entry in done[0].folder.entries() if entry["event"] == "part"]) == 6


@pytest.mark.parametrize("settings", [{}, {"shard": "0/2"}])
def test_a_second_run_on_the_folder_is_refused(collection, model, tmp_path, settings):
    with held_elsewhere(tmp_path), pytest.raises(OutputError, match="being written by another process"):
        small_run(collection, tmp_path, model, **settings)


def test_settings_of_masks_reach_them(collection, model, tmp_path):
    small_run(collection, tmp_path, model, threshold=0.55, grow=2, keep="largest", combine="max", limit=4, heatmap=True)
    segmenter = Segmenter.from_pretrained(model)
    for row in rows(tmp_path).to_pylist():
        masks = segmenter.segment(row["uri"], PROMPTS, combine="max", threshold=0.55, grow=2, keep="largest")
        assert row["prompt"] == list(masks.labels) == ["a cat | wood AND NOT jar"]
        assert abs(row["area"][0] - int(masks.areas())) <= 3
        (heatmap,) = row["heatmap"]
        levels = np.asarray(Image.open(io.BytesIO(heatmap)))
        np.testing.assert_allclose(levels / 255, masks.logits.sigmoid()[0], atol=0.01)


@pytest.mark.parametrize(
    ("settings", "error", "told"),
    [
        ({"threshold": None}, UsageError, "needs a threshold"),
        ({"compose": "add"}, UsageError, "no masks from before"),
        ({"refine": lambda *_: None}, UsageError, "cannot be written down"),
        ({"treshold": 0.3}, UsageError, "did you mean 'threshold'"),
        ({"engine": "spark"}, UsageError, "known are local, ray"),
        ({"shard": "4/3"}, UsageError, "such as 0/8 to 7/8 or 1/8 to 8/8"),
        ({"shard": "one"}, UsageError, "expected i/n"),
        ({"shard": "0/2", "engine": "ray"}, UsageError, "shares the work by itself"),
        ({"address": "auto"}, UsageError, "of a Ray cluster"),
        ({"rows_per_part": 0}, UsageError, "at least 1"),
        ({"max_error_rate": 2}, UsageError, "from 0 to 1"),
        ({"prompts": []}, PromptError, "no prompts"),
        ({"prompts": [TextPrompt("a cat", "x"), TextPrompt("a jar", "x")]}, PromptError, "two different prompts"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_done(collection, model, tmp_path, settings, error, told):
    with pytest.raises(error, match=told):
        small_run(collection, tmp_path / "out", model, **settings)
    assert not (tmp_path / "out").exists()


def test_examples_are_needed_only_once(collection, model, tmp_path):
    """The run keeps what an example was made into: its picture may be gone when the run goes on."""
    example = tmp_path / "example.png"
    ready.picture(3).save(example)
    asked = [ImagePrompt(str(example), label="thing"), 0.5 * TextPrompt("a cat") + 0.5 * TextPrompt("wood")]
    outcome = small_run(collection, tmp_path / "out", model, [*asked, asked[0] & ~TextPrompt("a jar")])
    whole = rows(tmp_path / "out")
    assert whole.column("prompt")[0].as_py() == ["thing", "0.5 a cat + 0.5 wood", "thing AND NOT a jar"]
    parts_of(tmp_path / "out")[1].unlink()
    example.unlink()
    outcome = retry(tmp_path / "out", Engine())
    assert not outcome.finished  # a part that was never made is not tried again
    assert carry_on(outcome.folder, Engine()).finished
    assert rows(tmp_path / "out").equals(whole)


def test_status_tells_how_far_it_is(collection, model, tmp_path):
    small_run(collection, tmp_path, model, shard="0/2")
    record = status_of(tmp_path)
    assert (record["finished"], record["pictures"], record["done"]) == (False, COUNT, 12)
    assert (record["parts"], record["parts_done"], record["errors"]) == (6, 3, 0)
    assert record["prompts"] == list(PROMPTS)
    assert record["rate"] > 0
    assert 0 <= record["quiet"] < 60
    with pytest.raises(DataError, match="there is no run in"):
        status_of(tmp_path / "elsewhere")


def test_a_damaged_part_is_named(collection, model, tmp_path):
    small_run(collection, tmp_path, model)
    (tmp_path / Path(parts_of(tmp_path)[2])).write_bytes(b"PAR1")
    folder = RunFolder.find(tmp_path)
    (Path(folder.path) / "_SUCCESS").unlink()
    with pytest.raises(DataError, match=r"part-00002-of-00006\.parquet is damaged .* delete it"):
        small_run(collection, tmp_path, model)


def test_rows_that_are_not_those_of_the_manifest_are_found(collection, model, tmp_path):
    small_run(collection, tmp_path, model)
    first, second, *_ = parts_of(tmp_path)
    shutil.copyfile(first, second)
    (first.parents[1] / "_SUCCESS").unlink()
    with pytest.raises(DataError, match="does not have the rows of the manifest"):
        small_run(collection, tmp_path, model)


@pytest.mark.parametrize(
    ("gpus", "device", "workers", "devices"),
    [
        (0, "auto", None, ["auto"]),
        (0, "cpu", 3, ["cpu", "cpu", "cpu"]),
        (1, "auto", None, ["cuda:0"]),
        (4, "auto", None, ["cuda:0", "cuda:1", "cuda:2", "cuda:3"]),
        (2, "cuda", 3, ["cuda:0", "cuda:1", "cuda:0"]),
        (4, "cuda:2", None, ["cuda:2"]),
        (4, "cpu", None, ["cpu"]),
    ],
)
def test_each_gpu_has_a_process(monkeypatch, gpus, device, workers, devices):
    monkeypatch.setattr(running.torch.cuda, "device_count", lambda: gpus)
    assert running.devices_of(Engine(workers=workers, loading=Loading(device))) == devices
