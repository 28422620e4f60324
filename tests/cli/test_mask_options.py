"""Every row of the table of mask options is an option, and reaches the mask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from clipseg import Segmenter
from clipseg.cli import mask_options
from clipseg.cli.inputs import Picture
from clipseg.cli.mask_options import existing_mask, read_finish
from clipseg.errors import PictureNotFoundError
from clipseg.fits import DEFAULT_FIT, FITS
from clipseg.masks.options import DEFAULT_OPTIONS, OPTIONS, MaskOptions
from clipseg.tiling import OVERLAP, TILE

BASE = {"threshold": "area:0.4"}  # a tiny model's masks would be empty or full
CHANGES: dict[str, dict[str, Any]] = {
    "competition": {"competition": "argmax"},
    "combine": {"combine": "product", "threshold": 0.3},
    "normalize": {"normalize": "minmax", "threshold": 0.5},
    "upsample": {"upsample": "nearest"},
    "refine": {"refine": "guided"},
    "smooth": {"smooth": 3},
    "median": {"median": "30%"},
    "threshold": {"threshold": "area:0.2"},
    "grow": {"grow": 3},
    "shrink": {"shrink": "5%"},
    "shape": {"grow": 3, "shape": "square"},
    "fill_holes": {"fill_holes": True},
    "min_area": {"min_area": "20%"},
    "keep": {"keep": "right-to-left:1"},
    "invert": {"invert": True},
    "feather": {"feather": 2},
    "compose": {"compose": "subtract"},
    "alpha": {"compose": "blend", "alpha": 0.2},
}


def flags(changes: dict[str, Any]) -> list[str]:
    """Options as a person types them."""
    typed = []
    for name, value in changes.items():
        flag = f"--{name.replace('_', '-')}"
        typed += [flag] if value is True else [flag, str(value)]
    return typed


def mask_of(path: str) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.mode == "L"
        return np.asarray(picture)


def half() -> Image.Image:
    """What was there before: the left half, in grey."""
    levels = np.zeros((30, 40), np.uint8)
    levels[:, :20] = 200
    return Image.fromarray(levels)


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_reaches_the_mask(call, draw, model, name) -> None:
    draw("cat.png")
    changes = {**BASE, **CHANGES[name]}
    arguments = ["segment", "cat.png", "-p", "a cat", "-p", "wood", "--model", model, "--no-overlay", *flags(changes)]
    if "compose" in changes:
        half().save("before.png")
        arguments += ["--existing", "before.png"]
    outcome = call(*arguments)
    assert (outcome.code, outcome.err) == (0, "")
    masks = Segmenter.from_pretrained(model).segment("cat.png", ["a cat", "wood"]).with_options(MaskOptions(**changes))
    masks = masks.combined() if "combine" in changes else masks
    masks = masks.onto(half()) if "compose" in changes else masks
    assert [record["label"] for record in outcome.records] == list(masks.labels)
    written = [mask_of(record["file"]) for record in outcome.records]
    levels = "feather" in changes or "compose" in changes
    expected = (masks.matte() * 255).round() if levels else masks.binary() * 255
    assert (np.stack(written) == expected.numpy().astype(np.uint8)).all()
    if name != "fill_holes":  # these have none
        plain = masks.with_options(DEFAULT_OPTIONS, **BASE).binary() * 255
        assert (np.stack(written) != plain.numpy()).any()


def test_the_rows_are_tried_all() -> None:
    assert set(CHANGES) == set(OPTIONS)


def test_help_shows_every_option_with_its_values(call, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    text = " ".join(call("segment", "--help").out.split())
    for name, row in OPTIONS.items():
        flag = f"--{name.replace('_', '-')}"
        assert flag in text
        shown = {True: "yes", False: "no"}[row.default] if isinstance(row.default, bool) else row.default
        assert name == "combine" or f"[default: {shown}]" in text[text.index(f" {flag} ") :]
        assert all(choice in text for choice in row.choices)


def test_what_is_written_out_for_the_help_is_the_library_s() -> None:
    assert tuple(FITS) == mask_options.FITS
    assert (mask_options.FIT, mask_options.TILE, mask_options.OVERLAP) == (DEFAULT_FIT, TILE, OVERLAP)


@pytest.mark.parametrize("fit", mask_options.FITS)
def test_fit(call, draw, model, fit) -> None:
    draw("cat.png", (90, 30))
    extra = {"tile": 20, "overlap": "30%"} if fit == "tile" else {}
    arguments = ("-p", "a cat", "--model", model, "--format", "npz:kind=logits", "--no-overlay", "--fit", fit)
    assert call("segment", "cat.png", *arguments, *flags(extra)).code == 0
    expected = Segmenter.from_pretrained(model).segment("cat.png", "a cat", fit=fit, **extra)
    with np.load("cat.npz") as archive:
        assert torch.allclose(torch.from_numpy(archive["maps"]), expected.logits, atol=1e-5)


def test_negatives_and_thresholds_one_each(call, draw, model) -> None:
    draw("cat.png")
    arguments = ("segment", "cat.png", "-p", "a cat", "-p", "wood", "-n", "a remote", "--model", model)
    outcome = call(*arguments, "--threshold", "area:0.1", "--threshold", 0.2)
    masks = Segmenter.from_pretrained(model).segment("cat.png", ["a cat", "wood"], negative="a remote")
    expected = masks.binary(("area:0.1", 0.2))
    for record, inside in zip(outcome.records, expected, strict=True):
        assert (mask_of(record["file"]) == inside.numpy() * 255).all()


# -- masks that were there before ------------------------------------------------------------------------------------


def test_existing_masks_of_a_folder(call, draw, model) -> None:
    draw("in/a.png")
    draw("in/deep/b.jpg")
    draw("in/lost.png")
    for name in ("before/a.png", "before/deep/b.tif"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        half().save(name)
    arguments = ("-p", "cat", "--model", model, "--existing", "before", "--compose", "add", "-o", "out", "--no-overlay")
    outcome = call("segment", "in", "-r", *arguments, "--threshold", 1)
    assert outcome.code == 3
    assert "there is no mask of in/lost.png in before; it would be lost.png" in outcome.err
    assert [record["file"] for record in outcome.records] == ["out/a.cat.mask.png", "out/deep/b.cat.mask.png"]
    for record in outcome.records:
        assert (mask_of(record["file"]) == np.asarray(half())).all()


def test_an_existing_mask_of_another_size(call, draw, model) -> None:
    draw("a.png")
    draw("b.png", (50, 50))
    half().save("before.tif")
    outcome = call(
        "segment", "a.png", "b.png", "-p", "x", "--model", model, "--existing", "before.tif", "--compose", "fill"
    )
    assert outcome.code == 3
    assert "the existing mask before.tif is 30x40 but b.png is 50x50" in outcome.err
    assert [record["picture"] for record in outcome.records] == ["a.png"]


def test_existing_mask_is_found_by_its_stem(folder) -> None:
    with pytest.raises(PictureNotFoundError, match=r"there is no mask of x/a.jpg"):
        existing_mask(folder, Picture("x/a.jpg"))
    (folder / "a.bmp").touch()
    assert existing_mask(folder, Picture("x/a.jpg")) == folder / "a.bmp"
    assert existing_mask(folder / "a.bmp", Picture("other.png")) == folder / "a.bmp"


def test_nothing_given_is_nothing_changed() -> None:
    finish = read_finish({"fit": "squash", "tile": None, "overlap": None, "existing": None}, ["a"])
    assert finish.options == DEFAULT_OPTIONS
    assert (finish.combined, finish.soft, finish.fitting) == (False, False, {"fit": "squash"})
