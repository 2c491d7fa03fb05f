# SPDX-License-Identifier: Apache-2.0
"""Transactions read and written, and bundle hashes."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trinary.bundle import (
    TOTAL_SUPPLY_I,
    Essence,
    Transaction,
    bundle_hash,
    essence_trytes,
    parse_transaction,
    serialise_transaction,
)
from trinary.errors import InvalidTrytesError, LengthError, ValueRangeError
from trinary.kerl import kerl
from trinary.trytes import TRYTE_ALPHABET, trytes_from_int

if TYPE_CHECKING:
    from tests.trinary.conftest import Draws, Oracle

VALUE_AT = slice(2268, 2295)
NUMBER_MAX = (27**9 - 1) // 2

numbers = st.integers(-NUMBER_MAX, NUMBER_MAX)
values = st.integers(-TOTAL_SUPPLY_I, TOTAL_SUPPLY_I)


def trytes_of(length: int) -> st.SearchStrategy[str]:
    return st.text(TRYTE_ALPHABET, min_size=length, max_size=length)


essences = st.builds(
    Essence,
    address=trytes_of(81),
    value_i=values,
    obsolete_tag=trytes_of(27),
    timestamp_s=numbers,
    current_index=numbers,
    last_index=numbers,
)
transactions = st.builds(
    Transaction,
    # A whole fragment of random trytes would be most of hypothesis's budget.
    signature_message=trytes_of(27).map(lambda trytes: trytes * 81),
    address=trytes_of(81),
    value_i=values,
    obsolete_tag=trytes_of(27),
    timestamp_s=numbers,
    current_index=numbers,
    last_index=numbers,
    bundle=trytes_of(81),
    trunk=trytes_of(81),
    branch=trytes_of(81),
    tag=trytes_of(27),
    attachment_timestamp_ms=numbers,
    attachment_lower=numbers,
    attachment_upper=numbers,
    nonce=trytes_of(27),
)


def plain() -> Transaction:
    return parse_transaction("9" * 2673)


@given(transactions)
@settings(deadline=None)
def test_a_transaction_is_read_as_it_was_written(tx: Transaction) -> None:
    trytes = serialise_transaction(tx)
    assert len(trytes) == 2673
    assert parse_transaction(trytes) == tx


@given(trytes_of(33).map(lambda trytes: trytes * 81))
@settings(deadline=None)
def test_any_2673_trytes_are_read_and_written_back_or_refused(trytes: str) -> None:
    try:
        tx = parse_transaction(trytes)
    except ValueRangeError:
        assert trytes[VALUE_AT][11:] != "9" * 16
    else:
        assert serialise_transaction(tx) == trytes


@given(essences)
@settings(deadline=None)
def test_an_essence_stands_in_the_transaction(essence: Essence) -> None:
    trytes = essence_trytes(essence)
    assert len(trytes) == 162
    tx = parse_transaction("9" * 2187 + trytes + "9" * 324)
    assert tx.essence == essence


@given(st.lists(essences, min_size=1, max_size=8))
@settings(deadline=None)
def test_a_bundle_hash_is_kerl_of_the_essences(bundle: list[Essence]) -> None:
    assert bundle_hash(bundle) == kerl("".join(map(essence_trytes, bundle)))


def test_a_bundle_of_nothing_has_no_hash() -> None:
    with pytest.raises(LengthError):
        bundle_hash([])


@pytest.mark.parametrize("sign", [1, -1])
def test_the_whole_supply_fits_and_one_more_does_not(sign: int) -> None:
    whole = replace(plain(), value_i=sign * TOTAL_SUPPLY_I)
    assert parse_transaction(serialise_transaction(whole)) == whole
    more = replace(plain(), value_i=sign * (TOTAL_SUPPLY_I + 1))
    with pytest.raises(ValueRangeError):
        serialise_transaction(more)
    with pytest.raises(ValueRangeError):
        essence_trytes(more.essence)


@pytest.mark.parametrize("place", range(11, 27))
def test_a_value_with_a_high_trit_is_refused(place: int) -> None:
    for tryte in "AZMN":
        value = "9" * place + tryte + "9" * (26 - place)
        with pytest.raises(ValueRangeError):
            parse_transaction("9" * 2268 + value + "9" * 378)


@pytest.mark.parametrize("value_i", [0, 1, -1, 602984774370, -TOTAL_SUPPLY_I])
def test_values_are_numbers_of_81_trits(value_i: int) -> None:
    trytes = serialise_transaction(replace(plain(), value_i=value_i))
    assert trytes[VALUE_AT] == trytes_from_int(value_i, length_trytes=27)


@pytest.mark.parametrize("length", [0, 81, 2672, 2674])
def test_a_transaction_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(LengthError, match=f"2673 trytes, got {length}$"):
        parse_transaction("9" * length)


def test_a_transaction_that_is_not_trytes_is_refused() -> None:
    with pytest.raises(InvalidTrytesError, match=r"position 2672$"):
        parse_transaction("9" * 2672 + "x")


TEXT_FIELDS = {
    "signature_message": 2187,
    "address": 81,
    "obsolete_tag": 27,
    "bundle": 81,
    "trunk": 81,
    "branch": 81,
    "tag": 27,
    "nonce": 27,
}
NUMBER_FIELDS = (
    "timestamp_s",
    "current_index",
    "last_index",
    "attachment_timestamp_ms",
    "attachment_lower",
    "attachment_upper",
)


@pytest.mark.parametrize(("field", "length"), TEXT_FIELDS.items())
def test_a_text_field_keeps_its_length_and_alphabet(field: str, length: int) -> None:
    for wrong in ("", "9" * (length - 1), "9" * (length + 1)):
        with pytest.raises(LengthError, match=field):
            serialise_transaction(replace(plain(), **{field: wrong}))
    with pytest.raises(InvalidTrytesError, match=field):
        serialise_transaction(replace(plain(), **{field: "!" * length}))


@pytest.mark.parametrize("field", NUMBER_FIELDS)
@pytest.mark.parametrize("number", [NUMBER_MAX + 1, -NUMBER_MAX - 1, 10**30])
def test_a_number_that_does_not_fit_is_refused(field: str, number: int) -> None:
    with pytest.raises(ValueRangeError):
        serialise_transaction(replace(plain(), **{field: number}))


def test_a_transaction_does_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        plain().value_i = 1  # type: ignore[misc]


def test_pyota_reads_the_same_fields(oracle: Oracle, draws: Draws) -> None:
    for _ in range(5):
        value_i = draws.below(2 * TOTAL_SUPPLY_I) - TOTAL_SUPPLY_I
        trytes = (
            draws.trytes(2268)
            + trytes_from_int(value_i, length_trytes=27)
            + draws.trytes(378)
        )
        ours, theirs = parse_transaction(trytes), oracle.transaction(trytes)
        assert ours.signature_message == str(theirs.signature_message_fragment)
        assert ours.address == str(theirs.address)
        assert ours.value_i == value_i == theirs.value
        assert ours.obsolete_tag == str(theirs.legacy_tag)
        assert ours.timestamp_s == theirs.timestamp
        assert ours.current_index == theirs.current_index
        assert ours.last_index == theirs.last_index
        assert ours.bundle == str(theirs.bundle_hash)
        assert ours.trunk == str(theirs.trunk_transaction_hash)
        assert ours.branch == str(theirs.branch_transaction_hash)
        assert ours.tag == str(theirs.tag)
        assert ours.attachment_timestamp_ms == theirs.attachment_timestamp
        assert ours.attachment_lower == theirs.attachment_timestamp_lower_bound
        assert ours.attachment_upper == theirs.attachment_timestamp_upper_bound
        assert ours.nonce == str(theirs.nonce)
        assert essence_trytes(ours.essence) == str(theirs.get_bundle_essence_trytes())
