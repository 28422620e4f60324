"""Options that several commands share, with one name, one default and one meaning, and how long lists of them read."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from clipseg.segmenter import Segmenter

Adder: TypeAlias = Callable[[Any], Any]
"""What adds options to a command, or to the function that becomes one."""

# The library's own, written out so that help needs no torch; tests hold the two together.
MODEL = "CIDAS/clipseg-rd64-refined"
WIDEST = 110  # letters of a line of help
DTYPES = ("float32", "bfloat16", "float16")
BACKENDS = ("torch", "onnx", "openvino")


class GroupedOption(click.Option):
    """An option that is listed under a heading."""

    def __init__(self, *declarations: Any, group: str = "Other", **attributes: Any) -> None:
        super().__init__(*declarations, **attributes)
        self.group = group

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """What is there of the value -> what may follow; see `completing`."""
        from clipseg.cli.completing import suggestions

        return suggestions(self.name or "", incomplete) or super().shell_complete(ctx, incomplete)


class GroupedCommand(click.Command):
    """A command whose help lists options under their headings, in the order in which those first come."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the lists."""
        formatter.width = max(formatter.width, min(WIDEST, shutil.get_terminal_size().columns))
        groups: dict[str, list[tuple[str, str]]] = {}
        options = (parameter for parameter in self.get_params(ctx) if isinstance(parameter, click.Option))
        for one in sorted(options, key=lambda one: not isinstance(one, GroupedOption)):  # --help last
            row = one.get_help_record(ctx)
            if row is not None:
                groups.setdefault(getattr(one, "group", "Other"), []).append(row)
        for heading, rows in groups.items():
            with formatter.section(heading):
                formatter.write_dl(rows)


def option(group: str, *declarations: str, **attributes: Any) -> Adder:
    """A heading and what `click.option` takes -> the decorator."""
    return click.option(*declarations, cls=GroupedOption, group=group, **attributes)


def added(*adders: Adder) -> Adder:
    """Decorators of options -> one that adds them all, in this order."""

    def add(command: Any) -> Any:
        for adder in reversed(adders):
            command = adder(command)
        return command

    return add


class Loading(NamedTuple):
    """How a model is loaded: keywords of `Segmenter.from_pretrained`, but for `offline`."""

    device: str = "auto"
    dtype: str = "auto"
    backend: str = "torch"
    compile: bool = False
    offline: bool = False


def loading_options(command: Any) -> Any:
    """Add the options of `Loading` to a command, which gets them as one value, `loading`."""

    @wraps(command)
    def called(**values: Any) -> Any:
        return command(loading=Loading(**{name: values.pop(name) for name in Loading._fields}), **values)

    return _loading_options(called)


_loading_options: Adder = added(
    option("Model", "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, mps, …"),
    option(
        "Model",
        "--dtype",
        type=click.Choice(("auto", *DTYPES, "int8")),
        default="auto",
        show_default=True,
        help="What is computed in; auto is bfloat16 for large models where the device has it, else float32.",
    ),
    option(
        "Model",
        "--backend",
        type=click.Choice(BACKENDS),
        default="torch",
        show_default=True,
        help="What runs the model; others than torch run what clipseg export wrote.",
    ),
    option("Model", "--compile", is_flag=True, help="Compile the model for the device; of use on a GPU."),
    option("Model", "--offline", is_flag=True, help="Use only what is on this machine."),
)

model_option: Adder = option(
    "Model", "--model", default=MODEL, show_default=True, metavar="NAME|DIR", help="nano, a folder or a hub id."
)


def load_segmenter(model: str, loading: Loading) -> Segmenter:
    """A model's name and how to load it -> the segmenter. Raises what `Segmenter.from_pretrained` does."""
    from clipseg.segmenter import Segmenter

    how = loading._asdict()
    return Segmenter.from_pretrained(model, local_files_only=how.pop("offline"), **how)
