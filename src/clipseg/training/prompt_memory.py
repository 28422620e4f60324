"""Conditions of a frozen CLIP: each distinct text or example picture is embedded once, and found on the disk again.

Every one is embedded alone and in float32, so what it is does not depend on what else a batch asks for: a run that goes
on sees the very numbers that an uninterrupted one sees.

Shapes: n prompts · L tokens · E condition width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import torch
from numpy.typing import NDArray

from clipseg.errors import OutputError
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation

HASH_BYTES = 16


def content_hash(array: NDArray[Any], kind: bytes = b"picture") -> bytes:
    """An array -> 16 bytes that tell it from any other of another shape, type or content, or of another kind."""
    hashed = hashlib.blake2b(b"%s %s %s" % (kind, str(array.dtype).encode(), str(array.shape).encode()))
    hashed.update(np.ascontiguousarray(array).data)
    return hashed.digest()[:HASH_BYTES]


class PromptMemory:
    """Embeddings by what was embedded, in a folder that belongs to one CLIP; a process adds to a file of its own."""

    def __init__(self, folder: Path, width: int) -> None:
        self.folder = folder
        self.width = width
        self._known: dict[bytes, NDArray[np.float32]] | None = None
        self._own = folder / f"prompts-{uuid4().hex[:12]}.bin"

    def __len__(self) -> int:
        return len(self._embeddings())

    def texts(self, model: CLIPSegForImageSegmentation, ids: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        """Token ids and attention mask (n, L) -> conditions (n, E), not normalised. Raises OutputError."""
        texts = [row[kept.bool()][None] for row, kept in zip(ids, keep, strict=True)]
        return self._found(texts, b"text", model.clip.get_text_features)

    def examples(self, model: CLIPSegForImageSegmentation, pixels: torch.Tensor) -> torch.Tensor:
        """Engineered examples (n, 3, h, w) -> conditions (n, E), not normalised. Raises OutputError."""
        return self._found(list(pixels[:, None]), b"example", model.clip.get_image_features)

    @torch.no_grad()
    def _found(
        self, inputs: Sequence[torch.Tensor], kind: bytes, embed: Callable[[torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        known = self._embeddings()
        rows = []
        for x in inputs:
            key = content_hash(x.cpu().numpy(), kind)
            if key not in known:
                with torch.autocast(x.device.type, enabled=False):
                    known[key] = embed(x)[0].float().cpu().numpy()
                self._append(key + known[key].tobytes())
            rows.append(known[key])
        return torch.from_numpy(np.stack(rows)).to(inputs[0].device)

    def _embeddings(self) -> dict[bytes, NDArray[np.float32]]:
        """-> what the folder holds; a record that was cut short is left out."""
        if self._known is None:
            self._known = {}
            record = HASH_BYTES + 4 * self.width
            for path in sorted(self.folder.glob("prompts-*.bin")):
                data = path.read_bytes()
                for start in range(0, len(data) // record * record, record):
                    key, values = data[start : start + HASH_BYTES], data[start + HASH_BYTES : start + record]
                    self._known[key] = np.frombuffer(values, np.float32)
        return self._known

    def _append(self, record: bytes) -> None:
        try:
            with self._own.open("ab", buffering=0) as file:
                file.write(record)
        except OSError as error:
            raise OutputError(f"{self._own} cannot be written ({error.strerror or error}); make room") from error
