# SPDX-License-Identifier: Apache-2.0
"""How a message's fields stand in its map: key, type and bounds, declared with each.

A key from 0 up is critical: a message with one that its type does not have is refused.
A negative key may be ignored by whoever does not know it: newer firmware can say more.
"""

import dataclasses
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, TypeVar, cast

from firmware_bridge.errors import MessageError
from firmware_bridge.flat_cbor import UNSIGNED_MAX, Value

_Message = TypeVar("_Message")
_RULE: Final = "rule"


@dataclass(frozen=True, slots=True)
class _Rule:
    key: int
    kind: type[Value]
    least: int
    most: int

    def check(self, name: str, value: Value) -> None:
        # type() and not isinstance(): True is no number here.
        size = value if type(value) is int else _size(value)
        if type(value) is not self.kind or not self.least <= size <= self.most:
            raise MessageError(f"{name} is not what it has to be")


def _size(value: Value) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8"))
    return len(value) if isinstance(value, bytes) else 0


def _field(rule: _Rule) -> Any:  # noqa: ANN401 - as dataclasses.field
    return dataclasses.field(metadata={_RULE: rule})


def number(key: int, *, most: int = UNSIGNED_MAX) -> Any:  # noqa: ANN401
    """Declare an unsigned integer.

    Args:
        key: Its key.
        most: Its greatest value.

    Returns:
        A dataclass field.
    """
    return _field(_Rule(key, int, 0, most))


def octets(key: int, *, size: int = 0, most: int = 0) -> Any:  # noqa: ANN401
    """Declare a byte string.

    Args:
        key: Its key.
        size: Its size, if it has but one.
        most: Its greatest size otherwise.

    Returns:
        A dataclass field.
    """
    return _field(_Rule(key, bytes, size, size or most))


def text(key: int, *, most: int) -> Any:  # noqa: ANN401
    """Declare a text.

    Args:
        key: Its key.
        most: Its greatest size in bytes of UTF-8.

    Returns:
        A dataclass field.
    """
    return _field(_Rule(key, str, 0, most))


def flag(key: int) -> Any:  # noqa: ANN401
    """Declare a boolean.

    Args:
        key: Its key.

    Returns:
        A dataclass field.
    """
    return _field(_Rule(key, bool, 0, 0))


@cache
def _rules(kind: Hashable) -> dict[str, _Rule]:
    return {
        field.name: field.metadata[_RULE]
        for field in dataclasses.fields(cast("Any", kind))
    }


def to_fields(message: object) -> dict[int, Value]:
    """Take a message apart.

    Args:
        message: One of the classes of ``messages``.

    Returns:
        Its values by key.

    Raises:
        MessageError: If a value is out of bounds.
    """
    fields: dict[int, Value] = {}
    for name, rule in _rules(cast("Hashable", type(message))).items():
        value = getattr(message, name)
        rule.check(name, value)
        fields[rule.key] = value
    return fields


def from_fields(kind: type[_Message], fields: dict[int, Value]) -> _Message:
    """Put a message together.

    Args:
        kind: Its class.
        fields: Its values by key.

    Returns:
        The message.

    Raises:
        MessageError: If a value is missing or out of bounds, or a critical key is not
            of this class.
    """
    rules = _rules(cast("Hashable", kind))
    left = dict(fields)
    values: dict[str, Value] = {}
    for name, rule in rules.items():
        if rule.key not in left:
            raise MessageError(f"{name} is missing")
        values[name] = left.pop(rule.key)
        rule.check(name, values[name])
    critical = [key for key in left if key >= 0]
    if critical:
        raise MessageError(f"the critical key {critical[0]} is unknown")
    return kind(**values)
