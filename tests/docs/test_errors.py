# SPDX-License-Identifier: Apache-2.0
"""Every code that a program gives has its line in the page about errors."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "errors.md").read_text()
API = (ROOT / "docs" / "api.md").read_text()
EXPLAINED = {
    code
    for page in (TEXT, API)
    for row in re.findall(r"^\|.*\|$", page, re.MULTILINE)
    for code in re.findall(r"`([a-z]+(?:-[a-z]+)*)`", row)
}
PACKAGES = ("appliance", "channel", "firmware_bridge", "hub")
INTERNAL = frozenset({"channel", "ok"})
"""Raised and caught inside; nobody outside sees them."""
GIVE_A_CODE_FIRST = frozenset(
    {"RefusedError", "DeferredError", "Denied", "Postponed", "SigningDeferred"}
)
FIXTURES = ("hub/devnet/", "appliance/probe")


def codes_in(tree: ast.AST) -> Iterator[str]:
    """Find codes as they are written: a class's, a keyword, a first argument."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield from codes_of_class(node)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield from codes_of_call(node, node.func.id)


def codes_of_class(node: ast.ClassDef) -> Iterator[str]:
    for line in node.body:
        match line:
            case ast.Assign(
                targets=[ast.Name(id="code")], value=ast.Constant(value=str(code))
            ):
                yield code


def codes_of_call(node: ast.Call, name: str) -> Iterator[str]:
    if name in GIVE_A_CODE_FIRST:
        match node.args:
            case [ast.Constant(value=str(code)), *_]:
                yield code
    if name.endswith(("Error", "Fault")):
        for keyword in node.keywords:
            match keyword:
                case ast.keyword(arg="code", value=ast.Constant(value=str(code))):
                    yield code


def every_code() -> dict[str, str]:
    found: dict[str, str] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            where = str(path.relative_to(ROOT))
            if not where.startswith(FIXTURES):
                for code in codes_in(ast.parse(path.read_text())):
                    found.setdefault(code, where)
    return found


CODES = every_code()


def test_codes_are_found_in_the_sources() -> None:
    assert {"key-spent", "address-rate", "hours", "fenced", "sealed"} <= set(CODES)


@pytest.mark.parametrize("code", sorted(set(CODES) - INTERNAL - {""}))
def test_a_code_is_explained(code: str) -> None:
    assert code in EXPLAINED, f"{CODES[code]} gives `{code}`: docs/errors.md"
