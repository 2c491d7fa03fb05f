# SPDX-License-Identifier: Apache-2.0
"""The real process: killed anywhere, traced, and looked into."""

import asyncio
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from appliance.client import ApplianceClient
from appliance.errors import FaultError
from appliance.journal_chain import verify_chain
from appliance.pytest_plugin import (
    CHEAP_ARGON2,
    ApplianceProcess,
    make_appliance,
)
from appliance.wire import (
    AcceptHead,
    Done,
    Fault,
    FetchBundle,
    IssueAddress,
    Issued,
    Refused,
    Reply,
    Request,
    Signed,
    SignTransfer,
)
from tests.appliance.bundles import Coin, bundle, new_address, new_uuid

ISSUING = (
    "appliance.issue.before-derive",
    "appliance.issue.after-derive",
    "appliance.issue.after-receipt",
    "journal.issue.before-commit",
    "journal.issue.after-commit",
    "appliance.before-reply",
)
SIGNING = (
    "appliance.sign.received",
    "appliance.sign.understood",
    "appliance.sign.derived",
    "appliance.sign.decided",
    "journal.sign.before-insert",
    "journal.sign.before-commit",
    "journal.sign.after-commit",
    "appliance.sign.committed",
    "appliance.sign.signed",
    "appliance.before-reply",
)
REFUSING = (
    "appliance.refuse.decided",
    "journal.refuse.before-commit",
    "journal.refuse.after-commit",
    "appliance.before-reply",
)
STARTING = ("appliance.start.vault-open", "appliance.start.journal-open")
INITIALISING = (
    "init.after-keys",
    "init.after-seal-of-salt",
    "init.after-latch",
    "init.after-journal",
    "vault.before-rename",
    "vault.after-rename",
)
ELSEWHERE = (  # by tests of their own
    *("rotate", "retire", "policy", "act"),
    *("tls", "client", "blind", "journal.blind", "journal.mirror", "join"),
    *("backup", "restore", "set-backup-key", "journal.import", "journal.spent"),
    *("export", "journal.export", "journal.panel"),
)
OPERATING = ("journal.ceremony.before-commit",)


def test_every_failpoint_of_the_appliance_is_visited_here() -> None:
    folder = Path(__file__).parents[2] / "appliance"
    found = set()
    for path in folder.glob("*.py"):
        found |= set(re.findall(r'failpoint\("([^"]+)"\)', path.read_text()))
    found = {name for name in found if not name.startswith(ELSEWHERE)}
    assert found == {
        *ISSUING,
        *SIGNING,
        *REFUSING,
        *STARTING,
        *INITIALISING,
        *OPERATING,
    }


def frozen_process(path: Path) -> int:
    if not path.exists() or not path.read_text():
        return 0
    pid = int(path.read_text())
    state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    return pid if state in "Tt" else 0


def begin_ceremony(box: Path, failpoint: str, marker: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "appliance", "init", "--softhsm", str(box)]
    command += ["--network", "devnet", "--listen-port", "0", *CHEAP_ARGON2]
    variables = {"SALTKEEP_FAILPOINT": failpoint}
    variables |= {"SALTKEEP_FAILPOINT_FILE": str(marker)}
    return subprocess.Popen(
        command, env=os.environ | variables, stdout=subprocess.DEVNULL
    )


def begin_trace(pid: int, trace: Path) -> subprocess.Popen[bytes]:
    """Attach strace and wait until it is attached."""
    calls = "trace=fdatasync,fsync,write,pwrite64,writev,sendto,sendmsg"
    command = ["strace", "-f", "-yy", "-ttt", "-s", "0", "-o", str(trace), "-e", calls]
    tracer = subprocess.Popen([*command, "-p", str(pid)], stderr=subprocess.PIPE)
    assert tracer.stderr
    tracer.stderr.readline()
    return tracer


async def wait_until_frozen(path: Path) -> int:
    """Return the process id that reached its failpoint."""
    for _ in range(1500):
        pid = frozen_process(path)
        if pid:
            return pid
        await asyncio.sleep(0.01)
    raise AssertionError("the failpoint was never reached")


async def ask(process: ApplianceProcess, request: Request, *, anchor: bool) -> Reply:
    """Ask as a hub; an operator vouches for the head first, if needed."""
    if anchor:
        async with process.client("operator-1") as operator:
            last = (await operator.journal())[-1]
            vouch = AcceptHead(request_id="a", sequence=last.sequence, hash=last.hash)
            await operator.expect(vouch, Done)
    async with process.client("hub") as hub:
        return await hub.ask(request)


