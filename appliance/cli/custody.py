# SPDX-License-Identifier: Apache-2.0
"""Ceremonies on a running appliance."""

import hashlib
import re
from pathlib import Path
from typing import Final

import click
import msgspec
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from appliance.certificates import spki_sha256
from appliance.cli.approvals import ask_or_propose
from appliance.cli.options import EXIT_FAILED, Options, fail, files, run, say
from appliance.client import new_request_id
from appliance.errors import ConfigError, RefusedError
from appliance.receipt import successors
from appliance.wire import CeremonyReport, GetStatus, RunCeremony, StatusReport

_READS_A_FILE: Final = {
    "import-interchange",
    "enrol-client",
    "enrol-appliance",
    "rotate-tls",
}

_LARGEST_SENT_CHARACTERS: Final = 500_000


@click.command()
@click.argument(
    "name",
    type=click.Choice(
        [
            "rotate-kek",
            "rotate-mac",
            "rotate-identity",
            "move-hsm",
            "rotate-salt",
            "import-salt",
            "retire",
            "destroy-key",
            "abandon",
            "set-backup-key",
            "backup",
            "import-interchange",
            "recover-journal",
            "enrol-client",
            "revoke-client",
            "enrol-appliance",
            "enrol-panel",
            "rotate-tls",
            "verify",
        ]
    ),
)
@click.argument("subject", default="")
@click.option("--level", default=0, help="rotate-salt, import-salt: security level.")
@click.option("--argon2", default="", help="import-salt: e.g. 'argon2id 4 131072'.")
@click.option("--blind", is_flag=True, help="import-salt: for an old Hub's RPC.")
@click.option("--name", "client_name", default="", help="enrol-client: its name.")
@click.option("--role", default="", help="enrol-client: hub, operator or auditor.")
@click.option(
    "--on-host",
    default="",
    help="import-interchange: where the file lies on the appliance's host.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def ceremony(  # noqa: PLR0913 - one argument per option
    options: Options,
    *,
    name: str,
    subject: str,
    level: int,
    argon2: str,
    blind: bool,
    client_name: str,
    role: str,
    on_host: str,
    dry_run: bool,
    yes: bool,
) -> None:
    """Change what the vault rests on, while the appliance signs (role operator).

    \b
      rotate-kek          another key-encryption key; every secret sealed again
      rotate-mac          another key that authenticates the vault file
      rotate-identity     another key that signs receipts; the old one names it
      move-hsm FILE       new keys in the token that FILE's [hsm] table describes, on
                          the appliance's host; every secret sealed again there
      rotate-salt         a new salt generation issues from now on
      import-salt SOURCE  a salt of elsewhere, from a 0600 file, credential:NAME or
                          fd:N of the appliance's host, or hsm:LABEL, an object of
                          its token; it signs and never issues;
                          --blind: an old Hub may have bare hashes signed with it
      retire NUMBER       a generation issues no more; its salt stays. A blind one
                          signs no more bare hashes
      destroy-key LABEL   end an HSM key that nothing needs any more
      abandon             take back a rotation that was cut short
      set-backup-key KEY  encrypt backups to KEY from now on
      backup              write one into the state folder's backups
      import-interchange FILE  journal the keys it names as spent; a file of over
                          500,000 characters is read by the appliance on its host,
                          if it is the very same
      recover-journal [complete]  let a restored journal sign again; unless
                          everything was imported, its unspent keys never do
      enrol-client CERTIFICATE|ID --name NAME --role ROLE
                          let a client's key connect, with one role; the id is that of
                          a key for a serial line
      revoke-client NAME  shut a client out at once; or one key, by its SHA-256
      enrol-appliance REQUEST  hand the salts, encrypted, to another appliance of
                          this journal; compare the fingerprint on two channels
      enrol-panel         let the panel's counter anchor the journal: compare panel,
                          counter and row with what the other operator sees
      rotate-tls [CERTIFICATE]  ask for a certificate of a new key of the listener;
                          given the certificate, listen with it
      verify              check vault, salts, journal, policy and channel whole

    A rotation that was cut short goes on when it is asked for again.
    """  # noqa: D301 - click's mark against wrapping
    enrols_an_id = name == "enrol-client" and re.fullmatch("[0-9a-f]{64}", subject)
    if name in _READS_A_FILE and subject and not enrols_an_id:
        subject = _content(Path(subject), on_host)
        if name == "enrol-client":
            subject = _pin_of_client(subject)
    request = RunCeremony(
        request_id=new_request_id(),
        ceremony=name,
        subject=subject,
        security_level=level,
        argon2=argon2,
        blind=blind,
        name=client_name,
        role=role,
        dry_run=True,
    )
    report = run(_ceremony(options, request))
    if not dry_run:
        if not (yes or options.as_json):
            click.echo("\n".join(report.steps))
            click.confirm("Do this?", abort=True)
        again = msgspec.structs.replace(
            request, request_id=new_request_id(), dry_run=False
        )
        done = ask_or_propose(options, again, CeremonyReport)
        if done is None:
            return
        report = done
    if options.as_json:
        click.echo(msgspec.json.encode(report))
    else:
        click.echo("\n".join(report.steps))
        click.echo("done" if report.done else "nothing was done: a dry run")


def _content(path: Path, on_host: str) -> str:
    """Return a file's text; of a large one where the appliance reads it itself."""
    with files():
        text = path.read_text()
        where = on_host or str(path.resolve())
    if len(text) <= _LARGEST_SENT_CHARACTERS and not on_host:
        return text
    return f"file:{where}#{hashlib.sha256(text.encode()).hexdigest()}"


def _pin_of_client(pem: str) -> str:
    """Return the pin of a client certificate, or end the program."""
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except (ValueError, x509.ExtensionNotFound) as error:
        none = ConfigError(f"no client certificate in PEM: {error}", code="file")
        fail(none, code=EXIT_FAILED)
    if list(usage.value) != [ExtendedKeyUsageOID.CLIENT_AUTH]:
        other = ConfigError("the certificate is not for clientAuth alone", code="file")
        fail(other, code=EXIT_FAILED)
    return spki_sha256(certificate)


async def _ceremony(options: Options, request: RunCeremony) -> CeremonyReport:
    async with options.connect("operator-1") as client:
        return await client.expect(request, CeremonyReport)


@click.command("trust-successor")
@click.argument("identity", type=click.Path(path_type=Path, dir_okay=False))
@click.pass_obj
def trust_successor(options: Options, *, identity: Path) -> None:
    """Add to the file IDENTITY the keys that its key named as successors.

    After `rotate-identity`, for hubs and front ends: nothing is believed that the
    pinned key did not sign. Old receipts still verify with the old key.
    """

    async def ask() -> StatusReport:
        async with options.connect("auditor") as client:
            return await client.expect(
                GetStatus(request_id=new_request_id()), StatusReport
            )

    with files():
        pinned = identity.read_bytes()
    try:
        found = successors(run(ask()).successions, identity_pem=pinned)
    except RefusedError as error:
        fail(error, code=EXIT_FAILED)
    new = [pem for pem in found if pem.encode() not in pinned]
    with files():
        identity.write_bytes(pinned + "".join(new).encode())
    said = f"{len(new)} successors added to {identity}"
    say(said, added=len(new), identity=str(identity))
