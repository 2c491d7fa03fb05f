# SPDX-License-Identifier: Apache-2.0
"""Backups and the way back: last week's over today's signs no key twice."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from appliance.intent import commit
from appliance.interchange import FORMAT, of_journal
from appliance.receipt import successors
from appliance.wire import (
    AcceptHead,
    ActReport,
    CeremonyReport,
    Done,
    Fault,
    GetStatus,
    IssueAddress,
    Issued,
    ProposeAct,
    RunCeremony,
    Signed,
    StatusReport,
    commitment_of,
)
from tests.appliance.box import Box
from tests.appliance.bundles import Coin, bundle


def tool(*arguments: str, answer: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "appliance", *arguments],
        input=answer,
        text=True,
        capture_output=True,
        check=False,
    )


@pytest.fixture(scope="module")
def key() -> tuple[list[str], str]:
    """Three shares, any two of which open backups, and the public key."""
    made = tool(
        *("backup", "make-key", "--threshold", "2", "--shares", "3"), "--allow-unlocked"
    )
    assert made.returncode == 0, made.stderr
    shares = [line for line in made.stdout.splitlines() if line.count(" ") > 15]
    public = re.search("backup key ([0-9a-f]{64})", made.stdout)
    assert public is not None
    assert len(shares) == 3
    return shares, public[1]


async def run(box: Box, ceremony: str, subject: str = "") -> ActReport:
    """Have two operators approve a ceremony; one of them alone is refused."""
    request = RunCeremony(request_id="c", ceremony=ceremony, subject=subject)
    alone = await box.expect(request, Fault, name="operator-1")
    assert alone.code == "needs-approvals"
    proposed = await box.propose(request)
    assert (await box.approve(proposed, 1)).missing == 1
    return await box.approve(proposed, 2)


async def refused(box: Box, ceremony: str, subject: str) -> Fault:
    """A ceremony that can not be done is not even put up for approval."""
    act = RunCeremony(request_id="c", ceremony=ceremony, subject=subject)
    request = ProposeAct(request_id="p", act=act)
    return await box.expect(request, Fault, name="operator-1")


async def backed_up(box: Box, public: str) -> Path:
    await run(box, "set-backup-key", public)
    nightly = RunCeremony(request_id="c", ceremony="backup")
    await box.expect(nightly, CeremonyReport, name="operator-1")
    return max((box.folder / "state" / "backups").iterdir())


def on(box: Box, backup: Path) -> list[str]:
    return [str(backup), "--identity", str(box.folder / "identity.pem")]


def restored(box: Box, backup: Path, shares: list[str]) -> Box:
    """Restore over an emptied state folder, as on a new host."""
    kept = backup.rename(box.folder / "last-week.json")
    shutil.rmtree(box.folder / "state")
    config = str(box.folder / "appliance.toml")
    done = tool(
        *("--config", config, "backup", "restore", *on(box, kept)),
        "--old-appliance-is-dead",
        answer="\n".join(shares) + "\n",
    )
    assert done.returncode == 0, done.stderr
    assert "epoch 2" in done.stdout
    return Box(box.folder)


async def accept_head(box: Box) -> None:
    assert await box.appliance.check(), box.appliance.life.unready
    running = box.appliance.life.running
    assert running is not None
    head = running.journal.head
    accept = AcceptHead(request_id="a", sequence=head.sequence, hash=head.hash)
    await box.expect(accept, Done, name="operator-1")


def interchange(*coins: Coin) -> str:
    keys = [
        {"commitment": commitment_of(coin.seed_uuid), "hashes": "unknown"}
        for coin in coins
    ]
    return json.dumps({"format": FORMAT, "network": "devnet", "keys": keys})


async def test_last_week_s_backup_over_today_s_signs_no_key_twice(
    box: Box, key: tuple[list[str], str]
) -> None:
    shares, public = key
    before, old, released = await box.coin(), await box.coin(), await box.coin()
    signed_before = bundle([before])
    await box.expect(signed_before, Signed)
    backup = await backed_up(box, public)
    new = await box.coin()  # issued and spent after the backup
    for coin in (old, released, new):  # `released` was never attached anywhere
        await box.expect(bundle([coin]), Signed)
    unspent = await box.coin()
    rows = await box.rows()
    seen = box.head
    await box.close()

    again = restored(box, backup, shares[1:])
    await accept_head(again)
    for coin in (old, released, new, unspent, before):
        reply = await again.expect(bundle([coin]), Fault)
        assert reply.code == "recovering"
    report = await again.expect(GetStatus(request_id="s"), StatusReport)
    assert (report.state, report.reason[:10]) == ("unready", "recovering")
    issue = IssueAddress(request_id="i", seed_uuid=new.seed_uuid)
    assert (await again.expect(issue, Fault)).code == "recovering"

    # The hub's token of epoch 1 tells, and seals nothing.
    status = GetStatus(request_id="s", head=seen)
    assert (await again.expect(status, Fault)).code == "epoch-behind"

    export = of_journal(rows, network="devnet")
    assert (await run(again, "import-interchange", export)).missing == 0
    assert (await run(again, "import-interchange", export)).missing == 0
    assert (await run(again, "recover-journal", "complete")).missing == 0

    for coin in (old, released):
        assert (await again.refused(bundle([coin]))).code == "key-spent"
    assert (await again.refused(bundle([new]))).code == "foreign-input"
    assert (await again.refused(issue)).code == "seed-uuid-known"
    await again.expect(signed_before, Signed)  # its hash is known: the same bytes
    await again.expect(bundle([await again.coin()]), Signed)
    report = await again.expect(GetStatus(request_id="s"), StatusReport)
    assert (report.epoch, report.state) == (2, "ready")
    await again.close()

    restarted = Box(box.folder)  # recovered for good, spent for good
    await accept_head(restarted)
    assert (await restarted.refused(bundle([released]))).code == "key-spent"
    await restarted.close()


async def test_a_uuid_issued_again_after_a_restore_gives_another_key(
    box: Box, key: tuple[list[str], str]
) -> None:
    """A hub that hides what it got signed gains nothing by asking anew."""
    shares, public = key
    backup = await backed_up(box, public)
    hidden = await box.coin()  # issued and spent after the backup
    await box.expect(bundle([hidden]), Signed)
    await box.close()
    again = restored(box, backup, shares[1:])
    await accept_head(again)
    await run(again, "recover-journal", "complete")
    request = IssueAddress(request_id="i", seed_uuid=hidden.seed_uuid)
    issued = await again.expect(request, Issued)
    assert issued.generation == 2
    assert issued.address != hidden.address
    assert (await again.refused(bundle([hidden]))).code == "foreign-input"
    report = await again.expect(GetStatus(request_id="s"), StatusReport)
    assert report.generations == ["1 (retired)", "2"]
    await again.close()


async def test_where_nobody_knows_no_key_of_before_signs(
    box: Box, key: tuple[list[str], str]
) -> None:
    shares, public = key
    coin, before = await box.coin(), await box.coin()
    earlier = bundle([before])
    first = await box.expect(earlier, Signed)
    backup = await backed_up(box, public)
    await box.expect(bundle([coin]), Signed)
    await box.close()
    again = restored(box, backup, shares[:2])
    await accept_head(again)
    await run(again, "recover-journal")
    assert (await again.refused(bundle([coin]))).code == "key-spent"
    # What it knows is given again; a second signature of before may be forgotten, so
    # that no bits are counted on; and so may be what an old Hub had signed blind.
    assert (await again.expect(earlier, Signed)).signatures == first.signatures
    spent = again.appliance.life.require_ready().journal.spent_hashes
    spent_key = commit(before.seed_uuid)
    assert spent([spent_key]) == {spent_key: (earlier.bundle_hash, None)}
    blind = RunCeremony(
        request_id="c", ceremony="import-salt", subject="/nowhere", blind=True
    )
    asked = ProposeAct(request_id="p", act=blind)
    shut = await again.expect(asked, Fault, name="operator-1")
    assert "recovered without" in shut.message
    await again.expect(bundle([await again.coin()]), Signed)
    await again.close()


async def test_a_restart_does_not_end_the_recovery(
    box: Box, key: tuple[list[str], str]
) -> None:
    shares, public = key
    coin = await box.coin()
    backup = await backed_up(box, public)
    await box.close()
    for _ in range(2):
        again = (
            restored(box, backup, shares[:2]) if backup.exists() else Box(box.folder)
        )
        await accept_head(again)
        assert (await again.expect(bundle([coin]), Fault)).code == "recovering"
        await again.close()


async def test_importing_only_adds_and_keeps_what_is_known(
    box: Box, key: tuple[list[str], str]
) -> None:
    _ = key
    coin, other = await box.coin(), await box.coin()
    request = bundle([coin])
    first = await box.expect(request, Signed)
    await run(box, "import-interchange", interchange(coin, other))
    second = await box.expect(request, Signed)
    assert first.signatures == second.signatures
    assert (await box.refused(bundle([other]))).code == "key-spent"
    for text in ("{}", interchange(coin).replace("devnet", "mainnet")):
        assert (await refused(box, "import-interchange", text)).code == "bad-request"


async def test_a_large_file_is_read_on_the_host_if_it_is_the_approved_one(
    box: Box, tmp_path: Path
) -> None:
    coin = await box.coin()
    keys = [
        {"commitment": hashlib.sha256(b"%d" % n).hexdigest(), "hashes": "unknown"}
        for n in range(12_000)
    ]
    keys.append({"commitment": commitment_of(coin.seed_uuid), "hashes": "unknown"})
    path = tmp_path / "spent.json"
    text = json.dumps({"format": FORMAT, "network": "devnet", "keys": keys})
    path.write_text(text)
    assert len(text) > 1 << 20  # more than one request holds
    named = f"file:{path}#{hashlib.sha256(text.encode()).hexdigest()}"
    act = RunCeremony(request_id="", ceremony="import-interchange", subject=named)
    proposed = await box.propose(act)
    assert "12001 keys" in proposed.acts[0].shown[0]
    path.write_text(text.replace("unknown", "unknown "))
    assert (await box.approve(proposed, 1)).missing == 1
    exchanged = await box.expect(box.approval(proposed, 2), Fault, name="operator-1")
    assert "another file" in exchanged.message
    path.write_text(text)
    await run(box, "import-interchange", named)
    assert (await box.refused(bundle([coin]))).code == "key-spent"
    spent = [json.loads(row.payload).get("spent", []) for row in await box.rows()]
    assert sum(map(len, spent)) == 12_001
    assert max(map(len, spent)) == 5_000
    for secret in ("12345678\n", "[not] an interchange"):
        digest = hashlib.sha256(secret.encode()).hexdigest()
        path.write_text(secret)
        told = [
            (await refused(box, "import-interchange", f"file:{path}#{guess}")).message
            for guess in ("0" * 64, digest)
        ]
        assert told[0] == told[1]  # one operator can guess no PIN by its digest
        assert digest not in told[0]
    missing = f"file:{tmp_path / 'nothing'}#{'0' * 64}"
    assert "can not read" in (await refused(box, "import-interchange", missing)).message


async def test_successions_outlive_a_restore(
    box: Box, key: tuple[list[str], str]
) -> None:
    shares, public = key
    first = (box.folder / "identity.pem").read_bytes()
    rotate = RunCeremony(request_id="c", ceremony="rotate-identity")
    await box.expect(rotate, CeremonyReport, name="operator-1")
    second = (await box.status()).identity_key
    (box.folder / "identity.pem").write_bytes(first + second.encode())
    backup = await backed_up(box, public)
    await box.close()
    again = restored(box, backup, shares[:2])
    await accept_head(again)
    await run(again, "recover-journal")
    third = (await again.status()).identity_key
    await again.expect(rotate, CeremonyReport, name="operator-1")
    status = await again.status()
    assert successors(status.successions, identity_pem=first) == [second]
    assert successors(status.successions, identity_pem=third.encode()) == [
        status.identity_key
    ]
    await again.close()


async def test_wrong_shares_and_altered_backups_each_have_their_own_error(
    box: Box, key: tuple[list[str], str]
) -> None:
    shares, public = key
    backup = await backed_up(box, public)
    await box.close()
    other = tool(
        *("backup", "make-key", "--threshold", "2", "--shares", "2"), "--allow-unlocked"
    )
    foreign = [line for line in other.stdout.splitlines() if line.count(" ") > 15]
    drill = ["backup", "drill", *on(box, backup), "--allow-unlocked"]
    cases = {
        "share-words": [shares[0]],
        "share-count": [shares[0], shares[0]],
        "share-set": [shares[0], foreign[1]],
        "share-checksum": [shares[0].replace(shares[0].split()[7], "zero"), shares[1]],
        "backup": foreign,
    }
    for code, given in cases.items():
        done = tool(*drill, answer="\n".join(given) + "\n")
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith(f"{code}: "), done.stderr
    passed = tool(*drill, answer="\n".join(shares[:2]) + "\n")
    assert passed.returncode == 0, passed.stderr
    assert "generation 1: canary" in passed.stdout
    document = msgspec.json.decode(backup.read_bytes())
    for part in ("secrets", "rows", "statement"):
        text = document[part]
        flipped = "A" if text[40] != "A" else "B"
        altered = document | {part: text[:40] + flipped + text[41:]}
        backup.write_bytes(msgspec.json.encode(altered))
        done = tool("backup", "verify", *on(box, backup))
        assert done.returncode == 1
        assert done.stderr.split(":")[0] in {"backup", "statement"}


async def test_a_restore_needs_the_statement_and_an_empty_folder(
    box: Box, key: tuple[list[str], str]
) -> None:
    shares, public = key
    backup = await backed_up(box, public)
    await box.close()
    command = ["--config", str(box.folder / "appliance.toml"), "backup", "restore"]
    refused = tool(*command, *on(box, backup))
    assert "--old-appliance-is-dead" in refused.stderr
    done = tool(
        *command,
        *on(box, backup),
        "--old-appliance-is-dead",
        answer="\n".join(shares[:2]) + "\n",
    )
    assert "is initialised" in done.stderr


async def test_without_a_backup_key_there_is_no_backup(box: Box) -> None:
    request = RunCeremony(request_id="c", ceremony="backup")
    fault = await box.expect(request, Fault, name="operator-1")
    assert "set-backup-key" in fault.message
    assert (await refused(box, "set-backup-key", "00" * 32)).code == "backup"


# --- SIGKILL ----------------------------------------------------------------------

ROOT = Path(__file__).parents[2]
RESTORING = (
    "restore.after-keys",
    "restore.after-seal",
    "restore.after-latch",
    "journal.import.before-commit",
    "restore.after-journal",
    "vault.before-rename",
    "vault.after-rename",
)
DAEMON_STEPS = {
    "set-backup-key": ("set-backup-key.journalled", "vault.after-rename"),
    "backup": ("backup.made", "backup.before-rename"),
    "import-interchange": ("journal.spent.before-commit", "journal.spent.after-commit"),
}


ONE_CEREMONY = """\
import asyncio, sys
from pathlib import Path
from tests.appliance.box import Box
from appliance.wire import RunCeremony

