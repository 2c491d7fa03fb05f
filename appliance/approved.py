# SPDX-License-Identifier: Apache-2.0
"""An act with its approvals, as the journal keeps it. Pure.

What was signed can be checked again from the row alone, with the operators of the
policy that was in force: at every start, and by an auditor.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from appliance.errors import ForbiddenError, RefusedError
from appliance.journal_records import policies_of, require_two_approvals
from appliance.journal_schema import broken
from appliance.policy_file import (
    LEAST_APPROVALS,
    Policy,
    SignedPolicy,
    parse_policy,
    signers_of,
)
from appliance.wire import (
    JournalRow,
    OperatorSignature,
    PendingAct,
    act_digest,
    act_text,
    approval_digest,
    commitment_of,
)


@dataclass(frozen=True, slots=True)
class ApprovedAct:
    """An act of a dangerous door, with the approvals it got.

    Attributes:
        pending: The act as it was shown and signed.
        signatures: Of distinct operators.
    """

    pending: PendingAct
    signatures: tuple[OperatorSignature, ...]

    def require(self, policy: Policy, *, journal_id: str) -> None:
        """Insist that the approvals hold under a policy.

        Args:
            policy: The one in force now, which need not be that of the approval.
            journal_id: Of this appliance.

        Raises:
            ForbiddenError: ``needs-approvals`` if too few operators of it signed.
        """
        digest = act_digest(self.pending, journal_id=journal_id)
        names = signers_of(digest, self.signatures, policy.operators)
        needed = max(LEAST_APPROVALS, policy.approvals.doors)
        if len(names) < needed:
            raise ForbiddenError(
                f"{len(names)} operators of the policy in force approved act"
                f" {self.pending.id}, {needed} must",
                code="needs-approvals",
            )

    def payload(self) -> dict[str, object]:
        """Return what a row says of it: all that was signed, and the signatures."""
        return {
            "id": self.pending.id,
            "act": act_text(self.pending.act),
            "proposer": self.pending.proposer,
            "expires_ms": self.pending.expires_ms,
            "shown": self.pending.shown,
            "signatures": msgspec.to_builtins(self.signatures),
        }


def require_approved(
    payload: Mapping[str, Any], signed_policy: SignedPolicy, *, journal_id: str
) -> None:
    """Check a row that passed a door: two operators signed exactly what it did.

    Args:
        payload: Of the row; it has a ``door``.
        signed_policy: The policy in force at that row.
        journal_id: Of the journal.
    """
    door = payload["door"]
    digest = approval_digest(
        journal_id,
        door["id"],
        door["act"],
        proposer=door["proposer"],
        expires_ms=door["expires_ms"],
        shown=door["shown"],
    )
    signatures = msgspec.convert(door["signatures"], list[OperatorSignature])
    try:
        operators = parse_policy(signed_policy.text).operators
    except RefusedError as error:
        broken(f"a policy in it is none: {error}")
    if len(signers_of(digest, signatures, operators)) < LEAST_APPROVALS:
        broken(f"act {door['id']} is not signed by two operators of its time")
    if _subject(json.loads(door["act"])) != (
        payload.get("bundle_hash"),
        payload.get("export", {}).get("commitment"),
    ):
        broken(f"act {door['id']} is not what its row did")


def require_doors(rows: Iterable[JournalRow]) -> None:
    """Check every row of a whole journal that passed a door; works on an export.

    Args:
        rows: From the first one; their chain is checked.
    """
    policies: list[SignedPolicy] = []
    journal_id = ""
    for row in rows:
        payload = json.loads(row.payload)
        journal_id = journal_id or payload["journal_id"]
        try:
            if any(payload.get("n", ())) or "export" in payload:
                require_two_approvals(payload)
            if "door" in payload:
                require_approved(payload, policies[-1], journal_id=journal_id)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            broken(f"row {row.sequence} is of no appliance: {type(error).__name__}")
        if row.kind == "ceremony":
            policies += policies_of(payload)


def _subject(act: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Return the bundle hash or the commitment that an act is about."""
    if act["kind"] == "export-seed":
        return None, commitment_of(act["seed_uuid"])
    return act["bundle_hash"], None
