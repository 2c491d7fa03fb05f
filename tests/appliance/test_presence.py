# SPDX-License-Identifier: Apache-2.0
"""A person confirms at the panel: the real firmware on a pty, and a whole appliance."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance import presence_question
from appliance.config import load_config
from appliance.errors import (
    BrokenInvariantError,
    ConfigError,
    DeferredError,
    FaultError,
)
from appliance.intent import understand
from appliance.judgement import Case
from appliance.panel import Grant
from appliance.policy import Payment
from appliance.presence_question import Question
from appliance.wire import (
    ActReport,
    CeremonyReport,
    Deferred,
    Done,
    ExportSeed,
    Fault,
    JournalRow,
    ListActs,
    PendingActs,
    Reply,
    RunCeremony,
    SealNow,
    Signed,
    Unseal,
)
from firmware_bridge.presence import TIMEOUT_S
from tests.appliance.box import Box
from tests.appliance.bundles import bundle, new_address
from tests.appliance.door import (
    OPEN,
    mined,
    next_policy,
    officer,
    put_policy,
    second,
    spent_coin,
)
from tests.appliance.person import Panelled, panelled

ABOVE = "[limits]\npresence_above_i = 50\n"
ASKED = Question("policy", bytes(range(32)), "POLICY\nversion 7")
OTHER = replace(ASKED, digest=bytes(32))


@pytest.fixture
async def guarded(folder: Path, tmp_path: Path) -> AsyncIterator[Panelled]:
    """A ready appliance whose panel is paired and in RUN."""
    async with panelled(folder, tmp_path / "panel") as opened:
        yield opened


def presences(rows: list[JournalRow]) -> list[dict[str, str]]:
    payloads = [json.loads(row.payload) for row in rows]
    return [one["presence"] for one in payloads if "presence" in one]


async def a_withdrawal(box: Box) -> Callable[[], Awaitable[Reply]]:
    await put_policy(box, 2, ABOVE)
    request = bundle([await box.coin(100)])
    return lambda: box.ask(request)


async def a_second_signature(box: Box) -> Callable[[], Awaitable[Reply]]:
    await put_policy(box, 2, f"{OPEN}presence = true\n")
    coin, _ = await spent_coin(box)
    act = second(await mined(box, bundle([coin])))
    proposed = await box.propose(act)
    await box.approve(proposed, 1)
    return lambda: box.ask(box.approval(proposed, 2), name="operator-1")


async def a_seed_export(box: Box) -> Callable[[], Awaitable[Reply]]:
    _, lines = officer()
    await put_policy(box, 2, f"[doors]\nseed_export = true\npresence = true\n{lines}")
    coin = await box.coin()
    act = ExportSeed(
        request_id="", seed_uuid=coin.seed_uuid, generation=1, officer="olga"
    )
    proposed = await box.propose(act)
    await box.approve(proposed, 1)
    return lambda: box.ask(box.approval(proposed, 2), name="operator-1")


async def a_ceremony(box: Box) -> Callable[[], Awaitable[Reply]]:
    await put_policy(box, 2, "[presence]\nceremonies = true\n")
    act = RunCeremony(request_id="c", ceremony="rotate-salt")
    return lambda: box.ask(act, name="operator-1")


async def a_policy(box: Box) -> Callable[[], Awaitable[Reply]]:
    await put_policy(box, 2, "[presence]\npolicy = true\n")
    request = next_policy(box.folder, 3, "")
    return lambda: box.ask(request, name="operator-1")


async def an_unseal(box: Box) -> Callable[[], Awaitable[Reply]]:
    await put_policy(box, 2, "[presence]\nunseal = true\n")
    await box.ask(SealNow(request_id="s", reason="a try"), name="operator-1")
    latch_id = (await box.status()).latch_id
    proposed = await box.propose(Unseal(request_id="", latch_id=latch_id))
    await box.approve(proposed, 1)
    return lambda: box.ask(box.approval(proposed, 2), name="operator-1")


KINDS = {
    "WITHDRAWAL": (a_withdrawal, Signed),
    "SECOND SIGNATURE": (a_second_signature, ActReport),
    "SEED EXPORT": (a_seed_export, ActReport),
    "CEREMONY": (a_ceremony, CeremonyReport),
    "POLICY": (a_policy, Done),
    "UNSEAL": (an_unseal, ActReport),
}


@pytest.mark.parametrize("title", KINDS)
async def test_what_needs_presence_is_done_on_a_yes_and_put_off_on_a_no(
    guarded: Panelled, title: str
) -> None:
    box, panel = guarded.box, guarded.panel
    prepare, done = KINDS[title]
    ask = await prepare(box)
    reply = await guarded.answered("no", ask())
    assert isinstance(reply, Deferred), reply
    assert (reply.code, reply.retry_after_s) == ("presence", 120)
    asking = asyncio.ensure_future(ask())
    shown = await guarded.question()
    reply = await guarded.answered("yes", asking)
    assert isinstance(reply, done), reply
    assert shown.startswith(f"{title}\n")
    (granted,) = presences(await box.rows())
    assert granted["shown"] == shown.rsplit("\n", maxsplit=1)[0]
    assert granted["digest"][:8] == shown.rsplit("\n", maxsplit=1)[1][:8]
    assert not panel.shown()


async def granted(guarded: Panelled) -> Grant:
    return await guarded.answered("yes", guarded.box.appliance.life.guard.ask(ASKED))


async def test_a_grant_is_spent_once(guarded: Panelled) -> None:
    grant = await granted(guarded)
    assert grant.spend(ASKED)
    with pytest.raises(DeferredError, match="used before"):
        grant.spend(ASKED)


async def test_a_grant_is_for_what_was_shown_and_spent_on_anything(
    guarded: Panelled,
) -> None:
    grant = await granted(guarded)
    with pytest.raises(DeferredError, match="something else"):
        grant.spend(OTHER)
    with pytest.raises(DeferredError, match="used before"):
        grant.spend(ASKED)


async def test_a_grant_expires(guarded: Panelled) -> None:
    grant = await granted(guarded)
    late_s = grant.clock_s() + TIMEOUT_S + 1
    with pytest.raises(DeferredError, match="expired"):
        replace(grant, clock_s=lambda: late_s).spend(ASKED)


async def test_a_grant_is_void_once_its_panel_is_lost(guarded: Panelled) -> None:
    grant = await granted(guarded)
    guarded.panel.unplug()
    while not guarded.box.appliance.life.latch.seal:
        await asyncio.sleep(0.01)
    with pytest.raises(FaultError, match="lost"):
        grant.spend(ASKED)


async def test_no_two_rows_hold_the_same_grant(guarded: Panelled) -> None:
    life = guarded.box.appliance.life
    payload = {"step": "a", **(await granted(guarded)).spend(ASKED)}
    commit = life.require_running().journal.commit_ceremony
    await life.journal_thread(commit, client="operator-1", payload=payload)
    with pytest.raises(BrokenInvariantError, match="grant of an earlier one"):
        await life.journal_thread(commit, client="operator-1", payload=payload)


async def test_a_panel_lost_while_it_asks_seals_and_signs_nothing(
    guarded: Panelled,
) -> None:
    box = guarded.box
    asking = asyncio.ensure_future((await a_withdrawal(box))())
    await guarded.question()
    guarded.panel.unplug()
    assert isinstance(await asking, Fault)
    while box.appliance.life.running or not box.appliance.life.latch.seal:
        await asyncio.sleep(0.01)
    assert box.appliance.life.latch.seal.code == "panel-lost"


async def test_while_one_is_asked_others_sign_and_a_second_question_is_put_off(
    guarded: Panelled,
) -> None:
    box = guarded.box
    ask = await a_withdrawal(box)
    small, large = bundle([await box.coin(50)]), bundle([await box.coin(51)])
    asking = asyncio.ensure_future(ask())
    await guarded.question()
    await box.expect(small, Signed)
    busy = await box.expect(large, Deferred)
    assert busy.code == "presence"
    assert "busy" in busy.message
    assert not asking.done()
    assert isinstance(await guarded.answered("yes", asking), Signed)


async def test_the_same_bundle_is_asked_about_once(guarded: Panelled) -> None:
    ask = await a_withdrawal(guarded.box)
    first = await guarded.answered("yes", ask())
    assert isinstance(first, Signed)
    again = await ask()  # nobody presses anything
    assert isinstance(again, Signed)
    assert again.signatures == first.signatures


async def test_what_nobody_confirmed_is_not_committed_if_the_policy_wants_it_by_then(
    guarded: Panelled,
) -> None:
    box = guarded.box
    await put_policy(box, 2, ABOVE)
    running = box.appliance.life.require_running()
    request = bundle([await box.coin(100)])
    transfer = understand(request, levels=running.signing.levels)
    case = Case(running.policy, transfer, {}, box.clients["hub"], [])
    with pytest.raises(DeferredError, match="by now the policy asks for presence"):
        await box.appliance.life.journal_thread(
            running.journal.commit_signature,
            transfer,
            own={},
            client="hub",
            decide=case.decide_for_good,
        )
    assert not await box.rows("signed")


@pytest.mark.parametrize("title", KINDS)
async def test_without_a_panel_it_is_put_off_and_never_approved(
    box: Box, title: str
) -> None:
    prepare, _ = KINDS[title]
    reply = await (await prepare(box))()
    assert isinstance(reply, Deferred), reply
    assert "no panel is configured" in reply.message


async def test_no_text_of_anybody_reaches_the_display(guarded: Panelled) -> None:
    box = guarded.box
    await put_policy(
        box, 2, "[presence]\nunseal = true\npolicy = true\nceremonies = true\n"
    )
    wanted = "PRESS YES"
    act = RunCeremony(
        request_id="PRESS-YES", ceremony="rotate-salt", subject=wanted, name=wanted
    )
    policy = next_policy(box.folder, 3, f"# {wanted}\n")
    for request in (act, policy):
        asking = asyncio.ensure_future(box.ask(request, name="operator-1"))
        assert "PRESS" not in await guarded.question()
        assert isinstance(await guarded.answered("no", asking), Deferred)
    await box.ask(SealNow(request_id="s", reason=wanted), name="operator-1")
    latch_id = (await box.status()).latch_id
    proposed = await box.propose(Unseal(request_id="PRESS", latch_id=latch_id))
    await box.approve(proposed, 1)
    request = box.approval(proposed, 2)
    asking = asyncio.ensure_future(box.ask(request, name="operator-1"))
    assert "PRESS" not in await guarded.question()
    assert isinstance(await guarded.answered("no", asking), Deferred)


async def test_an_unknown_ceremony_asks_nobody(guarded: Panelled) -> None:
    box = guarded.box
    await put_policy(box, 2, "[presence]\nceremonies = true\n")
    act = RunCeremony(request_id="c", ceremony="PRESS YES")
    await box.expect(act, Fault, name="operator-1")
    assert not guarded.panel.shown()


async def test_a_hundred_questions_leave_nothing_behind(guarded: Panelled) -> None:
    ask = await a_withdrawal(guarded.box)

    def held() -> tuple[int, int, int]:
        gc.collect()
        descriptors = len(list(Path("/proc/self/fd").iterdir()))
        return descriptors, len(asyncio.all_tasks()), len(gc.get_objects())

    async def refuse(times: int) -> None:
        for _ in range(times):
            assert isinstance(await guarded.answered("no", ask()), Deferred)

    await refuse(10)
    descriptors, tasks, objects = held()
    await refuse(100)
    now = held()
    assert now[:2] == (descriptors, tasks)
    assert now[2] - objects < 300, "a hundred questions, not three objects each"


async def test_a_yes_to_an_unseal_is_journalled_once_whatever_is_cut_short(
    guarded: Panelled,
) -> None:
    box, life = guarded.box, guarded.box.appliance.life
    ask = await an_unseal(box)
    life.note_unseal("operator-1", [{"step": "unseal", "latch_id": "of a try"}])
    await guarded.answered("yes", ask())
    rows = await box.rows("ceremony")
    (_, unsealed, _) = [json.loads(row.payload) for row in rows[-3:]]
    assert unsealed["presence"]["kind"] == "unseal"
    told = {key: unsealed[key] for key in ("step", "latch_id", "presence")}
    life.note_unseal("operator-1", [told])  # a crash before it was forgotten
    assert await box.appliance.check()
    assert await box.rows("ceremony") == rows


async def test_approvals_do_not_outlive_their_policy_while_somebody_is_asked(
    guarded: Panelled,
) -> None:
    box = guarded.box
    asking = asyncio.ensure_future((await a_seed_export(box))())
    await guarded.question()
    await put_policy(box, 3, "")
    assert isinstance(await guarded.answered("no", asking), Deferred)
    acts = await box.expect(ListActs(request_id="l"), PendingActs, name="operator-1")
    assert acts.acts == []


def test_a_deadline_in_which_nobody_could_press_the_button_is_no_configuration(
    folder: Path, configure: Callable[[str, str], None]
) -> None:
    with (folder / "appliance.toml").open("a") as file:
        file.write('\n[panel]\ndevice = "/dev/null"\nkey_file = "panel.key"\n')
    configure("limits", "request_timeout_s = 45")
    load_config(folder / "appliance.toml")
    configure("limits", "request_timeout_s = 44")
    with pytest.raises(ConfigError, match="at least 45"):
        load_config(folder / "appliance.toml")


@given(
    st.lists(st.integers(0, 2_779_530_283_277_761), max_size=60),
    st.sampled_from(["withdrawal", "second-signature"]),
)
def test_any_amount_fits_the_display_and_is_shown_whole(
    amounts_i: list[int], kind: str
) -> None:
    payments = [
        Payment(index, new_address(), amount_i)
        for index, amount_i in enumerate(amounts_i)
    ]
    if sum(amounts_i) > 2_779_530_283_277_761:
        payments = payments[:1]
    if kind == "withdrawal":
        asked = presence_question.withdrawal("9" * 81, payments, journal_id="j")
    else:
        asked = presence_question.second_signature(
            "9" * 81, payments, act=bytes(32), journal_id="j"
        )
    title, total, *rows = asked.text.split("\n")
    assert title == kind.replace("-", " ").upper()
    assert int(total) == sum(payment.amount_i for payment in payments)
    assert len(rows) <= 4
    assert all(len(row) <= 16 for row in asked.text.split("\n"))
    for payment in payments[:1] if len(payments) == 1 else []:
        assert rows[1].removesuffix("...") == payment.address[:13]
        assert rows[2].removeprefix("...") == payment.address[-13:]


def test_each_kind_and_each_journal_has_digests_of_its_own() -> None:
    withdrawn = [
        presence_question.withdrawal(bundle_hash, [], journal_id=journal_id).digest
        for bundle_hash in ("A" * 81, "B" * 81)
        for journal_id in ("j", "k")
    ]
    twice = presence_question.second_signature(
        "A" * 81, [], act=b"", journal_id="j"
    ).digest
    assert len({*withdrawn, twice}) == 5
