# SPDX-License-Identifier: Apache-2.0
"""An old database comes over whole, once, and only when it stands still."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hub.errors import ConfigError, DatabaseUnavailableError
from hub.event_tail import EventTail
from hub.legacy_import.checks import find_faults
from hub.legacy_import.importing import ImportRefusedError, spent_of
from hub.legacy_import.spent import interchange, spent_keys
from hub.model import (
    AccountKind,
    Address,
    AddressState,
    BundleHash,
    EventReason,
    SweepState,
    UserId,
    WithdrawalState,
    WithdrawalUuid,
)
from hub.signer import commitment_of
from hub.store import Store
from tests.hub import bookkeeping as books
from tests.hub.api.ports import SimulatedNodes
from tests.hub.legacy_import.mariadb import Server
from tests.hub.legacy_import.old_hub import OldHub, on_mariadb
from tests.hub.legacy_import.ports import (
    SimulatedAdopter,
    importing,
    knowing,
    read,
    run,
)

ROOT = Path(__file__).parents[3]
TOTALS = {
    "users": 2,
    "addresses": 5,
    "sweeps": 2,
    "tails": 2,
    "withdrawals": 3,
    "available_i": 45 + 20,
    "pending_i": 5,
    "waiting_i": 5,
    "not_swept_i": 40,
    "on_user_addresses_i": 40,
    "on_hub_addresses_i": 70,
}


async def test_everything_comes_over_and_the_totals_are_equal(
    old: OldHub, store: Store
) -> None:
    report = await run(old, store, knowing(old))
    assert report.found == report.expected == TOTALS
    assert report.equal
    assert (report.surplus_i, report.spent) == (0, 2)
    async with store.reading() as tx:
        ana = await tx.accounts.by_identifier(UserId("ana"))
        bob = await tx.accounts.by_identifier(UserId("Bob"))
    assert (ana.available_i, ana.unswept_i, ana.pending_i) == (45, 40, 0)
    assert (bob.available_i, bob.unswept_i, bob.pending_i) == (20, 0, 5)


async def test_addresses_sweeps_and_withdrawals_are_what_they_were(
    old_file: OldHub, store: Store
) -> None:
    await run(old_file, store, knowing(old_file))
    names = old_file.names
    async with store.reading() as tx:
        own = {n: await tx.addresses.find(Address(names[n])) for n in ("old", "new")}
        rest = await tx.addresses.find(Address(names["h2"]))
        one = await tx.sweeps.by_bundle_hash(BundleHash(names["one"]))
        two = await tx.sweeps.by_bundle_hash(BundleHash(names["two"]))
        upper = WithdrawalUuid("abcdef00-0000-4000-8000-00000000000a")
        paid = await tx.withdrawals.by_uuid(upper)
        sweepable = await tx.addresses.sweepable(AccountKind.USER, limit=9)
        idle = await tx.addresses.idle_remainder((await tx.accounts.owner()).account_id)
    assert own["old"] is not None
    assert own["new"] is not None
    assert rest is not None
    assert (own["old"].state, own["new"].state) == (
        AddressState.SPENT,
        AddressState.OPEN,
    )
    assert own["new"].issued.seed_uuid == names["new_uuid"]
    assert (rest.balance_i, two.plan.remainder_i) == (70, 70)
    assert (one.state, two.state) == (SweepState.CONFIRMED, SweepState.ATTACHED)
    assert len(two.signed_trytes) == 4  # two for the input, a payout, the rest
    assert (paid.state, paid.sweep_id) == (WithdrawalState.PAID, two.sweep_id)
    assert paid.tag == "TAG".ljust(27, "9")
    assert [one.address for one in sweepable] == [names["new"]]
    assert idle is None  # no value of ours goes to an address of the old salt


async def test_pollers_find_the_history_they_know(
    old_file: OldHub, store: Store
) -> None:
    await run(old_file, store, knowing(old_file))
    tail = EventTail(store, EventReason, newer_than_ms=0, clock_s=lambda: 0.0)
    told = [(e.reason.value, e.user_id, e.amount_i) for e in await tail.fresh()]
    assert sorted(told) == sorted(
        [
            ("UA_DEPOSIT", "ana", 60),
            ("UA_DEPOSIT", "ana", 40),
            ("UA_DEPOSIT", "ana", 40),
            ("UA_SWEEP", "ana", -100),
            ("DEPOSIT", "ana", 100),
            ("INBOUND", "saltkeep:owner", 100),
            ("SELL", "ana", -25),
            ("BUY", "Bob", 25),
            ("WITHDRAWAL", "ana", -30),
            ("OUTBOUND", "saltkeep:owner", -100),
            ("INBOUND", "saltkeep:owner", 70),
            ("WITHDRAWAL", "Bob", -5),
            ("WITHDRAWAL", "Bob", -2),
            ("WITHDRAWAL_CANCELED", "Bob", 2),
        ]
    )


async def test_an_import_begun_again_changes_nothing(
    old_file: OldHub, store: Store, tmp_path: Path
) -> None:
    await run(old_file, store, knowing(old_file))
    before = state_of(tmp_path / "hub.db")
    adopter = knowing(old_file)
    assert (await run(old_file, store, adopter)).equal
    assert state_of(tmp_path / "hub.db") == before
    assert adopter.adopted == []  # what is written is not derived again


async def test_times_of_the_old_server_s_zone_and_of_utc_are_told_apart(
    old: OldHub,
) -> None:
    """BUY and SELL are stamped by the database; the rest by the old Hub, in UTC."""
    server_s, utc = await read(old), await read(old, zone="UTC")
    ahead_ms = 7_200_000 if old.source.startswith("mysql") else 0
    shifts = {
        (entry.reason, mine.at_ms - entry.at_ms)
        for entry, mine in zip(
            server_s.account_entries, utc.account_entries, strict=True
        )
    }
    assert shifts == {(0, 0), (1, ahead_ms), (2, 0), (3, 0), (4, ahead_ms)}
    berlin = await read(old, zone="Europe/Berlin")
    assert berlin.withdrawals == utc.withdrawals
    assert berlin.account_entries != utc.account_entries


# --- what is spent ------------------------------------------------------------


async def test_the_interchange_file_joins_three_witnesses(old_file: OldHub) -> None:
    names = old_file.names
    stray = "A" * 64
    old_file.signed(stray)
    nodes = SimulatedNodes()
    nodes.spent.add(names["h3"])
    told: list[str] = []
    spent = await spent_of(
        await read(old_file), nodes, lambda step, _d, _t: told.append(step)
    )
    text = interchange(spent, network="devnet", commit=commitment_of)
    found = {one["commitment"]: one["hashes"] for one in json.loads(text)["keys"]}
    assert found == {
        commitment_of(names["old_uuid"]): [names["one"]],
        commitment_of(names["h1_uuid"]): [names["two"]],
        commitment_of(names["h3_uuid"]): "unknown",
        commitment_of(stray): "unknown",
    }
    assert "old" not in text.replace("unknown", "")
    assert set(told) == {"nodes"}


async def test_a_forced_signature_has_two_hashes_and_one_input(
    old_file: OldHub, store: Store
) -> None:
    """RecoverFunds signed once more with a key that its own table knew as used."""
    names = old_file.names
    old_file.deposit(1, 7)
    again = old_file.sweep(
        [("user_address", 1, 7)],
        payouts=[],
        into=3,
        confirmed=True,
        credits_i={1: 7},
    )
    spent = spent_keys(await read(old_file), ())
    assert spent[names["old_uuid"]] == {names["one"], again}
    assert (await run(old_file, store, knowing(old_file))).equal


async def test_seed_uuids_that_differ_in_case_alone_are_two(old_file: OldHub) -> None:
    """The old MariaDB compares without case; keys do not."""
    upper = old_file.names["new_uuid"].swapcase()
    old_file.signed(upper)
    spent = spent_keys(await read(old_file), ())
    assert upper in spent
    assert old_file.names["new_uuid"] not in spent


async def test_what_the_appliance_knows_as_spent_is_never_swept(
    old_file: OldHub, store: Store
) -> None:
    adopter = knowing(old_file)
    adopter.spent.add(old_file.names["new_uuid"])
    assert (await run(old_file, store, adopter)).equal
    async with store.reading() as tx:
        own = await tx.addresses.find(Address(old_file.names["new"]))
        ana = await tx.accounts.by_identifier(UserId("ana"))
    assert own is not None
    assert own.state is AddressState.SPENT
    assert (ana.unswept_i, ana.quarantined_i) == (0, 40)


async def test_addresses_adopted_ahead_write_nothing_and_may_be_spent_meanwhile(
    old_file: OldHub, store: Store
) -> None:
    adopter = knowing(old_file)
    async with importing(old_file, store, adopter) as importer:
        assert await importer.adopt_ahead() == 3
    names = old_file.names
    ahead = {names[f"{one}_uuid"] for one in ("new", "h2", "h3")}
    assert set(adopter.adopted) == ahead
    async with store.reading() as tx:
        assert (await tx.imports.count())["addresses"] == 0
    old_file.signed(names["new_uuid"])  # the old Hub went on
    adopter.spent.add(names["new_uuid"])  # and its file told the operators
    assert (await run(old_file, store, adopter)).equal
    async with store.reading() as tx:
        own = await tx.addresses.find(Address(names["new"]))
    assert own is not None
    assert own.state is AddressState.SPENT


async def test_a_deferred_address_is_asked_for_again(
    old_file: OldHub, store: Store
) -> None:
    adopter = knowing(old_file)
    adopter.defers = 5
    assert (await run(old_file, store, adopter)).equal


# --- what stands in the way -----------------------------------------------------

MISCHIEF = {
    "owes-more-than-it-holds": "INSERT INTO user_account_balance (user_id, amount,"
    " reason) VALUES (1, 9, 1)",
    "negative-balance": "INSERT INTO user_account_balance (user_id, amount, reason)"
    " VALUES (2, -999, 4)",
    "balance-unexplained": "UPDATE user_account SET balance = balance - 1",
    "impossible-balance": "UPDATE hub_address SET balance = 4611686018427387904",
    "orphan-address": "UPDATE user_address SET user_id = 99 WHERE id = 2",
    "orphan-withdrawal": "UPDATE withdrawal SET user_id = 99",
    "orphan-tail": "UPDATE sweep_tails SET sweep = 99",
    "orphan-sweep-remainder": "UPDATE sweep SET into_hub_address = 99",
    "duplicate-address": "UPDATE user_address SET address ="
    " (SELECT address FROM hub_address WHERE id = 3)",
    "duplicate-seed-uuid": "UPDATE hub_address SET seed_uuid ="
    " (SELECT seed_uuid FROM user_address WHERE id = 2) WHERE id = 3",
    "identifier": "UPDATE user_account SET identifier = 'saltkeep:fee' WHERE id = 1",
    "address-malformed": "UPDATE hub_address SET address = 'x' WHERE id = 3",
    "seed-uuid-malformed": "UPDATE hub_address SET seed_uuid = '-' WHERE id = 3",
    "withdrawal-malformed": "UPDATE withdrawal SET uuid = 'x' WHERE id = 1",
    "cold-storage": "UPDATE hub_address SET is_cold_storage = 1 WHERE id = 2",
    "sweep-malformed": "UPDATE sweep SET trytes = 'ABC' WHERE id = 2",
}


@pytest.mark.parametrize("code", MISCHIEF)
async def test_a_fault_is_told_and_nothing_is_written(
    code: str, old_file: OldHub, store: Store
) -> None:
    assert find_faults(await read(old_file)) == []
    old_file.execute(MISCHIEF[code])
    assert code in {one.code for one in find_faults(await read(old_file))}
    with pytest.raises(ImportRefusedError, match="faults in the old database"):
        await run(old_file, store, knowing(old_file))
    async with store.reading() as tx:
        assert (await tx.imports.count())["users"] == 0


async def test_an_old_hub_that_is_still_connected_is_no_cut_over(
    server: Server, store: Store, tmp_path: Path
) -> None:
    old = on_mariadb(server, tmp_path)
    with (
        contextlib.closing(old.connect()),
        pytest.raises(ImportRefusedError, match="stop the old Hub"),
    ):
        await run(old, store, SimulatedAdopter())


async def test_a_database_that_changes_between_two_reads_is_no_cut_over(
    old_file: OldHub, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hub.store.legacy_source import OldDatabase  # noqa: PLC0415 - patched here

    looked = OldDatabase.others_connected

    async def meddle(database: OldDatabase) -> int:
        old_file.user("carol")
        return await looked(database)

    monkeypatch.setattr(OldDatabase, "others_connected", meddle)
    with pytest.raises(ImportRefusedError, match="changes"):
        await run(old_file, store, knowing(old_file))


async def test_without_the_interchange_nothing_is_written(
    old_file: OldHub, store: Store
) -> None:
    with pytest.raises(ImportRefusedError, match="import-legacy interchange"):
        await run(old_file, store, SimulatedAdopter())
    async with store.reading() as tx:
        assert (await tx.imports.count())["users"] == 0


async def test_another_salt_stops_the_import(old_file: OldHub, store: Store) -> None:
    adopter = knowing(old_file)
    adopter.refuses = "other-address"
    with pytest.raises(ImportRefusedError, match="Argon2"):
        await run(old_file, store, adopter)
    with pytest.raises(ImportRefusedError, match="level 2, --level says 3"):
        await run(old_file, store, knowing(old_file), security_level=3)


async def test_a_hub_with_users_of_its_own_takes_no_old_database(
    old_file: OldHub, store: Store
) -> None:
    await store.run(lambda tx: tx.accounts.create(UserId("zoe")))
    with pytest.raises(ImportRefusedError, match="'zoe'"):
        await run(old_file, store, knowing(old_file))


async def test_a_source_that_is_none_is_said_so(tmp_path: Path) -> None:
    file = tmp_path / "no such ?#%.db"
    nowhere = OldHub(f"sqlite:///{file}", int, int)
    with pytest.raises(DatabaseUnavailableError, match="can not be read"):
        await read(nowhere)
    assert list(tmp_path.iterdir()) == []
    for source in ("mysql://reader:hush@127.0.0.1/hub", "oracle://x/y", "no url"):
        with pytest.raises(ConfigError, match="--source is") as refusal:
            await read(OldHub(source, int, int))
        assert "hush" not in str(refusal.value)
    with pytest.raises(ConfigError, match="time zone 'Nowhere'"):
        await read(nowhere, zone="Nowhere")


async def test_the_program_checks_a_mariadb_and_tells_no_password(
    server: Server, tmp_path: Path
) -> None:
    old = on_mariadb(server, tmp_path)
    user = old.user("ana")
    old.entry(user, 5, 1)
    command = [sys.executable, "-m", "hub", "import-legacy", "--source", old.source]
    with_password = [*command, "--password-file", str(old.password_file), "check"]
    found = await asyncio.to_thread(
        subprocess.run, with_password, capture_output=True, text=True, check=False
    )
    assert found.returncode == 3
    assert "owes-more-than-it-holds: 5 i" in found.stdout
    without = [*command, "check"]
    denied = await asyncio.to_thread(
        subprocess.run, without, capture_output=True, text=True, check=False
    )
    assert denied.returncode == 1
    assert denied.stderr.startswith("database-unavailable: the old database can not")
    assert denied.stderr.count("\n") == 1
    assert old.password not in found.stdout + found.stderr + denied.stderr


# --- killed ---------------------------------------------------------------------

PROGRAM = """
import asyncio, json, sys
from tests.hub import bookkeeping as books
from tests.hub.legacy_import.mariadb import Server
from tests.hub.legacy_import.old_hub import OldHub, on_mariadb
from tests.hub.legacy_import.ports import knowing, run
from hub.store import Store

