# SPDX-License-Identifier: Apache-2.0
"""The policy in force, as the journal tells it.

Every policy that took force stands in the journal, text and signatures; the vault,
authenticated by the HSM, names the first one. From there each must be signed by
operators of the one before: whoever writes to the disk can not slip one in.

A copy of the newest one lies beside the vault, for the time while the appliance is
sealed and its journal closed: it says who may unseal, and nothing else.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from appliance.config import Spending
from appliance.durable import write_durably
from appliance.errors import BrokenInvariantError, FaultError, RefusedError
from appliance.journal import Journal
from appliance.policy import Rules
from appliance.policy_file import (
    Policy,
    SignedPolicy,
    parse_policy,
    policy_digest,
    verify_policy,
)


@dataclass(slots=True)
class PolicyInForce:
    """Follows the journal's policies; asked in the journal's thread it is exact.

    Attributes:
        journal: Where they stand.
        root: Hex digest of the first one, from the vault.
        local: The configuration's own limits; they can only be stricter.
    """

    journal: Journal
    root: str
    local: Spending
    _verified: list[Policy] = field(default_factory=list)
    # Two threads that took the same new policy in would keep it twice, and then
    # never see the next one.
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def content(self) -> Policy:
        """The policy in force.

        Raises:
            BrokenInvariantError: ``policy`` if the journal's policies do not follow
                from the one that the vault names.
        """
        policies = self.journal.policies
        if not policies or policy_digest(policies[0].text).hex() != self.root:
            raise BrokenInvariantError(
                "the journal's first policy is not the one the vault was made with",
                code="policy",
            )
        with self._lock:
            for signed in policies[len(self._verified) :]:
                before = self._verified[-1] if self._verified else None
                try:
                    self._verified.append(verify_policy(signed, in_force=before))
                except RefusedError as error:
                    raise BrokenInvariantError(
                        f"a policy in the journal never could take force: {error}",
                        code="policy",
                    ) from error
            return self._verified[-1]

    @property
    def newest(self) -> SignedPolicy:
        """The text in force, with its signatures."""
        return self.journal.policies[-1]

    def rules_for(self, client: str, role: str) -> Rules:
        """Return what holds for one client now."""
        return rules_of(self.content, self.local, client=client, role=role)


def rules_of(content: Policy, local: Spending, *, client: str, role: str) -> Rules:
    """Return what a policy and the configuration's limits mean for one client."""
    return Rules(
        limits=(content.limits_of(client, role), local),
        allow=frozenset(content.allow),
        deny=frozenset(content.deny),
        hours=tuple(content.hours),
    )


class Copied(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the copy says.

    Attributes:
        journal_id: Of the appliance.
        policy: As the journal has it.
    """

    journal_id: str
    policy: SignedPolicy

    @property
    def content(self) -> Policy:
        """The policy, parsed."""
        return parse_policy(self.policy.text)


@dataclass(frozen=True, slots=True)
class PolicyCopy:
    """The copy beside the vault: who may unseal while the journal is closed.

    Attributes:
        path: The file.
    """

    path: Path

    def write(self, journal_id: str, signed: SignedPolicy) -> None:
        """Write it, unless it says the same already."""
        text = msgspec.json.format(msgspec.json.encode(Copied(journal_id, signed)))
        if self.path.exists() and self.path.read_bytes() == text:
            return
        write_durably(self.path, text)

    def read(self) -> Copied:
        """Return what was in force when the appliance last came up.

        Returns:
            Journal id and policy.

        Raises:
            FaultError: ``policy-copy`` if there is no such file.
        """
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=Copied)
        except (OSError, msgspec.DecodeError) as error:
            raise FaultError(
                f"{self.path} can not be read, so nobody knows who may approve: it is"
                " written again when the appliance comes up; a sealed one needs it"
                " put back from a backup",
                code="policy-copy",
            ) from error


def root_of(policies: Sequence[SignedPolicy]) -> str:
    """Return what a vault keeps of its first policy."""
    return policy_digest(policies[0].text).hex()
