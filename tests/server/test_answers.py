"""Masks as JSON and PNG files, and as a zip."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ready
from clipseg.errors import UsageError
from clipseg.masks.masks import Masks
from clipseg.masks.presence import Presence
from clipseg.server import bundles
from clipseg.server.answers import png, records
from clipseg.server.bundles import bundle
from clipseg.server.refusals import GoneError
from clipseg.server.tickets import Ticket

LOGITS = torch.stack((torch.linspace(-4, 4, 40).expand(30, 40), torch.full((30, 40), -9.0)))


def made(**options: object) -> Masks:
    return Masks(LOGITS, ("right", "nothing"), (60, 80), ready.picture(0, 80, 60)).with_options(**options)


def go_on() -> None:
    """Nobody has left."""


def test_records() -> None:
    right, nothing = records(made(), ["rle", "polygons", "instances", "masks", "maps"], None, go_on)
    assert right["box"] == [made().boxes()[0, 0], 0, 80, 60]
    assert right["area"] == int(made().areas()[0])
    assert (nothing["box"], nothing["area"], nothing["polygons"], nothing["instances"]) == (None, 0, [], [])
    assert right["presence"] is None
    json.dumps([right, nothing])


def test_presence_where_it_was_measured() -> None:
    calibration = Presence(1.0, 0.0)
    right, nothing = records(made(), ["scores"], calibration, go_on)
    assert right["presence"] == pytest.approx(right["score"], abs=1e-3)
    assert nothing["presence"] < 0.01
    assert all(row["presence"] is None for row in records(made(competition="softmax"), ["scores"], calibration, go_on))


def test_edges_have_their_levels() -> None:
    def levels(masks: Masks) -> set[int]:
        return set(np.asarray(Image.open(io.BytesIO(png(masks)))).ravel().tolist())

    assert levels(made()[:1]) == {0, 255}
    assert len(levels(made(feather=3)[:1])) > 5
    assert len(levels(made(threshold=None)[:1])) > 50
    assert levels(made()) == {0, 1}


def test_soft_masks_decide_nothing() -> None:
    for name in ("rle", "polygons", "boxes", "instances"):
        with pytest.raises(UsageError, match=name):
            list(records(made(threshold=None), [name], None, go_on))
    with pytest.raises(UsageError, match="coco"):
        bundle(made(threshold=None), ["coco"], "a", instances=False, answer={}, check=go_on)


def test_work_for_nobody_ends() -> None:
    ticket = Ticket(30)
    ticket.give_up()
    with pytest.raises(GoneError):
        list(records(made(), ["rle"], None, ticket.check))
    with pytest.raises(GoneError):
        bundle(made(), ["png"], "a", instances=False, answer={}, check=ticket.check)


@pytest.mark.parametrize("is_memory", [True, False])
def test_a_zip_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_memory: bool) -> None:
    monkeypatch.setattr(bundles, "MEMORY", tmp_path if is_memory else tmp_path / "none")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    content = bundle(made(), ["png", "soft"], "/etc/../..", instances=False, answer={"a": 1}, check=go_on)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.namelist()[0] == "etc.nothing.mask.png"
        assert json.loads(archive.read("masks.json")) == {"a": 1}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["crops:margin=none", "cutout:background=7", "voc:quality=no"])
def test_parameters_of_no_use(text: str) -> None:
    with pytest.raises(UsageError):
        bundle(made(), [text], "a", instances=False, answer={}, check=go_on)
    with pytest.raises(UsageError, match="split"):
        bundle(made(), ["voc:split=../../a"], "a", instances=False, answer={}, check=go_on)
