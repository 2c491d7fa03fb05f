# SPDX-License-Identifier: Apache-2.0
"""The MAC beside each row: made with it, asked for at a read, forged by nobody."""

from contextlib import closing
from pathlib import Path

import pytest

from appliance.errors import BrokenInvariantError
from appliance.journal import Journal, create_journal, import_journal
from appliance.journal_chain import Head, next_row
from appliance.row_seal import RowSeal
from tests.appliance import journals
from tests.appliance.journals import (
    NOW_MS,
    Place,
    PostgresPlace,
    SqlitePlace,
    clock,
    issue,
    new_coin,
    sign,
)
from trinary.memory import LockedBuffer

KEY, OTHER_KEY = b"\x01" * 32, b"\x02" * 32


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return SqlitePlace(tmp_path)
    return PostgresPlace(tmp_path, request.getfixturevalue("server"))


@pytest.fixture
def filled(place: Place) -> Place:
    """A sealed journal of several rows, some of them written together."""
    create_journal(
        place.database,
        journal_id=place.journal_id,
        now_ms=NOW_MS,
        ceremony={"step": "init"},
        seal=seal(place),
    )
    with opened(place) as journal:
        coins = [new_coin() for _ in range(3)]
        for coin in coins:
            issue(journal, coin)
        sign(journal, *coins[:2])
    return place


def seal(place: Place, key: bytes = KEY) -> RowSeal:
    buffer = LockedBuffer(len(key), allow_unlocked=True)
    buffer.view[:] = key
    with closing(buffer):
        return RowSeal(buffer, journal_id=place.journal_id)


def opened(place: Place, *, key: bytes = KEY) -> closing[Journal]:
    return closing(
        Journal(
            place.database,
            journal_id=place.journal_id,
            clock_ms=clock,
            seal=seal(place, key),
        )
    )


def test_a_sealed_journal_opens_again_and_goes_on(filled: Place) -> None:
    for _ in range(2):
        with opened(filled) as journal:
            issue(journal, new_coin())
    with opened(filled) as journal:
        assert journal.head.sequence == 7


def test_the_key_of_another_vault_opens_nothing(filled: Place) -> None:
    with pytest.raises(BrokenInvariantError, match="row 1 was written by no appliance"):
        opened(filled, key=OTHER_KEY)


@pytest.mark.parametrize("row", [1, 3, 5])
def test_a_row_whose_mac_is_gone_is_no_appliance_s(filled: Place, row: int) -> None:
    assert filled.tamper(f"DELETE FROM row_mac WHERE row = {row}") == 1  # noqa: S608
    with pytest.raises(
        BrokenInvariantError, match=f"row {row} was written by no appliance"
    ):
        opened(filled)


def test_the_mac_of_one_row_is_not_good_for_another(filled: Place) -> None:
    filled.tamper(
        "UPDATE row_mac SET mac = (SELECT m.mac FROM row_mac m WHERE m.row = 2)"
        " WHERE row = 3"
    )
    with pytest.raises(BrokenInvariantError, match="row 3 was written by no appliance"):
        opened(filled)


def test_whoever_has_the_database_and_not_the_key_can_append_nothing(
    filled: Place,
) -> None:
    with opened(filled) as journal:
        head = journal.head
    forged = next_row(
        Head(head.sequence, head.hash, head.time_ms),
        now_ms=NOW_MS,
        client="operator-1",
        kind="ceremony",
        payload={"step": "unseal"},
    )
    values = (
        f"{forged.sequence}, {forged.time_ms}, '{forged.client}', '{forged.kind}',"
        f" '{forged.payload}', '{forged.previous_hash}', '{forged.hash}'"
    )
    columns = "sequence, time_ms, client, kind, payload, previous_hash, hash"
    statement = f'INSERT INTO "row" ({columns}) VALUES ({values})'  # noqa: S608
    assert filled.tamper(statement) == 1
    with pytest.raises(
        BrokenInvariantError, match=f"row {forged.sequence} was written by no appliance"
    ):
        opened(filled)


def test_a_journal_made_without_a_seal_is_taken_by_no_appliance(place: Place) -> None:
    journals.make(place)
    with pytest.raises(BrokenInvariantError, match="row 1 was written by no appliance"):
        opened(place)


def test_rows_that_were_backed_up_are_sealed_when_they_come_back(
    filled: Place, tmp_path: Path
) -> None:
    with opened(filled) as journal:
        rows = journal.rows(after_sequence=0, limit=100)
    restored = next_row(
        Head(rows[-1].sequence, rows[-1].hash, rows[-1].time_ms),
        now_ms=NOW_MS,
        client="ceremony",
        kind="ceremony",
        payload={
            "step": "restore",
            "sequence": rows[-1].sequence,
            "hash": rows[-1].hash,
            "generation": 2,
        },
    )
    (tmp_path / "new").mkdir()
    copy = SqlitePlace(tmp_path / "new", filled.journal_id)
    import_journal(
        copy.database,
        [*rows, restored],
        journal_id=copy.journal_id,
        epoch=2,
        seal=seal(copy),
    )
    with opened(copy) as journal:
        assert journal.head.sequence == restored.sequence


def test_a_key_spent_for_an_unknown_hash_takes_the_first_place(place: Place) -> None:
    """The table's own key stands in the way of a first signature."""
    journals.make(place)
    journal = journals.open_journal(place)
    journal.commit_spent(["ab" * 32], client="o", payload={"step": "x"})  # type: ignore[list-item]
    journal.close()
    assert place.tamper("UPDATE spent_key SET n = 7 WHERE n = 0") >= 1
