# SPDX-License-Identifier: Apache-2.0
"""Seeds for officers: their keys, the act, and opening what came of it."""

import os
import sys
from pathlib import Path

import click
import msgspec

from appliance.cli.approvals import propose
from appliance.cli.options import EXIT_FAILED, Options, fail, files
from appliance.cli.policy import passphrase_for
from appliance.errors import ApplianceError, ConfigError
from appliance.officer_keys import load_officer_key, make_officer_key
from appliance.seed_export import open_sealed_seed, read_sealed_seed
from appliance.wire import ExportSeed
from trinary.errors import MemoryLockError
from trinary.memory import LockedBuffer
from trinary.trytes import HASH_TRYTES, write_trytes

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("officer-key")
@click.argument("path", type=_FILE)
@click.option("--no-passphrase", is_flag=True, help="Do not encrypt the file.")
@click.pass_obj
def officer_key(options: Options, *, path: Path, no_passphrase: bool) -> None:
    """Make your officer's key in PATH and print its public half for the policy."""
    passphrase = b""
    if not no_passphrase:
        passphrase = click.prompt(
            "Passphrase", hide_input=True, confirmation_prompt=True, err=True
        ).encode()
    try:
        public = make_officer_key(path, passphrase=passphrase)
    except ApplianceError as error:
        fail(error, code=EXIT_FAILED)
    if options.as_json:
        click.echo(msgspec.json.encode({"key": public}))
        return
    click.echo("Put this into the policy, with your name:")
    click.echo(f'\n[[officers]]\nname = "..."\nkey = "{public}"')


@click.command("export-seed")
@click.argument("seed_uuid")
@click.option("--generation", default=1, help="Salt generation it was issued under.")
@click.option("--officer", required=True, help="Whom the policy names.")
@click.pass_obj
def export_seed(
    options: Options, *, seed_uuid: str, generation: int, officer: str
) -> None:
    """Propose that the seed of SEED_UUID leaves, encrypted to an officer.

    Operators then `approve` it. Its key counts as spent from then on: the appliance
    signs nothing new with it.
    """
    act = ExportSeed(
        request_id="", seed_uuid=seed_uuid, generation=generation, officer=officer
    )
    propose(options, act)


@click.command("open-seed")
@click.argument("file", type=_FILE)
@click.option("--key", "key_path", type=_FILE, required=True, help="Your officer key.")
@click.option("--out", type=_FILE, help="Write the seed into this new file, 0600.")
@click.option("--allow-unlocked", is_flag=True, help="Go on without locked memory.")
def open_seed(
    *, file: Path, key_path: Path, out: Path | None, allow_unlocked: bool
) -> None:
    """Decrypt the seed in FILE with your key, on your own machine.

    It is shown on a terminal, or written into a new file that only you can read;
    never into a pipe, and never as an argument.
    """
    _require_discreet(out)
    passphrase = passphrase_for(key_path)
    try:
        with files():
            sealed = read_sealed_seed(file.read_bytes())
        key = load_officer_key(key_path, passphrase=passphrase)
        click.echo(f"address {sealed.address}, level {sealed.security_level}", err=True)
        with (
            open_sealed_seed(sealed, key, allow_unlocked=allow_unlocked) as seed,
            LockedBuffer(HASH_TRYTES, allow_unlocked=allow_unlocked) as trytes,
        ):
            write_trytes(seed, trytes)
            _show(trytes, out)
    except ApplianceError as error:
        fail(error, code=EXIT_FAILED)
    except MemoryLockError as error:
        message = f"{error}; or say --allow-unlocked"
        fail(ConfigError(message, code="memory"), code=EXIT_FAILED)


def _require_discreet(out: Path | None) -> None:
    """Insist on a terminal or a file.

    Raises:
        UsageError: If the seed would go into a pipe.
    """
    if out is None and not sys.stdout.isatty():
        raise click.UsageError("a seed is shown on a terminal only; or give --out FILE")


def _show(trytes: LockedBuffer, out: Path | None) -> None:
    """Write straight from locked memory: no text of it is made."""
    if out is None:
        sys.stdout.flush()
        os.write(sys.stdout.fileno(), trytes.view)
        click.echo()
        return
    with files():
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, trytes.view)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    click.echo(f"written to {out}", err=True)
