# SPDX-License-Identifier: Apache-2.0
"""Kerl and Winternitz addresses by Python's integers and safe-pysha3, as a peer.

In the byte domain, as the kernel: a hash is Keccak-384 and at most one addition of a
power of three, and nothing is written in base 3 on the way. It is the fastest that
Python alone has.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from sha3 import keccak_384

from trinary.trytes import trytes_from_bytes

_WORD_BYTES: Final = 48
_WORD_MAX: Final = (3**242 - 1) // 2
_WORD_POWER: Final = 3**242
_WORDS: Final = 27
_CHAIN: Final = 26
_ONES: Final = (1 << (8 * _WORD_BYTES)) - 1


def address(seed: bytes, *, level: int) -> str:
    """Derive the address of key index 0.

    Args:
        seed: 48 bytes.
        level: Security level.

    Returns:
        81 trytes.
    """
    subseed = _hash([_word(seed)])
    ends = [_chained(word) for word in _key(subseed, level * _WORDS)]
    fragments = [ends[at : at + _WORDS] for at in range(0, len(ends), _WORDS)]
    return trytes_from_bytes(_hash([_hash(fragment) for fragment in fragments]))


def _hash(words: Sequence[bytes]) -> bytes:
    return _word(keccak_384(b"".join(words)).digest())


def _word(digest: bytes) -> bytes:
    value = int.from_bytes(digest, "big", signed=True)
    if value > _WORD_MAX:
        value -= _WORD_POWER
    elif value < -_WORD_MAX:
        value += _WORD_POWER
    return value.to_bytes(_WORD_BYTES, "big", signed=True)


def _key(subseed: bytes, count: int) -> Iterator[bytes]:
    digest = keccak_384(subseed).digest()
    for _ in range(count):
        yield _word(digest)
        turned = int.from_bytes(digest, "big") ^ _ONES
        digest = keccak_384(turned.to_bytes(_WORD_BYTES, "big")).digest()


def _chained(word: bytes) -> bytes:
    for _ in range(_CHAIN):
        word = _word(keccak_384(word).digest())
    return word
