# SPDX-License-Identifier: Apache-2.0
"""A hub that has swept a hundred thousand times, its rows made by SQLite itself.

Each sweep empties one deposit address and pays one withdrawal; all but the last fifty
are confirmed. Postings are left out: no page reads them.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

_OPEN: Final = 50
_USERS: Final = 1000
_T0_MS: Final = 1_700_000_000_000
_ROWS: Final = (
    """INSERT INTO account (id, identifier, kind, available_i, unswept_i, pending_i,
        quarantined_i, created_at_ms)
    SELECT n + 10, 'user-' || n, 'user', 0, 0, 0, 0, at_ms
    FROM number WHERE n <= :users""",
    """INSERT INTO address (id, address, seed_uuid, generation, security_level, receipt,
        account_id, state, balance_i, created_at_ms)
    SELECT n, trytes('A', n), printf('%064d', n), 1, 2, 'r', 11 + n % :users, 'spent',
        0, at_ms
    FROM number""",
    """INSERT INTO sweep (id, bundle_hash, state, essence, signed_trytes, remainder_i,
        planned_at_ms, signed_at_ms, confirmed_at_ms, refusal_code)
    SELECT n, trytes('B', n), iif(old, 'confirmed', 'attached'), '{}', '[]', 0, at_ms,
        at_ms + 1000, iif(old, at_ms + 60000, NULL), ''
    FROM number""",
    """INSERT INTO sweep_input (sweep_id, position, address_id, amount_i, live)
    SELECT n, 0, n, 1000, 1 FROM number""",
    """INSERT INTO withdrawal (uuid, account_id, amount_i, payout_address, tag, state,
        sweep_id, requested_at_ms)
    SELECT printf('00000000-0000-4000-8000-%012d', n), 11 + n % :users, 1000,
        trytes('P', n), 'TAG', 'paid', n, at_ms
    FROM number""",
    """INSERT INTO withdrawal (uuid, account_id, amount_i, payout_address, tag, state,
        requested_at_ms)
    SELECT printf('10000000-0000-4000-8000-%012d', n), 11 + n % :users, 1000,
        trytes('Q', n), 'TAG', 'requested', at_ms
    FROM number WHERE n <= :open""",
    """INSERT INTO deposit (tail_hash, bundle_hash, address_id, transaction_index,
        amount_i, message, state, sweep_id, created_at_ms)
    SELECT trytes('D', n), trytes('E', n), n, 0, 1000, '', 'credited', n, at_ms
    FROM number""",
    """INSERT INTO tail (hash, sweep_id, confirmed, created_at_ms)
    SELECT trytes('T', n), n, old, at_ms + 2000 FROM number""",
)
_NUMBERS: Final = """CREATE TEMP TABLE number AS
    WITH RECURSIVE one(n) AS
        (SELECT 1 UNION ALL SELECT n + 1 FROM one WHERE n < :count)
    SELECT n, :t0 + n * 60000 AS at_ms, n <= :count - :open AS old FROM one"""
_DIGITS: Final = str.maketrans("0123456789", "GHIJKLMNOP")


def make_many_sweeps(file: Path, count: int) -> None:
    """Fill a migrated database.

    Args:
        file: Of SQLite.
        count: How many sweeps.
    """
    values = {"count": count, "users": _USERS, "open": _OPEN, "t0": _T0_MS}
    with closing(sqlite3.connect(file)) as base:
        base.create_function("trytes", 2, trytes, deterministic=True)
        base.execute("PRAGMA synchronous = OFF")
        base.execute(_NUMBERS, values)
        for statement in _ROWS:
            base.execute(statement, values)
        base.commit()


def trytes(kind: str, number: int) -> str:
    """Return the hash or address of a row.

    Args:
        kind: A letter for its column.
        number: Of the row.

    Returns:
        81 trytes.
    """
    return (kind + f"{number:09d}".translate(_DIGITS)).ljust(81, "9")
