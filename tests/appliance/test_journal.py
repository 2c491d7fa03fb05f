# SPDX-License-Identifier: Apache-2.0
"""The journal: tampering, loss, time, and what a killed process leaves."""

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from appliance.errors import (
    ApplianceError,
    BrokenInvariantError,
    JournalError,
    RefusedError,
)
from appliance.intent import commit, understand
from appliance.journal import Journal, create_journal
from appliance.journal_chain import verify_chain
from appliance.journal_records import IssuedRecord, Leaving
from appliance.journal_view import JournalView
from tests.appliance.bundles import Coin, bundle, new_address, new_uuid

JOURNAL_ID = "ab" * 16
NOW_MS = 1_800_000_000_000
CANARY = new_uuid()


def clock() -> int:
    return NOW_MS


def open_journal(path: Path, *, clock_ms: Callable[[], int] = clock) -> Journal:
    return Journal(path, journal_id=JOURNAL_ID, clock_ms=clock_ms)


def make(path: Path) -> None:
    ceremony: dict[str, object] = {"step": "init", "never_issue": [commit(CANARY)]}
    create_journal(path, journal_id=JOURNAL_ID, now_ms=NOW_MS, ceremony=ceremony)


def issue(journal: Journal, coin: Coin) -> IssuedRecord:
    record = IssuedRecord(commit(coin.seed_uuid), coin.address, 1, 2, "", "r")
    return journal.commit_issue(record, client="hub")


def sign(journal: Journal, *coins: Coin, limit_i: int = 1 << 60) -> str:
    transfer = understand(bundle(coins), levels={1: 2})

    def decide(view: JournalView) -> Leaving:
        if view.usage(60).outside_i > limit_i:
            raise RefusedError("policy-window", "too much")
        return leaving(100)

    journal.commit_signature(transfer, own={}, client="hub", decide=decide)
    return transfer.bundle_hash


def leaving(amount_i: int) -> Leaving:
    return Leaving({new_address(): amount_i}, (("exchange", new_uuid()),))


