# SPDX-License-Identifier: Apache-2.0
"""Value that came late to a spent address, sent on by approval of operators.

One recovery an address, taken further each time it is asked for: ``planned`` (the
bundle is stored, its counter still to be mined) -> ``mined`` -> ``signed`` (booked;
attached again whenever it is asked for). Each step is a file, synced before the next
one begins: a crash asks the appliance for the very same bundle again.
"""

import asyncio
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol, TypeAlias

import msgspec

from hub import ledger
from hub.clock import Clock
from hub.errors import FaultError, RefusedError
from hub.model import (
    Address,
    AddressState,
    BundleHash,
    OwnAddress,
    TransactionHash,
)
from hub.pow import CheckedProofOfWork
from hub.signer import (
    AwaitingApproval,
    Claim,
    MiningProgress,
    Purpose,
    SecondOutcome,
    SignaturesGiven,
    SigningRefused,
)
from hub.store import Store, Transaction
from hub.tangle import (
    BundleDesk,
    Draft,
    DraftInput,
    DraftOutput,
    finish,
    with_counter,
)

_log = logging.getLogger(__name__)
_MILLISECONDS: Final = 1000


class RecoveryRefusedError(RefusedError):
    """The appliance will never sign this bundle; ask again for another one."""

    code = "recovery-refused"


class RecoveryElsewhereError(RefusedError):
    """A recovery of this address to somewhere else is under way."""

    code = "recovery-elsewhere"


class RecoveryWaitsError(FaultError):
    """The books or the appliance are not ready for it; ask again."""

    code = "recovery-waits"


class RecoverySigner(Protocol):
    """What the appliance does for a recovery."""

    async def mine(
        self,
        draft: Draft,
        claims: Sequence[Claim],
        *,
        own_outputs: Sequence[int],
        tries: int,
    ) -> MiningProgress:
        """Search for a counter."""

    async def ask_second_signature(
        self,
        draft: Draft,
        claims: Sequence[Claim],
        *,
        spent_inputs: Sequence[int],
        own_outputs: Sequence[int],
        purpose: Purpose,
    ) -> SecondOutcome:
        """Ask for the signatures."""


class RecoveryNodes(Protocol):
    """What nodes do for a recovery."""

    async def tips(
        self, *, depth: int, reference: str | None = None
    ) -> tuple[TransactionHash, TransactionHash]:
        """Choose where to attach."""

    async def send(self, trytes: Sequence[str]) -> None:
        """Store and broadcast."""


