# SPDX-License-Identifier: Apache-2.0
"""Rotating the HSM keys the vault rests on, while the daemon signs.

A rotation's steps may each be done twice. Before the first one a record is written
beside the vault; after a crash the same command goes on from there, and ``abandon``
takes back what is not in force yet. The switch is one rename of the vault file;
requests under way keep the vault they began with, whose keys are still in the HSM,
so none of them fails. The old key is destroyed only by a command of its own, which
is refused while anything in the vault needs that key.

The steps, numbered as in docs/ceremonies/rotate.md:

1. Write the record: which key replaces which.
2. Make the new key in the HSM, not extractable.
3. Prepare the vault: for the KEK, seal every secret again, and open and compare it.
4. Write the vault: temporary file, synced, renamed, synced.
5. Open it anew and open its canary envelope.
6. Journal it, and remove the record.
"""

import json
import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

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
    seal,
    write_vault,
)
from failpoints import failpoint
from trinary.memory import LockedBuffer

ROLES: Final = {
    "rotate-kek": "kek",
    "rotate-mac": "mac",
    "rotate-identity": "identity",
}
"""What each rotation replaces."""
_SECRET_KEY: Final = 4  # CKO_SECRET_KEY
_PRIVATE_KEY, _PUBLIC_KEY = 3, 2  # CKO_PRIVATE_KEY, CKO_PUBLIC_KEY
_KEY_ID_BYTES: Final = 8
_OWN_LABEL: Final = "saltkeep-(kek|mac|identity)-[0-9]{{4}}-{}"
_STEPS: Final = (
    "write the record: {new} replaces {old}",
    "make {new} in the HSM, not extractable",
    "prepare the vault with {new}; what is sealed or signed anew is checked",
    "write the vault: temporary file, synced, renamed, synced",
    "open it anew and check its canary",
    "journal it; {old} stays in the HSM until `destroy-key {old}`",
)


