# SPDX-License-Identifier: Apache-2.0
"""Schema revisions, run by the program itself: no alembic.ini, no shell."""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from hub.errors import InvariantError, RefusedError
from hub.store.engine import require_references

FOLDER: Final = Path(__file__).with_name("migrations")


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def newest_revision() -> str:
    """Return the newest revision this program knows."""
    return str(ScriptDirectory.from_config(_config()).get_current_head())


def revisions() -> list[str]:
    """List every revision this program knows, the oldest first."""
    script = ScriptDirectory.from_config(_config())
    return [known.revision for known in script.walk_revisions()][::-1]


def current_revision(connection: Connection) -> str | None:
    """Return the revision the database is at; None when it is empty."""
    return MigrationContext.configure(connection).get_current_revision()


def to_revision(connection: Connection, revision: str) -> None:
    """Go up or down to a revision inside the connection's transaction.

    Args:
        connection: With a transaction open; the caller commits.
        revision: A revision, ``head`` or ``base``.

    Raises:
        InvariantError: If the database was migrated by a newer program.
        RefusedError: If there is no such revision.
    """
    config = _config(connection)
    known = [r.revision for r in ScriptDirectory.from_config(config).walk_revisions()]
    current = current_revision(connection)
    if current is not None and current not in known:
        message = f"the database is at revision {current}, of a newer program"
        raise InvariantError(message)
    target = {"head": known[0], "base": None}.get(revision, revision)
    if target is not None and target not in known:
        names = ", ".join(["head", *known, "base"])
        message = f"there is no revision {revision!r}; there are {names}"
        raise RefusedError(message)
    if _rank(known, target) >= _rank(known, current):
        command.upgrade(config, revision)
    else:
        command.downgrade(config, revision)
    require_references(connection)


def _rank(newest_first: list[str], revision: str | None) -> int:
    # 0 for an empty database, 1 for the first revision.
    return 0 if revision is None else len(newest_first) - newest_first.index(revision)
