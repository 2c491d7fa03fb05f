# SPDX-License-Identifier: Apache-2.0
"""Two appliances append to one journal, and believe the database nothing."""

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from appliance.errors import (
    BrokenInvariantError,
    FaultError,
    JournalError,
    RefusedError,
)
from appliance.intent import commit, understand
from appliance.journal import Journal, join_journal
from appliance.journal_chain import Head, next_row, verify_chain
from appliance.journal_mirror import Mirror, make_mirror
from appliance.wire import JournalRow
from tests.appliance.bundles import bundle
from tests.appliance.journals import (
    NOW_MS,
    PostgresPlace,
    SqlitePlace,
    fill,
    issue,
    leaving,
    make,
    new_coin,
    open_journal,
    record_of,
    sign,
)
from tests.postgres import Server


class Pair:
    """Two appliances' ends of one journal."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.server = server
        self.places: list[PostgresPlace] = []
        for name in ("a", "b"):
            (folder / name).mkdir()
            journal_id = self.places[0].journal_id if self.places else ""
            self.places.append(PostgresPlace(folder / name, server, journal_id))
        make(self.places[0])
        join_journal(self.places[1].database, journal_id=self.places[0].journal_id)
        self.a, self.b = (open_journal(place) for place in self.places)

    def tamper(self, *statements: str) -> None:
        assert self.places[0].tamper(*statements)

    def close(self) -> None:
        self.a.close()
        self.b.close()


@pytest.fixture
def pair(tmp_path: Path, server: Server) -> Iterator[Pair]:
    opened = Pair(tmp_path, server)
    yield opened
    opened.close()


def broken(act: Callable[[], object]) -> BrokenInvariantError:
    with pytest.raises(BrokenInvariantError) as error:
        act()
    return error.value


# --- what one did, the other knows ------------------------------------------------


def test_both_append_to_one_chain(pair: Pair) -> None:
    for journal in (pair.a, pair.b, pair.b, pair.a):
        issue(journal, new_coin())
    rows = pair.a.rows(after_sequence=0, limit=99)
    assert verify_chain(rows) == pair.a.head == pair.b.catch_up()
    assert len(rows) == 5


def test_what_one_signed_the_other_never_signs_again(pair: Pair) -> None:
    coin = new_coin()
    issue(pair.a, coin)
    digest = sign(pair.b, coin)
    for journal in (pair.a, pair.b):
        with pytest.raises(RefusedError) as error:
            sign(journal, coin)
        assert error.value.recorded_bundle_hash == digest


def test_the_same_bundle_asked_of_the_other_is_the_same_signature(pair: Pair) -> None:
    coin = new_coin()
    issue(pair.a, coin)
    transfer = understand(bundle([coin]), levels={1: 2})
    for journal in (pair.a, pair.b):
        journal.commit_signature(
            transfer, own={}, client="hub", decide=lambda _: leaving(1)
        )
    assert pair.a.catch_up().sequence == 3


def test_a_window_is_shared(pair: Pair) -> None:
    first, second = new_coin(), new_coin()
    issue(pair.a, first)
    issue(pair.a, second)
    sign(pair.a, first)
    with pytest.raises(RefusedError):
        sign(pair.b, second, limit_i=99)


def test_a_refusal_of_one_holds_for_the_other(pair: Pair) -> None:
    coin = new_coin()
    issue(pair.a, coin)
    transfer = understand(bundle([coin]), levels={1: 2})
    pair.a.commit_refusal(
        client="hub", bundle_hashes=[transfer.bundle_hash], code="c", message="m"
    )
    with pytest.raises(RefusedError):
        pair.b.commit_signature(
            transfer, own={}, client="hub", decide=lambda _: leaving(1)
        )


def test_what_is_decided_under_the_lock_sees_what_came_before(pair: Pair) -> None:
    """B's decision runs when A's ceremony is in its memory already."""
    pair.a.commit_ceremony(client="o", payload={"step": "retire", "generation": 7})
    pair.b.commit_ceremony(
        client="o",
        payload={"step": "unseal"},
        decide=lambda: {"seen": sorted(pair.b.verified.retired)},
    )
    (row,) = pair.b.rows(after_sequence=pair.b.head.sequence - 1, limit=1)
    assert json.loads(row.payload) == {"step": "unseal", "seen": [7]}


def test_a_generation_that_one_retired_issues_nothing_at_the_other(pair: Pair) -> None:
    issue(pair.b, new_coin())
    pair.a.commit_ceremony(client="o", payload={"step": "retire", "generation": 1})
    with pytest.raises(FaultError) as error:
        issue(pair.b, new_coin())
    assert error.value.code == "vault-behind"
    pair.b.commit_issue(record_of(new_coin(), generation=2), client="hub")
    assert pair.a.catch_up().sequence == 4
    assert pair.a.verified.generations == {1, 2}


def test_after_a_restore_no_appliance_issues_by_an_older_salt(pair: Pair) -> None:
    """B comes back with its vault of before: a UUID of after the backup, issued
    again, would be the same key, and nobody here knows what it signed."""
    restore: dict[str, object] = {"step": "restore", "sequence": 1, "hash": "0" * 64}
    pair.a.commit_ceremony(client="ceremony", payload=restore | {"generation": 2})
    with pytest.raises(FaultError) as error:
        issue(pair.b, new_coin())
    assert error.value.code == "vault-behind"
    pair.b.commit_issue(record_of(new_coin(), generation=2), client="hub")


def test_of_two_new_generations_at_once_one_gets_the_number(pair: Pair) -> None:
    made: dict[str, object] = {"step": "rotate-salt", "generation": 2}
    pair.a.commit_ceremony(client="o", payload=made)
    with pytest.raises(FaultError) as error:
        pair.b.commit_ceremony(client="o", payload=made)
    assert error.value.code == "generation-taken"


def test_a_token_of_one_is_known_to_the_other(pair: Pair) -> None:
    """B has not read A's rows when it is asked for the hash of one."""
    for _ in range(3):
        issue(pair.a, new_coin())
    head = pair.a.head
    assert pair.b.head.sequence == 1
    assert pair.b.hash_at(head.sequence) == head.hash
    assert pair.b.hash_at(head.sequence + 1) is None


