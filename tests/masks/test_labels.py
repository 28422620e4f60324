"""One mask is found by its label or its position, and nothing else is."""

import pytest

from clipseg.masks.labels import LabelError, position_of

LABELS = ("a cat", "wood", "a cat")


@pytest.mark.parametrize(("key", "position"), [("wood", 1), (0, 0), (2, 2), (-1, 2), (-3, 0), (True, 1)])
def test_position(key: str | int, position: int) -> None:
    assert position_of(key, LABELS) == position


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("a dog", "there is no mask 'a dog'; there are: 'a cat', 'wood', 'a cat'"),
        ("a cat", "'a cat' is the label of masks 0, 2; take one by its position"),
        (3, "there is no mask 3: there are 3, counted from 0"),
        (-4, "there is no mask -4: there are 3, counted from 0"),
    ],
)
def test_what_is_not_there(key: str | int, message: str) -> None:
    with pytest.raises(LabelError) as caught:
        position_of(key, LABELS)
    assert str(caught.value) == message


def test_what_is_no_position() -> None:
    with pytest.raises(TypeError):
        position_of(1.5, LABELS)  # type: ignore[arg-type]
