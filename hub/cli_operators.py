# SPDX-License-Identifier: Apache-2.0
"""``saltkeep-hub operator``: who may use the dashboard, in the database itself.

A password is typed hidden, or read from standard input where that is no terminal;
never an argument and never in the environment.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import NoReturn

import click

from hub.cli_hub import Options
from hub.config import load
from hub.errors import HubError
from hub.operators import MOST_PASSWORD, Role, parse_name, require_password
from hub.passwords import Passwords
from hub.service import open_store
from hub.store import Transaction
from hub.store.audit import Done

_ROLE = click.Choice([role.value for role in Role])


@click.group("operator")
def operator_group() -> None:
    """Operators of the dashboard: add, list, change and disable them.

    \b
      saltkeep-hub --config hub.toml operator add ana --role operator
      saltkeep-hub --config hub.toml operator list

    Roles: a viewer sees money and machines; an operator may cancel withdrawals and
    reattach sweeps as well, and reads the audit; an admin sees the operators too. A
    password is asked for, or read as one line from standard input.
    """  # noqa: D301 - click's mark against wrapping


@operator_group.command("add")
@click.argument("name")
@click.option("--role", type=_ROLE, required=True, help="What it may do.")
@click.pass_obj
def add(options: Options, *, name: str, role: str) -> None:
    """Add the operator NAME."""

    async def work(tx: Transaction) -> None:
        await tx.operators.add(name, role=Role(role), password_hash=hashed)
        await _note(tx, "add-operator", f"operator {name}, {role}")

    hashed = _fresh_hash(name)
    _change(options, work)
    click.echo(f"{name} may log in as {role}")


@operator_group.command("list")
@click.pass_obj
def list_all(options: Options) -> None:
    """List the operators; never their passwords' hashes."""

    async def work(tx: Transaction) -> None:
        for one in await tx.operators.all():
            state = "enabled" if one.disabled_at_ms is None else "disabled"
            found.append({"name": one.name, "role": one.role.value, "state": state})

    found: list[dict[str, str]] = []
    _change(options, work)
    if options[1]:
        click.echo(json.dumps(found))
        return
    for row in found:
        click.echo(f"{row['name']:32}  {row['role']:8}  {row['state']}")


@operator_group.command("password")
@click.argument("name")
@click.pass_obj
def password(options: Options, *, name: str) -> None:
    """Give the operator NAME another password; its sessions end."""

    async def work(tx: Transaction) -> None:
        await tx.operators.set_password(name, hashed)
        await _note(tx, "set-operator-password", f"operator {name}")

    hashed = _fresh_hash(name)
    _change(options, work)
    click.echo(f"{name} has another password, and no session any more")


@operator_group.command("role")
@click.argument("name")
@click.argument("role", type=_ROLE)
@click.pass_obj
def change_role(options: Options, *, name: str, role: str) -> None:
    """Give the operator NAME another ROLE; its sessions end."""

    async def work(tx: Transaction) -> None:
        await tx.operators.set_role(name, Role(role))
        await _note(tx, "set-operator-role", f"operator {name}, {role}")

    _change(options, work)
    click.echo(f"{name} is {role} from the next log-in on")


@operator_group.command("disable")
@click.argument("name")
@click.pass_obj
def disable(options: Options, *, name: str) -> None:
    """Let the operator NAME in no more; its sessions end."""

    async def work(tx: Transaction) -> None:
        await tx.operators.disable(name)
        await _note(tx, "disable-operator", f"operator {name}")

    _change(options, work)
    click.echo(f"{name} is let in no more")


@operator_group.command("enable")
@click.argument("name")
@click.pass_obj
def enable(options: Options, *, name: str) -> None:
    """Let the operator NAME log in again."""

    async def work(tx: Transaction) -> None:
        await tx.operators.enable(name)
        await _note(tx, "enable-operator", f"operator {name}")

    _change(options, work)
    click.echo(f"{name} may log in again")


def _fresh_hash(name: str) -> str:
    try:
        parse_name(name)
        if sys.stdin.isatty():
            text = click.prompt("Password", hide_input=True, confirmation_prompt=True)
        else:
            text = sys.stdin.readline(MOST_PASSWORD + 2).rstrip("\r\n")
        require_password(text, name=name)
    except HubError as error:
        _fail(error)
    return asyncio.run(Passwords().hash(text))


async def _note(tx: Transaction, operation: str, subject: str) -> None:
    await tx.audit.add(Done("cli", "", operation, subject))


def _change(options: Options, work: Callable[[Transaction], Awaitable[None]]) -> None:
    path = options[0]
    if path is None:
        raise click.UsageError("this command needs --config FILE")

    async def run() -> None:
        store = open_store(load(path))
        try:
            await store.migrate()
            await store.run(work)
        finally:
            await store.close()

    try:
        asyncio.run(run())
    except HubError as error:
        _fail(error)


def _fail(error: HubError) -> NoReturn:
    click.secho(f"{error.code}: {error}", fg="red", err=True)
    sys.exit(1)
