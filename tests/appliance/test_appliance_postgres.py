# SPDX-License-Identifier: Apache-2.0
"""Two whole appliances on one journal in PostgreSQL."""

import asyncio
import json
import shutil
import signal
import sqlite3
from collections.abc import AsyncGenerator
from pathlib import Path

import msgspec
import pytest

from appliance.config import load_config
from appliance.errors import BrokenInvariantError, FaultError
from appliance.intent import understand
from appliance.journal import join_journal
from appliance.journal_chain import next_row
from appliance.journal_database import database_of
from appliance.journal_postgres import PostgresJournal, schema_of
from appliance.journal_records import Leaving, guards_of, signed_payload
from appliance.pytest_plugin import CHEAP_ARGON2, ApplianceProcess, make_appliance
from appliance.wire import (
    AcceptHead,
    CeremonyReport,
    Done,
    Fault,
    FetchBundle,
    Fetched,
    GetStatus,
    HeadToken,
    IssueAddress,
    Issued,
    ProposeAct,
    Refused,
    RunCeremony,
    Signed,
    SignTransfer,
    StatusReport,
)
from tests.appliance.box import Box
from tests.appliance.bundles import Coin, bundle, new_uuid
from tests.appliance.conftest import copy_box
from tests.appliance.panelled import counted, enrol, opened, pairing, panel_of
from tests.appliance.test_approvals import policy_text, set_policy
from tests.postgres import Server


@pytest.fixture
def password_file(tmp_path: Path, server: Server) -> Path:
    path = tmp_path / "password"
    path.touch(mode=0o600)
    path.write_text(server.password)
    return path


@pytest.fixture
def first(tmp_path: Path, server: Server, password_file: Path) -> Path:
    """The folder of an appliance whose journal lies in PostgreSQL."""
    options = ("--journal-database", server.url)
    options += ("--journal-password-file", str(password_file))
    return make_appliance(tmp_path / "a", (*CHEAP_ARGON2, *options)).folder


@pytest.fixture
def second(tmp_path: Path, first: Path) -> Path:
    """Another appliance of the same journal, with a mirror of its own."""
    folder = copy_box(first, tmp_path / "b")
    (folder / "state" / "mirror.db").unlink()
    database = database_of(load_config(folder / "appliance.toml"))
    join_journal(database, journal_id=journal_id_of(first))
    return folder


@pytest.fixture
async def pair(first: Path, second: Path) -> AsyncGenerator[tuple[Box, Box]]:
    boxes = (Box(first), Box(second))
    for box in boxes:
        assert await box.appliance.check(), box.appliance.life.unready
    yield boxes
    for box in boxes:
        await box.close()


def journal_id_of(folder: Path) -> str:
    return str(json.loads((folder / "state" / "policy.json").read_text())["journal_id"])


def append(
    server: Server,
    box: Box,
    payload: dict[str, object],
    *,
    kind: str = "ceremony",
    sealed: bool = False,
) -> None:
    """Append a row with its guards as somebody with the database can.

    With ``sealed`` it carries the MAC that only an appliance can make.
    """
    running = box.appliance.life.running
    assert running is not None
    head = running.journal.head
    row = next_row(head, now_ms=head.time_ms, client="c", kind=kind, payload=payload)
    statements = [insert("row", msgspec.structs.asdict(row))]
    statements += [insert(table.name, guard) for table, guard in guards_of(row)]
    if sealed:
        assert running.journal._seal is not None
        mac = {"row": row.sequence, "mac": running.journal._seal.mac(row)}
        statements.append(insert("row_mac", mac))
    path = f"SET search_path TO {schema_of(journal_id_of(box.folder))}"
    server.execute(path, *statements)


def insert(table: str, columns: dict[str, object]) -> str:
    names = ", ".join(f'"{name}"' for name in columns)
    values = ", ".join(
        "null"
        if value is None
        else str(value)
        if isinstance(value, int)
        else "'" + str(value).replace("'", "''") + "'"
        for value in columns.values()
    )
    return f'insert into "{table}" ({names}) values ({values})'  # noqa: S608


