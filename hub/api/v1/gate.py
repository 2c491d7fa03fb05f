# SPDX-License-Identifier: Apache-2.0
"""Who may enter: the API key, its scope and its allowance, in that order.

Before a key is known nothing is written and nothing logged, only counted: strangers
can not fill the disk.
"""

from collections import Counter
from typing import Final

from aiohttp import web

from hub.api.v1.buckets import Allowance, Buckets
from hub.api.v1.errors import RateLimitedError, ScopeMissingError
from hub.api_keys import ApiKey, ApiKeyRow, KeyId, Scope, key_id_of, require_valid
from hub.clock import Clock
from hub.errors import ApiKeyInvalidError
from hub.store import Store

REMEMBER_MS: Final = 1000
"""How long a key is let in after another process has revoked it, in milliseconds."""
_TOUCH_MS: Final = 60_000
_SCHEME: Final = "bearer"


class Gate:
    """Lets requests in.

    Args:
        store: The database.
        allowance: How often each key may ask.
        clock: The time.
    """

    def __init__(self, store: Store, *, allowance: Allowance, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._buckets = Buckets(allowance)
        self._known: dict[KeyId, tuple[ApiKey, int]] = {}
        self._touched_ms: dict[ApiKeyRow, int] = {}
        self.refused: Counter[str] = Counter()

    async def enter(self, request: web.Request, scope: Scope) -> ApiKey:
        """Let a request in.

        Args:
            request: It shows its key as ``Authorization: Bearer``.
            scope: What the key must hold.

        Returns:
            The key.

        Raises:
            ScopeMissingError: If the key may not do this.
        """
        key = await self._authenticate(request)
        self._spend(key)
        if scope not in key.scopes:
            raise ScopeMissingError(f"this needs the scope {scope.value}")
        await self._touch(key)
        return key

    async def _authenticate(self, request: web.Request) -> ApiKey:
        scheme, _, text = request.headers.get("Authorization", "").partition(" ")
        key_id = key_id_of(text.strip()) if scheme.lower() == _SCHEME else None
        if key_id is None:
            self.refused["no-key"] += 1
            raise ApiKeyInvalidError("no valid API key was shown")
        found = await self._find(key_id)
        try:
            return require_valid(found, text.strip(), now_ms=self._clock())
        except ApiKeyInvalidError:
            self.refused["bad-key"] += 1
            raise

    async def _find(self, key_id: KeyId) -> ApiKey | None:
        now_ms = self._clock()
        known, read_at_ms = self._known.get(key_id, (None, 0))
        if known is not None and 0 <= now_ms - read_at_ms < REMEMBER_MS:
            return known
        async with self._store.looking() as tx:
            found = await tx.api_keys.find(key_id)
        if found is not None:
            self._known[key_id] = (found, now_ms)
        return found

    def forget(self) -> None:
        """Look every key up again: one may have been revoked."""
        self._known.clear()

    def _spend(self, key: ApiKey) -> None:
        wait_s = self._buckets.take(key.row, now_ms=self._clock())
        if wait_s > 0:
            raise RateLimitedError(
                f"API key {key.key_id} asks too often", retry_after_s=wait_s
            )

    async def _touch(self, key: ApiKey) -> None:
        now_ms = self._clock()
        touched_ms = max(key.last_used_at_ms or 0, self._touched_ms.get(key.row, 0))
        if touched_ms + _TOUCH_MS <= now_ms:
            # Noted first: of a key's many requests at once, one writes its row.
            self._touched_ms[key.row] = now_ms
            await self._store.run(lambda tx: tx.api_keys.touch(key.row))
