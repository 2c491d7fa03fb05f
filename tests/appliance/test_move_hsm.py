# SPDX-License-Identifier: Apache-2.0
"""Moving to another token: what is refused, and SIGKILL at each step."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.client import ApplianceClient
from appliance.pytest_plugin import ApplianceProcess
from appliance.vault import read_unauthenticated
from appliance.wire import (
    AcceptHead,
    ActReport,
    ApproveAct,
    CeremonyReport,
    Done,
    Fault,
    GetStatus,
    IssueAddress,
    Issued,
    PendingActs,
    ProposeAct,
    RunCeremony,
    Signed,
    StatusReport,
    act_digest,
)
from tests.appliance.box import Box, sign_with
from tests.appliance.bundles import Coin, bundle, new_uuid
from tests.tokens.appliances import approved, replace_table
from tests.tokens.tokens import SoftHsmMaker, Token

BEFORE = (
    "rotate.recorded",
    "rotate.key-made:1",
    "rotate.key-made:2",
    "rotate.key-made:3",
    "rotate.prepared",
    "vault.before-rename",
)
AFTER = (
    "vault.after-rename",
    "rotate.switched",
    "journal.ceremony.before-commit:2",  # the first is the approvals
    "rotate.journalled",
    "rotate.finished",
)


@pytest.fixture
def target(tmp_path: Path) -> Token:
    return SoftHsmMaker().make(tmp_path / "target")


@pytest.fixture
def description(target: Token, tmp_path: Path) -> str:
    path = tmp_path / "target.toml"
    path.write_text(target.table())
    path.chmod(0o600)
    return str(path)


def move(subject: str, *, dry_run: bool = False) -> RunCeremony:
    return RunCeremony(
        request_id="c", ceremony="move-hsm", subject=subject, dry_run=dry_run
    )


async def refused(box: Box, request: RunCeremony) -> str:
    return (await box.expect(request, Fault, name="operator-1")).message


async def test_a_dry_run_shows_the_token_and_makes_nothing(
    box: Box, target: Token, description: str
) -> None:
    report = await box.expect(
        move(description, dry_run=True), CeremonyReport, name="operator-1"
    )
    assert target.label in report.steps[0]
    assert "serial" in report.steps[0]
    assert [step[:2] for step in report.steps] == ["1.", "2.", "3.", "4.", "5.", "6."]
    assert (await box.status()).rotation == ""
    hsm = target.open()
    content = read_unauthenticated(box.folder / "state" / "vault.json")
    number = content.mac_key_label.replace("-0001-", "-0002-")
    with pytest.raises(Exception, match="found 0"):
        hsm.require_safe_key(label=number)
    hsm.close()


async def test_one_operator_can_not_move_an_appliance(
    box: Box, description: str
) -> None:
    fault = await box.expect(move(description), Fault, name="operator-1")
    assert fault.code == "needs-approvals"


async def test_what_describes_the_target_must_belong_to_us_alone(
    box: Box, description: str, tmp_path: Path
) -> None:
    Path(description).chmod(0o644)
    assert "make it 0600" in await refused(box, move(description, dry_run=True))
    missing = str(tmp_path / "missing.toml")
    assert "No such file" in await refused(box, move(missing, dry_run=True))
    Path(description).chmod(0o600)
    Path(description).write_text("[hsm]\nprofil = 'softhsm2'\n")
    assert "unknown field" in await refused(box, move(description, dry_run=True))


async def test_the_token_in_use_is_no_target(box: Box) -> None:
    own = (box.folder / "appliance.toml").read_text().partition("[hsm]\n")[2]
    path = box.folder / "own.toml"
    path.touch(mode=0o600)
    path.write_text("[hsm]\n" + own.partition("\n[")[0])
    message = await refused(box, move(str(path), dry_run=True))
    assert "the token that is in use" in message


async def test_a_wrong_pin_of_the_target_is_tried_once_and_harms_nothing(
    box: Box, target: Token, description: str
) -> None:
    target.pin_file.write_text("wrong-pin")
    for _ in range(3):
        message = await refused(box, move(description, dry_run=True))
        assert "clear-pin" in message
    assert target.pin_file.with_name("pin.latch").read_text() == "PinIncorrect\n"
    await box.expect(bundle([await box.coin()]), Signed)
    assert await box.appliance.check()


async def test_an_extractable_key_in_the_target_is_found_before_anything_is_sealed(
    box: Box, target: Token, description: str
) -> None:
    """Somebody has made a key there with the label that the move will use."""
    from tests.tokens.test_moves import put  # noqa: PLC0415 - needs its script

    content = read_unauthenticated(box.folder / "state" / "vault.json")
    label = content.mac_key_label.replace("-0001-", "-0002-")
    put(target, "secret", label, bytes(32))
    vault = (box.folder / "state" / "vault.json").read_bytes()
    proposed = await box.propose(move(description))
    await box.approve(proposed, 1)
    fault = await box.expect(box.approval(proposed, 2), Fault, name="operator-1")
    assert "is there already" in fault.message
    assert (box.folder / "state" / "vault.json").read_bytes() == vault
    await box.expect(bundle([await box.coin()]), Signed)
    assert (await box.status()).rotation == "move-hsm"


async def test_a_file_changed_between_approval_and_move_moves_nothing(
    box: Box, description: str, tmp_path: Path
) -> None:
    """What two operators signed names the token, not only the file."""
    vault = (box.folder / "state" / "vault.json").read_bytes()
    proposed = await box.propose(move(description))
    await box.approve(proposed, 1)
    Path(description).write_text(SoftHsmMaker().make(tmp_path / "thief").table())
    fault = await box.expect(box.approval(proposed, 2), Fault, name="operator-1")
    assert "Propose it again" in fault.message
    assert (box.folder / "state" / "vault.json").read_bytes() == vault
    assert (await box.status()).rotation == ""


async def test_the_old_keys_stay_and_the_new_token_can_be_rotated(
    box: Box, description: str
) -> None:
    old = read_unauthenticated(box.folder / "state" / "vault.json")
    await approved(box, "move-hsm", description)
    left = next(iter(box.appliance.life._left.values()))
    for label in (old.mac_key_label, old.head_key.kek_label, old.identity_label):
        left.require_safe_key(label=label)
    await box.expect(
        RunCeremony(request_id="c", ceremony="rotate-kek"),
        CeremonyReport,
        name="operator-1",
    )
    await box.expect(bundle([await box.coin()]), Signed)
    steps = [json.loads(row.payload)["step"] for row in await box.rows("ceremony")]
    assert steps[-3:] == ["approved", "move-hsm", "rotate-kek"]


async def test_the_old_token_is_left_once_no_request_can_need_it(
    folder: Path, configure: Callable[[str, str], None], description: str
) -> None:
    configure("limits", "request_timeout_s = 0.5")
    box = Box(folder)
    assert await box.appliance.check()
    old = box.appliance.life.hsm
    worker = old.worker_pid
    await approved(box, "move-hsm", description)
    assert old.worker_pid == worker  # a request that began before may need it
    deadline_s = time.monotonic() + 10
    while old.worker_pid is not None:
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.05)
    assert not Path(f"/proc/{worker}").exists()
    await box.expect(bundle([await box.coin()]), Signed)
    await box.close()


# --- SIGKILL ----------------------------------------------------------------------


async def approve(folder: Path, operator: ApplianceClient, subject: str) -> ActReport:
    """Have two operators approve a move over the channel."""
    request = ProposeAct(request_id="p", act=move(subject))
    proposed = await operator.expect(request, PendingActs)
    (act,) = proposed.acts
    digest = act_digest(act, journal_id=proposed.journal_id)
    for name in ("operator-1", "operator-2"):
        signature = sign_with(folder, name, digest)
        report = await operator.expect(
            ApproveAct(request_id="a", act_id=act.id, signature=signature), ActReport
        )
    return report


async def kill_during_move(
    process: ApplianceProcess, description: str, failpoint: str, marker: Path
) -> None:
    process.environment = {
        "SALTKEEP_FAILPOINT": failpoint,
        "SALTKEEP_FAILPOINT_FILE": str(marker),
    }
    process.start()
    async with process.client("operator-1") as operator:
        work = asyncio.create_task(approve(process.folder, operator, description))
        deadline_s = time.monotonic() + 30
        while not marker.exists():
            assert time.monotonic() < deadline_s, f"{failpoint} was never reached"
            assert not work.done(), await work
            await asyncio.sleep(0.02)
        process.kill()
        work.cancel()
        with contextlib.suppress(BaseException):
            await work
    process.environment = {}


async def go_on(process: ApplianceProcess, ceremony: str, subject: str) -> None:
    """Finish what is under way, then issue and sign."""
    async with process.client("operator-1") as operator:
        last = (await operator.journal())[-1]
        accept = AcceptHead(request_id="a", sequence=last.sequence, hash=last.hash)
        await operator.expect(accept, Done)
        status = await operator.expect(GetStatus(request_id="s"), StatusReport)
        if status.rotation and ceremony == "abandon":
            request = RunCeremony(request_id="c", ceremony="abandon")
            await operator.expect(request, CeremonyReport)
        elif status.rotation:
            await approve(process.folder, operator, subject)
        status = await operator.expect(GetStatus(request_id="s"), StatusReport)
        assert status.rotation == ""
    async with process.client("hub") as hub:
        uuid = new_uuid()
        issued = await hub.expect(IssueAddress(request_id="i", seed_uuid=uuid), Issued)
        await hub.expect(
            bundle([Coin(uuid, issued.address, 100, issued.generation)]), Signed
        )


def token_of(process: ApplianceProcess) -> str:
    content = read_unauthenticated(process.folder / "state" / "vault.json")
    assert content.token is not None
    return content.token.label


@pytest.mark.slow
@pytest.mark.parametrize("ceremony", ["move-hsm", "abandon"])
@pytest.mark.parametrize("failpoint", BEFORE)
async def test_a_move_killed_before_the_switch_goes_on_or_is_taken_back(
    process: ApplianceProcess,
    target: Token,
    description: str,
    tmp_path: Path,
    failpoint: str,
    ceremony: str,
) -> None:
    before = token_of(process)
    await kill_during_move(process, description, failpoint, tmp_path / "reached")
    assert token_of(process) == before
    process.start()
    await go_on(process, ceremony, description)
    process.stop()
    assert token_of(process) == (before if ceremony == "abandon" else target.label)
    if ceremony == "move-hsm":
        replace_table(process.config_path, target)
    process.start()
    process.stop()


@pytest.mark.slow
@pytest.mark.parametrize("failpoint", AFTER)
async def test_a_move_killed_after_the_switch_says_which_token_it_needs_and_goes_on(
    process: ApplianceProcess,
    target: Token,
    description: str,
    tmp_path: Path,
    failpoint: str,
) -> None:
    await kill_during_move(process, description, failpoint, tmp_path / "reached")
    assert token_of(process) == target.label
    process.start(until=f"is sealed for the token '{target.label}'")
    process.stop()
    replace_table(process.config_path, target)
    process.start()
    await go_on(process, "move-hsm", description)
    process.stop()
    process.start()
    process.stop()
