# SPDX-License-Identifier: Apache-2.0
"""``saltkeep-hub api-key``: the keys of /v1, in the database itself."""

import json
from typing import Final

import click

from hub.api_keys import ApiKey, KeyId, Scope, digest_of, holds, make_key
from hub.cli_hub import Options, change, read, say
from hub.clock import system_clock_ms
from hub.store import Transaction
from hub.store.audit import Done

_DAY_MS: Final = 86_400_000
_MANY: Final = 10_000
_MAX_KEY_NAME: Final = 64


@click.group("api-key")
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
def create(
    options: Options, *, name: str, scopes: tuple[str, ...], expires_days: int | None
) -> None:
    """Make a key called NAME and print it, this once."""
    if not 0 < len(name) <= _MAX_KEY_NAME or not name.isprintable():
        raise click.BadParameter("a name has 1-64 printable characters")
    fresh = make_key()

    async def add(tx: Transaction) -> None:
        expires_at_ms = None
        if expires_days is not None:
            expires_at_ms = tx.now_ms + expires_days * _DAY_MS
        await tx.api_keys.add(
            fresh.key_id,
            name=name,
            digest=digest_of(fresh.text),
            scopes={Scope(scope) for scope in scopes},
            expires_at_ms=expires_at_ms,
        )
        await _audit(tx, "create-api-key", fresh.key_id)

    change(options, add)
    say(options, fresh.text, key_id=fresh.key_id, secret=fresh.text)


@api_key.command("list")
@click.pass_obj
def show(options: Options) -> None:
    """List keys, the newest first; never their secrets."""
    keys = read(options, lambda tx: tx.api_keys.page(before_id=None, limit=_MANY))
    now_ms = system_clock_ms()
    if options[1]:
        click.echo(json.dumps([_for_machines(key, now_ms) for key in keys]))
        return
    for key in keys:
        state = "holds" if holds(key, now_ms=now_ms) else "refused"
        click.echo(f"{key.key_id}  {state}  {' '.join(_scopes(key))}  {key.name}")


def _for_machines(key: ApiKey, now_ms: int) -> dict[str, object]:
    return {
        "key_id": key.key_id,
        "name": key.name,
        "holds": holds(key, now_ms=now_ms),
        "scopes": _scopes(key),
        "created_at_ms": key.created_at_ms,
        "expires_at_ms": key.expires_at_ms,
        "revoked_at_ms": key.revoked_at_ms,
        "last_used_at_ms": key.last_used_at_ms,
    }


def _scopes(key: ApiKey) -> list[str]:
    return sorted(scope.value for scope in key.scopes)


@api_key.command("revoke")
@click.argument("key_id")
@click.pass_obj
def revoke(options: Options, *, key_id: str) -> None:
    """Refuse the key KEY_ID from now on, in every running hub."""

    async def work(tx: Transaction) -> None:
        await tx.api_keys.revoke(KeyId(key_id))
        await _audit(tx, "revoke-api-key", key_id)

    change(options, work)
    say(options, f"{key_id} is refused from now on", key_id=key_id, holds=False)


async def _audit(tx: Transaction, operation: str, key_id: str) -> None:
    await tx.audit.add(
        Done(
            actor="cli", request_id="", operation=operation, subject=f"api-key {key_id}"
        )
    )
