# SPDX-License-Identifier: Apache-2.0
"""Consistent overhead byte stuffing: a frame without the byte that ends it.

Source: S. Cheshire, M. Baker, "Consistent Overhead Byte Stuffing", IEEE/ACM
Transactions on Networking 7 (2), 1999.
"""

from typing import Final

DELIMITER: Final = b"\x00"
_BLOCK_BYTES: Final = 254  # the longest run that one code byte describes


def longest_encoding(size_bytes: int) -> int:
    """Return how long ``size_bytes`` can become, without the delimiter."""
    return size_bytes + size_bytes // _BLOCK_BYTES + 1


def encode(data: bytes) -> bytes:
    """Remove the zeros.

    Args:
        data: Any bytes.

    Returns:
        At least one byte, none of them zero, in one unambiguous way.
    """
    out = bytearray()
    part, start = b"", 0
    for part in data.split(DELIMITER):
        start = 0
        while len(part) - start >= _BLOCK_BYTES:
            out.append(_BLOCK_BYTES + 1)
            out += part[start : start + _BLOCK_BYTES]
            start += _BLOCK_BYTES
        out.append(len(part) - start + 1)
        out += part[start:]
    if part and start == len(part):
        out.pop()  # a full block that ends the data needs no empty one after it
    return bytes(out)


def decode(stuffed: bytes) -> bytes | None:
    """Put the zeros back.

    Args:
        stuffed: What stood between two delimiters; no zero in it.

    Returns:
        The data; None if that is not the encoding of anything.
    """
    out = bytearray()
    position, size = 0, len(stuffed)
    if not size or DELIMITER in stuffed:
        return None
    while position < size:
        code = stuffed[position]
        end = position + code
        if end > size:
            return None
        out += stuffed[position + 1 : end]
        position = end
        if code <= _BLOCK_BYTES and position < size:
            out.append(0)
    return bytes(out)
