"""The models of `tiny` with a tokenizer and an image processor: whole segmenters that answer everything differently."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import tiny
from clipseg.modeling.clip import CLIPModel
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
from clipseg.processing.image_processors import CLIPImageProcessor, ViTImageProcessor
from clipseg.processing.processors import CLIPProcessor, CLIPSegProcessor
from clipseg.processing.statistics import IMAGENET_MEAN, IMAGENET_STD
from clipseg.processing.tokenization import CLIPTokenizer
from clipseg.processing.vocabulary import train_vocabulary
from clipseg.segmenter import Segmenter

WIDTH, SIDE, LONGEST = 12, 64, 16  # of conditions, of the model's input in pixels, of a prompt in tokens
WORDS = ("a cat", "a red cup", "the dog", "wood", "a photo of a {}.", "something to fill", "a glass", "jar")

# The smallest recipe with both tasks.
RECIPE = """
name = "pebble"
[model]
image_size = 32
patch_size = 8
vocab_size = 600
projection_dim = 8
reduce_dim = 8
extract_layers = [0]
decoder_intermediate_size = 16
text = { hidden_size = 16, num_hidden_layers = 1, num_attention_heads = 2, intermediate_size = 16 }
vision = { hidden_size = 16, num_hidden_layers = 1, num_attention_heads = 2, intermediate_size = 16 }
[scenes]
size = 32
scale = [0.25, 1]
[[stages]]
task = "contrastive"
steps = 5
batch = 2
lr = 1
[[stages]]
task = "segmentation"
steps = 6
batch = 2
lr = 1e-3
"""


@cache
def _vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    return train_vocabulary(WORDS, 540)


def tokenizer() -> CLIPTokenizer:
    vocabulary, merges = _vocabulary()
    return CLIPTokenizer(vocabulary, merges, model_max_length=LONGEST)


def model(seed: int = 0, **changes: Any) -> CLIPSegForImageSegmentation:
    words = tokenizer()
    text = {
        "vocab_size": len(words), "max_position_embeddings": LONGEST, "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id,
    }  # fmt: skip
    return tiny.segmenter(seed, text=text, **changes)


def image_processor(side: int = SIDE, **options: Any) -> ViTImageProcessor:
    size = {"height": side, "width": side}
    return ViTImageProcessor(**{"size": size, "image_mean": IMAGENET_MEAN, "image_std": IMAGENET_STD, **options})


def processor(side: int = SIDE, **options: Any) -> CLIPSegProcessor:
    return CLIPSegProcessor(image_processor(side, **options), tokenizer())


def segmenter(seed: int = 0, **changes: Any) -> Segmenter:
    return Segmenter(model(seed, **changes), processor())


def folder(path: Path, seed: int = 0, side: int = SIDE) -> Path:
    """Write a model with its processor, in the released layout -> the folder."""
    model(seed).save_pretrained(path)
    processor(side).save_pretrained(path)
    return path


def clip_folder(path: Path, seed: int = 0, side: int = SIDE) -> Path:
    """As `folder`, of CLIP; its texts may be twice as long."""
    words = tokenizer()
    text = {
        "vocab_size": len(words), "max_position_embeddings": 2 * LONGEST, "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id,
    }  # fmt: skip
    tiny.model(CLIPModel, tiny.clip_config(text), seed).save_pretrained(path)
    crop = {"height": side, "width": side}
    words.model_max_length = 2 * LONGEST
    CLIPProcessor(CLIPImageProcessor(size={"shortest_edge": side}, crop_size=crop), words).save_pretrained(path)
    return path


def picture(seed: int = 0, width: int = 40, height: int = 30) -> Image.Image:
    """Coarse noise: every region differs."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR)
