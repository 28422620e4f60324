import numpy as np
import pytest
import torch
from PIL import Image

from clipseg.errors import UsageError
from clipseg.masks.compose import composed, existing_maps
from clipseg.masks.options import OPTIONS

NEW, OLD = torch.tensor([0.0, 0, 1, 1]), torch.tensor([0.0, 1, 0, 1])


@pytest.mark.parametrize(
    ("how", "hard", "soft"),
    [
        ("replace", [0, 0, 1, 1], 0.8),
        ("fill", [0, 1, 1, 1], 0.3),
        ("add", [0, 1, 1, 1], 1.0),
        ("subtract", [0, 1, 0, 0], 0.0),
        ("intersect", [0, 0, 0, 1], 0.3),
        ("blend", [0, 0.75, 0.25, 1], 0.425),
    ],
)
def test_truth_tables(how: str, hard: list[float], soft: float) -> None:
    assert composed(NEW, OLD, how, 0.25).tolist() == hard
    assert composed(torch.tensor(0.8), torch.tensor(0.3), how, 0.25).item() == pytest.approx(soft)


def test_every_way_is_tabled() -> None:
    assert OPTIONS["compose"].choices == ("replace", "fill", "add", "subtract", "intersect", "blend")


def test_subtracting_leaves_the_rest() -> None:
    assert composed(torch.tensor(0.3), torch.tensor(0.8), "subtract", 0.5).item() == pytest.approx(0.5)


@pytest.mark.parametrize(
    "mask",
    [
        torch.tensor([[True, False]]),
        np.array([[True, False]]),
        np.array([[255, 0]], np.uint8),
        torch.tensor([[1.0, 0.0]], dtype=torch.float64),
        Image.fromarray(np.array([[255, 0]], np.uint8)),
        Image.fromarray(np.array([[65535, 0]], np.uint16)),
        Image.new("1", (1, 1), 1).crop((0, 0, 2, 1)),
    ],
)
def test_an_existing_mask_in_any_form(mask: object) -> None:
    maps = existing_maps(mask, 3, (1, 2))  # type: ignore[arg-type]
    assert maps.float().tolist() == [[[1.0, 0.0]]]
    assert maps.dtype in (torch.bool, torch.float32)


def test_levels_of_grey_are_parts() -> None:
    assert existing_maps(np.full((2, 1, 2), 51, np.uint8), 2, (1, 2)).unique().tolist() == pytest.approx([0.2])


@pytest.mark.parametrize(
    "mask",
    [torch.zeros(2, 1), torch.zeros(2, 1, 2), torch.zeros(2), torch.full((1, 2), 1.5), torch.full((1, 2), torch.nan)],
)
def test_what_does_not_fit_is_refused(mask: torch.Tensor) -> None:
    with pytest.raises(UsageError, match="an existing mask must"):
        existing_maps(mask, 3, (1, 2))
