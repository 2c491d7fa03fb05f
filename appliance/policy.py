# SPDX-License-Identifier: Apache-2.0
"""May this transfer be signed? Pure; decided twice, the second time for good.

``decide`` runs when a request has been understood, and again inside the
journal's transaction with the append lock held: two requests can not both use
the last of a window. It judges decoded values only: never what a hub says of them.

Two sets of limits hold at once: the signed policy's, and those of the appliance's
own configuration, which can only be stricter.
"""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final, TypeAlias, TypeVar

from appliance.config import Spending
from appliance.intent import Transfer
from appliance.policy_file import OpeningHours

HOUR_S: Final = 3600
_MINUTES_A_DAY: Final = 1440
_DAYS_A_WEEK: Final = 7
_SHORTEST_WAIT_S: Final = 1.0
_AUTHORISATION_WAIT_S: Final = 60.0
_NEEDS_A_BUNDLE: Final = (
    "max_outside_per_bundle_i",
    "max_outside_per_window_i",
    "min_input_i",
    "presence_above_i",
    "max_per_destination_i",
    "max_per_destination_per_window_i",
    "authorise_above_i",
)
_Verdict = TypeVar("_Verdict")


@dataclass(frozen=True, slots=True)
class Usage:
    """What the journal shows for one client in one sliding window.

    Attributes:
        outside_i: Value signed away, in iota.
        keys: Keys spent.
        oldest_age_s: Age of the window's oldest signature, in seconds.
        paid_i: Iota to each destination asked about, by any client.
        oldest_paid_age_s: Age of the oldest of those payments, in seconds.
    """

    outside_i: int
    keys: int
    oldest_age_s: float
    paid_i: Mapping[str, int] = field(default_factory=dict)
    oldest_paid_age_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Payment:
    """One output that leaves our addresses.

    Attributes:
        index: Its place in the bundle.
        address: 81 trytes.
        amount_i: Iota.
        authorised: Whether an exchange's signed authorisation covers it.
    """

    index: int
    address: str
    amount_i: int
    authorised: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """A transfer, as far as limits are concerned.

    Attributes:
        inputs_i: Iota of each input.
        payments: What leaves.
    """

    inputs_i: tuple[int, ...]
    payments: tuple[Payment, ...]

    @property
    def outside_i(self) -> int:
        """All that leaves, in iota."""
        return sum(payment.amount_i for payment in self.payments)

    @property
    def paid_i(self) -> dict[str, int]:
        """What leaves, in iota, by destination."""
        totals: dict[str, int] = {}
        for payment in self.payments:
            before_i = totals.get(payment.address, 0)
            totals[payment.address] = before_i + payment.amount_i
        return totals


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for one client.

    Attributes:
        limits: Each set of limits; all of them hold.
        allow: If not empty, the only outside destinations.
        deny: Destinations never paid.
        hours: If not empty, when transfers are signed.
    """

    limits: tuple[Spending, ...] = (Spending(),)
    allow: AbstractSet[str] = frozenset()
    deny: AbstractSet[str] = frozenset()
    hours: tuple[OpeningHours, ...] = ()


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


def asked_of(
    transfer: Transfer,
    own: AbstractSet[str],
    authorised: AbstractSet[int] = frozenset(),
) -> Asked:
    """Return what a transfer asks for.

    Args:
        transfer: What is asked.
        own: Addresses the journal knows as issued and unspent.
        authorised: Indices of outputs that an authorisation covers.

    Returns:
        Its inputs, and its outputs to addresses that are not ours.
    """
    return Asked(
        tuple(entry.amount_i for entry in transfer.inputs),
        tuple(
            Payment(o.index, o.address, o.amount_i, o.index in authorised)
            for o in transfer.outputs
            if o.address not in own
        ),
    )


def decide(asked: Asked, rules: Rules, usages: Sequence[Usage], now_s: int) -> Decision:
    """Say whether a transfer may be signed now.

    Args:
        asked: What is asked.
        rules: What holds for this client.
        usages: What the journal shows in the window of each of the limits.
        now_s: Policy time, seconds since 1970.

    Returns:
        ``Denied`` by the first rule broken of ``deny``, ``allow``, ``min-input``,
        ``per-bundle``, ``destination``, or where the transfer alone exceeds a
        window; else ``Postponed`` by ``authorisation``, ``hours``, ``window``,
        ``keys-window`` or ``destination-window``; else ``Approved``. What can
        never be signed is thus never told to wait.
    """
    pairs = list(zip(rules.limits, usages, strict=True))
    return (
        _deny_destination(asked, rules)
        or _first(_deny_alone(asked, limits) for limits in rules.limits)
        or _first(_postpone_unauthorised(asked, limits) for limits in rules.limits)
        or _postpone_closed(rules.hours, now_s)
        or _first(_postpone_window(asked, *pair) for pair in pairs)
        or Approved(needs_presence=needs_presence(asked, rules))
    )


def needs_presence(asked: Asked, rules: Rules) -> bool:
    """Say whether more leaves than may without a person at the panel."""
    return any(
        _exceeds(asked.outside_i, limits.presence_above_i) for limits in rules.limits
    )


def decide_blind(rules: Rules, usages: Sequence[Usage], now_s: int) -> Decision:
    """Say whether one more bare hash may be signed for a client now.

    Nothing is known of its value or destinations, so any rule about those denies it.

    Args:
        rules: What holds for this client.
        usages: What the journal shows in the window of each of the limits.
        now_s: Policy time, seconds since 1970.

    Returns:
        ``Denied`` by ``blind``; else ``Postponed`` by ``hours`` or ``keys-window``;
        else ``Approved``.
    """
    lists = [name for name in ("allow", "deny") if getattr(rules, name)]
    bounds = [
        name
        for limits in rules.limits
        for name in _NEEDS_A_BUNDLE
        if getattr(limits, name)
    ]
    if lists or bounds:
        return Denied(
            "blind",
            f"the policy holds {', '.join([*lists, *bounds])} for this client, which"
            " no bare hash can be judged by",
        )
    return (
        _postpone_closed(rules.hours, now_s)
        or _first(
            _postpone_keys(limits, usage)
            for limits, usage in zip(rules.limits, usages, strict=True)
        )
        or Approved(needs_presence=False)
    )


def _postpone_keys(limits: Spending, usage: Usage) -> Postponed | None:
    if not _exceeds(usage.keys + 1, limits.max_keys_per_window):
        return None
    return Postponed(
        "keys-window",
        f"{usage.keys + 1} keys with those spent before,"
        f" {limits.max_keys_per_window} may be",
        max(limits.window_s - usage.oldest_age_s, _SHORTEST_WAIT_S),
    )


def decide_issue(
    limits: Sequence[Spending], issued: int, oldest_age_s: float
) -> Postponed | None:
    """Say whether one more address may be issued to a client now.

    Args:
        limits: What holds for it.
        issued: Addresses it got in the last hour.
        oldest_age_s: Age of the oldest of them, in seconds.

    Returns:
        ``Postponed`` by ``address-rate``, or None: it may.
    """
    for one in limits:
        if _exceeds(issued + 1, one.max_addresses_per_hour):
            return Postponed(
                "address-rate",
                f"{issued} addresses were issued in the last hour,"
                f" {one.max_addresses_per_hour} may be",
                max(HOUR_S - oldest_age_s, _SHORTEST_WAIT_S),
            )
    return None


def _first(decisions: Iterator[_Verdict | None]) -> _Verdict | None:
    return next((decision for decision in decisions if decision), None)


def _deny_destination(asked: Asked, rules: Rules) -> Denied | None:
    for payment in asked.payments:
        if payment.address in rules.deny:
            return Denied("deny", f"output {payment.index} goes to a denied address")
        if rules.allow and payment.address not in rules.allow:
            return Denied(
                "allow", f"output {payment.index} goes to an address not on the list"
            )
    return None


def _deny_alone(asked: Asked, limits: Spending) -> Denied | None:
    """Deny what no waiting can mend."""
    smallest_i = min(asked.inputs_i)
    if smallest_i < limits.min_input_i:
        return Denied(
            "min-input",
            f"an input of {smallest_i} i is below the minimum of {limits.min_input_i}",
        )
    largest_i = max(asked.paid_i.values(), default=0)
    bounds = (
        ("per-bundle", asked.outside_i, limits.max_outside_per_bundle_i),
        ("destination", largest_i, limits.max_per_destination_i),
        ("window", asked.outside_i, limits.max_outside_per_window_i),
        ("keys-window", len(asked.inputs_i), limits.max_keys_per_window),
        ("destination-window", largest_i, limits.max_per_destination_per_window_i),
    )
    for rule, value, limit in bounds:
        if _exceeds(value, limit):
            return Denied(rule, f"{value} in one bundle, at most {limit} may be")
    return None


def _postpone_unauthorised(asked: Asked, limits: Spending) -> Postponed | None:
    for payment in asked.payments:
        if not payment.authorised and _exceeds(
            payment.amount_i, limits.authorise_above_i
        ):
            return Postponed(
                "authorisation",
                f"output {payment.index} pays {payment.amount_i} i: above"
                f" {limits.authorise_above_i} i it needs an authorisation",
                _AUTHORISATION_WAIT_S,
            )
    return None


def _postpone_closed(hours: Sequence[OpeningHours], now_s: int) -> Postponed | None:
    if not hours:
        return None
    now = dt.datetime.fromtimestamp(now_s, dt.UTC)
    minute = now.hour * 60 + now.minute
    waits = []
    for days in range(_DAYS_A_WEEK + 1):
        weekday = (now.weekday() + days) % _DAYS_A_WEEK
        for entry in hours:
            if weekday not in entry.weekdays:
                continue
            if days == 0 and entry.from_minute <= minute < entry.to_minute:
                return None
            waits.append(days * _MINUTES_A_DAY + entry.from_minute - minute)
    wait_s = min(wait for wait in waits if wait > 0) * 60 - now.second
    return Postponed("hours", "outside the opening hours", float(wait_s))


def _postpone_window(asked: Asked, limits: Spending, usage: Usage) -> Postponed | None:
    paid_i = max(
        (usage.paid_i.get(to, 0) + amount_i for to, amount_i in asked.paid_i.items()),
        default=0,
    )
    bounds = (
        (
            "window",
            usage.outside_i + asked.outside_i,
            limits.max_outside_per_window_i,
            usage.oldest_age_s,
        ),
        (
            "keys-window",
            usage.keys + len(asked.inputs_i),
            limits.max_keys_per_window,
            usage.oldest_age_s,
        ),
        (
            "destination-window",
            paid_i,
            limits.max_per_destination_per_window_i,
            usage.oldest_paid_age_s,
        ),
    )
    for rule, value, limit, age_s in bounds:
        if _exceeds(value, limit):
            wait_s = max(limits.window_s - age_s, _SHORTEST_WAIT_S)
            return Postponed(
                rule, f"{value} with what was signed before, {limit} may be", wait_s
            )
    return None


def _exceeds(value: int, limit: int) -> bool:
    return limit > 0 and value > limit
