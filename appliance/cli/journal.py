# SPDX-License-Identifier: Apache-2.0
"""What auditors ask: the journal's rows, their chain, checkpoints, receipts."""

import datetime as dt
import json
from collections import deque
from collections.abc import Collection
from pathlib import Path
from typing import Final

import click
import msgspec
from rich.console import Console
from rich.table import Table

from appliance.approved import require_doors
from appliance.cli.options import (
    EXIT_BROKEN,
    EXIT_FAILED,
    Options,
    fail,
    files,
    run,
    say,
)
from appliance.client import new_request_id
from appliance.errors import BrokenInvariantError, RefusedError
from appliance.journal_chain import (
    Chain,
    CheckpointClaims,
    read_checkpoint,
    require_claims,
)
from appliance.journal_export import verify_export
from appliance.receipt import RECEIPT_TYPE, read_statement
from appliance.wire import Checkpoint, JournalRow, MakeCheckpoint

_TIME_FORMAT: Final = "%Y-%m-%d %H:%M:%S"


@click.group()
def journal() -> None:
    """Read and verify the journal (role auditor)."""


@journal.command("tail")
@click.option("-n", "count", default=20, show_default=True, help="How many rows.")
@click.pass_obj
def journal_tail(options: Options, *, count: int) -> None:
    """Show the last rows."""
    rows = run(_last_rows(options, count))
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
def journal_export(options: Options, *, path: Path) -> None:
    """Write every row to PATH, one JSON object a line."""
    rows = run(_export(options, path))
    say(f"{rows} rows written to {path}", rows=rows, path=str(path))


@journal.command("verify")
@click.option(
    "--export",
    "path",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Verify an export, without an appliance.",
)
@click.option(
    "--checkpoint",
    "checkpoints",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A checkpoint kept elsewhere; finds a truncated end. Repeatable.",
)
@click.option(
    "--identity",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="PEM of the identity key printed by `init`; with --checkpoint.",
)
@click.pass_obj
def journal_verify(
    options: Options,
    *,
    path: Path | None,
    checkpoints: tuple[Path, ...],
    identity: Path | None,
) -> None:
    """Check that no row was altered, dropped or reordered; exit 3 if one was."""
    if checkpoints and identity is None:
        raise click.UsageError("--checkpoint needs --identity")
    try:
        kept = _checkpoints(checkpoints, identity)
        keep = {claims.sequence for claims in kept}
        if path is None:
            chain = run(_verified(options, keep))
        else:
            with files():
                chain = verify_export(path, keep=keep)
        head = chain.end()
        require_doors(chain.doors)
        for claims in kept:
            require_claims(chain, claims)
    except (BrokenInvariantError, RefusedError) as error:
        fail(error, code=EXIT_BROKEN)
    if options.as_json:
        click.echo(json.dumps({"rows": head.sequence, "head": head.hash}))
    else:
        click.echo(f"{head.sequence} rows verified; head {head.hash}")


def _checkpoints(
    paths: tuple[Path, ...], identity: Path | None
) -> list[CheckpointClaims]:
    """Read the checkpoints that were kept elsewhere; the key must have signed them."""
    if identity is None:
        return []
    with files():
        pem = identity.read_bytes()
        statements = [path.read_text() for path in paths]
    return [read_checkpoint(text, identity_pem=pem) for text in statements]


@journal.command("checkpoint")
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@click.pass_obj
def journal_checkpoint(options: Options, *, path: Path) -> None:
    """Have the HSM sign where the journal ends, and write that to PATH.

    Keep it where neither the appliance nor the hub can reach it.
    """

    async def ask() -> Checkpoint:
        async with options.connect("auditor") as client:
            request = MakeCheckpoint(request_id=new_request_id())
            return await client.expect(request, Checkpoint)

    statement = run(ask()).statement
    with files():
        path.write_text(statement + "\n")
    say(f"checkpoint written to {path}", path=str(path))


@click.command("verify-receipt")
@click.argument("receipt")
@click.option(
    "--identity",
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="PEM of the identity key printed by `init`.",
)
@click.option("--address", default="", help="81 trytes it must be for.")
@click.pass_obj
def verify_receipt(
    options: Options, *, receipt: str, identity: Path, address: str
) -> None:
    """Check a deposit address RECEIPT and show what it says; needs no appliance."""
    with files():
        pem = identity.read_bytes()
    try:
        claims = read_statement(receipt, kind=RECEIPT_TYPE, identity_pem=pem)
    except RefusedError as error:
        fail(error, code=EXIT_FAILED)
    if address and claims.get("address") != address:
        other = RefusedError("statement", f"it is for {claims.get('address')}")
        fail(other, code=EXIT_FAILED)
    if options.as_json:
        click.echo(json.dumps(claims))
        return
    for name, value in claims.items():
        click.echo(f"{name:16} {value}")


async def _last_rows(options: Options, count: int) -> list[JournalRow]:
    last: deque[JournalRow] = deque(maxlen=count)
    async with options.connect("auditor") as client:
        async for rows in client.journal_pages():
            last += rows
    return list(last)


async def _export(options: Options, path: Path) -> int:
    """Write page by page; returns how many rows."""
    count = 0
    with files():
        file = path.open("wb")
    with file:
        async with options.connect("auditor") as client:
            async for rows in client.journal_pages():
                with files():
                    file.writelines(msgspec.json.encode(row) + b"\n" for row in rows)
                count += len(rows)
    return count


async def _verified(options: Options, keep: Collection[int]) -> Chain:
    """Check page by page what a running appliance shows."""
    chain = Chain(keep)
    async with options.connect("auditor") as client:
        async for rows in client.journal_pages():
            chain.take(rows)
    return chain


def _summary(row: JournalRow) -> str:
    payload = json.loads(row.payload)
    match row.kind:
        case "issued":
            return f"{payload['address'][:12]}… generation {payload['generation']}"
        case "signed":
            count = len(payload["inputs"])
            again = f", {payload['purpose']}" if "door" in payload else ""
            return (
                f"{payload['bundle_hash'][:12]}… {count} keys,"
                f" {payload['outside_i']} i leave{again}"
            )
        case "refused":
            return f"{payload['code']}: {payload['message'][:60]}"
        case _:
            return str(payload.get("step", ""))
