# SPDX-License-Identifier: Apache-2.0
"""How a command works on an opened hub and fails for people."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

import click

from hub.config import load
from hub.errors import HubError
from hub.service import Hub, open_hub

_Result = TypeVar("_Result")
Options: TypeAlias = tuple[Path | None, bool]
"""What the whole program was given: --config and --json."""
_EXIT_FAILED: Final = 1
_WIDE: Final = 200


def with_hub(options: Options, work: Callable[[Hub], Awaitable[_Result]]) -> _Result:
    """Open the hub, do one thing and close it; a failure ends the program.

    Args:
        options: Of the whole program.
        work: What to do.

    Returns:
        What the work returned.

    Raises:
        UsageError: If no configuration is named.
    """
    path = options[0]
    if path is None:
        raise click.UsageError("this command needs --config FILE")

    async def run() -> _Result:
        async with open_hub(load(path)) as hub:
            return await work(hub)

    try:
        return asyncio.run(run())
    except HubError as error:
        click.secho(f"{error.code}: {error}", fg="red", err=True)
        sys.exit(_EXIT_FAILED)


def table_width() -> int | None:
    """Return how wide a table may be: a terminal's width, or wide for a file."""
    return None if sys.stdout.isatty() else _WIDE
