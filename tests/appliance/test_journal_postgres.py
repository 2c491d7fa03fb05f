# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL as a journal's database: safe settings, structure, TLS, lost servers."""

import datetime as dt
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appliance import journal_postgres
from appliance.certificates import KeyPair, certificate_pem, make_authority
from appliance.certificates import make_certificate as certify
from appliance.errors import (
    BrokenInvariantError,
    ConfigError,
    JournalError,
)
from appliance.journal import Journal
from appliance.journal_postgres import PostgresJournal, read_address
from tests.appliance.journals import (
    PostgresPlace,
    fill,
    issue,
    make,
    new_coin,
    open_journal,
    sign,
)
from tests.postgres import ROLE, Server, programs


@pytest.fixture
def place(tmp_path: Path, server: Server) -> PostgresPlace:
    made = PostgresPlace(tmp_path, server)
    make(made)
    return made


@pytest.fixture(scope="module")
def fragile() -> Iterator[Server]:
    """A server of this file alone: its settings are changed and it is killed."""
    started = Server()
    started.start()
    yield started
    started.destroy()


@pytest.fixture
def shaky(tmp_path: Path, fragile: Server) -> Iterator[PostgresPlace]:
    made = PostgresPlace(tmp_path, fragile)
    make(made)
    yield made
    fragile.set()


def failed(act: Callable[[], object]) -> JournalError:
    with pytest.raises(JournalError) as error:
        act()
    return error.value


# --- settings ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("fsync", "off"),
        ("full_page_writes", "off"),
        ("synchronous_commit", "off"),
        ("synchronous_commit", "local"),
        ("default_transaction_read_only", "on"),
        ("zero_damaged_pages", "on"),
        ("ignore_checksum_failure", "on"),
    ],
)
def test_an_unsafe_setting_is_refused_and_named(
    shaky: PostgresPlace, setting: str, value: str
) -> None:
    open_journal(shaky).close()
    running = open_journal(shaky)
    shaky.server.set(**{setting: value})
    checked = failed(running.check_writable)  # also under a running appliance
    running.close()
    opened = failed(lambda: open_journal(shaky))
    made = failed(lambda: make(PostgresPlace(shaky.folder / "..", shaky.server)))
    for error in (opened, made):
        assert error.code == "journal-unsafe"
        assert f"{setting} is {value}: set it to" in str(error)
    assert checked.code in {"journal-unsafe", "journal"}  # the latter: not even a lock
    shaky.server.set()
    open_journal(shaky).close()


@pytest.mark.parametrize("value", ["on", "remote_write", "remote_apply"])
def test_a_commit_that_waits_for_standbys_is_safe(
    shaky: PostgresPlace, value: str
) -> None:
    shaky.server.set(synchronous_commit=value)
    journal = open_journal(shaky)
    issue(journal, new_coin())
    journal.close()


def test_a_role_s_own_unsafe_setting_is_refused(shaky: PostgresPlace) -> None:
    shaky.server.execute(f"ALTER ROLE {ROLE} SET synchronous_commit = off")
    try:
        assert failed(lambda: open_journal(shaky)).code == "journal-unsafe"
    finally:
        shaky.server.execute(f"ALTER ROLE {ROLE} RESET ALL")


def test_a_server_that_is_too_old_is_refused(
    place: PostgresPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_postgres, "_OLDEST_VERSION", 990_000)
    error = failed(lambda: open_journal(place))
    assert error.code == "journal-unsafe"
    assert "older than PostgreSQL 99" in str(error)


def test_a_standby_is_refused(shaky: PostgresPlace, fragile: Server) -> None:
    fragile.execute("ALTER ROLE postgres REPLICATION")
    standby = Server()
    standby.password = fragile.password
    try:
        standby.folder.chmod(0o777)
        fragile._run(
            "pg_basebackup",
            *("-D", str(standby.data), "-R", "-X", "stream", "-c", "fast"),
            *("-d", f"host=127.0.0.1 port={fragile.port} user=postgres"),
        )
        standby._launch()
        elsewhere = PostgresPlace(shaky.folder, standby, shaky.journal_id)
        error = failed(lambda: open_journal(elsewhere))
        assert error.code == "journal-unsafe"
        assert "in recovery" in str(error)
    finally:
        standby.destroy()


# --- structure --------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "alter table paid set unlogged",
        "alter table spent_key enable row level security",
        "create rule r as on insert to refused do instead nothing",
        (
            "create function f() returns trigger language plpgsql as"
            " 'begin return null; end'"
        ),
        "create view v as select 1 as one",
        "create table stranger (a text)",
        "create table child () inherits (refused)",
        "create sequence s",
        'alter table signed alter column client type text collate "POSIX"',
        "alter table issued alter column client drop not null",
        "alter table issued alter column client set default 'x'",
        "alter table issued add column more text",
        "create index more on issued (client)",
        "drop index ix_issued_row",
        "alter table issued drop constraint issued_address_key",
        "alter table spent_key drop constraint spent_key_pkey",
        (
            "update pg_index set indisvalid = false where indexrelid ="
            " 'spent_key_pkey'::regclass"
        ),
        "drop table refused",
    ],
)
def test_a_schema_that_is_not_as_it_was_made_is_refused(
    place: PostgresPlace, statement: str
) -> None:
    fill_again = open_journal(place)
    issue(fill_again, new_coin())
    fill_again.close()
    place.tamper(statement)
    with pytest.raises(BrokenInvariantError) as error:
        open_journal(place)
    assert error.value.code == "journal-broken"


