"""What is looked for, as options: phrases and expressions, examples, prompt files, and what is not wanted."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from clipseg.cli.inputs import is_file
from clipseg.cli.options import Adder, added, option
from clipseg.cli.values import named_values, near
from clipseg.errors import PictureNotFoundError, PromptError, UsageError
from clipseg.prompting.styles import DEFAULT_STYLE, STYLES, VisualStyle
from clipseg.prompting.templates import TEMPLATES

if TYPE_CHECKING:
    from clipseg.prompting.expressions import Term

Box = tuple[float, float, float, float]

_NUMBER = r"\s*-?\d+(?:\.\d+)?\s*"
_BOX = re.compile(rf"{_NUMBER}(?:,{_NUMBER}){{3}}")

_wanted: Adder = option(
    "Prompts",
    "-p",
    "--prompt",
    "texts",
    multiple=True,
    metavar="TEXT",
    help='What to look for, or an expression such as "face AND NOT (hat OR hair)"; may be repeated.',
)
_unwanted: Adder = option(
    "Prompts",
    "-n",
    "--negative",
    "negatives",
    multiple=True,
    metavar="TEXT",
    help="What is not wanted, taken out of every mask; may be repeated.",
)
_shown: Adder = added(
    option(
        "Prompts",
        "--image-prompt",
        "examples",
        multiple=True,
        metavar="FILE[:MASK|:X0,Y0,X1,Y1]",
        help="An example of it, and a mask or a box of the thing in it; may be repeated.",
    ),
    option(
        "Prompts",
        "--average",
        is_flag=True,
        help="All examples show one thing: their mean is one prompt.",
    ),
    option(
        "Prompts",
        "--style",
        default=DEFAULT_STYLE,
        show_default=True,
        metavar="NAME[:KEY=VALUE,…]",
        help=f"What happens around the thing in an example: {', '.join(STYLES)}; its parameters are "
        f"{', '.join(field.name for field in fields(VisualStyle))}, as in crop_blur:blur=5,background=0.2.",
    ),
    option(
        "Prompts",
        "--prompt-file",
        "files",
        multiple=True,
        metavar="FILE",
        help="Ready prompts, as clipseg prompt makes them; may be repeated.",
    ),
)
template_option: Adder = option(
    "Prompts",
    "--template",
    "templates",
    multiple=True,
    metavar="NAME|TEXT",
    help=f"Sentences that phrases are put into: {', '.join(TEMPLATES)}, or one's own with a {{}}; several are "
    "averaged.  [default: plain]",
)

wanted_options: Adder = added(_wanted, _shown, template_option)
"""Adds what says what is looked for to a command."""

prompt_options: Adder = added(_wanted, _unwanted, _shown, template_option)
"""Adds that, and what says what is not wanted."""


class Example(NamedTuple):
    """The files of an image prompt, or its file and a box."""

    file: str
    mask: str | None = None
    box: Box | None = None


@dataclass(frozen=True)
class Asked:
    """What is looked for, and what is not wanted; the files that it was read from."""

    prompts: tuple[Term, ...]
    negatives: tuple[Term, ...]
    files: tuple[str, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The label of each prompt."""
        return tuple(prompt.label for prompt in self.prompts)


def is_prompted(values: Mapping[str, Any]) -> bool:
    """Whether the options name anything to look for."""
    return bool(values["texts"] or values["examples"] or values["files"])


def read_prompts(values: Mapping[str, Any]) -> Asked:
    """The values of the options -> what is asked: phrases first, then examples, then files, which are read here, once.

    Raises UsageError where nothing is, and for a style that is not known; PromptError for a phrase or an expression
    that cannot be read, a mask of another size and a file without prompts; PictureError for a file that is no picture.
    """
    if not is_prompted(values):
        raise UsageError("no prompt given; say what to look for, such as -p 'a red cup', or --image-prompt FILE[:MASK]")
    from clipseg.prompting.prompt_files import load_prompts
    from clipseg.prompting.prompts import mean_prompt

    templates = read_templates(values["templates"])
    found = [split_example(text) for text in values["examples"]]
    style = read_style(values["style"])
    shown: list[Any] = [read_example(example, style) for example in found]
    if values["average"]:
        if not shown:
            raise UsageError("--average is of examples; give some by --image-prompt, or leave it out")
        shown = [mean_prompt(shown)]
    saved = [prompt for file in values["files"] for prompt in load_prompts(Path(file).expanduser())]
    terms = [*(read_phrase(text, templates) for text in values["texts"]), *shown, *saved]
    read = [path for example in found for path in (example.file, example.mask) if path is not None]
    return Asked(
        tuple(terms), tuple(read_phrase(text, templates) for text in values["negatives"]), (*read, *values["files"])
    )


