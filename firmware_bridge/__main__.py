# SPDX-License-Identifier: Apache-2.0
"""``saltkeep-panel``: pair a panel, watch it, test it, and try one without a board."""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

import click
from rich.live import Live

from firmware_bridge import pairing
from firmware_bridge.attestation import Attestation
from firmware_bridge.dashboard import Dashboard, event_fields
from firmware_bridge.errors import BridgeError
from firmware_bridge.firmware_identity import firmware_hash
from firmware_bridge.key_file import make_key, read_key
from firmware_bridge.keys import wipe
from firmware_bridge.panel import Panel, PanelSettings
from firmware_bridge.panel_events import Lost, PanelEvent
from firmware_bridge.simulate_command import simulate
from firmware_bridge.trace import TraceWriter, replay

_PATH: Final = click.Path(path_type=Path, dir_okay=False)
_TRUSTED_HELP: Final = (
    "SHA-256 of firmware that may run there; repeat for several."
    " Default: this release's for RP2040 boards."
)


class _Session:
    """The options of a command that needs a session."""

    def __init__(self, device: str, key_file: Path, trust: tuple[str, ...]) -> None:
        self.key_file = key_file
        try:
            hashes = frozenset(bytes.fromhex(text) for text in trust)
        except ValueError:
            raise click.BadParameter("--trust takes 64 hex characters") from None
        self.settings = PanelSettings(
            device=device, trusted_firmware=hashes or frozenset({firmware_hash("rp2")})
        )

    @contextlib.asynccontextmanager
    async def open(self, trace: TraceWriter | None = None) -> AsyncIterator["_Opened"]:
        async with Panel(self.settings, tap=trace.tap if trace else None) as panel:
            events = panel.watch()  # before connecting, to miss nothing
            attested = await panel.connect(read_key(self.key_file))
            yield _Opened(panel, attested, events)


@dataclass(frozen=True, slots=True)
class _Opened:
    panel: Panel
    attested: Attestation
    events: AsyncIterator[PanelEvent]


def _session_options(function: Any) -> Any:  # noqa: ANN401 - as click has it
    for option in (
        click.option("--trust", multiple=True, help=_TRUSTED_HELP),
        click.option("--key-file", type=_PATH, required=True, help="From `pair`."),
        click.argument("device"),
    ):
        function = option(function)
    return function


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")
@click.pass_context
def cli(context: click.Context, *, as_json: bool) -> None:
    """Look after a panel on a serial line."""
    context.obj = as_json


@cli.command()
@click.option("--board", type=click.Choice(["rp2", "host"]), default="rp2")
@click.pass_obj
def firmware(as_json: bool, board: str) -> None:  # noqa: FBT001 - from click
    """Print the firmware's folder, and its hash on a board."""
    folder = Path(__file__).parent / "firmware"
    digest = firmware_hash("host" if board == "host" else "rp2").hex()
    _say(as_json, {"board": board, "firmware_hash": digest, "folder": str(folder)})


@cli.command()
@click.argument("device")
@click.pass_obj
def hello(as_json: bool, device: str) -> None:  # noqa: FBT001 - from click
    """Ask a panel who it is; nothing of the answer is proved."""
    said = _run(pairing.hello(device))
    _say(
        as_json,
        {
            "model": said.model,
            "version": said.version,
            "firmware_hash": said.firmware_hash.hex(),
            "boot_id": said.boot_id.hex(),
            "paired": said.paired,
            "in_session": said.in_session,
        },
    )


@cli.command()
@click.argument("device")
@click.option("--key-file", type=_PATH, required=True, help="Made if it is new.")
@click.option("--timeout-s", type=float, default=60.0, show_default=True)
@click.pass_obj
def pair(as_json: bool, device: str, key_file: Path, timeout_s: float) -> None:  # noqa: FBT001
    """Give a panel a key: turn its switch to MAINT and hold its button YES.

    Repeat it with the same file if it fails: a panel that took the key and whose
    answer was lost takes the very same key again.
    """
    if not key_file.exists():
        make_key(key_file)
    _run(_pair(as_json, device, key_file, timeout_s))


async def _pair(as_json: bool, device: str, key_file: Path, timeout_s: float) -> None:  # noqa: FBT001
    key = read_key(key_file)
    try:
        click.echo("turn the switch to MAINT and hold YES", err=True)
        paired = await pairing.pair(device, key, timeout_s=timeout_s)
    finally:
        wipe(key)
    _say(
        as_json,
        {
            "key_file": str(key_file),
            "firmware_hash": paired.firmware_hash.hex(),
            "boot_id": paired.boot_id.hex(),
        },
    )


