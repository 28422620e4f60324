"""The documented calls that the benchmark compares: what they are given, what comes before them, what they answer.

Every case is the same lines of code for both libraries, as in a script whose import line is changed.
"""

from __future__ import annotations

import importlib
import json
import random
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import safetensors.torch
import torch
from PIL import Image

from clipseg.processing.vocabulary import END_OF_WORD, merges_text

sys.path.append(str(Path(__file__).parents[1] / "tests"))

import released_layout
from real_vocabulary import ENTRIES, real_vocabulary
from released_layout import CLIP, CLIPSEG

OURS, REFERENCE = "clipseg", "transformers"
# Public name -> what it is called in the reference. Its image processors over PIL are the documented ones; they are
# also what it falls back to without torchvision.
NAMES = {name: name for name in ("CLIPModel", "CLIPSegForImageSegmentation", "CLIPTokenizer")} | {
    "CLIPProcessor": "CLIPProcessor",
    "CLIPSegProcessor": "CLIPSegProcessor",
    "CLIPImageProcessor": "CLIPImageProcessorPil",
    "ViTImageProcessor": "ViTImageProcessorPil",
}
DOCUMENTED = {  # the texts of the documented examples
    CLIP: ["a photo of a cat", "a photo of a dog"],
    CLIPSEG: ["a cat", "a remote", "a blanket"],
}
FULL_SIZE = {  # the numbers in which tests/released_layout.py departs from the released configurations
    "text": {"hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8, "projection_dim": 512},
    "vision": {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "projection_dim": 512},
    "whole": {"projection_dim": 512, "decoder_intermediate_size": 2048},
}
TOLERANCE = 1e-5  # of float32 results, relative to the largest

Call = Callable[[], Any]


@dataclass(frozen=True)
class Scale:
    """How much there is to do. `tiny`, with models of a few MB, only shows that everything works."""

    name: str
    phrases: int = 10_000
    photographs: int = 100
    photograph_hw: tuple[int, int] = (3000, 4000)

    @property
    def full_size(self) -> bool:
        """Whether the models have the widths of the released checkpoints."""
        return self.name != "tiny"

    def fill(self, says: str) -> str:
        """What a case says -> the same with the numbers of this scale."""
        height, width = self.photograph_hw
        return says.format(phrases=self.phrases, photographs=self.photographs, megapixels=f"{height * width / 1e6:.3g}")


SCALES = {
    "full": Scale("full"),
    "quick": Scale("quick", photographs=10),
    "tiny": Scale("tiny", phrases=20, photographs=3, photograph_hw=(300, 400)),
}


@dataclass(frozen=True)
class Case:
    """A documented call.

    `inputs` are the same for both libraries. `prepare` does what comes before the call, once, and gives the call;
    `numbers` takes out of its answer what is compared, within `tolerance`.
    """

    says: str
    inputs: Callable[[Scale], Any]
    prepare: Callable[[Any, Path, Any], Call]
    numbers: Callable[[Any], Mapping[str, torch.Tensor]]
    tolerance: float = 0.0


# -- what both libraries get -------------------------------------------------------------------------------------------


def write_checkpoint(name: str, folder: Path, scale: Scale) -> None:
    """A documented model id -> its folder as released, with CLIP's own vocabulary and random weights."""
    released_layout.write(name, folder)
    vocabulary, merges = real_vocabulary()
    config = json.loads((folder / "config.json").read_text())
    for key, part in {"whole": config, **config}.items():
        kind = key.partition("_config")[0]  # of text_config and of text_config_dict, which old files hold as well
        if kind in FULL_SIZE:
            part |= {name: size for name, size in FULL_SIZE[kind].items() if name in part and scale.full_size}
        if kind == "text":
            part["vocab_size"] = ENTRIES
    (folder / "pytorch_model.bin").unlink(missing_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text(merges_text(merges))
    safetensors.torch.save_file(released_layout.weights(config), folder / "model.safetensors", {"format": "pt"})


def nothing(_: Scale) -> None:
    """For calls that take no more than a folder."""


def phrases(scale: Scale) -> list[str]:
    """-> phrases of one to twelve words out of CLIP's vocabulary."""
    words = [word.removesuffix(END_OF_WORD) for word in real_vocabulary()[0] if word.endswith(END_OF_WORD)]
    words = [word for word in words if len(word) > 1 and word.isalpha() and word.isascii()]
    draw = random.Random(0)
    return [" ".join(draw.choices(words, k=draw.randint(1, 12))) for _ in range(scale.phrases)]


def picture(height: int = 480, width: int = 640, seed: int = 0) -> Image.Image:
    """-> smooth noise, of the size of the documented examples' picture."""
    noise = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def photographs(scale: Scale) -> list[Image.Image]:
    """-> pictures in memory: ten that differ, as many objects over the pixels of each as are needed.

    Neither library asks whether two objects share their pixels, and a hundred photographs of 12 megapixels would take
    5 GB; ten are enough to fall out of every cache.
    """
    distinct = [picture(*scale.photograph_hw, seed) for seed in range(min(10, scale.photographs))]
    return [distinct[i % len(distinct)]._new(distinct[i % len(distinct)].im) for i in range(scale.photographs)]


def pixels(count: int, side: int) -> torch.Tensor:
    """-> one picture `count` times, (count, 3, side, side)."""
    return torch.randn((1, 3, side, side), generator=torch.Generator().manual_seed(0)).repeat(count, 1, 1, 1)


def texts(count: int) -> dict[str, torch.Tensor]:
    """-> ids (count, 7) of texts of five words, and their mask."""
    ids = torch.randint(0, 512, (count, 7), generator=torch.Generator().manual_seed(0))
    ids[:, 0], ids[:, -1] = ENTRIES - 2, ENTRIES - 1
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def clip_inputs(_: Scale) -> dict[str, torch.Tensor]:
    """-> what the documented processor call gives: two texts and a picture."""
    return {**texts(2), "pixel_values": pixels(1, 224)}


def clipseg_inputs(count: int) -> Callable[[Scale], dict[str, torch.Tensor]]:
    """How many prompts -> what the documented processor call gives: as many texts, and the picture repeated."""
    return lambda _: {**texts(count), "pixel_values": pixels(count, 352)}


def visual_inputs(_: Scale) -> dict[str, torch.Tensor]:
    """-> a picture and a picture of what to find."""
    return {"pixel_values": pixels(1, 352), "conditional_pixel_values": pixels(1, 352).flip(3)}


# -- the calls ---------------------------------------------------------------------------------------------------------


def loading(kind: str, name: str) -> Callable[[Any, Path, Any], Call]:
    """A model class and a checkpoint -> the call that loads it."""
    return lambda library, folder, _: lambda: getattr(library, kind).from_pretrained(folder / name)


def forward(kind: str, name: str) -> Callable[[Any, Path, Any], Call]:
    """A model class and a checkpoint -> the call of the loaded model."""

    def prepare(library: Any, folder: Path, inputs: Any) -> Call:
        return in_inference(loading(kind, name)(library, folder, None)(), inputs)

    return prepare


def loading_and_forward(kind: str, name: str) -> Callable[[Any, Path, Any], Call]:
    """A model class and a checkpoint -> loading it and calling it once, since loading may put off reading."""

    def prepare(library: Any, folder: Path, inputs: Any) -> Call:
        load = loading(kind, name)(library, folder, None)
        return lambda: in_inference(load(), inputs)()

    return prepare


def in_inference(model: Any, inputs: Mapping[str, torch.Tensor]) -> Call:
    """A model, its inputs -> the call, without what a backward pass would need."""

    def call() -> Any:
        with torch.inference_mode():
            return model(**inputs)

    return call


def tokenising(library: Any, folder: Path, lines: list[str]) -> Call:
    """-> the call that makes ids of texts, padded to the longest."""
    tokenizer = library.CLIPTokenizer.from_pretrained(folder / CLIP)
    return lambda: tokenizer(lines, padding=True, return_tensors="pt")


def preprocessing(kind: str, name: str) -> Callable[[Any, Path, Any], Call]:
    """An image processor's class and a checkpoint -> the call that makes pixel values of pictures."""

    def prepare(library: Any, folder: Path, images: list[Image.Image]) -> Call:
        processor = getattr(library, kind).from_pretrained(folder / name)
        return lambda: processor(images=images, return_tensors="pt")

    return prepare


def loading_processor(kind: str, images: str, name: str) -> Callable[[Any, Path, Any], Call]:
    """Classes of a processor and its image processor, a checkpoint -> the call that loads both and the tokenizer."""

    def prepare(library: Any, folder: Path, _: Any) -> Call:
        def call() -> Any:
            image_processor = getattr(library, images).from_pretrained(folder / name)
            return getattr(library, kind)(image_processor, library.CLIPTokenizer.from_pretrained(folder / name))

        return call

    return prepare


def processing(kind: str, images: str, name: str) -> Callable[[Any, Path, Any], Call]:
    """As `loading_processor` -> the documented call of the processor; CLIPSeg's gets the picture once a text."""

    def prepare(library: Any, folder: Path, image: Image.Image) -> Call:
        processor, lines = loading_processor(kind, images, name)(library, folder, None)(), DOCUMENTED[name]
        repeated: Any = [image] * len(lines) if name == CLIPSEG else image
        return lambda: processor(text=lines, images=repeated, return_tensors="pt", padding=True)

    return prepare


def example(library: Any, folder: Path, image: Image.Image) -> Call:
    """-> the documented example: three phrases and the picture three times, from picture and text to logits."""
    prepared = processing(*CLIPSEG_PROCESSOR)(library, folder, image)
    model = loading(SEGMENTER, CLIPSEG)(library, folder, None)()
    return lambda: in_inference(model, prepared())()


def all_of(answer: Mapping[str, Any]) -> Mapping[str, torch.Tensor]:
    """A batch -> all its tensors."""
    return dict(answer)


def some_of(*fields: str) -> Callable[[Any], Mapping[str, torch.Tensor]]:
    """Names -> what takes these out of an output."""
    return lambda answer: {name: answer[name] for name in fields}


def ids_of(processor: Any) -> Mapping[str, torch.Tensor]:
    """A processor -> what its tokenizer makes of a text."""
    return dict(processor.tokenizer(DOCUMENTED[CLIP], padding=True, return_tensors="pt"))


SEGMENTER, SCORES, EMBEDDINGS = "CLIPSegForImageSegmentation", "logits", "conditional_embeddings"
MASKS = some_of("logits", "conditional_embeddings")
MATCHES = some_of("logits_per_image", "text_embeds", "image_embeds")
CLIPSEG_PROCESSOR = ("CLIPSegProcessor", "ViTImageProcessor", CLIPSEG)
CLIP_PROCESSOR = ("CLIPProcessor", "CLIPImageProcessor", CLIP)


def segmenting(count: int) -> Case:
    """How many prompts -> the case of the documented call, which repeats the picture for each."""
    says = f"`CLIPSegForImageSegmentation` forward, {count} prompt{'s'[: count > 1]}, 352 px"
    return Case(says, clipseg_inputs(count), forward(SEGMENTER, CLIPSEG), MASKS, TOLERANCE)


def one_picture(_: Scale) -> Image.Image:
    """-> a picture of the documented examples' size."""
    return picture()


CASES = {
    "from_pretrained_clipseg": Case(
        "`CLIPSegForImageSegmentation.from_pretrained`", nothing, loading(SEGMENTER, CLIPSEG), lambda m: m.state_dict()
    ),
    "from_pretrained_clip": Case(
        "`CLIPModel.from_pretrained`", nothing, loading("CLIPModel", CLIP), lambda m: m.state_dict()
    ),
    "first_answer_clipseg": Case(
        "the same of CLIPSeg and a first forward, 1 prompt", clipseg_inputs(1),
        loading_and_forward(SEGMENTER, CLIPSEG), MASKS, TOLERANCE,
    ),
    "from_pretrained_processor": Case(
        "`CLIPProcessor` of its parts' `from_pretrained`", nothing, loading_processor(*CLIP_PROCESSOR), ids_of
    ),
    "tokenise": Case("`CLIPTokenizer` on {phrases:,} phrases", phrases, tokenising, all_of),
    "preprocess_clipseg": Case(
        "`ViTImageProcessor` on {photographs} photographs of {megapixels} MP", photographs,
        preprocessing("ViTImageProcessor", CLIPSEG), all_of,
    ),
    "preprocess_clip": Case(
        "`CLIPImageProcessor` on {photographs} photographs of {megapixels} MP", photographs,
        preprocessing("CLIPImageProcessor", CLIP), all_of,
    ),
    "processor_clipseg": Case(
        "`CLIPSegProcessor`, 3 texts and a 640x480 picture 3 times", one_picture, processing(*CLIPSEG_PROCESSOR), all_of
    ),
    "processor_clip": Case(
        "`CLIPProcessor`, 2 texts and a 640x480 picture", one_picture, processing(*CLIP_PROCESSOR), all_of
    ),
    "clip_forward": Case(
        "`CLIPModel` forward, 2 texts and a picture", clip_inputs, forward("CLIPModel", CLIP), MATCHES, TOLERANCE
    ),
    **{f"clipseg_forward_{count}": segmenting(count) for count in (1, 3, 10)},
    "clipseg_forward_visual": Case(
        "`CLIPSegForImageSegmentation` forward, a prompt picture", visual_inputs, forward(SEGMENTER, CLIPSEG), MASKS,
        TOLERANCE,
    ),
    "documented_example": Case(
        "`CLIPSegProcessor` and `CLIPSegForImageSegmentation`, 3 texts and a 640x480 picture 3 times", one_picture,
        example, MASKS, TOLERANCE,
    ),
}  # fmt: skip


# -- both libraries --------------------------------------------------------------------------------------------------


def load(name: str) -> Any:
    """A library -> its public names; all are imported at once, so that no call pays for it."""
    library = importlib.import_module(name)
    if name == REFERENCE:
        library.logging.set_verbosity_error()
        library.logging.disable_progress_bar()
    return SimpleNamespace(
        **{ours: getattr(library, theirs if name == REFERENCE else ours) for ours, theirs in NAMES.items()}
    )
