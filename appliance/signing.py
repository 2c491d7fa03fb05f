# SPDX-License-Identifier: Apache-2.0
"""The only path to a signature.

Understand the bundle, look whether it was signed before, match it with what was
issued, confirm presence where the policy asks for it, derive its keys, decide, commit
the keys as spent (synced to disk), and only then sign. ``Signing.sign`` is that path,
on one screen.
"""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace

from appliance.config import Client
from appliance.derivation import Derivation, Seeds
from appliance.derivation_queue import Purpose
from appliance.errors import (
    AlreadySignedError,
    BadRequestError,
    BrokenInvariantError,
    FaultError,
    RefusedError,
)
from appliance.intent import (
    Commitment,
    Transfer,
    TransferInput,
    understand,
    understand_unmined,
)
from appliance.journal import Journal
from appliance.journal_records import (
    IssuedRecord,
    SignedRecord,
    Spent,
    is_recorded,
    require_unspent,
    require_unspent_outputs,
)
from appliance.judgement import Case
from appliance.panel import Presence
from appliance.policy_force import PolicyInForce
from appliance.second_signature import DoorAsked, OpenedDoor
from appliance.steps import Steps
from appliance.threads import OwnerThread
from appliance.vault import Vault
from appliance.wire import InputClaim, InputSignature, SignTransfer
from failpoints import failpoint
from trinary.trytes import is_trytes

_HASH_TRYTES = 81