class Recovery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One recovery, as its file holds it.

    Attributes:
        state: How far it is.
        payout: Where the value goes, 81 trytes.
        amount_i: All of it, in iota.
        bundle_hash: Of the draft, 81 trytes.
        essence: The draft, as ``Draft.to_text`` gives it.
        signed_trytes: Every transaction, once it is signed.
    """

    state: Literal["planned", "mined", "signed"]
    payout: str
    amount_i: int
    bundle_hash: str
    essence: str
    signed_trytes: list[str] = []

    @property
    def draft(self) -> Draft:
        """The bundle."""
        return Draft.from_text(BundleHash(self.bundle_hash), self.essence)


@dataclass(frozen=True, slots=True)
class StillMining:
    """The bundle is being mined; ask again.

    Attributes:
        tried: Tags tried so far.
    """

    tried: int


@dataclass(frozen=True, slots=True)
class Recovered:
    """The bundle is signed and was sent to the nodes once more."""

    bundle_hash: BundleHash


Progress: TypeAlias = StillMining | AwaitingApproval | Recovered


@dataclass(frozen=True, slots=True)
class RecoverySettings:
    """How a recovery goes about it.

    Attributes:
        folder: Where the files lie; made if it is missing.
        tries: Tags tried for one bundle.
        depth: Milestones that tip selection walks back.
    """

    folder: Path
    tries: int
    depth: int


def plan_recovery(
    own: OwnAddress, payout: Address, amount_i: int
) -> tuple[list[DraftInput], list[DraftOutput]]:
    """Say what the bundle moves; pure.

    Args:
        own: The spent address, emptied whole.
        payout: Where all of it goes.
        amount_i: What the quorum says it holds.

    Returns:
        Inputs and outputs of the bundle.
    """
    inputs = [DraftInput(own.address, amount_i, own.issued.security_level)]
    return inputs, [DraftOutput(payout, amount_i)]


class Recoveries:
    """Takes recoveries further, one step each time.

    Args:
        store: The database.
        nodes: The quorum.
        signer: The appliance.
        desk: Where bundles are built and checked.
        work: Who finds nonces.
        settings: How it goes about it.
        clock: The time.
    """

    def __init__(  # noqa: PLR0913 - the flow's ports
        self,
        store: Store,
        nodes: RecoveryNodes,
        signer: RecoverySigner,
        desk: BundleDesk,
        work: CheckedProofOfWork,
        *,
        settings: RecoverySettings,
        clock: Clock,
    ) -> None:
        self._store = store
        self._nodes = nodes
        self._signer = signer
        self._desk = desk
        self._work = work
        self._settings = settings
        self._clock = clock
        self._lock = asyncio.Lock()  # two that ask at once would plan two bundles

    async def take_further(
        self, own: OwnAddress, payout: Address, amount_i: int
    ) -> Progress:
        """Begin a recovery, or take it as far as it goes now; one at a time.

        Args:
            own: A spent address of ours.
            payout: Where the value goes.
            amount_i: What the quorum says the address holds.

        Returns:
            How far it is.
        """
        async with self._lock:
            return await self._take_further(own, payout, amount_i)

    async def _take_further(
        self, own: OwnAddress, payout: Address, amount_i: int
    ) -> Progress:
        found = self._find(own)
        wanted = (payout, amount_i)
        if found is None or (
            found.state == "planned" and (found.payout, found.amount_i) != wanted
        ):
            found = await self._plan(own, payout, amount_i)
        _require_same(found, payout, amount_i)
        if found.state == "planned":
            mined = await self._mine(own, found)
            if isinstance(mined, StillMining):
                return mined
            found = mined
        if found.state == "mined":
            signed = await self._get_signed(own, found)
            if isinstance(signed, AwaitingApproval):
                return signed
            found = signed
        await self._attach(found)
        return Recovered(BundleHash(found.bundle_hash))

    async def _plan(self, own: OwnAddress, payout: Address, amount_i: int) -> Recovery:
        """Store a bundle that empties the address.

        Returns:
            The recovery begun.

        Raises:
            RecoveryWaitsError: While books and nodes disagree about what is there.
        """
        if own.state is not AddressState.SPENT or own.balance_i != amount_i:
            raise RecoveryWaitsError(
                f"the books have {own.balance_i} i on {own.address}, the nodes"
                f" {amount_i} i: wait until the deposit is booked"
            )
        inputs, outputs = plan_recovery(own, payout, amount_i)
        now_s = self._clock() // _MILLISECONDS
        draft = await self._desk.draft(inputs, outputs, timestamp_s=now_s)
        planned = Recovery(
            "planned", payout, amount_i, draft.bundle_hash, draft.to_text()
        )
        return self._keep(own, planned)

    async def _mine(self, own: OwnAddress, found: Recovery) -> Recovery | StillMining:
        progress = await self._signer.mine(
            found.draft,
            _claims(own),
            own_outputs=await self._own_outputs(found.draft),
            tries=self._settings.tries,
        )
        if progress.state == "running":
            return StillMining(progress.tried)
        if progress.state != "done":
            raise RecoveryWaitsError(f"the search is {progress.state}")
        draft = with_counter(found.draft, progress.obsolete_tag)
        mined = msgspec.structs.replace(
            found,
            state="mined",
            bundle_hash=draft.bundle_hash,
            essence=draft.to_text(),
        )
        return self._keep(own, mined)

    async def _get_signed(
        self, own: OwnAddress, found: Recovery
    ) -> Recovery | AwaitingApproval:
        """Ask for the signatures.

        Returns:
            The recovery signed, or who must approve it.

        Raises:
            RecoveryRefusedError: If the appliance refused for good; it is forgotten.
            RecoveryWaitsError: If nothing was decided.
        """
        outcome = await self._signer.ask_second_signature(
            found.draft,
            _claims(own),
            spent_inputs=[0],
            own_outputs=await self._own_outputs(found.draft),
            purpose="recover-funds",
        )
        match outcome:
            case AwaitingApproval():
                return outcome
            case SignaturesGiven(signatures):
                trytes = finish(found.draft, signatures)
                await self._desk.check(trytes)
                await self._store.run(lambda tx: _book(tx, own, found))
                _log.info("recovery signed bundle=%s", found.bundle_hash)
                signed = msgspec.structs.replace(
                    found, state="signed", signed_trytes=list(trytes)
                )
                return self._keep(own, signed)
            case SigningRefused(code, message):
                self._path(own).unlink()
                raise RecoveryRefusedError(f"{code}: {message}")
            case _:
                raise RecoveryWaitsError(f"{outcome.code}: {outcome.message}")

    async def _attach(self, found: Recovery) -> None:
        depth = self._settings.depth
        attached = await self._work.attach(
            found.signed_trytes, tips=lambda: self._nodes.tips(depth=depth)
        )
        await self._nodes.send(attached)
        _log.info("recovery attached bundle=%s", found.bundle_hash)

    async def _own_outputs(self, draft: Draft) -> list[int]:
        receivers = {
            n: Address(t.address)
            for n, t in enumerate(draft.transactions)
            if t.value_i > 0
        }
        async with self._store.reading() as tx:
            ours = await tx.addresses.find_many(list(receivers.values()))
        return [n for n, text in receivers.items() if text in {o.address for o in ours}]

    # --- files -------------------------------------------------------------------

    def _path(self, own: OwnAddress) -> Path:
        return self._settings.folder / f"{own.address}.json"

    def _find(self, own: OwnAddress) -> Recovery | None:
        path = self._path(own)
        if not path.exists():
            return None
        found = msgspec.json.decode(path.read_bytes(), type=Recovery)
        # Done, and value came once more: that is another recovery.
        if found.state == "signed" and own.balance_i > 0:
            path.rename(path.with_suffix(f".{found.bundle_hash}"))
            return None
        return found

    def _keep(self, own: OwnAddress, recovery: Recovery) -> Recovery:
        """Write it down, synced, before anything follows from it."""
        self._settings.folder.mkdir(mode=0o700, exist_ok=True)
        path = self._path(own)
        temporary = path.with_suffix(".new")
        with temporary.open("wb") as file:
            file.write(msgspec.json.encode(recovery))
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
        folder = os.open(self._settings.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return recovery


async def _book(tx: Transaction, own: OwnAddress, found: Recovery) -> None:
    """Take the value off the books, once."""
    if await tx.books.was_posted(found.bundle_hash):
        return
    posting = ledger.funds_recovered(
        own.address_id, own.account_id, amount_i=found.amount_i
    )
    await tx.books.post(posting, reference=found.bundle_hash)


def _claims(own: OwnAddress) -> list[Claim]:
    return [Claim(0, own.issued.seed_uuid, own.issued.generation)]


def _require_same(found: Recovery, payout: Address, amount_i: int) -> None:
    """Insist that what was mined is what is asked for; what came since stays.

    Raises:
        RecoveryElsewhereError: If it goes elsewhere, or takes more than there is.
    """
    if found.payout != payout or found.amount_i > amount_i:
        raise RecoveryElsewhereError(
            f"bundle {found.bundle_hash} of {found.amount_i} i to {found.payout} is"
            f" {found.state} already; {amount_i} i to {payout} were asked for"
        )