def test_more_than_a_page_is_caught_up(pair: Pair) -> None:
    for number in range(1030):
        pair.a.commit_ceremony(client="o", payload={"step": "x", "n": number})
    assert pair.b.catch_up() == pair.a.head


def test_clocks_that_differ_too_much_stop_the_one_behind_and_seal_nothing(
    pair: Pair,
) -> None:
    pair.a._clock_ms = lambda: NOW_MS + 5_001
    issue(pair.a, new_coin())
    with pytest.raises(JournalError) as error:
        issue(pair.b, new_coin())
    assert error.value.code == "clock-skew"


def test_a_clock_that_steps_back_seals_also_where_others_write(pair: Pair) -> None:
    issue(pair.a, new_coin())
    pair.a._clock_ms = lambda: NOW_MS - 5_001
    assert broken(lambda: issue(pair.a, new_coin())).code == "clock"


# --- a database that lies ---------------------------------------------------------


def test_a_database_put_back_under_a_running_appliance_is_found(pair: Pair) -> None:
    coin = new_coin()
    issue(pair.a, coin)
    older = pair.server.dump(pair.places[0].schema)
    digest = sign(pair.a, coin)
    pair.b.catch_up()
    pair.server.restore(pair.places[0].schema, older)
    for journal in (pair.a, pair.b):
        assert broken(lambda j=journal: sign(j, coin)).code == "head-regression"
        with pytest.raises(JournalError):  # and it answers nothing more
            journal.spent_hashes([commit(coin.seed_uuid)])
    pair.close()
    for place in pair.places:
        assert broken(lambda p=place: open_journal(p)).code == "mirror-differs"
        assert spent_in(mirror_of(place))[commit(coin.seed_uuid)] == digest


def test_a_database_put_back_and_grown_again_is_found(pair: Pair) -> None:
    """It is as long as before: only the hash tells."""
    coin = new_coin()
    issue(pair.a, coin)
    older = pair.server.dump(pair.places[0].schema)
    sign(pair.a, coin)
    pair.server.restore(pair.places[0].schema, older)
    issue(pair.b, new_coin())  # B has seen less, so to B all is well
    assert broken(pair.a.catch_up).code == "head-regression"
    pair.a.close()
    assert broken(lambda: open_journal(pair.places[0])).code == "mirror-differs"


def test_a_spent_key_that_the_database_hides_is_known_here(pair: Pair) -> None:
    coin = new_coin()
    issue(pair.a, coin)
    sign(pair.a, coin)
    pair.b.catch_up()
    key = commit(coin.seed_uuid)
    pair.tamper(f"delete from spent_key where commitment = '{key}'")  # noqa: S608
    assert broken(lambda: pair.a.spent_hashes([key])).code == "mirror-differs"
    assert broken(lambda: sign(pair.b, coin)).code == "mirror-differs"


