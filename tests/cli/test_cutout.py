"""`clipseg cutout`."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from clipseg import Segmenter

ASKED = ("-p", "a cat", "--threshold", "area:0.3")


def masks_of(model, **options):
    return Segmenter.from_pretrained(model).segment("cat.png", "a cat").with_options(threshold="area:0.3", **options)


def cut(record) -> np.ndarray:
    with Image.open(record["file"]) as picture:
        return np.asarray(picture)


def test_on_transparency(call, draw, model) -> None:
    draw("cat.png")
    (record,) = call("cutout", "cat.png", *ASKED, "--model", model).records
    inside = masks_of(model).binary()[0].numpy()
    pixels = cut(record)
    assert record["file"] == "cat.a-cat.cutout.png"
    assert record["area"] == inside.sum()
    assert (pixels[..., 3] == inside * 255).all()
    with Image.open("cat.png") as picture:
        assert (pixels[inside][:, :3] == np.asarray(picture)[inside]).all()
    assert not pixels[~inside].any()


def test_feathered_and_soft(call, draw, model) -> None:
    draw("cat.png")
    (record,) = call("cutout", "cat.png", *ASKED, "--model", model, "--feather", 2).records
    assert (cut(record)[..., 3] == (masks_of(model, feather=2).matte()[0] * 255).round().numpy()).all()
    (record,) = call("cutout", "cat.png", *ASKED, "--model", model, "--soft").records
    assert (cut(record)[..., 3] == (masks_of(model).soft()[0] * 255).round().numpy()).all()


def test_cropped_on_a_colour(call, draw, model) -> None:
    draw("cat.png")
    arguments = ("--background", "#ff0000", "--crop", "--margin", 2, "--keep", "largest")
    (record,) = call("cutout", "cat.png", *ASKED, "--model", model, *arguments).records
    x0, y0, x1, y1 = record["box"]
    x0, y0, x1, y1 = max(0, x0 - 2), max(0, y0 - 2), min(40, x1 + 2), min(30, y1 + 2)
    inside = masks_of(model, keep="largest").binary()[0].numpy()[y0:y1, x0:x1]
    pixels = cut(record)
    assert pixels.shape == (y1 - y0, x1 - x0, 3)
    assert (pixels[~inside] == (255, 0, 0)).all()


def test_instances_each_cropped(call, draw, model) -> None:
    draw("cat.png")
    outcome = call("cutout", "cat.png", *ASKED, "--model", model, "--instances", "--crop")
    parts = masks_of(model).instances()
    assert len(outcome.records) == len(parts) > 0
    for record, part in zip(outcome.records, parts, strict=True):
        assert record["file"] == f"cat.a-cat.{part.number}.cutout.png"
        assert (cut(record)[..., 3] == part.crop.numpy() * 255).all()


def test_nothing_found_is_a_transparent_picture(call, draw, model) -> None:
    draw("cat.png")
    outcome = call("cutout", "cat.png", "-p", "a cat", "--threshold", 1, "--crop", "--model", model, "--fail-if-empty")
    assert outcome.code == 11
    assert not cut(outcome.records[0]).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--background", "reddish"], "'reddish' is no colour"),
        (["--margin", "3"], "--margin is of --crop"),
        (["--crop", "--margin", "wide"], "margin is 'wide'"),
    ],
)
def test_refused(call, draw, arguments, message) -> None:
    draw("cat.png")
    outcome = call("cutout", "cat.png", "-p", "cat", *arguments)
    assert outcome.code == 2
    assert message in outcome.error
