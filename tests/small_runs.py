"""Training runs of a few steps of a tiny model on squares: here, in processes of their own, and in several of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

import ready
from clipseg.training import loop
from clipseg.training.distributed import joined
from clipseg.training.loop import Trainer
from clipseg.training.progress import TIMED
from clipseg.training.recipes import Settings
from clipseg.training.stages import PromptedStage
from square_samples import Squares

STAGE = PromptedStage(
    steps=8, batch=4, lr=1e-2, warmup=2, size=32, crop=True, templates="shuffle+", dice=0.5, validate_every=4
)
SETTINGS = Settings(name="squares", seed=3, workers=0, save_every=3, validation_samples=6, saved_as="float32")
HERE = Path(__file__).parent


def trainer(
    out: Path, *, stages: Any = None, data: Squares | None = None, settings: Any = None, **changes: Any
) -> Trainer:
    """A trainer of STAGE with changes, or of other stages."""
    return Trainer(
        ready.segmenter(),
        stages or replace(STAGE, **changes),
        out=out,
        device="cpu",
        data=data or Squares(),
        validation=Squares(6, seed=9, absent=0),
        settings=settings or SETTINGS,
    )


def weights(out: Path) -> dict[str, torch.Tensor]:
    """-> the tensors of the model that a run has made."""
    return load_file(out / "model" / "model.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether tensors are the same, bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def far_apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Weights of two runs -> how far they are from each other, as a share of how far the run has moved them."""
    begun = ready.model().state_dict()
    apart = sum((one[name] - other[name]).square().sum().item() for name in begun)
    moved = sum((other[name] - begun[name]).square().sum().item() for name in begun)
    return float((apart / moved) ** 0.5)


def log_of(out: Path) -> list[dict[str, Any]]:
    """-> the log without its stop watch."""
    entries = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in entry.items() if key not in TIMED} for entry in entries]


def checkpoints(out: Path) -> list[str]:
    """-> the names of what is in the folder of checkpoints."""
    return sorted(path.name for path in (out / "checkpoints").iterdir())


# -- in processes of their own -----------------------------------------------------------------------------------------


def environment(**more: str) -> dict[str, str]:
    """-> the environment of a process that can import this module."""
    return {**os.environ, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", **more}


def start(out: Path, body: str = "", *, processes: int = 1, restarts: int = 0, **changes: Any) -> subprocess.Popen[str]:
    """Begin a run in another process, or in several; `body` is code that runs in each before."""
    code = f"import small_runs, os, signal\n{body}\nsmall_runs.main({str(out)!r}, {changes!r})"
    if processes == 1:
        command = [sys.executable, "-c", code]
    else:
        launching = "import small_runs, sys; sys.exit(small_runs.launch_code(*sys.argv[1:]))"
        command = [sys.executable, "-c", launching, code, str(processes), str(restarts)]
    return subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for a process -> its exit code and what it wrote to stderr."""
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors


def main(out: str, changes: dict[str, Any]) -> None:
    """What such a process does."""
    loop.LOG_EVERY = 1
    torch.set_num_threads(1)
    with joined() as processes:
        run = trainer(Path(out), **changes)
        run.processes = processes
        run.fit()


def launch_code(code: str, processes: str, restarts: str) -> int:
    """Run code in several processes, as `clipseg train --processes` runs itself -> the exit code."""
    from clipseg.training import distributed

    return distributed.launch(["-c", code], int(processes), int(restarts))
