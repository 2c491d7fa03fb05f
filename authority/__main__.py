# SPDX-License-Identifier: Apache-2.0
"""``saltkeep-ca``: make an authority, certify requests, list what was issued."""

import datetime as dt
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

import click

from authority.issuing import (
    LEAF_DAYS,
    IssueError,
    Role,
    Wish,
    read_request,
    require_fitting,
    spki_sha256,
)
from authority.register import Issued, Register
from authority.requesting import make_request

_Folder = click.Path(path_type=Path, file_okay=False)
_File = click.Path(path_type=Path, dir_okay=False)
_EXIT_FAILED = 1
_MOST_BYTES = 1024


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--json", "as_json", is_flag=True, help="Print for machines.")
@click.pass_context
def cli(context: click.Context, /, *, as_json: bool) -> None:
    """A certificate authority of your own, on a machine that is on no network.

    \b
      saltkeep-ca init ca --name "Example exchange"
      saltkeep-ca issue ca hub-1.csr --role hub --out hub-1.pem
      saltkeep-ca list ca

    The passphrase is typed, hidden, or read from --passphrase-fd.
    Exit codes: 0 done, 1 refused, 2 wrong usage.
    """  # noqa: D301 - click's mark against wrapping
    context.obj = as_json


_passphrase_fd = click.option(
    "--passphrase-fd", type=int, help="Descriptor to read the passphrase's line from."
)


@cli.command()
@click.argument("folder", type=_Folder)
@click.option("--name", required=True, help="Common name of the authority.")
@_passphrase_fd
@click.pass_obj
def init(
    as_json: bool,  # noqa: FBT001 - click gives it
    *,
    folder: Path,
    name: str,
    passphrase_fd: int | None,
) -> None:
    """Make an authority in FOLDER: a P-256 key, encrypted, and a root for ten years."""
    register = Register(folder)
    try:
        register.create(name, _passphrase(passphrase_fd, twice=True), now=_now())
        pin = spki_sha256(register.root().public_key())
    except IssueError as error:
        _fail(error)
    fields = {"certificate": str(register.certificate_file), "key": pin}
    text = f"authority {name}, key {pin}\ngive {register.certificate_file} to everybody"
    click.echo(json.dumps(fields) if as_json else text)


@cli.command()
@click.argument("folder", type=_Folder)
@click.argument("request", type=_File)
@click.option(
    "--role",
    type=click.Choice([role.value for role in Role]),
    required=True,
    help="What it is for: a client's and a server's usage are never mixed.",
)
@click.option(
    "--days", type=click.IntRange(1, 825), default=LEAF_DAYS, show_default=True
)
@click.option("--out", type=_File, required=True, help="Where the certificate goes.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_passphrase_fd
@click.pass_obj
def issue(  # noqa: PLR0913 - the command line
    as_json: bool,  # noqa: FBT001 - click gives it
    *,
    folder: Path,
    request: Path,
    role: str,
    days: int,
    out: Path,
    yes: bool,
    passphrase_fd: int | None,
) -> None:
    """Certify the REQUEST by the authority in FOLDER, after showing what it says.

    Compare the key's SHA-256 with whoever made it, on another channel.
    """
    wanted = Role(role)
    try:
        wish = read_request(request.read_bytes())
        require_fitting(wish, wanted)
        click.echo(_shown(wish, wanted, days), err=as_json)
        if not yes:
            click.confirm("Certify this?", abort=True, err=True)
        passphrase = _passphrase(passphrase_fd, twice=False)
        line = Register(folder).issue(wish, wanted, passphrase, days=days, now=_now())
        out.write_text(line.certificate)
    except OSError as error:
        _fail(IssueError(f"{error.filename}: {error.strerror}"))
    except IssueError as error:
        _fail(error)
    text = f"certificate {line.serial} is in {out}, until {line.ends[:10]}"
    click.echo(json.dumps(asdict(line)) if as_json else text)


@cli.command()
@click.argument("key", type=_File)
@click.option("--name", required=True, help="Common name.")
@click.option("--host", "hosts", multiple=True, help="DNS name or IP of a listener.")
@click.option("--out", type=_File, required=True, help="Where the request goes.")
@click.pass_obj
def request(
    as_json: bool,  # noqa: FBT001 - click gives it
    *,
    key: Path,
    name: str,
    hosts: tuple[str, ...],
    out: Path,
) -> None:
    """Make a key in the new file KEY, and ask for its certificate; needs no authority.

    For an appliance's first listener and for operators; a hub has `saltkeep-hub
    certificate`.
    """
    try:
        pem, pin = make_request(key, name, hosts)
        out.write_text(pem)
    except OSError as error:
        _fail(IssueError(f"{error.filename}: {error.strerror}"))
    except IssueError as error:
        _fail(error)
    fields = {"request": str(out), "key": pin}
    click.echo(json.dumps(fields) if as_json else f"key {pin}, the request is in {out}")


@cli.command("list")
@click.argument("folder", type=_Folder)
@click.pass_obj
def list_issued(as_json: bool, *, folder: Path) -> None:  # noqa: FBT001 - click gives it
    """List what the authority in FOLDER has issued, the oldest first."""
    try:
        found = list(Register(folder).issued())
    except IssueError as error:
        _fail(error)
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found]))
        return
    for one in found:
        click.echo(_line(one))


def _line(one: Issued) -> str:
    hosts = f" {' '.join(one.hosts)}" if one.hosts else ""
    return (
        f"{one.ends[:10]}  {one.role:<10}  {one.key}  {one.name}{hosts}  {one.serial}"
    )


def _shown(wish: Wish, role: Role, days: int) -> str:
    usage = "server" if role.is_server else "client"
    return "\n".join(
        [
            f"name   {wish.name}",
            f"hosts  {' '.join(wish.hosts) or 'none'}",
            f"key    {spki_sha256(wish.key)}",
            f"for    a {usage} ({role.value})",
            f"ends   {_now() + dt.timedelta(days=days):%Y-%m-%d}",
        ]
    )


def _passphrase(descriptor: int | None, *, twice: bool) -> bytes:
    if descriptor is None:
        typed: str = click.prompt(
            "passphrase", hide_input=True, confirmation_prompt=twice, err=True
        )
        return typed.encode()
    try:
        with os.fdopen(descriptor, "rb") as file:
            return file.readline(_MOST_BYTES).rstrip(b"\r\n")
    except OSError as error:
        _fail(IssueError(f"descriptor {descriptor}: {error.strerror}"))


def _now() -> dt.datetime:
    return dt.datetime.fromtimestamp(time.time_ns() // 1_000_000_000, dt.UTC)


def _fail(error: IssueError) -> NoReturn:
    click.secho(str(error), fg="red", err=True)
    sys.exit(_EXIT_FAILED)


def main() -> None:
    """Entry point of ``saltkeep-ca``."""
    cli(prog_name="saltkeep-ca")


if __name__ == "__main__":
    main()
