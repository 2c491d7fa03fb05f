# SPDX-License-Identifier: Apache-2.0
"""The switches that make a devnet misbehave, one for each trouble of old.

All are off at the start and none is kept across restarts. Each is read at the
one place that it changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeAlias

from hub.devnet.errors import InvalidFaultError

FaultValue: TypeAlias = bool | int | float | str | None
"""What a switch is set to; None, False and 0 mean off."""


class Fault(StrEnum):
    """A trouble that the devnet can be told to make."""

    PRUNED_HISTORY = "pruned-history"
    """Confirmed transactions other than milestones are gone, balances stay.
    True: all of them; a number: those confirmed up to that milestone."""
    UNSYNCED = "unsynced"
    """The node says that it has not caught up with the network."""
    STALE_MILESTONE = "stale-milestone"
    """Milestones written from now on are this many seconds old."""
    NO_TIPS = "no-tips"
    """There is nothing to build upon (HORNET)."""
    LAGGING_MILESTONE = "lagging-milestone"
    """The latest solid milestone is reported one behind the latest."""
    STALLED_CONFIRMATION = "stalled-confirmation"
    """Milestones go on but reference nothing new."""
    CONFLICTING_SPEND = "conflicting-spend"
    """Value bundles lose against a double spend. True: all of them; text: the
    bundle with this hash."""
    REMOTE_POW_REFUSED = "remote-pow-refused"
    """attachToTangle is refused, as by a public node."""
    SLOW_REPLIES = "slow-replies"
    """Every reply comes this many seconds late."""
    DROPPED_REPLIES = "dropped-replies"
    """Commands run but the connection closes without an answer. True: always;
    a number: that many more times."""
    STORE_REFUSED = "store-refused"
    """Storing and broadcasting answer 400 with a JSON body; text: its error."""
    TRUNCATED_FIND = "truncated-find"
    """findTransactions silently returns at most this many hashes."""
    SPENT_SET_LOST = "spent-set-lost"
    """Confirmed spends are forgotten, as after a local snapshot of old."""
    SPENT_UNAVAILABLE = "spent-unavailable"
    """The node does not know spent addresses at all (HORNET)."""
    THIRD_PARTY_REATTACHMENT = "third-party-reattachment"
    """A stranger reattaches pending value bundles, and theirs confirm."""
    SECOND_CONFIRMATION = "second-confirmation"
    """A stranger replays confirmed bundles as soon as their inputs hold enough
    again, so that a refunded address is drained by its old signature."""


@dataclass(frozen=True, slots=True)
class _Kind:
    types: tuple[type, ...]
    off: FaultValue


_FLAG: Final = _Kind((bool,), off=False)
_FLAG_OR_COUNT: Final = _Kind((bool, int), off=False)
_FLAG_OR_TEXT: Final = _Kind((bool, str), off=False)
_SECONDS: Final = _Kind((int, float), off=0)
_COUNT: Final = _Kind((int,), off=None)

_KINDS: Final[Mapping[Fault, _Kind]] = MappingProxyType(
    {
        Fault.PRUNED_HISTORY: _FLAG_OR_COUNT,
        Fault.UNSYNCED: _FLAG,
        Fault.STALE_MILESTONE: _SECONDS,
        Fault.NO_TIPS: _FLAG,
        Fault.LAGGING_MILESTONE: _FLAG,
        Fault.STALLED_CONFIRMATION: _FLAG,
        Fault.CONFLICTING_SPEND: _FLAG_OR_TEXT,
        Fault.REMOTE_POW_REFUSED: _FLAG,
        Fault.SLOW_REPLIES: _SECONDS,
        Fault.DROPPED_REPLIES: _FLAG_OR_COUNT,
        Fault.STORE_REFUSED: _FLAG_OR_TEXT,
        Fault.TRUNCATED_FIND: _COUNT,
        Fault.SPENT_SET_LOST: _FLAG,
        Fault.SPENT_UNAVAILABLE: _FLAG,
        Fault.THIRD_PARTY_REATTACHMENT: _FLAG,
        Fault.SECOND_CONFIRMATION: _FLAG,
    }
)


class Faults:
    """The position of every switch."""

    def __init__(self) -> None:
        self._values = {fault: kind.off for fault, kind in _KINDS.items()}

    def set(self, name: str, value: FaultValue) -> None:
        """Throw a switch.

        Args:
            name: One of ``Fault``.
            value: What its documentation says; None turns it off.

        Raises:
            InvalidFaultError: There is no such switch, or not such a value.
        """
        try:
            fault = Fault(name)
        except ValueError as error:
            raise InvalidFaultError(f"no fault is called {name!r}") from error
        kind = _KINDS[fault]
        if value is None:
            self._values[fault] = kind.off
            return
        if not _fits(value, kind):
            wanted = " or ".join(wanted.__name__ for wanted in kind.types)
            raise InvalidFaultError(f"{name} takes {wanted}, not {value!r}")
        self._values[fault] = value

    def clear(self) -> None:
        """Turn every switch off."""
        for fault in Fault:
            self.set(fault, None)

    def get(self, fault: Fault) -> FaultValue:
        """Read a switch.

        Args:
            fault: Which.

        Returns:
            Its value, as set.
        """
        return self._values[fault]

    def is_on(self, fault: Fault) -> bool:
        """Say whether a switch is in any position but off.

        Args:
            fault: Which.

        Returns:
            False for False, 0 and None; a limit of 0 is on for those that
            take a count.
        """
        value = self._values[fault]
        if _KINDS[fault].off is None:
            return value is not None
        return bool(value)

    def seconds(self, fault: Fault) -> float:
        """Read a switch that is set to a time.

        Args:
            fault: Which.

        Returns:
            Seconds; 0 when off.
        """
        value = self._values[fault]
        return float(value) if isinstance(value, int | float) else 0.0

    def take_one(self, fault: Fault) -> bool:
        """Use up one of a counted switch.

        Args:
            fault: Which.

        Returns:
            Whether the fault happens this time.
        """
        value = self._values[fault]
        if isinstance(value, bool) or not isinstance(value, int):
            return bool(value)
        if value > 0:
            self._values[fault] = value - 1
        return value > 0

    def positions(self) -> dict[str, FaultValue]:
        """List every switch.

        Returns:
            Name to value.
        """
        return {fault.value: value for fault, value in self._values.items()}


def _fits(value: FaultValue, kind: _Kind) -> bool:
    if isinstance(value, bool):
        return bool in kind.types
    if isinstance(value, int | float) and value < 0:
        return False
    return isinstance(value, kind.types)