def with_head(request: SignTransfer, token: HeadToken | None) -> SignTransfer:
    return msgspec.structs.replace(request, head=token)


async def test_a_key_that_one_spent_is_spent_for_the_other(
    pair: tuple[Box, Box],
) -> None:
    a, b = pair
    coin = await a.coin()
    request = bundle([coin])
    signed = await a.expect(request, Signed)
    refused = await b.refused(with_head(bundle([coin]), a.head))
    assert refused.code == "key-spent"
    assert refused.recorded_bundle_hash == request.bundle_hash
    again = await b.expect(request, Signed)
    assert again.signatures == signed.signatures
    fetched = await b.expect(
        FetchBundle(request_id="f", bundle_hash=request.bundle_hash), Fetched
    )
    assert fetched.signatures == signed.signatures


async def test_a_token_of_one_anchors_the_other_which_has_yet_to_read_its_rows(
    first: Path, second: Path
) -> None:
    a, b = Box(first), Box(second)
    await a.appliance.check()
    coin = await a.coin()
    assert await b.appliance.check()
    for _ in range(3):
        await a.coin()  # B has not read these rows
    assert (await b.expect(bundle([coin]), Fault)).code == "not-anchored"
    assert isinstance(await b.ask(with_head(bundle([coin]), a.head)), Signed)
    assert b.head
    assert a.head
    assert b.head.sequence > a.head.sequence
    await a.close()
    await b.close()


async def test_a_generation_that_no_appliance_has_is_refused_for_good(
    pair: tuple[Box, Box],
) -> None:
    a, _ = pair
    coin = await a.coin()
    claimed = Coin(coin.seed_uuid, coin.address, generation=9)
    assert (await a.refused(bundle([claimed]))).code == "unknown-generation"


def test_a_server_that_asks_for_no_password_needs_no_file(first: Path) -> None:
    path = first / "appliance.toml"
    lines = path.read_text().splitlines()
    kept = [line for line in lines if not line.startswith("password_file")]
    assert len(kept) < len(lines)
    path.write_text("\n".join(kept))
    database = database_of(load_config(path))
    assert isinstance(database, PostgresJournal)
    assert database.password is None


async def test_an_operator_may_vouch_for_a_row_that_another_appliance_has_passed(
    first: Path, second: Path
) -> None:
    a, b = Box(first), Box(second)
    await a.appliance.check()
    await a.coin()
    assert await b.appliance.check()
    (*_, last) = await a.rows()
    await a.coin()
    wrong = AcceptHead(request_id="h", sequence=last.sequence, hash="0" * 64)
    assert (await b.expect(wrong, Fault, name="operator-1")).code == "foreign-head"
    vouch = msgspec.structs.replace(wrong, hash=last.hash)
    await b.expect(vouch, Done, name="operator-1")
    await b.coin()
    await a.close()
    await b.close()


async def test_a_database_put_back_seals_both_and_signs_nothing(
    pair: tuple[Box, Box], server: Server
) -> None:
    a, b = pair
    coin = await a.coin()
    schema = schema_of(journal_id_of(a.folder))
    older = server.dump(schema)
    await a.expect(bundle([coin]), Signed)
    token = a.head
    server.restore(schema, older)
    fault = await a.expect(bundle([coin]), Fault)
    assert fault.code == "head-regression"
    # B had read less, so nothing contradicts what it remembers: the token does.
    fault = await b.expect(with_head(bundle([coin]), token), Fault)
    assert fault.code == "head-regression"
    for box in pair:
        assert (await box.status()).state == "sealed"
        assert (await box.expect(bundle([coin]), Fault)).code == "sealed"


