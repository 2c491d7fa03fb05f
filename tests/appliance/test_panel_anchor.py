# SPDX-License-Identifier: Apache-2.0
"""The panel's counter anchors the journal: real firmware on a pty, disks put back."""

import asyncio
import contextlib
import json
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from itertools import permutations
from pathlib import Path

import msgspec
import pytest

from appliance import panel_anchor
from appliance.client import ApplianceClient
from appliance.errors import FaultError, JournalError
from appliance.journal_records import is_counted
from appliance.panel_anchor import COUNTS_AT_START, LiveCounter
from appliance.pytest_plugin import ApplianceProcess
from appliance.seal import SealLatch
from appliance.wire import (
    ActReport,
    Fault,
    PendingActs,
    ProposeAct,
    Reply,
    RunCeremony,
    Signed,
    SignTransfer,
)
from tests.appliance.box import Box, approval_of
from tests.appliance.bundles import bundle
from tests.appliance.door import put_policy
from tests.appliance.panelled import (
    counted,
    enrol,
    opened,
    pairing,
    panel_of,
    ready,
)
from tests.appliance.test_backup import (
    accept_head,
    backed_up,
    key,  # noqa: F401 - a fixture
    restored,
    run,
)
from tests.appliance.test_journal import memory_of
from tests.appliance.test_processes import wait_until_frozen
from tests.firmware_bridge.firmwares import Bench

COUNTING = ("journal.panel.committed", "journal.panel.raised")
STARTING = ("journal.panel.compared",)
ENROLLING = ("journal.panel.enrolled",)


@pytest.fixture
def panel(folder: Path, tmp_path: Path) -> Iterator[Bench]:
    """A panel that the appliance in ``folder`` is configured for; not paired yet."""
    with panel_of(folder, tmp_path / "panel") as lent:
        yield lent


@pytest.fixture
async def enrolled(folder: Path, panel: Bench) -> Bench:
    """A panel that the appliance's journal knows; the appliance is stopped."""
    await pairing(folder, panel)
    async with opened(folder) as box:
        await enrol(box)
    return panel


@pytest.fixture
def disk(folder: Path, tmp_path: Path) -> Callable[[str], None]:
    """Copies of all that an appliance has: state, token, keys, configuration."""

    def put(which: str) -> None:
        kind, name = which.split()
        image = tmp_path / f"image-{name}"
        source, target = (folder, image) if kind == "keep" else (image, folder)
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)

    return put


def recorded(box: Box) -> int:
    """Return the count that the journal's rows have come to."""
    running = box.appliance.life.running
    assert running is not None
    (count,) = running.journal.verified.counters.values()
    return count


async def power_back(box: Box, panel: Bench) -> None:
    """Switch the panel on again, and let two operators unseal."""
    panel.start()
    await box.unseal()
    assert await ready(box), box.appliance.life.unready


# --- enrolling ------------------------------------------------------------------------


async def test_a_panel_the_journal_does_not_know_is_enrolled_by_two_operators_first(
    folder: Path, panel: Bench
) -> None:
    await pairing(folder, panel)
    async with opened(folder) as box:
        status = await box.status()
        assert (status.state, status.reason[:18]) == ("unready", "panel-not-enrolled")
        with pytest.raises(AssertionError, match="panel-not-enrolled"):
            await box.coin()
        alone = RunCeremony(request_id="c", ceremony="enrol-panel")
        refused = await box.expect(alone, Fault, name="operator-1")
        assert refused.code == "needs-approvals"
        steps = (await enrol(box)).steps
        assert "its counter at 0" in steps[0]
        assert (await box.status()).state == "ready"
        await box.expect(bundle([await box.coin()]), Signed)
        assert counted(panel) == recorded(box)
        twice = ProposeAct(request_id="p", act=alone)
        again = await box.expect(twice, Fault, name="operator-1")
        assert "is enrolled" in again.message


async def test_without_a_panel_there_is_none_to_enrol(box: Box) -> None:
    act = RunCeremony(request_id="c", ceremony="enrol-panel")
    asked = ProposeAct(request_id="p", act=act)
    assert "no panel" in (await box.expect(asked, Fault, name="operator-1")).message


