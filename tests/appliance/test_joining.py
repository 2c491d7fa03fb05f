# SPDX-License-Identifier: Apache-2.0
"""A second appliance, on a token of its own, joins a journal in PostgreSQL."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import msgspec
import pytest

from appliance.config import load_config
from appliance.errors import RefusedError
from appliance.hsm import Hsm
from appliance.installation import Paths, open_hsm
from appliance.joining import JoinError, JoinRequest, begin, finish
from appliance.journal_database import database_of
from appliance.pytest_plugin import CHEAP_ARGON2, make_appliance
from appliance.receipt import RECEIPT_TYPE, read_statement, successors
from appliance.wire import (
    CeremonyReport,
    Fault,
    IssueAddress,
    Issued,
    ProposeAct,
    RunCeremony,
    Signed,
)
from tests.appliance.box import Box, command
from tests.appliance.bundles import bundle, new_uuid
from tests.postgres import Server


@pytest.fixture
def first(tmp_path: Path, server: Server) -> Path:
    """The folder of an appliance whose journal lies in PostgreSQL."""
    password = tmp_path / "password"
    password.touch(mode=0o600)
    password.write_text(server.password)
    options = ("--journal-database", server.url)
    options += ("--journal-password-file", str(password))
    return make_appliance(tmp_path / "a", (*CHEAP_ARGON2, *options)).folder


@pytest.fixture
def joining(tmp_path: Path, first: Path) -> Path:
    """A host with a token of its own, and nothing in its state folder."""
    folder = make_appliance(tmp_path / "b", CHEAP_ARGON2).folder
    shutil.rmtree(folder / "state")
    text = (folder / "appliance.toml").read_text()
    journal = (first / "appliance.toml").read_text().split("[journal]\n")[1]
    lines = journal.split("\n\n")[0]
    before, _, after = text.partition("[journal]\n")
    (folder / "appliance.toml").write_text(f"{before}[journal]\n{lines}\n{after}")
    return folder


@pytest.fixture
async def a(first: Path) -> AsyncGenerator[Box]:
    box = Box(first)
    assert await box.appliance.check(), box.appliance.life.unready
    yield box
    await box.close()


@pytest.fixture
def hsm(joining: Path) -> Iterator[Hsm]:
    opened = open_hsm(load_config(joining / "appliance.toml"))
    yield opened
    opened.close()


def say(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = command(folder, *arguments)
    assert done.returncode == 0, done.stderr
    return done


async def transferred(box: Box, request: str) -> Path:
    """Have two operators approve a request; returns the transfer."""
    act = RunCeremony(request_id="", ceremony="enrol-appliance", subject=request)
    proposed = await box.propose(act)
    assert "fingerprint" in proposed.acts[0].shown[1]
    await box.approve(proposed, 1)
    await box.approve(proposed, 2)
    made = (box.folder / "state" / "transfers").iterdir()
    return max(made, key=lambda path: path.stat().st_mtime_ns)


async def joined(box: Box, joining: Path) -> Box:
    """Join as people do, by the commands."""
    running = box.appliance.life.require_running()
    request = joining / "request.json"
    journal_id = running.journal.journal_id
    begun = say(joining, "join", "begin", str(request), "--journal-id", journal_id)
    fingerprint = begun.stdout.splitlines()[-1]
    transfer = await transferred(box, request.read_text())
    rows = await box.rows("ceremony")
    assert '"enrol-appliance"' in rows[-1].payload
    act = RunCeremony(
        request_id="d",
        ceremony="enrol-appliance",
        subject=request.read_text(),
        dry_run=True,
    )
    dry = await box.expect(act, CeremonyReport, name="operator-1")
    assert fingerprint in dry.steps[1]
    identity = str(box.folder / "identity.pem")
    done = say(joining, "join", "finish", str(transfer), "--identity", identity)
    assert running.journal.head.hash in done.stdout
    return Box(joining)


async def test_it_signs_what_the_first_issued_and_issues_what_the_first_signs(
    a: Box, joining: Path
) -> None:
    coin = await a.coin()
    b = await joined(a, joining)
    assert await b.appliance.check(), b.appliance.life.unready
    b.appliance.life.require_running().heads.anchored = True
    request = bundle([coin])
    signed = await b.expect(request, Signed)
    again = await a.expect(request, Signed)
    assert again.signatures == signed.signatures
    assert (await a.refused(bundle([coin]))).code == "key-spent"
    other = await b.coin()
    await a.expect(bundle([other]), Signed)
    assert (await b.refused(bundle([other]))).code == "key-spent"
    await b.close()


async def test_its_receipts_verify_for_who_pinned_the_first(
    a: Box, joining: Path
) -> None:
    b = await joined(a, joining)
    assert await b.appliance.check()
    b.appliance.life.require_running().heads.anchored = True
    issued = await b.expect(IssueAddress(request_id="i", seed_uuid=new_uuid()), Issued)
    pinned = (a.folder / "identity.pem").read_bytes()
    with pytest.raises(RefusedError):
        read_statement(issued.receipt, kind=RECEIPT_TYPE, identity_pem=pinned)
    found = successors((await b.status()).successions, identity_pem=pinned)
    both = pinned + "".join(found).encode()
    read_statement(issued.receipt, kind=RECEIPT_TYPE, identity_pem=both)
    await b.close()


async def test_an_appliance_behind_is_brought_up_to_date_with_its_own_keys(
    a: Box, joining: Path
) -> None:
    b = await joined(a, joining)
    assert await b.appliance.check()
    identity = (await b.status()).identity_key
    await b.close()
    rotate = RunCeremony(request_id="c", ceremony="rotate-salt")
    await a.expect(rotate, CeremonyReport, name="operator-1")
    coin = await a.coin()
    behind = Box(joining)
    assert not await behind.appliance.check()
    assert "vault-behind" in behind.appliance.life.unready
    await behind.close()
    b = await joined(a, joining)
    assert await b.appliance.check(), b.appliance.life.unready
    assert (await b.status()).identity_key == identity
    b.appliance.life.require_running().heads.anchored = True
    await b.expect(bundle([coin]), Signed)
    await b.close()


async def test_an_appliance_that_lost_its_mirror_joins_anew(
    a: Box, joining: Path
) -> None:
    b = await joined(a, joining)
    assert await b.appliance.check()
    await b.close()
    coin = await a.coin()
    await a.expect(bundle([coin]), Signed)
    (joining / "state" / "mirror.db").unlink()
    without = Box(joining)
    assert not await without.appliance.check()
    assert "mirror-missing" in without.appliance.life.unready
    await without.close()
    b = await joined(a, joining)
    assert await b.appliance.check(), b.appliance.life.unready
    b.appliance.life.require_running().heads.anchored = True
    assert (await b.refused(bundle([coin]))).code == "key-spent"
    await b.close()


async def test_one_operator_hands_out_nothing(a: Box, joining: Path, hsm: Hsm) -> None:
    running = a.appliance.life.require_running()
    paths = Paths(joining / "state")
    request = begin(paths, hsm, running.journal.journal_id, allow_unlocked=True)
    text = msgspec.json.encode(request).decode()
    asked = RunCeremony(request_id="c", ceremony="enrol-appliance", subject=text)
    fault = await a.expect(asked, Fault, name="operator-1")
    assert fault.code == "needs-approvals"
    assert not (a.folder / "state" / "transfers").exists()
    # Asked again, the same request is shown: its fingerprint was read out already.
    again = begin(paths, hsm, running.journal.journal_id, allow_unlocked=True)
    assert again.fingerprint == request.fingerprint


async def test_a_transfer_opens_for_its_request_alone(
    a: Box, joining: Path, hsm: Hsm
) -> None:
    running = a.appliance.life.require_running()
    paths = Paths(joining / "state")
    config = load_config(joining / "appliance.toml")
    request = begin(paths, hsm, running.journal.journal_id, allow_unlocked=True)
    transfer = await transferred(a, msgspec.json.encode(request).decode())
    pem = (a.folder / "identity.pem").read_bytes()

    def attempt(data: bytes, *, identity: bytes = pem) -> None:
        finish(
            paths,
            hsm,
            database_of(config),
            data,
            identity_pem=identity,
            allow_unlocked=True,
        )

    good = transfer.read_bytes()
    document = json.loads(good)
    flipped = "B" if document["secrets"][40] == "A" else "A"
    secrets = document["secrets"][:40] + flipped + document["secrets"][41:]
    with pytest.raises(JoinError, match="altered"):
        attempt(json.dumps(document | {"secrets": secrets}).encode())
    with pytest.raises(JoinError, match="no transfer"):
        attempt(b"{}")
    stranger = (joining / "identity.pem").read_bytes()  # of its first, wiped life
    with pytest.raises(RefusedError):
        attempt(good, identity=stranger)
    other = msgspec.structs.replace(request, token="another")
    wrong = await transferred(a, msgspec.json.encode(other).decode())
    with pytest.raises(JoinError, match="answers request"):
        attempt(wrong.read_bytes())
    assert not paths.vault.exists()
    assert not paths.mirror.exists()
    attempt(good)
    assert paths.vault.exists()
    with pytest.raises(JoinError, match="join begin"):
        attempt(good)


@pytest.mark.parametrize(
    "change",
    [{"journal_id": "0" * 32}, {"key": "00" * 32}, {"identity": "04" + "11" * 64}],
)
async def test_a_request_that_is_none_is_refused(
    a: Box, change: dict[str, str]
) -> None:
    running = a.appliance.life.require_running()
    request = JoinRequest(
        running.journal.journal_id,
        running.vault.content.identity_point,
        "09" + "00" * 31,
        "token",
    )
    text = msgspec.json.encode(msgspec.structs.replace(request, **change)).decode()
    for subject in (text, "{}", ""):
        act = RunCeremony(request_id="", ceremony="enrol-appliance", subject=subject)
        fault = await a.expect(
            ProposeAct(request_id="p", act=act), Fault, name="operator-1"
        )
        assert fault.code == "join"


async def test_a_journal_in_a_file_is_never_shared(box: Box) -> None:
    act = RunCeremony(request_id="", ceremony="enrol-appliance", subject="{}")
    fault = await box.expect(
        ProposeAct(request_id="p", act=act), Fault, name="operator-1"
    )
    assert "file of this host" in fault.message


# --- SIGKILL ----------------------------------------------------------------------


def killed(folder: Path, failpoint: str, marker: Path, *arguments: str) -> None:
    """Run a command and kill it where it stopped itself."""
    config = str(folder / "appliance.toml")
    process = subprocess.Popen(
        [sys.executable, "-m", "appliance", "--config", config, *arguments],
        env=os.environ
        | {"SALTKEEP_FAILPOINT": failpoint, "SALTKEEP_FAILPOINT_FILE": str(marker)},
        stdout=subprocess.DEVNULL,
    )
    deadline_s = time.monotonic() + 40
    while not marker.exists():
        assert process.poll() is None, f"{failpoint} was never reached"
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    process.kill()
    process.wait()


@pytest.mark.slow
@pytest.mark.parametrize(
    "failpoint",
    ["join.keys-made", "join.sealed", "join.mirrored", "join.vault-written"],
)
async def test_a_join_killed_at_any_step_goes_on(
    a: Box, joining: Path, failpoint: str, tmp_path: Path
) -> None:
    running = a.appliance.life.require_running()
    marker, request = tmp_path / "reached", joining / "request.json"
    begin_it = ("join", "begin", str(request), "--journal-id")
    begin_it += (running.journal.journal_id,)
    if failpoint == "join.keys-made":
        await asyncio.to_thread(killed, joining, failpoint, marker, *begin_it)
    say(joining, *begin_it)
    transfer = await transferred(a, request.read_text())
    finish_it = ("join", "finish", str(transfer), "--identity")
    finish_it += (str(a.folder / "identity.pem"),)
    if failpoint != "join.keys-made":
        await asyncio.to_thread(killed, joining, failpoint, marker, *finish_it)
    say(joining, *finish_it)
    assert not (joining / "state" / "join.json").exists()
    b = Box(joining)
    assert await b.appliance.check(), b.appliance.life.unready
    await b.close()


async def test_an_enrolment_cut_short_is_asked_for_again(
    a: Box, joining: Path, hsm: Hsm
) -> None:
    """Journalled, and no file was written: the operators approve it once more."""
    running = a.appliance.life.require_running()
    paths = Paths(joining / "state")
    request = begin(paths, hsm, running.journal.journal_id, allow_unlocked=True)
    text = msgspec.json.encode(request).decode()
    (await transferred(a, text)).unlink()
    assert (await transferred(a, text)).exists()
