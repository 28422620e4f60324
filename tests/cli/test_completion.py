"""Shell completion: the scripts, and what a shell is told may come next."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete, get_completion_class

from clipseg.checkpoints import hub
from clipseg.cli import completing, completion
from clipseg.cli.main import COMMANDS, cli
from clipseg.cli.models import KNOWN
from clipseg.formats.table import FORMATS
from clipseg.masks.options import OPTIONS
from clipseg.masks.rules import parse_keep
from clipseg.prompting.styles import STYLES


def completed(*words: str) -> list[tuple[str, str]]:
    """What is on the line, the last word unfinished -> kind and value of each suggestion."""
    shell = ShellComplete(cli, {}, completion.PROGRAM, completion.VARIABLE)
    return [(item.type, item.value) for item in shell.get_completions(list(words[:-1]), words[-1])]


def values(*words: str) -> list[str]:
    return [value for kind, value in completed(*words) if kind == "plain"]


# -- what may come next ------------------------------------------------------------------------------------------------


def test_commands_and_their_commands() -> None:
    assert values("") == list(COMMANDS)
    assert values("se") == ["segment", "serve"]
    assert values("prompt", "") == ["make", "mix", "show"]
    assert values("models", "") == ["ls", "names", "pull", "rm"]
    assert values("--ve") == ["--verbose", "--version"]
    assert values("segment", "--fi") == ["--fit", "--fill-holes"]


def test_values_of_options() -> None:
    assert values("segment", "--style", "") == list(STYLES)
    assert values("segment", "--style", "crop_b") == ["crop_blur_highlight", "crop_blur"]
    assert values("segment", "--fit", "t") == ["tile"]
    assert values("segment", "--fit=t") == ["tile"]
    assert values("heatmap", "--competition", "") == ["none", "softmax", "argmax"]
    assert values("video", "--compose", "") == []
    assert values("segment", "--dtype", "b") == ["bfloat16"]
    assert "ember" in values("heatmap", "--colormap", "")
    assert values("prompt", "make", "--template", "p") == ["plain", "photo"]
    assert values("segment", "-p", "") == []  # which only the user knows


def test_lists_of_values_are_completed_after_the_comma() -> None:
    assert values("segment", "--format", "coc") == ["coco"]
    assert values("segment", "--format", "png,coc") == ["png,coco"]
    assert values("segment", "--format", "") == list(FORMATS)


def test_words_that_are_suggested_are_accepted() -> None:
    for name, option in OPTIONS.items():
        for item in completing.suggestions(name, ""):
            if not item.value.endswith(":"):
                option.read(name, item.value)
    for item in completing.suggestions("keep", ""):
        parse_keep(item.value)


def test_models_and_folders(hub_server) -> None:
    assert completed("segment", "--model", "") == [("dir", ""), *(("plain", name) for name in KNOWN)]
    assert values("models", "pull", "n") == values("evaluate", "n") == ["nano"]
    hub_server.repositories["me/mine"] = {"config.json": json.dumps({"model_type": "clipseg"}).encode()}
    hub.find_file("me/mine", "config.json")
    assert values("models", "rm", "me") == ["me/mine"]


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("segment", "ca"), "file"),
        (("segment", "a.png", "ca"), "file"),
        (("segment", "--image-prompt", "ca"), "file"),
        (("segment", "--prompt-file", "ca"), "file"),
        (("segment", "--existing", "ca"), "file"),
        (("segment", "-o", "ca"), "dir"),
        (("video", "ca"), "file"),
        (("video", "--frames", "ca"), "dir"),
        (("prompt", "mix", "ca"), "file"),
        (("prompt", "show", "ca"), "file"),
        (("convert", "ca"), "file"),
        (("analyse", "visual-prompts", "ca"), "dir"),
    ],
)
def test_files_and_folders(words: tuple[str, ...], kind: str) -> None:
    assert completed(*words) == [(kind, "ca")]


@pytest.mark.parametrize(
    "words", [("nonsense", "x"), ("prompt", "nonsense", ""), ("segment", "--nonsense", ""), ("-x", "")]
)
def test_lines_that_are_wrong_are_no_errors(words: tuple[str, ...]) -> None:
    completed(*words)


@pytest.mark.parametrize("words", ["clipseg ", "clipseg segment --style ", "clipseg segment --model ", "clipseg -"])
def test_nothing_heavy_is_loaded(words: str) -> None:
    code = (
        "import os, sys\n"
        "from clipseg.cli.main import cli\n"
        "try: cli.main([], prog_name='clipseg')\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "assert not {'torch', 'tokenizers', 'rich', 'scipy'} & set(sys.modules)\n"
    )
    environment = {
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
        completion.VARIABLE: "bash_complete",
    }
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(("plain,", "dir,"))


# -- the scripts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_scripts(call, shell: str) -> None:
    assert get_completion_class(shell) is not None
    outcome = call("completion", shell)
    assert (outcome.code, outcome.err) == (0, "")
    assert completion.VARIABLE in outcome.out
    assert shell in completion.SHELLS[shell]


def test_the_shell_in_use_is_taken(call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/usr/local/bin/fish")
    assert call("completion").out == call("completion", "fish").out
    for name, told in {"/bin/tcsh": "$SHELL is tcsh", "": "$SHELL is not set"}.items():
        monkeypatch.setenv("SHELL", name)
        outcome = call("completion")
        assert outcome.code == 2
        assert outcome.error == f"{told}, which is not known; name one of bash, zsh, fish"


def test_other_shells(call) -> None:
    outcome = call("completion", "tcsh")
    assert outcome.code == 2
    assert "'bash', 'zsh', 'fish'" in outcome.error


def test_the_way_to_install_it_is_said_on_a_terminal(call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert call("completion", "zsh").err == completion.SHELLS["zsh"] + "\n"


def test_bash_completes(tmp_path: Path, process) -> None:
    """The script, in the shell that it is for."""
    script = tmp_path / "script"
    script.write_text(process("completion", "bash").out)
    program = tmp_path / "clipseg"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m clipseg "$@"\n')
    program.chmod(0o755)
    code = (
        f"source {script}; complete -p clipseg >/dev/null || exit 3\n"
        f"COMP_WORDS=(clipseg segment --style crop_b) COMP_CWORD=3\n"
        f"_clipseg_completion {program}; printf '%s\\n' \"${{COMPREPLY[@]}}\"\n"
    )
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["crop_blur_highlight", "crop_blur"]
