"""Writes a collection's vectors, codes and what they are of, for other programs and for `diptych.data`.

A folder is laid out as clip-retrieval does it (``img_emb/``, ``text_emb/``, ``metadata/``), a ``.npy`` file
has a ``.jsonl`` beside it with a line for each row, and a ``.parquet`` file holds everything in one table.
All are written as they are read, page by page of one state of the collection: its size costs no memory.
"""

from __future__ import annotations

import abc
import contextlib
import itertools
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from diptych import similarity
from diptych.core import SIDES, Rows, Side
from diptych.engine.homes.entries import Stored
from diptych.engine.opening import Opened
from diptych.engine.place import absolute
from diptych.engine.results import Exported
from diptych.errors import CollectionError, UsageError
from diptych.optional import optional

__all__ = ["export"]

_PAGE = 1_000  # rows that are read and written at a time

Block = NDArray[Any]


class _Line(NamedTuple):
    """A row of what is written.

    Args:
        row: Of the item that it is about.
        picture: Row of the picture whose code goes with it; 0 for none.
        image, text: Vectors as they are kept, of those sides that it has.
    """

    row: int
    picture: int
    image: bytes | None
    text: bytes | None


class _Page(NamedTuple):
    """Some rows: what they are about, vectors (m, d) of the sides that they have, and codes (m, bits / 8)."""

    items: Sequence[Stored]
    image: Block | None
    text: Block | None
    codes: Block | None


def export(
    opened: Opened, to: str | Path, *, side: Side | None = None, codes: bool = False, single: bool = False
) -> Exported:
    """Write vectors and what they are of; see `Collection.export`."""
    path, home = absolute(to), opened.home
    column = home.column
    if column is None or not column.fingerprint:
        raise UsageError(f"nothing is indexed in {opened.folder} yet, so there is nothing to write")
    if os.path.lexists(path):
        raise UsageError(f"{path} is there already; give a name that is free, or remove it")
    kind = path.suffix.lower()
    if kind == ".npy":
        side = side or "image"
    elif kind and kind != ".parquet":
        raise UsageError(
            f"{path.name} ends in {path.suffix}, which is not written; give a .npy or .parquet file, or a "
            "folder"
        )
    with home.snapshot():
        packed = home.packed() if codes else None
        if codes and packed is None:
            raise UsageError(f"{opened.folder} has no codes of {opened.model}; make some first")
        sides: tuple[Side | None, ...] = SIDES if kind == ".parquet" and side is None else (side,)
        if kind == "" and side is None and not home.count_vectors("text"):
            sides = ("image",)
        parts = [_Part(opened, one) for one in sides]
        count = sum(len(part.rows) for part in parts)
        if not count:
            raise UsageError(f"there are no {_NAMES[side]} in {opened.below or opened.folder} to write")
        bits = 0 if packed is None else packed[1].shape[1] * 8
        form = _Form(count, column.dimensions, np.dtype(np.float32 if single else np.float16), bits)
        paired = kind == "" and sides == (None,)
        writer: _Beside
        if kind == "":
            writer = _Folder(path, form, SIDES if paired else sides)
        else:
            writer = _Table(path, form) if kind == ".parquet" else _Matrix(path, form)
        try:
            with writer:
                for part in parts:
                    for page in part.pages(column.type == "bits", form.type, packed):
                        writer.write(page)
        except OSError as error:
            raise CollectionError(f"{path} cannot be written ({error.strerror or error})") from error
        left = len(_Part(opened, "image").rows) - parts[0].pictures() if paired else 0
    return Exported(path, count, column.dimensions, form.type.name, bits, left)


_NAMES = {None: "pictures with captions", "image": "pictures", "text": "texts"}


