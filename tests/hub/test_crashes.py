# SPDX-License-Identifier: Apache-2.0
"""SIGKILL between any two steps of a flow: it has happened whole or not at all."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from hub.model import UserId
from hub.store import Store
from tests.hub import bookkeeping as books

ROOT = Path(__file__).parents[2]
CANCELLABLE = "00000000-0000-4000-8000-00000000ffff"

PROGRAM = """
import asyncio, sys
from hub.addresses import new_address
from hub.model import UserId
from hub.store import Store
from hub.transfers import Transfer, process_batch
from hub.withdrawals import WithdrawalWish, cancel_withdrawal, request_withdrawal
from tests.hub.api.ports import SimulatedAppliance, SimulatedNodes
from tests.hub import bookkeeping as books

async def main(url, flow):
    store = Store(url, clock=books.ManualClock())
    nodes = SimulatedNodes()
    if flow == "withdrawal":
        wish = WithdrawalWish(
            user_id=UserId("ana"), amount_i=4, payout_address="A" * 80 + "9")
        await request_withdrawal(store, nodes, wish)
    elif flow == "cancellation":
        await cancel_withdrawal(store, "00000000-0000-4000-8000-00000000ffff")
    elif flow == "transfer":
        await process_batch(
            store, [Transfer(UserId("ana"), -4), Transfer(UserId("bob"), 4)])
    else:
        async with store.reading() as tx:
            ana = await tx.accounts.by_identifier(UserId("ana"))
        await new_address(store, ana, issuer=SimulatedAppliance(), oracle=nodes)

asyncio.run(main(sys.argv[1], sys.argv[2]))
"""


def reached(marker: Path) -> bool:
    return marker.exists() and marker.read_text() != ""


async def run_and_kill(database_url: str, failpoint: str, marker: Path) -> None:
    flow = failpoint.split(".")[1]
    environment = {
        **os.environ,
        "SALTKEEP_FAILPOINT": failpoint,
        "SALTKEEP_FAILPOINT_FILE": str(marker),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, database_url, flow, cwd=ROOT, env=environment
    )
    while not reached(marker):
        assert process.returncode is None, f"{failpoint} was never reached"
        await asyncio.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert await process.wait() == -signal.SIGKILL


@pytest.mark.parametrize(
    ("failpoint", "balances_i", "addresses"),
    [
        # available, pending of ana; available of bob; addresses known
        ("hub.withdrawal.checked", (6, 4, 0), 1),
        ("hub.withdrawal.before-commit", (6, 4, 0), 1),
        ("hub.withdrawal.reserved", (2, 8, 0), 1),
        ("hub.cancellation.before-commit", (6, 4, 0), 1),
        ("hub.cancellation.done", (10, 0, 0), 1),
        ("hub.transfer.before-commit", (6, 4, 0), 1),
        ("hub.transfer.done", (2, 4, 4), 1),
        ("hub.address.issued", (6, 4, 0), 1),
        ("hub.address.before-commit", (6, 4, 0), 1),
        ("hub.address.recorded", (6, 4, 0), 2),
    ],
)
async def test_a_kill_leaves_the_books_balanced_and_the_step_whole(
    failpoint: str,
    balances_i: tuple[int, int, int],
    addresses: int,
    store: Store,
    database_url: str,
    tmp_path: Path,
) -> None:
    ana = await books.funded_user(store, "ana", 10)
    await books.open_user(store, "bob")
    await books.request_withdrawal(store, ana, 4, uuid=CANCELLABLE)
    await run_and_kill(database_url, failpoint, tmp_path / "reached")
    async with store.reading() as tx:
        first = await tx.accounts.by_id(ana)
        second = await tx.accounts.by_identifier(UserId("bob"))
        known = await tx.addresses.after(0, limit=10)  # type: ignore[arg-type]
        report = await tx.books.verify()
    found = (first.available_i, first.pending_i, second.available_i)
    assert (found, len(known)) == (balances_i, addresses)
    assert report.sound
    await books.open_user(store, "eve")  # the killed writer holds no lock
