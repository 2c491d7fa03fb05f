# SPDX-License-Identifier: Apache-2.0
"""A pool of ready deposit addresses: handing one out costs no Argon2 run.

An address in the pool was issued, found unspent and told to nobody. Its receipt names
no user, because there was none yet: the appliance vouches that the address is ours,
and only our books say whose it is. Who wants the user in the receipt keeps no pool.

The pool is in memory on purpose. In the database it would come back with a copy of
that database, and addresses already given to one user would be given to another. What
a program has ready when it ends is never used; that costs its Argon2 runs again.
"""

import asyncio
import logging
from collections import deque

from hub.addresses import AddressIssuer, SpentOracle, is_fresh
from hub.model import IssuedAddress
from hub.store import Store

_log = logging.getLogger(__name__)


class AddressPool:
    """Keeps a number of addresses ready; about 2 KB of memory for each.

    Args:
        store: The database, asked whether an address is new.
        issuer: The appliance.
        oracle: The nodes.
        target: How many to keep ready.
        lanes: How many are asked for at once.
    """

    def __init__(
        self,
        store: Store,
        issuer: AddressIssuer,
        oracle: SpentOracle,
        *,
        target: int,
        lanes: int,
    ) -> None:
        self._store = store
        self._issuer = issuer
        self._oracle = oracle
        self._target = target
        self._lanes = lanes
        self._ready: deque[IssuedAddress] = deque()

    def __len__(self) -> int:
        """How many are ready."""
        return len(self._ready)

    def take(self) -> IssuedAddress | None:
        """Take the oldest out for good.

        Returns:
            The address; it is never given again, even if its taker fails. None: draw
            a fresh one.
        """
        return self._ready.popleft() if self._ready else None

    async def tick(self) -> int:
        """Fill the pool up.

        Returns:
            How many addresses were added. What appliance or nodes raise ends it;
            what was added stays.
        """
        added = 0
        while (missing := self._target - len(self._ready)) > 0:
            lot = min(missing, self._lanes)
            results = await asyncio.gather(
                *(self._add_one() for _ in range(lot)), return_exceptions=True
            )
            for result in results:
                if isinstance(result, BaseException):
                    raise result
            added += lot
        return added

    async def _add_one(self) -> None:
        issued = await self._issuer.issue("")
        if not await is_fresh(self._store, issued, oracle=self._oracle):
            _log.warning("address not fresh, left out of the pool: %s", issued.address)
            return
        self._drop_older_than(issued.generation)
        self._ready.append(issued)

    def _drop_older_than(self, generation: int) -> None:
        # Only the current salt generation issues; what it superseded is not handed out.
        if any(issued.generation < generation for issued in self._ready):
            kept = [one for one in self._ready if one.generation >= generation]
            self._ready = deque(kept)
