# SPDX-License-Identifier: Apache-2.0
"""The custody suite runs once per token; at the end a matrix says what it showed.

``SALTKEEP_TOKENS`` names the profiles, by default those that ``make test`` installs.
A test is skipped only by ``expect_skip``, because of what the token's profile says;
any other skip fails.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from appliance.pytest_plugin import make_appliance
from tests.tokens.appliances import Installation
from tests.tokens.tokens import MAKERS, Maker, Token

DEFAULT = "softhsm2,tpm2-pkcs11"
EXPECTED = "by profile: "
SHOWN = {"passed": "[green]yes[/]", "skipped": "no, by profile", "failed": "[red]NO[/]"}


def names() -> list[str]:
    return os.environ.get("SALTKEEP_TOKENS", DEFAULT).split(",")


def expect_skip(token: Token, what: str) -> None:
    pytest.skip(f"{EXPECTED}{token.profile.title} {what}")


@pytest.fixture(scope="session", params=names())
def maker(request: pytest.FixtureRequest) -> Iterator[Maker]:
    with ExitStack() as stack:
        yield MAKERS[request.param](stack)


@pytest.fixture
def token(maker: Maker, tmp_path: Path) -> Token:
    return maker.make(tmp_path / "token")


@pytest.fixture
def scratch(maker: Maker, tmp_path: Path) -> Token:
    """A token that may be locked by wrong PINs without harm to others."""
    return maker.scratch(tmp_path / "token")


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_appliance(tmp_path_factory.mktemp("template") / "box").folder


@pytest.fixture
def install(template: Path, tmp_path: Path) -> Callable[[Token], Installation]:
    """Make the folder of an appliance on a token; ``init`` has not run."""

    def make(token: Token) -> Installation:
        if token.profile.identity.mechanism == "none":
            expect_skip(token, "makes no identity keys")
        return Installation.make(template, tmp_path / "box", token)

    return make


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Iterator[None]:
    outcome: Any = yield
    report = outcome.get_result()
    marker = item.get_closest_marker("capability")
    if marker is None:
        return
    values = getattr(item, "callspec").params  # noqa: B009 - not of every item
    detail = values.get("mechanism", "")
    report.user_properties.append(
        ("capability", (f"{marker.args[0]}{detail}", values["maker"]))
    )
    reason = report.longrepr[2] if report.outcome == "skipped" else ""
    if reason and EXPECTED not in reason:
        report.outcome, report.longrepr = "failed", f"an unexpected skip: {reason}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    matrix: dict[str, dict[str, str]] = defaultdict(dict)
    reports = [
        (report, outcome)
        for outcome in ("passed", "skipped", "failed", "error")
        for report in terminalreporter.stats.get(outcome, [])
    ]
    for report, outcome in sorted(
        reports, key=lambda pair: (pair[0].location[0], pair[0].location[1])
    ):
        for name, value in report.user_properties:
            if name == "capability":
                capability, token = value
                shown = SHOWN.get(outcome, SHOWN["failed"])
                if matrix[capability].get(token) != SHOWN["failed"]:
                    matrix[capability][token] = shown
    if not matrix:
        return
    tokens = [name for name in MAKERS if any(name in row for row in matrix.values())]
    table = Table(title="what each token did")
    for heading in ("capability", *tokens):
        table.add_column(heading)
    for capability, row in matrix.items():
        table.add_row(capability, *(row.get(name, "") for name in tokens))
    Console(width=100).print(table)
