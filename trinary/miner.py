# SPDX-License-Identifier: Apache-2.0
"""What a key's signatures gave away, and the bundle that gives away least more.

A signature shows, for each tryte of the normalised bundle hash, how far one
chain of hashes was walked; whoever sees it can walk on, and so sign every
smaller value there. What keeps funds safe after a second signature is that a
random bundle hash is hardly ever below the largest values signed, in every
tryte at once. The exposure of a key is that chance, in bits: 40 bits mean that
an attacker has to try 2^40 bundles. Fewer bits are worse.

The obsolete tag of a bundle's first transaction means nothing to the network,
so a bundle that must be signed with a used key can be mined: many tags are
tried, and the hash taken that leaves the most bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from trinary._kernel import ffi, lib
from trinary.bundle import TAG_TRYTES, bundle_hash, essence_trytes
from trinary.errors import (
    CancelledError,
    KernelFaultError,
    LengthError,
    NothingMinedError,
    SecurityLevelError,
    ValueRangeError,
)
from trinary.pow import Cancel, thread_count
from trinary.trytes import int_from_trytes, trytes_from_int
from trinary.winternitz import FRAGMENT_VALUES, LEVELS, normalise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from trinary._kernel import CData, Mined
    from trinary.bundle import Essence

UNTOUCHED: Final = -14
"""The reach of a tryte in which nothing has been signed."""

VALUE_MAX: Final = 13
TRIES_MAX: Final = 2**62
_TAGS: Final = 3**81
_TAG_MAX: Final = (_TAGS - 1) // 2
# Between two reports: a good part of a second at most, on any machine.
_TRANSACTIONS_HASHED_AT_ONCE: Final = 1 << 19


@dataclass(frozen=True, slots=True, kw_only=True)
class MinedBundle:
    """The best bundle of a search.

    Attributes:
        obsolete_tag: 27 trytes for the first transaction.
        bundle_hash: 81 trytes: the bundle's hash with that tag.
        exposure_bits: What the key has left once this hash is signed too.
        tries: How many tags were tried.
    """

    obsolete_tag: str
    bundle_hash: str
    exposure_bits: float
    tries: int


def reach_of(bundle_hashes: Iterable[str], *, level: int) -> tuple[int, ...]:
    """Say how far the signatures of some bundle hashes reach.

    Args:
        bundle_hashes: What one key has signed: 81 trytes each.
        level: Its security level, 1 to 3.

    Returns:
        The largest normalised value of each of the 27 trytes per level, -14
        where there is none.
    """
    used = _used_trytes(level)
    reach = (UNTOUCHED,) * used
    for text in bundle_hashes:
        reach = _reach_with(reach, text)
    return reach


def exposure_bits(reach: Sequence[int], *, level: int) -> float:
    """Say how hard it is to find a bundle that is already signed.

    Raw values count as independent and evenly spread, but for the last tryte of
    all, which is 9 of 27 values, unevenly; see ``kernel/exposure.c``.

    Args:
        reach: The largest value signed in each of the 27 trytes per level, -14
            where there is none.
        level: Security level, 1 to 3.

    Returns:
        -log2 of the chance that a random bundle hash, normalised, is nowhere
        above ``reach``; infinite when a tryte is untouched.
    """
    pointer = _reach_pointer(reach, level=level)
    out = ffi.new("double *")
    _require_ok(lib.sk_exposure(pointer, len(pointer), out))
    return out[0]


def mine(  # noqa: PLR0913 - the last three only say how to go about it
    essences: Sequence[Essence],
    *,
    level: int,
    reach: Sequence[int],
    tries: int,
    threads: int | None = None,
    cancel: Cancel | None = None,
    progress: Callable[[int, MinedBundle | None], None] | None = None,
) -> MinedBundle:
    """Try obsolete tags for the bundle that exposes a used key the least.

    Tags are tried upward from the first transaction's, on from the smallest
    after the largest. Hashes with a 13 in a used fragment are left out. The
    result does not depend on the number of threads; of equals, the first tag
    wins. Signals wait for the next report.

    Args:
        essences: What the bundle's hash covers of each transaction, in order.
        level: The key's security level, 1 to 3.
        reach: What its signatures have reached, as ``reach_of`` says.
        tries: How many tags to try, 1 to 2^62.
        threads: 1 to 729; None for one per processor this process may use.
        cancel: A flag that ends the search; None for none.
        progress: Called now and then, from this thread, with the number of
            tags tried and the best bundle so far, if any.

    Returns:
        The bundle that leaves the most bits.

    Raises:
        LengthError: There is no transaction, or a text has another length.
        ValueRangeError: A number is out of range.
        CancelledError: The flag was raised first.
        NothingMinedError: Every hash tried has a 13.
        KernelFaultError: There was no memory, or the result is not what it is
            said to be.
    """
    if not essences:
        msg = "bundle: expected at least one transaction, got none"
        raise LengthError(msg)
    if not 1 <= tries <= TRIES_MAX:
        msg = f"tries: expected 1 to 2^62, got {tries}"
        raise ValueRangeError(msg)
    search = _Search(essences, reach, level=level, threads=thread_count(threads))
    done = 0
    best = None
    while done < tries:
        count = search.run(done, most=tries - done, cancel=cancel or Cancel())
        done += count
        best = search.best(tries=done)
        if progress is not None:
            progress(done, best)
    if best is None:
        msg = f"none of {tries} tags gives a hash without 13"
        raise NothingMinedError(msg)
    return best


class _Search:
    """One search, run in parts.

    Args:
        essences: What the bundle's hash covers.
        reach: What has been signed.
        level: Security level.
        threads: How many threads to use.
    """

    def __init__(
        self,
        essences: Sequence[Essence],
        reach: Sequence[int],
        *,
        level: int,
        threads: int,
    ) -> None:
        self._essences = list(essences)
        self._first_tag = int_from_trytes(essences[0].obsolete_tag)
        self._reach = tuple(reach)
        self._level = level
        self._threads = threads
        self._pointer = _reach_pointer(reach, level=level)
        trytes = len(self._pointer)
        self._estimates = ffi.new(f"double[{trytes * FRAGMENT_VALUES}]")
        _require_ok(lib.sk_mine_estimates(self._pointer, trytes, self._estimates))
        self._found: Mined = ffi.new("sk_mined *")
        self._found.bits = -1
        self._found.top_estimate = -math.inf
        self._best_tag: str | None = None

    def run(self, first: int, *, most: int, cancel: Cancel) -> int:
        """Try the next tags.

        Args:
            first: How many were tried before.
            most: How many to try at most.
            cancel: A flag that ends the search.

        Returns:
            How many were tried now.
        """
        text = "".join(essence_trytes(essence) for essence in self._at(first))
        at_once = max(1, _TRANSACTIONS_HASHED_AT_ONCE // len(self._essences))
        room = _TAG_MAX - _wrapped(self._first_tag + first) + 1
        count = min(most, at_once, room)
        status = lib.sk_mine(
            text.encode("ascii"),
            len(text),
            self._pointer,
            len(self._pointer),
            self._estimates,
            count,
            self._threads,
            cancel.flag,
            self._found,
        )
        _require_ok(status)
        if self._found.candidate != lib.SK_MINE_NONE:
            self._best_tag = self._tag(first + self._found.candidate)
        return count

    def best(self, *, tries: int) -> MinedBundle | None:
        """Describe the best bundle so far, computed anew by other code.

        Args:
            tries: How many tags were tried.

        Returns:
            The bundle; None when there is none.

        Raises:
            KernelFaultError: The kernel was wrong about it.
        """
        if self._best_tag is None:
            return None
        head = replace(self._essences[0], obsolete_tag=self._best_tag)
        text = bundle_hash([head, *self._essences[1:]])
        reach = _reach_with(self._reach, text)
        bits = exposure_bits(reach, level=self._level)
        signed = normalise(text)[: len(self._reach)]
        if bits != self._found.bits or VALUE_MAX in signed:
            msg = "the bundle mined is not what the search took it for"
            raise KernelFaultError(msg)
        return MinedBundle(
            obsolete_tag=self._best_tag,
            bundle_hash=text,
            exposure_bits=bits,
            tries=tries,
        )

    def _at(self, candidate: int) -> list[Essence]:
        """Return the bundle with another tag.

        Args:
            candidate: How far from the first tag.

        Returns:
            Its essences.
        """
        head = replace(self._essences[0], obsolete_tag=self._tag(candidate))
        return [head, *self._essences[1:]]

    def _tag(self, candidate: int) -> str:
        """Return a tag.

        Args:
            candidate: How far from the first one.

        Returns:
            27 trytes.
        """
        number = _wrapped(self._first_tag + candidate)
        return trytes_from_int(number, length_trytes=TAG_TRYTES)


def _wrapped(number: int) -> int:
    """Go on with the smallest tag after the largest.

    Args:
        number: Any number.

    Returns:
        The tag's number, balanced.
    """
    return (number + _TAG_MAX) % _TAGS - _TAG_MAX


def _used_trytes(level: int) -> int:
    """Say how many trytes of a hash a level signs.

    Args:
        level: Security level.

    Returns:
        27 for each fragment.

    Raises:
        SecurityLevelError: It is not 1, 2 or 3.
    """
    if level not in LEVELS:
        msg = f"security level: expected 1, 2 or 3, got {level}"
        raise SecurityLevelError(msg)
    return level * FRAGMENT_VALUES


def _reach_with(reach: Sequence[int], text: str) -> tuple[int, ...]:
    """Extend a reach by one more signature.

    Args:
        reach: What was signed before.
        text: The bundle hash signed now.

    Returns:
        The larger value of each tryte used.
    """
    used = normalise(text)[: len(reach)]
    return tuple(map(max, reach, used))


def _reach_pointer(reach: Sequence[int], *, level: int) -> CData:
    """Check a reach and hand it to C.

    Args:
        reach: One value per used tryte.
        level: Security level.

    Returns:
        A copy for the kernel.

    Raises:
        LengthError: There are more or fewer values.
        ValueRangeError: A value is not between -14 and 13.
    """
    used = _used_trytes(level)
    if len(reach) != used:
        msg = f"reach: expected {used} values, got {len(reach)}"
        raise LengthError(msg)
    for position, value in enumerate(reach):
        if not UNTOUCHED <= value <= VALUE_MAX:
            msg = f"reach: expected -14 to 13, got {value} at position {position}"
            raise ValueRangeError(msg)
    return ffi.new(f"int8_t[{used}]", list(reach))


def _require_ok(status: int) -> None:
    """Turn a status of the kernel into an error.

    Args:
        status: What it answered.

    Raises:
        CancelledError: The search was called off.
        KernelFaultError: It failed.
    """
    if status == lib.SK_ERR_CANCELLED:
        msg = "the search for a bundle was cancelled"
        raise CancelledError(msg)
    if status != lib.SK_OK:
        msg = f"the search for a bundle failed with status {status}"
        raise KernelFaultError(msg)