async def main():
    box = Box(Path(sys.argv[1]))
    await box.appliance.check()
    box.appliance.life.running.heads.anchored = True
    request = RunCeremony(request_id="c", ceremony=sys.argv[2], subject=sys.argv[3])
    await box.appliance._custody.run(request, client="operator-1")

asyncio.run(main())
"""


def killed_at(
    failpoint: str, marker: Path, command: list[str], answer: str = ""
) -> None:
    """Run a command until it stops itself at a failpoint, and kill it there."""
    points = {"SALTKEEP_FAILPOINT": failpoint, "SALTKEEP_FAILPOINT_FILE": str(marker)}
    with subprocess.Popen(
        [sys.executable, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | points | {"PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdin is not None
        process.stdin.write(answer)
        process.stdin.flush()
        deadline_s = time.monotonic() + 20
        while not marker.exists():
            assert time.monotonic() < deadline_s, f"{failpoint} was never reached"
            assert process.poll() is None, f"{failpoint} was never reached"
            time.sleep(0.02)
        process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("failpoint", RESTORING)
async def test_a_restore_killed_at_any_step_signs_nothing_and_can_be_made_again(
    box: Box, key: tuple[list[str], str], failpoint: str, tmp_path: Path
) -> None:
    shares, public = key
    coin = await box.coin()
    backup = await backed_up(box, public)
    kept = backup.rename(box.folder / "last-week.json")
    await box.close()
    state = box.folder / "state"
    shutil.rmtree(state)
    config = str(box.folder / "appliance.toml")
    command = ["--config", config, "backup", "restore", *on(box, kept)]
    command.append("--old-appliance-is-dead")
    answer = "\n".join(shares[:2]) + "\n"
    program = ["-m", "appliance", *command]
    killed_at(failpoint, tmp_path / "reached", program, answer)
    complete = (state / "vault.json").exists()
    assert complete == (failpoint == "vault.after-rename")
    if not complete:
        shutil.rmtree(state)
        shutil.rmtree(box.folder / "tokens")  # a token holds each label once
        shutil.copytree(tmp_path / "tokens", box.folder / "tokens")
        done = tool(*command, answer=answer)
        assert done.returncode == 0, done.stderr
    again = Box(box.folder)
    await accept_head(again)
    assert (await again.expect(bundle([coin]), Fault)).code == "recovering"
    await again.close()


@pytest.fixture(autouse=True)
def _saved_tokens(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "tokens", tmp_path / "tokens")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ceremony", "failpoint"),
    [(name, point) for name, points in DAEMON_STEPS.items() for point in points],
)
async def test_a_ceremony_killed_at_any_step_can_be_run_again(
    box: Box,
    key: tuple[list[str], str],
    ceremony: str,
    failpoint: str,
    tmp_path: Path,
) -> None:
    coin = await box.coin()
    if ceremony == "backup":
        await run(box, "set-backup-key", key[1])
    subjects = {"set-backup-key": key[1], "import-interchange": interchange(coin)}
    await box.close()
    marker = tmp_path / "reached"
    subject = subjects.get(ceremony, "")
    command = ["-c", ONE_CEREMONY, str(box.folder), ceremony, subject]
    killed_at(failpoint, marker, command)
    again = Box(box.folder)
    await accept_head(again)
    if ceremony == "backup":
        await backed_up(again, key[1])
    else:
        await run(again, ceremony, subjects[ceremony])
    if ceremony == "import-interchange":
        assert (await again.refused(bundle([coin]))).code == "key-spent"
    else:
        await again.expect(bundle([coin]), Signed)
    await again.close()
