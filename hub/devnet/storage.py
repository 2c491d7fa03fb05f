# SPDX-License-Identifier: Apache-2.0
"""What of a devnet outlives its process: transactions and milestones, in order.

Everything else (balances, confirmations, spent addresses) follows from these
and is computed again at the start. SQLite in WAL mode with ``synchronous``
NORMAL survives the death of the process, though not of the machine: a devnet
needs no more.
"""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from hub.devnet.errors import StateFileError

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS network (genesis TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS transactions (
    sequence INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE, trytes TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS milestones (
    milestone_index INTEGER PRIMARY KEY, hash TEXT NOT NULL, forced TEXT NOT NULL
);
"""


@dataclass(frozen=True, slots=True)
class StoredTransaction:
    """A transaction as kept.

    Args:
        hash: 81 trytes, trusted when read back.
        trytes: 2673 trytes.
    """

    hash: str
    trytes: str


@dataclass(frozen=True, slots=True)
class StoredMilestone:
    """A milestone as kept.

    Args:
        index: From 1, without gaps.
        hash: Its tail's hash, 81 trytes.
        forced_conflicts: Tails that a fault switch made conflicting in it.
    """

    index: int
    hash: str
    forced_conflicts: frozenset[str] = frozenset()


class Storage(Protocol):
    """Where a node keeps its transactions and milestones."""

    def transactions(self) -> Sequence[StoredTransaction]:
        """Read all transactions in the order they were added."""

    def milestones(self) -> Sequence[StoredMilestone]:
        """Read all milestones by index."""

    def add(
        self,
        transactions: Iterable[StoredTransaction],
        *,
        milestone: StoredMilestone | None = None,
    ) -> None:
        """Keep transactions, and the milestone they make, or nothing at all."""

    def close(self) -> None:
        """Let go of files."""


class MemoryStorage:
    """Keeps nothing beyond the process."""

    def transactions(self) -> Sequence[StoredTransaction]:
        """Read nothing.

        Returns:
            Nothing: the process has just started.
        """
        return ()

    def milestones(self) -> Sequence[StoredMilestone]:
        """Read nothing.

        Returns:
            Nothing: the process has just started.
        """
        return ()

    def add(
        self,
        transactions: Iterable[StoredTransaction],
        *,
        milestone: StoredMilestone | None = None,
    ) -> None:
        """Keep nothing.

        Args:
            transactions: Ignored.
            milestone: Ignored.
        """

    def close(self) -> None:
        """Do nothing."""


class FileStorage:
    """Keeps a network in one SQLite file.

    Args:
        path: The file; made when missing.
        genesis: Text that identifies the network's genesis balances.

    Raises:
        StateFileError: The file belongs to another network.
    """

    def __init__(self, path: Path, *, genesis: str) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(_SCHEMA)
        found = self._connection.execute("SELECT genesis FROM network").fetchone()
        if found is None:
            self._connection.execute("INSERT INTO network VALUES (?)", (genesis,))
        elif found[0] != genesis:
            self._connection.close()
            raise StateFileError(f"{path} holds a network with another genesis")

    def transactions(self) -> Sequence[StoredTransaction]:
        """Read all transactions.

        Returns:
            Them, in the order they were added.
        """
        rows = self._connection.execute(
            "SELECT hash, trytes FROM transactions ORDER BY sequence"
        )
        return [StoredTransaction(*row) for row in rows]

    def milestones(self) -> Sequence[StoredMilestone]:
        """Read all milestones.

        Returns:
            Them, by index.
        """
        rows = self._connection.execute(
            "SELECT milestone_index, hash, forced FROM milestones"
            " ORDER BY milestone_index"
        )
        return [
            StoredMilestone(index, tx_hash, frozenset(json.loads(forced)))
            for index, tx_hash, forced in rows
        ]

    def add(
        self,
        transactions: Iterable[StoredTransaction],
        *,
        milestone: StoredMilestone | None = None,
    ) -> None:
        """Keep transactions, and the milestone they make, or nothing at all.

        Args:
            transactions: New ones; known ones are left as they are.
            milestone: The milestone that the last of them form, if any.
        """
        with self._connection as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "INSERT OR IGNORE INTO transactions (hash, trytes) VALUES (?, ?)",
                [(kept.hash, kept.trytes) for kept in transactions],
            )
            if milestone is not None:
                forced = json.dumps(sorted(milestone.forced_conflicts))
                connection.execute(
                    "INSERT INTO milestones VALUES (?, ?, ?)",
                    (milestone.index, milestone.hash, forced),
                )

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
