# SPDX-License-Identifier: Apache-2.0
"""What a row of the journal says, and the rules that follow from it. Pure.

``guards_of`` is the one place that says which guards a row has: they are written
by it and, at every start, compared with it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import msgspec
import sqlalchemy as sa

from appliance.errors import RefusedError
from appliance.intent import Commitment, Transfer
from appliance.journal_schema import (
    AUTHORISATION,
    BLIND,
    ISSUED,
    PAID,
    REFUSED,
    SIGNED,
    SPENT_KEY,
    broken,
)
from appliance.policy_file import LEAST_APPROVALS, SignedPolicy
from appliance.wire import InputClaim, JournalRow, ShownTransaction

Spent: TypeAlias = Mapping[Commitment, tuple[str | None, ...]]
"""The hashes each spent key is recorded for, oldest first; None: unknown."""
ENROL_PANEL: Final = "enrol-panel"
"""The step of a row that says where a panel's counter stood when it came."""


@dataclass(frozen=True, slots=True)
class IssuedRecord:
    """An address that was given out.

    Attributes:
        commitment: Of its seed UUID.
        address: 81 trytes.
        generation: Its salt generation.
        security_level: 1, 2 or 3.
        user_commitment: Whom the receipt names; empty for the hub's owner.
        receipt: The JWS; empty if it was adopted and not issued here.
    """

    commitment: Commitment
    address: str
    generation: int
    security_level: int
    user_commitment: str
    receipt: str

    @property
    def adopted(self) -> bool:
        """Whether it is of a salt that others have held: never ours to pay to."""
        return not self.receipt

    def payload(self) -> dict[str, object]:
        """Return what its row says."""
        return {name: getattr(self, name) for name in self.__slots__}

    @staticmethod
    def parse(payload: str) -> "IssuedRecord":
        """Read it back from its row."""
        return IssuedRecord(**json.loads(payload))


@dataclass(frozen=True, slots=True)
class SignedRecord:
    """A bundle that was signed, whole.

    Attributes:
        bundle_hash: 81 trytes.
        transactions: As shown.
        claims: Which key for which input.
    """

    bundle_hash: str
    transactions: tuple[ShownTransaction, ...]
    claims: tuple[InputClaim, ...]

    @staticmethod
    def parse(payload: str) -> "SignedRecord":
        """Read it back from its row."""
        data = json.loads(payload)
        return SignedRecord(
            data["bundle_hash"],
            tuple(ShownTransaction(*fields) for fields in data["transactions"]),
            tuple(InputClaim(*fields) for fields in data["inputs"]),
        )


@dataclass(frozen=True, slots=True)
class Leaving:
    """What leaves our addresses by a transfer, and on whose word.

    Attributes:
        paid_i: Iota to each address that is not ours.
        authorised: Issuer and withdrawal of each authorisation that is used up.
        presence: What the row says of a person's yes; empty if none was asked.
    """

    paid_i: Mapping[str, int]
    authorised: tuple[tuple[str, str], ...] = ()
    presence: Mapping[str, object] = field(default_factory=dict)


def signed_payload(transfer: Transfer, leaving: Leaving) -> dict[str, object]:
    """Return what the row of a signature says.

    Args:
        transfer: What is signed.
        leaving: What leaves by it.

    Returns:
        Enough to show and sign the bundle again.
    """
    return {
        "bundle_hash": transfer.bundle_hash,
        "outside_i": sum(leaving.paid_i.values()),
        "paid": sorted(leaving.paid_i.items()),
        "authorised": sorted(leaving.authorised),
        "transactions": [
            [t.address, t.value_i, t.obsolete_tag, t.timestamp_s]
            for t in transfer.transactions
        ],
        "inputs": [[c.index, c.seed_uuid, c.generation] for c in transfer.claims],
        "commitments": list(transfer.commitments),
        **leaving.presence,
    }


