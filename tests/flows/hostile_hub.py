# SPDX-License-Identifier: Apache-2.0
"""A hub that was taken over: it has certificate, seed UUIDs and configuration.

It speaks the wire protocol directly and asks for what an honest hub never would.
``ATTACKS`` are the bundles, each with the code that refuses it.
"""

import base64
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import msgspec

from appliance.wire import (
    Fault,
    InputClaim,
    IssueAddress,
    Issued,
    Refused,
    Reply,
    Request,
    ShownTransaction,
    SignTransfer,
    decode_reply,
)
from hub.model import Address
from hub.tangle import Draft, DraftInput, DraftOutput, draft_bundle, hash_of
from tests.flows.world import Appliance, outside_address

LEVEL: Final = 2
AMOUNT_I: Final = 100
PAYOUT_I: Final = 60


@dataclass(frozen=True, slots=True)
class Coin:
    """An address of ours as the hub's database has it."""

    seed_uuid: str
    address: str
    amount_i: int = AMOUNT_I
    generation: int = 1


@dataclass(frozen=True, slots=True)
class Payment:
    """An honest request and what it was made of."""

    request: SignTransfer
    coin: Coin
    remainder: Coin
    payout: str

    @property
    def transactions(self) -> list[ShownTransaction]:
        return list(self.request.transactions)


def new_seed_uuid() -> str:
    return base64.b64encode(secrets.token_bytes(48)).decode()


def rehashed(
    request: SignTransfer, transactions: Sequence[ShownTransaction]
) -> SignTransfer:
    """Return a request for changed transactions under their true hash."""
    fields = [
        msgspec.structs.asdict(shown) | {"tag": "9" * 27} for shown in transactions
    ]
    drafted = Draft.from_text(request.bundle_hash, msgspec.json.encode(fields).decode())  # type: ignore[arg-type]
    return msgspec.structs.replace(
        request, transactions=list(transactions), bundle_hash=hash_of(drafted)
    )


def changed(payment: Payment, index: int, **fields: object) -> list[ShownTransaction]:
    transactions = payment.transactions
    transactions[index] = msgspec.structs.replace(transactions[index], **fields)
    return transactions


def under_stated_hash(
    payment: Payment, transactions: list[ShownTransaction]
) -> SignTransfer:
    return msgspec.structs.replace(payment.request, transactions=transactions)


class HostileHub:
    """The hub's end of the channel in the wrong hands."""

    def __init__(self, appliance: Appliance) -> None:
        self.appliance = appliance
        self.client = appliance.client("hub")

    async def __aenter__(self) -> Self:
        await self.client.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.client.__aexit__(kind, error, traceback)

    async def ask(self, request: Request) -> Reply:
        return await self.client.ask(request)

    async def refused(self, request: Request) -> Refused:
        reply = await self.ask(request)
        assert isinstance(reply, Refused), reply
        return reply

    async def fault(self, request: Request) -> Fault:
        reply = await self.ask(request)
        assert isinstance(reply, Fault), reply
        return reply

    async def ask_raw(self, body: bytes) -> Reply:
        """Send bytes of one's own making."""
        return decode_reply(await self.client._carrier.carry(body))

    async def coin(self) -> Coin:
        """Have an address issued."""
        seed_uuid = new_seed_uuid()
        reply = await self.ask(IssueAddress(request_id="issue", seed_uuid=seed_uuid))
        assert isinstance(reply, Issued), reply
        return Coin(seed_uuid, reply.address)

    async def payment(
        self, coin: Coin | None = None, remainder: Coin | None = None
    ) -> Payment:
        """Build an honest payment of one coin with a remainder."""
        coin = coin or await self.coin()
        remainder = remainder or await self.coin()
        payout = outside_address()
        return Payment(pay(coin, remainder.address, payout), coin, remainder, payout)

    async def signed_count(self) -> int:
        return sum(row.kind == "signed" for row in await self.appliance.journal())


