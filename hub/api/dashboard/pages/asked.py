# SPDX-License-Identifier: Apache-2.0
"""What the address line of a list asks for; anything odd is refused, not guessed."""

import enum
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar
from urllib.parse import urlencode

from aiohttp import web

from hub.api.dashboard.errors import FormInvalidError

PER_PAGE: Final = 50
_MOST_DIGITS: Final = 18
State = TypeVar("State", bound=enum.Enum)


class HasRow(Protocol):
    """A line of a list."""

    @property
    def row(self) -> int:
        """Its row."""


Line = TypeVar("Line", bound=HasRow)


@dataclass(frozen=True, slots=True)
class Listing(Generic[Line]):
    """One page of a list.

    Attributes:
        lines: What it shows.
        state: The state asked for; empty: any.
        states: All that may be asked for.
        more: Where the next page is; empty: this is the last one.
        first: Whether this is the first page.
    """

    lines: list[Line]
    state: str
    states: list[str]
    more: str
    first: bool


def state_asked(request: web.Request, kind: type[State]) -> State | None:
    """Read the state that a list is asked for.

    Args:
        request: With ``state`` in its address line, or not.
        kind: Of state.

    Returns:
        The state; None: any.

    Raises:
        FormInvalidError: If there is no such state.
    """
    text = request.query.get("state", "")
    try:
        return kind(text) if text else None
    except ValueError as error:
        raise FormInvalidError("there is no such state") from error


def row_asked(request: web.Request) -> int | None:
    """Read where the page before has ended.

    Args:
        request: With ``before`` in its address line, or not.

    Returns:
        The last row seen; None: begin.

    Raises:
        FormInvalidError: If it is no row.
    """
    text = request.query.get("before", "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
        raise FormInvalidError("this is no page of the list")
    return int(text)


def listing(
    request: web.Request,
    lines: list[Line],
    *,
    state: enum.Enum | None,
    kind: type[enum.Enum],
) -> Listing[Line]:
    """Make a page of one line more than it shows.

    Args:
        request: What was asked.
        lines: ``PER_PAGE`` and one more, if there are so many.
        state: As asked.
        kind: Of state.

    Returns:
        The page.
    """
    shown = lines[:PER_PAGE]
    more = ""
    if len(lines) > PER_PAGE:
        query = {"state": state.value} if state else {}
        more = f"{request.path}?{urlencode(query | {'before': shown[-1].row})}"
    return Listing(
        lines=shown,
        state=state.value if state else "",
        states=[str(one.value) for one in kind],
        more=more,
        first="before" not in request.query,
    )
