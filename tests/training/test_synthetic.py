"""Whole runs of a few steps on a few kinds: what they leave behind, and what an interruption changes (nothing)."""

import json
from dataclasses import asdict, replace
from itertools import islice

import pytest
import torch

from clipseg.checkpoints.files import read_weights
from clipseg.data.kinds import SEEN
from clipseg.data.scenes import SceneGenerator, SceneOptions
from clipseg.errors import ConfigurationError
from clipseg.prompting.prompts import ImagePrompt
from clipseg.segmenter import Segmenter
from clipseg.training import loop, run, synthetic
from clipseg.training.distributed import Processes
from clipseg.training.models import new_tokenizer
from clipseg.training.optimisation import learning_rate, new_optimizer
from clipseg.training.progress import TIMED
from clipseg.training.recipes import ModelRecipe, Recipe, TowerRecipe
from clipseg.training.run import trainer_of
from clipseg.training.stages import Stage
from clipseg.training.stepping import NotFiniteError
from clipseg.training.synthetic import SyntheticWork
from clipseg.training.tasks import ContrastiveTask, SegmentationTask
from clipseg.training.work import steps_of

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


def train(recipe, folder):
    return trainer_of(recipe, folder, device="cpu").fit()


@pytest.fixture(autouse=True)
def small(installed_pictograms, monkeypatch):
    """Few kinds, short validations, every step logged; and the random state as it was."""
    monkeypatch.setattr(run, "SEEN", SEEN[:8])
    monkeypatch.setattr(synthetic, "VALIDATION_BATCHES", 1)
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    with torch.random.fork_rng():
        yield


@pytest.fixture(scope="module")
def trained(installed_pictograms, tmp_path_factory):
    """The run folder of an undisturbed run."""
    folder = tmp_path_factory.mktemp("undisturbed") / "deep" / "run"
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        patch.setattr(run, "SEEN", SEEN[:8])
        patch.setattr(synthetic, "VALIDATION_BATCHES", 1)
        patch.setattr(loop, "LOG_EVERY", 1)
        assert train(RECIPE, folder) == folder / "model"
    return folder


def weights(folder):
    return (folder / "model" / "model.safetensors").read_bytes()


def log_of(folder):
    """The log without its stop watch."""
    entries = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    for entry in entries:
        for key in TIMED:
            entry.pop(key, None)
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


# -- runs that cannot go on ------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, monkeypatch):
    losses = ContrastiveTask.losses
    calls = []

    def broken(self, model, batch):
        calls.append(batch)
        found = losses(self, model, batch)
        return {**found, "loss": found["loss"] * float("nan")} if len(calls) == 4 else found

    monkeypatch.setattr(ContrastiveTask, "losses", broken)
    with pytest.raises(
        NotFiniteError, match=r"the loss is nan at step 3 of stage 0; lower lr, .*: batch 3 of synthetic"
    ):
        train(RECIPE, tmp_path)


def test_a_gradient_that_is_not_finite_stops_the_run(tmp_path, monkeypatch):
    """The loss may be finite where its gradient is not; then the weights, and a checkpoint of them, are kept clean."""

    def broken(self, model, batch):
        return {"loss": (0 * model.clip.text_projection.weight).abs().sum().sqrt()}

    monkeypatch.setattr(ContrastiveTask, "losses", broken)
    with pytest.raises(NotFiniteError, match="the gradient's norm is nan at step 0 of stage 0"):
        train(replace(RECIPE, save_every=1), tmp_path)
    assert not (tmp_path / "checkpoints").exists()


# -- parts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("begin", [0, 2])
@pytest.mark.parametrize("world", [1, 2])
def test_batches_come_in_order(workers, begin, world):
    """Whoever makes them; processes share the batches of a step."""
    generator = SceneGenerator(SEEN[:8], RECIPE.scenes)
    tokenizer, stage = new_tokenizer(generator.pictograms, MODEL), replace(STAGES[1], accumulate=2)
    for rank in range(world):
        work = SyntheticWork(stage, generator, tokenizer, (3, 1), Processes(rank, world))
        found = [part for parts in steps_of(work, begin, 4, workers) for part in parts]
        numbers = [number for number in range(2 * begin, 8) if number % world == rank]
        for number, batch in zip(numbers, found, strict=True):
            expected = work.task.batch(number)
            assert batch.keys() == expected.keys()
            assert all(torch.equal(batch[name], expected[name]) for name in expected)


def test_batches_that_do_not_go_round():
    generator = SceneGenerator(SEEN[:8], RECIPE.scenes)
    with pytest.raises(ConfigurationError, match="1 batches of scenes a step cannot be shared by 2 processes"):
        SyntheticWork(STAGES[1], generator, new_tokenizer(generator.pictograms, MODEL), (3, 1), Processes(0, 2))


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
    optimizer = new_optimizer(model.parameters(), replace(STAGES[0], weight_decay=0.3))
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
