# SPDX-License-Identifier: Apache-2.0
"""The bundle miner against the fastest that Python has: safe-pysha3's Keccak.

The peer works in the byte domain as the kernel does: one addition for the next
tag, one call of Keccak-384, base 27 only for the trytes that are signed, and
judging by a table. It runs on one thread, and so do we here; see the note for
all cores.
"""

import math
from collections.abc import Callable, Iterator
from itertools import starmap

from sha3 import keccak_384

from benchmarks.rounds import Figure, at_least, medians_ms
from trinary._kernel import lib
from trinary.bundle import Essence, essence_trytes
from trinary.miner import mine, reach_of
from trinary.trytes import bytes_from_trytes
from trinary.winternitz import LEVELS

_LEVEL = LEVELS[1]
_TRANSACTIONS = 4
_OUR_TRIES = 1_000_000
_PEER_TRIES = 20_000
_FRAGMENT = 27
_TOP = 13
_FRAGMENT_POWER = 27**_FRAGMENT
_WORD_BYTES = 48
_WORD_MAX = (3**242 - 1) // 2
_WORD_POWER = 3**242
_TAG_STEP = 3**81
# Bars of issues 3 and 7, by the vectors' width.
_BARS = {64: 3, 256: 13, 512: 13}


def measure(*, rounds: int) -> Iterator[Figure]:
    """Measure candidates a second at each width of vectors.

    Args:
        rounds: How often each candidate runs.

    Yields:
        One figure for each width that this processor has.
    """
    essences = [
        Essence(
            address="ADDRESS9" * 10 + "9",
            value_i=at,
            obsolete_tag="9" * 27,
            timestamp_s=1_500_000_000,
            current_index=at,
            last_index=_TRANSACTIONS - 1,
        )
        for at in range(_TRANSACTIONS)
    ]
    reach = reach_of(["SALTKEEP9" * 9], level=_LEVEL)
    runs: dict[str, Callable[[], object]] = {
        "peer": lambda: _mine_in_python(essences, reach, tries=_PEER_TRIES)
    }
    before = lib.sk_vector_bits()
    widths = [bits for bits in _BARS if bits <= before]

    def ours(bits: int, threads: int | None) -> Callable[[], object]:
        def run() -> None:
            lib.sk_limit_vector_bits(bits)
            mine(essences, level=_LEVEL, reach=reach, tries=_OUR_TRIES, threads=threads)
            lib.sk_limit_vector_bits(before)

        return run

    for bits in widths:
        runs[f"{bits} alone"] = ours(bits, 1)
        runs[f"{bits} all"] = ours(bits, None)
    found = medians_ms(runs, rounds=rounds)
    scale = _PEER_TRIES / _OUR_TRIES
    for bits in widths:
        alone_ms, all_ms = found[f"{bits} alone"], found[f"{bits} all"]
        yield at_least(
            f"bundle miner, level 2, 4 transactions, {bits} bit, one thread : Python",
            _BARS[bits],
            ours_ms=alone_ms * scale,
            peer_ms=found["peer"],
            note=(
                f"{_OUR_TRIES / alone_ms / 1000:.2f} M/s alone, "
                f"{_OUR_TRIES / all_ms / 1000:.2f} M/s on all cores, "
                f"{_PEER_TRIES / found['peer']:.0f} k/s in Python; "
                "ours with the making of its table"
            ),
        )


def _mine_in_python(
    essences: list[Essence], reach: tuple[int, ...], *, tries: int
) -> float:
    """Mine by Python's integers and safe-pysha3.

    Args:
        essences: The bundle.
        reach: What has been signed.
        tries: How many tags to try.

    Returns:
        The best estimate.
    """
    text = "".join(map(essence_trytes, essences))
    words = [bytes_from_trytes(text[at : at + 81]) for at in range(0, len(text), 81)]
    head, tail = words[0], b"".join(words[2:])
    tag = int.from_bytes(words[1], "big", signed=True)
    cost = [
        [math.log2((max(limit, value) + 14) / 27) for value in range(-_TOP, _TOP + 1)]
        for limit in reach
    ]
    best = -math.inf
    for _ in range(tries):
        word = tag.to_bytes(_WORD_BYTES, "big", signed=True)
        digest = keccak_384(head + word + tail).digest()
        tag += _TAG_STEP
        values = _signed_values(int.from_bytes(digest, "big", signed=True))
        if values is not None:
            bits = -sum(starmap(_look_up, zip(cost, values, strict=True)))
            best = max(best, bits)
    return best


def _look_up(row: list[float], value: int) -> float:
    return row[value + _TOP]


def _signed_values(number: int) -> list[int] | None:
    """Return the normalised values of the fragments signed; None for a 13."""
    if number > _WORD_MAX:
        number -= _WORD_POWER
    elif number < -_WORD_MAX:
        number += _WORD_POWER
    number += _WORD_MAX
    values: list[int] = []
    for _ in range(_LEVEL):
        number, part = divmod(number, _FRAGMENT_POWER)
        fragment = []
        for _ in range(_FRAGMENT):
            part, digit = divmod(part, 27)
            fragment.append(digit - _TOP)
        _normalise(fragment)
        if _TOP in fragment:
            return None
        values += fragment
    return values


def _normalise(values: list[int]) -> None:
    """Balance a fragment, moving the first values that can move."""
    total = sum(values)
    for at, value in enumerate(values):
        if total == 0:
            return
        room = -_TOP - value if total > 0 else _TOP - value
        move = max(room, -total) if total > 0 else min(room, -total)
        values[at] += move
        total += move
