"""Items that a program gives, without files: pictures, texts and ready vectors under ids of its own.

They are kept under names that no file can have, so that what happens to files never concerns them.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from diptych.core import encodes, offered
from diptych.engine import storage
from diptych.engine.calibration import keep_calibration
from diptych.engine.decoding import digest_of
from diptych.engine.homes.base import Home
from diptych.engine.homes.entries import Caption
from diptych.engine.homes.folding import OF_NAMES
from diptych.engine.homes.names import name_of, own_key
from diptych.engine.model import Model, adopt
from diptych.engine.opening import Opened
from diptych.engine.query import picture_of
from diptych.engine.results import Summary
from diptych.errors import UsageError
from diptych.media import fetch as web
from diptych.media.metadata import fields_of_row
from diptych.printable import type_of

if TYPE_CHECKING:
    from diptych.media.pictures import Source

__all__ = ["NewItem", "add_items", "copy_items", "remove_items"]

_COPIED = 1_000  # items in a batch


@dataclass(frozen=True, slots=True)
class NewItem:
    """A picture, texts, or both, that a program gives to a collection.

    Args:
        id: What it is called in results; an item of that id is replaced.
        image: A picture: a path, the bytes of a file, a PIL picture or an array (h, w, 3) of uint8; the
            address of one on the web, where that may be fetched. It is encoded, and not kept.
        vector: Or the picture's vector (d,), as the collection's model gives it.
        texts: Its texts: captions of the picture, or items by themselves where there is none.
        meta: Anything known of it by names, as a table of metadata has it.
    """

    id: str
    image: Source | None = None
    vector: ArrayLike | None = None
    texts: Sequence[str] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)


def add_items(
    opened: Opened, items: Iterable[NewItem], *, fetch: bool = False, batch_size: int | None = None
) -> Summary:
    """Take in items, batch by batch; see `Collection.add_items`."""
    opened, summary = opened.default, Summary()
    with opened.writing():
        model, column = opened.loaded(), opened.home.column
        if column is None or not column.fingerprint:
            adopt(opened.home, model)
            model = opened.loaded()
        waiting = iter(items)
        batch_size = batch_size or int(offered(model.encoder, "batch_size", 16))
        while batch := list(itertools.islice(waiting, batch_size)):
            _store(opened, model, batch, summary, fetch=fetch)
        opened.home.keep_codes(model.encode_texts)
        keep_calibration(opened.home, model)
    return summary


def remove_items(opened: Opened, ids: Iterable[str]) -> int:
    """Forget items by their ids; returns how many were there."""
    opened = opened.default
    if isinstance(ids, str):
        raise UsageError("remove_items takes a list of ids; put a single one into a list")
    with opened.writing():
        home = opened.home
        known = [file.id for one in dict.fromkeys(ids) if (file := home.file(own_key(_checked(one))))]
        if known:
            with home.batch():
                home.remove_files(known)
    return len(known)


def copy_items(home: Home, old: Home) -> None:
    """Take the items of programs, with their vectors, from another home of the same model; in batches.

    What lies in a storage and is there already was read anew.
    """
    waiting = (
        one
        for one in old.own_files()
        if not storage.is_address(name_of(one.key)) or home.file(one.key) is None
    )
    while batch := list(itertools.islice(waiting, _COPIED)):
        fields = old.fields([one.id for one in batch])
        with home.batch():
            for one in batch:
                file = home.put_file(one.key, one.size, one.mtime_ns, one.hash)
                if (vector := old.image_vector(one.id)) is not None:
                    home.put_image(file, vector)
                texts = old.texts(one.id)
                vectors = old.text_vectors(text for text, _ in texts)
                home.add_captions(file, [Caption(text, vectors[text], source) for text, source in texts])
                told = {name: values for name, values in fields[one.id].items() if name not in OF_NAMES}
                home.put_fields(file, told)


def _store(opened: Opened, model: Model, batch: Sequence[NewItem], summary: Summary, *, fetch: bool) -> None:
    """Check and encode a batch, and store it in one transaction."""
    from diptych.media.pictures import open_picture

    home, pictures, ready = opened.home, dict[str, Any](), dict[str, Any]()
    size, prepare = offered(model.encoder, "image_size"), offered(model.encoder, "prepare_image")
    last = {_id(one): one for one in batch}  # of the same id the last one counts
    for name, one in last.items():
        if isinstance(one.texts, str) or not all(
            isinstance(text, str) and text.strip() for text in one.texts
        ):
            raise UsageError(f"the texts of {name!r} must be a list of texts that are not empty")
        if one.texts and not encodes(model.encoder, "text"):
            raise UsageError(f"{model.name} encodes no texts, so {name!r} can have none")
        if one.image is not None and one.vector is not None:
            raise UsageError(f"{name!r} has a picture and a vector; give one of the two")
        if one.vector is not None:
            ready[name] = _vector(one.vector, name, model)
        elif one.image is not None:
            source = one.image
            if web.is_address(source):
                if not fetch:
                    raise UsageError(
                        f"the picture of {name!r} is an address, {source}; fetch=True fetches such pictures"
                    )
                source = web.fetch(source)
            picture = open_picture(picture_of(source, paths=(str, os.PathLike)), size=size, name=name)
            pictures[name] = picture if prepare is None else prepare(picture)
        elif not one.texts:
            raise UsageError(f"{name!r} has neither a picture, nor a vector, nor texts")
    vectors = dict(zip(pictures, model.stored("image", list(pictures.values())), strict=True))
    if ready:
        vectors |= dict(zip(ready, model.kept(np.stack(list(ready.values()))), strict=True))
    known, new = model.text_vectors(home, (text.strip() for one in last.values() for text in one.texts))
    summary.encoded += len(pictures) + new
    with home.batch():
        there = home.files_named([own_key(name) for name in last])
        for name, one in last.items():
            key = own_key(name)
            file = home.put_file(key, -1, -1, digest_of(key))
            if name in vectors:
                home.put_image(file, vectors[name])
            own = dict.fromkeys(text.strip() for text in one.texts)
            home.put_captions(file, "", [Caption(text, known[text], "program") for text in own])
            home.put_fields(file, fields_of_row(one.meta))
            summary.changed += key in there
            summary.added += key not in there


def _id(item: Any) -> str:
    if not isinstance(item, NewItem):
        raise UsageError(f"items are given as NewItem(id, image=..., texts=...), not as {type_of(item)}")
    return _checked(item.id)


def _checked(name: Any) -> str:
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise UsageError(f"the id of an item is a text that is not empty, not {name!r}")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"the id {name!r} holds half a character; give whole ones") from error
    return name


def _vector(given: ArrayLike, name: str, model: Model) -> Any:
    """A ready vector (d,) as single precision."""
    try:
        vector = np.asarray(given, np.float32)
    except (TypeError, ValueError) as error:
        raise UsageError(f"the vector of {name!r} is no list of numbers ({error})") from error
    if vector.shape != (model.dimensions,) or not np.isfinite(vector).all():
        raise UsageError(
            f"the vector of {name!r} must be {model.dimensions} finite numbers, as {model.name} gives them, "
            f"not of shape {vector.shape}" + ("" if np.isfinite(vector).all() else " with NaN or infinity")
        )
    if model.similarity == "hamming" and not (np.abs(vector) == 1).all():
        raise UsageError(f"the vector of {name!r} must be +1 and -1, as {model.name} gives codes")
    if model.similarity == "cosine" and not vector.any():
        raise UsageError(f"the vector of {name!r} is zero, which has no direction to compare")
    return vector
