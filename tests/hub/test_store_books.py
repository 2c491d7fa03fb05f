# SPDX-License-Identifier: Apache-2.0
"""The books can be recomputed from their entries, and a forgery shows."""

from sqlalchemy import update

from hub.ledger import available
from hub.store import Store
from hub.store.books import Mismatch
from hub.store.schema import account
from tests.hub import bookkeeping as books


async def test_a_balance_changed_behind_the_ledger_is_found(store: Store) -> None:
    ana = await books.funded_user(store, "ana", 10)
    async with store.transaction() as tx:
        connection = tx.accounts._connection
        await connection.execute(
            update(account).where(account.c.id == ana).values(available_i=11)
        )
        report = await tx.books.verify()
        assert not report.sound
        assert (report.assets_i, report.liabilities_i) == (10, 11)
        assert report.mismatches == (Mismatch(available(ana), 11, 10),)
        await connection.execute(
            update(account).where(account.c.id == ana).values(available_i=10)
        )


async def test_totals_leave_the_owner_and_the_fees_out(store: Store) -> None:
    await books.funded_user(store, "ana", 10)
    rest = await books.hub_address(store)
    await books.arrive(store, rest, 99)  # a stranger's gift to a hub address
    async with store.reading() as tx:
        assert await tx.accounts.total_available_i() == 10
        assert (await tx.accounts.owner()).available_i == 99
