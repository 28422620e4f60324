"""The whole of it, ours and the reference implementation side by side: how long, how much memory, and how it grows.

    python benchmarks/performance.py --out runs/performance --markdown docs/performance.md
    python benchmarks/performance.py --out runs/performance --rows prompts_1 prompts_10 --again
    python benchmarks/performance.py --tiny --out /tmp/performance

Both load the same folder: sizes, vocabulary and files of clipseg-rd64-refined, random weights. Answers are compared
before anything is timed, and a mismatch ends the script. Then sides are asked in turn, in an order drawn anew in each
round. Every row is a step: its figures are a JSON file in --out, and what is there is not measured again, so that a
long measurement can be split (--minutes). The page and its bars are written from all the rows there are.

What takes the reference more than a minute is measured once, without a warm-up. Needs the `test` extra.
docs/performance.md says how to read the tables.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import performance_reference
import torch
from against_reference import machine
from bar_chart import draw_bars
from documented_calls import picture
from pages import write_between_marks
from performance_cases import (
    BASE,
    EXPORTED,
    FULL,
    HALF,
    ON_CPU,
    OURS,
    OWN,
    ROWS,
    Answer,
    Call,
    Row,
    Setting,
    asked,
    encoded_hw,
    load,
    loaded,
    loading,
    precision,
    read_masks,
)  # fmt: skip
from performance_report import Results, bars, tables

from clipseg.benchmark.flops import encoder_flops
from clipseg.benchmark.memory import in_own_process, peak_megabytes
from clipseg.benchmark.peaks import SIDES, matrix_peaks
from clipseg.benchmark.timing import interleaved, summary
from clipseg.checkpoints.files import write_json

SLOW = 60.0  # seconds; what takes longer is measured once
LEAST = 3  # rounds, and processes whose memory is measured
PROMPT = "a cat"
CHART = Path("images") / "performance.png"  # beside the page
TITLE = "Times as fast as transformers in float32, the same weights"

# How answers may differ, by what is computed in: overlap of masks at the median (IoU), and the largest gap of cosines.
ALLOWED_IOU = {"float32": 0.999, "bfloat16": 0.97, "float16": 0.97, "int8": 0.95}
ALLOWED_GAP = {"float32": 1e-4, "bfloat16": 0.02, "float16": 0.02, "int8": 0.05}

Figures = dict[str, Any]


@dataclass(frozen=True)
class Effort:
    """How often what is measured."""

    repeats: int
    seconds: float  # after which a row begins no round beyond the first LEAST


# -- one row -----------------------------------------------------------------------------------------------------------


def compared(name: str, row: Row, setting: Setting, sides: Sequence[str], effort: Effort) -> Figures:
    """A row -> its figures by side. Exits where answers differ by more than what they are computed in explains."""
    chosen = [side for side in sides if row.only is None or side in row.only]
    return turns(name, {side: row.prepare(side, setting) for side in chosen}, row.judge, setting, effort)


def turns(name: str, calls: Mapping[str, Call], judge: str, setting: Setting, effort: Effort) -> Figures:
    """Calls by side -> their figures: answers first, which is also the warm-up, then rounds in turn."""
    first: dict[str, float] = {}
    agreement: dict[str, float] = {}
    expected: Answer = None
    for side in sorted(calls, key=lambda side: (side != BASE, side != FULL)):
        start = time.perf_counter()
        answer = calls[side]()
        first[side] = time.perf_counter() - start
        if judge and expected is not None and answer is not None:
            agreement[side] = agreed(name, side, judge, expected, answer, setting)
        elif expected is None:
            expected = answer
        del answer
    quick = {side: call for side, call in calls.items() if first[side] <= SLOW}
    taken = interleaved(quick, min(LEAST, effort.repeats), effort.repeats, effort.seconds)
    own = {side: summary(taken[side]) if side in taken else summary([first[side]]) | {"once": True} for side in calls}
    return {"sides": own, "agreement": {"judged": judge, **agreement}}


def agreed(name: str, side: str, judge: str, expected: torch.Tensor, answer: torch.Tensor, setting: Setting) -> float:
    """Two answers -> how well they agree: the mean IoU of masks, or for cosines the largest gap."""
    computed = "bfloat16" if side == HALF else precision(side, setting)
    if answer.shape != expected.shape:
        sys.exit(f"{name}: {side} answers {tuple(answer.shape)}, expected {tuple(expected.shape)}")
    if judge == "cosines":
        value = float((answer - expected).abs().max())
        fine, allowed = value <= ALLOWED_GAP[computed], f"at most {ALLOWED_GAP[computed]}"
    else:
        value = overlap(expected, answer)
        fine, allowed = value >= ALLOWED_IOU[computed], f"at least {ALLOWED_IOU[computed]}"
    if not fine:
        sys.exit(f"{name}: the answers of {side} ({computed}) agree by {value:.4f}; expected {allowed}")
    return value


def overlap(expected: torch.Tensor, answer: torch.Tensor) -> float:
    """Two maps (M, …) -> the mean IoU of what is above the median of each expected map; of bool maps, of what is true.

    The median, for random weights have no threshold of their own: half of each map is inside.
    """
    total = 0.0
    for one, other in zip(expected.flatten(1), answer.flatten(1), strict=True):  # one by one: a thousand take 0.5 GB
        inside, found = (one, other) if one.dtype == torch.bool else (one > one.median(), other > one.median())
        union = float((inside | found).sum())
        total += float((inside & found).sum()) / union if union else 1.0
    return total / len(expected)


# -- rows of another kind ----------------------------------------------------------------------------------------------


def peaks(setting: Setting, _sides: Sequence[str], _effort: Effort) -> Figures:
    """-> the machine's matrix products, 10^9 operations a second by precision."""
    return {"gflops": matrix_peaks(torch.device(setting.device), sides=SIDES[:1] if setting.tiny else ())}


