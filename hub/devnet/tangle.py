# SPDX-License-Identifier: Apache-2.0
"""The graph: transactions by hash, their indexes, and which parts are solid.

It knows no rule about value. A transaction is solid when everything it
references, directly or not, is known; only then can its bundle be judged.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hub.devnet.config import NULL_HASH
from trinary.bundle import Transaction


@dataclass(frozen=True, slots=True)
class Record:
    """A stored transaction.

    Args:
        hash: Its Curl-P-81 hash, 81 trytes.
        trytes: All 2673 trytes, as received.
        tx: The same, parsed.
    """

    hash: str
    trytes: str
    tx: Transaction


class Index:
    """Hashes by some property, in order of arrival."""

    def __init__(self) -> None:
        self._hashes: defaultdict[str, dict[str, None]] = defaultdict(dict)

    def add(self, key: str, tx_hash: str) -> None:
        """File a hash.

        Args:
            key: The property's value.
            tx_hash: Hash of the transaction that has it.
        """
        self._hashes[key][tx_hash] = None

    def get(self, key: str) -> Sequence[str]:
        """Find the hashes filed under a value.

        Args:
            key: The property's value.

        Returns:
            Transaction hashes, oldest arrival first.
        """
        return tuple(self._hashes.get(key, ()))


class Tangle:
    """All transactions that this node knows."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        self._solid: set[str] = {NULL_HASH}
        self.by_bundle = Index()
        self.by_address = Index()
        self.by_tag = Index()
        self.by_approvee = Index()

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, tx_hash: str) -> bool:
        return tx_hash in self._records

    def get(self, tx_hash: str) -> Record | None:
        """Find a transaction.

        Args:
            tx_hash: 81 trytes.

        Returns:
            The record, or None when it is unknown or the genesis.
        """
        return self._records.get(tx_hash)

    def add(self, record: Record) -> list[Record]:
        """Add a transaction unless it is known.

        Args:
            record: The transaction.

        Returns:
            The transactions that became solid by it, approved before
            approving.
        """
        if record.hash in self._records:
            return []
        self._records[record.hash] = record
        self.by_bundle.add(record.tx.bundle, record.hash)
        self.by_address.add(record.tx.address, record.hash)
        self.by_tag.add(record.tx.tag, record.hash)
        for approvee in dict.fromkeys((record.tx.trunk, record.tx.branch)):
            self.by_approvee.add(approvee, record.hash)
        return self._solidify(record)

    def is_solid(self, tx_hash: str) -> bool:
        """Say whether everything that a transaction references is known.

        Args:
            tx_hash: 81 trytes.

        Returns:
            True for the genesis too.
        """
        return tx_hash in self._solid

    def is_tail(self, tx_hash: str) -> bool:
        """Say whether a hash is a known transaction 0 of a bundle.

        Args:
            tx_hash: 81 trytes.

        Returns:
            True for the genesis too.
        """
        if tx_hash == NULL_HASH:
            return True
        record = self._records.get(tx_hash)
        return record is not None and record.tx.current_index == 0

    def parents(self, tx_hash: str) -> tuple[str, ...]:
        """Give what a transaction approves.

        Args:
            tx_hash: 81 trytes.

        Returns:
            Trunk and branch; nothing for an unknown transaction.
        """
        record = self._records.get(tx_hash)
        return (record.tx.trunk, record.tx.branch) if record else ()

    def bundle_of(self, tail: Record) -> list[Record]:
        """Collect a bundle by following the trunk from its tail.

        Args:
            tail: Transaction 0.

        Returns:
            Its transactions, index 0 first; fewer than it says when some are
            missing or belong to another bundle.
        """
        found = [tail]
        while found[-1].tx.current_index < tail.tx.last_index:
            following = self._records.get(found[-1].tx.trunk)
            if following is None or following.tx.bundle != tail.tx.bundle:
                break
            if following.tx.current_index != found[-1].tx.current_index + 1:
                break
            found.append(following)
        return found

    def _solidify(self, record: Record) -> list[Record]:
        solidified: list[Record] = []
        waiting = [record]
        while waiting:
            candidate = waiting.pop()
            if candidate.hash in self._solid or not self._has_solid_parents(candidate):
                continue
            self._solid.add(candidate.hash)
            solidified.append(candidate)
            waiting.extend(self._known(self.by_approvee.get(candidate.hash)))
        return solidified

    def _has_solid_parents(self, record: Record) -> bool:
        return record.tx.trunk in self._solid and record.tx.branch in self._solid

    def _known(self, hashes: Iterable[str]) -> list[Record]:
        return [self._records[tx_hash] for tx_hash in hashes]
