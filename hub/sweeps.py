# SPDX-License-Identifier: Apache-2.0
"""Sweeps: one bundle that moves deposits to us and pays withdrawals.

``plan_sweep`` is pure: it chooses. ``Sweeper`` does: it stores the whole unsigned
bundle before the appliance is asked, so that after a crash anywhere the very same
bundle is asked for again. Only the appliance's final refusal releases what a
planned sweep reserves; a time-out or a deferral never does.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from failpoints import failpoint
from hub.clock import Clock
from hub.errors import PlanOutdatedError
from hub.inputs import settled_inputs
from hub.model import (
    AccountId,
    AccountKind,
    AddressId,
    IssuedAddress,
    OwnAddress,
    Sweep,
    SweepInput,
    SweepPlan,
    SweepState,
    Withdrawal,
    WithdrawalId,
)
from hub.nodes import Nodes
from hub.signer import (
    Claim,
    SignaturesGiven,
    Signer,
    SigningDeferred,
    SigningRefused,
)
from hub.store import Store, Transaction
from hub.tangle import BundleDesk, Draft, DraftInput, DraftOutput, finish

_log = logging.getLogger(__name__)

_MILLISECONDS: Final = 1000
_CANDIDATES: Final = 100
_KEY_CODES: Final = frozenset({"key-spent", "foreign-input", "seed-uuid"})
"""Refusals that are about an input's key: planning it again can not help."""


@dataclass(frozen=True, slots=True)
class SweepLimits:
    """How large one sweep may be.

    Attributes:
        max_withdrawals: Withdrawals paid by it.
        max_deposits: Deposit addresses emptied by it.
        max_hub_inputs: Hub addresses emptied by it.
    """

    max_withdrawals: int
    max_deposits: int
    max_hub_inputs: int


@dataclass(frozen=True, slots=True)
class Choice:
    """What a sweep shall do.

    Attributes:
        inputs: Emptied whole: deposit addresses, then hub addresses.
        withdrawals: Paid, the oldest first.
        rest_i: What comes back to us, in iota.
    """

    inputs: tuple[OwnAddress, ...]
    withdrawals: tuple[Withdrawal, ...]
    rest_i: int


def plan_sweep(
    *,
    deposits: Sequence[OwnAddress],
    hub_addresses: Sequence[OwnAddress],
    withdrawals: Sequence[Withdrawal],
    limits: SweepLimits,
) -> Choice | None:
    """Choose inputs and withdrawals; pure.

    Deposit addresses come first, the oldest ones; hub addresses are added, the
    smallest first, only as far as withdrawals need them. A withdrawal that can
    not be paid from what there is waits and does not hold up younger ones. An
    address that a waiting withdrawal pays into is left alone.

    Args:
        deposits: Deposit addresses fit to be swept, the oldest first.
        hub_addresses: Hub addresses fit to be swept, the smallest first.
        withdrawals: Waiting, the oldest first; each amount positive.
        limits: How large a sweep may be.

    Returns:
        The choice; None when there is nothing to do.
    """
    receiving = {withdrawal.payout_address for withdrawal in withdrawals}
    free = [own for own in deposits if own.address not in receiving]
    taken = free[: limits.max_deposits]
    free = [own for own in hub_addresses if own.address not in receiving]
    spare = free[-limits.max_hub_inputs :]
    reachable_i = sum(own.balance_i for own in [*taken, *spare])
    paid: list[Withdrawal] = []
    for withdrawal in withdrawals:
        if len(paid) == limits.max_withdrawals:
            break
        if withdrawal.amount_i <= reachable_i:
            paid.append(withdrawal)
            reachable_i -= withdrawal.amount_i
    owed_i = sum(withdrawal.amount_i for withdrawal in paid)
    have_i = sum(own.balance_i for own in taken)
    while have_i < owed_i:
        smallest = spare.pop(0)
        taken.append(smallest)
        have_i += smallest.balance_i
    if not taken:
        return None
    return Choice(tuple(taken), tuple(paid), have_i - owed_i)


