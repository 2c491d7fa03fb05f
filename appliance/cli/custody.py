# SPDX-License-Identifier: Apache-2.0
"""Ceremonies on a running appliance."""

from pathlib import Path

import click
import msgspec

from appliance.cli.approvals import ask_or_propose
from appliance.cli.options import EXIT_FAILED, Options, fail, files, run
from appliance.client import new_request_id
from appliance.errors import RefusedError
from appliance.receipt import successors
from appliance.wire import CeremonyReport, GetStatus, RunCeremony, StatusReport


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
        ]
    ),
)
@click.argument("subject", default="")
@click.option("--level", default=0, help="rotate-salt, import-salt: security level.")
@click.option("--argon2", default="", help="import-salt: e.g. 'argon2id 4 131072'.")
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
    dry_run: bool,
    yes: bool,
) -> None:
    r"""Change what the vault rests on, while the appliance signs (role operator).

    \b
      rotate-kek          another key-encryption key; every secret sealed again
      rotate-mac          another key that authenticates the vault file
      rotate-identity     another key that signs receipts; the old one names it
      move-hsm FILE       new keys in the token that FILE's [hsm] table describes, on
                          the appliance's host; every secret sealed again there
      rotate-salt         a new salt generation issues from now on
      import-salt SOURCE  a salt of elsewhere, from a 0600 file, credential:NAME or
                          fd:N of the appliance's host, or hsm:LABEL, an object of
                          its token; it signs and never issues
      retire NUMBER       a generation issues no more; its salt stays
      destroy-key LABEL   end an HSM key that nothing needs any more
      abandon             take back a rotation that was cut short
      set-backup-key KEY  encrypt backups to KEY from now on
      backup              write one into the state folder's backups
      import-interchange FILE  journal the keys it names as spent
      recover-journal [complete]  let a restored journal sign again; unless
                          everything was imported, its unspent keys never do

    A rotation that was cut short goes on when it is asked for again.
    """
    if name == "import-interchange":
        with files():
            subject = Path(subject).read_text()
    request = RunCeremony(
        request_id=new_request_id(),
        ceremony=name,
        subject=subject,
        security_level=level,
        argon2=argon2,
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
    click.echo(f"{len(new)} successors added to {identity}")
