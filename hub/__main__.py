# SPDX-License-Identifier: Apache-2.0
"""``saltkeep-hub``: run and look after the hub."""

import asyncio
import contextlib
import json
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import click
from rich.console import Console
from rich.table import Table

from hub import import_command
from hub.addresses import parse_address
from hub.api.legacy_tokens import make_token, require_key
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
from hub.service import open_hub, run_hub
from hub.store import Store, Transaction
from hub.store.books import BooksReport
from hub.sweep_plan import Choice

_ADDRESS_TRYTES: Final = 81
_SETTLE_S: Final = 0.2
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

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the books do not balance.
    """  # noqa: D301 - click's mark against wrapping
    context.obj = (path, as_json)


_FlagFile = click.Path(path_type=Path, dir_okay=False)


@cli.command()
@click.option(
    "--flagfile", type=_FlagFile, help="Flags of an old Hub, over what --config says."
)
@click.pass_obj
def serve(options: tuple[Path | None, bool], *, flagfile: Path | None) -> None:
    """Run the hub until SIGTERM."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
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
    store = Store(config.hub.database_url, clock=system_clock_ms)
    try:
        await store.migrate(revision)
    finally:
        await store.close()


@cli.command()
@click.pass_obj
def audit(options: tuple[Path | None, bool]) -> None:
    """Recompute every balance from its entries; exit 3 if one differs."""
    report = _run(_audit(_config(options)))
    if options[1]:
        click.echo(json.dumps(asdict(report) | {"sound": report.sound}))
    else:
        for found in report.mismatches:
            click.secho(
                f"{found.key}: stored {found.stored_i}, entries say"
                f" {found.recomputed_i}",
                fg="red",
            )
        verdict = "balance" if report.sound else "DO NOT balance"
        click.echo(
            f"the books {verdict}: {report.assets_i} i on our addresses,"
            f" {report.liabilities_i} i owed"
        )
    sys.exit(0 if report.sound else _EXIT_BROKEN)


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
    store = Store(config.hub.database_url, clock=system_clock_ms)
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
    store = Store(config.hub.database_url, clock=system_clock_ms)
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


@cli.command("config-reference")
def config_reference() -> None:
    """Print every configuration field with unit and default (Markdown)."""
    click.echo(reference())


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
