# SPDX-License-Identifier: Apache-2.0
"""What a failure of the database means for the transaction it befell; pure.

The question that matters is whether the transaction may have been committed. A
transaction that lost a race was rolled back, whenever that is said. One whose
connection was lost was rolled back too, unless ``COMMIT`` had been sent: then
nobody knows, and it must never be run again by itself.
"""

import enum
from typing import Final

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

Failure = DBAPIError | OSError | PoolTimeoutError
"""What SQLAlchemy and the drivers below it raise about a database."""

FAILURES: Final = (DBAPIError, OSError, PoolTimeoutError)
"""The same, to be caught; ``TimeoutError`` is an ``OSError``."""

_RACE_LOST: Final = frozenset({"40001", "40P01"})
"""Source: PostgreSQL manual, appendix A: serialization failure, deadlock."""

_AWAY: Final = frozenset({"57P01", "57P02", "57P03", "57P05", "53300", "55P03"})
"""Source: the same: shut down, crashed, starting; idle too long; too many
connections; a lock not had in time."""

_UNKNOWN: Final = "40003"
"""Source: the same: statement completion unknown; distributed databases send it."""


class Verdict(enum.Enum):
    """What becomes of a transaction that failed."""

    RUN_AGAIN = "run-again"
    """It was rolled back because of another one: run it again from its beginning."""
    AWAY = "away"
    """It was rolled back because the database is away or busy: wait, then again."""
    UNKNOWN = "unknown"
    """It may have been committed: look before asking for it again."""
    FAILED = "failed"
    """It was rolled back for a reason of its own, which comes again."""


def judge(error: Failure, *, committing: bool) -> Verdict:
    """Say what a failure means.

    Args:
        error: What the database or its driver said.
        committing: Whether ``COMMIT`` may have been sent.

    Returns:
        The verdict.
    """
    state = sqlstate_of(error)
    if state in _RACE_LOST or _is_busy_file(error):
        return Verdict.RUN_AGAIN
    if state == _UNKNOWN:
        return Verdict.UNKNOWN
    if state in _AWAY or _is_lost(error):
        return Verdict.UNKNOWN if committing else Verdict.AWAY
    return Verdict.FAILED


def sqlstate_of(error: Failure) -> str | None:
    """Return PostgreSQL's five characters for a failure, if it gave any."""
    return getattr(getattr(error, "orig", None), "sqlstate", None)


def _is_busy_file(error: Failure) -> bool:
    return isinstance(error, DBAPIError) and "database is locked" in str(error.orig)


def _is_lost(error: Failure) -> bool:
    if not isinstance(error, DBAPIError):
        return True  # the socket's own error, or no connection was to be had
    state = sqlstate_of(error) or ""
    return error.connection_invalidated or state.startswith("08")
