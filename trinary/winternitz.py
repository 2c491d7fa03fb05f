# SPDX-License-Identifier: Apache-2.0
"""Winternitz one-time signatures: addresses, signatures, verification.

A seed is 48 bytes, any 48 bytes: the number they are is brought into the range
of 242 trits first, as Kerl does with a digest. It is read where it lies, and
everything computed from it is wiped before the call returns.

**One key, one hash.** A second signature with the same seed and index gives
parts of the key away. Nothing here remembers what was signed: callers must.

Source: IOTA's signing scheme since Kerl (2017).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trinary._kernel import ffi, lib
from trinary.errors import LengthError, SecurityLevelError, ValueRangeError
from trinary.memory import secret_pointer
from trinary.trytes import (
    HASH_TRYTES,
    WORD_BYTES,
    bytes_from_trytes,
    require_trytes,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trinary._kernel import CData
    from trinary.memory import SecretBuffer

LEVELS: Final = (1, 2, 3)
FRAGMENT_TRYTES: Final = 2187
"""One signature fragment, the payload of one transaction."""

INDEX_MAX: Final = 2**63 - 1
FRAGMENT_VALUES: Final = 27
_EXPOSED_VALUE: Final = 13
"""Normalised value for which a signature shows the private key itself."""


def address(seed: SecretBuffer, *, level: int, index: int = 0) -> str:
    """Derive an address.

    Args:
        seed: 48 bytes.
        level: Security level, 1 to 3.
        index: Key index, from 0.

    Returns:
        81 trytes, without a checksum.
    """
    pointer = _require_key(seed, level=level, index=index)
    out = ffi.new("char[81]")
    lib.sk_address(pointer, WORD_BYTES, level, index, out)
    return ffi.buffer(out)[:].decode("ascii")


def sign(
    seed: SecretBuffer, *, level: int, bundle_hash: str, index: int = 0
) -> list[str]:
    """Sign a bundle hash.

    It signs what it is given. Whether the hash is safe to sign is another
    question, with another function: ``used_fragments_contain_13``.

    Args:
        seed: 48 bytes.
        level: Security level, 1 to 3.
        bundle_hash: 81 trytes.
        index: Key index, from 0.

    Returns:
        One fragment of 2187 trytes per level.
    """
    pointer = _require_key(seed, level=level, index=index)
    hash_trytes = _require_hash(bundle_hash)
    length = level * FRAGMENT_TRYTES
    out = ffi.new(f"char[{length}]")
    lib.sk_sign(
        pointer, WORD_BYTES, level, index, hash_trytes, HASH_TRYTES, out, length
    )
    return _fragments(ffi.buffer(out)[:].decode("ascii"))


def sign_fragment_count(level: int) -> int:
    """Say how many fragments, and so transactions, a signature takes.

    Args:
        level: Security level, 1 to 3.

    Returns:
        The number of fragments.
    """
    _require_level(level)
    return level


def normalise(bundle_hash: str) -> tuple[int, ...]:
    """Balance a bundle hash so that each third of it sums to zero.

    Args:
        bundle_hash: 81 trytes.

    Returns:
        81 values of -13 to 13.
    """
    out = ffi.new("int8_t[81]")
    lib.sk_normalise(_require_hash(bundle_hash), HASH_TRYTES, out)
    return tuple(out[i] for i in range(HASH_TRYTES))


def used_fragments_contain_13(bundle_hash: str, *, level: int) -> bool:
    """Say whether signing a hash would show parts of the private key.

    Args:
        bundle_hash: 81 trytes.
        level: Security level, 1 to 3; only that many thirds are looked at.

    Returns:
        True when a normalised value used at this level is 13.
    """
    _require_level(level)
    return _EXPOSED_VALUE in normalise(bundle_hash)[: level * FRAGMENT_VALUES]


def address_from_signature(fragments: Sequence[str], bundle_hash: str) -> str:
    """Compute the address a signature belongs to.

    Args:
        fragments: One to three fragments of 2187 trytes, in order.
        bundle_hash: 81 trytes.

    Returns:
        81 trytes: the signer's address, if the signature is one.

    Raises:
        LengthError: A fragment, their number or the hash has a wrong length.
    """
    if len(fragments) not in LEVELS:
        msg = f"signature: expected 1 to 3 fragments, got {len(fragments)}"
        raise LengthError(msg)
    for position, fragment in enumerate(fragments):
        what = f"signature fragment {position}"
        require_trytes(fragment, length=FRAGMENT_TRYTES, what=what)
    hash_trytes = _require_hash(bundle_hash)
    joined = "".join(fragments).encode("ascii")
    out = ffi.new("char[81]")
    lib.sk_address_from_signature(joined, len(joined), hash_trytes, HASH_TRYTES, out)
    return ffi.buffer(out)[:].decode("ascii")


def verify(*, address: str, fragments: Sequence[str], bundle_hash: str) -> bool:
    """Say whether a signature is an address's own.

    Args:
        address: 81 trytes, without a checksum.
        fragments: One to three fragments of 2187 trytes, in order.
        bundle_hash: 81 trytes.

    Returns:
        True when the address signed the hash.
    """
    require_trytes(address, length=HASH_TRYTES, what="address")
    return address_from_signature(fragments, bundle_hash) == address


def seed_bytes_from_trytes(seed: str) -> bytes:
    """Convert a seed in trytes to the bytes that ``address`` takes.

    For tests and wallets: text and bytes are ordinary, unlocked memory.

    Args:
        seed: 81 trytes; the last trit is taken as 0, as hashing does.

    Returns:
        48 bytes.
    """
    require_trytes(seed, length=HASH_TRYTES, what="seed")
    return bytes_from_trytes(seed)


def _require_level(level: int) -> None:
    """Refuse a level that does not exist.

    Args:
        level: What came.

    Raises:
        SecurityLevelError: It is not 1, 2 or 3.
    """
    if level not in LEVELS:
        msg = f"security level: expected 1, 2 or 3, got {level}"
        raise SecurityLevelError(msg)


def _require_key(seed: SecretBuffer, *, level: int, index: int) -> CData:
    """Check what names a key.

    Args:
        seed: 48 bytes.
        level: Security level, 1 to 3.
        index: Key index, from 0.

    Returns:
        A pointer to the seed.

    Raises:
        ValueRangeError: ``index`` is negative or above 2^63 - 1.
    """
    _require_level(level)
    if not 0 <= index <= INDEX_MAX:
        msg = f"key index: expected 0 to {INDEX_MAX}, got {index}"
        raise ValueRangeError(msg)
    return secret_pointer(seed, size_bytes=WORD_BYTES, what="seed")


def _require_hash(bundle_hash: str) -> bytes:
    """Check a bundle hash.

    Args:
        bundle_hash: 81 trytes.

    Returns:
        The hash for the kernel.
    """
    require_trytes(bundle_hash, length=HASH_TRYTES, what="bundle hash")
    return bundle_hash.encode("ascii")


def _fragments(trytes: str) -> list[str]:
    """Cut a signature into fragments.

    Args:
        trytes: A multiple of 2187 trytes.

    Returns:
        The fragments, in order.
    """
    starts = range(0, len(trytes), FRAGMENT_TRYTES)
    return [trytes[at : at + FRAGMENT_TRYTES] for at in starts]
