# SPDX-License-Identifier: Apache-2.0
"""What stands before a command's name, and how a command ends."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import click
import msgspec

from appliance.client import ApplianceClient, endpoint_of, load_endpoint
from appliance.errors import ApplianceError, ConfigError

EXIT_FAILED: Final = 1
EXIT_BROKEN: Final = 3
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Options:
    """What stands before the command's name.

    Attributes:
        config: The appliance's TOML file.
        client: A client file.
        name: Which client certificate.
        port: TCP port, where ``config`` says 0.
        as_json: Print for machines.
    """

    config: Path | None
    client: Path | None
    name: str
    port: int
    as_json: bool

    def require_config(self) -> Path:
        """Return ``--config``, or end with a usage error."""
        if self.config is None:
            raise click.UsageError("this command needs --config FILE")
        return self.config

    @contextlib.asynccontextmanager
    async def connect(self, default_name: str) -> AsyncIterator[ApplianceClient]:
        """Connect to the appliance that the options name.

        Args:
            default_name: Which client certificate, where ``--as`` says nothing.

        Yields:
            An open client.
        """
        if self.client is not None:
            endpoint = load_endpoint(self.client)
        else:
            name = self.name or default_name
            endpoint = endpoint_of(self.require_config(), name=name, port=self.port)
        async with ApplianceClient(endpoint) as client:
            yield client


def run(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Run a command's work; an error of ours ends the program with its message."""
    try:
        return asyncio.run(work)
    except ApplianceError as error:
        fail(error, code=EXIT_FAILED)


def say(text: str, **fields: object) -> None:
    """Say what came of a command: for people, or an object for machines (--json).

    Args:
        text: For people.
        **fields: For machines; never a secret.
    """
    options = click.get_current_context().find_object(Options)
    for_machines = options is not None and options.as_json
    click.echo(msgspec.json.encode(fields) if for_machines else text)


@contextlib.contextmanager
def files() -> Iterator[None]:
    """End the program with one line where a file can not be read or written."""
    try:
        yield
    except OSError as error:
        fail(
            ConfigError(f"{error.filename}: {error.strerror}", code="file"),
            code=EXIT_FAILED,
        )
    except UnicodeDecodeError as error:
        fail(ConfigError(f"no text: {error}", code="file"), code=EXIT_FAILED)


def fail(error: ApplianceError, *, code: int) -> NoReturn:
    """End the program with an error's code and message."""
    click.secho(f"{error.code}: {error}", fg="red", err=True)
    sys.exit(code)
