# SPDX-License-Identifier: Apache-2.0
"""Whole appliances on a given token."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from appliance.argon2_engines import Argon2Parameters
from appliance.ceremony import FirstGeneration, Foundation, Initialised, initialise
from appliance.config import load_config
from appliance.hsm import Hsm
from appliance.installation import Paths, open_hsm
from appliance.policy_file import SignedPolicy, policy_digest
from appliance.service import wall_clock_ms
from appliance.wire import CeremonyReport, RunCeremony
from tests.appliance.box import Box, sign_with
from tests.tokens.tokens import Token

CHEAP = Argon2Parameters(time_cost=1, memory_kib=256)
OPERATORS = ("operator-1", "operator-2")


def replace_table(path: Path, token: Token) -> None:
    """Put a token's ``[hsm]`` table in the place of the one that is there."""
    before, _, rest = path.read_text().partition("[hsm]\n")
    path.write_text(before + token.table() + "\n[" + rest.partition("\n[")[2])


@dataclass(frozen=True)
class Installation:
    """The folder of an appliance."""

    folder: Path

    @classmethod
    def make(cls, template: Path, folder: Path, token: Token) -> "Installation":
        shutil.copytree(
            template, folder, ignore=shutil.ignore_patterns("state", "tokens", "pin")
        )
        replace_table(folder / "appliance.toml", token)
        return cls(folder)

    def open(self) -> Hsm:
        return open_hsm(load_config(self.folder / "appliance.toml"))

    async def init(self) -> Initialised:
        text = (self.folder / "policy.toml").read_text()
        digest = policy_digest(text)
        signatures = [sign_with(self.folder, name, digest) for name in OPERATORS]
        hsm = self.open()
        try:
            return await initialise(
                Paths(self.folder / "state"),
                hsm,
                Foundation(
                    FirstGeneration("devnet", 2, CHEAP),
                    SignedPolicy(text=text, signatures=signatures),
                ),
                allow_unlocked=True,
                now_ms=wall_clock_ms(),
            )
        finally:
            hsm.close()

    async def start(self) -> Box:
        box = Box(self.folder)
        assert await box.appliance.check(), box.appliance.life.unready
        return box


async def approved(box: Box, ceremony: str, subject: str) -> list[str]:
    """Run a ceremony that two operators approve; return its steps."""
    act = RunCeremony(request_id="", ceremony=ceremony, subject=subject)
    proposed = await box.propose(act)
    await box.approve(proposed, 1)
    report = await box.approve(proposed, 2)
    assert report.missing == 0
    return report.steps


async def alone(box: Box, ceremony: str, subject: str = "") -> list[str]:
    """Run a ceremony that one operator may do."""
    request = RunCeremony(request_id="c", ceremony=ceremony, subject=subject)
    return (await box.expect(request, CeremonyReport, name="operator-1")).steps
