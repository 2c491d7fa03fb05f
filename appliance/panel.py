# SPDX-License-Identifier: Apache-2.0
"""Presence: a person confirms what the panel's display shows.

A yes is a ``Grant``: for one question, once, within 30 s of the press, while the panel
that gave it still stands guard. It is spent where the act is committed, on a question
made anew from what is committed, and the row of the act holds it. A policy that asks
for presence where there is no panel defers the request; it does not approve it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from appliance.errors import DeferredError, FaultError
from appliance.presence_question import Question
from firmware_bridge.errors import GrantError
from firmware_bridge.presence import PresenceGrant

_ASK_AGAIN_S: Final = 30.0
_AT_ONCE_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A person's yes, not spent yet.

    Attributes:
        question: What was shown.
        given: What the panel gave.
        boot_id: Of the panel when it gave it, 16 bytes.
        in_force: Whether the panel has stood guard ever since.
        clock_s: The monotonic time; the clock of the panel's client.
    """

    question: Question
    given: PresenceGrant
    boot_id: bytes
    in_force: Callable[[], bool]
    clock_s: Callable[[], float] = time.monotonic

    def spend(self, question: Question) -> dict[str, object]:
        """Spend it on an act; right before the act, or under the journal's lock.

        Args:
            question: Made anew, from what is about to be done.

        Returns:
            What the act's row says of it.

        Raises:
            FaultError: ``panel`` if the panel was lost since.
            DeferredError: ``presence`` if it was spent before, has expired, or is for
                something else; it is spent afterwards in every case.
        """
        try:
            self.given.redeem(question.digest, now_s=self.clock_s())
        except GrantError as error:
            raise DeferredError(
                "presence", str(error), retry_after_s=_ASK_AGAIN_S
            ) from error
        if not self.in_force():
            raise FaultError(
                "the panel was lost since somebody confirmed", code="panel"
            )
        return {
            "presence": {
                "kind": question.kind,
                "shown": self.question.text,
                "digest": question.digest.hex(),
                "nonce": self.given.nonce.hex(),
                "evidence": self.given.evidence.hex(),
                "boot_id": self.boot_id.hex(),
            }
        }


def spend(
    grant: Grant | None, question: Question, *, wanted: bool
) -> dict[str, object]:
    """Spend what was granted; called where the act is committed.

    Args:
        grant: If anybody was asked.
        question: Made anew, from what is committed.
        wanted: Whether the policy in force by then asks for presence.

    Returns:
        What the row says of it; nothing if nobody was asked.

    Raises:
        DeferredError: ``presence`` if somebody has to be and was not: the policy
            changed meanwhile.
    """
    if grant is not None:
        return grant.spend(question)
    if wanted:
        raise DeferredError(
            "presence",
            "by now the policy asks for presence: ask again",
            retry_after_s=_AT_ONCE_S,
        )
    return {}


class Presence(Protocol):
    """Somebody who can be asked."""

    async def ask(self, question: Question) -> Grant:
        """Return when a person has confirmed exactly this.

        Raises:
            DeferredError: ``presence`` if nobody did.
            FaultError: ``panel`` if the panel is away.
        """


class NoPanel:
    """An appliance without a panel: presence can not be had."""

    async def ask(self, question: Question) -> Grant:
        """Defer.

        Raises:
            DeferredError: Always.
        """
        raise DeferredError(
            "presence",
            f"policy asks for presence at a {question.kind} and no panel is configured",
            retry_after_s=_ASK_AGAIN_S,
        )
