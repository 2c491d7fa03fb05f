# SPDX-License-Identifier: Apache-2.0
"""Proof of work: find the nonce that lets a transaction into the network.

A network asks that a transaction's hash end in a number of zero trits, the
minimum weight magnitude: 14 on the old main net, 9 on test nets. Each one more
takes three times the tries; 3^14 are about 4.8 million.
"""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, Final

from trinary._kernel import ffi, lib
from trinary.curl import TRANSACTION_TRYTES
from trinary.errors import CancelledError, KernelFaultError, ValueRangeError
from trinary.trytes import (
    HASH_TRYTES,
    TRYTE_ALPHABET,
    require_trytes,
    trits_from_trytes,
)

if TYPE_CHECKING:
    from trinary._kernel import CData

NONCE_TRYTES: Final = 27
WEIGHT_MAGNITUDE_MAX: Final = 243
THREADS_MAX: Final = 729
_WIDEST: Final = 0


class Cancel:
    """A flag that calls searches off, from any thread, for good."""

    def __init__(self) -> None:
        self._flag = ffi.new("int32_t *")

    def cancel(self) -> None:
        """Stop every search that was given this flag, now and later."""
        lib.sk_cancel(self._flag)

    @property
    def cancelled(self) -> bool:
        """Whether it was called off."""
        return self._flag[0] != 0

    @property
    def flag(self) -> CData:
        """The flag itself, for the kernel."""
        return self._flag


def find_nonce(
    trytes: str,
    *,
    min_weight_magnitude: int,
    threads: int | None = None,
    cancel: Cancel | None = None,
) -> str:
    """Search for a nonce, on several threads, without the interpreter lock.

    The search begins at a random point, so two runs find different nonces. It
    is not interrupted by signals: run it off the main thread and keep the
    ``Cancel``.

    Args:
        trytes: The transaction's 2673 trytes; its present nonce is ignored.
        min_weight_magnitude: How many zero trits its hash is to end in, 1 to
            243.
        threads: 1 to 729; None for one per processor this process may use.
        cancel: A flag that ends the search; None for none.

    Returns:
        27 trytes, to be put at the transaction's end.

    Raises:
        ValueRangeError: The magnitude or the number of threads is out of range.
        CancelledError: The flag was raised first.
        KernelFaultError: There was no memory, or the nonce found is wrong.
    """
    require_trytes(trytes, length=TRANSACTION_TRYTES, what="transaction")
    if not 1 <= min_weight_magnitude <= WEIGHT_MAGNITUDE_MAX:
        msg = f"weight magnitude: expected 1 to 243, got {min_weight_magnitude}"
        raise ValueRangeError(msg)
    count = thread_count(threads)
    flag = (cancel or Cancel()).flag
    start = "".join(secrets.choice(TRYTE_ALPHABET) for _ in range(NONCE_TRYTES))
    out = ffi.new("char[27]")
    status = lib.sk_pow(
        trytes.encode("ascii"),
        TRANSACTION_TRYTES,
        min_weight_magnitude,
        count,
        start.encode("ascii"),
        NONCE_TRYTES,
        _WIDEST,
        flag,
        out,
    )
    if status == lib.SK_ERR_CANCELLED:
        msg = "the search for a nonce was cancelled"
        raise CancelledError(msg)
    if status != lib.SK_OK:
        msg = f"the search for a nonce failed with status {status}"
        raise KernelFaultError(msg)
    return ffi.buffer(out)[:].decode("ascii")


def thread_count(threads: int | None) -> int:
    """Settle how many threads a search takes.

    Args:
        threads: 1 to 729; None for one per processor this process may use.

    Returns:
        The number of threads.

    Raises:
        ValueRangeError: It is out of range.
    """
    if threads is None:
        return min(len(os.sched_getaffinity(0)), THREADS_MAX)
    if not 1 <= threads <= THREADS_MAX:
        msg = f"threads: expected 1 to {THREADS_MAX}, got {threads}"
        raise ValueRangeError(msg)
    return threads


def weight_magnitude(transaction_hash: str) -> int:
    """Count the zero trits at a hash's end.

    Args:
        transaction_hash: 81 trytes.

    Returns:
        The number of trailing zero trits, 0 to 243.
    """
    require_trytes(transaction_hash, length=HASH_TRYTES, what="transaction hash")
    trits = trits_from_trytes(transaction_hash)
    zeros = 0
    while zeros < len(trits) and trits[-1 - zeros] == 0:
        zeros += 1
    return zeros
