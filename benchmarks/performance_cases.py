"""What the side-by-side comparison measures: sides, which answer the same questions, and rows, which ask them.

A side is a library with a precision: the reference as in performance_reference.py, or ours as users have it. Prompts
are new in every round, the same for all sides, so that texts are embedded each time; rows of known prompts say so.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from documented_calls import CLIPSEG, SCALES, picture, write_checkpoint
from performance_reference import Reference
from PIL import Image

from clipseg.benchmark.materials import write_photographs
from clipseg.benchmark.rows import Measured, precision_of, write_masks
from clipseg.processing.image_processors import ViTImageProcessor
from clipseg.processing.processors import CLIPSegProcessor
from clipseg.processing.vocabulary import END_OF_WORD
from clipseg.prompting.prompts import ImagePrompt
from clipseg.segmenter import Segmenter
from real_vocabulary import real_vocabulary

BASE, HALF = "transformers float32", "transformers bfloat16"
OURS, FULL, EIGHT = "clipseg", "clipseg float32", "clipseg int8"
EXPORTED = {"onnx": "clipseg onnx", "openvino": "clipseg openvino"}
OWN = (OURS, FULL, EIGHT, *EXPORTED.values())
ON_CPU = (EIGHT, *EXPORTED.values())
COUNTS = (1, 3, 10, 32, 100, 1000)
MOST_OF_THE_REFERENCE = 100  # prompts; beyond, its time is extrapolated
STREAMED = 4  # pictures
FIXED = ("a cat", "a red cup", "the sky")

Answer = torch.Tensor | None
Call = Callable[[], Answer]


@dataclass(frozen=True)
class Setting:
    """Where files are, how much there is to do, and on what. `tiny` only shows that all works."""

    out: Path
    tiny: bool = False
    device: str = "cpu"
    seed: int = 0  # of the prompts

    @property
    def model(self) -> Path:
        """The folder of the model that all sides load."""
        return self.out / "model"

    def count(self, number: int) -> int:
        """How many prompts, pictures or rounds -> the same, or for `tiny` as many as show that all works."""
        return min(number, 3) if self.tiny else number

    def side(self, pixels: int) -> int:
        """A side of the model's input -> the same, or for `tiny` a quarter of it, in whole patches."""
        return pixels // 64 * 16 if self.tiny else pixels

    @property
    def photograph_hw(self) -> tuple[int, int]:
        """Of the files of a stream."""
        return (300, 400) if self.tiny else (3000, 4000)

    def write_model(self) -> None:
        """Write the model unless it is there: sizes, vocabulary and files as released, weights at random, but fixed."""
        if not (self.model / "model.safetensors").is_file():
            self.model.mkdir(parents=True, exist_ok=True)
            write_checkpoint(CLIPSEG, self.model, SCALES["tiny" if self.tiny else "full"])
            if self.tiny:
                path = self.model / "preprocessor_config.json"
                size = {"height": self.side(352), "width": self.side(352)}
                path.write_text(json.dumps({**json.loads(path.read_text()), "size": size}))

    def photographs(self) -> list[Path]:
        """-> JPEG files, written unless they are there."""
        folder = self.out / "photographs"
        paths = sorted(folder.glob("*.jpg"))
        return paths or write_photographs(folder, self.count(STREAMED), self.photograph_hw)

    def prompts(self, count: int) -> Iterator[list[str]]:
        """-> lists of `count` phrases, each list of words that none before it had; the same ones at every call."""
        draw = random.Random(f"{self.seed} {count}")
        while True:
            yield [f"a {draw.choice(words())} {draw.choice(words())}" for _ in range(count)]


class Side(Protocol):
    """What both libraries are asked; see `Reference`, which is the one of them."""

    def resize(self, side: int) -> None: ...
    def segment(self, image: Image.Image, prompts: Sequence[str]) -> torch.Tensor: ...
    def segment_pictures(self, images: Sequence[Image.Image], prompt: str) -> torch.Tensor: ...
    def by_example(self, images: Sequence[Image.Image], example: Image.Image) -> torch.Tensor: ...
    def similarity(self, image: Image.Image, labels: Sequence[str]) -> torch.Tensor: ...
    def write_masks(self, pictures: Sequence[Path], prompts: Sequence[str], folder: Path) -> None: ...


