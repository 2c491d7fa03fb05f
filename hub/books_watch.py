# SPDX-License-Identifier: Apache-2.0
"""Watches the books while the hub runs, and stops every balance when they break.

Each look takes one snapshot and costs the same however long the history is:

- the postings since the last look, each of which must balance;
- both sides added up from the balances, which must be equal, and none below zero;
- one step of a round through all accounts, all addresses and all postings, which
  compares each balance with its entries. A row changed behind the ledger's back is
  found at once if it changes a side's sum, and else within one round.

What is found is logged as CRITICAL and latched in the database: until an operator has
released it no posting of any hub is accepted.
"""

import logging
from typing import TYPE_CHECKING, Final

from hub.errors import BooksLatchedError
from hub.store import Store, Transaction
from hub.store.samples import STEP_MS

if TYPE_CHECKING:
    from hub.store.books_checks import Totals

_log = logging.getLogger(__name__)

OVERLAP: Final = 1000
"""Postings looked at again: row numbers are given before their commit."""


class BooksWatch:
    """Looks at the books, a part at a time.

    Args:
        store: The database.
        postings: How many postings one look takes at most, of new ones and of old.
        balances: How many accounts or addresses one look compares.

    Attributes:
        totals: Both sides at the last look of this hub; None: it has not looked.
    """

    def __init__(self, store: Store, *, postings: int, balances: int) -> None:
        self._store = store
        self._postings = postings
        self._balances = balances
        self.totals: Totals | None = None
        self._sampled_ms: int | None = None
        self._newest: int | None = None
        self._old = 0
        self._account = 0
        self._address = 0

    async def tick(self) -> None:
        """Look once.

        Raises:
            BooksLatchedError: If the books are broken, now or since earlier.
        """
        async with self._store.reading() as tx:
            latched = await tx.books.latched()
            found = [] if latched else await self._look(tx)
        if found:
            latched = "; ".join(found)
            _log.critical("the books are broken, no balance changes now: %s", latched)
            await self._store.run(lambda tx: tx.books.latch(latched))
        if latched:
            raise BooksLatchedError(latched)
        await self._sample()

    async def _sample(self) -> None:
        """Keep both sides for the dashboard's plots, once in ten minutes."""
        totals = self.totals
        assert totals is not None, "looked"

        async def keep(tx: Transaction) -> int:
            await tx.samples.keep_balances(
                assets_i=totals.assets_i, liabilities_i=totals.liabilities_i
            )
            return tx.now_ms

        async with self._store.looking() as tx:
            now_ms = tx.now_ms
        if self._sampled_ms is None or now_ms // STEP_MS != self._sampled_ms // STEP_MS:
            self._sampled_ms = await self._store.run(keep)

    async def _look(self, tx: Transaction) -> list[str]:
        found = await self._new_postings(tx)
        self.totals = totals = await tx.checks.totals()
        if totals.assets_i != totals.liabilities_i:
            found.append(
                f"{totals.assets_i} i on our addresses, {totals.liabilities_i} i owed"
            )
        if totals.below_zero:
            found.append(f"{totals.below_zero} accounts are below zero")
        return found + await self._old_postings(tx) + await self._some_balances(tx)

    async def _new_postings(self, tx: Transaction) -> list[str]:
        newest = await tx.checks.newest_posting()
        known = newest if self._newest is None else self._newest
        last = min(newest, known + self._postings)
        wrong = await tx.checks.unbalanced(max(0, known - OVERLAP), last)
        self._newest = last
        return [f"posting {number} does not balance" for number in wrong]

    async def _old_postings(self, tx: Transaction) -> list[str]:
        begin, last = self._old, self._old + self._postings
        wrong = await tx.checks.unbalanced(begin, last)
        self._old = last if last < (self._newest or 0) else 0
        return [f"posting {number} does not balance" for number in wrong]

    async def _some_balances(self, tx: Transaction) -> list[str]:
        accounts = await tx.checks.accounts(self._account, limit=self._balances)
        addresses = await tx.checks.addresses(self._address, limit=self._balances)
        self._account = accounts.last_id or 0
        self._address = addresses.last_id or 0
        return [
            f"{wrong.key}: stored {wrong.stored_i}, entries say {wrong.recomputed_i}"
            for wrong in (*accounts.mismatches, *addresses.mismatches)
        ]