def guards_of(row: JournalRow) -> Iterator[tuple[sa.Table, dict[str, Any]]]:
    """Yield what the guard tables must hold because of a row.

    Args:
        row: Its payload is trusted: made here, or its hash was checked.

    Yields:
        Each guard's table and columns.
    """
    payload = json.loads(row.payload)
    here: dict[str, Any] = {"row": row.sequence}
    asked = here | {"client": row.client, "time_ms": row.time_ms}
    match row.kind:
        case "signed":
            yield from _guards_of_signature(payload, here, asked)
        case "issued":
            names = ("commitment", "address")
            yield ISSUED, asked | {name: payload[name] for name in names}
        case "blind":
            commitment = payload["commitment"]
            spent = {"commitment": commitment, "bundle_hash": payload["bundle_hash"]}
            yield SPENT_KEY, here | spent | {"n": 0}
            yield BLIND, asked | {"commitment": commitment}
        case "refused":
            for bundle_hash in payload["final"]:
                yield REFUSED, here | {"bundle_hash": bundle_hash}
        case "ceremony" if "export" in payload:
            require_two_approvals(payload)
            yield SPENT_KEY, here | payload["export"] | {"bundle_hash": None}
        case _:
            for commitment, n in _spent_unknown(payload):
                spent = {"commitment": commitment, "n": n, "bundle_hash": None}
                yield SPENT_KEY, here | spent


def _spent_unknown(payload: dict[str, Any]) -> Iterator[tuple[str, int]]:
    for commitment in (*payload.get("never_issue", []), *payload.get("spent", [])):
        yield commitment, 0
    for commitment, n in payload.get("spent_again", []):
        yield commitment, n


def _guards_of_signature(
    payload: dict[str, Any], here: dict[str, Any], asked: dict[str, Any]
) -> Iterator[tuple[sa.Table, dict[str, Any]]]:
    bundle = {"bundle_hash": payload["bundle_hash"]}
    commitments = payload["commitments"]
    numbers = payload.get("n", [0] * len(commitments))
    if any(numbers):  # a key that signed before: never without two operators
        require_two_approvals(payload)
    for commitment, n in zip(commitments, numbers, strict=True):
        yield SPENT_KEY, here | bundle | {"commitment": commitment, "n": n}
    totals = {"outside_i": payload["outside_i"], "key_count": len(payload["inputs"])}
    yield SIGNED, asked | bundle | totals
    for address, amount_i in payload["paid"]:
        yield PAID, asked | {"address": address, "amount_i": amount_i}
    for issuer, withdrawal in payload["authorised"]:
        named = {"issuer": issuer, "withdrawal": withdrawal}
        yield AUTHORISATION, here | bundle | named


def require_two_approvals(payload: Mapping[str, Any]) -> None:
    """Stop at a row that uses a spent key, or exports one, on less than two words.

    Whether the signatures are good is for ``approved``; this is asked of every such
    row, before it is written and whenever it is read.

    Args:
        payload: Of the row.
    """
    match payload.get("door"):
        case {"signatures": [*signatures]}:
            names = {str(one.get("operator")) for one in signatures if one}
        case _:
            names = set()
    if len(names) < LEAST_APPROVALS:
        broken(f"a door was passed with the approvals of {sorted(names)} only")


def policies_of(payload: Mapping[str, Any]) -> tuple[SignedPolicy, ...]:
    """Return the policy that takes force by a ceremony's row, if one does."""
    if "policy" not in payload:
        return ()
    return (msgspec.convert(payload["policy"], SignedPolicy),)


def is_counted(kind: str, payload: Mapping[str, Any]) -> bool:
    """Say whether a row must be shown to the panel's counter.

    All are that spend a key or change what holds: signatures and ceremonies. Not
    addresses given out and refusals, which let no key sign; nor the row of a seal,
    which is written when the panel may be away, nor the one that enrols a panel.

    Args:
        kind: Of the row.
        payload: Of the row.

    Returns:
        Whether it is counted, where there is a panel.
    """
    if kind == "ceremony":
        return payload.get("step") not in {"seal", ENROL_PANEL}
    return kind in {"signed", "blind"}


