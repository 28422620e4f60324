"""What a caller says -> what a run is to do: its configuration, and the prompts themselves."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from clipseg.batch.settings import BatchConfig, changed_options
from clipseg.batch.sources import absolute
from clipseg.batch.wording import phrases, written
from clipseg.checkpoints.hub import BUNDLED, local_folder
from clipseg.fits import DEFAULT_FIT
from clipseg.masks.options import MaskOptions
from clipseg.prompting.expressions import Term
from clipseg.prompting.prompts import PromptSource, as_prompts, as_prompts_if_any
from clipseg.segmenter import DEFAULT_MODEL


@dataclass(frozen=True)
class Job:
    """A configuration, and the prompts and negatives that it has written down."""

    config: BatchConfig
    prompts: tuple[Term, ...]
    negative: tuple[Term, ...]


def job_of(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    prompts: PromptSource | Iterable[PromptSource],
    *,
    negative: PromptSource | Iterable[PromptSource] = (),
    model: str | os.PathLike[str] = DEFAULT_MODEL,
    combine: str | None = None,
    fit: str | None = None,
    **settings: Any,
) -> Job:
    """Pictures, prompts and settings -> the job.

    `settings` are other fields of `BatchConfig`, and the options of masks. Raises UsageError for those that are not
    known or contradict each other, and PromptError.
    """
    asked, unwanted = as_prompts(prompts), as_prompts_if_any(negative)
    given = [source] if isinstance(source, (str, os.PathLike)) else source
    own = {one.name: settings.pop(one.name) for one in fields(BatchConfig) if one.name in settings}
    folder = local_folder(model)
    config = BatchConfig(
        source=tuple(map(absolute, given)),
        prompts=written(asked),
        phrases=phrases([*asked, *unwanted]),
        negative=written(unwanted),
        model=str(model) if folder is None or str(model) in BUNDLED else str(folder.absolute()),
        combine=combine,
        fit=fit or DEFAULT_FIT,
        mask=changed_options(MaskOptions.from_mapping(settings)),
        **own,
    )
    return Job(config, tuple(asked), tuple(unwanted))
