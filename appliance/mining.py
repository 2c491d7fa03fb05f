# SPDX-License-Identifier: Apache-2.0
"""Searches for the bundle that gives away least of keys that have signed.

One at a time, on every core at the lowest priority: whoever signs comes first. What
a search finds decides nothing; it is a tag for the client to put into transaction 0.

Where a bundle spends several spent keys, what counts in each tryte is the largest
value any of them has signed: no key has fewer bits left than that joint reach.
"""

import asyncio
import os
import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

import msgspec

from appliance.config import Client
from appliance.errors import BadRequestError, DeferredError
from appliance.intent import Transfer, computed_hash, require_size
from appliance.journal_records import Spent
from appliance.lifecycle import Lifecycle, Running
from appliance.second_signature import exposures_of, require_open
from appliance.wire import (
    CancelMining,
    MineBundle,
    MiningReport,
    MiningStatus,
    SignTransfer,
)
from trinary.bundle import Essence
from trinary.errors import CancelledError, TrinaryError
from trinary.miner import MinedBundle, mine, reach_of
from trinary.pow import Cancel

_NICENESS: Final = 19
_BUSY_RETRY_S: Final = 10.0
_ID_BYTES: Final = 8
_State: TypeAlias = Literal["running", "done", "cancelled", "failed"]


