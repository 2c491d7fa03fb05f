# SPDX-License-Identifier: Apache-2.0
"""What ceremonies in a journal add up to, row by row; pure."""

import msgspec
import pytest

from appliance.errors import BrokenInvariantError, JournalError
from appliance.journal_chain import next_row
from appliance.journal_memory import JournalMemory, Verified
from appliance.roster import ENROL, REVOKE
from tests.appliance.journals import POLICY

ROOT = {"step": "init"}
TOLD: dict[str, object] = {"step": "import-interchange", "part": 1, "of": 1}


def told(*payloads: dict[str, object]) -> Verified:
    memory = JournalMemory("ab" * 16)
    for payload in payloads:
        take(memory, payload)
    return memory.told()


def take(memory: JournalMemory, payload: dict[str, object]) -> None:
    memory.take(
        next_row(
            memory.head, now_ms=1, client="operator-1", kind="ceremony", payload=payload
        )
    )


def restore(generation: int) -> dict[str, object]:
    digest = f"hash-{generation}"
    return {
        "step": "restore",
        "sequence": 7,
        "hash": digest,
        "generation": generation,
    }


def client(step: str, name: str) -> dict[str, object]:
    entry = {"name": name, "role": "hub", "spki_sha256": "ab" * 32}
    return {"step": step, "clients": [entry]}


def test_enrolments_and_revocations_are_all_remembered_in_their_order() -> None:
    found = told(ROOT, client(ENROL, "a"), client(ENROL, "b"), client(REVOKE, "a"))
    said = [(change.client.name, change.enrolled) for change in found.clients]
    assert said == [("a", True), ("b", True), ("a", False)]


def test_a_restore_retires_exactly_the_generations_before_its_own() -> None:
    assert told(ROOT, restore(4)).retired == {1, 2, 3}
    assert told(ROOT, restore(1)).retired == frozenset()


def test_what_was_retired_stays_retired_after_another_restore() -> None:
    retire: dict[str, object] = {"step": "retire", "generation": 9}
    assert told(ROOT, retire, restore(3)).retired == {1, 2, 9}
    assert told(ROOT, restore(3), retire, restore(2)).retired == {1, 2, 9}


def test_each_restore_opens_an_epoch_and_waits_to_be_recovered() -> None:
    found = told(ROOT, restore(2), restore(3))
    assert (found.epoch, found.recovering) == (3, True)
    assert found.restored_head == (7, "hash-3")
    assert (found.newest_generation, found.doubtful) == (3, False)


@pytest.mark.parametrize(
    ("imported", "doubtful"),
    [
        (["complete"], False),
        (["none"], True),
        ([None], True),
        (["complete", "complete"], False),
        (["none", "complete"], True),  # once in doubt, always
        (["complete", "none"], True),
    ],
)
def test_a_recovery_without_all_that_was_spent_leaves_a_doubt_for_ever(
    imported: list[str | None],
    doubtful: bool,  # noqa: FBT001 - a column of the table
) -> None:
    payloads: list[dict[str, object]] = [ROOT]
    for said in imported:
        payloads.append(restore(2))
        recovery: dict[str, object] = {"step": "recover-journal"}
        payloads.append(recovery | ({} if said is None else {"imported": said}))
    found = told(*payloads)
    assert (found.recovering, found.doubtful) == (False, doubtful)


def test_the_last_import_of_spent_keys_and_the_last_adoption_are_known() -> None:
    memory = JournalMemory("ab" * 16)
    take(memory, ROOT)
    assert (memory.told().told_at, memory.told().last_adopted) == (0, 0)
    take(memory, TOLD)
    for receipt in ("", "header.payload.signature"):
        issued = {"generation": 2, "receipt": receipt}
        memory.take(
            next_row(memory.head, now_ms=1, client="h", kind="issued", payload=issued)
        )
    assert (memory.told().told_at, memory.told().last_adopted) == (2, 3)
    take(memory, TOLD)
    assert memory.told().told_at == 5


def test_spent_keys_are_not_told_before_the_last_part_is_there() -> None:
    """Between two parts, or after a crash there, a key of the last one would sign."""
    assert told(ROOT, TOLD | {"part": 1, "of": 3}).told_at == 0
    parts = [TOLD | {"part": part, "of": 3} for part in (1, 2, 3)]
    assert told(ROOT, *parts[:2]).told_at == 0
    assert told(ROOT, *parts).told_at == 4


def test_a_restore_leaves_no_salt_of_before_it_in_good_faith() -> None:
    assert told(ROOT).restored_below == 0
    assert told(ROOT, restore(3)).restored_below == 3
    assert told(ROOT, restore(3), restore(5)).restored_below == 5


def test_a_row_that_says_it_went_through_a_door_is_not_believed_unproved() -> None:
    memory = JournalMemory("ab" * 16)
    signed = {"text": POLICY, "signatures": []}
    take(memory, ROOT | {"policy": signed})
    row = next_row(
        memory.head,
        now_ms=1,
        client="hub",
        kind="ceremony",
        payload={"step": "export-seed", "door": {}},
    )
    with pytest.raises((JournalError, msgspec.ValidationError, KeyError)):
        memory.take_unproved(row)


def confirmed(nonce: str) -> dict[str, object]:
    return {"step": "confirmed", "presence": {"nonce": nonce}}


def test_a_presence_grant_stands_in_one_row_for_ever() -> None:
    memory = JournalMemory("ab" * 16)
    for payload in (ROOT, confirmed("01" * 16), confirmed("02" * 16)):
        take(memory, payload)
    with pytest.raises(BrokenInvariantError, match="grant of an earlier one"):
        take(memory, confirmed("01" * 16))


def test_a_row_that_only_speaks_of_presence_holds_no_grant() -> None:
    memory = JournalMemory("ab" * 16)
    for _ in range(2):
        take(memory, {"step": "confirmed", "presence": "asked for"})
    assert memory.presences == set()
