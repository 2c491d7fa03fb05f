# SPDX-License-Identifier: Apache-2.0
"""The flag file of an old Hub, as gflags reads it.

One flag a line, with one dash or two: ``--name=value``, ``--name value``, ``--name``
and ``--noname`` for a switch. Blank lines and lines that begin with ``#`` say nothing;
``--flagfile FILE`` reads another file in its place. Of a flag given twice the last one
counts.
Source: the gflags manual, "Special flags".
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hub.errors import ConfigError

_FLAG: Final = re.compile(r"--?([A-Za-z]\w*)(?:(?:\s*=|\s+)\s*(.*))?")
_NO: Final = "no"


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag.

    Attributes:
        name: Without dashes.
        value: Its text; ``true`` or ``false`` for a switch.
        folder: Of the file it stands in: what its paths are relative to.
    """

    name: str
    value: str
    folder: Path


def read_flagfile(path: Path, *, switches: Collection[str]) -> dict[str, Flag]:
    """Read a flag file and every file it names.

    Args:
        path: The file.
        switches: Names of the flags that may stand without a value.

    Returns:
        The flags by name, the last of each.

    Raises:
        ConfigError: If a file can not be read or names itself, or a line is no flag;
            the message tells the place and never the value.
    """
    return {flag.name: flag for flag in _flags(path, switches, ())}


def _flags(
    path: Path, switches: Collection[str], outer: tuple[Path, ...]
) -> Iterator[Flag]:
    here = path.resolve()
    if here in outer:
        message = f"{path.name}: this flag file names itself"
        raise ConfigError(message)
    try:
        lines = here.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        message = f"{path.name}: {reason}"
        raise ConfigError(message) from error
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        flag = _flag(text, switches, here, number)
        if flag.name == "flagfile":
            yield from _flags(here.parent / flag.value, switches, (*outer, here))
        else:
            yield flag


def _flag(text: str, switches: Collection[str], path: Path, number: int) -> Flag:
    found = _FLAG.fullmatch(text)
    if found is None:
        message = f"{path.name}, line {number}: this is no flag"
        raise ConfigError(message)
    name, value = found[1], found[2]
    if value is not None:
        return Flag(name, value, path.parent)
    if name in switches:
        return Flag(name, "true", path.parent)
    if name.startswith(_NO) and name.removeprefix(_NO) in switches:
        return Flag(name.removeprefix(_NO), "false", path.parent)
    message = f"{path.name}, line {number}: --{name} needs a value"
    raise ConfigError(message)
