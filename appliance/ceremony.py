# SPDX-License-Identifier: Apache-2.0
"""How an appliance comes to be: keys in the HSM, a salt, a vault, a journal.

``initialise`` runs once per state folder, before the daemon ever starts. Its
steps, numbered as in docs/ceremonies/init.md:

1. Make KEK, MAC key and identity key in the token, none of them extractable.
2. Draw the salt (token XOR system), or take the one to be imported.
3. Derive the canary address.
4. Write the seal latch and the journal.
5. Write the vault. Its presence means that all went well.
"""

import base64
import hashlib
import secrets
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Final

import msgspec

from appliance.argon2_engines import Argon2Parameters
from appliance.derivation import Derivation
from appliance.errors import (
    BrokenInvariantError,
    ConfigError,
    HsmError,
    RefusedError,
)
from appliance.hsm import DATA_KEY_BYTES, Hsm
from appliance.installation import Paths
from appliance.intent import commit
from appliance.journal import create_journal
from appliance.journal_database import JournalDatabase
from appliance.policy_file import SignedPolicy, verify_policy
from appliance.policy_force import PolicyCopy, root_of
from appliance.receipt import key_id, public_key_pem
from appliance.row_seal import RowSeal
from appliance.seal import SealLatch
from appliance.vault import (
    FORMAT,
    HEAD_KEY_BYTES,
    Envelope,
    Generation,
    Sealed,
    VaultContent,
    associated_data,
    seal,
    sealed_for,
    unseal,
    write_vault,
)
from failpoints import failpoint
from trinary.memory import LockedBuffer

RANDOM_SALT_BYTES: Final = 32
SHORTEST_SALT_BYTES: Final = 20
_JOURNAL_ID_BYTES: Final = 16
_UUID_BYTES: Final = 48
_KIB_PER_MIB: Final = 1024


@dataclass(frozen=True, slots=True)
class FirstGeneration:
    """What the first salt generation shall be.

    Attributes:
        network: Name of the network, in receipts and withdrawals.
        security_level: 1, 2 or 3; new salts at least 2.
        argon2: Cost and variant; never changed afterwards.
    """

    network: str
    security_level: int = 2
    argon2: Argon2Parameters = Argon2Parameters()  # noqa: RUF009 - frozen


@dataclass(frozen=True, slots=True)
class Foundation:
    """What a new appliance rests on.

    Attributes:
        first: What the first generation shall be.
        policy: The first policy, signed by two of the operators it names.
        imported_salt: A salt to take over, or None for a random one.
    """

    first: FirstGeneration
    policy: SignedPolicy
    imported_salt: LockedBuffer | None = None


@dataclass(frozen=True, slots=True)
class Initialised:
    """What ``init`` prints for people to keep.

    Attributes:
        journal_id: 32 hex characters.
        identity_pem: The identity key; pin it in every hub.
        identity_key_id: Its JWK thumbprint, for reading aloud.
        warnings: What the operator should know.
    """

    journal_id: str
    identity_pem: str
    identity_key_id: str
    warnings: tuple[str, ...]


async def initialise(
    paths: Paths,
    hsm: Hsm,
    foundation: Foundation,
    *,
    allow_unlocked: bool,
    now_ms: int,
    database: JournalDatabase | None = None,
) -> Initialised:
    """Run the ceremony.

    Args:
        paths: The state folder; it holds no vault and no journal yet.
        hsm: The token, open.
        foundation: What it shall rest on; an imported salt is closed here.
        allow_unlocked: Go on where memory can not be locked.
        now_ms: The time of the journal's first row.
        database: Where the journal is made; None: a file of the state folder.

    Returns:
        What to print.

    Raises:
        ConfigError: If there is something in the folder, or the salt or level is
            too weak.
    """
    first, imported_salt = foundation.first, foundation.imported_salt
    salt = imported_salt or LockedBuffer(
        RANDOM_SALT_BYTES, allow_unlocked=allow_unlocked
    )
    with salt:
        require_fresh(paths)
        warnings = check_strength(first, imported_salt)
        _require_policy(foundation.policy, first)
        journal_id = _journal_id(paths, hsm)
        labels = _make_keys(hsm, journal_id)
        failpoint("init.after-keys")
        if imported_salt is None:
            hsm.random_into(salt.view)
        generation = await with_canary(1, first, salt, allow_unlocked=allow_unlocked)
        content = _seal_all(hsm, salt, generation, journal_id, labels)
        content = msgspec.structs.replace(
            content, policy_root=root_of([foundation.policy])
        )
    failpoint("init.after-seal-of-salt")
    SealLatch.create(paths.latch)
    failpoint("init.after-latch")
    with _row_seal(content, hsm) as row_seal:
        create_journal(
            database or paths.journal,
            journal_id=journal_id,
            now_ms=now_ms,
            ceremony={
                "step": "init",
                "network": first.network,
                "identity": content.identity_point,
                "policy": msgspec.to_builtins(foundation.policy),
                "never_issue": [commit(generation.canary_uuid)],
            },
            seal=row_seal,
        )
    PolicyCopy(paths.policy).write(journal_id, foundation.policy)
    failpoint("init.after-journal")
    write_vault(paths.vault, content, hsm=hsm)
    point = bytes.fromhex(content.identity_point)
    return Initialised(journal_id, public_key_pem(point), key_id(point), warnings)