def test_a_spent_key_that_the_database_invents_is_found(pair: Pair) -> None:
    key = commit(new_coin().seed_uuid)
    invented = f"insert into spent_key values ('{key}', 0, null, 1)"  # noqa: S608
    pair.tamper(invented)
    assert broken(lambda: pair.a.is_spent(key)).code == "mirror-differs"


def test_another_hash_for_a_spent_key_is_found(pair: Pair) -> None:
    coin = new_coin()
    issue(pair.a, coin)
    sign(pair.a, coin)
    pair.tamper("update spent_key set bundle_hash = 'A' where bundle_hash is not null")
    key = commit(coin.seed_uuid)
    assert broken(lambda: pair.a.is_spent(key)).code == "mirror-differs"


@pytest.mark.parametrize(
    "statement",
    [
        'update "row" set payload = \'{"step":"y"}\' where sequence = 3',
        'update "row" set time_ms = 1 where sequence = 3',
        "insert into refused values ('A', 3)",
        'update "row" set sequence = 9 where sequence = 3',
        "update \"row\" set hash = previous_hash || 'x' where sequence = 3",
    ],
)
def test_a_row_of_another_appliance_is_checked_before_it_is_believed(
    pair: Pair, statement: str
) -> None:
    issue(pair.b, new_coin())
    pair.a.commit_ceremony(client="o", payload={"step": "x"})
    pair.tamper(statement)
    assert broken(pair.b.catch_up).code == "journal-broken"


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("signed", {}),
        ("issued", {"commitment": 1}),
        ("refused", {"final": 3}),
        ("ceremony", {"step": "policy", "policy": {"text": 1}}),
        ("ceremony", {"spent": [["a"]]}),
    ],
)
def test_a_row_that_no_appliance_wrote_seals_though_its_hash_is_right(
    pair: Pair, kind: str, payload: dict[str, object]
) -> None:
    head = pair.a.head
    row = next_row(head, now_ms=NOW_MS, client="hub", kind=kind, payload=payload)
    values = ", ".join(
        str(value) if isinstance(value, int) else f"'{value}'"
        for value in msgspec.structs.astuple(row)
    )
    pair.tamper(f'insert into "row" values ({values})')  # noqa: S608
    assert broken(pair.a.catch_up).code == "journal-broken"
    pair.b.close()
    broken(lambda: open_journal(pair.places[1]))


def test_a_header_that_is_gone_locks_nobody_out_and_is_found(pair: Pair) -> None:
    pair.tamper("delete from header")
    assert broken(lambda: issue(pair.a, new_coin())).code == "journal-broken"


# --- the mirror -------------------------------------------------------------------


def mirror_of(place: PostgresPlace) -> Path:
    return place.database.mirror


def spent_in(path: Path) -> dict[str, str | None]:
    with sqlite3.connect(path) as database:
        found = dict(database.execute("select commitment, bundle_hash from spent_key"))
    database.close()
    return found


def test_the_mirror_knows_every_spent_key_of_both(pair: Pair) -> None:
    first, second = new_coin(), new_coin()
    for coin in (first, second):
        issue(pair.a, coin)
    hashes = [sign(pair.a, first), sign(pair.b, second)]
    pair.a.catch_up()
    pair.close()
    for place in pair.places:
        found = spent_in(mirror_of(place))
        assert found[commit(first.seed_uuid)] == hashes[0]
        assert found[commit(second.seed_uuid)] == hashes[1]
        assert mirror_of(place).stat().st_mode & 0o777 == 0o600


def test_a_key_that_is_spent_again_pages_later_opens_at_every_start(
    pair: Pair,
) -> None:
    """A start reads a thousand rows at once; the mirror knows both signatures."""
    coin = new_coin()
    issue(pair.a, coin)
    sign(pair.a, coin)
    for number in range(1000):
        pair.a.commit_ceremony(client="o", payload={"step": "x", "n": number})
    two = [{"operator": "operator-1"}, {"operator": "operator-2"}]
    pair.a.commit_export(
        commit(coin.seed_uuid),
        client="o",
        payload=lambda: {"step": "x", "door": {"signatures": two}},
    )
    rows = pair.a.rows(after_sequence=0, limit=2000)
    pair.close()
    for place in pair.places:
        mirror = Mirror(mirror_of(place), journal_id=place.journal_id)
        for _ in range(2):  # B takes them in; then both know them all
            for start in range(0, len(rows), 1000):
                mirror.follow(rows[start : start + 1000])
        mirror.close()


