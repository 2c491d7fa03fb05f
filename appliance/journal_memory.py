# SPDX-License-Identifier: Apache-2.0
"""What the rows of a journal say of it as a whole, row by row. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from appliance.approved import require_approved
from appliance.journal_chain import Head
from appliance.journal_records import (
    ENROL_PANEL,
    made_generation,
    policies_of,
    presence_of,
)
from appliance.journal_schema import broken
from appliance.policy_file import SignedPolicy
from appliance.roster import ClientChange, client_changes_of
from appliance.wire import JournalRow


@dataclass(frozen=True, slots=True)
class Verified:
    """What a sound journal says of itself.

    Attributes:
        epoch: Its epoch.
        head: Its last row.
        generations: Salt generations that addresses were issued by.
        newest_generation: The highest number ever given to one.
        retired: Generations that an operator or a restore retired; they issue no more.
        policies: Every signed policy that took force, the first one first.
        clients: Every client that was enrolled or revoked, the oldest first.
        recovering: Whether it was restored and not recovered since.
        restored_head: Sequence and hash the last restore went back to, if any.
        doubtful: Whether a restore was ever recovered without all that was spent.
        last_adopted: Row of the last address that was adopted; 0: none was.
        told_at: Row of the last import of spent keys; 0: there was none.
        restored_below: Generations below this were there when it was last restored.
        counters: What each enrolled panel has counted, by the panel's id.
    """

    epoch: int
    head: Head
    generations: frozenset[int]
    newest_generation: int
    retired: frozenset[int]
    policies: tuple[SignedPolicy, ...]
    clients: tuple[ClientChange, ...]
    recovering: bool
    restored_head: tuple[int, str] | None
    doubtful: bool
    last_adopted: int = 0
    told_at: int = 0
    restored_below: int = 0
    counters: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class JournalMemory:
    """What the rows taken in so far have said; only ever added to.

    Attributes:
        journal_id: Of the journal.
        head: The last row taken in.
        policies: Every signed policy that took force, the first one first.
        clients: Every client that was enrolled or revoked, the oldest first.
        restores: How often it was restored.
        recovering: Whether it was restored and not recovered since.
        restored_head: Sequence and hash the last restore went back to, if any.
        doubtful: Whether a restore was ever recovered without all that was spent.
        last_adopted: Row of the last address that was adopted; 0: none was.
        told_at: Row of the last import of spent keys; 0: there was none.
        restored_below: Generations below this were there when it was last restored.
        counters: What each enrolled panel has counted, by the panel's id.
        presences: Nonce of every presence grant that a row holds.
    """

    journal_id: str
    head: Head | None = None
    policies: list[SignedPolicy] = field(default_factory=list)
    clients: list[ClientChange] = field(default_factory=list)
    restores: int = 0
    recovering: bool = False
    restored_head: tuple[int, str] | None = None
    doubtful: bool = False
    last_adopted: int = 0
    told_at: int = 0
    restored_below: int = 0
    counters: dict[str, int] = field(default_factory=dict)
    presences: set[str] = field(default_factory=set)
    _issued: set[int] = field(default_factory=set)
    _newest: int = 1
    _retired: set[int] = field(default_factory=set)

    def take_unproved(self, row: JournalRow) -> None:
        """Take in a row that was read, once what its door says is checked.

        Args:
            row: Follows the head.
        """
        payload = json.loads(row.payload)
        if "door" in payload:
            require_approved(payload, self.policies[-1], journal_id=self.journal_id)
        self.take(row)

    def require_fresh(self, row: JournalRow) -> None:
        """Stop at a row that holds a presence grant of an earlier one.

        Args:
            row: Follows the head.
        """
        if presence_of(row) in self.presences:
            broken(f"row {row.sequence} holds a presence grant of an earlier one")

    def take(self, row: JournalRow) -> None:
        """Note what the next row says; its place in the chain is checked.

        Args:
            row: Follows the head.
        """
        self.require_fresh(row)
        if nonce := presence_of(row):
            self.presences.add(nonce)
        if row.kind == "issued":
            payload = json.loads(row.payload)
            self._issued.add(payload["generation"])
            if payload.get("receipt") == "":
                self.last_adopted = row.sequence
        if row.kind == "ceremony":
            self._take_ceremony(row, json.loads(row.payload))
        if '"counter":' in row.payload:  # else it need not be read again
            self._take_counter(json.loads(row.payload))
        self.head = Head(row.sequence, row.hash, row.time_ms)

    def _take_ceremony(self, row: JournalRow, payload: dict[str, object]) -> None:
        self.policies += policies_of(payload)
        self.clients += client_changes_of(payload)
        self._newest = max(self._newest, made_generation(row))
        match payload:
            case {"step": "restore", "sequence": int(sequence), "hash": str(digest)}:
                self.restores += 1
                self.recovering = True
                self.restored_head = (sequence, digest)
                # Older salts only sign: a UUID issued after the backup is not here
                # and, issued again, would sign twice. So at every appliance.
                self.restored_below = made_generation(row)
                self._retired |= set(range(1, self.restored_below))
                # What they counted after the backup is not here.
                self.counters.clear()
            case {"step": "recover-journal"}:
                self.recovering = False
                self.doubtful |= payload.get("imported") != "complete"
            case {"step": "import-interchange", "part": part, "of": parts}:
                # Not before the last one: a key named in it would sign again.
                if part == parts:
                    self.told_at = row.sequence
            case {"step": "retire", "generation": int(generation)}:
                self._retired.add(generation)

    def _take_counter(self, payload: dict[str, object]) -> None:
        match payload:
            case {"step": step, "panel": str(panel), "counter": int(counter)} if (
                step == ENROL_PANEL
            ):
                if payload.get("alone"):  # nobody else's panel: ours were replaced
                    self.counters.clear()
                self.counters[panel] = counter
            case {"panel": str(panel), "counter": int(counter)}:
                if self.counters[panel] != counter - 1:
                    raise ValueError("it does not follow what its panel counted")
                self.counters[panel] = counter

    @property
    def told_head(self) -> Head:
        """The last row taken in.

        Raises:
            ValueError: If there is none yet.
        """
        if self.head is None:
            raise ValueError("no row was taken in")
        return self.head

    def told(self) -> Verified:
        """Return a copy of what was said so far; there was a row."""
        return Verified(
            self.restores + 1,
            self.told_head,
            frozenset(self._issued),
            self._newest,
            frozenset(self._retired),
            tuple(self.policies),
            tuple(self.clients),
            self.recovering,
            self.restored_head,
            self.doubtful,
            self.last_adopted,
            self.told_at,
            self.restored_below,
            dict(self.counters),
        )
