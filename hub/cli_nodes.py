# SPDX-License-Identifier: Apache-2.0
"""``saltkeep-hub nodes``: ask each node once and show how it does."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

import click
from rich.console import Console
from rich.table import Table

from hub.cli_hub import Options, configured, run, table_width
from hub.clock import system_clock_ms
from hub.config import Config
from hub.errors import NodeUnavailableError
from hub.node_health import NodeHealth
from hub.service import nodes_of

_EXIT_FAILED: Final = 1


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the nodes said.

    Attributes:
        nodes: Each one, in the order configured.
        milestone_index: The newest that a quorum has reached; None: no quorum.
        problem: Why there is no quorum, or why milestones can not be followed.
    """

    nodes: Sequence[NodeHealth]
    milestone_index: int | None
    problem: str


@click.command("nodes")
@click.pass_obj
def nodes(options: Options) -> None:
    """Ask each node for its milestone, and HORNET for what that changed.

    What this process found: a running hub counts its own failures and lost votes and
    says them in its log. Exit code 1: no quorum of nodes is synchronised.
    """
    answer = run(_ask(configured(options)))
    if options[1]:
        click.echo(json.dumps(asdict(answer)))
    else:
        _show(answer)
    sys.exit(0 if answer.milestone_index is not None else _EXIT_FAILED)


async def _ask(config: Config) -> _Answer:
    index, problem = None, ""
    async with nodes_of(config, clock=system_clock_ms) as asked:
        try:
            index = (await asked.require_synced()).index
            if asked.tell_diffs and await asked.ledger_diff(index) is None:
                problem = "no quorum answers getLedgerDiff: every look is a full one"
        except NodeUnavailableError as error:
            problem = str(error)
        return _Answer(asked.health(), index, problem)


def _show(answer: _Answer) -> None:
    table = Table("node", "dialect", "answered", "milestone", "lag", "failed", "votes")
    for node in answer.nodes:
        answered = "no" if node.latency_ms is None else f"{node.latency_ms} ms"
        lost = node.outvoted_balances + node.outvoted_confirmations
        lost += node.outvoted_diffs
        table.add_row(
            node.url,
            node.dialect,
            answered,
            _known(node.milestone_index),
            "stale" if node.stale else _known(node.lag),
            str(node.failures),
            f"{lost} lost" if lost else "",
        )
    Console(width=table_width()).print(table)
    if answer.milestone_index is not None:
        click.echo(f"a quorum has reached milestone {answer.milestone_index}")
    if answer.problem:
        click.secho(answer.problem, fg="red")


def _known(number: int | None) -> str:
    return "?" if number is None else str(number)
