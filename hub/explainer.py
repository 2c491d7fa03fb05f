# SPDX-License-Identifier: Apache-2.0
"""Gathers what ``hub.why`` judges: from the database, and from what was seen last."""

from typing import Protocol

from hub.clock import Clock
from hub.explanation import (
    ApplianceSeen,
    Around,
    Explanation,
    NodesSeen,
    SweepFacts,
    Window,
    WithdrawalFacts,
)
from hub.model import AddressState, BundleHash, Sweep, Withdrawal, WithdrawalUuid
from hub.store import Store, Transaction
from hub.tangle import Draft
from hub.why import explain_sweep, explain_withdrawal
from hub.withdrawal_rules import WithdrawalRules


class Seen(Protocol):
    """Nodes and appliances as they were seen last."""

    @property
    def nodes(self) -> NodesSeen | None:
        """The nodes; None: nobody has looked yet."""

    @property
    def appliances(self) -> tuple[ApplianceSeen, ...]:
        """Each appliance that was asked."""


class Explainer:
    """Says why a withdrawal or a sweep waits.

    Args:
        store: The database.
        surroundings: Nodes and appliances as they were seen last.
        rules: How much may leave within a window.
        sweep_interval_ms: Pause between two plans.
        clock: The time.
    """

    def __init__(
        self,
        store: Store,
        surroundings: Seen,
        *,
        rules: WithdrawalRules,
        sweep_interval_ms: int,
        clock: Clock,
    ) -> None:
        self._store = store
        self._surroundings = surroundings
        self._rules = rules
        self._sweep_interval_ms = sweep_interval_ms
        self._clock = clock

    async def withdrawal(self, uuid: WithdrawalUuid) -> Explanation:
        """Say why a withdrawal is not out yet, or that it is.

        Args:
            uuid: Its public name; ``WithdrawalUnknownError`` if there is none.

        Returns:
            The most serious reason.
        """
        async with self._store.reading() as tx:
            found = await tx.withdrawals.by_uuid(uuid)
            return explain_withdrawal(await self._facts(tx, found), await self._now(tx))

    async def sweep(self, bundle_hash: BundleHash) -> Explanation:
        """Say why a sweep is not confirmed yet, or that it is.

        Args:
            bundle_hash: 81 trytes; ``SweepUnknownError`` if it is none of ours.

        Returns:
            The most serious reason.
        """
        async with self._store.reading() as tx:
            found = await tx.sweeps.by_bundle_hash(bundle_hash)
            return explain_sweep(await _with_tails(tx, found), await self._now(tx))

    async def _now(self, tx: Transaction) -> Around:
        latched = await tx.waits.latched()
        return Around(
            now_ms=self._clock(),
            nodes=self._surroundings.nodes,
            appliances=self._surroundings.appliances,
            latched=latched[0] if latched else "",
            latched_since_ms=latched[1] if latched else None,
            idle_flows=frozenset(await tx.waits.idle_flows()),
            sweep_interval_ms=self._sweep_interval_ms,
        )

    async def _facts(self, tx: Transaction, found: Withdrawal) -> WithdrawalFacts:
        if found.sweep_id is not None:
            sweep = await tx.sweeps.by_id(found.sweep_id)
            return WithdrawalFacts(withdrawal=found, sweep=await _with_tails(tx, sweep))
        owner = await tx.accounts.owner()
        total_i = self._rules.total_i
        ahead = await tx.waits.ahead_of(found, exempt=owner.account_id, total_i=total_i)
        window = None
        if total_i is not None and found.account_id != owner.account_id:
            since_ms = self._clock() - self._rules.window_ms
            paid_i = await tx.withdrawals.paid_since_i(since_ms, but=owner.account_id)
            window = Window(
                total_i=total_i,
                window_ms=self._rules.window_ms,
                left_i=total_i - paid_i,
                ahead_i=ahead.limited_i,
            )
        refused = None
        if found.refused_sweep_id is not None:
            refused = await tx.sweeps.by_id(found.refused_sweep_id)
        payout = await tx.addresses.find(found.payout_address)
        free_i = await tx.waits.free_i()
        return WithdrawalFacts(
            withdrawal=found,
            refused=refused,
            refused_payouts=1 if refused is None else payouts_of(refused),
            payout_closed=payout is not None and payout.state is not AddressState.OPEN,
            window=window,
            ahead=ahead.count,
            ahead_i=ahead.amount_i,
            free_i=free_i,
            bound_i=await tx.addresses.total_i() - free_i,
        )


def payouts_of(sweep: Sweep) -> int:
    """Count the withdrawals that a sweep was planned to pay; pure.

    A refused one has let go of them: its bundle still tells.

    Args:
        sweep: Any.

    Returns:
        How many.
    """
    draft = Draft.from_text(sweep.plan.bundle_hash, sweep.plan.essence)
    outputs = sum(1 for entry in draft.transactions if entry.value_i > 0)
    return outputs - (sweep.plan.remainder_address_id is not None)


async def _with_tails(tx: Transaction, sweep: Sweep) -> SweepFacts:
    return SweepFacts(sweep=sweep, tails=tuple(await tx.tails.of_sweep(sweep.sweep_id)))
