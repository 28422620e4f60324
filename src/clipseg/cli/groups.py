"""Commands that have commands: alone they show their help, and a name that is none is answered with the nearest."""

from __future__ import annotations

import click

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
