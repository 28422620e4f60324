"""The command `clipseg`: its group, and the one place where errors become a line on stderr and an exit code.

Commands are loaded when they are called, and load torch when they begin to work, so that help is instant.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

import click

from clipseg.cli import terminal
from clipseg.cli.groups import LazyGroup
from clipseg.errors import ClipsegError, OutputError
from clipseg.version import __version__

# Name -> its module and command, and its line in the help.
COMMANDS = {
    "segment": ("clipseg.cli.segment", "segment", "Cut out of pictures what prompts name or show."),
    "heatmap": ("clipseg.cli.heatmap", "heatmap", "Draw how probable every pixel is."),
    "cutout": ("clipseg.cli.cutout", "cutout", "Put what was found on transparency or on a colour."),
    "prompt": ("clipseg.cli.prompt", "prompt", "Make, mix and show files of prompts."),
    "video": ("clipseg.cli.video", "video", "Cut out of a video what prompts name or show."),
    "analyse": ("clipseg.cli.analyse", "analyse", "Compare the styles in which examples can be shown."),
    "batch": ("clipseg.cli.batch", "batch", "Segment a whole collection, in a run that survives whatever ends it."),
    "label": ("clipseg.cli.label", "label", "Label a folder of pictures: a data set to look through and train on."),
    "models": ("clipseg.cli.models", "models", "List, fetch and remove models."),
    "convert": ("clipseg.cli.convert", "convert", "Turn original checkpoints into a model folder, and back."),
    "export": ("clipseg.cli.export", "export", "Write a model as graphs for ONNX Runtime, OpenVINO or torch."),
    "data": ("clipseg.cli.data", "data", "Look at data sets."),
    "train": ("clipseg.cli.train", "train", "Train a model from a recipe."),
    "evaluate": ("clipseg.cli.evaluate", "evaluate", "Measure a model, on synthetic scenes or a data set."),
    "serve": ("clipseg.cli.serve", "serve", "Open a page in the browser, and an API for programs."),
    "bench": ("clipseg.cli.bench", "bench", "Measure how fast this machine runs a model."),
    "doctor": ("clipseg.cli.doctor", "doctor", "Tell what this machine has, and whether clipseg works on it."),
    "completion": ("clipseg.cli.completion", "completion", "Print what makes a shell complete commands."),
}

UNEXPECTED = 70  # EX_SOFTWARE of sysexits.h
INTERRUPTED = 130  # 128 + SIGINT, as shells count
TERMINATED = 143  # 128 + SIGTERM
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)  # by the number of -v


@dataclass
class Session:
    """What one call of the command has been told about itself."""

    debug: bool = False


class Commands(LazyGroup):
    """All there are."""

    rows = COMMANDS


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 broken pipe, 2 usage, 3 picture, 4 prompt, 5 configuration, 6 model, 7 output, "
    "8 data, 9 training, 10 missing package, 11 nothing found (with --fail-if-empty), 70 unexpected, "
    "130 interrupted, 143 terminated.",
)
@click.option("-v", "--verbose", count=True, help="Say more on stderr; -vv for everything.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(__version__, message="clipseg %(version)s")
@click.pass_context
def cli(context: click.Context, verbose: int, debug: bool) -> None:
    """Cut anything out of a picture by saying what it is or by showing an example of it."""
    context.ensure_object(Session).debug = debug
    logging.getLogger("clipseg").setLevel(LEVELS[min(verbose, len(LEVELS) - 1)])
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def run() -> NoReturn:
    """The entry point: run the process's command line and end the process."""
    _check_streams()
    # Of huggingface_hub, which reads them when a model is first looked up. Its telemetry asks the hub even where only
    # files of this machine are wanted; its bars are for a terminal.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    signal.signal(signal.SIGTERM, _terminated)
    sys.exit(execute(sys.argv[1:]))


def _check_streams() -> None:
    """End where standard output is closed, as by `>&-`: Python has None in its place, and results would be lost."""
    if sys.__stderr__ is None:  # what is printed there would go to standard output instead
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  as long as the process
    if sys.__stdout__ is None:
        terminal.error("standard output is closed, and results are told there; send them to a file or to /dev/null")
        sys.exit(OutputError.exit_code)


def _terminated(_number: int, _frame: object) -> NoReturn:
    """End as an error does: unfinished files are tidied away."""
    sys.exit(TERMINATED)


def execute(arguments: Sequence[str]) -> int:
    """Arguments without the program's name -> the exit code; what went wrong is one line on stderr."""
    session = Session()
    with _warnings_shown(), _logging_shown():
        try:
            code = cli.main(list(arguments), prog_name="clipseg", standalone_mode=False, obj=session)
        except click.Abort:  # what click makes of Ctrl-C, after a line break
            terminal.say("interrupted; files already written are whole")
            return INTERRUPTED
        except click.ClickException as reason:
            terminal.error(_usage(reason))
            return reason.exit_code
        except ClipsegError as reason:
            _trace(session)
            terminal.error(reason)
            return reason.exit_code
        except Exception as reason:
            _trace(session)
            if isinstance(reason, OSError) and reason.errno in NO_ROOM:  # such as of standard output, which has no name
                place = reason.filename or "standard output, or a temporary file,"
                terminal.error(f"{place} cannot be written ({reason.strerror}); make room, or name another place")
                return OutputError.exit_code
            hint = "please report it" if session.debug else "please report it with what `clipseg --debug …` shows"
            terminal.error(f"unexpected {type(reason).__name__}: {reason}; this is a bug in clipseg, {hint}")
            return UNEXPECTED
    return code if isinstance(code, int) else 0


def _usage(reason: click.ClickException) -> str:
    """What click found wrong -> one sentence, and where to read on."""
    context = getattr(reason, "ctx", None)
    text = reason.format_message().rstrip(".")
    if context is None:
        return text
    return f"{text}{'' if text.endswith('?') else ';'} see `{context.command_path} --help`"


def _trace(session: Session) -> None:
    if session.debug:
        traceback.print_exc()


@contextmanager
def _warnings_shown() -> Iterator[None]:
    """Show warnings as one line each. Those for developers stay hidden, unless -W or PYTHONWARNINGS decide."""
    with warnings.catch_warnings():
        if not sys.warnoptions:
            warnings.simplefilter("default")
            for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning, ImportWarning):
                warnings.simplefilter("ignore", category)
        warnings.showwarning = lambda message, *_args, **_kwargs: terminal.warning(message)
        yield


@contextmanager
def _logging_shown() -> Iterator[None]:
    """Show the library's log on stderr."""
    log, handler = logging.getLogger("clipseg"), _Said()
    level = log.level
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


class _Said(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            terminal.say(self.format(record))
        except Exception:  # as every handler of the standard library
            self.handleError(record)