def test_a_missing_mirror_is_not_made_by_a_start(pair: Pair) -> None:
    pair.close()
    mirror_of(pair.places[0]).unlink()
    for _ in range(2):
        with pytest.raises(JournalError) as error:
            open_journal(pair.places[0])
        assert error.value.code == "mirror-missing"
    assert not mirror_of(pair.places[0]).exists()


def test_a_mirror_of_another_journal_is_refused(
    pair: Pair, tmp_path: Path, server: Server
) -> None:
    (tmp_path / "c").mkdir()
    other = PostgresPlace(tmp_path / "c", server)
    make(other)
    pair.close()
    shutil.copy(mirror_of(other), mirror_of(pair.places[0]))
    assert broken(lambda: open_journal(pair.places[0])).code == "mirror-differs"


@pytest.mark.parametrize("content", [b"", b"no database", b"\0" * 8192])
def test_a_mirror_that_is_no_mirror_is_refused(pair: Pair, content: bytes) -> None:
    pair.close()
    for path in mirror_of(pair.places[0]).parent.glob("mirror.db*"):
        path.unlink()
    mirror_of(pair.places[0]).write_bytes(content)
    broken(lambda: open_journal(pair.places[0]))


@pytest.mark.parametrize(
    "statement",
    [
        "delete from spent_key",
        "update spent_key set bundle_hash = 'A' where bundle_hash is not null",
        "insert into spent_key values ('c', 0, null)",
        "update seen set hash = 'x'",
        "update seen set sequence = 99",
        "update seen set sequence = 2",
    ],
)
def test_a_mirror_that_was_altered_is_found_at_the_start(
    pair: Pair, statement: str
) -> None:
    coin = new_coin()
    issue(pair.a, coin)
    sign(pair.a, coin)
    pair.close()
    with sqlite3.connect(mirror_of(pair.places[0])) as database:
        assert database.execute(statement).rowcount
    database.close()
    assert broken(lambda: open_journal(pair.places[0])).code == "mirror-differs"


def test_what_was_committed_before_the_mirror_was_written_is_caught_up(
    pair: Pair, tmp_path: Path
) -> None:
    """As after a power cut between the two."""
    coin = new_coin()
    issue(pair.a, coin)
    pair.a.close()
    left = tmp_path / "left"
    shutil.copytree(mirror_of(pair.places[0]).parent, left)
    pair.a = open_journal(pair.places[0])
    digest = sign(pair.a, coin)
    pair.a.close()
    shutil.rmtree(mirror_of(pair.places[0]).parent)
    shutil.copytree(left, mirror_of(pair.places[0]).parent)
    pair.a = open_journal(pair.places[0])
    assert pair.a.spent_hashes([commit(coin.seed_uuid)]) == {
        commit(coin.seed_uuid): (digest,)
    }


def test_a_mirror_that_can_not_be_written_stops_the_signature(pair: Pair) -> None:
    """The row stands: asked again once the disk is well, the same bundle signs."""
    coin = new_coin()
    issue(pair.a, coin)
    transfer = understand(bundle([coin]), levels={1: 2})
    assert pair.a._mirror
    pair.a._mirror._open.execute("PRAGMA query_only = ON")

    def commit_it(journal: Journal) -> None:
        journal.commit_signature(
            transfer, own={}, client="hub", decide=lambda _: leaving(1)
        )

    with pytest.raises(JournalError):
        commit_it(pair.a)
    with pytest.raises(JournalError, match="closed"):
        commit_it(pair.a)
    pair.a.close()
    pair.a = open_journal(pair.places[0])
    commit_it(pair.a)
    assert pair.a.head.sequence == 3


def test_two_processes_do_not_share_a_mirror(pair: Pair) -> None:
    issue(pair.a, new_coin())
    with pytest.raises(JournalError, match="another process"):
        open_journal(pair.places[0])


# --- joining ----------------------------------------------------------------------


