"""Training on samples, as in the paper: a picture under the condition that a phrase, an example or both of them make.

Shapes: B samples · S the model's side · E condition width · K losses.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it

from clipseg.data.geometry import to_pixels
from clipseg.data.sample import Sample, SampleDataset
from clipseg.errors import DataError
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
from clipseg.processing.tokenization import CLIPTokenizer
from clipseg.training.batches import collated, prepared
from clipseg.training.distributed import Processes
from clipseg.training.feature_cache import FeatureCache
from clipseg.training.losses import dice_loss, focal_loss, mask_bce, masks_present
from clipseg.training.sampling import Seed, index_of, rng_of, slots_of
from clipseg.training.sheets import SHOWN, Shown, sheet
from clipseg.training.stages import PromptedStage
from clipseg.training.work import Batch, Losses, Validation, summed

VALIDATION_BATCH = 8


class PromptedWork:
    """A stage on a data set, for one process; see `work.Work`. Raises DataError for a data set without a sample."""

    main_score = "iou_per_sample_mean"

    def __init__(
        self,
        stage: PromptedStage,
        data: SampleDataset,
        validation: SampleDataset | None,
        tokenizer: CLIPTokenizer,
        seed: Seed,
        processes: Processes,
        validation_samples: int,
    ) -> None:
        for name, given in (("data", data), ("validation", validation)):
            if given is not None and not len(given):
                raise DataError(f"the {name} set has no sample; `clipseg data check` tells what is in its folder")
        self.stage, self.data, self.validation, self.tokenizer = stage, data, validation, tokenizer
        self.seed, self.processes, self.validation_samples = seed, processes, validation_samples
        self.cache: FeatureCache | None = None  # of the pictures' activations, where they are stored
        self.parts = stage.accumulate
        shared = len(slots_of(0, stage.batch, processes.world - 1, processes.world))
        if shared < self.parts:
            raise DataError(
                f"a batch of {stage.batch} in {self.parts} parts cannot be shared by {processes.world} processes; "
                f"expected at least {self.parts * processes.world} samples a step"
            )

    def part(self, step: int, number: int) -> Batch:
        """-> the tensors of `batches.collated`."""
        drawn = self._samples(step, number)
        return collated([prepared(sample, self.stage, rng, self.cache) for sample, rng in drawn], self.tokenizer)

    def names(self, step: int, number: int) -> list[str]:
        """-> what the samples of a part are called."""
        return [sample.name for sample, _ in self._samples(step, number)]

    def counts(self, batch: Batch) -> torch.Tensor:
        """-> pixels that count, and masks that are not empty where pixels count."""
        valid = batch["valid"]
        return torch.stack([valid.sum(), masks_present(batch["targets"], valid).sum()]).double()

    def losses(self, model: CLIPSegForImageSegmentation, batch: Batch, shares: torch.Tensor) -> Losses:
        """-> shares of the losses that have a weight, and of their weighted sum."""
        stage, targets, valid = self.stage, batch["targets"], batch["valid"]
        logits = answers(model, batch, self.cache).float()
        pixels, masks = shares
        losses: Losses = {}
        if stage.bce:
            losses["bce"] = pixels * mask_bce(logits, targets, valid)
        if stage.dice:
            losses["dice"] = masks * dice_loss(logits, targets, valid)
        if stage.focal:
            losses["focal"] = pixels * focal_loss(
                logits, targets, valid, gamma=stage.focal_gamma, alpha=stage.focal_alpha
            )
        weights = {"bce": stage.bce, "dice": stage.dice, "focal": stage.focal}
        losses["loss"] = torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()
        return losses

    def validate(self, model: CLIPSegForImageSegmentation) -> Validation:
        """-> mean IoU per sample and over all pixels, at threshold 0.5 and the model's size, and the cross-entropy.

        A sample is asked in words where it has any. The mean per sample is over masks that are not empty.
        """
        if self.validation is None:
            return Validation()
        count = min(len(self.validation), self.validation_samples)
        chosen = np.linspace(0, len(self.validation) - 1, count).round().astype(int).tolist()
        own = chosen[self.processes.rank :: self.processes.world]
        plain = replace(self.stage, crop=False, templates="plain", text_min=1.0, text_max=1.0)
        device = model.device
        ious: list[float] = []
        totals = torch.zeros(4, dtype=torch.float64)  # intersection, union, sum of the losses, pixels
        shown: list[Shown] = []
        for start in range(0, len(own), VALIDATION_BATCH):
            samples = [self.validation[index] for index in own[start : start + VALIDATION_BATCH]]
            rows = [prepared(sample, plain, np.random.default_rng(0), self.cache) for sample in samples]
            batch = {key: value.to(device) for key, value in collated(rows, self.tokenizer).items()}
            logits, valid = answers(model, batch, self.cache).float(), batch["valid"]
            truth, found = (batch["targets"] > 0) & valid, (logits > 0) & valid
            overlap, union = (truth & found).flatten(1).sum(1), (truth | found).flatten(1).sum(1)
            present = masks_present(batch["targets"], valid)
            ious += (overlap[present] / union[present]).tolist()
            loss = F.binary_cross_entropy_with_logits(logits, batch["targets"], reduction="none")[valid].sum()
            totals += torch.stack([overlap.sum(), union.sum(), loss, valid.sum()]).double().cpu()
            for sample, row, answer in zip(samples, rows, logits, strict=True):
                if self.processes.first and len(shown) < SHOWN:
                    shown.append(
                        Shown(
                            title(sample), to_pixels(sample.picture, plain.size), row.target > 0, answer.sigmoid().cpu()
                        )
                    )
        intersection, union_all, loss_sum, pixels = self.processes.sum(totals).tolist()
        scores = summed({self.main_score: ious}, self.processes)
        scores |= {"iou_cumulative": intersection / max(union_all, 1.0), "bce": loss_sum / max(pixels, 1.0)}
        return Validation(scores, sheet(shown) if shown else None)

    def _samples(self, step: int, number: int) -> list[tuple[Sample, np.random.Generator]]:
        """A part of a step -> its samples, each with the chance that the rest of its tensors is drawn with."""
        slots = slots_of(step, self.stage.batch, self.processes.rank, self.processes.world)
        first, last = (len(slots) * edge // self.parts for edge in (number, number + 1))
        drawn = []
        for slot in slots[first:last]:
            rng = rng_of(self.seed, slot)
            drawn.append((self.data.draw(index_of(self.seed, slot, len(self.data)), rng), rng))
        return drawn


def answers(model: CLIPSegForImageSegmentation, batch: Batch, cache: FeatureCache | None = None) -> torch.Tensor:
    """A model and a part as `batches.collated` makes it -> logits (B, S, S)."""
    encoded = model.encode_images(batch["pixels"]) if cache is None else cache.encoded(model, batch["pixels"])
    return model.decode(encoded, conditions(model, batch, cache)[:, None])[:, 0]


def conditions(model: CLIPSegForImageSegmentation, batch: Batch, cache: FeatureCache | None = None) -> torch.Tensor:
    """-> (B, E): share · text + (1 - share) · example, neither of which is normalised, as in the paper's code."""
    share = batch["text_share"][:, None]
    mixed = torch.zeros((), device=share.device)
    if "text_ids" in batch:
        ids, keep = batch["text_ids"], batch["text_keep"]
        texts = model.clip.get_text_features(ids, keep) if cache is None else cache.prompts.texts(model, ids, keep)
        mixed = mixed + share * texts[batch["text_places"]]
    if "supports" in batch:
        pixels = batch["supports"]
        examples = model.clip.get_image_features(pixels) if cache is None else cache.prompts.examples(model, pixels)
        mixed = mixed + (1 - share) * examples[batch["support_places"]]
    return mixed


def title(sample: Sample) -> str:
    """-> what a sample asks, or what it is called."""
    return sample.phrase or sample.name
