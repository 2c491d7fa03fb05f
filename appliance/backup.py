# SPDX-License-Identifier: Apache-2.0
"""A backup file: every salt and the whole journal, for the holders of M of N shares.

The backup key is an X25519 key pair. Its private half is made once, away from the
appliance, split in SLIP-39 shares and wiped; the public half stands in the vault,
under its MAC, so that a nightly backup needs no share. Each backup is encrypted to
it by an ephemeral key, and its header is signed by the identity key.

Two parts under two keys: the secrets, which never leave locked memory in the clear,
and the journal's rows. See docs/adr/0013-backups-to-a-split-key.md.
"""

import base64
import hashlib
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import (
    X25519PrivateKey,
    X25519PublicKey,
)
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from appliance.durable import write_durably
from appliance.errors import FaultError
from appliance.journal_chain import require_rows
from appliance.receipt import make_statement, read_statement
from appliance.sealing import KEY_BYTES, agree_as, agree_with
from appliance.vault import HEAD_KEY_BYTES, Generation, Vault
from appliance.wire import JournalRow
from trinary.memory import LockedBuffer

BACKUP_TYPE: Final = "saltkeep-backup+jws"
FORMAT: Final = "saltkeep-backup/1"
_LABEL: Final = b"saltkeep/backup/v1\0"
_SECRETS_NONCE: Final = bytes(12)  # each key encrypts once
_ROWS_NONCE: Final = bytes(11) + b"\1"


class BackupError(FaultError):
    """A backup that is altered, foreign, or for another key."""

    code = "backup"
    retry = False


class BackupHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a backup says of itself, signed.

    Attributes:
        format: ``saltkeep-backup/1``.
        journal_id: Of which journal.
        epoch: Its epoch.
        sequence: Number of its last row.
        hash: That row's hash.
        created_ms: When, in milliseconds since 1970.
        generations: Every salt generation, without its salt.
        retired: Those that issue no more.
        policy_root: Digest of the first signed policy.
        backup_key: The public key it is for, hex.
        ephemeral: The ephemeral public key, hex.
        secrets_sha256: Of the encrypted secrets.
        rows_sha256: Of the encrypted rows.
        successions: How identity keys named each other.
    """

    format: str
    journal_id: str
    epoch: int
    sequence: int
    hash: str
    created_ms: int
    generations: list[Generation]
    retired: list[int]
    policy_root: str
    backup_key: str
    ephemeral: str
    secrets_sha256: str
    rows_sha256: str
    successions: list[str] = []


class _BackupFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    statement: str
    secrets: str
    rows: str


@dataclass(frozen=True, slots=True)
class OpenedBackup:
    """A backup's content; whoever gets it closes the buffers.

    Attributes:
        header: As signed.
        rows: The journal, its chain checked up to the header's head.
        head_key: The key that authenticates head tokens.
        salts: By generation.
    """

    header: BackupHeader
    rows: Sequence[JournalRow]
    head_key: LockedBuffer
    salts: dict[int, LockedBuffer]

    def close(self) -> None:
        """Wipe every secret."""
        for buffer in (self.head_key, *self.salts.values()):
            buffer.close()


def make_backup_key(*, allow_unlocked: bool) -> tuple[LockedBuffer, bytes]:
    """Draw a backup key.

    Args:
        allow_unlocked: Go on where memory can not be locked.

    Returns:
        The private key, for the caller to split and close; the public key.

    Raises:
        BackupError: If the system gives no random bytes.
    """
    private = LockedBuffer(KEY_BYTES, allow_unlocked=allow_unlocked)
    with open("/dev/urandom", "rb", buffering=0) as system:  # noqa: PTH123 - readinto
        if system.readinto(private.view) != KEY_BYTES:
            private.close()
            raise BackupError("the system gave too few random bytes")
    return private, public_key_of(private)


def public_key_of(private: LockedBuffer) -> bytes:
    """Return the public half of a backup key (32 bytes)."""
    key = X25519PrivateKey.from_private_bytes(private.view)
    return key.public_key().public_bytes_raw()


def require_backup_key(text: str) -> bytes:
    """Read a public key given in hex.

    Args:
        text: 64 hex characters.

    Returns:
        32 bytes.

    Raises:
        BackupError: If it is none.
    """
    try:
        key = bytes.fromhex(text)
        X25519PrivateKey.generate().exchange(X25519PublicKey.from_public_bytes(key))
    except ValueError as error:
        raise BackupError(
            "a backup key is 64 hex characters, as `backup make-key` printed it"
        ) from error
    return key


def make_backup(
    vault: Vault, rows: Sequence[JournalRow], *, epoch: int, now_ms: int
) -> bytes:
    """Make a backup (blocks on the HSM).

    Args:
        vault: Opened; it names the backup key.
        rows: The whole journal.
        epoch: Its epoch.
        now_ms: The time.

    Returns:
        The file's content.

    Raises:
        BackupError: If the vault names no backup key.
    """
    content = vault.content
    if not content.backup_key:
        raise BackupError("no backup key is set: run `ceremony set-backup-key` first")
    head = require_rows(rows)
    recipient = bytes.fromhex(content.backup_key)
    point, (key, rows_key) = agree_with(recipient, label=_LABEL, count=2)
    packed = zlib.compress(b"\n".join(msgspec.json.encode(row) for row in rows))
    numbers = sorted(vault.generations)
    aad = _LABEL + content.journal_id.encode()
    with gather_secrets(vault) as whole:
        secrets = AESGCM(key).encrypt(_SECRETS_NONCE, whole.view, aad)
    encrypted = AESGCM(rows_key).encrypt(_ROWS_NONCE, packed, aad)
    header = BackupHeader(
        format=FORMAT,
        journal_id=content.journal_id,
        epoch=epoch,
        sequence=head.sequence,
        hash=head.hash,
        created_ms=now_ms,
        generations=[vault.generations[number] for number in numbers],
        retired=content.retired,
        policy_root=content.policy_root,
        backup_key=content.backup_key,
        ephemeral=point.hex(),
        secrets_sha256=hashlib.sha256(secrets).hexdigest(),
        rows_sha256=hashlib.sha256(encrypted).hexdigest(),
        successions=content.successions,
    )
    statement = make_statement(
        BACKUP_TYPE,
        msgspec.to_builtins(header),
        point=vault.identity_point,
        sign_digest=vault.sign_digest,
    )
    parts = (base64.b64encode(part).decode() for part in (secrets, encrypted))
    return msgspec.json.encode(_BackupFile(statement, *parts))


@contextmanager
def gather_secrets(vault: Vault) -> Iterator[LockedBuffer]:
    """Open the head key and every salt, one after another in one buffer.

    Args:
        vault: Opened; blocks on its HSM.

    Yields:
        Locked memory, wiped when the block ends; ``spread_secrets`` takes it apart.
    """
    with ExitStack() as wipe:
        buffers = [wipe.enter_context(vault.open_head_key())]
        numbers = sorted(vault.generations)
        buffers += [wipe.enter_context(vault.open_salt(n)) for n in numbers]
        whole = wipe.enter_context(
            LockedBuffer(sum(b.size for b in buffers), allow_unlocked=True)
        )
        place = 0
        for buffer in buffers:
            whole.view[place : place + buffer.size] = buffer.view
            place += buffer.size
        yield whole


def verify_backup(data: bytes, *, identity_pem: bytes) -> BackupHeader:
    """Check a backup's signature and that both parts are the signed ones.

    Args:
        data: The file's content.
        identity_pem: The pinned identity key, with its successors.

    Returns:
        The header.

    Raises:
        BackupError: If it is no backup, or altered; ``RefusedError`` if the
            signature is not of this key.
    """
    return _read(data, identity_pem)[0]


def _read(data: bytes, identity_pem: bytes) -> tuple[BackupHeader, bytes, bytes]:
    try:
        document = msgspec.json.decode(data, type=_BackupFile)
        parts = [
            base64.b64decode(part, validate=True)
            for part in (document.secrets, document.rows)
        ]
    except (msgspec.DecodeError, ValueError) as error:
        raise BackupError("this is no backup file of this version") from error
    claims: dict[str, Any] = read_statement(
        document.statement, kind=BACKUP_TYPE, identity_pem=identity_pem
    )
    try:
        header = msgspec.convert(claims, BackupHeader)
    except msgspec.ValidationError as error:
        raise BackupError(f"the backup's header is of another version: {error}") from (
            error
        )
    if header.format != FORMAT:
        raise BackupError(f"format {header.format!r} came, {FORMAT!r} was expected")
    digests = [hashlib.sha256(part).hexdigest() for part in parts]
    if digests != [header.secrets_sha256, header.rows_sha256]:
        raise BackupError("the backup was altered: a part is not the one signed")
    return header, parts[0], parts[1]


def open_backup(
    data: bytes, private: LockedBuffer, *, identity_pem: bytes, allow_unlocked: bool
) -> OpenedBackup:
    """Decrypt a backup.

    Args:
        data: The file's content.
        private: The backup key, from the shares; stays open.
        identity_pem: The pinned identity key, with its successors.
        allow_unlocked: Go on where memory can not be locked.

    Returns:
        Its content.

    Raises:
        BackupError: If the key is another one, or the content contradicts the
            header.
    """
    header, secrets, encrypted = _read(data, identity_pem)
    if public_key_of(private).hex() != header.backup_key:
        raise BackupError(
            "the shares give another backup key than this backup is for:"
            f" expected {header.backup_key[:16]}…"
        )
    point = bytes.fromhex(header.ephemeral)
    key = X25519PrivateKey.from_private_bytes(private.view)
    secrets_key, rows_key = agree_as(key, point, label=_LABEL, count=2)
    aad = _LABEL + header.journal_id.encode()
    try:
        rows = _rows(AESGCM(rows_key).decrypt(_ROWS_NONCE, encrypted, aad))
        head = require_rows(rows)
        if (head.sequence, head.hash) != (header.sequence, header.hash):
            raise BackupError("the journal in the backup ends elsewhere than it says")
        return _opened(
            header,
            rows,
            lambda into: AESGCM(secrets_key).decrypt_into(
                _SECRETS_NONCE, secrets, aad, into
            ),
            allow_unlocked=allow_unlocked,
        )
    except (InvalidTag, zlib.error, msgspec.DecodeError, ValueError) as error:
        raise BackupError("the backup does not decrypt: it was altered") from error


def _opened(
    header: BackupHeader,
    rows: Sequence[JournalRow],
    decrypt: Callable[[memoryview], int],
    *,
    allow_unlocked: bool,
) -> OpenedBackup:
    buffers = spread_secrets(header.generations, decrypt, allow_unlocked=allow_unlocked)
    numbers = [generation.id for generation in header.generations]
    salts = dict(zip(numbers, buffers[1:], strict=True))
    return OpenedBackup(header, rows, buffers[0], salts)


def spread_secrets(
    generations: Sequence[Generation],
    decrypt: Callable[[memoryview], int],
    *,
    allow_unlocked: bool,
) -> list[LockedBuffer]:
    """Take apart what ``gather_secrets`` put together.

    Args:
        generations: Whose salts follow the head key, in their order.
        decrypt: Fills locked memory with the whole.
        allow_unlocked: Go on where memory can not be locked.

    Returns:
        The head key, then each salt; the caller closes them.
    """
    sizes = [HEAD_KEY_BYTES, *(g.salt_bytes for g in generations)]
    buffers: list[LockedBuffer] = []
    with LockedBuffer(sum(sizes), allow_unlocked=allow_unlocked) as whole:
        decrypt(whole.view)
        place = 0
        for size in sizes:
            buffer = LockedBuffer(size, allow_unlocked=allow_unlocked)
            buffer.view[:] = whole.view[place : place + size]
            buffers.append(buffer)
            place += size
    return buffers


def _rows(packed: bytes) -> list[JournalRow]:
    lines = zlib.decompress(packed).split(b"\n")
    return [msgspec.json.decode(line, type=JournalRow) for line in lines]


def write_backup(path: Path, data: bytes) -> None:
    """Write a backup file: temporary, synced, renamed, synced.

    Args:
        path: Where; its folder is made.
        data: From ``make_backup``.
    """
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write_durably(path, data, before_rename="backup.before-rename")
