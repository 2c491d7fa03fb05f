# SPDX-License-Identifier: Apache-2.0
"""The vault file: salt generations, each in an envelope only the HSM opens.

An envelope is software AES-256-GCM of the secret under a random 32-byte data
key, the canonical header as associated data; the data key is encrypted by the
HSM's KEK, and the whole file is authenticated by a second HSM key, checked
first. That scheme needs no padding anywhere and works the same on every token.

A secret is in the clear only between ``open_salt`` and its buffer's ``close``:
unwrapped into locked memory for one batch of derivations, wiped at the end.
Files are written beside, synced and renamed, after a trial opening of what is about
to be written.
"""

import base64
import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from appliance.argon2_engines import Argon2Parameters
from appliance.errors import (
    BrokenInvariantError,
    HsmError,
    PinRefusedError,
    VaultError,
)
from appliance.hsm import DATA_KEY_BYTES, Hsm, WrappedKey
from failpoints import failpoint
from trinary.memory import LockedBuffer

FORMAT: Final = "saltkeep-vault/1"
HEAD_KEY_BYTES: Final = 32
_MAC_LABEL: Final = b"saltkeep/vault/v1\0"
_NONCE_BYTES: Final = 12


class Generation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One salt and everything that must not drift with it.

    Attributes:
        id: Number, from 1.
        argon2: Cost and variant.
        security_level: 1, 2 or 3.
        network: Name of the network.
        salt_bytes: Length of the salt.
        canary_uuid: A seed UUID that is never issued.
        canary_address: What it must derive to.
    """

    id: int
    argon2: Argon2Parameters
    security_level: int
    network: str
    salt_bytes: int
    canary_uuid: str
    canary_address: str


class Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One secret at rest; byte fields are hex.

    Attributes:
        purpose: What it holds; part of the associated data.
        kek_label: The HSM key that wrapped the data key.
        wrap: How.
        wrap_nonce: Nonce or IV of the wrapping.
        data_key: The wrapped data key.
        nonce: Of the software AES-256-GCM.
        ciphertext: The secret and its tag.
    """

    purpose: str
    kek_label: str
    wrap: str
    wrap_nonce: str
    data_key: str
    nonce: str
    ciphertext: str


class Sealed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A generation and the envelope of its salt."""

    generation: Generation
    envelope: Envelope


class SealedFor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The token a vault is sealed for; said to an operator who opens another.

    Attributes:
        profile: Its profile.
        label: Its label.
        serial: Its serial number; some modules give every token the same.
    """

    profile: str
    label: str
    serial: str


class VaultContent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file without its MAC.

    Attributes:
        format: ``saltkeep-vault/1``.
        journal_id: The one journal this vault works with.
        mac_key_label: HSM key that authenticates the file.
        identity_label: HSM key that signs receipts and checkpoints.
        identity_point: Its public point, hex.
        head_key: Envelope of the key that authenticates head tokens.
        key_check: Envelope of random bytes: the health check's canary.
        key_check_sha256: Their digest.
        generations: In rising order; the last one not retired issues.
        retired: Ids of generations that issue no more; their salts stay.
        successions: Statements by which each identity key named the next one.
        policy_root: Hex digest of the first signed policy; later ones follow from it.
        backup_key: Public key backups are encrypted to, hex; empty: none.
        blind: Ids of generations that sign bare hashes for an old Hub. A backup does
            not carry it: after a restore that door is shut.
        token: The token it is sealed for; None in vaults of before that was noted.
    """

    format: str
    journal_id: str
    mac_key_label: str
    identity_label: str
    identity_point: str
    head_key: Envelope
    key_check: Envelope
    key_check_sha256: str
    generations: list[Sealed]
    policy_root: str
    retired: list[int] = []
    successions: list[str] = []
    backup_key: str = ""
    blind: list[int] = []
    token: SealedFor | None = None


class _VaultFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is on disk: the content's exact bytes and their MAC."""

    content: str
    mac: str


def associated_data(
    *, purpose: str, journal_id: str, generation: Generation | None = None
) -> bytes:
    """Return the canonical header an envelope is bound to."""
    header = {
        "format": FORMAT,
        "purpose": purpose,
        "journal_id": journal_id,
        "generation": generation,
    }
    return msgspec.json.encode(header, order="deterministic")


