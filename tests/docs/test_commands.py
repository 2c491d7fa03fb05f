# SPDX-License-Identifier: Apache-2.0
"""Every command that a page shows is one: its words, its options, its arguments."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

import click
import pytest

from appliance.__main__ import cli as appliance
from authority.__main__ import cli as authority
from firmware_bridge.__main__ import cli as panel
from hub.__main__ import cli as hub
from hub.devnet.__main__ import main as devnet
from signing_rpc.__main__ import cli as signing_rpc
from tests.docs.blocks import Command, blocks_of, commands_of

ROOT = Path(__file__).parents[2]
PROGRAMS: dict[str, click.Command] = {
    "saltkeep-appliance": appliance,
    "saltkeep-devnet": devnet,
    "saltkeep-hub": hub,
    "saltkeep-ca": authority,
    "saltkeep-panel": panel,
    "saltkeep-signing-rpc": signing_rpc,
}
PAGES = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")})
_ENDS = frozenset({";", "&&", "||", "|", "&", ">", ">>", "2>", "2>&1", "<"})


def typed() -> list[tuple[str, str]]:
    """Find each call of a program of ours, with where it stands."""
    found = []
    for page in PAGES:
        for block in blocks_of(page):
            if block.language != "console":
                continue
            for command in commands_of(block):
                where = f"{page.relative_to(ROOT)}:{command.line}"
                found += [(where, call) for call in calls_in(command)]
    return found


def calls_in(command: Command) -> list[str]:
    """Cut what calls a program of ours out of a shell command."""
    text = command.text.replace("\\\n", " ")
    names = "|".join(PROGRAMS)
    starts = [found.start() for found in re.finditer(rf"(?<!\S)(?:{names}) ", text)]
    return [text[start:] for start in starts]


def words_of(call: str) -> list[str]:
    """Split a call into words, up to where the shell goes on with something else."""
    lexer = shlex.shlex(
        call.replace("2>&1", ""), posix=True, punctuation_chars=")&|;<>"
    )
    lexer.whitespace_split = True
    words: list[str] = []
    for word in lexer:
        if word and set(word) <= set(")&|;<>"):
            break
        words.append(word)
    return words


def parse(command: click.Command, words: list[str], context: click.Context) -> None:
    """Parse as click would, without running anything.

    Raises:
        click.UsageError: If an option is unknown, or an argument is missing.
    """
    given, rest, _ = command.make_parser(context).parse_args(args=list(words))
    if "--help" not in words:
        require_all(command, given)
    if not isinstance(command, click.Group):
        most = sum(1 for one in command.params if isinstance(one, click.Argument))
        endless = any(
            isinstance(one, click.Argument) and one.nargs < 0 for one in command.params
        )
        if rest and not endless:
            raise click.UsageError(f"{rest} is more than the {most} it takes")
        return
    if not rest:
        return
    name, found, left = command.resolve_command(context, rest)
    if found is None:
        raise click.UsageError(f"no command {name}")
    parse(found, left, click.Context(found, info_name=name, parent=context))


def require_all(command: click.Command, given: Mapping[str, object]) -> None:
    """Insist on what must be given.

    Raises:
        click.UsageError: If something is missing.
    """
    for one in command.params:
        value = given.get(str(one.name))
        if one.required and (value is None or "UNSET" in repr(value)):
            raise click.UsageError(f"{one.name} is missing")


CALLS = typed()


def test_pages_show_calls_of_every_program() -> None:
    shown = {call.split()[0] for _, call in CALLS}
    assert shown >= set(PROGRAMS)


@pytest.mark.parametrize(("where", "call"), CALLS)
def test_a_command_is_one(where: str, call: str) -> None:
    words = words_of(call)
    program = PROGRAMS[words[0]]
    try:
        parse(program, words[1:], click.Context(program, info_name=words[0]))
    except click.UsageError as error:
        pytest.fail(f"{where}: {call}\n{error.format_message()}")


@pytest.mark.parametrize(
    "call",
    [
        "saltkeep-hub serve --nonsense",
        "saltkeep-hub no-such-command",
        "saltkeep-hub receipt",
        "saltkeep-appliance --config a.toml seal one two three",
    ],
)
def test_a_call_that_is_none_would_be_found(call: str) -> None:
    words = words_of(call)
    program = PROGRAMS[words[0]]
    with pytest.raises(click.UsageError):
        parse(program, words[1:], click.Context(program, info_name=words[0]))
