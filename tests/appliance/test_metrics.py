# SPDX-License-Identifier: Apache-2.0
"""What a running appliance tells a monitor on its own host."""

import asyncio
import re
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from appliance.pytest_plugin import ApplianceProcess
from appliance.wire import Fault, IssueAddress, Issued, SealNow
from tests.appliance.bundles import new_uuid
from tests.flows.world import free_port

_DEPLOY = Path(__file__).parents[2] / "deploy"
_NAME = re.compile(r"\bsaltkeep_appliance_[a-z_]+")


async def get(port: int, path: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}{path}") as reply,
    ):
        return reply.status, await reply.text()


async def value(port: int, name: str, **labels: str) -> float | None:
    _, text = await get(port, "/metrics")
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return float(sample.value)
    return None


async def test_what_is_done_and_how_it_is_are_told_and_no_secret(folder: Path) -> None:
    port = free_port()
    with (folder / "appliance.toml").open("a") as file:
        file.write(f"\n[metrics]\nport = {port}\n")
    process = ApplianceProcess(folder)
    process.start()
    try:
        async with asyncio.timeout(30):
            while (await get(port, "/readyz"))[0] != 200:
                await asyncio.sleep(0.05)
        assert (await get(port, "/healthz"))[0] == 200
        uuid = new_uuid()
        async with process.client("hub") as hub:
            asked = IssueAddress(request_id="private-id", seed_uuid=uuid)
            issued = await hub.expect(asked, Issued)
            bad = IssueAddress(request_id="i", seed_uuid="short")
            await hub.ask(bad)
        count = "saltkeep_appliance_request_seconds_count"
        assert await value(port, count, request="IssueAddress", reply="Issued") == 1
        step = "saltkeep_appliance_step_seconds_count"
        assert await value(port, step, request="IssueAddress", step="derive") == 1
        refused = "saltkeep_appliance_refusals_total"
        assert await value(port, refused, request="IssueAddress") == 1
        assert await value(port, "saltkeep_appliance_state", state="ready") == 1
        assert await value(port, "saltkeep_appliance_can_sign") == 1
        assert await value(port, "saltkeep_appliance_journal_rows") == 3
        told = (await get(port, "/metrics"))[1]
        for text in (uuid, issued.address, "private-id", "operator-1"):
            assert text not in told
        rules = (_DEPLOY / "prometheus" / "saltkeep-appliance.rules.yml").read_text()
        late = {
            "saltkeep_appliance_check_failures_total",
            "saltkeep_appliance_seals_total",
        }
        assert set(_NAME.findall(rules)) - set(_NAME.findall(told)) <= late
        async with process.client("operator-1") as operator:
            await operator.ask(SealNow(request_id="s", reason="a test"))
        assert (await get(port, "/readyz")) == (503, '{"status": "sealed"}')
        assert await value(port, "saltkeep_appliance_seals_total", code="operator") == 1
        async with process.client("hub") as hub:
            again = IssueAddress(request_id="i", seed_uuid=new_uuid())
            assert isinstance(await hub.ask(again), Fault)
    finally:
        process.stop()


async def test_only_what_it_serves_is_answered(folder: Path) -> None:
    port = free_port()
    with (folder / "appliance.toml").open("a") as file:
        file.write(f"\n[metrics]\nport = {port}\n")
    process = ApplianceProcess(folder)
    process.start()
    try:
        assert (await get(port, "/v1"))[0] == 404
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"http://127.0.0.1:{port}/metrics", data=b"x") as reply,
        ):
            assert reply.status in {405, 413}
    finally:
        process.stop()
