# SPDX-License-Identifier: Apache-2.0
"""What the steps of a sweep tell its trace, and those of the withdrawals it pays."""

from collections.abc import Mapping, Sequence

from hub import tracing
from hub.errors import HubError
from hub.model import Sweep, SweepState, Tail, Withdrawal, WithdrawalUuid
from hub.store import Store

Waiting = Mapping[WithdrawalUuid, int]


async def waiting_since(store: Store, withdrawals: Sequence[Withdrawal]) -> Waiting:
    """Look up since when withdrawals have waited for a sweep.

    Args:
        store: The database.
        withdrawals: Which wait.

    Returns:
        Milliseconds since 1970, by name; nothing while nothing is traced.
    """
    if not tracing.is_on():
        return {}
    try:
        async with store.reading() as tx:
            return {one.uuid: await tx.withdrawals.since_ms(one) for one in withdrawals}
    except HubError:  # no flow fails for its trace
        return {}


def tell_planned(step: tracing.Step, sweep: Sweep, waited_ms: Waiting) -> None:
    """Tell that a sweep was planned.

    Args:
        step: What planned it.
        sweep: As it was stored.
        waited_ms: Since when each of its withdrawals had waited.
    """
    paid = {uuid: tracing.of_withdrawal(uuid) for uuid in waited_ms}
    made = tracing.of_sweep(sweep.plan.bundle_hash).made()
    step.about(made, *paid.values())
    step.tell(inputs=len(sweep.plan.inputs), withdrawals=len(paid))
    for uuid, since_ms in waited_ms.items():
        step.waited("wait for a sweep", paid[uuid], since_ms=since_ms)


async def concern(step: tracing.Step, store: Store, sweep: Sweep) -> list[Withdrawal]:
    """Say that a step is about a sweep and what it pays.

    Args:
        step: The step under way.
        store: The database.
        sweep: Stored.

    Returns:
        The withdrawals; none while nothing is traced.
    """
    if not tracing.is_on():
        return []
    try:
        async with store.reading() as tx:
            paid = await tx.withdrawals.of_sweeps([sweep.sweep_id])
    except HubError:
        paid = []
    step.about(*_subjects(sweep, paid))
    return paid


async def tell_first_attachment(step: tracing.Step, store: Store, sweep: Sweep) -> None:
    """Tell how long a signed sweep has waited for the step that attaches it first."""
    paid = await concern(step, store, sweep)
    for subject in _subjects(sweep, paid):
        since_ms = sweep.signed_at_ms or sweep.planned_at_ms
        step.waited("wait to be attached", subject, since_ms=since_ms)


async def tell_confirmed(
    step: tracing.Step, store: Store, sweep: Sweep, tails: Sequence[Tail]
) -> None:
    """Tell that a sweep is confirmed: here its life ends, and its withdrawals'.

    Args:
        step: What found it out.
        store: The database.
        sweep: As it was before.
        tails: Its attachments, the newest first.
    """
    paid = await concern(step, store, sweep)
    for subject in _subjects(sweep, paid) if tails else ():
        since_ms = tails[-1].created_at_ms
        step.waited("wait for confirmation", subject, since_ms=since_ms)
    tell_sweep_ended(step, sweep, SweepState.CONFIRMED)
    for one in paid:
        step.lived(
            "withdrawal",
            tracing.of_withdrawal(one.uuid),
            since_ms=one.requested_at_ms,
            amount_i=one.amount_i,
            state=SweepState.CONFIRMED.value,
        )


def tell_sweep_ended(step: tracing.Step, sweep: Sweep, state: SweepState) -> None:
    """Tell that nothing more becomes of a sweep.

    Args:
        step: What ended it.
        sweep: As it was before.
        state: What it has become.
    """
    subject = tracing.of_sweep(sweep.plan.bundle_hash)
    since_ms = sweep.planned_at_ms
    step.lived("sweep", subject, since_ms=since_ms, state=state.value)


def _subjects(sweep: Sweep, paid: Sequence[Withdrawal]) -> list[tracing.Subject]:
    ours = [tracing.of_withdrawal(one.uuid) for one in paid]
    return [tracing.of_sweep(sweep.plan.bundle_hash), *ours]
