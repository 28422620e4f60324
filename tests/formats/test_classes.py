import xml.etree.ElementTree as ElementTree

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from clipseg.errors import DataError, UsageError
from clipseg.formats.classes import Classes, one_line


def test_numbers_in_the_order_in_which_names_came() -> None:
    classes = Classes(["cat", "a  dog"])
    assert [classes.number(label) for label in ("a dog", "bus", "cat", " bus\n")] == [1, 2, 0, 2]
    assert classes.names == ("cat", "a dog", "bus")


def test_names_that_a_file_has_come_first() -> None:
    assert Classes(["bus", "cat"]).after(["dog", "cat"], "file").names == ("dog", "cat", "bus")
    with pytest.raises(DataError, match=r"^data\.yaml: names of classes must not"):
        Classes().after(["cat", "cat"], "data.yaml")


@pytest.mark.parametrize("names", ["cat", [1], ["cat", " cat"], [""], ["\x00"]])
def test_no_names(names: object) -> None:
    with pytest.raises(UsageError):
        Classes(names)


def test_an_empty_label() -> None:
    with pytest.raises(UsageError, match="give the prompt a label"):
        Classes().number(" \x1f\ud800")


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(), max_size=8))
def test_every_kind_of_file_can_hold_a_name(label: str) -> None:
    name = one_line(label)
    assert one_line(name) == name
    assert len(name.splitlines()) <= 1
    element = ElementTree.Element("name")
    element.text = name
    assert (ElementTree.fromstring(ElementTree.tostring(element)).text or "") == name
    yaml.safe_load(f"x: '{name.replace(chr(39), '')}'")
