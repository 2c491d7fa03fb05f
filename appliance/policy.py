# SPDX-License-Identifier: Apache-2.0
"""May this transfer be signed? Pure; decided twice, the second time for good.

``decide`` runs when a request has been understood, and again inside the
journal's transaction with the append lock held: two requests can not both use
the last of a window.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TypeAlias

from appliance.config import Policy
from appliance.intent import Transfer


@dataclass(frozen=True, slots=True)
class Usage:
    """What the journal shows for one client in the sliding window.

    Attributes:
        outside_i: Value signed away, in iota.
        keys: Keys spent.
        oldest_age_s: Age of the window's oldest signature, in seconds.
    """

    outside_i: int
    keys: int
    oldest_age_s: float


@dataclass(frozen=True, slots=True)
class Approved:
    """The transfer may be signed, after presence where asked."""

    needs_presence: bool


@dataclass(frozen=True, slots=True)
class Denied:
    """The transfer may never be signed: the rule broken, and why."""

    rule: str
    message: str


@dataclass(frozen=True, slots=True)
class Postponed:
    """The transfer may be signed later."""

    rule: str
    message: str
    retry_after_s: float


Decision: TypeAlias = Approved | Denied | Postponed


def outside_value_i(transfer: Transfer, own: AbstractSet[str]) -> int:
    """Return the iota that leave: outputs to addresses that are not ours.

    Args:
        transfer: What is asked.
        own: Addresses the journal knows as issued and unspent.
    """
    return sum(o.amount_i for o in transfer.outputs if o.address not in own)


def decide(
    *, transfer: Transfer, outside_i: int, usage: Usage, policy: Policy
) -> Decision:
    """Say whether a transfer may be signed now.

    Args:
        transfer: What is asked.
        outside_i: Value leaving our addresses, in iota.
        usage: What the journal shows for this client.
        policy: The limits in force.

    Returns:
        ``Approved``, or the first rule broken in this order: ``min-input``,
        ``per-bundle`` (``Denied``), ``window``, ``keys-window`` (``Postponed``;
        ``Denied`` where the bundle alone exceeds the window).
    """
    smallest_i = min(entry.amount_i for entry in transfer.inputs)
    if smallest_i < policy.min_input_i:
        return Denied(
            "min-input",
            f"an input of {smallest_i} i is below the minimum of {policy.min_input_i}",
        )
    if _exceeds(outside_i, policy.max_outside_per_bundle_i):
        return Denied(
            "per-bundle",
            f"{outside_i} i leave in this bundle, at most"
            f" {policy.max_outside_per_bundle_i} may",
        )
    return (
        _decide_window(
            rule="window",
            asked=outside_i,
            used=usage.outside_i,
            limit=policy.max_outside_per_window_i,
            wait_s=policy.window_s - usage.oldest_age_s,
        )
        or _decide_window(
            rule="keys-window",
            asked=len(transfer.inputs),
            used=usage.keys,
            limit=policy.max_keys_per_window,
            wait_s=policy.window_s - usage.oldest_age_s,
        )
        or Approved(needs_presence=_exceeds(outside_i, policy.presence_above_i))
    )


def _decide_window(
    *, rule: str, asked: int, used: int, limit: int, wait_s: float
) -> Denied | Postponed | None:
    if _exceeds(asked, limit):
        return Denied(rule, f"{asked} asked at once, {limit} is all a window allows")
    if _exceeds(used + asked, limit):
        return Postponed(
            rule, f"{used} used and {asked} asked, {limit} allowed", max(wait_s, 1.0)
        )
    return None


def _exceeds(value: int, limit: int) -> bool:
    return limit > 0 and value > limit
