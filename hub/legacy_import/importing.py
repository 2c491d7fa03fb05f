# SPDX-License-Identifier: Apache-2.0
"""The import itself: survey, cut over, write, reconcile.

Killed at any point, it is begun again: what is written is left alone, and what the
appliance has adopted it adopts once more with the same answer. Nothing is written
before the old Hub is seen to stand still and the appliance to know what is spent.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol, TypeAlias, TypeVar

from failpoints import failpoint
from hub.addresses import SpentOracle
from hub.errors import RefusedError
from hub.legacy_import.checks import Finding, find_faults, shortfall_i
from hub.legacy_import.plan import make_plan
from hub.legacy_import.rows import OldBooks
from hub.legacy_import.spent import Hashes, spent_keys
from hub.legacy_import.values import NewAddress, Plan
from hub.model import Address, AddressState, IssuedAddress, SeedUuid
from hub.signer import AdoptionDeferred, AdoptionOutcome, AdoptionRefused
from hub.store import Store, Transaction
from hub.store.imports import Imports

_log = logging.getLogger(__name__)
_Item = TypeVar("_Item")
_NODE_BATCH: Final = 500
_WITNESSES: Final = 3
"""Spent keys that the appliance is asked about before anything is written."""
_KNOWN: Final = "seed-uuid-known"

Progress: TypeAlias = Callable[[str, int, int], None]
"""Told a step's name, how many are done, and how many there are."""


class ImportRefusedError(RefusedError):
    """The import can not go on until somebody has done what the message says."""

    code = "import-refused"


class Source(Protocol):
    """The old database."""

    async def read(self) -> OldBooks:
        """Return everything, read in one transaction."""

    async def others_connected(self) -> int:
        """Return how many others have it open."""


class AddressAdopter(Protocol):
    """The appliance."""

    async def adopt(
        self, seed_uuid: SeedUuid, address: Address, *, generation: int
    ) -> AdoptionOutcome:
        """Ask that an address may be spent from."""


@dataclass(frozen=True, slots=True)
class ImportSettings:
    """How an import goes about it.

    Attributes:
        generation: Of the salt that the appliance took over.
        security_level: Of the old Hub's addresses (``keySecLevel``).
        pause_s: Between the two reads that must find the same, in seconds.
        batch: Rows written in one transaction.
        at_once: Addresses the appliance is asked about at once.
    """

    generation: int
    security_level: int
    pause_s: float
    batch: int = 500
    at_once: int = 4


@dataclass(frozen=True, slots=True)
class Report:
    """What an import ends with.

    Attributes:
        expected: Numbers and sums of the old database, by name.
        found: The same of ours.
        sound: Whether our books balance.
        surplus_i: What the old Hub held beyond what it owed; now its owner's.
        spent: Keys that sign no more.
    """

    expected: Mapping[str, int]
    found: Mapping[str, int]
    sound: bool
    surplus_i: int
    spent: int

    @property
    def equal(self) -> bool:
        """Whether everything arrived and the books balance."""
        return self.sound and self.expected == self.found


