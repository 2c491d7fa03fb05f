# SPDX-License-Identifier: Apache-2.0
"""``saltkeep-hub``: run and look after the hub."""

import asyncio
import contextlib
import json
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import click
from rich.console import Console
from rich.table import Table

from channel.logs import log_to_stderr
from hub import import_command
from hub.addresses import parse_address
from hub.api.legacy_tokens import make_token, require_key
from hub.api.v1.app import document_text, whole_document
from hub.api_keys import FreshKey, KeyId, Scope, digest_of, holds, make_key
from hub.cli_cold import cold_group
from hub.cli_doctor import doctor
from hub.cli_nodes import nodes
from hub.cli_reconcile import quarantine, reattach, reconcile
from hub.clock import system_clock_ms
from hub.config import Config, load, read_secret
from hub.config_reference import reference
from hub.errors import (
    AddressUnknownError,
    ConfigError,
    DatabaseUnavailableError,
    HubError,
)
from hub.flag_translation import as_toml, configuration, translate
from hub.import_command import Invocation
from hub.model import Address, BundleHash, HeadToken
from hub.service import open_hub, open_store, run_hub
from hub.store import Transaction
from hub.store.audit import Done
from hub.store.books import BooksReport
from hub.sweep_plan import Choice

_ADDRESS_TRYTES: Final = 81
_DAY_MS: Final = 86_400_000
_MANY: Final = 10_000
_MAX_KEY_NAME: Final = 64
_SETTLE_S: Final = 0.2
_PATIENT_S: Final = 3600.0
"""What a migration, or an audit of a long history, may take; a flow may not."""
_EXIT_FAILED = 1
_EXIT_BROKEN = 3
_Result = TypeVar("_Result")
_log = logging.getLogger(__name__)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The hub's TOML file.",
)
@click.option("--json", "as_json", is_flag=True, help="Print for machines.")
@click.pass_context
def cli(context: click.Context, /, path: Path | None, *, as_json: bool) -> None:
    """The Saltkeep hub: accounts, deposits, withdrawals, sweeps; no keys.

    \b
      saltkeep-hub --config hub.toml serve
      saltkeep-hub --config hub.toml audit
      saltkeep-hub --config hub.toml next-sweep

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the books are broken or latched.
    """  # noqa: D301 - click's mark against wrapping
    context.obj = (path, as_json)


cli.add_command(cold_group)
cli.add_command(doctor)
cli.add_command(nodes)
cli.add_command(reconcile)
cli.add_command(reattach)
cli.add_command(quarantine)

_FlagFile = click.Path(path_type=Path, dir_okay=False)


@cli.command()
@click.option(
    "--flagfile", type=_FlagFile, help="Flags of an old Hub, over what --config says."
)
@click.pass_obj
def serve(options: tuple[Path | None, bool], *, flagfile: Path | None) -> None:
    """Run the hub until SIGTERM; with --json its log is objects, one a line."""
    log_to_stderr(as_json=options[1])
    logging.getLogger("alembic").setLevel(logging.WARNING)
    if flagfile is None:
        _run(_serve(_config(options)))
    else:
        _run(_serve(_translated(flagfile, options[0])))


def _translated(flagfile: Path, base: Path | None) -> Config:
    try:
        for note in translate(flagfile).notes:
            _log.info("%s", note)
        return configuration(flagfile, base)
    except HubError as error:
        _fail(error)


async def _serve(config: Config) -> None:
    serving = asyncio.create_task(run_hub(config, ready=_announce))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, serving.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await serving


def _announce(url: str) -> None:
    click.echo(f"hub ready on {url}")
    sys.stdout.flush()


@cli.command()
@click.argument("revision", default="head")
@click.pass_obj
def migrate(options: tuple[Path | None, bool], *, revision: str) -> None:
    """Bring the database to REVISION (`serve` does it by itself)."""
    _run(_migrate(_config(options), revision))
    click.echo(f"the database is at {revision}")


async def _migrate(config: Config, revision: str) -> None:
    store = open_store(config, statement_timeout_s=_PATIENT_S)
    try:
        await store.migrate(revision)
    finally:
        await store.close()


@cli.command()
@click.option("--release", is_flag=True, help="If sound, let balances change again.")
@click.pass_obj
def audit(options: tuple[Path | None, bool], *, release: bool) -> None:
    """Recompute every balance from its entries; exit 3 if one differs.

    A running hub that finds its books broken latches them: no balance changes, on
    any hub of this database. Find out who changed what, mend it, and run `audit
    --release`, which refuses while anything is wrong.
    """
    report = _run(_audit(_config(options)))
    if release and report.sound and report.latched:
        _run(_release(_config(options)))
        report = replace(report, latched="")
    if options[1]:
        click.echo(json.dumps(asdict(report) | {"sound": report.sound}))
    else:
        for found in report.mismatches:
            click.secho(
                f"{found.key}: stored {found.stored_i}, entries say"
                f" {found.recomputed_i}",
                fg="red",
            )
        for number in report.unbalanced:
            click.secho(f"posting {number} does not balance", fg="red")
        if report.latched:
            click.secho(f"latched, no balance changes: {report.latched}", fg="red")
            if report.sound:
                click.echo("sound now: `saltkeep-hub audit --release` lets them change")
        verdict = "balance" if report.sound else "DO NOT balance"
        click.echo(
            f"the books {verdict}: {report.assets_i} i on our addresses,"
            f" {report.liabilities_i} i owed"
        )
    sys.exit(_EXIT_BROKEN if report.latched or not report.sound else 0)


