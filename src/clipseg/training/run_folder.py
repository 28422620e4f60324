"""What a training run leaves behind, and finds again: its configuration, its log and its checkpoints.

    OUT/recipe.json                     what the folder belongs to
    OUT/.lock                           the number of the process that trains in it, or did last
    OUT/log.jsonl                       a JSON object a line
    OUT/checkpoints/step-0000400/       weights.safetensors, optimizer.pt, state.json
    OUT/checkpoints/best.json           which of them validated best
    OUT/validation/step-0000400.png     pictures, truths and answers
    OUT/model/                          at the end
    OUT/curves.png

A checkpoint is written under another name, synced and renamed, so a folder with the final name is whole; what it holds
is checked against the sums beside it before it is used.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import shutil
import sys
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from clipseg.checkpoints.files import replacing, save_safetensors, write_json
from clipseg.errors import ConfigurationError, OutputError
from clipseg.training.records import flattened
from clipseg.version import __version__

log = logging.getLogger(__name__)

WEIGHTS, OPTIMIZER, STATE = "weights.safetensors", "optimizer.pt", "state.json"
FREE = ("workers", "save_every", "keep", "cache_folder", "data.root", "validation.root")
"""Keys of a recipe that may change when a run goes on: they change nothing of what it computes."""

Entry: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Position:
    """Where a run is: steps of a stage that are done. `total` counts those of all stages."""

    stage: int = 0
    step: int = 0
    total: int = 0


@dataclass(frozen=True)
class Checkpoint:
    """What a run goes on from.

    Fields
        position   where it is
        weights    those that train in any stage so far
        optimizer  the state of the optimiser and the gradient scaler; None where a stage begins
        frozen     a sum of the weights that are not here, which have to be the same
    """

    position: Position
    weights: Mapping[str, torch.Tensor]
    optimizer: Mapping[str, Any] | None
    frozen: int = 0


class RunFolder:
    """The folder of one run. Reading is for all processes, writing for the first one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.log = path / "log.jsonl"
        self.model = path / "model"

    # -- configuration -------------------------------------------------------------------------------------------

    def check(self, configuration: Mapping[str, Any]) -> None:
        """Raise ConfigurationError, naming the keys, where the folder belongs to a run of another configuration."""
        path = self.path / "recipe.json"
        if not path.exists():
            return
        try:
            theirs = flattened(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{path} cannot be read ({error}); give another folder") from None
        ours = flattened(json.loads(json.dumps(configuration)))
        differing = [
            key
            for key in sorted(ours.keys() | theirs.keys())
            if ours.get(key) != theirs.get(key) and not key.startswith(FREE)
        ]
        if differing:
            shown = ", ".join(f"{key} ({theirs.get(key)!r} there, {ours.get(key)!r} here)" for key in differing[:5])
            more = f" and {len(differing) - 5} more" if len(differing) > 5 else ""
            raise ConfigurationError(
                f"{self.path} holds a run of another recipe; differing are {shown}{more}; "
                "give another folder, or begin anew with --no-resume"
            )

    def claim(self, configuration: Mapping[str, Any]) -> None:
        """Write what the folder belongs to, unless that is there. Raises OutputError."""
        if not (self.path / "recipe.json").exists():
            write_json(self.path / "recipe.json", configuration)

    def clear(self) -> None:
        """Remove what an earlier run left, so that one begins anew."""
        for path in (self.checkpoints, self.model, self.path / "validation"):
            shutil.rmtree(path, ignore_errors=True)
        for name in ("log.jsonl", "recipe.json", "curves.png", "non_finite.json"):
            (self.path / name).unlink(missing_ok=True)

    # -- log -----------------------------------------------------------------------------------------------------

    def write_log(self, entry: Entry) -> str:
        """Append one JSON line -> the line. Raises OutputError."""
        line = json.dumps(entry)
        try:
            with self.log.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise OutputError(f"{self.log} cannot be written ({error.strerror or error})") from error
        return line

    def rewind_log(self, position: Position) -> None:
        """Drop what was logged after a position, for those steps come again, and a line that a crash cut short."""
        if not self.log.exists():
            return
        kept = []
        lines = self.log.read_text(encoding="utf-8").splitlines(keepends=True)
        for line in lines:
            entry = json.loads(line) if line.endswith("}\n") else None
            if entry is None or (entry["stage"], entry["step"]) > (position.stage, position.step):
                break
            kept.append(line)
        if kept != lines:
            with replacing(self.log) as temporary:
                temporary.write_text("".join(kept), encoding="utf-8")

    def entries(self) -> list[Entry]:
        """-> what was logged, in order."""
        return [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]

    # -- checkpoints ---------------------------------------------------------------------------------------------

    def save(self, checkpoint: Checkpoint, configuration: Mapping[str, Any]) -> Path:
        """Write a checkpoint whole or not at all -> its folder.

        Raises OutputError, for example where the disk is full; what was there before is whole then.
        """
        goal = self.checkpoints / f"step-{checkpoint.position.total:07d}"
        partial = goal.with_name(f".{goal.name}.part")
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            owned = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.weights.items()}
            save_safetensors(partial / WEIGHTS, owned)
            torch.save(checkpoint.optimizer, partial / OPTIMIZER)
            state = {
                **vars(checkpoint.position),
                "frozen": checkpoint.frozen,
                "sums": {name: _sum_of(partial / name) for name in (WEIGHTS, OPTIMIZER)},
                "versions": {"clipseg": __version__, "torch": torch.__version__, "python": sys.version.split()[0]},
                "configuration": configuration,
            }
            (partial / STATE).write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
            for path in (*partial.iterdir(), partial):
                _sync(path)
            shutil.rmtree(goal, ignore_errors=True)  # of an earlier run past this point, or a damaged one
            partial.rename(goal)
            _sync(self.checkpoints)
        except (OSError, RuntimeError, SafetensorError) as error:  # RuntimeError: what torch.save makes of a full disk
            shutil.rmtree(partial, ignore_errors=True)
            reason = getattr(error, "strerror", None) or next(iter(str(error).splitlines()), type(error).__name__)
            raise OutputError(
                f"{goal} cannot be written ({reason}); the checkpoints before it are whole: make room, and start the "
                "same command again"
            ) from error
        return goal

    def prune(self, keep: int) -> None:
        """Remove all checkpoints but the newest few and the best."""
        kept = {self.best(), *self.found()[-keep:]}
        for old in self.found():
            if old not in kept:
                shutil.rmtree(old, ignore_errors=True)

    def found(self) -> list[Path]:
        """-> the folders of checkpoints, the newest last."""
        return sorted(self.checkpoints.glob("step-*"), key=lambda path: int(path.name.partition("-")[2]))

    def latest(self) -> Checkpoint | None:
        """-> the newest whole checkpoint; None where there is none. Damaged ones are told and passed over."""
        return next(filter(None, map(self.read, reversed(self.found()))), None)

    def read(self, path: Path) -> Checkpoint | None:
        """A checkpoint's folder -> what it holds; None, after a warning, where that is damaged."""
        try:
            state = json.loads((path / STATE).read_text(encoding="utf-8"))
            for name, expected in state["sums"].items():
                if _sum_of(path / name) != expected:
                    raise ValueError(f"{name} is not what was written")
            optimizer = torch.load(path / OPTIMIZER, map_location="cpu", weights_only=True)
            position = Position(state["stage"], state["step"], state["total"])
            return Checkpoint(position, load_file(path / WEIGHTS), optimizer, state["frozen"])
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            RuntimeError,
            SafetensorError,
            pickle.UnpicklingError,
        ) as error:
            log.warning("checkpoint %s is damaged and passed over (%s)", path, error)
            return None

    def best(self) -> Path | None:
        """-> the folder of the checkpoint that validated best; None where none is known."""
        name = self._best().get("name")
        path = self.checkpoints / str(name)
        return path if name and path.is_dir() else None

    def is_best(self, position: Position, score: float) -> bool:
        """Whether a score is above those of this stage's checkpoints so far, as far as they are not after it."""
        best = self._best()
        beaten = best.get("stage") == position.stage and best.get("step", 0) < position.step and self.best() is not None
        return not beaten or score > float(best["score"])

    def mark_best(self, checkpoint: Path, position: Position, score: float) -> None:
        """Remember which checkpoint is the best one."""
        entry = {"name": checkpoint.name, "stage": position.stage, "step": position.step, "score": score}
        write_json(self.checkpoints / "best.json", entry)

    def _best(self) -> Entry:
        try:
            found: Entry = json.loads((self.checkpoints / "best.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found


def _sum_of(path: Path) -> list[int]:
    """A file -> its length and CRC-32: enough to tell one that was cut short or has decayed."""
    total, length = 0, 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            total, length = zlib.crc32(block, total), length + len(block)
    return [length, total]


def _sync(path: Path) -> None:
    """Have a file or a folder written to the disk, where the system can do that."""
    with suppress(PermissionError):  # a folder, on Windows
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
