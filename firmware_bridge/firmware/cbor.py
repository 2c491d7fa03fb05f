# SPDX-License-Identifier: Apache-2.0
"""One flat map of small integer keys: numbers, bytes, texts, booleans. Nothing else."""


def _head(major: int, argument: int) -> bytes:
    if argument < 24:
        return bytes([major | argument])
    if argument < 0x100:
        return bytes([major | 24, argument])
    if argument < 0x10000:
        return bytes([major | 25]) + argument.to_bytes(2, "big")
    if argument < 0x100000000:
        return bytes([major | 26]) + argument.to_bytes(4, "big")
    return bytes([major | 27]) + argument.to_bytes(8, "big")


def encode(fields: dict) -> bytes:
    """Write a map whose keys are 0 to 23."""
    out = bytes([0xA0 | len(fields)])
    for key in sorted(fields):
        value = fields[key]
        out += bytes([key])
        if value is True or value is False:
            out += b"\xf5" if value else b"\xf4"
        elif isinstance(value, int):
            out += _head(0x00, value)
        elif isinstance(value, bytes):
            out += _head(0x40, len(value)) + value
        else:
            text = value.encode()
            out += _head(0x60, len(text)) + text
    return out


def decode(data: bytes) -> dict | None:
    """Read a map; None if it is anything else, or not in its one encoding."""
    if not data or data[0] & 0xE0 != 0xA0 or data[0] & 0x1F > 23:
        return None
    fields: dict = {}
    place = 1
    last = -1
    for _ in range(data[0] & 0x1F):
        # Keys below 24 and, from newer hosts, small negative ones: one byte each.
        if place >= len(data) or data[place] & 0x1F > 23 or data[place] > 0x37:
            return None
        key = data[place]
        if key <= last:
            return None
        last = key
        got = _value(data, place + 1)
        if got is None:
            return None
        value, place = got
        if key < 0x20:
            fields[key] = value
    return fields if place == len(data) else None


def _value(data: bytes, place: int) -> tuple[bool | int | bytes | str, int] | None:
    if place >= len(data):
        return None
    first = data[place]
    if first in (0xF4, 0xF5):
        return first == 0xF5, place + 1
    major = first & 0xE0
    argument = first & 0x1F
    place += 1
    if argument > 27:
        return None
    if argument >= 24:
        size = 1 << (argument - 24)
        if place + size > len(data):
            return None
        argument = int.from_bytes(data[place : place + size], "big")
        if argument < (24 if size == 1 else 1 << (4 * size)):
            return None
        place += size
    if major == 0x00:
        return argument, place
    if major not in (0x40, 0x60) or place + argument > len(data):
        return None
    piece = data[place : place + argument]
    if major == 0x40:
        return piece, place + argument
    try:
        return piece.decode(), place + argument
    except (UnicodeError, ValueError):
        return None
