# SPDX-License-Identifier: Apache-2.0
"""What only an appliance can put beside a row of its journal: a MAC of its hash.

The chain shows that no row was altered; it does not show who wrote the last one.
Whoever can insert into the database could append a row that says a bundle is signed,
or that a client is an operator. The key of these MACs is derived from the vault's
head key, which only the HSM opens, and which every appliance of the journal holds.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Final

from appliance.journal_schema import broken
from appliance.wire import JournalRow
from trinary.memory import LockedBuffer

_LABEL: Final = b"saltkeep/journal-row/v1\0"
_KEY_BYTES: Final = hashlib.sha256().digest_size


class RowSeal:
    """Makes and checks the MACs of one journal's rows.

    Args:
        head_key: Of the vault; read here and not kept.
        journal_id: 32 hex characters.
    """

    def __init__(self, head_key: LockedBuffer, *, journal_id: str) -> None:
        self._key = LockedBuffer(_KEY_BYTES, allow_unlocked=True)
        label = _LABEL + journal_id.encode()
        self._key.view[:] = hmac.digest(head_key.view, label, "sha256")

    def mac(self, row: JournalRow) -> str:
        """Return the MAC that belongs beside a row: 64 hex characters."""
        return hmac.digest(self._key.view, row.hash.encode(), "sha256").hex()

    def require(self, rows: Sequence[JournalRow], macs: Mapping[int, str]) -> None:
        """Insist that an appliance of this journal wrote some rows.

        Args:
            rows: Their hashes are checked.
            macs: By sequence.
        """
        for row in rows:
            found = macs.get(row.sequence, "")
            if not hmac.compare_digest(self.mac(row).encode(), found.encode()):
                broken(f"row {row.sequence} was written by no appliance of it")

    def close(self) -> None:
        """Wipe the key."""
        self._key.close()
