"""The group: help at once, and every kind of failure as one line and one exit code."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
import warnings
from types import SimpleNamespace

import click
import pytest

from clipseg import errors
from clipseg.cli import main
from clipseg.version import __version__

HEAVY = "{'torch', 'numpy', 'PIL', 'huggingface_hub', 'tokenizers', 'rich', 'scipy'}"


def failing(monkeypatch: pytest.MonkeyPatch, body) -> None:
    """Make `clipseg fail` a command that runs `body`."""
    module = SimpleNamespace(command=click.Command("fail", callback=body))
    monkeypatch.setitem(sys.modules, "clipseg_failing", module)
    monkeypatch.setitem(main.COMMANDS, "fail", ("clipseg_failing", "command", "Fails."))


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], [], ["--version"]])
def test_help_and_version_load_nothing(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from clipseg.cli.main import execute\n"
        f"code = execute({arguments!r})\n"
        f"assert not {HEAVY} & set(sys.modules), {HEAVY} & set(sys.modules)\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    if "--version" in arguments:
        assert done.stdout == f"clipseg {__version__}\n"
    else:
        assert all(name in done.stdout for name in main.COMMANDS)


@pytest.mark.parametrize("arguments", [["-m", "clipseg", "--help"], ["-c", "import clipseg"]])
def test_help_and_import_are_instant(arguments: list[str]) -> None:
    def seconds() -> float:
        begin = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        return time.perf_counter() - begin

    assert min(seconds() for _ in range(5)) < 0.3


@pytest.mark.parametrize("name", main.COMMANDS)
def test_help_of_each_command(name: str) -> None:
    code = (
        "import sys\n"
        "from clipseg.cli.main import execute\n"
        f"code = execute([{name!r}, '--help'])\n"
        "assert 'torch' not in sys.modules\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: clipseg {name} ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["segmnt"], "did you mean 'segment'? see `clipseg --help`"),
        (["photo.jpg"], "there is no command 'photo.jpg'; known are segment, heatmap, cutout"),
        (["segment"], "no picture given"),
        (["segment", "x.png", "--treshold", "1"], "--threshold"),
        (["segment", __file__, "-p", "x", "--threshold", "much"], "threshold must be a number"),
        (["segment", "x.png", "--dtype", "int4"], "'float32'"),
        (["--nonsense"], "see `clipseg --help`"),
    ],
)
def test_usage_errors(call, arguments: list[str], message: str) -> None:
    outcome = call(*arguments)
    assert outcome.code == 2
    assert message in outcome.error
    assert outcome.out == ""


def library_errors() -> list[type[errors.ClipsegError]]:
    found = [value for value in vars(errors).values() if isinstance(value, type)]
    return [value for value in found if issubclass(value, errors.ClipsegError)]


@pytest.mark.parametrize("kind", library_errors())
def test_every_error_of_the_library(monkeypatch, call, kind: type[errors.ClipsegError]) -> None:
    def body() -> None:
        raise kind("what\nhappened")

    failing(monkeypatch, body)
    outcome = call("fail")
    assert outcome.code == kind.exit_code != 0
    assert outcome.error == "what happened"


def test_debug_shows_the_traceback(monkeypatch, call) -> None:
    def body() -> None:
        raise errors.PromptError("bad prompt")

    failing(monkeypatch, body)
    outcome = call("--debug", "fail")
    assert outcome.code == 4
    assert "Traceback" in outcome.err
    assert outcome.err.endswith("\nerror: bad prompt\n")


def test_unexpected_errors(monkeypatch, call) -> None:
    def body() -> None:
        raise ZeroDivisionError("by\nzero")

    failing(monkeypatch, body)
    outcome = call("fail")
    assert outcome.code == 70
    assert outcome.error.startswith("unexpected ZeroDivisionError: by zero; this is a bug in clipseg, please report it")
    assert "--debug" in outcome.error
    assert "Traceback" in call("--debug", "fail").err


def test_ctrl_c(monkeypatch, call) -> None:
    def body() -> None:
        raise KeyboardInterrupt

    failing(monkeypatch, body)
    outcome = call("fail")
    assert outcome.code == 130
    assert outcome.err.strip() == "interrupted; files already written are whole"


def test_closed_pipe_is_quiet() -> None:
    command = f"{sys.executable} -m clipseg models | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize(
    ("redirection", "message"),
    [(">/dev/full", "cannot be written (No space left on device)"), (">&-", "standard output is closed")],
)
def test_standard_output_that_takes_nothing(redirection: str, message: str) -> None:
    command = f"{sys.executable} -m clipseg models {redirection}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.returncode == 7
    assert done.stderr.startswith("error: standard output")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_closed_standard_error_is_no_error() -> None:
    command = f"{sys.executable} -m clipseg models 2>&-; {sys.executable} -m clipseg nonesuch 2>&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.returncode == 2
    assert all(line.startswith("{") for line in done.stdout.splitlines())


def test_warnings_are_lines(monkeypatch, call) -> None:
    def body() -> None:
        warnings.warn("take\ncare", stacklevel=1)
        warnings.warn("old name", DeprecationWarning, stacklevel=1)

    failing(monkeypatch, body)
    shown = warnings.showwarning
    outcome = call("fail")
    assert (outcome.code, outcome.err) == (0, "warning: take care\n")
    assert warnings.showwarning is shown


@pytest.mark.parametrize(
    ("options", "expected"), [([], "loud\n"), (["-v"], "loud\nmiddle\n"), (["-vv"], "loud\nmiddle\nquiet\n")]
)
def test_verbose(monkeypatch, call, options: list[str], expected: str) -> None:
    def body() -> None:
        log = logging.getLogger("clipseg.somewhere")
        log.warning("loud")
        log.info("middle")
        log.debug("quiet")

    failing(monkeypatch, body)
    log = logging.getLogger("clipseg")
    before = log.level, list(log.handlers)
    assert call(*options, "fail").err == expected
    assert (log.level, list(log.handlers)) == before


def test_run_is_the_entry_point(process) -> None:
    outcome = process("nonsense")
    assert outcome.code == 2
    assert outcome.error.startswith("there is no command 'nonsense'")
