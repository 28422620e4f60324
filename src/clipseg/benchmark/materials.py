"""What is measured with: a model of the released size, photographs, prompts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from clipseg.configuration.clipseg import CLIPSegConfig
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
from clipseg.processing.image_processors import ViTImageProcessor
from clipseg.processing.processors import CLIPSegProcessor
from clipseg.processing.statistics import IMAGENET_MEAN, IMAGENET_STD
from clipseg.processing.tokenization import CLIPTokenizer

PHOTOGRAPH_HW = (3000, 4000)
RELEASED_SIDE = 352  # pixels
COARSE, GRAIN = (12, 16, 3), 6


def released_configuration() -> CLIPSegConfig:
    """-> the sizes of clipseg-rd64-refined: ViT-B/16, taps of layers 3, 6 and 9, 64 numbers wide, the refined head."""
    text = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 8}
    vision = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    return CLIPSegConfig(
        {**text, "vocab_size": 49_408, "max_position_embeddings": 77},
        {**vision, "patch_size": 16, "image_size": 224},
        extract_layers=(3, 6, 9),
        reduce_dim=64,
        decoder_intermediate_size=2048,
        decoder_num_attention_heads=4,
        use_complex_transposed_convolution=True,
    )


def write_random_model(folder: Path, config: CLIPSegConfig | None = None, side: int = RELEASED_SIDE) -> Path:
    """Write a model with random weights, of the released size unless told otherwise -> its folder.

    Its answers mean nothing; how long they take does not depend on the weights. Phrases are split as the bundled model
    does it, for it has a vocabulary that is here.
    """
    chosen = released_configuration() if config is None else config
    tokenizer = CLIPTokenizer.from_pretrained("nano")
    chosen.text_config.bos_token_id = tokenizer.bos_token_id
    chosen.text_config.eos_token_id = tokenizer.eos_token_id
    chosen.text_config.pad_token_id = tokenizer.pad_token_id
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they are
        CLIPSegForImageSegmentation(chosen).save_pretrained(folder)
    pictures = ViTImageProcessor(size={"height": side, "width": side}, image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD)
    CLIPSegProcessor(pictures, tokenizer).save_pretrained(folder)
    return folder


def photograph(size_hw: tuple[int, int] = PHOTOGRAPH_HW, seed: int = 0) -> Image.Image:
    """-> a picture with soft shapes and some grain, so that its JPEG is about as large as a photograph's."""
    draw = np.random.default_rng(seed)
    shapes = Image.fromarray(draw.integers(0, 256, COARSE, dtype=np.uint8))
    pixels = np.asarray(shapes.resize((size_hw[1], size_hw[0]), Image.Resampling.BICUBIC))
    rows = pixels.astype(np.int16) + draw.integers(-GRAIN, GRAIN + 1, (*size_hw, 1), dtype=np.int16)
    return Image.fromarray(rows.clip(0, 255).astype(np.uint8))


def write_photographs(folder: Path, count: int, size_hw: tuple[int, int] = PHOTOGRAPH_HW) -> list[Path]:
    """Write JPEG files that all differ -> their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:03}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        photograph(size_hw, number).save(path, quality=90)
    return paths
