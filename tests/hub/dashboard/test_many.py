# SPDX-License-Identifier: Apache-2.0
"""What a page asks of the database does not grow with how many sweeps there were."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import make_url

from benchmarks.many_sweeps import make_many_sweeps
from hub.operators import Role
from hub.store.engine import is_sqlite
from tests.hub.dashboard.conftest import World

SWEEPS = 2_000
MOST_STATEMENTS = 25
LARGE = "sweep|withdrawal|deposit|address|tail|event|entry|posting|sweep_input"
Statement = tuple[str, Any]
PAGES = (
    "/",
    "/withdrawals",
    "/withdrawals?state=paid",
    "/withdrawals/00000000-0000-4000-8000-000000000007",
    "/withdrawals/10000000-0000-4000-8000-000000000007",
    "/deposits",
    "/deposits?state=credited",
    "/sweeps",
    "/sweeps?state=confirmed",
    "/sweeps?state=refused",
    "/users/user-7",
    "/approvals",
    "/balances",
    "/search?q=nothing",
)


@contextmanager
def listening(world: World) -> Iterator[list[Statement]]:
    """Note every statement that is sent to the database."""
    said: list[Statement] = []
    engine = world.store._engine.sync_engine
    assert is_sqlite(engine.url)

    def note(*arguments: Any) -> None:  # noqa: ANN401 - SQLAlchemy's
        said.append((arguments[2], arguments[3]))

    event.listen(engine, "before_cursor_execute", note)
    yield said
    event.remove(engine, "before_cursor_execute", note)


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_reads_no_whole_table(
    path: str, world: World, database_url: str
) -> None:
    file = make_url(database_url).database
    assert file is not None
    make_many_sweeps(Path(file), SWEEPS)
    browser = await world.browser(Role.ADMIN)
    with listening(world) as said:
        assert (await browser.get(path)).status == 200
    assert 1 < len(said) <= MOST_STATEMENTS
    whole = []
    with closing(sqlite3.connect(file)) as base:
        for text, values in said:
            if not text.startswith(("SELECT", "WITH")) or "LIMIT" in text:
                continue
            plan = base.execute(f"EXPLAIN QUERY PLAN {text}", values)
            steps = [str(row[3]) for row in plan]
            whole += [s for s in steps if re.match(rf"SCAN ({LARGE})\b", s)]
    assert whole == []
