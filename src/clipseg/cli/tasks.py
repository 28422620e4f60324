"""What `segment`, `heatmap` and `cutout` have in common: options become a task, and a task is carried out.

Everything that can be checked without the model is checked before it is loaded. While the model is at work on a batch
of pictures, the next batch is read, and the results of those before, `BEHIND` at most, are written.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from clipseg.behind import following
from clipseg.cli import terminal
from clipseg.cli.completing import files
from clipseg.cli.inputs import STANDARD, Picture, find_pictures, input_options
from clipseg.cli.mask_options import DECIDING, Finish, mask_options, read_finish
from clipseg.cli.naming import check_names
from clipseg.cli.options import Adder, added, load_segmenter, loading_options, model_option
from clipseg.cli.outputs import batch_option, output_folder, output_options, reduced_option
from clipseg.cli.planning import Job, Plan, jobs_of, read_template
from clipseg.cli.prompt_options import Asked, is_prompted, prompt_options, read_prompts
from clipseg.errors import NothingFoundError, PictureError, UsageError
from clipseg.formats.outputs import Output

if TYPE_CHECKING:
    from clipseg.masks.masks import Masks
    from clipseg.masks.presence import Presence
    from clipseg.segmenter import Segmenter

BEHIND = 2
"""Pictures whose results wait to be written, at most, while the model goes on."""

LISTED_FAILURES = 20

HERE = Path()


def shared_options(*own: Adder, deciding: bool = True) -> Adder:
    """A command's own options -> what adds them among those that all commands on pictures and prompts share."""
    return added(
        click.argument("pictures", nargs=-1, metavar="[PICTURE]...", shell_complete=files),
        prompt_options,
        mask_options(without=() if deciding else DECIDING),
        *own,
        output_options,
        input_options,
        model_option,
        batch_option,
        reduced_option,
        loading_options,
    )


@dataclass(frozen=True)
class Task:
    """All that a command line asks for, checked: the jobs that are left, and how many are done already."""

    jobs: tuple[Job, ...]
    skipped: int
    asked: Asked
    finish: Finish
    plan: Plan
    values: Mapping[str, Any]
    to_stdout: bool


@dataclass
class Tally:
    """What has come of the pictures so far."""

    masks: int = 0
    found: int = 0
    failed: list[str] = field(default_factory=list)
    code: int = 0

    def fail(self, picture: Picture, error: PictureError) -> None:
        """Tell of a picture that cannot be worked on; the others go on."""
        reason = str(error)
        terminal.error(reason if picture.path in reason else f"{picture.path}: {reason}")
        self.failed.append(picture.path)
        self.code = self.code or error.exit_code


def read_task(
    values: Mapping[str, Any], outputs: Sequence[Output], *, drawn: Sequence[Output] = (), instances: bool = False
) -> Task:
    """The values of all options, and what is to be written -> the task. `drawn` is left out of what goes to stdout.

    Raises ClipsegError for whatever can be known to be wrong before a model is loaded.
    """
    pictures = find_pictures(
        values["pictures"], recursive=values["recursive"], listed=values["listed"], prompted=is_prompted(values)
    )
    asked = read_prompts(values)
    finish = read_finish(values, asked.labels)
    labels = (" | ".join(asked.labels),) if finish.combined else asked.labels
    to_stdout = values["out"] == STANDARD or (values["out"] is None and pictures[0].path == STANDARD)
    folder = HERE if to_stdout or values["out"] is None else Path(values["out"]).expanduser()
    template = read_template(values["name"], instances=instances)
    plan = Plan(folder, template, labels, (*outputs, *(() if to_stdout else drawn)), instances)
    jobs = jobs_of(pictures)
    if to_stdout:
        _check_stdout(plan, jobs, values)
    else:
        existing = [] if finish.existing is None or finish.existing.is_dir() else [str(finish.existing)]
        read = [*(picture.path for picture in pictures), *asked.files, *existing]
        check_names((path for job in jobs for path in plan.files(job)), read)
    left = jobs
    if values["skip_existing"]:
        for output in plan.of("data set"):
            raise UsageError(f"--skip-existing would leave pictures out of the {output.name} data set; leave out one")
        left = [job for job in jobs if not plan.is_done(job)]
    if values.get("fail_if_empty") and finish.soft:
        raise UsageError("--fail-if-empty needs masks that are decided; give a --threshold that is not none")
    return Task(tuple(left), len(jobs) - len(left), asked, finish, plan, values, to_stdout)


def carry_out(task: Task) -> int:
    """A task -> the exit code. Raises ClipsegError for what ends all of it."""
    if task.values["dry_run"]:
        _tell_plan(task)
        return 0
    tally = Tally()
    if task.jobs:
        with ExitStack() as stack:
            if task.to_stdout:
                plan = replace(task.plan, folder=Path(stack.enter_context(TemporaryDirectory())))
            else:
                plan = task.plan
                stack.enter_context(output_folder(plan.folder))
            values = task.values
            segmenter = load_segmenter(values["model"], values["loading"])
            _work(task, plan, segmenter, tally, stack)
            if task.to_stdout and not tally.failed:
                _hand_over(next(plan.files(task.jobs[0])))
    _sum_up(task, tally)
    if task.jobs and task.values.get("fail_if_empty") and not tally.code and not tally.found:
        raise NothingFoundError(
            f"nothing was found in {_counted(len(task.jobs), 'picture')}; lower --threshold, or ask otherwise"
        )
    return tally.code


