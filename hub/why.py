# SPDX-License-Identifier: Apache-2.0
"""Why something waits: facts in, one explanation out; pure.

``explain_withdrawal`` and ``explain_sweep`` ask a row of questions, the most serious
first; the first that finds something gives the answer, and the others that found
something are named beside it. What an operator does next stands in ``hub.cures``.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from hub import cures
from hub.explanation import (
    Around,
    Explanation,
    Look,
    Standing,
    SweepFacts,
    WithdrawalFacts,
)
from hub.hindrances import DEFERRED, UNSETTLED
from hub.model import Hindrance, Sweep, SweepState, Withdrawal, WithdrawalState
from hub.node_health import NodeHealth

_MINUTE_MS: Final = 60_000
_SLOW_MS: Final = 10 * _MINUTE_MS
"""Confirmations that take longer want somebody to look."""
_READY: Final = "ready"


def explain_withdrawal(facts: WithdrawalFacts, around: Around) -> Explanation:
    """Say why a withdrawal is not out yet, or that it is.

    Args:
        facts: Of the withdrawal.
        around: What concerns everything.

    Returns:
        The most serious reason.
    """
    asked = facts.withdrawal
    match asked.state:
        case WithdrawalState.CANCELLED:
            return Explanation(
                code="cancelled",
                standing=Standing.DONE,
                headline="It was cancelled: its amount is back with its user.",
                since_ms=asked.cancelled_at_ms,
            )
        case WithdrawalState.AWAITING_APPROVAL:
            return _awaits_approval(asked)
        case WithdrawalState.AWAITING_AUTHORISATION:
            return _awaits_authorisation(asked)
        case WithdrawalState.REQUESTED:
            return _first(_holds_up_request(facts, around), _queued(facts, around))
        case WithdrawalState.PLANNED | WithdrawalState.PAID:
            assert facts.sweep is not None, "the tables hold such a row to its sweep"
            return _pointed(explain_sweep(facts.sweep, around), facts.sweep.sweep)


def explain_sweep(facts: SweepFacts, around: Around) -> Explanation:
    """Say why a sweep is not confirmed yet, or that it is.

    Args:
        facts: Of the sweep.
        around: What concerns everything.

    Returns:
        The most serious reason.
    """
    sweep = facts.sweep
    match sweep.state:
        case SweepState.PLANNED:
            found = [
                *_latched(around),
                *_unsynced(around),
                *_no_appliance(around),
                *_hindered(sweep),
                *_idle(around, "sweeps"),
            ]
            return _first(found, _being_signed(sweep))
        case SweepState.REFUSED:
            return _refused_sweep(sweep)
        case SweepState.SIGNED | SweepState.ATTACHED:
            found = [*_unsynced(around), *_idle(around, "attachments")]
            return _first(found, _unconfirmed(facts, around))
        case SweepState.CONFIRMED:
            return Explanation(
                code="confirmed",
                standing=Standing.DONE,
                headline="It is confirmed on the network.",
                detail=_tails(facts),
                since_ms=sweep.confirmed_at_ms,
            )


def _first(found: Iterable[Explanation], otherwise: Explanation) -> Explanation:
    first, *others = [*found, otherwise]
    held = tuple(one.code for one in others if one.standing is Standing.HELD)
    return replace(first, also=held)


def _pointed(found: Explanation, sweep: Sweep) -> Explanation:
    """Point to the sweep where the reason points nowhere else."""
    if found.look is not None:
        return found
    return replace(found, look=Look.SWEEP, subject=sweep.plan.bundle_hash)


# --- people are asked ------------------------------------------------------------


def _awaits_approval(asked: Withdrawal) -> Explanation:
    return Explanation(
        code="awaiting-approval",
        standing=Standing.HELD,
        headline="It waits for the approval of a second API key.",
        detail=f"{asked.amount_i} i are above withdrawals.approve_above_i. It was asked"
        f" for by {asked.maker or 'a legacy client'}, which can not approve it.",
        cure=cures.APPROVE.format(uuid=asked.uuid),
        since_ms=asked.requested_at_ms,
        look=Look.APPROVALS,
    )


def _awaits_authorisation(asked: Withdrawal) -> Explanation:
    return Explanation(
        code="awaiting-authorisation",
        standing=Standing.HELD,
        headline="It waits for the exchange's signature.",
        detail=f"{asked.amount_i} i are above"
        " withdrawals.require_authorisation_above_i and no signature has come.",
        cure=cures.AUTHORISE.format(uuid=asked.uuid),
        since_ms=asked.requested_at_ms,
        look=Look.APPROVALS,
    )


# --- what concerns everything ----------------------------------------------------


def _latched(around: Around) -> Iterable[Explanation]:
    if around.latched:
        yield Explanation(
            code="books-latched",
            standing=Standing.HELD,
            headline="The books were found broken: no balance changes.",
            detail=around.latched,
            cure=cures.LATCHED,
            since_ms=around.latched_since_ms,
            look=Look.BOOKS,
        )


def _unsynced(around: Around) -> Iterable[Explanation]:
    if around.nodes is not None and around.nodes.problem:
        each = [_node(one) for one in around.nodes.each]
        yield Explanation(
            code="nodes-unsynced",
            standing=Standing.HELD,
            headline="No quorum of nodes is synchronised.",
            detail="; ".join([around.nodes.problem, *each]),
            cure=cures.UNSYNCED,
            since_ms=around.nodes.since_ms,
            look=Look.NODES,
        )


def _node(node: NodeHealth) -> str:
    if node.failures:
        return f"{node.url} failed {node.failures} times in a row"
    if node.stale:
        return f"{node.url} is not synchronised or its milestone is old"
    if node.lag:
        return f"{node.url} is {node.lag} milestones behind"
    return f"{node.url} answers"


def _no_appliance(around: Around) -> Iterable[Explanation]:
    """Find the reason where none of the appliances is ready: the gravest speaks."""
    if not around.appliances or any(a.state == _READY for a in around.appliances):
        return
    order = ("sealed", "unready", "starting", "away")
    worst = min(
        around.appliances,
        key=lambda one: order.index(one.state) if one.state in order else len(order),
    )
    said = [f"{a.place}: {a.state} {a.reason}".strip() for a in around.appliances]
    headline, cure = cures.APPLIANCE.get(worst.state, cures.APPLIANCE["unready"])
    yield Explanation(
        code=f"appliance-{worst.state}",
        standing=Standing.HELD,
        headline=headline,
        detail="; ".join(said),
        cure=cure.format(latch_id=worst.latch_id or "LATCH_ID"),
        since_ms=worst.since_ms,
        look=Look.APPLIANCES,
    )


def _idle(around: Around, flow: str) -> Iterable[Explanation]:
    if flow in around.idle_flows:
        yield Explanation(
            code="flow-stopped",
            standing=Standing.HELD,
            headline="No hub is at work on it.",
            detail=f"The flow `{flow}` is run by no hub that is alive.",
            cure=cures.STOPPED,
        )


# --- a withdrawal that is in no sweep --------------------------------------------


def _holds_up_request(facts: WithdrawalFacts, around: Around) -> list[Explanation]:
    return [
        *_latched(around),
        *_unsynced(around),
        *_payout_spent(facts),
        *_refused(facts),
        *_beyond_window(facts),
        *_no_appliance(around),
        *_too_little(facts),
        *_idle(around, "sweeps"),
        *_nothing_settled(facts, around),
    ]


def _payout_spent(facts: WithdrawalFacts) -> Iterable[Explanation]:
    if facts.payout_closed:
        address = facts.withdrawal.payout_address
        yield Explanation(
            code="payout-address-spent",
            standing=Standing.HELD,
            headline="It goes to an address of ours that takes nothing more.",
            detail=f"{address} was spent from, or is in a sweep, since then:"
            " what is paid there now would be lost.",
            cure=cures.CANCEL.format(uuid=facts.withdrawal.uuid),
            since_ms=facts.withdrawal.requested_at_ms,
            look=Look.ADDRESS,
            subject=address,
        )


def _refused(facts: WithdrawalFacts) -> Iterable[Explanation]:
    sweep = facts.refused
    if sweep is None:
        return
    others = facts.refused_payouts - 1
    alone = (
        f" It was paid together with {others} others and is being tried alone."
        if others
        else " It was tried alone, and is tried again about once an hour."
    )
    yield Explanation(
        code=f"refused:{sweep.refusal_code}",
        standing=Standing.HELD,
        headline=f"The appliance refused it: {sweep.refusal_code}.",
        detail=(_message(sweep.hindrance) + alone).strip(),
        cure=cures.refusal(sweep.refusal_code).format(uuid=facts.withdrawal.uuid),
        since_ms=None if sweep.hindrance is None else sweep.hindrance.since_ms,
        look=Look.SWEEP,
        subject=sweep.plan.bundle_hash,
    )


def _beyond_window(facts: WithdrawalFacts) -> Iterable[Explanation]:
    window, asked = facts.window, facts.withdrawal
    if window is None:
        return
    too_large = asked.amount_i > window.total_i
    if not too_large and window.ahead_i + asked.amount_i <= window.left_i:
        return
    hours = window.window_ms / 3_600_000
    counted = (
        f"withdrawals.limit_total_i is {window.total_i} i in {hours:g} h;"
        f" {max(0, window.left_i)} i of it are left, {window.ahead_i} i wait before"
        f" this one, which takes {asked.amount_i} i."
    )
    yield Explanation(
        code="window-limit",
        standing=Standing.HELD,
        headline="It is larger than all that may leave at once."
        if too_large
        else "As much has left as may leave within the window.",
        detail=counted,
        cure=cures.TOO_LARGE if too_large else cures.WINDOW,
        since_ms=asked.requested_at_ms,
    )


def _too_little(facts: WithdrawalFacts) -> Iterable[Explanation]:
    needed_i = facts.ahead_i + facts.withdrawal.amount_i
    if needed_i <= facts.free_i:
        return
    yield Explanation(
        code="too-little-swept",
        standing=Standing.HELD,
        headline="There is not enough on addresses that a sweep may take now.",
        detail=f"{needed_i} i are wanted by this withdrawal and those before it;"
        f" {facts.free_i} i are free, {facts.bound_i} i are in sweeps under way.",
        cure=cures.COMING_BACK if facts.bound_i else cures.TOO_LITTLE,
        since_ms=facts.withdrawal.requested_at_ms,
        look=Look.BALANCES,
    )


def _nothing_settled(facts: WithdrawalFacts, around: Around) -> Iterable[Explanation]:
    """Conclude from its age: the nodes' view of each address is not written down."""
    waited_ms = around.now_ms - facts.withdrawal.requested_at_ms
    if waited_ms <= 2 * around.sweep_interval_ms + _MINUTE_MS:
        return
    yield Explanation(
        code=UNSETTLED,
        standing=Standing.HELD,
        headline="Enough is booked, but the sweeps leave it where it is.",
        detail=f"{facts.free_i} i lie on open addresses. One is left out while nodes"
        " show an unconfirmed bundle on it or another balance than the books, and"
        " while a refusal of it is looked into.",
        cure=cures.UNSETTLED,
        since_ms=facts.withdrawal.requested_at_ms,
        look=Look.BALANCES,
    )