def test_who_joins_gets_a_mirror_of_everything(
    pair: Pair, tmp_path: Path, server: Server
) -> None:
    coin = new_coin()
    issue(pair.a, coin)
    digest = sign(pair.a, coin)
    (tmp_path / "c").mkdir()
    third = PostgresPlace(tmp_path / "c", server, pair.places[0].journal_id)
    head = join_journal(third.database, journal_id=third.journal_id)
    assert head == pair.a.head
    assert spent_in(mirror_of(third))[commit(coin.seed_uuid)] == digest
    with pytest.raises(JournalError, match="only once"):
        join_journal(third.database, journal_id=third.journal_id)


def test_nobody_joins_a_journal_that_is_broken_or_absent(
    pair: Pair, tmp_path: Path, server: Server
) -> None:
    (tmp_path / "c").mkdir()
    stranger = PostgresPlace(tmp_path / "c", server)
    with pytest.raises(JournalError, match="never makes one"):
        join_journal(stranger.database, journal_id=stranger.journal_id)
    pair.tamper("delete from spent_key")
    third = PostgresPlace(tmp_path / "c", server, pair.places[0].journal_id)
    with pytest.raises(BrokenInvariantError):
        join_journal(third.database, journal_id=third.journal_id)
    assert not list((tmp_path / "c").iterdir())


def test_nobody_joins_a_journal_in_a_file(tmp_path: Path) -> None:
    place = SqlitePlace(tmp_path)
    fill(place)
    with pytest.raises(JournalError, match="PostgreSQL"):
        join_journal(place.database, journal_id=place.journal_id)


def test_a_mirror_that_is_closed_says_so(pair: Pair) -> None:
    pair.close()
    mirror = Mirror(mirror_of(pair.places[0]), journal_id=pair.places[0].journal_id)
    mirror.close()
    with pytest.raises(JournalError, match="closed"):
        mirror.require_same(["a"], [])


def test_the_payloads_of_both_are_what_was_said(pair: Pair) -> None:
    pair.a.commit_ceremony(client="a", payload={"step": "x", "by": "a"})
    pair.b.commit_ceremony(client="b", payload={"step": "x", "by": "b"})
    rows = pair.a.rows(after_sequence=1, limit=9)
    assert [json.loads(row.payload)["by"] for row in rows] == ["a", "b"]


# --- the mirror alone -------------------------------------------------------------


def blind_row(head: Head | None, commitment: str, digest: str) -> JournalRow:
    payload: dict[str, object] = {"commitment": commitment, "bundle_hash": digest}
    return next_row(head, now_ms=NOW_MS, client="old", kind="blind", payload=payload)


def head_of(row: JournalRow) -> Head:
    return Head(row.sequence, row.hash, row.time_ms)


def test_a_mirror_takes_no_key_twice_and_then_nothing_of_the_page(
    tmp_path: Path,
) -> None:
    path = tmp_path / "mirror.db"
    make_mirror(path, journal_id="ab" * 16)
    mirror = Mirror(path, journal_id="ab" * 16)
    first = blind_row(None, "c", "A")
    mirror.follow([first])
    second = blind_row(head_of(first), "d", "B")
    third = blind_row(head_of(second), "c", "C")
    with pytest.raises(BrokenInvariantError, match="key c was spent before") as error:
        mirror.follow([second, third])
    assert error.value.code == "mirror-differs"
    assert (mirror.sequence, mirror.hash) == (1, first.hash)
    mirror.require_same(["c", "d"], [("c", 0, "A")])
    mirror.follow([first, second])
    mirror.require_end(2, 2)
    mirror.close()


def test_a_mirror_on_a_full_disk_keeps_what_it_had(tmp_path: Path) -> None:
    path = tmp_path / "mirror.db"
    make_mirror(path, journal_id="ab" * 16)
    mirror = Mirror(path, journal_id="ab" * 16)
    mirror._open.execute("PRAGMA cache_size=1")
    (pages,) = mirror._open.execute("PRAGMA page_count").fetchone()
    mirror._open.execute(f"PRAGMA max_page_count={pages}")
    rows = [blind_row(None, "k" * 64, "A" * 81)]
    for number in range(200):
        rows.append(blind_row(head_of(rows[-1]), f"{number:064}", "A" * 81))
    with pytest.raises(JournalError, match="full"):
        mirror.follow(rows)
    assert mirror.sequence == 0
    mirror.require_end(0, 0)
    mirror.close()


def test_a_mirror_that_can_not_be_laid_out_is_said(tmp_path: Path) -> None:
    path = tmp_path / "mirror.db"
    path.with_name("mirror.db-wal").mkdir()
    with pytest.raises(JournalError):
        make_mirror(path, journal_id="ab" * 16)
