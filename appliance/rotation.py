# SPDX-License-Identifier: Apache-2.0
"""Rotating the HSM keys the vault rests on, while the daemon signs.

A rotation's steps may each be done twice. Before the first one a record is written
beside the vault; after a crash the same command goes on from there, and ``abandon``
takes back what is not in force yet. The switch is one rename of the vault file;
requests under way keep the vault they began with, whose keys are still in the HSM,
so none of them fails. The old key is destroyed only by a command of its own, which
is refused while anything in the vault needs that key.

``move-hsm`` is a rotation of all three keys at once, whose new ones are made in
another token (docs/ceremonies/move-hsm.md); the steps are the same.

The steps, numbered as in docs/ceremonies/rotate.md:

1. Write the record: which key replaces which.
2. Make the new key in the HSM, not extractable.
3. Prepare the vault: for the KEK, seal every secret again, and open and compare it.
4. Write the vault: temporary file, synced, renamed, synced.
5. Open it anew and open its canary envelope.
6. Journal it, and remove the record.
"""

import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from appliance.durable import sync_folder, write_durably
from appliance.errors import BadRequestError, HsmError
from appliance.hsm import Hsm
from appliance.receipt import (
    SUCCESSION_TYPE,
    key_id,
    make_statement,
    public_key_pem,
    successors,
)
from appliance.vault import (
    Envelope,
    Generation,
    Sealed,
    Vault,
    VaultContent,
    read_unauthenticated,
    seal,
    sealed_for,
    write_vault,
)
from failpoints import failpoint
from trinary.memory import LockedBuffer

ROLES: Final = {
    "rotate-kek": ("kek",),
    "rotate-mac": ("mac",),
    "rotate-identity": ("identity",),
    "move-hsm": ("kek", "mac", "identity"),
}
"""Which keys each ceremony replaces."""
_KEY_ID_BYTES: Final = 8
_OWN_LABEL: Final = "saltkeep-(kek|mac|identity)-[0-9]{{4}}-{}"
_ROTATION_STEPS: Final = (
    "write the record: {new} replaces {old}",
    "make {new} in the HSM, not extractable",
    "prepare the vault with {new}; what is sealed or signed anew is checked",
    "write the vault: temporary file, synced, renamed, synced",
    "open it anew and check its canary",
    "journal it; {old} stays in the HSM until `destroy-key {old}`",
)
_MOVE_STEPS: Final = (
    "open {target}; write the record",
    "make {new} there, not extractable; the old identity key names the new one",
    "seal every salt, the head key and the canary again there; open each and compare",
    "write the vault: temporary file, synced, renamed, synced; it names that token",
    "open it anew there, check its canary, go on with it; journal it",
    "then put that [hsm] table into the configuration; {old} stay in the old token",
)


@dataclass(frozen=True, slots=True)
class Change:
    """One key that another replaces.

    Attributes:
        role: ``kek``, ``mac`` or ``identity``.
        old: Label of the key that is replaced.
        new: Label of the key that replaces it.
    """

    role: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Record:
    """A rotation or move under way, as written beside the vault.

    Attributes:
        kind: Of ``ROLES``.
        changes: What replaces what.
        target: Where the description of the target token lies; empty: the same token.
        token: The target token, for people.
    """

    kind: str
    changes: tuple[Change, ...]
    target: str = ""
    token: str = ""

    @property
    def old(self) -> str:
        """The keys that are replaced."""
        return ", ".join(change.old for change in self.changes)

    @property
    def new(self) -> str:
        """The keys that replace them."""
        return ", ".join(change.new for change in self.changes)

    def steps(self) -> list[str]:
        """Return the numbered steps, in words."""
        texts = _MOVE_STEPS if self.target else _ROTATION_STEPS
        return [
            f"{number}. {text.format(old=self.old, new=self.new, target=self.token)}"
            for number, text in enumerate(texts, start=1)
        ]


def labels_in_use(content: VaultContent) -> set[str]:
    """Return every HSM key the vault can not do without."""
    envelopes = [content.head_key, content.key_check]
    envelopes += [entry.envelope for entry in content.generations]
    labels = {envelope.kek_label for envelope in envelopes}
    return labels | {content.mac_key_label, content.identity_label}


