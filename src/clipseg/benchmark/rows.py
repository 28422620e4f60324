"""What `clipseg bench` measures: the machine's matrix peak, a model's encoder and decoder beside it, files to masks.

Shapes: H, W the model's input · P prompts · E condition width.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import torch
from PIL import Image

from clipseg.benchmark import materials
from clipseg.benchmark.flops import decoder_flops, encoder_flops
from clipseg.benchmark.memory import in_own_process, peak_megabytes
from clipseg.benchmark.peaks import PRECISIONS, matrix_peaks, synchronised
from clipseg.benchmark.timing import interleaved, summary
from clipseg.errors import UsageError
from clipseg.masks.png import save_binary
from clipseg.processing.image_processors import ImageProcessor
from clipseg.processing.processors import CLIPSegProcessor
from clipseg.prompting.prompt_cache import VARIABLE as PROMPT_CACHE
from clipseg.prompting.prompts import EmbeddingPrompt
from clipseg.runtime.backends import load_runner
from clipseg.runtime.runner import Runner
from clipseg.segmenter import Segmenter
from clipseg.version import __version__

REPEATS = 5
DECODED = (1, 10, 100)  # prompts
REMEMBERED = (1, 32)  # prompts whose memory is measured
STREAMED = 4  # pictures
PHRASES = ("a cat", "a red cup", "the sky")

Figures: TypeAlias = dict[str, Any]
Moved: TypeAlias = Callable[[int, int, str], None]
"""Told how many rows of how many are done, and which is next."""


@dataclass(frozen=True)
class Measured:
    """Which model is measured, and how it is run; as `Segmenter.from_pretrained`."""

    model: str = "nano"
    device: str = "auto"
    dtype: str = "auto"
    backend: str = "torch"
    compile: bool = False
    local_files_only: bool = False

    def runner(self) -> Runner:
        """-> the model, ready to run. Raises what `Segmenter.from_pretrained` does."""
        given = self._named()
        return load_runner(given.pop("name_or_path"), compiled=given.pop("compile"), **given)

    def segmenter(self) -> Segmenter:
        """-> the segmenter, as users get it."""
        return Segmenter.from_pretrained(**self._named())

    def _named(self) -> dict[str, Any]:
        given = asdict(self)
        return {"name_or_path": given.pop("model"), **given}


@dataclass
class Bench:
    """A model under measurement, and what was found so far that other rows need."""

    loading: Measured
    repeats: int
    folder: Path
    runner: Runner
    segmenter: Segmenter
    peaks: dict[str, float] = field(default_factory=dict)

    @property
    def precision(self) -> str:
        """What the towers are computed in."""
        return precision_of(self.runner)

    @property
    def size_hw(self) -> tuple[int, int]:
        """Of the model's input, in pixels."""
        return input_size_hw(self.segmenter.processor.image_processor)


def measure(loading: Measured, rows: Sequence[str] = (), repeats: int = REPEATS, moved: Moved | None = None) -> Figures:
    """A model -> its figures, for JSON: `rows` by name, each with what was measured and how often; none named: all.

    Raises UsageError for a row that is not known or no repeat, and what loading a model raises.
    """
    check_rows(rows)
    if repeats < 1:
        raise UsageError(f"repeats is {repeats}; expected at least 1")
    chosen = [name for name in ROWS if name in (rows or ROWS)]
    with opened(loading, repeats) as bench:
        found = {}
        for done, name in enumerate(chosen):
            if moved is not None:
                moved(done, len(chosen), name)
            found[name] = ROWS[name](bench)
        return {
            "clipseg": __version__,
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "model": asdict(loading),
            "device": str(bench.runner.device),
            "precision": bench.precision,
            "input_size_hw": list(bench.size_hw),
            "repeats": repeats,
            "rows": found,
        }


@contextmanager
def opened(loading: Measured, repeats: int) -> Iterator[Bench]:
    """-> a model to be measured, with a folder for its files that is gone afterwards."""
    runner = loading.runner()
    processor = CLIPSegProcessor.from_pretrained(loading.model, local_files_only=loading.local_files_only)
    with tempfile.TemporaryDirectory(prefix="clipseg-bench-") as name:
        yield Bench(loading, repeats, Path(name), runner, Segmenter(runner, processor))


def check_rows(rows: Sequence[str]) -> None:
    """Raise UsageError for a row that is not known."""
    for name in rows:
        if name not in ROWS:
            raise UsageError(f"row {name!r} is not known; expected {', '.join(ROWS)}")


def precision_of(runner: Runner) -> str:
    """A runner -> what its towers are computed in: its own word for it, or else the type of its conditions."""
    return getattr(runner, "precision", None) or str(runner.dtype).removeprefix("torch.")


def input_size_hw(processor: ImageProcessor) -> tuple[int, int]:
    """An image processor -> the size of what it makes of a picture that is squashed, in pixels."""
    height, width = processor.pixel_values(Image.new("RGB", (64, 64))).shape[-2:]
    return height, width


# -- rows --------------------------------------------------------------------------------------------------------------


def matrix_peak(bench: Bench) -> Figures:
    """-> 10^9 operations a second by precision."""
    precisions = tuple(dict.fromkeys((*PRECISIONS, bench.precision)))
    bench.peaks = matrix_peaks(bench.runner.device, precisions)
    return {"gflops": bench.peaks}


