# SPDX-License-Identifier: Apache-2.0
"""The local mirror of spent keys, beside a journal that others keep.

An appliance that signs must not believe a database server: it may have been put
back, or lie. This file remembers every spent key and the last row this appliance
has seen, synced before a signature is made. What the database does not say as well
breaks the invariant ``mirror-differs``.

Like the journal it is only made by a ceremony, never by a start.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NoReturn

from appliance.errors import BrokenInvariantError, JournalError
from appliance.journal_chain import GENESIS_HASH
from appliance.journal_records import guards_of
from appliance.journal_schema import SPENT_KEY
from appliance.journal_sqlite import connect_file, failure_of_file, make_file
from appliance.wire import JournalRow

MIRROR_FORMAT: Final = "saltkeep-mirror/1"
_AT_ONCE: Final = 500
_SCHEMA: Final = """
CREATE TABLE seen (format TEXT PRIMARY KEY, journal_id TEXT NOT NULL,
  sequence INTEGER NOT NULL, hash TEXT NOT NULL);
CREATE TABLE spent_key (commitment TEXT NOT NULL, n INTEGER NOT NULL,
  bundle_hash TEXT, PRIMARY KEY (commitment, n)) WITHOUT ROWID;
"""

SpentKey = tuple[str, int, str | None]
"""Commitment, n, and the hash it is spent for (None: unknown)."""


def make_mirror(path: Path, *, journal_id: str) -> None:
    """Make a mirror that has seen nothing yet; part of a ceremony only.

    The next opening of the journal fills it, from rows it verifies.

    Args:
        path: Where there is none.
        journal_id: Of the journal it will follow.

    Raises:
        failure_of_file: As SQLite fails; ``JournalError`` if the file exists.
    """
    make_file(path)
    try:
        connection = connect_file(path)
        try:
            seen = (MIRROR_FORMAT, journal_id, 0, GENESIS_HASH)
            connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA}")
            connection.execute("INSERT INTO seen VALUES (?, ?, ?, ?)", seen)
            connection.execute("COMMIT")
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise failure_of_file(error, text=f"its mirror: {error}") from error


def mirror_differs(what: str) -> NoReturn:
    """Say that the database is not what this appliance has seen.

    Raises:
        BrokenInvariantError: Always.
    """
    raise BrokenInvariantError(
        f"the journal's database and the local mirror differ: {what}",
        code="mirror-differs",
    )


class Mirror:
    """An open mirror; one process holds it.

    Args:
        path: The file; it must exist.
        journal_id: Of the journal it follows.

    Attributes:
        sequence: Number of the last row it has seen.
        hash: That row's hash.

    Raises:
        JournalError: ``mirror-missing`` if it is not there, or locked.
        BrokenInvariantError: If it is damaged or of another journal.
    """

    def __init__(self, path: Path, *, journal_id: str) -> None:
        if not path.is_file():
            raise JournalError(
                f"the journal's mirror {path} is missing; a start never makes one."
                " If it is lost, make it again by ceremony, or keep this appliance off",
                code="mirror-missing",
            )
        self._connection: sqlite3.Connection | None = None
        with self._failing():
            self._connection = connect_file(path)
            try:
                self.sequence, self.hash = self._read_seen(journal_id)
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Let the file go."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def follow(self, rows: Sequence[JournalRow]) -> None:
        """Take in verified rows; those seen before must say what they said then.

        Synced when this returns.

        Args:
            rows: Of one journal, in rising order, without a gap.
        """
        seen = [row for row in rows if row.sequence <= self.sequence]
        new = rows[len(seen) :]
        if seen:
            self._require_seen(seen)
        if not new:
            return
        with self._failing():
            self._open.execute("BEGIN IMMEDIATE")
            try:
                self._take(new)
                self._open.execute("COMMIT")
            except BaseException:
                if self._open.in_transaction:
                    self._open.execute("ROLLBACK")
                raise
        self.sequence, self.hash = new[-1].sequence, new[-1].hash

    def require_same(
        self, commitments: Iterable[str], spent: Iterable[SpentKey]
    ) -> None:
        """Compare what the database says of some keys with what is known here.

        Args:
            commitments: Which keys were asked for.
            spent: What the database says.
        """
        _require_equal(set(spent), set(self._find(commitments)))

    def require_end(self, sequence: int, spent_count: int) -> None:
        """Compare the whole, once every row of the database was followed.

        Args:
            sequence: Number of the database's last row.
            spent_count: How many spent keys its rows tell of.
        """
        if sequence < self.sequence:
            mirror_differs(
                f"row {self.sequence} was seen here, the database ends at {sequence}"
            )
        with self._failing():
            query = "SELECT count(*) FROM spent_key"
            (known,) = self._open.execute(query).fetchone()
        if known != spent_count:
            mirror_differs(f"{known} spent keys here, {spent_count} there")

    @property
    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise JournalError("the journal's mirror is closed")
        return self._connection

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise failure_of_file(error, text=f"its mirror: {error}") from error

    def _read_seen(self, journal_id: str) -> tuple[int, str]:
        found = self._open.execute("SELECT * FROM seen").fetchall()
        if len(found) != 1 or found[0][:2] != (MIRROR_FORMAT, journal_id):
            mirror_differs(f"the mirror is not of journal {journal_id}")
        return int(found[0][2]), str(found[0][3])

    def _require_seen(self, rows: Sequence[JournalRow]) -> None:
        last = rows[-1]
        if last.sequence == self.sequence and last.hash != self.hash:
            mirror_differs(f"row {last.sequence} is another than was seen here")
        # A key's other signatures may stand in rows before or after these.
        told = set(spent_by(rows))
        places = {(commitment, n) for commitment, n, _ in told}
        known = self._find(commitment for commitment, _ in sorted(places))
        _require_equal(told, {one for one in known if one[:2] in places})

    def _take(self, rows: Sequence[JournalRow]) -> None:
        for commitment, n, bundle_hash in spent_by(rows):
            known = (commitment, n)
            query = "SELECT bundle_hash FROM spent_key WHERE commitment = ? AND n = ?"
            if self._open.execute(query, known).fetchone():
                mirror_differs(f"key {commitment} was spent before")
            values = (*known, bundle_hash)
            self._open.execute("INSERT INTO spent_key VALUES (?, ?, ?)", values)
        end = (rows[-1].sequence, rows[-1].hash)
        self._open.execute("UPDATE seen SET sequence = ?, hash = ?", end)

    def _find(self, commitments: Iterable[str]) -> Iterator[SpentKey]:
        asked = list(dict.fromkeys(commitments))
        with self._failing():
            for start in range(0, len(asked), _AT_ONCE):
                part = asked[start : start + _AT_ONCE]
                marks = ",".join("?" * len(part))
                query = (
                    "SELECT commitment, n, bundle_hash FROM spent_key"  # noqa: S608
                    f" WHERE commitment IN ({marks})"  # marks only, no value
                )
                yield from self._open.execute(query, part)


def _require_equal(told: set[SpentKey], known: set[SpentKey]) -> None:
    for commitment, n, bundle_hash in sorted(
        told ^ known, key=lambda one: (one[0], one[1], one[2] or "")
    ):
        where = "here" if (commitment, n, bundle_hash) in known else "there"
        mirror_differs(
            f"key {commitment} is spent for {bundle_hash or 'an unknown hash'}"
            f" only {where}"
        )


def spent_by(rows: Iterable[JournalRow]) -> Iterator[SpentKey]:
    """Yield the keys that some rows spend."""
    for row in rows:
        for table, guard in guards_of(row):
            if table is SPENT_KEY:
                values: Mapping[str, object] = guard
                digest = values["bundle_hash"]
                yield (
                    str(values["commitment"]),
                    int(str(values["n"])),
                    None if digest is None else str(digest),
                )
