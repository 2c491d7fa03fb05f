# SPDX-License-Identifier: Apache-2.0
"""The blocks of code in a page: what a reader would type, and what they are shown."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^(?P<indent> *)```(?P<info>.*)$")
_OPTION = re.compile(r"^:(?P<name>[a-z-]+): *(?P<value>.*)$")
_PROMPT = re.compile(r"^[$#] ")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block.

    Attributes:
        page: Where it stands.
        line: Of its first line, from 1 on.
        language: As the fence says.
        options: Of a ``{code-block}``.
        text: What is inside.
    """

    page: Path
    line: int
    language: str
    options: dict[str, str]
    text: str


@dataclass(frozen=True, slots=True)
class Command:
    """One command with what is shown to follow it.

    Attributes:
        line: Where it stands, from 1 on.
        text: As typed, without the prompt.
        shown: The lines below it.
    """

    line: int
    text: str
    shown: tuple[str, ...]


def blocks_of(page: Path) -> Iterator[Block]:
    """Find every fenced block of a page, those inside lists too."""
    inside: list[str] | None = None
    first, info, indent = 0, "", ""
    for number, line in enumerate(page.read_text().splitlines(), start=1):
        fence = _FENCE.match(line)
        if inside is None:
            if fence:
                inside, first = [], number + 1
                info, indent = fence["info"].strip(), fence["indent"]
        elif fence and not fence["info"]:
            yield _block(page, first, info, inside)
            inside = None
        else:
            inside.append(line.removeprefix(indent))


def _block(page: Path, line: int, info: str, lines: list[str]) -> Block:
    options = {}
    language = info.removeprefix("{code-block}").strip()
    while language != info and lines and (found := _OPTION.match(lines[0])):
        options[found["name"]] = found["value"]
        lines, line = lines[1:], line + 1
    return Block(page, line, language, options, "\n".join(lines).strip("\n") + "\n")


def commands_of(block: Block) -> Iterator[Command]:
    """Split a console block into its commands; lines may go on after a backslash.

    The first line says whose prompt it is: in a user's block ``# `` begins output.
    """
    lines = block.text.splitlines()
    prompt = lines[0][:2] if _PROMPT.match(lines[0]) else "$ "
    at = 0
    while at < len(lines):
        if not lines[at].startswith(prompt):
            at += 1
            continue
        start = at
        typed = [lines[at][2:]]
        while typed[-1].endswith("\\") and at + 1 < len(lines):
            at += 1
            typed.append(lines[at])
        at += 1
        shown = []
        while at < len(lines) and not lines[at].startswith(prompt):
            shown.append(lines[at])
            at += 1
        text = "\n".join(typed)
        yield Command(block.line + start, text, tuple(shown))


def as_pattern(shown: tuple[str, ...]) -> re.Pattern[str]:
    """Make a pattern of shown lines: ``…`` is any text, a line ``...`` any lines."""
    parts = []
    for line in shown:
        if line == "...":
            parts.append(r"(?:.*\n)*?")
        else:
            pieces = (re.escape(piece) for piece in line.split("…"))
            parts.append(".*".join(pieces) + r" *\n")
    return re.compile("".join(parts))