class Ours:
    """A segmenter, as users have it."""

    def __init__(self, loading: Measured) -> None:
        self.loading = loading
        self.segmenter = loading.segmenter()

    def resize(self, side: int) -> None:
        processor = CLIPSegProcessor.from_pretrained(self.loading.model)
        given = {**processor.image_processor.to_dict(), "size": {"height": side, "width": side}}
        resized = CLIPSegProcessor(ViTImageProcessor.from_dict(given), processor.tokenizer)
        self.segmenter = Segmenter(self.loading.runner(), resized)

    def segment(self, image: Image.Image, prompts: Sequence[str]) -> torch.Tensor:
        return self.segmenter.segment(image, prompts).logits

    def segment_pictures(self, images: Sequence[Image.Image], prompt: str) -> torch.Tensor:
        return torch.cat([masks.logits for masks in self.segmenter.segment_many(images, prompt)])

    def by_example(self, images: Sequence[Image.Image], example: Image.Image) -> torch.Tensor:
        return torch.cat([masks.logits for masks in self.segmenter.segment_many(images, ImagePrompt(example))])

    def similarity(self, image: Image.Image, labels: Sequence[str]) -> torch.Tensor:
        return self.segmenter.similarity(image, labels)

    def write_masks(self, pictures: Sequence[Path], prompts: Sequence[str], folder: Path) -> None:
        write_masks(self.segmenter, pictures, prompts, folder)


def load(name: str, setting: Setting) -> Side:
    """A side's name -> that side, loaded anew."""
    if name in (BASE, HALF):
        return Reference(setting.model, torch.bfloat16 if name == HALF else torch.float32, setting.device)
    return Ours(loading(name, setting))


def loading(name: str, setting: Setting) -> Measured:
    """The name of one of our sides -> how it is loaded."""
    backends = {side: backend for backend, side in EXPORTED.items()}
    if name in backends:
        return Measured(str(setting.out / backends[name]), "cpu", backend=backends[name])
    return Measured(str(setting.model), setting.device, {FULL: "float32", EIGHT: "int8"}.get(name, "auto"))


@cache
def loaded(name: str, setting: Setting) -> Side:
    """As `load`, but once."""
    return load(name, setting)


@cache
def words() -> list[str]:
    """-> words of which each is one entry of CLIP's vocabulary."""
    whole = (word.removesuffix(END_OF_WORD) for word in real_vocabulary()[0] if word.endswith(END_OF_WORD))
    return [word for word in whole if len(word) > 2 and word.isalpha() and word.isascii()]


# -- rows --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """What is asked.

    Fields
        topic    the table that it stands in
        says     what is done; {count} and the like are filled in
        prepare  a side's name and the setting -> the call that is timed
        judge    how answers are compared: "maps", "cosines", "masks" (yes and no), or "" for none
        only     the sides that are asked; None: all there are
    """

    topic: str
    says: str
    prepare: Callable[[str, Setting], Call]
    judge: str = "maps"
    only: tuple[str, ...] | None = None


def asked(count: int, pixels: int | None = None) -> Callable[[str, Setting], Call]:
    """How many prompts, and the size of the model's input if it is another -> a picture under new prompts."""

    def prepare(name: str, setting: Setting) -> Call:
        side = loaded(name, setting)
        if pixels is not None:
            side = load(name, setting)
            side.resize(setting.side(pixels))
        prompts, image = setting.prompts(setting.count(count)), picture()
        return lambda: side.segment(image, next(prompts))

    return prepare


def known(count: int) -> Callable[[str, Setting], Call]:
    """How many prompts -> a picture under prompts that were asked before."""

    def prepare(name: str, setting: Setting) -> Call:
        prompts, image = next(setting.prompts(setting.count(count))), picture()
        return lambda: loaded(name, setting).segment(image, prompts)

    return prepare


def batch(count: int) -> Callable[[str, Setting], Call]:
    """How many pictures -> all of them under one new prompt."""

    def prepare(name: str, setting: Setting) -> Call:
        images = [picture(seed=seed) for seed in range(setting.count(count))]
        prompts = setting.prompts(1)
        return lambda: loaded(name, setting).segment_pictures(images, next(prompts)[0])

    return prepare


def by_example(name: str, setting: Setting) -> Call:
    """-> 8 pictures, and an example of what to find in them; its pixels are new in every round, as prompts are."""
    images = [picture(seed=seed) for seed in range(setting.count(8))]
    seeds = itertools.count(100)
    return lambda: loaded(name, setting).by_example(images, picture(seed=next(seeds)))


