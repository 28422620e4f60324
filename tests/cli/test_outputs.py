"""Folders proven writable, and formats with their parameters."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from clipseg.cli import outputs
from clipseg.cli.outputs import output_folder
from clipseg.errors import OutputError, UsageError
from clipseg.formats.outputs import MASK, read_formats
from clipseg.formats.table import FORMATS


def test_an_unused_folder_is_gone_again(tmp_path: Path) -> None:
    with output_folder(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()
    assert os.listdir(tmp_path) == []


def test_also_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), output_folder(tmp_path / "a"):
        1 / 0  # noqa: B018
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("overlay:alpha=7", "from 0 to 1; got 7.0"),
        ("overlay:alpha=abc", "from 0 to 1; got 'abc'"),
        ("overlay:alpha=none", "from 0 to 1; got None"),
        ("heatmap:alpha=1/2", "from 0 to 1; got "),
        ("contours:legend=abc", "legend of format contours is 'abc'; expected yes or no"),
        ("cutout:soft=2", "soft of format cutout is 2.0; expected yes or no"),
        ("coco:instances=none", "instances of format coco is None; expected yes or no"),
        ("crops:margin=-5", "margin is -5.0"),
        ("crops:background=nocolour", "'nocolour' is no colour"),
        ("cutout:background=7", "7.0 is no colour"),
        ("heatmap:colormap=rainbow", "colormap is 'rainbow'; known are "),
        ("npz:kind=hard", "kind is 'hard'; known are "),
        ("coco:segmentation=mask", "segmentation is 'mask'; known are "),
        ("voc:quality=1000", "from 1 to 100; got 1000"),
        ("voc:split=../x", "a split is a name"),
        ("yolo:classes=a/a", "must not be empty or come twice"),
    ],
)
def test_values_of_parameters_are_checked_before_the_work(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        read_formats([text], soft=False, instances=False)


def test_values_of_parameters_that_are_fine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = "heatmap:alpha=none,colormap=ice,cutout:background=none,crops:margin=5%,npz:kind=soft,voc:quality=90"
    assert len(read_formats([text], soft=False, instances=False)) == 5
    (coco,) = read_formats(["coco:classes=a bus/a lion"], soft=False, instances=False)
    assert coco.parameters == {"classes": ("a bus", "a lion")}
    assert os.listdir(tmp_path) == []


def test_a_used_folder_stays(tmp_path: Path) -> None:
    with output_folder(tmp_path / "a" / "b"):
        (tmp_path / "a" / "file").touch()
    assert os.listdir(tmp_path / "a") == ["file"]


def test_a_folder_that_was_there_stays(tmp_path: Path) -> None:
    with output_folder(tmp_path):
        assert os.listdir(tmp_path) == []
    assert tmp_path.is_dir()


def test_a_file_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is no folder that can be written into"), output_folder(tmp_path / "file"):
        pytest.fail("the block began")


def formats(*texts: str, soft: bool = False, instances: bool = False) -> dict[str, outputs.Output]:
    return {output.name: output for output in read_formats(texts, soft=soft, instances=instances)}


def test_without_a_format() -> None:
    assert list(formats()) == [MASK]
    assert formats()[MASK].kind == "mask"
    assert list(formats(soft=True)) == ["soft"]


def test_every_format_by_its_name_in_order_and_once() -> None:
    names = list(reversed(FORMATS))
    assert list(formats(",".join(names), names[0])) == names


def test_parameters() -> None:
    found = formats("coco:segmentation=polygons,cutout:background=white,soft")
    assert found["coco"].parameters == {"segmentation": "polygons"}
    assert found["cutout"].parameters == {"background": "white"}
    assert found["soft"].parameters == {}
    assert formats("coco", instances=True)["coco"].parameters == {"instances": True}


def test_what_is_soft_is_written_soft() -> None:
    found = formats("cutout,npz,overlay,soft", soft=True)
    assert found["cutout"].parameters == {"soft": True}
    assert found["npz"].parameters == {"kind": "soft"}


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("sof", {}, "there is no format 'sof'; did you mean 'soft'?"),
        ("qqq", {}, "known are"),
        ("soft:deep=1", {}, "format soft has no parameter 'deep'; known are none"),
        ("coco:threshold=1", {}, "no parameter 'threshold'; known are classes, segmentation, instances"),
        ("labels", {"soft": True}, "needs masks that are decided"),
        ("coco", {"soft": True}, "needs masks that are decided"),
        ("soft", {"instances": True}, "is of whole masks"),
        (":x=1", {}, "there is no format ''"),
        ("x=1", {}, "not to be read at 'x=1'"),
    ],
)
def test_refused_formats(text, options, message) -> None:
    with pytest.raises(UsageError, match=r"^[^\n]*$") as error:
        formats(text, **options)
    assert message in str(error.value)
