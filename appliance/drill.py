# SPDX-License-Identifier: Apache-2.0
"""A drill: a backup brought onto a scratch token, with nothing on it that could sign.

Everything of a restore is done, on a token and in a folder that are thrown away, but
one thing: the vault of a drill holds, in the place of each salt, the *seed* of that
generation's canary. So what the drill writes down can derive the canary's address
and no other. The steps:

1. Derive the canary's seed of every generation from its salt, in locked memory.
2. Make KEK, MAC key and identity key in the scratch token.
3. Seal the canary seeds, write the vault, import the journal beside it.
4. Open both anew from the disk and the token: every canary seed must give the
   address it gave at its making, every row and guard of the journal must be right.
5. Destroy the keys.
"""

import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

from appliance.argon2_engines import SEED_BYTES
from appliance.backup import OpenedBackup
from appliance.canary import canary_seed, require_canary_seed
from appliance.errors import HsmError
from appliance.hsm import DATA_KEY_BYTES, Hsm
from appliance.installation import Paths
from appliance.journal import Journal, import_journal
from appliance.vault import (
    FORMAT,
    Envelope,
    Generation,
    Sealed,
    Vault,
    VaultContent,
    associated_data,
    seal,
    write_vault,
)
from trinary.memory import LockedBuffer

_PURPOSE = "canary-seed"


@dataclass(frozen=True, slots=True)
class _Labels:
    """The scratch token's keys."""

    kek: str
    mac: str
    identity: str


def drill(
    paths: Paths, hsm: Hsm, backup: OpenedBackup, *, allow_unlocked: bool
) -> list[str]:
    """Run the drill; blocks on the HSM and on Argon2.

    Args:
        paths: An empty folder; the caller throws it away.
        hsm: A scratch token, open; its new keys are destroyed.
        backup: Opened; stays open.
        allow_unlocked: Go on where memory can not be locked.

    Returns:
        What was found, one line per thing.
    """
    with _keys(hsm) as labels, contextlib.ExitStack() as wipe:
        seeds = {}
        for one in backup.header.generations:
            salt = backup.salts[one.id]
            seed = canary_seed(one, salt, allow_unlocked=allow_unlocked)
            seeds[one.id] = wipe.enter_context(seed)
        write_vault(paths.vault, _content(hsm, labels, backup, seeds), hsm=hsm)
        header = backup.header
        import_journal(
            paths.journal,
            backup.rows,
            journal_id=header.journal_id,
            epoch=header.epoch,
        )
        vault = Vault(paths.vault, hsm=hsm, allow_unlocked=allow_unlocked)
        lines = [_proved(vault, one) for one in header.generations]
        journal = Journal(
            paths.journal,
            journal_id=header.journal_id,
            clock_ms=lambda: header.created_ms,
        )
        journal.close()
    return [*lines, f"{journal.head.sequence} rows of the journal imported, verified"]


@contextlib.contextmanager
def _keys(hsm: Hsm) -> Iterator[_Labels]:
    """Make the scratch keys, and destroy them whatever happens."""
    mark = secrets.token_hex(4)
    labels = _Labels(*(f"drill-{role}-{mark}" for role in ("kek", "mac", "identity")))
    try:
        for role in ("kek", "mac", "identity"):
            hsm.generate_key(
                role=role, label=getattr(labels, role), key_id=secrets.token_bytes(8)
            )
        yield labels
    finally:
        for label in (labels.kek, labels.mac, labels.identity):
            with contextlib.suppress(HsmError):  # it may not have been made
                hsm.destroy_key(label=label)


def _content(
    hsm: Hsm,
    labels: _Labels,
    backup: OpenedBackup,
    canary_seeds: dict[int, LockedBuffer],
) -> VaultContent:
    header = backup.header

    def envelope(secret: LockedBuffer, of: Generation | None) -> Envelope:
        aad = associated_data(
            purpose=_PURPOSE, journal_id=header.journal_id, generation=of
        )
        return seal(
            secret.view, purpose=_PURPOSE, aad=aad, hsm=hsm, kek_label=labels.kek
        )

    with LockedBuffer(DATA_KEY_BYTES, allow_unlocked=True) as nothing:
        hsm.random_into(nothing.view)
        placeholder = envelope(nothing, None)
    return VaultContent(
        format=FORMAT,
        journal_id=header.journal_id,
        mac_key_label=labels.mac,
        identity_label=labels.identity,
        identity_point=hsm.public_point(label=labels.identity).hex(),
        head_key=placeholder,
        key_check=placeholder,
        key_check_sha256="",
        generations=[
            Sealed(one, envelope(canary_seeds[one.id], one))
            for one in header.generations
        ],
        policy_root=header.policy_root,
    )


def _proved(vault: Vault, generation: Generation) -> str:
    """Derive a canary's address from what the vault of a drill holds."""
    with vault.open_secret(_PURPOSE, generation, SEED_BYTES) as seed:
        return require_canary_seed(generation, seed)