def next_label(label: str) -> str:
    """Return the label after ``saltkeep-kek-0001-1a2b3c4d``, number 0002.

    Args:
        label: Of the key in force.

    Returns:
        The same with the number raised by one.

    Raises:
        BadRequestError: If the label is not of that form.
    """
    name, _, journal = label.rpartition("-")
    kind, _, number = name.rpartition("-")
    if not (kind and number.isdigit()):
        raise BadRequestError(f"key label {label!r} has no number to count up")
    return f"{kind}-{int(number) + 1:04}-{journal}"


def rewrapped(vault: Vault, *, hsm: Hsm, kek_label: str) -> dict[str, Any]:
    """Seal every secret again under another key-encryption key.

    Each new envelope is opened and compared before it counts.

    Args:
        vault: What is in force.
        hsm: The open token that holds the new key.
        kek_label: The new key.

    Returns:
        The fields of the vault's content that change.
    """

    def again(
        secret: LockedBuffer, purpose: str, generation: Generation | None
    ) -> Envelope:
        aad = vault.associated_data(purpose, generation)
        with secret:
            return seal(
                secret.view, purpose=purpose, aad=aad, hsm=hsm, kek_label=kek_label
            )

    generations = [entry.generation for entry in vault.content.generations]
    return {
        "head_key": again(vault.open_head_key(), "head-key", None),
        "key_check": again(vault.open_key_check(), "key-check", None),
        "generations": [
            Sealed(one, again(vault.open_salt(one.id), "salt", one))
            for one in generations
        ],
    }


def succession(vault: Vault, point: bytes) -> str:
    """Let the identity key in force name another one.

    Args:
        vault: What is in force.
        point: The other key's public point.

    Returns:
        The statement, checked.
    """
    claims = {
        "journal_id": vault.content.journal_id,
        "previous": key_id(vault.identity_point),
        "key": public_key_pem(point),
    }
    statement = make_statement(
        SUCCESSION_TYPE,
        claims,
        point=vault.identity_point,
        sign_digest=vault.sign_digest,
    )
    successors([statement], identity_pem=public_key_pem(vault.identity_point).encode())
    return statement


def with_successor(vault: Vault, label: str, point: bytes) -> dict[str, Any]:
    """Let the identity key in force name the next one.

    Args:
        vault: What is in force.
        label: Of the new identity key.
        point: Its public point.

    Returns:
        The fields of the vault's content that change.
    """
    return {
        "identity_label": label,
        "identity_point": point.hex(),
        "successions": [*vault.content.successions, succession(vault, point)],
    }


