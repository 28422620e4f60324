"""What one optimiser step sees and how it is scored. A batch is a pure function of (seed, stage, step).

Shapes: B pictures · P text prompts a scene · X examples · Q = P + 2 conditions a scene · S side of scenes · s side of
the model's input · E projected width · K kinds · (gh, gw) patch grid · N = 1 + gh·gw tokens · D tower width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from numpy.typing import NDArray

from clipseg.data.descriptions import Description, described, drawn_description
from clipseg.data.kinds import UNNAMED
from clipseg.data.pictograms import Pictogram
from clipseg.data.scenes import Scene, SceneGenerator
from clipseg.metrics import iou_per_mask
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation, EncodedImages
from clipseg.modeling.vision import Grid
from clipseg.processing.statistics import IMAGENET_MEAN, IMAGENET_STD
from clipseg.processing.tokenization import CLIPTokenizer
from clipseg.prompting.styles import DEFAULT_STYLE, STYLES
from clipseg.prompting.visual import engineer
from clipseg.training.losses import dice_loss, mask_bce, soft_contrastive_loss
from clipseg.training.stages import Stage

Batch = dict[str, torch.Tensor]
Losses = dict[str, torch.Tensor]

TEMPLATES = ("a {}", "the {}", "a photo of a {}.", "a picture of the {}", "an image of a {}.")
PLAIN_SHARE = 0.5  # of phrases stand alone, without a template
NAME_SHARE = 0.5  # of phrases are the name proper where there are synonyms
MIXED_SHARE = 0.25  # of example prompts are mixed with their text
SHOWN_SHARE = 0.9  # of examples show a kind that is in their scenes
FALSELY_DESCRIBED_SHARE = 0.5  # of described prompts for absent kinds: being described must not mean being there
MINGLED_SHARE = 0.5  # of scenes hold unnamed kinds beside named ones, where there are unnamed ones
FILLED_SHARE = 0.5  # of a patch's pixels that one kind has to exceed to own it
LOGIT_SCALE_LIMIT = math.log(100)  # CLIP, Radford et al. 2021, section 2.5


class Task(Protocol):
    """A way to train: batches by step, and the loss of a model on one. "loss" is what is minimised."""

    def batch(self, step: int) -> Batch:
        """-> the tensors of a step."""

    def losses(self, model: CLIPSegForImageSegmentation, batch: Batch) -> Losses:
        """-> scalars by name."""

    def scores(self, model: CLIPSegForImageSegmentation, batch: Batch) -> dict[str, list[float]]:
        """-> per-sample scores by name, for validation."""


class Phrases:
    """Names, synonyms and templates -> token ids."""

    def __init__(self, kinds: Sequence[Pictogram], tokenizer: CLIPTokenizer) -> None:
        self.kinds = kinds
        self.tokenizer = tokenizer

    def draw(self, rng: np.random.Generator, kind: int) -> str:
        """A kind -> one of the phrases that mean it."""
        name = self.name(rng, kind)
        return name if rng.random() < PLAIN_SHARE else TEMPLATES[rng.integers(len(TEMPLATES))].format(name)

    def name(self, rng: np.random.Generator, kind: int) -> str:
        """A kind -> one of its names."""
        named = self.kinds[kind]
        if named.synonyms and rng.random() >= NAME_SHARE:
            return named.synonyms[rng.integers(len(named.synonyms))]
        return named.name

    def describe(self, rng: np.random.Generator, kind: int, description: Description) -> str:
        """A kind and what is said of it -> a phrase."""
        return description.phrase(self.name(rng, kind), article=("", "the", "a")[rng.integers(3)])

    def tokens(self, phrases: Sequence[str], prefix: str) -> Batch:
        """Phrases -> ids and attention mask (n, S), under names with a prefix."""
        encoded = self.tokenizer(list(phrases), padding=True, return_tensors="pt")
        return {f"{prefix}_ids": encoded["input_ids"], f"{prefix}_keep": encoded["attention_mask"]}


class ContrastiveTask:
    """Single objects and their names, matched as CLIP does; every kind at most once a step."""

    def __init__(self, stage: Stage, generator: SceneGenerator, tokenizer: CLIPTokenizer, seed: Sequence[int]) -> None:
        self.stage, self.generator, self.seed = stage, generator, tuple(seed)
        self.phrases = Phrases(generator.pictograms, tokenizer)

    def batch(self, step: int) -> Batch:
        """-> `pixels` (B, 3, S, S), `text_ids` and `text_keep` (B, tokens); row i of both is one kind."""
        rng = np.random.default_rng([*self.seed, step])
        kinds = rng.permutation(len(self.generator.pictograms))[: self.stage.batch]
        pictures = [
            self.generator.single([*self.seed, step, 1 + n], int(k), self.stage.size) for n, k in enumerate(kinds)
        ]
        phrases = [self.phrases.draw(rng, int(kind)) for kind in kinds]
        return {"pixels": normalised(np.stack(pictures)), **self.phrases.tokens(phrases, "text")}

    def losses(self, model: CLIPSegForImageSegmentation, batch: Batch) -> Losses:
        """-> CLIP's loss and the share of pictures whose own text is the most similar one."""
        similarities = self._similarities(model, batch)
        same = torch.eye(len(similarities), dtype=torch.bool, device=similarities.device)
        top1 = (similarities.argmax(1) == torch.arange(len(similarities), device=similarities.device)).float().mean()
        return {"loss": soft_contrastive_loss(similarities, same), "top1": top1}

    def scores(self, model: CLIPSegForImageSegmentation, batch: Batch) -> dict[str, list[float]]:
        """-> for each picture whether its own text is the most similar one."""
        similarities = self._similarities(model, batch)
        return {
            "top1": (similarities.argmax(1) == torch.arange(len(similarities), device=similarities.device))
            .float()
            .tolist()
        }

    def _similarities(self, model: CLIPSegForImageSegmentation, batch: Batch) -> torch.Tensor:
        images = model.clip.get_image_features(batch["pixels"])
        texts = model.clip.get_text_features(batch["text_ids"], batch["text_keep"])
        return scaled_similarities(model, images, texts)


