"""How masks are finished, as options: a row of `masks.options.OPTIONS` each, and what stands around them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipseg.cli.inputs import Picture, is_file
from clipseg.cli.options import Adder, added, option
from clipseg.cli.values import near
from clipseg.errors import PictureError, PictureNotFoundError, UsageError
from clipseg.masks.options import OPTIONS, MaskOptions, Option
from clipseg.processing.images import SUFFIXES

if TYPE_CHECKING:
    from clipseg.masks.masks import Masks

# The library's own, written out so that help needs no torch; a test holds them together.
FITS = ("squash", "letterbox", "crop", "tile")
FIT, TILE, OVERLAP = "squash", "33%", "25%"

DECIDING = ("threshold", "morphology", "components")
"""Steps that a soft result has no use for."""

_HELP = {
    "combine": "make one mask of all prompts, in this way: {values}.  [default: each prompt keeps its own]",
    "refine": "{help}: none | guided.  [default: {default}]",
    "threshold": "where a probability becomes yes: {values}; none gives a soft result; repeated, it is one for "
    "each prompt.  [default: {default}]",
}


def mask_options(*, without: tuple[str, ...] = ()) -> Adder:
    """-> what adds the options of masks to a command, but for those of some steps, which it has no use for."""
    rows = [row for row in OPTIONS.values() if row.step not in without]
    existing = option(
        "Masks", "--existing", metavar="MASK|DIR",
        help="Masks that were there before, for --compose: a file, or a folder with one for each picture, of the "
        "picture's name.",
    )  # fmt: skip
    return added(
        option(
            "Masks", "--fit", default=FIT, show_default=True, metavar="NAME",
            help=f"How a picture is brought to the model's input: {', '.join(FITS)}.",
        ),
        option("Masks", "--tile", metavar="LENGTH", help=f"Side of a tile, with --fit tile.  [default: {TILE}]"),
        option(
            "Masks", "--overlap", metavar="LENGTH",
            help=f"How far tiles overlap, in pixels or \"N%\" of a tile.  [default: {OVERLAP}]",
        ),
        *map(_mask_option, rows),
        *(() if "compose" in without else (existing,)),
    )  # fmt: skip


def _mask_option(row: Option) -> Adder:
    """A row of the table -> the decorator. The text is read by `Option.read`, with all others."""
    flag = f"--{row.name.replace('_', '-')}"
    default = {True: "yes", False: "no"}.get(row.default) if isinstance(row.default, bool) else row.default
    words = {"help": row.help, "values": row.values.removesuffix("; one per label; none"), "default": default}
    text = _HELP.get(row.name, "{help}: {values}.  [default: {default}]").format(**words)
    text = text[0].upper() + text[1:]
    if isinstance(row.default, bool):
        text = f"{row.help[0].upper()}{row.help[1:]}.  [default: {default}]"
        return option("Masks", f"{flag}/--no-{flag[2:]}", row.name, default=None, help=text)
    return option("Masks", flag, row.name, multiple=row.name == "threshold", metavar="VALUE", help=text)


@dataclass(frozen=True)
class Finish:
    """How masks are made and finished.

    Fields
        options   of `Masks.with_options`
        combined  whether all prompts become one mask
        fitting   keywords of `Segmenter.segment_many`: fit, tile, overlap
        existing  a file or folder of masks for `compose`, or None
    """

    options: MaskOptions
    combined: bool
    fitting: Mapping[str, Any]
    existing: Path | None

    @property
    def soft(self) -> bool:
        """Whether nothing is decided: a result of probabilities."""
        return self.options.threshold is None

    def finished(self, masks: Masks, picture: Picture) -> Masks:
        """A picture's masks -> the same, finished. Raises PictureError where its existing mask does not fit."""
        masks = masks.with_options(self.options)
        if self.combined:
            masks = masks.combined()
        return masks if self.existing is None else masks.onto(self._existing(picture, masks.size_hw))

    def _existing(self, picture: Picture, size_hw: tuple[int, int]) -> Any:
        from clipseg.processing.images import to_rgb

        path = existing_mask(self.existing, picture) if self.existing is not None else Path()
        mask = to_rgb(path).convert("L")
        if (mask.height, mask.width) != size_hw:
            sizes = f"{mask.height}x{mask.width} but {picture.path} is {size_hw[0]}x{size_hw[1]}"
            raise PictureError(f"the existing mask {path} is {sizes}; it must be of its picture's size")
        return mask


def existing_mask(place: Path, picture: Picture) -> Path:
    """A file, or a folder -> the file for a picture: at the same place below the folder, with the same stem.

    Raises PictureNotFoundError.
    """
    if not place.is_dir():
        return place
    folder = place / picture.below
    for suffix in (".png", *SUFFIXES):
        path = folder / f"{picture.stem}{suffix}"
        if path.is_file():
            return path
    raise PictureNotFoundError(f"there is no mask of {picture.path} in {folder}; it would be {picture.stem}.png")


def read_finish(values: Mapping[str, Any], labels: Iterable[str]) -> Finish:
    """The values of the options, and the labels of the prompts -> how masks are finished.

    Raises UsageError for what is not known or contradicts itself, and PictureNotFoundError where no mask is.
    """
    given = {name: values.get(name) for name in OPTIONS}
    changes = {name: value for name, value in given.items() if value not in (None, ())}
    thresholds = changes.pop("threshold", ())
    combined, count = "combine" in changes, len(tuple(labels))
    expected = 1 if combined else count
    if len(thresholds) not in (0, 1, expected):
        raise UsageError(
            f"--threshold is given {len(thresholds)} times for {expected} masks; give one, or one for each"
        )
    if thresholds:
        changes["threshold"] = thresholds[0] if len(thresholds) == 1 else thresholds
    options = MaskOptions.from_mapping(changes)
    place = None if values.get("existing") is None else Path(values["existing"]).expanduser()
    if place is None and options.compose != "replace":
        raise UsageError(f"--compose {options.compose} needs masks that were there before; name them by --existing")
    if place is not None and options.compose == "replace":
        raise UsageError(
            "--existing without --compose would have no effect; say what becomes of it, such as --compose add"
        )
    if place is not None and not (is_file(str(place)) or place.is_dir()):
        raise PictureNotFoundError(f"there is no mask or folder {place} for --existing")
    return Finish(options, combined, _fitting(values), place)


def _fitting(values: Mapping[str, Any]) -> dict[str, Any]:
    fit = values["fit"]
    if fit not in FITS:
        raise UsageError(f"fit is {fit!r}; {near(fit, FITS)}")
    lengths = {name: values[name] for name in ("tile", "overlap") if values[name] is not None}
    if lengths and fit != "tile":
        raise UsageError(f"--{next(iter(lengths))} is of tiles; add --fit tile, or leave it out")
    from clipseg.masks.lengths import checked_length

    fitting = {"fit": fit, **{name: checked_length(name, text, "the shorter side") for name, text in lengths.items()}}
    from clipseg.fits import Fit

    Fit.of(fit, fitting.get("tile"), fitting.get("overlap"))  # raises for tiles that cannot be
    return fitting
