# SPDX-License-Identifier: Apache-2.0
"""Logging in and out: one answer for every failure, one token per log-in.

A failed log-in is an audit line of its own, without the name that was typed if nobody
has it: people type their password there. Lines are few, since the limiter is asked
before anything is hashed or written.
"""

from typing import Final

from hub.api.dashboard.errors import LoginLimitedError, LoginRefusedError
from hub.api.dashboard.limiter import PER_ADDRESS, PER_NAME, FailureLimiter
from hub.api_keys import digest_of
from hub.clock import Clock
from hub.operators import (
    MOST_PASSWORD,
    Operator,
    Session,
    SessionDigest,
    SessionLimits,
    actor_of,
    fresh_token,
    holds,
)
from hub.passwords import Passwords
from hub.store import Store, Transaction
from hub.store.audit import Done

_TOUCH_MS: Final = 60_000
_MOST_TOKEN: Final = 64
_STRANGER: Final = "operator:?"


class Sessions:
    """Opens, finds and ends sessions.

    Args:
        store: The database.
        passwords: Who hashes.
        limits: How long a session lives.
        clock: The time.
    """

    def __init__(
        self, store: Store, passwords: Passwords, *, limits: SessionLimits, clock: Clock
    ) -> None:
        self._store = store
        self._passwords = passwords
        self._limits = limits
        self._clock = clock
        self._names = FailureLimiter(PER_NAME)
        self._peers = FailureLimiter(PER_ADDRESS)

    async def log_in(
        self, name: str, password: str, *, peer: str, request_id: str, old_token: str
    ) -> str:
        """Open a session.

        Args:
            name: As typed.
            password: As typed.
            peer: The address it comes from.
            request_id: For the audit.
            old_token: Of the session that the browser still has; it ends.

        Returns:
            The new session's token, which is stored nowhere.

        Raises:
            LoginLimitedError: If too many have failed.
            LoginRefusedError: If name and password do not fit.
        """
        now_ms = self._clock()
        tries = ((self._names, name[:_MOST_TOKEN]), (self._peers, peer))
        if not all(limiter.is_open(key, now_ms=now_ms) for limiter, key in tries):
            raise LoginLimitedError("too many log-ins failed: wait some minutes")
        for limiter, key in tries:  # before it is hashed: many may try at once
            limiter.failed(key, now_ms=now_ms)
        async with self._store.looking() as tx:
            found = await tx.operators.find(name)
        if not await self._fits(found, password):
            await self._store.run(lambda tx: _refused(tx, found, peer, request_id))
            raise LoginRefusedError("name and password do not fit")
        assert found is not None, "fits nobody else"
        for limiter, key in tries:
            limiter.succeeded(key)
        return await self._open(found, peer, request_id, old_token)

    async def _fits(self, found: Operator | None, password: str) -> bool:
        enabled = found is not None and found.disabled_at_ms is None
        stored = found.password_hash if found is not None and enabled else None
        return await self._passwords.fits(stored, password[: MOST_PASSWORD + 1])

    async def _open(
        self, who: Operator, peer: str, request_id: str, old_token: str
    ) -> str:
        token = fresh_token()

        async def work(tx: Transaction) -> None:
            if old_token:
                await tx.operators.end_session(_digest(old_token))
            kept_ms = max(self._limits.idle_ms, self._limits.absolute_ms)
            await tx.operators.forget_sessions(unseen_since_ms=tx.now_ms - kept_ms)
            await tx.operators.open_session(who.row, _digest(token), peer=peer[:64])
            await tx.audit.add(Done(who.actor, request_id, "log-in", f"from {peer}"))

        await self._store.run(work)
        return token

    async def find(self, token: str) -> Session | None:
        """Find the session of a token.

        Args:
            token: As the browser sent it.

        Returns:
            The session; None when there is none or it is over.
        """
        if not token or len(token) > _MOST_TOKEN:
            return None
        return await self.still(_digest(token))

    async def still(self, digest: SessionDigest) -> Session | None:
        """Find a session that was good a while ago.

        Args:
            digest: Of its token.

        Returns:
            The session; None when it is over.
        """
        async with self._store.looking() as tx:
            found = await tx.operators.session(digest)
        if found is None or not holds(found, self._limits, now_ms=self._clock()):
            return None
        return found

    async def use(self, session: Session) -> None:
        """Note that a person used a session, about once a minute.

        Args:
            session: As found.
        """
        if self._clock() - session.seen_at_ms >= _TOUCH_MS:
            await self._store.run(lambda tx: tx.operators.touch(session.digest))

    async def log_out(self, session: Session, *, request_id: str) -> None:
        """End a session.

        Args:
            session: As found.
            request_id: For the audit.
        """

        async def work(tx: Transaction) -> None:
            await tx.operators.end_session(session.digest)
            await tx.audit.add(Done(session.operator.actor, request_id, "log-out", ""))

        await self._store.run(work)


async def _refused(
    tx: Transaction, found: Operator | None, peer: str, request_id: str
) -> None:
    actor = _STRANGER if found is None else actor_of(found.name)
    await tx.audit.add(Done(actor, request_id, "log-in-refused", f"from {peer}"))


def _digest(token: str) -> SessionDigest:
    return SessionDigest(digest_of(token))
