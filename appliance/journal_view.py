# SPDX-License-Identifier: Apache-2.0
"""What a decision may know of the journal: windows, rates, authorisations used."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from appliance.journal_schema import AUTHORISATION, BLIND, ISSUED, PAID, SIGNED
from appliance.policy import HOUR_S, Usage

_OLDEST_PAID: Final = sa.func.min(PAID.c.time_ms)
# An expression, so that no index of the client alone is taken: with that one, every
# bundle the client ever had signed would be looked at for each window.
_SIGNER: Final[Any] = SIGNED.c.client.concat("")


@dataclass(frozen=True, slots=True)
class JournalView:
    """What ``decide`` may know of the journal, for one client, at one time.

    Attributes:
        client: Its name.
        now_ms: Policy time.
    """

    client: str
    now_ms: int
    _connection: sa.Connection

    @property
    def now_s(self) -> int:
        """Policy time in seconds since 1970."""
        return self.now_ms // 1000

    def usage(self, window_s: int, destinations: Iterable[str] = ()) -> Usage:
        """Return what was signed in the window that ends now."""
        since_ms = self.now_ms - window_s * 1000
        query = sa.select(
            sa.func.coalesce(sa.func.sum(SIGNED.c.outside_i), 0),
            sa.func.coalesce(sa.func.sum(SIGNED.c.key_count), 0),
            sa.func.min(SIGNED.c.time_ms),
        ).where(self.client == _SIGNER, SIGNED.c.time_ms > since_ms)
        outside_i, keys, oldest_ms = self._connection.execute(query).one()
        paid = (
            sa.select(PAID.c.address, sa.func.sum(PAID.c.amount_i), _OLDEST_PAID)
            .where(PAID.c.address.in_(list(destinations)), PAID.c.time_ms > since_ms)
            .group_by(PAID.c.address)
        )
        found = self._connection.execute(paid).all()
        blind = sa.select(sa.func.count(), sa.func.min(BLIND.c.time_ms)).where(
            BLIND.c.client == self.client, BLIND.c.time_ms > since_ms
        )
        blind_keys, blind_ms = self._connection.execute(blind).one()
        times = [at for at in (oldest_ms, blind_ms) if at is not None]
        return Usage(
            int(outside_i),
            int(keys) + int(blind_keys),
            self._age_s(min(times, default=None)),
            {row[0]: int(row[1]) for row in found},
            self._age_s(min((row[2] for row in found), default=None)),
        )

    def issued_last_hour(self) -> tuple[int, float]:
        """Return how many addresses it got, and the age of the oldest in seconds."""
        query = sa.select(sa.func.count(), sa.func.min(ISSUED.c.time_ms)).where(
            ISSUED.c.client == self.client,
            ISSUED.c.time_ms > self.now_ms - HOUR_S * 1000,
        )
        count, oldest_ms = self._connection.execute(query).one()
        return int(count), self._age_s(oldest_ms)

    def bundle_of(self, issuer: str, withdrawal: str) -> str | None:
        """Return the bundle hash an authorisation was used for, if it was."""
        query = sa.select(AUTHORISATION.c.bundle_hash).where(
            AUTHORISATION.c.issuer == issuer, AUTHORISATION.c.withdrawal == withdrawal
        )
        found: str | None = self._connection.execute(query).scalar_one_or_none()
        return found

    def _age_s(self, time_ms: int | None) -> float:
        return (self.now_ms - time_ms) / 1000 if time_ms is not None else 0.0
