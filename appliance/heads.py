# SPDX-License-Identifier: Apache-2.0
"""Head tokens: how clients notice, and prove, that a journal went backwards.

Every reply carries the journal's head under a MAC; every request brings the
highest one its client ever stored. After a start nothing is signed until such a
token (or an operator) has confirmed the head.
"""

import hmac
from typing import Final

from appliance.errors import (
    BrokenInvariantError,
    FaultError,
    NotAnchoredError,
)
from appliance.journal import Journal
from appliance.threads import OwnerThread
from appliance.wire import HeadToken
from trinary.memory import LockedBuffer

_LABEL: Final = "saltkeep/head-token/v1"


class ForeignHeadError(FaultError):
    """A head token this appliance did not make, or of another journal."""

    code = "foreign-head"
    retry = False


class Heads:
    """Makes and checks head tokens.

    Args:
        journal: Whose head.
        thread: The journal's thread.
        key: 32 bytes in locked memory; taken over.
    """

    def __init__(
        self, journal: Journal, *, thread: OwnerThread, key: LockedBuffer
    ) -> None:
        self._journal = journal
        self._thread = thread
        self._key = key
        self.anchored = journal.pristine
        self.forged_count = 0

    @property
    def recovering(self) -> bool:
        """Whether the journal was restored, and nobody has recovered it since."""
        return self._journal.verified.recovering

    def token(self) -> HeadToken | None:
        """Return the head as a token; None until it is anchored."""
        if not self.anchored:
            return None
        head = self._journal.head
        epoch = self._journal.epoch
        return HeadToken(
            self._journal.journal_id,
            epoch,
            head.sequence,
            head.hash,
            self._mac(epoch, head.sequence, head.hash),
        )

    async def check(self, token: HeadToken | None) -> None:
        """Compare a client's token with the journal; anchors it if all is well.

        Args:
            token: What the client sent.

        Raises:
            ForeignHeadError: If it is not ours.
            BrokenInvariantError: ``head-regression`` if the journal lost rows
                that a client has seen.
        """
        if token is None:
            return
        ours = (self._journal.journal_id, self._journal.epoch)
        mac = self._mac(token.epoch, token.sequence, token.hash)
        genuine = hmac.compare_digest(mac.encode(), token.mac.encode())
        if genuine and token.journal_id == ours[0] and token.epoch < ours[1]:
            await self._check_earlier(token)
            return
        if (token.journal_id, token.epoch) != ours or not genuine:
            self.forged_count += 1
            raise ForeignHeadError(
                f"the head token is of journal {token.journal_id} epoch"
                f" {token.epoch}, or not made here; expected {ours[0]} epoch {ours[1]}"
            )
        if await self._thread(self._journal.hash_at, token.sequence) != token.hash:
            raise BrokenInvariantError(
                f"a client has seen row {token.sequence}, the journal ends at row"
                f" {self._journal.head.sequence} or holds another: it was rolled back",
                code="head-regression",
            )
        self.anchored = True

    async def _check_earlier(self, token: HeadToken) -> None:
        """Take a token of before a restore, if the restored journal holds its row.

        It anchors nothing: it says nothing of the epoch in force.

        Raises:
            FaultError: ``epoch-behind`` if the client has seen what was not restored.
        """
        restored = self._journal.verified.restored_head
        known = restored is not None and token.sequence <= restored[0]
        if known and await self._thread(self._journal.hash_at, token.sequence) == (
            token.hash
        ):
            return
        error = FaultError(
            f"this journal was restored from before row {token.sequence}, which you"
            " have seen: hand over what you know of spent keys (`import-interchange`),"
            f" then accept epoch {self._journal.epoch}",
            code="epoch-behind",
        )
        error.retry = False
        raise error

    async def require_same(self, *, sequence: int, row_hash: str) -> None:
        """Check the head that an operator vouches for.

        Where other appliances append as well, the row they saw must be there still.

        Args:
            sequence: Number of the last row they saw.
            row_hash: Its hash.

        Raises:
            ForeignHeadError: If the head they name is not the one here.
        """
        found = await self._thread(self._journal.hash_at, sequence)
        head = self._journal.head
        last = self._journal.shared or head.sequence == sequence
        if not last or found != row_hash:
            raise ForeignHeadError(
                f"the journal ends at row {head.sequence} with hash {head.hash}"
            )

    def require_anchored(self) -> None:
        """Stop a request while nobody has confirmed the head.

        Raises:
            NotAnchoredError: If so.
        """
        if not self.anchored:
            raise NotAnchoredError(
                "nobody has confirmed the journal's head since the start: send the"
                " stored head token, or have an operator run `accept-head`"
            )

    def close(self) -> None:
        """Wipe the key."""
        self._key.close()

    def _mac(self, epoch: int, sequence: int, row_hash: str) -> str:
        parts = (_LABEL, self._journal.journal_id, str(epoch))
        text = "\0".join((*parts, str(sequence), row_hash))
        return hmac.digest(self._key.view, text.encode(), "sha256").hex()