def encoder(setting: Setting, sides: Sequence[str], effort: Effort) -> Figures:
    """-> the picture encoder, and its share of the peak of its precision."""
    figures = compared("encoder", ROWS["encoder"], setting, sides, effort)
    found = stored(setting.out, "peaks", setting)
    for side, own in figures["sides"].items():
        flops = encoder_flops(loading(side, setting).runner().config, encoded_hw(setting))
        computed = precision(side, setting)
        peak = (found or {"gflops": {}})["gflops"].get(computed)
        speed = flops / own["median"] / 1e9
        own |= {"gflop": flops / 1e9, "gflops": speed, "precision": computed}
        own["share_of_peak"] = None if peak is None else speed / peak
    return figures


def memory(count: int) -> Callable[[Setting, Sequence[str], Effort], Figures]:
    """How many prompts -> the peak of loading and asking, each side in fresh processes, of which the median counts."""

    def measure(setting: Setting, sides: Sequence[str], effort: Effort) -> Figures:
        loaded.cache_clear()  # Linux keeps pages of a file, and counts them, as long as another process has it mapped
        gc.collect()
        rounds = [replace(setting, seed=setting.seed + number) for number in range(min(LEAST, effort.repeats))]
        found = {side: [in_own_process(peak_of, side, each, setting.count(count)) for each in rounds] for side in sides}
        known = {side: [value for value in values if value is not None] for side, values in found.items()}
        peaks = {
            side: {"median": statistics.median(values), "each": values} for side, values in known.items() if values
        }
        return {"unit": "MB", "sides": peaks}

    return measure


def peak_of(side: str, setting: Setting, count: int) -> float | None:
    """In a process of its own, both libraries imported -> the most megabytes that one side takes beyond that."""
    prompts, image = next(setting.prompts(count)), picture()
    return peak_megabytes(lambda: load(side, setting).segment(image, prompts))


def threads(count: int) -> Callable[[Setting, Sequence[str], Effort], Figures]:
    """How many threads -> three prompts with so many, in a process that was started with them."""

    def measure(setting: Setting, sides: Sequence[str], effort: Effort) -> Figures:
        before = os.environ.get("OMP_NUM_THREADS")
        os.environ["OMP_NUM_THREADS"] = str(count)
        try:
            return in_own_process(_threaded, count, setting, tuple(sides), effort)
        finally:
            del os.environ["OMP_NUM_THREADS"]
            os.environ |= {} if before is None else {"OMP_NUM_THREADS": before}

    return measure


def _threaded(count: int, setting: Setting, sides: Sequence[str], effort: Effort) -> Figures:
    torch.set_num_threads(count)
    return compared(f"threads_{count}", Row("Threads", "", asked(3)), setting, sides, effort)


