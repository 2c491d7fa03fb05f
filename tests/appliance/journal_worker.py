# SPDX-License-Identifier: Apache-2.0
"""A process of its own that holds a journal and does what it is told, line by line.

``python -m tests.appliance.journal_worker CONFIG``; CONFIG is JSON: ``journal_id``,
``file`` or ``url``, ``password_file`` and ``mirror``, and whether it is ``unlocked``
(the append lock left out, to show that the keys alone hold too) or ``unsynced``
(SQLite without syncing, to show that the shim would notice). Commands on standard
input, one JSON answer a line.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import pg8000.native
import sqlalchemy as sa

from appliance import journal_sqlite
from appliance.errors import ApplianceError, RefusedError
from appliance.installation import read_password
from appliance.intent import understand
from appliance.journal import Journal
from appliance.journal_database import JournalDatabase
from appliance.journal_postgres import PostgresJournal, read_address
from appliance.journal_records import Leaving
from appliance.journal_sqlite import SqliteJournal
from appliance.journal_view import JournalView
from tests.appliance.bundles import Coin, bundle, new_address
from tests.appliance.journals import clock, issue, leaving, new_coin

_WAIT_S = 2.0
_WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    " AND application_name = 'saltkeep-appliance'"
)


class Worker:
    """One journal, opened when it is first needed."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.database = _database(config)
        self.journal: Journal | None = None
        self.watcher: pg8000.native.Connection | None = None
        if config.get("admin_port"):
            self.watcher = pg8000.native.Connection(
                "postgres",
                host="127.0.0.1",
                port=config["admin_port"],
                database="saltkeep",
                password=Path(config["password_file"]).read_text(),
            )

    def do(self, command: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"done": getattr(self, command["do"])(**command.get("with", {}))}
        except RefusedError as error:
            return {"refused": error.code, "recorded": error.recorded_bundle_hash}
        except ApplianceError as error:
            self.shut()
            return {"failed": error.code, "message": str(error)}

    def open(self) -> int:
        if self.journal is None:
            self.journal = Journal(
                self.database, journal_id=self.config["journal_id"], clock_ms=clock
            )
        return self.journal.head.sequence

    def shut(self) -> None:
        if self.journal is not None:
            self.journal.close()
            self.journal = None

    def issue(self) -> list[str]:
        self.open()
        assert self.journal
        coin = new_coin()
        issue(self.journal, coin)
        return [coin.seed_uuid, coin.address]

    def sign(self, coin: list[str], *, meet: str = "") -> str:
        """Sign another bundle than anybody else would, once the others are there."""
        self.open()
        assert self.journal
        transfer = understand(bundle([Coin(*coin)]), levels={1: 2})

        def decide(_: JournalView) -> Leaving:
            if meet == "lock":
                self._wait_for_another()
            elif meet:
                _meet(Path(meet))
            return leaving(1)

        self.journal.commit_signature(transfer, own={}, client="hub", decide=decide)
        return transfer.bundle_hash

    def load(self) -> None:
        """Issue and sign until killed; tell each hash once it would be answered."""
        while True:
            coin = self.issue()
            print(json.dumps({"coin": coin, "hash": self.sign(coin)}), flush=True)

    def _wait_for_another(self) -> None:
        """Hold the lock until the other process stands before it."""
        assert self.watcher
        deadline_s = time.monotonic() + _WAIT_S
        while not self.watcher.run(_WAITING)[0][0]:
            if time.monotonic() > deadline_s:
                raise TimeoutError("nobody else came to the lock")
            time.sleep(0.0005)


class Unlocked(PostgresJournal):
    """Without the append lock: what is left is the primary keys."""

    def begin(self, connection: sa.Connection, *, appending: bool) -> None:
        if not appending:
            super().begin(connection, appending=False)


def _database(config: dict[str, Any]) -> JournalDatabase:
    if config.get("unsynced"):
        off = ("synchronous=OFF" if "sync" in p else p for p in journal_sqlite._PRAGMAS)
        journal_sqlite._PRAGMAS = tuple(off)  # type: ignore[misc]
    if "file" in config:
        return SqliteJournal(Path(config["file"]))
    secret = read_password(config["password_file"], allow_unlocked=True)
    kind = Unlocked if config.get("unlocked") else PostgresJournal
    address = read_address(config["url"], ca="")
    return kind(address, secret, Path(config["mirror"]))


def _meet(folder: Path) -> None:
    """Go on when two processes are here: a barrier."""
    (folder / new_address()).touch()
    deadline_s = time.monotonic() + _WAIT_S
    while len(list(folder.iterdir())) < 2 and time.monotonic() < deadline_s:
        time.sleep(0.0005)


def main() -> None:
    worker = Worker(json.loads(sys.argv[1]))
    for line in sys.stdin:
        print(json.dumps(worker.do(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
