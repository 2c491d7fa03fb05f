# SPDX-License-Identifier: Apache-2.0
"""A second signature by hand: draft the bundle, mine it, propose it, fetch it."""

import asyncio
import json
from pathlib import Path
from typing import Any, Final

import click
import msgspec
from rich.console import Console
from rich.progress import Progress

from appliance.cli.approvals import propose
from appliance.cli.options import EXIT_FAILED, Options, fail, files, run, say
from appliance.client import ApplianceClient, new_request_id
from appliance.errors import ConfigError, FaultError
from appliance.intent import computed_hash
from appliance.service import wall_clock_ms
from appliance.wire import (
    CancelMining,
    FetchBundle,
    Fetched,
    InputClaim,
    JournalRow,
    MineBundle,
    MiningReport,
    MiningStatus,
    SecondSignature,
    ShownTransaction,
)

_FILE = click.Path(path_type=Path, dir_okay=False)
_TAG: Final = "9" * 27
_POLL_S: Final = 0.25


@click.group()
def recover() -> None:
    """Let a key that has signed sign once more, approved by two operators.

    For value that came late to a spent address. `draft` a bundle, `mine` it so that
    it gives away least, `propose` it, let operators `approve`, then `fetch` it.
    """


@recover.command("draft")
@click.argument("address")
@click.argument("amount_i", type=click.IntRange(min=1))
@click.option("--to", "receiver", required=True, help="Where the value goes.")
@click.option("--own", is_flag=True, help="--to is an address of ours.")
@click.option("--seed-uuid", default="", help="Where the journal does not show it.")
@click.option("--out", type=_FILE, required=True, help="The draft, a new file.")
@click.option(
    "--purpose",
    type=click.Choice(["recover-funds", "sign-bundle"]),
    default="recover-funds",
    show_default=True,
)
@click.pass_obj
def draft(  # noqa: PLR0913 - one argument per option
    options: Options,
    *,
    address: str,
    amount_i: int,
    receiver: str,
    own: bool,
    seed_uuid: str,
    out: Path,
    purpose: Any,  # noqa: ANN401 - a literal, by click
) -> None:
    """Write a bundle that moves AMOUNT_I iota from the spent ADDRESS.

    The key is looked up in the journal: in the row of what the address signed.
    """

    async def ask() -> list[JournalRow]:
        async with options.connect("operator-1") as client:
            return await client.journal()

    rows = run(ask())
    issued = _issued(rows, address)
    uuid = seed_uuid or _seed_uuid(rows, address)
    carriers = [ShownTransaction(address, 0, _TAG, 0)] * (issued["security_level"] - 1)
    unsigned = [
        ShownTransaction(address, -amount_i, _TAG, 0),
        *carriers,
        ShownTransaction(receiver, amount_i, _TAG, 0),
    ]
    now_s = wall_clock_ms() // 1000
    transactions = [msgspec.structs.replace(one, timestamp_s=now_s) for one in unsigned]
    act = SecondSignature(
        request_id="",
        purpose=purpose,
        transactions=transactions,
        bundle_hash=computed_hash(transactions),
        inputs=[InputClaim(0, uuid, issued["generation"])],
        spent_inputs=[0],
        own_outputs=[len(transactions) - 1] if own else [],
    )
    with files(), out.open("xb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(act)))
    said = f"bundle {act.bundle_hash} drafted in {out}: mine it next"
    say(said, bundle_hash=act.bundle_hash, draft=str(out))


@recover.command("mine")
@click.argument("path", type=_FILE)
@click.option("--tries", default=20_000_000, show_default=True, help="Tags to try.")
@click.pass_obj
def mine(options: Options, *, path: Path, tries: int) -> None:
    """Have the appliance look for the tag that gives away least; PATH gets it."""
    act = _read(path)
    request = MineBundle(
        request_id=new_request_id(),
        transactions=act.transactions,
        inputs=act.inputs,
        own_outputs=act.own_outputs,
        tries=tries,
    )
    report = run(_mine(options, request))
    if report.state != "done":
        message = f"the search is {report.state}: {report.message}"
        fail(FaultError(message, code="mining"), code=EXIT_FAILED)
    first, *rest = act.transactions
    tagged = msgspec.structs.replace(first, obsolete_tag=report.obsolete_tag)
    mined = msgspec.structs.replace(
        act, transactions=[tagged, *rest], bundle_hash=report.bundle_hash
    )
    with files():
        path.write_bytes(msgspec.json.format(msgspec.json.encode(mined)))
    if options.as_json:
        click.echo(msgspec.json.encode(report))
        return
    for one in report.exposures:
        click.echo(
            f"input {one.index}: {one.bits_before:.1f} bits left now,"
            f" {one.bits_after:.1f} after this"
        )
    click.echo(f"bundle {report.bundle_hash} mined, {report.tried} tags tried")


@recover.command("status")
@click.argument("job")
@click.pass_obj
def status(options: Options, *, job: str) -> None:
    """Print how the search JOB is getting on (JSON)."""
    _ask_mining(options, MiningStatus(request_id=new_request_id(), job=job))


@recover.command("cancel")
@click.argument("job")
@click.pass_obj
def cancel(options: Options, *, job: str) -> None:
    """End the search JOB (JSON)."""
    _ask_mining(options, CancelMining(request_id=new_request_id(), job=job))


@recover.command("propose")
@click.argument("path", type=_FILE)
@click.pass_obj
def propose_draft(options: Options, *, path: Path) -> None:
    """Propose the mined bundle in PATH; operators then `approve` it."""
    propose(options, _read(path))


@recover.command("fetch")
@click.argument("bundle_hash")
@click.option("--out", type=_FILE, required=True, help="A new file.")
@click.pass_obj
def fetch(options: Options, *, bundle_hash: str, out: Path) -> None:
    """Write a signed bundle, transactions and signatures, as JSON."""

    async def ask() -> Fetched:
        async with options.connect("operator-1") as client:
            return await client.expect(
                FetchBundle(request_id=new_request_id(), bundle_hash=bundle_hash),
                Fetched,
            )

    fetched = run(ask())
    with files(), out.open("xb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(fetched)))
    inputs = len(fetched.signatures)
    said = f"bundle {bundle_hash}: {inputs} inputs signed, {out}"
    say(said, bundle_hash=bundle_hash, inputs=inputs, bundle=str(out))


async def _mine(options: Options, request: MineBundle) -> MiningReport:
    async with options.connect("operator-1") as client:
        report = await client.expect(request, MiningReport)
        console = Console(stderr=True, quiet=options.as_json)
        with Progress(console=console) as progress:
            bar = progress.add_task(f"mining, job {report.job}", total=report.tries)
            try:
                while report.state == "running":
                    await asyncio.sleep(_POLL_S)
                    report = await _status(client, report.job)
                    progress.update(
                        bar, completed=report.tried, description=_told(report)
                    )
            except asyncio.CancelledError:  # Ctrl-C ends the search as well
                await client.ask(
                    CancelMining(request_id=new_request_id(), job=report.job)
                )
                raise
    return report


async def _status(client: ApplianceClient, job: str) -> MiningReport:
    request = MiningStatus(request_id=new_request_id(), job=job)
    return await client.expect(request, MiningReport)


def _told(report: MiningReport) -> str:
    least = min((one.bits_after for one in report.exposures), default=0.0)
    return f"mining, job {report.job}, best {least:.1f} bits"


def _ask_mining(options: Options, request: MiningStatus | CancelMining) -> None:
    async def ask() -> MiningReport:
        async with options.connect("operator-1") as client:
            return await client.expect(request, MiningReport)

    click.echo(msgspec.json.encode(run(ask())))


def _read(path: Path) -> SecondSignature:
    try:
        with files():
            return msgspec.json.decode(path.read_bytes(), type=SecondSignature)
    except msgspec.DecodeError as error:
        message = f"{path} is no draft of `recover draft`: {error}"
        fail(ConfigError(message), code=EXIT_FAILED)


def _issued(rows: list[JournalRow], address: str) -> dict[str, Any]:
    """Return what the journal says was issued at an address, or end the program."""
    payloads = (json.loads(row.payload) for row in rows if row.kind == "issued")
    found: dict[str, Any] | None = next(
        (one for one in payloads if one["address"] == address), None
    )
    if found is None:
        fail(ConfigError(f"{address:.90} was not issued here"), code=EXIT_FAILED)
    return found


def _seed_uuid(rows: list[JournalRow], address: str) -> str:
    """Return the seed UUID by which an address has signed, or end the program."""
    payloads = (json.loads(row.payload) for row in rows if row.kind == "signed")
    found = [
        str(seed_uuid)
        for payload in payloads
        for index, seed_uuid, _ in payload["inputs"]
        if payload["transactions"][index][0] == address
    ]
    if not found:
        error = ConfigError("this address signed nothing here: give --seed-uuid")
        fail(error, code=EXIT_FAILED)
    return found[0]
