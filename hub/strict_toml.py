# SPDX-License-Identifier: Apache-2.0
"""TOML tables to frozen dataclasses: nothing unknown, nothing guessed.

A dataclass field made with ``documented`` says what it means; ``read`` fills a
dataclass from a table and refuses what does not fit; ``describe`` lists the keys
for the documentation. It knows no section of ours.
"""

import dataclasses
import enum
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from hub.errors import ConfigError

REQUIRED: Final = MISSING
Section = TypeVar("Section")


def documented(doc: str, default: object = REQUIRED) -> Any:  # noqa: ANN401 - as dataclasses.field
    """Declare a field of a section.

    Args:
        doc: What it means, with its unit.
        default: Its value when the file has none; by default it must be there.

    Returns:
        What ``dataclasses.field`` returns.
    """
    return dataclasses.field(default=default, metadata={"doc": doc})


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of the file, for the documentation.

    Attributes:
        section: The TOML table it stands in.
        name: The key.
        type_name: What its value is.
        default: As TOML text; None when the key must be given.
        doc: What it means.
    """

    section: str
    name: str
    type_name: str
    default: str | None
    doc: str


def read(kind: type[Section], table: Mapping[str, object], *, folder: Path) -> Section:
    """Fill a section from a table.

    Args:
        kind: A dataclass whose fields are made with ``documented``.
        table: As ``tomllib`` gives it.
        folder: What relative paths are relative to.

    Returns:
        The section; anything unknown, missing or of another type raises
        ``ConfigError`` and names the key.
    """
    section: Section = _Reader(folder).section(kind, table, where="")
    return section


def describe(kind: type) -> list[Setting]:
    """List every key that a table for ``kind`` may have.

    Args:
        kind: A dataclass as ``read`` takes.

    Returns:
        The keys in the order of its fields.
    """
    return list(_describe(kind, ""))


def _describe(section: type, where: str) -> Iterator[Setting]:
    hints = typing.get_type_hints(section)
    for item in dataclasses.fields(section):
        inner = _section_of(hints[item.name])
        if inner is not None:
            yield from _describe(inner, f"{where}.{item.name}".strip("."))
            continue
        given = item.default is MISSING
        yield Setting(
            where,
            item.name,
            _type_name(hints[item.name]),
            None if given else _as_toml(item.default),
            item.metadata["doc"],
        )


def _section_of(hint: object) -> type | None:
    if typing.get_origin(hint) is tuple:
        hint = typing.get_args(hint)[0]
    return hint if isinstance(hint, type) and dataclasses.is_dataclass(hint) else None


def _type_name(hint: object) -> str:
    if typing.get_origin(hint) is tuple:
        return f"list of {_type_name(typing.get_args(hint)[0])}"
    choices = _choices(hint)
    if choices:
        return " | ".join(f'"{choice}"' for choice in choices)
    if isinstance(hint, types.UnionType):
        return str(_type_name(typing.get_args(hint)[0]))
    names = {
        str: "text",
        Path: "path",
        int: "integer",
        float: "number",
        bool: "boolean",
    }
    return names[typing.cast("type", hint)]


def _choices(hint: object) -> tuple[str, ...]:
    if typing.get_origin(hint) is Literal:
        return typing.get_args(hint)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return tuple(str(member.value) for member in hint)
    return ()


def _as_toml(value: object) -> str:
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return f"[{', '.join(_as_toml(item) for item in value)}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


class _Reader:
    # Turns tables into dataclasses; knows only how to refuse.

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def section(self, kind: type[Any], table: object, *, where: str) -> Any:  # noqa: ANN401 - an instance of kind
        if not isinstance(table, Mapping):
            message = f"[{where}] must be a table"
            raise ConfigError(message)
        items = {item.name: item for item in dataclasses.fields(kind)}
        for name in table:
            if name not in items:
                message = f"unknown key {_path(where, name)}"
                raise ConfigError(message)
        hints = typing.get_type_hints(kind)
        values: dict[str, object] = {}
        for name, item in items.items():
            here = _path(where, name)
            if name in table:
                values[name] = self._value(hints[name], table[name], here)
            elif dataclasses.is_dataclass(hints[name]):
                values[name] = self.section(hints[name], {}, where=here)
            elif item.default is MISSING:
                message = f"{here} is missing"
                raise ConfigError(message)
        return kind(**values)

    def _value(self, hint: Any, value: object, where: str) -> object:  # noqa: ANN401 - a type
        inner = _section_of(hint)
        if inner is not None and inner is not hint:
            return self._list(inner, value, where)
        if inner is not None:
            return self.section(inner, value, where=where)
        if typing.get_origin(hint) is tuple:
            return self._several(typing.get_args(hint)[0], value, where)
        choices = _choices(hint)
        if choices:
            return _choice(hint, choices, value, where)
        if isinstance(hint, types.UnionType):
            hint = typing.get_args(hint)[0]
        return self._scalar(hint, value, where)

    def _list(self, kind: type, value: object, where: str) -> object:
        if not isinstance(value, list) or not value:
            message = f"{where} must be at least one [[{where}]]"
            raise ConfigError(message)
        return tuple(
            self.section(kind, table, where=f"{where}[{index}]")
            for index, table in enumerate(value)
        )

    def _several(self, kind: Any, value: object, where: str) -> object:  # noqa: ANN401 - a type
        """Read a list of distinct values; one alone may stand without brackets."""
        items = value if isinstance(value, list) else [value]
        if not items or len(set(map(repr, items))) < len(items):
            message = f"{where} must be a list of at least one, none of them twice"
            raise ConfigError(message)
        return tuple(self._value(kind, item, where) for item in items)

    def _scalar(self, hint: type, value: object, where: str) -> object:
        if hint is Path and isinstance(value, str) and value:
            return self._folder / value
        if hint is float and type(value) is int:
            value = float(value)
        # bool is an int to Python, and not to us
        if type(value) is not hint or (hint is str and not value):
            message = f"{where} must be {_type_name(hint)}, not {value!r}"
            raise ConfigError(message)
        return value


def _path(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _choice(hint: Any, choices: tuple[str, ...], value: object, where: str) -> object:  # noqa: ANN401 - a type
    if value not in choices:
        message = f"{where} must be one of {', '.join(choices)}, not {value!r}"
        raise ConfigError(message)
    return hint(value) if isinstance(hint, type) else value
