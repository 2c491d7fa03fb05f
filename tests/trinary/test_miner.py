# SPDX-License-Identifier: Apache-2.0
"""Exposure against enumeration and chance, mining against trying them all."""

from __future__ import annotations

import itertools
import math
import threading
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest

from trinary.bundle import Essence, bundle_hash
from trinary.errors import (
    CancelledError,
    InvalidTrytesError,
    LengthError,
    NothingMinedError,
    SecurityLevelError,
    ValueRangeError,
)
from trinary.miner import (
    TRIES_MAX,
    UNTOUCHED,
    MinedBundle,
    exposure_bits,
    mine,
    reach_of,
)
from trinary.pow import Cancel
from trinary.trytes import int_from_trytes, trytes_from_bytes, trytes_from_int
from trinary.winternitz import LEVELS, normalise, used_fragments_contain_13

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.trinary.conftest import Draws

TAG_MAX = (3**81 - 1) // 2


def balanced(raw: Sequence[int], top: int) -> tuple[int, ...]:
    """Normalise values of -top..top, one step at a time."""
    values = list(raw)
    for at in range(len(values)):
        while sum(values) > 0 and values[at] > -top:
            values[at] -= 1
    for at in range(len(values)):
        while sum(values) < 0 and values[at] < top:
            values[at] += 1
    return tuple(values)


def chance_within(reach: Sequence[int], top: int) -> Fraction:
    """Work out for any size what the kernel works out for 27 and 13.

    By what the values behind the last one moved add up to, as described in
    ``exposure.c``, but from the front, with whole numbers and other code.
    """
    size, base = len(reach), 2 * top + 1
    # behind[k][s]: ways in which the values behind k stay in reach and sum to s.
    behind: list[Counter[int]] = [Counter({0: 1})]
    for limit in reversed(reach):
        longer: Counter[int] = Counter()
        for total, ways in behind[0].items():
            for value in range(-top, limit + 1):
                longer[total + value] += ways
        behind.insert(0, longer)
    chance = Fraction(behind[0][0], base**size)
    for k in range(size):
        for value, raw in itertools.product(
            range(-top, reach[k] + 1), range(-top, top + 1)
        ):
            moved_to = -top if raw > value else top
            if raw == value or any(moved_to > limit for limit in reach[:k]):
                continue
            ways = behind[k + 1][-k * moved_to - value]
            chance += Fraction(ways, base ** (size - k))
    return chance


@pytest.mark.parametrize(("size", "top"), [(1, 2), (2, 3), (3, 2), (4, 1), (5, 1)])
def test_the_reckoning_is_right_by_enumeration(size: int, top: int) -> None:
    values = range(-top, top + 1)
    outcomes = Counter(
        balanced(raw, top) for raw in itertools.product(values, repeat=size)
    )
    for reach in itertools.product(values, repeat=size):
        within = sum(
            count
            for outcome, count in outcomes.items()
            if all(value <= limit for value, limit in zip(outcome, reach, strict=True))
        )
        assert chance_within(reach, top) == Fraction(within, len(values) ** size)


def test_the_kernel_reckons_the_same(draws: Draws) -> None:
    for low in (-13, -6, 0, 6, 12):
        reach = [low + draws.below(14 - low) for _ in range(54)]
        chances = [chance_within(reach[at : at + 27], 13) for at in (0, 27)]
        for level in (1, 2):
            bits = exposure_bits(reach[: 27 * level], level=level)
            if math.prod(chances[:level]) == 0:
                assert bits == math.inf
            else:
                expected = -sum(
                    math.log2(c.numerator) - math.log2(c.denominator)
                    for c in chances[:level]
                )
                assert bits == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("level", LEVELS)
def test_hashes_are_within_reach_as_often_as_reckoned(level: int, draws: Draws) -> None:
    tries = 20_000
    reach = [13] * 9 + [9] * 4 + [13] * 13 + [2] + [13] * 54
    reach[53], reach[80] = 11, 2
    expected = 2 ** -exposure_bits(reach[: 27 * level], level=level)
    found = 0
    for _ in range(tries):
        values = normalise(trytes_from_bytes(draws.data(48)))
        found += all(map(int.__le__, values[: 27 * level], reach[: 27 * level]))
    deviation = math.sqrt(tries * expected * (1 - expected))
    assert 0.05 < expected < 0.6
    assert abs(found - tries * expected) < 4 * deviation


def test_the_last_tryte_of_all_is_not_spread_evenly(draws: Draws) -> None:
    tries = 20_000
    ends = Counter(trytes_from_bytes(draws.data(48))[80] for _ in range(tries))
    for tryte, value in zip("WXYZ9ABCD", range(-4, 5), strict=True):
        bits = [
            exposure_bits([13] * 80 + [limit], level=3) for limit in (value - 1, value)
        ]
        share = 2 ** -bits[1] - 2 ** -bits[0]
        assert abs(ends[tryte] - tries * share) < 4 * math.sqrt(tries * share)
    assert exposure_bits([13] * 80 + [4], level=3) == pytest.approx(0, abs=1e-12)
    assert exposure_bits([13] * 80 + [-5], level=3) == math.inf


