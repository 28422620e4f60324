"""`clipseg heatmap`."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from clipseg import Segmenter
from clipseg.cli import heatmap as command
from clipseg.formats.colormaps import ANCHORS, DEFAULT_COLORMAP
from clipseg.formats.drawings import heat_map


def test_the_default_is_the_library_s() -> None:
    assert command.COLORMAP == DEFAULT_COLORMAP


@pytest.mark.parametrize("opacity", [None, 0.3])
@pytest.mark.parametrize("colours", list(ANCHORS)[:2])
def test_heat_maps(call, draw, model, opacity, colours) -> None:
    draw("cat.png")
    extra = () if opacity is None else ("--opacity", opacity)
    arguments = ("-p", "a cat", "-p", "wood", "--smooth", 2, "--model", model, "--colormap", colours)
    outcome = call("heatmap", "cat.png", *arguments, *extra)
    assert (outcome.code, outcome.err) == (0, "")
    masks = Segmenter.from_pretrained(model).segment("cat.png", ["a cat", "wood"]).with_options(smooth=2)
    for record, soft in zip(outcome.records, masks.soft(), strict=True):
        on = () if opacity is None else (masks.picture, opacity)
        with Image.open(record["file"]) as picture:
            assert (np.asarray(picture) == np.asarray(heat_map(soft.numpy(), colours, *on))).all()
        assert record["area"] is None
    assert [record["file"] for record in outcome.records] == ["cat.a-cat.heatmap.png", "cat.wood.heatmap.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--colormap", "rainbow"], "rainbow"),
        (["--opacity", "2"], "2.0 is not in the range"),
        (["--threshold", "0.4"], "No such option '--threshold'"),
        (["--keep", "largest"], "No such option '--keep'"),
    ],
)
def test_refused(call, draw, arguments, message) -> None:
    draw("cat.png")
    outcome = call("heatmap", "cat.png", "-p", "cat", *arguments)
    assert outcome.code == 2
    assert message in outcome.error
