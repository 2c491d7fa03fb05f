# SPDX-License-Identifier: Apache-2.0
"""What others know of spent keys, as a file: documented, and it can only add.

::

    {"format": "saltkeep-interchange/1", "network": "mainnet",
     "keys": [{"commitment": "<64 hex>", "hashes": ["<81 trytes>"] or "unknown"}]}

A commitment is SHA-256 over a label and the seed UUID (``wire.commitment_of``). A key
named here never signs again: one that this journal signed keeps its record, every
other one becomes spent with an unknown hash. One that signed more than is recorded
gets an unknown hash besides, so that no second signature is reckoned without it.
So a wrong file can block a key, and never free one.
"""

import json
from typing import Annotated, Final, Literal

import msgspec

from appliance.errors import BadRequestError
from appliance.intent import Commitment
from appliance.journal_chain import require_rows
from appliance.journal_records import guards_of
from appliance.journal_schema import SPENT_KEY
from appliance.wire import JournalRow

FORMAT: Final = "saltkeep-interchange/1"
_Commitment = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
_Hash = Annotated[str, msgspec.Meta(pattern="^[9A-Z]{81}$")]


class SpentKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key that signed, and what."""

    commitment: _Commitment
    hashes: list[_Hash] | Literal["unknown"]


class Interchange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    format: str
    network: str
    keys: list[SpentKey]


def read_interchange(
    text: str, *, network: str
) -> dict[Commitment, frozenset[str] | None]:
    """Return the keys a file says are spent.

    Args:
        text: The file's content.
        network: The network it must be of.

    Returns:
        What each has signed, in order; None: unknown.

    Raises:
        BadRequestError: If it is no such file, or of another network.
    """
    try:
        found = msgspec.json.decode(text, type=Interchange)
    except msgspec.DecodeError as error:
        raise BadRequestError(f"this is no interchange file: {error}") from error
    if (found.format, found.network) != (FORMAT, network):
        raise BadRequestError(
            f"format {found.format!r} of network {found.network!r} came, expected"
            f" {FORMAT!r} of {network!r}"
        )
    heard: dict[Commitment, frozenset[str] | None] = {}
    for key in found.keys:
        hashes = None if key.hashes == "unknown" else frozenset(key.hashes)
        known = heard.get(Commitment(key.commitment), frozenset())
        both = None if hashes is None or known is None else known | hashes
        heard[Commitment(key.commitment)] = both
    return heard


def of_journal(rows: list[JournalRow], *, network: str) -> str:
    """Return as interchange what a journal says is spent.

    Args:
        rows: A whole journal or an export; its chain is checked.
        network: Its network.

    Returns:
        The file's content.
    """
    require_rows(rows)
    hashes: dict[str, list[str | None]] = {}
    for row in rows:
        for table, guard in guards_of(row):
            if table is SPENT_KEY:
                hashes.setdefault(guard["commitment"], []).append(guard["bundle_hash"])
    keys = [
        {"commitment": commitment, "hashes": "unknown" if None in known else known}
        for commitment, known in hashes.items()
    ]
    return json.dumps({"format": FORMAT, "network": network, "keys": keys})
