"""Pictures encoded once, in whole or in tiles, and asked as often as one likes.

Shapes: B pictures or tiles · N tokens · d decoder width · L conditions · E their width · h, w low-resolution logits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import torch
from PIL import Image

from clipseg.errors import PictureError, UsageError
from clipseg.fits import DEFAULT_FIT, FITS, Fit, FittedPicture, of_the_picture, squash
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation, EncodedImages
from clipseg.processing.image_processors import ImageProcessor
from clipseg.processing.images import PictureSource, to_rgb
from clipseg.tiling import BoxXYXY, TilePlan

PICTURE_BATCH = 8
PROMPT_CHUNK = 8  # maps decoded at once: their activations stay in a processor's cache


@dataclass(frozen=True, eq=False)
class EncodedTiles:
    """The tiles of a picture: where they are, and their reduced activations (B, N, d) in that order."""

    plan: TilePlan
    encoded: EncodedImages


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """What a segmenter keeps of one picture: a value to hand around, good for any number of prompts.

    Fields
        encoded  reduced activations and patch grid; about a twelfth of the raw ones in size
        size_hw  of the picture, in pixels
        picture  the picture itself in RGB, for overlays
        fit      how it was brought to the model's input; a key of `fits.FITS`
        content  where the picture lies in that input, in its pixels; None: it is all of it
        seen     what of the picture lies there, in pixels of the picture; None: all of it
        tiles    the same of its tiles, each as large as `encoded`; None where there are none
    """

    encoded: EncodedImages
    size_hw: tuple[int, int]
    picture: Image.Image
    fit: str = DEFAULT_FIT
    content: BoxXYXY | None = None
    seen: BoxXYXY | None = None
    tiles: EncodedTiles | None = None


class PictureEncoder:
    """A model with its image processor: pictures -> features, and features under conditions -> logits."""

    def __init__(self, model: CLIPSegForImageSegmentation, processor: ImageProcessor) -> None:
        self._model = model
        self._processor = processor

    def features(
        self, pictures: Iterable[PictureSource | ImageFeatures], batch_size: int, fit: Fit | None
    ) -> Iterator[ImageFeatures]:
        """Features of pictures in order, as far as they are not features already.

        Neighbours whose input has one size go through the model together, `batch_size` at a time; so do the tiles of
        one picture. Raises UsageError for features of another fit than the one asked for, if one is.
        """
        chosen = Fit() if fit is None else fit
        waiting: list[tuple[Image.Image, FittedPicture]] = []
        for picture in pictures:
            if isinstance(picture, ImageFeatures):
                _check_fit(picture, fit)
                yield from self._together(waiting, chosen, batch_size)
                waiting = []
                yield picture
                continue
            image = to_rgb(picture)
            fitted = FITS[chosen.name](image, self._processor)
            if waiting and (len(waiting) == batch_size or waiting[0][1].pixels.shape != fitted.pixels.shape):
                yield from self._together(waiting, chosen, batch_size)
                waiting = []
            waiting.append((image, fitted))
        yield from self._together(waiting, chosen, batch_size)

    def logits(self, features: ImageFeatures, conditions: torch.Tensor) -> torch.Tensor:
        """Features and conditions (L, E) -> logits (L, h, w) float32 on the CPU, of the picture alone.

        Beside the answer it holds `PROMPT_CHUNK` maps of its size, and as many of the model's. Raises PictureError for
        features of another model.
        """
        taps, width = features.encoded.reduced, self._model.config.reduce_dim
        if len(taps) != len(self._model.extract_layers) or taps[0].shape[2] != width:
            raise PictureError("these image features come from another model; encode the picture with this segmenter")
        chunks = (self._chunk(features, chunk) for chunk in conditions.split(PROMPT_CHUNK))
        first, done = next(chunks), 0
        logits = torch.empty(len(conditions), *first.shape[1:])
        for maps in chain([first], chunks):
            logits[done : done + len(maps)] = maps
            done += len(maps)
        return logits

    def _chunk(self, features: ImageFeatures, conditions: torch.Tensor) -> torch.Tensor:
        (whole,) = self._decoded(features.encoded, conditions)
        if features.tiles is not None:
            return features.tiles.plan.joined(whole, self._decoded(features.tiles.encoded, conditions))
        return of_the_picture(whole, features.content, features.seen, features.size_hw)

    def _decoded(self, encoded: EncodedImages, conditions: torch.Tensor) -> Iterator[torch.Tensor]:
        """B pictures -> the logits of each (L, h, w), as many at once as make a chunk of maps."""
        for part in _parts(encoded, max(1, PROMPT_CHUNK // len(conditions))):
            with torch.inference_mode():
                maps = self._model.decode(part, conditions).float().cpu()
            yield from maps

    def _together(
        self, batch: Sequence[tuple[Image.Image, FittedPicture]], fit: Fit, batch_size: int
    ) -> Iterator[ImageFeatures]:
        if not batch:
            return
        encoded = self._encoded([fitted for _, fitted in batch])
        for (image, fitted), own in zip(batch, _parts(encoded, 1), strict=True):
            size_hw = (image.height, image.width)
            tiles = self._tiled(image, fit.plan(size_hw), batch_size)
            yield ImageFeatures(own, size_hw, image, fit.name, fitted.content, fitted.seen, tiles)

    def _tiled(self, image: Image.Image, plan: TilePlan | None, batch_size: int) -> EncodedTiles | None:
        """A picture -> its tiles, cut out one by one; None for no plan, or where one tile would be all of it."""
        if plan is None or not plan.boxes:
            return None
        fitted = (squash(image.crop(box), self._processor) for box in plan.boxes)
        batches = []
        while batch := list(islice(fitted, batch_size)):
            batches.append(self._encoded(batch))
        taps = zip(*(each.reduced for each in batches), strict=True)
        return EncodedTiles(plan, EncodedImages(tuple(map(torch.cat, taps)), batches[0].grid))

    @torch.inference_mode()
    def _encoded(self, batch: Sequence[FittedPicture]) -> EncodedImages:
        pixels = torch.cat([fitted.pixels for fitted in batch])
        return self._model.encode_images(pixels.to(self._model.device))


def _parts(encoded: EncodedImages, size: int) -> Iterator[EncodedImages]:
    """B pictures encoded together -> the same, `size` by `size`."""
    for reduced in zip(*(tap.split(size) for tap in encoded.reduced), strict=True):
        yield EncodedImages(reduced, encoded.grid)


def _check_fit(features: ImageFeatures, fit: Fit | None) -> None:
    if fit is None:
        return
    if fit.name != features.fit:
        raise UsageError(f"fit is {fit.name!r} but these features are of fit {features.fit!r}; encode the picture anew")
    if features.tiles is not None and fit.plan(features.size_hw) != features.tiles.plan:
        raise UsageError("these features have other tiles than those asked for; encode the picture anew")
