# SPDX-License-Identifier: Apache-2.0
"""One key, two operating-system processes: exactly one hash, whatever is killed."""

import contextlib
import json
import os
import secrets
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.intent import commit
from appliance.journal import join_journal
from tests.appliance.journals import (
    PostgresPlace,
    SqlitePlace,
    make,
    open_journal,
)
from tests.postgres import Server

ROUNDS = 1_000


class Process:
    """A worker and the pipe to it."""

    def __init__(self, config: dict[str, Any], **environment: str) -> None:
        module = "tests.appliance.journal_worker"
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, json.dumps(config)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
            cwd=Path(__file__).parents[2],
        )

    def tell(self, do: str, **arguments: object) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"do": do, "with": arguments}) + "\n")
        self.process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        return dict(json.loads(line)) if line.endswith("\n") else {}

    def ask(self, do: str, **arguments: object) -> dict[str, Any]:
        self.tell(do, **arguments)
        return self.hear()

    def kill(self) -> None:
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        self.process.wait()


class Farm:
    """Workers on one journal; all are ended when the test is."""

    def __init__(self) -> None:
        self.processes: list[Process] = []

    def start(self, config: dict[str, Any], **environment: str) -> Process:
        self.processes.append(Process(config, **environment))
        return self.processes[-1]

    def end(self) -> None:
        for process in self.processes:
            process.kill()


@pytest.fixture
def farm() -> Iterator[Farm]:
    made = Farm()
    yield made
    made.end()


def config_of(place: PostgresPlace, **more: object) -> dict[str, Any]:
    password_file = place.folder / "password"
    if not password_file.exists():
        password_file.touch(mode=0o600)
        password_file.write_text(place.server.password)
    return {
        "journal_id": place.journal_id,
        "url": place.server.url,
        "password_file": str(password_file),
        "mirror": str(place.database.mirror),
        **more,
    }


def two_places(folder: Path, server: Server) -> list[PostgresPlace]:
    places: list[PostgresPlace] = []
    for name in ("a", "b"):
        (folder / name).mkdir()
        journal_id = places[0].journal_id if places else ""
        places.append(PostgresPlace(folder / name, server, journal_id))
    make(places[0])
    join_journal(places[1].database, journal_id=places[0].journal_id)
    return places


def hashes_by_key(server: Server, place: PostgresPlace) -> dict[str, set[str]]:
    """Return every hash each key was ever recorded with, from the rows."""
    query = f"SELECT payload FROM {place.schema}.\"row\" WHERE kind = 'signed'"  # noqa: S608
    found: dict[str, set[str]] = {}
    for (payload,) in server.query(query):
        data = json.loads(payload)
        for key in data["commitments"]:
            found.setdefault(key, set()).add(data["bundle_hash"])
    return found


@pytest.mark.timeout(240)
def test_two_processes_that_meet_at_the_insert_sign_one_hash(
    tmp_path: Path, server: Server, farm: Farm
) -> None:
    """The first holds the lock, about to insert, until the other stands before it."""
    places = two_places(tmp_path, server)
    one, two = (
        farm.start(config_of(place, admin_port=server.port)) for place in places
    )
    for number in range(ROUNDS):
        maker = (one, two)[number % 2]
        coin = maker.ask("issue")["done"]
        for process in (one, two):
            process.tell("sign", coin=coin, meet="lock")
        answers = [process.hear() for process in (one, two)]
        signed = [answer["done"] for answer in answers if "done" in answer]
        refused = [answer for answer in answers if "refused" in answer]
        assert len(signed) == len(refused) == 1, answers
        assert refused[0] == {"refused": "key-spent", "recorded": signed[0]}
    one.kill()
    two.kill()
    found = hashes_by_key(server, places[0])
    assert len(found) == ROUNDS
    assert all(len(hashes) == 1 for hashes in found.values())
    for place in places:
        journal = open_journal(place)
        assert journal.head.sequence == 1 + 2 * ROUNDS
        journal.close()


def test_without_the_lock_the_keys_still_let_one_hash_in(
    tmp_path: Path, server: Server, farm: Farm
) -> None:
    """Both have decided and insert at once: the second net is the primary keys."""
    places = two_places(tmp_path, server)
    one, two = (farm.start(config_of(place, unlocked=True)) for place in places)
    failed = 0
    for number in range(15):
        coin = one.ask("issue")["done"]
        barrier = tmp_path / f"round-{number}"
        barrier.mkdir()
        for process in (one, two):
            process.tell("sign", coin=coin, meet=str(barrier))
        answers = [process.hear() for process in (one, two)]
        assert len([answer for answer in answers if "done" in answer]) == 1, answers
        failed += sum(answer.get("failed") == "journal-broken" for answer in answers)
    assert failed > 10  # or they did not meet
    found = hashes_by_key(server, places[0])
    assert all(len(hashes) == 1 for hashes in found.values())


