# SPDX-License-Identifier: Apache-2.0
"""Why something waits: one case for each reason, and the order they come in."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import click
import pytest

from hub import cures
from hub.__main__ import cli
from hub.explanation import (
    ApplianceSeen,
    Around,
    Explanation,
    Look,
    NodesSeen,
    Standing,
    SweepFacts,
    Window,
    WithdrawalFacts,
)
from hub.hindrances import AGAIN_MS, is_news
from hub.model import (
    AccountId,
    Address,
    BundleHash,
    Hindrance,
    Sweep,
    SweepId,
    SweepPlan,
    SweepState,
    Tag,
    Tail,
    TransactionHash,
    Withdrawal,
    WithdrawalId,
    WithdrawalState,
    WithdrawalUuid,
)
from hub.node_health import NodeHealth
from hub.why import explain_sweep, explain_withdrawal
from tests.hub.bookkeeping import T0_MS, trytes

BUNDLE = BundleHash(trytes())
QUIET = Around(now_ms=T0_MS + 1_000)
LATCHED = replace(QUIET, latched="2 i owed, 1 i held", latched_since_ms=T0_MS)
NODE = NodeHealth("http://n1", "iri", 0, 1, 3, 0.0, 7, 0, True, 0, 0, 0)  # noqa: FBT003
UNSYNCED = replace(
    QUIET,
    nodes=NodesSeen(problem="too few are solid", since_ms=T0_MS, each=(NODE,)),
)
SYNCED = replace(QUIET, nodes=NodesSeen(problem="", since_ms=None, each=(NODE,)))
STOPPED = replace(QUIET, idle_flows=frozenset({"sweeps", "attachments"}))
LATER = replace(QUIET, now_ms=T0_MS + 3_600_000)


def appliance(state: str, *others: str) -> Around:
    seen = [
        ApplianceSeen(place=f"box-{n}", state=one, reason="drill", latch_id="f00d")
        for n, one in enumerate((state, *others))
    ]
    return replace(QUIET, appliances=tuple(seen))


def withdrawal(state: WithdrawalState = WithdrawalState.REQUESTED) -> Withdrawal:
    return Withdrawal(
        withdrawal_id=WithdrawalId(1),
        uuid=WithdrawalUuid("u-1"),
        account_id=AccountId(3),
        amount_i=50,
        payout_address=Address(trytes()),
        tag=Tag("9" * 27),
        state=state,
        sweep_id=None,
        requested_at_ms=T0_MS,
        cancelled_at_ms=None,
        maker="abc",
    )


def sweep(
    state: SweepState = SweepState.PLANNED, *, hindered_by: str = "", refused: str = ""
) -> Sweep:
    plan = SweepPlan(
        bundle_hash=BUNDLE,
        essence="",
        inputs=(),
        withdrawal_ids=(),
        remainder_address_id=None,
        remainder_i=0,
    )
    hindrance = None
    if hindered_by:
        hindrance = Hindrance(
            code=hindered_by, message="as it said", since_ms=T0_MS, last_ms=T0_MS
        )
    return Sweep(
        sweep_id=SweepId(1),
        plan=plan,
        state=state,
        signed_trytes=(),
        planned_at_ms=T0_MS,
        signed_at_ms=T0_MS,
        confirmed_at_ms=T0_MS,
        refusal_code=refused,
        hindrance=hindrance,
    )


def waiting(**facts: Any) -> WithdrawalFacts:  # noqa: ANN401 - any fact
    known: dict[str, Any] = {"withdrawal": withdrawal(), "free_i": 1_000}
    return WithdrawalFacts(**(known | facts))


def planned(state: SweepState = SweepState.PLANNED, **about: str) -> SweepFacts:
    tail = Tail(
        tail_hash=TransactionHash("T" * 81),
        sweep_id=SweepId(1),
        confirmed=False,
        created_at_ms=T0_MS,
    )
    tails = () if state in {SweepState.PLANNED, SweepState.SIGNED} else (tail, tail)
    return SweepFacts(sweep=sweep(state, **about), tails=tails)


def window(**facts: int) -> Window:
    known = {"total_i": 100, "window_ms": 3_600_000, "left_i": 100, "ahead_i": 0}
    return Window(**(known | facts))


WITHDRAWALS: Mapping[str, tuple[WithdrawalFacts, Around]] = {
    "cancelled": (waiting(withdrawal=withdrawal(WithdrawalState.CANCELLED)), QUIET),
    "awaiting-approval": (
        waiting(withdrawal=withdrawal(WithdrawalState.AWAITING_APPROVAL)),
        UNSYNCED,
    ),
    "awaiting-authorisation": (
        waiting(withdrawal=withdrawal(WithdrawalState.AWAITING_AUTHORISATION)),
        QUIET,
    ),
    "books-latched": (waiting(), LATCHED),
    "nodes-unsynced": (waiting(), UNSYNCED),
    "payout-address-spent": (waiting(payout_closed=True), QUIET),
    "refused:policy-deny": (
        waiting(refused=sweep(SweepState.REFUSED, refused="policy-deny")),
        QUIET,
    ),
    "window-limit": (waiting(window=window(left_i=49)), QUIET),
    "appliance-sealed": (waiting(), appliance("sealed", "away")),
    "appliance-away": (waiting(), appliance("away")),
    "appliance-starting": (waiting(), appliance("starting", "away")),
    "appliance-unready": (waiting(), appliance("unready", "away")),
    "too-little-swept": (waiting(ahead_i=951), QUIET),
    "flow-stopped": (waiting(), STOPPED),
    "inputs-not-settled": (waiting(), replace(LATER, sweep_interval_ms=60_000)),
    "queue": (waiting(window=window(), refused=None), SYNCED),
}
SWEEPS: Mapping[str, tuple[SweepFacts, Around]] = {
    "books-latched": (planned(), LATCHED),
    "nodes-unsynced": (planned(), UNSYNCED),
    "appliance-sealed": (
        planned(hindered_by="appliance-unavailable"),
        appliance("sealed"),
    ),
    "appliance-deferred:hours": (planned(hindered_by="deferred:hours"), QUIET),
    "appliance-deferred:busy": (planned(hindered_by="deferred:busy"), QUIET),
    "appliance-unavailable": (
        planned(hindered_by="appliance-unavailable"),
        appliance("ready", "sealed"),
    ),
    "node-unavailable": (planned(hindered_by="node-unavailable"), QUIET),
    "inputs-not-settled": (planned(hindered_by="inputs-not-settled"), QUIET),
    "head-conflict": (planned(hindered_by="head-conflict"), QUIET),
    "flow-stopped": (planned(SweepState.ATTACHED), STOPPED),
    "being-signed": (planned(), SYNCED),
    "refused:foreign-input": (
        planned(SweepState.REFUSED, refused="foreign-input"),
        UNSYNCED,
    ),
    "not-attached": (planned(SweepState.SIGNED), QUIET),
    "unconfirmed": (planned(SweepState.ATTACHED), QUIET),
    "confirmed": (planned(SweepState.CONFIRMED), UNSYNCED),
}


@pytest.mark.parametrize("code", WITHDRAWALS)
def test_a_withdrawal_has_one_reason(code: str) -> None:
    facts, around = WITHDRAWALS[code]
    found = explain_withdrawal(facts, around)
    assert found.code == code
    require_helpful(found)


@pytest.mark.parametrize("code", SWEEPS)
def test_a_sweep_has_one_reason_and_its_withdrawals_share_it(code: str) -> None:
    facts, around = SWEEPS[code]
    found = explain_sweep(facts, around)
    assert found.code == code
    require_helpful(found)
    if facts.sweep.state is SweepState.REFUSED:
        return  # its withdrawals are in it no more
    paid = waiting(withdrawal=withdrawal(WithdrawalState.PLANNED), sweep=facts)
    shared = explain_withdrawal(paid, around)
    assert (shared.code, shared.detail) == (found.code, found.detail)
    assert shared.link in {found.link, f"/sweeps/{BUNDLE}"}


def require_helpful(found: Explanation) -> None:
    """Insist on a plain sentence, and on a cure where somebody must act."""
    assert re.fullmatch(r"[A-Z][^{}]+\.", found.headline)
    assert "{" not in found.cure
    if found.standing is Standing.HELD:
        assert found.cure
        assert found.detail


def test_what_else_holds_it_up_is_named_beside() -> None:
    around = replace(UNSYNCED, appliances=appliance("sealed").appliances)
    found = explain_withdrawal(waiting(free_i=0), around)
    assert found.code == "nodes-unsynced"
    assert found.also == ("appliance-sealed", "too-little-swept")


def test_details_name_node_appliance_latch_and_tail() -> None:
    nodes = explain_withdrawal(*WITHDRAWALS["nodes-unsynced"])
    assert "http://n1 failed 3 times" in nodes.detail
    assert (nodes.look, nodes.since_ms) == (Look.NODES, T0_MS)
    sealed = explain_withdrawal(*WITHDRAWALS["appliance-sealed"])
    assert "box-0: sealed drill; box-1: away" in sealed.detail
    assert "unseal f00d" in sealed.cure
    tails = explain_sweep(*SWEEPS["unconfirmed"])
    assert "Attached 2 times" in tails.detail
    assert "T" * 81 in tails.detail


def test_a_slow_confirmation_wants_somebody_to_look() -> None:
    facts = planned(SweepState.ATTACHED)
    assert explain_sweep(facts, QUIET).standing is Standing.MOVING
    assert explain_sweep(facts, LATER).standing is Standing.HELD


def test_one_ready_appliance_is_enough() -> None:
    assert explain_withdrawal(waiting(), appliance("sealed", "ready")).code == "queue"


def test_a_withdrawal_beyond_the_whole_limit_never_leaves() -> None:
    found = explain_withdrawal(waiting(window=window(total_i=49)), QUIET)
    assert found.code == "window-limit"
    assert "never" in found.cure


def test_those_before_it_use_the_window_up() -> None:
    assert explain_withdrawal(waiting(window=window(ahead_i=50)), QUIET).code == "queue"
    found = explain_withdrawal(waiting(window=window(ahead_i=51)), QUIET)
    assert found.code == "window-limit"


def test_a_refusal_tells_whether_it_was_tried_alone() -> None:
    refused = sweep(
        SweepState.REFUSED, refused="policy-deny", hindered_by="policy-deny"
    )
    alone = explain_withdrawal(waiting(refused=refused), QUIET)
    assert "As it said. It was tried alone" in alone.detail.replace("as it", "As it")
    together = waiting(refused=refused, refused_payouts=3)
    assert "together with 2 others" in explain_withdrawal(together, QUIET).detail


def test_a_hindrance_is_written_anew_when_it_changes_or_is_old() -> None:
    known = Hindrance(code="a", message="", since_ms=0, last_ms=1_000)
    assert is_news(None, "a", now_ms=1_000)
    assert is_news(known, "b", now_ms=1_000)
    assert not is_news(known, "a", now_ms=1_000 + AGAIN_MS - 1)
    assert is_news(known, "a", now_ms=1_000 + AGAIN_MS)


def test_cures_name_commands_that_exist() -> None:
    said = " ".join(
        [
            *(text for text in vars(cures).values() if isinstance(text, str)),
            *(cure for _, cure in cures.APPLIANCE.values()),
        ]
    )
    named = set(re.findall(r"`saltkeep-hub ([a-z-]+)", said))
    assert named
    context = click.Context(cli)
    assert named <= set(cli.list_commands(context))
