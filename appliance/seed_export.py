# SPDX-License-Identifier: Apache-2.0
"""A seed for an officer: journalled as spent first, encrypted, never shown here.

The file says in the clear whose seed it is and for whom; all of that is bound to the
ciphertext. What is encrypted are the seed's 48 bytes: ``open-seed`` turns them into
81 trytes on the officer's machine.
"""

import base64
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from appliance.approved import ApprovedAct
from appliance.argon2_engines import SEED_BYTES
from appliance.errors import BadRequestError, FaultError, RefusedError
from appliance.intent import commit
from appliance.journal_records import IssuedRecord
from appliance.lifecycle import Running
from appliance.panel import Grant, spend
from appliance.policy_file import Officer, Policy
from appliance.presence_question import Question, seed_export
from appliance.sealing import agree_as, agree_with
from appliance.second_signature import require_open
from appliance.wire import ExportSeed, act_digest
from trinary.memory import LockedBuffer

FORMAT: Final = "saltkeep-seed/1"
_LABEL: Final = b"saltkeep/seed-export/v1\0"
_NONCE: Final = bytes(12)  # each key encrypts once


class SeedFileError(FaultError):
    """A seed file that is altered, foreign, or for another officer."""

    code = "seed-file"
    retry = False


class SealedSeed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An exported seed.

    Attributes:
        format: ``saltkeep-seed/1``.
        journal_id: Of the appliance.
        network: Of the address.
        address: 81 trytes.
        security_level: 1, 2 or 3.
        officer: For whom.
        officer_key: Their public key, base64.
        ephemeral: The ephemeral public key, base64.
        sealed: The encrypted 48 bytes, base64.
    """

    format: str
    journal_id: str
    network: str
    address: str
    security_level: int
    officer: str
    officer_key: str
    ephemeral: str
    sealed: str = ""

    @property
    def bound(self) -> bytes:
        """What is authenticated with the ciphertext: everything else."""
        bare = msgspec.structs.replace(self, sealed="")
        return _LABEL + msgspec.json.encode(bare, order="deterministic")


@dataclass(frozen=True, slots=True)
class SeedAsked:
    """A seed that is asked for.

    Attributes:
        act: What is asked.
        running: The appliance's parts.
    """

    act: ExportSeed
    running: Running

    def find(self) -> IssuedRecord:
        """Return what was issued for its seed UUID; in the journal's thread.

        Returns:
            The record.

        Raises:
            RefusedError: ``canary``, or ``never-issued``.
        """
        generations = self.running.vault.generations
        if any(self.act.seed_uuid == one.canary_uuid for one in generations.values()):
            raise RefusedError("canary", "a canary's seed is never exported")
        found = self.running.journal.find_issued(commit(self.act.seed_uuid))
        if found is None or found.generation != self.act.generation:
            raise RefusedError(
                "never-issued",
                "no address was issued here for this seed UUID under generation"
                f" {self.act.generation}",
            )
        return found

    def describe(self, record: IssuedRecord) -> list[str]:
        """Say what approvers must see; in the journal's thread.

        Args:
            record: What was issued.

        Returns:
            What they are shown, line by line.

        Raises:
            ForbiddenError: ``door-closed``.
            RefusedError: ``no-such-officer``.
        """
        content = self.running.policy.content
        require_open(open_now=content.doors.seed_export, door="seed_export")
        officer = officer_of(content, self.act.officer)
        return [
            f"policy {content.version}: the seed leaves, encrypted to {officer.name}",
            f"whose key is {officer.key}",
            f"it is the seed of address {record.address}",
            f"generation {record.generation}, level {record.security_level}",
            "its key is spent from then on, for a hash nobody knows",
        ]

    def question(self, record: IssuedRecord, approved: ApprovedAct) -> Question:
        """Return what a person is asked about it."""
        journal_id = self.running.journal.journal_id
        officer = officer_of(self.running.policy.content, self.act.officer)
        act = act_digest(approved.pending, journal_id=journal_id)
        return seed_export(record.address, officer.key, act=act, journal_id=journal_id)

    def spend(
        self, record: IssuedRecord, approved: ApprovedAct, grant: Grant | None
    ) -> dict[str, object]:
        """Judge once more; called with the journal's lock held.

        Args:
            record: What was issued.
            approved: The approvals.
            grant: A person's yes, if one was asked.

        Returns:
            What the row says besides.

        Raises:
            RefusedError: ``changed-since-approval``.
        """
        if self.describe(record) != approved.pending.shown:
            raise RefusedError(
                "changed-since-approval",
                "the policy changed since this was approved: propose it anew",
            )
        journal_id = self.running.journal.journal_id
        content = self.running.policy.content
        approved.require(content, journal_id=journal_id)
        asked = self.question(record, approved)
        return {
            **spend(grant, asked, wanted=content.doors.presence),
            "step": "export-seed",
            "officer": self.act.officer,
            "door": approved.payload(),
        }

    async def seal(self, record: IssuedRecord) -> SealedSeed:
        """Derive the seed and encrypt it; only once its key is journalled as spent.

        Args:
            record: What was issued.

        Returns:
            The seed, for its officer alone.
        """
        running = self.running
        officer = officer_of(running.policy.content, self.act.officer)
        generation = running.vault.generations[record.generation]
        point, key = _agree(officer)
        header = SealedSeed(
            format=FORMAT,
            journal_id=running.journal.journal_id,
            network=generation.network,
            address=record.address,
            security_level=record.security_level,
            officer=officer.name,
            officer_key=officer.key,
            ephemeral=base64.b64encode(point).decode(),
        )
        sealed = await running.signing.seal_seed(
            self.act.seed_uuid,
            record,
            encrypt=lambda view: AESGCM(key).encrypt(_NONCE, view, header.bound),
        )
        text = base64.b64encode(sealed).decode()
        return msgspec.structs.replace(header, sealed=text)


def officer_of(content: Policy, name: str) -> Officer:
    """Return an officer of a policy.

    Args:
        content: The policy.
        name: Of whom.

    Returns:
        Name and key.

    Raises:
        RefusedError: ``no-such-officer``.
    """
    for one in content.officers:
        if one.name == name:
            return one
    raise RefusedError(
        "no-such-officer", f"the policy in force names no officer {name:.80}"
    )


def read_sealed_seed(data: bytes) -> SealedSeed:
    """Read a seed file.

    Args:
        data: Its content.

    Returns:
        What it says; nothing is decrypted.

    Raises:
        SeedFileError: If it is none of this version.
    """
    try:
        found = msgspec.json.decode(data, type=SealedSeed)
    except msgspec.DecodeError as error:
        raise SeedFileError(f"this is no seed file of this version: {error}") from error
    if found.format != FORMAT:
        raise SeedFileError(f"format {found.format!r} came, {FORMAT!r} was expected")
    return found


def open_sealed_seed(
    sealed: SealedSeed, key: X25519PrivateKey, *, allow_unlocked: bool = False
) -> LockedBuffer:
    """Decrypt a seed, on the officer's machine.

    Args:
        sealed: The file.
        key: The officer's.
        allow_unlocked: Go on where memory can not be locked.

    Returns:
        The seed's 48 bytes; close it.

    Raises:
        SeedFileError: If it is for another key, or was altered.
    """
    public = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    if public != sealed.officer_key:
        raise SeedFileError(
            f"the file is for {sealed.officer} with key {sealed.officer_key}, yours is"
            f" {public}"
        )
    seed = LockedBuffer(SEED_BYTES, allow_unlocked=allow_unlocked)
    try:
        point: Any = base64.b64decode(sealed.ephemeral, validate=True)
        (shared,) = agree_as(key, point, label=_LABEL)
        content = base64.b64decode(sealed.sealed, validate=True)
        AESGCM(shared).decrypt_into(_NONCE, content, sealed.bound, seed.view)
    except (InvalidTag, ValueError) as error:
        seed.close()
        raise SeedFileError("the file was altered: it does not decrypt") from error
    return seed


def _agree(officer: Officer) -> tuple[bytes, bytes]:
    try:
        point, (key,) = agree_with(base64.b64decode(officer.key), label=_LABEL)
    except ValueError as error:
        raise BadRequestError(f"the key of {officer.name} is no X25519 key") from error
    return point, key
