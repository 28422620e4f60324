"""How fast and how even a batch runs: beside the bare encoder, over many pictures, from a million rows, on Ray.

    python benchmarks/batch.py speed       parts of a run beside the bare encoder: a model of the released size
    python benchmarks/batch.py memory      the bundled model over 20,000 pictures: how much is held on the way
    python benchmarks/batch.py resume      going on with a run of 1,000,000 pictures: seconds until the first is done
    python benchmarks/batch.py ray         two workers of Ray beside the local engine

Each prints a JSON line. `--tiny` only shows that all works. Pictures and weights are made here, the same each time;
one thing is looked for, and found everywhere, for the weights are random: no mask costs more than one of all pixels.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import torch

import clipseg.batch
from clipseg.batch.beginning import begin
from clipseg.batch.engine import DEFAULT_LOADING, Engine
from clipseg.batch.jobs import job_of
from clipseg.batch.manifest import MANIFEST, manifest_schema, sum_of, written
from clipseg.batch.parts import PartMaker, Task, weights_sum
from clipseg.batch.progress import Progress
from clipseg.batch.run_folder import RunDescription, RunFolder
from clipseg.batch.running import Outcome, carry_on
from clipseg.batch.settings import deciding, fingerprint
from clipseg.batch.storage import LocalStorage
from clipseg.benchmark.materials import write_photographs, write_random_model
from clipseg.processing.images import to_rgb
from clipseg.processing.processors import CLIPSegProcessor
from clipseg.runtime.backends import load_runner
from clipseg.runtime.runner import Runner
from clipseg.version import __version__

PROMPTS = ("a cup",)
PHOTO_HW = (480, 640)
BATCH = 8


def speed(folder: Path, tiny: bool, rounds: int) -> dict[str, Any]:
    """Parts of a run, and the same pictures by the bare encoder, in turns: what else the machine does is not even."""
    model = "nano" if tiny else str(write_random_model(folder / "model"))
    size = 16 if tiny else 64
    paths = write_photographs(folder / "in", size * (rounds + 1), PHOTO_HW)
    job = job_of(folder / "in", PROMPTS, model=model, batch_size=BATCH, rows_per_part=size)
    make = PartMaker(Task(begin(LocalStorage(folder / "out"), job, DEFAULT_LOADING).path, DEFAULT_LOADING))
    runner, processor = load_runner(model), CLIPSegProcessor.from_pretrained(model).image_processor
    bares, batches = [], []
    spent = {"bare": 0.0, "batch": 0.0}  # seconds of processors
    make(rounds)  # what the first time takes
    for part in range(rounds):
        pixels = torch.cat([processor.pixel_values(to_rgb(path)) for path in paths[part * size : (part + 1) * size]])
        encode(runner, pixels[:BATCH])  # likewise
        begun, worked = time.perf_counter(), time.process_time()
        encode(runner, pixels)
        bares.append(size / (time.perf_counter() - begun))
        spent["bare"] += time.process_time() - worked
        begun, worked = time.perf_counter(), time.process_time()
        make(part)
        batches.append(size / (time.perf_counter() - begun))
        spent["batch"] += time.process_time() - worked
    return {
        "pictures": size * rounds,
        "size_hw": PHOTO_HW,
        "prompts": len(PROMPTS),
        "threads": torch.get_num_threads(),
        "bare_encoder_per_second": rounded(bares),
        "batch_per_second": rounded(batches),
        "share": round(median(batch / bare for batch, bare in zip(batches, bares, strict=True)), 3),
        "share_of_processor_time": round(spent["bare"] / spent["batch"], 3),
    }


def encode(runner: Runner, pixels: torch.Tensor) -> None:
    """Have the vision tower see pictures that are decoded and in memory already, and nothing more."""
    with torch.inference_mode():
        for batch in pixels.split(BATCH):
            runner.encode_images(batch)


def memory(folder: Path, tiny: bool) -> dict[str, Any]:
    """Memory of this process at each tenth of a run: it grows with parts and not with pictures."""
    count = 400 if tiny else 20_000
    originals = write_photographs(folder / "originals", 20, (240, 320))
    (folder / "in").mkdir()
    for number in range(count):
        os.link(originals[number % len(originals)], folder / "in" / f"{number:06}.jpg")
    held: dict[int, float] = {}

    def watch(progress: Progress) -> None:
        held.setdefault(10 * progress.done // progress.total, resident())

    outcome = clipseg.batch.run(folder / "in", PROMPTS, folder / "out", model="nano", watcher=watch)
    return {
        "pictures": count,
        "per_second": round(rate_of(outcome), 1),
        "megabytes": {f"{10 * tenth}%": round(size, 1) for tenth, size in held.items()},
        "growth_from_10_to_100_percent": round(held[10] / held[1], 3),
    }


class FirstDoneError(Exception):
    """What was waited for."""


def resume(folder: Path, tiny: bool) -> dict[str, Any]:
    """A run of a million rows, of which all but the last part are done: how long until the last one is, and of what."""
    count = 10_000 if tiny else 1_000_000
    (picture,) = write_photographs(folder / "in", 1, (240, 320))
    ids = pa.array([f"{number:09}.jpg" for number in range(count)])
    schema = manifest_schema()
    uris = pa.array([str(picture)] * count)
    table = pa.table([ids, uris, *(pa.nulls(count, field.type) for field in list(schema)[2:])], schema=schema)
    job = job_of(folder / "in", PROMPTS, model="nano")
    decided, content = deciding(job.config, weights_sum(job.config, DEFAULT_LOADING), __version__), written(table)
    print_ = fingerprint(decided, sum_of(content))
    run = RunFolder(LocalStorage(folder / "out" / f"run-{print_[:12]}"))
    run.storage.write(MANIFEST, content)
    run.claim(RunDescription(job.config, print_, decided, count, 512, 0.0, {}))
    parts = folder / "out" / f"run-{print_[:12]}" / "parts"
    parts.mkdir()
    for number in range(run.description().parts - 1):
        (parts / Path(run.part_name(number)).name).touch()
    begun = time.perf_counter()
    found = begin(LocalStorage(folder / "out"), job, DEFAULT_LOADING)

    def watch(_progress: Progress) -> None:
        raise FirstDoneError  # the parts that are there are empty: it must not come to its end

    with suppress(FirstDoneError):
        carry_on(found, Engine(max_error_rate=1), watch)
    return {
        "rows": count,
        "manifest_megabytes": round(len(content) / 1e6, 1),
        "seconds_to_first_picture": round(time.perf_counter() - begun, 3),
    }


def on_ray(folder: Path, tiny: bool) -> dict[str, Any]:
    """The same pictures by the local engine and by Ray, from the first to the last: what starting takes aside."""
    model = "nano" if tiny else str(write_random_model(folder / "model"))
    write_photographs(folder / "in", 32 if tiny else 128, PHOTO_HW)
    rates = {}
    for name, settings in (("local", {}), ("ray", {"engine": "ray", "workers": 2})):
        begun = time.perf_counter()
        outcome = clipseg.batch.run(folder / "in", PROMPTS, folder / name, model=model, rows_per_part=16, **settings)
        rates[name] = {
            "per_second": round(rate_of(outcome), 2),
            "seconds_in_all": round(time.perf_counter() - begun, 1),
        }
    return {**rates, "share": round(rates["ray"]["per_second"] / rates["local"]["per_second"], 3)}


def rate_of(outcome: Outcome) -> float:
    """A run -> pictures a second, from the beginning of its first part to the end of its last."""
    parts = [entry for entry in outcome.folder.entries() if entry["event"] == "part"]
    seconds = max(one["time"] for one in parts) - min(one["time"] - one["seconds"] for one in parts)
    return float(sum(one["rows"] for one in parts) / seconds)


def resident() -> float:
    """-> megabytes of memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def rounded(values: list[float]) -> list[float]:
    return [round(value, 3) for value in values]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "memory", "resume", "ray"))
    parser.add_argument("--tiny", action="store_true", help="only show that all works")
    parser.add_argument("--rounds", type=int, default=6, help="of speed")
    parser.add_argument("--folder", type=Path, help="where pictures and results go  [default: a temporary one]")
    options = parser.parse_args()
    with TemporaryDirectory(dir=options.folder) as place:
        folder = Path(place)
        measured = {
            "speed": lambda: speed(folder, options.tiny, options.rounds),
            "memory": lambda: memory(folder, options.tiny),
            "resume": lambda: resume(folder, options.tiny),
            "ray": lambda: on_ray(folder, options.tiny),
        }[options.what]()
    sys.stdout.write(json.dumps({"benchmark": options.what, "processors": os.cpu_count(), **measured}) + "\n")


if __name__ == "__main__":
    main()
