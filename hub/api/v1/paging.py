# SPDX-License-Identifier: Apache-2.0
"""One page of a list: cursor in, rows, cursor out."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec

from hub.api.v1.bodies import ListQuery
from hub.api.v1.cursors import read_cursor, write_cursor
from hub.api.v1.resources import Page

Row = TypeVar("Row")
Item = TypeVar("Item")


async def read_page(
    query: ListQuery,
    *,
    of: str,
    fetch: Callable[[int | None, int], Awaitable[Sequence[Row]]],
    row_id: Callable[[Row], int],
    show: Callable[[Row], Item],
) -> Page[Item]:
    """Read the page a query asks for.

    Args:
        query: Limit, cursor and the list's filters.
        of: The list's name; a cursor holds for no other.
        fetch: Reads rows below a row, the newest first, at most so many.
        row_id: The row number of a row.
        show: Turns a row into an item.

    Returns:
        The items and the cursor of the next page, if there is one.
    """
    filters = msgspec.structs.asdict(query)
    for name in ("limit", "cursor"):
        del filters[name]
    before = None
    if query.cursor is not None:
        before = read_cursor(query.cursor, of=of, filters=filters)
    rows = await fetch(before, query.limit + 1)
    shown = rows[: query.limit]
    following = None
    if len(rows) > len(shown):
        following = write_cursor(row_id(shown[-1]), of=of, filters=filters)
    return Page(items=[show(row) for row in shown], next_cursor=following)