def _queued(facts: WithdrawalFacts, around: Around) -> Explanation:
    every_s = around.sweep_interval_ms / 1000
    return Explanation(
        code="queue",
        standing=Standing.MOVING,
        headline="The next sweep with room for it pays it.",
        detail=f"{facts.ahead} withdrawals wait before it; a sweep is planned every"
        f" {every_s:g} s.",
        cure=cures.NOTHING,
        since_ms=facts.withdrawal.requested_at_ms,
    )


# --- a sweep ---------------------------------------------------------------------


def _hindered(sweep: Sweep) -> Iterable[Explanation]:
    found = sweep.hindrance
    if found is None:
        return
    kind, _, word = found.code.partition(":")
    if kind == DEFERRED:
        yield Explanation(
            code=f"appliance-deferred:{word}",
            standing=Standing.MOVING if word in cures.PASSING else Standing.HELD,
            headline=f"The appliance put it off: {word}.",
            detail=found.message,
            cure=cures.deferral(word),
            since_ms=found.since_ms,
        )
        return
    headline, cure, look = {
        UNSETTLED: (
            "Nodes do not show its inputs as they were planned.",
            cures.UNSETTLED,
            None,
        ),
        "appliance-unavailable": (
            "The appliance was asked and decided nothing.",
            cures.APPLIANCE["away"][1],
            Look.APPLIANCES,
        ),
        "node-unavailable": (
            "The nodes did not say whether its inputs are still there.",
            cures.UNSYNCED,
            Look.NODES,
        ),
    }.get(found.code, ("The attempt to have it signed failed.", cures.FAILED, None))
    yield Explanation(
        code=found.code,
        standing=Standing.HELD,
        headline=headline,
        detail=found.message,
        cure=cure,
        since_ms=found.since_ms,
        look=look,
    )


