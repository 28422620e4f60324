"""A segmenter says how likely a label is to be there, where its model was calibrated."""

from pathlib import Path

import pytest

import ready
from clipseg.errors import CheckpointError, UsageError
from clipseg.masks.presence import PRESENCE_FILE, Presence
from clipseg.segmenter import Segmenter

SCENE = Path(__file__).parents[1] / "examples" / "scenes" / "four.png"


def test_nano_tells_what_is_there() -> None:
    nano = Segmenter.from_pretrained("nano")
    masks = nano.segment(SCENE, ["a lion", "a violin", "a lion AND NOT a violin"])
    there, absent, both = nano.presence(masks).tolist()
    assert absent < 0.2 < 0.9 < there
    assert both > 0.9
    assert nano.calibration is not None
    assert nano.calibration.measured["calibration_error"] < 0.03


def test_a_model_without_calibration_says_so() -> None:
    segmenter = ready.segmenter()
    with pytest.raises(UsageError, match="presence was not measured for this model"):
        segmenter.presence(segmenter.segment(SCENE, "a lion"))
    measured = Segmenter(segmenter.model, segmenter.processor, calibration=Presence(1.0, 0.0))
    masks = measured.segment(SCENE, "a lion")
    assert measured.presence(masks).tolist() == pytest.approx(masks.scores().tolist(), abs=1e-6)


def test_it_comes_with_the_model(tmp_path: Path) -> None:
    segmenter = ready.segmenter()
    segmenter.model.save_pretrained(tmp_path)
    segmenter.processor.save_pretrained(tmp_path)
    assert Segmenter.from_pretrained(tmp_path, device="cpu").calibration is None
    (tmp_path / PRESENCE_FILE).write_text('{"slope": 2, "offset": -1}')
    assert Segmenter.from_pretrained(tmp_path, device="cpu").calibration == Presence(2.0, -1.0)
    (tmp_path / PRESENCE_FILE).write_text('{"slope": 2}')
    with pytest.raises(CheckpointError, match=PRESENCE_FILE):
        Segmenter.from_pretrained(tmp_path, device="cpu")
