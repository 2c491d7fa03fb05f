# SPDX-License-Identifier: Apache-2.0
"""``saltkeep-appliance``: make, run and tend a signing appliance."""

import asyncio
import contextlib
import datetime as dt
import json
import logging
import signal
import sys
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
import msgspec
from rich.console import Console
from rich.table import Table

from appliance import __version__
from appliance.ceremony import FirstGeneration, Initialised, initialise
from appliance.client import (
    ApplianceClient,
    endpoint_of,
    load_endpoint,
    new_request_id,
)
from appliance.config import load_config
from appliance.config_reference import reference
from appliance.derivation import Argon2Parameters
from appliance.errors import ApplianceError, BrokenInvariantError
from appliance.hardening import harden_process
from appliance.installation import Paths, open_hsm, read_salt
from appliance.journal_chain import verify_chain
from appliance.server import Server
from appliance.service import Appliance, wall_clock_ms
from appliance.softhsm import SoftHsmOptions, make_softhsm_appliance
from appliance.wire import (
    AcceptHead,
    ApproveUnseal,
    CeremonyReport,
    Done,
    GetStatus,
    JournalRow,
    RunCeremony,
    SealNow,
    StatusReport,
)

_EXIT_FAILED = 1
_EXIT_BROKEN = 3
_COLOURS = {"ready": "green", "starting": "yellow", "unready": "yellow"}
_TIME_FORMAT = "%Y-%m-%d %H:%M:%S"
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class _Options:
    """What stands before the command's name."""

    config: Path | None
    client: Path | None
    name: str
    port: int
    as_json: bool

    def require_config(self) -> Path:
        if self.config is None:
            raise click.UsageError("this command needs --config FILE")
        return self.config

    @contextlib.asynccontextmanager
    async def connect(self, default_name: str) -> AsyncIterator[ApplianceClient]:
        if self.client is not None:
            endpoint = load_endpoint(self.client)
        else:
            name = self.name or default_name
            endpoint = endpoint_of(self.require_config(), name=name, port=self.port)
        async with ApplianceClient(endpoint) as client:
            yield client


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
    " server_spki_sha256.",
)
@click.option("--as", "name", default="", help="Client certificate (with --config).")
@click.option("--port", default=0, help="TCP port, where --config says 0.")
@click.option("--json", "as_json", is_flag=True, help="Print for machines.")
@click.pass_context
def cli(context: click.Context, /, **options: Any) -> None:  # noqa: ANN401 - click
    r"""Make, run and tend a Saltkeep signing appliance.

    Make one on SoftHSM2 and run it:

    \b
      saltkeep-appliance init --softhsm ./box --network devnet
      saltkeep-appliance --config ./box/appliance.toml serve
      saltkeep-appliance --config ./box/appliance.toml status

    Exit codes: 0 done, 1 failed or refused, 2 wrong usage, 3 the journal is broken.
    """
    context.obj = _Options(**options)


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
    help="Import a salt: a 0600 file, credential:NAME or fd:N. Default: random.",
)
@click.option("--argon2-time", default=4, show_default=True, help="Argon2 passes.")
@click.option(
    "--argon2-memory-kib", default=131_072, show_default=True, help="Argon2 memory."
)
@click.option("--argon2-variant", default="argon2id", show_default=True)
@click.option("--listen-port", default=9443, show_default=True, help="With --softhsm.")
@click.pass_obj
def init(  # noqa: PLR0913 - one argument per option
    options: _Options,
    *,
    softhsm: Path | None,
    network: str,
    level: int,
    salt_from: str,
    argon2_time: int,
    argon2_memory_kib: int,
    argon2_variant: Any,  # noqa: ANN401 - checked by msgspec
    listen_port: int,
) -> None:
    """Make keys, salt, vault and journal: once per appliance.

    With --softhsm FOLDER everything else is made too. Otherwise --config names
    the configuration of an initialised token.
    """
    argon2 = msgspec.convert(
        {
            "variant": argon2_variant,
            "time_cost": argon2_time,
            "memory_kib": argon2_memory_kib,
        },
        Argon2Parameters,
    )
    first = FirstGeneration(network, level, argon2)
    if softhsm is not None:
        made = _run(
            make_softhsm_appliance(
                softhsm,
                SoftHsmOptions(first, port=listen_port, salt_source=salt_from),
                now=dt.datetime.now(dt.UTC),  # noqa: TID251 - the program's edge
            )
        )[1]
    else:
        made = _run(_init_configured(options.require_config(), first, salt_from))
    _print_initialised(made, as_json=options.as_json)


