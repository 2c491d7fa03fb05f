# SPDX-License-Identifier: Apache-2.0
"""What several nodes say, counted: what a quorum agrees on, and who was outvoted.

Pure. A node that is behind says what was true; that is no lie, and with ``since`` no
vote either.
"""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Vote(Generic[_Key, _Value]):
    """One node's answer.

    Attributes:
        voter: Which of the nodes.
        milestone_index: The milestone it was true at; None: it does not say.
        said: Its answer to each part of the question.
    """

    voter: int
    milestone_index: int | None
    said: Mapping[_Key, _Value]


@dataclass(frozen=True, slots=True)
class Dissent(Generic[_Key, _Value]):
    """A node that a quorum contradicts at the same milestone.

    Attributes:
        voter: Which of the nodes.
        key: The first part of the question that it answers otherwise.
        said: Its answer to that.
        agreed: The quorum's.
        parts: How many parts it answers otherwise.
    """

    voter: int
    key: _Key
    said: _Value
    agreed: _Value
    parts: int


def counted(
    votes: Sequence[Vote[_Key, _Value]], *, since: int
) -> list[Vote[_Key, _Value]]:
    """Leave out answers that were true before a milestone.

    Args:
        votes: All of them.
        since: A milestone's index; 0: every answer counts.

    Returns:
        Those that are new enough, or do not say.
    """
    return [
        vote
        for vote in votes
        if vote.milestone_index is None or vote.milestone_index >= since
    ]


def agreed(
    keys: Sequence[_Key], votes: Sequence[Vote[_Key, _Value]], *, quorum: int
) -> dict[_Key, _Value]:
    """Choose the answers that count.

    Args:
        keys: The parts of the question.
        votes: One per node.
        quorum: How many must say the same.

    Returns:
        The answer to each part that exactly one value has a quorum for.
    """
    found: dict[_Key, _Value] = {}
    for key in keys:
        said = Counter(vote.said[key] for vote in votes if key in vote.said)
        values = [value for value, count in said.items() if count >= quorum]
        if len(values) == 1:
            found[key] = values[0]
    return found


def most_alike(key: _Key, votes: Sequence[Vote[_Key, _Value]]) -> int:
    """Return how many say the same about one part of the question.

    Args:
        key: The part.
        votes: One per node.

    Returns:
        The votes of the value that has most; 0 without any.
    """
    said = Counter(vote.said[key] for vote in votes if key in vote.said)
    return max(said.values(), default=0)


def dissenting(
    votes: Sequence[Vote[_Key, _Value]], believed: Mapping[_Key, _Value]
) -> list[Dissent[_Key, _Value]]:
    """List who said something else than the quorum about the same milestone.

    Args:
        votes: One per node.
        believed: What the quorum agrees on.

    Returns:
        One for each node that did.
    """
    found = []
    for vote in votes:
        others = [
            key
            for key, value in believed.items()
            if key in vote.said
            and vote.said[key] != value
            and _is_contradicted(vote, votes, key, value)
        ]
        if others:
            key = others[0]
            said, value = vote.said[key], believed[key]
            found.append(Dissent(vote.voter, key, said, value, len(others)))
    return found


def _is_contradicted(
    vote: Vote[_Key, _Value],
    votes: Sequence[Vote[_Key, _Value]],
    key: _Key,
    value: _Value,
) -> bool:
    """Say whether somebody said otherwise of the very milestone a vote is about."""
    return any(
        other.milestone_index == vote.milestone_index
        for other in votes
        if other.said.get(key) == value
    )
