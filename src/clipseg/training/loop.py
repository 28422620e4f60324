"""The training loop: stages one after the other, a JSON-lines log, checkpoints that any crash leaves whole.

    recipe ──> tokenizer and new model ──> stage: batch, loss, step … ──> checkpoints/step-N ──> model/

The same recipe started again goes on from its last checkpoint and sees the same batches.
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset

from clipseg.configuration.clipseg import CLIPSegConfig, CLIPSegTextConfig, CLIPSegVisionConfig
from clipseg.data.pictograms import SEEN, Pictogram, write_vocabulary
from clipseg.data.scenes import SceneGenerator
from clipseg.errors import ConfigurationError, TrainingError
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
from clipseg.processing.image_processors import ViTImageProcessor
from clipseg.processing.processors import CLIPSegProcessor
from clipseg.processing.statistics import IMAGENET_MEAN, IMAGENET_STD
from clipseg.processing.tokenization import CLIPTokenizer
from clipseg.processing.vocabulary import train_vocabulary
from clipseg.training.config import ModelRecipe, Recipe, Stage
from clipseg.training.tasks import TASKS, TEMPLATES, Batch, Task

log = logging.getLogger(__name__)

LOG_EVERY = 20  # steps
KEPT_CHECKPOINTS = 2
VALIDATION_BATCHES = 4
VALIDATION_SEED = 1_000_000  # added to the recipe's seed: scenes no step draws


def train(recipe: Recipe, out: Path) -> Path:
    """A recipe and a run folder -> the folder of the trained model, `out/model`.

    Goes on from the last whole checkpoint in `out`. Raises ConfigurationError if the folder belongs to another recipe
    and TrainingError when a loss or a gradient is not finite.
    """
    out.mkdir(parents=True, exist_ok=True)
    _claim(out, recipe)
    torch.manual_seed(recipe.seed)
    generator = SceneGenerator(SEEN, recipe.scenes)
    tokenizer = new_tokenizer(generator.pictograms, recipe.model)
    model = CLIPSegForImageSegmentation(new_configuration(recipe.model, tokenizer)).requires_grad_(True)
    run = Run(recipe, out, model, generator, tokenizer)
    for number in range(len(recipe.stages)):
        run.stage(number)
    return save_model(run, out / "model")


class Run:
    """A training run under way: the model, its log and its checkpoints."""

    def __init__(
        self,
        recipe: Recipe,
        out: Path,
        model: CLIPSegForImageSegmentation,
        generator: SceneGenerator,
        tokenizer: CLIPTokenizer,
    ) -> None:
        self.recipe, self.out, self.model = recipe, out, model
        self.generator, self.tokenizer = generator, tokenizer
        found = _checkpoints(out)
        self.checkpoint = torch.load(found[-1], weights_only=True) if found else None
        if self.checkpoint is not None:
            self.model.load_state_dict(self.checkpoint["model"])
        _rewind_log(out, *((0, 0) if self.checkpoint is None else (self.checkpoint["stage"], self.checkpoint["step"])))

    def stage(self, number: int) -> None:
        """Run one stage to its end, from where the last checkpoint left it."""
        stage = self.recipe.stages[number]
        begin = 0
        optimizer = new_optimizer(self.model, stage)
        if self.checkpoint is not None:
            if self.checkpoint["stage"] > number:
                return
            if self.checkpoint["stage"] == number:
                begin = self.checkpoint["step"]
                if begin:  # where a stage begins, its optimizer is new
                    optimizer.load_state_dict(self.checkpoint["optimizer"])
        task: Task = TASKS[stage.task](stage, self.generator, self.tokenizer, (self.recipe.seed, number))
        self.model.train()
        clock = time.monotonic()
        for step, batch in enumerate(batches(task, begin, stage.steps, self.recipe.workers), start=begin):
            lr = learning_rate(stage, step)
            for group in optimizer.param_groups:
                group["lr"] = lr
            with torch.autocast("cpu", torch.bfloat16, enabled=self.recipe.precision == "bfloat16"):
                losses = task.losses(self.model, batch)
            _check_finite(losses["loss"], "loss", step, number)
            optimizer.zero_grad(set_to_none=True)
            losses["loss"].backward()
            norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), stage.clip)
            _check_finite(norm, "gradient's norm", step, number)  # or a checkpoint of NaN could follow
            optimizer.step()
            done = step + 1
            if done % LOG_EVERY == 0:
                seconds, clock = (time.monotonic() - clock) / LOG_EVERY, time.monotonic()
                values = {name: round(loss.item(), 5) for name, loss in losses.items()}
                self.write_log(
                    {"stage": number, "step": done, "lr": round(lr, 7), "seconds": round(seconds, 3), **values}
                )
            if done == stage.steps or (stage.validate_every and done % stage.validate_every == 0):
                self.write_log({"stage": number, "step": done, "validation": self.validate(number)})
                clock = time.monotonic()
            if done == stage.steps:
                self.save(number + 1, 0, None)
            elif done % self.recipe.save_every == 0:
                self.save(number, done, optimizer)

    @torch.inference_mode()
    def validate(self, number: int) -> dict[str, float]:
        """-> mean scores on scenes that no training step draws."""
        stage = self.recipe.stages[number]
        seed = (self.recipe.seed + VALIDATION_SEED, number)
        task: Task = TASKS[stage.task](stage, self.generator, self.tokenizer, seed)
        self.model.eval()
        scores: dict[str, list[float]] = {}
        for step in range(VALIDATION_BATCHES):
            for name, values in task.scores(self.model, task.batch(step)).items():
                scores.setdefault(name, []).extend(values)
        self.model.train()
        return {name: round(sum(values) / len(values), 4) for name, values in scores.items() if values}

    def write_log(self, entry: dict[str, Any]) -> None:
        """Append one JSON line to `log.jsonl`."""
        line = json.dumps(entry)
        log.info(line)
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def save(self, stage: int, step: int, optimizer: torch.optim.Optimizer | None) -> None:
        """Write a checkpoint under a temporary name, then rename it; keep the last few."""
        state = {
            "stage": stage,
            "step": step,
            "model": self.model.state_dict(),
            "optimizer": None if optimizer is None else optimizer.state_dict(),
        }
        folder = self.out / "checkpoints"
        folder.mkdir(exist_ok=True)
        path = folder / f"stage-{stage}-step-{step:07d}.pt"
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
        for old in _checkpoints(self.out)[:-KEPT_CHECKPOINTS]:
            old.unlink()


class _Steps(IterableDataset[Batch]):
    """The batches of steps begin to end, shared out among the loader's workers."""

    def __init__(self, task: Task, begin: int, end: int) -> None:
        self.task, self.begin, self.end = task, begin, end

    def __iter__(self) -> Iterator[Batch]:
        info = torch.utils.data.get_worker_info()
        offset, stride = (0, 1) if info is None else (info.id, info.num_workers)
        for step in range(self.begin + offset, self.end, stride):
            yield self.task.batch(step)