async def test_a_database_put_back_while_all_were_stopped_seals_at_the_start(
    first: Path, server: Server
) -> None:
    box = Box(first)
    await box.appliance.check()
    coin = await box.coin()
    schema = schema_of(journal_id_of(first))
    older = server.dump(schema)
    await box.expect(bundle([coin]), Signed)
    await box.close()
    server.restore(schema, older)
    box = Box(first)
    assert not await box.appliance.check()
    assert (await box.status()).reason.startswith("mirror-differs")
    assert (await box.expect(bundle([coin]), Fault)).code == "sealed"
    await box.close()


async def test_a_policy_put_in_force_at_one_is_in_force_at_the_other(
    pair: tuple[Box, Box],
) -> None:
    a, b = pair
    coin = await b.coin()
    limit = "limits.max_outside_per_bundle_i = 1\n"
    await a.expect(
        set_policy(a.folder, policy_text(a.folder, 2, limit)), Done, name="operator-1"
    )
    assert (await b.refused(bundle([coin]))).code == "policy-per-bundle"
    overtaken = set_policy(b.folder, policy_text(b.folder, 2))
    assert isinstance(await b.ask(overtaken, name="operator-1"), Refused)
    assert await b.appliance.check()
    copy = json.loads((b.folder / "state" / "policy.json").read_text())
    assert limit in copy["policy"]["text"]


@pytest.mark.parametrize("sealed", [True, False])
async def test_a_policy_slipped_into_the_database_says_nobody_s_approvals_count(
    pair: tuple[Box, Box], server: Server, *, sealed: bool
) -> None:
    """Nothing was signed since: an operator's request is the first to meet it."""
    a, _ = pair
    copy = (a.folder / "state" / "policy.json").read_text()
    forged = {"text": policy_text(a.folder, 9), "signatures": []}
    payload: dict[str, object] = {"step": "policy", "version": 9, "policy": forged}
    append(server, a, payload, sealed=sealed)
    propose = ProposeAct(
        request_id="p",
        act=RunCeremony(request_id="c", ceremony="rotate-mac"),
    )
    expected = "policy" if sealed else "journal-broken"
    assert (await a.expect(propose, Fault, name="operator-1")).code == expected
    assert (await a.status()).state == "sealed"
    assert (a.folder / "state" / "policy.json").read_text() == copy


async def test_a_row_that_no_appliance_wrote_seals_whatever_it_says(
    pair: tuple[Box, Box], server: Server
) -> None:
    """Recorded as signed, a bundle would pass every limit of the policy."""
    a, b = pair
    coin = await a.coin()
    request = bundle([coin])
    transfer = understand(request, levels={1: 2})
    payload = signed_payload(transfer, Leaving({}))
    append(server, a, payload, kind="signed")
    assert (await a.expect(request, Fault)).code == "journal-broken"
    assert (await a.status()).state == "sealed"
    assert (await b.expect(request, Fault)).code == "journal-broken"


async def test_a_client_that_no_appliance_enrolled_is_none(
    pair: tuple[Box, Box], server: Server
) -> None:
    a, _ = pair
    client = {"name": "x", "role": "operator", "spki_sha256": "ab" * 32}
    append(server, a, {"step": "enrol-client", "clients": [client]})
    status = GetStatus(request_id="s")
    await a.appliance.check()
    assert (await a.expect(status, StatusReport)).state == "sealed"
    assert a.appliance.life.roster.find("ab" * 32) is None


async def test_who_was_revoked_at_one_is_served_by_neither(
    pair: tuple[Box, Box],
) -> None:
    """B serves a request that came before it heard of the revocation."""
    a, b = pair
    coin = await b.coin()
    revoke = RunCeremony(request_id="c", ceremony="revoke-client", subject="hub")
    await a.expect(revoke, CeremonyReport, name="operator-1")
    before = b.appliance.life.roster.find(b.clients["hub"].spki_sha256)
    assert before is not None
    issue = IssueAddress(request_id="i", seed_uuid=new_uuid())
    for request in (bundle([coin]), issue):
        assert (await b.expect(request, Fault)).code == "forbidden"
    assert not await a.rows("signed")


