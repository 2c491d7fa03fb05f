# SPDX-License-Identifier: Apache-2.0
"""Ceremonies before and after the worst day: back up, import what is spent, recover."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance.backup import make_backup, write_backup
from appliance.errors import BadRequestError, FaultError
from appliance.intent import Commitment
from appliance.interchange import read_interchange
from appliance.lifecycle import Lifecycle, Running
from appliance.wire import RunCeremony
from failpoints import failpoint

_EVERY_ROW: Final = 1 << 62
_KEYS_PER_ROW: Final = 5_000
_HOST_FILE: Final = "file:"
COMPLETE: Final = "complete"
"""What operators say with ``recover-journal`` when everything was imported."""


@dataclass(frozen=True, slots=True)
class WorstDay:
    """Backs up, and brings a restored journal to where it may sign again.

    Attributes:
        life: The appliance's parts.
    """

    life: Lifecycle

    async def backup(self, request: RunCeremony, client: str) -> list[str]:
        """Write a backup into the state folder.

        Args:
            request: Nothing but its name.
            client: The operator who asks.

        Returns:
            The steps, in words.
        """
        running = self.life.require_running()
        folder = self.life.paths.backups
        await self.life.journal_thread(running.journal.catch_up)
        _require_every_salt(running)
        if not request.dry_run:
            await self.life.journal_thread(
                running.journal.commit_ceremony,
                client=client,
                payload={"step": "backup", "key": running.vault.content.backup_key},
            )
        journal = running.journal
        path = folder / f"backup-{journal.epoch}-{journal.head.sequence:08}.json"
        if not request.dry_run:
            rows = await self.life.journal_thread(
                journal.rows, after_sequence=0, limit=_EVERY_ROW
            )
            data = await asyncio.to_thread(
                make_backup,
                running.vault,
                rows,
                epoch=journal.epoch,
                now_ms=journal.now_ms(),
            )
            failpoint("backup.made")
            await asyncio.to_thread(write_backup, path, data)
        return [f"1. encrypt every salt and the journal to the backup key: {path.name}"]

    async def import_interchange(self, request: RunCeremony, client: str) -> list[str]:
        """Record as spent what others know of; it can only add.

        Args:
            request: The file's text, or ``file:PATH#SHA256`` on the appliance's host.
            client: The operator who asks.

        Returns:
            The steps, in words.
        """
        running = self.life.require_running()
        network = running.vault.issuing.network
        text = await asyncio.to_thread(_interchange_text, request.subject)
        heard = await asyncio.to_thread(read_interchange, text, network=network)
        spent = list(heard)
        digest = hashlib.sha256(text.encode()).hexdigest()
        if not request.dry_run:
            parts = _parts(spent)
            for number, part in enumerate(parts, start=1):
                payload = {"sha256": digest, "part": number, "of": len(parts)}
                told = {one: heard[one] for one in part}
                await self._journal_spent(
                    "import-interchange", part, client, heard=told, **payload
                )
        return [
            f"1. journal {len(spent)} keys as spent; those known keep their record",
            f"   SHA-256 of the file: {digest}",
        ]

    async def recover_journal(self, request: RunCeremony, client: str) -> list[str]:
        """Let a restored journal sign and issue again.

        Args:
            request: ``complete`` if everything spent since was imported, or nothing.
            client: The operator who asks.

        Returns:
            The steps, in words.

        Raises:
            BadRequestError: If there is nothing to recover.
        """
        running = self.life.require_running()
        if not running.heads.recovering:
            raise BadRequestError("this journal was not restored, or is recovered")
        if request.subject not in {"", COMPLETE}:
            raise BadRequestError(f"say {COMPLETE!r}, or nothing")
        doubtful: list[Commitment] = []
        signed: list[Commitment] = []
        if request.subject != COMPLETE:
            doubtful = await self.life.journal_thread(running.journal.unspent_issued)
            signed = await self.life.journal_thread(running.journal.signed_keys)
        steps = [
            f"1. journal {len(doubtful)} keys that may have signed since as spent",
            "2. open the journal for signing and issuing",
        ]
        if not request.dry_run:
            # A door may have let keys sign again since.
            for part in _parts(signed) if signed else []:
                heard = dict.fromkeys(part)
                await self._journal_spent("block-doubtful", [], client, heard=heard)
            *before, last = _parts(doubtful)
            for part in before:
                await self._journal_spent("block-doubtful", part, client)
            statement = request.subject or "incomplete"
            await self._journal_spent(
                "recover-journal", last, client, imported=statement
            )
        return steps

    async def _journal_spent(
        self,
        step: str,
        spent: Sequence[Commitment],
        client: str,
        *,
        heard: Mapping[Commitment, frozenset[str] | None] | None = None,
        **payload: object,
    ) -> None:
        await self.life.journal_thread(
            self.life.require_running().journal.commit_spent,
            spent,
            client=client,
            payload={"step": step, **payload},
            heard=heard,
        )


def _require_every_salt(running: Running) -> None:
    """Insist that this vault holds each salt that addresses were issued by.

    Raises:
        FaultError: ``vault-behind`` if another appliance made one since: what was
            restored from such a backup would never open its own journal.
    """
    missing = running.journal.verified.generations - set(running.vault.generations)
    if missing:
        raise FaultError(
            f"generations {sorted(missing)} are held by another appliance of this"
            " journal and not by this one: back up there",
            code="vault-behind",
        )


def _parts(spent: Sequence[Commitment]) -> list[Sequence[Commitment]]:
    """Cut keys into what fits one row; one part, if empty, where there are none."""
    starts = range(0, max(len(spent), 1), _KEYS_PER_ROW)
    return [spent[start : start + _KEYS_PER_ROW] for start in starts]


def _interchange_text(subject: str) -> str:
    """Return an interchange file's text, which is exactly what was approved.

    Args:
        subject: The text, or where it lies with its SHA-256.

    Returns:
        The text.

    Raises:
        BadRequestError: If the file can not be read, or is another one.
    """
    if not subject.startswith(_HOST_FILE):
        return subject
    place, _, expected = subject.removeprefix(_HOST_FILE).rpartition("#")
    try:
        data = Path(place).read_bytes()
        text = data.decode()
    except (OSError, ValueError) as error:
        raise BadRequestError(
            f"the appliance can not read {place:.200} on its host: {error}"
        ) from error
    if not text.lstrip().startswith("{"):  # a digest of a PIN would tell the PIN
        raise BadRequestError(f"{place:.200} is no interchange file")
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise BadRequestError(
            f"{place:.200} has SHA-256 {found}, not the {expected:.64} that was named:"
            " it is another file, or was changed"
        )
    return text
