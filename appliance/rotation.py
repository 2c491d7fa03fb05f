# SPDX-License-Identifier: Apache-2.0
"""Rotating what the vault rests on, while the daemon signs.

A rotation is a list of numbered steps, each of which may be done twice. Before the
first one a record of it is written beside the vault; after a crash the same command
goes on from there, and ``abandon`` takes back what is not in force yet. The old key
is never destroyed here: that is a command of its own, refused while anything in the
vault still needs the key.

The switch is one rename of the vault file. Requests under way keep the vault they
began with, whose keys are still in the HSM, so none of them fails.
"""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import msgspec

from appliance.errors import BadRequestError
from appliance.hsm import Hsm
from appliance.vault import Envelope, Sealed, Vault, VaultContent, seal

KINDS: Final = ("rotate-kek", "rotate-mac", "rotate-salt", "retire")
_SECRET_KEY: Final = 4  # CKO_SECRET_KEY
_ROLES: Final = {"rotate-kek": "kek", "rotate-mac": "mac"}
_MODE: Final = 0o600


@dataclass(frozen=True, slots=True)
class Record:
    """A rotation under way, as written beside the vault.

    Attributes:
        kind: Of ``KINDS``.
        old: Label of the key that is replaced, or the generation concerned.
        new: Label of the key that replaces it, or the new generation.
    """

    kind: str
    old: str
    new: str


class RecordFile:
    """The record of the rotation under way, if any; synced when written.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Record | None:
        """Return the rotation under way."""
        with suppress(FileNotFoundError):
            return Record(**json.loads(self._path.read_text()))
        return None

    def write(self, record: Record) -> None:
        """Write the record; durable on return."""
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _MODE)
        try:
            os.write(descriptor, json.dumps(asdict(record)).encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._sync_folder()

    def remove(self) -> None:
        """Remove the record; durable on return."""
        self._path.unlink(missing_ok=True)
        self._sync_folder()

    def _sync_folder(self) -> None:
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def kek_label_of(content: VaultContent) -> str:
    """Return the one key-encryption key in force."""
    return content.head_key.kek_label


def labels_in_use(content: VaultContent) -> set[str]:
    """Return every HSM key the vault can not do without."""
    envelopes = [content.head_key, content.key_check]
    envelopes += [entry.envelope for entry in content.generations]
    return {envelope.kek_label for envelope in envelopes} | {
        content.mac_key_label,
        content.identity_label,
    }


def next_label(label: str) -> str:
    """Return the label after ``saltkeep-kek-0001-1a2b3c4d``: 0002.

    Raises:
        BadRequestError: If the label is not of that form.
    """
    parts = label.split("-")
    if len(parts) != 4 or not parts[2].isdigit():  # noqa: PLR2004 - see above
        raise BadRequestError(f"key label {label!r} has no number to count up")
    return "-".join((*parts[:2], f"{int(parts[2]) + 1:04}", parts[3]))


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

    def again(open_secret: Callable[[], object], aad: bytes, purpose: str) -> Envelope:
        with open_secret() as secret:  # type: ignore[attr-defined]
            return seal(
                secret.view, purpose=purpose, aad=aad, hsm=hsm, kek_label=kek_label
            )

    content = vault.content
    generations = [
        Sealed(
            entry.generation,
            again(
                lambda entry=entry: vault.open_salt(entry.generation.id),  # type: ignore[misc]
                vault.associated_data("salt", entry.generation),
                "salt",
            ),
        )
        for entry in content.generations
    ]
    return msgspec.structs.replace(
        content,
        generations=generations,
        head_key=again(
            vault.open_head_key, vault.associated_data("head-key", None), "head-key"
        ),
        key_check=again(
            vault.open_key_check, vault.associated_data("key-check", None), "key-check"
        ),
    )
