"""The segmenter: pictures and prompts in, masks out. Encode a picture once, ask as many things of it as you like.

    segmenter = Segmenter.from_pretrained("nano")
    features = segmenter.encode("kitchen.jpg")
    masks = segmenter.segment(features, ["a glass", "wood"])
    masks["wood"].binary(0.4)

Shapes: P prompts · E condition width.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from numbers import Integral
from typing import Any, overload

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from PIL import Image

from clipseg.answering import Answered as Answered
from clipseg.checkpoints.files import read_json
from clipseg.checkpoints.hub import find_file
from clipseg.configuration.clipseg import CLIPSegConfig
from clipseg.errors import CheckpointNotFoundError, UsageError
from clipseg.features import PICTURE_BATCH as PICTURE_BATCH
from clipseg.features import ImageFeatures as ImageFeatures  # both also found here, beside what uses them
from clipseg.features import PictureEncoder
from clipseg.fits import Fit
from clipseg.masks.lengths import Length
from clipseg.masks.masks import Masks
from clipseg.masks.options import MaskOptions
from clipseg.masks.presence import PRESENCE_FILE, Presence
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
from clipseg.processing.image_processors import ViTImageProcessor
from clipseg.processing.images import PictureSource, to_rgb
from clipseg.processing.processors import CLIPSegProcessor
from clipseg.prompting.conditioning import Conditioner, ImageProcessorOnly, processor_for
from clipseg.prompting.expressions import Term
from clipseg.prompting.prompt_files import description
from clipseg.prompting.prompts import EmbeddingPrompt, Origin, PromptSource, as_prompts
from clipseg.prompting.questions import Question
from clipseg.runtime.backends import load_runner
from clipseg.runtime.fused import FusedModel, lanes, torch_model
from clipseg.runtime.precision import Precision
from clipseg.runtime.runner import Runner

DEFAULT_MODEL = "CIDAS/clipseg-rd64-refined"


class Segmenter:
    """A model with its preprocessing, ready to be asked. Only `drop_text_encoder` and `unload` change it."""

    def __init__(
        self,
        model: CLIPSegForImageSegmentation | Runner,
        processor: CLIPSegProcessor | ViTImageProcessor | None = None,
        calibration: Presence | None = None,
        *,
        precision: Precision | None = None,
    ) -> None:
        """Without a processor: the one beside the model's own files, or else the released preprocessing (352 x 352).

        The latter has no tokenizer: pictures, boxes and embeddings are prompts then, phrases are not. `calibration` is
        what `presence` needs, where it was measured for this model. `precision` is what pictures and prompts are
        computed in; None: the type of the model's weights.
        """
        self.calibration = calibration
        self.processor = processor_for(model, processor)
        if self.processor.image_processor.do_center_crop:
            raise UsageError("the image processor crops pictures, so masks would not fit; set do_center_crop=False")
        self._loaded: _Loaded | None = _Loaded(_runner(model, precision), self.processor)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str] = DEFAULT_MODEL,
        *,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "auto",
        backend: str = "torch",
        compile: bool = False,  # noqa: A002 - the field's name for it
        revision: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
    ) -> Segmenter:
        """A folder, the bundled name `nano` or a hub id -> a segmenter.

        device   "auto" takes a GPU where there is one
        dtype    what is computed in: "float32", "bfloat16", "float16", "int8" (8-bit weights, on a CPU) or "auto":
                 bfloat16 where the device has it natively and the model is as large as the released ones, else float32
        backend  what runs the model: "torch", or of a folder that `clipseg export` made "onnx" or "openvino"
        compile  compile the model for the device with `torch.compile`; of use on a GPU, where each new size of picture
                 and power of two of prompts then takes a while once

        Embeddings of phrases are kept between runs, see `prompting.prompt_cache`; CLIPSEG_PROMPT_CACHE=off in the
        environment does without. Raises CheckpointNotFoundError where the model is neither here nor reachable,
        CheckpointMismatchError for one that does not fit, UsageError for a dtype or backend that is not known, and
        MissingPackageError.
        """
        where: dict[str, Any] = {
            "revision": revision,
            "cache_dir": cache_dir,
            "token": token,
            "local_files_only": local_files_only,
        }
        runner = load_runner(name_or_path, backend, device=device, dtype=dtype, compiled=compile, **where)
        processor = CLIPSegProcessor.from_pretrained(name_or_path, **where)
        segmenter = cls(runner, processor, _calibration(name_or_path, where))
        segmenter._parts.conditioner.keep_between_runs(name_or_path, where)
        return segmenter

    @property
    def model(self) -> CLIPSegForImageSegmentation:
        """The model itself. Raises UsageError once it is unloaded, and where another back end than torch runs it."""
        model = torch_model(self._parts.runner)
        if model is not None:
            return model
        raise UsageError('an exported model has no torch modules; load the original folder with backend="torch"')

    @property
    def config(self) -> CLIPSegConfig:
        """The model's configuration. Raises UsageError once it is unloaded."""
        return self._parts.runner.config

    @property
    def name_or_path(self) -> str:
        """Where the model came from; empty for one made here. Raises UsageError once it is unloaded."""
        return self._parts.runner.name_or_path

    @property
    def lanes(self) -> int:
        """How many threads may best take pictures of their own through it at once, see `runtime.fused.lanes`."""
        return lanes(self._parts.runner)

    def warm_up(self) -> None:
        """Do now what the first question would wait for, for who answers for long, such as a server.

        Weights are packed or compiled and a black picture is segmented. Those of the text encoder are packed as well,
        which otherwise happens once 64 new phrases come together: a new phrase then takes half of the time, computed
        in the same precision as pictures. Raises UsageError once it is unloaded.
        """
        runner = self._parts.runner
        if isinstance(runner, FusedModel):
            runner.pack()
        self.segment(Image.new("RGB", (64, 64)), EmbeddingPrompt(torch.zeros(self.config.projection_dim)))

    def drop_text_encoder(self) -> None:
        """Let go of the text encoder's weights, two fifths of a released model, once all phrases are embedded.

        Phrases that were asked or embedded before go on working, as do pictures and embeddings; a new phrase raises
        PromptError. `model` keeps its place, but has no text encoder any more and refuses to be saved. There is no way
        back but loading anew. The memory is free where nobody else holds the model; pages of a mapped file the system
        takes back when it needs them. Raises UsageError once it is unloaded, and for an exported model.
        """
        self._parts.conditioner.drop_text_encoder()

    def unload(self) -> None:
        """Let go of the weights, and of the prompts that are remembered: whatever is asked later raises UsageError.

        The memory is free where nobody else holds the model. Masks and features that were made stay as they are.
        """
        self._loaded = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    @overload
    def encode(
        self,
        picture: PictureSource,
        *,
        fit: str = ...,
        tile: Length | None = ...,
        overlap: Length | None = ...,
        reduced_decoding: bool = ...,
    ) -> ImageFeatures: ...
    @overload
    def encode(
        self,
        picture: list[PictureSource] | tuple[PictureSource, ...],
        *,
        fit: str = ...,
        tile: Length | None = ...,
        overlap: Length | None = ...,
        reduced_decoding: bool = ...,
    ) -> list[ImageFeatures]: ...
    def encode(
        self,
        picture: PictureSource | list[PictureSource] | tuple[PictureSource, ...],
        *,
        fit: str | None = None,
        tile: Length | None = None,
        overlap: Length | None = None,
        reduced_decoding: bool = False,
    ) -> ImageFeatures | list[ImageFeatures]:
        """A picture -> its features; a list or tuple of pictures -> a list of features.

        fit      how a picture is brought to the model's input: "squash", as in training; "letterbox", which keeps its
                 shape; "crop", of which only the centre square is seen; or "tile", which also looks at overlapping
                 squares of it, for small things in large pictures
        tile     side of the tiles, in pixels or "N%" of the picture's shorter side; None: `tiling.TILE`
        overlap  how far neighbours overlap at least, in pixels or "N%" of a tile; None: `tiling.OVERLAP`
        reduced_decoding
                 a JPEG file much larger than the model's input is decoded at a half, a quarter or an eighth, which
                 is faster and changes masks a little; in full only where its pixels are asked for. Of no effect on
                 tiles and other pictures

        Raises UsageError for a fit or length that is not known or lengths without tiles, and PictureError.
        """
        chosen = Fit.of(fit, tile, overlap)
        if isinstance(picture, (list, tuple)):
            return list(self._parts.encoder.features(picture, PICTURE_BATCH, chosen, reduced_decoding))
        return next(self._parts.encoder.features([picture], PICTURE_BATCH, chosen, reduced_decoding))

    def embed(self, prompts: PromptSource | Iterable[PromptSource]) -> torch.Tensor:
        """P prompts -> conditions (P, E) on the CPU, float32, not normalised; they can be prompts again.

        Raises PromptError for an expression, which has maps but no embedding.
        """
        conditions = self._parts.conditioner.embed(as_prompts(prompts))
        return conditions.clone().float().cpu()  # cloned out here it is no inference tensor: it may be trained

    def embedded(self, prompts: PromptSource | Iterable[PromptSource]) -> list[EmbeddingPrompt]:
        """P prompts -> P ready ones, with their labels and where they come from, as `save_prompts` writes them.

        Raises PromptError for an expression, which has maps but no embedding.
        """
        asked = as_prompts(prompts)
        return [
            EmbeddingPrompt(row, prompt.label, Origin(self._origin_of(prompt), description(prompt)))
            for prompt, row in zip(asked, self.embed(asked), strict=True)
        ]

    def segment(
        self,
        picture: PictureSource | ImageFeatures,
        prompts: PromptSource | Iterable[PromptSource],
        *,
        negative: PromptSource | Iterable[PromptSource] = (),
        combine: str | None = None,
        fit: str | None = None,
        tile: Length | None = None,
        overlap: Length | None = None,
        reduced_decoding: bool = False,
        **options: Any,
    ) -> Masks:
        """A picture, or its features, under P prompts or expressions -> P masks. One still makes a `Masks` of one.

        Each distinct prompt is embedded and decoded once, in however many expressions it is. Everything else happens
        later, on demand, and may be changed by `Masks.with_options`:

        negative  prompts or expressions of what is not wanted, taken out of every mask (AND NOT any of them); where
                  prompts compete they only compete
        combine   "max", "mean", "sum" or "product" of all masks into one; None: each prompt keeps its own
        fit       see `encode`, as for tile, overlap and reduced_decoding; None: "squash", and of features their own
        options   how masks are finished: the names of `masks.options.OPTIONS`, such as competition, threshold, smooth

        Beside picture and model it needs 4 bytes for each cell of the P maps twice, and for those of 8 maps some times
        more. A map has as many cells as the model's input pixels; of tiles more, up to 2048 on the longer side.

        Raises PromptError for a prompt that does not fit the model or an expression that cannot be read, PictureError
        for what is no picture, and UsageError for options that are not known or contradict each other.
        """
        answered = self.asking(
            prompts,
            negative=negative,
            combine=combine,
            fit=fit,
            tile=tile,
            overlap=overlap,
            reduced_decoding=reduced_decoding,
            **options,
        )
        return next(answered([picture]))

    def segment_many(
        self,
        pictures: Iterable[PictureSource | ImageFeatures],
        prompts: PromptSource | Iterable[PromptSource],
        *,
        negative: PromptSource | Iterable[PromptSource] = (),
        combine: str | None = None,
        fit: str | None = None,
        tile: Length | None = None,
        overlap: Length | None = None,
        reduced_decoding: bool = False,
        batch_size: int = PICTURE_BATCH,
        **options: Any,
    ) -> list[Masks]:
        """Pictures under the same prompts -> a `Masks` each, in order; see `segment`, and `asking` for a stream."""
        answered = self.asking(
            prompts,
            negative=negative,
            combine=combine,
            fit=fit,
            tile=tile,
            overlap=overlap,
            reduced_decoding=reduced_decoding,
            batch_size=batch_size,
            **options,
        )
        return list(answered(pictures))

    def asking(
        self,
        prompts: PromptSource | Iterable[PromptSource],
        *,
        negative: PromptSource | Iterable[PromptSource] = (),
        combine: str | None = None,
        fit: str | None = None,
        tile: Length | None = None,
        overlap: Length | None = None,
        reduced_decoding: bool = False,
        batch_size: int = PICTURE_BATCH,
        **options: Any,
    ) -> Answered:
        """What `segment` is asked -> a function: any pictures or features, as they come -> the `Masks` of each in turn.

        All prompts are embedded here and now. `batch_size` pictures, or tiles of one, go through the model together.
        Meanwhile threads, which end with the iterator that is given, decode others: of an iterator `batch_size`
        pictures are read ahead, of a list or tuple as many again. Raises as `segment`: for what is asked here, for a
        picture when its turn comes; `asking(…).each(pictures)` gives its error in place of its masks, and goes on.
        """
        if not isinstance(batch_size, Integral) or batch_size < 1:
            raise UsageError(f"batch_size is {batch_size!r}; expected at least 1, a whole number")
        finish = MaskOptions.from_mapping(options if combine is None else {**options, "combine": combine})
        chosen = Fit.of(fit, tile, overlap)
        question = Question.of(prompts, negative)
        parts = self._parts
        conditions = parts.conditioner.embed(question.prompts)

        return Answered(
            parts.encoder, question, conditions, finish, combine is not None, chosen, batch_size, reduced_decoding
        )

    def presence(self, masks: Masks) -> torch.Tensor:
        """The masks that this model made -> the probability (P,) that each label is in the picture at all.

        Where a thing is as likely to be there as not before one looks; see `masks.presence`. It is measured on single
        prompts of text and fit "squash". Raises UsageError for a model that it was not measured for; `masks.scores()`
        orders labels all the same.
        """
        if self.calibration is None:
            raise UsageError(
                f"presence was not measured for this model: it has no {PRESENCE_FILE}; masks.scores() always are, "
                "and Segmenter(…, calibration=Presence.fitted(…)) takes one measured on your own pictures"
            )
        return self.calibration.probabilities(masks.scores())

    def similarity(self, picture: PictureSource, prompts: PromptSource | Iterable[PromptSource]) -> torch.Tensor:
        """A picture and P prompts -> cosines (P,) between -1 and 1, as CLIP compares pictures and texts."""
        conditions = self._parts.conditioner.embed(as_prompts(prompts))
        runner = self._parts.runner
        pixels = self.processor.image_processor.pixel_values(to_rgb(picture)).to(runner.device)
        with torch.inference_mode():
            feature = runner.get_conditional_embeddings(1, conditional_pixel_values=pixels)
        cosines = F.cosine_similarity(conditions.float(), feature.float())
        return cosines.clamp(-1, 1).cpu()  # rounding may lead just beyond

    # ------------------------------------------------------------------------------------------------------------

    @property
    def _parts(self) -> _Loaded:
        if self._loaded is None:
            raise UsageError("this segmenter has been unloaded; load the model anew with Segmenter.from_pretrained(…)")
        return self._loaded

    def _origin_of(self, prompt: Term) -> str:
        """-> the name of the model that made a prompt's embedding: this one, unless it came ready from another."""
        known = prompt.origin if isinstance(prompt, EmbeddingPrompt) else None
        return self._parts.conditioner.model_name if known is None else known.model


class _Loaded:
    """What of a segmenter holds weights, or what was computed with them."""

    def __init__(self, runner: Runner, processor: CLIPSegProcessor | ImageProcessorOnly) -> None:
        self.runner = runner
        self.conditioner = Conditioner(runner, processor)
        self.encoder = PictureEncoder(runner, processor.image_processor)


def _runner(model: CLIPSegForImageSegmentation | Runner, precision: Precision | None) -> Runner:
    """A model -> the same packed, unless it is a runner already, whose precision is its own."""
    if isinstance(model, CLIPSegForImageSegmentation):
        return FusedModel(model.eval(), precision)
    if precision is not None:
        raise UsageError(f"precision is {precision!r}, but {type(model).__name__} has its own; leave it out")
    return model


def _calibration(name_or_path: str | os.PathLike[str], where: dict[str, Any]) -> Presence | None:
    """A model's name -> its calibration of presence, where it has one that can be had now."""
    try:
        path = find_file(name_or_path, PRESENCE_FILE, required=False, **where)
    except CheckpointNotFoundError:  # offline, in a cache that others filled: most models have none, and none needs it
        return None
    return None if path is None else Presence.from_dict(read_json(path), str(path))
