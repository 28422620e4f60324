"""Random cases for models: class x configuration x inputs x flags, each drawn from its number alone."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from clipseg.configuration.base import Configuration
from clipseg.configuration.clip import CLIPConfig
from clipseg.configuration.clipseg import CLIPSegConfig
from clipseg.modeling.classification import CLIPForImageClassification
from clipseg.modeling.clip import CLIPModel, CLIPSegModel
from clipseg.modeling.pretrained import PreTrainedModel
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
from clipseg.modeling.text import CLIPSegTextModel, CLIPTextModel, CLIPTextModelWithProjection
from clipseg.modeling.vision import CLIPSegVisionModel, CLIPVisionModel, CLIPVisionModelWithProjection
from tiny import END, START, clip_config, config, part_config, pixels

CLASSES: tuple[type[PreTrainedModel], ...] = (
    CLIPModel,
    CLIPSegForImageSegmentation,
    CLIPTextModel,
    CLIPVisionModel,
    CLIPForImageClassification,
    CLIPSegModel,
    CLIPTextModelWithProjection,
    CLIPVisionModelWithProjection,
    CLIPSegTextModel,
    CLIPSegVisionModel,
)
"""Every model class; a case's number modulo ten says which is its own."""

COMPARING = (CLIPModel, CLIPSegModel)
FLAGS = ("output_hidden_states", "output_attentions", "return_dict")
READING = (CLIPTextModel, CLIPTextModelWithProjection, CLIPSegTextModel)


@dataclass(frozen=True)
class Case:
    """A model class, the configuration it is built from, and a call of it. `seen` marks tokens that see any token."""

    number: int
    cls: type[PreTrainedModel]
    config: Configuration
    inputs: dict[str, Any]
    flags: dict[str, bool]
    seen: torch.Tensor | None
    picked: dict[str, Any]

    def wants(self, flag: str) -> bool:
        """Whether a flag holds: as the call says, else as the configuration does."""
        return self.flags.get(flag, getattr(self.config, flag))


