"""Descriptions say only what is true, of the things they mean and of no other of the kind."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipseg.data.colours import COLOURS
from clipseg.data.descriptions import Description, described, drawn_description
from clipseg.data.kinds import SEEN
from clipseg.data.scenes import Scene, SceneGenerator, SceneObject, SceneOptions


def thing(kind=0, side=0.4, centre_xy=(0.5, 0.5), colour="red"):
    colours = np.array([name == colour for name in COLOURS], np.float32)
    return SceneObject(kind, side, centre_xy, colours)


def at(x, y):
    return {"centre_xy": (x, y)}


def scene_of(*things):
    """Things side by side in columns, whatever their places say."""
    owners = np.repeat(np.arange(len(things), dtype=np.int16), 8)[None].repeat(16, 0)
    kinds = tuple(sorted({each.kind for each in things}))
    of_pixel = np.array([each.kind for each in things])[owners]
    masks = of_pixel == np.array(kinds)[:, None, None]
    return Scene(np.zeros((*owners.shape, 3), np.uint8), kinds, masks, 0, things, owners)


def test_phrases():
    whole = Description("small", "red", "on the left")
    assert whole.phrase("apple") == "the small red apple on the left"
    assert whole.phrase("apple", "") == "small red apple on the left"
    assert Description(place="at the top").phrase("axe", "an") == "an axe at the top"


@pytest.mark.parametrize(
    ("description", "true", "doubtful", "false"),
    [
        (Description(size="small"), {"side": 0.3}, {"side": 0.36}, {"side": 0.5}),
        (Description(size="large"), {"side": 0.5}, {"side": 0.44}, {"side": 0.3}),
        (Description(place="on the left"), at(0.2, 0.9), at(0.45, 0.1), at(0.55, 0.1)),
        (Description(place="at the bottom"), at(0.2, 0.7), at(0.4, 0.55), at(0.9, 0.3)),
    ],
)  # fmt: skip
def test_properties_are_true_false_or_in_doubt(description, true, doubtful, false):
    assert description.holds(thing(**true)) is True
    assert description.holds(thing(**doubtful)) is None
    assert description.holds(thing(**false)) is False


def test_a_colour_is_true_of_most_and_false_of_next_to_none():
    red, blue = (np.array([name == wanted for name in COLOURS], np.float32) for wanted in ("red", "blue"))
    for share, answer in ((0.7, True), (0.3, None), (0.05, False)):
        mixed = SceneObject(0, 0.4, (0.5, 0.5), share * red + (1 - share) * blue)
        assert Description(colour="red").holds(mixed) is answer


def test_one_false_property_outweighs_a_doubtful_one():
    assert Description("small", "red").holds(thing(side=0.36, colour="blue")) is False


def test_a_mask_is_of_what_is_meant_of_its_kind_alone():
    scene = scene_of(thing(0, colour="red"), thing(0, colour="blue"), thing(1, colour="red"))
    mask = Description(colour="red").mask(scene, 0)
    assert mask[:, :8].all()
    assert not mask[:, 8:].any()
    assert not Description(colour="green").mask(scene, 0).any(), "false of all: nothing is meant"
    assert Description(size="small").mask(scene_of(thing(side=0.3), thing(side=0.36)), 0) is None, "one in doubt"


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_drawn_descriptions_say_one_to_three_things(seed):
    drawn = drawn_description(np.random.default_rng(seed))
    assert 1 <= sum(part is not None for part in (drawn.size, drawn.colour, drawn.place)) <= 3


@pytest.mark.usefixtures("installed_pictograms")
def test_descriptions_of_drawn_scenes_hold_and_most_find_something():
    generator = SceneGenerator(SEEN[:20], SceneOptions(repeat=0.4, dyed=0.4))
    rng, found, meant, partial = np.random.default_rng(3), 0, 0, 0
    for number in range(120):
        scene = generator.scene(number)
        kind = scene.kinds[number % len(scene.kinds)]
        answer = described(rng, scene, kind)
        if answer is None:
            continue
        description, mask = answer
        of_kind = [(place, each) for place, each in enumerate(scene.objects) if each.kind == kind]
        truth = np.isin(scene.owners, [place for place, each in of_kind if description.holds(each)])
        assert np.array_equal(mask, truth)
        assert None not in [description.holds(each) for _, each in of_kind]
        found, meant = found + 1, meant + mask.any()
        partial += mask.any() and not np.array_equal(mask, scene.masks[scene.kinds.index(kind)])
    assert found > 100
    assert 0.55 < meant / found < 0.95, "mostly something, sometimes nothing"
    assert partial > 3, "and sometimes one of several"
