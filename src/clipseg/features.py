"""Pictures encoded once, in whole or in tiles, and asked as often as one likes.

Shapes: B pictures or tiles · N tokens · d decoder width · L conditions · E their width · h, w low-resolution logits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import NamedTuple, TypeAlias

import torch
from PIL import Image

from clipseg.ahead import ReadAhead
from clipseg.errors import PictureError, UsageError
from clipseg.fits import DEFAULT_FIT, FITS, Fit, FittedPicture, centre_square, of_the_picture, squash
from clipseg.modeling.segmentation import EncodedImages
from clipseg.processing.image_processors import ImageProcessor
from clipseg.processing.images import PictureSource
from clipseg.processing.on_demand import SettledPicture, shown_and_whole
from clipseg.runtime.memory import in_parts, prompts_at_once
from clipseg.runtime.runner import Runner
from clipseg.tiling import BoxXYXY, TilePlan

PICTURE_BATCH = 8


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
        picture  the picture itself in RGB, for overlays; decoded only when its pixels are used, if it was reduced
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


class _Ready(NamedTuple):
    """A picture, which may not be decoded yet, and the model's input made of it."""

    image: Image.Image
    fitted: FittedPicture


_Coming: TypeAlias = "_Ready | ImageFeatures | PictureError"


class PictureEncoder:
    """A model and its image processor: pictures -> features, and features under conditions -> logits."""

    def __init__(self, runner: Runner, processor: ImageProcessor) -> None:
        self._runner = runner
        self._processor = processor

    def features(
        self,
        pictures: Iterable[PictureSource | SettledPicture | ImageFeatures],
        batch_size: int,
        fit: Fit | None,
        reduced_decoding: bool = False,
    ) -> Iterator[ImageFeatures]:
        """As `each`. Raises PictureError for a picture that cannot be read, in its turn."""
        for one in self.each(pictures, batch_size, fit, reduced_decoding):
            if isinstance(one, PictureError):
                raise one
            yield one

    def each(
        self,
        pictures: Iterable[PictureSource | SettledPicture | ImageFeatures],
        batch_size: int,
        fit: Fit | None,
        reduced_decoding: bool = False,
        *,
        alone: bool = False,
    ) -> Iterator[ImageFeatures | PictureError]:
        """Features of pictures in order, as far as they are not features already; an error in place of one that failed.

        Neighbours whose input has one size go through the model together, `batch_size` at a time; so do the tiles of
        one picture. Others are read ahead meanwhile, see `ahead`; `alone` does without threads for that. With
        `reduced_decoding` JPEG files are decoded at a reduced scale, unless there are tiles. Raises UsageError for
        features of another fit than the one asked for.
        """
        chosen = Fit() if fit is None else fit
        least = self._least_side() if reduced_decoding and chosen.name != "tile" else None
        with ReadAhead(pictures, partial(self._prepared, chosen, least), batch_size, threads=not alone) as coming:
            while (first := coming.take()) is not None:
                for one in self._batch(coming, first, batch_size, chosen):
                    if isinstance(one, ImageFeatures):
                        _check_fit(one, fit)
                    yield one
                    coming.handed_out()

    def _batch(
        self, coming: ReadAhead[_Coming], first: _Coming, batch_size: int, fit: Fit
    ) -> Iterator[ImageFeatures | PictureError]:
        """The next of what comes, and those after it that go through the model together with it."""
        if not isinstance(first, _Ready):
            yield first
            return
        batch = [first]
        while len(batch) < batch_size:
            following = coming.take_if(partial(_are_alike, first))
            if not isinstance(following, _Ready):
                break
            batch.append(following)
        yield from self._together(batch, fit, batch_size)

    def _least_side(self) -> int | None:
        """-> how long the shorter side of a picture has to stay: twice the model's input, or of no input at all."""
        return 2 * max(self._processor.size.values()) if self._processor.do_resize else None

    def _prepared(self, fit: Fit, least: int | None, source: PictureSource | SettledPicture | ImageFeatures) -> _Coming:
        """A picture -> it and the model's input made of it, features -> themselves. Threads may do this."""
        if isinstance(source, ImageFeatures):
            return source
        try:
            shown, image = shown_and_whole(source, least)
            fitted = FITS[fit.name](shown, self._processor)
        except PictureError as error:
            return error
        if fitted.seen is not None:
            fitted = fitted._replace(seen=centre_square(image.size))
        return _Ready(image, fitted)

    def logits(self, features: ImageFeatures, conditions: torch.Tensor) -> torch.Tensor:
        """Features and conditions (L, E) -> logits (L, h, w) float32 on the CPU, of the picture alone.

        Beside the answer it holds `prompts_at_once` maps of its size, and as many of the model's. Raises PictureError
        for features of another model.
        """
        taps, width = features.encoded.reduced, self._runner.config.reduce_dim
        if len(taps) != len(self._runner.config.extract_layers) or taps[0].shape[2] != width:
            raise PictureError("these image features come from another model; encode the picture with this segmenter")
        chunks = (self._chunk(features, chunk) for chunk in conditions.split(self._at_once(features.encoded)))
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
        for part in _parts(encoded, max(1, self._at_once(encoded) // len(conditions))):
            with torch.inference_mode():
                maps = list(in_parts(partial(self._maps, part), conditions))
            yield from torch.cat(maps, 1) if len(maps) > 1 else maps[0]

    def _maps(self, encoded: EncodedImages, conditions: torch.Tensor) -> torch.Tensor:
        return self._runner.decode(encoded, conditions).float().cpu()

    def _at_once(self, encoded: EncodedImages) -> int:
        return prompts_at_once(self._runner.config, encoded.grid, self._runner.device)

    def _together(self, batch: Sequence[_Ready], fit: Fit, batch_size: int) -> Iterator[ImageFeatures | PictureError]:
        try:
            encoded = self._encoded([fitted for _, fitted in batch])
        except PictureError as error:  # such as an input of less than a patch
            yield from [error] * len(batch)
            return
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
        pixels, device = torch.cat([fitted.pixels for fitted in batch]), self._runner.device
        if device.type == "cuda":
            pixels = pixels.pin_memory()
        encoded = list(in_parts(self._runner.encode_images, pixels.to(device, non_blocking=True)))
        taps = zip(*(each.reduced for each in encoded), strict=True)
        return encoded[0] if len(encoded) == 1 else EncodedImages(tuple(map(torch.cat, taps)), encoded[0].grid)


def _are_alike(first: _Ready, other: _Coming) -> bool:
    """Whether two pictures may go through the model together: their input has one size."""
    return isinstance(other, _Ready) and other.fitted.pixels.shape == first.fitted.pixels.shape


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
