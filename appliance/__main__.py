# SPDX-License-Identifier: Apache-2.0
"""``saltkeep-appliance``: make, run and tend a signing appliance."""

import asyncio
import contextlib
import datetime as dt
import json
import signal
import sys
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from appliance import __version__
from appliance.argon2_engines import Argon2Parameters
from appliance.ceremony import (
    FirstGeneration,
    Foundation,
    Initialised,
    initialise,
)
from appliance.cli.approvals import acts, approve, ask_or_propose, unseal
from appliance.cli.backup import backup
from appliance.cli.custody import ceremony, trust_successor
from appliance.cli.doctor import doctor
from appliance.cli.hidden import read_hidden_twice
from appliance.cli.join import join
from appliance.cli.journal import journal, verify_receipt
from appliance.cli.options import EXIT_FAILED, Options, fail, run, say
from appliance.cli.policy import operator_key, policy_commands, require_signed_policy
from appliance.cli.probe import init_token, probe
from appliance.cli.recover import recover
from appliance.cli.seeds import export_seed, officer_key, open_seed
from appliance.cli.serial_keys import serial_key
from appliance.client import (
    new_request_id,
)
from appliance.config import Config, load_config
from appliance.config_reference import reference
from appliance.errors import ConfigError
from appliance.hardening import harden_process
from appliance.installation import (
    MAX_SALT_BYTES,
    Paths,
    open_hsm,
    pin_latch_beside,
    read_salt,
)
from appliance.journal_database import database_of
from appliance.metrics import serve_metrics
from appliance.policy_file import Policy, SignedPolicy
from appliance.server import Server
from appliance.service import Appliance, wall_clock_ms
from appliance.softhsm import SoftHsmOptions, make_softhsm_appliance
from appliance.wire import (
    AcceptHead,
    Done,
    GetStatus,
    SealNow,
    StatusReport,
)
from channel.logs import log_to_stderr
from trinary.memory import LockedBuffer

_MAX_UINT32 = (1 << 32) - 1
_COLOURS = {"ready": "green", "starting": "yellow", "unready": "yellow"}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The appliance's TOML file.",
)
@click.option(
    "--client",
    type=click.Path(path_type=Path, dir_okay=False),
    help="To reach a running appliance: TOML with url, ca, certificate, key,"
    " server_spki_sha256; or with device and key_file.",
)
@click.option("--as", "name", default="", help="Client certificate (with --config).")
@click.option("--port", default=0, help="TCP port, where --config says 0.")
@click.option("--json", "as_json", is_flag=True, help="Print for machines.")
@click.pass_context
def cli(context: click.Context, /, **options: Any) -> None:  # noqa: ANN401 - click
    """Make, run and tend a Saltkeep signing appliance.

    Make one on SoftHSM2 and run it:

    \b
      saltkeep-appliance init --softhsm ./box --network devnet
      saltkeep-appliance --config ./box/appliance.toml serve
      saltkeep-appliance --config ./box/appliance.toml status

    Exit codes: 0 done, 1 failed or refused, 2 wrong usage, 3 the journal is broken.
    """  # noqa: D301 - click's mark against wrapping
    context.obj = Options(**options)


