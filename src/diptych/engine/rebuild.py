"""Makes a collection anew beside the one that is there, which it replaces only once it is whole."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any, NamedTuple

from diptych.engine.collection import Collection, open_collection
from diptych.engine.homes.local.home import Local
from diptych.engine.model import DEFAULT_MODEL, Model
from diptych.engine.place import DATABASE, absolute, find, place_of, remove_database, writing
from diptych.engine.trust import check_model, is_believed
from diptych.errors import CollectionError, TooNew

__all__ = ["rebuilding"]

_BESIDE = "next"


@contextlib.contextmanager
def rebuilding(path: str | Path, *, model: Any = None) -> Iterator[Collection]:
    """An empty collection of a folder, to be filled in the block; at its end it replaces the one there.

    Until then searches are answered by the one there, and it stays if the block fails or the model cannot be
    used. What was filled before an interruption is gone on with, if the model is the same. A folder without a
    collection of its own gets the one that `open_collection` gives.

    Args:
        path: The folder.
        model: A system's name, or an `Encoder`; that of the collection there, if None.

    Raises:
        UsageError: the model does not encode pictures.
        CollectionError: the model is to be that of a collection which is somebody else's.
        CollectionBusy: another process is writing.
        TooNew: the collection there was written by a later version of Diptych.
    """
    folder = absolute(path)
    if find(folder) != folder:
        with open_collection(folder, model=model) as collection:
            yield collection
        return
    place = place_of(folder)
    before = _known_of(place, folder)
    if model is None and before.model is not None and not before.believed:
        check_model(before.model, folder)
    chosen = Model(model if model is not None else before.model or DEFAULT_MODEL)
    chosen.try_pictures()
    with writing(place, folder):
        beside = place / _BESIDE
        if not _goes_on(beside, folder, chosen, before):
            shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(exist_ok=True)
        with Collection(folder, model=chosen, place=beside) as fresh:
            with fresh.writing(), fresh.home.batch(changes=False):
                fresh.home.keep_out(before.removed)
            yield fresh
        _replace(place, beside, folder)


class _Known(NamedTuple):
    """What the collection there says of itself; nothing if it is damaged."""

    id: str | None = None
    model: str | None = None
    removed: Set[bytes] = frozenset()
    believed: bool = True


def _known_of(place: Path, folder: Path) -> _Known:
    try:
        with contextlib.closing(Local(place / DATABASE, folder)) as home:
            column = home.column
            name = None if column is None else column.model
            return _Known(home.get("id"), name, home.removed(), is_believed(home))
    except TooNew:
        raise
    except CollectionError:
        return _Known()


def _goes_on(beside: Path, folder: Path, model: Model, before: _Known) -> bool:
    """Whether an interrupted rebuild with the same model lies there, and not one that is in place already."""
    if not (beside / DATABASE).is_file():
        return False
    try:
        with contextlib.closing(Local(beside / DATABASE, folder)) as home:
            column = home.column
            same = column is not None and column.fingerprint == model.fingerprint
            return same and home.get("id") != before.id
    except CollectionError:
        return False


def _replace(place: Path, beside: Path, folder: Path) -> None:
    """Put the collection beside in the place of the other, in one transaction that its readers see whole."""
    with contextlib.closing(Local(beside / DATABASE, folder)) as home:
        whole = _known_of(place, folder).model is not None
        if not whole:  # nothing that SQLite could write into
            remove_database(place)
        home.copy_to(place / DATABASE)
    search = place / "search"
    shutil.rmtree(search, ignore_errors=True)
    if (beside / "search").is_dir():
        (beside / "search").rename(search)
    shutil.rmtree(beside, ignore_errors=True)