def cold_start(setting: Setting, sides: Sequence[str], effort: Effort) -> Figures:
    """-> the command from its start to its first mask on disk, and the script that does the same with the reference."""
    path, script = setting.photographs()[0], performance_reference.__file__
    calls: dict[str, Call] = {}
    for side in (BASE, HALF, OURS, FULL):
        folder = setting.out / "cold" / side.replace(" ", "-")
        folder.mkdir(parents=True, exist_ok=True)
        mask = folder / f"{path.stem}.a-cat.mask.png"
        dtype = {HALF: "bfloat16", FULL: "float32"}.get(side)
        if side in (BASE, HALF):
            command = [script, setting.model, path, PROMPT, mask, *([dtype] if dtype else [])]
        else:
            command = ["-m", "clipseg", "segment", path, "-p", PROMPT, "--model", setting.model, "-o", folder]
            command += ["--device", "cpu", "--no-overlay", *(["--dtype", dtype] if dtype else [])]
        calls[side] = _command([str(part) for part in (sys.executable, *command)], mask)
    chosen = {side: call for side, call in calls.items() if side in sides}
    return turns("cold_start", chosen, "masks", setting, effort)


def _command(command: list[str], mask: Path) -> Call:
    def call() -> Answer:
        environment = {**os.environ, "CLIPSEG_PROMPT_CACHE": "off"}  # each start is the first one with these words
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            sys.exit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()}")
        return read_masks(mask.parent)

    return call


SPECIAL: Mapping[str, tuple[str, str, Callable[[Setting, Sequence[str], Effort], Figures]]] = {
    "peaks": ("", "matrix products", peaks),
    "encoder": (ROWS["encoder"].topic, ROWS["encoder"].says, encoder),
    **{
        f"memory_{count}": ("Peak memory", f"loading, 1 picture, {count} prompt{'s'[: count != 1]}", memory(count))
        for count in (1, 32)
    },
    **{f"threads_{n}": ("Threads", f"{n} thread{'s'[: n != 1]}, 1 picture, 3 prompts", threads(n)) for n in (1, 2)},
    "cold_start": ("Starting", "command start to the first mask on disk", cold_start),
}
NAMES = tuple(dict.fromkeys(["peaks", *ROWS, *SPECIAL]))
CPU_ALONE = ("memory_1", "memory_32", "threads_1", "threads_2", "cold_start")
GPU_ALONE = ("batch_64",)
SAYS = {name: SPECIAL[name][1] if name in SPECIAL else ROWS[name].says for name in NAMES}
TOPICS = {name: SPECIAL[name][0] if name in SPECIAL else ROWS[name].topic for name in NAMES}


# -- all of them -------------------------------------------------------------------------------------------------------


def measure(name: str, setting: Setting, sides: Sequence[str], effort: Effort) -> Figures:
    """A row's name -> its figures, with what they were measured on."""
    if name in SPECIAL:
        figures = SPECIAL[name][2](setting, sides, effort)
    else:
        figures = compared(name, ROWS[name], setting, sides, effort)
    kind, _, number = name.partition("_")
    if kind in ("prompts", "known"):
        figures["prompts"] = setting.count(int(number))
    load_now = os.getloadavg() if hasattr(os, "getloadavg") else None
    return {
        "row": name,
        "tiny": setting.tiny,
        "device": torch.device(setting.device).type,
        "machine": machine(torch.get_num_threads()),
        "load": load_now,
        **figures,
    }


def stored(out: Path, name: str, setting: Setting) -> Figures | None:
    """A row -> what was measured of it before; None where it was not. Exits for figures of another size."""
    path = out / f"{name}.json"
    if not path.exists():
        return None
    figures: Figures = json.loads(path.read_text(encoding="utf-8"))
    if figures["tiny"] != setting.tiny:
        sys.exit(
            f"{path} was measured {'with' if figures['tiny'] else 'without'} --tiny; name another folder with --out"
        )
    return figures


