# SPDX-License-Identifier: Apache-2.0
"""The door for seeds: two operators, spent first, for an officer's eyes alone."""

import asyncio
import json
import os
import pty
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from appliance.approvals import Ripe
from appliance.errors import RefusedError
from appliance.intent import commit
from appliance.pytest_plugin import make_appliance
from appliance.seed_export import (
    SealedSeed,
    SeedFileError,
    open_sealed_seed,
    read_sealed_seed,
)
from appliance.wire import (
    ActReport,
    Deferred,
    Done,
    ExportSeed,
    Fault,
    FetchBundle,
    Fetched,
    IssueAddress,
    Issued,
    PendingActs,
    ProposeAct,
    Refused,
    Reply,
    Signed,
    act_digest,
)
from tests.appliance.box import Box, approval_of, command, sign_with
from tests.appliance.bundles import Coin, bundle, new_uuid
from tests.appliance.door import (
    OPEN,
    anchored,
    killed_at,
    mined,
    next_policy,
    officer,
    put_policy,
    second,
    spent_coin,
)
from tests.appliance.memory_scan import children, hashed, occurrences
from trinary import winternitz
from trinary.trytes import trytes_from_bytes

ROOT = Path(__file__).parents[2]
EXPORT = "[doors]\nseed_export = true\n"


@pytest.fixture
async def key(box: Box) -> X25519PrivateKey:
    """An officer of the policy in force, which opens the door."""
    private, lines = officer()
    await put_policy(box, 2, EXPORT + lines)
    return private


def act_for(coin: Coin, **fields: object) -> ExportSeed:
    act = ExportSeed(
        request_id="", seed_uuid=coin.seed_uuid, generation=1, officer="olga"
    )
    return msgspec.structs.replace(act, **fields)


async def ask(box: Box, act: ExportSeed) -> Reply:
    return await box.ask(ProposeAct(request_id="p", act=act), name="operator-1")


async def exported(box: Box, coin: Coin) -> ActReport:
    proposed = await box.propose(act_for(coin))
    assert (await box.approve(proposed, 1)).missing == 1
    return await box.approve(proposed, 2)


def sealed_of(report: ActReport) -> SealedSeed:
    return msgspec.json.decode(report.export, type=SealedSeed)


async def test_an_exported_seed_is_the_seed_of_its_address(
    box: Box, key: X25519PrivateKey
) -> None:
    coin = await box.coin()
    report = await exported(box, coin)
    sealed = sealed_of(report)
    assert (sealed.address, sealed.officer, sealed.network) == (
        coin.address,
        "olga",
        "devnet",
    )
    with open_sealed_seed(sealed, key, allow_unlocked=True) as seed:
        found = winternitz.address(seed, level=sealed.security_level)
    assert found == coin.address
    (written,) = (box.folder / "state" / "exports").iterdir()
    assert written.read_text() == report.export
    assert stat.S_IMODE(written.stat().st_mode) == 0o600


async def test_its_key_is_spent_before_the_seed_is_derived(
    box: Box, key: X25519PrivateKey
) -> None:
    assert key
    coin = await box.coin()
    await exported(box, coin)
    refused = await box.refused(bundle([coin]))
    assert (refused.code, refused.recorded_bundle_hash) == ("key-spent", "")
    row = json.loads((await box.rows("ceremony"))[-1].payload)
    assert row["export"] == {"commitment": commit(coin.seed_uuid), "n": 0}
    names = [one["operator"] for one in row["door"]["signatures"]]
    assert (row["step"], names) == ("export-seed", ["operator-1", "operator-2"])
    await box.close()
    again = Box(box.folder)  # the start checks those signatures
    assert await again.appliance.check(), again.appliance.life.unready
    await again.close()


async def test_a_key_that_has_signed_has_no_bits_left_once_its_seed_is_out(
    box: Box,
) -> None:
    _, lines = officer()
    doors = OPEN + "seed_export = true\n"
    await put_policy(box, 2, doors + lines)
    coin, first = await spent_coin(box)
    request = await mined(box, bundle([coin]))
    await exported(box, coin)
    proposal = ProposeAct(request_id="p", act=second(request))
    refused = await box.expect(proposal, Refused, name="hub")
    assert refused.code in {"exposure", "too-many-signatures"}
    fetch = FetchBundle(request_id="f", bundle_hash=first.bundle_hash)
    await box.expect(fetch, Fetched)
    await box.expect(first, Signed)  # the same bytes, as ever


