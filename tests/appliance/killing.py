# SPDX-License-Identifier: Apache-2.0
"""SIGKILL in the middle of a ceremony, at a named place."""

import asyncio
import contextlib
import time
from pathlib import Path

from appliance.pytest_plugin import ApplianceProcess
from appliance.wire import AcceptHead, Done, GetStatus, RunCeremony, StatusReport


async def kill_during(
    process: ApplianceProcess, request: RunCeremony, failpoint: str, marker: Path
) -> None:
    """Run a ceremony in a real process and kill it where it stopped itself."""
    process.environment = {
        "SALTKEEP_FAILPOINT": failpoint,
        "SALTKEEP_FAILPOINT_FILE": str(marker),
    }
    process.start()
    async with process.client("operator-1") as operator:
        await anchor(process)
        asked = asyncio.create_task(operator.ask(request))
        deadline_s = time.monotonic() + 20
        while not marker.exists():
            assert time.monotonic() < deadline_s, f"{failpoint} was never reached"
            await asyncio.sleep(0.02)
        process.kill()
        asked.cancel()
        with contextlib.suppress(BaseException):
            await asked
    process.environment = {}


async def anchor(process: ApplianceProcess) -> StatusReport:
    """Vouch for the head of a process that was started again, if nobody has."""
    async with process.client("operator-1") as operator:
        status = await operator.expect(GetStatus(request_id="s"), StatusReport)
        if not status.anchored:
            last = (await operator.journal())[-1]
            accept = AcceptHead(request_id="a", sequence=last.sequence, hash=last.hash)
            await operator.expect(accept, Done)
        return await operator.expect(GetStatus(request_id="s"), StatusReport)