class _Part:
    """What of a collection is written: the items of a side, or pairs of a picture and a caption."""

    def __init__(self, opened: Opened, side: Side | None) -> None:
        self.home, self.side = opened.home, side
        self._within: Rows | None = None
        if opened.below is not None:
            key = self.home.key(opened.below)
            self._within = np.array(self.home.rows(side or "text", under=key), np.int64)
        self.rows = np.fromiter((line.row for line in self._lines(vectors=False)), np.int64)

    def pictures(self) -> int:
        """How many pictures are among the pairs."""
        found = np.fromiter((line.picture for line in self._lines(vectors=False)), np.int64)
        return len(np.unique(found))

    def pages(self, unpack: bool, kind: np.dtype[Any], packed: tuple[Rows, Block] | None) -> Iterator[_Page]:
        """Everything, page by page.

        Args:
            unpack: Whether vectors are kept as codes.
            kind: Type of the vectors given.
            packed: Rows and codes of pictures.
        """
        lines = self._lines(vectors=True)
        while page := list(itertools.islice(lines, _PAGE)):
            codes = None
            if packed is not None:
                codes = np.zeros((len(page), packed[1].shape[1]), np.uint8)
                of = np.array([line.picture for line in page])
                at = np.searchsorted(packed[0], of)
                codes[of > 0] = packed[1][at[of > 0]]
            items = self.home.items([line.row for line in page])
            images = _block([line.image for line in page], unpack, kind)
            texts = _block([line.text for line in page], unpack, kind)
            yield _Page(items, images, texts, codes)

    def _lines(self, *, vectors: bool) -> Iterator[_Line]:
        found: Iterable[_Line]
        if self.side is None:
            found = (_Line(*one) for one in self.home.pairs(vectors=vectors))
        elif not vectors:
            found = (_Line(int(row), int(row), None, None) for row in self.home.row_numbers(self.side))
        elif self.side == "image":
            found = (_Line(row, row, vector, None) for row, vector in self.home.vectors("image"))
        else:
            found = (_Line(row, 0, None, vector) for row, vector in self.home.vectors("text"))
        if self._within is None:
            yield from found
            return
        for line in found:
            at = np.searchsorted(self._within, line.row)
            if at < len(self._within) and self._within[at] == line.row:
                yield line


def _block(vectors: list[bytes | None], unpack: bool, kind: np.dtype[Any]) -> Block | None:
    """Vectors (m, d) of these."""
    kept = [vector for vector in vectors if vector is not None]
    if not kept:
        return None
    if unpack:
        bits = np.frombuffer(b"".join(kept), np.uint8).reshape(len(kept), -1)
        return similarity.unpack(bits).astype(kind)
    return np.frombuffer(b"".join(kept), np.float16).reshape(len(kept), -1).astype(kind)


# What is written


class _Form(NamedTuple):
    """Rows, dimensions and type of vectors, and bits of codes (0 for none)."""

    rows: int
    dimensions: int
    type: np.dtype[Any]
    bits: int


