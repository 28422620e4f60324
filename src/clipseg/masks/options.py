"""How masks are finished: one table of names, values and defaults for Python, the command line and the server.

    logits -> combine -> upsample -> refine -> smooth -> threshold -> morphology -> components -> invert -> feather
           -> compose

`OPTIONS` is in that order, which is the order in which they apply. A default changes nothing. Lengths are pixels at the
output size or "N%" of its shorter side, areas square pixels or "N%" of the picture.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeAlias

from clipseg.errors import UsageError
from clipseg.masks.lengths import Length, checked_length, finite
from clipseg.masks.rules import DEFAULT_THRESHOLD, KEEPS, THRESHOLDS, parse_keep, parse_rule

if TYPE_CHECKING:
    from clipseg.masks.refine import Refiner

ThresholdOption: TypeAlias = float | str | tuple[float | str, ...] | None

_LENGTH = 'pixels, or "N%" of the shorter side'
_AREA = 'square pixels, or "N%" of the picture'


@dataclass(frozen=True)
class Option:
    """One row of the table.

    Fields
        name     the same everywhere
        step     of the pipeline, as in the docstring above
        default  which changes nothing (other than `threshold`)
        values   what may be given, in words
        help     what it does, in one line
        read     a name and any value -> the value as `MaskOptions` keeps it; raises UsageError
        choices  all values, where they are words
    """

    name: str
    step: str
    default: Any
    values: str
    help: str
    read: Callable[[str, object], Any]
    choices: tuple[str, ...] = ()


def _word(name: str, value: object, choices: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in choices:
        near = get_close_matches(str(value), choices, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UsageError(f"{name} is {value!r}; {hint}known are {', '.join(choices)}")
    return value


def _yes_no(name: str, value: object) -> bool:
    answer = {"yes": True, "true": True, "no": False, "false": False}.get(str(value).lower())
    if answer is None:
        raise UsageError(f"{name} is {value!r}; expected True or False, or yes or no")
    return answer


def _fraction(name: str, value: object) -> float:
    number = finite(value)
    if number is None or not 0 <= number <= 1:
        raise UsageError(f"{name} is {value!r:.80}; expected a number from 0 to 1")
    return number


def _threshold(_: str, value: object) -> ThresholdOption:
    """A threshold, several, or None -> the same with texts that are numbers made numbers."""
    if value is None or (isinstance(value, str) and value == "none"):
        return None
    listed = value.tolist() if hasattr(value, "tolist") else value  # tensors and arrays
    if isinstance(listed, Iterable) and not isinstance(listed, str):
        return tuple(_one_threshold(one) for one in listed)
    return _one_threshold(listed)


def _one_threshold(value: Any) -> float | str:
    parse_rule(value)
    try:
        return float(value)
    except ValueError:
        return str(value)


def _keep(_: str, value: Any) -> str | tuple[int, ...]:
    numbers = parse_keep(value).numbers
    return value if isinstance(value, str) or numbers is None else numbers


def _refine(name: str, value: object) -> str | Refiner:
    return value if callable(value) else _word(name, value, ("none", "guided"))


def _length(name: str, value: object) -> Length:
    return checked_length(name, value, "the shorter side")


def _area(name: str, value: object) -> Length:
    return checked_length(name, value, "the picture")


def _choice(name: str, step: str, choices: tuple[str, ...], help_line: str) -> Option:
    """A row whose values are words, the first of them the default."""
    return Option(
        name, step, choices[0], " | ".join(choices), help_line, lambda name, value: _word(name, value, choices), choices
    )


_ROWS = (
    _choice(
        "competition",
        "combine",
        ("none", "softmax", "argmax"),
        "whether prompts compete for a pixel: each for itself, sharing it, or the most probable takes it",
    ),
    _choice(
        "combine", "combine", ("max", "mean", "sum", "product"), "how several prompts become one mask, if asked to"
    ),
    _choice("normalize", "combine", ("none", "minmax"), "stretch each map to 0 to 1; says nothing about presence then"),
    _choice("upsample", "upsample", ("bilinear", "nearest", "bicubic"), "how logits get the size of the picture"),
    Option("refine", "refine", "none", "none | guided, or a Refiner", "follow the edges of the picture", _refine),
    Option("smooth", "smooth", 0, _LENGTH, "standard deviation of a gaussian over the probabilities", _length),
    Option("median", "smooth", 0, _LENGTH, "side of the window of a median over the probabilities", _length),
    Option(
        "threshold",
        "threshold",
        DEFAULT_THRESHOLD,
        f"{THRESHOLDS}; one per label; none",
        "where a probability becomes yes; none gives a soft result",
        _threshold,
    ),
    Option("grow", "morphology", 0, _LENGTH, "how far a mask grows", _length),
    Option("shrink", "morphology", 0, _LENGTH, "how far a mask shrinks, after it grew", _length),
    _choice("shape", "morphology", ("disk", "square"), "of what grows and shrinks"),
    Option("fill_holes", "morphology", False, "yes | no", "fill what a mask encloses", _yes_no),
    Option("min_area", "components", 0, _AREA, "smallest connected part that stays", _area),
    Option("keep", "components", "all", KEEPS, "which connected parts stay", _keep),
    Option("invert", "invert", False, "yes | no", "everything but the mask", _yes_no),
    Option("feather", "feather", 0, _LENGTH, "standard deviation of a gaussian over the finished mask", _length),
    _choice(
        "compose",
        "compose",
        ("replace", "fill", "add", "subtract", "intersect", "blend"),
        "what becomes of an existing mask",
    ),
    Option("alpha", "compose", 0.5, "0 to 1", "weight of the new mask where it is blended with one", _fraction),
)

OPTIONS: Mapping[str, Option] = {row.name: row for row in _ROWS}
"""Every option by its name, in the order they apply."""


@dataclass(frozen=True, kw_only=True)
class MaskOptions:
    """What `OPTIONS` explains, as one value that can be compared and hashed.

    Texts are read as on a command line ("5", "yes", "0.4"), and kept as what they say. Raises UsageError for a value
    that is not known, listing those that are.
    """

    competition: str = OPTIONS["competition"].default
    combine: str = OPTIONS["combine"].default
    normalize: str = OPTIONS["normalize"].default
    upsample: str = OPTIONS["upsample"].default
    refine: str | Refiner = OPTIONS["refine"].default
    smooth: Length = OPTIONS["smooth"].default
    median: Length = OPTIONS["median"].default
    threshold: ThresholdOption = OPTIONS["threshold"].default
    grow: Length = OPTIONS["grow"].default
    shrink: Length = OPTIONS["shrink"].default
    shape: str = OPTIONS["shape"].default
    fill_holes: bool = OPTIONS["fill_holes"].default
    min_area: Length = OPTIONS["min_area"].default
    keep: str | int | tuple[int, ...] = OPTIONS["keep"].default
    invert: bool = OPTIONS["invert"].default
    feather: Length = OPTIONS["feather"].default
    compose: str = OPTIONS["compose"].default
    alpha: float = OPTIONS["alpha"].default

    def __post_init__(self) -> None:
        for name, option in OPTIONS.items():
            object.__setattr__(self, name, option.read(name, getattr(self, name)))

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> MaskOptions:
        """Names and values -> options, the rest at their defaults. Raises UsageError for a name that is not known."""
        return cls().replace(**values)

    def replace(self, **changes: Any) -> MaskOptions:
        """-> the same but for these. Raises UsageError for a name that is not known, with the nearest that is."""
        for name in changes:
            if name not in OPTIONS:
                near = get_close_matches(name, OPTIONS, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(OPTIONS)}"
                raise UsageError(f"there is no mask option {name!r}; {hint}")
        return dataclasses.replace(self, **changes)


DEFAULT_OPTIONS = MaskOptions()
"""Nothing but the default threshold."""
