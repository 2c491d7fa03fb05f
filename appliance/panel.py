# SPDX-License-Identifier: Apache-2.0
"""Presence: a person confirms what the device's display shows.

There is no device yet in this version; a policy that asks for presence where
there is no panel defers the request, it does not approve it.
"""

from typing import Protocol

from appliance.errors import DeferredError
from appliance.intent import Transfer

_ASK_AGAIN_S = 30.0


class Presence(Protocol):
    """Somebody who can be asked."""

    async def confirm(self, transfer: Transfer, *, outside_i: int) -> None:
        """Return when a person has confirmed exactly this transfer.

        Raises:
            DeferredError: ``presence`` if nobody did.
        """

    async def confirm_act(self, shown: list[str]) -> None:
        """Return when a person has confirmed an act of a dangerous door.

        Args:
            shown: What its approvers were shown, line by line.

        Raises:
            DeferredError: ``presence`` if nobody did.
        """


class NoPanel:
    """An appliance without a panel: presence can not be had."""

    async def confirm(self, transfer: Transfer, *, outside_i: int) -> None:
        """Defer.

        Raises:
            DeferredError: Always.
        """
        raise DeferredError(
            "presence",
            f"{outside_i} i leave with bundle {transfer.bundle_hash}: policy asks for"
            " presence and no panel is configured",
            retry_after_s=_ASK_AGAIN_S,
        )

    async def confirm_act(self, shown: list[str]) -> None:
        """Defer.

        Raises:
            DeferredError: Always.
        """
        raise DeferredError(
            "presence",
            f"policy asks for presence at a dangerous door ({len(shown)} lines to show)"
            " and no panel is configured",
            retry_after_s=_ASK_AGAIN_S,
        )
