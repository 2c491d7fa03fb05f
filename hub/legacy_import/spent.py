# SPDX-License-Identifier: Apache-2.0
"""Which keys of an old Hub may have signed; pure.

Three witnesses, and each is enough: the table ``signed_uuids``, the inputs of its
sweeps, and what nodes have seen spent. A recovery of the old Hub signed once more
with a key that had signed, past its own table: such a key has two hashes, or one
that nobody knows.
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from typing import Final, TypeAlias

from hub.legacy_import.rows import WENT, OldBooks, OldSweep
from trinary.bundle import Transaction, parse_transaction
from trinary.errors import TrinaryError

Hashes: TypeAlias = frozenset[str]
FORMAT: Final = "saltkeep-interchange/1"
"""Source: docs/ceremonies/restore.md, "Recover"."""
_TRANSACTION: Final = re.compile("[9A-Z]{2673}")


def transactions_of(sweep: OldSweep) -> tuple[tuple[str, Transaction], ...]:
    """Read the transactions of an old sweep, however they are strung together.

    Args:
        sweep: The row.

    Returns:
        Trytes and fields in order of index; empty if they are no whole bundle.
    """
    try:
        found = [(t, parse_transaction(t)) for t in _TRANSACTION.findall(sweep.trytes)]
    except TrinaryError:
        return ()
    found.sort(key=lambda pair: pair[1].current_index)
    last = len(found) - 1
    places = [(one.current_index, one.last_index) for _, one in found]
    whole = places == [(index, last) for index in range(len(found))]
    return tuple(found) if whole else ()


def spent_keys(
    books: OldBooks, seen_spent: Collection[str]
) -> Mapping[str, Hashes | None]:
    """Join what the three witnesses say.

    Args:
        books: The old database.
        seen_spent: Addresses that a node has seen spent from.

    Returns:
        The bundle hashes by seed UUID; None where a key signed and nobody knows what.
    """
    uuids = {one.address: one.seed_uuid for one in books.addresses}
    names = {one.row: one.bundle_hash for one in books.sweeps}
    of_key = {one.key: one.seed_uuid for one in books.addresses}
    hashes: defaultdict[str, set[str]] = defaultdict(set)
    for entry in books.address_entries:
        if entry.reason == WENT and entry.sweep in names and entry.address in of_key:
            hashes[of_key[entry.address]].add(names[entry.sweep])
    for sweep in books.sweeps:
        for _, part in transactions_of(sweep):
            if part.value_i < 0 and part.address in uuids:
                hashes[uuids[part.address]].add(sweep.bundle_hash)
    known = {uuid: frozenset(found) for uuid, found in hashes.items()}
    seen = {uuids[address] for address in seen_spent if address in uuids}
    unknown = (books.signed_uuids | seen) - known.keys()
    return known | dict.fromkeys(sorted(unknown))


def interchange(
    spent: Mapping[str, Hashes | None],
    *,
    network: str,
    commit: Callable[[str], str],
) -> str:
    """Write what is spent as the file that the appliance's operators import.

    Args:
        spent: By seed UUID.
        network: As the appliance's vault names it.
        commit: Makes the commitment of a seed UUID.

    Returns:
        JSON without a seed UUID in it.
    """
    keys = [
        {
            "commitment": commit(uuid),
            "hashes": "unknown" if hashes is None else sorted(hashes),
        }
        for uuid, hashes in sorted(spent.items())
    ]
    return json.dumps({"format": FORMAT, "network": network, "keys": keys})
