# SPDX-License-Identifier: Apache-2.0
"""``saltkeep-hub cold``: move value to addresses whose keys are in a safe, and back."""

import json
from dataclasses import asdict

import click
from rich.console import Console
from rich.table import Table

from hub import cold
from hub.addresses import parse_address
from hub.cli_hub import Options, ask_first, say, table_width, with_hub
from hub.errors import ColdStorageError
from hub.model import ColdAddress
from hub.service import Hub
from hub.withdrawals import cancel_withdrawal, parse_uuid
from trinary.kerl import with_checksum


@click.group("cold")
def cold_group() -> None:
    """Cold storage: addresses of yours whose keys neither hub nor appliance has.

    \b
      saltkeep-hub --config hub.toml cold add vault-1 ADDRESS90
      saltkeep-hub --config hub.toml cold move vault-1 5000000
      saltkeep-hub --config hub.toml cold list
      saltkeep-hub --config hub.toml cold bring-back vault-1
      saltkeep-hub --config hub.toml cold returned vault-1 5000000
    """  # noqa: D301 - click's mark against wrapping


@cold_group.command("add")
@click.argument("label")
@click.argument("address")
@click.pass_obj
def add(options: Options, *, label: str, address: str) -> None:
    """Record ADDRESS (90 trytes, with its checksum) under LABEL."""

    async def work(hub: Hub) -> None:
        text = parse_address(address, checksum=True)
        await cold.add_cold_address(hub.store, hub.nodes, label=label, address=text)

    with_hub(options, work)
    say(options, f"{label} is recorded", label=label)


@cold_group.command("list")
@click.pass_obj
def show(options: Options) -> None:
    """List the cold addresses and what they hold."""

    async def work(hub: Hub) -> list[ColdAddress]:
        async with hub.store.reading() as tx:
            return await tx.cold.all()

    found = with_hub(options, work)
    if options[1]:
        click.echo(json.dumps([asdict(one) for one in found]))
        return
    table = Table("label", "address", "iota", "on the way", "state", title="cold")
    for one in found:
        table.add_row(
            one.label,
            with_checksum(one.address),
            str(one.balance_i),
            str(one.on_the_way_i),
            "closed" if one.closed else "open",
        )
    Console(width=table_width()).print(table)


@cold_group.command("move")
@click.argument("label")
@click.argument("amount_i", type=int)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def move(options: Options, *, label: str, amount_i: int, yes: bool) -> None:
    """Move AMOUNT_I iota to LABEL with the next sweeps."""
    ask_first(options, f"Move {amount_i} i to {label}?", yes=yes)

    async def work(hub: Hub) -> str:
        return await cold.move_to_cold(
            hub.store, hub.nodes, label=label, amount_i=amount_i
        )

    uuid = with_hub(options, work)
    said = f"move {uuid}: {amount_i} i go to {label} with the next sweeps"
    say(options, said, uuid=uuid, label=label, amount_i=amount_i)


@cold_group.command("cancel")
@click.argument("uuid")
@click.pass_obj
def cancel(options: Options, *, uuid: str) -> None:
    """Call off the move UUID, if no sweep has taken it."""

    async def work(hub: Hub) -> None:
        name = parse_uuid(uuid)
        async with hub.store.reading() as tx:
            if await tx.cold.moved_by(name) is None:
                raise ColdStorageError(f"{uuid} is no move to cold storage")
        await cancel_withdrawal(hub.store, name)

    with_hub(options, work)
    say(options, f"move {uuid} is called off", uuid=uuid)


@cold_group.command("bring-back")
@click.argument("label")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def bring_back(options: Options, *, label: str, yes: bool) -> None:
    """Print an address to pay everything to from LABEL, which is closed by this."""
    ask_first(options, f"Close {label} for ever?", yes=yes)

    async def work(hub: Hub) -> str:
        return await cold.bring_back(hub.store, hub.signer, hub.nodes, label=label)

    address = with_checksum(with_hub(options, work))
    said = (
        f"{label} is closed; from it, pay everything to\n{address}\n"
        f"once that is confirmed: saltkeep-hub cold returned {label} AMOUNT"
    )
    say(options, said, label=label, address=address)


@cold_group.command("returned")
@click.argument("label")
@click.argument("amount_i", type=int)
@click.pass_obj
def returned(options: Options, *, label: str, amount_i: int) -> None:
    """Book that AMOUNT_I iota of the owner's deposits came from LABEL."""

    async def work(hub: Hub) -> None:
        await cold.book_return(hub.store, label=label, amount_i=amount_i)

    with_hub(options, work)
    say(options, f"{amount_i} i are back from {label}", label=label, amount_i=amount_i)
