"""Small runs of `clipseg batch`: pictures, a tiny model, and what came out of a run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

import ready
from clipseg.batch.run_folder import RunFolder
from clipseg.batch.running import Outcome, run

PROMPTS = ("a cat", "wood AND NOT jar")

# Starts like a command, without what the command line would import besides.
CODE = """
import json, sys
from clipseg.batch import run
outcome = run(sys.argv[1], json.loads(sys.argv[2]), sys.argv[3], model=sys.argv[4], **json.loads(sys.argv[5]))
sys.exit(0 if outcome.stopped is None else 128 + outcome.stopped)
"""


def pictures(folder: Path, count: int) -> Path:
    """Write so many pictures of several sizes, a third of them in a folder of their own -> the folder."""
    for number in range(count):
        place = folder / ("more" if number % 3 == 2 else "")
        place.mkdir(parents=True, exist_ok=True)
        ready.picture(number, 40 + number % 5, 30 + number % 3).save(place / f"{number:03}.png")
    return folder


def small_run(source: Any, out: Path, model: Path, prompts: Any = PROMPTS, **settings: Any) -> Outcome:
    """`run` with small batches and parts."""
    return run(source, prompts, out, **{"model": model, "batch_size": 2, "rows_per_part": 4, **settings})


def rows(out: Path | str) -> pa.Table:
    """A run -> its rows as they lie in its parts, but for the time each took."""
    tables = list(RunFolder.find(out).each_part())
    return pa.concat_tables(tables).drop_columns(["ms"]) if tables else None


def started(source: Path, out: Path, model: Path, **settings: Any) -> subprocess.Popen[str]:
    """The same in a process of its own, which is just beginning."""
    import json

    given = json.dumps({"batch_size": 2, "rows_per_part": 4, **settings})
    command = [sys.executable, "-c", CODE, str(source), json.dumps(PROMPTS), str(out), str(model), given]
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(command, env=environment, text=True, stderr=subprocess.PIPE)


def wait_for(found: Callable[[], Any], process: subprocess.Popen[str] | None = None, seconds: float = 300) -> None:
    """Wait until something is so, or the process has ended."""
    end = time.monotonic() + seconds
    while not found():
        if process is not None and process.poll() is not None:
            return
        assert time.monotonic() < end, "it never came"
        time.sleep(0.002)


def parts_of(out: Path) -> list[Path]:
    """-> the files of the parts that are done."""
    return sorted(out.glob("run-*/parts/part-*.parquet"))
