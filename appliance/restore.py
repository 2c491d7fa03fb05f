# SPDX-License-Identifier: Apache-2.0
"""From a backup to an appliance again: new HSM keys, the old journal, a new epoch.

Runs where no daemon runs, on an empty state folder and a token of its own. A crash
leaves no vault: move what is in the folder away and run it again. The steps,
numbered as in docs/ceremonies/restore.md:

1. Check the backup's signature, open it with the shares' key, check its chain.
2. Derive the canary of every generation and compare.
3. Make KEK, MAC key and identity key in the token, and a new salt generation: the
   restored ones only sign. An address issued after the backup is not in the journal;
   were its seed UUID issued again with the same salt, its key would sign twice.
4. Write the seal latch and the journal: the rows, and a row that opens the epoch.
5. Write the vault. Its presence means that all went well.

The restored journal is *recovering*: it signs and issues nothing before
``recover-journal``, since keys may have signed after the backup was made.
"""

import asyncio
import hashlib
from contextlib import closing
from dataclasses import dataclass

from appliance.backup import OpenedBackup
from appliance.canary import require_canary
from appliance.ceremony import (
    RANDOM_SALT_BYTES,
    FirstGeneration,
    require_fresh,
    with_canary,
)
from appliance.hsm import DATA_KEY_BYTES, Hsm
from appliance.installation import Paths
from appliance.intent import commit
from appliance.journal import import_journal
from appliance.journal_chain import Head, next_row
from appliance.journal_database import JournalDatabase
from appliance.journal_records import made_generation
from appliance.receipt import key_id, public_key_pem
from appliance.row_seal import RowSeal
from appliance.seal import SealLatch
from appliance.vault import (
    FORMAT,
    Envelope,
    Generation,
    Sealed,
    VaultContent,
    associated_data,
    seal,
    sealed_for,
    write_vault,
)
from failpoints import failpoint
from trinary.memory import LockedBuffer

_KEY_ID_BYTES = 4
_LEAST_LEVEL = 2


@dataclass(frozen=True, slots=True)
class Restored:
    """What ``restore`` prints for people to keep.

    Attributes:
        journal_id: As before.
        epoch: The new one; every hub must be told to accept it.
        sequence: The row the backup ended with.
        identity_pem: The new identity key; receipts of before verify with the old.
        identity_key_id: Its JWK thumbprint.
    """

    journal_id: str
    epoch: int
    sequence: int
    identity_pem: str
    identity_key_id: str


async def restore(
    paths: Paths,
    hsm: Hsm,
    backup: OpenedBackup,
    *,
    allow_unlocked: bool,
    now_ms: int,
    database: JournalDatabase | None = None,
) -> Restored:
    """Run steps 2 to 5.

    Args:
        paths: The state folder; it holds no vault and no journal yet.
        hsm: The token, open; never the one of an appliance that still runs.
        backup: Opened; stays open.
        allow_unlocked: Go on where memory can not be locked.
        now_ms: The time.
        database: Where the journal is made; None: a file of the state folder.

    Returns:
        What to print. ``ConfigError`` if there is something in the folder,
        ``VaultError`` if a salt is not what it was.
    """
    require_fresh(paths)
    for one in backup.header.generations:
        salt = backup.salts[one.id]
        await asyncio.to_thread(
            require_canary, one, salt, allow_unlocked=allow_unlocked
        )
    header, epoch = backup.header, backup.header.epoch + 1
    kek, mac, identity = _make_keys(hsm, header.journal_id, epoch)
    failpoint("restore.after-keys")
    point = hsm.public_point(label=identity)
    labels = _Labels(kek, mac, identity, point)
    with LockedBuffer(RANDOM_SALT_BYTES, allow_unlocked=allow_unlocked) as salt:
        hsm.random_into(salt.view)
        fresh = await _fresh_generation(backup, salt, allow_unlocked=allow_unlocked)
        content = _seal_all(hsm, backup, labels, (fresh, salt))
    failpoint("restore.after-seal")
    SealLatch.create(paths.latch)
    failpoint("restore.after-latch")
    last = backup.rows[-1]
    row = next_row(
        Head(last.sequence, last.hash, last.time_ms),
        now_ms=now_ms,
        client="ceremony",
        kind="ceremony",
        payload={
            "step": "restore",
            "epoch": epoch,
            "sequence": header.sequence,
            "hash": header.hash,
            "backup_created_ms": header.created_ms,
            "identity": point.hex(),
            "old_appliance": "attested dead",
            "generation": fresh.id,
            "never_issue": [commit(fresh.canary_uuid)],
        },
    )
    with closing(RowSeal(backup.head_key, journal_id=header.journal_id)) as seals:
        import_journal(
            database or paths.journal,
            [*backup.rows, row],
            journal_id=header.journal_id,
            epoch=epoch,
            seal=seals,
        )
    failpoint("restore.after-journal")
    write_vault(paths.vault, content, hsm=hsm)
    pem = public_key_pem(point)
    return Restored(header.journal_id, epoch, header.sequence, pem, key_id(point))