def batches(task: Task, begin: int, end: int, workers: int) -> Iterator[Batch]:
    """-> the batches of steps begin to end in order, made ahead of time by worker processes if there are any."""
    return iter(DataLoader(_Steps(task, begin, end), batch_size=None, num_workers=workers))


def new_tokenizer(kinds: list[Pictogram], recipe: ModelRecipe) -> CLIPTokenizer:
    """Kinds -> a byte-pair tokenizer trained on their names, synonyms and the templates."""
    names = [name for kind in kinds for name in (kind.name, *kind.synonyms)]
    phrases = [*names, *(template.format(name) for template in TEMPLATES for name in names)]
    vocabulary, merges = train_vocabulary(phrases, recipe.vocab_size)
    return CLIPTokenizer(vocabulary, merges, model_max_length=recipe.max_position_embeddings)


def new_configuration(recipe: ModelRecipe, tokenizer: CLIPTokenizer) -> CLIPSegConfig:
    """A model recipe and its tokenizer -> the configuration of the model."""
    text = CLIPSegTextConfig(
        **asdict(recipe.text),
        vocab_size=len(tokenizer),
        max_position_embeddings=recipe.max_position_embeddings,
        hidden_act=recipe.hidden_act,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    vision = CLIPSegVisionConfig(
        **asdict(recipe.vision),
        image_size=recipe.image_size,
        patch_size=recipe.patch_size,
        hidden_act=recipe.hidden_act,
    )
    return CLIPSegConfig(
        text,
        vision,
        projection_dim=recipe.projection_dim,
        extract_layers=recipe.extract_layers,
        reduce_dim=recipe.reduce_dim,
        decoder_num_attention_heads=recipe.decoder_num_attention_heads,
        decoder_intermediate_size=recipe.decoder_intermediate_size,
        conditional_layer=recipe.conditional_layer,
        use_complex_transposed_convolution=recipe.use_complex_transposed_convolution,
    )


def new_optimizer(model: torch.nn.Module, stage: Stage) -> torch.optim.AdamW:
    """-> AdamW that decays matrices only."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": stage.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=stage.lr, betas=(0.9, 0.98))


def learning_rate(stage: Stage, step: int) -> float:
    """A step from 0 -> linear warm-up to `lr`, then a cosine down to `lr_end`."""
    if step < stage.warmup:
        return stage.lr * (step + 1) / stage.warmup
    part = (step - stage.warmup) / max(1, stage.steps - stage.warmup)
    return stage.lr_end + (stage.lr - stage.lr_end) * (1 + math.cos(math.pi * min(part, 1.0))) / 2


def save_model(run: Run, folder: Path) -> Path:
    """Write the model in half precision, tokenizer, processor, vocabulary, recipe and log -> the folder."""
    size = {"height": run.recipe.model.image_size, "width": run.recipe.model.image_size}
    processor = CLIPSegProcessor(
        ViTImageProcessor(size=size, image_mean=list(IMAGENET_MEAN), image_std=list(IMAGENET_STD)), run.tokenizer
    )
    run.model.save_pretrained(folder, dtype="float16")
    processor.save_pretrained(folder)
    write_vocabulary(folder / "vocabulary.json", run.generator.pictograms)
    shutil.copyfile(run.out / "recipe.json", folder / "recipe.json")
    shutil.copyfile(run.out / "log.jsonl", folder / "training_log.jsonl")
    return folder


def _claim(out: Path, recipe: Recipe) -> None:
    """Write the recipe into the run folder, or refuse a folder that another recipe has begun."""
    text = json.dumps(asdict(recipe), indent=2) + "\n"
    path = out / "recipe.json"
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise ConfigurationError(f"{out} holds a run of another recipe (see {path.name}); give another folder")
    path.write_text(text, encoding="utf-8")


def _checkpoints(out: Path) -> list[Path]:
    """-> whole checkpoints of a run folder, the newest last."""
    return sorted(
        (out / "checkpoints").glob("stage-*-step-*.pt"),
        key=lambda path: [int(part) for part in path.stem.split("-")[1::2]],
    )


def _rewind_log(out: Path, stage: int, step: int) -> None:
    """Drop what was logged after a checkpoint, for those steps come again, and a line that a crash cut short."""
    path = out / "log.jsonl"
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []:
        entry = json.loads(line) if line.endswith("}\n") else None
        if entry is None or (entry["stage"], entry["step"]) > (stage, step):
            break
        kept.append(line)
    path.write_text("".join(kept), encoding="utf-8")


def _check_finite(value: torch.Tensor, name: str, step: int, stage: int) -> None:
    if not torch.isfinite(value):
        raise TrainingError(f"the {name} is {value.item()} at step {step} of stage {stage}; lower lr")
