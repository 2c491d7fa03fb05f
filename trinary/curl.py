# SPDX-License-Identifier: Apache-2.0
"""Curl-P, the hash that names transactions and carries proof of work.

Not for signatures: Kerl took its place there in 2017, after collisions were
found.

Source: Curl-P as deployed by IOTA; transactions use 81 rounds.
"""

from typing import Final

from trinary._kernel import ffi, lib
from trinary.errors import LengthError, ValueRangeError
from trinary.trytes import HASH_TRYTES, require_trytes

ROUNDS: Final = 81
ALLOWED_ROUNDS: Final = (27, 81)
TRANSACTION_TRYTES: Final = 2673


def curl(trytes: str, *, rounds: int = ROUNDS) -> str:
    """Hash trytes with Curl-P.

    Args:
        trytes: A positive multiple of 81 trytes.
        rounds: 81, or 27.

    Returns:
        81 trytes.

    Raises:
        LengthError: The length is zero or no multiple of 81.
        ValueRangeError: There is no such number of rounds.
    """
    if not trytes or len(trytes) % HASH_TRYTES != 0:
        msg = f"input: expected a positive multiple of 81 trytes, got {len(trytes)}"
        raise LengthError(msg)
    if rounds not in ALLOWED_ROUNDS:
        msg = f"rounds: expected 27 or 81, got {rounds}"
        raise ValueRangeError(msg)
    require_trytes(trytes, what="input")
    out = ffi.new("char[81]")
    lib.sk_curl(trytes.encode("ascii"), len(trytes), rounds, out)
    return ffi.buffer(out)[:].decode("ascii")


def transaction_hash(trytes: str) -> str:
    """Hash a transaction.

    Args:
        trytes: The transaction's 2673 trytes.

    Returns:
        81 trytes: the transaction's name.
    """
    require_trytes(trytes, length=TRANSACTION_TRYTES, what="transaction")
    return curl(trytes)
