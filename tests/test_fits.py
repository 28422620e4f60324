"""How pictures are brought to the model, in whole and in tiles: encoded once is asked all at once, for every fit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import ready
from clipseg.data.kinds import SEEN
from clipseg.data.scenes import SceneGenerator, SceneOptions
from clipseg.errors import PictureError, PromptError, UsageError
from clipseg.fits import FITS
from clipseg.masks.masks import LOGIT_LIMIT
from clipseg.prompting.prompts import ImagePrompt, TextPrompt
from clipseg.runtime.memory import PROMPTS_ON_CPU
from clipseg.segmenter import Segmenter
from clipseg.tiling import starts

PROMPTS = ["a cat", "wood"]
MANY = [f"a cat {number}" for number in range(PROMPTS_ON_CPU + 3)]


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return ready.segmenter()


def close(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("fit", FITS)
def test_encoded_once_is_all_at_once(segmenter: Segmenter, fit: str) -> None:
    pictures = [ready.picture(seed, 120, 90) for seed in range(3)]
    features = segmenter.encode(pictures, fit=fit)
    expected = [segmenter.segment(picture, MANY, fit=fit) for picture in pictures]
    for batch_size in (1, 5):
        for source in (pictures, features, [pictures[0], features[1], pictures[2]]):
            found = segmenter.segment_many(source, MANY, fit=fit, batch_size=batch_size)
            for masks, those in zip(found, expected, strict=True):
                close(masks.logits, those.logits)
                assert masks.size_hw == (90, 120)
    for number in (0, len(MANY) - 1):
        close(segmenter.segment(features[0], MANY[number]).logits, expected[0].logits[number][None])
    assert features[0].fit == fit
    if fit != "squash":
        assert not torch.equal(expected[0].probabilities(), segmenter.segment(pictures[0], MANY).probabilities()), (
            "a fit matters"
        )


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size_wh", [(1, 1), (200, 1), (1, 200), (3, 500), (64, 64), (65, 64)])
def test_all_shapes_of_pictures(segmenter: Segmenter, fit: str, size_wh: tuple[int, int]) -> None:
    options = {"tile": "100%"} if fit == "tile" else {}  # of 1 pixel there is no third
    masks = segmenter.segment(ready.picture(0, *size_wh), PROMPTS, fit=fit, **options)
    assert masks.probabilities().shape == (2, *size_wh[::-1])
    assert masks.probabilities().isfinite().all()


def test_a_crop_sees_the_centre_square(segmenter: Segmenter) -> None:
    picture = ready.picture(width=300, height=100)
    masks = segmenter.segment(picture, PROMPTS, fit="crop")
    inner = segmenter.segment(picture.crop((100, 0, 200, 100)), PROMPTS)
    side = inner.logits.shape[1]
    assert masks.size_hw == (100, 300)
    assert masks.logits.shape == (2, side, 3 * side)
    assert torch.equal(masks.logits[:, :, side : 2 * side], inner.logits)
    outside = torch.cat((masks.logits[:, :, :side], masks.logits[:, :, 2 * side :]))
    assert (outside == -LOGIT_LIMIT).all()
    assert masks.binary(0.01)[:, :, :99].any() == masks.binary(0.01)[:, :, 201:].any() == False  # noqa: E712
    small = segmenter.segment(ready.picture(width=50, height=20), PROMPTS, fit="crop")
    assert small.logits.shape == (2, 20, 50), "no more cells than the picture has pixels"


def test_tiles(segmenter: Segmenter) -> None:
    picture = ready.picture(width=300, height=200)
    features = segmenter.encode(picture, fit="tile", tile="50%", overlap=20)
    assert features.tiles is not None
    assert len(features.tiles.encoded) == len(starts(200, 100, 20)) * len(starts(300, 100, 20))
    masks = segmenter.segment(features, PROMPTS)
    side = segmenter.segment(picture, PROMPTS).logits.shape[1]
    assert masks.labels == tuple(PROMPTS)
    assert masks.logits.shape == (2, 2 * side, 3 * side)
    assert masks.picture is not None
    assert not torch.equal(masks.logits[0], masks.logits[1])


def test_one_tile_is_the_whole(segmenter: Segmenter) -> None:
    picture = ready.picture(width=50, height=50)
    masks = segmenter.segment(picture, PROMPTS, fit="tile", tile="100%")
    close(masks.logits, segmenter.segment(picture, PROMPTS).logits)


def test_tiles_are_what_the_segmenter_says_of_them(segmenter: Segmenter) -> None:
    """Two tiles side by side without overlap: away from the border each half is that tile's own answer."""
    picture = ready.picture(width=128, height=64)
    blended = segmenter.segment(picture, PROMPTS, fit="tile", tile=64, overlap=0).logits
    left = segmenter.segment(picture.crop((0, 0, 64, 64)), PROMPTS).logits
    assert (blended[:, :, : left.shape[2]] >= left - 1e-4).all()  # the whole pass may raise it, never lower
    assert torch.isclose(blended[:, :, : left.shape[2]], left, atol=1e-4).float().mean() > 0.3