def seal(
    secret: memoryview, *, purpose: str, aad: bytes, hsm: Hsm, kek_label: str
) -> Envelope:
    """Put a secret into an envelope and prove that it opens again.

    Args:
        secret: In locked memory.
        purpose: What it is, e.g. ``salt``.
        aad: From ``associated_data``.
        hsm: The open token.
        kek_label: Its key-encryption key.

    Returns:
        The envelope.

    Raises:
        BrokenInvariantError: If it opens to something else.
    """
    nonce = os.urandom(_NONCE_BYTES)
    with LockedBuffer(DATA_KEY_BYTES, allow_unlocked=True) as key:
        hsm.random_into(key.view)
        ciphertext = AESGCM(key.view).encrypt(nonce, secret, aad)
        wrapped = hsm.wrap(
            key.view, kek_label=kek_label, aad=hashlib.sha256(aad).digest()
        )
    envelope = Envelope(
        purpose,
        kek_label,
        wrapped.wrap,
        wrapped.nonce,
        wrapped.ciphertext,
        nonce.hex(),
        ciphertext.hex(),
    )
    with LockedBuffer(len(secret), allow_unlocked=True) as opened:
        unseal(envelope, aad=aad, hsm=hsm, into=opened.view)
        if not hmac.compare_digest(opened.view, secret):
            raise BrokenInvariantError("an envelope does not open to what went in")
    return envelope


def unseal(envelope: Envelope, *, aad: bytes, hsm: Hsm, into: memoryview) -> None:
    """Open an envelope into locked memory.

    Raises:
        HsmError: If the token is away or refuses.
        VaultError: If the envelope does not belong to this header.
    """
    with LockedBuffer(DATA_KEY_BYTES, allow_unlocked=True) as key:
        wrapped = WrappedKey(
            envelope.kek_label, envelope.wrap, envelope.wrap_nonce, envelope.data_key
        )
        hsm.unwrap(wrapped, aad=hashlib.sha256(aad).digest(), into=key.view)
        try:
            AESGCM(key.view).decrypt_into(
                bytes.fromhex(envelope.nonce),
                bytes.fromhex(envelope.ciphertext),
                aad,
                into,
            )
        except InvalidTag as error:
            raise VaultError(
                f"the envelope of {envelope.purpose} fails its tag: the vault file or"
                " the HSM key is not the one it was made with"
            ) from error


def write_vault(path: Path, content: VaultContent, *, hsm: Hsm) -> None:
    """Authenticate and write the file: temporary, synced, renamed, synced.

    Args:
        path: Where it goes.
        content: What to write.
        hsm: The open token.
    """
    body = msgspec.json.encode(content, order="deterministic")
    mac = hsm.mac(_MAC_LABEL + body, label=content.mac_key_label)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(_document(body, mac))
        file.flush()
        os.fsync(file.fileno())
    failpoint("vault.before-rename")
    temporary.rename(path)
    failpoint("vault.after-rename")
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class Vault:
    """An authenticated vault file and the token that opens it.

    Args:
        path: The file.
        hsm: The open token.
        allow_unlocked: Go on where memory can not be locked.

    Raises:
        VaultError: If the file is missing, malformed or altered.
        HsmError: If a key is missing or could leave the token.
    """

    def __init__(self, path: Path, *, hsm: Hsm, allow_unlocked: bool) -> None:
        self._hsm = hsm
        self._allow_unlocked = allow_unlocked
        self.content = _read_authenticated(path, hsm)
        hsm.require_safe_key(label=self.content.mac_key_label)
        hsm.require_safe_key(label=self.content.head_key.kek_label)
        hsm.require_safe_key(label=self.content.identity_label)

    @property
    def generations(self) -> dict[int, Generation]:
        """Every generation by its id."""
        sealed = self.content.generations
        return {entry.generation.id: entry.generation for entry in sealed}

    @property
    def issuing(self) -> Generation:
        """The generation that issues new addresses."""
        return [
            entry.generation
            for entry in self.content.generations
            if entry.generation.id not in self.content.retired
        ][-1]

    def open_salt(self, generation_id: int) -> LockedBuffer:
        """Unwrap one salt into locked memory (blocks on the HSM).

        Args:
            generation_id: Which.

        Returns:
            The salt; the caller closes it.

        Raises:
            VaultError: If there is no such generation.
        """
        generation = self.generations.get(generation_id)
        if generation is None:
            raise VaultError(f"the vault holds no generation {generation_id}")
        return self.open_secret("salt", generation, generation.salt_bytes)

    def open_secret(
        self, purpose: str, generation: Generation, size: int
    ) -> LockedBuffer:
        """Unwrap what a generation's envelope holds; the caller closes it.

        Args:
            purpose: What it must be sealed as.
            generation: Whose.
            size: Its length in bytes.

        Returns:
            The secret.
        """
        (envelope,) = [
            entry.envelope
            for entry in self.content.generations
            if entry.generation.id == generation.id
        ]
        return self._open(envelope, self.associated_data(purpose, generation), size)

    def open_head_key(self) -> LockedBuffer:
        """Unwrap the key of head tokens; the caller closes it."""
        aad = self.associated_data("head-key", None)
        return self._open(self.content.head_key, aad, HEAD_KEY_BYTES)

    def open_key_check(self) -> LockedBuffer:
        """Unwrap the health check's canary; the caller closes it."""
        aad = self.associated_data("key-check", None)
        return self._open(self.content.key_check, aad, DATA_KEY_BYTES)

    def check_health(self) -> None:
        """Open the canary envelope: the HSM's KEK works and is the right one.

        Raises:
            HsmError: If it does not.
            VaultError: If the envelope fails its tag.
        """
        with self.open_key_check() as opened:
            digest = hashlib.sha256(opened.view).hexdigest()
        if not hmac.compare_digest(digest, self.content.key_check_sha256):
            raise HsmError("the HSM opened the canary to something else")

    def sign_digest(self, digest: bytes) -> bytes:
        """Sign a SHA-256 digest with the identity key (64 bytes: r, s)."""
        return self._hsm.sign_digest(digest, label=self.content.identity_label)

    @property
    def identity_point(self) -> bytes:
        """The identity key's public point (65 bytes)."""
        return bytes.fromhex(self.content.identity_point)

    def associated_data(self, purpose: str, generation: Generation | None) -> bytes:
        """Return the header one of this vault's envelopes is bound to."""
        return associated_data(
            purpose=purpose,
            journal_id=self.content.journal_id,
            generation=generation,
        )

    def _open(self, envelope: Envelope, aad: bytes, size: int) -> LockedBuffer:
        buffer = LockedBuffer(size, allow_unlocked=self._allow_unlocked)
        try:
            unseal(envelope, aad=aad, hsm=self._hsm, into=buffer.view)
        except BaseException:
            buffer.close()
            raise
        return buffer


