# SPDX-License-Identifier: Apache-2.0
"""How each node does: what is remembered of it, and when it is asked again.

Pure but for what it remembers; told the time. A node that keeps failing is spared
for a while that grows, so that no question waits for its deadline again and again.
"""

import enum
from dataclasses import dataclass
from typing import Final

PATIENT_FAILURES: Final = 2
"""So many failures in a row cost a node nothing."""
FIRST_PAUSE_S: Final = 5.0
LONGEST_PAUSE_S: Final = 60.0
"""A node is asked at least that often, however long it was away."""


class Question(enum.Enum):
    """What nodes vote on."""

    BALANCES = "balances"
    """What an address holds."""
    CONFIRMATIONS = "confirmations"
    """Whether a tail is confirmed."""
    DIFFS = "diffs"
    """What a milestone did to the balances."""


@dataclass(frozen=True, slots=True)
class NodeHealth:
    """One node, as this program has met it.

    Attributes:
        url: Of its API.
        dialect: Its software.
        last_answer_ms: When it last answered, since 1970; None: never.
        latency_ms: How long that answer took, every request of it together.
        failures: How often in a row it was away or made no sense.
        paused_s: For how long it is not asked unless the quorum needs it, in
            seconds.
        milestone_index: The solid milestone it last named; None: none.
        lag: Milestones it is behind the best that a quorum has reached; None:
            unknown.
        stale: Whether its own milestone was too old, or it was not solid, when it was
            last asked; then its balances do not count.
        outvoted_balances: How often a quorum contradicted it about balances.
        outvoted_confirmations: The same about confirmations.
        outvoted_diffs: The same about milestones' changes.
    """

    url: str
    dialect: str
    last_answer_ms: int | None
    latency_ms: int | None
    failures: int
    paused_s: float
    milestone_index: int | None
    lag: int | None
    stale: bool
    outvoted_balances: int
    outvoted_confirmations: int
    outvoted_diffs: int


class NodeRecord:
    """What is remembered of one node, in memory alone."""

    def __init__(self) -> None:
        self.milestone_index: int | None = None
        self.stale = False
        self.failures = 0
        self._last_answer_ms: int | None = None
        self._latency_ms: int | None = None
        self._asked_again_at_s = 0.0
        self._outvoted = dict.fromkeys(Question, 0)

    def answered(self, *, now_ms: int, latency_s: float) -> None:
        """Note an answer, a refusal among them."""
        self._last_answer_ms = now_ms
        self._latency_ms = round(latency_s * 1000)
        self.failures = 0
        self._asked_again_at_s = 0.0

    def failed(self, *, at_s: float) -> None:
        """Note that it was away or made no sense.

        Args:
            at_s: The loop's time, in seconds.
        """
        self.failures += 1
        self._asked_again_at_s = at_s + pause_s(self.failures)

    def is_paused(self, *, at_s: float) -> bool:
        """Say whether it is to be spared."""
        return at_s < self._asked_again_at_s

    def outvoted(self, question: Question) -> None:
        """Note that a quorum contradicted it."""
        self._outvoted[question] += 1

    def health(
        self, *, url: str, dialect: str, best_index: int | None, at_s: float
    ) -> NodeHealth:
        """Return what is known now.

        Args:
            url: Of the node.
            dialect: Its software.
            best_index: The best milestone a quorum has reached, if any is known.
            at_s: The loop's time, in seconds.

        Returns:
            A value that does not change any more.
        """
        lag = None
        if best_index is not None and self.milestone_index is not None:
            lag = max(best_index - self.milestone_index, 0)
        return NodeHealth(
            url,
            dialect,
            self._last_answer_ms,
            self._latency_ms,
            self.failures,
            round(max(self._asked_again_at_s - at_s, 0.0), 1),
            self.milestone_index,
            lag,
            self.stale,
            self._outvoted[Question.BALANCES],
            self._outvoted[Question.CONFIRMATIONS],
            self._outvoted[Question.DIFFS],
        )


def pause_s(failures: int) -> float:
    """Return how long a node is spared; pure.

    Args:
        failures: How often it failed in a row.

    Returns:
        Seconds: none at first, then twice as many each time, up to a minute.
    """
    doublings = failures - PATIENT_FAILURES - 1
    if doublings < 0:
        return 0.0
    return min(FIRST_PAUSE_S * 2.0 ** min(doublings, 16), LONGEST_PAUSE_S)
