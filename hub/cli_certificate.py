# SPDX-License-Identifier: Apache-2.0
"""``saltkeep-hub certificate``: ask for certificates and put them in force."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from hub.cli_hub import Options, configured, fail, say, table_width
from hub.clock import system_clock_ms
from hub.config import Config
from hub.errors import CertificateRefusedError, HubError
from hub.key_pair import KeyPair, hosts_of, name_of, pairs_of, spki_sha256

_File = click.Path(path_type=Path, dir_okay=False)


@click.group("certificate")
def certificate() -> None:
    """The keys and certificates that the configuration names.

    \b
      saltkeep-hub --config hub.toml certificate request appliance --name hub-1 --out hub-1.csr
      saltkeep-hub --config hub.toml certificate install appliance hub-1.pem
      saltkeep-hub --config hub.toml certificate renew appliance --out hub-1.csr

    SECTION is the part of the configuration that names the files: appliance,
    reconciler, tracing, api.legacy, api.grpc, api.v1, metrics or dashboard. A running
    hub notices a new certificate within seconds, and no request fails.
    """  # noqa: D301, E501 - click's mark against wrapping


@certificate.command()
@click.argument("section")
@click.option("--name", required=True, help="Common name.")
@click.option("--host", "hosts", multiple=True, help="DNS name or IP of a listener.")
@click.option("--out", type=_File, required=True, help="Where the request goes.")
@click.pass_obj
def request(
    options: Options, *, section: str, name: str, hosts: tuple[str, ...], out: Path
) -> None:
    """Make the first key of SECTION, and ask for its certificate."""
    try:
        pair = _pair(configured(options), section)
        if pair.key.exists():
            raise CertificateRefusedError(
                f"there is a key {pair.key}: ask with `certificate renew`"
            )
        _ask(options, section, pair, name=name, hosts=hosts, out=out)
    except HubError as error:
        fail(error)


@certificate.command()
@click.argument("section")
@click.option("--out", type=_File, required=True, help="Where the request goes.")
@click.pass_obj
def renew(options: Options, *, section: str, out: Path) -> None:
    """Make the next key of SECTION, and ask for its certificate.

    Name and hosts are those of the certificate in force, which stays so until the new
    one is installed.
    """
    try:
        pair = _pair(configured(options), section)
        now = pair.chain()[0]
        _ask(
            options,
            section,
            pair,
            name=name_of(now),
            hosts=tuple(hosts_of(now)),
            out=out,
        )
    except HubError as error:
        fail(error)


def _ask(
    options: Options,
    section: str,
    pair: KeyPair,
    *,
    name: str,
    hosts: tuple[str, ...],
    out: Path,
) -> None:
    pem, pin = pair.request(name, hosts if pair.is_server else ())
    try:
        out.write_text(pem)
    except OSError as error:
        raise CertificateRefusedError(f"{out}: {error.strerror}") from error
    lines = [
        f"key {pin} of {name}, for a {'server' if pair.is_server else 'client'}",
        f"the request is in {out}: have the authority certify it, then",
        f"  saltkeep-hub certificate install {section} CERTIFICATE",
    ]
    if section in {"appliance", "reconciler"}:
        role = "hub" if section == "appliance" else "auditor"
        enrol = f"ceremony enrol-client CERTIFICATE --name {name} --role {role}"
        lines += [
            "but first let the key in, at the appliance:",
            f"  saltkeep-appliance {enrol}",
        ]
    say(options, "\n".join(lines), section=section, key=pin, name=name)


@certificate.command()
@click.argument("section")
@click.argument("path", metavar="CERTIFICATE", type=_File)
@click.option(
    "--ca",
    type=_File,
    help="PEM of the authority it must come from; by default that of [appliance].",
)
@click.pass_obj
def install(options: Options, *, section: str, path: Path, ca: Path | None) -> None:
    """Check CERTIFICATE and put it in force for SECTION, with its key.

    A key that was asked for and the one in force are both taken. If anything does not
    fit, nothing is changed.
    """
    config = configured(options)
    authority = ca or config.appliance.ca
    if authority is None:
        fail(CertificateRefusedError("which authority? name it with --ca"))
    now = dt.datetime.fromtimestamp(system_clock_ms() / 1000, dt.UTC)
    try:
        pair = _pair(config, section)
        pin = pair.install(path.read_bytes(), authority.read_bytes(), now=now)
        ends = pair.chain()[0].not_valid_after_utc
    except OSError as error:
        fail(CertificateRefusedError(f"{error.filename}: {error.strerror}"))
    except HubError as error:
        fail(error)
    text = f"key {pin} is in force for {section}, until {ends:%Y-%m-%d}"
    say(options, text, section=section, key=pin, ends=ends.isoformat())


@certificate.command("list")
@click.pass_obj
def list_pairs(options: Options) -> None:
    """List what is in force: name, hosts, the key's SHA-256 and the end."""
    found = [
        _shown(section, pair) for section, pair in pairs_of(configured(options)).items()
    ]
    if options[1]:
        click.echo(json.dumps(found))
        return
    table = Table("section", "name", "hosts", "key", "ends", "asked for")
    for one in found:
        asked = "a new key" if one["asked_for"] else ""
        hosts = " ".join(one["hosts"])
        table.add_row(
            one["section"], one["name"], hosts, one["key"], one["ends"], asked
        )
    Console(width=table_width()).print(table)


def _shown(section: str, pair: KeyPair) -> dict[str, Any]:
    told: dict[str, Any] = {
        "section": section,
        "name": "",
        "hosts": [],
        "key": "",
        "ends": "",
        "asked_for": pair.next_key.exists(),
    }
    try:
        now = pair.chain()[0]
    except CertificateRefusedError as error:
        return told | {"name": str(error)}
    return told | {
        "name": name_of(now),
        "hosts": hosts_of(now),
        "key": spki_sha256(now.public_key()),
        "ends": f"{now.not_valid_after_utc:%Y-%m-%d}",
    }


def _pair(config: Config, section: str) -> KeyPair:
    pairs = pairs_of(config)
    if section not in pairs:
        names = ", ".join(pairs) or "none"
        raise CertificateRefusedError(
            f"[{section}] names no certificate and key; these do: {names}"
        )
    return pairs[section]
