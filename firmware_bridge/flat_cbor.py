# SPDX-License-Identifier: Apache-2.0
"""The part of CBOR that a panel speaks: one flat map, in one way only.

Keys are integers from -24 to 23; values are unsigned integers of 64 bits, byte strings,
texts and booleans. Whatever is longer than it need be, out of order, twice, nested or
followed by something is refused, so that a message has one encoding. Written by hand
because a decoder in the trusted computing base should read in five minutes.

Source: RFC 8949 section 4.2.1, core deterministic encoding.
"""

from collections.abc import Mapping
from typing import Final, TypeAlias

from firmware_bridge.errors import MessageError

Value: TypeAlias = bool | int | bytes | str
UNSIGNED_MAX: Final = 2**64 - 1
KEY_MAX: Final = 23
_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _MAP = 0x00, 0x20, 0x40, 0x60, 0xA0
_FALSE, _TRUE = 0xF4, 0xF5
_INLINE: Final = 24  # smaller arguments stand in the first byte
_WIDEST: Final = 27
_MAJOR: Final = 0xE0


def encode(fields: Mapping[int, Value]) -> bytes:
    """Write a map.

    Args:
        fields: At most 23 values by key.

    Returns:
        Their one encoding.

    Raises:
        MessageError: If a key or a value has no place in it.
    """
    if len(fields) > KEY_MAX:
        raise MessageError("too many fields")
    out = bytearray([_MAP | len(fields)])
    for key in sorted(fields, key=_order):
        out += _head(_UNSIGNED, key) if key >= 0 else _head(_NEGATIVE, -1 - key)
        out += _value(fields[key])
    return bytes(out)


def decode(data: bytes) -> dict[int, Value]:
    """Read a map.

    Args:
        data: The whole message.

    Returns:
        Its fields.

    Raises:
        MessageError: If it is anything else than the one encoding of a flat map.
    """
    if not data or not _MAP <= data[0] < _MAP + _INLINE:
        raise MessageError("not a map of a few fields")
    reader = _Reader(data, 1)
    fields: dict[int, Value] = {}
    last = -1
    for _ in range(data[0] - _MAP):
        key = reader.key()
        if _order(key) <= last:
            raise MessageError("keys are out of order")
        last = _order(key)
        fields[key] = reader.value()
    if reader.position != len(data):
        raise MessageError("something follows the map")
    return fields


def _order(key: int) -> int:
    """Return the key's place: its first byte, negatives after the others."""
    if not -KEY_MAX - 1 <= key <= KEY_MAX:
        raise MessageError(f"key {key} is out of range")
    return key if key >= 0 else _NEGATIVE - 1 - key


def _value(value: Value) -> bytes:
    if isinstance(value, bool):
        return bytes([_TRUE if value else _FALSE])
    if isinstance(value, int):
        if not 0 <= value <= UNSIGNED_MAX:
            raise MessageError("a number has more than 64 bits, or is negative")
        return _head(_UNSIGNED, value)
    if isinstance(value, bytes):
        return _head(_BYTES, len(value)) + value
    text = value.encode("utf-8")
    return _head(_TEXT, len(text)) + text


def _head(major: int, argument: int) -> bytes:
    if argument < _INLINE:
        return bytes([major | argument])
    for power in range(4):
        if argument < 1 << (8 << power):
            return bytes([major | _INLINE + power]) + argument.to_bytes(1 << power)
    raise MessageError("a number has more than 64 bits")


class _Reader:
    def __init__(self, data: bytes, position: int) -> None:
        self._data = data
        self.position = position

    def key(self) -> int:
        first = self._take(1)[0]
        argument = first & ~_MAJOR
        if argument >= _INLINE or first & _MAJOR not in {_UNSIGNED, _NEGATIVE}:
            raise MessageError("a key is no small number")
        return argument if first < _NEGATIVE else -1 - argument

    def value(self) -> Value:
        first = self._take(1)[0]
        if first in {_FALSE, _TRUE}:
            return first == _TRUE
        major, argument = first & _MAJOR, self._argument(first & ~_MAJOR)
        if major == _UNSIGNED:
            return argument
        if major == _BYTES:
            return self._take(argument)
        if major == _TEXT:
            try:
                return self._take(argument).decode("utf-8")
            except UnicodeDecodeError:
                raise MessageError("a text is not UTF-8") from None
        raise MessageError("a value is neither number, bytes, text nor boolean")

    def _argument(self, short: int) -> int:
        if short < _INLINE:
            return short
        if short > _WIDEST:
            raise MessageError("a length is reserved or indefinite")
        size = 1 << (short - _INLINE)
        argument = int.from_bytes(self._take(size))
        if argument < (_INLINE if size == 1 else 1 << (4 * size)):
            raise MessageError("a number is longer than it need be")
        return argument

    def _take(self, size: int) -> bytes:
        end = self.position + size
        if end > len(self._data):
            raise MessageError("the message is cut off")
        piece = self._data[self.position : end]
        self.position = end
        return piece
