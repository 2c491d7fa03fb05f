# SPDX-License-Identifier: Apache-2.0
"""Acts of several operators: propose, look, approve."""

from pathlib import Path
from typing import TypeVar

import click
import msgspec

from appliance.cli.options import EXIT_FAILED, Options, fail, files, run
from appliance.cli.policy import key_option, passphrase_for
from appliance.client import ApplianceClient, new_request_id
from appliance.errors import ApplianceError, ConfigError, FaultError
from appliance.operator_keys import load_operator_key, sign_as_operator
from appliance.policy_file import parse_policy
from appliance.wire import (
    Act,
    ActReport,
    ApproveAct,
    GetPolicy,
    ListActs,
    PendingAct,
    PendingActs,
    PolicyReport,
    ProposeAct,
    Reply,
    Unseal,
    act_digest,
    act_in_words,
)

_ReplyType = TypeVar("_ReplyType", bound=Reply)


@click.command("acts")
@click.pass_obj
def acts(options: Options) -> None:
    """Show the acts that wait for approvals."""

    async def ask() -> PendingActs:
        async with options.connect("operator-1") as client:
            return await client.expect(
                ListActs(request_id=new_request_id()), PendingActs
            )

    report = run(ask())
    if options.as_json:
        click.echo(msgspec.json.encode(report))
        return
    for one in report.acts:
        _show(one)
    if not report.acts:
        click.echo("no act waits")


@click.command("unseal")
@click.argument("latch_id")
@click.pass_obj
def unseal(options: Options, *, latch_id: str) -> None:
    """Propose to clear the seal LATCH_ID; operators then `approve` it."""
    propose(options, Unseal(request_id="", latch_id=latch_id))


@click.command("approve")
@click.argument("act_id")
@key_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def approve(options: Options, *, act_id: str, key_path: Path, yes: bool) -> None:
    """Look at the act ACT_ID, and approve it with your key.

    What is shown comes from the appliance itself over your own connection, and what
    is signed is what is shown. The last approval needed has the act done.
    """
    passphrase = passphrase_for(key_path)
    report = run(
        _approve(
            options, act_id, key_path, passphrase, ask=not (yes or options.as_json)
        )
    )
    if options.as_json:
        click.echo(msgspec.json.encode(report))
        return
    click.echo("\n".join(report.steps))
    if report.export:
        written = Path(f"seed-{act_id}.json")
        with files(), written.open("x") as file:
            file.write(report.export)
        click.echo(f"also here: {written}, for its officer alone")


def propose(options: Options, act: Act) -> None:
    """Propose an act and say how it goes on."""

    async def ask() -> PendingActs:
        request = ProposeAct(request_id=new_request_id(), act=act)
        async with options.connect("operator-1") as client:
            return await client.expect(request, PendingActs)

    (pending,) = run(ask()).acts
    if options.as_json:
        click.echo(msgspec.json.encode(pending))
        return
    _show(pending)
    click.echo(f"{pending.needed} operators run: approve {pending.id} --key FILE")


def ask_or_propose(
    options: Options, request: Act, kind: type[_ReplyType]
) -> _ReplyType | None:
    """Have an act done, or propose it where the policy wants more operators.

    Args:
        options: Of the command line.
        request: The act.
        kind: The reply when it was done.

    Returns:
        The reply; None if it now waits for approvals.
    """

    async def ask() -> _ReplyType | None:
        async with options.connect("operator-1") as client:
            try:
                return await client.expect(request, kind)
            except FaultError as error:
                if error.code != "needs-approvals":
                    raise
                return None

    done = run(ask())
    if done is None:
        propose(options, request)
    return done


async def _approve(
    options: Options, act_id: str, key_path: Path, passphrase: bytes, *, ask: bool
) -> ActReport:
    async with options.connect("operator-1") as client:
        policy = await client.expect(
            GetPolicy(request_id=new_request_id()), PolicyReport
        )
        pending = await _find(client, act_id)
        if ask:
            _show(pending)
            click.confirm("Approve this?", abort=True)
        try:
            key = load_operator_key(key_path, passphrase=passphrase)
            digest = act_digest(pending, journal_id=policy.journal_id)
            signature = sign_as_operator(key, digest, parse_policy(policy.text))
        except ApplianceError as error:
            fail(error, code=EXIT_FAILED)
        request = ApproveAct(
            request_id=new_request_id(), act_id=act_id, signature=signature
        )
        return await client.expect(request, ActReport)


async def _find(client: ApplianceClient, act_id: str) -> PendingAct:
    report = await client.expect(ListActs(request_id=new_request_id()), PendingActs)
    for one in report.acts:
        if one.id == act_id:
            return one
    raise ConfigError(f"no act {act_id} waits; `acts` shows which do", code="act")


def _show(pending: PendingAct) -> None:
    click.echo(f"act       {pending.id}, proposed by {pending.proposer}")
    click.echo(f"what      {act_in_words(pending.act)}")
    for line in pending.shown:
        click.echo(f"          {line}")
    approved = ", ".join(pending.approved_by) or "nobody yet"
    click.echo(f"approved  {approved}; {pending.needed} are needed")
