"""`clipseg prompt`: files of ready prompts, made of phrases, examples and mixes, that any picture is asked with."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from clipseg.cli import terminal
from clipseg.cli.completing import files
from clipseg.cli.groups import CommandGroup
from clipseg.cli.naming import check_names
from clipseg.cli.options import (
    MODEL,
    Adder,
    GroupedCommand,
    added,
    load_segmenter,
    loading_options,
    model_option,
    option,
)
from clipseg.cli.outputs import output_folder
from clipseg.cli.prompt_options import read_phrase, read_prompts, read_templates, template_option, wanted_options
from clipseg.errors import PromptError, UsageError

if TYPE_CHECKING:
    from clipseg.prompting.expressions import Term
    from clipseg.prompting.prompts import EmbeddingPrompt

SUFFIX = ".safetensors"
JOINT = " + "  # between the models of a mix
DIGITS = 4  # of norms and cosines
WIDEST_MATRIX = 8  # columns of cosines that a terminal has room for

EXAMPLES = {
    "make": """\b
Examples
  clipseg prompt make --image-prompt jar.jpg:mask.png -o jar.safetensors
  clipseg prompt make -p "a cup" -p "a plate" --template photo -o table.safetensors
""",
    "mix": """\b
Examples
  clipseg prompt mix jar.safetensors:0.6 "a glass jar:0.4" -o mix.safetensors
  clipseg prompt mix "table.safetensors#a cup:1" "a handle:-0.3" --label cup -o cup.safetensors