async def _release(config: Config) -> None:
    store = open_store(config, statement_timeout_s=_PATIENT_S)
    try:
        await store.run(lambda tx: tx.books.release())
    finally:
        await store.close()


async def _audit(config: Config) -> BooksReport:
    return await _read(config, lambda tx: tx.books.verify())


@cli.command()
@click.argument("address")
@click.pass_obj
def receipt(options: tuple[Path | None, bool], *, address: str) -> None:
    """Print the appliance's receipt of a deposit ADDRESS (81 or 90 trytes).

    Check it with `saltkeep-appliance verify-receipt`, against the identity key
    printed by `init`.
    """
    text = Address(address[:_ADDRESS_TRYTES])
    own = _run(_read(_config(options), lambda tx: tx.addresses.find(text)))
    if own is None:
        _fail(AddressUnknownError("this address is none of ours"))
    if not own.issued.receipt:
        _fail(AddressUnknownError("it was brought over from an old Hub: no receipt"))
    click.echo(own.issued.receipt)


async def _read(
    config: Config, query: Callable[[Transaction], Awaitable[_Result]]
) -> _Result:
    """Ask the database one thing, without a running hub.

    Returns:
        What the query returned.

    Raises:
        DatabaseUnavailableError: If the database can not be read.
    """
    store = open_store(config, statement_timeout_s=_PATIENT_S)
    try:
        async with store.reading() as tx:
            return await query(tx)
    except Exception as error:  # SQLAlchemy's types stay in the store
        what = str(error).splitlines()[0]
        raise DatabaseUnavailableError(f"{what}; is it migrated?") from error
    finally:
        await store.close()


@cli.command("accept-epoch")
@click.argument("epoch", type=int)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def accept_epoch(options: tuple[Path | None, bool], *, epoch: int, yes: bool) -> None:
    """Go on with an appliance that was restored: its journal opened EPOCH.

    Only after its operators have said so: what the hub knew of the journal's end,
    which finds a rolled-back appliance, is given up.
    """
    if not yes:
        click.confirm(f"Was the appliance restored, to epoch {epoch}?", abort=True)
    head = _run(_accept_epoch(_config(options), epoch))
    click.echo(f"journal {head.journal_id}: epoch {head.epoch} is accepted")


async def _accept_epoch(config: Config, epoch: int) -> HeadToken:
    store = open_store(config, statement_timeout_s=_PATIENT_S)
    try:
        return await store.run(lambda tx: tx.head.accept_epoch(epoch))
    finally:
        await store.close()


@cli.command("next-sweep")
@click.pass_obj
def next_sweep(options: tuple[Path | None, bool]) -> None:
    """Show what the next sweep would do, without doing it."""
    choice = _run(_next_sweep(_config(options)))
    if choice is None:
        click.echo("nothing to sweep")
        return
    table = Table("what", "address", "iota", title="next sweep")
    for own in choice.inputs:
        table.add_row(f"input ({own.kind.value})", own.address, f"-{own.balance_i}")
    for withdrawal in choice.withdrawals:
        table.add_row("payout", withdrawal.payout_address, str(withdrawal.amount_i))
    if choice.rest_i:
        table.add_row("remainder", "(fresh hub address)", str(choice.rest_i))
    Console().print(table)


async def _next_sweep(config: Config) -> Choice | None:
    async with open_hub(config) as hub:
        return await hub.sweeps.preview()


@cli.command()
@click.argument("address")
@click.argument("bundle_hash")
@click.option("--lifetime-s", default=600, show_default=True, help="Seconds it lives.")
@click.pass_obj
def token(
    options: tuple[Path | None, bool],
    *,
    address: str,
    bundle_hash: str,
    lifetime_s: int,
) -> None:
    """Make a token for one SignBundle: of ADDRESS (81 or 90 trytes) in BUNDLE_HASH."""
    click.echo(_make_token(_config(options), address, bundle_hash, lifetime_s))


def _make_token(config: Config, address: str, bundle_hash: str, life_s: int) -> str:
    path = config.api.legacy.token_key_file
    if path is None:
        _fail(ConfigError("api.legacy.token_key_file is not set"))
    try:
        key = require_key(read_secret(path))
        text = parse_address(address[:_ADDRESS_TRYTES], checksum=False)
        bundle = BundleHash(parse_address(bundle_hash, checksum=False))
    except HubError as error:
        _fail(error)
    now_s = system_clock_ms() // 1000
    return make_token(key, text, bundle, expires_s=now_s + life_s)


