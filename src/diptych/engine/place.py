"""Where a collection lies on disk, who finds it, and who may write to it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from diptych.errors import CollectionBusy, CollectionError, UsageError

__all__ = [
    "DATABASE",
    "FOLDER",
    "absolute",
    "default_home",
    "discard",
    "find",
    "place_of",
    "remove_database",
    "writing",
]

FOLDER = ".diptych"
"""What holds a collection inside the folder that it is of."""

DATABASE = "collection.sqlite"
"""The file that makes a folder one that holds a collection."""

_LOCK = "writer.lock"


def absolute(path: str | Path) -> Path:
    """The path from the root, ``~`` and ``..`` resolved, links kept.

    Raises:
        UsageError: it is no path.
    """
    if not isinstance(path, str | os.PathLike):
        raise UsageError(
            f"an object of type {type(path).__name__} names no file; give a path, as a str or a Path"
        )
    return Path(os.path.abspath(Path(path).expanduser()))


def default_home() -> Path:
    """Where collections live that cannot be kept in their own folder; DIPTYCH_HOME changes it."""
    if os.environ.get("DIPTYCH_HOME"):
        return Path(os.environ["DIPTYCH_HOME"])
    from platformdirs import user_data_path

    return user_data_path("diptych", appauthor=False)


def _places(folder: Path) -> tuple[Path, Path]:
    """Where the collection of a folder may be: in itself, or under the user's home."""
    name = hashlib.blake2b(os.fsencode(folder), digest_size=8).hexdigest()
    return folder / FOLDER, default_home() / "collections" / name


def find(path: str | Path) -> Path | None:
    """The folder whose collection covers `path`: itself or the nearest above it; None if there is none."""
    start = absolute(path)
    for folder in (start, *start.parents):
        # Not `Path.is_file`, which raises what a folder that cannot be entered or named gives.
        if any(os.path.isfile(place / DATABASE) for place in _places(folder)):
            return folder
    return None


def place_of(folder: Path) -> Path:
    """Where the collection of a folder is, or is to be: its own `.diptych`, else one that can be written.

    Raises:
        CollectionError: neither can be written.
    """
    places = _places(folder)
    for place in places:
        if (place / DATABASE).is_file():
            return place
    for place in places:
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(place, os.W_OK):
            return place
    raise CollectionError(
        f"neither {places[0]} nor {places[1]} can be written; set DIPTYCH_HOME to a folder that can be"
    )


@contextlib.contextmanager
def writing(place: Path, folder: Path) -> Iterator[None]:
    """Hold the lock of the one who may write.

    Args:
        place: What holds the collection.
        folder: What it is of, for the message.

    Raises:
        CollectionBusy: another process, or another object of this one, holds it; says which.
        CollectionError: the disk does not take the lock, being full or protected.
    """
    from filelock import FileLock, Timeout

    holder = place / "writer.json"
    lock = FileLock(place / _LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise CollectionBusy(
            f"{folder} is being indexed by another process{_named(holder)}; wait for it or stop it"
        ) from None
    except OSError as error:
        raise _unwritable(place, error) from error
    try:
        try:
            holder.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        except OSError as error:
            raise _unwritable(place, error) from error
        yield
    finally:
        lock.release()


def _unwritable(place: Path, error: OSError) -> CollectionError:
    return CollectionError(
        f"{place} cannot be written ({error.strerror or error}); what is indexed can still be searched. Make "
        "room or give permission, then index again"
    )


def _named(holder: Path) -> str:
    try:
        who = json.loads(holder.read_text())
        return f" (process {who['pid']} on {who['host']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def remove_database(place: Path) -> None:
    """Remove the file that holds a collection, and what SQLite keeps beside it.

    Raises:
        CollectionError: they cannot be removed.
    """
    try:
        for ending in ("", "-wal", "-shm"):
            (place / f"{DATABASE}{ending}").unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(place, error) from error


def discard(path: str | Path) -> None:
    """Forget a folder's own collection altogether, with its dialogues and the replies of language models.

    The pictures stay. Nothing happens where there is no collection.

    Raises:
        CollectionBusy: a process is writing to it.
        CollectionError: its files cannot be removed.
    """
    folder = absolute(path)
    for place in _places(folder):
        if (place / DATABASE).is_file():
            with writing(place, folder):
                remove_database(place)
                try:
                    for path in place.iterdir():
                        if path.is_dir():
                            shutil.rmtree(path)
                        elif path.name != _LOCK:  # which is held
                            path.unlink()
                except OSError as error:
                    raise _unwritable(place, error) from error
