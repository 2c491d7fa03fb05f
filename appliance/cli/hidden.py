# SPDX-License-Identifier: Apache-2.0
"""Secrets typed at a terminal: never shown, straight into locked memory."""

import hmac
import os
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click

from appliance.errors import ConfigError
from trinary.memory import LockedBuffer

_LINE_ENDS: Final = b"\n\r"


def read_hidden(prompt: str, *, most_bytes: int, allow_unlocked: bool) -> LockedBuffer:
    """Read one line of standard input without echo.

    Args:
        prompt: What to ask for; shown on standard error.
        most_bytes: How long it may be.
        allow_unlocked: Go on where memory can not be locked.

    Returns:
        The line without its end; the caller closes it.

    Raises:
        ConfigError: If it is empty or too long.
    """
    click.echo(f"{prompt}: ", nl=False, err=True)
    with LockedBuffer(most_bytes + 1, allow_unlocked=allow_unlocked) as room:
        size = 0
        with _no_echo():
            while size < room.size and os.readv(0, [room.view[size : size + 1]]):
                if room.view[size] in _LINE_ENDS:
                    break
                size += 1
        click.echo(err=True)
        if not 0 < size <= most_bytes:
            raise ConfigError(f"{prompt} has 1 to {most_bytes} bytes")
        text = LockedBuffer(size, allow_unlocked=allow_unlocked)
        text.view[:] = room.view[:size]
        return text


def read_hidden_twice(
    prompt: str, *, most_bytes: int, allow_unlocked: bool
) -> LockedBuffer:
    """Read a line twice, since nobody can see what is typed.

    Args:
        prompt: What to ask for.
        most_bytes: How long it may be.
        allow_unlocked: Go on where memory can not be locked.

    Returns:
        The line; the caller closes it.

    Raises:
        ConfigError: If the two differ.
    """
    first = read_hidden(prompt, most_bytes=most_bytes, allow_unlocked=allow_unlocked)
    with read_hidden(
        f"{prompt} again", most_bytes=most_bytes, allow_unlocked=allow_unlocked
    ) as second:
        if not hmac.compare_digest(first.view, second.view):
            first.close()
            raise ConfigError(f"the two lines of {prompt} differ; nothing was done")
    return first


@contextmanager
def _no_echo() -> Iterator[None]:
    if not os.isatty(0):
        yield
        return
    before = termios.tcgetattr(0)
    quiet = termios.tcgetattr(0)
    quiet[3] &= ~termios.ECHO
    termios.tcsetattr(0, termios.TCSAFLUSH, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSAFLUSH, before)
