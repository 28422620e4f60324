"""Samples -> what the model takes: pixels, targets, tokens, supports, and how much of each prompt counts.

Shapes: B samples · S the model's side · n distinct texts · L tokens · X supports · T taps · N tokens · D tower width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from clipseg.data.geometry import cropped, to_pixels, to_target
from clipseg.data.sample import Sample
from clipseg.errors import DataError
from clipseg.processing.tokenization import CLIPTokenizer
from clipseg.prompting.styles import style_named
from clipseg.prompting.templates import templates_named
from clipseg.prompting.visual import engineer
from clipseg.training.feature_cache import FeatureCache
from clipseg.training.stages import PromptedStage
from clipseg.training.work import Batch


@dataclass(frozen=True)
class Prepared:
    """One sample as tensors.

    Fields
        pixels      (3, S, S) normalised; or taps (T, N, D) where a cache has them
        target      (S, S) of zeros and ones
        valid       (S, S) bool, where the answer counts
        text        the phrase in its template, or None
        support     (3, S, S) the engineered example, or None
        text_share  weight of the text; the example has the rest
    """

    pixels: torch.Tensor
    target: torch.Tensor
    valid: torch.Tensor
    text: str | None
    support: torch.Tensor | None
    text_share: float


def prepared(
    sample: Sample, stage: PromptedStage, rng: np.random.Generator, cache: FeatureCache | None = None
) -> Prepared:
    """A sample -> its tensors; the template and the text's weight are drawn whether they are used or not.

    A phrase without a support has all the weight, and so has a support without a phrase. Raises DataError for neither.
    """
    if sample.phrase is None and sample.support is None:
        raise DataError(f"{sample.name or 'a sample'} has neither phrase nor support; nothing asks")
    templates = templates_named(stage.templates)
    template = templates[rng.integers(len(templates))]
    share = rng.uniform(stage.text_min, stage.text_max)
    if stage.crop:
        sample = cropped(sample, rng)
    if sample.phrase is None or sample.support is None:
        share = float(sample.phrase is not None)
    support = None
    if sample.support is not None:
        example, mask = to_pixels(sample.support.picture, stage.size), to_target(sample.support.mask, stage.size)
        support = engineer(example, mask, style_named(stage.style), (stage.size, stage.size))
    target = to_target(sample.mask, stage.size)
    ignored = torch.zeros_like(target) if sample.ignore is None else to_target(sample.ignore, stage.size)
    text = None if sample.phrase is None else template.replace("{}", sample.phrase)
    pixels = to_pixels(sample.picture, stage.size) if cache is None else cache.taps(sample.picture)
    return Prepared(pixels, target, ignored == 0, text, support, share)


def collated(samples: list[Prepared], tokenizer: CLIPTokenizer) -> Batch:
    """Samples -> `pixels` (B, 3, S, S) or taps (B, T, N, D), `targets`, `valid` (B, S, S), `text_share` (B,), prompts.

    The prompts are `text_ids` and `text_keep` (n, L) where there are texts, each once, and `supports` (X, 3, S, S)
    where there are examples, with `text_places` and `support_places` (B,), a sample's row, 0 where it has none.
    """
    texts = list(dict.fromkeys(sample.text for sample in samples if sample.text is not None))
    supports = [sample.support for sample in samples if sample.support is not None]
    batch = {
        "pixels": torch.stack([sample.pixels for sample in samples]),
        "targets": torch.stack([sample.target for sample in samples]),
        "valid": torch.stack([sample.valid for sample in samples]),
        "text_share": torch.tensor([sample.text_share for sample in samples], dtype=torch.float32),
    }
    if texts:
        places = [0 if sample.text is None else texts.index(sample.text) for sample in samples]
        encoded = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        batch |= {
            "text_ids": encoded["input_ids"],
            "text_keep": encoded["attention_mask"],
            "text_places": torch.tensor(places),
        }
    if supports:
        present = torch.tensor([sample.support is not None for sample in samples])
        batch |= {"supports": torch.stack(supports), "support_places": (present.cumsum(0) - 1).clamp(min=0)}
    return batch