async def main(source, url, names):
    old = OldHub(source, None, None, names=names)
    store = Store(url, clock=books.ManualClock())
    await run(old, store, knowing(old))

asyncio.run(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3])))
"""
VISITS = [  # accounts 1, addresses 2-4, sweeps 5, withdrawals 6-7, balances 8
    *[f"hub.import.before-commit:{n}" for n in (1, 3, 5, 7, 8)],
    *[f"hub.import.after-commit:{n}" for n in (1, 3, 6)],
    "hub.import.adopted:2",
]


@pytest.mark.parametrize("visit", VISITS)
async def test_killed_and_begun_again_it_ends_in_the_same_state(
    visit: str, old_file: OldHub, store: Store, database_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "hub.db"
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(file, other / "hub.db")
    whole = Store(f"sqlite+aiosqlite:///{other / 'hub.db'}", clock=books.ManualClock())
    await run(old_file, whole, knowing(old_file))
    await whole.close()
    marker = tmp_path / "mark"
    await asyncio.to_thread(run_and_kill, old_file, database_url, visit, marker)
    assert state_of(file) != state_of(other / "hub.db")
    assert (await run(old_file, store, knowing(old_file))).equal
    assert state_of(file) == state_of(other / "hub.db")


def run_and_kill(old: OldHub, url: str, failpoint: str, marker: Path) -> None:
    """Run an import in a process of its own and kill it at a failpoint."""
    environment = os.environ | {
        "SALTKEEP_FAILPOINT": failpoint,
        "SALTKEEP_FAILPOINT_FILE": str(marker),
    }
    command = [sys.executable, "-c", PROGRAM, old.source, url, json.dumps(old.names)]
    with subprocess.Popen(command, cwd=ROOT, env=environment) as process:
        while not marker.exists() or not marker.read_text():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()


ROWS = {
    "account": "identifier, kind, available_i, unswept_i, pending_i, quarantined_i",
    "address": "address, seed_uuid, state, balance_i, receipt, created_at_ms",
    "sweep": "bundle_hash, state, essence, signed_trytes, remainder_i, signed_at_ms",
    "sweep_input": "position, amount_i, live",
    "deposit": "tail_hash, amount_i, message, state, created_at_ms",
    "withdrawal": "uuid, amount_i, tag, state, requested_at_ms, cancelled_at_ms",
    "tail": "hash, confirmed, created_at_ms",
    "posting": "kind, reference",
    "entry": "book, amount_i",
    "event": "reason, amount_i, bundle_hash, tail_hash, message, created_at_ms",
}


def state_of(file: Path) -> dict[str, list[Any]]:
    """Return every row that an import writes, whatever its number is."""
    with contextlib.closing(sqlite3.connect(file)) as opened:
        return {
            table: sorted(opened.execute(f"SELECT {columns} FROM {table}"), key=repr)  # noqa: S608
            for table, columns in ROWS.items()
        }