def test_a_trigger_that_swallows_spent_keys_is_found(place: PostgresPlace) -> None:
    place.tamper(
        "create function public.swallow() returns trigger language plpgsql as"
        " 'begin return null; end'",
        "create trigger t before insert on spent_key for each row"
        " execute function public.swallow()",
    )
    with pytest.raises(BrokenInvariantError, match="trigger t"):
        open_journal(place)
    place.tamper("drop function public.swallow() cascade")


def test_the_schema_is_of_our_tables_and_compares_by_bytes(
    place: PostgresPlace,
) -> None:
    query = (
        "SELECT DISTINCT collname FROM pg_attribute a JOIN pg_class c"
        " ON c.oid = attrelid JOIN pg_collation l ON l.oid = attcollation"
        " WHERE relkind = 'r' AND relnamespace = "
    )
    query += f"'{place.schema}'::regnamespace"
    assert place.server.query(query) == [["C"]]


def test_an_appliance_needs_no_more_than_to_read_and_insert(
    tmp_path: Path, server: Server
) -> None:
    """The role that runs may not update or delete: only lock the header."""
    owner = PostgresPlace(tmp_path, server)
    coins = fill(owner)
    server.execute(
        f"CREATE ROLE runner LOGIN PASSWORD '{server.password}'",
        f"GRANT USAGE ON SCHEMA {owner.schema} TO runner",
        f"GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA {owner.schema} TO runner",
        f"GRANT UPDATE ON {owner.schema}.header TO runner",
    )
    url = server.url.replace(ROLE, "runner", 1)
    runner = PostgresJournal(
        read_address(url, ca=""), owner.database.password, owner.database.mirror
    )
    journal = Journal(runner, journal_id=owner.journal_id, clock_ms=lambda: 1 << 41)
    sign(journal, coins[2])
    issue(journal, new_coin())
    journal.check_writable()
    journal.close()


# --- a server that goes away ------------------------------------------------------


def test_a_lost_connection_is_a_fault_and_a_new_one_goes_on(
    place: PostgresPlace,
) -> None:
    journal = open_journal(place)
    issue(journal, new_coin())
    place.server.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'saltkeep-appliance'"
    )
    failed(lambda: issue(journal, new_coin()))
    assert "closed" in str(failed(lambda: issue(journal, new_coin())))
    journal.close()
    journal = open_journal(place)
    issue(journal, new_coin())
    assert journal.head.sequence == 3
    journal.close()


def test_a_server_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    address = read_address(f"postgresql://u@127.0.0.1:{port}/n", ca="")
    database = PostgresJournal(address, None, tmp_path / "mirror.db")
    assert failed(lambda: database.open("ab" * 16)).code == "journal"


def test_a_wrong_password_is_a_fault_that_does_not_tell_it(
    place: PostgresPlace,
) -> None:
    assert place.database.password
    place.database.password.view[:1] = b"~"
    error = failed(lambda: open_journal(place))
    assert "password authentication failed" in str(error)
    assert bytes(place.database.password.view).decode() not in str(error)


def test_a_lock_that_is_never_released_is_a_fault(
    place: PostgresPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(journal_postgres._SESSION, "lock_timeout", "200")
    journal = open_journal(place)
    with place.server.connect() as stuck:
        stuck.run("BEGIN")
        stuck.run(f"SELECT * FROM {place.schema}.header FOR UPDATE")  # noqa: S608
        assert "lock timeout" in str(failed(lambda: issue(journal, new_coin())))
    journal.close()
    open_journal(place).close()


def test_a_frozen_appliance_does_not_hold_the_others_up(
    place: PostgresPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        journal_postgres._SESSION, "idle_in_transaction_session_timeout", "300"
    )
    frozen = open_journal(place)
    monkeypatch.undo()
    (place.folder / "b").mkdir()
    other = PostgresPlace(place.folder / "b", place.server, place.journal_id)
    other_mirror = other.database.mirror
    frozen.close()
    other_mirror.write_bytes(place.database.mirror.read_bytes())
    monkeypatch.setitem(
        journal_postgres._SESSION, "idle_in_transaction_session_timeout", "300"
    )
    frozen = open_journal(place)
    monkeypatch.undo()
    running = open_journal(other)

    def hold() -> None:
        with frozen._transaction(appending=True):
            issue(running, new_coin())  # once the server has put the other out

    failed(hold)
    assert running.head.sequence == 2
    frozen.close()
    running.close()


# --- addresses and TLS ------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mysql://u@h/n",
        "postgresql://h/n",
        "postgresql://u@h",
        "postgresql://u@h/",
        "postgresql://u@h/n/m",
        "postgresql://u@/n",
        "postgresql://u@h:port/n",
        "postgresql://u@h:99999/n",
        "postgresql://u@h/n?sslmode=disable",
        "postgresql://u@h/n?host",
        "postgresql://u@h/n#f",
    ],
)
def test_an_address_of_another_form_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"\[journal\] database is"):
        read_address(url, ca="")


