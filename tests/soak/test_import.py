# SPDX-License-Identifier: Apache-2.0
"""A hundred thousand addresses of an old Hub, without the appliance's Argon2."""

import contextlib
import time
from pathlib import Path

import pytest

from hub.store import Store
from tests.hub import bookkeeping as books
from tests.hub.legacy_import.old_hub import OldHub, on_sqlite
from tests.hub.legacy_import.ports import SimulatedAdopter, importing

USERS = 10_000
ADDRESSES_EACH = 10


def fill(old: OldHub) -> None:
    """Give every user ten addresses, one of them with a deposit."""
    with contextlib.closing(old.connect()) as database:
        database.executemany(
            "INSERT INTO user_account (id, identifier) VALUES (?, ?)",
            [(n, f"user-{n}") for n in range(1, USERS + 1)],
        )
        database.executemany(
            "INSERT INTO user_address (user_id, address, seed_uuid) VALUES (?, ?, ?)",
            [
                (user, books.trytes(), books.issued("9" * 81).seed_uuid)
                for user in range(1, USERS + 1)
                for _ in range(ADDRESSES_EACH)
            ],
        )
        database.executemany(
            "INSERT INTO user_address_balance (user_address, amount, reason, tail_hash)"
            " VALUES (?, 5, 0, ?)",
            [(n * ADDRESSES_EACH, books.trytes()) for n in range(1, USERS + 1)],
        )
        database.commit()


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_a_hundred_thousand_addresses_come_over(tmp_path: Path) -> None:
    old = on_sqlite(tmp_path)
    fill(old)
    store = Store(
        f"sqlite+aiosqlite:///{tmp_path / 'hub.db'}", clock=books.ManualClock()
    )
    await store.migrate()
    async with importing(old, store, SimulatedAdopter(), batch=500) as importer:
        begun_s = time.monotonic()
        report = await importer.run()
        took_s = time.monotonic() - begun_s
    print(f"{USERS * ADDRESSES_EACH} addresses in {took_s:.1f} s")
    await store.close()
    assert report.equal
    assert report.found["addresses"] == USERS * ADDRESSES_EACH
