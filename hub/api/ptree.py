# SPDX-License-Identifier: Apache-2.0
"""The JSON of the legacy dialect: trees whose every leaf is a text.

Old clients were written against one particular serialiser: pretty with four
spaces, every scalar a string, keys that repeat instead of lists, a slash escaped.
A tree here is a text or a list of (key, tree) pairs, in order, keys repeating.

Source: the output and leniency of Boost.PropertyTree 1.74's ``json_parser``, as
Hub 1.4.4 links it, described by observation.
"""

import json
import re
from collections.abc import Sequence
from typing import Any, Final, NoReturn, TypeAlias

Branch: TypeAlias = list[tuple[str, "Tree"]]
"""Pairs in order; the elements of a list have empty keys."""
Tree: TypeAlias = str | Branch

_INDENT: Final = "    "
_NAMED: Final = {
    "\b": r"\b",
    "\f": r"\f",
    "\n": r"\n",
    "\r": r"\r",
    "\t": r"\t",
    "/": r"\/",
    '"': r"\"",
    "\\": r"\\",
}
_ESCAPED: Final = re.compile(r'[\x00-\x1f/"\\]')


class SyntaxRefusedError(ValueError):
    """The body is no JSON."""


def write(tree: Branch) -> bytes:
    """Serialise a tree.

    Args:
        tree: The top level; empty gives ``{`` and ``}`` on two lines.

    Returns:
        UTF-8 with a newline at the end.
    """
    return (_write_object(tree, 0) + "\n").encode()


def read(body: bytes) -> Tree:
    """Parse a request.

    Numbers keep their spelling, ``true``, ``false`` and ``null`` become those
    words: whoever reads a field decides what it may be.

    Args:
        body: Should be JSON in UTF-8, with nothing behind it.

    Returns:
        A text for a scalar, pairs for an object or list.

    Raises:
        SyntaxRefusedError: If it is no JSON, however it fails to be.
    """
    try:
        parsed = json.loads(
            body.decode(),
            object_pairs_hook=_Pairs,
            parse_int=str,
            parse_float=str,
            parse_constant=_refuse_constant,
        )
        return _tree(parsed)
    except (ValueError, RecursionError) as error:
        message = "the body is no JSON"
        raise SyntaxRefusedError(message) from error


def first(branch: Branch, key: str) -> Tree | None:
    """Find a key; of duplicates the first counts.

    Args:
        branch: Where to look.
        key: The key.

    Returns:
        What it holds, or None when it is absent.
    """
    return next((value for name, value in branch if name == key), None)


class _Pairs(list[tuple[str, Any]]):
    # Tells a JSON object from a JSON list.
    pass


def _refuse_constant(name: str) -> NoReturn:
    message = f"{name} is no JSON"
    raise ValueError(message)


def _tree(value: object) -> Tree:
    if isinstance(value, _Pairs):
        return [(_text(key), _tree(inner)) for key, inner in value]
    if isinstance(value, list):
        return [("", _tree(inner)) for inner in value]
    if isinstance(value, str):
        return _text(value)
    return {True: "true", False: "false", None: "null"}[value]  # type: ignore[index]


def _text(value: str) -> str:
    value.encode()  # half a surrogate pair is no text: UnicodeEncodeError
    return value


def _write_object(branch: Branch, depth: int) -> str:
    inside = _INDENT * (depth + 1)
    lines = [f"{inside}{_quote(key)}: {_write(t, depth + 1)}" for key, t in branch]
    return _between("{", lines, "}", depth)


def _write_list(items: Sequence[Tree], depth: int) -> str:
    inside = _INDENT * (depth + 1)
    return _between("[", [inside + _write(t, depth + 1) for t in items], "]", depth)


def _between(opening: str, lines: Sequence[str], closing: str, depth: int) -> str:
    body = ",\n".join(lines) + "\n" if lines else ""
    return f"{opening}\n{body}{_INDENT * depth}{closing}"


def _write(tree: Tree, depth: int) -> str:
    if isinstance(tree, str):
        return _quote(tree)
    if not tree:
        return '""'  # an inner tree without children is a text without characters
    if all(not key for key, _ in tree):
        return _write_list([inner for _, inner in tree], depth)
    return _write_object(tree, depth)


def _quote(text: str) -> str:
    return f'"{_ESCAPED.sub(_escape, text)}"'


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    return _NAMED.get(character) or f"\\u{ord(character):04X}"
