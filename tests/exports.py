"""Exported folders of one tiny model. The model is traced once."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
import torch

import ready
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation
from clipseg.runtime import export as exporting
from clipseg.runtime.export_files import traced
from clipseg.runtime.export_graphs import Graph


def model(seed: int = 0) -> CLIPSegForImageSegmentation:
    """A model of `ready` with two taps, a layer beyond them and the refined head: as small as still has everything."""
    return ready.model(
        seed, vision={"num_hidden_layers": 3}, extract_layers=[0, 1], use_complex_transposed_convolution=True
    )


def texts(count: int) -> dict[str, torch.Tensor]:
    """-> ids and mask of so many phrases, of several lengths."""
    encoded = ready.tokenizer()(list(ready.WORDS[:count]), padding=True)
    return {name: torch.tensor(encoded[name]) for name in ("input_ids", "attention_mask")}


@contextmanager
def untraced() -> Iterator[None]:
    """Without pytest's handler on torch's trace log, which is silent unless somebody listens, and costly then."""
    log = logging.getLogger("torch.__trace")
    handlers, log.handlers = log.handlers, []
    try:
        yield
    finally:
        log.handlers = handlers


def exported(
    model: CLIPSegForImageSegmentation | str | Path,
    folder: Path,
    to: str = "onnx",
    *,
    programs: dict[str, Any] | None = None,
    source: Path | None = None,
    **options: Any,
) -> Path:
    """A model -> its folder. What was done before for the same model is taken from there, so that tests are fast.

    `programs` are the traced graphs by name, filled where they are missing; `source` is an ONNX export.
    """
    known = {} if programs is None else programs
    processor = None if isinstance(model, (str, Path)) else ready.processor()

    def trace(graph: Graph, inputs: Any) -> Any:
        if source is not None:
            return graph.name
        if graph.name not in known:
            known[graph.name] = traced(graph, inputs)
        return known[graph.name]

    def load(name: str, **_options: Any) -> Any:
        return SimpleNamespace(model_proto=onnx.load_model(f"{source}/{name}.onnx"))

    with untraced(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "traced", trace)
        if source is not None:
            patch.setattr(torch.onnx, "export", load)
        return exporting.export(model, folder, to, processor=processor, **options).folder
