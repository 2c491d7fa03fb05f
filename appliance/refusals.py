# SPDX-License-Identifier: Apache-2.0
"""Refusals are final, so they are written down before they are given."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from appliance.errors import AlreadySignedError, DeferredError, RefusedError
from appliance.intent import computed_hash
from appliance.journal import Journal
from appliance.second_signature import transfer_of
from appliance.threads import OwnerThread
from appliance.wire import ProposeAct, Request, SecondSignature, SignTransfer
from trinary.trytes import is_trytes

_MINUTE_S: Final = 60.0


@dataclass(slots=True)
class Refusals:
    """Journals refusals, only so many a minute for each client.

    Attributes:
        per_minute: How many; more are deferred, or a client could fill the disk.
        clock_s: A monotonic clock.
    """

    per_minute: int
    clock_s: Callable[[], float] = time.monotonic
    _recent: dict[str, deque[float]] = field(default_factory=dict)

    async def commit(
        self,
        request: Request,
        error: RefusedError,
        *,
        client: str,
        journal: Journal,
        thread: OwnerThread,
    ) -> None:
        """Write one refusal down; the hashes it is final for are never signed.

        Args:
            request: What was refused.
            error: Why.
            client: Who asked.
            journal: Where it is written.
            thread: The journal's thread.

        Raises:
            AlreadySignedError: If the bundle is signed: a refusal would let the hub
                release inputs whose signatures are out.
        """
        self._count(client)
        signed = await thread(
            journal.commit_refusal,
            client=client,
            bundle_hashes=[*hashes_of(request), *filter(None, [error.final_for])],
            code=error.code,
            message=str(error),
        )
        if signed:
            raise AlreadySignedError(
                f"not this way ({error.code}: {error}), but bundle {signed[0]} is"
                " signed: fetch it"
            ) from error

    def _count(self, client: str) -> None:
        """Count one more refusal.

        Raises:
            DeferredError: ``busy`` if there were too many: nothing was decided.
        """
        now_s = self.clock_s()
        recent = self._recent.setdefault(client, deque())
        while recent and recent[0] < now_s - _MINUTE_S:
            recent.popleft()
        if len(recent) >= self.per_minute:
            raise DeferredError(
                "busy",
                "too many refusals; nothing was decided",
                retry_after_s=_MINUTE_S,
            )
        recent.append(now_s)


def hashes_of(request: Request) -> list[str]:
    """Return the hashes a refusal is final for: as stated and as recomputed."""
    if isinstance(request, ProposeAct) and isinstance(request.act, SecondSignature):
        request = transfer_of(request.act)
    if not isinstance(request, SignTransfer):
        return []
    hashes = [request.bundle_hash] if is_trytes(request.bundle_hash, length=81) else []
    try:
        recomputed = computed_hash(request.transactions)
    except RefusedError:
        return hashes
    return list(dict.fromkeys([*hashes, recomputed]))
