"""Whole runs of a few steps on a few kinds: what they leave behind, and what an interruption changes (nothing)."""

import json
from dataclasses import asdict, replace
from itertools import islice

import pytest
import torch

from clipseg.checkpoints.files import read_weights
from clipseg.data.pictograms import SEEN
from clipseg.data.scenes import SceneGenerator, SceneOptions
from clipseg.errors import ConfigurationError, TrainingError
from clipseg.prompting.prompts import ImagePrompt
from clipseg.segmenter import Segmenter
from clipseg.training import loop
from clipseg.training.config import ModelRecipe, Recipe, Stage, TowerRecipe
from clipseg.training.loop import batches, learning_rate, new_optimizer, new_tokenizer, train
from clipseg.training.tasks import ContrastiveTask, SegmentationTask

TOWER = TowerRecipe(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
MODEL = ModelRecipe(
    text=TOWER, vision=TOWER, image_size=32, patch_size=8, vocab_size=600, projection_dim=12, reduce_dim=8,
    extract_layers=(0, 1), decoder_intermediate_size=16,
)  # fmt: skip
STAGES = (
    Stage("contrastive", steps=4, batch=6, lr=1e-3, warmup=2, size=32),
    Stage(
        "segmentation", steps=4, batch=4, lr=1e-3, warmup=2, prompts=3, examples=2, example_sizes=(16, 32),
        validate_every=2,
    ),
)  # fmt: skip
RECIPE = Recipe("pebble", MODEL, STAGES, SceneOptions(size=32, objects=(1, 3)), seed=3, save_every=3, workers=0)


@pytest.fixture(autouse=True)
def small(installed_pictograms, monkeypatch):
    """Few kinds, short validations, every step logged; and the random state as it was."""
    monkeypatch.setattr(loop, "SEEN", SEEN[:8])
    monkeypatch.setattr(loop, "VALIDATION_BATCHES", 1)
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    with torch.random.fork_rng():
        yield


@pytest.fixture(scope="module")
def trained(installed_pictograms, tmp_path_factory):
    """The run folder of an undisturbed run."""
    folder = tmp_path_factory.mktemp("undisturbed") / "deep" / "run"
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        patch.setattr(loop, "SEEN", SEEN[:8])
        patch.setattr(loop, "VALIDATION_BATCHES", 1)
        patch.setattr(loop, "LOG_EVERY", 1)
        assert train(RECIPE, folder) == folder / "model"
    return folder


def weights(folder):
    return (folder / "model" / "model.safetensors").read_bytes()


def log_of(folder):
    """The log without its stop watch."""
    entries = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    for entry in entries:
        entry.pop("seconds", None)
    return entries


# -- a whole run -----------------------------------------------------------------------------------------------------


def test_a_run_ends_in_a_model_that_loads(trained):
    segmenter = Segmenter.from_pretrained(trained / "model", device="cpu")
    generator = SceneGenerator(SEEN[:8], RECIPE.scenes)
    scene = generator.scene(1)
    prompts = [generator.pictograms[0].name, ImagePrompt(scene.picture, mask=scene.masks[0])]
    masks = segmenter.segment(scene.picture, prompts)
    assert masks.logits.shape == (2, 32, 32)
    assert segmenter.model.config.extract_layers == [0, 1]
    assert segmenter.processor.tokenizer.model_max_length == 77
    found = {path.name for path in (trained / "model").iterdir()}
    assert found >= {
        "config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json", "vocabulary.json",
        "recipe.json", "training_log.jsonl",
    }  # fmt: skip
    assert {tensor.dtype for tensor in read_weights(trained / "model").values()} == {torch.float16}
    vocabulary = json.loads((trained / "model" / "vocabulary.json").read_text())
    assert [kind["character"] for kind in vocabulary] == list(SEEN[:8])
    assert (trained / "model" / "recipe.json").read_text() == (trained / "recipe.json").read_text()
    assert json.loads((trained / "recipe.json").read_text()) == json.loads(json.dumps(asdict(RECIPE)))


def test_every_weight_has_been_trained(trained, tmp_path):
    untouched = train(replace(RECIPE, stages=tuple(replace(stage, lr=0, lr_end=0) for stage in STAGES)), tmp_path)
    before, after = read_weights(untouched), read_weights(trained / "model")
    assert before.keys() == after.keys()
    assert not [name for name in before if torch.equal(before[name], after[name])]


def test_the_log(trained):
    entries = log_of(trained)
    steps = [(entry["stage"], entry["step"]) for entry in entries if "loss" in entry]
    assert steps == [(stage, step) for stage in (0, 1) for step in (1, 2, 3, 4)]
    validated = [(entry["stage"], entry["step"]) for entry in entries if "validation" in entry]
    assert validated == [(0, 4), (1, 2), (1, 4)]
    assert {"lr", "loss", "top1"} <= entries[0].keys()
    assert {"lr", "loss", "bce", "dice", "matching"} <= entries[-2].keys()
    assert set(entries[-1]["validation"]) == {"iou_text", "iou_example"}
    assert [entry["lr"] for entry in entries[:4]] == [round(learning_rate(STAGES[0], step), 7) for step in range(4)]
    assert (trained / "model" / "training_log.jsonl").read_text() == (trained / "log.jsonl").read_text()


def test_few_checkpoints_are_kept(trained):
    assert [path.name for path in sorted((trained / "checkpoints").iterdir())] == [
        "stage-1-step-0000003.pt",
        "stage-2-step-0000000.pt",
    ]


def test_a_seed_is_a_run(trained, tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(99)
        train(RECIPE, tmp_path / "again")
    assert weights(tmp_path / "again") == weights(trained)
    assert log_of(tmp_path / "again") == log_of(trained)
    train(replace(RECIPE, seed=4), tmp_path / "other")
    assert weights(tmp_path / "other") != weights(trained)


def test_workers_change_nothing(trained, tmp_path):
    train(replace(RECIPE, workers=2), tmp_path)
    assert weights(tmp_path) == weights(trained)


def test_bfloat16(trained, tmp_path):
    folder = train(replace(RECIPE, precision="bfloat16"), tmp_path)
    assert weights(tmp_path) != weights(trained)
    assert all(tensor.isfinite().all() for tensor in read_weights(folder).values())


# -- interruptions ---------------------------------------------------------------------------------------------------


class PowerCut(Exception):
    pass


@pytest.mark.parametrize("stage", [0, 1])
@pytest.mark.parametrize("step", [1, 3])  # before the first checkpoint of a stage and just after it
def test_an_interrupted_run_ends_alike(trained, tmp_path, monkeypatch, stage, step):
    task = (ContrastiveTask, SegmentationTask)[stage]
    losses, calls = task.losses, []

    def cut(self, model, batch):
        calls.append(batch)
        if len(calls) == step + 1:
            raise PowerCut
        return losses(self, model, batch)

    with monkeypatch.context() as patch:
        patch.setattr(task, "losses", cut)
        with pytest.raises(PowerCut):
            train(RECIPE, tmp_path)
    assert not (tmp_path / "model").exists()
    train(RECIPE, tmp_path)
    assert weights(tmp_path) == weights(trained)
    assert log_of(tmp_path) == log_of(trained), "steps that came again are logged once"


def test_a_crash_while_saving_leaves_the_last_checkpoint(trained, tmp_path, monkeypatch):
    saved, save = [], torch.save

    def cut(state, file):
        saved.append(state)
        if len(saved) == 3:
            file.write(b"half a checkpoint")
            raise PowerCut
        save(state, file)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", cut)
        with pytest.raises(PowerCut):
            train(RECIPE, tmp_path)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"stage": 0, "st')  # and the log's last line is cut short
    train(RECIPE, tmp_path)
    assert weights(tmp_path) == weights(trained)
    assert log_of(tmp_path) == log_of(trained)


def test_a_finished_run_started_again(trained, tmp_path, monkeypatch):
    train(RECIPE, tmp_path)
    (tmp_path / "model" / "model.safetensors").unlink()
    for task in (ContrastiveTask, SegmentationTask):
        monkeypatch.setattr(task, "losses", None)  # not to be called
    train(RECIPE, tmp_path)
    assert weights(tmp_path) == weights(trained)
    assert log_of(tmp_path) == log_of(trained)


def test_checkpoints_are_ordered_by_number(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    names = [
        "stage-2-step-0000000.pt",
        "stage-10-step-0000005.pt",
        "stage-10-step-12345678.pt",
        "stage-9-step-0000100.pt",
    ]
    for name in [*names, "stage-11-step-0000000.partial"]:
        (tmp_path / "checkpoints" / name).touch()
    ordered = [path.name for path in loop._checkpoints(tmp_path)]
    assert ordered == [names[0], names[3], names[1], names[2]]


def test_a_folder_of_another_recipe_is_refused(tmp_path):
    short = replace(RECIPE, stages=(replace(STAGES[0], steps=1),))
    train(short, tmp_path)
    before = weights(tmp_path)
    with pytest.raises(ConfigurationError, match=r"holds a run of another recipe \(see recipe\.json\)"):
        train(replace(short, seed=9), tmp_path)
    assert weights(tmp_path) == before


# -- runs that cannot go on ------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, monkeypatch):
    losses = ContrastiveTask.losses
    calls = []

    def broken(self, model, batch):
        calls.append(batch)
        found = losses(self, model, batch)
        return {**found, "loss": found["loss"] * float("nan")} if len(calls) == 4 else found

    monkeypatch.setattr(ContrastiveTask, "losses", broken)
    with pytest.raises(TrainingError, match="the loss is nan at step 3 of stage 0; lower lr"):
        train(RECIPE, tmp_path)
    checkpoint = torch.load(loop._checkpoints(tmp_path)[-1], weights_only=True)
    assert checkpoint["step"] == 3
    assert all(tensor.isfinite().all() for tensor in checkpoint["model"].values())


def test_a_gradient_that_is_not_finite_stops_the_run(tmp_path, monkeypatch):
    """The loss may be finite where its gradient is not; then the weights, and a checkpoint of them, are kept clean."""

    def broken(self, model, batch):
        return {"loss": (0 * model.clip.text_projection.weight).abs().sum().sqrt()}

    monkeypatch.setattr(ContrastiveTask, "losses", broken)
    with pytest.raises(TrainingError, match="the gradient's norm is nan at step 0 of stage 0"):
        train(replace(RECIPE, save_every=1), tmp_path)
    assert loop._checkpoints(tmp_path) == []


# -- parts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("begin", [0, 2])
def test_batches_come_in_order(workers, begin):
    generator = SceneGenerator(SEEN[:8], RECIPE.scenes)
    task = SegmentationTask(STAGES[1], generator, new_tokenizer(generator.pictograms, MODEL), (3, 1))
    found = list(batches(task, begin, 7, workers))
    assert len(found) == 7 - begin
    for step, batch in enumerate(found, start=begin):
        expected = task.batch(step)
        assert batch.keys() == expected.keys()
        assert all(torch.equal(batch[name], expected[name]) for name in expected)


def test_validation_sees_scenes_of_its_own(trained, monkeypatch, tmp_path):
    seeds = []
    init = SegmentationTask.__init__

    def remember(self, stage, generator, tokenizer, seed):
        seeds.append(tuple(seed))
        init(self, stage, generator, tokenizer, seed)

    monkeypatch.setattr(SegmentationTask, "__init__", remember)
    train(RECIPE, tmp_path)
    assert set(seeds) == {(3, 1), (1_000_003, 1)}
    assert weights(tmp_path) == weights(trained)


def test_learning_rate():
    stage = Stage("contrastive", steps=110, batch=1, lr=1.0, lr_end=0.1, warmup=10)
    rates = [learning_rate(stage, step) for step in range(110)]
    assert rates[:10] == pytest.approx([n / 10 for n in range(1, 11)])
    assert rates[10] == max(rates) == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[60] == pytest.approx(0.55), "half-way down a cosine"
    assert 0.1 <= rates[-1] < 0.101
    assert learning_rate(stage, 110) == learning_rate(stage, 500) == pytest.approx(0.1)
    assert [learning_rate(replace(stage, warmup=0), step) for step in (0, 110)] == pytest.approx([1.0, 0.1])
    assert learning_rate(replace(stage, warmup=200), 109) == pytest.approx(110 / 200), "warm-up may outlast the stage"


def test_only_matrices_decay():
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4), torch.nn.Linear(4, 1))
    model[2].requires_grad_(False)
    optimizer = new_optimizer(model, replace(STAGES[0], weight_decay=0.3))
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    expected = {model[0].weight: 0.3, model[0].bias: 0.0, model[1].weight: 0.0, model[1].bias: 0.0}
    assert decays == {id(parameter): decay for parameter, decay in expected.items()}


def test_the_tokenizer_knows_the_names():
    generator = SceneGenerator(SEEN[:8])
    tokenizer = new_tokenizer(generator.pictograms, replace(MODEL, vocab_size=900))
    known = new_tokenizer(generator.pictograms, replace(MODEL, vocab_size=900))
    assert tokenizer.get_vocab() == known.get_vocab()
    for kind in generator.pictograms:
        assert tokenizer.decode(tokenizer(kind.name)["input_ids"], skip_special_tokens=True).strip() == kind.name
    lengths = [len(ids) for ids in islice(tokenizer([kind.name for kind in generator.pictograms])["input_ids"], 8)]
    assert max(lengths) <= 5, "bos, a token or two a word, eos"
