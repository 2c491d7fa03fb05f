# SPDX-License-Identifier: Apache-2.0
"""Two hubs on one PostgreSQL: one is killed or freezes, the other goes on."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.cluster import FLOWS, Cluster, running_cluster
from tests.flows.world import Appliance
from tests.hub.databases import Postgresql, running_postgresql

pytestmark = pytest.mark.timeout(120)  # six processes, on a machine that is busy too
FROZEN_AT = ("hub.deposit.before-record", "hub.sweep.after-sign")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Postgresql]:
    yield from running_postgresql()


async def test_two_hubs_start_at_once_on_an_empty_database_and_share_its_flows(
    shared_appliance: Appliance, tmp_path: Path, postgresql: Postgresql
) -> None:
    async with running_cluster(shared_appliance, tmp_path, postgresql) as cluster:
        one, two = cluster.hubs
        await asyncio.gather(*(asyncio.to_thread(hub.start) for hub in (one, two)))
        await cluster.until(lambda: len(cluster.holders()) == len(FLOWS))
        assert None not in cluster.holders().values()
        await cluster.story(one)
        assert one.stop() == 0
        await cluster.runs_all(two)
        await cluster.story(two)
        await cluster.require_right()


@pytest.mark.slow
async def test_a_killed_hub_is_replaced_and_takes_its_place_again(
    shared_appliance: Appliance, tmp_path: Path, postgresql: Postgresql
) -> None:
    async with running_cluster(shared_appliance, tmp_path, postgresql) as cluster:
        one, two = cluster.hubs
        one.start("hub.sweep.after-sign")
        await cluster.runs_all(one)
        two.start()
        story = asyncio.create_task(cluster.story(two))
        await one.frozen()
        one.kill()
        await story
        await cluster.runs_all(two)
        one.start()
        two.kill()
        await cluster.runs_all(one)
        await cluster.require_right()


async def freeze_and_thaw(cluster: Cluster, failpoint: str) -> None:
    """Freeze the first hub in a round, let the second take over, let it go on."""
    one, two = cluster.hubs
    one.start(failpoint)
    await cluster.runs_all(one)
    two.start()
    story = asyncio.create_task(cluster.story(two))
    await one.frozen()
    await story
    assert set(cluster.holders().values()) == {two}
    one.resume()
    await cluster.until(lambda: cluster.was_fenced(one))


@pytest.mark.slow
@pytest.mark.parametrize("failpoint", FROZEN_AT)
async def test_a_hub_that_froze_past_its_lease_is_fenced_when_it_goes_on(
    failpoint: str,
    shared_appliance: Appliance,
    tmp_path: Path,
    postgresql: Postgresql,
) -> None:
    async with running_cluster(shared_appliance, tmp_path, postgresql) as cluster:
        await freeze_and_thaw(cluster, failpoint)
        await cluster.require_right()
