"""What is asked, written down so that another process, or another day, asks the very same.

Phrases are written as they are. Of pictures, sums and ready embeddings the embedding is kept, in a prompt file of the
run; so whoever goes on with a run needs none of the files that its prompts were made of.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from clipseg.batch.storage import Storage
from clipseg.errors import DataError, PromptError
from clipseg.processing.images import to_mask, to_rgb
from clipseg.prompting.expressions import Expression, Term, leaves
from clipseg.prompting.prompt_files import load_prompts, save_prompts
from clipseg.prompting.prompts import EmbeddingPrompt, ImagePrompt, MixedPrompt, TextPrompt, parse
from clipseg.prompting.styles import style_named

PROMPTS = "prompts.safetensors"
"""The file of a run with the embeddings of what is no phrase."""


@dataclass(frozen=True)
class WrittenTerm:
    """A prompt or expression: its label, what tells it from others, and the text that it is read from."""

    label: str
    id: str
    text: str


@dataclass(frozen=True)
class WrittenPhrase:
    """A prompt in them: a phrase and the templates it is put into; neither where the prompt file has it."""

    label: str
    text: str | None = None
    templates: str | tuple[str, ...] = "plain"


def written(terms: Iterable[Term]) -> tuple[WrittenTerm, ...]:
    """Prompts and expressions -> the same written down."""
    return tuple(
        WrittenTerm(term.label, identity(term), str(term) if isinstance(term, Expression) else "") for term in terms
    )


def phrases(terms: Iterable[Term]) -> tuple[WrittenPhrase, ...]:
    """Prompts and expressions -> every prompt in them, once. Raises PromptError where two share a label."""
    found: dict[str, Term] = {}
    for leaf in (leaf for term in terms for leaf in leaves(term)):
        if identity(found.setdefault(leaf.label, leaf)) != identity(leaf):
            raise PromptError(f"two different prompts are called {leaf.label!r}; give one of them another label")
    return tuple(
        WrittenPhrase(label, leaf.text, leaf.templates) if isinstance(leaf, TextPrompt) else WrittenPhrase(label)
        for label, leaf in found.items()
    )


def to_keep(terms: Iterable[Term]) -> list[Term]:
    """Prompts and expressions -> the prompts in them that are no phrases, once, whose embeddings have to be kept."""
    found = {leaf.label: leaf for term in terms for leaf in leaves(term) if not isinstance(leaf, TextPrompt)}
    return list(found.values())


def keep(storage: Storage, prompts: Sequence[EmbeddingPrompt]) -> None:
    """Embeddings -> the prompt file of a run. Raises OutputError."""
    with TemporaryDirectory() as folder:
        path = save_prompts(Path(folder) / PROMPTS, prompts)
        storage.write(PROMPTS, path.read_bytes())


def kept(storage: Storage, known: Sequence[WrittenPhrase]) -> dict[str, Term]:
    """What was written down, and the prompt file of the run, if it needs one -> each prompt by its label."""
    names: dict[str, Term] = {
        one.label: TextPrompt(one.text, one.label, one.templates) for one in known if one.text is not None
    }
    if len(names) < len(known):
        with TemporaryDirectory() as folder:
            path = Path(folder) / PROMPTS
            path.write_bytes(storage.read(PROMPTS))
            names |= {prompt.label: prompt for prompt in load_prompts(path)}
    missing = [one.label for one in known if one.label not in names]
    if missing:
        raise DataError(f"{storage.at(PROMPTS)} has no prompt {missing[0]!r}; begin the run anew")
    return names


def read_again(terms: Sequence[WrittenTerm], names: dict[str, Term]) -> list[Term]:
    """Terms that were written down, and the prompts in them by label -> the terms."""
    read = []
    for one in terms:
        term = parse(one.text, names) if one.text else names[one.label]
        if term.label != one.label and isinstance(term, Expression):
            object.__setattr__(term, "label", one.label)  # as in its class, which is frozen
        read.append(term)
    return read


def identity(term: Term) -> str:
    """A prompt or expression -> 16 letters that two of them share only where they ask the same."""
    return hashlib.sha256(json.dumps(_made_of(term), sort_keys=True).encode()).hexdigest()[:16]


def _made_of(term: Term) -> Any:
    match term:
        case TextPrompt():
            return ["text", *term.texts]
        case ImagePrompt():
            picture = to_rgb(term.picture)
            mask = None if term.mask is None else to_mask(term.mask, (picture.height, picture.width))
            style = style_named(term.style)
            return [
                *("image", picture.size, _sum(picture.tobytes()), None if mask is None else _sum(mask.tobytes())),
                *(term.box, repr(style)),
            ]
        case MixedPrompt():
            return ["mix", *([float(weight), identity(part)] for weight, part in term.parts)]
        case EmbeddingPrompt():
            return ["embedding", _sum(term.embedding.numpy().tobytes())]
    return ["expression", str(term), *map(identity, leaves(term))]


def _sum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