async def test_what_was_approved_is_the_panel_and_its_count_of_then(
    folder: Path, panel: Bench
) -> None:
    await pairing(folder, panel)
    async with opened(folder) as box:
        act = RunCeremony(request_id="", ceremony="enrol-panel")
        proposed = await box.propose(act)
        await box.approve(proposed, 1)
        await box.appliance.life.guard.raise_counter(1)
        with pytest.raises(AssertionError, match="Propose it again"):
            await box.approve(proposed, 2)
        assert (await box.status()).state == "unready"


async def test_a_panel_paired_anew_is_another_one(
    folder: Path, enrolled: Bench
) -> None:
    before = counted(enrolled)
    enrolled.stop()
    enrolled.set(switch="maintenance", yes="down")
    enrolled.start()  # it forgets the key, and keeps the counter
    await asyncio.sleep(0.3)
    enrolled.set(yes="up")
    await pairing(folder, enrolled)
    async with opened(folder) as box:
        assert "panel-not-enrolled" in (await box.status()).reason
        running = box.appliance.life.running
        assert running is not None
        running.heads.anchored = True  # as a hub's token would
        assert f"its counter at {before}" in (await enrol(box)).steps[0]
        assert (await box.status()).state == "ready"


# --- counting -------------------------------------------------------------------------


@pytest.mark.usefixtures("enrolled")
async def test_after_a_start_the_panel_vouches_for_the_head(folder: Path) -> None:
    async with opened(folder) as box:
        assert (await box.status()).anchored
        await box.expect(bundle([await box.coin()]), Signed)


async def test_commits_in_flight_are_counted_one_by_one(
    folder: Path, enrolled: Bench
) -> None:
    async with opened(folder) as box:
        before = counted(enrolled)
        requests = [bundle([await box.coin()]) for _ in range(4)]
        replies = await asyncio.gather(*(box.ask(one) for one in requests))
        assert [type(one) for one in replies] == [Signed] * 4
        rows = [json.loads(row.payload) for row in await box.rows("signed")]
        assert [row["counter"] - before for row in rows] == [1, 2, 3, 4]
        assert counted(enrolled) == recorded(box) == before + 4


async def test_issuing_costs_no_count(folder: Path, enrolled: Bench) -> None:
    async with opened(folder) as box:
        before = counted(enrolled)
        await box.coin()
        assert counted(enrolled) == before


# --- disks put back -------------------------------------------------------------------


@pytest.mark.usefixtures("enrolled")
async def test_yesterday_s_disk_signs_nothing_whatever_was_put_back_with_it(
    folder: Path, disk: Callable[[str], None]
) -> None:
    async with opened(folder) as box:
        coin = await box.coin()
        head = box.head
    assert head is not None
    disk("keep yesterday")
    async with opened(folder) as box:
        today = bundle([coin])
        await box.expect(today, Signed)
    disk("back yesterday")
    for _ in range(2):  # a restart changes nothing
        async with opened(folder) as box:
            status = await box.status()
            assert (status.state, status.reason[:15]) == ("sealed", "head-regression")
            told = msgspec.structs.replace(bundle([coin]), head=head)  # by the hub
            assert (await box.expect(told, Fault)).code == "sealed"
    async with opened(folder) as box:  # nor do two operators
        assert "head-regression" in (await box.unseal()).steps[0]
        assert (await box.status()).state == "sealed"
        assert (await box.expect(bundle([coin]), Fault)).code == "sealed"


@pytest.mark.usefixtures("enrolled")
async def test_a_copy_of_before_the_last_start_is_too_old_already(
    folder: Path, disk: Callable[[str], None]
) -> None:
    disk("keep yesterday")
    async with opened(folder):
        pass
    disk("back yesterday")
    async with opened(folder) as box:
        assert (await box.status()).reason.startswith("head-regression")