class _Beside(abc.ABC):
    """Takes pages, under names beside; files get their own when the block ends, and are gone if it fails."""

    def __init__(self, path: Path, form: _Form) -> None:
        self.path, self.form = path, form
        self._stack = contextlib.ExitStack()
        self._named: dict[Path, Path] = {}  # what was written, and what it will be called

    def part(self, path: Path) -> Path:
        """Where to write what is to be called so."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
        self._named[part] = path
        return part

    def matrix(self, path: Path, rows: int, width: int, kind: np.dtype[Any]) -> Any:
        """A file, open after the header of a matrix (rows, width)."""
        file = self._stack.enter_context(path.open("wb"))
        form = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": (rows, width)}
        np.lib.format.write_array_header_1_0(file, form)
        return file

    @abc.abstractmethod
    def open(self) -> None:
        """Begin the files."""

    @abc.abstractmethod
    def write(self, page: _Page) -> None:
        """Add a page to them."""

    def __enter__(self) -> Any:
        try:
            self.open()
        except BaseException as error:
            self.__exit__(type(error))
            raise
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        self._stack.close()
        for part, path in self._named.items():
            if kind is None:
                os.replace(part, path)
            elif part.is_dir():
                shutil.rmtree(part, ignore_errors=True)
            else:
                part.unlink(missing_ok=True)


class _Matrix(_Beside):
    """``x.npy`` with ``x.jsonl`` and, of codes, ``x.codes.npy``."""

    def open(self) -> None:
        path, form = self.path, self.form
        self._vectors = self.matrix(self.part(path), form.rows, form.dimensions, form.type)
        lines = self.part(path.with_suffix(".jsonl"))
        self._lines = self._stack.enter_context(lines.open("w", encoding="utf-8"))
        self._codes = None
        if form.bits:
            codes = self.part(path.with_suffix(".codes.npy"))
            self._codes = self.matrix(codes, form.rows, form.bits // 8, np.dtype(np.uint8))

    def write(self, page: _Page) -> None:
        vectors = page.image if page.image is not None else page.text
        self._vectors.write(np.ascontiguousarray(vectors).data)
        for item in page.items:
            self._lines.write(json.dumps(_facts(item), ensure_ascii=False) + "\n")
        if self._codes is not None:
            self._codes.write(np.ascontiguousarray(page.codes).data)


class _Table(_Beside):
    """``x.parquet``: id, side, text, captions, fields, vector and code of every item."""

    def open(self) -> None:
        form = self.form
        parquet = optional("pyarrow.parquet", "writing Parquet", "data")
        self._arrow = optional("pyarrow", "writing Parquet", "data")
        vector = self._arrow.list_(self._arrow.from_numpy_dtype(form.type), form.dimensions)
        fields = {**_columns(self._arrow), "vector": vector}
        if form.bits:
            fields["code"] = self._arrow.binary(form.bits // 8)
        self._schema = self._arrow.schema(list(fields.items()))
        self._writer = self._stack.enter_context(parquet.ParquetWriter(self.part(self.path), self._schema))

    def write(self, page: _Page) -> None:
        vectors = page.image if page.image is not None else page.text
        assert vectors is not None, "an item has a vector"
        found = _listed(page.items)
        flat = self._arrow.array(np.ascontiguousarray(vectors).reshape(-1))
        arrays: list[Any] = [self._arrow.array(found[name], self._schema.field(name).type) for name in found]
        arrays.append(self._arrow.FixedSizeListArray.from_arrays(flat, vectors.shape[1]))
        if page.codes is not None:
            codes = [code.tobytes() for code in page.codes]
            arrays.append(self._arrow.array(codes, self._schema.field("code").type))
        self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))


class _Folder(_Beside):
    """A folder as clip-retrieval writes it, with ``codes/`` beside."""

    def __init__(self, path: Path, form: _Form, sides: Iterable[Side | None]) -> None:
        super().__init__(path, form)
        self._sides = sides

    def open(self) -> None:
        form = self.form
        parquet = optional("pyarrow.parquet", "writing the metadata of vectors", "data")
        self._arrow = optional("pyarrow", "writing the metadata of vectors", "data")
        self._place = self.part(self.path)
        self._matrices = {
            side: self._shard(
                f"{'img' if side == 'image' else 'text'}_emb", form.rows, form.dimensions, form.type
            )
            for side in self._sides
        }
        self._codes = None
        if form.bits:
            self._codes = self._shard("codes", form.rows, form.bits // 8, np.dtype(np.uint8))
        columns = _columns(self._arrow)
        self._schema = self._arrow.schema(
            [("image_path", columns["id"]), ("caption", columns["text"])]
            + [(name, columns[name]) for name in ("captions", "fields")]
        )
        metadata = self._place / "metadata"
        metadata.mkdir()
        self._writer = self._stack.enter_context(
            parquet.ParquetWriter(metadata / "metadata_0.parquet", self._schema)
        )

    def _shard(self, name: str, rows: int, width: int, kind: np.dtype[Any]) -> Any:
        folder = self._place / name
        folder.mkdir(parents=True)
        return self.matrix(folder / f"{name}_0.npy", rows, width, kind)

    def write(self, page: _Page) -> None:
        for side, block in (("image", page.image), ("text", page.text)):
            if side in self._matrices:
                self._matrices[side].write(np.ascontiguousarray(block).data)  # type: ignore[index]
        if self._codes is not None:
            self._codes.write(np.ascontiguousarray(page.codes).data)
        found = _listed(page.items)
        captions = [item.text or next(iter(item.captions), "") for item in page.items]
        columns = (found["id"], captions, found["captions"], found["fields"])
        arrays = [
            self._arrow.array(one, field.type) for one, field in zip(columns, self._schema, strict=True)
        ]
        self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))


def _columns(arrow: Any) -> dict[str, Any]:
    text = arrow.string()
    return {"id": text, "side": text, "text": text, "captions": arrow.list_(text), "fields": text}


def _listed(items: Sequence[Stored]) -> dict[str, list[Any]]:
    """Facts of items by name; fields as JSON, as each picture has others."""
    found = [_facts(item) for item in items]
    listed = {name: [one[name] for one in found] for name in ("id", "side", "text", "captions")}
    return {**listed, "fields": [json.dumps(one["fields"], ensure_ascii=False) for one in found]}


def _facts(item: Stored) -> dict[str, Any]:
    """What an item is, in texts that any program reads."""
    name = os.fsencode(item.id).decode("utf-8", "replace")
    fields = {key: list(values) for key, values in item.fields.items()}
    return {
        "id": name, "side": item.side, "text": item.text, "captions": list(item.captions), "fields": fields
    }  # fmt: skip
