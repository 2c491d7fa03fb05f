# SPDX-License-Identifier: Apache-2.0
"""The seal latch: a file that outlives restarts and bars every signature.

The file is made once, at ``init``, and overwritten in place, so that a full disk
can not keep the appliance from sealing itself; where even that fails the latch
holds in memory. A missing or unreadable file counts as sealed.
"""

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance.errors import BadRequestError

_SIZE_BYTES: Final = 4096
_MESSAGE_CHARACTERS: Final = 500


@dataclass(frozen=True, slots=True)
class Seal:
    """Why the appliance is sealed.

    Attributes:
        latch_id: Quoted by operators who clear it.
        code: What was found, a stable word.
        reason: For people.
    """

    latch_id: str
    code: str
    reason: str


class SealLatch:
    """The latch file and the approvals to clear it.

    Args:
        path: The file.
        approvals_needed: Distinct operators that must approve.
    """

    def __init__(self, path: Path, *, approvals_needed: int) -> None:
        self._path = path
        self._approvals_needed = approvals_needed
        self._approvals: set[str] = set()
        self.seal = self._read()

    @staticmethod
    def create(path: Path) -> None:
        """Make the file, clear; part of ``init`` only."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.close(descriptor)
        _overwrite(path, None)

    def close_latch(self, *, code: str, reason: str) -> Seal:
        """Seal, or keep the seal that is there.

        Args:
            code: What was found.
            reason: For people.

        Returns:
            The seal in force.
        """
        if self.seal is None:
            seal = Seal(secrets.token_hex(8), code, reason[:_MESSAGE_CHARACTERS])
            self.seal = seal
            self._approvals.clear()
            _overwrite(self._path, seal)
        return self.seal

    def approve(self, *, operator: str, latch_id: str) -> int:
        """Add one operator's approval; clear the latch with the last one.

        Args:
            operator: Name of the client certificate.
            latch_id: Which seal they mean.

        Returns:
            How many approvals are still missing; 0 means cleared.

        Raises:
            BadRequestError: If there is no seal or they mean another one.
        """
        if self.seal is None or self.seal.latch_id != latch_id:
            raise BadRequestError(
                "no seal of that id is in force; ask for the status first"
            )
        self._approvals.add(operator)
        missing = self._approvals_needed - len(self._approvals)
        if missing <= 0:
            _overwrite(self._path, None)
            self.seal = None
            self._approvals.clear()
        return max(missing, 0)

    def _read(self) -> Seal | None:
        try:
            state = json.loads(self._path.read_text())
            return Seal(**state["seal"]) if state["seal"] else None
        except (OSError, ValueError, KeyError, TypeError):
            return Seal(
                secrets.token_hex(8),
                "latch-unreadable",
                f"the seal latch {self._path} is missing or unreadable",
            )


def _overwrite(path: Path, seal: Seal | None) -> None:
    fields = None
    if seal is not None:
        fields = {"latch_id": seal.latch_id, "code": seal.code, "reason": seal.reason}
    text = json.dumps({"seal": fields}).ljust(_SIZE_BYTES)
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode()[:_SIZE_BYTES])
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
