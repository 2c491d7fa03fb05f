# SPDX-License-Identifier: Apache-2.0
"""The path to an address: derive twice, compare, receipt, journal, release."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from appliance.config import Client
from appliance.derivation import Derivation
from appliance.derivation_queue import Purpose
from appliance.errors import (
    BadRequestError,
    BrokenInvariantError,
    DeferredError,
    RefusedError,
)
from appliance.intent import Commitment, commit
from appliance.journal import Journal
from appliance.journal_records import IssuedRecord, require_same_issue
from appliance.journal_view import JournalView
from appliance.policy import decide_issue
from appliance.policy_force import PolicyInForce
from appliance.receipt import RECEIPT_TYPE, make_statement
from appliance.roster import require_not_revoked
from appliance.steps import Steps
from appliance.threads import OwnerThread
from appliance.vault import Generation, Vault
from appliance.wire import AdoptAddress, IssueAddress
from failpoints import failpoint

_COMMITMENT_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class Issuing:
    """Gives out addresses of the current generation.

    Attributes:
        journal: Where they are recorded.
        journal_thread: Its thread.
        vault: Where the salt comes from.
        hsm_thread: The HSM's thread.
        derivation: Argon2's threads.
        policy: The policy in force.
    """

    journal: Journal
    journal_thread: OwnerThread
    vault: Vault
    hsm_thread: OwnerThread
    derivation: Derivation
    policy: PolicyInForce

    async def issue(
        self,
        request: IssueAddress,
        *,
        client: Client,
        steps: Steps,
        generation: Generation | None = None,
    ) -> IssuedRecord:
        """Answer with the address of a fresh seed UUID.

        Args:
            request: The UUID and whom the address is for.
            client: Who asks.
            steps: Receives the time of each step.
            generation: An imported one, instead of the one that issues; no receipt.

        Returns:
            What is now recorded; the same again if it was asked before.

        Raises:
            BadRequestError: If the user commitment is malformed.
            RefusedError: ``seed-uuid``, or ``seed-uuid-known`` if the UUID is
                spent or was issued with other content.
            DeferredError: ``address-rate`` if the client has had its share.
            BrokenInvariantError: If two derivations disagree.
        """
        within_rate = self._within_rate_of(client)
        _require_commitment(request.user_commitment)
        commitment = commit(request.seed_uuid)
        with steps("look"):
            if await self.journal_thread(self.journal.is_spent, commitment):
                raise RefusedError("seed-uuid-known", "this seed UUID is spent")
            earlier = await self.journal_thread(self.journal.find_issued, commitment)
            if earlier is not None:
                return require_same_issue(earlier, request.user_commitment)
            await self.journal_thread(self.journal.consult, client.name, within_rate)
        failpoint("appliance.issue.before-derive")
        chosen = generation or self.vault.issuing
        with steps("derive"):
            address = await self._derive_twice(request.seed_uuid, chosen)
        failpoint("appliance.issue.after-derive")
        with steps("receipt"):
            if generation is None:
                record = await self._receipted(request, commitment, address, chosen)
            else:  # of a salt that others have held: nobody is told to pay there
                level = chosen.security_level
                record = IssuedRecord(commitment, address, chosen.id, level, "", "")
        failpoint("appliance.issue.after-receipt")
        with steps("journal"):
            return await self.journal_thread(
                self.journal.commit_issue,
                record,
                client=client.name,
                decide=within_rate,
            )

    async def adopt(
        self, request: AdoptAddress, *, client: Client, steps: Steps
    ) -> IssuedRecord:
        """Let an address of an imported salt be spent from, as whole bundles.

        It gets no receipt and is never ours to pay to: whoever held that salt before
        can still derive its key.

        Args:
            request: The UUID, the generation, and the address it must give.
            client: Who asks.
            steps: Receives the time of each step.

        Returns:
            What is now recorded; the same again if it was asked before.

        Raises:
            RefusedError: ``seed-uuid-known`` if the UUID is spent, or was issued with
                other content; ``other-address`` if it derives to another one;
                ``not-imported`` if no imported salt has this number, and what
                ``Journal.require_adoptable`` says.
        """
        within_rate = self._within_rate_of(client)
        generation = self._imported(request.generation)
        commitment = commit(request.seed_uuid)
        with steps("look"):
            if await self.journal_thread(self.journal.is_spent, commitment):
                raise RefusedError("seed-uuid-known", "this seed UUID is spent")
            earlier = await self.journal_thread(self.journal.find_issued, commitment)
            if earlier is not None:
                return _require_adopted_before(earlier, request)
            self.journal.require_adoptable(generation.id)
            await self.journal_thread(self.journal.consult, client.name, within_rate)
        with steps("derive"):
            address = await self._derive_twice(request.seed_uuid, generation)
        if address != request.address:
            raise RefusedError(
                "other-address", f"this seed UUID derives to {address} there"
            )
        level = generation.security_level
        record = IssuedRecord(commitment, address, generation.id, level, "", "")
        with steps("journal"):
            return await self.journal_thread(
                self.journal.commit_issue,
                record,
                client=client.name,
                decide=within_rate,
            )

    def _imported(self, number: int) -> Generation:
        """Return a generation that signs and never issues.

        Args:
            number: Its id.

        Returns:
            The generation.

        Raises:
            RefusedError: If it issues, or there is none.
        """
        if number not in self.vault.content.retired:
            raise RefusedError(
                "not-imported", f"generation {number} is no imported or retired salt"
            )
        return self.vault.generations[number]

    def _within_rate_of(self, client: Client) -> Callable[[JournalView], None]:
        def within_rate(view: JournalView) -> None:
            require_not_revoked(self.journal.clients, client)
            rules = self.policy.rules_for(client.name, client.role)
            postponed = decide_issue(rules.limits, *view.issued_last_hour())
            if postponed is not None:
                raise DeferredError(
                    postponed.rule,
                    postponed.message,
                    retry_after_s=postponed.retry_after_s,
                )

        return within_rate

    async def _derive_twice(self, seed_uuid: str, generation: Generation) -> str:
        salt = await self.hsm_thread(self.vault.open_salt, generation.id)
        seeds = await self.derivation.seeds(
            [seed_uuid, seed_uuid],
            salt=salt,
            parameters=generation.argon2,
            level=generation.security_level,
            purpose=Purpose.ADDRESS,
            engines=self.derivation.engines_of_issuing,
        )
        with closing(seeds):
            first, second = await self.derivation.compute(seeds.addresses)
        if first != second:
            raise BrokenInvariantError(
                "two derivations of one seed UUID disagree: memory, CPU or our Argon2"
                " is faulty (derivation.engine = 'reference' switches ours off)",
                code="derivations-disagree",
            )
        return first

    async def _receipted(
        self,
        request: IssueAddress,
        commitment: Commitment,
        address: str,
        generation: Generation,
    ) -> IssuedRecord:
        claims = {
            "network": generation.network,
            "address": address,
            "generation": generation.id,
            "security_level": generation.security_level,
            "commitment": commitment,
            "user_commitment": request.user_commitment,
            "issued_at": self.journal.now_ms() // 1000,
        }
        receipt = await self.hsm_thread(
            make_statement,
            RECEIPT_TYPE,
            claims,
            point=self.vault.identity_point,
            sign_digest=self.vault.sign_digest,
        )
        return IssuedRecord(
            commitment,
            address,
            generation.id,
            generation.security_level,
            request.user_commitment,
            receipt,
        )


def _require_adopted_before(
    earlier: IssuedRecord, request: AdoptAddress
) -> IssuedRecord:
    """Return an earlier record if it is what is asked for now.

    Returns:
        The record.

    Raises:
        RefusedError: If the UUID stands for something else.
    """
    wanted = (request.generation, request.address, True)
    if (earlier.generation, earlier.address, earlier.adopted) != wanted:
        raise RefusedError(
            "seed-uuid-known", "this seed UUID was issued before, with other content"
        )
    return earlier


def _require_commitment(text: str) -> None:
    hexadecimal = set(text) <= set("0123456789abcdef")
    if text and (len(text) != _COMMITMENT_CHARACTERS or not hexadecimal):
        raise BadRequestError("user_commitment is 64 hex characters, or empty")
