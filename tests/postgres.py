# SPDX-License-Identifier: Apache-2.0
"""A real PostgreSQL server in a folder of its own; never the machine's.

Tests may run as root, which PostgreSQL refuses: then it runs as ``nobody``.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pg8000.native

from appliance.journal_postgres import PostgresJournal, read_address
from trinary.memory import LockedBuffer

ROLE = "saltkeep"
_START_TIMEOUT_S = 30.0


def programs() -> Path:
    """Return the folder of the newest server that is installed."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"),
        key=lambda path: int(path.parts[-3]),
    )
    on_path = shutil.which("postgres")
    if not found and on_path is None:
        raise RuntimeError("no PostgreSQL here: scripts/bootstrap test installs it")
    return found[-1].parent if found else Path(str(on_path)).resolve().parent


class Server:
    """A server on the loopback; ``connect`` is its administrator.

    ``fast`` does not wait for the disk: for tests that are about something else.
    """

    def __init__(self, folder: Path | None = None, *, fast: bool = False) -> None:
        self._fast = fast
        self.folder = folder or Path(tempfile.mkdtemp(prefix="saltkeep-postgres-"))
        self.data = self.folder / "data"
        self.password = secrets.token_hex(12)
        self.port = _free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.user = "nobody" if os.geteuid() == 0 else None

    @property
    def url(self) -> str:
        return f"postgresql://{ROLE}@127.0.0.1:{self.port}/saltkeep"

    def journal(self, mirror: Path) -> PostgresJournal:
        """Return the database for a journal whose mirror lies there."""
        secret = LockedBuffer(len(self.password), allow_unlocked=True)
        secret.view[:] = self.password.encode()
        return PostgresJournal(read_address(self.url, ca=""), secret, mirror)

    def start(self) -> None:
        if not self.data.exists():
            self._initialise()
        self._launch()
        with self.connect("postgres") as connection:
            known = connection.run("SELECT 1 FROM pg_roles WHERE rolname = :r", r=ROLE)
            if not known:
                connection.run(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{self.password}'")
                connection.run(f"CREATE DATABASE saltkeep OWNER {ROLE}")

    def _initialise(self) -> None:
        self.folder.chmod(0o755)
        self.data.mkdir()
        secret = self.folder / "superuser"
        secret.write_text(self.password)
        if self.user:
            shutil.chown(self.data, self.user)
            shutil.chown(secret, self.user)
        self._run(
            "initdb",
            *("-D", str(self.data), "-U", "postgres", "-A", "scram-sha-256"),
            *("--pwfile", str(secret), "-E", "UTF8", "--locale=C"),
        )

    def _launch(self) -> None:
        options = ["-D", str(self.data), "-p", str(self.port), "-h", "127.0.0.1"]
        options += ["-k", "", "-c", "max_connections=200", "-c", "shared_buffers=64MB"]
        if self._fast:
            options += ["-c", "fsync=off", "-c", "full_page_writes=off"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [programs() / "postgres", *options],
                stdout=log,
                stderr=log,
                user=self.user,
                group=None,
                cwd="/",
            )
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                with self.connect("postgres"):
                    return
            except (pg8000.native.InterfaceError, pg8000.native.DatabaseError):
                if time.monotonic() > deadline_s or self.process.poll() is not None:
                    raise RuntimeError((self.folder / "log").read_text()) from None
                time.sleep(0.05)

    def connect(self, database: str = "saltkeep") -> "pg8000.native.Connection":
        return pg8000.native.Connection(
            "postgres",
            host="127.0.0.1",
            port=self.port,
            database=database,
            password=self.password,
            ssl_context=False,  # without: it reads every authority of the machine
        )

    def execute(self, *statements: str, database: str = "saltkeep") -> int:
        """Run statements as the administrator; foreign keys and such do not bind."""
        changed = 0
        with self.connect(database) as connection:
            connection.run("SET session_replication_role = replica")
            for statement in statements:
                connection.run(statement)
                changed += max(connection.row_count, 0)
        return changed

    def query(self, statement: str) -> list[list[Any]]:
        with self.connect() as connection:
            return list(connection.run(statement))

    def set(self, **settings: str) -> None:
        """Change settings of the running server; without any, back to its own."""
        with self.connect() as connection:
            connection.run("SET default_transaction_read_only = off")
            if not settings:
                connection.run("ALTER SYSTEM RESET ALL")
            for name, value in settings.items():
                connection.run(f"ALTER SYSTEM SET {name} = '{value}'")
            connection.run("SELECT pg_reload_conf()")
        time.sleep(0.3)  # the postmaster reads it when the signal arrives

    def dump(self, schema: str) -> bytes:
        return self._run("pg_dump", *self._named(), "-n", schema, "saltkeep").stdout

    def restore(self, schema: str, dump: bytes) -> None:
        """Put a dump in the place of what is there now."""
        self.execute(f"DROP SCHEMA {schema} CASCADE")
        self._run("psql", *self._named(), "-q", "saltkeep", text=dump)

    def kill(self) -> None:
        """Kill every process of the server at once, as a power cut would."""
        assert self.process
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        pids = [self.process.pid, *(int(pid) for pid in children.read_text().split())]
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()
        time.sleep(0.2)  # a killed child may still hold the shared memory

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)  # a fast shutdown
            self.process.wait()
            self.process = None

    def destroy(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _named(self) -> list[str]:
        return ["-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres"]

    def _run(
        self, program: str, *arguments: str, text: bytes | None = None
    ) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(
            [programs() / program, *arguments],
            check=True,
            capture_output=True,
            input=text,
            user=self.user,
            cwd="/",
            env={**os.environ, "PGPASSWORD": self.password},
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