async def test_a_generation_that_one_alone_holds_is_a_fault_at_the_other(
    pair: tuple[Box, Box],
) -> None:
    """A refusal would be final, and the other appliance can sign it."""
    a, b = pair
    old = await a.coin()
    rotate = RunCeremony(request_id="c", ceremony="rotate-salt")
    await a.expect(rotate, CeremonyReport, name="operator-1")
    fresh = await a.coin()
    assert fresh.generation == 2
    request = bundle([fresh])
    assert (await b.expect(request, Fault)).code == "vault-behind"
    await a.expect(request, Signed)
    fetch = FetchBundle(request_id="f", bundle_hash=request.bundle_hash)
    assert (await b.expect(fetch, Fault)).code == "vault-behind"
    backup = RunCeremony(request_id="c", ceremony="backup", dry_run=True)
    await a.expect(backup, CeremonyReport, name="operator-1")
    half = await b.expect(backup, Fault, name="operator-1")
    assert half.code == "vault-behind"
    await b.expect(bundle([old]), Signed)
    assert not await a.rows("refused")
    retire = RunCeremony(request_id="c", ceremony="retire", subject="1")
    await a.expect(retire, CeremonyReport, name="operator-1")
    issue = IssueAddress(request_id="i", seed_uuid=new_uuid())
    assert (await b.expect(issue, Fault)).code == "vault-behind"


async def test_a_server_that_goes_away_makes_unready_and_ready_when_it_is_back(
    tmp_path: Path, password_file: Path
) -> None:
    fragile = Server()
    fragile.start()
    password_file.write_text(fragile.password)
    options = ("--journal-database", fragile.url)
    options += ("--journal-password-file", str(password_file))
    folder = make_appliance(tmp_path / "c", (*CHEAP_ARGON2, *options)).folder
    box = Box(folder)
    try:
        assert await box.appliance.check()
        coin = await box.coin()
        fragile.stop()
        assert (await box.expect(bundle([coin]), Fault)).code == "journal"
        assert not await box.appliance.check()
        assert (await box.status()).state == "unready"
        fragile.start()
        assert await box.appliance.check()
        await box.expect(bundle([coin]), Signed)
        fragile.set(fsync="off")
        assert not await box.appliance.check()
        assert (await box.status()).reason.startswith("journal-unsafe")
        fragile.set()
        assert await box.appliance.check()
    finally:
        await box.close()
        fragile.destroy()


async def test_a_lost_mirror_keeps_the_appliance_down(first: Path) -> None:
    (first / "state" / "mirror.db").unlink()
    box = Box(first)
    assert not await box.appliance.check()
    assert (await box.status()).reason.startswith("mirror-missing")
    await box.close()


async def test_what_operators_do_at_one_is_in_the_chain_of_both(
    pair: tuple[Box, Box],
) -> None:
    a, b = pair
    await a.coin()
    await b.coin()
    assert [row.client for row in await a.rows()] == ["ceremony", "hub", "hub"]
    assert await a.rows() == await b.rows()