class _Answers(NamedTuple):
    """What a model makes of a batch of scenes."""

    logits: torch.Tensor  # (B, Q, S, S) float32
    texts: torch.Tensor  # (B·P, E), or (B·P + X, E) with the names of the examples
    examples: torch.Tensor | None  # (X, E)
    deepest: torch.Tensor  # (B, N, D), the deepest tap
    grid: Grid


class _Question(NamedTuple):
    """A kind, a phrase that means it or some of it, and where that is in a scene (S, S)."""

    kind: int
    phrase: str
    mask: NDArray[np.bool_]


class SegmentationTask:
    """Scenes under text prompts and example pictures, present and absent ones.

    Scenes i and i + X share the kind that example i shows, so an example costs one pass and prompts two scenes; each
    scene also gets the next example, which it mostly does not hold. Kinds are counted through: those of the generator,
    which have names, then the unnamed ones, which are only ever shown.
    """

    def __init__(self, stage: Stage, generator: SceneGenerator, tokenizer: CLIPTokenizer, seed: Sequence[int]) -> None:
        self.stage, self.generator, self.seed = stage, generator, tuple(seed)
        self.phrases = Phrases(generator.pictograms, tokenizer)
        self.named = range(len(generator.pictograms))
        self.unnamed = range(len(self.named), len(self.named) + len(UNNAMED))
        if stage.unnamed:
            characters = [kind.character for kind in generator.pictograms]
            self.generator = SceneGenerator([*characters, *UNNAMED], generator.options)

    def batch(self, step: int) -> Batch:
        """-> `pixels` (B, 3, S, S), `targets` (B, Q, S, S) bool, token ids of B·P texts and X examples, …"""
        stage, rng = self.stage, np.random.default_rng([*self.seed, step])
        shown = [int(kind) for kind in rng.integers(len(self.named), size=stage.examples)]
        named = stage.examples - stage.unnamed
        if stage.unnamed:
            shown[named:] = [int(kind) for kind in rng.choice(self.unnamed, size=stage.unnamed)]
        scenes = []
        for slot in range(stage.batch):
            kind = shown[slot % stage.examples] if shown else 0
            wanted = kind if shown and rng.random() < SHOWN_SHARE else None
            seed = [*self.seed, step, 1 + slot]
            pool = self._companions(rng, kind)
            scenes.append(self.generator.scene(seed, pool, must_contain=wanted))
        asked = [[self._question(rng, scene, int(kind)) for kind in self._prompted(rng, scene)] for scene in scenes]
        batch = {
            "pixels": normalised(np.stack([scene.picture for scene in scenes])),
            "kinds": torch.tensor([question.kind for row in asked for question in row]),
            **self.phrases.tokens([question.phrase for row in asked for question in row], "text"),
        }
        targets = [[question.mask for question in row] for row in asked]  # (B, P), each (S, S)
        if shown:
            places = np.arange(stage.batch)[:, None] + np.arange(2)  # (B, 2): own example, the next one
            places %= stage.examples
            for row, scene, own in zip(targets, scenes, places, strict=True):
                row += [scene.mask_of(shown[place]) for place in own]
            mixed = rng.random(places.shape) * (rng.random(places.shape) < MIXED_SHARE)
            mixed[places >= named] = 0  # there is no text to mix with
            batch |= {
                "examples": self._examples(rng, step, shown),
                "example_places": torch.from_numpy(places),
                "example_kinds": torch.tensor(shown),
                "text_share": torch.from_numpy(mixed).float(),
                **self.phrases.tokens([self.phrases.draw(rng, kind) for kind in shown[:named]], "example"),
            }
        if stage.dense:
            batch |= self.phrases.tokens([self.phrases.draw(rng, kind) for kind in self.named], "names")
            owners = np.stack([_owners(scene) for scene in scenes])
            batch["owners"] = torch.from_numpy(np.where(owners < len(self.named), owners, -1))
        batch["targets"] = torch.from_numpy(np.array(targets))
        return batch

    def _question(self, rng: np.random.Generator, scene: Scene, kind: int) -> _Question:
        """A scene and a kind -> a phrase for it and its answer: all of the kind, or those that are described."""
        if rng.random() < self.stage.described:
            if kind not in scene.kinds:
                if rng.random() < FALSELY_DESCRIBED_SHARE:
                    phrase = self.phrases.describe(rng, kind, drawn_description(rng))
                    return _Question(kind, phrase, scene.mask_of(kind))
            elif found := described(rng, scene, kind):
                return _Question(kind, self.phrases.describe(rng, kind, found[0]), found[1])
        return _Question(kind, self.phrases.draw(rng, kind), scene.mask_of(kind))

    def _prompted(self, rng: np.random.Generator, scene: Scene) -> NDArray[np.int64]:
        """A scene -> the kinds (P,) its texts name: those present, at most P - absent of them, then absent ones."""
        named = [kind for kind in scene.kinds if kind in self.named]
        present = rng.permutation(named)[: self.stage.prompts - self.stage.absent]
        others = np.setdiff1d(np.arange(len(self.named)), named)
        absent = rng.permutation(others)[: self.stage.prompts - len(present)]
        return np.concatenate([present, absent]).astype(np.int64)

    def _companions(self, rng: np.random.Generator, kind: int) -> range:
        """A kind -> the kinds that may be in a scene with it: those with names, or all."""
        mingled = self.stage.unnamed and (kind in self.unnamed or rng.random() < MINGLED_SHARE)
        return range(self.unnamed.stop) if mingled else self.named

    def _examples(self, rng: np.random.Generator, step: int, kinds: Sequence[int]) -> torch.Tensor:
        """Kinds (X,) -> example pictures (X, 3, s, s), all of one drawn side s."""
        size = int(rng.choice(self.stage.example_sizes))
        examples = []
        for number, kind in enumerate(kinds):
            seed = [*self.seed, step, 1 + self.stage.batch + number]
            if rng.random() < self.stage.plain_examples:
                examples.append(normalised(self.generator.single(seed, kind, size)[None])[0])
            else:
                scene = self.generator.scene(seed, self._companions(rng, kind), must_contain=kind)
                pixels, mask = normalised(scene.picture[None])[0], torch.from_numpy(scene.mask_of(kind))
                examples.append(engineer(pixels, mask, STYLES[DEFAULT_STYLE], (size, size)))
        return torch.stack(examples)

    def losses(self, model: CLIPSegForImageSegmentation, batch: Batch) -> Losses:
        """-> cross-entropy and Dice of the masks, matching of examples and of patches, and their weighted sum."""
        answers, targets = self._answers(model, batch), batch["targets"].float()
        losses = {"bce": mask_bce(answers.logits, targets), "dice": dice_loss(answers.logits, targets)}
        losses["loss"] = losses["bce"] + self.stage.dice * losses["dice"]
        if self.stage.dense:
            losses["dense"] = self._dense_loss(model, batch, answers)
            losses["loss"] = losses["loss"] + self.stage.dense * losses["dense"]
        if answers.examples is not None and self.stage.contrastive:
            named = len(batch["example_kinds"]) - self.stage.unnamed
            kinds = torch.cat([batch["kinds"], batch["example_kinds"][:named]])
            same = batch["example_kinds"][:, None] == kinds
            similarities = scaled_similarities(model, answers.examples, answers.texts)
            losses["matching"] = soft_contrastive_loss(similarities, same)
            losses["loss"] = losses["loss"] + self.stage.contrastive * losses["matching"]
        return losses

    def scores(self, model: CLIPSegForImageSegmentation, batch: Batch) -> dict[str, list[float]]:
        """-> IoU at threshold 0.5 of every mask that is not empty, by kind of prompt."""
        logits, targets = self._answers(model, batch).logits, batch["targets"]
        ious, present, texts = iou_per_mask(logits > 0, targets), targets.any(-1).any(-1), self.stage.prompts
        return {
            "iou_text": ious[:, :texts][present[:, :texts]].tolist(),
            "iou_example": ious[:, texts:][present[:, texts:]].tolist(),
        }

    def _answers(self, model: CLIPSegForImageSegmentation, batch: Batch) -> _Answers:
        texts = model.clip.get_text_features(batch["text_ids"], batch["text_keep"])
        conditions = texts.unflatten(0, (self.stage.batch, self.stage.prompts))
        examples = None
        if "examples" in batch:
            examples = model.clip.get_image_features(batch["examples"])
            named = model.clip.get_text_features(batch["example_ids"], batch["example_keep"])
            share, places = batch["text_share"][..., None], batch["example_places"]
            texts_there = named[places.clamp(max=len(named) - 1)]  # an unnamed kind has none, and a share of 0
            mixed = share * texts_there + (1 - share) * examples[places]  # (B, 2, E)
            conditions = torch.cat([conditions, mixed.to(conditions.dtype)], dim=1)
            texts = torch.cat([texts, named])
        pixels = squashed(batch["pixels"], model.config.vision_config.image_size)
        taps, _, grid = model.clip.vision_model.taps(pixels, model.extract_layers)
        logits = model.decode(EncodedImages(tuple(model.decoder.reduce(taps)), grid), conditions)
        return _Answers(squashed(logits.float(), batch["pixels"].shape[-1]), texts, examples, taps[-1], grid)

    def _dense_loss(self, model: CLIPSegForImageSegmentation, batch: Batch, answers: _Answers) -> torch.Tensor:
        """-> cross-entropy, over all kinds' names, of the patches that one kind fills.

        The mask losses tell a kind from the few that its scene was asked for; this tells it from all at once.
        """
        states = model.clip.vision_model.post_layernorm(answers.deepest[:, 1:])  # (B, gh·gw, D)
        patches = model.clip.visual_projection(states).flatten(0, 1)
        names = model.clip.get_text_features(batch["names_ids"], batch["names_keep"])  # (K, E)
        side = model.config.vision_config.image_size
        owners = F.interpolate(batch["owners"][:, None].float(), (side, side))[:, 0].long()  # nearest
        kinds = patch_kinds(owners, answers.grid).flatten()
        filled = kinds >= 0
        return F.cross_entropy(scaled_similarities(model, patches[filled], names), kinds[filled])


