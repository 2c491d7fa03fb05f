# SPDX-License-Identifier: Apache-2.0
"""A whole appliance inside the test process, asked without the network."""

import subprocess
import sys
from pathlib import Path
from typing import TypeVar

from appliance.config import Client, load_config
from appliance.installation import open_hsm
from appliance.operator_keys import load_operator_key, sign_as_operator
from appliance.policy_file import parse_policy
from appliance.row_seal import RowSeal
from appliance.service import Appliance, wall_clock_ms
from appliance.vault import Vault
from appliance.wire import (
    Act,
    ActReport,
    ApproveAct,
    GetStatus,
    HeadToken,
    IssueAddress,
    Issued,
    JournalRow,
    JournalRows,
    OperatorSignature,
    PendingActs,
    ProposeAct,
    Refused,
    Reply,
    Request,
    StatusReport,
    TailJournal,
    Unseal,
    act_digest,
)
from tests.appliance.bundles import Coin, new_uuid

_ReplyType = TypeVar("_ReplyType", bound=Reply)


def sign_with(folder: Path, name: str, digest: bytes) -> OperatorSignature:
    """Sign a digest with one of the keys that ``init --softhsm`` made."""
    key = load_operator_key(folder / "operators" / f"{name}.key")
    policy = parse_policy((folder / "policy.toml").read_text())
    return sign_as_operator(key, digest, policy)


def approval_of(folder: Path, proposed: PendingActs, number: int) -> ApproveAct:
    """Sign an act with the key of an operator."""
    (act,) = proposed.acts
    digest = act_digest(act, journal_id=proposed.journal_id)
    signature = sign_with(folder, f"operator-{number}", digest)
    return ApproveAct(request_id="a", act_id=act.id, signature=signature)


def command(
    folder: Path, *arguments: str, answer: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run ``saltkeep-appliance`` on a folder."""
    config = folder / "appliance.toml"
    return subprocess.run(
        [sys.executable, "-m", "appliance", "--config", config, *arguments],
        input=answer,
        text=True,
        capture_output=True,
        check=False,
    )


def row_seal(folder: Path) -> RowSeal:
    """Open what vouches for the rows of an appliance's journal."""
    config = load_config(folder / "appliance.toml")
    hsm = open_hsm(config)
    vault = Vault(folder / "state" / "vault.json", hsm=hsm, allow_unlocked=True)
    with vault.open_head_key() as head_key:
        made = RowSeal(head_key, journal_id=vault.content.journal_id)
    hsm.close()
    return made


class Clock:
    """The wall clock, moved by hand."""

    def __init__(self) -> None:
        self.offset_ms = 0

    def __call__(self) -> int:
        return wall_clock_ms() + self.offset_ms


class Box:
    """An appliance and its clients."""

    def __init__(self, folder: Path, clock: Clock | None = None) -> None:
        self.folder = folder
        self.clock = clock or Clock()
        self.config = load_config(folder / "appliance.toml")
        self.appliance = Appliance(self.config, "none", self.clock)
        self.clients = {client.name: client for client in self.config.clients}
        self.head: HeadToken | None = None

    async def ask(self, request: Request, *, name: str = "hub") -> Reply:
        reply = await self.appliance.handle(request, self.clients[name])
        if reply.head is not None:
            self.head = reply.head
        return reply

    async def expect(
        self, request: Request, kind: type[_ReplyType], *, name: str = "hub"
    ) -> _ReplyType:
        reply = await self.ask(request, name=name)
        assert isinstance(reply, kind), reply
        return reply

    async def refused(self, request: Request) -> Refused:
        return await self.expect(request, Refused)

    async def coin(self, amount_i: int = 100) -> Coin:
        """Have an address issued, as if a deposit had come to it."""
        uuid = new_uuid()
        issued = await self.expect(
            IssueAddress(request_id="issue", seed_uuid=uuid), Issued
        )
        return Coin(uuid, issued.address, amount_i, issued.generation)

    async def status(self) -> StatusReport:
        return await self.expect(GetStatus(request_id="s"), StatusReport)

    async def rows(self, kind: str = "") -> list[JournalRow]:
        request = TailJournal(request_id="r", limit=1000)
        rows = (await self.expect(request, JournalRows, name="auditor")).rows
        return [row for row in rows if kind in {"", row.kind}]

    async def propose(self, act: Act) -> PendingActs:
        request = ProposeAct(request_id="p", act=act)
        return await self.expect(request, PendingActs, name="operator-1")

    def approval(self, proposed: PendingActs, number: int) -> ApproveAct:
        """Sign an act with the key of an operator."""
        return approval_of(self.folder, proposed, number)

    async def approve(self, proposed: PendingActs, number: int) -> ActReport:
        return await self.expect(
            self.approval(proposed, number), ActReport, name="operator-1"
        )

    async def unseal(self) -> ActReport:
        """Clear the latch as two operators do."""
        latch_id = (await self.status()).latch_id
        proposed = await self.propose(Unseal(request_id="", latch_id=latch_id))
        await self.approve(proposed, 1)
        return await self.approve(proposed, 2)

    def operator(self, number: int) -> Client:
        return self.clients[f"operator-{number}"]

    async def close(self) -> None:
        await self.appliance.close()