def test_a_password_in_the_address_is_refused_and_not_told() -> None:
    with pytest.raises(ConfigError, match="password_file") as error:
        read_address("postgresql://u:geheim@h/n", ca="")
    assert "geheim" not in str(error.value)


def test_an_address_is_read_whole() -> None:
    found = read_address("postgresql://us%40er@127.0.0.1:5433/na%20me", ca="")
    assert (found.user, found.host, found.port) == ("us@er", "127.0.0.1", 5433)
    assert (found.name, found.tls) == ("na me", None)
    socket_of = read_address("postgresql://u@/n?host=/run/postgresql", ca="")
    assert (socket_of.host, socket_of.tls) == ("/run/postgresql", None)


def test_off_the_loopback_certificate_and_name_are_always_checked() -> None:
    tls = read_address("postgresql://u@db.example/n", ca="").tls
    assert tls is not None
    assert tls.check_hostname
    assert tls.verify_mode.name == "CERT_REQUIRED"


def test_an_authority_that_can_not_be_read_is_a_configuration_error(
    tmp_path: Path,
) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(ConfigError, match="ca"):
            read_address("postgresql://u@h/n", ca=str(path))


NOW = dt.datetime.now(dt.UTC)  # noqa: TID251 - certificates are valid around it


def write_pair(folder: Path, pair: KeyPair, user: str | None) -> None:
    pair.write(folder, "server")
    if user:
        subprocess.run(["chown", "-R", user, folder], check=True)


def test_tls_is_spoken_with_the_right_server_only(
    shaky: PostgresPlace, fragile: Server, tmp_path: Path
) -> None:
    authority, stranger = (make_authority(n, now=NOW) for n in ("one", "two"))
    for name, made in (("ca", authority), ("other", stranger)):
        (tmp_path / f"{name}.pem").write_bytes(certificate_pem(made.certificate))

    def opened(ca: str, hosts: tuple[str, ...]) -> None:
        folder = fragile.folder / "tls"
        folder.mkdir(exist_ok=True)
        pair = certify(authority, "db", server=True, now=NOW, hosts=hosts)
        for old in folder.iterdir():
            old.unlink()
        write_pair(folder, pair, fragile.user)
        fragile.set(
            ssl_cert_file=str(folder / "server.pem"),
            ssl_key_file=str(folder / "server.key"),
            ssl="on",
        )
        address = read_address(fragile.url, ca=str(tmp_path / ca))
        database = PostgresJournal(
            address, shaky.database.password, shaky.database.mirror
        )
        journal = Journal(
            database, journal_id=shaky.journal_id, clock_ms=lambda: 1 << 41
        )
        with journal._transaction() as connection:
            query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            assert connection.exec_driver_sql(query).scalar_one()
        journal.close()

    opened("ca.pem", ("127.0.0.1",))
    assert "certificate" in str(failed(lambda: opened("other.pem", ("127.0.0.1",))))
    assert "certificate" in str(failed(lambda: opened("ca.pem", ("db.example",))))


def test_a_server_without_tls_is_refused_where_tls_is_asked(
    place: PostgresPlace, tmp_path: Path
) -> None:
    authority = make_authority("one", now=NOW)
    (tmp_path / "ca.pem").write_bytes(certificate_pem(authority.certificate))
    address = read_address(place.server.url, ca=str(tmp_path / "ca.pem"))
    database = PostgresJournal(address, place.database.password, tmp_path / "m.db")
    assert "refuses SSL" in str(failed(lambda: database.open(place.journal_id)))


def test_a_journal_id_names_no_other_schema(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="hexadecimal"):
        server.journal(tmp_path / "m").open('ab"; drop schema x')


def test_the_server_under_test_is_a_real_one() -> None:
    assert (programs() / "postgres").exists()


def test_a_schema_that_was_emptied_is_no_journal(place: PostgresPlace) -> None:
    place.server.execute(
        f"DROP SCHEMA {place.schema} CASCADE", f"CREATE SCHEMA {place.schema}"
    )
    with pytest.raises(BrokenInvariantError, match="schema is empty"):
        open_journal(place)


def test_who_may_not_make_a_schema_makes_no_journal_and_no_mirror(
    tmp_path: Path, server: Server
) -> None:
    other = PostgresPlace(tmp_path, server)
    server.execute(f"REVOKE CREATE ON DATABASE saltkeep FROM {ROLE}")
    try:
        failed(lambda: make(other))
    finally:
        server.execute(f"GRANT CREATE ON DATABASE saltkeep TO {ROLE}")
    assert not list(tmp_path.iterdir())


def test_a_socket_that_is_not_there_is_a_database_away(tmp_path: Path) -> None:
    url = f"postgresql://saltkeep@/saltkeep?host={tmp_path}"
    database = PostgresJournal(read_address(url, ca=""), None, tmp_path / "mirror.db")
    failed(lambda: database.open("ab" * 16))
