# SPDX-License-Identifier: Apache-2.0
"""Three records of the same money compared: the Tangle, our books, the appliance's.

It changes nothing but a sample of what a round added up to. Each finding says what it
most likely means and what to do:

- *a spend we did not sign*: a confirmed or pending bundle takes value from an address
  of ours, its signature verifies, and neither the books nor the appliance know it.
  Somebody has a key. It pages.
- *signed, and not in our books*: the appliance signed it; this database is older than
  the truth, or another hub asked. It is reattached as it is, never built anew.
- *signed, and never seen*: our books have it and no node does. The attachment flow
  sends it again by itself; if the finding stays, it can not.
- *less on the Tangle than in the books*, or *more*: of addresses that no open sweep
  moves.
"""

import enum
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from hub.clock import Clock
from hub.history import SeenBundle, bundles_at, bundles_named, is_signed_for
from hub.model import Address, AddressId, BundleHash, OwnAddress, Sweep, SweepState
from hub.nodes import Nodes
from hub.store import Store

_log = logging.getLogger(__name__)

PAGE_ADDRESSES: Final = 200
SEEN_AFTER_MS: Final = 1_800_000
"""A signed sweep that no node shows for so long is worth a finding; as long as tails
are promoted."""
_OPEN: Final = (SweepState.SIGNED, SweepState.ATTACHED)


class FindingKind(enum.Enum):
    """What was found, the worst first."""

    FOREIGN_SPEND = "foreign-spend"
    """A real signature that neither the books nor the appliance know."""
    SIGNED_UNKNOWN = "signed-unknown"
    """The appliance signed it, and our books do not have it."""
    MISSING_VALUE = "missing-value"
    """The quorum shows less than the books."""
    UNBOOKED_VALUE = "unbooked-value"
    """The quorum shows more than the books."""
    NEVER_SEEN = "never-seen"
    """Signed and booked, and no node knows it."""


