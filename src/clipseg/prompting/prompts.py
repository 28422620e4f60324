"""What can be asked for: a phrase, an example picture, a ready embedding, or a weighted sum of these.

    0.6 * TextPrompt("a jar") + 0.4 * ImagePrompt("jar.jpg", mask="jar_mask.png")
    parse("jar AND NOT (lid OR label)", names={"jar": ImagePrompt("jar.jpg", mask="jar_mask.png")})

Prompts are values: they hold what was given and do nothing; `conditioning` turns them into vectors. They are also the
terms of `expressions`, with `&`, `|` and `~`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, SupportsFloat, TypeAlias

import torch

from clipseg.errors import PromptError
from clipseg.processing.images import PictureSource
from clipseg.prompting.expressions import Term
from clipseg.prompting.parsing import parsed
from clipseg.prompting.styles import DEFAULT_STYLE, VisualStyle, style_named
from clipseg.prompting.templates import Templates, filled, templates_named

BoxSource: TypeAlias = tuple[float, float, float, float]


class Prompt(Term):
    """Base of all prompts: it has a label, and takes part in weighted sums and in expressions."""

    def __mul__(self, weight: float) -> MixedPrompt:
        if not isinstance(weight, SupportsFloat):
            return NotImplemented
        return MixedPrompt(tuple((float(weight) * own, part) for own, part in _parts(self)))

    __rmul__ = __mul__

    def __add__(self, other: object) -> MixedPrompt:
        if not isinstance(other, Prompt):
            return NotImplemented
        return MixedPrompt((*_parts(self), *_parts(other)))

    def __sub__(self, other: object) -> MixedPrompt:
        return self + -1 * other if isinstance(other, Prompt) else NotImplemented


@dataclass(frozen=True)
class TextPrompt(Prompt):
    """A phrase. It is given to the model as it stands; its label is the phrase unless another is given.

    `templates` are a name of `templates.TEMPLATES`, or one sentence or several with one `{}` each: the phrase is then
    put into every one of them, and the embeddings are averaged. Raises PromptError for a phrase that is empty or only
    white space and for templates that are not known.
    """

    text: str
    label: str = ""
    templates: Templates = "plain"

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise PromptError(f"a text prompt is a str, got a {type(self.text).__name__}")
        if not self.text.strip():
            raise PromptError("a text prompt is empty; say what to look for, such as 'a red cup'")
        if not self.label:
            object.__setattr__(self, "label", self.text)
        known = templates_named(self.templates)
        if not isinstance(self.templates, str):
            object.__setattr__(self, "templates", known)  # a tuple, whatever it was: prompts can be hashed

    @property
    def texts(self) -> tuple[str, ...]:
        """What the model is given: the phrase in each template."""
        return filled(self.templates, self.text)


@dataclass(frozen=True, eq=False)
class ImagePrompt(Prompt):
    """An example picture, whole, or with a mask or a box of the thing meant.

    Fields
        picture  anything that opens as a picture: path, bytes, PIL image, array, tensor
        mask     of the picture's own size (H, W), true, white or above a half inside; instead of a box
        box      x0, y0, x1, y1 in pixels of the picture, half-open; instead of a mask
        style    a name of `styles.STYLES`, or a `VisualStyle`, for what happens to the thing and its background; with
                 neither mask nor box there is no background, and the picture is taken whole
        label    the file's name, or "example", unless another is given
    """

    picture: PictureSource
    mask: PictureSource | None = None
    box: BoxSource | None = None
    style: str | VisualStyle = DEFAULT_STYLE
    label: str = ""

    def __post_init__(self) -> None:
        if self.mask is not None and self.box is not None:
            raise PromptError("an image prompt has both a mask and a box; give one of them")
        if self.box is not None:
            object.__setattr__(self, "box", _checked_box(self.box))
        style_named(self.style)
        if not self.label:
            named = isinstance(self.picture, (str, os.PathLike))
            object.__setattr__(self, "label", Path(os.fsdecode(self.picture)).stem if named else "example")  # type: ignore[arg-type]


@dataclass(frozen=True)
class Origin:
    """Where an embedding comes from.

    Fields
        model   the name of the model that made it
        source  what it was made of, as `prompt_files.description` says it: plain values, fit for JSON
    """

    model: str
    source: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class EmbeddingPrompt(Prompt):
    """A ready condition (E,), as `Segmenter.embed` returns them; E is the model's `projection_dim`.

    `origin` is known of those that `Segmenter.embedded` makes and of those read from prompt files.
    """

    embedding: torch.Tensor
    label: str = "embedding"
    origin: Origin | None = None

    def __post_init__(self) -> None:
        try:
            embedding = torch.as_tensor(self.embedding, dtype=torch.float32)
        except (TypeError, ValueError, RuntimeError):
            kind = type(self.embedding).__name__
            raise PromptError(f"an embedding prompt is one vector (E,) of numbers, got a {kind}") from None
        if embedding.dim() != 1 or not len(embedding):
            raise PromptError(f"an embedding prompt is one vector (E,), got shape {tuple(embedding.shape)}")
        if not bool(torch.isfinite(embedding).all()):
            raise PromptError("an embedding prompt holds values that are not finite")
        object.__setattr__(self, "embedding", embedding)


@dataclass(frozen=True, eq=False)
class MixedPrompt(Prompt):
    """A weighted sum of prompts. The weights are used as they are; for a mean let them add up to 1."""

    parts: tuple[tuple[float, Prompt], ...]
    label: str = field(default="")

    def __post_init__(self) -> None:
        if not self.parts:
            raise PromptError("a mixed prompt has no parts; add at least one")
        for weight, part in self.parts:
            if not isinstance(part, Prompt):
                raise PromptError(f"a mixed prompt is made of prompts, got a {type(part).__name__}; wrap it in one")
            if not isinstance(weight, SupportsFloat) or not math.isfinite(weight):
                raise PromptError(f"a prompt's weight is {weight!r}; expected a finite number")
        if not self.label:
            terms = (part.label if weight == 1 else f"{weight:g} {part.label}" for weight, part in self.parts)
            object.__setattr__(self, "label", " + ".join(terms))


def mean_prompt(prompts: Sequence[Prompt], label: str = "") -> MixedPrompt:
    """Several prompts, such as examples of one thing -> their mean; its label is "mean of …" unless one is given.

    Raises PromptError for none, or for what is no prompt.
    """
    parts = tuple((1 / len(prompts), part) for part in prompts)
    names = ", ".join(part.label for part in prompts if isinstance(part, Prompt))
    return MixedPrompt(parts, label or f"mean of {names}")


PromptSource: TypeAlias = str | Term | torch.Tensor
"""A phrase or expression as text, a prompt, an expression, or a ready condition (E,); a tensor (P, E) is P of them."""


def parse(text: str, names: Mapping[str, Term] | None = None, templates: Templates = "plain") -> Term:
    """A text -> a prompt, or an expression with the text as its label; `parsing` has the grammar.

    Every phrase is put into the `templates`; see `TextPrompt`.

    `names` are prompts that the text may speak of: a phrase that is one of them stands for that prompt, so examples
    take part in expressions too. str() of an expression is a text that is read as an equal one, given the same names,
    as long as phrases are plain texts and named prompts have their names as labels.

    Raises PromptError for a text that is neither a phrase nor an expression, with the column where it goes wrong.
    """
    known = names or {}
    if not isinstance(text, str):
        raise PromptError(f"a text prompt is a str, got a {type(text).__name__}")
    return parsed(text, lambda phrase: known[phrase] if phrase in known else TextPrompt(phrase, templates=templates))


def as_prompts(source: PromptSource | Iterable[PromptSource]) -> list[Term]:
    """One prompt or expression or several, in any of the forms above -> a list of at least one.

    Raises PromptError otherwise.
    """
    prompts = as_prompts_if_any(source)
    if not prompts:
        raise PromptError("no prompts given; say what to look for, such as 'a red cup'")
    return prompts


def as_prompts_if_any(source: PromptSource | Iterable[PromptSource]) -> list[Term]:
    """As `as_prompts`, but none at all is an empty list."""
    several = isinstance(source, Iterable) and not isinstance(source, (str, bytes, bytearray, torch.Tensor))
    items: Iterable[object] = source if several else [source]  # type: ignore[assignment]  # mypy cannot follow `several`
    return [prompt for item in items for prompt in _each(item)]


def _each(item: object) -> list[Term]:
    if isinstance(item, Term):
        return [item]
    if isinstance(item, str):
        return [parse(item)]
    if isinstance(item, torch.Tensor) and item.dim() == 1:
        return [EmbeddingPrompt(item)]
    if isinstance(item, torch.Tensor) and item.dim() == 2:
        return [EmbeddingPrompt(row, f"embedding {number}") for number, row in enumerate(item, start=1)]
    raise PromptError(
        f"a prompt is a phrase or a prompt, got a {type(item).__name__}; "
        "wrap a picture in ImagePrompt(…) and a vector in EmbeddingPrompt(…)"
    )


def _parts(prompt: Prompt) -> tuple[tuple[float, Prompt], ...]:
    return prompt.parts if isinstance(prompt, MixedPrompt) else ((1.0, prompt),)


def _checked_box(box: Iterable[float]) -> BoxSource:
    """Any four numbers that span an area -> the same as a plain tuple."""
    try:
        x0, y0, x1, y1 = map(float, box)
    except (TypeError, ValueError):
        raise PromptError(f"box is {box!r}; expected four numbers x0, y0, x1, y1 in pixels") from None
    if not all(map(math.isfinite, (x0, y0, x1, y1))):
        raise PromptError(f"box is {box!r}; expected finite numbers x0, y0, x1, y1 in pixels")
    if x1 <= x0 or y1 <= y0:
        raise PromptError(f"box {box!r} is empty; expected x0 < x1 and y0 < y1, in pixels from the top left")
    return x0, y0, x1, y1
