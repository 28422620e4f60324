"""`clipseg completion`: the script that makes a shell complete commands, options and their values."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from clipseg.cli import terminal
from clipseg.errors import UsageError

SHELLS = {
    "bash": 'add to ~/.bashrc: eval "$(clipseg completion bash)"',
    "zsh": 'add to ~/.zshrc, after compinit: eval "$(clipseg completion zsh)"',
    "fish": "run once: clipseg completion fish > ~/.config/fish/completions/clipseg.fish",
}
"""Shells, and how each takes the script."""

PROGRAM = "clipseg"
VARIABLE = "_CLIPSEG_COMPLETE"  # what click looks for in the environment of the program


@click.command(
    epilog="\b\nInstallation\n" + "\n".join(f"  {shell:4}  {way}" for shell, way in SHELLS.items()),
)
@click.argument("shell", required=False, type=click.Choice(tuple(SHELLS)), metavar="[SHELL]")
def completion(shell: str | None) -> None:
    """Print the script that makes SHELL (bash, zsh, fish) complete commands, options, models and other values.

    Without SHELL it is the one of $SHELL. The script only asks clipseg, so it need not be made anew after an update.
    """
    name = shell or Path(os.environ.get("SHELL", "")).name
    kind = get_completion_class(name) if name in SHELLS else None
    if kind is None:
        raise UsageError(f"$SHELL is {name or 'not set'}, which is not known; name one of {', '.join(SHELLS)}")
    from clipseg.cli.main import cli

    click.echo(kind(cli, {}, PROGRAM, VARIABLE).source())
    if sys.stdout.isatty():
        terminal.say(SHELLS[name])