def test_a_key_that_gave_all_away_has_no_bits_left() -> None:
    for level in LEVELS:
        bits = exposure_bits([13] * 27 * level, level=level)
        assert bits == pytest.approx(0, abs=1e-12)


def test_a_key_that_signed_nothing_is_not_exposed() -> None:
    for level in LEVELS:
        reach = reach_of([], level=level)
        assert reach == (UNTOUCHED,) * 27 * level
        assert exposure_bits(reach, level=level) == math.inf
        for at in range(27 * level):
            nearly = [13] * at + [UNTOUCHED] + [13] * (27 * level - 1 - at)
            assert exposure_bits(nearly, level=level) == math.inf


def test_one_hash_alone_is_as_rare_as_it_is(draws: Draws) -> None:
    # Nothing else sums to zero below it, so this is its own probability.
    # It comes of itself and of any other first value.
    bits = exposure_bits([0] * 27, level=1)
    assert bits == pytest.approx(26 * math.log2(27), abs=1e-9)
    values = normalise(draws.trytes(81))[:27]
    assert 100 < exposure_bits(values, level=1) <= 27 * math.log2(27)


def test_each_signature_exposes_more(draws: Draws) -> None:
    texts = [draws.trytes(81) for _ in range(8)]
    for level in LEVELS:
        bits = [
            exposure_bits(reach_of(texts[:n], level=level), level=level)
            for n in range(1, 9)
        ]
        assert bits == sorted(bits, reverse=True)
        assert len(set(bits)) == len(bits)


def test_reach_is_the_largest_value_signed(draws: Draws) -> None:
    texts = [draws.trytes(81) for _ in range(3)]
    for level in LEVELS:
        expected = tuple(map(max, zip(*map(normalise, texts), strict=True)))
        assert reach_of(texts, level=level) == expected[: 27 * level]
        assert reach_of(iter(texts), level=level) == expected[: 27 * level]


def bundle(draws: Draws, transactions: int) -> list[Essence]:
    return [
        Essence(
            address=draws.trytes(80) + "9",
            value_i=draws.below(10**12) - 10**11,
            obsolete_tag=draws.trytes(27),
            timestamp_s=1_500_000_000 + draws.below(10**8),
            current_index=at,
            last_index=transactions - 1,
        )
        for at in range(transactions)
    ]


def signed_before(draws: Draws, level: int, signatures: int) -> tuple[int, ...]:
    texts: list[str] = []
    while len(texts) < signatures:
        text = draws.trytes(80) + "9"
        if not used_fragments_contain_13(text, level=level):
            texts.append(text)
    return reach_of(texts, level=level)


def best_of_all(
    essences: list[Essence], *, level: int, reach: tuple[int, ...], tries: int
) -> MinedBundle | None:
    """Try them all, in Python, exactly."""
    best = None
    first = int_from_trytes(essences[0].obsolete_tag)
    for at in range(tries):
        number = (first + at + TAG_MAX) % 3**81 - TAG_MAX
        tag = trytes_from_int(number, length_trytes=27)
        text = bundle_hash([replace(essences[0], obsolete_tag=tag), *essences[1:]])
        if used_fragments_contain_13(text, level=level):
            continue
        after = tuple(map(max, reach, normalise(text)))
        bits = exposure_bits(after, level=level)
        if best is None or bits > best.exposure_bits:
            best = MinedBundle(
                obsolete_tag=tag, bundle_hash=text, exposure_bits=bits, tries=tries
            )
    return best


@pytest.mark.parametrize("signatures", [0, 1, 2, 4])
@pytest.mark.parametrize("level", LEVELS)
def test_the_best_bundle_is_the_best_of_all(
    level: int, signatures: int, draws: Draws
) -> None:
    tries = 700 * level
    essences = bundle(draws, transactions=level + signatures)
    reach = signed_before(draws, level, signatures)
    expected = best_of_all(essences, level=level, reach=reach, tries=tries)
    found = mine(essences, level=level, reach=reach, tries=tries, threads=2)
    assert found == expected


@pytest.mark.parametrize("transactions", [1, 2, 3, 4, 13, 26, 40])
def test_every_vector_width_mines_the_same(
    transactions: int, vector_bits: int, draws: Draws
) -> None:
    assert vector_bits
    # 13 and 26 transactions end where a block of the sponge ends.
    essences = bundle(draws, transactions)
    reach = signed_before(draws, 2, 1)
    expected = best_of_all(essences, level=2, reach=reach, tries=101)
    assert mine(essences, level=2, reach=reach, tries=101, threads=1) == expected


def test_the_number_of_threads_does_not_matter(draws: Draws) -> None:
    essences, reach = bundle(draws, 4), signed_before(draws, 2, 1)
    found = {
        mine(essences, level=2, reach=reach, tries=200_000, threads=threads)
        for threads in (1, 2, 3, None)
    }
    assert len(found) == 1


