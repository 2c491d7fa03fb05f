# SPDX-License-Identifier: Apache-2.0
"""Acts that need several operators: proposed, approved by signature, done once.

An operator's approval is an Ed25519 signature over exactly what will be done, made
by ``saltkeep-appliance approve`` on the operator's own machine: it fetches the act
over its own mutually authenticated channel, shows it, and signs what it shows. The
hub is not involved. Two certificates are not enough and neither is one key used
twice: what counts are distinct operators of the policy in force.

Pending acts live in memory: a restart voids them and they are proposed again. An
act that is done is journalled with its approvals.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from appliance.errors import BadRequestError, DeferredError, ForbiddenError
from appliance.policy_file import Policy, signers_of
from appliance.wire import (
    AcceptHead,
    Act,
    ExportSeed,
    OperatorSignature,
    PendingAct,
    RunCeremony,
    SecondSignature,
    Unseal,
    act_digest,
)

LIFETIME_MS: Final = 3_600_000
MOST_OF_AN_OPERATOR: Final = 32
MOST_OF_A_HUB: Final = 4
_CUSTODY: Final = frozenset(
    {
        "import-salt",
        "move-hsm",
        "set-backup-key",
        "import-interchange",
        "recover-journal",
        "enrol-client",
        "enrol-appliance",
        "enrol-panel",
    }
)
ONE_IS_ENOUGH: Final = frozenset(  # encrypted to a key two have set; only looks
    {"backup", "verify"}
)
_ID_BYTES: Final = 16
_FULL_RETRY_S: Final = 60.0


def approvals_needed(act: Act, policy: Policy) -> int:
    """Return how many distinct operators must approve an act."""
    needed = policy.approvals
    match act:
        case Unseal():
            return needed.unseal
        case AcceptHead():
            return needed.accept_head
        case SecondSignature() | ExportSeed():
            return needed.doors
        case RunCeremony():
            if act.dry_run or act.ceremony in ONE_IS_ENOUGH:
                return 1
            return needed.custody if act.ceremony in _CUSTODY else needed.ceremony


def require_alone(act: Act, policy: Policy) -> None:
    """Insist that one operator may have an act done.

    Args:
        act: What is asked for, without approvals.
        policy: The policy in force.

    Raises:
        ForbiddenError: If the policy wants more than one.
    """
    needed = approvals_needed(act, policy)
    if needed > 1:
        raise ForbiddenError(
            f"the policy wants {needed} operators for this: propose it, and let them"
            " approve it",
            code="needs-approvals",
        )


@dataclass(frozen=True, slots=True)
class Ripe:
    """An act with all its approvals: to be done now, once.

    Attributes:
        act: What.
        operators: Who approved.
        signatures: Their approvals, for the journal.
        pending: The act as it was shown and signed.
        policies: How many policies had made approvals void by then.
    """

    act: Act
    operators: list[str]
    signatures: list[OperatorSignature]
    pending: PendingAct
    policies: int = 0


@dataclass(slots=True)
class Approvals:
    """The acts that wait, and who approved them.

    Attributes:
        draw: Gives the random bytes of an act's id.
    """

    draw: Callable[[int], bytes] = secrets.token_bytes
    _pending: dict[str, PendingAct] = field(default_factory=dict)
    _signatures: dict[str, list[OperatorSignature]] = field(default_factory=dict)
    _policies: int = 0

    def propose(
        self,
        act: Act,
        policy: Policy,
        *,
        proposer: str,
        now_ms: int,
        shown: list[str] | None = None,
        most: int = MOST_OF_AN_OPERATOR,
    ) -> PendingAct:
        """Put an act up for approval.

        Args:
            act: What shall be done.
            policy: The policy in force.
            proposer: Whose certificate asks.
            now_ms: The time.
            shown: What approvers should know besides.
            most: How many acts of this proposer may wait; a hub's can not keep
                operators from theirs.

        Returns:
            The act, with a fresh id.

        Raises:
            DeferredError: If too many wait.
        """
        self._forget_expired(now_ms)
        waiting = [one for one in self._pending.values() if one.proposer == proposer]
        if len(waiting) >= most:
            raise DeferredError(
                "busy",
                f"{most} acts wait already; each is forgotten after an hour",
                retry_after_s=_FULL_RETRY_S,
            )
        pending = PendingAct(
            id=self.draw(_ID_BYTES).hex(),
            act=msgspec.structs.replace(act, request_id="", head=None),
            proposer=proposer,
            expires_ms=now_ms + LIFETIME_MS,
            needed=approvals_needed(act, policy),
            shown=shown or [],
        )
        self._pending[pending.id] = pending
        self._signatures[pending.id] = []
        return pending

    def waiting(self, *, now_ms: int) -> list[PendingAct]:
        """Return what waits, the oldest first."""
        self._forget_expired(now_ms)
        return list(self._pending.values())

    def approve(
        self,
        act_id: str,
        signature: OperatorSignature,
        policy: Policy,
        *,
        journal_id: str,
        now_ms: int,
    ) -> Ripe | int:
        """Add one approval.

        Args:
            act_id: Of which act.
            signature: Over ``act_digest``.
            policy: The policy in force: who is an operator, and how many must be.
            journal_id: Of this appliance.
            now_ms: The time.

        Returns:
            How many approvals are missing; or the act, which waits no more.

        Raises:
            BadRequestError: ``unknown-act`` if no such act waits.
            ForbiddenError: ``approval`` if the signature is no operator's.
        """
        self._forget_expired(now_ms)
        pending = self._pending.get(act_id)
        if pending is None:
            raise BadRequestError(
                "no such act waits; it may have expired, or another policy is in force",
                code="unknown-act",
            )
        digest = act_digest(pending, journal_id=journal_id)
        if not signers_of(digest, [signature], policy.operators):
            raise ForbiddenError(
                f"not signed by operator {signature.operator:.80} of the policy",
                code="approval",
            )
        given = [*self._signatures[act_id], signature]
        operators = sorted(signers_of(digest, given, policy.operators))
        self._signatures[act_id] = given = [
            next(one for one in given if one.operator == name) for name in operators
        ]
        missing = approvals_needed(pending.act, policy) - len(operators)
        if missing > 0:
            self._pending[act_id] = msgspec.structs.replace(
                pending, approved_by=operators
            )
            return missing
        self._drop(act_id)
        return Ripe(pending.act, operators, given, pending, self._policies)

    def put_back(self, ripe: Ripe) -> None:
        """Keep an act that could not be done now; any approval has it tried again.

        Not if another policy took force while somebody was asked: its approvals are
        void.
        """
        if ripe.policies != self._policies:
            return
        self._pending[ripe.pending.id] = msgspec.structs.replace(
            ripe.pending, approved_by=ripe.operators
        )
        self._signatures[ripe.pending.id] = ripe.signatures

    def find(self, act: Act, *, proposer: str, now_ms: int) -> PendingAct | None:
        """Return an act that somebody has proposed already, if it waits."""
        bare = msgspec.structs.replace(act, request_id="", head=None)
        for one in self.waiting(now_ms=now_ms):
            if (one.act, one.proposer) == (bare, proposer):
                return one
        return None

    def clear(self) -> None:
        """Forget everything: another policy is in force."""
        self._pending.clear()
        self._signatures.clear()
        self._policies += 1

    def _forget_expired(self, now_ms: int) -> None:
        for act_id, pending in list(self._pending.items()):
            if pending.expires_ms <= now_ms:
                self._drop(act_id)

    def _drop(self, act_id: str) -> None:
        del self._pending[act_id], self._signatures[act_id]
