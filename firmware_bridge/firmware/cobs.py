# SPDX-License-Identifier: Apache-2.0
"""Byte stuffing, byte by byte: a board has little memory and short frames."""


def encode(data: bytes) -> bytes:
    """Remove the zeros."""
    out = bytearray(1)
    code_at = 0
    code = 1
    for place, byte in enumerate(data):
        if byte:
            out.append(byte)
            code += 1
        if not byte or code == 255:
            out[code_at] = code
            if byte and place == len(data) - 1:
                return bytes(out)
            code_at = len(out)
            out.append(0)
            code = 1
    out[code_at] = code
    return bytes(out)


def decode(stuffed: bytes) -> bytes | None:
    """Put the zeros back; None if that is no encoding."""
    out = bytearray()
    place = 0
    while place < len(stuffed):
        code = stuffed[place]
        if code == 0 or place + code > len(stuffed):
            return None
        for byte in stuffed[place + 1 : place + code]:
            if byte == 0:
                return None
            out.append(byte)
        place += code
        if code != 255 and place < len(stuffed):
            out.append(0)
    return bytes(out)