""",
}

_writing: Adder = added(
    option("Results", "-o", "--out", required=True, metavar=f"FILE{SUFFIX}", help="The prompt file to write."),
    option("Results", "--json", "as_json", is_flag=True, help="JSON lines on a terminal too; elsewhere always."),
)


@click.group(cls=CommandGroup)
def prompt() -> None:
    """Make, mix and show prompt files: embeddings with what they were made of, for --prompt-file."""


@prompt.command(cls=GroupedCommand, epilog=EXAMPLES["make"])
@wanted_options
@option(
    "Prompts",
    "--label",
    "labels",
    multiple=True,
    metavar="TEXT",
    help="What the prompt is called in the file; repeated, one for each.  [default: the phrase, or the file's name]",
)
@_writing
@model_option
@loading_options
def make(**values: Any) -> None:
    """Put prompts into one file: phrases, examples, and those of other prompt files.

    A file holds embeddings, what they were made of and by which model; pictures are not in it. Prints a JSON line for
    each prompt, or on a terminal a line to read.
    """
    from clipseg.prompting.prompt_files import description, save_prompts

    path = _destination(values["out"])
    asked = read_prompts({**values, "negatives": ()})
    check_names([path], asked.files)
    for one in asked.prompts:
        description(one)  # raises for an expression, before a model is loaded
    labels = values["labels"] or asked.labels
    if len(labels) != len(asked.prompts):
        raise UsageError(f"--label is given {len(labels)} times for {len(asked.prompts)} prompts; give one for each")
    with output_folder(path.parent):
        ready = _embedded(asked.prompts, values)
        ready = [replace(one, label=label) for one, label in zip(ready, labels, strict=True)]
        save_prompts(path, ready)
    _tell_written(path, ready, values["as_json"])


@prompt.command(cls=GroupedCommand, epilog=EXAMPLES["mix"])
@click.argument("parts", nargs=-1, required=True, metavar="PART[:WEIGHT]...", shell_complete=files)
@template_option
@option(
    "Prompts",
    "--label",
    metavar="TEXT",
    help="What the mix is called.  [default: its parts, such as 0.6 jar + 0.4 cup]",
)
@_writing
@option("Model", "--model", metavar="NAME|DIR", help=f"For phrases.  [default: that of the files, or {MODEL}]")
@loading_options
def mix(**values: Any) -> None:
    """Put a weighted sum of prompts into a file.

    A PART is a prompt file, FILE#LABEL where it holds several (or FILE#NUMBER, from 1), or a phrase. Weights are used
    as they are, and may be negative; without one it is 1. A model is loaded only for phrases.
    """
    from clipseg.prompting.prompt_files import save_prompts

    path = _destination(values["out"])
    parts = [read_part(text) for text in values["parts"]]
    check_names([path], [part.file for part in parts if part.file is not None])
    templates = read_templates(values["templates"])
    terms = [_part_prompt(part, templates) for part in parts]
    with output_folder(path.parent):
        ready = _embedded(terms, {**values, "model": values["model"] or _model_of(terms)})
        mixed = mixture([(part.weight, one) for part, one in zip(parts, ready, strict=True)], values["label"] or "")
        save_prompts(path, mixed)
    _tell_written(path, [mixed], values["as_json"])


@prompt.command()
@click.argument("paths", nargs=-1, required=True, metavar=f"FILE{SUFFIX}...", shell_complete=files)
@click.option("--json", "as_json", is_flag=True, help="JSON lines on a terminal too; elsewhere always.")
def show(paths: tuple[str, ...], as_json: bool) -> None:
    """Tell what prompt files hold: labels, what they were made of, by which model, and how alike they are.

    The norm is the length of the embedding, and a cosine is 1 for prompts that mean the same. Prompts of several files
    are compared with each other.
    """
    from clipseg.prompting.prompt_files import load_prompts

    held = {path: load_prompts(Path(path).expanduser()) for path in paths}
    rows = [record(path, number, one) for path, prompts in held.items() for number, one in enumerate(prompts, start=1)]
    alike = cosines([one for prompts in held.values() for one in prompts])
    if not terminal.wants_table(as_json):
        for row, line in zip(rows, alike, strict=True):
            terminal.result({**row, "cosines": line})
        return
    columns = [str(number) for number in range(1, len(rows) + 1)] if len(rows) <= WIDEST_MATRIX else []
    terminal.table(
        ("", "label", "made of", "model", "norm", *columns),
        [
            (
                str(number),
                row["label"],
                told(row["source"]),
                row["model"],
                f"{row['norm']:.2f}",
                *("" if cosine is None else f"{cosine:.2f}" for cosine in line[: len(columns)]),
            )
            for number, (row, line) in enumerate(zip(rows, alike, strict=True), start=1)
        ],
    )
    if not columns and len(rows) > 1:
        terminal.say(f"these are {len(rows)} prompts; how alike they are is in --json")


# -- parts of mixes ----------------------------------------------------------------------------------------------------


class Part(NamedTuple):
    """One part of a mix: a phrase, or a file and the label of a prompt in it; and its weight."""

    text: str
    file: str | None
    label: str | None
    weight: float


def read_part(text: str) -> Part:
    """`PART[:WEIGHT]` -> its parts. What follows the last colon is a weight if it is a number.

    Raises PromptError for a weight that is not finite.
    """
    head, colon, tail = text.rpartition(":")
    try:
        weight = float(tail) if colon else 1.0
    except ValueError:
        colon, weight = "", 1.0
    if not math.isfinite(weight):
        raise PromptError(f"the weight in {text!r} is {weight}; expected a finite number")
    head = head if colon else text
    name, hash_sign, label = head.partition(f"{SUFFIX}#")
    if hash_sign:
        return Part(head, name + SUFFIX, label, weight)
    return Part(head, head if head.endswith(SUFFIX) else None, None, weight)


def _part_prompt(part: Part, templates: str | tuple[str, ...]) -> Term:
    """A part -> its prompt, out of the file or of a phrase. Raises PromptError."""
    from clipseg.prompting.prompt_files import description, load_prompts

    if part.file is not None:
        return chosen(part.file, load_prompts(Path(part.file).expanduser()), part.label)
    if Path(part.text).suffix and Path(part.text).is_file():
        raise PromptError(
            f"{part.text} is no prompt file; make one of it with clipseg prompt make --image-prompt {part.text}"
        )
    phrase = read_phrase(part.text, templates)
    description(phrase)  # raises for an expression, before a model is loaded
    return phrase


def chosen(file: str, prompts: Sequence[EmbeddingPrompt], label: str | None) -> EmbeddingPrompt:
    """The prompts of a file, and a label or number -> the one meant. Raises PromptError unless it is one."""
    found = [one for one in prompts if label is None or one.label == label]
    if not found and label is not None and label.isdecimal() and 1 <= int(label) <= len(prompts):
        found = [prompts[int(label) - 1]]
    if len(found) == 1:
        return found[0]
    held = ", ".join(repr(one.label) for one in prompts)
    if not found:
        raise PromptError(f"{file} has no prompt {label!r}; it holds {held}")
    several = f"{len(found)} prompts" if label is None else f"{len(found)} prompts {label!r}"
    raise PromptError(f"{file} holds {several} ({held}); choose one as {file}#LABEL or {file}#NUMBER")


def mixture(parts: Sequence[tuple[float, EmbeddingPrompt]], label: str) -> EmbeddingPrompt:
    """Weights and ready prompts -> their sum, with its origin. Raises PromptError for embeddings of several widths."""
    import torch

    from clipseg.prompting.prompt_files import description
    from clipseg.prompting.prompts import EmbeddingPrompt, MixedPrompt, Origin

    widths = sorted({len(one.embedding) for _, one in parts})
    if len(widths) > 1:
        raise PromptError(
            f"the parts are {' and '.join(map(str, widths))} numbers wide; those of one mix come from models alike"
        )
    models = _models([one for _, one in parts])
    if len(models) > 1:
        terminal.warning(
            f"the parts were made with {' and '.join(models)}; their mix means something only where these have the "
            "same CLIP"
        )
    sum_of = MixedPrompt(tuple(parts), label)
    total = torch.stack([weight * one.embedding for weight, one in parts]).sum(0)
    return EmbeddingPrompt(total, sum_of.label, Origin(JOINT.join(models), description(sum_of)))


def _models(prompts: Sequence[Term]) -> list[str]:
    """Prompts -> the models that made those which are ready, each once."""
    origins = (getattr(one, "origin", None) for one in prompts)
    names = (
        name
        for origin in origins
        if origin is not None
        for name in (origin.model.split(JOINT) if origin.source.get("kind") == "mix" else [origin.model])
    )
    return list(dict.fromkeys(name for name in names if name))


def _model_of(prompts: Sequence[Term]) -> str:
    """Prompts -> the model that made those which are ready, so that the others fit; MODEL where it is not one."""
    models = _models(prompts)
    return models[0] if len(models) == 1 else MODEL


def _embedded(prompts: Sequence[Term], values: Mapping[str, Any]) -> list[EmbeddingPrompt]:
    """Prompts -> ready ones; a model is loaded only where some are not."""
    from clipseg.prompting.prompts import EmbeddingPrompt

    missing = [one for one in prompts if not isinstance(one, EmbeddingPrompt)]
    made: Iterator[EmbeddingPrompt] = iter(())
    if missing:
        with terminal.working("embedding prompts"):
            segmenter = load_segmenter(values["model"], values["loading"])
            made = iter(segmenter.embedded(missing))
    return [one if isinstance(one, EmbeddingPrompt) else next(made) for one in prompts]


# -- what is said ------------------------------------------------------------------------------------------------------


def record(path: object, number: int, one: EmbeddingPrompt) -> dict[str, Any]:
    """A prompt of a file -> its record."""
    origin = one.origin
    return {
        "file": str(path),
        "number": number,
        "label": one.label,
        "model": "" if origin is None else origin.model,
        "width": len(one.embedding),
        "norm": round(float(one.embedding.norm()), DIGITS),
        "source": {"kind": "embedding"} if origin is None else dict(origin.source),
    }


def cosines(prompts: Sequence[EmbeddingPrompt]) -> list[list[float | None]]:
    """P prompts -> P rows of P cosines; None between embeddings of different widths."""
    import torch.nn.functional as F  # noqa: N812 - the field's name for it

    return [
        [
            round(float(F.cosine_similarity(one.embedding, other.embedding, dim=0)), DIGITS)
            if len(one.embedding) == len(other.embedding)
            else None
            for other in prompts
        ]
        for one in prompts
    ]


def told(source: Mapping[str, Any]) -> str:
    """What a prompt was made of, as `prompt_files.description` has it -> the same in words."""
    match source:
        case {"kind": "text", "text": text, "templates": templates}:
            return repr(text) if templates == "plain" else f"{text!r}, {templates}"
        case {"kind": "image", "picture": picture, "marked": "nothing"}:
            return f"{picture or 'a picture'}, whole"
        case {"kind": "image", "picture": picture, "marked": marked, "style": style}:
            return f"{picture or 'a picture'} with a {marked}, {style if isinstance(style, str) else 'own style'}"
        case {"kind": "mix", "parts": [*parts]} if all(isinstance(one, Mapping) and "weight" in one for one in parts):
            return " + ".join(f"{one['weight']} ({told(one)})" for one in parts)
        case {"kind": "embedding"}:
            return "an embedding"
    return json.dumps(dict(source))


def _tell_written(path: Path, prompts: Sequence[EmbeddingPrompt], as_json: bool) -> None:
    for number, one in enumerate(prompts, start=1):
        row = record(path, number, one)
        if terminal.wants_table(as_json):
            terminal.line(f"{row['label']}: {told(row['source'])}, {row['width']} numbers of {row['model']} -> {path}")
        else:
            terminal.result(row)


def _destination(text: str) -> Path:
    """The value of --out -> the file. Raises UsageError for one that is no prompt file by its name."""
    path = Path(text).expanduser()
    if path.suffix != SUFFIX:
        raise UsageError(f"--out {text} is no name of a prompt file; expected …{SUFFIX}")
    return path
