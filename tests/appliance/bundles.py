# SPDX-License-Identifier: Apache-2.0
"""Bundles as a hub would ask for them, built with the kernel alone."""

import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from appliance.intent import computed_hash
from appliance.wire import InputClaim, ShownTransaction, SignTransfer
from trinary.winternitz import used_fragments_contain_13

TAG = "9" * 27
NOW_S = 1_700_000_000
ALPHABET = "9ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def new_uuid() -> str:
    return base64.b64encode(secrets.token_bytes(48)).decode()


def new_address() -> str:
    """Return an address of nobody's, with the last trit zero."""
    letters = [ALPHABET[b % 27] for b in secrets.token_bytes(80)]
    return "".join(letters) + "9"


@dataclass(frozen=True, slots=True)
class Coin:
    """An issued address with what lies on it."""

    seed_uuid: str
    address: str
    amount_i: int = 100
    generation: int = 1


@dataclass(frozen=True, slots=True)
class Output:
    address: str
    amount_i: int
    own: bool = False


def shown(
    coins: Sequence[Coin], outputs: Sequence[Output], *, level: int, tag: str
) -> list[ShownTransaction]:
    transactions = []
    for coin in coins:
        fields = (coin.address, -coin.amount_i, TAG, NOW_S)
        transactions.append(ShownTransaction(*fields))
        carrier = ShownTransaction(coin.address, 0, TAG, NOW_S)
        transactions += [carrier] * (level - 1)
    for output in outputs:
        fields = (output.address, output.amount_i, TAG, NOW_S)
        transactions.append(ShownTransaction(*fields))
    first = transactions[0]
    transactions[0] = ShownTransaction(
        first.address, first.value_i, tag, first.timestamp_s
    )
    return transactions


def bundle(
    coins: Sequence[Coin],
    outputs: Sequence[Output] | None = None,
    *,
    level: int = 2,
    with_13: bool = False,
) -> SignTransfer:
    """Return a request whose hash can be signed (or, ``with_13``, can not)."""
    if outputs is None:
        outputs = [Output(new_address(), sum(c.amount_i for c in coins))]
    for counter in range(10_000):
        transactions = shown(coins, outputs, level=level, tag=_tag(counter))
        bundle_hash = computed_hash(transactions)
        if used_fragments_contain_13(bundle_hash, level=level) == with_13:
            break
    else:
        raise AssertionError("no counter helps")
    first_output = len(coins) * level
    return SignTransfer(
        request_id="t",
        transactions=transactions,
        bundle_hash=bundle_hash,
        inputs=[
            InputClaim(n * level, coin.seed_uuid, coin.generation)
            for n, coin in enumerate(coins)
        ],
        own_outputs=[first_output + n for n, o in enumerate(outputs) if o.own],
    )


def _tag(counter: int) -> str:
    letters = ""
    for _ in range(6):
        counter, digit = divmod(counter, 27)
        letters += ALPHABET[digit]
    return letters.ljust(27, "9")
