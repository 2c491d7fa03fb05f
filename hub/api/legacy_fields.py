# SPDX-License-Identifier: Apache-2.0
"""How the fields of a legacy request are read.

A field may be a text, a number or a boolean, spelt either way. What Hub 1.4.4 read
as something else than was written (``-5`` as 18446744073709551611, ``1.5`` as 1,
``abc`` as 0) is refused here with ``Missing argument``.
"""

import re
from typing import Final

from hub.api.legacy_errors import CommandRefusedError, LegacyError
from hub.api.ptree import Branch, first

_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,19}")
_MAX_INT64: Final = (1 << 63) - 1


class Fields:
    """One request's fields.

    Args:
        branch: The request, or one element of a list in it.
    """

    def __init__(self, branch: Branch) -> None:
        self._branch = branch

    def text(self, name: str) -> str:
        """Read a required field.

        Args:
            name: Its key.

        Returns:
            Its text.

        Raises:
            CommandRefusedError: If it is absent, or an object or list.
        """
        value = self.optional(name)
        if value is None:
            raise CommandRefusedError(LegacyError.MISSING_ARGUMENT)
        return value

    def optional(self, name: str) -> str | None:
        """Read a field that may be absent.

        Args:
            name: Its key.

        Returns:
            Its text, or None.

        Raises:
            CommandRefusedError: If it is an object or list.
        """
        value = first(self._branch, name)
        if isinstance(value, list):
            raise CommandRefusedError(LegacyError.MISSING_ARGUMENT)
        return value

    def flag(self, name: str) -> bool:
        """Read a boolean; only ``true`` is true.

        Args:
            name: Its key.

        Returns:
            False when it is absent or anything else.
        """
        return self.optional(name) == "true"

    def integer(self, name: str, *, default: int | None = None) -> int:
        """Read an integer of 64 bits.

        Args:
            name: Its key.
            default: What an absent field means; by default it must be there.

        Returns:
            The integer.

        Raises:
            CommandRefusedError: If it is absent or not written as one.
        """
        text = self.optional(name)
        if text is None and default is not None:
            return default
        if text is None or not _INTEGER.fullmatch(text):
            raise CommandRefusedError(LegacyError.MISSING_ARGUMENT)
        value = int(text)
        if abs(value) > _MAX_INT64:
            raise CommandRefusedError(LegacyError.MISSING_ARGUMENT)
        return value

    def time_ms(self, name: str) -> int:
        """Read a point in time, milliseconds since 1970; 0 when absent.

        Args:
            name: Its key.

        Returns:
            The time.

        Raises:
            CommandRefusedError: If it is negative or no integer.
        """
        value = self.integer(name, default=0)
        if value < 0:
            raise CommandRefusedError(LegacyError.MISSING_ARGUMENT)
        return value

    def texts(self, name: str) -> list[str]:
        """Read a list of texts, as an array or as a key that repeats.

        Args:
            name: Its key.

        Returns:
            The texts, in order; at least one.

        Raises:
            CommandRefusedError: If there is none, or one is an object.
        """
        found: list[str] = []
        for key, value in self._branch:
            if key == name:
                parts = value if isinstance(value, list) else [("", value)]
                for _, part in parts:
                    if not isinstance(part, str):
                        raise CommandRefusedError(LegacyError.MISSING_ARGUMENT)
                    found.append(part)
        if not found:
            raise CommandRefusedError(LegacyError.MISSING_ARGUMENT)
        return found

    def elements(self, name: str) -> list["Fields"]:
        """Read a list of objects.

        Args:
            name: Its key.

        Returns:
            One ``Fields`` per element; none for an empty text or list.

        Raises:
            CommandRefusedError: If it is absent, or an element is no object.
        """
        value = first(self._branch, name)
        if value is None:
            raise CommandRefusedError(LegacyError.MISSING_ARGUMENT)
        found = []
        for _, element in value if isinstance(value, list) else []:
            if isinstance(element, str):
                raise CommandRefusedError(LegacyError.MISSING_ARGUMENT)
            found.append(Fields(element))
        return found
