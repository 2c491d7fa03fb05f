# SPDX-License-Identifier: Apache-2.0
"""The ceremony ``verify``: everything a start checks, and more, while it signs.

The journal waits while its rows are checked (about 100,000 a second); whatever is not
as it must be raises what a start would raise, and seals where that would.
"""

import asyncio
import datetime as dt
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import BrokenInvariantError
from appliance.lifecycle import Lifecycle, Running
from appliance.receipt import make_statement, public_key_pem, read_statement
from appliance.serial_keys import has_key
from appliance.tls_identity import server_context
from appliance.vault import Vault

_CHECK_TYPE = "saltkeep-check+jws"


@dataclass(frozen=True, slots=True)
class Checkup:
    """Checks a running appliance.

    Attributes:
        life: Its parts.
    """

    life: Lifecycle

    async def run(self) -> list[str]:
        """Check everything.

        Returns:
            What was found, one line per thing.
        """
        running = self.life.require_running()
        return [
            f"{number}. {line}"
            async for number, line in _numbered(self._findings(running))
        ]

    async def _findings(self, running: Running) -> AsyncIterator[str]:
        vault = await asyncio.to_thread(self.life.open_vault, self.life.hsm)
        if vault.content != running.vault.content:
            raise BrokenInvariantError(
                "the vault file is not the vault in force", code="vault-regression"
            )
        await asyncio.to_thread(vault.check_health)
        yield "vault: authentic, its keys can not leave the HSM, canary envelope opens"
        await self.life.check_canaries(vault, running.derivation)
        yield f"salts: {len(vault.generations)} opened, each canary derives"
        await asyncio.to_thread(_check_identity, vault)
        yield "identity: signs, and its public key verifies"
        verified = await self.life.journal_thread(running.journal.verify_again)
        head = verified.head
        yield f"journal: {head.sequence} rows and their guards, head {head.hash}"
        policy = running.policy.content
        yield f"policy: version {policy.version}, each signed by the one before"
        clients = len(self.life.roster.clients)
        yield f"channel: {clients} client keys; {await self._channel()}"

    async def _channel(self) -> str:
        listen = self.life.config.listen
        if listen.transport == "serial":
            ids = [client.spki_sha256 for client in self.life.roster.clients]
            here = sum(has_key(Path(listen.serial_keys), one) for one in ids)
            return f"the files of {here} are here; serial lines: {len(listen.devices)}"
        await asyncio.to_thread(server_context, listen)
        ends = self.life.tls.certificate.not_valid_after_utc
        now = dt.datetime.fromtimestamp(self.life.clock_ms() / 1000, dt.UTC)
        return f"certificate fits its key, in force for {(ends - now).days} days"


async def _numbered(lines: AsyncIterator[str]) -> AsyncIterator[tuple[int, str]]:
    number = 0
    async for line in lines:
        number += 1
        yield number, line


def _check_identity(vault: Vault) -> None:
    claims = {"sha256": hashlib.sha256(vault.content.journal_id.encode()).hexdigest()}
    statement = make_statement(
        _CHECK_TYPE, claims, point=vault.identity_point, sign_digest=vault.sign_digest
    )
    pem = public_key_pem(vault.identity_point).encode()
    read_statement(statement, kind=_CHECK_TYPE, identity_pem=pem)