def test_tiles_are_encoded_once_and_prompts_too(segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded, encoded = [], []
    embed, encode = segmenter.model.get_conditional_embeddings, segmenter.model.encode_images
    monkeypatch.setattr(
        segmenter.model,
        "get_conditional_embeddings",
        lambda *given, **named: (embedded.append(1), embed(*given, **named))[1],
    )
    monkeypatch.setattr(
        segmenter.model, "encode_images", lambda pixels: (encoded.append(len(pixels)), encode(pixels))[1]
    )
    features = segmenter.encode(ready.picture(width=120, height=90), fit="tile")
    assert features.tiles is not None
    tiles = len(features.tiles.encoded)
    assert sum(encoded) == tiles + 1
    assert max(encoded) <= 8
    prompts = [ImagePrompt(ready.picture(3), label="like this"), TextPrompt("the dog 7")]
    assert segmenter.segment(features, prompts).labels == ("like this", "the dog 7")
    segmenter.segment(features, "wood 7", fit="tile")
    assert sum(encoded) == tiles + 1
    assert len(embedded) == 3  # a picture, two phrases


def test_what_contradicts(segmenter: Segmenter) -> None:
    picture = ready.picture(width=60, height=50)
    for fit, message in (("sqash", "did you mean 'squash'"), ("mosaic", "known are squash, letterbox, crop, tile")):
        with pytest.raises(UsageError, match=message):
            segmenter.encode(picture, fit=fit)
    lengths: list[dict[str, Any]] = [{"tile": 20}, {"overlap": 3}, {"fit": "crop", "tile": "30%"}]
    for options in lengths:
        with pytest.raises(UsageError, match="tile and overlap are of tiles"):
            segmenter.segment(picture, PROMPTS, **options)
    for options in ({"tile": "10 feet"}, {"tile": 0}, {"overlap": "100%"}):
        with pytest.raises(UsageError, match="tile"):
            segmenter.encode(picture, fit="tile", **options)
    features = segmenter.encode(picture, fit="tile", tile=30)
    with pytest.raises(UsageError, match="these features are of fit 'tile'"):
        segmenter.segment(features, PROMPTS, fit="squash")
    with pytest.raises(UsageError, match="other tiles"):
        segmenter.segment(features, PROMPTS, fit="tile", tile=20)
    close(segmenter.segment(features, PROMPTS, fit="tile", tile=30).logits, segmenter.segment(features, PROMPTS).logits)
    with pytest.raises(PromptError, match="no prompts"):
        segmenter.segment(picture, [], fit="tile")
    with pytest.raises(PictureError):
        segmenter.segment(b"no picture", PROMPTS, fit="tile")


def test_small_objects_of_scenes(installed_pictograms: None) -> None:
    """Things of half a hundredth of the picture: the single pass misses most of them, tiles find most."""
    segmenter = Segmenter.from_pretrained("nano")
    scenes = SceneGenerator(SEEN, SceneOptions(size=512, scale=(0.06, 0.08), objects=(4, 6)))
    scores: dict[str, list[float]] = {"squash": [], "tile": []}
    for number in range(5):
        scene = scenes.scene([9_700_000, number])
        names = [scenes.pictograms[kind].name for kind in scene.kinds]
        truth, picture = torch.from_numpy(scene.masks), Image.fromarray(scene.picture)
        for fit, each in scores.items():
            found = segmenter.segment(picture, names, fit=fit).binary(0.5)
            each += ((found & truth).sum((1, 2)) / (found | truth).sum((1, 2))).tolist()
    once, tiled = (np.array(scores[fit]) for fit in ("squash", "tile"))
    assert np.mean(tiled) > 0.5
    assert np.mean(once) < 0.3
    assert np.mean(tiled > 0.3) > np.mean(once > 0.3) + 0.3


MEASURED = """
import sys
sys.path.insert(0, {tests!r})
import ready
def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024
segmenter = ready.segmenter()
picture = ready.picture(width=6000, height=4000)
segmenter.segment(picture.crop((0, 0, 99, 99)), "wood", fit="tile")
open("/proc/self/clear_refs", "w").write("5")
before = peak()
segmenter.segment(picture, "wood", fit="tile")
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from /proc")
def test_memory_is_bounded() -> None:
    """24 megapixels, 72 MB: its tiles are cut out one by one, so what comes on top is one of them and a few maps."""
    code = MEASURED.format(tests=str(Path(__file__).parent))
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(result.stdout) < 90
