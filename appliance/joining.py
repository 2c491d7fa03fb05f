# SPDX-License-Identifier: Apache-2.0
"""A second appliance on a shared journal: its own HSM keys, the same salts.

The joining host makes its keys and a transfer key, whose private half is sealed by
its own HSM; what it hands out is a request with a fingerprint. Two operators of the
running appliance compare the fingerprint on two channels and approve: every salt
then goes, encrypted to the transfer key and signed by the identity key, into a file.
Only the joining HSM opens it. The steps, numbered as in docs/ceremonies/join.md:

1. On the joining host: make keys and request (``begin``). An appliance that has
   joined before keeps its keys: so it is brought up to date.
2. On the running one: ``enrol-appliance``, by two operators (``make_transfer``).
3. On the joining host: open the transfer, derive every canary, verify the shared
   journal and mirror it, seal every secret, write the vault (``finish``).

A journal in a file of its own is never shared: see docs/adr/0020.
"""

import base64
import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from appliance.backup import (
    gather_secrets,
    make_backup_key,
    public_key_of,
    spread_secrets,
)
from appliance.canary import require_canary
from appliance.durable import write_durably
from appliance.errors import ConfigError, FaultError
from appliance.hsm import DATA_KEY_BYTES, Hsm
from appliance.installation import Paths
from appliance.journal import join_journal
from appliance.journal_database import JournalDatabase
from appliance.receipt import (
    key_id,
    make_statement,
    public_key_pem,
    read_statement,
)
from appliance.rotation import succession
from appliance.row_seal import RowSeal
from appliance.seal import SealLatch
from appliance.sealing import agree_as, agree_with
from appliance.vault import (
    FORMAT,
    Envelope,
    Generation,
    Sealed,
    Vault,
    VaultContent,
    associated_data,
    seal,
    sealed_for,
    unseal,
    write_vault,
)
from failpoints import failpoint
from trinary.memory import LockedBuffer

TRANSFER_TYPE: Final = "saltkeep-transfer+jws"
_LABEL: Final = b"saltkeep/transfer/v1\0"
_PURPOSE: Final = "join-key"
_NONCE: Final = bytes(12)  # each key encrypts once
_KEY_ID_BYTES: Final = 8
_GROUP: Final = 8


class JoinError(FaultError):
    """A request or a transfer that is altered, foreign, or for another host."""

    code = "join"
    retry = False


class JoinRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a joining host asks with; nothing in it is secret.

    Attributes:
        journal_id: Of the journal it will share.
        identity: Public point of its identity key, hex.
        key: Its transfer key, X25519, hex.
        token: Its HSM, for people.
    """

    journal_id: str
    identity: str
    key: str
    token: str

    @property
    def fingerprint(self) -> str:
        """SHA-256 of it, in groups to be read aloud; compared on two channels."""
        digest = hashlib.sha256(_LABEL + msgspec.json.encode(self)).hexdigest()
        return " ".join(
            digest[at : at + _GROUP] for at in range(0, len(digest), _GROUP)
        )


class _Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the joining host remembers until the transfer comes."""

    request: JoinRequest
    kek_label: str
    mac_label: str
    identity_label: str
    private: Envelope


class TransferHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a transfer says of itself, signed by the appliance that made it.

    Attributes:
        request: The request it answers.
        generations: Every salt generation, without its salt.
        retired: Those that issue no more.
        blind: Those that sign bare hashes.
        policy_root: Digest of the first signed policy.
        backup_key: Public key of backups, hex.
        successions: How identity keys named each other, the joining one the last.
        ephemeral: The ephemeral public key, hex.
        secrets_sha256: Of the encrypted secrets.
    """

    request: JoinRequest
    generations: list[Generation]
    retired: list[int]
    blind: list[int]
    policy_root: str
    backup_key: str
    successions: list[str]
    ephemeral: str
    secrets_sha256: str


class _Transfer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    statement: str
    secrets: str


@dataclass(frozen=True, slots=True)
class Joined:
    """What ``finish`` prints for people.

    Attributes:
        journal_id: Of the shared journal.
        sequence: Its last row, verified and mirrored.
        hash: That row's hash; compare it with the other appliance's.
        identity_pem: This appliance's identity key.
        identity_key_id: Its JWK thumbprint.
    """

    journal_id: str
    sequence: int
    hash: str
    identity_pem: str
    identity_key_id: str


# --- on the joining host ------------------------------------------------------------


def begin(
    paths: Paths, hsm: Hsm, journal_id: str, *, allow_unlocked: bool
) -> JoinRequest:
    """Make keys and a request, or show the request that was made before.

    Args:
        paths: The state folder.
        hsm: The token, open.
        journal_id: As ``init`` printed it on the first appliance.
        allow_unlocked: Go on where memory can not be locked.

    Returns:
        The request.

    Raises:
        JoinError: If the folder holds an appliance of another journal.
    """
    paths.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if paths.join.exists():
        return _read_plan(paths).request
    labels = _labels(paths, hsm, journal_id, allow_unlocked=allow_unlocked)
    point = hsm.public_point(label=labels[2])
    private, public = make_backup_key(allow_unlocked=allow_unlocked)
    with private:
        envelope = seal(
            private.view,
            purpose=_PURPOSE,
            aad=associated_data(purpose=_PURPOSE, journal_id=journal_id),
            hsm=hsm,
            kek_label=labels[0],
        )
    token = sealed_for(hsm)
    named = f"{token.label} (serial {token.serial}, profile {token.profile})"
    request = JoinRequest(journal_id, point.hex(), public.hex(), named)
    plan = _Plan(request, *labels, envelope)
    failpoint("join.keys-made")
    write_durably(paths.join, msgspec.json.format(msgspec.json.encode(plan)))
    return request


def finish(
    paths: Paths,
    hsm: Hsm,
    database: JournalDatabase,
    transfer: bytes,
    *,
    identity_pem: bytes,
    allow_unlocked: bool,
) -> Joined:
    """Open a transfer and become an appliance of its journal.

    Args:
        paths: The state folder, after ``begin``.
        hsm: The token, open.
        database: The shared journal.
        transfer: The file.
        identity_pem: The pinned identity key of the first appliance.
        allow_unlocked: Go on where memory can not be locked.

    Returns:
        What to print.

    Raises:
        JoinError: If the transfer is not for this host, or altered.
    """
    plan = _read_plan(paths)
    header, secrets = _read_transfer(transfer, identity_pem)
    if header.request != plan.request:
        raise JoinError(
            f"the transfer answers request {header.request.fingerprint}, ours is"
            f" {plan.request.fingerprint}"
        )
    with ExitStack() as wipe:
        buffers = _opened(plan, hsm, header, secrets, allow_unlocked=allow_unlocked)
        for buffer in buffers:
            wipe.enter_context(buffer)
        for generation, salt in zip(header.generations, buffers[1:], strict=True):
            require_canary(generation, salt, allow_unlocked=allow_unlocked)
        seals = RowSeal(buffers[0], journal_id=plan.request.journal_id)
        wipe.callback(seals.close)
        own = _own_successions(paths, hsm, allow_unlocked=allow_unlocked)
        content = _sealed(plan, hsm, header, buffers, own or header.successions)
        failpoint("join.sealed")
        journal_id = plan.request.journal_id
        mirrored = database.mirror is not None and database.mirror.exists()
        head = join_journal(database, journal_id=journal_id, again=mirrored, seal=seals)
    failpoint("join.mirrored")
    if not paths.latch.exists():
        SealLatch.create(paths.latch)
    write_vault(paths.vault, content, hsm=hsm)
    failpoint("join.vault-written")
    paths.join.unlink()
    point = bytes.fromhex(content.identity_point)
    return Joined(
        journal_id, head.sequence, head.hash, public_key_pem(point), key_id(point)
    )


def _labels(
    paths: Paths, hsm: Hsm, journal_id: str, *, allow_unlocked: bool
) -> tuple[str, str, str]:
    """Return the labels of this host's keys: those in force, or new ones."""
    if paths.vault.exists():
        vault = Vault(paths.vault, hsm=hsm, allow_unlocked=allow_unlocked)
        content = vault.content
        if content.journal_id != journal_id:
            raise JoinError(
                f"this folder holds an appliance of journal {content.journal_id}"
            )
        kek = content.head_key.kek_label
        return kek, content.mac_key_label, content.identity_label
    if any(path.exists() for path in (paths.latch, paths.mirror, paths.journal)):
        raise ConfigError(
            f"{paths.folder} holds what a ceremony cut short left behind: move it"
            " away and begin again"
        )
    # Appliances may share an HSM's partition: no label must come twice.
    number = f"{int.from_bytes(os.urandom(2)) % 89 + 10}01"
    kek, mac, identity = (
        f"saltkeep-{role}-{number}-{journal_id[:8]}"
        for role in ("kek", "mac", "identity")
    )
    for role, label in (("kek", kek), ("mac", mac), ("identity", identity)):
        hsm.generate_key(role=role, label=label, key_id=os.urandom(_KEY_ID_BYTES))
    return kek, mac, identity


