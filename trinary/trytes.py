# SPDX-License-Identifier: Apache-2.0
"""Trytes: the text of this number system, and its numbers and bytes.

A tryte is one of 27 characters and stands for -13 to 13, or for three trits of
-1, 0 and 1, the lowest first. 81 trytes whose last trit is 0 (all that Kerl
makes or sees) also have a form of 48 bytes: the number, big-endian, in two's
complement.
"""

import re
from collections.abc import Container, Sequence
from typing import Final

from trinary._kernel import ffi, lib
from trinary.errors import InvalidTrytesError, LengthError, ValueRangeError
from trinary.memory import LockedBuffer, SecretBuffer, secret_pointer

TRYTE_ALPHABET: Final = "9ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""The tryte of value v is at index v, counted from the end when negative."""

HASH_TRYTES: Final = 81
WORD_BYTES: Final = 48
MAX_INTEGER_TRYTES: Final = 2673
"""The longest text read as one number: a whole transaction."""

_BASE: Final = 27
_TRYTE_MAX: Final = 13
_TRITS_PER_TRYTE: Final = 3
_LEADING_TRYTES: Final = re.compile(r"[9A-Z]*")
# Each tryte as the digit of base 27 that is its value plus 13.
_DIGIT_OF: Final = str.maketrans(TRYTE_ALPHABET, "defghijklmnopq0123456789abc")
_TRITS_OF: Final = {
    TRYTE_ALPHABET[low + 3 * middle + 9 * high]: (low, middle, high)
    for low in (-1, 0, 1)
    for middle in (-1, 0, 1)
    for high in (-1, 0, 1)
}
_LAST_TRIT_ZERO: Final = frozenset("9ABCDWXYZ")


def is_trytes(text: str, *, length: int | None = None) -> bool:
    """Say whether a text is trytes.

    Args:
        text: Any text.
        length: How many trytes it has to be; None for any number.

    Returns:
        True for ``9A-Z`` only, and as long as asked.
    """
    return _LEADING_TRYTES.fullmatch(text) is not None and (
        length is None or len(text) == length
    )


def require_trytes(
    text: str,
    *,
    what: str,
    length: int | None = None,
    lengths: Container[int] | None = None,
) -> str:
    """Return a text that is trytes, and refuse any other.

    Args:
        text: What came.
        what: Its name, for the message.
        length: The one length allowed; None for no such rule.
        lengths: The lengths allowed; None for no such rule.

    Returns:
        ``text`` itself.

    Raises:
        LengthError: It is shorter or longer.
        InvalidTrytesError: It holds another character; the message has the
            position of the first and not the character.
    """
    if length is not None and len(text) != length:
        msg = f"{what}: expected {length} trytes, got {len(text)}"
        raise LengthError(msg)
    if lengths is not None and len(text) not in lengths:
        msg = f"{what}: expected a length in {lengths}, got {len(text)} trytes"
        raise LengthError(msg)
    match = _LEADING_TRYTES.match(text)
    valid = match.end() if match is not None else 0
    if valid != len(text):
        msg = f"{what}: expected 9A-Z, got another character at position {valid}"
        raise InvalidTrytesError(msg)
    return text


def trits_from_trytes(trytes: str) -> list[int]:
    """Spell trytes out as trits.

    Args:
        trytes: Any number of trytes.

    Returns:
        Three trits of -1, 0, 1 per tryte, the lowest first.
    """
    require_trytes(trytes, what="trytes")
    return [trit for tryte in trytes for trit in _TRITS_OF[tryte]]


def trytes_from_trits(trits: Sequence[int]) -> str:
    """Join trits to trytes.

    Args:
        trits: A multiple of three of -1, 0, 1, the lowest first.

    Returns:
        One tryte for each three trits.

    Raises:
        LengthError: The number of trits is not a multiple of three.
        ValueRangeError: A trit is not -1, 0 or 1.
    """
    if len(trits) % _TRITS_PER_TRYTE != 0:
        msg = f"trits: expected a multiple of three, got {len(trits)}"
        raise LengthError(msg)
    for position, trit in enumerate(trits):
        if trit not in (-1, 0, 1):
            msg = f"trits: expected -1, 0 or 1, got another at position {position}"
            raise ValueRangeError(msg)
    return "".join(
        TRYTE_ALPHABET[trits[at] + 3 * trits[at + 1] + 9 * trits[at + 2]]
        for at in range(0, len(trits), _TRITS_PER_TRYTE)
    )


