# SPDX-License-Identifier: Apache-2.0
"""What a devnet can be told at its start, and the fixed numbers of the network."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeAlias

from hub.devnet.errors import InvalidConfigError

ClockMs: TypeAlias = Callable[[], int]
"""Milliseconds since the Unix epoch."""

SUPPLY_I: Final = 2_779_530_283_277_761
"""All iota there are. Source: IRI 1.8.6, TransactionViewModel.SUPPLY."""

NULL_HASH: Final = "9" * 81
"""The genesis transaction: solid, and confirmed at index 0."""

ADDRESS_TRYTES: Final = 81
HIGHEST_MIN_WEIGHT_MAGNITUDE: Final = 14

BELOW_MAX_DEPTH: Final = 15
"""Milestones after which a tail is too old to confirm.

Source: HORNET 0.5.6 tipsel.belowMaxDepth; IRI 1.8.6 --max-depth.
"""

YOUNGEST_ROOT_LAG: Final = 8
"""Source: HORNET 0.5.6 tipsel.maxDeltaTxYoungestRootSnapshotIndexToLSMI."""

OLDEST_ROOT_LAG: Final = 13
"""Source: HORNET 0.5.6 tipsel.maxDeltaTxOldestRootSnapshotIndexToLSMI."""


class Dialect(StrEnum):
    """Which node software the devnet speaks like."""

    IRI = "iri"
    """IRI 1.8.6: needs the version header, consistency checks are real."""
    HORNET = "hornet"
    """HORNET 0.5.6: white-flag conflicts, ledger diffs, tip information."""


@dataclass(frozen=True, slots=True)
class DevnetConfig:
    """Everything a devnet can be told.

    Args:
        genesis_address: 81 trytes that own the supply at index 0, or None to
            give all of it to the faucet.
        faucet_i: Part of the supply, in iota, that the faucet owns beside a
            given ``genesis_address``.
        dialect: The node software to speak like.
        min_weight_magnitude: Trailing zero trits that every transaction hash
            needs, 1 to 14.
        tick_s: Seconds between milestones, or None to tick by hand.
        state_path: SQLite file that keeps the network, or None for memory.
        host: Interface to listen on.
        port: TCP port to listen on; 0 takes a free one.
        snapshot_timestamp_s: Transactions attached before it are refused,
            seconds since the Unix epoch.
        remote_limit: Refuse the commands that a real node refuses to others
            than its own machine.
        zmq: ``tcp://HOST:PORT`` to publish milestones at by ZMQ, port ``*`` for a
            free one, or None.
        basic_auth: ``user:password`` that every request must carry, or None.
    """

    genesis_address: str | None = None
    faucet_i: int = 0
    dialect: Dialect = Dialect.IRI
    min_weight_magnitude: int = 9
    tick_s: float | None = None
    state_path: Path | None = None
    host: str = "127.0.0.1"
    port: int = 0
    snapshot_timestamp_s: int = 1_546_300_800
    remote_limit: bool = False
    zmq: str | None = None
    basic_auth: str | None = None

    def __post_init__(self) -> None:
        """Refuse what no network could run with.

        Raises:
            InvalidConfigError: A value is out of range.
        """
        if not 1 <= self.min_weight_magnitude <= HIGHEST_MIN_WEIGHT_MAGNITUDE:
            raise InvalidConfigError("min_weight_magnitude must be from 1 to 14")
        if not 0 <= self.faucet_i <= SUPPLY_I:
            raise InvalidConfigError("faucet_i must be within the supply")
        if self.tick_s is not None and self.tick_s <= 0:
            raise InvalidConfigError("tick_s must be above 0")
        given = self.genesis_address
        if given is not None and len(given) != ADDRESS_TRYTES:
            raise InvalidConfigError("genesis_address must be 81 trytes")