@cli.command()
@_session_options
@click.pass_obj
def selftest(
    as_json: bool,  # noqa: FBT001 - from click
    device: str,
    key_file: Path,
    trust: tuple[str, ...],
) -> None:
    """Have a panel test itself, check its log, and its random numbers."""
    _run(_selftest(as_json, _Session(device, key_file, trust)))


async def _selftest(as_json: bool, session: _Session) -> None:  # noqa: FBT001
    async with session.open() as opened:
        panel, attested = opened.panel, opened.attested
        report = await panel.self_test()
        tests = {name: getattr(report, name) for name in report.__dataclass_fields__}
        started_s = time.monotonic()
        rounds = 50
        for _ in range(rounds):
            await panel.counter_read()
        took_s = time.monotonic() - started_s
        await panel.random(64)  # health-tested, or it raises
        log = await panel.read_log()
    _say(
        as_json,
        {
            "firmware_hash": attested.firmware_hash.hex(),
            "tamper": int(attested.tamper),
            **tests,
            "random_health": True,
            "log_entries": len(log),
            "round_trips_per_s": round(rounds / took_s),
        },
    )
    if not report.passed:
        sys.exit(1)


@cli.command()
@_session_options
@click.option("--seconds", type=float, default=None, help="Stop after that long.")
@click.pass_obj
def watch(
    as_json: bool,  # noqa: FBT001
    device: str,
    key_file: Path,
    trust: tuple[str, ...],
    seconds: float | None,
) -> None:
    """Follow a panel live, until it is lost or Ctrl-C."""
    session = _Session(device, key_file, trust)
    _run(_watch(session, seconds=seconds, as_json=as_json, trace=None))


@cli.command()
@_session_options
@click.option("--out", type=_PATH, required=True, help="The trace, to be written.")
@click.option("--seconds", type=float, default=None, help="Stop after that long.")
@click.pass_obj
def record(
    as_json: bool,  # noqa: FBT001
    device: str,
    key_file: Path,
    trust: tuple[str, ...],
    out: Path,
    seconds: float | None,
) -> None:
    """Watch, and write every frame to a trace."""
    session = _Session(device, key_file, trust)
    with out.open("w") as file:
        trace = TraceWriter(file, clock_s=time.monotonic)
        _run(_watch(session, seconds=seconds, as_json=as_json, trace=trace))


async def _watch(
    session: _Session,
    *,
    seconds: float | None,
    as_json: bool,
    trace: TraceWriter | None,
) -> None:
    async with session.open(trace) as opened:
        board = Dashboard(opened.attested)
        live = contextlib.nullcontext() if as_json else Live(board.draw())
        with live, contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                async for event in opened.events:
                    board.take(event)
                    if isinstance(live, Live):
                        live.update(board.draw(), refresh=True)
                    else:
                        click.echo(json.dumps(event_fields(event)))
                    if isinstance(event, Lost):
                        break


@cli.command("replay")
@click.argument("trace", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.pass_obj
def replay_trace(as_json: bool, trace: Path) -> None:  # noqa: FBT001 - from click
    """Print what a recorded trace holds, frame by frame."""
    try:
        for passed in replay(trace):
            if as_json:
                fields = {name: getattr(passed, name) for name in passed.__slots__}
                click.echo(json.dumps(fields))
            else:
                click.echo(f"{passed.at_s:10.3f} {passed.sender:5} {passed.what}")
    except BridgeError as error:
        _fail(error)


def _say(as_json: bool, fields: dict[str, object]) -> None:  # noqa: FBT001
    if as_json:
        click.echo(json.dumps(fields))
        return
    width = max(map(len, fields))
    for name, value in fields.items():
        click.echo(f"{name:{width}}  {value}")


def _run(task: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - whatever it returns
    try:
        return asyncio.run(task)
    except KeyboardInterrupt:
        sys.exit(130)
    except (BridgeError, OSError) as error:
        _fail(error)


def _fail(error: Exception) -> NoReturn:
    code = error.code if isinstance(error, BridgeError) else "file"
    click.secho(f"{code}: {error}", fg="red", err=True)
    sys.exit(1)


cli.add_command(simulate)


def main() -> None:
    """Entry point of ``saltkeep-panel``."""
    cli(prog_name="saltkeep-panel")


if __name__ == "__main__":
    main()