def _work(task: Task, plan: Plan, segmenter: Segmenter, tally: Tally, stack: ExitStack) -> None:
    """Read ahead of the model, and write behind it: what is said of a picture is said when its files are there."""
    answered = segmenter.asking(
        task.asked.prompts,
        negative=task.asked.negatives,
        batch_size=task.values["batch_size"],
        reduced_decoding=task.values["reduced_decoding"],
        **task.finish.fitting,
    )
    sets = [(output, stack.enter_context(output.writer(plan.set_file(output)))) for output in plan.of("data set")]
    names = Counter(job.picture.name for job in task.jobs)
    moved = stack.enter_context(terminal.progress("pictures"))
    moved(0, len(task.jobs))
    answers = stack.enter_context(closing(answered.each([job.picture.source() for job in task.jobs])))
    calls = (
        partial(_written, task, plan, segmenter.calibration, sets, names, job, masks)
        for job, masks in zip(task.jobs, answers, strict=True)
    )
    results = stack.enter_context(closing(following(calls, BEHIND if len(task.jobs) > 1 else 0)))
    for done, (job, records) in enumerate(zip(task.jobs, results, strict=True), 1):
        if isinstance(records, PictureError):
            tally.fail(job.picture, records)
        else:
            tally.masks += len(records)
            tally.found += sum(bool(record["area"]) for record in records)
            if not task.to_stdout:
                for record in records:
                    _tell(record, task.values["as_json"])
        moved(done, len(task.jobs))


def _written(
    task: Task,
    plan: Plan,
    calibration: Presence | None,
    sets: Sequence[tuple[Output, Any]],
    names: Mapping[str, int],
    job: Job,
    masks: Masks | PictureError,
    stopped: Callable[[], bool],
) -> list[dict[str, Any]] | PictureError:
    """A picture's masks -> its files, and its records; or what was, or now is, wrong with the picture."""
    from clipseg.cli.writing import write

    if isinstance(masks, PictureError):
        return masks
    try:
        finished = task.finish.finished(masks, job.picture)
        records = write(plan, job, finished, calibration, stopped)
        for output, one in sets:  # where each picture has a file of labels its name must be its own
            name = job.picture.name if names[job.picture.name] == 1 else job.picture.path
            one.add(finished, name if output.suffix else job.listed)
    except PictureError as error:
        return error
    return records


# -- what is said ----------------------------------------------------------------------------------------------------


def _tell(record: Mapping[str, Any], as_json: bool) -> None:
    """A record -> a JSON line, or to a person's terminal a line to read."""
    if not terminal.wants_table(as_json):
        terminal.result(record)
        return
    number = "" if record["instance"] is None else f" {record['instance']}"
    area = {None: "", 0: ", nothing found"}.get(record["area"], f", {record['area']} pixels")
    terminal.line(
        f"{record['picture']}: {record['label']}{number}: score {record['score']:.2f}{area} -> {record['file']}"
    )


def _tell_plan(task: Task) -> None:
    """Every mask that would be written -> a record, or a line."""
    plan, as_json = task.plan, task.values["as_json"]
    for job in task.jobs:
        whole = {output.name: plan.picture_file(job, output) for output in plan.of("picture")}
        for place, label in enumerate(plan.labels):
            own = {output.name: plan.mask_file(job, output, place) for output in plan.of("mask")}
            files = {name: [STANDARD if task.to_stdout else str(path)] for name, path in (own | whole).items()}
            if terminal.wants_table(as_json):
                names = ", ".join(name for names in files.values() for name in names)
                terminal.line(f"{job.picture.path}: {label} -> {names}")
            else:
                terminal.result({"picture": job.picture.path, "label": label, "files": files})


def _sum_up(task: Task, tally: Tally) -> None:
    """Say on stderr what could not be done, and to a person how much was."""
    count, failed = len(task.jobs), tally.failed
    if failed and count > 1:
        names = ", ".join(failed[:LISTED_FAILURES]) + (", …" if len(failed) > LISTED_FAILURES else "")
        terminal.error(
            f"{len(failed)} of {count} pictures could not be done, the other {count - len(failed)} are: {names}"
        )
    if terminal.wants_table(task.values["as_json"]) and not task.to_stdout:
        skipped = f", {task.skipped} skipped" if task.skipped else ""
        masks = f"{_counted(tally.masks, 'mask')}, {tally.found} of them not empty"
        terminal.say(f"{_counted(count - len(failed), 'picture')}, {masks}{skipped}")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


# -- one result on standard output -----------------------------------------------------------------------------------


def _check_stdout(plan: Plan, jobs: Sequence[Job], values: Mapping[str, Any]) -> None:
    """Refuse whatever is not one file of one picture. Raises UsageError."""
    written = list(plan.files(jobs[0])) if len(jobs) == 1 else []
    if len(written) != 1 or plan.instances or any(plan.of("data set")) or plan.outputs[0].kind == "crops":
        masks = len(plan.labels) * len(plan.outputs)
        raise UsageError(
            f"standard output takes one result of one picture, and these are {masks} of {len(jobs)}; "
            "ask for one, use --combine, or name a folder with -o"
        )
    for name in ("as_json", "skip_existing", "name"):
        if values[name]:
            flag = {"as_json": "json"}.get(name, name.replace("_", "-"))
            raise UsageError(f"--{flag} has no meaning where the result is a picture on standard output; name a folder")
    if sys.stdout.isatty() and not values["dry_run"]:
        raise UsageError("a picture cannot be shown on a terminal; redirect standard output, or name a folder with -o")


def _hand_over(path: Path) -> None:
    sys.stdout.buffer.write(path.read_bytes())
    sys.stdout.buffer.flush()