def presence_of(row: JournalRow) -> str:
    """Return the nonce of the presence grant that a row holds; empty: none."""
    if '"presence"' not in row.payload:
        return ""
    match json.loads(row.payload).get("presence"):
        case {"nonce": str(nonce)}:
            return nonce
    return ""


def made_generation(row: JournalRow) -> int:
    """Return the salt generation a ceremony's row gave a number to; 1 if none."""
    if row.kind != "ceremony":
        return 1
    payload = json.loads(row.payload)
    if payload.get("step") not in {"rotate-salt", "import-salt", "restore"}:
        return 1
    return int(payload["generation"])


def is_recorded(transfer: Transfer, spent: Spent) -> bool:
    """Say whether every key of a transfer is spent for exactly its hash."""
    return all(
        transfer.bundle_hash in spent.get(commitment, ())
        for commitment in transfer.commitments
    )


def have_more(
    heard: Mapping[Commitment, frozenset[str] | None], recorded: Spent
) -> list[tuple[Commitment, int]]:
    """Say which known keys have signed something that this journal does not know.

    Args:
        heard: What others say each key signed; None: they do not know.
        recorded: What is recorded of those that are known as spent.

    Returns:
        Each of them with the place of one more record, its hash unknown: from then
        on it counts as having no bits left.
    """
    return [
        (commitment, len(recorded[commitment]))
        for commitment, hashes in heard.items()
        if commitment in recorded
        and None not in recorded[commitment]
        and (hashes is None or not hashes <= set(recorded[commitment]))
    ]


def require_unspent(transfer: Transfer, spent: Spent) -> None:
    """Refuse a transfer any of whose keys is spent.

    Args:
        transfer: What is asked.
        spent: The recorded hashes of each spent key.

    Raises:
        RefusedError: ``key-spent``, with the hash it is spent for.
    """
    for entry in transfer.inputs:
        if entry.commitment in spent:
            recorded = spent[entry.commitment][0] or ""
            raise RefusedError(
                "key-spent",
                f"the key of input {entry.index} is spent for"
                f" {recorded or 'an unknown hash'}; it never signs another",
                recorded_bundle_hash=recorded,
            )


def require_blind_again(recorded: Sequence[str | None], bundle_hash: str) -> None:
    """Let a spent key sign a bare hash only if it is the recorded one.

    Args:
        recorded: What it is spent for, the oldest first; None: unknown.
        bundle_hash: What is asked.

    Raises:
        RefusedError: ``key-spent``, with the hash it is spent for.
    """
    if bundle_hash not in recorded:
        raise RefusedError(
            "key-spent",
            "this seed UUID signed another hash, or was imported as spent",
            recorded_bundle_hash=recorded[0] or "",
        )


def require_unspent_outputs(
    transfer: Transfer,
    own: Mapping[str, Commitment],
    spent: Spent,
) -> None:
    """Refuse a transfer that pays to an address of ours that has signed.

    Args:
        transfer: What is asked.
        own: Commitments of the outputs that are ours, by address.
        spent: The spent keys among them.

    Raises:
        RefusedError: ``output-spent``.
    """
    for output in transfer.outputs:
        if own.get(output.address) in spent:
            raise RefusedError(
                "output-spent",
                f"output {output.index} goes to an address that has signed",
            )


def require_same_issue(record: IssuedRecord, user_commitment: str) -> IssuedRecord:
    """Return an earlier issue if it is the same that is asked for now.

    Args:
        record: What was issued for the seed UUID.
        user_commitment: Whom it is asked for now.

    Returns:
        The record.

    Raises:
        RefusedError: ``seed-uuid-known`` if it was for somebody else.
    """
    if record.user_commitment != user_commitment:
        raise RefusedError(
            "seed-uuid-known", "this seed UUID was issued before, for somebody else"
        )
    return record