def test_of_two_processes_one_gets_the_file(tmp_path: Path, farm: Farm) -> None:
    place = SqlitePlace(tmp_path)
    make(place)
    config = {"journal_id": place.journal_id, "file": str(place.database.path)}
    one, two = farm.start(config), farm.start(config)
    for _ in range(4):
        for process in (one, two):
            process.tell("open")
        answers = [process.hear() for process in (one, two)]
        assert len([answer for answer in answers if "done" in answer]) == 1, answers
        holder = (one, two)["done" in answers[1]]
        other = (one, two)[holder is one]
        coin = holder.ask("issue")["done"]
        digest = holder.ask("sign", coin=coin)["done"]
        assert other.ask("sign", coin=coin)["failed"] == "journal"
        holder.ask("shut")
        assert other.ask("sign", coin=coin)["recorded"] == digest
        other.ask("shut")


# --- SIGKILL ----------------------------------------------------------------------

PLACES_OF_DEATH = (
    "journal.issue.before-commit",
    "journal.issue.after-commit",
    "journal.sign.before-insert",
    "journal.sign.before-commit",
    "journal.mirror.before-commit",
    "journal.sign.after-commit",
)


@pytest.mark.slow
@pytest.mark.parametrize("failpoint", PLACES_OF_DEATH)
def test_an_appliance_killed_anywhere_leaves_one_hash_per_key(
    tmp_path: Path, server: Server, farm: Farm, failpoint: str
) -> None:
    places = two_places(tmp_path, server)
    marker = tmp_path / "reached"
    other = farm.start(config_of(places[1]))
    before = other.ask("issue")["done"]
    victim = farm.start(
        config_of(places[0]),
        SALTKEEP_FAILPOINT=failpoint,
        SALTKEEP_FAILPOINT_FILE=str(marker),
    )
    if failpoint.startswith("journal.issue"):
        victim.tell("issue")
    else:
        victim.tell("sign", coin=before)
    wait_for(marker)
    victim.process.send_signal(signal.SIGKILL)
    victim.process.wait()
    answer = other.ask("sign", coin=before)
    again = farm.start(config_of(places[0]))
    late = again.ask("sign", coin=before)
    assert late["refused"] == "key-spent"
    digest = answer.get("done") or answer["recorded"]
    assert late["recorded"] == digest
    committed = failpoint.startswith(("journal.mirror", "journal.sign.after"))
    assert ("done" in answer) != committed
    assert hashes_by_key(server, places[0])[commit(before[0])] == {digest}
    assert "done" in again.ask("issue")


def wait_for(marker: Path) -> None:
    deadline_s = time.monotonic() + 20
    while not (marker.exists() and marker.read_text()):
        assert time.monotonic() < deadline_s, "the failpoint was never reached"
        time.sleep(0.01)


def killed_server_under_load(
    server: Server, farm: Farm, places: list[PostgresPlace], *, after: int
) -> dict[str, str]:
    """Load both appliances, kill the server, start it; returns what was answered."""
    processes = [farm.start(config_of(place)) for place in places]
    answered: dict[str, str] = {}
    for process in processes:
        process.tell("load")
    for _ in range(after):
        for process in processes:
            told = process.hear()
            answered[commit(told["coin"][0])] = told["hash"]
    server.kill()
    for process in processes:
        while "hash" in (told := process.hear()):
            answered[commit(told["coin"][0])] = told["hash"]
        assert told["failed"] == "journal", told
        process.kill()
    server._launch()
    return answered


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_server_killed_under_load_loses_nothing_that_was_answered(
    tmp_path: Path, farm: Farm
) -> None:
    fragile = Server()
    fragile.start()
    try:
        places = two_places(tmp_path, fragile)
        answered: dict[str, str] = {}
        for number in range(4):
            answered |= killed_server_under_load(
                fragile, farm, places, after=9 + number
            )
            found = hashes_by_key(fragile, places[0])
            assert all(len(hashes) == 1 for hashes in found.values())
            assert {key: found.get(key) for key in answered} == {
                key: {digest} for key, digest in answered.items()
            }
        assert len(answered) >= 4 * 9 * 2
        for place in places:
            open_journal(place).close()
    finally:
        fragile.destroy()


# --- writes that were never synced ------------------------------------------------

