# SPDX-License-Identifier: Apache-2.0
"""What a running hub tells Prometheus and a load balancer."""

import asyncio
import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from hub.devnet.config import DevnetConfig
from hub.devnet.embedded import RunningDevnet, running_devnet
from tests.flows.hub_process import HubProcess, LegacyError
from tests.flows.world import (
    MIN_WEIGHT_MAGNITUDE,
    Appliance,
    free_port,
    hub_table,
)

_PATIENCE_S = 20.0
_DEPLOY = Path(__file__).parents[2] / "deploy"
_NAME = re.compile(r"\bsaltkeep_hub_[a-z_]+")


class Scraped:
    """A running hub, and what it says of itself."""

    def __init__(self, hub: HubProcess, url: str) -> None:
        self.hub = hub
        self._url = url

    async def get(self, path: str) -> tuple[int, str]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(self._url + path) as reply,
        ):
            return reply.status, await reply.text()

    async def value(self, name: str, **labels: str) -> float | None:
        """Return a sample, None if there is none."""
        status, text = await self.get("/metrics")
        assert status == 200
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return float(sample.value)
        return None

    async def until(self, name: str, wanted: float, **labels: str) -> None:
        async with asyncio.timeout(_PATIENCE_S):
            while await self.value(name, **labels) != wanted:
                await asyncio.sleep(0.05)

    async def until_ready(self, wanted: int) -> str:
        async with asyncio.timeout(_PATIENCE_S):
            while True:
                status, text = await self.get("/readyz")
                if status == wanted:
                    return text
                await asyncio.sleep(0.05)


@pytest.fixture
async def devnet() -> AsyncGenerator[RunningDevnet]:
    config = DevnetConfig(min_weight_magnitude=MIN_WEIGHT_MAGNITUDE)
    async with running_devnet(config) as running:
        yield running


@pytest.fixture
async def scraped(
    appliance: Appliance, devnet: RunningDevnet, tmp_path: Path
) -> AsyncGenerator[Scraped]:
    port = free_port()
    sections: dict[str, Any] = {
        "metrics": {"listen": f"127.0.0.1:{port}"},
        "sweeps": {"interval_s": 0.2},
        "books": {"interval_s": 0.2},
        "reconciler": {"interval_s": 3600.0},
    }
    table = hub_table(appliance, [(devnet.url, "iri")], tmp_path, **sections)
    hub = HubProcess(table, tmp_path)
    hub.start()
    try:
        yield Scraped(hub, f"http://127.0.0.1:{port}")
    finally:
        assert hub.stop() == 0


async def test_ready_means_that_it_can_sign(
    scraped: Scraped, appliance: Appliance, devnet: RunningDevnet
) -> None:
    assert (await scraped.get("/healthz"))[0] == 200
    await scraped.until_ready(200)
    appliance.stop()
    assert '"appliance": "' in await scraped.until_ready(503)
    appliance.start()
    await scraped.until_ready(200)
    devnet.faults.set("unsynced", value=True)
    text = await scraped.until_ready(503)
    assert '"nodes": "ok"' not in text
    assert (await scraped.get("/healthz"))[0] == 200


async def test_requests_rounds_and_the_appliance_are_counted_and_timed(
    scraped: Scraped, appliance: Appliance
) -> None:
    await scraped.until_ready(200)
    await scraped.hub.ask("CreateUser", userId="alice")
    await scraped.hub.ask("GetDepositAddress", userId="alice")
    with pytest.raises(LegacyError):
        await scraped.hub.ask("CreateUser", userId="alice")
    count = "saltkeep_hub_request_seconds_count"
    labels = {"api": "legacy", "operation": "CreateUser"}
    assert await scraped.value(count, **labels, outcome="ok") == 1
    assert await scraped.value(count, **labels, outcome="refused") == 1
    assert await scraped.value("saltkeep_hub_refusals_total", code="user-exists") == 1
    asked = "saltkeep_hub_appliance_request_seconds_count"
    assert await scraped.value(asked, request="IssueAddress", outcome="Issued") == 1
    step = "saltkeep_hub_appliance_step_seconds_count"
    assert await scraped.value(step, request="IssueAddress", step="derive") == 1
    url = f"https://127.0.0.1:{appliance.port}"
    state = "saltkeep_hub_appliance_state"
    assert await scraped.value(state, appliance=url, state="ready") == 1
    assert await scraped.value(state, appliance=url, state="sealed") == 0
    await scraped.until("saltkeep_hub_flow_held", 1, flow="sweeps")
    rounds = "saltkeep_hub_round_seconds_count"
    assert await scraped.value(rounds, flow="books", outcome="ok")
    assert await scraped.value("saltkeep_hub_books_latched") == 0
    assert await scraped.value("saltkeep_hub_database_up") == 1
    expiry = "saltkeep_hub_certificate_expiry_timestamp_seconds"
    assert await scraped.value(expiry, setting="appliance.certificate")


async def test_what_alerts_and_dashboard_ask_for_is_told(scraped: Scraped) -> None:
    await scraped.until_ready(200)
    await scraped.hub.ask("CreateUser", userId="alice")
    await scraped.hub.ask("GetDepositAddress", userId="alice")
    with pytest.raises(LegacyError):
        await scraped.hub.ask("CreateUser", userId="alice")
    await scraped.until("saltkeep_hub_flow_held", 1, flow="books")
    await scraped.until("saltkeep_hub_assets_iota", 0)
    told = set(_NAME.findall((await scraped.get("/metrics"))[1]))
    asked: set[str] = set()
    for file in ("prometheus/saltkeep-hub.rules.yml", "grafana/saltkeep-hub.json"):
        asked |= set(_NAME.findall((_DEPLOY / file).read_text()))
    assert len(asked) > 20
    # Told only once a request was refused by an appliance.
    assert asked - told <= {"saltkeep_hub_appliance_refusals_total"}
