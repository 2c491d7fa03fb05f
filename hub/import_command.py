# SPDX-License-Identifier: Apache-2.0
"""``saltkeep-hub import-legacy``: bring the database of a Hub 1.4 over."""

import json
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from rich.console import Console
from rich.progress import Progress as Bars
from rich.progress import TaskID

from hub.config import Config, read_secret
from hub.legacy_import.checks import find_faults, shortfall_i
from hub.legacy_import.importing import (
    Importer,
    ImportSettings,
    Progress,
    Report,
    spent_of,
    totals_of,
)
from hub.legacy_import.rows import OldBooks
from hub.legacy_import.spent import interchange
from hub.service import open_hub
from hub.signer import commitment_of
from hub.store.legacy_source import OldDatabase

_EXIT_DIFFERS: Final = 3
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Invocation:
    """What the command line gives every part of the import.

    Attributes:
        config: Reads the hub's configuration.
        run: Runs a coroutine; its errors end the program with one line.
        as_json: Whether to print for machines.
    """

    config: Callable[[], Config]
    run: Callable[[Coroutine[Any, Any, Any]], Any]
    as_json: bool


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """Where the old database is.

    Attributes:
        url: Without a password.
        password_file: Its password, mode 0600; None: none.
        zone: Time zone its server ran in.
    """

    url: str
    password_file: Path | None
    zone: str | None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[OldDatabase]:
        """Open the old database for reading.

        Yields:
            It, closed when the block ends.
        """
        password = "" if self.password_file is None else read_secret(self.password_file)
        database = OldDatabase(self.url, password=password, zone=self.zone)
        try:
            yield database
        finally:
            await database.close()


def group(invocation_of: Callable[[click.Context], Invocation]) -> click.Group:
    """Build the command group.

    Args:
        invocation_of: Reads what the program's own options say.

    Returns:
        The group, to be added to the program.
    """

    @click.group("import-legacy")
    @click.option(
        "--source",
        required=True,
        help="mysql://USER@HOST:PORT/DB or sqlite:///FILE; no password in it.",
    )
    @click.option(
        "--password-file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="The MariaDB user's password (mode 0600).",
    )
    @click.option("--zone", help="Time zone its server ran in, e.g. Europe/Berlin.")
    @click.pass_context
    def import_legacy(
        context: click.Context,
        /,
        source: str,
        password_file: Path | None,
        zone: str | None,
    ) -> None:
        """Bring the database of a Hub 1.4 over; see docs/migrate-from-hub.md.

        The old database is only read.
        """
        source_options = SourceOptions(source, password_file, zone)
        context.obj = (invocation_of(context), source_options)

    import_legacy.add_command(check)
    import_legacy.add_command(write_interchange)
    import_legacy.add_command(adopt_ahead)
    import_legacy.add_command(run_import)
    return import_legacy


_Options = tuple[Invocation, SourceOptions]


@click.command()
@click.pass_obj
def check(options: _Options) -> None:
    """Look for what stands in the way; exit 3 if something does."""
    invocation, source = options
    books = invocation.run(_read(source))
    faults = find_faults(books)
    totals = totals_of(books) | {"surplus_i": -shortfall_i(books)}
    if invocation.as_json:
        found = [asdict(one) for one in faults]
        click.echo(json.dumps({"totals": totals, "faults": found}))
    else:
        for name, value in totals.items():
            click.echo(f"{name:20} {value}")
        for one in faults:
            click.secho(f"{one.code}: {one.subject}", fg="red")
        click.echo(f"{len(faults)} faults")
    sys.exit(_EXIT_DIFFERS if faults else 0)


@click.command("interchange")
@click.pass_obj
def write_interchange(options: _Options) -> None:
    """Print which keys have signed, for the appliance's operators to import.

    From the old database and from what the nodes have seen spent.
    """
    invocation, source = options
    click.echo(invocation.run(_interchange(invocation, source)))


_generation = click.option(
    "--generation", type=int, required=True, help="Of the salt the appliance took over."
)
_level = click.option(
    "--level", default=2, show_default=True, help="The old keySecLevel."
)


@click.command("adopt")
@_generation
@_level
@click.pass_obj
def adopt_ahead(options: _Options, *, generation: int, level: int) -> None:
    """Have unspent addresses adopted ahead, while the old Hub still runs.

    Begin again after a crash, or for addresses made since: what is adopted is not
    derived again.
    """
    invocation, source = options
    settings = ImportSettings(generation, level, pause_s=0)
    count = invocation.run(
        _with_importer(invocation, source, settings, Importer.adopt_ahead)
    )
    click.echo(f"{count} addresses are adopted, or known to have signed")


@click.command("run")
@_generation
@_level
@click.option(
    "--pause-s",
    default=60.0,
    show_default=True,
    help="Seconds between the two reads that must find the same.",
)
@click.pass_obj
def run_import(
    options: _Options, *, generation: int, level: int, pause_s: float
) -> None:
    """Import; begin again after a crash. Exit 3 if the totals differ."""
    invocation, source = options
    settings = ImportSettings(generation, level, pause_s)
    report = invocation.run(_with_importer(invocation, source, settings, Importer.run))
    _tell(report, as_json=invocation.as_json)
    sys.exit(0 if report.equal else _EXIT_DIFFERS)


async def _read(source: SourceOptions) -> OldBooks:
    async with source.open() as database:
        return await database.read()


async def _interchange(invocation: Invocation, source: SourceOptions) -> str:
    config = invocation.config()
    books = await _read(source)
    async with open_hub(config) as hub:
        with _bars(quiet=invocation.as_json) as progress:
            spent = await spent_of(books, hub.nodes, progress)
    return interchange(spent, network=config.hub.network, commit=commitment_of)


async def _with_importer(
    invocation: Invocation,
    source: SourceOptions,
    settings: ImportSettings,
    work: Callable[[Importer], Awaitable[_Result]],
) -> _Result:
    logging.basicConfig(level=logging.WARNING)
    async with source.open() as database, open_hub(invocation.config()) as hub:
        await hub.signer.status()  # brings the journal's head
        with _bars(quiet=invocation.as_json) as progress:
            importer = Importer(
                database,
                hub.store,
                hub.signer,
                hub.nodes,
                settings=settings,
                progress=progress,
            )
            return await work(importer)


@contextmanager
def _bars(*, quiet: bool) -> Iterator[Progress]:
    """Show one bar per step, on a terminal only."""
    console = Console(stderr=True)
    tasks: dict[str, TaskID] = {}
    with Bars(console=console, disable=quiet or not console.is_terminal) as bars:

        def show(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(step, total=total)
            bars.update(tasks[step], completed=done)

        yield show


def _tell(report: Report, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(asdict(report) | {"equal": report.equal}))
        return
    for name, expected in report.expected.items():
        found = report.found[name]
        mark = "" if found == expected else "  DIFFERS"
        click.echo(f"{name:20} {expected:>20} {found:>20}{mark}")
    click.echo(f"{'surplus_i':20} {report.surplus_i:>20}")
    click.echo(f"{'keys that signed':20} {report.spent:>20}")
    verdict = "equal" if report.equal else "NOT equal"
    books = "balance" if report.sound else "DO NOT balance"
    click.echo(f"the totals are {verdict}; our books {books}")