async def test_what_was_never_issued_has_no_seed(
    box: Box, key: X25519PrivateKey
) -> None:
    assert key
    coin = await box.coin()
    canary = box.appliance.life.require_ready().vault.issuing.canary_uuid
    for act, code in {
        act_for(coin, seed_uuid=canary): "canary",
        act_for(coin, seed_uuid=new_uuid()): "never-issued",
        act_for(coin, generation=2): "never-issued",
        act_for(coin, seed_uuid="x"): "seed-uuid",
        act_for(coin, officer="mallory"): "no-such-officer",
    }.items():
        reply = await ask(box, act)
        assert isinstance(reply, Refused)
        assert reply.code == code
    await box.expect(bundle([coin]), Signed)


async def test_the_door_of_seeds_is_shut_by_default(box: Box) -> None:
    coin = await box.coin()
    reply = await ask(box, act_for(coin))
    assert isinstance(reply, Fault)
    assert reply.code == "door-closed"
    await box.expect(bundle([coin]), Signed)


async def test_neither_one_operator_nor_a_hub_gets_a_seed(
    box: Box, key: X25519PrivateKey
) -> None:
    assert key
    coin = await box.coin()
    proposed = await box.propose(act_for(coin))
    for _ in range(2):
        report = await box.approve(proposed, 1)
        assert (report.missing, report.export) == (1, "")
    by_hub = await box.ask(ProposeAct(request_id="p", act=act_for(coin)), name="hub")
    assert isinstance(by_hub, Fault)
    assert by_hub.code == "forbidden"
    alone = msgspec.structs.replace(act_for(coin), request_id="x")
    assert (await box.expect(alone, Fault, name="operator-1")).code == "forbidden"
    await box.expect(bundle([coin]), Signed)


async def test_presence_is_asked_before_anything_is_spent(box: Box) -> None:
    _, lines = officer()
    await put_policy(box, 2, EXPORT + "presence = true\n" + lines)
    coin = await box.coin()
    proposed = await box.propose(act_for(coin))
    await box.approve(proposed, 1)
    late = await box.expect(box.approval(proposed, 2), Deferred, name="operator-1")
    assert late.code == "presence"
    await box.expect(bundle([coin]), Signed)


async def test_another_officer_s_key_and_an_altered_file_open_nothing(
    box: Box, key: X25519PrivateKey
) -> None:
    sealed = sealed_of(await exported(box, await box.coin()))
    with pytest.raises(SeedFileError, match="the file is for olga"):
        open_sealed_seed(sealed, X25519PrivateKey.generate(), allow_unlocked=True)
    flipped = ("B" if sealed.sealed[9] == "A" else "A").join(
        (sealed.sealed[:9], sealed.sealed[10:])
    )
    for altered in (
        msgspec.structs.replace(sealed, sealed=flipped),
        msgspec.structs.replace(sealed, address="9" * 81),
        msgspec.structs.replace(sealed, security_level=3),
        msgspec.structs.replace(sealed, sealed="A"),
    ):
        with pytest.raises(SeedFileError, match="altered"):
            open_sealed_seed(altered, key, allow_unlocked=True)


async def test_after_an_export_no_plain_seed_is_left_in_memory(tmp_path: Path) -> None:
    """As root sees it: every readable page of both processes."""
    key, lines = officer()
    appliance = make_appliance(tmp_path / "box")
    folder = appliance.folder
    appliance.start()
    try:
        async with appliance.client("operator-1") as operator:
            policy = next_policy(folder, 2, EXPORT + lines)
            await operator.expect(policy, Done)
            async with appliance.client("hub") as hub:
                issue = IssueAddress(request_id="i", seed_uuid=new_uuid())
                issued = await hub.expect(issue, Issued)
            coin = Coin(issue.seed_uuid, issued.address)
            ask = ProposeAct(request_id="p", act=act_for(coin))
            proposed = await operator.expect(ask, PendingActs)
            for number in (1, 2):
                approval = approval_of(folder, proposed, number)
                report = await operator.expect(approval, ActReport)
        with open_sealed_seed(sealed_of(report), key, allow_unlocked=True) as seed:
            needles = [bytes(seed.view), trytes_from_bytes(seed.view).encode()]
        assert winternitz.address(needles[0], level=2) == coin.address
        assert appliance.process
        serve = appliance.process.pid
        for pid in (serve, *children(serve)):
            for needle in needles:
                assert occurrences(pid, hashed(needle)) == []
        assert all(
            one.decode("latin-1") not in appliance.log_path.read_text()
            for one in needles
        )
    finally:
        appliance.stop()