TASKS: dict[str, type[ContrastiveTask] | type[SegmentationTask]] = {
    "contrastive": ContrastiveTask,
    "segmentation": SegmentationTask,
}


def normalised(pictures: NDArray[np.uint8]) -> torch.Tensor:
    """Pictures (B, S, S, 3) -> pixels (B, 3, S, S) with ImageNet's statistics, as CLIPSeg takes them."""
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    return ((torch.from_numpy(pictures) / 255 - mean) / std).permute(0, 3, 1, 2).contiguous()


def squashed(planes: torch.Tensor, side: int) -> torch.Tensor:
    """Planes (B, C, S, S) -> (B, C, s, s): a scene as a model's processor shows it, or logits at the scene's size."""
    if planes.shape[-1] == side:
        return planes
    return F.interpolate(planes, (side, side), mode="bilinear", antialias=planes.shape[-1] > side)


def scaled_similarities(model: CLIPSegForImageSegmentation, images: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
    """Features (n_img, E) and (n_txt, E) -> cosines times the learned scale, at most 100, float32 (n_img, n_txt)."""
    images, texts = (F.normalize(features.float(), dim=-1) for features in (images, texts))
    return images @ texts.t() * model.clip.logit_scale.clamp(max=LOGIT_SCALE_LIMIT).exp()


def _owners(scene: Scene) -> NDArray[np.int64]:
    """-> the kind seen at each pixel (S, S), -1 where there is none."""
    owners = np.full(scene.picture.shape[:2], -1, dtype=np.int64)
    for kind, mask in zip(scene.kinds, scene.masks, strict=True):
        owners[mask] = kind
    return owners


def patch_kinds(owners: torch.Tensor, grid: Grid) -> torch.Tensor:
    """The kind at each pixel (B, S, S) -> the kind that fills more than half of each patch (B, gh, gw), -1 for none."""
    rows = owners.unflatten(2, (grid[1], -1)).unflatten(1, (grid[0], -1))  # (B, gh, p, gw, p)
    cells = rows.transpose(2, 3).flatten(3)  # (B, gh, gw, p·p)
    kinds = cells.mode(-1).values
    filled = (cells == kinds[..., None]).float().mean(-1) > FILLED_SHARE
    return torch.where(filled, kinds, -1)
