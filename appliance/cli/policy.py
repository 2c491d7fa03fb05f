# SPDX-License-Identifier: Apache-2.0
"""Policies: written as TOML, signed by operators, tried on the past, put in force."""

from collections import Counter
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table

from appliance.cli.options import EXIT_FAILED, Options, fail, files, run, say
from appliance.client import new_request_id
from appliance.errors import ApplianceError, ConfigError
from appliance.operator_keys import (
    is_encrypted,
    load_operator_key,
    make_operator_key,
    sign_as_operator,
)
from appliance.policy_file import Policy, SignedPolicy, parse_policy, policy_digest
from appliance.policy_replay import replay
from appliance.wire import (
    Done,
    GetPolicy,
    JournalRow,
    OperatorSignature,
    PolicyReport,
    SetPolicy,
)

_FILE = click.Path(path_type=Path, dir_okay=False)
key_option = click.option(
    "--key", "key_path", type=_FILE, required=True, help="Your operator key (PEM)."
)


def passphrase_for(path: Path) -> bytes:
    """Ask for the passphrase of a key file, if it has one."""
    with files():
        encrypted = is_encrypted(path)
    if not encrypted:
        return b""
    asked: str = click.prompt(f"Passphrase of {path}", hide_input=True, err=True)
    return asked.encode()


def read_signed_policy(path: Path, signatures: list[Path]) -> SignedPolicy:
    """Read a policy and its signatures.

    Args:
        path: The TOML file.
        signatures: Files written by ``policy sign``; none: those beside it.

    Returns:
        Both, unchecked.

    Raises:
        ConfigError: If a signature file is none.
    """
    beside = sorted(path.parent.glob(f"{path.name}.*.sig"))
    try:
        given = [
            msgspec.json.decode(one.read_bytes(), type=OperatorSignature)
            for one in signatures or beside
        ]
    except msgspec.DecodeError as error:
        raise ConfigError(f"no signature file of `policy sign`: {error}") from error
    return SignedPolicy(text=path.read_text(encoding="utf-8"), signatures=given)


def require_signed_policy(path: Path | None, signatures: list[Path]) -> SignedPolicy:
    """Read a policy and its signatures, or end the program.

    Args:
        path: The TOML file.
        signatures: As in ``read_signed_policy``.

    Returns:
        Both, unchecked.

    Raises:
        UsageError: If none was named.
    """
    if path is None:
        raise click.UsageError("this needs --policy FILE, signed by two operators")
    try:
        with files():
            return read_signed_policy(path, signatures)
    except ConfigError as error:
        fail(error, code=EXIT_FAILED)


@click.command("operator-key")
@click.argument("path", type=_FILE)
@click.option("--no-passphrase", is_flag=True, help="Do not encrypt the file.")
@click.pass_obj
def operator_key(options: Options, *, path: Path, no_passphrase: bool) -> None:
    """Make your operator key in PATH and print its public half for the policy."""
    passphrase = b""
    if not no_passphrase:
        passphrase = click.prompt(
            "Passphrase", hide_input=True, confirmation_prompt=True, err=True
        ).encode()
    try:
        public = make_operator_key(path, passphrase=passphrase)
    except ApplianceError as error:
        fail(error, code=EXIT_FAILED)
    if options.as_json:
        click.echo(msgspec.json.encode({"key": public}))
        return
    click.echo("Put this into the policy, with your name:")
    click.echo(f'\n[[operators]]\nname = "..."\nkey = "{public}"')


@click.group("policy")
def policy_commands() -> None:
    """Write, sign, try and enforce the policy that two operators sign."""


@policy_commands.command("show")
@click.pass_obj
def policy_show(options: Options) -> None:
    """Print the policy in force, as it was signed; also while sealed."""
    report = run(_policy(options))
    if options.as_json:
        click.echo(msgspec.json.encode(report))
        return
    click.echo(report.text)
    names = ", ".join(one.operator for one in report.signatures)
    click.secho(f"# in force at {report.journal_id}, signed by {names}", fg="green")