class Importer:
    """Brings one old database over.

    Args:
        source: The old database.
        store: Ours, migrated, without users of its own.
        adopter: The appliance.
        oracle: The nodes.
        settings: How it goes about it.
        progress: Told how far it is.
    """

    def __init__(
        self,
        source: Source,
        store: Store,
        adopter: AddressAdopter,
        oracle: SpentOracle,
        *,
        settings: ImportSettings,
        progress: Progress,
    ) -> None:
        self._source = source
        self._store = store
        self._adopter = adopter
        self._oracle = oracle
        self._settings = settings
        self._progress = progress

    async def run(self) -> Report:
        """Import everything that is not imported yet.

        Returns:
            How the totals compare.
        """
        books = await self._stopped()
        require_faultless(books)
        spent = await spent_of(books, self._oracle, self._progress)
        await self._require_ours_is_empty(books)
        plan = make_plan(books, spent.keys())
        await self._require_spent_keys_known(plan)
        await self._write(plan)
        return await self._reconcile(books, spent)

    async def adopt_ahead(self) -> int:
        """Have addresses adopted while the old Hub still runs; writes nothing here.

        An import then finds them adopted, and takes minutes instead of hours. What
        the old Hub signs meanwhile is spent by the interchange file all the same.

        Returns:
            How many addresses its own database does not know as spent.
        """
        books = await self._source.read()
        require_faultless(books)
        plan = make_plan(books, spent_keys(books, ()).keys())
        unspent = [one for one in plan.addresses if one.state is AddressState.OPEN]
        for addresses in self._batches("addresses", unspent):
            await self._adopt_all(addresses)
        return len(unspent)

    async def _stopped(self) -> OldBooks:
        """Read twice and insist that the old Hub changed nothing in between.

        Returns:
            The old database.

        Raises:
            ImportRefusedError: If the old Hub is still at work.
        """
        first = await self._source.read()
        await asyncio.sleep(self._settings.pause_s)
        others = await self._source.others_connected()
        if others:
            raise ImportRefusedError(
                f"{others} other connections to the old database: stop the old Hub, and"
                " whatever else writes there"
            )
        if await self._source.read() != first:
            raise ImportRefusedError(
                "the old database changes: stop the old Hub, then begin again"
            )
        return first

    async def _require_ours_is_empty(self, books: OldBooks) -> None:
        identifiers = [user.identifier for user in books.users]
        async with self._store.reading() as tx:
            strangers = await tx.imports.strangers(identifiers)
        if strangers:
            raise ImportRefusedError(
                f"this hub has {len(strangers)} users of its own, {strangers[0]!r} for"
                " one: an old database is brought into an empty hub"
            )

    async def _require_spent_keys_known(self, plan: Plan) -> None:
        """Ask the appliance about some spent keys: it must know that they are.

        Raises:
            ImportRefusedError: If it does not.
        """
        spent = [one for one in plan.addresses if one.state is AddressState.SPENT]
        chosen = secrets.SystemRandom().sample(spent, min(len(spent), _WITNESSES))
        for one in chosen:
            outcome = await self._adopted(one)
            known = isinstance(outcome, AdoptionRefused) and outcome.code == _KNOWN
            if not known:
                raise ImportRefusedError(
                    "the appliance does not know what the old Hub has signed: have its"
                    " operators import the file of `import-legacy interchange` first"
                )

    # --- writing -----------------------------------------------------------------

    async def _write(self, plan: Plan) -> None:
        for accounts in self._batches("accounts", plan.accounts):
            await self._commit(Imports.add_accounts, accounts)
        for addresses in self._batches("addresses", plan.addresses):
            await self._commit(Imports.add_addresses, await self._adopt_all(addresses))
        for sweeps in self._batches("sweeps", plan.sweeps):
            await self._commit(Imports.add_sweeps, sweeps)
        for withdrawals in self._batches("withdrawals", plan.withdrawals):
            await self._commit(Imports.add_withdrawals, withdrawals)
        for accounts in self._batches("balances", plan.accounts):
            await self._commit(Imports.open_balances, accounts)

    def _batches(self, step: str, items: Sequence[_Item]) -> Iterator[Sequence[_Item]]:
        size = self._settings.batch
        for start in range(0, len(items), size):
            self._progress(step, start, len(items))
            yield items[start : start + size]
        self._progress(step, len(items), len(items))

    async def _commit(
        self,
        write: Callable[[Imports, Sequence[_Item]], Awaitable[None]],
        items: Sequence[_Item],
    ) -> None:
        async def work(tx: Transaction) -> None:
            await write(tx.imports, items)
            failpoint("hub.import.before-commit")

        await self._store.run(work)
        failpoint("hub.import.after-commit")

    # --- the appliance -----------------------------------------------------------

    async def _adopt_all(
        self, addresses: Sequence[NewAddress]
    ) -> list[tuple[NewAddress, IssuedAddress]]:
        """Have those that are not written yet adopted, several at once."""
        async with self._store.reading() as tx:
            known = await tx.imports.recorded([one.seed_uuid for one in addresses])
        fresh = [one for one in addresses if one.seed_uuid not in known]
        turn = asyncio.Semaphore(self._settings.at_once)

        async def adopt(one: NewAddress) -> tuple[NewAddress, IssuedAddress]:
            async with turn:
                return await self._taken_over(one)

        adopted = await asyncio.gather(*[adopt(one) for one in fresh])
        failpoint("hub.import.adopted")
        return adopted

    async def _taken_over(self, one: NewAddress) -> tuple[NewAddress, IssuedAddress]:
        """Have an address adopted; one whose key has signed is only written down.

        Returns:
            The address as it is written, and how the appliance knows it.

        Raises:
            ImportRefusedError: If the appliance derives another address.
        """
        spent = replace(one, state=AddressState.SPENT)
        if one.state is AddressState.SPENT:
            return spent, self._unadopted(one)
        outcome = await self._adopted(one)
        if isinstance(outcome, IssuedAddress):
            self._require_level(outcome)
            return one, outcome
        if outcome.code == _KNOWN:  # it knows more than we do
            _log.warning("%s: its key has signed, says the appliance", one.address)
            return spent, self._unadopted(one)
        raise ImportRefusedError(
            f"{one.address}: {outcome.code}: {outcome.message}. Salt, level and Argon2"
            " cost must be those of the old Hub"
        )

    async def _adopted(self, one: NewAddress) -> IssuedAddress | AdoptionRefused:
        """Ask until the appliance has decided."""
        while True:
            outcome = await self._adopter.adopt(
                SeedUuid(one.seed_uuid),
                Address(one.address),
                generation=self._settings.generation,
            )
            if not isinstance(outcome, AdoptionDeferred):
                return outcome
            await asyncio.sleep(outcome.retry_after_s)

    def _unadopted(self, one: NewAddress) -> IssuedAddress:
        return IssuedAddress(
            address=Address(one.address),
            seed_uuid=SeedUuid(one.seed_uuid),
            generation=self._settings.generation,
            security_level=self._settings.security_level,
            receipt="",
        )

    def _require_level(self, issued: IssuedAddress) -> None:
        if issued.security_level != self._settings.security_level:
            raise ImportRefusedError(
                f"generation {issued.generation} is of level {issued.security_level},"
                f" --level says {self._settings.security_level}"
            )

    # --- the end -----------------------------------------------------------------

    async def _reconcile(
        self, books: OldBooks, spent: Mapping[str, Hashes | None]
    ) -> Report:
        async with self._store.reading() as tx:
            found = await tx.imports.count()
            sound = (await tx.books.verify()).sound
        return Report(totals_of(books), found, sound, -shortfall_i(books), len(spent))


