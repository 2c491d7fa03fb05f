# SPDX-License-Identifier: Apache-2.0
"""A real MariaDB server in a folder of its own; never the machine's.

Tests may run as root, which MariaDB refuses: then it runs as ``nobody``. It stands two
hours east of Greenwich, as an old Hub's server might.
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

import pymysql

ZONE = "+02:00"
_START_TIMEOUT_S = 30.0


class Server:
    """A server on the loopback, and its administrator."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="saltkeep-mariadb-"))
        self.password = secrets.token_hex(12)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._user = "nobody" if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0

    def start(self) -> None:
        data = self.folder / "data"
        data.mkdir()
        if self._user:
            self.folder.chmod(0o755)
            shutil.chown(self.folder, self._user)
            shutil.chown(data, self._user)
        install = ["mariadb-install-db", "--no-defaults", f"--datadir={data}"]
        install += ["--auth-root-authentication-method=normal", "--skip-test-db"]
        subprocess.run(
            install, check=True, capture_output=True, user=self._user, cwd="/"
        )
        program = shutil.which("mariadbd") or "/usr/sbin/mariadbd"
        options = [f"--datadir={data}", f"--port={self.port}"]
        options += ["--bind-address=127.0.0.1", f"--default-time-zone={ZONE}"]
        options += [f"--socket={self._socket}", f"--pid-file={self.folder / 'pid'}"]
        options += ["--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=OFF"]
        options += ["--skip-name-resolve"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [program, "--no-defaults", *options],
                stdout=log,
                stderr=log,
                user=self._user,
                cwd="/",
            )
        self._wait()

    @property
    def _socket(self) -> Path:
        return self.folder / "socket"

    def _wait(self) -> None:
        """Wait for what it writes when it accepts connections."""
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        log = self.folder / "log"
        while b"ready for connections" not in log.read_bytes():
            assert self._process is not None
            if time.monotonic() > deadline_s or self._process.poll() is not None:
                raise RuntimeError(log.read_text())
            time.sleep(0.05)

    def connect(self, database: str | None = None) -> Any:  # noqa: ANN401 - untyped
        return pymysql.connect(
            unix_socket=str(self._socket),
            user="root",
            database=database,
            autocommit=True,
            charset="utf8mb4",
        )

    def create(self) -> str:
        """Make a database that user ``reader`` may only read; return its name."""
        self._databases += 1
        name = f"hub{self._databases}"
        with self.connect() as root, root.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
            cursor.execute(
                "CREATE USER IF NOT EXISTS reader@'127.0.0.1' IDENTIFIED BY %s",
                (self.password,),
            )
            cursor.execute(f"GRANT SELECT ON {name}.* TO reader@'127.0.0.1'")
            cursor.execute("GRANT PROCESS ON *.* TO reader@'127.0.0.1'")
        return name

    def destroy(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
        shutil.rmtree(self.folder)