@dataclass(frozen=True, slots=True)
class Record:
    """A rotation under way, as written beside the vault.

    Attributes:
        kind: Of ``ROLES``.
        old: Label of the key that is replaced.
        new: Label of the key that replaces it.
    """

    kind: str
    old: str
    new: str

    def steps(self) -> list[str]:
        """Return the numbered steps, in words."""
        return [
            f"{number}. {text.format(old=self.old, new=self.new)}"
            for number, text in enumerate(_STEPS, start=1)
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


def rewrapped(vault: Vault, *, hsm: Hsm, kek_label: str) -> VaultContent:
    """Seal every secret again under another key-encryption key.

    Each new envelope is opened and compared before it counts.

    Args:
        vault: What is in force.
        hsm: The open token, holding both keys.
        kek_label: The new key.

    Returns:
        The same content under the new key; not written yet.
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
    return msgspec.structs.replace(
        vault.content,
        head_key=again(vault.open_head_key(), "head-key", None),
        key_check=again(vault.open_key_check(), "key-check", None),
        generations=[
            Sealed(one, again(vault.open_salt(one.id), "salt", one))
            for one in generations
        ],
    )


def with_successor(vault: Vault, label: str, point: bytes) -> VaultContent:
    """Let the identity key in force name the next one.

    Args:
        vault: What is in force.
        label: Of the new identity key.
        point: Its public point.

    Returns:
        The content with the new key and the statement; not written yet.
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
    return msgspec.structs.replace(
        vault.content,
        identity_label=label,
        identity_point=point.hex(),
        successions=[*vault.content.successions, statement],
    )


class Rotations:
    """Runs rotations on one vault; blocks on the HSM.

    Args:
        vault_path: The vault file.
        record_path: Where the record of a rotation lies.
        hsm: The open token.
        open_vault: Opens the vault file anew.
    """

    def __init__(
        self,
        vault_path: Path,
        record_path: Path,
        *,
        hsm: Hsm,
        open_vault: Callable[[], Vault],
    ) -> None:
        self._vault_path = vault_path
        self._record_path = record_path
        self._hsm = hsm
        self._open_vault = open_vault

    @property
    def under_way(self) -> Record | None:
        """The rotation that was begun and not finished, if any."""
        with suppress(FileNotFoundError):
            return Record(**json.loads(self._record_path.read_text()))
        return None

    def plan(self, kind: str) -> Record:
        """Return what a rotation would do, or what is left to do of it.

        Args:
            kind: Of ``ROLES``.

        Returns:
            The record; its ``steps`` say the rest.

        Raises:
            BadRequestError: If there is no such rotation, or another is under way.
        """
        if kind not in ROLES:
            raise BadRequestError(f"no rotation {kind!r}; there are {sorted(ROLES)}")
        under_way = self.under_way
        if under_way is not None and under_way.kind != kind:
            raise BadRequestError(
                f"{under_way.kind} is under way: finish or abandon it first"
            )
        if under_way is not None:
            return under_way
        content = self._open_vault().content
        old = {
            "rotate-kek": content.head_key.kek_label,
            "rotate-mac": content.mac_key_label,
            "rotate-identity": content.identity_label,
        }[kind]
        return Record(kind, old, next_label(old))

    def run(self, kind: str) -> tuple[Record, Vault]:
        """Do steps 1 to 5, or go on with them after a crash.

        Args:
            kind: Of ``ROLES``.

        Returns:
            What was done, and the vault in force. Journal it, then call ``finish``.
        """
        record = self.plan(kind)
        self._write_record(record)
        failpoint("rotate.recorded")
        vault = self._open_vault()
        if record.new not in labels_in_use(vault.content):
            self._make_key(record)
            failpoint("rotate.key-made")
            content = self._prepared(record, vault)
            failpoint("rotate.prepared")
            write_vault(self._vault_path, content, hsm=self._hsm)
        failpoint("rotate.switched")
        switched = self._open_vault()
        switched.check_health()
        return record, switched

    def finish(self) -> None:
        """Remove the record: the rotation is journalled."""
        failpoint("rotate.journalled")
        self._record_path.unlink(missing_ok=True)
        sync_folder(self._record_path.parent)
        failpoint("rotate.finished")

    def abandon(self) -> Record:
        """Take back a rotation that is not in force yet; its new key is destroyed.

        Returns:
            What was taken back.

        Raises:
            BadRequestError: If there is none, or the vault was switched already.
        """
        record = self.under_way
        if record is None:
            raise BadRequestError("no rotation is under way")
        if record.new in labels_in_use(self._open_vault().content):
            raise BadRequestError(
                f"{record.new} is in force: run {record.kind} again to finish it"
            )
        with suppress(HsmError):  # it may not have been made yet
            self._hsm.destroy_key(label=record.new, classes=_classes(record.new))
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
        content = self._open_vault().content
        if label in labels_in_use(content):
            raise BadRequestError(f"{label} is in force: nothing opens without it")
        if not re.fullmatch(_OWN_LABEL.format(content.journal_id[:8]), label):
            raise BadRequestError(f"{label!r} is no retired key of this appliance")
        self._hsm.destroy_key(label=label, classes=_classes(label))

    def _write_record(self, record: Record) -> None:
        text = json.dumps(asdict(record)).encode()
        write_durably(self._record_path, text)

    def _make_key(self, record: Record) -> None:
        with suppress(HsmError):
            self._hsm.require_safe_key(
                label=record.new, object_class=_classes(record.new)[0]
            )
            return  # made before a crash
        self._hsm.generate_key(
            role=ROLES[record.kind],
            label=record.new,
            key_id=os.urandom(_KEY_ID_BYTES),
        )

    def _prepared(self, record: Record, vault: Vault) -> VaultContent:
        if record.kind == "rotate-kek":
            return rewrapped(vault, hsm=self._hsm, kek_label=record.new)
        if record.kind == "rotate-mac":
            return msgspec.structs.replace(vault.content, mac_key_label=record.new)
        point = self._hsm.public_point(label=record.new)
        return with_successor(vault, record.new, point)


def _classes(label: str) -> tuple[int, ...]:
    """Return the classes of the objects a label names."""
    return (_PRIVATE_KEY, _PUBLIC_KEY) if "-identity-" in label else (_SECRET_KEY,)