def _own_successions(paths: Paths, hsm: Hsm, *, allow_unlocked: bool) -> list[str]:
    """Return how this host's identity keys named each other, if it joined before."""
    if not paths.vault.exists():
        return []
    vault = Vault(paths.vault, hsm=hsm, allow_unlocked=allow_unlocked)
    return vault.content.successions


def _read_plan(paths: Paths) -> _Plan:
    try:
        return msgspec.json.decode(paths.join.read_bytes(), type=_Plan)
    except (OSError, msgspec.DecodeError) as error:
        raise JoinError(
            f"{paths.join} can not be read: run `join begin` first"
        ) from error


def _read_transfer(data: bytes, identity_pem: bytes) -> tuple[TransferHeader, bytes]:
    try:
        document = msgspec.json.decode(data, type=_Transfer)
        secrets = base64.b64decode(document.secrets, validate=True)
    except (msgspec.DecodeError, ValueError) as error:
        raise JoinError("this is no transfer file of this version") from error
    claims = read_statement(
        document.statement, kind=TRANSFER_TYPE, identity_pem=identity_pem
    )
    try:
        header = msgspec.convert(claims, TransferHeader)
    except msgspec.ValidationError as error:
        raise JoinError(f"the transfer is of another version: {error}") from error
    if hashlib.sha256(secrets).hexdigest() != header.secrets_sha256:
        raise JoinError("the transfer was altered: its secrets are not those signed")
    return header, secrets


def _opened(
    plan: _Plan,
    hsm: Hsm,
    header: TransferHeader,
    secrets: bytes,
    *,
    allow_unlocked: bool,
) -> list[LockedBuffer]:
    """Decrypt the head key and every salt into locked memory."""
    with _private(plan, hsm, allow_unlocked=allow_unlocked) as private:
        key = X25519PrivateKey.from_private_bytes(private.view)
        try:
            (shared,) = agree_as(key, bytes.fromhex(header.ephemeral), label=_LABEL)
            return spread_secrets(
                header.generations,
                lambda into: AESGCM(shared).decrypt_into(
                    _NONCE, secrets, _bound(header.request), into
                ),
                allow_unlocked=allow_unlocked,
            )
        except (InvalidTag, ValueError) as error:
            raise JoinError("the transfer does not decrypt: it was altered") from error