async def test_a_policy_that_takes_force_meanwhile_voids_an_export(
    box: Box, key: X25519PrivateKey
) -> None:
    assert key
    coin = await box.coin()
    proposed = await box.propose(act_for(coin))
    (pending,) = proposed.acts
    digest = act_digest(pending, journal_id=proposed.journal_id)
    names = ["operator-1", "operator-2"]
    signatures = [sign_with(box.folder, name, digest) for name in names]
    _, lines = officer()  # another officer of the same name
    await put_policy(box, 3, EXPORT + lines)
    ripe = Ripe(pending.act, names, signatures, pending)
    doors = box.appliance._operators.doors
    with pytest.raises(RefusedError) as caught:
        await doors.pass_by(ripe, box.operator(1))
    assert caught.value.code == "changed-since-approval"
    await box.expect(bundle([coin]), Signed)  # nothing was spent


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b'{"format": 1}'])
def test_what_is_no_seed_file_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(SeedFileError, match="no seed file"):
        read_sealed_seed(data)


async def test_a_seed_file_of_another_version_is_refused(
    box: Box, key: X25519PrivateKey
) -> None:
    sealed = sealed_of(await exported(box, await box.coin()))
    later = msgspec.structs.replace(sealed, format="saltkeep-seed/2")
    with pytest.raises(SeedFileError, match="saltkeep-seed/1"):
        read_sealed_seed(msgspec.json.encode(later))
    assert read_sealed_seed(msgspec.json.encode(sealed)) == sealed
    assert key


# --- on the officer's machine ---------------------------------------------------------


def key_file(folder: Path, key: X25519PrivateKey) -> Path:
    path = folder / "olga.key"
    text = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(text)
    path.chmod(0o600)
    return path


async def test_open_seed_writes_a_private_file_and_never_a_pipe(
    box: Box, key: X25519PrivateKey, tmp_path: Path
) -> None:
    coin = await box.coin()
    file = tmp_path / "seed.json"
    file.write_text((await exported(box, coin)).export)
    words = ["open-seed", str(file), "--key", str(key_file(tmp_path, key))]
    piped = command(box.folder, *words, "--allow-unlocked")
    assert (piped.returncode, piped.stdout) == (2, "")
    out = tmp_path / "seed.txt"
    done = command(box.folder, *words, "--allow-unlocked", "--out", str(out))
    assert done.returncode == 0, done.stderr
    seed = out.read_text()
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert seed not in done.stdout + done.stderr
    raw = winternitz.seed_bytes_from_trytes(seed)
    assert trytes_from_bytes(raw) == seed
    assert winternitz.address(raw, level=2) == coin.address
    again = command(box.folder, *words, "--allow-unlocked", "--out", str(out))
    assert again.returncode == 1  # never over another file


async def test_open_seed_shows_it_on_a_terminal(
    box: Box, key: X25519PrivateKey, tmp_path: Path
) -> None:
    coin = await box.coin()
    file = tmp_path / "seed.json"
    file.write_text((await exported(box, coin)).export)
    path = key_file(tmp_path, key)
    ours, theirs = pty.openpty()
    words = ["open-seed", str(file), "--key", str(path), "--allow-unlocked"]
    program = [sys.executable, "-m", "appliance", *words]
    await asyncio.to_thread(subprocess.run, program, stdout=theirs, check=True)
    shown = os.read(ours, 4096).decode().strip()
    os.close(ours)
    os.close(theirs)
    raw = winternitz.seed_bytes_from_trytes(shown)
    assert winternitz.address(raw, level=2) == coin.address


def test_an_officer_s_key_is_private_and_made_once(folder: Path) -> None:
    path = folder / "olga.key"
    words = ["officer-key", str(path)]
    made = command(folder, *words, answer="good words\ngood words\n")
    assert made.returncode == 0, made.stderr
    assert '[[officers]]\nname = "..."\nkey = "' in made.stdout
    assert b"ENCRYPTED" in path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert command(folder, *words, "--no-passphrase").returncode == 1


# --- SIGKILL --------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "failpoint",
    [
        "act.approved",
        "journal.export.before-commit",
        "journal.export.after-commit",
        "export.journalled",
        "export.before-rename",
        "export.written",
    ],
)
async def test_killed_at_any_step_no_seed_is_out_whose_key_could_sign(
    failpoint: str, box: Box, key: X25519PrivateKey
) -> None:
    coin = await box.coin()
    await box.close()
    killed_at(box.folder, act_for(coin), failpoint)
    again = await anchored(box.folder)
    out = list((box.folder / "state" / "exports").glob("seed-*.json"))
    rows = [json.loads(row.payload) for row in await again.rows("ceremony")]
    spent = any("export" in row for row in rows)
    assert spent or not out
    if spent:
        assert (await again.refused(bundle([coin]))).code == "key-spent"
    sealed = sealed_of(await exported(again, coin))  # it can be asked for again
    open_sealed_seed(sealed, key, allow_unlocked=True).close()
    await again.close()
