# SPDX-License-Identifier: Apache-2.0
"""Backups: the key in shares, and the way back; none of it needs a daemon."""

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import click
import msgspec

from appliance.backup import (
    BackupError,
    OpenedBackup,
    make_backup_key,
    open_backup,
    verify_backup,
)
from appliance.cli.hidden import read_hidden
from appliance.cli.options import EXIT_FAILED, Options, fail, files, run, say
from appliance.config import load_config
from appliance.drill import drill
from appliance.errors import ApplianceError, ConfigError
from appliance.hardening import harden_process
from appliance.hsm import Hsm
from appliance.installation import Paths, open_hsm
from appliance.interchange import of_journal
from appliance.journal_database import database_of
from appliance.restore import Restored, restore
from appliance.service import wall_clock_ms
from appliance.slip39 import ShareError, decode, recover, split
from appliance.softhsm import scratch_hsm
from appliance.wire import JournalRow
from trinary.memory import LockedBuffer

_LEAST_THRESHOLD: Final = 2
_MOST_SHARES: Final = 16
_LONGEST_SHARE_BYTES: Final = 1024
_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - never reaches a disk
_IDENTITY = click.option(
    "--identity",
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="PEM of the identity key pinned from `init`, with its successors.",
)
_BACKUP = click.argument(
    "path", type=click.Path(path_type=Path, exists=True, dir_okay=False)
)
_UNLOCKED = click.option(
    "--allow-unlocked", is_flag=True, help="Where memory can not be locked (tests)."
)


@click.group()
def backup() -> None:
    """Make the backup key; verify, try and restore backups (no daemon needed)."""


@backup.command("make-key")
@click.option("--threshold", type=click.IntRange(_LEAST_THRESHOLD, _MOST_SHARES))
@click.option("--shares", type=click.IntRange(_LEAST_THRESHOLD, _MOST_SHARES))
@_UNLOCKED
def make_key(*, threshold: int, shares: int, allow_unlocked: bool) -> None:
    """Draw a backup key, show its shares one after another, and forget it.

    Best on a machine that is never connected. Each officer writes down one share
    while nobody else looks; the public key goes to `ceremony set-backup-key`.
    """
    try:
        _make_key(threshold, shares, allow_unlocked=allow_unlocked)
    except ApplianceError as error:
        fail(error, code=EXIT_FAILED)


def _make_key(threshold: int, shares: int, *, allow_unlocked: bool) -> None:
    harden_process(allow_unlocked=allow_unlocked)
    private, public = make_backup_key(allow_unlocked=allow_unlocked)
    with private, ExitStack() as wipe:
        (texts,) = split(
            private, groups=[(threshold, shares)], allow_unlocked=allow_unlocked
        )
        for text in texts:
            wipe.enter_context(text)
        for number, text in enumerate(texts, start=1):
            click.echo(f"share {number} of {shares}; any {threshold} open a backup:")
            sys.stdout.flush()
            os.writev(sys.stdout.fileno(), [text.view, b"\n"])
            if sys.stdin.isatty():
                click.pause("written down and compared? Any key for the next one")
                click.clear()
    click.echo(f"backup key {public.hex()}")


@backup.command("verify")
@_BACKUP
@_IDENTITY
def verify(*, path: Path, identity: Path) -> None:
    """Check a backup's signature and that it is whole; needs no share."""
    with files():
        data, pem = path.read_bytes(), identity.read_bytes()
    try:
        header = verify_backup(data, identity_pem=pem)
    except ApplianceError as error:
        fail(error, code=EXIT_FAILED)
    generations = [generation.id for generation in header.generations]
    said = (
        f"journal {header.journal_id} epoch {header.epoch}\n"
        f"row {header.sequence} {header.hash}\n"
        f"generations {', '.join(map(str, generations))}\n"
        f"backup key {header.backup_key}"
    )
    say(
        said,
        journal_id=header.journal_id,
        epoch=header.epoch,
        row=header.sequence,
        hash=header.hash,
        generations=generations,
        backup_key=header.backup_key,
    )


@backup.command("drill")
@_BACKUP
@_IDENTITY
@_UNLOCKED
@click.pass_obj
def drill_command(
    options: Options, *, path: Path, identity: Path, allow_unlocked: bool
) -> None:
    """Bring a backup onto a scratch token, prove it there, and throw both away.

    The token is a SoftHSM2 token of its own in memory-backed storage or, with
    --config, the one that configuration names, its state folder empty. What is
    written there can derive the canary of each generation and nothing else: the
    salts stay in locked memory.
    """
    try:
        harden_process(allow_unlocked=allow_unlocked)
        with (
            _opened(path, identity, allow_unlocked=allow_unlocked) as opened,
            _scratch(options.config) as (paths, hsm),
        ):
            lines = drill(paths, hsm, opened, allow_unlocked=allow_unlocked)
    except ApplianceError as error:
        fail(error, code=EXIT_FAILED)
    said = "\n".join([*lines, "the drill passed; nothing was kept"])
    say(said, passed=True, steps=lines)


