# SPDX-License-Identifier: Apache-2.0
"""``saltkeep-hub``: run and look after the hub."""

import asyncio
import contextlib
import json
import logging
import signal
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.table import Table

from channel.logs import log_to_stderr
from hub import import_command
from hub.addresses import parse_address
from hub.api.legacy_tokens import make_token, require_key
from hub.api.v1.app import document_text, whole_document
from hub.cli_certificate import certificate
from hub.cli_cold import cold_group
from hub.cli_doctor import doctor
from hub.cli_hub import (
    PATIENT_S,
    Options,
    ask_first,
    configured,
    fail,
    read,
    run,
    say,
    table_width,
    with_hub,
)
from hub.cli_keys import api_key
from hub.cli_nodes import nodes
from hub.cli_operators import operator_group
from hub.cli_reconcile import quarantine, reattach, reconcile
from hub.cli_why import why
from hub.clock import system_clock_ms
from hub.config import Config, read_secret
from hub.config_reference import reference
from hub.errors import AddressUnknownError, ConfigError, HubError
from hub.flag_translation import as_toml, configuration, translate
from hub.import_command import Invocation
from hub.model import Address, BundleHash, HeadToken
from hub.service import open_store, run_hub
from hub.sweep_plan import Choice

_ADDRESS_TRYTES: Final = 81
_EXIT_BROKEN: Final = 3
_HEAD: Final = "head"
_log = logging.getLogger(__name__)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="saltkeep")
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


cli.add_command(api_key)
cli.add_command(certificate)
cli.add_command(cold_group)
cli.add_command(doctor)
cli.add_command(nodes)
cli.add_command(reconcile)
cli.add_command(reattach)
cli.add_command(quarantine)
cli.add_command(why)
cli.add_command(operator_group)

_FlagFile = click.Path(path_type=Path, dir_okay=False)


@cli.command()
@click.option(
    "--flagfile", type=_FlagFile, help="Flags of an old Hub, over what --config says."
)
@click.pass_obj
def serve(options: Options, *, flagfile: Path | None) -> None:
    """Run the hub until SIGTERM; with --json its log is objects, one a line."""
    log_to_stderr(as_json=options[1])
    logging.getLogger("alembic").setLevel(logging.WARNING)
    if flagfile is None:
        run(_serve(configured(options)))
    else:
        run(_serve(_translated(flagfile, options[0])))