def unlatch(folder: Path) -> None:
    """Open the seal's latch, as who has the disk can."""
    latch = SealLatch(folder / "state" / "seal.latch")
    if latch.seal is not None:
        latch.clear(latch.seal.latch_id)


async def uncounted(
    folder: Path, panel: Bench, request: SignTransfer, before: Callable[[], None]
) -> None:
    """Have a bundle committed that the panel is not there to count."""
    async with opened(folder) as box:
        assert box.appliance.life.state == "ready"
        before()
        panel.stop()
        reply = await box.expect(request, Fault)
        assert reply.code == "panel", reply
    panel.start()


@pytest.mark.parametrize("order", [*permutations(["a", "b"])], ids="-".join)
async def test_of_two_histories_cut_short_before_the_count_one_signs_at_most(
    folder: Path,
    enrolled: Bench,
    disk: Callable[[str], None],
    order: tuple[str, ...],
) -> None:
    """Both disks hold a row that spends the very key, for different bundles."""
    async with opened(folder) as box:
        coin = await box.coin()
    wanted = {"a": bundle([coin]), "b": bundle([coin])}
    assert wanted["a"].bundle_hash != wanted["b"].bundle_hash
    await uncounted(folder, enrolled, wanted["b"], lambda: disk("keep start"))
    disk("keep b")
    disk("back start")
    await uncounted(folder, enrolled, wanted["a"], lambda: None)
    disk("keep a")
    released = set()
    for name in order:
        disk(f"back {name}")
        unlatch(folder)
        async with opened(folder) as box:
            reply = await box.ask(wanted[name])
            released |= {name} if isinstance(reply, Signed) else set()
    assert released == {"a"}


async def test_a_panel_whose_memory_was_put_back_seals(
    folder: Path, enrolled: Bench
) -> None:
    state = enrolled.folder / "state"
    before = state.read_bytes()
    async with opened(folder) as box:
        await box.expect(bundle([await box.coin()]), Signed)
    enrolled.stop()
    state.write_bytes(before)
    enrolled.start()
    async with opened(folder) as box:
        assert (await box.status()).reason.startswith("panel-counter")


@pytest.mark.usefixtures("enrolled")
async def test_somebody_else_s_count_in_between_seals(folder: Path) -> None:
    async with opened(folder) as box:
        coin = await box.coin()
        guard = box.appliance.life.guard
        for _ in range(2):
            await guard.raise_counter(await guard.counter() + 1)
        assert isinstance(await box.ask(bundle([coin])), Fault)
        assert (await box.status()).reason.startswith("panel-counter")


# --- cut short ------------------------------------------------------------------------


async def test_a_panel_lost_before_the_count_keeps_the_signature_back(
    folder: Path, enrolled: Bench
) -> None:
    async with opened(folder) as box:
        request = bundle([await box.coin()])
        before = counted(enrolled)
        enrolled.stop()
        assert isinstance(await box.ask(request), Fault)
        while not box.appliance.life.latch.seal:
            await asyncio.sleep(0.01)
        assert (await box.expect(request, Fault)).code == "sealed"
        assert counted(enrolled) == before
        await power_back(box, enrolled)
        first = await box.expect(request, Signed)
        assert (await box.expect(request, Signed)).signatures == first.signatures
        assert counted(enrolled) == recorded(box)
        (row,) = await box.rows("signed")
        assert json.loads(row.payload)["counter"] == before + 1


def test_every_failpoint_of_counting_is_visited_here() -> None:
    source = "".join(
        path.read_text() for path in Path("appliance").resolve().glob("*.py")
    )
    found = set(re.findall(r'failpoint\("(journal\.panel\.[a-z-]+)"\)', source))
    assert found == {*COUNTING, *STARTING, *ENROLLING}


async def frozen(process: ApplianceProcess) -> None:
    """Kill the process, as a power cut would, once it has reached its failpoint."""
    pid = await wait_until_frozen(process.folder / "reached")
    assert process.process
    assert pid == process.process.pid
    process.process.send_signal(signal.SIGKILL)
    process.process.wait()
    process.process = None
    process.environment = {}
    (process.folder / "reached").unlink()


