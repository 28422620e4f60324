"""What a frozen CLIP makes of pictures and prompts, stored once: decoder-only epochs then cost the decoder alone.

    cache = FeatureCache.fill(model, [data, validation], folder, size=352)     goes on where it was left
    cache.taps(sample.picture)                  (T, N, D), in any process: where batches are made
    cache.encoded(model, taps)                  (B, T, N, D) -> EncodedImages, as `model.encode_images(pixels)`
    cache.prompts.texts(model, ids, keep)       (n, E), as `model.clip.get_text_features`, each distinct text once
    cache.prompts.examples(model, pixels)       (n, E), as `model.clip.get_image_features`, each distinct one once

    FOLDER/<key>/cache.json       what it belongs to: weights, preprocessing, type; <key> is a hash of these
    FOLDER/<key>/pictures.bin     16 bytes a row: the hash of a picture's content
    FOLDER/<key>/taps.bin         a row's tapped activations, before the decoder's trainable reductions
    FOLDER/<key>/done.bin         a byte a row: 1 once its activations are on the disk
    FOLDER/<key>/scan-<id>.npz    which pictures a data set has
    FOLDER/<key>/prompts-*.bin    see `prompt_memory`

Pictures are known by their content, so it does not matter which data set, entry or draw they come from, and a picture
under a hundred phrases is stored once. Activations are computed in float32 whatever precision training has.

Shapes: B pictures · T taps, in the order of `extract_layers` · N tokens · D tower width · E condition width.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from clipseg.checkpoints.files import read_json, replacing, write_json
from clipseg.data.geometry import to_pixels
from clipseg.data.sample import SampleDataset
from clipseg.errors import DataError, OutputError, TrainingError, UsageError
from clipseg.modeling.segmentation import CLIPSegForImageSegmentation, EncodedImages
from clipseg.training.prompt_memory import HASH_BYTES, PromptMemory, content_hash

log = logging.getLogger(__name__)

StoredType: TypeAlias = Literal["float32", "float16"]
Progress: TypeAlias = Callable[[int, int], None]
"""Is told how many of this process's pictures are stored by now, and how many there are to store."""

FORMAT = 1
SPARE_BYTES = 100 << 20  # of disk that filling leaves free: a checkpoint has to fit as well
PROBES = 32  # pictures by which a data set that was looked through before is known again
POLL_SECONDS = 0.2


class _Scan(NamedTuple):
    """The distinct pictures of a data set: an entry that shows each (m,), and their hashes (m, 16)."""

    entries: NDArray[np.int64]
    hashes: NDArray[np.uint8]


class _Todo(NamedTuple):
    """A picture that is not stored yet: its row, and where to read it."""

    row: int
    dataset: int
    entry: int