def test_parts_of_a_search_add_up(draws: Draws) -> None:
    # 600 transactions: a report after each 873 tags.
    essences, reach = bundle(draws, 600), signed_before(draws, 1, 1)
    reports: list[tuple[int, MinedBundle | None]] = []

    def note(done: int, best: MinedBundle | None) -> None:
        reports.append((done, best))

    found = mine(essences, level=1, reach=reach, tries=2000, progress=note)
    assert [done for done, _ in reports] == [873, 1746, 2000]
    assert reports[-1] == (2000, found)
    for done, best in reports:
        assert best is not None
        assert best == mine(essences, level=1, reach=reach, tries=done)
    bits = [best.exposure_bits for _, best in reports if best is not None]
    assert bits == sorted(bits)


def test_after_the_largest_tag_comes_the_smallest(draws: Draws) -> None:
    essences, reach = bundle(draws, 2), signed_before(draws, 1, 1)
    for below in (0, 1, 150):
        tag = trytes_from_int(TAG_MAX - below, length_trytes=27)
        essences[0] = replace(essences[0], obsolete_tag=tag)
        expected = best_of_all(essences, level=1, reach=reach, tries=300)
        assert mine(essences, level=1, reach=reach, tries=300) == expected


def test_more_tries_leave_more_bits(draws: Draws) -> None:
    essences, reach = bundle(draws, 4), signed_before(draws, 2, 1)
    bits = [
        mine(essences, level=2, reach=reach, tries=tries).exposure_bits
        for tries in (1000, 30_000, 900_000)
    ]
    assert bits[0] < bits[1] < bits[2]


def test_nothing_is_mined_where_every_hash_has_a_13(draws: Draws) -> None:
    essences, reach = bundle(draws, 2), (0,) * 81
    while not used_fragments_contain_13(bundle_hash(essences), level=3):
        essences = bundle(draws, 2)
    with pytest.raises(NothingMinedError):
        mine(essences, level=3, reach=reach, tries=1)


@pytest.mark.parametrize("threads", [1, None])
def test_cancelling_stops_mining_soon(threads: int | None, draws: Draws) -> None:
    cancel = Cancel()
    timer = threading.Timer(0.1, cancel.cancel)
    timer.start()
    with pytest.raises(CancelledError):
        mine(
            bundle(draws, 4),
            level=2,
            reach=(0,) * 54,
            tries=TRIES_MAX,
            threads=threads,
            cancel=cancel,
        )
    timer.join()


def test_an_error_in_the_report_ends_the_search(draws: Draws) -> None:
    def fail(_done: int, _best: MinedBundle | None) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        mine(bundle(draws, 4), level=1, reach=(0,) * 27, tries=TRIES_MAX, progress=fail)


@pytest.mark.parametrize("level", [-1, 0, 4])
def test_a_level_that_does_not_exist_is_refused(level: int, draws: Draws) -> None:
    with pytest.raises(SecurityLevelError):
        exposure_bits([0] * 27, level=level)
    with pytest.raises(SecurityLevelError):
        reach_of([], level=level)
    with pytest.raises(SecurityLevelError):
        mine(bundle(draws, 1), level=level, reach=[0] * 27, tries=1)


@pytest.mark.parametrize("length", [0, 26, 28, 53, 55, 81])
def test_a_reach_of_another_length_is_refused(length: int, draws: Draws) -> None:
    with pytest.raises(LengthError, match=f"54 values, got {length}$"):
        exposure_bits([0] * length, level=2)
    with pytest.raises(LengthError):
        mine(bundle(draws, 1), level=2, reach=[0] * length, tries=1)


@pytest.mark.parametrize("value", [-128, -15, 14, 127, 300])
def test_a_reach_out_of_range_is_refused(value: int) -> None:
    with pytest.raises(ValueRangeError, match=r"position 26$"):
        exposure_bits([0] * 26 + [value], level=1)


def test_wrong_hashes_have_no_reach() -> None:
    with pytest.raises(LengthError):
        reach_of(["A" * 80], level=1)
    with pytest.raises(InvalidTrytesError):
        reach_of(["a" * 81], level=1)


def test_a_bundle_of_nothing_is_not_mined() -> None:
    with pytest.raises(LengthError):
        mine([], level=1, reach=[0] * 27, tries=1)


@pytest.mark.parametrize("tries", [-1, 0, TRIES_MAX + 1])
def test_a_number_of_tries_out_of_range_is_refused(tries: int, draws: Draws) -> None:
    with pytest.raises(ValueRangeError):
        mine(bundle(draws, 1), level=1, reach=[0] * 27, tries=tries)


@pytest.mark.parametrize("threads", [-1, 0, 730])
def test_mining_on_no_such_number_of_threads_is_refused(
    threads: int, draws: Draws
) -> None:
    with pytest.raises(ValueRangeError):
        mine(bundle(draws, 1), level=1, reach=[0] * 27, tries=1, threads=threads)