class Rotations:
    """Runs rotations of one vault's keys, and its move; blocks on the HSM.

    Args:
        vault_path: The vault file.
        record_path: Where the record of a rotation lies.
        hsm: The open token.
        open_vault: Opens the vault file anew, with the token given.
        target: The token that the new keys are made in, where it is another one.
    """

    def __init__(
        self,
        vault_path: Path,
        record_path: Path,
        *,
        hsm: Hsm,
        open_vault: Callable[[Hsm], Vault],
        target: Hsm | None = None,
    ) -> None:
        self._vault_path = vault_path
        self._record_path = record_path
        self._hsm = hsm
        self._open_vault = open_vault
        self._target = target or hsm

    @property
    def under_way(self) -> Record | None:
        """The rotation that was begun and not finished, if any.

        Raises:
            BadRequestError: If its record can not be read.
        """
        try:
            return msgspec.json.decode(self._record_path.read_bytes(), type=Record)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            raise BadRequestError(
                f"{self._record_path} is no record of a rotation of this version: move"
                " it away if nothing is under way"
            ) from error

    def plan(self, kind: str, *, target: str = "") -> Record:
        """Return what a rotation would do, or what is left to do of it.

        Args:
            kind: Of ``ROLES``.
            target: Where the description of the target token lies; for a move.

        Returns:
            The record; its ``steps`` say the rest.

        Raises:
            BadRequestError: If there is no such rotation, or another is under way.
        """
        if kind not in ROLES:
            raise BadRequestError(f"no rotation {kind!r}; there are {sorted(ROLES)}")
        under_way = self.under_way
        if under_way is not None and (under_way.kind, under_way.target) != (
            kind,
            target,
        ):
            raise BadRequestError(
                f"{under_way.kind} {under_way.target} is under way: finish or abandon"
                " it first"
            )
        if under_way is not None:
            return under_way
        content = read_unauthenticated(self._vault_path)
        old = {
            "kek": content.head_key.kek_label,
            "mac": content.mac_key_label,
            "identity": content.identity_label,
        }
        changes = [
            Change(role, old[role], next_label(old[role])) for role in ROLES[kind]
        ]
        return Record(kind, tuple(changes), target, self._target_name(target))

    def run(self, kind: str, *, target: str = "") -> tuple[Record, Vault]:
        """Do all steps but the last, or go on with them after a crash.

        Args:
            kind: Of ``ROLES``.
            target: As for ``plan``.

        Returns:
            What was done, and the vault in force. Journal it, then call ``finish``.
        """
        record = self.plan(kind, target=target)
        self._write_record(record)
        failpoint("rotate.recorded")
        if not self._in_force(record):
            vault = self._open_vault(self._hsm)
            for change in record.changes:
                self._make_key(change)
                failpoint("rotate.key-made")
            content = self._prepared(record, vault)
            failpoint("rotate.prepared")
            write_vault(self._vault_path, content, hsm=self._target)
        failpoint("rotate.switched")
        switched = self._open_vault(self._target)
        switched.check_health()
        return record, switched

    def finish(self) -> None:
        """Remove the record: the rotation is journalled."""
        failpoint("rotate.journalled")
        self._record_path.unlink(missing_ok=True)
        sync_folder(self._record_path.parent)
        failpoint("rotate.finished")

    def abandon(self) -> Record:
        """Take back a rotation that is not in force yet; its new keys are destroyed.

        Returns:
            What was taken back.

        Raises:
            BadRequestError: If there is none, or the vault was switched already.
        """
        record = self.under_way
        if record is None:
            raise BadRequestError("no rotation is under way")
        if self._in_force(record):
            raise BadRequestError(
                f"{record.new} is in force: run {record.kind} again to finish it"
            )
        self._open_vault(self._hsm)  # the vault that says so is ours
        for change in record.changes:
            with suppress(HsmError):  # it may not have been made yet
                self._target.destroy_key(label=change.new)
        self.finish()
        return record

    def destroy_key(self, label: str) -> None:
        """Destroy a key that nothing needs any more, for ever.

        Args:
            label: Its label.

        Raises:
            BadRequestError: If the vault needs it, it is not of this appliance, or
                a rotation is under way.
        """
        if self.under_way is not None:
            raise BadRequestError("a rotation is under way: finish or abandon it first")
        content = self._open_vault(self._hsm).content
        if label in labels_in_use(content):
            raise BadRequestError(f"{label} is in force: nothing opens without it")
        if not re.fullmatch(_OWN_LABEL.format(content.journal_id[:8]), label):
            raise BadRequestError(f"{label!r} is no retired key of this appliance")
        self._hsm.destroy_key(label=label)

    def _in_force(self, record: Record) -> bool:
        """Say whether the vault was switched; whoever goes on opens it for certain."""
        used = labels_in_use(read_unauthenticated(self._vault_path))
        return any(change.new in used for change in record.changes)

    def _target_name(self, target: str) -> str:
        if not target:
            return ""
        token = sealed_for(self._target)
        return f"token {token.label} (serial {token.serial}, profile {token.profile})"

    def _write_record(self, record: Record) -> None:
        write_durably(self._record_path, msgspec.json.encode(record))

    def _make_key(self, change: Change) -> None:
        with suppress(HsmError):
            self._target.require_safe_key(label=change.new)
            return  # made before a crash
        self._target.generate_key(
            role=change.role,
            label=change.new,
            key_id=os.urandom(_KEY_ID_BYTES),
        )

    def _prepared(self, record: Record, vault: Vault) -> VaultContent:
        """Return the vault's content with every key of the record replaced."""
        changed: dict[str, Any] = {}
        for change in record.changes:
            self._target.require_safe_key(label=change.new)
            if change.role == "kek":
                changed |= rewrapped(vault, hsm=self._target, kek_label=change.new)
            elif change.role == "mac":
                changed["mac_key_label"] = change.new
            else:
                point = self._target.public_point(label=change.new)
                changed |= with_successor(vault, change.new, point)
        if record.target:
            changed["token"] = sealed_for(self._target)
        return msgspec.structs.replace(vault.content, **changed)
