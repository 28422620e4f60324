import dataclasses
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

from clipseg.errors import UsageError
from clipseg.masks.options import DEFAULT_OPTIONS, OPTIONS, MaskOptions
from clipseg.masks.rules import DEFAULT_THRESHOLD


def test_the_table_and_the_options_are_the_same_thing() -> None:
    assert list(OPTIONS) == [field.name for field in dataclasses.fields(MaskOptions)]
    assert DEFAULT_OPTIONS.threshold == DEFAULT_THRESHOLD
    for name, row in OPTIONS.items():
        assert row.name == name
        assert getattr(DEFAULT_OPTIONS, name) == row.default
        assert row.values
        assert row.help
        assert row.help[-1] != "."
        if row.choices:
            assert row.default in row.choices


def test_steps_stand_in_the_documented_order() -> None:
    steps = list(dict.fromkeys(row.step for row in OPTIONS.values()))
    order = "combine upsample refine smooth threshold morphology components invert feather compose"
    assert steps == order.split()


def test_texts_mean_what_they_say() -> None:
    texts = {
        "smooth": "1.50%",
        "grow": "4",
        "fill_holes": "yes",
        "invert": "False",
        "threshold": "0.3",
        "alpha": "0.25",
    }
    values = {"smooth": "1.50%", "grow": 4, "fill_holes": True, "invert": False, "threshold": 0.3, "alpha": 0.25}
    assert MaskOptions.from_mapping(texts) == MaskOptions(**values)  # type: ignore[arg-type]
    assert MaskOptions.from_mapping({}) == DEFAULT_OPTIONS


@pytest.mark.parametrize("many", [[0.2, "otsu"], (0.2, "otsu")])
def test_options_are_values(many: object) -> None:
    options = MaskOptions(threshold=many, keep=[1, -1])  # type: ignore[arg-type]
    assert options.threshold == (0.2, "otsu")
    assert options.keep == (1, -1)
    assert hash(options) == hash(options.replace(threshold=many))
    assert pickle.loads(pickle.dumps(options)) == options


@pytest.mark.parametrize("many", [torch.tensor([0.25, 0.5]), np.array([0.25, 0.5])])
def test_thresholds_may_be_arrays(many: object) -> None:
    assert MaskOptions(threshold=many).threshold == (0.25, 0.5)  # type: ignore[arg-type]


def test_no_threshold_is_a_soft_result() -> None:
    assert MaskOptions(threshold=None).threshold is None
    assert MaskOptions(threshold="none").threshold is None


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("treshold", 0.4, "no mask option 'treshold'; did you mean 'threshold'?"),
        ("xyz", 1, "known are competition, combine"),
        ("combine", "average", "known are max, mean, sum, product"),
        ("competition", "softmx", "did you mean 'softmax'? known are none, softmax, argmax"),
        ("upsample", "Bilinear", "did you mean 'bilinear'?"),
        ("refine", "sam2", "known are none, guided"),
        ("shape", None, "known are disk, square"),
        ("smooth", "1 cm", "smooth is '1 cm'; expected a number of pixels"),
        ("min_area", -1, "a part of the picture"),
        ("fill_holes", 1, "expected True or False"),
        ("alpha", 1.5, "from 0 to 1"),
        ("alpha", True, "from 0 to 1"),
        ("threshold", [0.2, "oslo"], "got 'oslo'"),
        ("keep", "bigest", "did you mean"),
    ],
)
def test_what_is_not_known_says_what_is(name: str, value: object, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        MaskOptions.from_mapping({name: value})
    assert message in str(caught.value)


def test_any_callable_refines() -> None:
    assert MaskOptions(refine=max).refine is max  # type: ignore[arg-type]


def test_the_table_can_be_read_before_anything_heavy_is_loaded() -> None:
    code = "import sys, clipseg.masks.options; assert not {'torch', 'numpy', 'scipy', 'PIL'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    "value", [10**400, -(10**400), "9" * 400, "9" * 400 + "%", float("inf"), "1e400", [10**400]], ids=range(7)
)
@pytest.mark.parametrize("name", [name for name in OPTIONS if name != "keep"])  # a part of that number may be asked for
def test_numbers_beyond_all_pictures_are_no_values(name: str, value: object) -> None:
    with pytest.raises(UsageError):
        MaskOptions.from_mapping({name: value})
