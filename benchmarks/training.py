"""What a training step costs at the released size: with and without stored features, by what trains, and in memory.

    python benchmarks/training.py --repeats 5 --markdown docs/training_speed.md

The model has the released sizes (ViT-B/16 under a plain decoder of width 64) and random weights; pictures are JPEG
files of 640 x 480 pixels, each with a mask and a phrase, at 352 pixels and in float32. Steps are those of the trainer,
batches come from one worker process as they do there. Every case takes a few steps in turn, in an order drawn anew each
round, so that a machine that slows down slows down all of them; the first step of a turn is not counted, for its batch
was made while others computed. "Waiting" is the share of the counted time that went by without a batch.

Memory is the peak over what was resident before the first step, in a fresh process for each case. --tiny takes a small
model, to see that all works. docs/training_speed.md says how to read the tables.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pages import write_between_marks
from PIL import Image

from clipseg import CLIPSegConfig, CLIPTokenizer
from clipseg.benchmark.memory import in_own_process, peak_megabytes
from clipseg.data.sample import Sample, SampleDataset
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
from clipseg.processing.vocabulary import train_vocabulary
from clipseg.training.distributed import Processes
from clipseg.training.feature_cache import FeatureCache
from clipseg.training.parameters import prepare_parameters
from clipseg.training.prompted import PromptedWork
from clipseg.training.stages import PromptedStage
from clipseg.training.stepping import Stepper
from clipseg.training.work import Batch, steps_of

PHRASES = ("a cat", "the red cup", "a jar on the table", "wood")
ENDLESS = 10**6  # steps


@dataclass(frozen=True)
class Case:
    """What trains, and whether features are stored: as float32, as float16, or not at all (None)."""

    says: str
    train: str
    stored: str | None = None
    again: bool = False  # activations are computed again in the backward pass


CASES = {
    "decoder": Case("decoder", "decoder"),
    "stored": Case("**decoder, features stored**", "decoder", "float32"),
    "stored_half": Case("decoder, features stored as float16", "decoder", "float16"),
    "head": Case("upsampling head, features stored", "head", "float32"),
    "lora": Case("decoder and LoRA", "lora"),
    "adapters": Case("decoder and adapters", "adapters"),
    "all": Case("everything", "all"),
    "all_again": Case("everything, activations computed again", "all", again=True),
}
BASE = "decoder"


@dataclass(frozen=True)
class Scale:
    """How much there is to do. Figures are for the full scale; `tiny` only shows that all works."""

    side: int = 352
    layers: int = 12
    width: int = 768
    pictures: int = 32
    batch: int = 8
    batches: tuple[int, ...] = (1, 2, 4, 8)  # of which memory is measured


class Photographs(SampleDataset):
    """JPEG files, read as they are asked for."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder, count
        for index in range(count):
            coarse = np.random.default_rng(index).integers(0, 256, (12, 16, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC).save(folder / f"{index}.jpg")
            Image.fromarray(coarse[..., 0] > 128).resize((640, 480)).save(folder / f"{index}.png")

    def __len__(self) -> int:
        return self.count

    def draw(self, index: int, rng: np.random.Generator) -> Sample:
        """-> a picture, the mask beside it, and one of a few phrases."""
        path = self.folder / f"{index}.jpg"
        picture, mask = np.asarray(Image.open(path)), np.asarray(Image.open(path.with_suffix(".png")))
        return Sample(picture, mask, PHRASES[index % len(PHRASES)], name=path.name)


class Turns:
    """A case under way: it takes a few steps whenever it is its turn."""

    def __init__(self, case: Case, scale: Scale, data: Photographs, workers: int = 1) -> None:
        model, tokenizer = new_model(scale)
        prepare_parameters(model, case.train)  # type: ignore[arg-type]  # one of the trained parts, by CASES
        model._set_gradient_checkpointing(case.again)
        stage = PromptedStage(
            steps=ENDLESS, batch=scale.batch, lr=1e-4, size=scale.side, train=case.train,  # type: ignore[arg-type]
            warmup=0, cache=case.stored is not None,
        )  # fmt: skip
        self.work = PromptedWork(stage, data, None, tokenizer, (0, 0), Processes(), 1)
        if case.stored is not None:
            self.work.cache = FeatureCache.fill(
                model, [data], data.folder / "features", size=scale.side, dtype=case.stored
            )  # type: ignore[arg-type]
        self.stepper = Stepper(model.train(), self.work, stage, 0, 0, "float32", Processes(), None)
        self.batches = steps_of(self.work, 0, ENDLESS, workers)
        # A worker keeps every page that changes after it was forked, so all are forked before anything is trained.
        self.first: list[Batch] | None = next(self.batches)
        self.step = 0

    def __call__(self, steps: int) -> tuple[float, float]:
        """Take so many steps, after one that does not count -> the seconds of one, and the share spent waiting."""
        first, self.first = self.first, None
        self._one(next(self.batches) if first is None else first)
        waited, start = 0.0, time.perf_counter()
        for _ in range(steps):
            before = time.perf_counter()
            batch = next(self.batches)
            waited += time.perf_counter() - before
            self._one(batch)
        taken = time.perf_counter() - start
        return taken / steps, waited / taken

    def _one(self, parts: list[Batch]) -> None:
        self.stepper.step(self.step, parts)
        self.step += 1


@cache
def new_model(scale: Scale) -> tuple[CLIPSegForImageSegmentation, CLIPTokenizer]:
    """-> a model of the released sizes with random weights, and a tokenizer of a few words."""
    vocabulary, merges = train_vocabulary(PHRASES, 540)
    tokenizer = CLIPTokenizer(vocabulary, merges, model_max_length=77)
    torch.manual_seed(0)
    layers = [min(layer, scale.layers - 1) for layer in (3, 7, 9)]
    towers = {"num_hidden_layers": scale.layers, "num_attention_heads": scale.width // 64}
    text = {**towers, "num_attention_heads": 8, "eos_token_id": tokenizer.eos_token_id}
    vision = {**towers, "hidden_size": scale.width, "intermediate_size": 4 * scale.width, "patch_size": 16}
    config = CLIPSegConfig(text, vision, extract_layers=layers)
    return CLIPSegForImageSegmentation(config), tokenizer


def measured(turns: dict[str, Turns], rounds: int, steps: int) -> dict[str, dict[str, list[float]]]:
    """Cases by name -> the seconds and waiting shares of each, turn by turn."""
    taken: dict[str, dict[str, list[float]]] = {name: {"seconds": [], "waiting": []} for name in turns}
    order = list(turns)
    for _ in range(rounds):
        random.shuffle(order)
        for name in order:
            gc.collect()
            seconds, waiting = turns[name](steps)
            taken[name]["seconds"].append(seconds)
            taken[name]["waiting"].append(waiting)
    return taken


def peak(name: str, scale: Scale, folder: Path, threads: int) -> float | None:
    """In a process of its own: a case -> the most megabytes (10^6) that two steps took over what there was before."""
    torch.set_num_threads(threads)
    turns = Turns(CASES[name], scale, Photographs(folder, scale.pictures), workers=0)
    return peak_megabytes(lambda: turns(1))


def peaks(names: list[str], scale: Scale, folder: Path, threads: int) -> dict[str, dict[int, float | None]]:
    """Cases -> the peak of each by batch size."""
    found: dict[str, dict[int, float | None]] = {name: {} for name in names}
    for name in names:
        for batch in scale.batches:
            found[name][batch] = in_own_process(peak, name, replace(scale, batch=batch), folder, threads)
    return found


def table(figures: dict[str, Any]) -> str:
    """Figures -> Markdown."""
    return "\n".join([figures["machine"], "", *_speeds(figures), *_memory(figures)])


def _speeds(figures: dict[str, Any]) -> Iterator[str]:
    yield from (
        f"| What trains | Parameters | Samples a second | Seconds a step of {figures['batch']} | Lowest to highest "
        "| Times the decoder alone | Waiting |",
        "|---|---:|---:|---:|---:|---:|---:|",
    )
    base = figures["cases"][BASE]["median"] if BASE in figures["cases"] else None
    for row in figures["cases"].values():
        speed = "" if base is None else f"{base / row['median']:.1f}"
        yield (
            f"| {row['says']} | {row['parameters']:,} | {figures['batch'] / row['median']:.2f} | {row['median']:.2f} "
            f"| {min(row['seconds']):.2f} to {max(row['seconds']):.2f} | {speed} | {row['waiting']:.1%} |"
        )


def _memory(figures: dict[str, Any]) -> Iterator[str]:
    if not figures["memory"]:
        return
    sizes = list(next(iter(figures["memory"].values())))
    yield from ("", "Peak memory of training in MB, over model and data, by batch size:", "")
    yield f"| What trains | {' | '.join(map(str, sizes))} |"
    yield "|---|" + "---:|" * len(sizes)
    for name, by_batch in figures["memory"].items():
        cells = " | ".join("" if value is None else f"{value:,.0f}" for value in by_batch.values())
        yield f"| {CASES[name].says} | {cells} |"


def main() -> None:
    """Measure, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="rounds (default 5)")
    parser.add_argument("--steps", type=int, default=2, help="counted steps of a turn (default 2)")
    parser.add_argument("--tiny", action="store_true", help="a small model: shows that all works")
    parser.add_argument("--only", nargs="+", choices=tuple(CASES), help="these cases")
    parser.add_argument("--threads", type=int, default=2, help="of torch (default 2)")
    parser.add_argument("--no-memory", action="store_true", help="leave memory out")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--markdown", type=Path, help="put the tables between the markers of this page")
    options = parser.parse_args()
    scale = Scale(64, 2, 128, 4, 2, (1, 2)) if options.tiny else Scale()

    torch.set_num_threads(options.threads)
    random.seed(0)
    names = options.only or list(CASES)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = Photographs(folder, scale.pictures)
        turns: dict[str, Turns] = {}
        try:
            for case in names:
                new_model.cache_clear()  # each trains a model of its own
                turns[case] = Turns(CASES[case], scale, data)
            taken = measured(turns, options.repeats, options.steps)
        finally:
            for each in turns.values():
                each.batches.close()
        parameters = {case: each.stepper.model.num_parameters(only_trainable=True) for case, each in turns.items()}
        turns.clear()
        memory = {} if options.no_memory else peaks(names, scale, folder, options.threads)
    figures = {
        "machine": f"{scale.side} pixels, {platform.machine()} with {os.cpu_count()} cores, {options.threads} threads, "
        f"torch {torch.__version__}, {time.strftime('%Y-%m-%d')}; {options.repeats} rounds of {options.steps} steps; "
        f"`python benchmarks/training.py {' '.join(sys.argv[1:])}`".replace(" `", " `"),
        "load": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "batch": scale.batch,
        "cases": {
            case: {
                "says": CASES[case].says,
                "parameters": parameters[case],
                "seconds": found["seconds"],
                "median": statistics.median(found["seconds"]),
                "waiting": statistics.median(found["waiting"]),
            }
            for case, found in taken.items()
        },
        "memory": memory,
    }
    text = table(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if options.markdown:
        write_between_marks(options.markdown, text)
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