def split_example(text: str) -> Example:
    """`FILE`, `FILE:MASK` or `FILE:X0,Y0,X1,Y1` -> its parts; what exists tells the colons between from those in names.

    Raises PictureNotFoundError.
    """
    if is_file(text):
        return Example(text)
    pairs = [(text[:place], text[place + 1 :]) for place, letter in enumerate(text) if letter == ":"]
    with_picture = [pair for pair in pairs if is_file(pair[0])]
    for picture, rest in with_picture:
        if is_file(rest):
            return Example(picture, rest)
    for picture, rest in with_picture:
        if _BOX.fullmatch(rest):
            x0, y0, x1, y1 = map(float, rest.split(","))
            return Example(picture, box=(x0, y0, x1, y1))
    for picture, rest in with_picture:
        raise PictureNotFoundError(
            f"there is no mask file {rest!r} for the example {picture!r}, and a box is four numbers"
        )
    raise PictureNotFoundError(f"there is no example picture {text!r}; give --image-prompt FILE or FILE:MASK")


def read_example(example: Example, style: str | VisualStyle) -> Term:
    """Files -> an image prompt. Raises PromptError and PictureError, which name the files."""
    from clipseg.processing.images import to_mask, to_rgb
    from clipseg.prompting.prompts import ImagePrompt

    picture = to_rgb(example.file)  # decoded once: it may be a pipe
    picture.filename = example.file  # type: ignore[attr-defined]  # Pillow's own name, which prompt files tell
    mask = None
    try:
        if example.mask is not None:
            mask = to_mask(example.mask, (picture.height, picture.width))
        return ImagePrompt(picture, mask, example.box, style=style, label=Path(example.file).stem)
    except PromptError as error:
        marked = example.mask or ",".join(f"{number:g}" for number in example.box or ())
        raise PromptError(f"--image-prompt {example.file}:{marked}: {error}") from error


def read_style(text: str) -> str | VisualStyle:
    """`NAME` or `NAME:KEY=VALUE,…` -> a style. Raises UsageError for what is not known or out of range."""
    (name, changes), *others = named_values("--style", text)
    if others:
        raise UsageError(f"--style {text!r} names several; expected one, as NAME:KEY=VALUE,…")
    if name not in STYLES:
        raise UsageError(f"there is no style {name!r}; {near(name, STYLES)}")
    if not changes:
        return name
    known = tuple(field.name for field in fields(STYLES[name]))
    for key in changes:
        if key not in known:
            raise UsageError(f"a style has no parameter {key!r}; {near(key, known)}")
    try:
        return replace(STYLES[name], **changes)
    except PromptError as error:
        raise UsageError(f"--style {text}: {error}") from error


def read_templates(given: Sequence[str]) -> str | tuple[str, ...]:
    """The values of --template -> one name, or sentences; several names and sentences are all their sentences.

    Raises UsageError for what is neither.
    """
    if len(given) == 1 and given[0] in TEMPLATES:
        return given[0]
    for text in given:
        if text not in TEMPLATES and text.count("{}") != 1:
            raise UsageError(f"--template {text!r} is no sentence with one {{}}, and no set; {near(text, TEMPLATES)}")
    sentences = [sentence for text in given for sentence in TEMPLATES.get(text, (text,))]
    return tuple(dict.fromkeys(sentences)) or "plain"


def read_phrase(text: str, templates: str | tuple[str, ...]) -> Term:
    """A phrase or an expression -> a prompt or an expression, its phrases in the templates. Raises PromptError."""
    from clipseg.prompting.parsing import parsed
    from clipseg.prompting.prompts import TextPrompt

    return parsed(text, lambda phrase: TextPrompt(phrase, templates=templates))