# --- the real process, killed ---------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "failpoint",
    [
        "journal.sign.before-commit",
        "journal.mirror.before-commit:2",
        "journal.sign.after-commit",
    ],
)
async def test_a_killed_appliance_signs_only_what_stands_in_the_database(
    first: Path, server: Server, failpoint: str
) -> None:
    """Killed between database and mirror too: it catches up, and one hash stands."""
    marker = first / "reached"
    process = ApplianceProcess(first)
    process.environment = {
        "SALTKEEP_FAILPOINT": failpoint,
        "SALTKEEP_FAILPOINT_FILE": str(marker),
    }
    process.start()
    async with process.client("hub") as hub:
        uuid = new_uuid()
        issued = await hub.expect(IssueAddress(request_id="i", seed_uuid=uuid), Issued)
        coin = Coin(uuid, issued.address)
        token, request = hub.head, bundle([coin])
        work = asyncio.create_task(hub.ask(request))
        while not (marker.exists() and marker.read_text()):
            await asyncio.sleep(0.01)
        assert process.process
        process.process.send_signal(signal.SIGKILL)
        process.process.wait()
        process.process = None
        with pytest.raises(FaultError):
            await work
    process.environment = {}
    process.start()
    try:
        async with process.client("hub") as hub:
            hub.head = token
            reply = await hub.ask(bundle([coin]))  # another hash
            status = await hub.expect(GetStatus(request_id="s"), StatusReport)
            assert status.state == "ready"
            if failpoint == "journal.sign.before-commit":
                assert isinstance(reply, Signed)
            else:
                assert isinstance(reply, Refused)
                assert reply.recorded_bundle_hash == request.bundle_hash
                await hub.expect(request, Signed)
    finally:
        process.stop()
    schema = schema_of(journal_id_of(first))
    signed = f"select count(*) from {schema}.signed"  # noqa: S608
    assert server.query(signed) == [[1]]
    copy = shutil.copytree(first / "state", first / "copy")
    with sqlite3.connect(copy / "mirror.db") as mirror:
        known = mirror.execute(
            "select count(*) from spent_key where bundle_hash is not null"
        )
        assert known.fetchone() == (1,)
    mirror.close()


@pytest.mark.parametrize("text", ["\0", "9" * 80 + "\0", "\ud800", "ü" * 81, ""])
async def test_what_is_no_hash_is_a_fault_and_seals_nothing(
    pair: tuple[Box, Box], text: str
) -> None:
    """PostgreSQL takes no text with a zero in it; that is no damage."""
    a, _ = pair
    fetch = FetchBundle(request_id="f", bundle_hash=text)
    assert (await a.expect(fetch, Fault)).code == "unknown-bundle"
    assert (await a.status()).state == "ready"


async def test_an_appliance_that_joins_again_keeps_its_mirror_and_is_held_to_it(
    first: Path, second: Path
) -> None:
    box = Box(first)
    assert await box.appliance.check()
    await box.coin()
    head = box.appliance.life.require_running().journal.head
    await box.close()
    database = database_of(load_config(second / "appliance.toml"))
    journal_id = journal_id_of(first)
    assert join_journal(database, journal_id=journal_id, again=True) == head
    mirror = second / "state" / "mirror.db"
    altered = sqlite3.connect(mirror)
    altered.execute("update seen set hash = ?", ("0" * 64,))
    altered.commit()
    altered.close()
    with pytest.raises(BrokenInvariantError):
        join_journal(database, journal_id=journal_id, again=True)
    assert mirror.exists()


async def test_two_appliances_have_a_panel_each_and_neither_vouches_for_the_other(
    first: Path, second: Path, tmp_path: Path
) -> None:
    with (
        panel_of(first, tmp_path / "panel-a") as panel_a,
        panel_of(second, tmp_path / "panel-b") as panel_b,
    ):
        for folder, panel in ((first, panel_a), (second, panel_b)):
            await pairing(folder, panel)
        async with opened(first) as a, opened(second) as b:
            await enrol(a)
            await b.ask(GetStatus(request_id="s", head=(await a.status()).head))
            await enrol(b)
            coins = [await a.coin() for _ in range(3)]
            for box, coin in zip((a, b, b), coins, strict=True):
                await box.expect(bundle([coin]), Signed)
            panels = [
                json.loads(row.payload)["panel"] for row in await a.rows("signed")
            ]
            assert panels[0] != panels[1] == panels[2]
            assert (counted(panel_a), counted(panel_b)) == (2 + 1, 2 + 2)
        async with opened(second) as b:  # its own rows are all there; and the others'?
            assert not (await b.status()).anchored
