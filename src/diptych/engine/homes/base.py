"""What a collection asks of the place that it lives in: a `Home`.

A home keeps files and their items, the vectors of those items by column, and settings. Whoever fills it does
so in batches, each of which is there whole or not at all; whoever reads may hold on to one state of it. File
names are bytes (`os.fsencode`), relative to the collection's folder where they lie in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from diptych.core import Floats, Rows, Searchable, Side
from diptych.engine.conditions import Condition
from diptych.engine.homes.entries import Caption, Known, Lacking, State, Stored, VectorColumn, Worded
from diptych.media.metadata import Fields, Value

__all__ = ["Home", "Vectors"]

T = TypeVar("T")


class Vectors(Searchable, Protocol):
    """The vectors of one side in one state, searched by row."""

    @property
    def rows(self) -> Rows:
        """(n,) rows that can be found, ascending."""
        ...

    def of(self, rows: Rows) -> Floats:
        """Vectors (m, d) of some of the rows (m,) in single precision; of binary codes, +1 and -1."""
        ...

    def stored(self) -> tuple[Rows, NDArray[Any]]:
        """Those rows, and their vectors as they are kept: (n, d) half precision, or (n, bytes) codes."""
        ...


class Home(Protocol):
    """Where a collection lives. Methods raise `CollectionError` for whatever is wrong with what is below.

    Attributes:
        place: The folder that holds it, or that holds what else belongs to the collection on this machine.
        root: The folder that names of files are relative to.
        believed: Whether the run folders that it names may be loaded, and files shown that are links out of
            that folder.
    """

    place: Path
    root: Path
    believed: bool

    @property
    def name(self) -> str:
        """What it is called where people read it; holds no password."""
        ...

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        ...

    def close(self) -> None:
        """Let go of everything; methods called afterwards say that it is closed."""
        ...

    # States and settings

    @property
    def state(self) -> State:
        """What the last batch left."""
        ...

    @property
    def latest_state(self) -> State:
        """What the last batch left, whatever is held on to now."""
        ...

    def knows(self, state: State) -> bool:
        """Whether it was ever in that state, whatever is held on to now."""
        ...

    def writing(self) -> AbstractContextManager[None]:
        """Hold the lock of the one who may write.

        Raises:
            CollectionBusy: somebody else holds it; says who.
        """
        ...

    def again(self, action: Callable[[], T]) -> T:
        """What a function gives that only reads; done again where a connection was lost on the way."""
        ...

    def batch(self, *, changes: bool = True) -> AbstractContextManager[None]:
        """One transaction of this thread: kept in full when the block ends, or not at all.

        Args:
            changes: Whether items change, which makes a new state.
        """
        ...

    def snapshot(self) -> AbstractContextManager[State]:
        """A block in which this thread reads one state, whatever is written meanwhile."""
        ...

    def get(self, name: str) -> str | None:
        """A setting, or None."""
        ...

    def set(self, name: str, value: str) -> None:
        """Keep a setting; inside a batch."""
        ...

    # Columns of vectors

    @property
    def column(self) -> VectorColumn | None:
        """The column that searches use; None in a collection that has no model yet."""
        ...

    def columns(self) -> list[VectorColumn]:
        """All columns, the main one first, then as they came."""
        ...

    def using(self, column: VectorColumn) -> Self:
        """The same home, whose vectors and codes are those of one column, whichever is the main one."""
        ...

    def put_column(self, name: str, model: str, fingerprint: str, similarity: str, dimensions: int) -> None:
        """Make a column, or say anew what one holds; inside a batch."""
        ...

    def make_main(self, column: VectorColumn) -> None:
        """Make a column the one that searches use, and that before it one beside; inside a batch."""
        ...

    def drop_column(self, column: VectorColumn) -> None:
        """Forget a column with its vectors and codes; inside a batch."""
        ...

    def vectors(self, side: Side) -> Iterator[tuple[int, bytes]]:
        """Row and stored vector of a side's items, ascending."""
        ...

    def vectors_of(self, rows: Rows) -> NDArray[Any]:
        """The stored vectors of items (m,), in their order: (m, d) half precision, or (m, bytes) codes.

        Raises:
            CollectionError: one has none, or one of another length.
        """
        ...

    def row_numbers(self, side: Side) -> Rows:
        """Every row of a side that has a vector, ascending."""
        ...

    def pairs(self, *, vectors: bool = True) -> Iterator[tuple[int, int, bytes | None, bytes | None]]:
        """Of every caption, in the order of their rows: its row, that of its picture, the vectors of both.

        Args:
            vectors: Whether to read these; else None stands in their place.
        """
        ...

    def count_vectors(self, side: Side) -> int:
        """How many items of a side have a vector."""
        ...

    def count_lacking(self, side: Side) -> int:
        """How many items of a side have no vector."""
        ...

    def lacking(self, side: Side, *, after: int, most: int) -> list[Lacking]:
        """Some items of a side that have no vector, with rows above `after`, ascending."""
        ...

    def last_row(self, side: Side) -> int:
        """The last row of a side that has a vector; 0 if none has."""
        ...

    def put_vectors(self, vectors: Mapping[int, bytes], *, among: bool) -> None:
        """Give items the vectors that they lack; inside a batch.

        Args:
            vectors: By row.
            among: Whether later rows of that side have vectors already.
        """
        ...

    # Names

    def key(self, path: Path) -> bytes:
        """How a path is stored: relative where it lies in the collection's folder."""
        ...

    def path(self, key: bytes) -> Path:
        """The path that was stored."""
        ...

    def first_outside(self) -> Path | None:
        """The first file named that does not lie in the collection's folder; None if all do."""
        ...

    def of_column(self, name: str) -> str:
        """The name of a setting that each column has for itself."""
        ...

    # Files

    def file(self, key: bytes) -> Known | None:
        """The file of that name, if it is known."""
        ...

    def files_named(self, keys: Iterable[bytes]) -> Mapping[bytes, Known]:
        """Those of the files of some names that are known."""
        ...

    def files(self, under: Path | None = None) -> Iterator[Known]:
        """The files, or those below a folder, by name; what is stored meanwhile may show."""
        ...

    def files_after(self, number: int, most: int) -> list[Known]:
        """Some of the files, and of the items that programs gave, with numbers above one, ascending."""
        ...

    def own_files(self) -> list[Known]:
        """The items that programs gave, which have no file, as if each were one."""
        ...

    def file_names(self, ids: Sequence[int]) -> list[tuple[int, bytes]]:
        """Number and name of those of the files that are known, in the order of their numbers."""
        ...

    def copies(self, rows: Sequence[int]) -> dict[int, list[int]]:
        """Rows of the same content as each of some: of the same side, of equal files, of the same words."""
        ...

    def twins(self, digest: bytes, *, image: bool) -> list[Known]:
        """Some of the files of that content, those with or those without a picture."""
        ...

    def put_file(self, key: bytes, size: int, mtime_ns: int, digest: bytes) -> int:
        """Store a file anew, forgetting its items if it was there; returns its number."""
        ...

    def move_file(self, file: int, key: bytes, size: int, mtime_ns: int) -> None:
        """The file has another name, or another time; its items stay."""
        ...

    def remove_file(self, key: bytes) -> None:
        """Forget the file of that name and its items, if it is known."""
        ...

    def remove_files(self, ids: Iterable[int]) -> None:
        """Forget files and their items."""
        ...

    def put_fields(self, file: int, fields: Fields) -> bool:
        """Make these the fields of a file, besides those that its name gives; inside a batch.

        Returns:
            Whether any changed.
        """
        ...

    def fields(self, files: Sequence[int]) -> Mapping[int, Fields]:
        """The fields of each of the files, "folder" and "name" among them."""
        ...

    def field_names(self) -> Set[str]:
        """Names of the fields that any file has or had."""
        ...

    def matching(self, side: Side, condition: Condition) -> Rows:
        """The rows of a side whose files fulfil a condition, ascending.

        Args:
            side: Of the items.
            condition: As `diptych.engine.filters.checked` gives it.
        """
        ...

    def facets(self, side: Side, name: str, within: Rows | None = None) -> Mapping[Value | None, int]:
        """How many items have each value of a field, the most frequent first; those without under None.

        Args:
            side: Of the items.
            name: A field, or "year".
            within: Only these rows, if given.
        """
        ...

    # Text inside pictures

    def unread(self, after: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Hashes, above one, of pictures that were not looked at for text, each with the name of a file."""
        ...

    def count_unread(self) -> int:
        """How many contents of pictures were not looked at for text."""
        ...

    def put_inscription(self, digest: bytes, state: str, said: str) -> None:
        """Keep what was read in pictures of a content; inside a batch.

        Args:
            digest: Hash of the content.
            state: "read", "nothing" or "failed".
            said: The lines, or why it failed; it becomes the field "inscription" of every file of that
                content, those that come later too.
        """
        ...

    def inscriptions(self) -> Iterator[tuple[bytes, str, str]]:
        """All that was kept so."""
        ...

    # Items

    def put_image(self, file: int, vector: bytes | None) -> None:
        """Store the picture of a file; without a vector if it has none in the column that is used."""
        ...

    def image_vector(self, file: int) -> bytes | None:
        """The stored vector of a file's picture; None if it has none."""
        ...

    def text_vectors(self, texts: Iterable[str]) -> dict[str, bytes]:
        """The stored vectors of those of the texts that are stored anywhere."""
        ...

    def put_stamp(self, file: int, stamp: str) -> None:
        """Say what `Known.captions` is of a file; inside a batch."""
        ...

    def put_captions(self, file: int, stamp: str, captions: Sequence[Caption]) -> None:
        """Make these the texts of a file; rows stay as they are if the texts do."""
        ...

    def add_captions(self, file: int, captions: Sequence[Caption]) -> None:
        """Give a file more texts, after those that it has; inside a batch."""
        ...

    def texts(self, file: int) -> list[tuple[str, str]]:
        """Text and source of each text of a file."""
        ...

    def items(self, rows: Sequence[int], *, shown: bool = True) -> list[Stored]:
        """The items of these rows, in their order.

        Args:
            rows: Of the items.
            shown: Whether all may be shown to somebody; else `check_shown` comes before.

        Raises:
            CollectionError: a row is not there, or it is of a file that may not be shown.
        """
        ...

    def check_shown(self, items: Iterable[Stored]) -> None:
        """See that items may be shown.

        Raises:
            CollectionError: the collection is not believed, and one is a link out of its folder.
        """
        ...

    def rows(self, side: Side, *, under: bytes | None = None) -> list[int]:
        """The rows of a side, ascending; only of files below the folder stored as `under`, if given."""
        ...

    def newest(self, side: Side, *, within: Rows | None = None) -> Rows:
        """The rows of a side, newest first: by the field "date", and then those without by their files' time.

        Args:
            side: Of the items.
            within: Rows that are asked for, ascending; all if None.
        """
        ...

    def rows_of(self, key: bytes) -> list[int]:
        """The rows of a file, its picture first."""
        ...

    def count(self, side: Side) -> int:
        """How many items a side has."""
        ...

    def ids(self, side: Side) -> list[str]:
        """Names of the files of all items of a side that have a vector, in the order of their rows."""
        ...

    # Searching

    def vectors_now(self, side: Side) -> Vectors:
        """The vectors of a side as this thread sees them now."""
        ...

    def words(
        self,
        side: Side,
        text: str,
        *,
        without: Sequence[str] = (),
        within: Rows | None = None,
        also: Rows | None = None,
    ) -> Worded:
        """The entries of a side that share words with a text.

        Of words that very many entries have, some thousand of these are looked at.

        Args:
            side: Pictures have the words of their texts, of whatever source, of tags and other fields, and of
                the names of their files and folders.
            text: What is asked, of which nothing but its words counts.
            without: Leave out what has all words of one of these.
            within: Rows (m,), ascending, to look at; all, if None.
            also: Rows (m,) that are looked at in any case.
        """
        ...

    def words_from(self, rows: Sequence[int], text: str) -> Mapping[int, str]:
        """Where the words of what is asked stand in each item: the source of a text, "tag" or "name"."""
        ...

    def get_ready(self, side: Side) -> None:
        """Load what the next search of a side needs."""
        ...

    def tidy(self) -> None:
        """Remove what was left by those who were killed; the caller may write."""
        ...

    def compact(self) -> None:
        """Give back the room of what was removed, where it pays; the caller may write, others read on."""
        ...

    @property
    def codes(self) -> Mapping[str, Any] | None:
        """What is known of the pictures' binary codes; None if there are none."""
        ...

    def packed(self) -> tuple[Rows, NDArray[np.uint8]] | None:
        """Rows (n,) of the pictures, ascending, and their codes (n, bits / 8); None if there are none."""
        ...

    def quick(self, sides: Sequence[Side], recall: float | None, k: int) -> Searchable | None:
        """What searches pictures in two stages, over codes and then vectors.

        Args:
            sides: What each of the queries is.
            recall: Share of the ten best that must be found; the home's own choice if None.
            k: Hits wanted.

        Returns:
            None if only exact search promises the recall.
        """
        ...

    def make_codes(self, by: int | str, encode_texts: Callable[[Sequence[str]], Floats]) -> Mapping[str, Any]:
        """Give the pictures binary codes; the caller may write. See `Collection.make_codes`.

        Args:
            by: Code length, or the run folder of a hashing system.
            encode_texts: Gives (n, d) vectors of texts like those that are asked for.
        """
        ...

    def keep_codes(self, encode_texts: Callable[[Sequence[str]], Floats]) -> None:
        """Bring codes, where there are any, up to date with the pictures; the caller may write."""
        ...

    def take_codes(self, other: Home) -> None:
        """Have codes as another home has them, whose vectors are of the same model; the caller may write."""
        ...

    # Skipped files

    def skipped(self) -> Iterator[tuple[bytes, str, int, int]]:
        """Name, reason, size and time of every file that could not be read, by name."""
        ...

    def skipped_file(self, key: bytes) -> tuple[str, int, int] | None:
        """Reason, size and time of one file that could not be read."""
        ...

    def put_skipped(self, key: bytes, reason: str, size: int, mtime_ns: int) -> None:
        """Remember a file that could not be read; size and time -1 make every run try again."""
        ...

    def remove_skipped(self, keys: Iterable[bytes]) -> None:
        """Forget that these files could not be read."""
        ...

    # Removed files

    def removed(self) -> Set[bytes]:
        """Names of the files and folders that are kept out until they are named themselves."""
        ...

    def keep_out(self, keys: Iterable[bytes]) -> None:
        """Keep files and folders out."""
        ...

    def take_again(self, keys: Iterable[bytes]) -> None:
        """No longer keep these out."""
        ...

    def check(self) -> str:
        """The home's own verdict on itself: "ok", or what is wrong."""
        ...
