import pickle
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipseg.data.kinds import HELD_OUT, SEEN
from clipseg.data.scenes import SceneGenerator, SceneOptions
from clipseg.errors import ConfigurationError, DataError

KINDS = SEEN[:6] + HELD_OUT[:2]
STILL = {"rotation": 0.0, "flip": False, "distractors": (0, 0), "repeat": 0.0, "noise": 0.0}
PLAIN = {**STILL, "brightness": 0.0, "contrast": 0.0, "hue": 0.0}

pytestmark = pytest.mark.usefixtures("installed_pictograms")


@pytest.fixture(scope="module")
def made(installed_pictograms):
    """Options -> a generator that borrows its sprites from one made before: making them is the slow part."""
    first = SceneGenerator(KINDS)

    def make(**options):
        twin = object.__new__(SceneGenerator)
        twin.__dict__.update(first.__dict__, options=SceneOptions(**options))
        return twin

    return make


def same(one, other):
    return (
        np.array_equal(one.picture, other.picture)
        and one.kinds == other.kinds
        and np.array_equal(one.masks, other.masks)
    )


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**40),
    size=st.integers(16, 96),
    objects=st.tuples(st.integers(1, 3), st.integers(3, 7)),
    scale=st.tuples(st.floats(0.02, 0.3), st.floats(0.3, 1)),
    rotation=st.floats(0, 180),
    flip=st.booleans(),
    min_visible=st.floats(0, 1),
    distractors=st.tuples(st.integers(0, 1), st.integers(1, 6)),
    repeat=st.floats(0, 1),
    must_contain=st.none() | st.integers(0, len(KINDS) - 1),
)
def test_every_scene_keeps_its_contract(made, seed, size, must_contain, **options):
    generator = made(size=size, **options)
    scene = generator.scene(seed, must_contain=must_contain)
    assert scene.picture.shape == (size, size, 3)
    assert scene.picture.dtype == np.uint8
    assert scene.masks.dtype == np.bool_
    assert scene.masks.shape == (len(scene.kinds), size, size)
    assert list(scene.kinds) == sorted(set(scene.kinds))
    assert 1 <= len(scene.kinds) <= options["objects"][1]
    assert scene.masks.any((1, 2)).all(), "every kind is visible"
    assert scene.masks.sum(0).max() <= 1, "a pixel shows one kind"
    assert must_contain is None or must_contain in scene.kinds
    assert same(scene, generator.scene(seed, must_contain=must_contain))


def test_a_seed_is_a_number_or_several(made):
    generator = made()
    assert same(generator.scene([3, 1]), generator.scene((3, 1)))
    assert generator.scene([3, 1]).seed == (3, 1)
    assert generator.scene(3).seed == 3
    assert not same(generator.scene([3, 1]), generator.scene([1, 3]))
    for seed in (-1, [], [2, -2]):
        with pytest.raises(DataError, match="expected whole numbers"):
            generator.scene(seed)


@pytest.mark.parametrize("rotation", [0.0, 180.0])
def test_an_object_alone_is_whole_and_where_its_mask_says(made, rotation):
    generator = made(size=192, objects=(1, 1), scale=(0.5, 0.5), min_visible=1.0, **{**PLAIN, "rotation": rotation})
    for kind in range(len(KINDS)):
        scene = generator.scene(kind, must_contain=kind)
        (mask,) = scene.masks
        sprite = generator.sprites[kind]
        solid = sprite[..., 3] > 127
        assert mask.sum() == pytest.approx(solid.sum() * (96 / 128) ** 2, rel=0.02)
        drawn, expected = scene.picture[mask].mean(0), sprite[solid][:, :3].mean(0)
        assert np.abs(drawn - expected).max() < 8, "the object's colours are under its mask"


@pytest.mark.parametrize("least", [0.3, 0.8])
def test_every_object_keeps_its_share_of_visible_pixels(made, least):
    generator = made(objects=(5, 5), scale=(0.4, 0.4), min_visible=least, **{**STILL, "distractors": (3, 3)})
    whole = (generator.sprites[..., 3] > 127).sum((1, 2)) * (0.4 * 128 / 128) ** 2  # solid pixels at that scale
    shares = []
    for seed in range(30):
        scene = generator.scene(seed)
        shares += [mask.sum() / whole[kind] for kind, mask in zip(scene.kinds, scene.masks, strict=True)]
    assert min(shares) > least - 0.06  # a few pixels of rounding
    assert min(shares) < least + 0.15, "objects do cover one another"