async def killed_at(
    process: ApplianceProcess, failpoint: str, request: Request, name: str = "hub"
) -> None:
    """Start, ask, and kill from outside when the failpoint is reached."""
    marker = process.folder / "reached"
    marker.unlink(missing_ok=True)
    head = await current_head(process.folder)
    vouched = head[0] > 1 and failpoint == "appliance.before-reply"
    process.environment = {
        "SALTKEEP_FAILPOINT": f"{failpoint}:2" if vouched else failpoint,
        "SALTKEEP_FAILPOINT_FILE": str(marker),
    }
    if failpoint in STARTING:
        process.start(until="appliance listening on")
        work = None
    else:
        process.start()
        client: ApplianceClient = process.client(name)
        work = asyncio.create_task(ask_until_killed(client, process, request, head))
    pid = await wait_until_frozen(marker)
    assert process.process
    assert pid == process.process.pid
    process.process.send_signal(signal.SIGKILL)
    process.process.wait()
    process.process = None
    process.environment = {}
    if work is not None:
        await work


async def current_head(folder: Path) -> tuple[int, str]:
    """Read the last row from a copy, since the file is locked."""
    copy = folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for path in (folder / "state").glob("journal.db*"):
        shutil.copy(path, copy)
    with sqlite3.connect(copy / "journal.db") as database:
        query = "select sequence, hash from row order by sequence desc limit 1"
        (found,) = database.execute(query).fetchall()
    database.close()
    return int(found[0]), str(found[1])


async def ask_until_killed(
    client: ApplianceClient,
    process: ApplianceProcess,
    request: Request,
    head: tuple[int, str],
) -> None:
    if head[0] > 1 and not isinstance(request, AcceptHead):
        async with process.client("operator-2") as operator:
            vouch = AcceptHead(request_id="a", sequence=head[0], hash=head[1])
            await operator.expect(vouch, Done)
    async with client:
        with pytest.raises(FaultError) as error:
            await client.ask(request)
        assert error.value.code == "unreachable"


def spent_keys(folder: Path) -> dict[str, set[str]]:
    """Return every hash each key was ever recorded with, from the rows."""
    hashes: dict[str, set[str]] = {}
    with sqlite3.connect(folder / "state" / "journal.db") as database:
        for (payload,) in database.execute(
            "select payload from row where kind='signed'"
        ):
            data = json.loads(payload)
            for commitment in data["commitments"]:
                hashes.setdefault(commitment, set()).add(data["bundle_hash"])
    database.close()
    return hashes


async def verified(process: ApplianceProcess) -> None:
    async with process.client("auditor") as auditor:
        assert verify_chain(await auditor.journal())


async def coins_of(process: ApplianceProcess, count: int) -> list[Coin]:
    coins = []
    async with process.client("hub") as hub:
        for _ in range(count):
            uuid = new_uuid()
            request = IssueAddress(request_id="i", seed_uuid=uuid)
            coins.append(Coin(uuid, (await hub.expect(request, Issued)).address))
    return coins


@pytest.mark.slow
@pytest.mark.parametrize("failpoint", ISSUING)
async def test_killed_while_issuing(process: ApplianceProcess, failpoint: str) -> None:
    uuid = new_uuid()
    request = IssueAddress(request_id="i", seed_uuid=uuid)
    await killed_at(process, failpoint, request)
    process.start()
    first = await ask(process, request, anchor=True)
    again = await ask(process, request, anchor=False)
    assert isinstance(first, Issued)
    assert isinstance(again, Issued)
    assert first.receipt == again.receipt
    await verified(process)


@pytest.mark.slow
@pytest.mark.parametrize("failpoint", SIGNING)
async def test_killed_while_signing(process: ApplianceProcess, failpoint: str) -> None:
    process.start()
    coins = await coins_of(process, 2)
    process.stop()
    request = bundle(coins)
    await killed_at(process, failpoint, request)
    process.start()
    signed = await ask(process, request, anchor=True)
    assert isinstance(signed, Signed)
    fetch = FetchBundle(request_id="f", bundle_hash=request.bundle_hash)
    fetched = await ask(process, fetch, anchor=False)
    assert fetched.signatures == signed.signatures
    other = await ask(process, bundle(coins), anchor=False)
    assert isinstance(other, Refused)
    assert other.code == "key-spent"
    await verified(process)
    process.stop()
    keys = spent_keys(process.folder)
    assert len(keys) == 2
    assert all(hashes == {request.bundle_hash} for hashes in keys.values())


@pytest.mark.slow
@pytest.mark.parametrize("failpoint", SIGNING[4:8])
async def test_killed_while_signing_and_asked_for_another_bundle(
    process: ApplianceProcess, failpoint: str
) -> None:
    """The hub may have planned anew: exactly one of both is ever signed."""
    process.start()
    coins = await coins_of(process, 1)
    process.stop()
    first, second = bundle(coins), bundle(coins)
    await killed_at(process, failpoint, first)
    process.start()
    replies = [
        await ask(process, second, anchor=True),
        await ask(process, first, anchor=False),
    ]
    assert [isinstance(reply, Signed) for reply in replies].count(True) == 1
    committed = failpoint in SIGNING[SIGNING.index("journal.sign.after-commit") :]
    assert isinstance(replies[1], Signed) == committed
    await verified(process)
    process.stop()
    assert all(len(hashes) == 1 for hashes in spent_keys(process.folder).values())


