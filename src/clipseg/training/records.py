"""Strict TOML tables -> frozen dataclasses. An unknown key is an error that names the nearest known one.

A field's type says what its value may be: numbers, text, lists as tuples, a table as a dataclass, or one of several
dataclasses, of which the table's own keys choose: a `Literal` of its own in each of them, such as `task`, or else the
keys that only one of them knows. A dataclass with a `from_table` reads its table itself.
"""

from __future__ import annotations

import dataclasses
import difflib
import sys
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from clipseg.errors import ConfigurationError

if sys.version_info >= (3, 11):
    import tomllib
else:  # the same parser under its older name
    import tomli as tomllib

Table = dict[str, Any]
RecordType = TypeVar("RecordType")


def read_table(path: Path) -> Table:
    """A TOML file -> its table. Raises ConfigurationError for a file that is not there or not TOML."""
    try:
        table: Table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(f"no recipe at {path}; give the path of a .toml file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read as TOML: {error}") from None
    return table


def override(values: Table, text: str) -> None:
    """Set one value of nested tables by `key=value`, such as `stages.0.steps=10`. Raises ConfigurationError."""
    key, equals, written = text.partition("=")
    if not equals:
        raise ConfigurationError(f"override {text!r} has no '='; write key=value, such as seed=1")
    try:
        value = tomllib.loads(f"value = {written}")["value"]
    except tomllib.TOMLDecodeError:
        value = written
    *folders, last = key.split(".")
    place: Any = values
    for name in folders:
        if isinstance(place, list):
            if not name.isdecimal() or int(name) >= len(place):
                raise ConfigurationError(f"override {text!r}: {name!r} is not one of 0 to {len(place) - 1}")
            place = place[int(name)]
        elif isinstance(place, dict):
            place = place.setdefault(name, {})
    if not isinstance(place, dict):
        raise ConfigurationError(f"override {text!r} does not name a key of a table")
    place[last] = value


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> Table:
    """Two tables -> one in which the second's values win: by key in tables, by place in lists of tables."""
    out = dict(base)
    for key, value in changes.items():
        old = out.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            out[key] = merged(old, value)
        elif (tables := _tables(old)) and (changed := _tables(value)):
            both = [merged(*pair) for pair in zip(tables, changed, strict=False)]
            out[key] = [*both, *tables[len(changed) :], *changed[len(tables) :]]
        else:
            out[key] = value
    return out


def build(record: type[RecordType], values: Mapping[str, Any], where: str) -> RecordType:
    """A table -> a dataclass, checked field by field; `where` names the table in errors."""
    own = getattr(record, "from_table", None)
    if own is not None:
        return typing.cast("RecordType", own(values, where))
    hints = typing.get_type_hints(record)
    known = {item.name: item for item in dataclasses.fields(record)}  # type: ignore[arg-type]  # a dataclass by contract
    for key in values:
        if key not in known:
            raise ConfigurationError(f"{where}: unknown key {key!r}; {nearest(key, known)}")
    missing = [
        name
        for name, item in known.items()
        if name not in values and item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigurationError(f"{where}: missing {', '.join(missing)}")
    checked = {key: _value(hints[key], value, f"{where}: {key}") for key, value in values.items()}
    try:
        return record(**checked)
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from None


def nearest(key: str, known: Iterable[str]) -> str:
    """A mistyped key and the known ones -> the hint that ends an error."""
    names = [*known]
    near = difflib.get_close_matches(key, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(names)}"


def check_range(record: object, least: float, *names: str, most: float = sys.float_info.max) -> None:
    """Raise ConfigurationError where a field of these names is not finite or out of range."""
    for name in names:
        value = getattr(record, name)
        if not least <= value <= most:  # also true of NaN
            expected = f"at least {least:g}" + f" and at most {most:g}" * (most < sys.float_info.max)
            raise ConfigurationError(f"{name} is {value}; expected {expected}")


def flattened(values: Any, prefix: str = "") -> dict[str, Any]:
    """Nested tables and lists -> dotted key -> value, as overrides name them; empty ones stay as they are."""
    items: Iterable[tuple[Any, Any]]
    if isinstance(values, Mapping) and values:
        items = values.items()
    elif isinstance(values, (list, tuple)) and any(isinstance(value, Mapping) for value in values):
        items = enumerate(values)
    else:
        return {prefix: list(values) if isinstance(values, tuple) else values}
    return {
        k: v for name, value in items for k, v in flattened(value, f"{prefix}.{name}" if prefix else f"{name}").items()
    }


def _value(hint: Any, value: Any, where: str) -> Any:
    """A TOML value -> the field's type; whole numbers pass as numbers, lists become tuples."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _one_of([argument for argument in arguments if argument is not type(None)], value, where, arguments)
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise ConfigurationError(f"{where} is {value!r}; expected a table")
        return build(typing.cast("type[Any]", hint), value, where)
    if origin is Literal:
        if value not in arguments:
            raise ConfigurationError(f"{where} is {value!r}; expected one of {', '.join(map(repr, arguments))}")
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigurationError(f"{where} is {value!r}; expected a list")
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(kinds) != len(value):
            raise ConfigurationError(f"{where} has {len(value)} items; expected {len(kinds)}")
        return tuple(
            _value(kind, item, f"{where}[{place}]") for place, (kind, item) in enumerate(zip(kinds, value, strict=True))
        )
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is not bool and isinstance(value, bool)):
        raise ConfigurationError(f"{where} is {value!r}; expected {hint.__name__}")
    return value


def _one_of(kinds: list[Any], value: Any, where: str, arguments: Sequence[Any]) -> Any:
    if value is None and type(None) in arguments:  # TOML has no null; a recipe read back from JSON has
        return None
    if len(kinds) == 1:
        return _value(kinds[0], value, where)
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{where} is {value!r}; expected a table")
    return build(_chosen(kinds, value, where), value, where)


def _chosen(kinds: Sequence[type[Any]], values: Mapping[str, Any], where: str) -> type[Any]:
    """The one of several dataclasses that a table means."""
    hints = [typing.get_type_hints(kind) for kind in kinds]
    for tag in hints[0]:
        choices = [choice for hint in hints for choice in typing.get_args(hint.get(tag)) or [None]]
        told_apart = all(typing.get_origin(hint.get(tag)) is Literal for hint in hints)
        if told_apart and len({*choices}) == len(choices):
            if tag not in values:
                raise ConfigurationError(f"{where}: missing {tag}; known are {', '.join(map(repr, choices))}")
            for kind, hint in zip(kinds, hints, strict=True):
                if values[tag] in typing.get_args(hint[tag]):
                    return kind
            expected = ", ".join(map(repr, choices))
            raise ConfigurationError(f"{where}: {tag} is {values[tag]!r}; expected one of {expected}")
    return max(zip(kinds, hints, strict=True), key=lambda pair: sum(key in pair[1] for key in values))[0]


def _tables(value: Any) -> list[Table]:
    """-> the value, if it is a list of tables; else an empty one."""
    return value if isinstance(value, list) and all(isinstance(item, Mapping) for item in value) else []
