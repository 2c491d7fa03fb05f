# SPDX-License-Identifier: Apache-2.0
"""What a person is asked at the panel, and the digest their yes is bound to. Pure.

The display has six rows of 16 ASCII characters. What stands there is made here from
what is asked: no text of a hub or of an operator gets to it, so that neither can talk
the person round. Beneath it the panel shows the digest's first bytes.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from appliance.policy import Payment
from appliance.policy_file import policy_digest
from appliance.wire import RunCeremony, act_text
from firmware_bridge.presence import TEXT_BYTES

_LABEL: Final = b"saltkeep/presence/v1\0"
_ROWS: Final = 6
_COLUMNS: Final = 16
_DOTS: Final = "..."
_SHOWN_TRYTES: Final = _COLUMNS - len(_DOTS)


@dataclass(frozen=True, slots=True)
class Question:
    """One thing to confirm.

    Attributes:
        kind: ``withdrawal``, ``second-signature``, ``seed-export``, ``ceremony``,
            ``policy`` or ``unseal``.
        digest: SHA-256 over the kind, the journal's id and what is to be done.
        text: What the display shows; at most six rows of 16 characters.
    """

    kind: str
    digest: bytes
    text: str


def withdrawal(
    bundle_hash: str, payments: Sequence[Payment], *, journal_id: str
) -> Question:
    """Ask whether a bundle may be signed.

    Args:
        bundle_hash: 81 trytes, computed from its transactions.
        payments: What leaves by it.
        journal_id: Of the appliance.

    Returns:
        The question; it shows the sum, and where most of it goes.
    """
    rows = ["WITHDRAWAL", *_paid(payments)]
    return _question("withdrawal", journal_id, [bundle_hash], rows)


def second_signature(
    bundle_hash: str, payments: Sequence[Payment], *, act: bytes, journal_id: str
) -> Question:
    """Ask whether keys that have signed may sign once more.

    Args:
        bundle_hash: 81 trytes, computed from its transactions.
        payments: What leaves by it.
        act: Digest of the act that operators approved.
        journal_id: Of the appliance.

    Returns:
        The question.
    """
    rows = ["SECOND SIGNATURE", *_paid(payments)]
    subject = [bundle_hash, act.hex()]
    return _question("second-signature", journal_id, subject, rows)


def seed_export(
    address: str, officer_key: str, *, act: bytes, journal_id: str
) -> Question:
    """Ask whether a seed may leave.

    Args:
        address: Of the seed, 81 trytes.
        officer_key: What it is encrypted to, base64; its first characters are shown.
        act: Digest of the act that operators approved.
        journal_id: Of the appliance.

    Returns:
        The question.
    """
    rows = ["SEED EXPORT", "of address", *_ends(address), "to officer's key"]
    subject = [address, officer_key, act.hex()]
    return _question("seed-export", journal_id, subject, [*rows, officer_key])


def ceremony(act: RunCeremony, *, approved: bytes, journal_id: str) -> Question:
    """Ask whether a ceremony may be run.

    Args:
        act: Which; its name is one there is.
        approved: Digest of the act as operators approved it; empty: one asked alone.
        journal_id: Of the appliance.

    Returns:
        The question.
    """
    bare = msgspec.structs.replace(act, request_id="", head=None)
    rows = ["CEREMONY", act.ceremony[:_COLUMNS], act.ceremony[_COLUMNS:]]
    return _question("ceremony", journal_id, [act_text(bare), approved.hex()], rows)


def policy_change(text: str, version: int, *, journal_id: str) -> Question:
    """Ask whether a policy may take force.

    Args:
        text: The whole file; its digest is shown, not a word of it.
        version: Its version.
        journal_id: Of the appliance.

    Returns:
        The question.
    """
    digest = policy_digest(text).hex()
    rows = ["POLICY", f"version {version}", "SHA-256 begins", digest]
    return _question("policy", journal_id, [digest], rows)


def unseal(latch_id: str, *, act: bytes, journal_id: str) -> Question:
    """Ask whether the seal may be cleared.

    Args:
        latch_id: Which seal; 16 hex digits of our own making.
        act: Digest of the act that operators approved.
        journal_id: Of the appliance.

    Returns:
        The question.
    """
    rows = ["UNSEAL", "seal", latch_id]
    return _question("unseal", journal_id, [latch_id, act.hex()], rows)


def _paid(payments: Sequence[Payment]) -> list[str]:
    if not payments:
        return ["0", "iota leave"]
    largest = max(payments, key=lambda payment: payment.amount_i)
    further = len(payments) - 1
    return [
        str(sum(payment.amount_i for payment in payments)),
        "iota to",
        *_ends(largest.address),
        f"+ {further} outputs" if further else "and nobody else",
    ]


def _ends(address: str) -> list[str]:
    return [address[:_SHOWN_TRYTES] + _DOTS, _DOTS + address[-_SHOWN_TRYTES:]]


def _question(
    kind: str, journal_id: str, subject: Sequence[str], rows: Sequence[str]
) -> Question:
    fields = [kind, journal_id, subject]
    encoded = msgspec.json.encode(fields, order="deterministic")
    text = "\n".join(row[:_COLUMNS] for row in rows if row)
    if len(rows) > _ROWS or len(text) > TEXT_BYTES or not _is_plain(text):
        raise ValueError(f"the display can not show a {kind} so")
    return Question(kind, hashlib.sha256(_LABEL + encoded).digest(), text)


def _is_plain(text: str) -> bool:
    return text.isascii() and text.replace("\n", "").isprintable()
