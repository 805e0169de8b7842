"""Makes a collection anew beside the one that is there, which it replaces only once it is whole."""

from __future__ import annotations

import contextlib
import itertools
import shutil
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any, NamedTuple

from diptych.engine import captioning, ignoring
from diptych.engine.collection import Collection, open_collection
from diptych.engine.columns import take_over
from diptych.engine.homes.address import address_of
from diptych.engine.homes.base import Home
from diptych.engine.homes.local.home import Local
from diptych.engine.homes.local.search_files import take_files
from diptych.engine.items import copy_items
from diptych.engine.model import DEFAULT_MODEL, Model
from diptych.engine.place import DATABASE, absolute, find, place_of, remove_database, writing
from diptych.engine.trust import check_model, is_believed
from diptych.engine.where import OnDisk
from diptych.errors import BadData, CollectionError, MissingData, TooNew, UsageError

__all__ = ["rebuilding"]

_BESIDE = "next"
_MOST_BITS = 4096
_AT_ONCE = 1_000  # inscriptions that are taken over in one batch


@contextlib.contextmanager
def rebuilding(path: str | Path, *, model: Any = None) -> Iterator[Collection]:
    """An empty collection of a folder, to be filled in the block; at its end it replaces the one there.

    Until then searches are answered by the one there, and it stays if the block fails or the model cannot be
    used. What was filled before an interruption is gone on with, if the model is the same. A folder without a
    collection of its own gets the one that `open_collection` gives. Where the pictures had codes they have
    codes again, unless the block made others: of the same hashing system, or of as many bits if that does not
    fit the model.

    Items that programs gave have no files; they stay, and a model that cannot make their vectors is refused.
    The vectors of further models are taken over for the contents that are the same, and made for what is new;
    not those that the collection of somebody else has, whose models nobody asked for.

    Args:
        path: The folder.
        model: A system's name, or an `Encoder`; that of the collection there, if None.

    Raises:
        UsageError: the model does not encode pictures, or there are items without files for another model;
            the collection is on a server.
        CollectionError: the model is to be that of a collection which is somebody else's.
        CollectionBusy: another process is writing.
        TooNew: the collection there was written by a later version of Diptych.
    """
    if (address := address_of(path)) is not None:
        raise UsageError(
            f"{address.shown} is not rebuilt where it is; index into another collection there, "
            "?collection=another, and drop the schema of the former"
        )
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
    if before.own and before.fingerprint != chosen.fingerprint:
        raise UsageError(
            f"{before.own} items of {folder} were given by programs, so that {chosen.name} has no files to "
            "make their vectors of; add it beside with add_model, or remove these items first"
        )
    with writing(place, folder):
        beside = place / _BESIDE
        if not _goes_on(beside, folder, chosen, before):
            shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(exist_ok=True)
        with Collection(OnDisk(folder, beside), model=chosen) as fresh:
            with fresh.writing():
                ignoring.keep(fresh.home, before.excludes)
                with fresh.home.batch(changes=False):
                    fresh.home.keep_out(before.removed)
                if before.model is not None and before.believed:
                    with contextlib.closing(Local(place / DATABASE, folder)) as old:
                        _take_inscriptions(fresh.home, old)
            yield fresh
            if before.own:
                with contextlib.closing(Local(place / DATABASE, folder)) as old, fresh.writing():
                    copy_items(fresh.home, old)
            if before.codes is not None and fresh.home.codes is None:
                _make_codes(fresh, before)
            if before.model is not None and before.believed:
                with contextlib.closing(Local(place / DATABASE, folder)) as old, fresh.writing():
                    captioning.take_over(fresh.home, old, fresh.loaded())
                    take_over(fresh, old)
        _replace(place, beside, folder)


class _Known(NamedTuple):
    """What the collection there says of itself; nothing if it is damaged."""

    id: str | None = None
    model: str | None = None
    removed: Set[bytes] = frozenset()
    believed: bool = True
    codes: Mapping[str, Any] | None = None
    excludes: tuple[str, ...] = ()
    fingerprint: str = ""
    own: int = 0


def _known_of(place: Path, folder: Path) -> _Known:
    try:
        with contextlib.closing(Local(place / DATABASE, folder)) as home:
            column = home.column
            name = None if column is None else column.model
            return _Known(
                home.get("id"),
                name,
                home.removed(),
                is_believed(home),
                home.codes,
                ignoring.kept(home),
                "" if column is None else column.fingerprint,
                len(home.own_files()),
            )
    except TooNew:
        raise
    except CollectionError:
        return _Known()


def _take_inscriptions(home: Home, old: Home) -> None:
    """What was read inside pictures is not read again: it depends on no model of ours."""
    found = old.inscriptions()
    while some := list(itertools.islice(found, _AT_ONCE)):
        with home.batch(changes=False):
            for one in some:
                home.put_inscription(*one)


def _make_codes(fresh: Collection, before: _Known) -> None:
    """Give the new collection codes like those of the one there, where its vectors can have any."""
    column, known = fresh.home.column, before.codes or {}
    if column is None or column.similarity != "cosine" or not fresh.count("image"):
        return
    system = known.get("system")
    if isinstance(system, str) and before.believed:
        # It may be gone, or have learned from another model.
        with contextlib.suppress(UsageError, MissingData, BadData):
            fresh.make_codes(system)
            return
    bits = known["bits"]  # of a record that anybody may have written
    if bits % 8 == 0 and bits <= _MOST_BITS:
        fresh.make_codes(bits)


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
    take_files(beside / "search", place / "search")
    shutil.rmtree(beside, ignore_errors=True)