@cli.command()
@click.option(
    "--softhsm",
    type=click.Path(path_type=Path, file_okay=False),
    help="Make token, certificates and configuration in this new folder (tests).",
)
@click.option("--network", required=True, help="Name of the network, e.g. devnet.")
@click.option("--level", default=2, show_default=True, help="Security level.")
@click.option(
    "--salt-from",
    default="",
    help="Import a salt: a 0600 file, credential:NAME, fd:N, or `prompt` (typed, not"
    " shown; with --config). Default: random.",
)
@click.option(
    "--argon2-time",
    type=click.IntRange(1, _MAX_UINT32),
    default=4,
    show_default=True,
    help="Argon2 passes.",
)
@click.option(
    "--argon2-memory-kib",
    type=click.IntRange(8, _MAX_UINT32),
    default=131_072,
    show_default=True,
    help="Argon2 memory.",
)
@click.option(
    "--argon2-variant", default="argon2id", show_default=True, help="Or argon2i."
)
@click.option(
    "--policy",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The first policy; its signatures lie beside it (`policy sign`).",
)
@click.option(
    "--signature",
    "signatures",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="A signature of the policy, if not beside it.",
)
@click.option("--listen-port", default=9443, show_default=True, help="With --softhsm.")
@click.option(
    "--journal-database",
    default="",
    help="With --softhsm: postgresql://user@host:port/name; empty: SQLite.",
)
@click.option(
    "--journal-password-file",
    type=click.Path(path_type=Path),
    help="With --softhsm: file with that database's password, mode 0600.",
)
@click.pass_obj
def init(  # noqa: PLR0913 - one argument per option
    options: Options,
    *,
    softhsm: Path | None,
    network: str,
    level: int,
    salt_from: str,
    argon2_time: int,
    argon2_memory_kib: int,
    argon2_variant: str,
    policy: Path | None,
    signatures: tuple[Path, ...],
    listen_port: int,
    journal_database: str,
    journal_password_file: Path | None,
) -> None:
    """Make keys, salt, vault and journal: once per appliance.

    With --softhsm FOLDER everything else is made too. Otherwise --config names
    the configuration of an initialised token, and --policy the first policy.
    """
    first = FirstGeneration(
        network,
        level,
        _argon2(argon2_variant, time_cost=argon2_time, memory_kib=argon2_memory_kib),
    )
    _require_known_source(salt_from, softhsm)
    if softhsm is not None:
        made = run(
            make_softhsm_appliance(
                softhsm,
                SoftHsmOptions(
                    first,
                    port=listen_port,
                    salt_source=salt_from,
                    journal=_journal_lines(journal_database, journal_password_file),
                ),
                now=dt.datetime.now(dt.UTC),  # noqa: TID251 - the program's edge
            )
        )[1]
    else:
        signed = require_signed_policy(policy, list(signatures))
        made = run(_init_configured(options.require_config(), first, salt_from, signed))
    _print_initialised(made, as_json=options.as_json)


def _journal_lines(database: str, password_file: Path | None) -> tuple[str, ...]:
    """Return the lines of the configuration's ``[journal]`` table."""
    lines = []
    if database:
        lines.append(f"database = {json.dumps(database)}")
    if password_file is not None:
        lines.append(f"password_file = {json.dumps(str(password_file.resolve()))}")
    return tuple(lines)


def _require_known_source(salt_from: str, softhsm: Path | None) -> None:
    if softhsm is not None and salt_from == "prompt":
        raise click.UsageError("--salt-from prompt goes with --config")


def _argon2(variant: str, *, time_cost: int, memory_kib: int) -> Argon2Parameters:
    fields = {"variant": variant, "time_cost": time_cost, "memory_kib": memory_kib}
    try:
        return msgspec.convert(fields, Argon2Parameters)
    except msgspec.ValidationError:  # click has looked at the numbers
        unknown = f"--argon2-variant is argon2id or argon2i, not {variant!r}"
        fail(ConfigError(unknown), code=EXIT_FAILED)


def _salt(source: str, *, allow_unlocked: bool) -> LockedBuffer:
    if source != "prompt":
        return read_salt(source, allow_unlocked=allow_unlocked)
    return read_hidden_twice(
        "the salt", most_bytes=MAX_SALT_BYTES, allow_unlocked=allow_unlocked
    )


async def _init_configured(
    path: Path, first: FirstGeneration, salt_from: str, policy: SignedPolicy
) -> Initialised:
    config = load_config(path)
    allow_unlocked = config.derivation.allow_unlocked
    harden_process(allow_unlocked=allow_unlocked)
    salt = _salt(salt_from, allow_unlocked=allow_unlocked) if salt_from else None
    hsm = open_hsm(config)
    try:
        return await initialise(
            Paths(Path(config.state_dir)),
            hsm,
            Foundation(first, policy, salt),
            allow_unlocked=allow_unlocked,
            now_ms=wall_clock_ms(),
            database=database_of(config),
        )
    finally:
        await asyncio.to_thread(hsm.close)


def _print_initialised(made: Initialised, *, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(made))
        return
    for warning in made.warnings:
        click.secho(f"warning: {warning}", fg="yellow", err=True)
    click.echo(f"journal id     {made.journal_id}")
    click.echo(f"identity key   {made.identity_key_id}")
    click.echo("Pin this key in every hub; never take it from anywhere else:")
    click.echo(made.identity_pem)


@cli.command()
@click.pass_obj
def serve(options: Options) -> None:
    """Run the appliance until SIGTERM; with --json its log is objects, one a line."""
    log_to_stderr(as_json=options.as_json)
    run(_serve(options.require_config()))


