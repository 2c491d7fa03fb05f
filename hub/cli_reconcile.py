# SPDX-License-Identifier: Apache-2.0
"""``saltkeep-hub reconcile``, ``reattach`` and ``quarantine``: when figures differ."""

import json
import sys
from dataclasses import asdict
from typing import Final

import click
from rich.console import Console
from rich.table import Table

from hub.addresses import parse_address
from hub.cli_hub import Options, ask_first, say, table_width, with_hub
from hub.model import BundleHash, Deposit, DepositId, DepositState, OwnAddress
from hub.reconciler import ADVICE, Finding
from hub.service import Hub
from hub.store.deposits import NO_TRANSACTION

_EXIT_DIFFERS: Final = 3


@click.command("reconcile")
@click.pass_obj
def reconcile(options: Options) -> None:
    """Compare Tangle, books and appliance; exit 3 if they differ. Changes nothing.

    With reconciler.auditor_certificate the appliance's whole journal is read as well.
    """
    findings = with_hub(options, lambda hub: hub.reconciler.whole())
    if options[1]:
        click.echo(json.dumps([_as_json(finding) for finding in findings]))
    elif findings:
        _print(findings)
    else:
        click.echo("Tangle, books and appliance agree")
    sys.exit(_EXIT_DIFFERS if findings else 0)


def _as_json(finding: Finding) -> dict[str, object]:
    return asdict(finding) | {"kind": finding.kind.value, "pages": finding.pages}


def _print(findings: list[Finding]) -> None:
    table = Table("what", "address", "bundle", "books", "Tangle", title="differences")
    for one in findings:
        style = "bold red" if one.pages else "yellow"
        table.add_row(
            one.kind.value,
            one.address or "-",
            one.bundle_hash or "-",
            str(one.books_i),
            str(one.tangle_i),
            style=style,
        )
    Console(width=table_width()).print(table)
    for kind in dict.fromkeys(finding.kind for finding in findings):
        click.echo(f"{kind.value}: {ADVICE[kind]}")


@click.command("reattach")
@click.argument("bundle_hash")
@click.pass_obj
def reattach(options: Options, *, bundle_hash: str) -> None:
    """Send BUNDLE_HASH, as the appliance signed it, to the nodes once more.

    For what `reconcile` calls signed-unknown. The bundle is fetched from the appliance,
    never built anew: its keys have signed this one and sign no other.
    """

    async def work(hub: Hub) -> str:
        name = BundleHash(parse_address(bundle_hash, checksum=False))
        return await hub.attachments.attach_signed(await hub.signer.fetch_trytes(name))

    tail = with_hub(options, work)
    say(options, f"attached with tail {tail}", tail=tail)


@click.group("quarantine")
def quarantine() -> None:
    """Deposits held back: late ones to spent addresses, and those without a history.

    \b
      saltkeep-hub --config hub.toml quarantine list
      saltkeep-hub --config hub.toml quarantine release DEPOSIT_ID
    """  # noqa: D301 - click's mark against wrapping


@quarantine.command("list")
@click.pass_obj
def list_held(options: Options) -> None:
    """List what is held back, and what would free it."""

    async def work(hub: Hub) -> list[tuple[Deposit, OwnAddress]]:
        async with hub.store.reading() as tx:
            held = await tx.deposits.in_state(DepositState.QUARANTINED)
            return [(one, await tx.addresses.by_id(one.address_id)) for one in held]

    held = with_hub(options, work)
    if options[1]:
        click.echo(json.dumps([_held_as_json(*one) for one in held]))
        return
    table = Table("deposit", "address", "iota", "why", "cure", title="held back")
    for deposit, own in held:
        table.add_row(
            str(deposit.deposit_id),
            own.address,
            str(deposit.seen.amount_i),
            _why(deposit, own),
            _cure(own),
        )
    Console(width=table_width()).print(table)


@quarantine.command("release")
@click.argument("deposit_id", type=int)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def release(options: Options, *, deposit_id: int, yes: bool) -> None:
    """Let DEPOSIT_ID take part in sweeps: you have found out where it came from."""
    ask_first(options, f"Release deposit {deposit_id}?", yes=yes)

    async def work(hub: Hub) -> None:
        await hub.store.run(lambda tx: tx.deposits.release(DepositId(deposit_id)))

    with_hub(options, work)
    say(options, f"deposit {deposit_id} is released", deposit_id=deposit_id)


def _held_as_json(deposit: Deposit, own: OwnAddress) -> dict[str, object]:
    return {
        "deposit_id": deposit.deposit_id,
        "address": own.address,
        "address_state": own.state.value,
        "amount_i": deposit.seen.amount_i,
        "why": _why(deposit, own),
        "cure": _cure(own),
    }


def _why(deposit: Deposit, own: OwnAddress) -> str:
    if own.state.value == "spent":
        return "came after its address was spent from"
    if deposit.seen.tail_hash == NO_TRANSACTION:
        return "no transaction explains it: its history may be pruned"
    return "its address is held back"


def _cure(own: OwnAddress) -> str:
    spent = own.state.value == "spent"
    return "RecoverFunds, two operators" if spent else "quarantine release"