def encode(bench: Bench) -> Figures:
    """-> one picture in the model's input to what the decoder needs of it."""
    pixels = torch.randn(1, 3, *bench.size_hw, device=bench.runner.device)

    def call() -> object:
        with torch.inference_mode():
            encoded = bench.runner.encode_images(pixels)
        synchronised(bench.runner.device)
        return encoded

    return _beside_peak(bench, _measured(bench, call), encoder_flops(bench.segmenter.config, bench.size_hw))


def decode(bench: Bench) -> Figures:
    """-> an encoded picture under P ready prompts, for several P; what a prompt takes is the time over P."""
    features = bench.segmenter.encode(materials.photograph(bench.size_hw))
    vectors = torch.randn(max(DECODED), bench.segmenter.config.projection_dim)
    prompts = [EmbeddingPrompt(vector, str(number)) for number, vector in enumerate(vectors)]

    def asking(count: int) -> Callable[[], object]:
        return lambda: bench.segmenter.segment(features, prompts[:count])

    calls = {str(count): asking(count) for count in DECODED}
    for call in calls.values():
        call()
    taken = interleaved(calls, bench.repeats)
    found = {}
    for count, seconds in taken.items():
        figures = summary(seconds)
        figures["milliseconds_a_prompt"] = 1000 * figures["median"] / int(count)
        found[count] = _beside_peak(bench, figures, decoder_flops(bench.segmenter.config, bench.size_hw, int(count)))
    return {"prompts": found}


def first_mask(bench: Bench) -> Figures:
    """-> a fresh process from its start to the first mask of a photograph on disk, and what of it is loading."""
    (path,) = materials.write_photographs(bench.folder / "first", 1, materials.PHOTOGRAPH_HW)
    seconds, loaded = [], []
    for _ in range(bench.repeats):
        start = time.perf_counter()
        loaded.append(in_own_process(_segmented_anew, bench.loading, path, path.with_suffix(".png")))
        seconds.append(time.perf_counter() - start)
    return {**summary(seconds), "loading_median": statistics.median(loaded)}


def stream(bench: Bench) -> Figures:
    """-> JPEG files of 12 megapixels under fixed prompts, to PNG files of masks at their full size."""
    paths = materials.write_photographs(bench.folder / "stream", STREAMED, materials.PHOTOGRAPH_HW)
    figures = _measured(bench, lambda: write_masks(bench.segmenter, paths, PHRASES, bench.folder / "masks"))
    rate = len(paths) / figures["median"]
    return {**figures, "pictures": len(paths), "prompts": len(PHRASES), "pictures_a_second": rate}


def memory(bench: Bench) -> Figures:
    """-> the most megabytes that loading a model and asking it P prompts takes, in a fresh process for each P."""
    (path,) = materials.write_photographs(bench.folder / "memory", 1, materials.PHOTOGRAPH_HW)
    return {"peak_megabytes": {str(count): in_own_process(_peak, bench.loading, path, count) for count in REMEMBERED}}


ROWS: Mapping[str, Callable[[Bench], Figures]] = {
    "peak": matrix_peak,
    "encode": encode,
    "decode": decode,
    "first-mask": first_mask,
    "stream": stream,
    "memory": memory,
}
"""Name -> what measures it; a peak comes before what is compared with it."""


def write_masks(
    segmenter: Segmenter, pictures: Sequence[Path], prompts: Sequence[str], folder: Path, **asked: Any
) -> None:
    """Files of pictures -> a PNG for each and each prompt, NAME.PROMPT.png, at the picture's full size.

    What is `asked` besides goes to `Segmenter.asking`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path, masks in zip(pictures, segmenter.asking(prompts, **asked)(pictures), strict=True):
        for number, mask in enumerate(masks.each_binary()):
            save_binary(folder / f"{path.stem}.{number}.png", mask)


def _measured(bench: Bench, call: Callable[[], object]) -> Figures:
    call()  # warm
    return summary(interleaved({"it": call}, bench.repeats)["it"])


def _beside_peak(bench: Bench, figures: Figures, flops: int) -> Figures:
    """-> the figures with what was computed in them, and its share of the peak of its precision where that is known."""
    speed = flops / figures["median"] / 1e9
    peak = bench.peaks.get(bench.precision)
    return {**figures, "gflop": flops / 1e9, "gflops": speed, "share_of_peak": None if peak is None else speed / peak}


def _segmented_anew(loading: Measured, picture: Path, mask: Path) -> float:
    """In a process of its own: load, ask, and write -> the seconds that loading took."""
    os.environ[PROMPT_CACHE] = "off"  # of this process: each start is the first one with these words
    start = time.perf_counter()
    segmenter = loading.segmenter()
    loaded = time.perf_counter() - start
    save_binary(mask, segmenter.segment(picture, PHRASES[0]).binary()[0])
    return loaded


def _peak(loading: Measured, picture: Path, count: int) -> float | None:
    """In a process of its own: load, and ask a photograph P prompts -> the most megabytes over imports alone."""
    os.environ[PROMPT_CACHE] = "off"
    prompts = [f"{PHRASES[0]} {number}" for number in range(count)]
    return peak_megabytes(lambda: loading.segmenter().segment(picture, prompts))