def _make_keys(hsm: Hsm, journal_id: str, epoch: int) -> list[str]:
    """Make the three keys; numbered by the epoch, so that no label comes twice."""
    labels = []
    for number, role in enumerate(("kek", "mac", "identity"), start=1):
        label = f"saltkeep-{role}-{epoch * 100 + 1:04}-{journal_id[:8]}"
        start = bytes.fromhex(journal_id)[:_KEY_ID_BYTES]
        hsm.generate_key(
            role=role, label=label, key_id=start + epoch.to_bytes(2) + bytes([number])
        )
        labels.append(label)
    return labels


async def _fresh_generation(
    backup: OpenedBackup, salt: LockedBuffer, *, allow_unlocked: bool
) -> Generation:
    """Describe the generation that issues from now on; its number was never given."""
    header = backup.header
    issuing = [g for g in header.generations if g.id not in header.retired][-1]
    level = max(issuing.security_level, _LEAST_LEVEL)
    first = FirstGeneration(issuing.network, level, issuing.argon2)
    newest = max(
        *(generation.id for generation in header.generations),
        *(made_generation(row) for row in backup.rows),
    )
    return await with_canary(newest + 1, first, salt, allow_unlocked=allow_unlocked)


@dataclass(frozen=True, slots=True)
class _Labels:
    """The keys made for the restored vault."""

    kek: str
    mac: str
    identity: str
    point: bytes


def _seal_all(
    hsm: Hsm,
    backup: OpenedBackup,
    labels: _Labels,
    fresh: tuple[Generation, LockedBuffer],
) -> VaultContent:
    header = backup.header
    salts = [(one, backup.salts[one.id]) for one in header.generations]

    def envelope(
        secret: LockedBuffer, purpose: str, of: Generation | None = None
    ) -> Envelope:
        aad = associated_data(
            purpose=purpose, journal_id=header.journal_id, generation=of
        )
        return seal(
            secret.view, purpose=purpose, aad=aad, hsm=hsm, kek_label=labels.kek
        )

    with LockedBuffer(DATA_KEY_BYTES, allow_unlocked=True) as key_check:
        hsm.random_into(key_check.view)
        return VaultContent(
            format=FORMAT,
            journal_id=header.journal_id,
            mac_key_label=labels.mac,
            identity_label=labels.identity,
            identity_point=labels.point.hex(),
            head_key=envelope(backup.head_key, "head-key"),
            key_check=envelope(key_check, "key-check"),
            key_check_sha256=hashlib.sha256(key_check.view).hexdigest(),
            generations=[
                Sealed(one, envelope(salt, "salt", one))
                for one, salt in [*salts, fresh]
            ],
            policy_root=header.policy_root,
            retired=[generation.id for generation in header.generations],
            backup_key=header.backup_key,
            successions=header.successions,
            token=sealed_for(hsm),
        )