class Issuer(Protocol):
    """Where fresh addresses come from."""

    async def issue(self, user_commitment: str) -> IssuedAddress:
        """Return a fresh address; empty commitment: for the hub's owner."""


class Sweeper:
    """Plans sweeps and gets them signed, one at a time.

    Args:
        store: The database.
        nodes: The quorum.
        signer: The appliance.
        desk: Where bundles are built and checked.
        limits: How large a sweep may be.
        refused_wait_ms: How long withdrawals of a refused sweep are left out.
        clock: The time.
    """

    def __init__(  # noqa: PLR0913 - the flow's ports
        self,
        store: Store,
        nodes: Nodes,
        signer: Signer,
        desk: BundleDesk,
        *,
        limits: SweepLimits,
        refused_wait_ms: int,
        clock: Clock,
    ) -> None:
        self._store = store
        self._nodes = nodes
        self._signer = signer
        self._desk = desk
        self._limits = limits
        self._refused_wait_ms = refused_wait_ms
        self._clock = clock
        self._left_out_until_ms: dict[WithdrawalId, int] = {}

    async def tick(self) -> None:
        """Finish planned sweeps; then plan one if there is something to do."""
        async with self._store.reading() as tx:
            planned = await tx.sweeps.in_state(SweepState.PLANNED)
        for sweep in planned:
            await self._get_signed(sweep)
        if await self._still_planned():
            return
        fresh = await self._plan()
        if fresh is not None:
            failpoint("hub.sweep.after-plan")
            await self._get_signed(fresh)

    async def preview(self) -> Choice | None:
        """Return what the next sweep would do, without doing it."""
        await self._nodes.require_synced()
        async with self._store.reading() as tx:
            deposits = await tx.addresses.sweepable(AccountKind.USER, limit=_CANDIDATES)
            own = await tx.addresses.sweepable(AccountKind.OWNER, limit=_CANDIDATES)
            waiting = await tx.withdrawals.requested(limit=_CANDIDATES)
        now_ms = self._clock()
        return plan_sweep(
            deposits=await settled_inputs(self._nodes, deposits),
            hub_addresses=await settled_inputs(self._nodes, own),
            withdrawals=[
                w
                for w in waiting
                if self._left_out_until_ms.get(w.withdrawal_id, 0) <= now_ms
            ],
            limits=self._limits,
        )

    async def _still_planned(self) -> bool:
        async with self._store.reading() as tx:
            return bool(await tx.sweeps.in_state(SweepState.PLANNED))

    async def _plan(self) -> Sweep | None:
        choice = await self.preview()
        if choice is None:
            return None
        rest = await self._remainder_address() if choice.rest_i else None
        failpoint("hub.sweep.after-remainder")
        draft = await self._desk.draft(
            [_draft_input(own) for own in choice.inputs],
            _draft_outputs(choice, rest),
            timestamp_s=self._clock() // _MILLISECONDS,
        )
        plan = SweepPlan(
            bundle_hash=draft.bundle_hash,
            essence=draft.to_text(),
            inputs=tuple(
                SweepInput(address_id=own.address_id, amount_i=own.balance_i)
                for own in choice.inputs
            ),
            withdrawal_ids=tuple(w.withdrawal_id for w in choice.withdrawals),
            remainder_address_id=rest.address_id if rest else None,
            remainder_i=choice.rest_i,
        )
        failpoint("hub.sweep.before-plan")
        try:
            sweep_id = await self._store.run(lambda tx: tx.sweeps.plan(plan))
        except PlanOutdatedError as error:
            _log.info("plan outdated, planning anew next time: %s", error)
            return None
        _log.info("sweep planned bundle=%s", plan.bundle_hash)
        async with self._store.reading() as tx:
            return await tx.sweeps.by_id(sweep_id)

    async def _remainder_address(self) -> OwnAddress:
        """Return an address of the hub that nothing was ever sent to."""
        async with self._store.reading() as tx:
            owner = await tx.accounts.owner()
            idle = await tx.addresses.idle_remainder(owner.account_id)
        if idle is not None:
            return idle
        issued = await self._signer.issue("")
        failpoint("hub.sweep.remainder-issued")
        return await self._store.run(
            lambda tx: _add_address(tx, owner.account_id, issued)
        )

    async def _get_signed(self, sweep: Sweep) -> None:
        """Ask the appliance for exactly this bundle and act on its answer."""
        async with self._store.reading() as tx:
            inputs = [await tx.addresses.by_id(i.address_id) for i in sweep.plan.inputs]
        if len(await settled_inputs(self._nodes, inputs)) != len(inputs):
            _log.warning(
                "sweep waits bundle=%s: an input's balance moved",
                sweep.plan.bundle_hash,
            )
            return
        draft = Draft.from_text(sweep.plan.bundle_hash, sweep.plan.essence)
        failpoint("hub.sweep.before-sign")
        outcome = await self._signer.sign(
            draft, _claims(draft, inputs), own_outputs=_own_outputs(draft, sweep.plan)
        )
        failpoint("hub.sweep.after-sign")
        match outcome:
            case SignaturesGiven(signatures):
                trytes = finish(draft, signatures)
                await self._desk.check(trytes)
                failpoint("hub.sweep.before-store-signed")
                await self._store.run(lambda tx: tx.sweeps.sign(sweep.sweep_id, trytes))
                failpoint("hub.sweep.after-store-signed")
                _log.info("sweep signed bundle=%s", sweep.plan.bundle_hash)
            case SigningDeferred(code, message, _):
                _log.info("sweep deferred %s: %s", code, message)
            case SigningRefused():
                await self._release(sweep, outcome)

    async def _release(self, sweep: Sweep, refusal: SigningRefused) -> None:
        _log.error(
            "sweep refused bundle=%s code=%s: %s",
            sweep.plan.bundle_hash,
            refusal.code,
            refusal.message,
        )
        spent = refusal.code in _KEY_CODES
        barred = [i.address_id for i in sweep.plan.inputs] if spent else []
        await self._store.run(
            lambda tx: tx.sweeps.refuse(
                sweep.sweep_id, code=refusal.code, quarantine=barred
            )
        )
        until_ms = self._clock() + self._refused_wait_ms
        for withdrawal_id in sweep.plan.withdrawal_ids:
            self._left_out_until_ms[withdrawal_id] = until_ms


