# SPDX-License-Identifier: Apache-2.0
"""Ceremonies of the channel: clients, the listener's key, appliances that join."""

import asyncio
import datetime as dt
from dataclasses import dataclass
from typing import Final, get_args

import msgspec

from appliance.backup import write_backup
from appliance.certificates import spki_sha256
from appliance.config import Client, Role
from appliance.errors import BadRequestError
from appliance.joining import make_transfer, read_request
from appliance.lifecycle import Lifecycle
from appliance.roster import ENROL, REVOKE
from appliance.wire import RunCeremony
from failpoints import failpoint

_LONGEST_NAME: Final = 64


@dataclass(frozen=True, slots=True)
class Enrolment:
    """Enrols and revokes clients, and rotates the listener's key.

    Attributes:
        life: The appliance's parts.
    """

    life: Lifecycle

    async def enrol_client(self, request: RunCeremony, client: str) -> list[str]:
        """Let a client's public key in, under a name and one role.

        Args:
            request: The key's pin, the name, the role.
            client: The operator who asks.

        Returns:
            The steps, in words.
        """
        enrolled = _client(request)
        self.life.roster.require_enrollable(enrolled)
        whose = f"{enrolled.name}, role {enrolled.role}"
        by_line = self.life.config.listen.transport == "serial"
        proof = (
            "the key in its file here" if by_line else "a certificate of the private CA"
        )
        steps = [
            f"1. journal that key {enrolled.spki_sha256} is {whose}",
            f"2. let it connect from now on, with {proof}",
        ]
        if not request.dry_run:
            await self._journal_clients(ENROL, [enrolled], client)
        return steps

    async def revoke_client(self, request: RunCeremony, client: str) -> list[str]:
        """Shut a client out at once, also on connections that are open.

        Args:
            request: Its name, or the pin of one of its keys.
            client: The operator who asks.

        Returns:
            The steps, in words.
        """
        meant = self.life.roster.require_revocable(request.subject)
        steps = [
            f"1. journal that key {one.spki_sha256} of {one.name} may connect no more"
            for one in meant
        ]
        if not request.dry_run:
            await self._journal_clients(REVOKE, meant, client)
        return [*steps, "2. refuse it from the next request on"]

    async def rotate_tls(self, request: RunCeremony, client: str) -> list[str]:
        """Ask for a certificate of a new key; given one, listen with it.

        Args:
            request: The certificate, or nothing.
            client: The operator who asks.

        Returns:
            The steps, in words; the request for the CA among them.

        Raises:
            BadRequestError: If it listens on serial lines, without certificates.
        """
        if self.life.config.listen.transport != "tls":
            raise BadRequestError("this appliance listens on serial lines, without TLS")
        if not request.subject:
            return await self._request_tls(request, client)
        tls = self.life.tls
        now = dt.datetime.fromtimestamp(self.life.clock_ms() / 1000, dt.UTC)
        certificate = tls.require_installable(request.subject, now=now)
        pin = spki_sha256(certificate)
        until = f"{certificate.not_valid_after_utc:%Y-%m-%d}"
        steps = [
            f"1. the certificate fits key {pin}, names our hosts, ends {until}",
            "2. journal it",
            "3. put it in place; connections from now on get it",
        ]
        if not request.dry_run:
            await self._journal(client, step="rotate-tls", old=tls.pin, new=pin)
            failpoint("tls.journalled")
            tls.install(request.subject)
        return steps

    async def _request_tls(self, request: RunCeremony, client: str) -> list[str]:
        steps = [
            "1. make the next key beside the one in force",
            "2. have the CA certify it and tell every client its pin",
            "3. run this again with the certificate",
        ]
        if request.dry_run:
            return steps
        asked, pin = self.life.tls.request()
        await self._journal(client, step="rotate-tls-request", key=pin)
        return [*steps, f"pin of the next key: {pin}", asked]

    async def enrol_appliance(self, request: RunCeremony, client: str) -> list[str]:
        """Hand every salt to another appliance of this journal, encrypted to its HSM.

        Args:
            request: What ``join begin`` wrote there.
            client: The operator who asks.

        Returns:
            The steps, in words.

        Raises:
            BadRequestError: If the journal lies in a file of this host.
        """
        running = self.life.require_running()
        if not running.journal.shared:
            raise BadRequestError(
                "this journal lies in a file of this host: a second appliance would"
                " sign from another record. Move it to PostgreSQL first"
            )
        asked = read_request(request.subject, journal_id=running.journal.journal_id)
        mark = asked.fingerprint.split(" ")[0]
        path = self.life.paths.transfers / f"transfer-{mark}.json"
        steps = [
            f"1. journal that an appliance on {asked.token} joins",
            f"   fingerprint of its request: {asked.fingerprint}",
            "2. let the identity key name its identity key",
            f"3. encrypt every salt to its transfer key: {path.name}",
        ]
        if not request.dry_run:
            await self._journal(
                client,
                step="enrol-appliance",
                request=msgspec.to_builtins(asked),
            )
            failpoint("join.journalled")
            data = await asyncio.to_thread(make_transfer, running.vault, asked)
            await asyncio.to_thread(write_backup, path, data)
        return steps

    async def _journal_clients(
        self, step: str, clients: list[Client], client: str
    ) -> None:
        await self._journal(client, step=step, clients=msgspec.to_builtins(clients))
        failpoint("client.journalled")
        await self.life.follow_policy()

    async def _journal(self, client: str, **payload: object) -> None:
        await self.life.journal_thread(
            self.life.require_running().journal.commit_ceremony,
            client=client,
            payload=payload,
        )


def _client(request: RunCeremony) -> Client:
    """Return who shall be enrolled.

    Raises:
        BadRequestError: If name, role or key are none.
    """
    fields = {
        "name": request.name,
        "role": request.role,
        "spki_sha256": request.subject,
    }
    if len(request.name) > _LONGEST_NAME or not request.name.isprintable():
        raise BadRequestError(f"a name has 1 to {_LONGEST_NAME} printable characters")
    try:
        return msgspec.convert(fields, Client)
    except msgspec.ValidationError as error:
        raise BadRequestError(
            f"a client has a name, a role of {get_args(Role)} and the SHA-256 of its"
            f" public key in hex: {error}"
        ) from error