def similarity(name: str, setting: Setting) -> Call:
    """-> a picture and 100 new labels."""
    prompts, image = setting.prompts(setting.count(100)), picture()
    return lambda: loaded(name, setting).similarity(image, next(prompts))


def stream(name: str, setting: Setting) -> Call:
    """-> files of photographs under three fixed prompts, to files of masks at full size."""
    paths, folder = setting.photographs(), setting.out / "masks" / name.replace(" ", "-")

    def call() -> Answer:
        loaded(name, setting).write_masks(paths, FIXED, folder)
        return read_masks(folder)

    return call


def stream_reduced(name: str, setting: Setting) -> Call:
    """-> the same, ours with JPEG files decoded at a scale that is enough for the model's input."""
    side, paths, folder = loaded(name, setting), setting.photographs(), setting.out / "masks" / "reduced"
    if not isinstance(side, Ours):
        return stream(name, setting)

    def call() -> Answer:
        write_masks(side.segmenter, paths, FIXED, folder, reduced_decoding=True)
        return None

    return call


def loading_only(name: str, setting: Setting) -> Call:
    """-> the model and its processor from their files."""

    def call() -> Answer:
        load(name, setting)
        return None

    return call


def first_answer(name: str, setting: Setting) -> Call:
    """-> the same and a first prompt, since loading may put off reading."""
    image = picture()
    return lambda: load(name, setting).segment(image, FIXED[:1])


def encoding(name: str, setting: Setting) -> Call:
    """-> pixels to what the decoder needs of them: the picture encoder, without anything around it."""
    runner = loading(name, setting).runner()
    pixels = torch.randn((1, 3, *encoded_hw(setting)), generator=torch.Generator().manual_seed(0))
    pixels = pixels.to(runner.device)

    def call() -> Answer:
        with torch.inference_mode():
            reduced = runner.encode_images(pixels).reduced
            return torch.cat([tap.float().cpu().flatten() for tap in reduced])[None]

    return call


def encoded_hw(setting: Setting) -> tuple[int, int]:
    """-> the size of the pictures that `encoding` is given."""
    return setting.side(352), setting.side(352)


@cache
def precision(name: str, setting: Setting) -> str:
    """The name of one of our sides -> what it computes in."""
    return precision_of(loading(name, setting).runner())


def read_masks(folder: Path) -> torch.Tensor:
    """A folder of masks of one size -> (M, H, W) bool, in the order of their names."""
    return torch.stack([torch.from_numpy(np.asarray(Image.open(path)) > 0) for path in sorted(folder.glob("*.png"))])


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s'[: count != 1]}"


PROMPTS, KNOWN, WORK = "Prompts", "Known prompts", "Other work"
SIZES, BATCHES, STARTS, ENCODER = "Resolutions", "Batches", "Starting", "Picture encoder"

ROWS: Mapping[str, Row] = {
    "encoder": Row(ENCODER, "one picture, pixels to reduced taps", encoding, only=OWN),
    **{
        f"prompts_{count}": Row(
            PROMPTS, f"1 picture, {_counted(count, 'prompt')}", asked(count),
            only=OWN if count > MOST_OF_THE_REFERENCE else None,
        )
        for count in COUNTS
    },
    **{
        f"known_{count}": Row(KNOWN, f"1 picture, {_counted(count, 'prompt')} asked before", known(count), only=OWN)
        for count in COUNTS[2:]
    },
    "stream": Row(
        WORK, f"stream of {STREAMED} JPEG files of 12 megapixels, 3 prompts, to PNG files", stream, "masks"
    ),
    "stream_reduced": Row(
        WORK, "the same, JPEG files decoded at a reduced scale (`reduced_decoding`)", stream_reduced, "", (BASE, *OWN)
    ),
    "picture_prompts": Row(WORK, "8 pictures, 1 example picture", by_example),
    "similarity": Row(WORK, "CLIP similarity, 1 picture, 100 labels", similarity, "cosines"),
    **{
        f"batch_{count}": Row(BATCHES, f"{_counted(count, 'picture')}, 1 prompt", batch(count))
        for count in (1, 4, 8, 64)
    },
    **{
        f"pixels_{side}": Row(SIZES, f"{side} pixels, 1 picture, 1 prompt", asked(1, side))
        for side in (224, 352, 512, 768, 1024)
    },
    "load": Row(STARTS, "loading the model and its processor", loading_only, ""),
    "first_answer": Row(STARTS, "the same and a first prompt", first_answer),
}  # fmt: skip
