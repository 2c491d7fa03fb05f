# SPDX-License-Identifier: Apache-2.0
"""The seal latch: a file that outlives restarts and bars every signature.

The file is made once, at ``init``, and overwritten in place, so that a full disk
can not keep the appliance from sealing itself; where even that fails the latch
holds in memory, and is written again at every check until that succeeds. A
missing or unreadable file counts as sealed.
"""

import json
import logging
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance.errors import BadRequestError, FaultError

_log = logging.getLogger(__name__)
_SIZE_BYTES: Final = 4096
_REASON_CHARACTERS: Final = 500
_CODE_CHARACTERS: Final = 64


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
    """The latch file; who may clear it is for ``approvals`` to say.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written = True
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
            shown = reason[:_REASON_CHARACTERS]
            self.seal = Seal(secrets.token_hex(8), code[:_CODE_CHARACTERS], shown)
            self._written = False
            self.persist()
        return self.seal

    def persist(self) -> None:
        """Write the seal to the file if that has not succeeded yet."""
        if self.seal is None or self._written:
            return
        try:
            _overwrite(self._path, self.seal)
        except OSError as error:
            _log.critical("the seal holds in memory only: %s", error.strerror)
        else:
            self._written = True

    def require(self, latch_id: str) -> Seal:
        """Return the seal in force, if it is the one meant.

        Args:
            latch_id: Which.

        Returns:
            The seal.

        Raises:
            BadRequestError: If there is no seal or they mean another one.
        """
        if self.seal is None or self.seal.latch_id != latch_id:
            raise BadRequestError(
                "no seal of that id is in force; ask for the status first"
            )
        return self.seal

    def clear(self, latch_id: str) -> None:
        """Clear the latch; the caller holds the approvals.

        Args:
            latch_id: Which seal is meant.

        Raises:
            FaultError: If the file can not be written; the seal stays.
        """
        self.require(latch_id)
        try:
            _overwrite(self._path, None)
        except OSError as error:
            raise FaultError(f"the latch can not be cleared: {error}") from error
        self.seal = None

    def _read(self) -> Seal | None:
        try:
            return _parse(self._path.read_bytes())
        except (OSError, ValueError, KeyError, TypeError):
            return Seal(
                secrets.token_hex(8),
                "latch-unreadable",
                f"the seal latch {self._path} is missing or unreadable",
            )


def _parse(content: bytes) -> Seal | None:
    """Read the file; only exactly ``{"seal": null}`` means clear."""
    state = json.loads(content)
    if set(state) != {"seal"}:
        raise ValueError(sorted(state))
    return None if state["seal"] is None else Seal(**state["seal"])


def _overwrite(path: Path, seal: Seal | None) -> None:
    fields = None
    if seal is not None:
        fields = {"latch_id": seal.latch_id, "code": seal.code, "reason": seal.reason}
    text = json.dumps({"seal": fields}, ensure_ascii=False).encode(errors="replace")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        written = os.write(descriptor, text.ljust(_SIZE_BYTES))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if written < len(text):
        raise OSError(f"only {written} bytes of the latch were written")
