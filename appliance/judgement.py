# SPDX-License-Identifier: Apache-2.0
"""One transfer before the policy: what it asks for, on whose word, and the verdict."""

from dataclasses import dataclass

from appliance.authorisation import match_outputs, read_authorisation
from appliance.config import Client
from appliance.errors import DeferredError, RefusedError
from appliance.intent import Commitment, Transfer
from appliance.journal_records import Leaving
from appliance.journal_view import JournalView
from appliance.panel import Grant, spend
from appliance.policy import (
    Approved,
    Asked,
    Denied,
    Postponed,
    asked_of,
    decide,
    needs_presence,
)
from appliance.policy_force import PolicyInForce
from appliance.presence_question import Question, second_signature, withdrawal
from appliance.roster import require_not_revoked
from appliance.second_signature import OpenedDoor
from appliance.wire import act_digest


@dataclass(frozen=True, slots=True)
class Case:
    """One transfer before the policy; judged in the journal's thread.

    Attributes:
        policy: The policy in force.
        transfer: What is asked.
        own: Commitments of the outputs that are ours, by address.
        client: Who asks.
        authorisations: Compact JWS that came with it.
        door: What two operators approved, where keys have signed before.
        grant: A person's yes, if one was asked.
    """

    policy: PolicyInForce
    transfer: Transfer
    own: dict[str, Commitment]
    client: Client
    authorisations: list[str]
    door: OpenedDoor | None = None
    grant: Grant | None = None

    @property
    def wants_presence(self) -> bool:
        """Whether a person has to confirm it, by the policy in force now."""
        rules = self.policy.rules_for(self.client.name, self.client.role)
        at_the_door = self.door is not None and self.policy.content.doors.presence
        return at_the_door or needs_presence(self._asked, rules)

    def question(self) -> Question:
        """Return what a person is asked about it."""
        journal_id = self.policy.journal.journal_id
        bundle_hash, payments = self.transfer.bundle_hash, self._asked.payments
        if self.door is None:
            return withdrawal(bundle_hash, payments, journal_id=journal_id)
        act = act_digest(self.door.approved.pending, journal_id=journal_id)
        return second_signature(bundle_hash, payments, act=act, journal_id=journal_id)

    def decide(self, view: JournalView) -> Approved:
        """Let the policy in force judge it.

        Args:
            view: Of the journal, as it is now.

        Returns:
            The approval.

        Raises:
            ForbiddenError: If the client was revoked meanwhile.
            RefusedError: Never to be signed.
            DeferredError: Not now.
        """
        require_not_revoked(self.policy.journal.clients, self.client)
        matched = self._authorised(view)
        asked = asked_of(self.transfer, self.own.keys(), matched.keys())
        rules = self.policy.rules_for(self.client.name, self.client.role)
        usages = [
            view.usage(limits.window_s, asked.paid_i.keys()) for limits in rules.limits
        ]
        match decide(asked, rules, usages, view.now_s):
            case Approved() as approved:
                return approved
            case Denied(rule, message):
                raise RefusedError(f"policy-{rule}", message)
            case Postponed(rule, message, retry_after_s):
                raise DeferredError(rule, message, retry_after_s=retry_after_s)

    def decide_for_good(self, view: JournalView) -> Leaving:
        """Judge it again under the append lock, and say what the row will.

        Args:
            view: Of the journal, in the transaction.

        Returns:
            What leaves, and the authorisations that are used up.
        """
        self.decide(view)
        authorised = tuple(self._authorised(view).values())
        presence = spend(self.grant, self.question(), wanted=self.wants_presence)
        return Leaving(self._asked.paid_i, authorised, presence)

    @property
    def _asked(self) -> Asked:
        return asked_of(self.transfer, self.own.keys())

    def _authorised(self, view: JournalView) -> dict[int, tuple[str, str]]:
        """Return issuer and withdrawal of each output that is authorised."""
        if not self.authorisations:
            return {}
        policy = self.policy.content
        read = [
            read_authorisation(
                text,
                policy.issuers,
                journal_id=self.policy.journal.journal_id,
                network=policy.network,
                now_s=view.now_s,
            )
            for text in self.authorisations
        ]
        for one in read:
            earlier = view.bundle_of(one.iss, one.withdrawal)
            if earlier is not None:
                raise RefusedError(
                    "authorisation-used",
                    f"withdrawal {one.withdrawal:.80} was paid by another bundle",
                    recorded_bundle_hash=earlier,
                )
        found = match_outputs(self.transfer, read)
        own = {o.index for o in self.transfer.outputs if o.address in self.own}
        if own & found.keys():
            raise RefusedError("authorisation", "it names an address of ours")
        return {index: (one.iss, one.withdrawal) for index, one in found.items()}
