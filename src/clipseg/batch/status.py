"""How far a run is, by what lies in its folder: whoever works on it is not asked."""

from __future__ import annotations

import os
import time
from typing import Any

from clipseg.batch.run_folder import RunFolder
from clipseg.batch.running import errors_by_part
from clipseg.batch.summary import throughput


def status_of(out: str | os.PathLike[str]) -> dict[str, Any]:
    """A folder with a run -> plain values about it. Raises DataError where there is none.

    run, finished      its folder, and whether everything is there and was checked
    pictures, done     in all, and in the parts that are there
    errors             of these, as far as the log tells
    parts, parts_done  files of results
    rate               pictures a second while it was worked on
    quiet              seconds since anything was logged; None where nothing was
    prompts, model     what is asked, and of whom
    """
    folder = RunFolder.find(out)
    description, parts, entries = folder.description(), folder.done(), folder.entries()
    sizes = [stop - start for start, stop in map(folder.bounds, parts)]
    failed = errors_by_part(folder)
    return {
        "run": folder.path,
        "finished": folder.finished(),
        "pictures": description.rows,
        "done": sum(sizes),
        "errors": sum(failed.get(part, 0) for part in parts),
        "parts": description.parts,
        "parts_done": len(parts),
        "rate": throughput(folder)["pictures_per_second"],
        "quiet": round(time.time() - float(entries[-1]["time"]), 1) if entries else None,
        "prompts": list(description.settings.labels),
        "model": description.settings.model,
    }
