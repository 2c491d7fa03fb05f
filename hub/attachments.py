# SPDX-License-Identifier: Apache-2.0
"""Attach, promote and reattach signed sweeps until one attachment confirms.

Once a sweep is confirmed it is never attached again: a bundle whose inputs were
refunded could pay out a second time. For the same reason one is attached only while
its inputs hold what it takes; where they do not and nodes have lost its tails, it
was confirmed and pruned. Attachments that third parties made are found by bundle
hash and count as ours. A failure concerns one sweep and one tick.
"""

import enum
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

from failpoints import failpoint
from hub import tracing
from hub.clock import Clock
from hub.errors import (
    FaultError,
    HubError,
    NodeUnavailableError,
    ReattachmentRefusedError,
)
from hub.history import bundles_named
from hub.model import BundleHash, Sweep, SweepState, Tail, TransactionHash
from hub.node import TailHealth
from hub.nodes import Nodes
from hub.pow import CheckedProofOfWork, is_attachment_of, tail_hash
from hub.store import Store, Transaction
from hub.store.audit import Done
from hub.sweep_traces import concern, tell_confirmed, tell_first_attachment
from trinary import bundle as kernel

_log = logging.getLogger(__name__)

_MILLISECONDS: Final = 1000
_PROMOTION_ADDRESS: Final = "SALTKEEP9PROMOTION".ljust(81, "9")
_PROMOTION_TAG: Final = "SALTKEEP".ljust(27, "9")
_NO_HASH: Final = "9" * 81


class NextStep(enum.Enum):
    """What a sweep's attachments want."""

    ATTACH = "attach"
    """There is none, or none that can confirm any more."""
    PROMOTE = "promote"
    """The newest one is young and could confirm with help."""
    WAIT = "wait"
    """The newest one is young and in no need."""


@dataclass(frozen=True, slots=True)
class AttachmentSettings:
    """How attachments are tended.

    Attributes:
        depth: For tip selection.
        max_promotion_age_ms: Older tails are reattached, not promoted.
    """

    depth: int
    max_promotion_age_ms: int


def next_step(
    tails: Sequence[Tail],
    health: TailHealth | None,
    *,
    now_ms: int,
    max_promotion_age_ms: int,
) -> NextStep:
    """Decide what an unconfirmed sweep wants; pure.

    Args:
        tails: Its attachments, the newest first.
        health: Of the newest one; None if no node could tell.
        now_ms: The time.
        max_promotion_age_ms: Older tails are reattached.

    Returns:
        The next step.
    """
    if not tails or now_ms - tails[0].created_at_ms > max_promotion_age_ms:
        return NextStep.ATTACH
    if health is None:
        return NextStep.WAIT
    if health.reattach:
        return NextStep.ATTACH
    return NextStep.PROMOTE if health.promote else NextStep.WAIT