@contextmanager
def _row_seal(content: VaultContent, hsm: Hsm) -> Iterator[RowSeal]:
    """Open what vouches for the journal's rows; wiped when the block ends."""
    aad = associated_data(purpose="head-key", journal_id=content.journal_id)
    with LockedBuffer(HEAD_KEY_BYTES, allow_unlocked=True) as head_key:
        unseal(content.head_key, aad=aad, hsm=hsm, into=head_key.view)
        made = RowSeal(head_key, journal_id=content.journal_id)
    with closing(made):
        yield made


def require_fresh(paths: Paths) -> None:
    """Insist that a state folder holds no appliance; makes the folder.

    Raises:
        ConfigError: If it does, or what a ceremony cut short left behind.
    """
    paths.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if paths.vault.exists():
        raise ConfigError(f"{paths.vault} exists: this appliance is initialised")
    for leftover in (paths.journal, paths.mirror, paths.latch):
        if leftover.exists():
            raise ConfigError(
                f"{leftover} is there without a vault: an earlier `init` was cut"
                " short. Nothing was issued; move the file away and run it again"
            )


def check_strength(
    first: FirstGeneration, imported_salt: LockedBuffer | None
) -> tuple[str, ...]:
    """Judge what a first generation shall be, before anything is made.

    Args:
        first: Network, level and Argon2 parameters.
        imported_salt: A salt to take over, or None for a random one.

    Returns:
        What the operator should know.

    Raises:
        ConfigError: If the network has no name, or the salt or level is too weak.
    """
    if not first.network.strip():
        raise ConfigError("the network needs a name, e.g. devnet")
    if first.security_level not in {1, 2, 3}:
        raise ConfigError(f"security level {first.security_level}: there are 1, 2, 3")
    if imported_salt is None:
        if first.security_level not in {2, 3}:
            raise ConfigError("a new salt generation has security level 2 or 3")
        return ()
    if imported_salt.size < SHORTEST_SALT_BYTES:
        raise ConfigError(
            f"a salt has at least {SHORTEST_SALT_BYTES} bytes,"
            f" {imported_salt.size} came"
        )
    if imported_salt.size == SHORTEST_SALT_BYTES:
        warning = (
            "the imported salt has 20 bytes, the least that is taken: plan a new"
            " generation with a random salt"
        )
        return (warning,)
    return ()


def _require_policy(policy: SignedPolicy, first: FirstGeneration) -> None:
    try:
        content = verify_policy(policy, in_force=None)
    except RefusedError as error:
        raise ConfigError(f"the policy: {error}", code=error.code) from error
    if content.network != first.network:
        raise ConfigError(
            f"the policy is for network {content.network}, not {first.network}"
        )


@dataclass(frozen=True, slots=True)
class _Labels:
    kek: str
    mac: str
    identity: str


def _journal_id(paths: Paths, hsm: Hsm) -> str:
    """Draw the journal's id; keep it where an external tool makes the keys.

    Their labels hold the id, so the next try must ask for the same ones.

    Returns:
        32 hex characters.
    """
    drawn = secrets.token_hex(_JOURNAL_ID_BYTES)
    if hsm.profile.keys.made_by == "generate":
        return drawn
    if not paths.planned_id.exists():
        paths.planned_id.write_text(drawn)
    return paths.planned_id.read_text()


