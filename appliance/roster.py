# SPDX-License-Identifier: Apache-2.0
"""Who may connect: the configuration's clients, and who was enrolled or revoked since.

Enrolling and revoking are ceremonies: they stand in the journal, and what it says
last of a key is what counts, also against the configuration. A copy lies beside the
vault, for the time before the journal is open and while the appliance is sealed.

A client is its public key (SPKI). One name may have several keys, so that a
certificate is renewed without a gap; a key has one name and one role.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from appliance.config import Client
from appliance.durable import write_durably
from appliance.errors import BadRequestError, ConfigError, ForbiddenError

ENROL: Final = "enrol-client"
REVOKE: Final = "revoke-client"


class ClientChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One key that was let in or shut out.

    Attributes:
        enrolled: Let in; else shut out.
        client: Whose it is.
    """

    enrolled: bool
    client: Client


def client_changes_of(payload: Mapping[str, Any]) -> tuple[ClientChange, ...]:
    """Return what a ceremony's row says of clients."""
    if payload.get("step") not in {ENROL, REVOKE}:
        return ()
    return tuple(
        ClientChange(payload["step"] == ENROL, msgspec.convert(one, Client))
        for one in payload["clients"]
    )


def require_not_revoked(changes: Sequence[ClientChange], client: Client) -> None:
    """Stop a client that was shut out while it was being served, or elsewhere.

    Args:
        changes: What the journal says, the oldest first; asked under its lock.
        client: Whose request it is.

    Raises:
        ForbiddenError: If its key was revoked and not enrolled again.
    """
    for change in reversed(changes):
        if change.client.spki_sha256 == client.spki_sha256:
            if not change.enrolled:
                raise ForbiddenError(f"the key of {client.name:.80} was revoked")
            return


class _Copy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    changes: list[ClientChange]


@dataclass(slots=True)
class Roster:
    """The clients in force, by public key.

    Attributes:
        configured: Those of the configuration.
        path: The copy of what the journal says.
    """

    configured: Sequence[Client]
    path: Path
    _in_force: dict[str, Client] = field(init=False)

    def __post_init__(self) -> None:
        self._in_force = _in_force(self.configured, self._read())

    def find(self, spki_sha256: str) -> Client | None:
        """Return the client a public key belongs to, if it may connect."""
        return self._in_force.get(spki_sha256)

    @property
    def clients(self) -> list[Client]:
        """Everybody who may connect, by name."""
        return sorted(self._in_force.values(), key=lambda one: one.name)

    def adopt(self, changes: Iterable[ClientChange]) -> None:
        """Follow the journal, and keep a copy of what it says.

        Args:
            changes: All of them, the oldest first.
        """
        kept = list(changes)
        self._in_force = _in_force(self.configured, kept)
        text = msgspec.json.format(msgspec.json.encode(_Copy(kept)))
        if not self.path.exists() or self.path.read_bytes() != text:
            write_durably(self.path, text)

    def require_enrollable(self, client: Client) -> None:
        """Insist that a client can be let in.

        Args:
            client: Whose key.

        Raises:
            BadRequestError: If the key is somebody's already, or the name is in use
                in another role.
        """
        holder = self.find(client.spki_sha256)
        if holder is not None:
            raise BadRequestError(
                f"that key is {holder.name}'s already, role {holder.role}"
            )
        for other in self._in_force.values():
            if (other.name, other.role) == (client.name, client.role):
                continue
            if other.name == client.name:
                raise BadRequestError(
                    f"{client.name} has role {other.role}: a name has one role"
                )

    def require_revocable(self, name_or_key: str) -> list[Client]:
        """Return the clients that a name or a key means.

        Args:
            name_or_key: A client's name, or 64 hex characters.

        Returns:
            One client per key.

        Raises:
            BadRequestError: If there is none, or no operator would be left.
        """
        meant = [
            one
            for one in self._in_force.values()
            if name_or_key in {one.name, one.spki_sha256}
        ]
        if not meant:
            raise BadRequestError(
                f"nobody here is {name_or_key:.80}; there are"
                f" {', '.join(sorted({one.name for one in self._in_force.values()}))}"
            )
        left = [one for one in self._in_force.values() if one not in meant]
        if not any(one.role == "operator" for one in left):
            raise BadRequestError("no operator would be left to enrol another one")
        return meant

    def _read(self) -> list[ClientChange]:
        if not self.path.exists():
            return []
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=_Copy).changes
        except (OSError, msgspec.DecodeError) as error:
            raise ConfigError(
                f"{self.path} can not be read, so nobody knows who was revoked: put it"
                " back from a backup; the journal writes it anew at the next start"
            ) from error


def _in_force(
    configured: Iterable[Client], changes: Iterable[ClientChange]
) -> dict[str, Client]:
    found = {client.spki_sha256: client for client in configured}
    for change in changes:
        if change.enrolled:
            found[change.client.spki_sha256] = change.client
        else:
            found.pop(change.client.spki_sha256, None)
    return found