@pytest.mark.parametrize("failpoint", COUNTING)
async def test_a_kill_around_the_count_of_a_signature_repeats_the_same_bytes(
    folder: Path, enrolled: Bench, process: ApplianceProcess, failpoint: str
) -> None:
    async with opened(folder) as box:
        request = bundle([await box.coin()])
    process.environment = {
        "SALTKEEP_FAILPOINT": f"{failpoint}:3",  # two are the start's
        "SALTKEEP_FAILPOINT_FILE": str(folder / "reached"),
    }
    process.start()
    client = process.client("hub")
    asking = asyncio.create_task(ask(client, request))
    await frozen(process)
    assert not isinstance(await asking, Signed)
    ahead = 1 if failpoint == "journal.panel.committed" else 0
    before = counted(enrolled)
    process.start()
    async with process.client("hub") as hub:
        first = await hub.expect(request, Signed)
        assert (await hub.expect(request, Signed)).signatures == first.signatures
    assert counted(enrolled) == before + ahead + 2
    process.stop()


async def ask(client: ApplianceClient, request: SignTransfer) -> Reply | None:
    """Ask; None if the appliance is gone before it answers."""
    async with client:
        with contextlib.suppress(FaultError):
            return await client.ask(request)
    return None


@pytest.mark.parametrize(
    "failpoint",
    ["journal.panel.compared", "journal.panel.committed", "journal.panel.raised:2"],
)
async def test_a_start_that_is_killed_is_followed_by_one_that_is_ready(
    folder: Path, enrolled: Bench, process: ApplianceProcess, failpoint: str
) -> None:
    process.environment = {
        "SALTKEEP_FAILPOINT": failpoint,
        "SALTKEEP_FAILPOINT_FILE": str(folder / "reached"),
    }
    process.start(until="appliance listening on")
    await frozen(process)
    async with opened(folder) as box:
        assert (await box.status()).anchored
        await box.expect(bundle([await box.coin()]), Signed)
        assert counted(enrolled) == recorded(box)


async def test_a_kill_while_a_panel_is_enrolled_leaves_it_enrolled(
    folder: Path, panel: Bench, process: ApplianceProcess
) -> None:
    await pairing(folder, panel)
    process.environment = {
        "SALTKEEP_FAILPOINT": ENROLLING[0],
        "SALTKEEP_FAILPOINT_FILE": str(folder / "reached"),
    }
    process.start()
    act = RunCeremony(request_id="", ceremony="enrol-panel")
    async with process.client("operator-1") as one:
        proposed = await one.expect(ProposeAct(request_id="p", act=act), PendingActs)
        await one.expect(approval_of(folder, proposed, 1), ActReport)
    last = ask(process.client("operator-2"), approval_of(folder, proposed, 2))
    asking = asyncio.create_task(last)
    await frozen(process)
    await asking
    async with opened(folder) as box:
        assert (await box.status()).state == "ready"
        assert counted(panel) == recorded(box) == COUNTS_AT_START


# --- what the policy wants ------------------------------------------------------------


REQUIRED = "[panel]\nrequired = true\n"


@pytest.mark.usefixtures("enrolled")
async def test_a_policy_that_wants_a_panel_is_not_talked_around_by_the_configuration(
    folder: Path,
) -> None:
    async with opened(folder) as box:
        coin = await box.coin()
        await put_policy(box, 2, REQUIRED)
        await box.expect(bundle([coin]), Signed)
        coin = await box.coin()
    path = folder / "appliance.toml"
    path.write_text(path.read_text().partition("\n[panel]\n")[0])
    async with opened(folder) as box:
        running = box.appliance.life.running
        assert running is not None
        running.heads.anchored = True  # a hub's token would
        status = await box.status()
        assert (status.state, status.reason[:14]) == ("unready", "panel-required")
        assert (await box.expect(bundle([coin]), Fault)).code == "panel-required"


async def test_a_policy_that_wants_a_panel_stops_an_appliance_without_one(
    box: Box,
) -> None:
    coin = await box.coin()
    await put_policy(box, 2, REQUIRED)
    assert (await box.expect(bundle([coin]), Fault)).code == "panel-required"