def _translated(flagfile: Path, base: Path | None) -> Config:
    try:
        for note in translate(flagfile).notes:
            _log.info("%s", note)
        return configuration(flagfile, base)
    except HubError as error:
        fail(error)


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
@click.argument("revision", default=_HEAD)
@click.option("--show", is_flag=True, help="Only print where it is now.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def migrate(options: Options, *, revision: str, show: bool, yes: bool) -> None:
    """Bring the database to REVISION (`serve` does it by itself).

    An older revision drops what the newer ones have added, for good: it is for going
    back to the release before, with every hub stopped.
    """
    if show:
        found = run(_revision(configured(options))) or "none"
        say(options, found, revision=found)
        return
    if revision != _HEAD:
        question = f"Drop what revisions after {revision} have added? Is every hub off?"
        ask_first(options, question, yes=yes)
    run(_migrate(configured(options), revision))
    say(options, f"the database is at {revision}", revision=revision)


async def _migrate(config: Config, revision: str) -> None:
    store = open_store(config, statement_timeout_s=PATIENT_S)
    try:
        await store.migrate(revision)
    finally:
        await store.close()


async def _revision(config: Config) -> str | None:
    store = open_store(config)
    try:
        return await store.revision()
    finally:
        await store.close()


@cli.command()
@click.option("--release", is_flag=True, help="If sound, let balances change again.")
@click.pass_obj
def audit(options: Options, *, release: bool) -> None:
    """Recompute every balance from its entries; exit 3 if one differs.

    A running hub that finds its books broken latches them: no balance changes, on
    any hub of this database. Find out who changed what, mend it, and run `audit
    --release`, which refuses while anything is wrong.
    """
    report = read(options, lambda tx: tx.books.verify())
    if release and report.sound and report.latched:
        run(_release(configured(options)))
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
    store = open_store(config, statement_timeout_s=PATIENT_S)
    try:
        await store.run(lambda tx: tx.books.release())
    finally:
        await store.close()


@cli.command()
@click.argument("address")
@click.pass_obj
def receipt(options: Options, *, address: str) -> None:
    """Print the appliance's receipt of a deposit ADDRESS (81 or 90 trytes).

    Check it with `saltkeep-appliance verify-receipt`, against the identity key
    printed by `init`.
    """
    text = Address(address[:_ADDRESS_TRYTES])
    own = read(options, lambda tx: tx.addresses.find(text))
    if own is None:
        fail(AddressUnknownError("this address is none of ours"))
    if not own.issued.receipt:
        fail(AddressUnknownError("it was brought over from an old Hub: no receipt"))
    say(options, own.issued.receipt, receipt=own.issued.receipt)


@cli.command("accept-epoch")
@click.argument("epoch", type=int)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def accept_epoch(options: Options, *, epoch: int, yes: bool) -> None:
    """Go on with an appliance that was restored: its journal opened EPOCH.

    Only after its operators have said so: what the hub knew of the journal's end,
    which finds a rolled-back appliance, is given up.
    """
    question = f"Was the appliance restored, to epoch {epoch}?"
    ask_first(options, question, yes=yes)
    head = run(_accept_epoch(configured(options), epoch))
    said = f"journal {head.journal_id}: epoch {head.epoch} is accepted"
    say(options, said, journal_id=head.journal_id, epoch=head.epoch)


async def _accept_epoch(config: Config, epoch: int) -> HeadToken:
    store = open_store(config, statement_timeout_s=PATIENT_S)
    try:
        return await store.run(lambda tx: tx.head.accept_epoch(epoch))
    finally:
        await store.close()


@cli.command("next-sweep")
@click.pass_obj
def next_sweep(options: Options) -> None:
    """Show what the next sweep would do, without doing it."""
    choice = with_hub(options, lambda hub: hub.sweeps.preview())
    if options[1]:
        click.echo(json.dumps(_for_machines(choice)))
        return
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
    Console(width=table_width()).print(table)


def _for_machines(choice: Choice | None) -> dict[str, object]:
    if choice is None:
        return {"inputs": [], "withdrawals": [], "remainder_i": 0}
    return {
        "inputs": [
            {"address": own.address, "kind": own.kind.value, "amount_i": own.balance_i}
            for own in choice.inputs
        ],
        "withdrawals": [
            {"uuid": one.uuid, "address": one.payout_address, "amount_i": one.amount_i}
            for one in choice.withdrawals
        ],
        "remainder_i": choice.rest_i,
    }


@cli.command()
@click.argument("address")
@click.argument("bundle_hash")
@click.option("--lifetime-s", default=600, show_default=True, help="Seconds it lives.")
@click.pass_obj
def token(
    options: Options,
    *,
    address: str,
    bundle_hash: str,
    lifetime_s: int,
) -> None:
    """Make a token for one SignBundle: of ADDRESS (81 or 90 trytes) in BUNDLE_HASH."""
    made = _make_token(configured(options), address, bundle_hash, lifetime_s)
    say(options, made, token=made, lifetime_s=lifetime_s)


def _make_token(config: Config, address: str, bundle_hash: str, life_s: int) -> str:
    path = config.api.legacy.token_key_file
    if path is None:
        fail(ConfigError("api.legacy.token_key_file is not set"))
    try:
        key = require_key(read_secret(path))
        text = parse_address(address[:_ADDRESS_TRYTES], checksum=False)
        bundle = BundleHash(parse_address(bundle_hash, checksum=False))
    except HubError as error:
        fail(error)
    now_s = system_clock_ms() // 1000
    return make_token(key, text, bundle, expires_s=now_s + life_s)


@cli.command("translate-flagfile")
@click.argument("flagfile", type=_FlagFile)
@click.pass_obj
def translate_flagfile(options: Options, *, flagfile: Path) -> None:
    """Print the configuration that an old Hub's FLAGFILE becomes (TOML).

    What no flag says is taken from --config FILE, or stood in for. Comments above it
    tell which flags were ignored, and why.
    """
    try:
        click.echo(as_toml(flagfile, options[0]), nl=False)
    except HubError as error:
        fail(error)


@cli.command("config-reference")
def config_reference() -> None:
    """Print every configuration field with unit and default (Markdown)."""
    click.echo(reference())


@cli.command("openapi")
def openapi() -> None:
    """Print the OpenAPI document of /v1, as a running hub serves it."""
    click.echo(document_text(whole_document()), nl=False)


def _invocation(context: click.Context) -> Invocation:
    options: Options = context.find_root().obj
    return Invocation(lambda: configured(options), run, options[1])


cli.add_command(import_command.group(_invocation))


def main() -> None:
    """Entry point of ``saltkeep-hub``."""
    cli(prog_name="saltkeep-hub")


if __name__ == "__main__":
    main()