async def _init_configured(
    path: Path, first: FirstGeneration, salt_from: str
) -> Initialised:
    config = load_config(path)
    allow_unlocked = config.derivation.allow_unlocked
    harden_process(allow_unlocked=allow_unlocked)
    salt = read_salt(salt_from, allow_unlocked=allow_unlocked) if salt_from else None
    hsm = open_hsm(config)
    try:
        return await initialise(
            Paths(Path(config.state_dir)),
            hsm,
            first,
            imported_salt=salt,
            allow_unlocked=allow_unlocked,
            now_ms=wall_clock_ms(),
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
def serve(options: _Options) -> None:
    """Run the appliance until SIGTERM."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    _run(_serve(options.require_config()))


async def _serve(path: Path) -> None:
    config = load_config(path)
    locked = harden_process(allow_unlocked=config.derivation.allow_unlocked)
    appliance = Appliance(config, locked)
    server = Server(config, appliance)
    runner, port = await server.start()
    checks = asyncio.create_task(appliance.run())
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    click.echo(f"appliance listening on https://{config.listen.host}:{port}")
    sys.stdout.flush()
    await asyncio.wait(
        {checks, asyncio.create_task(stop.wait())}, return_when="FIRST_COMPLETED"
    )
    checks.cancel()
    await runner.cleanup()  # no new requests
    await server.drain()
    with contextlib.suppress(asyncio.CancelledError):
        await checks
    await appliance.close()


@cli.command()
@click.pass_obj
def status(options: _Options) -> None:
    """Show how a running appliance is; exit 1 unless it can sign."""
    report = _run(_status(options))
    if options.as_json:
        click.echo(msgspec.json.encode(report))
    else:
        _print_status(report)
    ready = report.state == "ready" and report.anchored
    sys.exit(0 if ready else _EXIT_FAILED)


async def _status(options: _Options) -> StatusReport:
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
        "version",
    ):
        value = getattr(report, name)
        shown = ", ".join(value) if isinstance(value, list) else str(value)
        table.add_row(name.replace("_", " "), shown)
    Console().print(table)


@cli.command()
@click.option("--reason", required=True, help="Why; stands in log and latch.")
@click.pass_obj
def seal(options: _Options, *, reason: str) -> None:
    """Stop all signing at once and latch it (role operator)."""
    _print_done(options, SealNow(request_id=new_request_id(), reason=reason))


@cli.command()
@click.argument("latch_id")
@click.pass_obj
def unseal(options: _Options, *, latch_id: str) -> None:
    """Approve clearing the seal LATCH_ID (role operator, two by default)."""
    _print_done(options, ApproveUnseal(request_id=new_request_id(), latch_id=latch_id))


@cli.command("accept-head")
@click.argument("sequence", type=int)
@click.argument("row_hash")
@click.pass_obj
def accept_head(options: _Options, *, sequence: int, row_hash: str) -> None:
    """Vouch that the journal ends at SEQUENCE with ROW_HASH (role operator).

    Only where no hub holds a head token: compare with the last row that
    `journal tail` showed before the restart.
    """
    _print_done(
        options,
        AcceptHead(request_id=new_request_id(), sequence=sequence, hash=row_hash),
    )


def _print_done(
    options: _Options, request: SealNow | ApproveUnseal | AcceptHead
) -> None:
    async def ask() -> Done:
        async with options.connect("operator-1") as client:
            return await client.expect(request, Done)

    done = _run(ask())
    if options.as_json:
        click.echo(msgspec.json.encode(done))
    else:
        click.echo(done.message)


@cli.command()
@click.argument(
    "name",
    type=click.Choice(
        ["rotate-kek", "rotate-mac", "rotate-salt", "retire", "destroy-key", "abandon"]
    ),
)
@click.argument("subject", default="")
@click.option("--level", default=0, help="rotate-salt: security level, 2 or 3.")
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def ceremony(
    options: _Options, *, name: str, subject: str, level: int, dry_run: bool, yes: bool
) -> None:
    r"""Change what the vault rests on, while the appliance signs (role operator).

    \b
      rotate-kek          another key-encryption key; every secret sealed again
      rotate-mac          another key that authenticates the vault file
      rotate-salt         a new salt generation issues from now on
      retire NUMBER       a generation issues no more; its salt stays
      destroy-key LABEL   end an HSM key that nothing needs any more
      abandon             take back a rotation that was cut short

    A rotation that was cut short goes on when it is asked for again.
    """
    request = RunCeremony(
        request_id=new_request_id(),
        ceremony=name,
        subject=subject,
        security_level=level,
        dry_run=True,
    )
    report = _run(_ceremony(options, request))
    if not dry_run:
        if not (yes or options.as_json):
            click.echo("\n".join(report.steps))
            click.confirm("Do this?", abort=True)
        again = msgspec.structs.replace(
            request, request_id=new_request_id(), dry_run=False
        )
        report = _run(_ceremony(options, again))
    if options.as_json:
        click.echo(msgspec.json.encode(report))
    else:
        click.echo("\n".join(report.steps))
        click.echo("done" if report.done else "nothing was done: a dry run")


async def _ceremony(options: _Options, request: RunCeremony) -> CeremonyReport:
    async with options.connect("operator-1") as client:
        return await client.expect(request, CeremonyReport)


@cli.command("clear-pin")
@click.pass_obj
def clear_pin(options: _Options) -> None:
    """Allow logins again after the token refused the PIN and it was corrected."""
    latch = Paths(Path(load_config(options.require_config()).state_dir)).pin_latch
    if not latch.exists():
        click.echo("no PIN latch is set")
        return
    click.confirm("Each wrong PIN may lock the token for good. Clear?", abort=True)
    latch.unlink()
    click.echo("cleared; the next start logs in once")


@cli.group()
def journal() -> None:
    """Read and verify the journal (role auditor)."""


@journal.command("tail")
@click.option("-n", "count", default=20, show_default=True, help="How many rows.")
@click.pass_obj
def journal_tail(options: _Options, *, count: int) -> None:
    """Show the last rows."""
    rows = _run(_journal_rows(options))[-count:]
    if options.as_json:
        for row in rows:
            click.echo(msgspec.json.encode(row))
        return
    table = Table("row", "time (UTC)", "client", "kind", "what", "hash")
    for row in rows:
        when = dt.datetime.fromtimestamp(row.time_ms / 1000, dt.UTC)
        table.add_row(
            str(row.sequence),
            when.strftime(_TIME_FORMAT),
            row.client,
            row.kind,
            _summary(row),
            row.hash[:12],
        )
    Console().print(table)


@journal.command("export")
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@click.pass_obj
def journal_export(options: _Options, *, path: Path) -> None:
    """Write every row to PATH, one JSON object a line."""
    rows = _run(_journal_rows(options))
    path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    click.echo(f"{len(rows)} rows written to {path}")


@journal.command("verify")
@click.option(
    "--export",
    "path",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Verify an export, without an appliance.",
)
@click.pass_obj
def journal_verify(options: _Options, *, path: Path | None) -> None:
    """Check that no row was altered, dropped or reordered; exit 3 if one was."""
    if path is None:
        rows = _run(_journal_rows(options))
    else:
        lines = path.read_bytes().splitlines()
        rows = [msgspec.json.decode(line, type=JournalRow) for line in lines]
    try:
        head = verify_chain(rows)
    except BrokenInvariantError as error:
        _fail(error, code=_EXIT_BROKEN)
    if head is None:
        click.echo("the journal holds no row", err=True)
        sys.exit(_EXIT_BROKEN)
    if options.as_json:
        click.echo(json.dumps({"rows": len(rows), "head": head.hash}))
    else:
        click.echo(f"{len(rows)} rows verified; head {head.hash}")


async def _journal_rows(options: _Options) -> list[JournalRow]:
    async with options.connect("auditor") as client:
        return await client.journal()


def _summary(row: JournalRow) -> str:
    payload = json.loads(row.payload)
    match row.kind:
        case "issued":
            return f"{payload['address'][:12]}… generation {payload['generation']}"
        case "signed":
            count = len(payload["inputs"])
            return (
                f"{payload['bundle_hash'][:12]}… {count} keys,"
                f" {payload['outside_i']} i leave"
            )
        case "refused":
            return f"{payload['code']}: {payload['message'][:60]}"
        case _:
            return str(payload.get("step", ""))


@cli.command("config-reference")
def config_reference() -> None:
    """Print every configuration field with unit and default (Markdown)."""
    click.echo(reference())


def _run(work: Coroutine[Any, Any, _Result]) -> _Result:
    try:
        return asyncio.run(work)
    except ApplianceError as error:
        _fail(error, code=_EXIT_FAILED)


def _fail(error: ApplianceError, *, code: int) -> NoReturn:
    click.secho(f"{error.code}: {error}", fg="red", err=True)
    sys.exit(code)


def main() -> None:
    """Entry point of ``saltkeep-appliance``."""
    cli(prog_name="saltkeep-appliance")


if __name__ == "__main__":
    main()