async def _serve(path: Path) -> None:
    config = load_config(path)
    locked = harden_process(allow_unlocked=config.derivation.allow_unlocked)
    appliance = Appliance(config, locked)
    server = Server(config, appliance)
    async with contextlib.AsyncExitStack() as undo:
        undo.push_async_callback(appliance.close)
        runner, port = await server.start()
        undo.push_async_callback(runner.cleanup)
        metrics = await serve_metrics(server)
        undo.pop_all()
    checks = asyncio.create_task(appliance.run())
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    click.echo(f"appliance listening on {server.where(port)}")
    sys.stdout.flush()
    await asyncio.wait(
        {checks, asyncio.create_task(stop.wait())}, return_when="FIRST_COMPLETED"
    )
    checks.cancel()
    await runner.cleanup()  # no new requests
    if metrics is not None:
        await metrics.cleanup()
    await server.drain()
    with contextlib.suppress(asyncio.CancelledError):
        await checks
    await appliance.close()


@cli.command()
@click.pass_obj
def status(options: Options) -> None:
    """Show how a running appliance is; exit 1 unless it can sign."""
    report = run(_status(options))
    if options.as_json:
        click.echo(msgspec.json.encode(report))
    else:
        _print_status(report)
    ready = report.state == "ready" and report.anchored
    sys.exit(0 if ready else EXIT_FAILED)


async def _status(options: Options) -> StatusReport:
    async with options.connect("auditor") as client:
        return await client.expect(GetStatus(request_id=new_request_id()), StatusReport)


def _print_status(report: StatusReport) -> None:
    table = Table(show_header=False, title="appliance")
    colour = _COLOURS.get(report.state, "red")
    table.add_row("state", f"[{colour}]{report.state}[/]")
    for name in (
        "reason",
        "latch_id",
        "anchored",
        "journal_id",
        "epoch",
        "sequence",
        "generation",
        "generations",
        "rotation",
        "security_level",
        "network",
        "memory_locked",
        "hsm",
        "version",
    ):
        value = getattr(report, name)
        shown = ", ".join(value) if isinstance(value, list) else str(value)
        table.add_row(name.replace("_", " "), escape(shown))
    Console().print(table)


@cli.command()
@click.option("--reason", required=True, help="Why; stands in log and latch.")
@click.pass_obj
def seal(options: Options, *, reason: str) -> None:
    """Stop all signing at once and latch it (role operator)."""
    _print_done(options, SealNow(request_id=new_request_id(), reason=reason))


@cli.command("accept-head")
@click.argument("sequence", type=int)
@click.argument("row_hash")
@click.pass_obj
def accept_head(options: Options, *, sequence: int, row_hash: str) -> None:
    """Vouch that the journal ends at SEQUENCE with ROW_HASH (role operator).

    Only where no hub holds a head token: compare with the last row that
    `journal tail` showed before the restart.
    """
    request = AcceptHead(request_id=new_request_id(), sequence=sequence, hash=row_hash)
    done = ask_or_propose(options, request, Done)
    if done is not None:
        click.echo(msgspec.json.encode(done) if options.as_json else done.message)


def _print_done(options: Options, request: SealNow) -> None:
    async def ask() -> Done:
        async with options.connect("operator-1") as client:
            return await client.expect(request, Done)

    done = run(ask())
    if options.as_json:
        click.echo(msgspec.json.encode(done))
    else:
        click.echo(done.message)


@cli.command("clear-pin")
@click.option("--pin-file", default="", help="Of `probe` or the target of a move.")
@click.pass_obj
def clear_pin(options: Options, *, pin_file: str) -> None:
    """Allow logins again after the token refused the PIN and it was corrected."""
    latches = [pin_latch_beside(pin_file)] if pin_file else []
    if not pin_file:
        config = load_config(options.require_config())
        latches = [Paths(Path(config.state_dir)).pin_latch]
        latches.append(pin_latch_beside(config.hsm.pin_file))
    set_latches = [latch for latch in latches if latch is not None and latch.exists()]
    if not set_latches:
        say("no PIN latch is set", cleared=0)
        return
    question = "Each wrong PIN may lock the token for good. Clear?"
    click.confirm(question, abort=True, err=options.as_json)
    for latch in set_latches:
        latch.unlink()
    say("cleared; the next start logs in once", cleared=len(set_latches))


for _command in (
    journal,
    verify_receipt,
    ceremony,
    trust_successor,
    policy_commands,
    operator_key,
    acts,
    approve,
    unseal,
    backup,
    join,
    officer_key,
    export_seed,
    open_seed,
    recover,
    probe,
    init_token,
    serial_key,
    doctor,
):
    cli.add_command(_command)


@cli.command("config-reference")
@click.option("--policy", is_flag=True, help="Of the policy file instead.")
def config_reference(*, policy: bool) -> None:
    """Print every configuration field with unit and default (Markdown)."""
    click.echo(reference(Policy if policy else Config))


def main() -> None:
    """Entry point of ``saltkeep-appliance``."""
    cli(prog_name="saltkeep-appliance")


if __name__ == "__main__":
    main()
