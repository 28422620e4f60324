"""Requests -> questions, options and fits, as the library takes them."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from clipseg.errors import PromptError, UsageError
from clipseg.fits import Fit
from clipseg.masks.options import MaskOptions
from clipseg.masks.rle import decode
from clipseg.masks.rules import DEFAULT_THRESHOLD
from clipseg.prompting.expressions import Strength, Term
from clipseg.prompting.prompts import EmbeddingPrompt, ImagePrompt, Prompt, TextPrompt, parse
from clipseg.prompting.questions import Question
from clipseg.prompting.styles import DEFAULT_STYLE
from clipseg.prompting.templates import Templates
from clipseg.server import requests
from clipseg.server.pictures import Bounded, Picture, Pictures
from clipseg.server.refusals import RequestError, TooLargeError, UnknownError
from clipseg.server.settings import Limits

Embed: TypeAlias = Callable[[Prompt], torch.Tensor]
"""A prompt -> its condition (E,)."""

MOST_TEMPLATES = 100
"""Sentences that each phrase is put into: the largest known set has 80, and each costs as much as a prompt."""

_KINDS = ("text", "picture", "embedding", "prompt")
_OF_EXAMPLES = ("mask", "box", "style")


class Reader:
    """Knows the pictures and prompts that requests speak of. Threads may share it."""

    def __init__(self, limits: Limits, pictures: Pictures) -> None:
        self.stored: Bounded[str, EmbeddingPrompt] = Bounded(limits.prompts_bytes // 2, _bytes_of)
        self._examples: Bounded[str, EmbeddingPrompt] = Bounded(limits.prompts_bytes // 2, _bytes_of)
        self._limits = limits
        self._pictures = pictures

    def question(self, asked: requests.SegmentRequest, embed: Embed) -> Question:
        """-> what is asked. Examples are embedded here, once, and remembered. Raises PromptError and UnknownError."""
        names, templates = self._names(asked.prompts, embed), _templates(asked.templates)
        shown = [one for one in asked.prompts if not (isinstance(one, requests.Prompt) and one.named)]
        self._check_count(len(asked.prompts) + len(asked.negative))
        terms = [self._term(one, names, templates, embed) for one in shown]
        negatives = [self._term(one, names, templates, embed) for one in asked.negative]
        self._check_terms([*terms, *negatives])
        question = Question.of(terms, negatives)
        self._check_count(len(question.prompts))
        return question

    def prompts(self, asked: requests.EmbedRequest, embed: Embed) -> list[Term]:
        """-> the prompts that are to be embedded. Raises as `question`."""
        self._check_count(len(asked.prompts))
        if not asked.prompts:
            raise PromptError("no prompts given; say what to look for, such as 'a red cup'")
        names, templates = self._names(asked.prompts, embed), _templates(asked.templates)
        return [self._term(one, names, templates, embed) for one in asked.prompts]

    def store(self, asked: requests.StoreRequest, embed: Embed) -> requests.StoredPrompt:
        """Remember the embedding of a prompt -> its id and its label. Raises as `question`."""
        term = self._term(asked.prompt, {}, "plain", embed)
        if not isinstance(term, Prompt):
            raise PromptError(f"{term.label!r} is an expression, which has no embedding; store the prompts in it")
        vector = term.embedding if isinstance(term, EmbeddingPrompt) else embed(term)
        label = asked.label or term.label
        name = hashlib.sha256(vector.numpy().tobytes() + label.encode()).hexdigest()
        self.stored.put(name, EmbeddingPrompt(vector, label))
        return requests.StoredPrompt(id=name, label=label)

    # ------------------------------------------------------------------------------------------------------------

    def _check_count(self, count: int) -> None:
        if count > self._limits.prompts:
            raise TooLargeError(f"{count} prompts at once are too many; the limit is {self._limits.prompts}")

    def _check_terms(self, terms: Sequence[Term]) -> None:
        """What has a name is worked out wherever it is named: a few kilobytes can say millions of terms."""
        waiting, count = list(terms), 0
        while waiting:
            count, parts = count + 1, waiting.pop().terms()
            if count + len(waiting) + len(parts) > self._limits.terms:
                raise TooLargeError(f"the expressions have more than {self._limits.terms} terms; ask for less at once")
            waiting.extend(parts)

    def _names(self, asked: Sequence[requests.Prompt | str], embed: Embed) -> dict[str, Term]:
        """-> the prompts that expressions may speak of."""
        named = [one for one in asked if isinstance(one, requests.Prompt) and one.named]
        for one in named:
            if not one.label:
                raise PromptError("a named prompt needs a label to be spoken of by")
        self._check_count(len(named))
        return {str(one.label): self._term(one, {}, "plain", embed) for one in named}

    def _term(
        self, asked: requests.Prompt | str, names: Mapping[str, Term], templates: Templates, embed: Embed
    ) -> Term:
        if isinstance(asked, str):
            asked = requests.Prompt.model_validate({"text": asked})
        given = [kind for kind in _KINDS if getattr(asked, kind) is not None]
        if len(given) != 1:
            raise PromptError(f"a prompt has exactly one of {', '.join(_KINDS)}; got {', '.join(given) or 'none'}")
        stray = [name for name in _OF_EXAMPLES if getattr(asked, name) is not None and asked.picture is None]
        if stray:
            raise PromptError(f"{stray[0]} belongs to an example picture; this prompt has {given[0]}")
        if max(len(asked.text or ""), len(asked.label or "")) > self._limits.letters:
            raise PromptError(f"a prompt or label has {self._limits.letters} letters at most; say it more shortly")
        term = self._unlabelled(asked, names, templates, embed)
        if asked.label:
            term = replace(term, label=asked.label)  # type: ignore[type-var]  # every term is a dataclass
        return term if asked.weight == 1 else Strength(term, asked.weight, label=term.label)

    def _unlabelled(
        self, asked: requests.Prompt, names: Mapping[str, Term], templates: Templates, embed: Embed
    ) -> Term:
        if asked.text is not None:
            if asked.expression is False:
                return TextPrompt(asked.text, templates=templates)
            return parse(asked.text, names, templates)
        if asked.embedding is not None:
            return EmbeddingPrompt(torch.tensor(asked.embedding, dtype=torch.float32))
        if asked.prompt is not None:
            stored = self.stored.get(asked.prompt)
            if stored is None:
                raise UnknownError(f"unknown prompt {asked.prompt!r}; store it again")
            return stored
        return self._example(asked, embed)

    def _example(self, asked: requests.Prompt, embed: Embed) -> EmbeddingPrompt:
        """An example -> its embedding, remembered by what is in it."""
        picture = self._pictures.named(str(asked.picture))
        mask = None if asked.mask is None else self._mask(asked.mask, picture)
        style = asked.style or DEFAULT_STYLE
        marked = b"" if mask is None else np.packbits(mask).tobytes()
        key = hashlib.sha256(repr((picture.id, asked.box, style)).encode() + marked).hexdigest()
        known = self._examples.get(key)
        if known is None:
            example = ImagePrompt(self._pictures.image(picture), mask, asked.box, style)
            known = EmbeddingPrompt(embed(example), example.label)
            self._examples.put(key, known)
        return known

    def _mask(self, asked: requests.RunLengths | str, picture: Picture) -> NDArray[np.bool_]:
        """Of an example: the id of a picture, a PNG in base64, or run lengths -> (H, W)."""
        if isinstance(asked, requests.RunLengths):
            if asked.size != picture.size_hw:  # before anything is made of the size that it states
                height, width = picture.size_hw
                raise PromptError(f"the mask's size is {list(asked.size)} but its picture's is {[height, width]}")
            return decode({"size": list(asked.size), "counts": asked.counts})
        known = self._pictures.files.get(asked)
        content = _unpacked(asked) if known is None else known.content
        return self._pictures.mask(content, picture)


def options_of(asked: requests.SegmentRequest) -> MaskOptions:
    """A request -> how its masks are finished. Raises UsageError."""
    values: dict[str, Any] = dict(asked.options)
    if asked.combine is not None:
        values["combine"] = asked.combine
    shown = [one for one in asked.prompts if not (isinstance(one, requests.Prompt) and one.named)]
    own = [one.threshold if isinstance(one, requests.Prompt) else None for one in shown]
    if any(one is not None for one in own):
        others = values.get("threshold", DEFAULT_THRESHOLD)
        if isinstance(others, list):
            raise UsageError("thresholds are given with prompts and as a list in the options; give them once")
        values["threshold"] = [others if one is None else one for one in own]
    return finish(values)


def finish(values: Mapping[str, Any]) -> MaskOptions:
    """Names and values from anywhere -> options. Raises UsageError."""
    try:
        return MaskOptions.from_mapping(values)
    except RecursionError as error:
        raise UsageError("the options hold lists within lists") from error


def options_in(parameters: Mapping[str, Any]) -> MaskOptions:
    """Names and values of another protocol -> options, within our bounds. Raises RequestError and UsageError."""
    try:
        return finish(requests.OPTIONS.validate_python(dict(parameters)))
    except ValidationError as error:
        problem = requests.most_telling(error.errors(include_url=False, include_input=False))
        where = "".join(f"{part}: " for part in problem["loc"][:1])
        raise RequestError(f"parameters: {where}{problem['msg']}") from None


def fit_of(asked: requests.SegmentRequest, size_hw: tuple[int, int], limits: Limits) -> Fit:
    """A request and its picture's size -> how the picture is fitted. Raises UsageError and TooLargeError."""
    fit = Fit.of(asked.fit, asked.tile, asked.overlap) or Fit()
    plan = fit.plan(size_hw)
    count = 0 if plan is None else len(plan.tops) * len(plan.lefts)
    if count > limits.tiles:
        raise TooLargeError(f"that makes {count} tiles, and the limit is {limits.tiles}; take larger ones")
    return fit


def _templates(asked: str | Sequence[str]) -> Templates:
    """Raises TooLargeError."""
    if not isinstance(asked, str) and len(asked) > MOST_TEMPLATES:
        raise TooLargeError(f"{len(asked)} templates are too many; the limit is {MOST_TEMPLATES}")
    return asked if isinstance(asked, str) else tuple(asked)


def _unpacked(text: str) -> bytes:
    """Base64, perhaps as a data: address -> bytes. Raises PromptError."""
    head, comma, rest = text.partition(",")
    try:
        return base64.b64decode(rest if comma and head.startswith("data:") else text, validate=True)
    except (binascii.Error, ValueError):
        raise PromptError("a mask is the id of a picture that was sent, a PNG in base64, or run lengths") from None


def _bytes_of(prompt: EmbeddingPrompt) -> int:
    return prompt.embedding.nbytes + 4 * len(prompt.label)
