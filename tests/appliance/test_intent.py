# SPDX-License-Identifier: Apache-2.0
"""What a bundle means: every way to be wrong has a code of its own. Pure."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import RefusedError
from appliance.intent import computed_hash, understand
from appliance.wire import InputClaim, ShownTransaction, SignTransfer
from tests.appliance.bundles import (
    ALPHABET,
    TAG,
    Coin,
    Output,
    bundle,
    new_address,
    new_uuid,
)

LEVELS = {1: 2}
Change = Callable[[SignTransfer], SignTransfer]


def good() -> SignTransfer:
    coins = [Coin(new_uuid(), new_address(), 70), Coin(new_uuid(), new_address(), 30)]
    return bundle(coins, [Output(new_address(), 100)])


def field(index: int, **values: object) -> Change:
    """Change one transaction under the stated hash."""

    def change(request: SignTransfer) -> SignTransfer:
        transactions = list(request.transactions)
        transactions[index] = msgspec.structs.replace(transactions[index], **values)
        return msgspec.structs.replace(request, transactions=transactions)

    return change


def one_tryte(index: int, name: str, at: int) -> Change:
    def change(request: SignTransfer) -> SignTransfer:
        text = getattr(request.transactions[index], name)
        other = ALPHABET[(ALPHABET.index(text[at]) + 3) % 27]
        return field(index, **{name: text[:at] + other + text[at + 1 :]})(request)

    return change


def order(*indices: int) -> Change:
    def change(request: SignTransfer) -> SignTransfer:
        moved = [request.transactions[index] for index in indices]
        return msgspec.structs.replace(request, transactions=moved)

    return change


def rehashed(change: Change) -> Change:
    """Change, and state the hash that it really has."""

    def changed(request: SignTransfer) -> SignTransfer:
        wrong = change(request)
        true_hash = computed_hash(wrong.transactions)
        return msgspec.structs.replace(wrong, bundle_hash=true_hash)

    return changed


def claims(*changed: InputClaim | None) -> Change:
    def change(request: SignTransfer) -> SignTransfer:
        kept = [claim for claim in changed if claim is not None]
        return msgspec.structs.replace(request, inputs=kept)

    return change


def claim(position: int, **values: object) -> Change:
    def change(request: SignTransfer) -> SignTransfer:
        inputs = list(request.inputs)
        inputs[position] = msgspec.structs.replace(inputs[position], **values)
        return msgspec.structs.replace(request, inputs=inputs)

    return change


def same_uuid_twice(request: SignTransfer) -> SignTransfer:
    return claim(1, seed_uuid=request.inputs[0].seed_uuid)(request)


def same_address_twice(request: SignTransfer) -> SignTransfer:
    address = request.transactions[0].address
    both = field(3, address=address)(field(2, address=address)(request))
    return rehashed(lambda r: r)(both)


def own(*indices: int) -> Change:
    return lambda request: msgspec.structs.replace(request, own_outputs=list(indices))


def to_input(request: SignTransfer) -> SignTransfer:
    return rehashed(field(4, address=request.transactions[0].address))(request)


def payout_first(request: SignTransfer) -> SignTransfer:
    moved = rehashed(order(4, 0, 1, 2, 3))(request)
    shifted = [msgspec.structs.replace(c, index=c.index + 1) for c in request.inputs]
    return msgspec.structs.replace(moved, inputs=shifted)


MODIFIED: dict[str, tuple[Change, str]] = {
    # under the stated hash
    **{
        f"address {n} at {at}": (one_tryte(n, "address", at), "bundle-hash-mismatch")
        for n, at in ((0, 0), (1, 40), (2, 79), (4, 7))
    },
    **{
        f"obsolete tag {n} at {at}": (
            one_tryte(n, "obsolete_tag", at),
            "bundle-hash-mismatch",
        )
        for n, at in ((0, 0), (0, 26), (3, 13), (4, 5))
    },
    "value of an output": (field(4, value_i=101), "bundle-hash-mismatch"),
    "value of an input": (field(0, value_i=-71), "bundle-hash-mismatch"),
    "value of a carrier": (field(1, value_i=1), "malformed|bundle-hash-mismatch"),
    "timestamp": (field(0, timestamp_s=1_700_000_001), "bundle-hash-mismatch"),
    "order": (order(2, 3, 0, 1, 4), "bundle-hash-mismatch"),
    "one left out": (order(0, 1, 2, 3), "bundle-hash-mismatch"),
    "one twice": (order(0, 1, 1, 2, 3, 4), "bundle-hash-mismatch"),
    "another hash": (
        lambda r: msgspec.structs.replace(r, bundle_hash=new_address()),
        "bundle-hash-mismatch",
    ),
    "a hash that is none": (
        lambda r: msgspec.structs.replace(r, bundle_hash="no"),
        "bundle-hash-mismatch",
    ),
    # malformed
    "short address": (field(4, address="A" * 80), "malformed"),
    "lower case": (field(4, address="a" * 81), "malformed"),
    "last trit": (field(4, address="M" * 81), "malformed"),
    "short tag": (field(0, obsolete_tag="9" * 26), "malformed"),
    "beyond the supply": (field(4, value_i=2_779_530_283_277_762), "malformed"),
    "a huge number": (field(4, value_i=1 << 80), "malformed"),
    "negative time": (field(0, timestamp_s=-1), "malformed"),
    "time beyond 27 trits": (field(0, timestamp_s=3**27), "malformed"),
    # truly hashed, and wrong all the same
    "more out than in": (rehashed(field(4, value_i=101)), "sum-not-zero"),
    "less out than in": (rehashed(field(4, value_i=99)), "sum-not-zero"),
    "no claims": (claims(), "foreign-input"),
    "unclaimed input": (claims(InputClaim(0, new_uuid(), 1)), "foreign-input"),
    "claim on an output": (claim(1, index=4), "foreign-input"),
    "claims out of order": (
        lambda r: claims(r.inputs[1], r.inputs[0])(r),
        "foreign-input",
    ),
    "one claim twice": (
        lambda r: claims(r.inputs[0], r.inputs[0], r.inputs[1])(r),
        "foreign-input",
    ),
    "unknown generation": (claim(0, generation=2), "unknown-generation"),
    "no such generation": (claim(0, generation=1 << 70), "unknown-generation"),
    "malformed uuid": (claim(0, seed_uuid="short"), "seed-uuid"),
    "uuid with a line end": (
        lambda r: claim(0, seed_uuid=r.inputs[0].seed_uuid + "\n")(r),
        "seed-uuid",
    ),
    "same key twice": (same_uuid_twice, "duplicate-key"),
    "same address twice": (same_address_twice, "duplicate-key"),
    "carrier missing": (rehashed(order(0, 2, 3, 4)), "foreign-input|shape"),
    "carrier of another address": (
        rehashed(field(1, address=new_address())),
        "shape",
    ),
    "a carrier too many": (
        rehashed(
            lambda r: msgspec.structs.replace(
                r,
                transactions=[
                    *r.transactions,
                    ShownTransaction(new_address(), 0, TAG, 1),
                ],
            )
        ),
        "shape",
    ),
    "output to an input": (to_input, "output-to-input"),
    "own output that is none": (own(0), "own-output"),
    "own output far away": (own(17), "own-output"),
    "own output before the first": (own(-1), "own-output"),
    "payout first": (payout_first, "payout-first"),
}


def test_a_good_bundle_is_understood() -> None:
    request = good()
    transfer = understand(request, levels=LEVELS)
    assert transfer.bundle_hash == request.bundle_hash
    assert [(i.index, i.amount_i) for i in transfer.inputs] == [(0, 70), (2, 30)]
    assert [(o.index, o.amount_i) for o in transfer.outputs] == [(4, 100)]


@pytest.mark.parametrize(("change", "code"), MODIFIED.values(), ids=MODIFIED)
def test_a_modified_bundle_is_refused(change: Change, code: str) -> None:
    with pytest.raises(RefusedError) as refusal:
        understand(change(good()), levels=LEVELS)
    assert refusal.value.code in code.split("|")


def test_a_13_in_the_hash_is_refused() -> None:
    request = bundle([Coin(new_uuid(), new_address())], with_13=True)
    with pytest.raises(RefusedError) as refusal:
        understand(request, levels=LEVELS)
    assert refusal.value.code == "thirteen-in-hash"


@pytest.mark.parametrize("level", [1, 2, 3])
def test_every_level_has_its_number_of_carriers(level: int) -> None:
    coin = Coin(new_uuid(), new_address())
    request = bundle([coin], level=level)
    understand(request, levels={1: level})
    for other in {1, 2, 3} - {level}:
        with pytest.raises(RefusedError):
            understand(request, levels={1: other})


@settings(max_examples=200, deadline=None)
@given(
    index=st.integers(0, 4),
    name=st.sampled_from(["address", "obsolete_tag"]),
    at=st.integers(0, 26),
    letter=st.sampled_from(ALPHABET),
)
def test_no_single_tryte_is_free(index: int, name: str, at: int, letter: str) -> None:
    request = good()
    text = getattr(request.transactions[index], name)
    if text[at] == letter:
        return
    changed = field(index, **{name: text[:at] + letter + text[at + 1 :]})(request)
    with pytest.raises(RefusedError):
        understand(changed, levels=LEVELS)
