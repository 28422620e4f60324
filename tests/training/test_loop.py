"""Whole runs of a few steps: what they leave behind, and what an interruption changes, which is nothing."""

import json
import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import ready
from clipseg.checkpoints.files import read_weights
from clipseg.errors import CheckpointMismatchError, ConfigurationError, DataError, OutputError, UsageError
from clipseg.folder_lock import LOCK_NAME
from clipseg.segmenter import Segmenter
from clipseg.training import loop
from clipseg.training.loop import Trainer
from clipseg.training.prompted import PromptedWork
from clipseg.training.recipes import Settings
from clipseg.training.stages import PromptedStage, Stage
from clipseg.training.stepping import NotFiniteError, Stepper
from clipseg.training.work import Validation, steps_of
from elsewhere import held_elsewhere
from small_runs import SETTINGS, STAGE, checkpoints, far_apart, log_of, same, trainer, weights
from square_samples import Squares


@pytest.fixture(autouse=True)
def every_step(monkeypatch):
    monkeypatch.setattr(loop, "LOG_EVERY", 1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The run folder of an undisturbed run."""
    folder = tmp_path_factory.mktemp("undisturbed") / "deep" / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "LOG_EVERY", 1)
        assert trainer(folder).fit() == folder / "model"
    return folder


def broken_at(monkeypatch, calls, error=KeyboardInterrupt):
    """Have the step of this number from 1, counted over all stages, end in an error before it begins."""
    step, taken = Stepper.step, []

    def cut(self, *arguments, **options):
        taken.append(self)
        if len(taken) == calls:
            raise error
        return step(self, *arguments, **options)

    monkeypatch.setattr(Stepper, "step", cut)


# -- a whole run -----------------------------------------------------------------------------------------------------


def test_a_run_ends_in_a_model_that_loads(trained):
    segmenter = Segmenter.from_pretrained(trained / "model", device="cpu")
    assert segmenter.segment(ready.picture(), ["a cat", "wood"]).logits.shape == (2, 32, 32)
    assert segmenter.processor.image_processor.size == {"height": 32, "width": 32}, "the side that it was trained at"
    names = {path.name for path in (trained / "model").iterdir()}
    assert names >= {"config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json"}
    assert (trained / "model" / "recipe.json").read_text() == (trained / "recipe.json").read_text()
    assert (trained / "model" / "training_log.jsonl").read_text() == (trained / "log.jsonl").read_text()
    assert json.loads((trained / "recipe.json").read_text())["stages"][0]["steps"] == STAGE.steps
    assert (trained / "curves.png").is_file()


def test_only_the_decoder_has_trained(trained):
    before, after = ready.model().state_dict(), weights(trained)
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if name.startswith("decoder.")}


def test_it_learns(tmp_path):
    run = trainer(tmp_path, steps=24, validate_every=0)
    before = run.evaluate()
    run.fit()
    assert run.evaluate()["bce"] < 0.9 * before["bce"]


def test_the_log(trained):
    entries = log_of(trained)
    assert [entry["step"] for entry in entries if "loss" in entry] == list(range(1, 9))
    assert [entry["step"] for entry in entries if "validation" in entry] == [4, 8]
    assert set(entries[0]) == {"stage", "step", "lr", "loss", "bce", "dice"}
    assert entries[0]["loss"] == pytest.approx(entries[0]["bce"] + 0.5 * entries[0]["dice"], abs=1e-4)
    assert set(entries[-1]["validation"]) == {"iou_per_sample_mean", "iou_cumulative", "bce"}
    watch = json.loads((trained / "log.jsonl").read_text().splitlines()[0])
    assert watch["samples_per_second"] > 0
    assert 0 <= watch["waiting"] <= 1
    assert sorted(path.name for path in (trained / "validation").iterdir()) == ["step-0000004.png", "step-0000008.png"]


def test_few_checkpoints_are_kept(trained, tmp_path):
    best = json.loads((trained / "checkpoints" / "best.json").read_text())
    newest = ["step-0000006", "step-0000008"]
    assert checkpoints(trained) == sorted({"best.json", best["name"], *newest})
    scores = {
        f"step-{e['step']:07d}": e["validation"]["iou_per_sample_mean"] for e in log_of(trained) if "validation" in e
    }
    assert best["name"] == max(scores, key=scores.__getitem__)
    held = read_weights_of(trained / "checkpoints" / "step-0000006")
    assert all(name.startswith("decoder.") for name in held), "a frozen CLIP is in no checkpoint"


def read_weights_of(folder):
    from safetensors.torch import load_file

    return load_file(folder / "weights.safetensors")


def test_the_best_weights_can_be_the_final_ones(tmp_path, monkeypatch):
    scores = iter([0.5, 0.4])
    monkeypatch.setattr(PromptedWork, "validate", lambda *_: Validation({PromptedWork.main_score: next(scores)}))
    trainer(tmp_path, settings=replace(SETTINGS, final="best")).fit()
    best = json.loads((tmp_path / "checkpoints" / "best.json").read_text())["name"]
    held = read_weights_of(tmp_path / "checkpoints" / best)
    final = weights(tmp_path)
    assert best == "step-0000004"
    assert all(torch.equal(final[name], held[name]) for name in held)


def test_seeds_threads_and_chance_elsewhere(trained, tmp_path):
    run = trainer(tmp_path / "again")
    with torch.random.fork_rng():
        torch.manual_seed(99)
        before = torch.random.get_rng_state()
        run.fit()
        assert torch.equal(before, torch.random.get_rng_state()), "nobody else's chance is touched"
    assert same(weights(tmp_path / "again"), weights(trained))
    assert log_of(tmp_path / "again") == log_of(trained)
    trainer(tmp_path / "other", settings=replace(SETTINGS, seed=4)).fit()
    assert not same(weights(tmp_path / "other"), weights(trained))


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(trained, tmp_path, workers):
    trainer(tmp_path, settings=replace(SETTINGS, workers=workers), accumulate=1).fit()
    assert same(weights(tmp_path), weights(trained))


def test_accumulating_is_a_large_batch(trained, tmp_path):
    """Also where parts differ in how many pixels count, and how many masks are empty."""
    trainer(tmp_path, accumulate=3).fit()
    assert far_apart(weights(tmp_path), weights(trained)) < 0.01
    assert log_of(tmp_path)[0] == pytest.approx(log_of(trained)[0], abs=1e-5)


@pytest.mark.parametrize(
    "changes",
    [{"dropout": 0.2}, {"train": "lora", "rank": 2}, {"train": "adapters", "width": 4}, {"focal": 1.0, "bce": 0.0}],
    ids=str,
)
def test_variants_run_and_differ(trained, tmp_path, changes):
    trainer(tmp_path, **changes).fit()
    ours, theirs = weights(tmp_path), weights(trained)
    assert not same(ours, theirs)
    assert all(tensor.isfinite().all() for tensor in ours.values())
    Segmenter.from_pretrained(tmp_path / "model", device="cpu")


def test_computing_activations_again_changes_nothing(tmp_path):
    for again in (False, True):
        trainer(tmp_path / str(again), steps=3, train="all", checkpoint_activations=again).fit()
    assert same(weights(tmp_path / "True"), weights(tmp_path / "False"))


def test_bfloat16_and_how_the_model_is_saved(trained, tmp_path):
    settings = replace(SETTINGS, precision="bfloat16", saved_as="float16")
    trainer(tmp_path, settings=settings).fit()
    assert {tensor.dtype for tensor in read_weights(tmp_path / "model").values()} == {torch.float16}
    assert all(tensor.isfinite().all() for tensor in weights(tmp_path).values())


def test_a_stored_clip_answers_as_the_live_one(tmp_path):
    """With a feature cache the losses are those without one, but for rounding."""
    for cache in (False, True):
        trainer(tmp_path / str(cache), crop=False, cache=cache).fit()
    assert far_apart(weights(tmp_path / "True"), weights(tmp_path / "False")) < 0.01


# -- interruptions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [2, 4, 8])  # before the first checkpoint, after one, and at the last step
def test_an_interrupted_run_ends_alike(trained, tmp_path, monkeypatch, step):
    with monkeypatch.context() as patch:
        broken_at(patch, step)
        with pytest.raises(KeyboardInterrupt):
            trainer(tmp_path).fit()
    assert not (tmp_path / "model").exists()
    trainer(tmp_path).fit()
    assert same(weights(tmp_path), weights(trained))
    assert log_of(tmp_path) == log_of(trained), "steps that came again are logged once"
    assert checkpoints(tmp_path) == checkpoints(trained)


@pytest.mark.parametrize("step", [3, 5])
def test_several_stages_and_chance_in_them(tmp_path, monkeypatch, step):
    """What an earlier stage has trained outlasts an interruption in a later one, dropout and new parameters too."""
    stages = [
        replace(STAGE, steps=2, train="lora", rank=2, dropout=0.1),
        replace(STAGE, steps=2, train="decoder", dropout=0.3),
        replace(STAGE, steps=2, train="adapters", width=4),
    ]
    settings = replace(SETTINGS, save_every=1)
    trainer(tmp_path / "whole", stages=stages, settings=settings).fit()
    with monkeypatch.context() as patch:
        broken_at(patch, step)
        with pytest.raises(KeyboardInterrupt):
            trainer(tmp_path / "cut", stages=stages, settings=settings).fit()
    trainer(tmp_path / "cut", stages=stages, settings=settings).fit()
    assert same(weights(tmp_path / "cut"), weights(tmp_path / "whole"))
    assert log_of(tmp_path / "cut") == log_of(tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_ends_well(trained, tmp_path, monkeypatch, number):
    step, taken = Stepper.step, []

    def told(self, *arguments, **options):
        taken.append(self)
        if len(taken) == 5:
            os.kill(os.getpid(), number)
        return step(self, *arguments, **options)

    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "step", told)
        assert trainer(tmp_path).fit() is None
    assert signal.getsignal(number) is before
    ends = [name for name in checkpoints(tmp_path) if name.startswith("step")]
    assert ends[-1] in ("step-0000005", "step-0000006"), "in the step itself, or in the one after"
    trainer(tmp_path).fit()
    assert same(weights(tmp_path), weights(trained))


def test_workers_outlive_the_signals_that_end_a_run():
    """Ctrl-C, and the end of a launcher, reach them as well; a step that has begun needs its batches."""
    work = trainer(Path("unused"))._work(0)
    batches = steps_of(work, 0, 6, workers=1)
    first = next(batches)
    (worker,) = multiprocessing.active_children()
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(worker.pid, number)
    rest = list(batches)
    assert len([first, *rest]) == 6
    assert torch.equal(rest[-1][0]["pixels"], work.part(5, 0)["pixels"])


@pytest.mark.parametrize("kind", [DataError, KeyError])
def test_an_error_in_a_worker_ends_it(monkeypatch, kind):
    """It is raised as it was, and no worker, which outlives signals, is left to wait for."""

    def draw(self, index, rng):
        raise kind("no such picture")

    monkeypatch.setattr(Squares, "draw", draw)
    batches = steps_of(trainer(Path("unused"))._work(0), 0, 6, workers=2)
    with pytest.raises(kind, match=r"^no such picture$" if kind is DataError else "no such picture"):
        next(batches)
    assert not multiprocessing.active_children()


def test_a_crash_while_saving_leaves_the_last_checkpoint(trained, tmp_path, monkeypatch):
    save, calls = torch.save, []

    def cut(state, file):
        calls.append(file)
        if len(calls) == 3:
            file.write_bytes(b"half a checkpoint")
            raise KeyboardInterrupt
        save(state, file)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", cut)
        with pytest.raises(KeyboardInterrupt):
            trainer(tmp_path).fit()
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"stage": 0, "st')  # and the log's last line is cut short
    trainer(tmp_path).fit()
    assert same(weights(tmp_path), weights(trained))
    assert log_of(tmp_path) == log_of(trained)


def test_a_full_disk_leaves_the_last_checkpoint(trained, tmp_path, monkeypatch):
    save, calls = torch.save, []

    def full(state, file):
        calls.append(file)
        if len(calls) == 2:
            raise RuntimeError("[enforce fail at inline_container.cc:595] . unexpected pos 64 vs 0")
        save(state, file)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(
            OutputError, match=r"step-0000004 cannot be written .*; the checkpoints before it are whole"
        ):
            trainer(tmp_path).fit()
    assert checkpoints(tmp_path) == ["step-0000003"]
    trainer(tmp_path).fit()
    assert same(weights(tmp_path), weights(trained))


def test_a_damaged_checkpoint_is_passed_over(trained, tmp_path, monkeypatch, caplog):
    with monkeypatch.context() as patch:
        broken_at(patch, 8)
        with pytest.raises(KeyboardInterrupt):
            trainer(tmp_path).fit()
    newest = tmp_path / "checkpoints" / "step-0000006" / "weights.safetensors"
    data = bytearray(newest.read_bytes())
    data[-5] ^= 1  # one bit, in the middle of a tensor
    newest.write_bytes(data)
    trainer(tmp_path).fit()
    assert "step-0000006 is damaged and passed over" in caplog.text
    assert same(weights(tmp_path), weights(trained))


def test_a_finished_run_started_again(trained, monkeypatch):
    before = {
        path: path.stat().st_mtime_ns for path in trained.rglob("*") if path.name not in ("recipe.json", LOCK_NAME)
    }
    broken_at(monkeypatch, 1)
    assert trainer(trained).fit() == trained / "model"
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_finished_run_without_its_model(trained, tmp_path, monkeypatch):
    trainer(tmp_path).fit()
    (tmp_path / "model" / "model.safetensors").unlink()
    for path in (tmp_path / "model").iterdir():
        path.unlink()
    (tmp_path / "model").rmdir()
    broken_at(monkeypatch, 1)
    trainer(tmp_path).fit()
    assert same(weights(tmp_path), weights(trained))


def test_a_folder_that_another_process_trains_in(trained):
    with held_elsewhere(trained), pytest.raises(OutputError, match="is being written by another process"):
        trainer(trained).fit()


def test_beginning_anew(trained, tmp_path):
    trainer(tmp_path, settings=replace(SETTINGS, seed=8)).fit()
    trainer(tmp_path).fit(resume=False)
    assert same(weights(tmp_path), weights(trained))
    assert log_of(tmp_path) == log_of(trained)
    with pytest.raises(ConfigurationError, match="holds no checkpoint to go on from; leave --resume out"):
        trainer(tmp_path / "nothing").fit(resume=True)


# -- what cannot go on -----------------------------------------------------------------------------------------------


def test_another_configuration_is_refused(trained):
    with pytest.raises(
        ConfigurationError, match=r"another recipe; differing are seed \(3 there, 9 here\), stages.0.lr"
    ):
        trainer(trained, settings=replace(SETTINGS, seed=9), lr=1e-3).fit()
    free = replace(SETTINGS, workers=2, save_every=1, keep=9)
    assert trainer(trained, settings=free).fit() == trained / "model", "these change nothing that is computed"


def test_another_model_is_refused(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        broken_at(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            trainer(tmp_path).fit()
    run = Trainer(ready.segmenter(seed=1), STAGE, out=tmp_path, data=Squares(), settings=SETTINGS)
    with pytest.raises(CheckpointMismatchError, match="are of another model; start from the model that the run began"):
        run.fit()


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_loss_that_is_not_finite_stops_with_its_samples(tmp_path, monkeypatch, accumulate):
    """The samples of the part that it comes from are named, and the checkpoints are those before it."""
    from clipseg.training import prompted

    bce, calls = prompted.mask_bce, []

    def broken(*arguments):
        calls.append(arguments)
        return bce(*arguments) * (float("nan") if len(calls) == 5 * accumulate else 1)

    monkeypatch.setattr(prompted, "mask_bce", broken)
    with pytest.raises(
        NotFiniteError, match="the loss is nan at step 4 of stage 0; lower lr, or look at the batch: square"
    ):
        trainer(tmp_path, accumulate=accumulate).fit()
    told = json.loads((tmp_path / "non_finite.json").read_text())
    assert (told["stage"], told["step"], len(told["names"])) == (0, 4, 4 // accumulate)
    run = trainer(tmp_path, accumulate=accumulate)
    assert told["names"] == run._work(0).names(4, accumulate - 1)
    held = read_weights_of(tmp_path / "checkpoints" / "step-0000004")
    assert all(tensor.isfinite().all() for tensor in held.values())


def test_a_gradient_that_is_not_finite_stops_the_run(tmp_path, monkeypatch):
    """The loss may be finite where its gradient is not; then the weights, and a checkpoint of them, are kept clean."""
    from clipseg.training import prompted

    monkeypatch.setattr(prompted, "mask_bce", lambda logits, *_: (0 * logits).abs().sum().sqrt())
    with pytest.raises(NotFiniteError, match="the gradient's norm is nan at step 0 of stage 0"):
        trainer(tmp_path, settings=replace(SETTINGS, save_every=1)).fit()
    assert not (tmp_path / "checkpoints").exists()


def test_what_does_not_go_together(tmp_path):
    segmenter = ready.segmenter()
    with pytest.raises(UsageError, match="a prompted stage needs data="):
        Trainer(segmenter, STAGE, out=tmp_path).fit()
    with pytest.raises(UsageError, match="a synthetic stage needs scenes="):
        Trainer(segmenter, Stage("contrastive", steps=1, batch=1, lr=0), out=tmp_path / "scenes").fit()
    with pytest.raises(UsageError, match="training needs the model's processor"):
        Trainer(segmenter.model, STAGE, out=tmp_path)
    with pytest.raises(ConfigurationError, match="precision float16 needs a GPU"):
        Trainer(segmenter, STAGE, out=tmp_path, settings=Settings(precision="float16"))


def test_the_watcher_is_told(tmp_path):
    seen = []
    run = trainer(tmp_path, steps=4)
    run.watcher = seen.append
    run.fit()
    assert [(told.done, told.total) for told in seen] == [(n, 4) for n in range(1, 5)]
    assert seen[-1].left == 0
    assert "loss" in str(seen[-1])
    assert "iou_per_sample_mean" in str(seen[-1])


def test_tensorboard(tmp_path, monkeypatch):
    import sys

    from clipseg.errors import MissingPackageError

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    run = trainer(tmp_path, steps=1)
    run.tensorboard = True
    with pytest.raises(MissingPackageError, match=r"pip install 'clipseg\[train\]'"):
        run.fit()


def test_tensorboards_files(tmp_path, monkeypatch):
    import sys
    from types import ModuleType

    written = []

    class Writer:
        def __init__(self, folder, purge_step):
            written.append((folder, purge_step))

        def add_scalar(self, name, value, step):
            written.append((name, step))

        def close(self):
            written.append("closed")

    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    run = trainer(tmp_path, steps=1)
    run.tensorboard = True
    run.fit()
    assert written[0] == (str(tmp_path / "tensorboard"), 0)
    assert {("loss", 1), ("lr", 1), ("validation/iou_cumulative", 1)} <= {
        entry for entry in written if entry != "closed"
    }
    assert written[-1] == "closed"


def test_prompted_stage_values_are_checked():
    with pytest.raises(ConfigurationError, match=r"text_min is 0\.9 and text_max 0\.5"):
        replace(STAGE, text_min=0.9, text_max=0.5)
    with pytest.raises(ConfigurationError, match="it needs crop = false"):
        replace(STAGE, cache=True)
    with pytest.raises(ConfigurationError, match="bce, dice and focal are all 0"):
        replace(STAGE, bce=0.0, dice=0.0)
    with pytest.raises(ConfigurationError, match="unknown templates 'none'"):
        replace(STAGE, templates="none")
    with pytest.raises(ConfigurationError, match="unknown visual-prompt style"):
        replace(STAGE, style="none")
    with pytest.raises(ConfigurationError, match="accumulate is 9 of a batch of 4"):
        replace(STAGE, accumulate=9)
    with pytest.raises(ConfigurationError, match="betas is"):
        PromptedStage(steps=1, batch=1, lr=0, betas=(0.9, 1.0))