@dataclass(slots=True)
class _Search:
    """One search, in a thread of its own.

    Attributes:
        request: What is asked.
        transfer: The bundle, its counter not chosen yet.
        spent: What its spent keys are recorded for.
        levels: Security level of each salt generation.
    """

    request: MineBundle
    transfer: Transfer
    spent: Spent
    levels: dict[int, int]
    id: str = field(default_factory=lambda: secrets.token_hex(_ID_BYTES))
    state: _State = "running"
    tried: int = 0
    best: MinedBundle | None = None
    message: str = ""
    cancel: Cancel = field(default_factory=Cancel)
    thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self.thread = threading.Thread(target=self._run, name="mining", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        # The kernel's threads are begun by this one and inherit its niceness.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        level = self.levels[self.transfer.inputs[0].generation]
        try:
            self.best = mine(
                _essences(self.transfer),
                level=level,
                reach=_joint_reach(self.transfer, self.spent, level),
                tries=self.request.tries,
                cancel=self.cancel,
                progress=self._note,
            )
            self.state = "done"
        except CancelledError:
            self.state = "cancelled"
        except TrinaryError as error:
            self.state, self.message = "failed", str(error)

    def _note(self, tried: int, best: MinedBundle | None) -> None:
        self.tried, self.best = tried, best

    def report(self, request_id: str) -> MiningReport:
        """Return how it is getting on."""
        state, best = self.state, self.best
        report = MiningReport(
            request_id=request_id,
            job=self.id,
            state=state,
            tried=self.tried,
            tries=self.request.tries,
            message=self.message,
        )
        if best is None:
            return report
        mined = Transfer(
            best.bundle_hash,
            self.transfer.transactions,
            self.transfer.claims,
            self.transfer.inputs,
            self.transfer.outputs,
        )
        return msgspec.structs.replace(
            report,
            obsolete_tag=best.obsolete_tag,
            bundle_hash=best.bundle_hash,
            exposures=exposures_of(mined, self.spent, self.levels),
        )


@dataclass(slots=True)
class Mining:
    """Runs one search at a time and remembers the last one.

    Attributes:
        life: The appliance's parts.
    """

    life: Lifecycle
    _search: _Search | None = None

    async def start(self, request: MineBundle, _: Client) -> MiningReport:
        """Begin a search, or say how the same one is getting on.

        Args:
            request: The bundle, and how many tags to try.

        Returns:
            How it is getting on.

        Raises:
            DeferredError: ``busy`` while another search runs.
        """
        running = self._require_open()
        self._require_bounded(request)
        last = self._search
        if last is not None and _same(last.request, request):
            if last.state in {"running", "done"}:
                return last.report(request.request_id)
        elif last is not None and last.state == "running":
            raise DeferredError(
                "busy",
                f"search {last.id} runs: {last.tried} of {last.request.tries} tags are"
                " tried; `recover cancel` ends it",
                retry_after_s=_BUSY_RETRY_S,
            )
        transfer, spent = await running.signing.examine(
            SignTransfer(
                request_id="",
                transactions=request.transactions,
                bundle_hash=computed_hash(request.transactions),
                inputs=request.inputs,
                own_outputs=request.own_outputs,
            )
        )
        levels = running.signing.levels
        _require_minable(transfer, spent, levels)
        if self._search is not last:  # somebody was quicker
            return await self.start(request, _)
        self._search = _Search(request, transfer, spent, levels)
        self._search.start()
        return self._search.report(request.request_id)

    async def status(self, request: MiningStatus, _: Client) -> MiningReport:
        """Say how a search is getting on."""
        self._require_open()
        return self._find(request.job).report(request.request_id)

    async def cancel(self, request: CancelMining, _: Client) -> MiningReport:
        """End a search, also when the door was shut or the appliance sealed since."""
        if self._search is None or self._search.id != request.job:
            self._require_open()
        search = self._find(request.job)
        search.cancel.cancel()
        if search.thread is not None:
            await asyncio.to_thread(search.thread.join)
        return search.report(request.request_id)

    async def close(self) -> None:
        """End what runs."""
        if self._search is not None and self._search.thread is not None:
            self._search.cancel.cancel()
            await asyncio.to_thread(self._search.thread.join)

    def _find(self, job: str) -> _Search:
        if self._search is None or self._search.id != job:
            raise BadRequestError("no such search; another one came after it")
        return self._search

    def _require_open(self) -> Running:
        running = self.life.require_ready()
        doors = running.policy.content.doors
        require_open(open_now=doors.second_signatures, door="second_signatures")
        return running

    def _require_bounded(self, request: MineBundle) -> None:
        limits = self.life.config.limits
        require_size(
            request.transactions,
            request.inputs,
            max_transactions=limits.max_transactions,
            max_inputs=limits.max_inputs,
        )
        if not 1 <= request.tries <= limits.max_mining_tries:
            raise BadRequestError(
                f"a search tries 1 to {limits.max_mining_tries} tags here,"
                f" {request.tries} came"
            )


def _require_minable(transfer: Transfer, spent: Spent, levels: dict[int, int]) -> None:
    found = {levels[entry.generation] for entry in transfer.inputs}
    if len(found) != 1:
        raise BadRequestError(
            f"inputs of levels {sorted(found)}: mine one level at a time"
        )
    if not spent:
        raise BadRequestError("no input's key has signed: there is nothing to mine for")
    if any(None in recorded for recorded in spent.values()):
        raise BadRequestError(
            "a key has signed an unknown hash: it has 0 bits left, whatever is mined",
            code="unknown-hash",
        )


def _joint_reach(transfer: Transfer, spent: Spent, level: int) -> tuple[int, ...]:
    reaches = [
        reach_of([one for one in spent[entry.commitment] if one], level=level)
        for entry in transfer.inputs
        if entry.commitment in spent
    ]
    return tuple(map(max, zip(*reaches, strict=True)))


def _essences(transfer: Transfer) -> Sequence[Essence]:
    last = len(transfer.transactions) - 1
    return [
        Essence(
            address=shown.address,
            value_i=shown.value_i,
            obsolete_tag=shown.obsolete_tag,
            timestamp_s=shown.timestamp_s,
            current_index=index,
            last_index=last,
        )
        for index, shown in enumerate(transfer.transactions)
    ]


def _same(one: MineBundle, other: MineBundle) -> bool:
    bare = [
        msgspec.structs.replace(each, request_id="", head=None) for each in (one, other)
    ]
    return bare[0] == bare[1]