ADVICE: Final[Mapping[FindingKind, str]] = {
    FindingKind.FOREIGN_SPEND: (
        "a key is known to somebody else: seal the appliance, stop handing out"
        " addresses, and find out how"
    ),
    FindingKind.SIGNED_UNKNOWN: (
        "this database is older than the truth, or another hub asked: send it again"
        " with `saltkeep-hub reattach`, then book it by hand"
    ),
    FindingKind.MISSING_VALUE: "find out which bundle took it, and who signed that",
    FindingKind.UNBOOKED_VALUE: (
        "a deposit that the monitor has not booked yet; if it stays, its history is"
        " pruned: see `saltkeep-hub quarantine list`"
    ),
    FindingKind.NEVER_SEEN: (
        "the attachment flow sends it again: look at its log and at the nodes"
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One difference between two records.

    Attributes:
        kind: What it is.
        address: The address of ours; empty where it is about a whole bundle.
        bundle_hash: The bundle; empty where it is about a balance.
        books_i: What the books say, in iota; 0 where there is no such figure.
        tangle_i: What the quorum says, in iota; 0 where there is no such figure.
    """

    kind: FindingKind
    address: str = ""
    bundle_hash: str = ""
    books_i: int = 0
    tangle_i: int = 0

    @property
    def pages(self) -> bool:
        """Whether somebody must get up for it."""
        return self.kind is FindingKind.FOREIGN_SPEND


class SignedRecord(Protocol):
    """Knows what the appliance has signed."""

    async def has_signed(self, bundle_hash: BundleHash) -> bool:
        """Say whether the appliance's journal has a bundle.

        Args:
            bundle_hash: 81 trytes.
        """


class Journal(Protocol):
    """Reads the appliance's journal, with an auditor's certificate."""

    async def signed_after(self, sequence: int) -> tuple[int, Sequence[BundleHash]]:
        """Read the next rows.

        Args:
            sequence: The last row read; 0 to begin.

        Returns:
            The last row read now, the same again at the end, and what was signed.
        """


def balance_findings(
    page: Sequence[OwnAddress],
    balances_i: Mapping[Address, int],
    *,
    moving: Collection[Address],
) -> list[Finding]:
    """Compare balances; pure.

    Args:
        page: Addresses of ours.
        balances_i: What the quorum shows, in iota; an address it does not agree on
            is left out.
        moving: Addresses that an open sweep takes from or pays to: their difference
            is as it must be.

    Returns:
        What differs.
    """
    found = []
    for own in page:
        seen_i = balances_i.get(own.address)
        if seen_i is None or seen_i == own.balance_i or own.address in moving:
            continue
        kind = FindingKind.UNBOOKED_VALUE
        if seen_i < own.balance_i:
            kind = FindingKind.MISSING_VALUE
        found.append(
            Finding(
                kind=kind,
                address=own.address,
                books_i=own.balance_i,
                tangle_i=seen_i,
            )
        )
    return found


def spends_of(
    page: Sequence[OwnAddress], bundles: Sequence[SeenBundle]
) -> dict[BundleHash, Address]:
    """Find the bundles that really spend from addresses of ours; pure.

    Args:
        page: Addresses of ours.
        bundles: Every attachment the nodes know at them.

    Returns:
        Each bundle with one address that it takes from under a real signature.
    """
    named = {bundle.name: bundle for bundle in bundles}
    found: dict[BundleHash, Address] = {}
    for name, bundle in named.items():
        takers = {
            t.content.address for t in bundle.transactions if t.content.value_i < 0
        }
        for own in page:
            if own.address in takers and is_signed_for(bundle, own.address):
                found[name] = own.address
                break
    return found


@dataclass(slots=True)
class _Reserves:
    """What the pages of one round have added up to."""

    addresses: int = 0
    tangle_i: int = 0
    books_i: int = 0
    unknown: int = 0

    def add(
        self, page: Sequence[OwnAddress], balances_i: Mapping[Address, int]
    ) -> None:
        """Add a page; an address that no quorum agrees on is only counted."""
        agreed = [own for own in page if own.address in balances_i]
        self.addresses += len(page)
        self.unknown += len(page) - len(agreed)
        self.tangle_i += sum(balances_i[own.address] for own in agreed)
        self.books_i += sum(own.balance_i for own in agreed)


class Reconciler:
    """Goes through every address of ours, a page each time.

    Args:
        store: The database.
        nodes: The quorum.
        signed: The appliance.
        clock: The time.
        journal: The appliance's journal; None: only what the nodes show is asked for.
    """

    def __init__(
        self,
        store: Store,
        nodes: Nodes,
        signed: SignedRecord,
        *,
        clock: Clock,
        journal: Journal | None = None,
    ) -> None:
        self._store = store
        self._nodes = nodes
        self._signed = signed
        self._clock = clock
        self._journal = journal
        self._next = AddressId(0)
        self._read_to = 0
        self._reserves = _Reserves()

    async def tick(self) -> None:
        """Look at the next page, and at the open sweeps when the last page is done."""
        await self._nodes.require_synced()
        page = await self._page(self._next)
        findings = await self._look_at(page)
        if page:
            self._next = page[-1].address_id
        else:
            findings += await self._unseen() + await self._unbooked()
            self._next = AddressId(0)
            await self._keep_reserves()
        for finding in findings:
            _tell(finding)

    async def whole(self) -> list[Finding]:
        """Look at everything once.

        Returns:
            Every finding, the worst first.
        """
        await self._nodes.require_synced()
        findings = await self._unseen() + await self._unbooked()
        last = AddressId(0)
        while page := await self._page(last):
            findings += await self._look_at(page)
            last = page[-1].address_id
        order = list(FindingKind)
        distinct = dict.fromkeys(findings)
        return sorted(distinct, key=lambda finding: order.index(finding.kind))

    async def _page(self, after: AddressId) -> list[OwnAddress]:
        async with self._store.reading() as tx:
            return await tx.addresses.after(after, limit=PAGE_ADDRESSES)

    async def _look_at(self, page: Sequence[OwnAddress]) -> list[Finding]:
        if not page:
            return []
        moving = await self._moving()  # before balances: what confirms meanwhile
        addresses = [own.address for own in page]
        balances_i = await self._nodes.balances(addresses)
        self._reserves.add(page, balances_i)
        moving |= await self._moving()
        async with self._store.reading() as tx:
            now = {own.address_id: own for own in page}
            for own in await tx.addresses.find_many(addresses):
                now[own.address_id] = own
        still = [own for own in page if now[own.address_id] == own]
        findings = balance_findings(still, balances_i, moving=moving)
        bundles = await bundles_at(self._nodes, addresses)
        for name, address in sorted(spends_of(page, bundles).items()):
            findings += await self._judge(name, address)
        return findings

    async def _keep_reserves(self) -> None:
        """Keep what a whole round has added up, for the dashboard's plots."""
        done, self._reserves = self._reserves, _Reserves()
        if done.addresses:
            await self._store.run(
                lambda tx: tx.samples.keep_reserves(
                    tangle_i=done.tangle_i,
                    books_i=done.books_i,
                    unknown=done.unknown,
                )
            )

    async def _is_booked(self, name: BundleHash) -> bool:
        async with self._store.reading() as tx:
            return await tx.sweeps.is_known(name) or await tx.books.was_posted(name)

    async def _unbooked(self) -> list[Finding]:
        """Return what the appliance signed since the last look and we do not know."""
        findings: list[Finding] = []
        while self._journal is not None:
            last, names = await self._journal.signed_after(self._read_to)
            for name in names:
                if not await self._is_booked(name):
                    kind = FindingKind.SIGNED_UNKNOWN
                    findings.append(Finding(kind=kind, bundle_hash=name))
            if last == self._read_to:
                break
            self._read_to = last
        return findings

    async def _judge(self, name: BundleHash, address: Address) -> list[Finding]:
        if await self._is_booked(name):
            return []
        signed = await self._signed.has_signed(name)
        kind = FindingKind.SIGNED_UNKNOWN if signed else FindingKind.FOREIGN_SPEND
        return [Finding(kind=kind, address=address, bundle_hash=name)]

    async def _open_sweeps(self) -> list[Sweep]:
        async with self._store.reading() as tx:
            return await tx.sweeps.in_state(SweepState.PLANNED, *_OPEN)

    async def _moving(self) -> set[Address]:
        """Return the addresses that open sweeps take from or pay to."""
        touched: set[Address] = set()
        for sweep in await self._open_sweeps():
            ids = [spent.address_id for spent in sweep.plan.inputs]
            if sweep.plan.remainder_address_id is not None:
                ids.append(sweep.plan.remainder_address_id)
            async with self._store.reading() as tx:
                touched |= {(await tx.addresses.by_id(i)).address for i in ids}
        return touched

    async def _unseen(self) -> list[Finding]:
        """Return sweeps that were signed long ago and that no node knows.

        Returns:
            One finding for each.
        """
        long_ago_ms = self._clock() - SEEN_AFTER_MS
        waiting = [
            sweep.plan.bundle_hash
            for sweep in await self._open_sweeps()
            if sweep.signed_at_ms is not None and sweep.signed_at_ms < long_ago_ms
        ]
        seen = {bundle.name for bundle in await bundles_named(self._nodes, waiting)}
        return [
            Finding(kind=FindingKind.NEVER_SEEN, bundle_hash=name)
            for name in waiting
            if name not in seen
        ]


def _tell(finding: Finding) -> None:
    level = logging.CRITICAL if finding.pages else logging.ERROR
    _log.log(
        level,
        "%s address=%s bundle=%s books=%s tangle=%s: %s",
        finding.kind.value,
        finding.address or "-",
        finding.bundle_hash or "-",
        finding.books_i,
        finding.tangle_i,
        ADVICE[finding.kind],
    )