@dataclass(frozen=True, slots=True)
class Signing:
    """Signs transfers it understands, each key once.

    Attributes:
        journal: Which keys are spent.
        journal_thread: Its thread.
        vault: Where the salt comes from.
        hsm_thread: The HSM's thread.
        derivation: Argon2's threads.
        policy: The policy in force.
        presence: Who is asked for presence.
    """

    journal: Journal
    journal_thread: OwnerThread
    vault: Vault
    hsm_thread: OwnerThread
    derivation: Derivation
    policy: PolicyInForce
    presence: Presence

    async def sign(
        self,
        request: SignTransfer,
        *,
        client: Client,
        steps: Steps,
        door: OpenedDoor | None = None,
    ) -> list[InputSignature]:
        """Return the signatures of a bundle, or say why not.

        Args:
            request: All transactions, the claims, the hash believed.
            client: Who asks.
            steps: Receives the time of each step.
            door: What two operators approved, where keys have signed before.

        Returns:
            One signature per input; byte-identical if it was signed before.

        Raises:
            RefusedError: Final; the caller journals it.
            DeferredError: Nothing was decided.
            BrokenInvariantError: A derivation differs from its record.
        """
        failpoint("appliance.sign.received")
        with steps("understand"):
            transfer = understand(request, levels=self.levels)
        failpoint("appliance.sign.understood")
        with steps("look"):
            if await self._was_signed(transfer, door):  # no policy: the same bytes
                return await self._sign_again(transfer, steps)
            own = await self._match_outputs(transfer)
        case = Case(self.policy, transfer, own, client, request.authorisations, door)
        with steps("presence"):
            case = await self._confirmed(case)
        async with self._derived(transfer, steps) as seeds:
            failpoint("appliance.sign.derived")
            with steps("decide"):
                await self._decide(case)
            failpoint("appliance.sign.decided")
            with steps("journal"):
                await self._commit(case)
            failpoint("appliance.sign.committed")
            with steps("sign"):
                return await self._signatures(transfer, seeds)

    async def fetch(
        self, bundle_hash: str, *, steps: Steps
    ) -> tuple[SignedRecord, list[InputSignature]]:
        """Return a bundle signed earlier, with the same signatures.

        Args:
            bundle_hash: Which.
            steps: Receives the time of each step.

        Returns:
            The record and the signatures.

        Raises:
            BadRequestError: ``unknown-bundle`` if it was never signed here.
        """
        record = None
        if is_trytes(bundle_hash, length=_HASH_TRYTES):  # else no database is asked
            record = await self.journal_thread(self.journal.find_signed, bundle_hash)
        if record is None:
            raise BadRequestError(
                f"bundle {bundle_hash:.81} was never signed here", code="unknown-bundle"
            )
        await self.require_held(record.claims)
        request = SignTransfer(
            request_id="",
            transactions=list(record.transactions),
            bundle_hash=bundle_hash,
            inputs=list(record.claims),
            own_outputs=[n for n, t in enumerate(record.transactions) if t.value_i > 0],
        )
        transfer = understand(request, levels=self.levels)
        return record, await self._sign_again(transfer, steps)

    async def require_held(self, claims: Iterable[InputClaim]) -> None:
        """Insist on the salts that some inputs need, before anything is refused.

        Args:
            claims: Which keys are asked for.

        Raises:
            FaultError: ``vault-behind`` if another appliance of this journal issued
                by a generation that this vault does not hold: ask that one.
        """
        held = set(self.vault.generations)
        if not self.journal.shared or {claim.generation for claim in claims} <= held:
            return
        await self.journal_thread(self.journal.catch_up)
        asked = {claim.generation for claim in claims}
        missing = sorted(asked & self.journal.verified.generations - held)
        if missing:
            raise FaultError(
                f"generations {missing} are held by another appliance of this journal"
                " and not by this one: ask there, or bring this vault up to date",
                code="vault-behind",
            )

    @property
    def levels(self) -> dict[int, int]:
        """Security level of each salt generation."""
        return {i: g.security_level for i, g in self.vault.generations.items()}

    async def consider(self, asked: DoorAsked, *, client: Client) -> list[str]:
        """Say what approvers of a second signature must see; nothing is signed.

        Args:
            asked: The bundle.
            client: Who asks.

        Returns:
            What they are shown, line by line.

        Raises:
            AlreadySignedError: If exactly this bundle was signed before.
        """
        await self.require_held(asked.act.inputs)
        transfer = understand(asked.request, levels=self.levels)
        if await self._was_signed(transfer, asked):
            message = f"bundle {transfer.bundle_hash} is signed: fetch it"
            raise AlreadySignedError(message)
        own = await self._match_outputs(transfer)
        spent = await self.spent(transfer)
        shown = await self.journal_thread(asked.describe, transfer, own, spent)
        case = Case(self.policy, transfer, own, client, asked.act.authorisations)
        await self.journal_thread(self.journal.consult, client.name, case.decide)
        return shown

    async def examine(self, request: SignTransfer) -> tuple[Transfer, Spent]:
        """Understand a bundle whose counter is still to be mined.

        Args:
            request: As for ``sign``; its hash need not be fit to sign.

        Returns:
            The bundle, and what its spent keys are recorded for.
        """
        await self.require_held(request.inputs)
        transfer = understand_unmined(request, levels=self.levels)
        await self._require_issued(transfer)
        await self._match_outputs(transfer)
        return transfer, await self.spent(transfer)

    async def spent(self, transfer: Transfer) -> Spent:
        """Return the recorded hashes of the spent keys of a transfer."""
        return await self.journal_thread(
            self.journal.spent_hashes, transfer.commitments
        )

    async def _confirmed(self, case: Case) -> Case:
        """Have a person confirm a transfer where the policy asks for presence.

        Before a key is derived: none lies in memory while somebody makes up their
        mind. They are not asked about what is refused anyhow.

        Args:
            case: What is asked.

        Returns:
            The same, with the person's yes.
        """
        if not case.wants_presence:
            return case
        await self._decide(case)
        return replace(case, grant=await self.presence.ask(case.question()))

    async def _commit(self, case: Case) -> None:
        """Record every key as spent; synced, and counted by a panel, on return."""
        await self.journal_thread(
            self.journal.commit_signature,
            case.transfer,
            own=case.own,
            client=case.client.name,
            decide=case.decide_for_good,
            door=case.door,
        )

    async def _decide(self, case: Case) -> None:
        await self.journal_thread(self.journal.consult, case.client.name, case.decide)

    async def _was_signed(
        self, transfer: Transfer, door: DoorAsked | OpenedDoor | None
    ) -> bool:
        """Say whether every key is recorded for exactly this hash.

        A key spent for another hash raises where there is no door; an input that
        is not ours, or a hash that was refused, always.

        Args:
            transfer: What is asked.
            door: What lets spent keys pass, if anything.

        Returns:
            Whether it was signed before.
        """
        await self._require_issued(transfer)
        spent = await self.spent(transfer)
        if is_recorded(transfer, spent):
            return True
        if door is None:
            require_unspent(transfer, spent)
        await self.journal_thread(
            self.journal.require_not_refused, transfer.bundle_hash
        )
        return False

    async def _sign_again(
        self, transfer: Transfer, steps: Steps
    ) -> list[InputSignature]:
        async with self._derived(transfer, steps) as seeds:
            with steps("sign"):
                return await self._signatures(transfer, seeds)

    async def _require_issued(self, transfer: Transfer) -> None:
        """Match every input with what was issued, before its key is derived."""
        addresses = [entry.address for entry in transfer.inputs]
        records = await self.journal_thread(self.journal.issued_records, addresses)
        for entry in transfer.inputs:
            _require_issued(entry, records.get(entry.address))

    async def _match_outputs(self, transfer: Transfer) -> dict[str, Commitment]:
        """Match the outputs with what was issued.

        Returns:
            The commitments of those that are ours and unspent, by address. One that
            was adopted is not among them: others have held its salt.

        Raises:
            RefusedError: ``own-output``, or ``output-spent``.
        """
        addresses = [output.address for output in transfer.outputs]
        records = await self.journal_thread(self.journal.issued_records, addresses)
        known = {address: record.commitment for address, record in records.items()}
        own = {a: key for a, key in known.items() if not records[a].adopted}
        for output in transfer.outputs:
            if output.claimed_own and output.address not in own:
                raise RefusedError(
                    "own-output", f"output {output.index} is none of our addresses"
                )
        spent = await self.journal_thread(
            self.journal.spent_hashes, list(known.values())
        )
        require_unspent_outputs(transfer, known, spent)
        return own

    async def seal_seed(
        self,
        seed_uuid: str,
        record: IssuedRecord,
        *,
        encrypt: Callable[[memoryview], bytes],
    ) -> bytes:
        """Derive a seed and have it encrypted in place; its key is spent by then.

        Args:
            seed_uuid: Which.
            record: What was issued for it; the seed must give that address.
            encrypt: Reads the seed's bytes.

        Returns:
            The ciphertext.
        """
        generation = self.vault.generations[record.generation]
        salt = await self.hsm_thread(self.vault.open_salt, record.generation)
        seeds = await self.derivation.seeds(
            [seed_uuid],
            salt=salt,
            parameters=generation.argon2,
            level=generation.security_level,
            purpose=Purpose.CUSTODY,
        )
        with closing(seeds):
            return await self.derivation.compute(
                lambda: seeds.sealed(0, address=record.address, encrypt=encrypt)
            )

    @asynccontextmanager
    async def _derived(
        self, transfer: Transfer, steps: Steps
    ) -> AsyncIterator["_TransferSeeds"]:
        """Regenerate every key in locked memory; wiped when the block ends."""
        keys = _TransferSeeds({}, [])
        try:
            with steps("derive"):
                for generation_id in sorted({i.generation for i in transfer.inputs}):
                    await self._derive_generation(transfer, generation_id, keys)
            yield keys
        finally:
            for seeds in keys.opened:
                seeds.close()

    async def _derive_generation(
        self, transfer: Transfer, generation_id: int, keys: "_TransferSeeds"
    ) -> None:
        generation = self.vault.generations[generation_id]
        inputs = [i for i in transfer.inputs if i.generation == generation_id]
        salt = await self.hsm_thread(self.vault.open_salt, generation_id)
        seeds = await self.derivation.seeds(
            [entry.seed_uuid for entry in inputs],
            salt=salt,
            parameters=generation.argon2,
            level=generation.security_level,
        )
        keys.opened.append(seeds)
        derived = await self.derivation.compute(
            lambda: [seeds.address(n) for n in range(len(inputs))]
        )
        for position, entry in enumerate(inputs):
            if derived[position] != entry.address:
                raise BrokenInvariantError(
                    f"input {entry.index} derives to another address than was issued"
                    " for it: salt, memory or CPU is not what it was",
                    code="derivations-disagree",
                )
            keys.place[entry.commitment] = (seeds, position)

    async def _signatures(
        self, transfer: Transfer, keys: "_TransferSeeds"
    ) -> list[InputSignature]:
        def sign_all() -> list[InputSignature]:
            return [
                InputSignature(entry.index, keys.sign(entry, transfer.bundle_hash))
                for entry in transfer.inputs
            ]

        signatures = await self.derivation.compute(sign_all)
        failpoint("appliance.sign.signed")
        return signatures


@dataclass(slots=True)
class _TransferSeeds:
    """Where each input's seed lies."""

    place: dict[Commitment, tuple[Seeds, int]]
    opened: list[Seeds]

    def sign(self, entry: TransferInput, bundle_hash: str) -> list[str]:
        seeds, position = self.place[entry.commitment]
        return seeds.sign(position, bundle_hash=bundle_hash, address=entry.address)


def _require_issued(entry: TransferInput, record: IssuedRecord | None) -> None:
    if record is None or record.commitment != entry.commitment:
        raise RefusedError(
            "foreign-input",
            f"input {entry.index} takes from an address that was not issued for its"
            " seed UUID",
        )
    if record.generation != entry.generation:
        raise RefusedError(
            "foreign-input",
            f"input {entry.index} was issued by generation {record.generation}, the"
            f" claim names {entry.generation}",
        )
