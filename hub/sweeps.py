# SPDX-License-Identifier: Apache-2.0
"""Sweeps: one bundle that moves deposits to us and pays withdrawals.

``sweep_plan`` chooses, ``Sweeper`` does: it stores the whole unsigned bundle before
the appliance is asked, so that after a crash anywhere the very same bundle is asked
for again. Only the appliance's final refusal releases what a planned sweep
reserves; a time-out or a deferral never does. Meanwhile others may be planned.
"""

import asyncio
import logging
from collections.abc import Collection, Sequence
from typing import Final, Protocol

from failpoints import failpoint
from hub import tracing
from hub.clock import Clock
from hub.errors import FaultError, HubError, PlanOutdatedError
from hub.hindrances import DEFERRED, UNSETTLED, Hindrances
from hub.inputs import InputGate
from hub.model import (
    AccountId,
    AccountKind,
    Address,
    AddressId,
    AddressState,
    IssuedAddress,
    OwnAddress,
    Sweep,
    SweepId,
    SweepState,
    Withdrawal,
)
from hub.nodes import Nodes
from hub.signer import (
    Claim,
    RequestRejectedError,
    SignaturesGiven,
    SigningDeferred,
    SigningOutcome,
    SigningRefused,
)
from hub.store import Store, Transaction
from hub.suspects import Suspects, address_part, parts_of, withdrawal_part
from hub.sweep_plan import (
    Choice,
    SweepLimits,
    claims_of,
    draft_inputs,
    draft_outputs,
    make_plan,
    own_outputs,
    plan_sweep,
    within_window,
)
from hub.sweep_traces import (
    concern,
    tell_planned,
    tell_sweep_ended,
    waiting_since,
)
from hub.tangle import BundleDesk, BundleInvalidError, Draft, finish, hash_of
from hub.withdrawal_rules import NO_RULES, WithdrawalRules

_log = logging.getLogger(__name__)

_MILLISECONDS: Final = 1000
_ALL: Final = 10_000
"""Rows read per tick; what is older or larger comes first."""
_CHUNK: Final = 100
_MAX_ROUNDS: Final = 100
"""Rounds of planning and signing in one tick, so that a tick ends."""
_KEY_CODES: Final = frozenset(
    {"key-spent", "foreign-input", "seed-uuid", "unknown-generation"}
)
"""Refusals that are about an input's key: planning it again can not help."""


class Issuer(Protocol):
    """Where fresh addresses come from."""

    async def issue(self, user_commitment: str) -> IssuedAddress:
        """Return a fresh address; empty commitment: for the hub's owner."""


class SweepSigner(Issuer, Protocol):
    """What the appliances do for a sweep."""

    async def sign(
        self,
        draft: Draft,
        claims: Sequence[Claim],
        *,
        own_outputs: Sequence[int],
        authorisations: Sequence[str] = (),
    ) -> SigningOutcome:
        """Ask for the signatures of a bundle; safe to repeat."""


