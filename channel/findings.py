# SPDX-License-Identifier: Apache-2.0
"""What a doctor finds, and the checks that hub and appliance have in common.

They change nothing and tell no secret.
"""

import datetime as dt
import enum
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from rich.console import Console
from rich.markup import escape
from rich.table import Table

_OTHERS: Final = 0o077
_WARN_DAYS: Final = 30
_FAIL_DAYS: Final = 7
_WARN_FREE_BYTES: Final = 2 << 30
_FAIL_FREE_BYTES: Final = 200 << 20
_RENEW: Final = "have it issued anew: docs/certificates.md"
_EXIT_FAILURE: Final = 1
_EXIT_WARNINGS: Final = 4


class Level(enum.Enum):
    """How bad a finding is."""

    OK = "ok"
    """Nothing to do."""
    WARNING = "warning"
    """Works, and will not for long; or could not be checked."""
    FAILURE = "failure"
    """Does not work, or is not safe."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        level: How bad it is.
        what: What was checked.
        found: What was seen; never a secret.
        mend: What to do; empty: nothing.
    """

    level: Level
    what: str
    found: str
    mend: str = ""


def check_private(name: str, path: Path) -> Finding:
    """Check that nobody but its owner may open a secret's file."""
    try:
        mode = path.stat().st_mode & 0o777
    except OSError as error:
        mend = f"put the file where {name} says"
        return Finding(Level.FAILURE, name, f"{path}: {error.strerror}", mend)
    if mode & _OTHERS:
        found = f"{path} has mode {mode:04o}"
        return Finding(Level.FAILURE, name, found, f"chmod 600 {path}")
    return Finding(Level.OK, name, f"mode {mode:04o}")


def check_certificate(
    name: str, path: Path, *, now: dt.datetime, renew: str = ""
) -> Finding:
    """Check that no certificate of a PEM file has expired or is about to.

    Args:
        name: What is checked.
        path: The file.
        now: The time.
        renew: The command that asks for another one, if there is one.

    Returns:
        What was found.
    """
    anew = renew or _RENEW
    try:
        chain = x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        mend = f"put the file where {name} says"
        return Finding(Level.FAILURE, name, f"{path}: {error.strerror}", mend)
    except ValueError:
        return Finding(Level.FAILURE, name, f"{path} is no PEM", "install it anew")
    if any(now < one.not_valid_before_utc for one in chain):
        mend = "set this machine's clock, or have it issued anew"
        return Finding(Level.FAILURE, name, "is not in force yet", mend)
    days = min(one.not_valid_after_utc - now for one in chain).days
    if days < 0:
        mend = anew
        return Finding(Level.FAILURE, name, "has expired", mend)
    level = Level.OK
    if days < _WARN_DAYS:
        level = Level.FAILURE if days < _FAIL_DAYS else Level.WARNING
    mend = "" if level is Level.OK else anew
    return Finding(level, name, f"in force for {days} days", mend)


def check_disk(name: str, folder: Path) -> Finding:
    """Check that a folder's disk has room."""
    try:
        free_bytes = shutil.disk_usage(folder).free
    except OSError as error:
        found = f"{folder}: {error.strerror}"
        return Finding(Level.FAILURE, name, found, f"make the folder {folder}")
    found = f"{free_bytes >> 20} MiB free"
    if free_bytes >= _WARN_FREE_BYTES:
        return Finding(Level.OK, name, found)
    level = Level.FAILURE if free_bytes < _FAIL_FREE_BYTES else Level.WARNING
    return Finding(level, name, found, f"make room on the disk of {folder}")


def exit_code(found: Sequence[Finding]) -> int:
    """Return 0 if all is well, 1 for a failure, 4 for warnings alone."""
    levels = {finding.level for finding in found}
    if Level.FAILURE in levels:
        return _EXIT_FAILURE
    return _EXIT_WARNINGS if Level.WARNING in levels else 0


def as_json(found: Sequence[Finding]) -> str:
    """Write findings for machines: a list of objects."""
    return json.dumps([asdict(one) | {"level": one.level.value} for one in found])


def show(found: Sequence[Finding], *, width: int | None) -> None:
    """Print findings as a table.

    Args:
        found: In the order of the rows.
        width: Columns it may fill; None: the terminal's.
    """
    table = Table("level", "what", "found", "mend")
    for one in found:
        row = (one.level.value, one.what, one.found, one.mend)
        table.add_row(*map(escape, row), style=_COLOURS[one.level])
    Console(width=width).print(table)


_COLOURS: Final = {
    Level.OK: "green",
    Level.WARNING: "yellow",
    Level.FAILURE: "bold red",
}