def pay(coin: Coin, remainder: str, payout: str) -> SignTransfer:
    draft = draft_bundle(
        [DraftInput(Address(coin.address), coin.amount_i, LEVEL)],
        [
            DraftOutput(Address(payout), PAYOUT_I),
            DraftOutput(Address(remainder), coin.amount_i - PAYOUT_I),
        ],
        timestamp_s=int(time.monotonic()) + 1_700_000_000,
    )
    return SignTransfer(
        request_id="sign",
        transactions=[
            ShownTransaction(t.address, t.value_i, t.obsolete_tag, t.timestamp_s)
            for t in draft.transactions
        ],
        bundle_hash=draft.bundle_hash,
        inputs=[InputClaim(0, coin.seed_uuid, coin.generation)],
        own_outputs=[LEVEL + 1],
    )


def _other_tryte(text: str) -> str:
    return ("A" if text[5] != "A" else "B").join((text[:5], text[6:]))


def _swapped(payment: Payment) -> list[ShownTransaction]:
    transactions = payment.transactions
    transactions[2], transactions[3] = transactions[3], transactions[2]
    return transactions


def _claim(payment: Payment, seed_uuid: str, generation: int = 1) -> SignTransfer:
    claim = InputClaim(0, seed_uuid, generation)
    return msgspec.structs.replace(payment.request, inputs=[claim])


Attack = Callable[[Payment], SignTransfer]

ATTACKS: Final[dict[str, tuple[str, Attack]]] = {
    "another payout address under the stated hash": (
        "bundle-hash-mismatch",
        lambda p: under_stated_hash(p, changed(p, 2, address=_other_tryte(p.payout))),
    ),
    "another payout value under the stated hash": (
        "bundle-hash-mismatch",
        lambda p: under_stated_hash(p, changed(p, 2, value_i=PAYOUT_I + 1)),
    ),
    "another obsolete tag under the stated hash": (
        "bundle-hash-mismatch",
        lambda p: under_stated_hash(p, changed(p, 2, obsolete_tag="A" + "9" * 26)),
    ),
    "another timestamp under the stated hash": (
        "bundle-hash-mismatch",
        lambda p: under_stated_hash(p, changed(p, 2, timestamp_s=1)),
    ),
    "another index under the stated hash": (
        "bundle-hash-mismatch",
        lambda p: under_stated_hash(p, _swapped(p)),
    ),
    "a transaction left out under the stated hash": (
        "bundle-hash-mismatch",
        lambda p: under_stated_hash(p, p.transactions[:-1]),
    ),
    "another hash for the transactions": (
        "bundle-hash-mismatch",
        lambda p: msgspec.structs.replace(p.request, bundle_hash="A" * 81),
    ),
    "a sum that is not zero": (
        "sum-not-zero",
        lambda p: rehashed(p.request, changed(p, 2, value_i=PAYOUT_I + 1)),
    ),
    "more value than there is": (
        "malformed",
        lambda p: under_stated_hash(p, changed(p, 2, value_i=3**33)),
    ),
    "an input that was never issued": (
        "foreign-input",
        lambda p: pay(
            Coin(p.coin.seed_uuid, outside_address()), p.remainder.address, p.payout
        ),
    ),
    "an input under a seed UUID never issued": (
        "foreign-input",
        lambda p: _claim(p, new_seed_uuid()),
    ),
    "an input under the seed UUID of another address": (
        "foreign-input",
        lambda p: _claim(p, p.remainder.seed_uuid),
    ),
    "an input without a claim": (
        "foreign-input",
        lambda p: msgspec.structs.replace(p.request, inputs=[]),
    ),
    "an input of a generation that is not there": (
        "unknown-generation",
        lambda p: _claim(p, p.coin.seed_uuid, generation=99),
    ),
    "a remainder that is not ours": (
        "own-output",
        lambda p: pay(p.coin, outside_address(), p.payout),
    ),
    "an own output that is no output": (
        "own-output",
        lambda p: msgspec.structs.replace(p.request, own_outputs=[1]),
    ),
    "a remainder on the address being spent": (
        "output-to-input",
        lambda p: pay(p.coin, p.coin.address, p.payout),
    ),
    "a message smuggled in": (
        "shape",
        lambda p: rehashed(
            p.request,
            [*p.transactions, ShownTransaction("A" * 80 + "9", 0, "9" * 27, 1)],
        ),
    ),
}