async def _add_address(
    tx: Transaction, account_id: AccountId, issued: IssuedAddress
) -> OwnAddress:
    address_id: AddressId = await tx.addresses.add(account_id, issued)
    return await tx.addresses.by_id(address_id)


def _draft_input(own: OwnAddress) -> DraftInput:
    return DraftInput(own.address, own.balance_i, own.issued.security_level)


def _draft_outputs(choice: Choice, rest: OwnAddress | None) -> list[DraftOutput]:
    outputs = [
        DraftOutput(w.payout_address, w.amount_i, w.tag) for w in choice.withdrawals
    ]
    if rest is not None:
        outputs.append(DraftOutput(rest.address, choice.rest_i))
    return outputs


def _claims(draft: Draft, inputs: Sequence[OwnAddress]) -> list[Claim]:
    by_address = {own.address: own.issued for own in inputs}
    return [
        Claim(
            index,
            by_address[entry.address].seed_uuid,  # type: ignore[index]
            by_address[entry.address].generation,  # type: ignore[index]
        )
        for index, entry in enumerate(draft.transactions)
        if entry.value_i < 0
    ]


def _own_outputs(draft: Draft, plan: SweepPlan) -> list[int]:
    """Return the index of the remainder: the last output, if there is one."""
    if plan.remainder_address_id is None:
        return []
    return [len(draft.transactions) - 1]