# --- restored -------------------------------------------------------------------------


async def test_after_a_restore_the_panel_is_enrolled_anew(
    folder: Path,
    enrolled: Bench,
    key: tuple[list[str], str],  # noqa: F811
) -> None:
    shares, public = key
    async with opened(folder) as box:
        coin = await box.coin()
        backup = await backed_up(box, public)
        await box.expect(bundle([coin]), Signed)
    again = restored(box, backup, shares[1:])
    await accept_head(again)
    assert (await again.expect(bundle([coin]), Fault)).code == "recovering"
    assert f"its counter at {counted(enrolled)}" in (await enrol(again)).steps[0]
    await run(again, "recover-journal")
    assert (await again.refused(bundle([coin]))).code == "key-spent"
    await again.expect(bundle([await again.coin()]), Signed)
    assert counted(enrolled) == recorded(again)
    await again.close()
    async with opened(folder) as restarted:
        assert (await restarted.status()).anchored


# --- what the rows may say ------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "payload", "counts"),
    [
        ("signed", {}, True),
        ("blind", {}, True),
        ("ceremony", {"step": "export-seed", "export": {}}, True),
        ("ceremony", {"step": "import-interchange", "spent": []}, True),
        ("ceremony", {"step": "policy"}, True),
        ("ceremony", {"step": "seal"}, False),
        ("ceremony", {"step": "enrol-panel"}, False),
        ("issued", {}, False),
        ("refused", {}, False),
    ],
)
def test_what_spends_a_key_or_changes_what_holds_is_counted(
    kind: str, payload: dict[str, object], *, counts: bool
) -> None:
    assert is_counted(kind, payload) == counts


def test_a_count_that_does_not_follow_is_no_row_of_an_appliance() -> None:
    known: tuple[str, dict[str, object]] = (
        "ceremony",
        {"step": "enrol-panel", "panel": "aa", "counter": 7},
    )
    assert memory_of(known, ("x", {"panel": "aa", "counter": 8})).counters == {"aa": 8}
    for panel, counter in (("aa", 7), ("aa", 9), ("bb", 8)):
        with pytest.raises((ValueError, LookupError)):
            memory_of(known, ("x", {"panel": panel, "counter": counter}))
    assert memory_of(known, ("x", {"counter": 1})).counters == {"aa": 7}


def test_a_replaced_panel_is_unknown_unless_the_journal_is_shared() -> None:
    def enrolling(panel: str, *, alone: bool) -> tuple[str, dict[str, object]]:
        payload = {"step": "enrol-panel", "panel": panel, "counter": 1, "alone": alone}
        return "ceremony", payload

    old = enrolling("aa", alone=True)
    assert memory_of(old, enrolling("bb", alone=True)).counters == {"bb": 1}
    assert memory_of(old, enrolling("bb", alone=False)).counters == {"aa": 1, "bb": 1}


@pytest.mark.usefixtures("enrolled")
async def test_a_counter_of_another_panel_counts_nothing(folder: Path) -> None:
    async with opened(folder) as box:
        guard = box.appliance.life.guard
        before = await guard.counter()
        other = LiveCounter(guard, asyncio.get_running_loop(), "0" * 16)
        with pytest.raises(JournalError, match="another panel"):
            await asyncio.to_thread(other.raise_to, before + 1)
        assert await guard.counter() == before


async def test_a_panel_that_does_not_answer_in_time_has_not_counted(
    folder: Path, enrolled: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(panel_anchor, "_PATIENCE_S", 0.2)
    async with opened(folder) as box:
        guard = box.appliance.life.guard
        value = await guard.counter() + 1
        counter = LiveCounter(guard, asyncio.get_running_loop(), guard.panel_id)
        assert enrolled._process is not None
        enrolled._process.send_signal(signal.SIGSTOP)
        with pytest.raises(JournalError, match="does not count"):
            await asyncio.to_thread(counter.raise_to, value)
        enrolled._process.send_signal(signal.SIGCONT)
