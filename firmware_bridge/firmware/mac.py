# SPDX-License-Identifier: Apache-2.0
"""HMAC-SHA256 and HKDF from SHA-256 alone: MicroPython has no hmac module.

Source: RFC 2104, RFC 5869.
"""

import hashlib

_BLOCK = 64


def sha256(*parts: bytes) -> bytes:
    """Hash the parts as one text."""
    state = hashlib.sha256()
    for part in parts:
        state.update(part)
    return state.digest()


def hmac(key: bytes, *parts: bytes) -> bytes:
    """Return the MAC of the parts as one text."""
    if len(key) > _BLOCK:
        key = sha256(key)
    inner = bytearray(b"\x36" * _BLOCK)
    outer = bytearray(b"\x5c" * _BLOCK)
    for place, byte in enumerate(key):
        inner[place] ^= byte
        outer[place] ^= byte
    return sha256(bytes(outer), sha256(bytes(inner), *parts))


def hkdf(key: bytes, salt: bytes, info: bytes) -> bytes:
    """Derive 32 bytes."""
    return hmac(hmac(salt or bytes(32), key), info, b"\x01")


def same(left: bytes, right: bytes) -> bool:
    """Compare in a time that tells nothing but the lengths."""
    if len(left) != len(right):
        return False
    difference = 0
    for place, byte in enumerate(left):
        difference |= byte ^ right[place]
    return difference == 0
