# SPDX-License-Identifier: Apache-2.0
"""``saltkeep-hub why``: why a withdrawal or a sweep waits, and what to do about it."""

import datetime as dt
import json
from dataclasses import asdict
from typing import Final

import click

from hub.cli_hub import Options, with_hub
from hub.explanation import Explanation, Standing
from hub.model import BundleHash
from hub.service import Hub
from hub.withdrawals import parse_uuid
from trinary.trytes import is_trytes

_HASH_TRYTES: Final = 81
_COLOURS: Final = {
    Standing.DONE: "green",
    Standing.MOVING: "cyan",
    Standing.HELD: "yellow",
}


@click.command("why")
@click.argument("name", metavar="UUID|BUNDLE")
@click.pass_obj
def why(options: Options, *, name: str) -> None:
    """Say why a withdrawal (its UUID) or a sweep (its bundle hash) waits.

    Asks nodes and appliances by itself, a hub need not run. Changes nothing.
    """

    async def work(hub: Hub) -> Explanation:
        await hub.surroundings.tick()
        if is_trytes(name, length=_HASH_TRYTES):
            return await hub.explainer.sweep(BundleHash(name))
        return await hub.explainer.withdrawal(parse_uuid(name))

    found = with_hub(options, work)
    if options[1]:
        click.echo(json.dumps(as_json(found)))
    else:
        _show(found)


def as_json(found: Explanation) -> dict[str, object]:
    """Return an explanation as JSON has it.

    Args:
        found: The explanation.

    Returns:
        Its fields, with words for what is a word.
    """
    look = None if found.look is None else found.look.value
    return asdict(found) | {"standing": found.standing.value, "look": look}


def _show(found: Explanation) -> None:
    colour = _COLOURS[found.standing]
    click.secho(f"{found.headline} ({found.code})", fg=colour, bold=True)
    if found.detail:
        click.echo(found.detail)
    if found.since_ms is not None:
        since = dt.datetime.fromtimestamp(found.since_ms / 1000, dt.UTC)
        click.echo(f"since {since:%Y-%m-%d %H:%M:%S} UTC")
    if found.also:
        click.echo(f"also: {', '.join(found.also)}")
    if found.cure:
        click.echo(f"what to do: {found.cure}")