class FeatureCache:
    """A cache for reading. Any number of processes may share its folder; a copy in another process opens it anew."""

    def __init__(self, folder: Path) -> None:
        """Open what `fill` has made. Raises CheckpointError for a folder that is none."""
        described = read_json(folder / "cache.json")
        self.folder = folder
        self.shape: tuple[int, ...] = tuple(described["shape"])  # (T, N, D)
        self.grid: tuple[int, int] = (described["grid"][0], described["grid"][1])
        self.dtype = np.dtype(described["dtype"])
        self.prompts = PromptMemory(folder, described["projection_dim"])
        self.rows: dict[bytes, int] = {}
        for number, row in enumerate(_listed(folder)):
            self.rows.setdefault(row.tobytes(), number)
        self._done = np.memmap(folder / "done.bin", np.uint8, "r") if self.rows else np.zeros(0, np.uint8)
        self._stored: NDArray[Any] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return FeatureCache, (self.folder,)

    @classmethod
    def fill(
        cls,
        model: CLIPSegForImageSegmentation,
        datasets: Sequence[SampleDataset],
        folder: str | os.PathLike[str],
        *,
        size: int,
        dtype: StoredType = "float32",
        batch: int = 8,
        rank: int = 0,
        world: int = 1,
        on_progress: Progress | None = None,
    ) -> FeatureCache:
        """A model whose CLIP is frozen, and data sets -> the cache in which all their pictures are.

        `size` is the side to which pictures are squashed; `batch` of them are computed and stored at a time. Every data
        set is looked through once. What it takes is logged before it begins; what is stored already is left alone, so a
        filling that was killed goes on. Of `world` processes each stores its share and returns once all is there.

        Raises OutputError where the disk has not enough room, before anything is stored or when it fills up, and
        TrainingError for activations that the type cannot hold; unreadable pictures raise what their data set raises.
        """
        if dtype not in ("float32", "float16"):
            raise UsageError(f"dtype is {dtype!r}; expected 'float32' or 'float16'")
        if batch < 1:
            raise UsageError(f"batch is {batch}; expected at least 1")
        if any(parameter.requires_grad for parameter in model.clip.parameters()):
            raise UsageError(
                'features are stored of a frozen CLIP alone; train "decoder" or "head", or with cache=false'
            )
        place = _claimed(model, Path(folder), size, dtype)
        scans = [_scanned(dataset, place) for dataset in datasets]
        _enlist(place, scans)
        cache = cls(place)
        todo = cache._todo(scans)
        cache._check_room(len(todo))
        mine = [item for item in todo if item.row // batch % world == rank]
        was_training = model.training
        model.eval()
        try:
            for done, block in enumerate(_blocks(mine, batch), 1):
                cache._store(model, datasets, block, size)
                if on_progress is not None:
                    on_progress(min(done * batch, len(mine)), len(mine))
        finally:
            model.train(was_training)
        rows = [item.row for item in todo]
        while not cache._done[rows].all():  # those of other processes; where one of these dies, all are ended
            time.sleep(POLL_SECONDS)
        return cache

    def taps(self, picture: NDArray[np.uint8]) -> torch.Tensor:
        """A picture of one of the data sets (H, W, 3) -> its tapped activations (T, N, D) float32.

        Raises DataError for a picture that is not stored.
        """
        row = self.rows.get(content_hash(picture))
        if row is None or not self._done[row]:
            raise DataError(
                f"a picture of {picture.shape[1]}x{picture.shape[0]} is not in the feature cache {self.folder}: its "
                "data set has changed, or draws pictures anew; remove that folder, or train with cache=false"
            )
        if self._stored is None:  # opened where it is first read: worker processes have their own
            self._stored = np.memmap(self.folder / "taps.bin", self.dtype, "r").reshape(-1, *self.shape)
        return torch.from_numpy(self._stored[row].astype(np.float32))

    def encoded(self, model: CLIPSegForImageSegmentation, taps: torch.Tensor) -> EncodedImages:
        """Taps (B, T, N, D) on the model's device -> what its decoder needs, by its present reductions."""
        return EncodedImages(tuple(model.decoder.reduce(taps.unbind(1))), self.grid)

    @property
    def row_bytes(self) -> int:
        """What a picture takes on the disk."""
        return math.prod(self.shape) * int(self.dtype.itemsize)

    # ------------------------------------------------------------------------------------------------------------

    def _todo(self, scans: Sequence[_Scan]) -> list[_Todo]:
        """-> what the scanned data sets have and the disk has not, each picture once, by row."""
        found: dict[int, _Todo] = {}
        for number, scan in enumerate(scans):
            for entry, key in zip(scan.entries.tolist(), scan.hashes, strict=True):
                row = self.rows[key.tobytes()]
                if not self._done[row]:
                    found.setdefault(row, _Todo(row, number, entry))
        return [found[row] for row in sorted(found)]

    def _check_room(self, pictures: int) -> None:
        if not pictures:
            return
        needed, free = pictures * self.row_bytes, shutil.disk_usage(self.folder).free
        log.info("feature cache: %d pictures to store, %s in %s", pictures, _size(needed), self.folder)
        if needed + SPARE_BYTES > free:
            smaller = "" if self.dtype == np.float16 else ", store float16 for half of it"
            raise OutputError(
                f"the feature cache needs {_size(needed)} for {pictures} pictures and the disk of {self.folder} has "
                f"{_size(free)} free; make room{smaller}, or train with cache=false"
            )

    @torch.no_grad()
    def _store(
        self,
        model: CLIPSegForImageSegmentation,
        datasets: Sequence[SampleDataset],
        block: Sequence[_Todo],
        size: int,
    ) -> None:
        """Compute the activations of a few rows and write them; only then are they marked as done."""
        pixels = torch.stack([to_pixels(datasets[item.dataset][item.entry].picture, size) for item in block])
        with torch.autocast(model.device.type, enabled=False):
            taps, _, _ = model.clip.vision_model.taps(pixels.to(model.device), model.extract_layers)
        stored = torch.stack(taps, dim=1).to(getattr(torch, self.dtype.name)).cpu()  # (B, T, N, D)
        if not stored.isfinite().all():
            raise TrainingError(f"activations of CLIP are not finite as {self.dtype.name}; store them as float32")
        with _writing(self.folder):
            with (self.folder / "taps.bin").open("rb+") as file:
                for item, values in zip(block, stored, strict=True):
                    file.seek(item.row * self.row_bytes)
                    file.write(values.numpy().tobytes())
                file.flush()
                os.fsync(file.fileno())
            with (self.folder / "done.bin").open("rb+") as file:
                for item in block:
                    file.seek(item.row)
                    file.write(b"\1")


def _blocks(todo: Sequence[_Todo], batch: int) -> list[list[_Todo]]:
    """-> the rows to store, those together that are computed together whenever filling begins."""
    return [list(block) for _, block in groupby(todo, key=lambda item: item.row // batch)]


def _claimed(model: CLIPSegForImageSegmentation, folder: Path, size: int, dtype: str) -> Path:
    """-> the folder of what this model makes of pictures of this size, made if need be."""
    vision, layers = model.config.vision_config, list(model.extract_layers)
    side = size // vision.patch_size
    described = {
        "format": FORMAT,
        "weights": _weights_hash(model),
        "size": size,
        "extract_layers": layers,
        "dtype": dtype,
        "grid": [side, side],
        "shape": [len(layers), 1 + side * side, vision.hidden_size],
        "projection_dim": model.config.projection_dim,
    }
    key = hashlib.blake2b(json.dumps(described).encode(), digest_size=8).hexdigest()
    place = folder / key
    if not (place / "cache.json").exists():
        write_json(place / "cache.json", described)
    return place


def _weights_hash(model: CLIPSegForImageSegmentation) -> str:
    """-> a hash of CLIP: its weights, and the settings by which they are used."""
    parts = [model.config.vision_config, model.config.text_config]
    names = ("hidden_act", "num_attention_heads", "layer_norm_eps", "patch_size")
    hashed = hashlib.blake2b(repr([[getattr(part, name, None) for name in names] for part in parts]).encode())
    for name, tensor in sorted(model.clip.state_dict().items()):
        hashed.update(name.encode())
        hashed.update(np.ascontiguousarray(tensor.float().cpu().numpy()).data)
    return hashed.hexdigest()[:32]


def _scanned(dataset: SampleDataset, place: Path) -> _Scan:
    """-> the pictures of a data set. One that was looked through before is known by class, length and some pictures."""
    if not len(dataset):
        return _Scan(np.zeros(0, np.int64), np.zeros((0, HASH_BYTES), np.uint8))
    probed = np.unique(np.linspace(0, len(dataset) - 1, PROBES).astype(np.int64)).tolist()
    known = hashlib.blake2b(f"{type(dataset).__name__} {len(dataset)}".encode(), digest_size=8)
    for entry in probed:
        known.update(content_hash(dataset[entry].picture))
    path = place / f"scan-{known.hexdigest()}.npz"
    if path.exists():
        with np.load(path, allow_pickle=False) as arrays:
            return _Scan(arrays["entries"], arrays["hashes"])
    found: dict[bytes, int] = {}
    for entry in range(len(dataset)):
        found.setdefault(content_hash(dataset[entry].picture), entry)
    scan = _Scan(np.array([*found.values()]), np.frombuffer(b"".join(found), np.uint8).reshape(-1, HASH_BYTES))
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, entries=scan.entries, hashes=scan.hashes)
    return scan


def _listed(place: Path) -> NDArray[np.uint8]:
    """-> the hashes of the pictures that have a row (rows, 16)."""
    path = place / "pictures.bin"
    listed = np.fromfile(path, np.uint8) if path.exists() else np.zeros(0, np.uint8)
    return listed[: len(listed) // HASH_BYTES * HASH_BYTES].reshape(-1, HASH_BYTES)


def _enlist(place: Path, scans: Sequence[_Scan]) -> None:
    """Give every picture a row behind those that have one.

    The list only ever grows, by one write: of pictures that two processes add at once, the first rows are the ones.
    """
    listed = {row.tobytes() for row in _listed(place)}
    new = dict.fromkeys(row.tobytes() for scan in scans for row in scan.hashes if row.tobytes() not in listed)
    with _writing(place):
        with (place / "pictures.bin").open("ab", buffering=0) as file:
            file.write(bytes(-file.tell() % HASH_BYTES) + b"".join(new))  # behind a row that a crash cut short
        (place / "taps.bin").touch()
        with (place / "done.bin").open("ab") as file:
            file.truncate(max(file.tell(), len(_listed(place))))  # what is new there is zero


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Within it, what cannot be written is an OutputError that says what to do."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({error.strerror or error}); what is stored stays: make room, and start the "
            "same command again"
        ) from error


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
