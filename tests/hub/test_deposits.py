# SPDX-License-Identifier: Apache-2.0
"""Which outputs are booked: whole bundles only, once, and never more than is there."""

import secrets
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.deposits import deposits_in, new_deposits
from hub.history import SeenBundle, is_signed_for, rebuild
from hub.model import (
    AccountId,
    Address,
    AddressId,
    BundleHash,
    Deposit,
    DepositId,
    DepositState,
    SeenDeposit,
    TransactionHash,
)
from hub.node import FoundTransaction
from hub.store.deposits import NO_TRANSACTION
from hub.tangle import DraftInput, DraftOutput, draft_bundle, finish
from tests.hub.bookkeeping import trytes
from trinary import winternitz
from trinary.bundle import parse_transaction

OURS = Address(trytes())
SEED = secrets.token_bytes(48)


def some_bundle(*, honest: bool = True) -> tuple[FoundTransaction, ...]:
    """Two outputs to us and one elsewhere, signed, its parts linked."""
    source = Address(winternitz.address(SEED, level=2))
    draft = draft_bundle(
        [DraftInput(source, 60, 2)],
        [
            DraftOutput(OURS, 10),
            DraftOutput(Address(trytes()), 20),
            DraftOutput(OURS, 30),
        ],
        timestamp_s=1_700_000_000,
    )
    signed = winternitz.sign(
        SEED, bundle_hash=draft.bundle_hash if honest else "A" * 81, level=2
    )
    parsed = [parse_transaction(text) for text in finish(draft, {0: signed})]
    names = [TransactionHash(trytes()) for _ in parsed]
    following = [*names[1:], "9" * 81]
    return tuple(
        FoundTransaction(name, replace(content, trunk=trunk))
        for name, content, trunk in zip(names, parsed, following, strict=True)
    )


BUNDLE = some_bundle()
KNOWN = {part.hash: part for part in BUNDLE}


def test_a_whole_bundle_is_put_together_again() -> None:
    assert rebuild(BUNDLE[0], KNOWN) == BUNDLE


@pytest.mark.parametrize("missing", range(1, len(BUNDLE)))
def test_a_bundle_with_a_part_missing_is_none(missing: int) -> None:
    known = {h: part for h, part in KNOWN.items() if h != BUNDLE[missing].hash}
    assert rebuild(BUNDLE[0], known) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"value_i": 11},
        {"address": trytes()},
        {"obsolete_tag": "A" * 27},
        {"timestamp_s": 1},
        {"current_index": 4},
        {"last_index": 9},
        {"bundle": "B" * 81},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_a_bundle_that_does_not_hash_to_its_name_is_none(
    fields: dict[str, object],
) -> None:
    forged = FoundTransaction(
        BUNDLE[3].hash,
        replace(BUNDLE[3].content, **fields),  # type: ignore[arg-type]
    )
    assert rebuild(BUNDLE[0], KNOWN | {forged.hash: forged}) is None


def test_a_lone_transaction_that_names_a_bundle_is_no_attachment() -> None:
    """Anybody can store one; confirmed, it must not pass for our sweep."""
    lone = FoundTransaction(
        TransactionHash(trytes()),
        replace(BUNDLE[0].content, last_index=0, value_i=0, trunk="9" * 81),
    )
    assert rebuild(lone, {lone.hash: lone}) is None


def test_each_output_to_us_is_a_deposit_of_its_own() -> None:
    found = deposits_in(SeenBundle(BUNDLE), [OURS], keep_messages=False)
    assert [(d.transaction_index, d.amount_i) for d in found] == [(2, 10), (4, 30)]
    assert {d.tail_hash for d in found} == {BUNDLE[0].hash}


def test_inputs_are_no_deposits() -> None:
    source = Address(BUNDLE[0].content.address)
    assert deposits_in(SeenBundle(BUNDLE), [source], keep_messages=False) == []


def test_only_a_real_signature_makes_a_spend() -> None:
    source = Address(BUNDLE[0].content.address)
    assert is_signed_for(SeenBundle(BUNDLE), source)
    assert not is_signed_for(SeenBundle(some_bundle(honest=False)), source)
    assert not is_signed_for(SeenBundle(BUNDLE), OURS)


# --- once, and no more than there is ------------------------------------------------


def seen(amount_i: int, tail: str | None = None) -> SeenDeposit:
    return SeenDeposit(
        tail_hash=TransactionHash(tail or trytes()),
        bundle_hash=BundleHash("A" * 81),
        address=OURS,
        transaction_index=0,
        amount_i=amount_i,
    )


def booked(what: SeenDeposit) -> Deposit:
    return Deposit(
        deposit_id=DepositId(1),
        address_id=AddressId(1),
        account_id=AccountId(1),
        seen=what,
        state=DepositState.CONFIRMED,
        sweep_id=None,
        created_at_ms=0,
    )


def amounts_of(deposits: Sequence[SeenDeposit]) -> list[int]:
    return [deposit.amount_i for deposit in deposits]


def test_what_is_booked_is_not_booked_again() -> None:
    old, new = seen(5), seen(7)
    assert new_deposits([old, new], [booked(old)], excess_i=7) == [new]


def test_more_than_the_nodes_show_to_be_there_is_not_booked() -> None:
    assert new_deposits([seen(5), seen(7)], [], excess_i=11) == []


def test_value_booked_without_history_does_not_count_again_when_it_is_found() -> None:
    unexplained = booked(seen(500, NO_TRANSACTION))
    history, fresh = seen(500), seen(30)
    assert new_deposits([history, fresh], [unexplained], excess_i=30) == [fresh]
    assert new_deposits([history, fresh], [], excess_i=530) == [history, fresh]


@given(
    st.lists(st.integers(1, 50), max_size=6),
    st.lists(st.integers(1, 50), max_size=3),
    st.integers(0, 200),
)
def test_never_more_than_the_excess_and_nothing_twice(
    arrived: list[int], unexplained: list[int], excess_i: int
) -> None:
    shown = [seen(amount_i) for amount_i in arrived]
    recorded = [booked(seen(amount_i, NO_TRANSACTION)) for amount_i in unexplained]
    found = new_deposits(shown, recorded, excess_i=excess_i)
    assert sum(amounts_of(found)) <= excess_i
    assert all(found.count(deposit) == 1 for deposit in found)
    again = [*recorded, *map(booked, found)]
    left_i = excess_i - sum(amounts_of(found))
    repeated = new_deposits(shown, again, excess_i=left_i)
    assert not set(repeated) & set(found)