def _make_keys(hsm: Hsm, journal_id: str) -> _Labels:
    """Make the three keys; the journal id in each label keeps them apart."""
    labels = _Labels(
        *(
            f"saltkeep-{kind}-0001-{journal_id[:8]}"
            for kind in ("kek", "mac", "identity")
        )
    )
    missing = []
    for number, role in enumerate(("kek", "mac", "identity"), start=1):
        try:
            hsm.generate_key(
                role=role,
                label=getattr(labels, role),
                key_id=bytes.fromhex(journal_id)[:4] + bytes([number]),
            )
        except HsmError as error:
            if hsm.profile.keys.made_by == "generate":
                raise
            missing.append(str(error))  # the operator hears of all of them at once
    if missing:
        raise HsmError("; ".join(missing))
    return labels


async def with_canary(
    number: int,
    first: FirstGeneration,
    salt: LockedBuffer,
    *,
    allow_unlocked: bool,
    draw: Callable[[int], bytes] = secrets.token_bytes,
) -> Generation:
    """Describe a salt generation and derive its canary.

    Args:
        number: Its id.
        first: Network, level and Argon2 parameters.
        salt: Its salt; stays open.
        allow_unlocked: Go on where memory can not be locked.
        draw: Gives random bytes.

    Returns:
        The generation; its canary's seed UUID must never be issued.

    Raises:
        BrokenInvariantError: If both implementations of Argon2 disagree.
    """
    canary_uuid = base64.b64encode(draw(_UUID_BYTES)).decode()
    derivation = Derivation(
        workers=1,
        memory_kib=first.argon2.memory_kib,
        memory_budget_mib=first.argon2.memory_kib // _KIB_PER_MIB + 1,
        allow_unlocked=allow_unlocked,
    )
    copy = LockedBuffer(salt.size, allow_unlocked=allow_unlocked)
    copy.view[:] = salt.view
    try:
        seeds = await derivation.seeds(
            [canary_uuid, canary_uuid],
            salt=copy,
            parameters=first.argon2,
            level=first.security_level,
            engines=derivation.engines_of_issuing,
        )
        try:
            canary_address, again = seeds.addresses()
        finally:
            seeds.close()
    finally:
        derivation.close()
    if canary_address != again:
        raise BrokenInvariantError(
            "two derivations of the canary disagree: memory, CPU or our Argon2 is"
            " faulty; nothing was made",
            code="derivations-disagree",
        )
    return Generation(
        id=number,
        argon2=first.argon2,
        security_level=first.security_level,
        network=first.network,
        salt_bytes=salt.size,
        canary_uuid=canary_uuid,
        canary_address=canary_address,
    )


def _seal_all(
    hsm: Hsm,
    salt: LockedBuffer,
    generation: Generation,
    journal_id: str,
    labels: _Labels,
) -> VaultContent:
    def envelope(
        secret: memoryview, purpose: str, of: Generation | None = None
    ) -> Envelope:
        aad = associated_data(purpose=purpose, journal_id=journal_id, generation=of)
        return seal(secret, purpose=purpose, aad=aad, hsm=hsm, kek_label=labels.kek)

    with (
        LockedBuffer(HEAD_KEY_BYTES, allow_unlocked=True) as head_key,
        LockedBuffer(DATA_KEY_BYTES, allow_unlocked=True) as key_check,
    ):
        hsm.random_into(head_key.view)
        hsm.random_into(key_check.view)
        return VaultContent(
            format=FORMAT,
            journal_id=journal_id,
            mac_key_label=labels.mac,
            identity_label=labels.identity,
            identity_point=hsm.public_point(label=labels.identity).hex(),
            head_key=envelope(head_key.view, "head-key"),
            key_check=envelope(key_check.view, "key-check"),
            key_check_sha256=hashlib.sha256(key_check.view).hexdigest(),
            generations=[Sealed(generation, envelope(salt.view, "salt", generation))],
            policy_root="",
            token=sealed_for(hsm),
        )
