# SPDX-License-Identifier: Apache-2.0
"""Curl-P against its own definition, trit by trit, and against PyOTA."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from trinary.curl import curl, transaction_hash
from trinary.errors import InvalidTrytesError, LengthError, ValueRangeError
from trinary.trytes import trits_from_trytes, trytes_from_trits

if TYPE_CHECKING:
    from tests.trinary.conftest import Draws, Oracle

TRUTH = {
    (-1, -1): 1, (0, -1): 0, (1, -1): -1,
    (-1, 0): 1, (0, 0): -1, (1, 0): 0,
    (-1, 1): -1, (0, 1): 1, (1, 1): 0,
}  # fmt: skip


def curl_by_definition(trytes: str, rounds: int) -> str:
    trits = trits_from_trytes(trytes)
    state = [0] * 729
    for at in range(0, len(trits), 243):
        state[:243] = trits[at : at + 243]
        for _ in range(rounds):
            state = [
                TRUTH[state[364 * i % 729], state[364 * (i + 1) % 729]]
                for i in range(729)
            ]
    return trytes_from_trits(state[:243])


@pytest.mark.parametrize("rounds", [27, 81])
@pytest.mark.parametrize("blocks", [1, 2, 3, 5])
def test_curl_is_what_its_definition_says(
    rounds: int, blocks: int, draws: Draws
) -> None:
    for trytes in (draws.trytes(81 * blocks), "9" * 81 * blocks):
        assert curl(trytes, rounds=rounds) == curl_by_definition(trytes, rounds)


@pytest.mark.parametrize("blocks", [1, 2, 7, 33])
def test_pyota_hashes_the_same(blocks: int, oracle: Oracle, draws: Draws) -> None:
    trytes = draws.trytes(81 * blocks)
    assert curl(trytes) == oracle.curl(trytes)


def test_a_transaction_is_hashed_with_81_rounds(draws: Draws) -> None:
    trytes = draws.trytes(2673)
    assert transaction_hash(trytes) == curl(trytes, rounds=81)


@pytest.mark.parametrize("rounds", [0, 1, -81, 80, 82, 243])
def test_another_number_of_rounds_is_refused(rounds: int) -> None:
    with pytest.raises(ValueRangeError):
        curl("A" * 81, rounds=rounds)


@pytest.mark.parametrize("length", [0, 80, 82])
def test_an_input_of_no_whole_blocks_is_refused(length: int) -> None:
    with pytest.raises(LengthError):
        curl("A" * length)


@pytest.mark.parametrize("length", [0, 81, 2672, 2674])
def test_a_transaction_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(LengthError, match=f"2673 trytes, got {length}$"):
        transaction_hash("A" * length)


def test_an_input_that_is_not_trytes_is_refused() -> None:
    with pytest.raises(InvalidTrytesError):
        curl("A" * 80 + "a")
    with pytest.raises(InvalidTrytesError):
        transaction_hash("A" * 2672 + "a")
