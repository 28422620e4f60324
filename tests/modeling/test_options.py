"""Options that scripts pass along: without effect, refused with a way out, or one device."""

from typing import Any

import pytest
import torch

from clipseg.errors import UsageError
from clipseg.modeling.options import LOADING_MOOT, REFUSED, effective, parse_device, refuse_unknown


def test_what_has_no_effect_is_taken_out() -> None:
    given = {**dict.fromkeys(LOADING_MOOT, True), **dict.fromkeys(REFUSED), "reduce_dim": 8}
    assert effective(given, LOADING_MOOT) == {"reduce_dim": 8}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_done_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} is not offered; "):
        effective({name: "something"}, ())


def test_the_nearest_name_is_suggested() -> None:
    refuse_unknown("load", [], ["reduce_dim"])
    with pytest.raises(UsageError, match="load got an unknown argument 'reduced_dim'; did you mean 'reduce_dim'"):
        refuse_unknown("load", ["reduced_dim"], ["reduce_dim"])
    with pytest.raises(UsageError, match=r"unknown argument 'zzz'$"):
        refuse_unknown("load", ["zzz"], ["reduce_dim"])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        ("cpu", torch.device("cpu")),
        ("cuda:1", torch.device("cuda", 1)),
        (0, torch.device("cuda", 0)),
        (torch.device("cpu"), torch.device("cpu")),
        ({"": "cpu"}, torch.device("cpu")),
        ({"": 1}, torch.device("cuda", 1)),
    ],
)
def test_one_device(given: Any, expected: torch.device | None) -> None:
    assert parse_device(given) == expected


@pytest.mark.parametrize("name", ["auto", "balanced"])
def test_the_best_device(name: str) -> None:
    assert parse_device(name) == (torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu"))


@pytest.mark.parametrize("given", [{"clip": 0, "decoder": "cpu"}, {"decoder": "cpu"}, {}])
def test_a_model_is_not_spread(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"device_map names \d parts; a model goes to one device as a whole"):
        parse_device(given)


@pytest.mark.parametrize("given", ["gpu", "cuda:x", 1.5])
def test_unknown_devices(given: object) -> None:
    with pytest.raises(UsageError, match="unknown device"):
        parse_device(given)