def bytes_from_trytes(trytes: str) -> bytes:
    """Convert 81 trytes to the bytes that Kerl feeds to Keccak.

    Args:
        trytes: 81 trytes; the last trit is taken as 0, whatever it is.

    Returns:
        48 bytes: the number, big-endian, in two's complement.
    """
    require_trytes(trytes, length=HASH_TRYTES, what="trytes")
    out = ffi.new("uint8_t[48]")
    lib.sk_bytes_from_trytes(trytes.encode("ascii"), len(trytes), out)
    return ffi.buffer(out)[:]


def trytes_from_bytes(data: SecretBuffer) -> str:
    """Convert 48 bytes to trytes, as Kerl does with a digest.

    Args:
        data: Any 48 bytes.

    Returns:
        81 trytes, the last trit 0: the number modulo 3^242, balanced.
    """
    pointer = secret_pointer(data, size_bytes=WORD_BYTES, what="data")
    out = ffi.new("char[81]")
    lib.sk_trytes_from_bytes(pointer, WORD_BYTES, out)
    return ffi.buffer(out)[:].decode("ascii")


def write_trytes(data: SecretBuffer, into: LockedBuffer) -> None:
    """Write 48 secret bytes as trytes into locked memory; no text is made.

    Args:
        data: 48 bytes, as ``trytes_from_bytes`` takes them.
        into: Receives 81 ASCII characters.
    """
    pointer = secret_pointer(data, size_bytes=WORD_BYTES, what="bytes")
    out = secret_pointer(into, size_bytes=HASH_TRYTES, what="trytes")
    lib.sk_trytes_from_bytes(pointer, WORD_BYTES, ffi.cast("char *", out))


def int_from_trytes(trytes: str) -> int:
    """Read trytes as one number.

    Args:
        trytes: 1 to 2673 trytes, the lowest first.

    Returns:
        The balanced number they stand for.
    """
    lengths = range(1, MAX_INTEGER_TRYTES + 1)
    require_trytes(trytes, lengths=lengths, what="trytes")
    digits = trytes.translate(_DIGIT_OF)[::-1]
    return int(digits, _BASE) - _largest(len(trytes))


def trytes_from_int(value: int, *, length_trytes: int) -> str:
    """Write a number in trytes.

    Args:
        value: Any number.
        length_trytes: How many trytes to use, at least 1.

    Returns:
        Exactly that many trytes, the lowest first.

    Raises:
        LengthError: ``length_trytes`` is not positive.
        ValueRangeError: The number needs more trytes.
    """
    if length_trytes < 1:
        msg = f"number: expected at least 1 tryte, got {length_trytes}"
        raise LengthError(msg)
    largest = _largest(length_trytes)
    if not -largest <= value <= largest:
        msg = f"number: does not fit {length_trytes} trytes"
        raise ValueRangeError(msg)
    trytes = []
    rest = value + largest
    for _ in range(length_trytes):
        rest, digit = divmod(rest, _BASE)
        trytes.append(TRYTE_ALPHABET[digit - _TRYTE_MAX])
    return "".join(trytes)


def last_trit_is_zero(address: str) -> bool:
    """Say whether an address can be Kerl's: its last trit is 0.

    Args:
        address: 81 trytes, without the checksum.

    Returns:
        True when funds sent to it can ever be spent.
    """
    require_trytes(address, length=HASH_TRYTES, what="address")
    return address[-1] in _LAST_TRIT_ZERO


def _largest(length_trytes: int) -> int:
    """Return the largest number that fits.

    Args:
        length_trytes: How many trytes there are.

    Returns:
        Half of 27 to that power, rounded down.
    """
    return (int(_BASE**length_trytes) - 1) // 2