SHIM = Path(__file__).with_name("lost_writes.c")


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the library that notes what was written and what was synced."""
    target = tmp_path_factory.mktemp("shim") / "lost_writes.so"
    command = ["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", str(target)]
    subprocess.run([*command, str(SHIM), "-ldl", "-lpthread"], check=True)
    return target


def last_synced_image(log: Path, image: Path) -> None:
    """Replay a shim's log onto a copy of the folder: only what was synced.

    The log's records: a letter, the name's length and the name, two numbers, data.
    """
    pending: dict[str, list[tuple[str, int, bytes]]] = {}
    for kind, name, offset, data in records(log.read_bytes()):
        if kind in "WT":
            pending.setdefault(name, []).append((kind, offset, data))
        elif kind == "S":
            target = image / name
            content = bytearray(target.read_bytes() if target.exists() else b"")
            for act, at, written in pending.pop(name, []):
                if act == "T":
                    content = content[:at].ljust(at, b"\0")
                else:
                    content = content.ljust(at, b"\0")
                    content[at : at + len(written)] = written
            target.write_bytes(content)
        elif kind == "U":
            pending.pop(name, None)
            (image / name).unlink(missing_ok=True)


def records(log: bytes) -> Iterator[tuple[str, str, int, bytes]]:
    position = 0
    while position + 25 <= len(log):
        kind = chr(log[position])
        numbers = log[position + 1 : position + 25]
        size, offset, length = (
            int.from_bytes(numbers[at : at + 8], "little") for at in (0, 8, 16)
        )
        start = position + 25
        name = log[start : start + size].decode()
        data = log[start + size : start + size + length]
        if len(data) < length:
            return  # the process was killed while it noted this
        yield kind, name, offset, data
        position = start + size + length


def killed_under_load(
    farm: Farm, folder: Path, shim: Path, config: dict[str, Any], *, after: int
) -> dict[str, str]:
    """Load a worker, kill it, put the last-synced image in the folder's place.

    It is killed at any moment of the 20 ms after so many answers.
    """
    image, log = folder.with_name("image"), folder.with_name("log")
    shutil.rmtree(image, ignore_errors=True)
    shutil.copytree(folder, image)
    log.unlink(missing_ok=True)
    worker = farm.start(
        config,
        LD_PRELOAD=str(shim),
        LOST_WRITES_FOLDER=str(folder),
        LOST_WRITES_LOG=str(log),
    )
    worker.tell("load")
    answered = {}
    told = worker.hear()
    while told and "hash" in told:
        answered[commit(told["coin"][0])] = told["hash"]
        if len(answered) == after:
            time.sleep(secrets.randbelow(20_000) / 1e6)
            worker.process.send_signal(signal.SIGKILL)
        told = worker.hear()
    assert len(answered) >= after, told
    worker.kill()
    last_synced_image(log, image)
    shutil.rmtree(folder)
    image.rename(folder)
    return answered


def signed_in(path: Path) -> dict[str, str]:
    with sqlite3.connect(path) as database:
        query = "select commitment, bundle_hash from spent_key where n = 0"
        found = dict(database.execute(query).fetchall())
    database.close()
    return found


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_whatever_was_answered_is_in_the_last_synced_image(
    tmp_path: Path, farm: Farm, shim: Path
) -> None:
    """Every write that no sync followed is taken back, as a power cut may."""
    folder = tmp_path / "state"
    folder.mkdir()
    place = SqlitePlace(folder)
    make(place)
    config = {"journal_id": place.journal_id, "file": str(place.database.path)}
    answered: dict[str, str] = {}
    for number in range(8):
        answered |= killed_under_load(farm, folder, shim, config, after=9 + number)
        open_journal(place).close()
        found = signed_in(place.database.path)
        assert {key: found.get(key) for key in answered} == answered


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_shim_takes_back_what_was_not_synced(
    tmp_path: Path, farm: Farm, shim: Path
) -> None:
    """The same with syncing switched off loses answers: the test above can fail."""
    folder = tmp_path / "state"
    folder.mkdir()
    place = SqlitePlace(folder)
    make(place)
    config = {"journal_id": place.journal_id, "file": str(place.database.path)}
    unsynced = config | {"unsynced": True}
    answered = killed_under_load(farm, folder, shim, unsynced, after=20)
    found = signed_in(place.database.path)
    assert {key: found.get(key) for key in answered} != answered


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_whatever_was_answered_is_in_the_last_synced_mirror(
    tmp_path: Path, server: Server, farm: Farm, shim: Path
) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    place = PostgresPlace(folder, server)
    make(place)
    config = config_of(place)
    answered: dict[str, str] = {}
    for number in range(4):
        answered |= killed_under_load(farm, folder, shim, config, after=9 + number)
        found = signed_in(place.database.mirror)  # before any start catches up
        assert {key: found.get(key) for key in answered} == answered
        open_journal(place).close()
