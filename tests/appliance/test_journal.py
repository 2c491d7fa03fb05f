# SPDX-License-Identifier: Apache-2.0
"""The journal in its SQLite file: damage, loss, and what a killed process leaves.

What holds in every database is in ``test_journal_conformance``.
"""

import json
import os
import shutil
import sqlite3
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from appliance.errors import (
    ApplianceError,
    BrokenInvariantError,
    JournalError,
    RefusedError,
)
from appliance.intent import commit
from appliance.journal import Journal, create_journal
from appliance.journal_chain import next_row, verify_chain
from appliance.journal_memory import JournalMemory, Verified
from appliance.journal_records import guards_of, made_generation
from appliance.journal_schema import SPENT_KEY
from appliance.journal_sqlite import SqliteJournal
from tests.appliance.bundles import Coin, new_address
from tests.appliance.journals import (
    CANARY,
    NOW_MS,
    SqlitePlace,
    clock,
    fill,
    issue,
    new_coin,
)

JOURNAL_ID = "ab" * 16


def open_journal(path: Path) -> Journal:
    return Journal(path, journal_id=JOURNAL_ID, clock_ms=clock)


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a closed journal with rows of every kind."""
    place = SqlitePlace(tmp_path_factory.mktemp("journal"), JOURNAL_ID)
    fill(place)
    return place.database.path


@pytest.fixture
def path(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(filled, tmp_path / "journal.db"))


def test_a_new_journal_is_private_and_opens(tmp_path: Path) -> None:
    target = tmp_path / "a folder? with#signs%20" / "journal.db"
    target.parent.mkdir()
    ceremony: dict[str, object] = {"step": "init"}
    create_journal(target, journal_id=JOURNAL_ID, now_ms=NOW_MS, ceremony=ceremony)
    assert target.stat().st_mode & 0o777 == 0o600
    journal = open_journal(target)
    assert journal.pristine
    journal.close()


# --- tampering ---------------------------------------------------------------------

TAMPERED = {
    "payload bytes": "update row set payload = x'ff00' where sequence = 2",
    "payload not UTF-8": "update row set payload = cast(x'ff00' as text)"
    " where sequence = 2",
    "time text": "update row set time_ms = 'now' where sequence = 2",
    "epoch text": "update header set epoch = 'one'",
    "trigger": "create trigger t after insert on spent_key begin"
    " delete from spent_key where commitment = new.commitment; end",
}


@pytest.mark.parametrize("statement", TAMPERED.values(), ids=TAMPERED)
def test_tampering_that_only_sqlite_lets_happen_is_found(
    path: Path, statement: str
) -> None:
    database = sqlite3.connect(path)
    before = database.total_changes
    database.executescript(statement)
    if not statement.startswith(("create", "drop")):
        assert database.total_changes > before
    database.close()
    with pytest.raises(BrokenInvariantError) as error:
        open_journal(path)
    assert error.value.code == "journal-broken"


def test_a_flipped_bit_anywhere_in_a_row_is_found(path: Path) -> None:
    content = bytearray(path.read_bytes())
    database = sqlite3.connect(path)
    payloads = [r[0] for r in database.execute("select payload from row")]
    hashes = [r[0] for r in database.execute("select hash from row")]
    database.close()
    for text in [*payloads, *hashes]:
        start = content.find(text.encode()[:60])
        assert start > 0
        for offset in range(0, min(len(text), 60), 7):
            damaged = bytearray(content)
            damaged[start + offset] ^= 1 << (offset % 7)
            path.write_bytes(damaged)
            with pytest.raises(BrokenInvariantError):
                open_journal(path)


def test_a_schema_that_is_no_text_is_found(path: Path) -> None:
    database = sqlite3.connect(path)
    database.executescript(
        "pragma writable_schema = on; update sqlite_master"
        " set name = cast(x'ff' as text), sql = 'create nothing' where name = 'refused'"
    )
    database.close()
    with pytest.raises(BrokenInvariantError, match="schema is no text") as error:
        open_journal(path)
    assert error.value.code == "journal-broken"


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_flipped_bit_anywhere_in_the_file_is_found_or_changes_nothing(
    path: Path,
) -> None:
    """Unused bytes of a page are free; whatever opens must say the same."""
    memory = Path("/dev/shm")  # noqa: S108 - it is opened a thousand times, synced
    if memory.is_dir():
        path = Path(shutil.copy(path, memory / f"flipped-{os.getpid()}.db"))
    try:
        _flip_everywhere(path)
    finally:
        if memory.is_dir():
            for left in memory.glob(f"{path.name}*"):
                left.unlink()


def _flip_everywhere(path: Path) -> None:
    journal = open_journal(path)
    expected = journal.rows(after_sequence=0, limit=100)
    journal.close()
    content = path.read_bytes()
    for position in range(0, len(content), 173):
        damaged = bytearray(content)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        try:
            journal = open_journal(path)
        except ApplianceError:
            continue
        assert journal.rows(after_sequence=0, limit=100) == expected
        with pytest.raises(RefusedError):
            issue(journal, Coin(CANARY, new_address()))
        journal.close()


def test_an_index_that_hides_a_spent_key_is_found(path: Path) -> None:
    database = sqlite3.connect(path)
    database.execute("pragma writable_schema = on")
    database.execute(
        "update sqlite_master set rootpage = (select rootpage from sqlite_master"
        " where name = 'sqlite_autoindex_refused_1')"
        " where name = 'sqlite_autoindex_spent_key_1'"
    )
    database.commit()
    database.close()
    with pytest.raises(BrokenInvariantError):
        open_journal(path)


@pytest.mark.parametrize("content", [b"", b"no database", b"\0" * 8192])
def test_a_file_that_is_no_journal_is_refused(tmp_path: Path, content: bytes) -> None:
    target = tmp_path / "journal.db"
    target.write_bytes(content)
    with pytest.raises(BrokenInvariantError):
        open_journal(target)


# --- failures ----------------------------------------------------------------------


def test_after_a_failure_the_journal_answers_nothing_more(path: Path) -> None:
    journal = open_journal(path)
    with journal._engine.connect() as connection:
        connection.exec_driver_sql("ROLLBACK")
        connection.exec_driver_sql("PRAGMA query_only=ON")
    with pytest.raises(JournalError):
        issue(journal, new_coin())
    with pytest.raises(JournalError, match="closed"):
        journal.rows(after_sequence=0, limit=1)
    journal.close()
    journal = open_journal(path)
    issue(journal, new_coin())
    journal.close()


def test_a_full_disk_is_no_corruption_and_commits_nothing(path: Path) -> None:
    journal = open_journal(path)
    with journal._engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    sequence = journal.head.sequence
    failure = None
    while failure is None:
        try:
            issue(journal, new_coin())
        except JournalError as error:
            failure = str(error)
        else:
            sequence = journal.head.sequence
    assert "full" in failure
    journal.close()
    journal = open_journal(path)
    assert journal.head.sequence == sequence
    journal.close()


def test_a_log_that_can_not_be_moved_into_the_file_is_said(path: Path) -> None:
    """Somebody reads the file, and so the log can not be emptied."""
    writer, reader = sqlite3.connect(path), sqlite3.connect(path)
    writer.execute("PRAGMA journal_mode=WAL")
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM row").fetchone()
    writer.execute("PRAGMA user_version=7")
    engine = sa.create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(path, timeout=0.1),
        poolclass=sa.pool.NullPool,
    )
    with pytest.raises(JournalError, match="in use elsewhere"):
        SqliteJournal(path).settle(engine)
    reader.close()
    SqliteJournal(path).settle(engine)
    writer.close()


def test_a_log_is_not_settled_in_the_middle_of_a_transaction(path: Path) -> None:
    database = SqliteJournal(path)
    engine = database.open(JOURNAL_ID)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA user_version=7")
        with pytest.raises(JournalError, match="could not be settled"):
            database.settle(engine)
    engine.dispose()


def test_opening_settles_what_a_killed_process_left_in_the_log(path: Path) -> None:
    """A row seen in the log may not be on the disk: it is, once we are open."""
    journal = open_journal(path)
    coin = new_coin()
    issue(journal, coin)
    log = path.with_name("journal.db-wal")
    left = {p.name: p.read_bytes() for p in (path, log)}
    assert left[log.name]
    journal.close()
    for name, content in left.items():
        path.with_name(name).write_bytes(content)
    journal = open_journal(path)
    assert journal.find_issued(commit(coin.seed_uuid))
    assert not log.exists() or not log.stat().st_size
    journal.close()


def test_an_export_verifies_without_the_appliance(path: Path) -> None:
    journal = open_journal(path)
    rows = journal.rows(after_sequence=0, limit=100)
    journal.close()
    text = [msgspec.json.encode(row) for row in rows]
    assert json.loads(text[0])["sequence"] == 1
    for broken in (rows[1:], rows[::-1], [*rows[:2], *rows[3:]], rows + rows[-1:]):
        with pytest.raises(BrokenInvariantError):
            verify_chain(broken)


# --- what the rows say of the whole ------------------------------------------------


def memory_of(*rows: tuple[str, dict[str, object]]) -> JournalMemory:
    """Return what is remembered of rows after a first one."""
    memory = JournalMemory(JOURNAL_ID)
    for kind, payload in (("ceremony", {"journal_id": JOURNAL_ID}), *rows):
        row = next_row(
            memory.head, now_ms=NOW_MS, client="o", kind=kind, payload=payload
        )
        memory.take_unproved(row)
    return memory


def restored_to(sequence: int) -> tuple[str, dict[str, object]]:
    payload: dict[str, object] = {"step": "restore", "sequence": sequence}
    return "ceremony", payload | {"hash": "ab", "generation": 4}


def test_a_new_journal_is_told_as_it_is() -> None:
    memory = memory_of()
    found = memory.told()
    assert found == Verified(
        epoch=1,
        head=memory.told_head,
        generations=frozenset(),
        newest_generation=1,
        retired=frozenset(),
        policies=(),
        clients=(),
        recovering=False,
        restored_head=None,
        doubtful=False,
    )
    assert (found.head.sequence, found.head.time_ms) == (1, NOW_MS)


def test_everything_that_rows_say_of_the_whole_is_told() -> None:
    policy: dict[str, object] = {"text": "t", "signatures": []}
    memory = memory_of(
        ("issued", {"generation": 2}),
        ("issued", {"generation": 1}),
        ("ceremony", {"step": "rotate-salt", "generation": 3}),
        ("ceremony", {"step": "import-salt", "generation": 2}),
        ("ceremony", {"step": "retire", "generation": 1}),
        ("ceremony", {"step": "retire", "generation": 2}),
        ("ceremony", {"step": "policy", "policy": policy}),
        ("ceremony", {"step": "x", "generation": 9}),
        ("refused", {"final": [], "generation": 8}),
    )
    found = memory.told()
    assert found.generations == {1, 2}
    assert (found.newest_generation, found.retired) == (3, {1, 2})
    assert [one.text for one in found.policies] == ["t"]
    assert (found.epoch, found.head.sequence) == (1, 10)


def test_each_restore_opens_an_epoch_and_is_to_be_recovered_from() -> None:
    first = memory_of(restored_to(5)).told()
    assert (first.epoch, first.recovering, first.restored_head) == (2, True, (5, "ab"))
    assert first.newest_generation == 4
    recovered: tuple[str, dict[str, object]] = (
        "ceremony",
        {"step": "recover-journal"},
    )
    memory = memory_of(restored_to(5), recovered)
    assert (memory.told().epoch, memory.recovering) == (2, False)
    assert memory.told().restored_head == (5, "ab")
    again = memory_of(restored_to(5), recovered, restored_to(7)).told()
    assert (again.epoch, again.recovering, again.restored_head) == (3, True, (7, "ab"))


def test_before_the_first_row_there_is_no_head() -> None:
    with pytest.raises(ValueError, match="no row"):
        _ = JournalMemory(JOURNAL_ID).told_head


# --- what a row's words come to ----------------------------------------------------


@pytest.mark.parametrize(
    "door",
    [
        None,
        {},
        {"signatures": None},
        {"signatures": []},
        {"signatures": [{"operator": "a"}]},
        {"signatures": [{"operator": "a"}, {"operator": "a"}]},
        {"signatures": [{"operator": "a"}, {}]},
    ],
)
@pytest.mark.parametrize("what", ["second signature", "export"])
def test_a_row_that_passes_a_door_needs_two_names(door: object, what: str) -> None:
    payload: dict[str, object] = {"bundle_hash": "A", "commitments": ["c"], "n": [1]}
    payload |= {"outside_i": 0, "inputs": [[]], "paid": [], "authorised": []}
    kind = "signed"
    if what == "export":
        kind, payload = "ceremony", {"export": {"commitment": "c", "n": 1}}
    row = next_row(
        None, now_ms=1, client="hub", kind=kind, payload=payload | {"door": door}
    )
    with pytest.raises(BrokenInvariantError, match="approvals of") as error:
        list(guards_of(row))
    assert error.value.code == "journal-broken"
    two = {"signatures": [{"operator": "a"}, {"operator": "b"}]}
    row = next_row(
        None, now_ms=1, client="hub", kind=kind, payload=payload | {"door": two}
    )
    assert (SPENT_KEY, 1) in [
        (table, guard.get("n")) for table, guard in guards_of(row)
    ]


def test_a_signature_s_numbers_are_as_many_as_its_keys() -> None:
    payload: dict[str, object] = {"bundle_hash": "A", "commitments": ["c"], "n": []}
    payload |= {"outside_i": 0, "inputs": [[]], "paid": [], "authorised": []}
    row = next_row(None, now_ms=1, client="hub", kind="signed", payload=payload)
    with pytest.raises(ValueError, match="shorter"):
        list(guards_of(row))


@pytest.mark.parametrize(
    ("kind", "payload", "expected"),
    [
        ("ceremony", {"step": "rotate-salt", "generation": 2}, 2),
        ("ceremony", {"step": "import-salt", "generation": 3}, 3),
        ("ceremony", {"step": "restore", "generation": 4}, 4),
        ("ceremony", {"step": "retire", "generation": 5}, 1),
        ("ceremony", {}, 1),
        ("issued", {"step": "restore", "generation": 6}, 1),
    ],
)
def test_only_three_ceremonies_give_a_generation_its_number(
    kind: str, payload: dict[str, object], expected: int
) -> None:
    row = next_row(None, now_ms=1, client="o", kind=kind, payload=payload)
    assert made_generation(row) == expected


def test_a_journal_opened_to_be_read_has_no_time(path: Path) -> None:
    journal = Journal(path, journal_id=JOURNAL_ID, clock_ms=None)
    with pytest.raises(JournalError, match="only to be read"):
        journal.now_ms()
    journal.close()
