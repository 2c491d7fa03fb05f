# SPDX-License-Identifier: Apache-2.0
"""One unit of work: every query of the hub runs inside one of these."""

from functools import cached_property

from sqlalchemy.ext.asyncio import AsyncConnection

from hub.store.accounts import Accounts
from hub.store.addresses import Addresses
from hub.store.api_keys import ApiKeys
from hub.store.audit import Audit
from hub.store.books import Books
from hub.store.books_checks import BooksChecks
from hub.store.cold import Cold
from hub.store.context import Context, Names
from hub.store.deliveries import Deliveries
from hub.store.deposits import Deposits
from hub.store.events import Events
from hub.store.figures import Figures
from hub.store.glances import Glances
from hub.store.head import Head
from hub.store.idempotency import Idempotency
from hub.store.imports import Imports
from hub.store.leases import Leases
from hub.store.operators import Operators
from hub.store.pages import Pages
from hub.store.published import Published
from hub.store.samples import Samples
from hub.store.sweeps import Sweeps
from hub.store.tails import Tails
from hub.store.waits import Waits
from hub.store.webhooks import Webhooks
from hub.store.withdrawals import Withdrawals


class Transaction:
    """An open transaction: one attribute per noun.

    Args:
        connection: The connection that holds it.
        now_ms: When it began, milliseconds since 1970.
        names: Accounts that earlier transactions have found.

    Attributes:
        now_ms: When it began; every row written carries it.
        accounts: Users, owner and fee account.
        addresses: Our addresses.
        api_keys: Who may use ``/v1``.
        audit: Who did what by ``/v1`` or the dashboard.
        books: Postings, entries and their verification.
        checks: Looks at a part of the books.
        cold: Addresses whose keys are elsewhere.
        deliveries: What became of webhooks' events.
        deposits: What arrived.
        events: The history that pollers read.
        figures: What waits, and for how long.
        glances: What people look at.
        head: The appliance's journal head.
        idempotency: Replies that a retry is given again.
        imports: What an old Hub brings over.
        leases: Which hub runs which flow.
        operators: Who may use the dashboard, and its sessions.
        pages: Lists, the newest first.
        published: The history in an order that readers may resume from.
        samples: What was held and owed at earlier times.
        sweeps: What moves value.
        tails: Attachments of sweeps.
        waits: What decides when a withdrawal leaves.
        webhooks: Who is told of events.
        withdrawals: What users take out.
    """

    def __init__(
        self, connection: AsyncConnection, *, now_ms: int, names: Names
    ) -> None:
        self._context = Context(connection, now_ms, names)
        self.now_ms = now_ms

    # Made when asked for: twenty of them for each transaction would be felt.

    @cached_property
    def accounts(self) -> Accounts:  # noqa: D102 - see the class
        return Accounts(self._context)

    @cached_property
    def addresses(self) -> Addresses:  # noqa: D102 - see the class
        return Addresses(self._context)

    @cached_property
    def api_keys(self) -> ApiKeys:  # noqa: D102 - see the class
        return ApiKeys(self._context)

    @cached_property
    def audit(self) -> Audit:  # noqa: D102 - see the class
        return Audit(self._context)

    @cached_property
    def books(self) -> Books:  # noqa: D102 - see the class
        return Books(self._context)

    @cached_property
    def checks(self) -> BooksChecks:  # noqa: D102 - see the class
        return BooksChecks(self._context)

    @cached_property
    def cold(self) -> Cold:  # noqa: D102 - see the class
        return Cold(self._context)

    @cached_property
    def deliveries(self) -> Deliveries:  # noqa: D102 - see the class
        return Deliveries(self._context)

    @cached_property
    def deposits(self) -> Deposits:  # noqa: D102 - see the class
        return Deposits(self._context)

    @cached_property
    def events(self) -> Events:  # noqa: D102 - see the class
        return Events(self._context)

    @cached_property
    def figures(self) -> Figures:  # noqa: D102 - see the class
        return Figures(self._context)

    @cached_property
    def glances(self) -> Glances:  # noqa: D102 - see the class
        return Glances(self._context)

    @cached_property
    def head(self) -> Head:  # noqa: D102 - see the class
        return Head(self._context)

    @cached_property
    def idempotency(self) -> Idempotency:  # noqa: D102 - see the class
        return Idempotency(self._context)

    @cached_property
    def imports(self) -> Imports:  # noqa: D102 - see the class
        return Imports(self._context)

    @cached_property
    def leases(self) -> Leases:  # noqa: D102 - see the class
        return Leases(self._context)

    @cached_property
    def operators(self) -> Operators:  # noqa: D102 - see the class
        return Operators(self._context)

    @cached_property
    def pages(self) -> Pages:  # noqa: D102 - see the class
        return Pages(self._context)

    @cached_property
    def published(self) -> Published:  # noqa: D102 - see the class
        return Published(self._context)

    @cached_property
    def samples(self) -> Samples:  # noqa: D102 - see the class
        return Samples(self._context)

    @cached_property
    def sweeps(self) -> Sweeps:  # noqa: D102 - see the class
        return Sweeps(self._context)

    @cached_property
    def tails(self) -> Tails:  # noqa: D102 - see the class
        return Tails(self._context)

    @cached_property
    def waits(self) -> Waits:  # noqa: D102 - see the class
        return Waits(self._context)

    @cached_property
    def webhooks(self) -> Webhooks:  # noqa: D102 - see the class
        return Webhooks(self._context)

    @cached_property
    def withdrawals(self) -> Withdrawals:  # noqa: D102 - see the class
        return Withdrawals(self._context)
