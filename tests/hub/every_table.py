# SPDX-License-Identifier: Apache-2.0
"""A hub's life in short, after which no table is empty.

A migration that adds a table adds a line to ``fill``: ``test_store_migrations``
fails until it does. What no older revision can hold is written on demand.
"""

from collections.abc import Sequence

from hub.api_keys import KeyId, Scope
from hub.cold import move_to_cold
from hub.model import Address, HeadToken, TransactionHash, UserId
from hub.operators import Role, SessionDigest
from hub.store import Store, Transaction
from hub.store.audit import Done
from hub.store.deliveries import Attempt
from hub.store.idempotency import KeptReply
from hub.transfers import Transfer, process_batch
from tests.hub import bookkeeping as books


async def fill(store: Store, *, cold: bool = False) -> None:
    ana = await books.funded_user(store, "ana", 100)
    await books.open_user(store, "Ana")
    await process_batch(
        store, [Transfer(UserId("ana"), -7), Transfer(UserId("Ana"), 7)]
    )
    paid = await books.request_withdrawal(store, ana, 30)
    await books.request_withdrawal(store, ana, 5)  # waits
    async with store.reading() as tx:
        source = (await tx.addresses.after(0, limit=1))[0]  # type: ignore[arg-type]
    rest = await books.hub_address(store)
    sweep_id = await books.plan_sweep(store, [source.address_id], [paid], rest)
    await books.sign_sweep(store, sweep_id)
    tail = TransactionHash(books.trytes())
    await store.run(lambda tx: tx.sweeps.attach(sweep_id, tail))
    late = await books.give_address(store, ana)
    await books.arrive(store, late, 9)
    await books.plan_sweep(store, [late], remainder_id=await books.hub_address(store))
    token = HeadToken(journal_id="aa" * 16, epoch=1, sequence=7, hash="h7", mac="m7")
    await store.run(lambda tx: tx.head.remember(token))
    await store.run(use_v1)
    await store.run(use_dashboard)
    if cold:
        await move_something_to_cold(store)
    await store.run(lambda tx: tx.leases.acquire("sweeps", "one", duration_ms=6000))
    await store.run(lambda tx: tx.books.latch("a drill"))  # nothing is posted after it


async def use_v1(tx: Transaction) -> None:
    """Leave what a client of ``/v1`` leaves: a key, a reply, a webhook's history."""
    key = await tx.api_keys.add(
        KeyId("kid"), name="back end", digest="d" * 64, scopes={Scope.READ}
    )
    await tx.idempotency.keep(
        key.row,
        "k",
        KeptReply(201, "{}"),
        digest="e" * 64,
        lifetime_ms=1_000,
        done=Done(actor="kid", request_id="r", operation="o", subject="s"),
    )
    webhook = await tx.webhooks.add(
        "wh", url="https://example.org/", types=[], nonce="n", position=0
    )
    attempt = Attempt(position=1, attempt=1, status=200, error="", duration_ms=3)
    await tx.deliveries.log(webhook.row, attempt)
    await tx.deliveries.add_range(webhook.row, first=1, last=2)


async def use_dashboard(tx: Transaction) -> None:
    """Leave what an operator at the dashboard leaves."""
    await tx.operators.add("ana", role=Role.VIEWER, password_hash="argon2")
    ana = await tx.operators.by_name("ana")
    await tx.operators.open_session(ana.row, SessionDigest("f" * 64), peer="::1")
    await tx.samples.keep_balances(assets_i=1, liabilities_i=1)
    await tx.samples.keep_reserves(tangle_i=1, books_i=1, unknown=0)


async def move_something_to_cold(store: Store) -> None:
    """Book what older revisions have no book for."""
    await store.run(lambda tx: tx.cold.add("vault", Address(books.trytes())))
    await move_to_cold(store, NobodySpent(), label="vault", amount_i=1)


class NobodySpent:
    async def were_spent(self, addresses: Sequence[Address]) -> list[bool]:
        return [False for _ in addresses]
