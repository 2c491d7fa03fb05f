# SPDX-License-Identifier: Apache-2.0
"""Before an appliance rests on a token: initialise it, and try what it is worth."""

import datetime as dt
import sys
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from appliance.cli.options import EXIT_FAILED, Options, fail, files, say
from appliance.config import Hsm as HsmTable
from appliance.config import load_config, load_token
from appliance.errors import ApplianceError, ConfigError
from appliance.hardening import harden_process
from appliance.hsm import Hsm, initialise_token
from appliance.installation import Paths, probe_access, read_pin, require_private
from appliance.probe import Probed, as_profile, run_probe
from hsm_profiles.text import profile_text

_COLOURS = {
    "yes": "green",
    "withstood": "green",
    "warning": "yellow",
    "untried": "yellow",
    "unsafe": "red bold",
}


@click.command()
@click.option("--profile", default="", help="A profile's id, or the path of your own.")
@click.option("--module", default="", help="Path of the PKCS#11 module.")
@click.option("--token-label", default="", help="Label of the token.")
@click.option("--pin-file", default="", help="File with the PIN, mode 0600; also fd:N.")
@click.option(
    "--environment",
    multiple=True,
    metavar="NAME=VALUE",
    help="For the module, e.g. SOFTHSM2_CONF=…; may be given again.",
)
@click.option(
    "--write",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write what was found as a profile, for [hsm] profile = PATH.",
)
@click.pass_obj
def probe(  # noqa: PLR0913 - one argument per option
    options: Options,
    *,
    profile: str,
    module: str,
    token_label: str,
    pin_file: str,
    environment: tuple[str, ...],
    write: Path | None,
) -> None:
    """Try a token: what works, and whether a key can be got out of it.

    Takes the [hsm] table of --config, or the options above. Everything it makes it
    destroys again. Logs in once per check; a PIN that the token refuses is not tried
    again and bars every login. Exit code 1 if a key was got out.
    """
    try:
        table = _table(options, profile, module, token_label, pin_file, environment)
        latch = None
        if options.config is not None:
            state = Path(load_config(options.config).state_dir)
            latch = Paths(state).pin_latch
        access = probe_access(table, latch=latch)
        harden_process(allow_unlocked=True)
        pin = read_pin(table.pin_file, allow_unlocked=True)
    except ApplianceError as error:
        fail(error, code=EXIT_FAILED)
    hsm = Hsm(access, pin)
    console = Console(stderr=True)
    login = access.profile.login
    if not login.shows_tries_left:
        console.print(
            "note: such a token does not show how many wrong PINs it has seen;"
            f" lockout: {escape(login.lockout)}",
            style="yellow",
        )
    today = dt.datetime.now(dt.UTC).date()  # noqa: TID251 - the program's edge
    try:
        with console.status("logging in") as status:
            probed = run_probe(
                hsm, module=access.module, today=today, tell=status.update
            )
    except ApplianceError as error:
        fail(error, code=EXIT_FAILED)
    finally:
        hsm.close()
    if options.as_json:
        click.echo(msgspec.json.encode(_for_machines(probed)))
    else:
        _print(probed)
    if write is not None:
        found = as_profile(probed, access.profile)
        wrong = found.unfounded()
        if wrong:
            fail(ConfigError(f"no profile: {'; '.join(wrong)}"), code=EXIT_FAILED)
        with files():
            write.write_text(profile_text(found, heading=_heading(probed)))
    sys.exit(EXIT_FAILED if probed.verdict[0] == "unsafe" or probed.left else 0)


@click.command("init-token")
@click.argument("description", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--officer-pin-file",
    required=True,
    help="File with the security officer's PIN, mode 0600; also fd:N.",
)
def init_token(*, description: Path, officer_pin_file: str) -> None:
    """Initialise a free slot as the token that DESCRIPTION's [hsm] table names.

    Where the profile says that the standard calls do it; the PINs of the user (its
    pin_file) and of the security officer come from files and stand in no argument.
    """
    try:
        require_private(description, what="the description of the token")
        table = load_token(description)
        access = probe_access(table, latch=None)
        harden_process(allow_unlocked=True)
        with (
            read_pin(officer_pin_file, allow_unlocked=True) as officer,
            read_pin(table.pin_file, allow_unlocked=True) as user,
        ):
            initialise_token(access, officer_pin=officer.view, user_pin=user.view)
    except ApplianceError as error:
        fail(error, code=EXIT_FAILED)
    said = f"token {table.token_label} of {access.profile.title} is initialised"
    say(said, token_label=table.token_label, profile=access.profile.id)


def _table(
    options: Options,
    profile: str,
    module: str,
    token_label: str,
    pin_file: str,
    environment: tuple[str, ...],
) -> HsmTable:
    pairs = dict(pair.partition("=")[::2] for pair in environment)
    if options.config is not None and not (profile or token_label or pin_file):
        return load_config(options.config).hsm
    if not (profile and token_label and pin_file):
        raise click.UsageError(
            "probe needs --config, or --profile, --token-label and --pin-file"
        )
    if "/" in profile:
        profile = str(Path(profile).resolve())
    return HsmTable(
        profile=profile,
        module=module,
        token_label=token_label,
        pin_file=pin_file,
        environment=pairs,
    )


def _heading(probed: Probed) -> str:
    token = probed.token
    return f"Written by `probe` on {probed.date}: {token.maker} {token.model}"


def _for_machines(probed: Probed) -> dict[str, object]:
    verdict, why = probed.verdict
    return {**msgspec.to_builtins(probed), "verdict": verdict, "why": why}


def _print(probed: Probed) -> None:
    token = probed.token
    table = Table(title=f"{token.maker} {token.model}, firmware {token.firmware}")
    for heading in ("check", "outcome", "found"):
        table.add_column(heading)
    for check in probed.checks:
        colour = _COLOURS.get(check.outcome, "dim")
        table.add_row(check.name, f"[{colour}]{check.outcome}[/]", escape(check.detail))
    console = Console()
    console.print(table)
    verdict, why = probed.verdict
    console.print(f"[{_COLOURS[verdict]}]{verdict}[/]: {escape(why)}")
    if probed.left:
        console.print(f"[red]{probed.left} objects could not be destroyed[/]")