def totals_of(books: OldBooks) -> dict[str, int]:
    """Count what an old database holds, by the names of ``Imports.count``.

    Args:
        books: The old database.

    Returns:
        Numbers of rows and sums in iota.
    """
    users = [one for one in books.addresses if one.user is not None]
    hubs = [one for one in books.addresses if one.user is None]
    return {
        "users": len(books.users),
        "addresses": len(books.addresses),
        "sweeps": len(books.sweeps),
        "tails": len(books.tails),
        "withdrawals": len(books.withdrawals),
        "available_i": sum(one.balance_i for one in books.users),
        "pending_i": sum(one.amount_i for one in books.waiting),
        "waiting_i": sum(one.amount_i for one in books.waiting),
        "not_swept_i": sum(one.balance_i for one in users),
        "on_user_addresses_i": sum(one.balance_i for one in users),
        "on_hub_addresses_i": sum(one.balance_i for one in hubs),
    }


async def spent_of(
    books: OldBooks, oracle: SpentOracle, progress: Progress
) -> Mapping[str, Hashes | None]:
    """Find every key that may have signed; the nodes are asked about the others.

    Args:
        books: The old database.
        oracle: The nodes.
        progress: Told how far it is.

    Returns:
        The bundle hashes by seed UUID; None where nobody knows them.
    """
    known = spent_keys(books, ())
    asked = [
        Address(one.address) for one in books.addresses if one.seed_uuid not in known
    ]
    seen: list[str] = []
    for start in range(0, len(asked), _NODE_BATCH):
        progress("nodes", start, len(asked))
        some = asked[start : start + _NODE_BATCH]
        answers = await oracle.were_spent(some)
        seen += [one for one, spent in zip(some, answers, strict=True) if spent]
    progress("nodes", len(asked), len(asked))
    return spent_keys(books, seen)


def require_faultless(books: OldBooks) -> None:
    """Insist that nothing in an old database stands in the way.

    Args:
        books: The old database.

    Raises:
        ImportRefusedError: If something does; `import-legacy check` tells all of it.
    """
    faults: list[Finding] = find_faults(books)
    if faults:
        first = f"{faults[0].code}, {faults[0].subject}"
        raise ImportRefusedError(
            f"{len(faults)} faults in the old database, the first is {first}: see"
            " `import-legacy check`"
        )
