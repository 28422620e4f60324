"""Commands that have commands: alone they show their help, and a name that is none is answered with the nearest."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import ClassVar

import click
from click.shell_completion import CompletionItem

from clipseg.cli.values import near


class CommandGroup(click.Group):
    """A group whose commands are found by their whole names."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The arguments -> those of the group itself."""
        # A shell that asks for what may come next has the line parsed resiliently: nothing is an error then.
        if not (args or self.invoke_without_command or ctx.resilient_parsing):
            args = ["--help"]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The rest of the command line -> the command and its own arguments. Raises click.UsageError."""
        known = tuple(self.list_commands(ctx))
        if args[0] not in known and not ctx.resilient_parsing:
            raise click.UsageError(f"there is no command {args[0]!r}; {near(args[0], known)}", ctx)
        return super().resolve_command(ctx, args)


class LazyGroup(CommandGroup):
    """Knows its commands by rows, and imports the one that is called."""

    rows: ClassVar[Mapping[str, tuple[str, str, str]]]
    """The name of a command -> its module, what it is called there, and a line of help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """-> names, in the order of the help."""
        return list(self.rows)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A name -> its command, imported now; None for another name."""
        if cmd_name not in self.rows:
            return None
        module, attribute, _ = self.rows[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in self.rows.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """What begins so -> the commands, without importing them, and the group's own options."""
        named = [CompletionItem(name, help=line) for name, (_, _, line) in self.rows.items()]
        return [
            *filter(lambda item: item.value.startswith(incomplete), named),
            *click.Command.shell_complete(self, ctx, incomplete),
        ]