class Draw(random.Random):
    """A random generator that remembers what it picked, by topic."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.picked: dict[str, Any] = {}

    def pick(self, topic: str, *options: Any) -> Any:
        self.picked[topic] = self.choice(options)
        return self.picked[topic]

    def maybe(self, name: str, *options: Any) -> dict[str, Any]:
        """An argument with one of some values, or left out."""
        value = self.pick(name, None, *options)
        return {} if value is None else {name: value}


def case(number: int) -> Case:
    """A number -> its case."""
    draw, cls = Draw(number), CLASSES[number % len(CLASSES)]
    whole = draw_config(draw, cls.__name__.startswith("CLIPSeg"))
    if cls is CLIPForImageClassification:
        whole.num_labels = draw.pick("classes", 0, 1, 2, 3)
        if whole.num_labels > 1:
            whole.problem_type = draw.pick("problem", *PROBLEMS)
    own = part_config(cls, whole)
    own.attn_implementation = draw.pick("attention", "eager", "sdpa")
    for flag in FLAGS:
        setattr(own, flag, draw.pick(f"configured {flag}", True, False))
    batch, seen = draw.pick("batch", 1, 2, 3, 4), None
    inputs: dict[str, Any] = {}
    if cls in COMPARING:
        inputs |= draw.maybe("return_loss", True, False)
    if cls in (*COMPARING, *READING):
        count = batch if inputs.get("return_loss") else draw.pick("texts", 1, 2, 3, 4)
        texts, seen = draw_texts(draw, whole.text_config, count)
        inputs |= texts
    if cls not in READING:
        inputs |= draw_pictures(draw, cls, whole.vision_config, batch)
    if cls is CLIPForImageClassification:
        inputs |= draw_classes(draw, own, batch)
    if cls is CLIPSegForImageSegmentation:
        inputs |= draw_condition(draw, whole, batch, inputs)
        inputs |= draw_masks(draw, whole.vision_config.patch_size, inputs["pixel_values"])
    flags: dict[str, bool] = {}
    for flag in FLAGS:
        flags |= draw.maybe(flag, True, False)
    return Case(number, cls, own, inputs, flags, seen, draw.picked)


# Configurations

ACTIVATIONS = ("gelu", "gelu_new", "quick_gelu", "relu", "selu")
PROBLEMS = (None, "regression", "single_label_classification", "multi_label_classification")


def draw_config(draw: Draw, clipseg: bool) -> CLIPConfig | CLIPSegConfig:
    """-> a small whole model, of either kind."""
    patch = draw.pick("patch", 2, 4, 8, 16, 16, 32)
    size = draw.pick("table", 2, 3, 4) * patch + draw.pick("remainder", 0, 0, 1)
    text = draw_tower(draw) | {
        "max_position_embeddings": draw.pick("longest", 12, 20),
        "eos_token_id": draw.pick("eos", 2, END),
    }
    vision = draw_tower(draw) | {
        "patch_size": patch,
        "image_size": size,
        "num_channels": draw.pick("channels", 3, 3, 1, 4),
    }
    width = {"projection_dim": draw.choice((6, 10, 16))}
    if not clipseg:
        return clip_config(text, vision, **width)
    heads, layers = draw.pick("decoder heads", 1, 2, 3), vision["num_hidden_layers"]
    taps = sorted(draw.sample(range(layers), draw.pick("taps", *range(1, min(layers, 3) + 1))))
    return config(
        text,
        vision,
        **width,
        extract_layers=taps,
        conditional_layer=draw.pick("conditional layer", *range(len(taps))),
        reduce_dim=2 * heads * draw.choice((2, 4)),
        decoder_num_attention_heads=heads,
        decoder_intermediate_size=draw.choice((16, 40)),
        use_complex_transposed_convolution=patch == 16 and draw.pick("refined", True, False),
    )


def draw_tower(draw: Draw) -> dict[str, Any]:
    """-> what both towers have; the topics remember the one drawn last, which is vision."""
    heads = draw.pick("heads", 1, 2, 3)
    return {
        "hidden_size": heads * draw.choice((4, 8, 12)),
        "num_attention_heads": heads,
        "num_hidden_layers": draw.pick("layers", 1, 2, 3, 4),
        "intermediate_size": draw.choice((20, 48)),
        "hidden_act": draw.pick("activation", *ACTIVATIONS),
        "layer_norm_eps": draw.pick("eps", 1e-5, 1e-3),
    }


# Inputs


def draw_texts(draw: Draw, config: Any, count: int) -> tuple[dict[str, Any], torch.Tensor | None]:
    """-> the inputs that texts are, and the tokens that see any (B, S), if some do not."""
    length = draw.randint(2, config.max_position_embeddings)
    padding, masked = draw.pick("padding", "right", "left", "none"), draw.pick("mask", None, "long", "bool", "square")
    filler = 0 if padding == "left" else draw.choice((0, END))  # on the left an end would be taken for the text's own
    ids = torch.full((count, length), filler)
    keep = torch.zeros(count, length, dtype=torch.bool)
    for row in range(count):
        words = length if padding == "none" else draw.randint(2, length)
        span = slice(length - words, length) if padding == "left" else slice(0, words)
        ids[row, span] = torch.tensor([START, *(draw.randrange(3, START) for _ in range(words - 2)), END])
        keep[row, span] = True
    inputs: dict[str, Any] = {"input_ids": ids}
    if masked == "square":  # additive, for every pair of tokens, and nobody else's business
        visible = (keep[:, None, None, :] & torch.ones(length, length).tril().bool()).float()
        inputs["attention_mask"] = (1 - visible) * torch.finfo(torch.float32).min
    elif masked:
        inputs["attention_mask"] = keep.to(getattr(torch, masked))
    positions = draw.pick("positions", None, None, "of each", "of all")
    if positions:
        rows = count if positions == "of each" else 1
        last = config.max_position_embeddings - 1
        inputs["position_ids"] = torch.tensor([[draw.randint(0, last) for _ in range(length)] for _ in range(rows)])
    return inputs, keep if masked and padding == "left" else None


def draw_pictures(draw: Draw, cls: type[PreTrainedModel], config: Any, batch: int) -> dict[str, Any]:
    """-> pixels, and whether positions are to be interpolated for them; sizes other than the table's need that."""
    inputs: dict[str, Any] = draw.maybe("interpolate_pos_encoding", True, True, False)
    kind = "table"
    if inputs.get("interpolate_pos_encoding", cls.__name__.startswith("CLIPSeg")):
        # The reference's decoder takes any grid for a square.
        other = () if cls is CLIPSegForImageSegmentation else ("oblong", "as many")
        kind = draw.pick("size", "table", "square", "nearly square", *other)
    inputs["pixel_values"] = draw_pixels(draw, config, batch, kind)
    return inputs