@contextmanager
def _scratch(config_path: Path | None) -> Iterator[tuple[Paths, Hsm]]:
    """Open what is thrown away: a folder, and a token whose keys are destroyed."""
    if config_path is None:
        memory = _MEMORY if _MEMORY.is_dir() else None
        with (
            TemporaryDirectory(prefix="saltkeep-drill-", dir=memory) as name,
            scratch_hsm(Path(name)) as scratch,
        ):
            yield Paths(Path(name)), scratch
        return
    config = load_config(config_path)
    paths = Paths(Path(config.state_dir))
    if paths.folder.exists() and any(paths.folder.iterdir()):
        raise BackupError(f"{paths.folder} is not empty: a drill takes an empty one")
    paths.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    hsm = open_hsm(config)
    try:
        yield paths, hsm
    finally:
        hsm.close()
        for left in paths.folder.iterdir():
            left.unlink()


@backup.command("restore")
@_BACKUP
@_IDENTITY
@click.option(
    "--old-appliance-is-dead",
    is_flag=True,
    help="State that the old host is destroyed or its KEK is.",
)
@click.pass_obj
def restore_command(
    options: Options, *, path: Path, identity: Path, old_appliance_is_dead: bool
) -> None:
    """Make an appliance of a backup, on an empty state folder and its own token.

    It opens a new epoch and signs nothing before `ceremony recover-journal`.
    """
    if not old_appliance_is_dead:
        dead = BackupError(
            "two appliances of one journal would sign the same keys twice: destroy"
            " the old one's KEK or host, then state --old-appliance-is-dead"
        )
        fail(dead, code=EXIT_FAILED)
    config = load_config(options.require_config())
    allow_unlocked = config.derivation.allow_unlocked
    try:
        harden_process(allow_unlocked=allow_unlocked)
        with _opened(path, identity, allow_unlocked=allow_unlocked) as opened:
            made = run(_restore(options.require_config(), opened))
    except ApplianceError as error:
        fail(error, code=EXIT_FAILED)
    if options.as_json:
        click.echo(msgspec.json.encode(made))
        return
    click.echo(f"journal {made.journal_id}: epoch {made.epoch} after {made.sequence}")
    click.echo("It signs nothing before `ceremony recover-journal`.")
    click.echo(f"new identity key {made.identity_key_id}; pin it beside the old one:")
    click.echo(made.identity_pem)


async def _restore(path: Path, opened: OpenedBackup) -> Restored:
    config = load_config(path)
    hsm = open_hsm(config)
    try:
        return await restore(
            Paths(Path(config.state_dir)),
            hsm,
            opened,
            allow_unlocked=config.derivation.allow_unlocked,
            now_ms=wall_clock_ms(),
            database=database_of(config),
        )
    finally:
        await asyncio.to_thread(hsm.close)


@backup.command("interchange")
@click.argument("export", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--network", required=True)
def interchange(*, export: Path, network: str) -> None:
    """Write what an exported journal says is spent, as an interchange file."""
    with files():
        lines = export.read_bytes().splitlines()
    try:
        rows = [msgspec.json.decode(line, type=JournalRow) for line in lines]
        click.echo(of_journal(rows, network=network))
    except msgspec.DecodeError:
        fail(BackupError(f"{export} is no export of a journal"), code=EXIT_FAILED)
    except ApplianceError as error:
        fail(error, code=EXIT_FAILED)


@contextmanager
def _opened(
    path: Path, identity: Path, *, allow_unlocked: bool
) -> Iterator[OpenedBackup]:
    """Check the backup, then ask for the shares and open it."""
    with files():
        data, pem = path.read_bytes(), identity.read_bytes()
    verify_backup(data, identity_pem=pem)  # before anybody types a share
    with _private_key(allow_unlocked=allow_unlocked) as private:
        opened = open_backup(
            data, private, identity_pem=pem, allow_unlocked=allow_unlocked
        )
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def _private_key(*, allow_unlocked: bool) -> Iterator[LockedBuffer]:
    with ExitStack() as wipe:
        texts = [wipe.enter_context(_read_share(1, allow_unlocked=allow_unlocked))]
        first = decode(texts[0])
        first.value.close()
        if first.header.member_threshold < _LEAST_THRESHOLD:
            raise BackupError("one share alone would open this: two people are needed")
        for number in range(2, first.header.member_threshold + 1):
            text = _read_share(number, allow_unlocked=allow_unlocked)
            texts.append(wipe.enter_context(text))
        with recover(texts, allow_unlocked=allow_unlocked) as private:
            yield private


def _read_share(number: int, *, allow_unlocked: bool) -> LockedBuffer:
    try:
        return read_hidden(
            f"share {number}",
            most_bytes=_LONGEST_SHARE_BYTES,
            allow_unlocked=allow_unlocked,
        )
    except ConfigError as error:
        raise ShareError(str(error), code="share-words") from error
