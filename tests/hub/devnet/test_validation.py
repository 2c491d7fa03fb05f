# SPDX-License-Identifier: Apache-2.0
"""What a transaction and a bundle must keep to be taken."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from hub.devnet.config import NULL_HASH, SUPPLY_I
from hub.devnet.drafting import Entry, draft, make_signable, signature, with_signature
from hub.devnet.errors import InvalidTransactionError
from hub.devnet.validation import Flaw, Limits, Verdict, check_bundle, check_transaction
from tests.hub.devnet.world import STRANGER, Wallet
from trinary.bundle import Transaction

NOW_S = 1_700_000_000
NOW_MS = NOW_S * 1000
LIMITS = Limits(
    min_weight_magnitude=9,
    snapshot_timestamp_s=NOW_S - 1000,
    now_ms=NOW_MS,
    future_drift_ms=600_000,
)
GOOD_HASH = "A" * 78 + "999"
ODD_ADDRESS = "9" * 80 + "E"
"""Its last trit is not zero."""


def transaction(**changes: object) -> Transaction:
    (plain,) = draft([Entry(STRANGER)], timestamp_s=NOW_S)
    return replace(plain, **{"attachment_timestamp_ms": NOW_MS, **changes})


ACCEPTED = {
    "a plain one": {},
    "the whole supply": {"value_i": SUPPLY_I},
    "the whole supply spent": {"value_i": -SUPPLY_I},
    "a message to an odd address": {"address": ODD_ADDRESS},
    "attached as far ahead as allowed": {"attachment_timestamp_ms": NOW_MS + 600_000},
    "attached at the snapshot": {"attachment_timestamp_ms": NOW_MS - 1_000_000},
    "not stamped by the attacher": {"attachment_timestamp_ms": 0},
}

REFUSED = {
    "more than the supply": ({"value_i": SUPPLY_I + 1}, Flaw.VALUE),
    "more than the supply spent": ({"value_i": -SUPPLY_I - 1}, Flaw.VALUE),
    "value to an odd address": ({"value_i": 1, "address": ODD_ADDRESS}, Flaw.ADDRESS),
    "value from an odd address": (
        {"value_i": -1, "address": ODD_ADDRESS},
        Flaw.ADDRESS,
    ),
    "attached in the future": (
        {"attachment_timestamp_ms": NOW_MS + 600_001},
        Flaw.TIMESTAMP,
    ),
    "attached before the snapshot": (
        {"attachment_timestamp_ms": NOW_MS - 1_000_001},
        Flaw.TIMESTAMP,
    ),
    "unstamped and issued before the snapshot": (
        {"attachment_timestamp_ms": 0, "timestamp_s": NOW_S - 1001},
        Flaw.TIMESTAMP,
    ),
}


@pytest.mark.parametrize("changes", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_a_transaction_is_taken(changes: dict[str, object]) -> None:
    check_transaction(transaction(**changes), tx_hash=GOOD_HASH, limits=LIMITS)


@pytest.mark.parametrize(("changes", "flaw"), REFUSED.values(), ids=REFUSED.keys())
def test_a_transaction_is_refused(changes: dict[str, object], flaw: Flaw) -> None:
    with pytest.raises(InvalidTransactionError) as caught:
        check_transaction(transaction(**changes), tx_hash=GOOD_HASH, limits=LIMITS)
    assert caught.value.code == flaw


@pytest.mark.parametrize(
    ("tx_hash", "enough"),
    [("A" * 78 + "999", True), ("A" * 79 + "99", False), ("Z" * 77 + "I999", True)],
)
def test_weight_is_counted_in_trits(tx_hash: str, enough: bool) -> None:  # noqa: FBT001
    if enough:
        check_transaction(transaction(), tx_hash=tx_hash, limits=LIMITS)
        return
    with pytest.raises(InvalidTransactionError) as caught:
        check_transaction(transaction(), tx_hash=tx_hash, limits=LIMITS)
    assert caught.value.code == Flaw.WEIGHT


def linked(txs: Sequence[Transaction]) -> list[Transaction]:
    """Make every branch the head's trunk; the trunk is for the store to link."""
    tips = [replace(tx, branch=NULL_HASH, trunk=f"{i}") for i, tx in enumerate(txs)]
    return [*tips[:-1], replace(tips[-1], trunk=NULL_HASH)]


