"""The documented calls, here and in the reference implementation, side by side: how long, and how much memory.

    python benchmarks/against_reference.py --quick
    python benchmarks/against_reference.py --only clip_forward --repeats 20 --threads 2 --json figures.json --markdown

A case is the same lines of code for both libraries, as in a script whose import line is changed; they get the same
files, texts, pictures and tensors. Their results are compared before anything is timed. Then both are called in turn,
in an order drawn anew each time, so that a machine that slows down slows down both. What counts is the ratio of the
medians; seconds are those of one machine on one day. Memory is measured in a process of its own for each library.

Needs the `test` extra (`make test` sets it up). docs/benchmarks.md says how to read the table.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from documented_calls import CASES, CLIP, CLIPSEG, OURS, REFERENCE, SCALES, Scale, load, write_checkpoint

from clipseg.benchmark.memory import forget_peak, in_own_process, resident
from clipseg.benchmark.timing import interleaved

MEMORY_DISK = Path("/dev/shm")


def difference(ours: Mapping[str, torch.Tensor], theirs: Mapping[str, torch.Tensor]) -> float:
    """Tensors by name -> their largest difference, relative to the largest number of each; inf if they do not match."""
    if {key: value.shape for key, value in ours.items()} != {key: value.shape for key, value in theirs.items()}:
        return float("inf")

    def relative(one: torch.Tensor, other: torch.Tensor) -> float:
        gap = (one.double() - other.double()).abs().max()
        return float(gap / other.double().abs().max()) if gap else 0.0

    return max(relative(ours[key], theirs[key]) for key in theirs)


def peak(case: str, name: str, folder: Path, scale: Scale, threads: int) -> float | None:
    """In a process of its own: a case and a library -> the most megabytes (10^6) resident while the call ran.

    Over what was resident once both imports and inputs were there: model, call and answer count, and so do pages of
    a file that is memory mapped. None where the system does not tell (it is Linux that does).
    """
    torch.set_num_threads(threads)
    library, inputs = load(name), CASES[case].inputs(scale)
    gc.collect()
    try:
        before = resident("VmRSS")
        call = CASES[case].prepare(library, folder, inputs)
        gc.collect()
        forget_peak()
    except OSError:
        return None
    answer = call()
    after = resident("VmHWM")
    del answer
    return (after - before) / 1e6


def measure(name: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """A case -> its figures. Exits if the libraries' results differ by more than the case allows."""
    case, scale = CASES[name], SCALES[options.scale]
    inputs = case.inputs(scale)
    calls = {library: case.prepare(load(library), folder, inputs) for library in (OURS, REFERENCE)}
    gap = difference(*(case.numbers(call()) for call in calls.values()))  # also the warm-up
    if gap > case.tolerance:
        sys.exit(f"{name}: the results differ by {gap:.1e}, expected at most {case.tolerance:.1e}")
    seconds = interleaved(calls, options.rounds.start, options.rounds.stop - 1, options.seconds)
    ratios = [theirs / ours for ours, theirs in zip(seconds[OURS], seconds[REFERENCE], strict=True)]
    medians = {library: statistics.median(taken) for library, taken in seconds.items()}
    del calls, inputs
    return {
        "call": scale.fill(case.says),
        "ratio": medians[REFERENCE] / medians[OURS],
        "ratios_low_high": [min(ratios), max(ratios)],
        "median_seconds": medians,
        "seconds": seconds,
        "difference": gap,
        "peak_megabytes": peaks(name, folder, options) if options.memory else None,
    }


def peaks(name: str, folder: Path, options: argparse.Namespace) -> dict[str, float | None]:
    """A case -> the peak of each library, each in a fresh process."""
    scale, threads = SCALES[options.scale], options.threads
    return {library: in_own_process(peak, name, library, folder, scale, threads) for library in (OURS, REFERENCE)}


# -- telling -----------------------------------------------------------------------------------------------------------


