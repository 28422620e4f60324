"""Masks as a zip of files in any format, called as the command line calls them, beside a record for each mask.

Writers write files. They get a folder of memory where the system has one, so that nothing of a picture touches a disk.
"""

from __future__ import annotations

import io
import json
import os
import re
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clipseg.errors import UsageError
from clipseg.formats.cutouts import write_cut
from clipseg.formats.outputs import MASK, Output, read_formats
from clipseg.masks.masks import Masks
from clipseg.masks.names import unique_slugs
from clipseg.masks.png import save_binary
from clipseg.server.answers import Check, mask_png

RECORDS = "masks.json"
MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of memory, on Linux

STEM_BYTES = 100
"""Of a file's name; a slug takes up to 80, and file systems allow 255."""

_KEPT = re.compile(r"[^\w.-]+")


def bundle(
    masks: Masks, formats: Sequence[str], name: str, *, instances: bool, answer: dict[str, Any], check: Check
) -> bytes:
    """Masks, what they are written as and what JSON says of them -> a zip. Raises UsageError and OutputError."""
    outputs = read_formats(formats, soft=masks.options.threshold is None, instances=instances)
    stem = _KEPT.sub("-", name).encode()[:STEM_BYTES].decode(errors="ignore").strip(".-") or "picture"
    file = io.BytesIO()
    with _folder() as folder, zipfile.ZipFile(file, "w") as archive:
        for output in outputs:
            try:
                _write(folder, stem, output, masks, instances, check)
            except (TypeError, OverflowError) as error:  # of a parameter that is of no kind its writer reads
                raise UsageError(f"format {output.name} cannot be written with {output.parameters}") from error
            for path in sorted(folder.rglob("*")):  # one format after the other, to hold no more than one
                if path.is_file():
                    pressed = zipfile.ZIP_STORED if path.suffix in (".png", ".jpg", ".npz") else zipfile.ZIP_DEFLATED
                    archive.writestr(path.relative_to(folder).as_posix(), path.read_bytes(), pressed)
                    path.unlink()
        archive.writestr(RECORDS, json.dumps(answer), zipfile.ZIP_DEFLATED)
    return file.getvalue()


def _write(folder: Path, stem: str, output: Output, masks: Masks, instances: bool, check: Check) -> None:
    """Masks -> the files of one format."""
    if output.scope == "data set":
        with output.writer(folder / f"{output.kind}{output.suffix}") as written:
            written.add(masks, f"{stem}.png")
        return
    if output.scope == "picture":
        kind = "" if output.suffix == f".{output.kind}" else f".{output.kind}"
        output.writer(folder / f"{stem}{kind}{output.suffix}", masks)
        return
    for mask, slug in zip(masks, unique_slugs(masks.labels), strict=True):
        check()
        path = folder / f"{stem}.{slug}.{output.kind}{output.suffix}"
        if instances:
            for part in mask.instances():
                check()
                own = path.with_name(f"{stem}.{slug}.{part.number}.{output.kind}{output.suffix}")
                if output.name == MASK:
                    save_binary(own, part.mask())
                else:
                    write_cut(own, mask, part=part, **output.parameters)
        elif output.name == MASK:
            path.write_bytes(mask_png(mask, mask.binary()))
        else:
            output.writer(path, mask)


@contextmanager
def _folder() -> Iterator[Path]:
    """-> a folder of its own, gone after the block."""
    place = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="clipseg-", dir=place) as folder:
        yield Path(folder)