def draw_pixels(draw: Draw, config: Any, batch: int, kind: str) -> torch.Tensor:
    """-> noise (B, C, H, W); pictures may recur in the batch, and lie in memory in other ways than usual."""
    patch, table = config.patch_size, config.image_size // config.patch_size
    if kind == "table":
        height = width = config.image_size
    elif kind == "as many":  # patches as the table has, in another shape
        height, width = draw.choice(((patch, table**2 * patch), (table**2 * patch, patch)))
    else:
        rows = draw.randint(1, 6)
        columns = rows if kind != "oblong" else draw.choice([n for n in range(1, 7) if n != rows])
        height, width = rows * patch + draw.randrange(patch), columns * patch + draw.randrange(patch)
        if kind == "square":
            width = height
    noise = torch.cat([pixels(batch, height, width, draw.randrange(1000))] * 2, dim=1)[:, : config.num_channels]
    repeated = draw.pick("repeated", "no", "some", "all", "one in memory")
    if repeated == "some":
        noise = noise[[draw.randrange(batch) for _ in range(batch)]]
    if repeated == "all":
        noise = noise[[0] * batch]
    if draw.pick("memory", "channels first", "channels last") == "channels last":
        noise = noise.contiguous(memory_format=torch.channels_last)
    return noise[:1].expand(batch, -1, -1, -1) if repeated == "one in memory" else noise


def draw_condition(draw: Draw, config: Any, batch: int, inputs: dict[str, Any]) -> dict[str, Any]:
    """-> what is looked for, in one of three ways or in several, of which the model then takes the first."""
    kind = draw.pick("condition", "text", "picture", "embedding", "text and picture", "all")
    condition: dict[str, Any] = {}
    if "text" in kind or kind == "all":
        condition |= draw_texts(draw, config.text_config, batch)[0]
    if "picture" in kind or kind == "all":
        kinds = ("table",) if inputs.get("interpolate_pos_encoding") is False else ("table", "square", "oblong")
        condition["conditional_pixel_values"] = draw_pixels(draw, config.vision_config, batch, draw.choice(kinds))
    if kind in ("embedding", "all"):
        condition["conditional_embeddings"] = noise(draw, batch, config.projection_dim)
    return condition


def draw_masks(draw: Draw, patch: int, pixel_values: torch.Tensor) -> dict[str, Any]:
    """-> labels of one of the kinds of numbers that masks are made of, or none."""
    kind = draw.pick("labels", None, "float", "bool", "long")
    height, width = (side // patch * patch for side in pixel_values.shape[-2:])
    chances = noise(draw, len(pixel_values), height, width).sigmoid()
    return {} if kind is None else {"labels": chances if kind == "float" else (chances > 0.6).to(getattr(torch, kind))}


def draw_classes(draw: Draw, config: Any, batch: int) -> dict[str, Any]:
    """-> labels that fit the number of classes and the kind of problem, or none."""
    count, problem = config.num_labels, getattr(config, "problem_type", None)
    if count == 0 or draw.pick("labels", "given", "given", None) is None:
        return {}
    if count == 1:
        return {"labels": noise(draw, *draw.pick("targets", (batch,), (batch, 1)))}
    if problem is None:  # told by the kind of labels
        problem = draw.pick("told by", "single_label_classification", "multi_label_classification")
    if problem == "single_label_classification":
        return {"labels": torch.tensor([draw.randrange(count) for _ in range(batch)])}
    targets = noise(draw, batch, count)
    return {"labels": targets if problem == "regression" else (targets > 0).float()}


def noise(draw: Draw, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(draw.randrange(1000)))


def topics(cases: Sequence[Case]) -> dict[str, set[Any]]:
    """-> what was picked, by topic."""
    found: dict[str, set[Any]] = {}
    for drawn in cases:
        for topic, value in drawn.picked.items():
            found.setdefault(topic, set()).add(value)
    return found
