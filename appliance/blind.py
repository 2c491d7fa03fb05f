# SPDX-License-Identifier: Apache-2.0
"""The old signing server's door: a bare hash, for a generation marked blind.

An old Hub sends a seed UUID and a hash, never a bundle, so nothing can be said of
where the value goes. The door is there for moving over, and narrow: only salts that
two operators imported as blind, only role ``legacy-hub``, and one hash per seed UUID
for ever, recorded and synced before it is signed, as everywhere. A policy that
limits value or destinations for that role closes it: it could not be kept.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from appliance.config import Client
from appliance.derivation import Derivation, Seeds
from appliance.errors import (
    BrokenInvariantError,
    DeferredError,
    FaultError,
    ForbiddenError,
    RefusedError,
)
from appliance.intent import Commitment, commit
from appliance.issuing import Issuing
from appliance.journal import Journal
from appliance.journal_records import require_blind_again
from appliance.journal_view import JournalView
from appliance.policy import Denied, Postponed, decide_blind
from appliance.policy_force import PolicyInForce
from appliance.roster import require_not_revoked
from appliance.steps import Steps
from appliance.threads import OwnerThread
from appliance.vault import Generation, Vault
from appliance.wire import IssueAddress, SignBlind
from failpoints import failpoint
from trinary.trytes import is_trytes
from trinary.winternitz import used_fragments_contain_13

_HASH_TRYTES = 81


@dataclass(frozen=True, slots=True)
class Blind:
    """Serves the old signing RPC.

    Attributes:
        journal: Which keys are spent.
        journal_thread: Its thread.
        vault: Where the salt comes from.
        hsm_thread: The HSM's thread.
        derivation: Argon2's threads.
        policy: The policy in force.
        issuing: The path to an address.
    """

    journal: Journal
    journal_thread: OwnerThread
    vault: Vault
    hsm_thread: OwnerThread
    derivation: Derivation
    policy: PolicyInForce
    issuing: Issuing

    async def address(
        self, seed_uuid: str, *, client: Client, steps: Steps
    ) -> tuple[str, Generation, str]:
        """Return the address of a seed UUID, as the old server would.

        A new UUID is journalled as issued. One that signed already still has its
        address told, without a receipt: the old Hub asks for it at every start.

        Args:
            seed_uuid: 64 characters of the base64 alphabet.
            client: Who asks.
            steps: Receives the time of each step.

        Returns:
            The address, its generation, its receipt or nothing.
        """
        generation = self._generation()
        commitment = commit(seed_uuid)
        if await self.journal_thread(self.journal.is_spent, commitment):
            async with self._derived(seed_uuid, generation, steps) as seeds:
                address = await self.derivation.compute(lambda: seeds.address(0))
            return address, generation, ""
        request = IssueAddress(request_id="", seed_uuid=seed_uuid)
        record = await self.issuing.issue(
            request, client=client, steps=steps, generation=generation
        )
        return record.address, generation, record.receipt

    async def sign(
        self, request: SignBlind, *, client: Client, steps: Steps
    ) -> list[str]:
        """Sign a bare hash with the key of a seed UUID, once.

        Args:
            request: The UUID and the hash.
            client: Who asks.
            steps: Receives the time of each step.

        Returns:
            One fragment per security level; the same bytes for the same hash.

        Raises:
            RefusedError: ``key-spent`` if it signed another hash; ``hash`` or
                ``thirteen-in-hash`` if this is none to sign; ``other-generation``
                if the key is not of the blind one.
            BrokenInvariantError: If it derives to another address than was issued.
        """
        generation = self._generation()
        commitment = commit(request.seed_uuid)
        _require_signable(request.bundle_hash, generation.security_level)
        with steps("look"):
            again = await self._was_signed(commitment, request.bundle_hash)
            issued = await self.journal_thread(self.journal.find_issued, commitment)
            if issued is not None and issued.generation != generation.id:
                raise RefusedError(
                    "other-generation",
                    f"this seed UUID was issued by generation {issued.generation},"
                    " which signs whole bundles only",
                )
        async with self._derived(request.seed_uuid, generation, steps) as seeds:
            address = await self.derivation.compute(lambda: seeds.address(0))
            if issued is not None and issued.address != address:
                raise BrokenInvariantError(
                    "a seed UUID derives to another address than was issued for it",
                    code="derivations-disagree",
                )
            failpoint("blind.derived")
            if not again:
                with steps("journal"):
                    await self.journal_thread(
                        self.journal.commit_blind,
                        commitment,
                        request.bundle_hash,
                        client=client.name,
                        decide=lambda view: self._decide(view, client, generation),
                    )
            failpoint("blind.committed")
            with steps("sign"):
                return await self.derivation.compute(
                    lambda: seeds.sign(
                        0, bundle_hash=request.bundle_hash, address=address
                    )
                )

    def security_level(self) -> int:
        """Return the level of the addresses this door gives; 0: it is shut."""
        return self._generation().security_level if self.vault.content.blind else 0

    def _generation(self) -> Generation:
        """Return the generation this door serves.

        Raises:
            ForbiddenError: ``blind-closed`` if no salt was imported as blind.
        """
        if not self.vault.content.blind:
            raise ForbiddenError(
                "no salt generation here is marked blind: two operators import one"
                " with `ceremony import-salt --blind`",
                code="blind-closed",
            )
        return self.vault.generations[self.vault.content.blind[-1]]

    async def _was_signed(self, commitment: Commitment, bundle_hash: str) -> bool:
        """Say whether a key signed exactly this hash; raise where it can not.

        Args:
            commitment: Of the key.
            bundle_hash: The hash asked for.

        Returns:
            Whether it did; a key spent for another raises.
        """
        spent = await self.journal_thread(self.journal.spent_hashes, [commitment])
        if commitment not in spent:
            await self.journal_thread(self.journal.require_not_refused, bundle_hash)
            return False
        require_blind_again(spent[commitment], bundle_hash)
        return True

    def _decide(
        self, view: JournalView, client: Client, generation: Generation
    ) -> None:
        """Let journal and policy judge one more blind signature.

        Args:
            view: Of the journal, under its lock.
            client: Who asks.
            generation: Whose key would sign.

        Raises:
            ForbiddenError: If the client was revoked meanwhile.
            FaultError: ``vault-behind`` if the door was shut meanwhile, by another
                appliance or a restore; this vault does not know yet.
            RefusedError: ``policy-blind`` if the policy can not be kept.
            DeferredError: Not now.
        """
        require_not_revoked(self.journal.clients, client)
        if generation.id in self.journal.verified.retired:
            raise FaultError(
                f"the journal says that generation {generation.id} signs no more bare"
                " hashes: bring this vault up to date",
                code="vault-behind",
            )
        rules = self.policy.rules_for(client.name, client.role)
        usages = [view.usage(limits.window_s) for limits in rules.limits]
        match decide_blind(rules, usages, view.now_s):
            case Denied(rule, message):
                raise RefusedError(f"policy-{rule}", message)
            case Postponed(rule, message, retry_after_s):
                raise DeferredError(rule, message, retry_after_s=retry_after_s)

    @asynccontextmanager
    async def _derived(
        self, seed_uuid: str, generation: Generation, steps: Steps
    ) -> AsyncIterator[Seeds]:
        """Regenerate one seed in locked memory; wiped when the block ends."""
        with steps("derive"):
            salt = await self.hsm_thread(self.vault.open_salt, generation.id)
            seeds = await self.derivation.seeds(
                [seed_uuid],
                salt=salt,
                parameters=generation.argon2,
                level=generation.security_level,
            )
        try:
            yield seeds
        finally:
            seeds.close()


def _require_signable(bundle_hash: str, level: int) -> None:
    if not is_trytes(bundle_hash, length=_HASH_TRYTES):
        raise RefusedError("hash", "a bundle hash is 81 trytes")
    if used_fragments_contain_13(bundle_hash, level=level):
        raise RefusedError(
            "thirteen-in-hash",
            "the normalised hash holds a 13, which would lay a key fragment bare",
        )
