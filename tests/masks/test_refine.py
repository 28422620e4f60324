import warnings

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from clipseg.errors import UsageError
from clipseg.masks import refine
from clipseg.masks.hints import Hints
from clipseg.masks.masks import Masks
from clipseg.masks.refine import Guide, refined
from clipseg.metrics import boundary_f1


def scene(side: int) -> tuple[Image.Image, NDArray[np.bool_], NDArray[np.float32]]:
    """A red star on noisy green, its mask, and what a coarse model says of it: a blur of 16 by 16 patches."""
    ys, xs = (np.mgrid[:side, :side] + 0.5) / side - 0.5
    truth = np.hypot(xs, ys) < 0.25 + 0.08 * np.cos(5 * np.arctan2(ys, xs))
    noise = np.random.default_rng(0).normal(0, 12, (side, side, 3))
    colours = np.where(truth[..., None], (190, 60, 40), (60, 130, 70)) + noise
    patches = truth.reshape(16, side // 16, 16, side // 16).mean((1, 3)).astype(np.float32)
    soft = torch.nn.functional.interpolate(torch.from_numpy(patches)[None, None], size=(side, side), mode="bilinear")
    return Image.fromarray(colours.clip(0, 255).astype(np.uint8)), truth, soft[0, 0].numpy()


@pytest.mark.parametrize("side", [96, 480])
def test_outlines_come_to_lie_on_the_edges_of_the_picture(side: int) -> None:
    picture, truth, soft = scene(side)
    sharp = Guide(picture)(soft)
    scores = [boundary_f1(torch.from_numpy(map_ > 0.5), torch.from_numpy(truth), side / 200) for map_ in (soft, sharp)]
    assert scores[1] > 1.15 * scores[0]
    assert scores[1] > 0.8
    assert sharp.dtype == np.float32
    assert 0 <= sharp.min() <= sharp.max() <= 1


def test_where_the_picture_says_nothing_the_mask_is_only_blurred() -> None:
    _, _, soft = scene(160)
    flat = Guide(Image.new("RGB", (160, 160), (90, 120, 30)), radius=0.05)(soft)
    window = 2 * 8 + 1
    blurred = ndimage.uniform_filter(ndimage.uniform_filter(soft, window, mode="nearest"), window, mode="nearest")
    assert np.abs(flat - blurred).max() < 1e-3


def test_a_mask_that_is_the_picture_stays() -> None:
    _, truth, _ = scene(160)
    clean = Image.fromarray((truth * 255).astype(np.uint8)).convert("RGB")
    assert np.abs(Guide(clean)(truth.astype(np.float32)) - truth).max() < 0.05


def test_the_filter_is_linear_and_the_strips_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    picture, _, soft = scene(160)
    guide = Guide(picture)
    at_once = guide(soft)
    assert np.abs(guide(soft * 0.5) - at_once * 0.5)[at_once < 1].max() < 1e-4
    monkeypatch.setattr(refine, "_STRIP", 1)
    assert np.allclose(guide(soft), at_once, atol=1e-6)


@pytest.mark.parametrize("size_wh", [(1, 1), (1, 70), (70, 1), (3, 500)])
def test_pictures_of_one_pixel_and_of_one_row(size_wh: tuple[int, int]) -> None:
    soft = np.full((size_wh[1], size_wh[0]), 0.6, np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.abs(Guide(Image.new("RGB", size_wh, (9, 99, 199)))(soft) - 0.6).max() < 1e-3


def test_any_refiner_gets_picture_mask_and_hints_and_has_the_last_word() -> None:
    picture, _, soft = scene(96)
    seen: list[Hints] = []

    def box_filler(given: Image.Image, mask: NDArray[np.float32], hints: Hints) -> torch.Tensor:
        assert given.mode == "RGB"
        assert mask.shape == (96, 96)
        seen.append(hints)
        left, top, right, bottom = hints.box_xyxy or (0, 0, 0, 0)
        answer = torch.zeros(96, 96, dtype=torch.bool)
        answer[top:bottom, left:right] = True
        return answer

    logits = torch.logit(torch.from_numpy(soft)[None], eps=1e-6)
    logits = torch.cat((logits, torch.full_like(logits, -9)))
    masks = Masks(logits, ("star", "nothing"), (96, 96), picture.convert("L")).with_options(refine=box_filler)
    binary = masks.binary()
    assert len(seen) == 1, "nothing was found of the other label, so there is nothing to refine"
    assert seen[0].inside.any()
    left, top, right, bottom = masks[0].box().tolist()
    assert binary[0].sum() == (right - left) * (bottom - top) > (soft > 0.4).sum()
    assert not binary[1].any()


@pytest.mark.parametrize("answer", [np.zeros((3, 3)), np.full((96, 96), 2.0), np.full((96, 96), np.nan)])
def test_a_refiner_is_held_to_its_word(answer: NDArray[np.float64]) -> None:
    picture, _, soft = scene(96)
    with pytest.raises(UsageError, match="a refiner must return"):
        refined(lambda *_: answer, picture, soft)


def test_edges_need_a_picture() -> None:
    with pytest.raises(UsageError, match="without"):
        Masks(torch.zeros(1, 4, 4), ("a",), (8, 8)).with_options(refine="guided").binary()
