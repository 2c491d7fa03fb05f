# SPDX-License-Identifier: Apache-2.0
"""One unit of work: every query of the hub runs inside one of these."""

from sqlalchemy.ext.asyncio import AsyncConnection

from hub.store.accounts import Accounts
from hub.store.addresses import Addresses
from hub.store.books import Books
from hub.store.context import Context
from hub.store.deposits import Deposits
from hub.store.events import Events
from hub.store.head import Head
from hub.store.imports import Imports
from hub.store.sweeps import Sweeps
from hub.store.tails import Tails
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
        books: Postings, entries and their verification.
        deposits: What arrived.
        events: The history that pollers read.
        head: The appliance's journal head.
        imports: What an old Hub brings over.
        sweeps: What moves value.
        tails: Attachments of sweeps.
        withdrawals: What users take out.
    """

    def __init__(self, connection: AsyncConnection, *, now_ms: int) -> None:
        context = Context(connection, now_ms)
        self.now_ms = now_ms
        self.accounts = Accounts(context)
        self.addresses = Addresses(context)
        self.books = Books(context)
        self.deposits = Deposits(context)
        self.events = Events(context)
        self.head = Head(context)
        self.imports = Imports(context)
        self.sweeps = Sweeps(context)
        self.tails = Tails(context)
        self.withdrawals = Withdrawals(context)