class Sweeper:
    """Plans sweeps and gets them signed.

    Args:
        store: The database.
        nodes: The quorum.
        signer: The appliance.
        desk: Where bundles are built and checked.
        limits: How large a sweep may be.
        max_unsigned: How many sweeps may wait for the appliance at once: they are
            asked for together, so that it signs on all its cores.
        rules: How much may leave within a window.
        refused_wait_ms: How long what alone was refused is left out.
        clock: The time.
    """

    def __init__(  # noqa: PLR0913 - the flow's ports
        self,
        store: Store,
        nodes: Nodes,
        signer: SweepSigner,
        desk: BundleDesk,
        *,
        limits: SweepLimits,
        max_unsigned: int,
        rules: WithdrawalRules = NO_RULES,
        refused_wait_ms: int,
        clock: Clock,
    ) -> None:
        self._store = store
        self._nodes = nodes
        self._signer = signer
        self._desk = desk
        self._limits = limits
        self._max_unsigned = max_unsigned
        self._rules = rules
        self._clock = clock
        self._gate = InputGate(nodes, clock=clock)
        self._hindrances = Hindrances(store, clock=clock)
        self._suspects = Suspects(wait_ms=refused_wait_ms, clock=clock)

    async def tick(self) -> None:
        """Finish planned sweeps; then plan and sign until nothing is left to do.

        Raises:
            HubError: What came of the first sweep planned in this round and not signed;
                one that was planned before is only logged.
        """
        await self._nodes.require_synced()  # a stale balance must not sign either
        fresh: set[SweepId] = set()
        for _ in range(_MAX_ROUNDS):
            failures = await self._finish_planned()
            for sweep_id, error in failures.items():
                if sweep_id in fresh:
                    raise error
            if any(isinstance(error, FaultError) for error in failures.values()):
                return  # the appliance or the nodes do not answer
            fresh = await self._plan_some()
            if not fresh:
                return

    async def _plan_some(self) -> set[SweepId]:
        """Plan as many sweeps as may wait for the appliance at once.

        Returns:
            Those that were planned.
        """
        planned: set[SweepId] = set()
        room = self._max_unsigned - len(await self._unsigned())
        for choose in (self.preview, self._choose_suspect):
            while len(planned) < room:
                choice = await choose()
                sweep = None if choice is None else await self._plan(choice)
                if sweep is None:
                    break
                failpoint("hub.sweep.after-plan")
                planned.add(sweep.sweep_id)
        return planned

    async def preview(self) -> Choice | None:
        """Return what the next sweep would do, without doing it."""
        await self._nodes.require_synced()
        waiting = await self._payable_withdrawals()
        async with self._store.reading() as tx:
            generation = await tx.addresses.newest_generation()
        return plan_sweep(
            deposits=await self._deposits(),
            hub_addresses=await self._hub_addresses(),
            withdrawals=[
                w
                for w in waiting
                if withdrawal_part(w.withdrawal_id) not in self._suspects
            ],
            limits=self._limits,
            generation=generation,
        )

    # --- what may take part ------------------------------------------------------

    async def _deposits(self) -> list[OwnAddress]:
        """Return at least as many settled deposit addresses as a sweep takes.

        Returns:
            The oldest generation first, then the oldest address.
        """
        found: list[OwnAddress] = []
        candidates = await self._candidates(AccountKind.USER)
        most = self._limits.max_deposits or self._limits.max_transactions
        for start in range(0, len(candidates), _CHUNK):
            found += await self._gate.settled(candidates[start : start + _CHUNK])
            if len(found) >= most:
                break
        return found

    async def _hub_addresses(self) -> list[OwnAddress]:
        """Return settled hub addresses, smallest first: both ends of a long list."""
        candidates = await self._candidates(AccountKind.OWNER)
        if len(candidates) > 2 * _CHUNK:
            candidates = candidates[:_CHUNK] + candidates[-_CHUNK:]
        return await self._gate.settled(candidates)

    async def _candidates(self, kind: AccountKind) -> list[OwnAddress]:
        async with self._store.reading() as tx:
            found = await tx.addresses.sweepable(kind, limit=_ALL)
        expecting = await self._expecting()
        return [
            own
            for own in found
            if own.address not in expecting
            and address_part(own.address_id) not in self._suspects
        ]

    async def _expecting(self) -> set[str]:
        """Return addresses that withdrawals or unconfirmed sweeps of ours pay into."""
        async with self._store.reading() as tx:
            waiting = await tx.withdrawals.requested(limit=_ALL)
            unconfirmed = await tx.sweeps.in_state(
                SweepState.PLANNED, SweepState.SIGNED, SweepState.ATTACHED
            )
        drafts = [
            Draft.from_text(sweep.plan.bundle_hash, sweep.plan.essence)
            for sweep in unconfirmed
        ]
        outputs = {t.address for d in drafts for t in d.transactions if t.value_i > 0}
        return outputs | {withdrawal.payout_address for withdrawal in waiting}

    async def _payable_withdrawals(self) -> list[Withdrawal]:
        """Return waiting withdrawals; one to an address of ours that is spent is not.

        It was unspent when it was requested. Paid now, it would be lost.
        """
        async with self._store.reading() as tx:
            waiting = await tx.withdrawals.requested(limit=_ALL)
            closed = await _closed_addresses(tx, [w.payout_address for w in waiting])
        for withdrawal in waiting:
            if withdrawal.payout_address in closed:
                _log.error(
                    "withdrawal %s waits: %s is ours and takes nothing more",
                    withdrawal.uuid,
                    withdrawal.payout_address,
                )
        open_ones = [w for w in waiting if w.payout_address not in closed]
        return await self._within_the_window(open_ones)

    async def _within_the_window(
        self, waiting: Sequence[Withdrawal]
    ) -> list[Withdrawal]:
        """Return those that the limit on all withdrawals together lets pass now."""
        total_i = self._rules.total_i
        if total_i is None:
            return list(waiting)
        since_ms = self._clock() - self._rules.window_ms
        async with self._store.reading() as tx:
            owner = await tx.accounts.owner()
            paid_i = await tx.withdrawals.paid_since_i(since_ms, but=owner.account_id)
        return within_window(
            waiting, total_i=total_i, left_i=total_i - paid_i, exempt=owner.account_id
        )

    async def _choose_suspect(self) -> Choice | None:
        """Return a sweep for one suspect alone, if there is one to be tried."""
        async with self._store.reading() as tx:
            addresses = [
                own
                for kind in (AccountKind.USER, AccountKind.OWNER)
                for own in await tx.addresses.sweepable(kind, limit=_ALL)
                if self._suspects.may_be_tried(address_part(own.address_id))
            ]
        expecting = await self._expecting()
        addresses = [own for own in addresses if own.address not in expecting]
        for own in await self._gate.settled(addresses[:_CHUNK]):
            return Choice((own,), (), own.balance_i)
        for withdrawal in await self._payable_withdrawals():
            if self._suspects.may_be_tried(withdrawal_part(withdrawal.withdrawal_id)):
                return await self._pay_alone(withdrawal)
        return None

    async def _pay_alone(self, withdrawal: Withdrawal) -> Choice | None:
        choice = plan_sweep(
            deposits=await self._deposits(),
            hub_addresses=await self._hub_addresses(),
            withdrawals=[withdrawal],
            limits=self._limits,
            generation=0,
        )
        return choice if choice and choice.withdrawals else None

    # --- planning ----------------------------------------------------------------

    async def _plan(self, choice: Choice) -> Sweep | None:
        with tracing.step("plan") as planning:
            waited_ms = await waiting_since(self._store, choice.withdrawals)
            sweep = await self._store_plan(choice)
            if sweep is not None:
                tell_planned(planning, sweep, waited_ms)
            return sweep

    async def _store_plan(self, choice: Choice) -> Sweep | None:
        rest = await self._remainder_address() if choice.rest_i else None
        failpoint("hub.sweep.after-remainder")
        draft = await self._desk.draft(
            draft_inputs(choice),
            draft_outputs(choice, rest),
            timestamp_s=self._clock() // _MILLISECONDS,
        )
        plan = make_plan(choice, rest, draft)
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
            generation = await tx.addresses.newest_generation()
            idle = await tx.addresses.idle_remainder(
                owner.account_id, generation=generation
            )
        if idle is not None:
            return idle
        issued = await self._signer.issue("")
        failpoint("hub.sweep.remainder-issued")
        return await self._store.run(
            lambda tx: _add_address(tx, owner.account_id, issued)
        )

    # --- signing -----------------------------------------------------------------

    async def _unsigned(self) -> list[Sweep]:
        async with self._store.reading() as tx:
            return await tx.sweeps.in_state(SweepState.PLANNED)

    async def _finish_planned(self) -> dict[SweepId, HubError]:
        """Ask for every planned sweep at once, none of which holds up another.

        Returns:
            What went wrong, by sweep.
        """
        sweeps = await self._unsigned()
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(self._failure_of(one)) for one in sweeps]
        failures = zip(sweeps, [one.result() for one in asked], strict=True)
        return {sweep.sweep_id: error for sweep, error in failures if error}

    async def _failure_of(self, sweep: Sweep) -> HubError | None:
        failure: HubError
        try:
            await self._get_signed(sweep)
        except RequestRejectedError as error:
            _log.error("sweep %s: %s", sweep.plan.bundle_hash, error)
            failure = error
        except FaultError as error:
            _log.warning("sweep %s waits: %s", sweep.plan.bundle_hash, error)
            failure = error
        except HubError as error:
            _log.critical("sweep %s", sweep.plan.bundle_hash, exc_info=True)
            failure = error
        else:
            return None
        await self._hindrances.note(sweep, code=failure.code, message=str(failure))
        return failure

    async def _get_signed(self, sweep: Sweep) -> None:
        """Ask the appliance for exactly this bundle and act on its answer.

        Raises:
            BundleInvalidError: If the stored bundle is not what was planned.
        """
        async with self._store.reading() as tx:
            inputs = [await tx.addresses.by_id(i.address_id) for i in sweep.plan.inputs]
            paid = await tx.withdrawals.of_sweeps([sweep.sweep_id])
        taken = [
            (own.address, spent.amount_i)
            for own, spent in zip(inputs, sweep.plan.inputs, strict=True)
        ]
        delay = await self._gate.delay_of(sweep.plan.bundle_hash, taken)
        if delay:
            await self._hindrances.note(sweep, code=UNSETTLED, message=delay)
            return
        draft = Draft.from_text(sweep.plan.bundle_hash, sweep.plan.essence)
        if hash_of(draft) != draft.bundle_hash:
            # A refusal of what is not our bundle must not release our inputs.
            raise BundleInvalidError(f"{draft.bundle_hash} is not what was planned")
        failpoint("hub.sweep.before-sign")
        with tracing.step("sign") as signing:
            await concern(signing, self._store, sweep)
            await self._sign(sweep, draft, inputs, paid)

    async def _sign(
        self,
        sweep: Sweep,
        draft: Draft,
        inputs: Sequence[OwnAddress],
        paid: Sequence[Withdrawal],
    ) -> None:
        outcome = await self._signer.sign(
            draft,
            claims_of(draft, inputs),
            own_outputs=own_outputs(draft, sweep.plan),
            authorisations=[w.authorisation for w in paid if w.authorisation],
        )
        failpoint("hub.sweep.after-sign")
        match outcome:
            case SignaturesGiven(signatures, row):
                trytes = finish(draft, signatures)
                with tracing.step("check signatures"):
                    await self._desk.check(trytes)
                failpoint("hub.sweep.before-store-signed")
                with tracing.step("book"):
                    await self._store.run(
                        lambda tx: tx.sweeps.sign(
                            sweep.sweep_id, trytes, journal_sequence=row
                        )
                    )
                failpoint("hub.sweep.after-store-signed")
                self._suspects.cleared(parts_of(sweep))
                _log.info("sweep signed bundle=%s", sweep.plan.bundle_hash)
            case SigningDeferred(code, message, _):
                tracing.current().failed(code)
                _log.info("sweep deferred %s: %s", code, message)
                await self._hindrances.note(
                    sweep, code=f"{DEFERRED}:{code}", message=message
                )
            case SigningRefused(code, _):
                tracing.current().failed(code)
                await self._release(sweep, outcome)
                tell_sweep_ended(tracing.current(), sweep, SweepState.REFUSED)

    async def _release(self, sweep: Sweep, refusal: SigningRefused) -> None:
        """Give back what a refused sweep reserved; find out which part it is about."""
        guilty = self._suspects.refused(sweep)
        _log.error(
            "sweep refused bundle=%s code=%s guilty=%s: %s",
            sweep.plan.bundle_hash,
            refusal.code,
            guilty or "to be found out",
            refusal.message,
        )
        barred = [
            spent.address_id
            for spent in sweep.plan.inputs
            if refusal.code in _KEY_CODES and address_part(spent.address_id) == guilty
        ]
        failpoint("hub.sweep.before-release")
        await self._store.run(
            lambda tx: tx.sweeps.refuse(
                sweep.sweep_id,
                code=refusal.code,
                message=refusal.message,
                quarantine=barred,
            )
        )
        failpoint("hub.sweep.after-release")


async def _add_address(
    tx: Transaction, account_id: AccountId, issued: IssuedAddress
) -> OwnAddress:
    address_id: AddressId = await tx.addresses.add(account_id, issued)
    return await tx.addresses.by_id(address_id)


async def _closed_addresses(
    tx: Transaction, payouts: Collection[Address]
) -> set[Address]:
    """Return those payout addresses that are ours and no longer open."""
    closed: set[Address] = set()
    ordered: Sequence[Address] = sorted(set(payouts))
    for start in range(0, len(ordered), _CHUNK):
        ours = await tx.addresses.find_many(ordered[start : start + _CHUNK])
        closed |= {own.address for own in ours if own.state is not AddressState.OPEN}
    return closed