def _being_signed(sweep: Sweep) -> Explanation:
    return Explanation(
        code="being-signed",
        standing=Standing.MOVING,
        headline="The appliance is being asked for its signatures.",
        cure=cures.NOTHING,
        since_ms=sweep.planned_at_ms,
    )


def _refused_sweep(sweep: Sweep) -> Explanation:
    return Explanation(
        code=f"refused:{sweep.refusal_code}",
        standing=Standing.DONE,
        headline=f"The appliance refused it for ever: {sweep.refusal_code}.",
        detail=f"{_message(sweep.hindrance)} Its inputs and withdrawals were released"
        " and are planned anew.".strip(),
        cure=cures.NOTHING,
        since_ms=None if sweep.hindrance is None else sweep.hindrance.since_ms,
    )


def _unconfirmed(facts: SweepFacts, around: Around) -> Explanation:
    sweep = facts.sweep
    since_ms = facts.tails[-1].created_at_ms if facts.tails else sweep.signed_at_ms
    slow = around.now_ms - (since_ms or around.now_ms) > _SLOW_MS
    return Explanation(
        code="unconfirmed" if facts.tails else "not-attached",
        standing=Standing.HELD if slow else Standing.MOVING,
        headline="It is on its way: no node shows it confirmed yet."
        if facts.tails
        else "It is signed and about to be sent to a node.",
        detail=_tails(facts),
        cure=cures.SLOW if slow else cures.PROMOTED,
        since_ms=since_ms,
    )


def _tails(facts: SweepFacts) -> str:
    count = len(facts.tails)
    if not count:
        return "Nothing was attached yet."
    promotions = facts.sweep.promotions
    promoted = f", promoted {_times(promotions)}" if promotions else ""
    newest = facts.tails[0].tail_hash
    return f"Attached {_times(count)}{promoted}. The newest tail is {newest}."


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _message(found: Hindrance | None) -> str:
    if found is None or not found.message:
        return ""
    return found.message.rstrip(".") + "."
