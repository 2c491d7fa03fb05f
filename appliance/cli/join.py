# SPDX-License-Identifier: Apache-2.0
"""A second appliance on a shared journal; run where its own daemon does not."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from appliance.cli.options import EXIT_FAILED, Options, fail, files, say
from appliance.config import Config, load_config
from appliance.errors import ApplianceError
from appliance.hardening import harden_process
from appliance.hsm import Hsm
from appliance.installation import Paths, open_hsm
from appliance.joining import begin, finish
from appliance.journal_database import database_of


@click.group()
def join() -> None:
    """Join the journal of another appliance; it must lie in PostgreSQL."""


@join.command("begin")
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--journal-id", required=True, help="As `init` printed it.")
@click.pass_obj
def begin_command(options: Options, *, path: Path, journal_id: str) -> None:
    """Make this host's keys, and write its request to PATH.

    Read the fingerprint to two operators of the running appliance over another
    channel than the file takes. An appliance that has joined before keeps its keys.
    """
    config = _config(options)
    try:
        with _opened(config) as hsm:
            request = begin(
                Paths(Path(config.state_dir)),
                hsm,
                journal_id,
                allow_unlocked=config.derivation.allow_unlocked,
            )
    except ApplianceError as error:
        fail(error, code=EXIT_FAILED)
    with files():
        path.write_bytes(msgspec.json.encode(request))
    said = f"request written to {path}; its fingerprint, to be compared:"
    said = f"{said}\n{request.fingerprint}"
    say(said, request=str(path), fingerprint=request.fingerprint)


@join.command("finish")
@click.argument("path", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--identity",
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="PEM of the first appliance's identity key, with its successors.",
)
@click.pass_obj
def finish_command(options: Options, *, path: Path, identity: Path) -> None:
    """Open the transfer PATH, verify the shared journal and write the vault."""
    config = _config(options)
    with files():
        transfer, pem = path.read_bytes(), identity.read_bytes()
    try:
        with _opened(config) as hsm:
            joined = finish(
                Paths(Path(config.state_dir)),
                hsm,
                database_of(config),
                transfer,
                identity_pem=pem,
                allow_unlocked=config.derivation.allow_unlocked,
            )
    except ApplianceError as error:
        fail(error, code=EXIT_FAILED)
    if options.as_json:
        click.echo(msgspec.json.encode(joined))
        return
    click.echo(f"joined journal {joined.journal_id}; every row is verified up to")
    click.echo(f"row {joined.sequence} {joined.hash}")
    click.echo(f"identity key {joined.identity_key_id}; hubs trust it as a successor:")
    click.echo(joined.identity_pem)


def _config(options: Options) -> Config:
    try:
        return load_config(options.require_config())
    except ApplianceError as error:
        fail(error, code=EXIT_FAILED)


@contextlib.contextmanager
def _opened(config: Config) -> Iterator[Hsm]:
    harden_process(allow_unlocked=config.derivation.allow_unlocked)
    hsm = open_hsm(config)
    try:
        yield hsm
    finally:
        hsm.close()
