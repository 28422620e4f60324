"""What a run is asked to do, as one value: written down in its folder, and compared with what it is asked later."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clipseg.batch.wording import WrittenPhrase, WrittenTerm
from clipseg.errors import ConfigurationError, UsageError
from clipseg.fits import DEFAULT_FIT, Fit
from clipseg.masks.lengths import Length
from clipseg.masks.options import DEFAULT_OPTIONS, OPTIONS, MaskOptions

LARGEST_PART = 512
FEWEST_PARTS = 64
"""So many parts at least, where there are pictures for them: what is lost when a process is killed is one part."""

_COMBINED = " | "


@dataclass(frozen=True, kw_only=True)
class BatchConfig:
    """All that decides what comes out.

    Fields
        source            where pictures come from, see `sources`
        limit             of these the first few; None: all
        prompts           what is looked for
        negative          what is not wanted
        phrases           every prompt in both
        combine           how all prompts become one mask; None: each keeps its own
        fit, tile, overlap, reduced_decoding
                          see `Segmenter.encode`
        mask              options of masks that are not at their defaults
        heatmap           whether the low-resolution map of each prompt is kept as well
        model             a folder, "nano" or a hub id; its weights, not its name, are what counts
        dtype, backend    see `Segmenter.from_pretrained`
        batch_size        pictures that go through the model together, at most; with 8-bit weights masks depend on it
        rows_per_part     rows of the manifest in a part; None: of few pictures fewer
    """

    source: tuple[str, ...]
    prompts: tuple[WrittenTerm, ...]
    phrases: tuple[WrittenPhrase, ...]
    negative: tuple[WrittenTerm, ...] = ()
    limit: int | None = None
    combine: str | None = None
    fit: str = DEFAULT_FIT
    tile: Length | None = None
    overlap: Length | None = None
    reduced_decoding: bool = False
    mask: Mapping[str, Any] = field(default_factory=dict)
    heatmap: bool = False
    model: str = "nano"
    dtype: str = "auto"
    backend: str = "torch"
    batch_size: int = 8
    rows_per_part: int | None = None

    def __post_init__(self) -> None:
        for name in ("limit", "batch_size", "rows_per_part"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} is {value}; expected at least 1")
        if not self.source:
            raise UsageError("no pictures given; name a folder, a pattern, a table or tar files")
        Fit.of(self.fit, self.tile, self.overlap)
        options = self.options
        if options.threshold is None:
            raise UsageError("a batch keeps masks, so it needs a threshold; heatmap keeps the probabilities as well")
        if options.compose != "replace":
            raise UsageError(f"compose is {options.compose!r}, but a batch has no masks from before; leave it out")

    @property
    def options(self) -> MaskOptions:
        """-> how masks are finished."""
        changes = dict(self.mask) if self.combine is None else {**self.mask, "combine": self.combine}
        return MaskOptions.from_mapping(changes)

    @property
    def labels(self) -> tuple[str, ...]:
        """-> the label of each mask of a picture that has no prompts of its own."""
        labels = tuple(one.label for one in self.prompts)
        return labels if self.combine is None else (_COMBINED.join(labels),)

    def part_size(self, rows: int) -> int:
        """Rows of the manifest -> those of a part: a multiple of the batch size where that was not said."""
        if self.rows_per_part is not None:
            return self.rows_per_part
        fair = -(-rows // FEWEST_PARTS)
        return min(LARGEST_PART, max(1, -(-fair // self.batch_size)) * self.batch_size)

    def to_json(self) -> dict[str, Any]:
        """-> plain values, as `from_json` reads them."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return plain

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> BatchConfig:
        """Plain values -> the configuration. Raises ConfigurationError for a key that is not known, or missing."""
        known = {one.name for one in dataclasses.fields(cls)}
        strange = sorted(content.keys() - known)
        if strange:
            raise ConfigurationError(f"a run has no setting {strange[0]!r}; it is of another version of clipseg")
        values = dict(content)
        try:
            for name, kind in (("prompts", WrittenTerm), ("negative", WrittenTerm), ("phrases", WrittenPhrase)):
                values[name] = tuple(kind(**_tuples(one)) for one in values[name])
            values["source"] = tuple(values["source"])
            values["mask"] = _tuples(values["mask"])
            return cls(**values)
        except (KeyError, TypeError) as error:
            raise ConfigurationError(f"the settings of this run cannot be read ({error})") from error


def changed_options(options: MaskOptions) -> dict[str, Any]:
    """Options -> those that are not at their defaults, as plain values. Raises UsageError for a Refiner."""
    changed = {}
    for name in OPTIONS:
        value = getattr(options, name)
        if callable(value):
            raise UsageError(f"{name} is a function, which cannot be written down; name one: none | guided")
        if value != getattr(DEFAULT_OPTIONS, name):
            changed[name] = value
    return changed


def deciding(config: BatchConfig, weights: str, version: str) -> dict[str, Any]:
    """A configuration, the sum of the model's weights and the version of the code -> all that decides what comes out.

    The fingerprint is a hash of it and of the manifest. Names of keys are those that a refusal names.
    """
    settings = config.to_json()
    del settings["model"]
    terms = {name: [[one["label"], one["id"]] for one in settings[name]] for name in ("prompts", "negative")}
    del settings["phrases"]
    return {**settings, **terms, "weights": weights, "version": version}


def differing(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """What two runs decide by -> the keys that differ, each with both values, for people."""
    return [
        f"{key} ({_told(theirs.get(key))} there, {_told(ours.get(key))} here)"
        for key in sorted(ours.keys() | theirs.keys())
        if ours.get(key) != theirs.get(key)
    ]


def fingerprint(decided: Mapping[str, Any], manifest: str) -> str:
    """All that decides what comes out, and the sum of the manifest -> a hash of both."""
    return hashlib.sha256(json.dumps([decided, manifest], sort_keys=True).encode()).hexdigest()


def _told(value: Any) -> str:
    """A value -> a short text; of prompts their labels."""
    pairs = isinstance(value, list) and value and all(isinstance(one, list) for one in value)
    text = ", ".join(repr(label) for label, _ in value) if pairs else repr(value)
    return text if len(text) < 80 else f"{text[:77]}…"


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
