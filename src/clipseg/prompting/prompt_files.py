"""Prompts as files: embeddings with what they were made of, so that what one picture showed is found in another.

A prompt file is a safetensors file with one tensor, `embeddings` (P, E) in float32, and these texts beside it:

    clipseg_prompts  the version of this format, "1"
    prompts          JSON: a list with, for each row, {"label": …, "model": …, "source": …}

where the source is what `description` says: a phrase and its templates, a picture's file and style, or the parts of a
mix with their weights. Pictures themselves are not in the file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from clipseg.checkpoints.files import write_tensors
from clipseg.errors import PromptError
from clipseg.prompting.expressions import Term
from clipseg.prompting.prompts import EmbeddingPrompt, ImagePrompt, MixedPrompt, Origin, TextPrompt
from clipseg.prompting.styles import style_named

FORMAT_VERSION = "1"
SUFFIX = ".safetensors"
UNKNOWN_MODEL = ""


def save_prompts(path: str | os.PathLike[str], prompts: EmbeddingPrompt | Sequence[EmbeddingPrompt]) -> Path:
    """Embeddings of one width, as `Segmenter.embedded` makes them -> a prompt file, written whole or not at all.

    Returns the path. Raises PromptError for a name without `.safetensors`, for no prompts, for what is no embedding,
    for embeddings of several widths and for an origin that is no JSON, and OutputError where nothing can be written.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise PromptError(f"a prompt file is named …{SUFFIX}, got {str(path)!r}")
    rows = [prompts] if isinstance(prompts, EmbeddingPrompt) else list(prompts)
    for row in rows:
        if not isinstance(row, EmbeddingPrompt):
            raise PromptError(
                f"a prompt file holds embeddings, got a {type(row).__name__}; make one with segmenter.embedded(…)"
            )
    if not rows:
        raise PromptError("no prompts given; a prompt file holds at least one")
    widths = sorted({len(row.embedding) for row in rows})
    if len(widths) > 1:
        raise PromptError(
            f"the embeddings are {' and '.join(map(str, widths))} wide; those of one file come from models alike"
        )
    records = [
        {
            "label": row.label,
            "model": UNKNOWN_MODEL if row.origin is None else row.origin.model,
            "source": description(row),
        }
        for row in rows
    ]
    try:
        written = json.dumps(records)  # in ASCII, as names of files need not be text
    except (TypeError, ValueError, RecursionError) as error:
        raise PromptError(f"the origin of a prompt is no plain values, fit for JSON ({error})") from None
    metadata = {"clipseg_prompts": FORMAT_VERSION, "prompts": written}
    write_tensors(path, {"embeddings": torch.stack([row.embedding for row in rows])}, metadata)
    return path


def load_prompts(path: str | os.PathLike[str], *, width: int | None = None) -> list[EmbeddingPrompt]:
    """A prompt file -> its prompts, each with its label and its origin.

    With `width`, the model's `projection_dim`, files of another are refused here; without, when they are used. Raises
    PromptError for those, and for a file that is not there, cannot be read or is no prompt file.
    """
    path = Path(path)
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            embeddings = file.get_tensor("embeddings") if "embeddings" in file.keys() else None  # noqa: SIM118 - no dict
    except FileNotFoundError:
        raise PromptError(f"there is no prompt file {path}") from None
    except (SafetensorError, OSError) as error:
        raise PromptError(f"{path} is no prompt file: it is not whole, or not safetensors ({error})") from None
    version = metadata.get("clipseg_prompts")
    if version is None:
        raise PromptError(f"{path} is no prompt file but other tensors; make one with save_prompts(…)")
    if version != FORMAT_VERSION:
        raise PromptError(f"{path} has format version {version!r}, known is {FORMAT_VERSION!r}; update clipseg")
    records = _records(metadata.get("prompts", ""))
    if embeddings is None or embeddings.dim() != 2 or records is None or len(records) != len(embeddings):
        raise PromptError(f"{path} is a damaged prompt file: its embeddings and their labels do not fit; make it again")
    if not bool(torch.isfinite(embeddings).all()):
        raise PromptError(f"{path} is a damaged prompt file: its embeddings hold values that are not finite")
    if width is not None and embeddings.shape[1] != width:
        raise PromptError(
            f"the embeddings in {path} are {embeddings.shape[1]} wide but the model's conditions have {width}; "
            "make them with the same model"
        )
    return [
        EmbeddingPrompt(row, record["label"], Origin(record["model"], record["source"]))
        for row, record in zip(embeddings, records, strict=True)
    ]


def description(prompt: Term) -> dict[str, Any]:
    """A prompt -> what it is made of, in plain values. Of a file its name is told, not its folder.

    Raises PromptError for an expression, which no embedding can stand for.
    """
    match prompt:
        case TextPrompt():
            templates = prompt.templates if isinstance(prompt.templates, str) else list(prompt.templates)
            return {"kind": "text", "text": prompt.text, "templates": templates}
        case ImagePrompt():
            return {
                "kind": "image",
                "picture": _file_name(prompt.picture),
                "marked": "mask" if prompt.mask is not None else "box" if prompt.box is not None else "nothing",
                "box": None if prompt.box is None else list(prompt.box),
                "style": prompt.style if isinstance(prompt.style, str) else asdict(style_named(prompt.style)),
            }
        case MixedPrompt():
            parts = [
                {"weight": float(weight), "label": part.label, **description(part)} for weight, part in prompt.parts
            ]
            return {"kind": "mix", "parts": parts}
        case EmbeddingPrompt():
            return {"kind": "embedding"} if prompt.origin is None else dict(prompt.origin.source)
    raise PromptError(f"{prompt.label!r} is an expression, which has no embedding; save the prompts in it one by one")


def _file_name(picture: object) -> str | None:
    """A picture's path, or what Pillow opened from one -> its name; None where it came from no file."""
    path = picture if isinstance(picture, (str, os.PathLike)) else getattr(picture, "filename", None)
    return Path(os.fsdecode(path)).name or None if isinstance(path, (str, bytes, os.PathLike)) else None


def _records(text: str) -> list[dict[str, Any]] | None:
    """The JSON beside the embeddings -> a record for each; None where it is anything else."""
    try:
        records = json.loads(text)
    except (ValueError, RecursionError):
        return None
    fine = isinstance(records, list) and all(
        isinstance(record, Mapping)
        and isinstance(record.get("label"), str)
        and isinstance(record.get("model"), str)
        and isinstance(record.get("source"), Mapping)
        for record in records
    )
    return records if fine else None
