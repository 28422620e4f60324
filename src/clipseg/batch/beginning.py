"""The beginning of a run, or of going on with one: what it is of is listed once, and what it decides by is compared."""

from __future__ import annotations

import platform
import time

import torch

from clipseg.batch.jobs import Job
from clipseg.batch.manifest import MANIFEST, manifest_of, sum_of, written
from clipseg.batch.packages import arrow
from clipseg.batch.parts import Loading, load_model, weights_sum
from clipseg.batch.run_folder import RunDescription, RunFolder
from clipseg.batch.settings import deciding, fingerprint
from clipseg.batch.sources import find_items
from clipseg.batch.storage import Storage
from clipseg.batch.wording import keep, to_keep
from clipseg.version import __version__


def begin(out: Storage, job: Job, loading: Loading) -> RunFolder:
    """A folder for results and what to do -> the run that is there and does just that, or a new one.

    Of a run that is there nothing is listed again, so its pictures are those that were there when it began. Raises
    ConfigurationError where it does something else, and DataError where there are no pictures.
    """
    config = job.config
    found = RunFolder.inside(out)
    if found is not None:
        found.check(deciding(config, weights_sum(config, loading), __version__))
        return found
    table = manifest_of(find_items(config.source), config.limit)  # told before a model is sought, perhaps downloaded
    content = written(table)
    decided = deciding(config, weights_sum(config, loading), __version__)
    print_ = fingerprint(decided, sum_of(content))
    folder = RunFolder(out.below(f"run-{print_[:12]}"))
    folder.storage.write(MANIFEST, content)
    unwritten = to_keep([*job.prompts, *job.negative])
    if unwritten:
        keep(folder.storage, load_model(config, loading).embedded(unwritten))
    versions = {
        "clipseg": __version__,
        "torch": torch.__version__,
        "pyarrow": str(arrow().__version__),
        "python": platform.python_version(),
    }
    folder.claim(
        RunDescription(
            config, print_, decided, len(table), config.part_size(len(table)), round(time.time(), 3), versions
        )
    )
    return folder
