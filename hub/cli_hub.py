# SPDX-License-Identifier: Apache-2.0
"""How a command gets at hub or database, and says what came of it."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Final, NoReturn, TypeAlias, TypeVar

import click

from hub.config import Config, load
from hub.errors import DatabaseUnavailableError, HubError
from hub.service import Hub, open_hub, open_store
from hub.store import Transaction

_Result = TypeVar("_Result")
Options: TypeAlias = tuple[Path | None, bool]
"""What the whole program was given: --config and --json."""
_EXIT_FAILED: Final = 1
_WIDE: Final = 200
_SETTLE_S: Final = 0.2
PATIENT_S: Final = 3600.0
"""What a migration, or an audit of a long history, may take; a flow may not."""


def configured(options: Options) -> Config:
    """Read the configuration; a mistake in it ends the program.

    Args:
        options: Of the whole program.

    Returns:
        What --config names.

    Raises:
        UsageError: If it names nothing.
    """
    if options[0] is None:
        raise click.UsageError("this command needs --config FILE")
    try:
        return load(options[0])
    except HubError as error:
        fail(error)


def run(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Do something to its end; a failure of the hub's ends the program.

    Args:
        work: What to do.

    Returns:
        What the work returned.
    """
    try:
        return asyncio.run(_and_settle(work))
    except HubError as error:
        fail(error)


async def _and_settle(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Let threads of a database that failed answer before the loop is closed.

    aiosqlite's thread reports to the loop once more after a failed connection, and
    prints a traceback where there is none any more.

    Returns:
        What the work returned.
    """
    try:
        return await work
    finally:
        await asyncio.sleep(_SETTLE_S)


def with_hub(options: Options, work: Callable[[Hub], Awaitable[_Result]]) -> _Result:
    """Open the hub, do one thing and close it; a failure ends the program.

    Args:
        options: Of the whole program.
        work: What to do.

    Returns:
        What the work returned.
    """
    config = configured(options)

    async def opened() -> _Result:
        async with open_hub(config) as hub:
            return await work(hub)

    return run(opened())


def read(
    options: Options, query: Callable[[Transaction], Awaitable[_Result]]
) -> _Result:
    """Ask the database one thing, without a running hub; a failure ends the program.

    Args:
        options: Of the whole program.
        query: What to ask.

    Returns:
        What the query returned.
    """
    return run(_read(configured(options), query))


async def _read(
    config: Config, query: Callable[[Transaction], Awaitable[_Result]]
) -> _Result:
    store = open_store(config, statement_timeout_s=PATIENT_S)
    try:
        async with store.reading() as tx:
            return await query(tx)
    except Exception as error:  # SQLAlchemy's types stay in the store
        what = str(error).splitlines()[0]
        raise DatabaseUnavailableError(f"{what}; is it migrated?") from error
    finally:
        await store.close()


def change(
    options: Options, work: Callable[[Transaction], Awaitable[_Result]]
) -> _Result:
    """Migrate and change the database, without a running hub; a failure ends it.

    Args:
        options: Of the whole program.
        work: What to do, in one transaction.

    Returns:
        What the work returned.
    """
    return run(_change(configured(options), work))


async def _change(
    config: Config, work: Callable[[Transaction], Awaitable[_Result]]
) -> _Result:
    store = open_store(config)
    try:
        await store.migrate()
        return await store.run(work)
    finally:
        await store.close()


def say(options: Options, text: str, **fields: object) -> None:
    """Say what came of a command: a line for people, or an object for machines.

    Args:
        options: Of the whole program.
        text: For people.
        **fields: For machines, with --json.
    """
    click.echo(json.dumps(fields) if options[1] else text)


def ask_first(options: Options, question: str, *, yes: bool) -> None:
    """Ask before something is done that can not be taken back; no ends the program.

    Args:
        options: Of the whole program; a machine (--json) is not asked.
        question: What will happen.
        yes: Whether it was said already, by --yes.
    """
    if not (yes or options[1]):
        click.confirm(question, abort=True)


def fail(error: HubError) -> NoReturn:
    """End the program: code and message in red, exit code 1.

    Args:
        error: Why.
    """
    click.secho(f"{error.code}: {error}", fg="red", err=True)
    sys.exit(_EXIT_FAILED)


def table_width() -> int | None:
    """Return how wide a table may be: a terminal's width, or wide for a file."""
    return None if sys.stdout.isatty() else _WIDE