def machine(threads: int) -> dict[str, Any]:
    """-> what the figures depend on: day, processor, threads and versions."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "processor": models[0] if models else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": threads,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in (OURS, REFERENCE, "torch", "tokenizers", "numpy", "pillow")},
    }


HEADINGS = (
    "case", "call", "clipseg", "reference", "reference / clipseg", "lowest–highest", "peak MB, clipseg",
    "peak MB, reference", "difference",
)  # fmt: skip


def cells(name: str, case: Mapping[str, Any]) -> list[str]:
    """A case's figures -> its line of the table."""

    def seconds(library: str) -> str:
        median = case["median_seconds"][library]
        return f"{median:.2f} s" if median >= 1 else f"{1000 * median:.3g} ms"

    low, high = case["ratios_low_high"]
    peaks = case["peak_megabytes"] or {}
    megabytes = ["–" if peaks.get(library) is None else f"{peaks[library]:.0f}" for library in (OURS, REFERENCE)]
    times = [seconds(OURS), seconds(REFERENCE), f"{case['ratio']:.2f}", f"{low:.2f}–{high:.2f}"]
    return [f"`{name}`", case["call"], *times, *megabytes, f"{case['difference']:.0e}" if case["difference"] else "0"]


def markdown(report: Mapping[str, Any]) -> str:
    """A whole report -> the section of docs/benchmarks.md that holds its figures."""
    where = report["machine"]
    used = ", ".join(f"{name} {number}" for name, number in where["versions"].items())
    caption = (
        f"Measured on {where['date']}: {where['processor']}, {where['cores']} cores, {where['threads']} threads; "
        f"Python {where['python']}, {used}."
    )
    lines = [HEADINGS, ["---"] * len(HEADINGS), *(cells(*case) for case in report["cases"].items())]
    return "\n".join([caption, "", *(f"| {' | '.join(line)} |" for line in lines)])


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line -> its options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="ten photographs, few rounds: a minute or two")
    parser.add_argument("--only", action="append", metavar="NAME", help="cases whose names hold this; may be repeated")
    parser.add_argument("--repeats", type=int, metavar="N", help="rounds of each case, instead of what time allows")
    parser.add_argument("--threads", type=int, metavar="N", default=os.cpu_count(), help="of torch and the tokenizers")
    parser.add_argument(
        "--folder",
        type=Path,
        metavar="DIR",
        default=MEMORY_DISK if MEMORY_DISK.is_dir() else None,
        help="where the 1.2 GB of models are put, on a memory disk unless given: it is no disk that is compared",
    )
    parser.add_argument("--no-memory", dest="memory", action="store_false", help="leave the peaks out")
    parser.add_argument("--tiny", action="store_true", help="models of a few MB, to see that the script works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures, every single time included")
    parser.add_argument("--markdown", action="store_true", help="print the table of docs/benchmarks.md at the end")
    options = parser.parse_args(argv)
    options.cases = [name for name in CASES if any(part in name for part in options.only or [""])]
    if not options.cases:
        parser.error(f"no case is called {' or '.join(options.only)}; there are {', '.join(CASES)}")
    options.scale = "tiny" if options.tiny else "quick" if options.quick else "full"
    options.seconds = 4 if options.quick else 25
    options.rounds = range(3, 21) if options.quick else range(5, 51)
    if options.repeats is not None:
        if options.repeats < 1:
            parser.error(f"--repeats is at least 1, got {options.repeats}")
        options.rounds = range(options.repeats, options.repeats + 1)
    return options


def main(argv: list[str] | None = None) -> None:
    """Measure, and tell."""
    options = arguments(argv)
    torch.set_num_threads(options.threads)
    # The processes that measure memory inherit these. Nothing is to be fetched, so nobody is to be asked.
    os.environ |= {"HF_HUB_OFFLINE": "1", "RAYON_NUM_THREADS": str(options.threads)}
    report: dict[str, Any] = {"machine": machine(options.threads), "scale": options.scale, "cases": {}}
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        for checkpoint in (CLIP, CLIPSEG):
            write_checkpoint(checkpoint, folder / checkpoint, SCALES[options.scale])
        for case in options.cases:
            report["cases"][case] = measure(case, folder, options)
            _, _, ours, theirs, ratio, spread, *megabytes, _ = cells(case, report["cases"][case])
            line = f"{case:26} {theirs:>8} / {ours:>8} = {ratio:>6} ({spread})"
            print(f"{line}, peak MB {megabytes[1]} / {megabytes[0]}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    if options.markdown:
        print(f"\n{markdown(report)}")


if __name__ == "__main__":
    main()