@contextmanager
def _private(plan: _Plan, hsm: Hsm, *, allow_unlocked: bool) -> Iterator[LockedBuffer]:
    aad = associated_data(purpose=_PURPOSE, journal_id=plan.request.journal_id)
    with LockedBuffer(DATA_KEY_BYTES, allow_unlocked=allow_unlocked) as private:
        unseal(plan.private, aad=aad, hsm=hsm, into=private.view)
        if public_key_of(private).hex() != plan.request.key:
            raise JoinError("the transfer key is not the one of the request")
        yield private


def _sealed(
    plan: _Plan,
    hsm: Hsm,
    header: TransferHeader,
    buffers: list[LockedBuffer],
    successions: list[str],
) -> VaultContent:
    """Seal every secret for this host's token; not written yet."""

    def envelope(
        secret: LockedBuffer, purpose: str, of: Generation | None = None
    ) -> Envelope:
        aad = associated_data(
            purpose=purpose, journal_id=plan.request.journal_id, generation=of
        )
        return seal(
            secret.view, purpose=purpose, aad=aad, hsm=hsm, kek_label=plan.kek_label
        )

    with LockedBuffer(DATA_KEY_BYTES, allow_unlocked=True) as key_check:
        hsm.random_into(key_check.view)
        return VaultContent(
            format=FORMAT,
            journal_id=plan.request.journal_id,
            mac_key_label=plan.mac_label,
            identity_label=plan.identity_label,
            identity_point=plan.request.identity,
            head_key=envelope(buffers[0], "head-key"),
            key_check=envelope(key_check, "key-check"),
            key_check_sha256=hashlib.sha256(key_check.view).hexdigest(),
            generations=[
                Sealed(one, envelope(salt, "salt", one))
                for one, salt in zip(header.generations, buffers[1:], strict=True)
            ],
            policy_root=header.policy_root,
            retired=header.retired,
            successions=successions,
            backup_key=header.backup_key,
            blind=header.blind,
            token=sealed_for(hsm),
        )


# --- on the running appliance ---------------------------------------------------------


def read_request(text: str, *, journal_id: str) -> JoinRequest:
    """Read a request that a joining host made.

    Args:
        text: The file's content.
        journal_id: Of this appliance.

    Returns:
        The request.

    Raises:
        JoinError: If it is none, or for another journal.
    """
    try:
        request = msgspec.json.decode(text, type=JoinRequest)
        agree_with(bytes.fromhex(request.key), label=_LABEL)
        public_key_pem(bytes.fromhex(request.identity))
    except (msgspec.DecodeError, ValueError) as error:
        raise JoinError(f"this is no request of `join begin`: {error}") from error
    if request.journal_id != journal_id:
        raise JoinError(f"it asks for journal {request.journal_id}, ours is another")
    return request


def make_transfer(vault: Vault, request: JoinRequest) -> bytes:
    """Encrypt every secret to a joining host (blocks on the HSM).

    Args:
        vault: In force.
        request: Approved.

    Returns:
        The file's content.
    """
    point, (key,) = agree_with(bytes.fromhex(request.key), label=_LABEL)
    with gather_secrets(vault) as whole:
        secrets = AESGCM(key).encrypt(_NONCE, whole.view, _bound(request))
    content = vault.content
    successions = content.successions
    if request.identity != content.identity_point:
        named = succession(vault, bytes.fromhex(request.identity))
        successions = [*successions, named]
    header = TransferHeader(
        request=request,
        generations=[vault.generations[n] for n in sorted(vault.generations)],
        retired=content.retired,
        blind=content.blind,
        policy_root=content.policy_root,
        backup_key=content.backup_key,
        successions=successions,
        ephemeral=point.hex(),
        secrets_sha256=hashlib.sha256(secrets).hexdigest(),
    )
    statement = make_statement(
        TRANSFER_TYPE,
        msgspec.to_builtins(header),
        point=vault.identity_point,
        sign_digest=vault.sign_digest,
    )
    encoded = base64.b64encode(secrets).decode()
    return msgspec.json.encode(_Transfer(statement, encoded))


def _bound(request: JoinRequest) -> bytes:
    return _LABEL + msgspec.json.encode(request)