class Attacher:
    """Tends every signed sweep that is not confirmed.

    Args:
        store: The database.
        nodes: The quorum.
        work: Who checks bundles and finds nonces.
        settings: How attachments are tended.
        clock: The time.
    """

    def __init__(
        self,
        store: Store,
        nodes: Nodes,
        work: CheckedProofOfWork,
        *,
        settings: AttachmentSettings,
        clock: Clock,
    ) -> None:
        self._store = store
        self._nodes = nodes
        self._work = work
        self._settings = settings
        self._clock = clock

    async def tick(self) -> None:
        """Take each unconfirmed sweep one step further."""
        await self._each(self._tend, SweepState.SIGNED, SweepState.ATTACHED)

    async def look(self) -> None:
        """See which attachments are confirmed, before their time.

        Neither attaches nor promotes: that some hint came is no reason to.
        """
        await self._each(self._see, SweepState.ATTACHED)

    async def _each(
        self, step: Callable[[Sweep], Awaitable[None]], *states: SweepState
    ) -> None:
        async with self._store.reading() as tx:
            open_sweeps = await tx.sweeps.in_state(*states)
        if open_sweeps:
            await self._nodes.require_synced()
        for sweep in open_sweeps:
            try:
                await step(sweep)
            except FaultError as error:
                _log.warning(
                    "sweep %s not tended this time: %s", sweep.plan.bundle_hash, error
                )
            except HubError:
                _log.critical("sweep %s", sweep.plan.bundle_hash, exc_info=True)

    async def _see(self, sweep: Sweep) -> None:
        async with self._store.reading() as tx:
            tails = await tx.tails.of_sweep(sweep.sweep_id)
        await self._confirm(sweep, tails)

    async def _tend(self, sweep: Sweep) -> None:
        visible = await self._adopt_found(sweep)
        async with self._store.reading() as tx:
            tails = await tx.tails.of_sweep(sweep.sweep_id)
        if await self._confirm(sweep, tails):
            return
        if not await self._may_confirm(sweep):
            await self._conclude(sweep, tails, visible)
            return
        step = next_step(
            tails,
            await self._health(tails, visible),
            now_ms=self._clock(),
            max_promotion_age_ms=self._settings.max_promotion_age_ms,
        )
        if step is NextStep.ATTACH and not tails:
            with tracing.step("attach") as attaching:
                await tell_first_attachment(attaching, self._store, sweep)
                await self._attach(sweep)
        elif step is NextStep.ATTACH:
            with tracing.step("reattach") as reattaching:
                await concern(reattaching, self._store, sweep)
                await self._attach(sweep)
        elif step is NextStep.PROMOTE:
            with tracing.step("promote") as promoting:
                await concern(promoting, self._store, sweep)
                await self._promote(tails[0].tail_hash)
            await self._store.run(lambda tx: tx.sweeps.promoted(sweep.sweep_id))

    async def _adopt_found(self, sweep: Sweep) -> set[TransactionHash]:
        """Record attachments the nodes know and we do not.

        Anybody can store transactions that merely name our bundle, or carry it with
        other signatures; only those that are ours to the last tryte count.

        Returns:
            The tails that nodes know.
        """
        bundles = await bundles_named(self._nodes, [sweep.plan.bundle_hash])
        found = {
            bundle.tail
            for bundle in bundles
            if is_attachment_of(
                sweep.signed_trytes, [part.content for part in bundle.transactions]
            )
        }
        async with self._store.reading() as tx:
            known = {t.tail_hash for t in await tx.tails.of_sweep(sweep.sweep_id)}
        for tail in sorted(found - known):
            await self._record(sweep, tail)
        return found

    async def _may_confirm(self, sweep: Sweep) -> bool:
        """Say whether the inputs still hold what the bundle takes from them.

        Returns:
            False if the quorum shows one short, or the remainder arrived already.

        Raises:
            NodeUnavailableError: If no quorum says how much an input holds.
        """
        plan = sweep.plan
        async with self._store.reading() as tx:
            taken = [
                ((await tx.addresses.by_id(spent.address_id)).address, spent.amount_i)
                for spent in plan.inputs
            ]
            rest = None
            if plan.remainder_address_id is not None:
                rest = (await tx.addresses.by_id(plan.remainder_address_id)).address
        addresses = [address for address, _ in taken]
        balances = await self._nodes.balances([*addresses, rest] if rest else addresses)
        if any(address not in balances for address in addresses):
            raise NodeUnavailableError("no quorum agrees on an input's balance")
        if rest and balances.get(rest, 0) >= plan.remainder_i:
            return False
        return all(balances[address] >= amount_i for address, amount_i in taken)

    async def _conclude(
        self, sweep: Sweep, tails: Sequence[Tail], visible: Collection[TransactionHash]
    ) -> None:
        """Take a sweep whose tails are gone and whose value has moved as confirmed."""
        if tails and not visible:
            _log.warning(
                "sweep %s confirmed as its balances show; its history is pruned",
                sweep.plan.bundle_hash,
            )
            with tracing.step("confirm", by="balances") as confirming:
                await self._store.run(
                    lambda tx: tx.sweeps.confirm(sweep.sweep_id, tails[0].tail_hash)
                )
                await tell_confirmed(confirming, self._store, sweep, tails)
            return
        _log.error(
            "sweep %s is not attached: an input no longer holds what it takes, or its"
            " remainder is there already; if this stays, find out who moved it",
            sweep.plan.bundle_hash,
        )

    async def _confirm(self, sweep: Sweep, tails: Sequence[Tail]) -> bool:
        with tracing.step("confirm") as confirming:
            confirmed = await self._confirmed(sweep, tails)
            if confirmed:
                await tell_confirmed(confirming, self._store, sweep, tails)
            return confirmed

    async def _confirmed(self, sweep: Sweep, tails: Sequence[Tail]) -> bool:
        states = await self._nodes.confirmed([tail.tail_hash for tail in tails])
        confirmed = [tail for tail, state in states.items() if state]
        if len(confirmed) > 1:
            _log.error(
                "sweep %s confirmed %d times: an input was refunded meanwhile",
                sweep.plan.bundle_hash,
                len(confirmed),
            )
        for tail in confirmed:
            failpoint("hub.attach.before-confirm")
            await self._store.run(
                lambda tx, tail=tail: tx.sweeps.confirm(sweep.sweep_id, tail)  # type: ignore[misc]
            )
            failpoint("hub.attach.after-confirm")
            _log.info("sweep confirmed bundle=%s tail=%s", sweep.plan.bundle_hash, tail)
        return bool(confirmed)

    async def _health(
        self, tails: Sequence[Tail], visible: Collection[TransactionHash]
    ) -> TailHealth | None:
        if not tails:
            return None
        newest = tails[0].tail_hash
        if newest not in visible:  # never sent, or lost: attach anew
            return TailHealth(promote=False, reattach=True)
        try:
            return await self._nodes.tail_health(newest)
        except NodeUnavailableError as error:
            _log.info("tail %s: %s", newest, error)
            return None

    async def reattach(
        self, name: BundleHash, done: Done, *, store: Store
    ) -> TransactionHash:
        """Attach a sweep of ours once more because a person wants it.

        Args:
            name: Its bundle; ``SweepUnknownError`` if it is none of ours.
            done: The audit's line, written with the tail before that is sent.
            store: The database, without the flow's fence: a person asked, on any hub.

        Returns:
            The new tail.

        Raises:
            ReattachmentRefusedError: If it is not signed, is confirmed, or an input
                no longer holds what it takes: it could pay a second time.
        """
        async with store.reading() as tx:
            sweep = await tx.sweeps.by_bundle_hash(name)
        if sweep.state not in {SweepState.SIGNED, SweepState.ATTACHED}:
            raise ReattachmentRefusedError(f"the sweep is {sweep.state.value}")
        await self._nodes.require_synced()
        if not await self._may_confirm(sweep):
            message = "an input no longer holds what it takes: it may be confirmed"
            raise ReattachmentRefusedError(message)
        attached = await self._worked(sweep.signed_trytes)
        tail = tail_hash(attached)

        async def record(tx: Transaction) -> None:
            await tx.sweeps.attach(sweep.sweep_id, tail)
            await tx.audit.add(done)

        await store.run(record)
        await self._nodes.send(attached)
        return tail

    async def attach_signed(self, trytes: Sequence[str]) -> TransactionHash:
        """Send a signed bundle that is no sweep of ours; nothing is recorded.

        Args:
            trytes: 2673 trytes per transaction, in order of index.

        Returns:
            Its tail.
        """
        attached = await self._worked(trytes)
        await self._nodes.send(attached)
        return tail_hash(attached)

    async def _worked(self, trytes: Sequence[str]) -> Sequence[str]:
        depth = self._settings.depth
        return await self._work.attach(
            trytes, tips=lambda: self._nodes.tips(depth=depth)
        )

    async def _attach(self, sweep: Sweep) -> None:
        failpoint("hub.attach.before-attach")
        with tracing.step("proof of work"):
            attached = await self._worked(sweep.signed_trytes)
        tail = tail_hash(attached)
        failpoint("hub.attach.after-work")
        # Recorded before it is sent: a crash between leaves a tail that no node
        # knows, which the next tick replaces; never one that we do not know.
        await self._record(sweep, tail)
        failpoint("hub.attach.before-send")
        with tracing.step("send"):
            await self._nodes.send(attached)
        failpoint("hub.attach.after-send")
        _log.info("sweep attached bundle=%s tail=%s", sweep.plan.bundle_hash, tail)

    async def _promote(self, reference: TransactionHash) -> None:
        depth = self._settings.depth
        attached = await self._work.attach(
            [_promotion(self._clock() // _MILLISECONDS)],
            tips=lambda: self._nodes.tips(depth=depth, reference=reference),
        )
        await self._nodes.send(attached)
        _log.info("promoted tail=%s", reference)

    async def _record(self, sweep: Sweep, tail: TransactionHash) -> None:
        await self._store.run(lambda tx: tx.sweeps.attach(sweep.sweep_id, tail))
        failpoint("hub.attach.after-record")


def _promotion(timestamp_s: int) -> str:
    """Return a bundle of one transaction that moves nothing."""
    essence = kernel.Essence(
        address=_PROMOTION_ADDRESS,
        value_i=0,
        obsolete_tag=_PROMOTION_TAG,
        timestamp_s=timestamp_s,
        current_index=0,
        last_index=0,
    )
    return kernel.serialise_transaction(
        kernel.Transaction(
            signature_message="9" * 2187,
            address=_PROMOTION_ADDRESS,
            value_i=0,
            obsolete_tag=_PROMOTION_TAG,
            timestamp_s=timestamp_s,
            current_index=0,
            last_index=0,
            bundle=kernel.bundle_hash([essence]),
            trunk=_NO_HASH,
            branch=_NO_HASH,
            tag=_PROMOTION_TAG,
            attachment_timestamp_ms=0,
            attachment_lower=0,
            attachment_upper=0,
            nonce="9" * 27,
        )
    )
