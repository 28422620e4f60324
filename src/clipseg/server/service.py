"""What the routes do, away from HTTP: bytes and requests in, answers out. Everything here may run in any thread."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from PIL import Image
from pydantic import ValidationError

from clipseg.answering import masks_of
from clipseg.errors import UsageError
from clipseg.masks.masks import Masks
from clipseg.masks.options import MaskOptions
from clipseg.processing.on_demand import PictureOnDemand
from clipseg.prompting.prompts import Prompt
from clipseg.prompting.questions import Question
from clipseg.segmenter import Segmenter
from clipseg.server import requests
from clipseg.server.answers import png, records
from clipseg.server.bundles import bundle
from clipseg.server.engine import Decoded, Engine
from clipseg.server.metrics import Metrics
from clipseg.server.pictures import Picture, Pictures
from clipseg.server.reading import Embed, Reader, fit_of, options_of
from clipseg.server.refusals import NotReadyError, RequestError, TooLargeError
from clipseg.server.settings import Limits
from clipseg.server.tickets import Gate, Ticket

T = TypeVar("T")

PNG, ZIP = "image/png", "application/zip"


class Service:
    """A model and what clients sent, and what can be asked of both.

    `name` is what the model is called; `progress` tells from 0 to 1 how far its download is.
    """

    def __init__(
        self,
        load: Callable[[], Segmenter],
        name: str,
        limits: Limits,
        progress: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.name, self.limits = name, limits
        self.metrics = Metrics()
        self.pictures = Pictures(limits)
        self.reader = Reader(limits, self.pictures)
        self.engine = Engine(load, limits, self.metrics)
        self.gate = Gate(limits.queue)
        self._progress = progress
        self._closing = False
        self._cores = threading.Semaphore(os.cpu_count() or 1)
        self._add_gauges()

    def start(self) -> None:
        """Begin to load the model."""
        self.engine.start()

    def close(self) -> None:
        """Finish what was taken, and take nothing more. May be called again."""
        self._closing = True
        self.gate.wait_until_empty(self.limits.seconds)
        self.engine.close()

    def enter(self) -> Ticket:
        """-> a ticket for one request. Raises BusyError, and NotReadyError at the end."""
        if self._closing:
            raise NotReadyError("the server is about to end", 1)
        return self.gate.enter(self.limits.seconds)

    def status(self) -> dict[str, Any]:
        """-> whether the model is there, and how far it has come; no word of where it lies."""
        if self.engine.ready and not self._closing:
            return {"status": "ready", "model": self.name}
        if self.engine.failure is not None:
            return {"status": "failed", "progress": 0.0, "message": "the model cannot be loaded; the log tells why"}
        if self._closing:
            return {"status": "ending", "progress": 1.0, "message": "the server is about to end"}
        progress = min(1.0, max(0.0, self._progress()))
        doing = "downloading" if 0 < progress < 1 else "loading"
        return {"status": "loading", "progress": round(progress, 3), "message": f"{doing} {self.name}"}

    def models(self) -> list[dict[str, Any]]:
        """-> the one model there is."""
        row: dict[str, Any] = {"name": self.name, "loaded": self.engine.ready, "size_bytes": None, "side": None}
        if self.engine.ready:
            segmenter = self.engine.segmenter
            size = segmenter.processor.image_processor.size
            row |= {
                "size_bytes": _size(segmenter),
                "side": max(size.values()),
                "text": segmenter.processor.tokenizer is not None,
                "presence": segmenter.calibration is not None,
            }
        return [{"text": True, "presence": False, **row}]

    # -- what needs a ticket -------------------------------------------------------------------------------------------

    def upload(self, content: bytes, ticket: Ticket) -> requests.PictureAnswer:
        """A picture's file -> its id and size. Raises PictureError."""
        picture = self.computed(ticket, lambda: self.pictures.add(content))
        return requests.PictureAnswer(id=picture.id, width=picture.size_hw[1], height=picture.size_hw[0])

    def segment(self, asked: requests.SegmentRequest, ticket: Ticket) -> tuple[bytes | dict[str, Any], str]:
        """What is asked -> the answer, and its media type; JSON is still a dict."""
        options = options_of(asked)
        picture, question, decoded = self._decoded(asked, ticket)

        def finish() -> tuple[bytes | dict[str, Any], str]:
            image: Image.Image = PictureOnDemand(picture.content, picture.size_hw)
            if asked.format == "zip" or options.refine != "none":
                image = self.pictures.image(picture)  # decoded once for all who need it
            masks = masks_of(question, decoded.logits, image, options, asked.combine is not None, ticket.check)
            if asked.format == "png":
                return png(masks), PNG
            answer = self._answer(asked, picture, masks, decoded, ticket)
            if asked.format == "json":
                return answer, "application/json"
            how: dict[str, Any] = {"instances": asked.instances, "answer": answer, "check": ticket.check}
            return bundle(masks, asked.formats, asked.name, **how), ZIP

        return self.computed(ticket, finish)

    def masks(self, picture: Picture, texts: list[str], options: MaskOptions, fit: str | None, ticket: Ticket) -> Masks:
        """A picture that was sent and phrases -> their masks, for protocols that have other words for what they ask."""
        try:
            asked = requests.SegmentRequest.model_validate({"picture": picture.id, "prompts": texts, "fit": fit})
        except ValidationError as error:
            problem = requests.most_telling(error.errors(include_url=False, include_input=False))
            raise RequestError(f"{problem['loc'][0]}: {problem['msg']}") from None
        _, question, decoded = self._decoded(asked, ticket)

        def made() -> Masks:
            return masks_of(question, decoded.logits, self.pictures.image(picture), options, False, ticket.check)

        return self.computed(ticket, made)

    def similarity(self, asked: requests.SimilarityRequest, ticket: Ticket) -> requests.SimilarityAnswer:
        """A picture and prompts -> cosines."""
        image = self.pictures.image(self.pictures.named(asked.picture))
        prompts = self.reader.prompts(asked, self._embed(ticket))
        cosines = self.engine.call(ticket, lambda segmenter: segmenter.similarity(image, prompts))
        return requests.SimilarityAnswer(labels=[one.label for one in prompts], cosines=cosines.tolist())

    def embed(self, asked: requests.EmbedRequest, ticket: Ticket) -> requests.EmbedAnswer:
        """Prompts -> their embeddings."""
        prompts = self.reader.prompts(asked, self._embed(ticket))
        rows = self.engine.call(ticket, lambda segmenter: segmenter.embed(prompts))
        return requests.EmbedAnswer(labels=[one.label for one in prompts], embeddings=rows.tolist())

    def store(self, asked: requests.StoreRequest, ticket: Ticket) -> requests.StoredPrompt:
        """A prompt -> its id, under which it is remembered."""
        return self.reader.store(asked, self._embed(ticket))

    def stored(self) -> requests.StoredPrompts:
        """-> all prompts that are remembered."""
        rows = self.reader.stored.items()
        return requests.StoredPrompts(
            prompts=[requests.StoredPrompt(id=name, label=prompt.label) for name, prompt in rows]
        )

    def computed(self, ticket: Ticket, function: Callable[[], T]) -> T:
        """A function that takes long -> what it gives, computed when a core is free. Raises TimeLimitError.

        It runs in the caller's thread, where torch is to compute on that thread alone, see `behind.lone_threads`.
        """
        with self.engine.beside():
            if not self._cores.acquire(timeout=ticket.left):
                raise ticket.over()
            try:
                ticket.check()
                return function()
            finally:
                self._cores.release()

    # ------------------------------------------------------------------------------------------------------------

    def _embed(self, ticket: Ticket) -> Embed:
        def embed(prompt: Prompt) -> torch.Tensor:
            return self.engine.call(ticket, lambda segmenter: segmenter.embed([prompt])[0])

        return embed

    def _decoded(self, asked: requests.SegmentRequest, ticket: Ticket) -> tuple[Picture, Question, Decoded]:
        """What is asked -> the picture, the question, and what the model says to it."""
        picture = self.pictures.named(asked.picture)
        fit = fit_of(asked, picture.size_hw, self.limits)
        question = self.reader.question(asked, self._embed(ticket))
        if fit.name == "tile" and len(question.prompts) > self.limits.tiled_prompts:
            raise TooLargeError(
                f"on tiles {self.limits.tiled_prompts} prompts at once are the limit; ask for the others anew"
            )
        return picture, question, self.engine.ask(ticket, picture, self.pictures.source(picture), fit, question)

    def _answer(
        self, asked: requests.SegmentRequest, picture: Picture, masks: Masks, decoded: Decoded, ticket: Ticket
    ) -> dict[str, Any]:
        results = ["scores"] if asked.format == "zip" and "results" not in asked.model_fields_set else asked.results
        rows = list(records(masks, results, self.engine.segmenter.calibration, ticket.check))
        timing = requests.Timing(queued_ms=decoded.queued_ms, encoded=decoded.encoded, total_ms=ticket.spent_ms)
        height, width = picture.size_hw
        return {
            "picture": picture.id,
            "width": width,
            "height": height,
            "masks": rows,
            "timing": timing.model_dump(),
        }

    def _add_gauges(self) -> None:
        gauge = self.metrics.gauge
        gauge("clipseg_requests_inside", "Requests being answered.", lambda: self.gate.inside)
        gauge("clipseg_questions_waiting", "Questions that wait for the model.", lambda: self.engine.waiting)
        gauge("clipseg_model_ready", "1 once the model is loaded.", lambda: float(self.engine.ready))
        gauge("clipseg_pictures", "Pictures remembered.", lambda: len(self.pictures.files))
        gauge("clipseg_pictures_bytes", "Bytes of their files.", lambda: self.pictures.files.bytes)
        gauge("clipseg_decoded_bytes", "Bytes of decoded pictures.", lambda: self.pictures.decoded.bytes)
        gauge("clipseg_features", "Encoded pictures remembered.", lambda: len(self.engine.features))
        gauge("clipseg_features_bytes", "Bytes of their features.", lambda: self.engine.features.bytes)


def _size(segmenter: Segmenter) -> int | None:
    """-> what a model's weights take; None where they are not torch's."""
    try:
        return sum(weight.nbytes for weight in segmenter.model.parameters())
    except UsageError:
        return None
