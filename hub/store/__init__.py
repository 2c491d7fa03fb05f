# SPDX-License-Identifier: Apache-2.0
"""The only SQLAlchemy: tables, transactions and one module of queries per noun.

Flows open ``async with store.transaction() as tx`` (or hand their work to
``store.run``, which repeats it when it lost a race) and use ``tx.accounts``,
``tx.addresses``, ``tx.deposits``, ``tx.withdrawals``, ``tx.sweeps``,
``tx.tails``, ``tx.events``, ``tx.books`` and ``tx.head``. Read ``schema``, then
``books`` (the only code that changes a balance), then ``sweeps``. What differs
between databases stands in ``engine`` alone; ``migrate`` runs ``migrations/``.
"""

from hub.store.store import Store
from hub.store.transaction import Transaction

__all__ = ["Store", "Transaction"]