def _document(body: bytes, mac: bytes) -> bytes:
    """Return the one way to write the file down: not a bit of it is free."""
    document = _VaultFile(base64.b64encode(body).decode(), mac.hex())
    return msgspec.json.format(msgspec.json.encode(document))


def sealed_for(hsm: Hsm) -> SealedFor:
    """Name the token that is open."""
    return SealedFor(hsm.profile.id, hsm.token_label, hsm.info.serial)


def read_unauthenticated(path: Path) -> VaultContent:
    """Read a vault file without its HSM: good for messages and for nothing else.

    Args:
        path: The file.

    Returns:
        What it says; anybody may have written it.
    """
    return _read(path)[0]


def _read(path: Path) -> tuple[VaultContent, bytes, bytes]:
    """Return the content, its exact bytes, and the MAC it states."""
    try:
        written = path.read_bytes()
        document = msgspec.json.decode(written, type=_VaultFile)
        body = base64.b64decode(document.content, validate=True)
        content = msgspec.json.decode(body, type=VaultContent)
        stated = bytes.fromhex(document.mac)
    except OSError as error:
        raise VaultError(f"cannot read the vault {path}: {error.strerror}") from error
    except (msgspec.DecodeError, ValueError) as error:
        raise VaultError(f"{path} is no vault file of this version") from error
    if written != _document(body, stated):
        raise VaultError(f"{path} is not written as this program writes it")
    if content.format != FORMAT:
        raise VaultError(f"{path} has format {content.format!r}, expected {FORMAT!r}")
    return content, body, stated


def _read_authenticated(path: Path, hsm: Hsm) -> VaultContent:
    content, body, stated = _read(path)
    try:
        matches = hsm.mac_matches(
            _MAC_LABEL + body, stated, label=content.mac_key_label
        )
    except PinRefusedError:
        raise
    except HsmError as error:
        _require_own_token(path, content, hsm, error)
        raise
    if not matches:
        _require_own_token(path, content, hsm, None)
        raise VaultError(f"{path} fails its MAC: altered, or of another HSM")
    return content


def _require_own_token(
    path: Path, content: VaultContent, hsm: Hsm, cause: HsmError | None
) -> None:
    """Say which token is wanted, where another one is open and does not serve."""
    wanted, found = content.token, sealed_for(hsm)
    if wanted is None or (wanted.label, wanted.serial) == (found.label, found.serial):
        return
    raise VaultError(
        f"{path} is sealed for the token {wanted.label!r} (serial {wanted.serial},"
        f" profile {wanted.profile}); [hsm] opens {found.label!r} (serial"
        f" {found.serial}, profile {found.profile}): put the [hsm] table of that token"
        " into the configuration, with its profile, token_label and pin_file",
        code="wrong-token",
    ) from cause
