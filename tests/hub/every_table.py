# SPDX-License-Identifier: Apache-2.0
"""A hub's life in short, after which no table is empty.

A migration that adds a table adds a line to ``fill``: ``test_store_migrations``
fails until it does.
"""

from hub.model import HeadToken, TransactionHash, UserId
from hub.store import Store
from hub.transfers import Transfer, process_batch
from tests.hub import bookkeeping as books


async def fill(store: Store) -> None:
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
    await store.run(lambda tx: tx.books.latch("a drill"))
    await store.run(lambda tx: tx.leases.acquire("sweeps", "one", duration_ms=6000))