def test_only_the_kinds_allowed_are_drawn(made):
    generator = made()
    seen = {kind for seed in range(30) for kind in generator.scene(seed, [1, 4, 6]).kinds}
    assert seen == {1, 4, 6}
    assert {kind for seed in range(60) for kind in generator.scene(seed).kinds} == set(range(len(KINDS)))


@pytest.mark.parametrize(
    ("kinds", "must_contain"), [([], None), ([len(KINDS)], None), ([-1], None), ([1, 2], 3), (None, len(KINDS))]
)
def test_kinds_there_are_not_are_refused(made, kinds, must_contain):
    with pytest.raises(DataError, match="expected"):
        made().scene(0, kinds, must_contain=must_contain)


def test_a_required_kind_lies_on_top_as_often_as_beneath(made):
    """It is placed first, but heights are drawn apart from places."""
    generator = made(objects=(2, 2), scale=(0.8, 0.8), min_visible=0.2, **STILL)
    whole = (generator.sprites[..., 3] > 127).sum((1, 2))
    on_top = []
    for seed in range(80):
        scene = generator.scene(seed, must_contain=3)
        shares = {kind: mask.sum() / whole[kind] for kind, mask in zip(scene.kinds, scene.masks, strict=True)}
        on_top.append(shares[3] == max(shares.values()))
    assert 0.3 < np.mean(on_top) < 0.75


def test_a_repeated_kind_has_one_mask(made):
    lone = made(objects=(3, 3), scale=(0.2, 0.2), **{**STILL, "repeat": 1.0})
    counts = [lone.scene(seed) for seed in range(20)]
    assert all(len(scene.kinds) == 1 for scene in counts)
    whole = (lone.sprites[..., 3] > 127).sum((1, 2)) * 0.04
    assert max(scene.masks[0].sum() / whole[scene.kinds[0]] for scene in counts) > 2.5


def test_each_option_changes_the_scene(made):
    base = made().scene(5)
    changes = {
        "size": 64, "objects": (6, 6), "scale": (0.1, 0.2), "rotation": 150.0, "flip": False, "min_visible": 1.0,
        "distractors": (9, 9), "brightness": 0.5, "contrast": 0.5, "hue": 0.5, "noise": 60.0, "repeat": 1.0,
        "dyed": 1.0,
    }  # fmt: skip
    assert set(changes) == {field.name for field in fields(SceneOptions)}
    for name, value in changes.items():
        assert any(not same(made(**{name: value}).scene(seed), made().scene(seed)) for seed in range(6)), (
            f"{name} is not read"
        )
    assert same(base, made().scene(5))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"size": 8}, "size is 8; expected a whole number from 16 to 2048"),
        ({"size": 64.0}, "size is 64.0"),
        ({"size": True}, "size is True"),
        ({"objects": (3, 2)}, r"objects is \(3, 2\); expected a rising pair of whole numbers from 1 to 50"),
        ({"objects": 3}, "objects is 3"),
        ({"objects": (0, 2)}, "objects"),
        ({"objects": (1, 2, 3)}, "objects"),
        ({"scale": (0.5, 1.5)}, r"scale is .* a rising pair of numbers from 0.02 to 1"),
        ({"scale": ("a", "b")}, "scale"),
        ({"rotation": float("nan")}, "rotation is nan"),
        ({"rotation": -1}, "rotation"),
        ({"min_visible": 1.1}, "min_visible"),
        ({"hue": None}, "hue is None"),
        ({"flip": 1}, "flip is 1; expected True or False"),
        ({"repeat": (0, 1)}, "repeat"),
    ],
)
def test_options_out_of_range_are_refused(options, text):
    with pytest.raises(ConfigurationError, match=text):
        SceneOptions(**options)


def test_a_single_shows_its_object_large_and_nothing_else(made):
    generator = made(**STILL)
    picture = generator.single([1, 2], 4)
    assert picture.shape == (64, 64, 3)
    assert picture.dtype == np.uint8
    assert np.array_equal(picture, generator.single([1, 2], 4))
    other = generator.single([1, 2], 5)  # the same place and ground under another kind
    changed = (picture != other).any(-1).mean()
    assert 0.1 < changed < 0.95
    with pytest.raises(DataError, match="expected at least one index"):
        generator.single(0, len(KINDS))
    with pytest.raises(DataError, match="at least 16"):
        generator.single(0, 0, 8)


def test_large_scenes_show_the_same_kinds_of_objects(made):
    scene = made(size=384).scene(1)
    assert scene.picture.shape == (384, 384, 3)
    assert scene.masks.mean((1, 2)).min() > 0.003


def test_a_generator_travels_to_another_process(made):
    generator = made()
    assert same(pickle.loads(pickle.dumps(generator)).scene(7), generator.scene(7))
