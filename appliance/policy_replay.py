# SPDX-License-Identifier: Apache-2.0
"""A new policy tried on what the journal says was signed. Pure.

Every bundle is judged as if the new policy had been in force, with the windows that
really were: a bundle it would have stopped still counts in the window of the next.
"""

import json
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from appliance.config import Spending
from appliance.policy import Approved, Asked, Denied, Payment, Usage, decide
from appliance.policy_file import Policy
from appliance.policy_force import rules_of
from appliance.wire import JournalRow

_HUB_ROLE = "hub"


@dataclass(frozen=True, slots=True)
class Finding:
    """One bundle that a policy would not have let pass at once.

    Attributes:
        sequence: Its row.
        client: Who asked for it.
        bundle_hash: 81 trytes.
        verdict: ``denied``, ``deferred`` or ``presence``.
        rule: Which.
        message: For people.
    """

    sequence: int
    client: str
    bundle_hash: str
    verdict: str
    rule: str
    message: str


@dataclass(frozen=True, slots=True)
class _Past:
    time_ms: int
    outside_i: int
    keys: int
    paid_i: dict[str, int]


@dataclass(slots=True)
class _History:
    """What was signed, by client, as far back as the longest window asked for."""

    by_client: dict[str, deque[_Past]] = field(
        default_factory=lambda: defaultdict(deque)
    )

    def usage(self, client: str, window_s: int, now_ms: int) -> Usage:
        since_ms = now_ms - window_s * 1000
        mine = [p for p in self.by_client[client] if p.time_ms > since_ms]
        paid: dict[str, int] = defaultdict(int)
        oldest_paid_ms = now_ms
        for past in self._all():
            if past.time_ms > since_ms:
                for address, amount_i in past.paid_i.items():
                    paid[address] += amount_i
                    oldest_paid_ms = min(oldest_paid_ms, past.time_ms)
        oldest_ms = mine[0].time_ms if mine else now_ms
        return Usage(
            sum(p.outside_i for p in mine),
            sum(p.keys for p in mine),
            (now_ms - oldest_ms) / 1000,
            dict(paid),
            (now_ms - oldest_paid_ms) / 1000,
        )

    def add(self, client: str, past: _Past, *, keep_s: int) -> None:
        entries = self.by_client[client]
        entries.append(past)
        while entries[0].time_ms <= past.time_ms - keep_s * 1000:
            entries.popleft()

    def _all(self) -> Iterator[_Past]:
        for entries in self.by_client.values():
            yield from entries


def replay(rows: Iterable[JournalRow], policy: Policy) -> Iterator[Finding]:
    """Yield what a policy would have stopped or asked about.

    Args:
        rows: Of the journal, from the first one; others than signatures are
            passed over.
        policy: To be tried.

    Yields:
        A finding for each bundle it would not have let pass at once.
    """
    history = _History()
    keep_s = max(
        one.window_s
        for one in (policy.limits, *policy.clients.values(), *policy.roles.values())
    )
    for row in rows:
        if row.kind != "signed":
            continue
        payload = json.loads(row.payload)
        asked = _asked(payload)
        rules = rules_of(policy, Spending(), client=row.client, role=_HUB_ROLE)
        usages = [
            history.usage(row.client, limits.window_s, row.time_ms)
            for limits in rules.limits
        ]
        verdict = decide(asked, rules, usages, row.time_ms // 1000)
        where = (row.sequence, row.client, payload["bundle_hash"])
        if not isinstance(verdict, Approved):
            word = "denied" if isinstance(verdict, Denied) else "deferred"
            yield Finding(*where, word, verdict.rule, verdict.message)
        elif verdict.needs_presence:
            message = f"{asked.outside_i} i leave: presence would have been asked"
            yield Finding(*where, "presence", "presence", message)
        past = _Past(
            row.time_ms, asked.outside_i, len(asked.inputs_i), dict(payload["paid"])
        )
        history.add(row.client, past, keep_s=keep_s)


def _asked(payload: dict[str, Any]) -> Asked:
    """Read back what a signed bundle asked for."""
    values = [fields[1] for fields in payload["transactions"]]
    outside = dict(payload["paid"])
    payments = [
        (index, fields[0], fields[1])
        for index, fields in enumerate(payload["transactions"])
        if fields[1] > 0 and fields[0] in outside
    ]
    # Which output an authorisation was for is not recorded: the largest had them.
    largest = sorted(payments, key=lambda one: -one[2])[: len(payload["authorised"])]
    return Asked(
        tuple(-values[claim[0]] for claim in payload["inputs"]),
        tuple(Payment(*one, authorised=one in largest) for one in payments),
    )