def publish(results: Results, page: Path | None) -> str:
    """Results by row -> the tables; with a page they are put between its marks, and the bars beside it."""
    used = next(iter(results.values()))["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in used["versions"].items())
    peak = ", ".join(f"{name} {value:,.0f}" for name, value in results.get("peaks", {}).get("gflops", {}).items())
    caption = (
        f"Measured on {used['date']}: {used['processor']}, {used['cores']} cores, {used['threads']} threads; "
        f"Python {used['python']}, {versions}. {f'Matrix peak in GFLOP/s: {peak}.' if peak else ''}"
    ).strip()
    groups = bars(results)
    text = "\n".join([caption, "", *(["![Times as fast](images/performance.png)", ""] if groups else []),
                      tables(results, SAYS, TOPICS)])  # fmt: skip
    if page is not None:
        write_between_marks(page, text)
        if groups:
            (page.parent / CHART).parent.mkdir(parents=True, exist_ok=True)
            note = f"{used['processor']}, {used['threads']} threads, medians; longer is faster, logarithmic"
            draw_bars(TITLE, note, groups).save(page.parent / CHART, optimize=True)
    return text


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line -> its options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="model, figures: a JSON file for each row"
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="put tables between the marks of this page")
    parser.add_argument("--rows", nargs="+", metavar="NAME", help=f"these rows (default all): {', '.join(NAMES)}")
    parser.add_argument("--again", action="store_true", help="measure rows that are there already")
    parser.add_argument("--repeats", type=int, default=7, metavar="N", help="rounds at most (default 7)")
    parser.add_argument("--seconds", type=float, default=90, metavar="S", help="after which a row ends (default 90)")
    parser.add_argument("--minutes", type=float, metavar="M", help="after which no other row is begun")
    parser.add_argument(
        "--backends", nargs="+", choices=tuple(EXPORTED), default=[], help="also these, exported to --out"
    )
    parser.add_argument("--device", default="cpu", help="of both libraries (default cpu)")
    parser.add_argument(
        "--tiny", action="store_true", help="a small model and little of everything: shows that all works"
    )
    options = parser.parse_args(argv)
    unknown = [name for name in options.rows or [] if name not in NAMES]
    if unknown:
        parser.error(f"no row is called {' or '.join(unknown)}; there are {', '.join(NAMES)}")
    if options.repeats < 1:
        parser.error(f"--repeats is at least 1, got {options.repeats}")
    return options


def sides_of(options: argparse.Namespace) -> list[str]:
    """-> the sides that can be asked here."""
    asked_for = [EXPORTED[name] for name in options.backends]
    own = [side for side in OWN if side not in EXPORTED.values() or side in asked_for]
    return [side for side in (BASE, HALF, *own) if options.device == "cpu" or side not in ON_CPU]


def export(out: Path, backend: str, model: Path) -> None:
    """Export the model for a back end, unless that was done."""
    if not (out / backend).is_dir():
        command = [sys.executable, "-m", "clipseg", "export", str(model), "--to", backend, "-o", str(out / backend)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def main(argv: list[str] | None = None) -> None:
    """Measure what is missing, and tell all there is."""
    options = arguments(argv)
    # Nothing is to be fetched, so nobody is to be asked; and words that only a measurement has are not to be kept.
    os.environ |= {"HF_HUB_OFFLINE": "1", "CLIPSEG_PROMPT_CACHE": str(options.out.resolve() / "prompts.sqlite")}
    setting = Setting(options.out.resolve(), options.tiny, options.device, random.SystemRandom().randrange(2**32))
    effort, sides, began = Effort(options.repeats, options.seconds), sides_of(options), time.monotonic()
    setting.write_model()
    for backend in options.backends:
        export(setting.out, backend, setting.model)
    left = [name for name in NAMES if name in (options.rows or NAMES)]
    elsewhere = GPU_ALONE if options.device == "cpu" else CPU_ALONE
    left = [name for name in left if options.rows or name not in elsewhere]
    left = [name for name in left if options.again or stored(setting.out, name, setting) is None]
    while left and (options.minutes is None or time.monotonic() - began < 60 * options.minutes):
        name = left.pop(0)
        start = time.monotonic()
        write_json(setting.out / f"{name}.json", measure(name, setting, sides, effort))
        sys.stdout.write(f"{name}: measured in {time.monotonic() - start:.0f} s\n")
        sys.stdout.flush()
    results = {name: figures for name in NAMES if (figures := stored(setting.out, name, setting)) is not None}
    if results:
        sys.stdout.write(f"\n{publish(results, options.markdown)}\n")
    if left:
        sys.stdout.write(f"\nleft to measure, call again: {' '.join(left)}\n")


if __name__ == "__main__":
    main()
