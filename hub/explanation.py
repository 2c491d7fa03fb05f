# SPDX-License-Identifier: Apache-2.0
"""The facts that ``hub.why`` judges, and the explanation that it gives; pure."""

import enum
from dataclasses import dataclass
from typing import Final

from hub.model import Sweep, Tail, Withdrawal
from hub.node_health import NodeHealth


class Standing(enum.Enum):
    """Whether anybody has to do anything."""

    DONE = "done"
    """It has come to its end."""
    MOVING = "moving"
    """It goes on by itself."""
    HELD = "held"
    """It stands until somebody or something else has acted."""


class Look(enum.Enum):
    """Where to look next."""

    NODES = "nodes"
    """How each node does."""
    APPLIANCES = "appliances"
    """How each appliance is."""
    BOOKS = "books"
    """The latch."""
    APPROVALS = "approvals"
    """What waits for people."""
    SWEEP = "sweep"
    """The sweep of a bundle hash."""
    ADDRESS = "address"
    """An address of ours."""
    BALANCES = "balances"
    """What is held, and what of it is free."""


_PAGES: Final = {
    Look.NODES: "/nodes",
    Look.APPLIANCES: "/appliances",
    Look.BOOKS: "/#health",
    Look.APPROVALS: "/approvals",
    Look.SWEEP: "/sweeps/",
    Look.ADDRESS: "/addresses/",
    Look.BALANCES: "/balances",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why something is as it is.

    Attributes:
        code: A stable word.
        standing: Whether anybody has to act.
        headline: One plain sentence.
        detail: What exactly: numbers, codes, places.
        cure: What an operator does next.
        since_ms: Since when, milliseconds since 1970; None: nobody noted it.
        look: Where to look next; None: nowhere else.
        subject: Which one to look at: a bundle hash or an address; empty: all.
        also: Codes of what else holds it up.
    """

    code: str
    standing: Standing
    headline: str
    detail: str = ""
    cure: str = ""
    since_ms: int | None = None
    look: Look | None = None
    subject: str = ""
    also: tuple[str, ...] = ()

    @property
    def link(self) -> str:
        """The dashboard's page to look at; empty: none."""
        return "" if self.look is None else _PAGES[self.look] + self.subject


@dataclass(frozen=True, slots=True, kw_only=True)
class NodesSeen:
    """The nodes as this process saw them last.

    Attributes:
        problem: Why no quorum is synchronised; empty: one is.
        since_ms: Since when there is that problem.
        each: How each does.
    """

    problem: str
    since_ms: int | None
    each: tuple[NodeHealth, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplianceSeen:
    """One appliance as this process saw it last.

    Attributes:
        place: Where it is.
        state: What it said; ``away``: nothing.
        reason: Why it is not ready.
        latch_id: What `unseal` must name, once it is sealed.
        since_ms: Since when it is in this state, as far as this process knows.
    """

    place: str
    state: str
    reason: str = ""
    latch_id: str = ""
    since_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What concerns everything that waits.

    Attributes:
        now_ms: The time.
        nodes: None: nobody has looked yet.
        appliances: None has been asked yet: empty.
        latched: Why no balance may change; empty: they may.
        latched_since_ms: Since when.
        idle_flows: Flows that hubs have run and none runs now.
        sweep_interval_ms: Pause between two plans.
    """

    now_ms: int
    nodes: NodesSeen | None = None
    appliances: tuple[ApplianceSeen, ...] = ()
    latched: str = ""
    latched_since_ms: int | None = None
    idle_flows: frozenset[str] = frozenset()
    sweep_interval_ms: int = 600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepFacts:
    """A sweep and what belongs to it.

    Attributes:
        sweep: The sweep.
        tails: Its attachments, the newest first.
    """

    sweep: Sweep
    tails: tuple[Tail, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The limit on what may leave in total.

    Attributes:
        total_i: The limit, in iota.
        window_ms: Over which time, in milliseconds.
        left_i: What is left of it now, in iota.
        ahead_i: What waits before this withdrawal and counts, in iota.
    """

    total_i: int
    window_ms: int
    left_i: int
    ahead_i: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawalFacts:
    """A withdrawal and what decides when it leaves.

    Attributes:
        withdrawal: The withdrawal.
        sweep: The sweep that pays it; None: it is in none.
        refused: The last sweep with it that was refused.
        refused_payouts: How many withdrawals that one paid.
        payout_closed: Whether it goes to an address of ours that takes nothing more.
        window: The limit on all withdrawals; None: there is none for this one.
        ahead: How many wait before it.
        ahead_i: What these take, in iota.
        free_i: On addresses that a sweep may take now, by the books, in iota.
        bound_i: In sweeps that are under way, or about to come back from them, in iota.
    """

    withdrawal: Withdrawal
    sweep: SweepFacts | None = None
    refused: Sweep | None = None
    refused_payouts: int = 1
    payout_closed: bool = False
    window: Window | None = None
    ahead: int = 0
    ahead_i: int = 0
    free_i: int = 0
    bound_i: int = 0