@policy_commands.command("check")
@click.argument("path", type=_FILE)
def policy_check(*, path: Path) -> None:
    """Check that the file PATH is a policy, and print what its operators sign."""
    with files():
        text = path.read_text(encoding="utf-8")
    content = _parsed(text)
    digest = policy_digest(text).hex()
    said = f"policy {content.version} for {content.network}: well-formed"
    say(
        f"{said}\ndigest {digest}",
        version=content.version,
        network=content.network,
        digest=digest,
    )


@policy_commands.command("sign")
@click.argument("path", type=_FILE)
@key_option
@click.pass_obj
def policy_sign(options: Options, *, path: Path, key_path: Path) -> None:
    """Sign the policy file PATH with your key; writes PATH.NAME.sig beside it.

    The name is looked up in the policy in force, or with no --config and no
    --client, for a first policy, in the file itself.
    """
    with files():
        text = path.read_text(encoding="utf-8")
    judges = content = _parsed(text)
    if options.config or options.client:
        judges = _parsed(run(_policy(options)).text)
    try:
        key = load_operator_key(key_path, passphrase=passphrase_for(key_path))
        signature = sign_as_operator(key, policy_digest(text), judges)
    except ApplianceError as error:
        fail(error, code=EXIT_FAILED)
    written = path.with_name(f"{path.name}.{signature.operator}.sig")
    with files():
        written.write_bytes(msgspec.json.encode(signature))
    say(
        f"policy {content.version} signed by {signature.operator}: {written}",
        version=content.version,
        operator=signature.operator,
        signature=str(written),
    )


@policy_commands.command("apply")
@click.argument("path", type=_FILE)
@click.option("--signature", "signatures", multiple=True, type=_FILE)
@click.pass_obj
def policy_apply(options: Options, *, path: Path, signatures: tuple[Path, ...]) -> None:
    """Put the policy PATH in force; its signatures lie beside it (role operator)."""
    signed = require_signed_policy(path, list(signatures))

    async def ask() -> Done:
        request = SetPolicy(
            request_id=new_request_id(), text=signed.text, signatures=signed.signatures
        )
        async with options.connect("operator-1") as client:
            return await client.expect(request, Done)

    message = run(ask()).message
    say(message, message=message)


@policy_commands.command("dry-run")
@click.argument("path", type=_FILE)
@click.pass_obj
def policy_dry_run(options: Options, *, path: Path) -> None:
    """Try the policy PATH on everything the journal says was signed."""

    async def ask() -> list[JournalRow]:
        async with options.connect("auditor") as client:
            return await client.journal()

    with files():
        content = _parsed(path.read_text(encoding="utf-8"))
    rows = run(ask())
    signed = sum(row.kind == "signed" for row in rows)
    findings = list(replay(rows, content))
    if options.as_json:
        click.echo(msgspec.json.encode({"signed": signed, "findings": findings}))
        return
    table = Table("row", "client", "bundle", "verdict", "rule", "why")
    for one in findings:
        table.add_row(
            str(one.sequence),
            one.client,
            one.bundle_hash[:12],
            one.verdict,
            one.rule,
            one.message,
        )
    if findings:
        Console().print(table)
    counts = Counter(one.verdict for one in findings)
    told = ", ".join(f"{number} {word}" for word, number in sorted(counts.items()))
    click.echo(f"{signed} bundles were signed; under this policy: {told or 'all pass'}")


def _parsed(text: str) -> Policy:
    try:
        return parse_policy(text)
    except ApplianceError as error:
        fail(error, code=EXIT_FAILED)


async def _policy(options: Options) -> PolicyReport:
    async with options.connect("auditor") as client:
        return await client.expect(GetPolicy(request_id=new_request_id()), PolicyReport)
