# SPDX-License-Identifier: Apache-2.0
"""What a route is, and what a visit to it brings along."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

from aiohttp import web

from hub.clock import Clock
from hub.model import BundleHash, TransactionHash, WithdrawalUuid
from hub.node_health import NodeHealth
from hub.operators import Operator, Role, Session
from hub.publisher import Publisher
from hub.signer import ActAsked, StatusReport
from hub.store import Store
from hub.store.audit import Done


class Explained(Protocol):
    """Why something waits, as the template shows it."""

    @property
    def code(self) -> str:
        """A stable word."""

    @property
    def headline(self) -> str:
        """One plain sentence."""

    @property
    def detail(self) -> str:
        """What exactly."""

    @property
    def since_ms(self) -> int | None:
        """Since when, milliseconds since 1970."""

    @property
    def cure(self) -> str:
        """What to do next."""

    @property
    def also(self) -> tuple[str, ...]:
        """Codes of what else holds it up."""

    @property
    def link(self) -> str:
        """The page that shows the cause; empty: none."""


async def unexplained(_name: str) -> None:
    """Explain nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """What the dashboard asks of the rest of the hub.

    Attributes:
        store: The database.
        publisher: Tells that events were published; its loop runs elsewhere.
        clock: The time.
        network: Its name.
        synced: Raises when no quorum of nodes is synchronised.
        node_health: How each node does; asks none.
        appliances: What each appliance last said, by its place; None: nothing.
        certificates: Files whose expiry is told, by the setting that names them.
        held_flows: Which flows run on this hub.
        reattach: Attaches a sweep once more and writes the audit's line with it.
        explain_withdrawal: Says why the withdrawal of a UUID waits, if it does.
        explain_sweep: Says why the sweep of a bundle hash waits, if it does.
        acts: Asks the appliance what waits for operators there; None: this hub has
            no auditor's certificate, so it may not.
    """

    store: Store
    publisher: Publisher
    clock: Clock
    network: str
    synced: Callable[[], Awaitable[object]]
    node_health: Callable[[], Sequence[NodeHealth]]
    appliances: Callable[[], Mapping[str, StatusReport | None]]
    certificates: Mapping[str, Path]
    held_flows: Callable[[], Mapping[str, bool]]
    reattach: Callable[[BundleHash, Done], Awaitable[TransactionHash]]
    explain_withdrawal: Callable[[WithdrawalUuid], Awaitable[Explained | None]] = (
        unexplained
    )
    explain_sweep: Callable[[BundleHash], Awaitable[Explained | None]] = unexplained
    acts: Callable[[], Awaitable[list[ActAsked]]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One request of somebody who is logged in.

    Attributes:
        session: Whose it is, as stored.
        csrf: What its forms must carry.
        now_ms: Milliseconds since 1970.
        request_id: For log and audit.
    """

    session: Session
    csrf: str = field(repr=False)
    now_ms: int
    request_id: str

    @property
    def operator(self) -> Operator:
        """Who it is."""
        return self.session.operator

    def done(self, operation: str, subject: str) -> Done:
        """Return the audit's line of an effect of this visit.

        Args:
            operation: Its name.
            subject: What it was about.
        """
        return Done(
            actor=self.operator.actor,
            request_id=self.request_id,
            operation=operation,
            subject=subject,
        )


Handler: TypeAlias = Callable[[web.Request, Visit], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One path of the dashboard.

    Attributes:
        method: ``GET`` or ``POST``; what changes something is a POST.
        path: As aiohttp takes it.
        role: Who may ask for it.
        handler: What answers.
    """

    method: str = "GET"
    path: str
    role: Role = Role.VIEWER
    handler: Handler