def signed(level: int = 2) -> list[Transaction]:
    wallet = Wallet(level=level)
    return linked(wallet.spend(amount_i=5, to={STRANGER: 5}, timestamp_s=NOW_S))


def rehashed(txs: Sequence[Transaction], *values_i: int) -> list[Transaction]:
    entries = [
        Entry(tx.address, value_i) for tx, value_i in zip(txs, values_i, strict=True)
    ]
    return linked(draft(entries, timestamp_s=NOW_S))


def change(index: int, **changes: object) -> Callable[[list[Transaction]], object]:
    def apply(txs: list[Transaction]) -> list[Transaction]:
        txs[index] = replace(txs[index], **changes)
        return txs

    return apply


SPOILED = {
    "a missing transaction": (lambda txs: txs[:-1], Verdict.STRUCTURE),
    "nothing at all": (lambda _: [], Verdict.STRUCTURE),
    "a wrong index": (change(1, current_index=2), Verdict.STRUCTURE),
    "a wrong last index": (change(1, last_index=5), Verdict.STRUCTURE),
    "a foreign bundle hash": (change(1, bundle="A" * 81), Verdict.STRUCTURE),
    "a sum above zero": (lambda txs: rehashed(txs, 6, -5, 0), Verdict.SUM),
    "a sum below zero": (lambda txs: rehashed(txs, 4, -5, 0), Verdict.SUM),
    "another address": (change(0, address="B" * 81), Verdict.HASH),
    "another obsolete tag": (change(0, obsolete_tag="B" * 27), Verdict.HASH),
    "another timestamp": (change(2, timestamp_s=NOW_S + 1), Verdict.HASH),
    "a branch that is not the head's trunk": (
        change(0, branch="A" * 81),
        Verdict.APPROVAL,
    ),
    "a head on a transaction that is no tail": (
        change(2, branch="A" * 81),
        Verdict.APPROVAL,
    ),
    "no signature": (change(1, signature_message="9" * 2187), Verdict.SIGNATURE),
    "half a signature": (change(2, signature_message="9" * 2187), Verdict.SIGNATURE),
}


@pytest.mark.parametrize(("spoil", "verdict"), SPOILED.values(), ids=SPOILED.keys())
def test_a_bundle_is_invalid(
    spoil: Callable[[list[Transaction]], list[Transaction]], verdict: Verdict
) -> None:
    assert judge(spoil(signed())) is verdict


@pytest.mark.parametrize("level", [1, 2, 3])
def test_a_signed_bundle_is_valid_at_every_security_level(level: int) -> None:
    assert judge(signed(level)) is Verdict.VALID


def test_tags_timestamps_and_nonces_of_attachment_are_not_part_of_the_hash() -> None:
    again = [
        replace(tx, tag="A" * 27, nonce="B" * 27, attachment_timestamp_ms=1)
        for tx in signed()
    ]
    assert judge(again) is Verdict.VALID


def test_fragments_apart_from_their_input_count_for_hornet_only() -> None:
    wallet = Wallet()
    source = wallet.address()
    entries = [Entry(source, -5), Entry(STRANGER, 5), Entry(source)]
    txs = make_signable(draft(entries, timestamp_s=NOW_S))
    first, second = signature(wallet.seed, index=0, level=2, signed_hash=txs[0].bundle)
    txs = with_signature(txs, first=0, fragments=[first])
    txs = linked(with_signature(txs, first=2, fragments=[second]))
    assert judge(txs, fragments_anywhere=True) is Verdict.VALID
    assert judge(txs, fragments_anywhere=False) is Verdict.SIGNATURE


def test_a_fourth_fragment_is_one_too_many() -> None:
    wallet = Wallet(level=3)
    source = wallet.address()
    entries = [Entry(STRANGER, 5), Entry(source, -5), *[Entry(source)] * 3]
    txs = linked(make_signable(draft(entries, timestamp_s=NOW_S)))
    assert judge(txs) is Verdict.SIGNATURE


def judge(txs: list[Transaction], *, fragments_anywhere: bool = False) -> Verdict:
    return check_bundle(
        txs,
        is_tail=lambda tx_hash: tx_hash == NULL_HASH,
        fragments_anywhere=fragments_anywhere,
    )