def new_coin() -> Coin:
    return Coin(new_uuid(), new_address())


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a closed journal with rows of every kind."""
    path = tmp_path_factory.mktemp("journal") / "journal.db"
    make(path)
    journal = open_journal(path)
    coins = [new_coin() for _ in range(3)]
    for coin in coins:
        issue(journal, coin)
    sign(journal, *coins[:2])
    journal.commit_refusal(
        client="hub", bundle_hashes=[new_address()], code="c", message="m"
    )
    journal.commit_ceremony(client="operator-1", payload={"step": "unseal"})
    journal.close()
    return path


@pytest.fixture
def path(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(filled, tmp_path / "journal.db"))


def test_a_journal_is_made_once(path: Path) -> None:
    with pytest.raises(JournalError, match="only once"):
        make(path)


def test_a_new_journal_is_private_and_opens(tmp_path: Path) -> None:
    target = tmp_path / "a folder? with#signs%20" / "journal.db"
    target.parent.mkdir()
    make(target)
    assert target.stat().st_mode & 0o777 == 0o600
    journal = open_journal(target)
    assert journal.pristine
    journal.close()


def test_every_row_is_there_again(path: Path) -> None:
    journal = open_journal(path)
    rows = journal.rows(after_sequence=0, limit=100)
    head = verify_chain(rows)
    assert head == journal.head
    assert [row.kind for row in rows] == [
        "ceremony",
        *["issued"] * 3,
        "signed",
        "refused",
        "ceremony",
    ]
    journal.close()


# --- tampering ---------------------------------------------------------------------

TAMPERED = {
    "payload": "update row set payload = replace(payload, '100', '101')"
    " where kind = 'signed'",
    "time": "update row set time_ms = time_ms + 1 where sequence = 3",
    "client": "update row set client = 'other' where sequence = 3",
    "kind": "update row set kind = 'ceremony' where sequence = 3",
    "hash": "update row set hash = replace(hash, '1', '2') where sequence = 3",
    "previous hash": "update row set previous_hash = hash where sequence = 3",
    "payload no JSON": "update row set payload = '{' where sequence = 3",
    "payload empty": "update row set payload = '' where sequence = 7",
    "payload bytes": "update row set payload = x'ff00' where sequence = 2",
    "payload not UTF-8": "update row set payload = cast(x'ff00' as text)"
    " where sequence = 2",
    "time text": "update row set time_ms = 'now' where sequence = 2",
    # One last row that guards nothing can be dropped: only a head token tells.
    "last rows dropped": "delete from row where sequence >= 6",
    "row dropped": "delete from row where sequence = 3",
    "first row dropped": "delete from row where sequence = 1",
    "every row dropped": "delete from row",
    "rows swapped": "update row set sequence = -1 where sequence = 2;"
    "update row set sequence = 2 where sequence = 3;"
    "update row set sequence = 3 where sequence = -1",
    "row before the first": "insert into row select 0,time_ms,client,kind,payload,"
    "previous_hash,'x' from row where sequence=1",
    "row invented": "insert into row select 8,time_ms,client,kind,payload,hash,'x'"
    " from row where sequence=7",
    "spent key missing": "delete from spent_key where rowid = 2",
    "canary's spent key missing": "delete from spent_key where bundle_hash is null",
    "spent key of another hash": "update spent_key set bundle_hash = replace("
    "bundle_hash, 'A', 'B') where bundle_hash is not null",
    "spent key unknown": "update spent_key set bundle_hash = null",
    "spent key renumbered": "update spent_key set n = 1",
    "spent key of nobody": "insert into spent_key values ('c', 0, null, 1)",
    "spent key of no row": "insert into spent_key values ('c', 0, null, 99)",
    "issued missing": "delete from issued where row = 3",
    "issued address": "update issued set address = 'A' where row = 3",
    "issued twice": "insert into issued values ('c', 'a', 'hub', 1, 3)",
    "issued to another": "update issued set client = 'other'",
    "issued at another time": "update issued set time_ms = 1",
    "payment missing": "delete from paid",
    "payment of another amount": "update paid set amount_i = 1",
    "payment at another time": "update paid set time_ms = 1",
    "authorisation missing": "delete from authorisation",
    "authorisation of another": "update authorisation set withdrawal = 'w'",
    "refusal missing": "delete from refused",
    "refusal of another hash": "update refused set bundle_hash = 'A'",
    "signed missing": "delete from signed",
    "window amount": "update signed set outside_i = 0",
    "window time": "update signed set time_ms = 1",
    "window client": "update signed set client = 'other'",
    "window keys": "update signed set key_count = 0",
    "header missing": "delete from header",
    "header twice": "insert into header values ('f', 'j', 1)",
    "unknown format": "update header set format = 'saltkeep-journal/1'",
    "foreign": "update header set journal_id = 'cd'",
    "epoch": "update header set epoch = 0",
    "trigger": "create trigger t after insert on spent_key begin"
    " delete from spent_key where commitment = new.commitment; end",
    "view": "create view v as select 1",
    "table": "create table t (a)",
    "table dropped": "drop table refused",
    "index dropped": "drop index ix_signed_client",
}


@pytest.mark.parametrize("statement", TAMPERED.values(), ids=TAMPERED)
def test_tampering_is_found_when_the_journal_is_opened(
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


@pytest.mark.slow
def test_a_flipped_bit_anywhere_in_the_file_is_found_or_changes_nothing(
    path: Path,
) -> None:
    """Unused bytes of a page are free; whatever opens must say the same."""
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


def test_a_missing_journal_is_never_made(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="never makes one"):
        open_journal(tmp_path / "journal.db")
    assert not list(tmp_path.iterdir())


def test_a_journal_of_another_vault_is_refused(path: Path) -> None:
    with pytest.raises(BrokenInvariantError, match="the vault is of"):
        Journal(path, journal_id="cd" * 16, clock_ms=clock)


def test_a_failed_opening_leaves_no_lock(path: Path) -> None:
    for _ in range(2):
        with pytest.raises(BrokenInvariantError):
            open_journal(path, clock_ms=lambda: 5)
    open_journal(path).close()


# --- time --------------------------------------------------------------------------


def test_a_clock_that_steps_back_is_found_at_open_and_at_use(path: Path) -> None:
    now_ms = NOW_MS
    journal = open_journal(path, clock_ms=lambda: now_ms)
    now_ms = NOW_MS - 5_000
    issue(journal, new_coin())  # within tolerance: the row's time does not run back
    assert journal.head.time_ms == NOW_MS
    now_ms = NOW_MS - 5_001
    with pytest.raises(BrokenInvariantError) as error:
        issue(journal, new_coin())
    assert error.value.code == "clock"
    journal.close()


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


# --- the rules, by a machine --------------------------------------------------------


class JournalRules(RuleBasedStateMachine):
    """Any order of acts, with restarts: one hash per key, and a whole chain."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = NOW_MS
        self.signed: dict[str, str] = {}
        self.refused: set[str] = set()
        self.issued: list[Coin] = []
        self.requests = []

    @initialize(folder=st.just(None))
    def make(self, folder: None) -> None:  # noqa: ARG002
        self.path = Path(next(FOLDERS)) / "journal.db"
        make(self.path)
        self.journal = self._open()

    def _open(self) -> Journal:
        return open_journal(self.path, clock_ms=lambda: self.now_ms)

    @rule(back_ms=st.integers(-4000, 100_000))
    def time_passes(self, back_ms: int) -> None:
        self.now_ms = max(self.now_ms + back_ms, self.journal.head.time_ms - 4000)

    @rule()
    def restart(self) -> None:
        head = self.journal.head
        self.journal.close()
        self.journal = self._open()
        assert self.journal.head == head

    @rule()
    def issue(self) -> None:
        coin = new_coin()
        issue(self.journal, coin)
        self.issued.append(coin)

    @rule(data=st.data())
    def ask(self, data: st.DataObject) -> None:
        if not self.issued:
            return
        coins = data.draw(
            st.lists(st.sampled_from(self.issued), min_size=1, max_size=3, unique=True)
        )
        self.requests.append(understand(bundle(coins), levels={1: 2}))

    @rule(data=st.data())
    def sign(self, data: st.DataObject) -> None:
        if not self.requests:
            return
        transfer = data.draw(st.sampled_from(self.requests))
        keys = {self.signed.get(c) for c in transfer.commitments}
        before = self.journal.head
        if keys == {transfer.bundle_hash}:
            self._commit(transfer)
            assert self.journal.head == before
        elif keys != {None} or transfer.bundle_hash in self.refused:
            with pytest.raises(RefusedError):
                self._commit(transfer)
            assert self.journal.head == before
        else:
            self._commit(transfer)
            self.signed |= dict.fromkeys(transfer.commitments, transfer.bundle_hash)

    def _commit(self, transfer: object) -> None:
        self.journal.commit_signature(
            transfer, own={}, client="hub", decide=lambda _: leaving(1)
        )

    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        if not self.requests:
            return
        value = data.draw(st.sampled_from(self.requests)).bundle_hash
        self.journal.commit_refusal(
            client="hub", bundle_hashes=[value], code="c", message="m"
        )
        if value not in self.signed.values():
            self.refused.add(value)

    @rule(data=st.data())
    def issue_again(self, data: st.DataObject) -> None:
        if not self.issued:
            return
        coin = data.draw(st.sampled_from(self.issued))
        if commit(coin.seed_uuid) in self.signed:
            with pytest.raises(RefusedError):
                issue(self.journal, coin)
        else:
            assert issue(self.journal, coin).address == coin.address

    @invariant()
    def the_guards_are_what_was_done(self) -> None:
        if hasattr(self, "journal"):
            found = self.journal.spent_hashes(
                [commit(coin.seed_uuid) for coin in self.issued]
            )
            assert found == {key: (value,) for key, value in self.signed.items()}

    def teardown(self) -> None:
        if hasattr(self, "journal"):
            rows = self.journal.rows(after_sequence=0, limit=1000)
            assert verify_chain(rows) == self.journal.head
            self.journal.close()
            self._open().close()


FOLDERS: Iterator[str] = iter(())


@pytest.fixture(autouse=True)
def _folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    global FOLDERS  # noqa: PLW0603 - hypothesis builds the machines itself

    def folders() -> Iterator[str]:
        while True:
            yield str(tmp_path_factory.mktemp("rules"))

    FOLDERS = folders()
    yield
    FOLDERS = iter(())


JournalRules.TestCase.settings = settings(
    max_examples=12, stateful_step_count=25, deadline=None
)
TestJournalRules = JournalRules.TestCase


def test_an_export_verifies_without_the_appliance(path: Path) -> None:
    journal = open_journal(path)
    rows = journal.rows(after_sequence=0, limit=100)
    journal.close()
    text = [msgspec.json.encode(row) for row in rows]
    assert json.loads(text[0])["sequence"] == 1
    for broken in (rows[1:], rows[::-1], [*rows[:2], *rows[3:]], rows + rows[-1:]):
        with pytest.raises(BrokenInvariantError):
            verify_chain(broken)
