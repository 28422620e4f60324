"""What a run is asked to do: written down, read again, compared."""

from __future__ import annotations

import dataclasses
import json

import pytest

from clipseg.batch.jobs import job_of
from clipseg.batch.settings import FEWEST_PARTS, LARGEST_PART, BatchConfig, deciding, differing, fingerprint
from clipseg.errors import ConfigurationError, UsageError
from clipseg.masks.options import OPTIONS
from clipseg.prompting.prompts import EmbeddingPrompt, TextPrompt

EVERYTHING = {
    "negative": ["a jar"], "limit": 9, "combine": "mean", "fit": "tile", "tile": "50%", "overlap": "10%",
    "reduced_decoding": True, "heatmap": True, "dtype": "bfloat16", "backend": "onnx", "batch_size": 3,
    "rows_per_part": 7, "threshold": (0.3, "otsu"), "grow": "1%", "keep": (1, 2), "model": "nano",
}  # fmt: skip


def config(**changes: object) -> BatchConfig:
    return job_of("/in", ["a cat", TextPrompt("wood", templates="photo")], **{"model": "nano", **changes}).config


def decided(**changes: object) -> dict:
    return deciding(config(**changes), "weights", "1.0")


def test_all_of_it_survives_being_written():
    whole = config(**EVERYTHING)
    again = BatchConfig.from_json(json.loads(json.dumps(whole.to_json())))
    assert again == whole
    assert again.options == whole.options
    assert whole.options.keep == (1, 2)
    changed = {one.name for one in dataclasses.fields(whole) if getattr(whole, one.name) != getattr(config(), one.name)}
    assert changed >= {name for name in EVERYTHING if name not in OPTIONS or name == "combine"} - {"model"}


def test_a_key_of_another_version_is_named():
    content = config().to_json()
    with pytest.raises(ConfigurationError, match="no setting 'sharpness'"):
        BatchConfig.from_json({**content, "sharpness": 1})
    del content["prompts"]
    with pytest.raises(ConfigurationError, match=r"cannot be read .*prompts"):
        BatchConfig.from_json(content)


def test_everything_decides_but_what_the_model_is_called():
    same, tiles = decided(), decided(fit="tile")
    for name, value in EVERYTHING.items():
        if name in ("tile", "overlap"):
            assert decided(fit="tile", **{name: value}) != tiles
        else:
            assert (decided(**{name: value}) == same) == (name == "model"), name
    assert fingerprint(same, "a") != fingerprint(same, "b")
    assert fingerprint(same, "a") != fingerprint(deciding(config(), "others", "1.0"), "a")


def test_the_defaults_said_aloud_are_the_defaults():
    assert decided(fit="squash", threshold="0.4", smooth=0, dtype="auto", batch_size=8) == decided()


def test_differences_are_told_in_few_words():
    (told,) = differing(decided(limit=3), decided())
    assert told == "limit (None there, 3 here)"
    one, other = (job_of("/in", EmbeddingPrompt([x, 1.0]), model="nano").config for x in (0.0, 1.0))
    (told,) = differing(deciding(one, "w", "1"), deciding(other, "w", "1"))
    assert told == "prompts ('embedding' there, 'embedding' here)"
    long = job_of("/in", [f"thing number {n}" for n in range(50)], model="nano").config
    assert all(len(told) < 250 for told in differing(deciding(long, "w", "1"), decided()))


@pytest.mark.parametrize(
    ("rows", "size"),
    [(1, 8), (100, 8), (8 * FEWEST_PARTS + 1, 16), (10_000, 160), (32_768, 512), (10**9, LARGEST_PART)],
)
def test_few_pictures_have_small_parts(rows, size):
    assert config().part_size(rows) == size
    assert config(rows_per_part=5).part_size(rows) == 5


def test_no_pictures_at_all():
    with pytest.raises(UsageError, match="no pictures given"):
        job_of([], "a cat", model="nano")


def test_labels_are_those_of_the_masks():
    assert config().labels == ("a cat", "wood")
    assert config(combine="max").labels == ("a cat | wood",)