@pytest.mark.slow
@pytest.mark.parametrize("failpoint", REFUSING)
async def test_killed_while_refusing(process: ApplianceProcess, failpoint: str) -> None:
    request: SignTransfer = bundle([Coin(new_uuid(), new_address())])
    await killed_at(process, failpoint, request)
    process.start()
    refused = await ask(process, request, anchor=True)
    assert isinstance(refused, Refused)
    assert refused.code == "foreign-input"
    await verified(process)


@pytest.mark.slow
@pytest.mark.parametrize("failpoint", STARTING)
async def test_killed_while_starting(process: ApplianceProcess, failpoint: str) -> None:
    await killed_at(process, failpoint, IssueAddress(request_id="i", seed_uuid=""))
    process.start()
    assert len(await coins_of(process, 1)) == 1
    await verified(process)


@pytest.mark.slow
@pytest.mark.parametrize("failpoint", OPERATING)
async def test_killed_while_vouching(process: ApplianceProcess, failpoint: str) -> None:
    sequence, row_hash = await current_head(process.folder)
    request = AcceptHead(request_id="a", sequence=sequence, hash=row_hash)
    await killed_at(process, failpoint, request, name="operator-1")
    process.start()
    issue = IssueAddress(request_id="i", seed_uuid=new_uuid())
    assert isinstance(await ask(process, issue, anchor=True), Issued)
    await verified(process)


@pytest.mark.slow
@pytest.mark.parametrize("failpoint", INITIALISING)
async def test_killed_while_initialising(tmp_path: Path, failpoint: str) -> None:
    """What is left is either a whole appliance or is plainly refused."""
    box = tmp_path / "box"
    marker = tmp_path / "reached"
    ceremony = begin_ceremony(box, failpoint, marker)
    await wait_until_frozen(marker)
    ceremony.kill()
    await asyncio.to_thread(ceremony.wait)
    appliance = ApplianceProcess(box)
    if failpoint == "vault.after-rename":
        appliance.start()
        assert len(await coins_of(appliance, 1)) == 1
        appliance.stop()
        return
    appliance.start(until="appliance listening on")
    async with appliance.client("hub") as hub:
        request = IssueAddress(request_id="i", seed_uuid=new_uuid())
        reply = await hub.ask(request)
    assert isinstance(reply, Fault)
    appliance.stop()
    with pytest.raises(RuntimeError, match="not empty"):
        make_appliance(box)


# --- durability ----------------------------------------------------------------------


@pytest.mark.slow
async def test_the_journal_is_synced_before_a_reply_is_written(
    process: ApplianceProcess,
) -> None:
    """As the kernel saw it: write, fdatasync, and only then the socket."""
    process.start()
    assert process.process
    trace = process.folder / "trace"
    tracer = begin_trace(process.process.pid, trace)
    coins = await coins_of(process, 1)
    signed = await ask(process, bundle(coins), anchor=False)
    assert isinstance(signed, Signed)
    refused = await ask(process, bundle(coins), anchor=False)
    assert isinstance(refused, Refused)
    process.stop()
    await asyncio.to_thread(tracer.communicate)
    assert_synced_before_replies(trace.read_text(), commits=3)


def assert_synced_before_replies(trace: str, *, commits: int) -> None:
    dirty = False
    synced = replies = 0
    for line in trace.splitlines():
        call = line.split(maxsplit=2)[2]
        if "journal.db-wal>" in call and call.startswith(("write", "pwrite64")):
            dirty = True
        elif "sync" in call and ("journal.db-wal>" in call or "resumed" in call):
            done = dirty and "unfinished" not in call
            synced += done
            dirty = dirty and not done
        elif "<TCP:[" in call and call.startswith(("write", "send")):
            assert not dirty, f"a reply before the sync: {line}"
            replies += 1
    assert synced >= commits
    assert replies >= commits


def test_the_check_of_traces_can_fail() -> None:
    """A trace with the reply before the sync is told from a good one."""
    write = "1 1.0 pwrite64(9</s/journal.db-wal>, ..., 32, 0) = 32"
    sync = "1 2.0 fdatasync(9</s/journal.db-wal>) = 0"
    reply = "1 3.0 sendto(12<TCP:[127.0.0.1:1->127.0.0.1:2]>, ..., 99, 0) = 99"
    assert_synced_before_replies(f"{write}\n{sync}\n{reply}", commits=1)
    for wrong in ([write, reply, sync], [write, reply], [reply]):
        with pytest.raises(AssertionError):
            assert_synced_before_replies("\n".join(wrong), commits=1)


async def test_a_terminated_appliance_ends_by_itself(process: ApplianceProcess) -> None:
    process.start()
    coins = await coins_of(process, 1)
    assert coins
    start_s = time.monotonic()
    process.stop()
    assert time.monotonic() - start_s < 5
    assert "Traceback" not in process.log_path.read_text()
    assert msgspec.json.decode((process.folder / "state/seal.latch").read_bytes()) == {
        "seal": None
    }
