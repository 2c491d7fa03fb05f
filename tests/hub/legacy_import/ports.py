# SPDX-License-Identifier: Apache-2.0
"""An appliance that adopts what it was told, and an importer around it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from hub.legacy_import.importing import Importer, ImportSettings, Report
from hub.legacy_import.rows import OldBooks
from hub.model import Address, IssuedAddress, SeedUuid
from hub.signer import AdoptionDeferred, AdoptionOutcome, AdoptionRefused
from hub.store import Store
from hub.store.legacy_source import OldDatabase
from tests.hub.api.ports import SimulatedNodes
from tests.hub.legacy_import.old_hub import OldHub

SETTINGS = ImportSettings(generation=2, security_level=2, pause_s=0, batch=2)


@dataclass
class SimulatedAdopter:
    """Knows some keys as spent; adopts every other one."""

    spent: set[str] = field(default_factory=set)
    refuses: str = ""
    defers: int = 0
    adopted: list[str] = field(default_factory=list)

    async def adopt(
        self, seed_uuid: SeedUuid, address: Address, *, generation: int
    ) -> AdoptionOutcome:
        if self.defers:
            self.defers -= 1
            return AdoptionDeferred(0)
        if seed_uuid in self.spent:
            return AdoptionRefused("seed-uuid-known", "this seed UUID is spent")
        if self.refuses:
            return AdoptionRefused(self.refuses, "no")
        self.adopted.append(seed_uuid)
        return IssuedAddress(
            address=address,
            seed_uuid=seed_uuid,
            generation=generation,
            security_level=2,
            receipt="",
        )


async def read(old: OldHub, *, zone: str | None = None) -> OldBooks:
    database = OldDatabase(old.source, password=old.password, zone=zone)
    try:
        return await database.read()
    finally:
        await database.close()


@asynccontextmanager
async def importing(
    old: OldHub,
    store: Store,
    adopter: SimulatedAdopter,
    nodes: SimulatedNodes | None = None,
    **settings: int,
) -> AsyncIterator[Importer]:
    database = OldDatabase(old.source, password=old.password, zone=None)
    importer = Importer(
        database,
        store,
        adopter,
        nodes or SimulatedNodes(),
        settings=replace(SETTINGS, **settings),
        progress=lambda _step, _done, _total: None,
    )
    try:
        yield importer
    finally:
        await database.close()


async def run(
    old: OldHub, store: Store, adopter: SimulatedAdopter, **settings: int
) -> Report:
    async with importing(old, store, adopter, **settings) as importer:
        return await importer.run()


def knowing(old: OldHub) -> SimulatedAdopter:
    """Return an appliance that imported what the old Hub signed."""
    return SimulatedAdopter({old.names["old_uuid"], old.names["h1_uuid"]})
