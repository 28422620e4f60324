"""Devices that are there, and what is said of those that are not."""

from typing import Any

import pytest
import torch

from clipseg.errors import UsageError
from clipseg.modeling.devices import available_device

WITHOUT_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a GPU")


@pytest.mark.parametrize("where", ["cpu", -1, torch.device("cpu"), {"": "cpu"}, None])
def test_the_cpu(where: Any) -> None:
    assert available_device(where) == torch.device("cpu")


def test_auto() -> None:
    assert available_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize(
    "where", [pytest.param(0, marks=WITHOUT_GPU), pytest.param("cuda:1", marks=WITHOUT_GPU), "cuda:99", 99]
)
def test_a_device_that_is_not_there(where: Any) -> None:
    with pytest.raises(UsageError) as caught:
        available_device(where)
    message = str(caught.value)
    assert message.startswith(f"device {where!r} is not available here (")
    assert 'leave device out, or give device="cpu"' in message
    assert "\n" not in message
