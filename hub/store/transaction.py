# SPDX-License-Identifier: Apache-2.0
"""One unit of work: every query of the hub runs inside one of these."""

from sqlalchemy.ext.asyncio import AsyncConnection

from hub.store.accounts import Accounts
from hub.store.addresses import Addresses
from hub.store.api_keys import ApiKeys
from hub.store.audit import Audit
from hub.store.books import Books
from hub.store.books_checks import BooksChecks
from hub.store.cold import Cold
from hub.store.context import Context
from hub.store.deliveries import Deliveries
from hub.store.deposits import Deposits
from hub.store.events import Events
from hub.store.head import Head
from hub.store.idempotency import Idempotency
from hub.store.imports import Imports
from hub.store.leases import Leases
from hub.store.pages import Pages
from hub.store.published import Published
from hub.store.sweeps import Sweeps
from hub.store.tails import Tails
from hub.store.webhooks import Webhooks
from hub.store.withdrawals import Withdrawals


class Transaction:
    """An open transaction: one attribute per noun.

    Args:
        connection: The connection that holds it.
        now_ms: When it began, milliseconds since 1970.

    Attributes:
        now_ms: When it began; every row written carries it.
        accounts: Users, owner and fee account.
        addresses: Our addresses.
        api_keys: Who may use ``/v1``.
        audit: Who did what by ``/v1``.
        books: Postings, entries and their verification.
        checks: Looks at a part of the books.
        cold: Addresses whose keys are elsewhere.
        deliveries: What became of webhooks' events.
        deposits: What arrived.
        events: The history that pollers read.
        head: The appliance's journal head.
        idempotency: Replies that a retry is given again.
        imports: What an old Hub brings over.
        leases: Which hub runs which flow.
        pages: Lists, the newest first.
        published: The history in an order that readers may resume from.
        sweeps: What moves value.
        tails: Attachments of sweeps.
        webhooks: Who is told of events.
        withdrawals: What users take out.
    """

    def __init__(self, connection: AsyncConnection, *, now_ms: int) -> None:
        context = Context(connection, now_ms)
        self.now_ms = now_ms
        self.accounts = Accounts(context)
        self.addresses = Addresses(context)
        self.api_keys = ApiKeys(context)
        self.audit = Audit(context)
        self.books = Books(context)
        self.checks = BooksChecks(context)
        self.cold = Cold(context)
        self.deliveries = Deliveries(context)
        self.deposits = Deposits(context)
        self.events = Events(context)
        self.head = Head(context)
        self.idempotency = Idempotency(context)
        self.imports = Imports(context)
        self.leases = Leases(context)
        self.pages = Pages(context)
        self.published = Published(context)
        self.sweeps = Sweeps(context)
        self.tails = Tails(context)
        self.webhooks = Webhooks(context)
        self.withdrawals = Withdrawals(context)