@cli.command("translate-flagfile")
@click.argument("flagfile", type=_FlagFile)
@click.pass_obj
def translate_flagfile(options: tuple[Path | None, bool], *, flagfile: Path) -> None:
    """Print the configuration that an old Hub's FLAGFILE becomes (TOML).

    What no flag says is taken from --config FILE, or stood in for. Comments above it
    tell which flags were ignored, and why.
    """
    try:
        click.echo(as_toml(flagfile, options[0]), nl=False)
    except HubError as error:
        _fail(error)


@cli.group("api-key")
def api_key() -> None:
    """Make, list and revoke the keys of /v1, in the database itself."""


@api_key.command("create")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice([scope.value for scope in Scope]),
    multiple=True,
    required=True,
    help="What it may do; give it several times for several.",
)
@click.option("--expires-days", type=click.IntRange(1), help="Days it holds.")
@click.pass_obj
def create_api_key(
    options: tuple[Path | None, bool],
    *,
    name: str,
    scopes: tuple[str, ...],
    expires_days: int | None,
) -> None:
    """Make a key called NAME and print it, this once."""
    if not 0 < len(name) <= _MAX_KEY_NAME or not name.isprintable():
        raise click.BadParameter("a name has 1-64 printable characters")
    wanted = {Scope(scope) for scope in scopes}
    fresh = _run(_create_api_key(_config(options), name, wanted, expires_days))
    if options[1]:
        click.echo(json.dumps({"key_id": fresh.key_id, "secret": fresh.text}))
    else:
        click.echo(fresh.text)


async def _create_api_key(
    config: Config, name: str, scopes: set[Scope], expires_days: int | None
) -> FreshKey:
    fresh = make_key()

    async def add(tx: Transaction) -> None:
        expires_at_ms = None
        if expires_days is not None:
            expires_at_ms = tx.now_ms + expires_days * _DAY_MS
        await tx.api_keys.add(
            fresh.key_id,
            name=name,
            digest=digest_of(fresh.text),
            scopes=scopes,
            expires_at_ms=expires_at_ms,
        )
        await _audit_key(tx, "create-api-key", fresh.key_id)

    await _change(config, add)
    return fresh


@api_key.command("list")
@click.pass_obj
def list_api_keys(options: tuple[Path | None, bool]) -> None:
    """List keys, the newest first; never their secrets."""
    keys = _run(
        _read(
            _config(options), lambda tx: tx.api_keys.page(before_id=None, limit=_MANY)
        )
    )
    now_ms = system_clock_ms()
    for key in keys:
        scopes = " ".join(sorted(scope.value for scope in key.scopes))
        state = "holds" if holds(key, now_ms=now_ms) else "refused"
        click.echo(f"{key.key_id}  {state}  {scopes}  {key.name}")


@api_key.command("revoke")
@click.argument("key_id")
@click.pass_obj
def revoke_api_key(options: tuple[Path | None, bool], *, key_id: str) -> None:
    """Refuse the key KEY_ID from now on, in every running hub."""

    async def revoke(tx: Transaction) -> None:
        await tx.api_keys.revoke(KeyId(key_id))
        await _audit_key(tx, "revoke-api-key", key_id)

    _run(_change(_config(options), revoke))
    click.echo(f"{key_id} is refused from now on")


async def _audit_key(tx: Transaction, operation: str, key_id: str) -> None:
    await tx.audit.add(
        Done(
            actor="cli", request_id="", operation=operation, subject=f"api-key {key_id}"
        )
    )


async def _change(
    config: Config, work: Callable[[Transaction], Awaitable[None]]
) -> None:
    """Migrate and change the database, without a running hub."""
    store = open_store(config)
    try:
        await store.migrate()
        await store.run(work)
    finally:
        await store.close()


@cli.command("config-reference")
def config_reference() -> None:
    """Print every configuration field with unit and default (Markdown)."""
    click.echo(reference())


@cli.command("openapi")
def openapi() -> None:
    """Print the OpenAPI document of /v1, as a running hub serves it."""
    click.echo(document_text(whole_document()), nl=False)


def _invocation(context: click.Context) -> Invocation:
    options: tuple[Path | None, bool] = context.find_root().obj
    return Invocation(lambda: _config(options), _run, options[1])


cli.add_command(import_command.group(_invocation))


def _config(options: tuple[Path | None, bool]) -> Config:
    if options[0] is None:
        raise click.UsageError("this command needs --config FILE")
    try:
        return load(options[0])
    except HubError as error:
        _fail(error)


def _run(work: Coroutine[Any, Any, _Result]) -> _Result:
    try:
        return asyncio.run(_and_settle(work))
    except HubError as error:
        _fail(error)


async def _and_settle(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Let threads of a database that failed answer before the loop is closed.

    aiosqlite's thread reports to the loop once more after a failed connection, and
    prints a traceback where there is none any more.

    Returns:
        What the work returned.
    """
    try:
        return await work
    finally:
        await asyncio.sleep(_SETTLE_S)


def _fail(error: HubError) -> NoReturn:
    click.secho(f"{error.code}: {error}", fg="red", err=True)
    sys.exit(_EXIT_FAILED)


def main() -> None:
    """Entry point of ``saltkeep-hub``."""
    cli(prog_name="saltkeep-hub")


if __name__ == "__main__":
    main()
