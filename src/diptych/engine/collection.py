"""Collections: pictures and texts of a folder, kept current and searched.

Example:
    >>> with open_collection(pictures, model=model) as collection:
    ...     summary = collection.add(pictures)
    ...     [result.path.name for result in collection.search("green", k=1)]
    ['green.png']
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diptych.core import Encoder, Side
from diptych.engine import ignoring
from diptych.engine.asked import Asked
from diptych.engine.gallery import Gallery
from diptych.engine.place import default_home, discard, find
from diptych.engine.query import check_side
from diptych.engine.results import (
    Exported,
    Filled,
    ModelFacts,
    Progress,
    Result,
    Results,
    Skipped,
    Summary,
)
from diptych.engine.where import where_of
from diptych.errors import UsageError

if TYPE_CHECKING:
    from diptych.cluster import Cluster
    from diptych.engine.items import NewItem

__all__ = [
    "Collection",
    "Exported",
    "Filled",
    "Gallery",
    "ModelFacts",
    "Progress",
    "Result",
    "Results",
    "Skipped",
    "Summary",
    "default_home",
    "discard",
    "find",
    "open_collection",
]


def open_collection(
    path: str | Path,
    *,
    model: str | Encoder | None = None,
    create: bool = True,
    trust: bool = False,
    folder: str | Path | None = None,
) -> Collection:
    """The collection of a folder, or of the nearest folder above it that has one; or one on a server.

    Args:
        path: A folder; or the address of a server, such as ``postgresql://user@host/database``, with
            ``?collection=name`` for one of several there; or ``milvus://host/?record=...``, to search there
            what lives in a folder or in PostgreSQL.
        model: A system's name, or an `Encoder`; needed only for a new collection (default: "builtin") or for
            an encoder that has no name. A name must be the one the collection was indexed with.
        create: Whether a collection may be made where there is none. Nothing is written before something is
            added to it.
        trust: Whether to believe a collection that was not made by this user on this machine, from now on: it
            says which model is loaded and where its files lie.
        folder: That names of files are relative to, of a new collection on a server; the current one if None.
            Where the same files lie elsewhere on another machine, ``?folder=...`` in the address says so.

    Raises:
        UsageError: the address is none of a collection.
        MissingData: there is no collection and none may be made, or no such folder.
        ConnectionLost: the server does not answer.
        WrongModel: the collection was indexed with another model.
        TooNew: it was written by a later version of Diptych.
        CollectionError: its file is damaged, or it is somebody else's and not trusted.
    """
    where, below = where_of(path, create=create, folder=folder)
    return Collection(where, model=model, below=below, trust=trust)


class Collection(Asked):
    """Pictures and texts of a folder, with the vectors that one model made of them; see `open_collection`.

    `Contents` is what it holds and `Asked` how it is searched: here is what fills it.
    """

    # Filling

    def add(
        self,
        *paths: str | Path,
        recursive: bool = True,
        texts: bool = False,
        follow_links: bool = False,
        check: bool = False,
        forget_missing: bool = False,
        max_pixels: int | None = None,
        ocr: bool = False,
        cluster: Cluster | None = None,
        caption: Any = None,
        vectors_of: str | Path | None = None,
        batch_size: int | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Summary:
        """Bring the collection up to date with folders, files and patterns.

        Unchanged files are not read, moved ones not encoded, and those that were deleted from the folders
        given are forgotten; but not those whose whole folder is gone, empty or cannot be read, as when a disk
        is away. May be interrupted at any moment; the next call goes on.

        Args:
            paths: Folders, pictures, ``.txt`` files or patterns; none for the collection's own folder. Also
                addresses in object storage, such as ``s3://bucket/photos``, which are the ids of what is
                found there.
            recursive: Also the folders below.
            texts: Also ``.txt`` files in the folders that belong to no picture, each line a text. They are
                notes and letters as often as texts to be found, so that only those are taken that are given
                by name or asked for here; those that the collection has are kept up to date.
            follow_links: Also links that lead out of the folders given, and out of the collection's own.
            check: Read every file, to find those that changed though their size and time are the same.
            forget_missing: Also forget the files whose folder is away.
            max_pixels: Largest picture that is decoded, such as a panorama; those that were too large before
                are tried again. None takes what is safe, see `diptych.media.pictures.open_picture`.
            ocr: Also read the text inside pictures, each content once, when everything else is done and can
                be searched. It becomes the field "inscription" of a picture, and no caption; words find it.
            cluster: Read and encode on the machines of a Ray cluster, to which the folders must look alike.
                None does so here.
            caption: Also describe the pictures that no captioner has described, by that of this name
                ("captioner" for the one that comes with Diptych) or by an object that has `captions`. Each
                caption is a text of the source "generated".
            vectors_of: A database of rclip, whose vectors of unchanged files are taken and not made again. A
                few are compared with what the collection's model makes; those of another are refused.
            batch_size: Pictures encoded and stored at a time; the encoder's own choice if None.
            on_progress: Called after every batch.

        Raises:
            UsageError: a path that does not exist, or a captioner that describes nothing.
            WrongModel: the vectors that are to be taken were made by another model.
            MissingExtra: text is to be read, or a cluster or storage used, without the package for it.
            Unreachable: a cluster or storage does not answer; what was stored before is kept.
            CollectionBusy: another process is writing.
        """
        from diptych.engine.update import How, update

        if max_pixels is not None and max_pixels < 1:
            raise UsageError(f"a picture has at least 1 pixel, so max_pixels cannot be {max_pixels}")
        how = How(
            recursive=recursive, texts=texts, follow_links=follow_links, check=check,
            forget_missing=forget_missing, max_pixels=max_pixels, ocr=ocr, cluster=cluster, caption=caption,
            vectors_of=vectors_of,
        )  # fmt: skip
        return update(self, paths, how, batch_size=batch_size, on_progress=on_progress)

    def remove(self, *paths: str | Path) -> int:
        """Forget files, and all files of folders; returns how many. The files themselves stay.

        They are not taken again, nor what comes into these folders, until they are given to `add` themselves,
        or what lies in these folders is.
        """
        from diptych.engine.update import remove

        with self.writing():
            return remove(self.home, paths)

    def exclude(self, *patterns: str) -> None:
        """Leave out what fits a pattern, from the next `add` on; what of it is known is forgotten then.

        Patterns are those of ``.gitignore``, counted from the collection's folder, and are kept with those
        that it has. Files ``.diptychignore`` with such patterns count in their folders as well.

        Args:
            patterns: Such as ``*.tmp``, ``old/`` (folders of that name), ``/private/`` (that one folder) or
                ``!keep.tmp``, which takes back what an earlier one excludes.

        Raises:
            UsageError: one of them is no pattern.
        """
        ignoring.check_patterns(patterns)
        with self.writing():
            ignoring.keep(self.home, [*(one for one in self.excludes if one not in patterns), *patterns])

    def exclude_no_longer(self, *patterns: str) -> None:
        """Take back patterns, so that the next `add` takes what they left out.

        Raises:
            UsageError: one of them is none of `excludes`.
        """
        known = self.excludes
        if lost := [one for one in patterns if one not in known]:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise UsageError(f"{lost[0]} is no pattern that {self.folder} excludes; {has}")
        with self.writing():
            ignoring.keep(self.home, [one for one in known if one not in patterns])

    def watch(
        self,
        *paths: str | Path,
        recursive: bool = True,
        texts: bool = False,
        follow_links: bool = False,
        max_pixels: int | None = None,
        ocr: bool = False,
        caption: Any = None,
        batch_size: int | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Iterator[Summary]:
        """Keep current for ever: yields the summary of the first run, and of each run after a change.

        Args:
            paths, recursive, texts, follow_links, max_pixels, ocr, caption, batch_size, on_progress: As for
                `add`.

        Raises:
            MissingExtra: the package that watches is not installed.
        """
        from diptych.engine.scan import expand
        from diptych.engine.storage import is_address
        from diptych.engine.watch import changes

        if lost := [path for path in paths if is_address(path)]:
            raise UsageError(f"{lost[0]} lies in a storage, which tells of no changes; add it again instead")

        def added() -> Summary:
            return self.add(
                *paths,
                recursive=recursive,
                texts=texts,
                follow_links=follow_links,
                max_pixels=max_pixels,
                ocr=ocr,
                caption=caption,
                batch_size=batch_size,
                on_progress=on_progress,
            )

        yield added()
        for _ in changes(expand(paths or (self.folder,)), ignore=self.place):
            yield added()

    def add_items(
        self, items: Iterable[NewItem], *, fetch: bool = False, batch_size: int | None = None
    ) -> Summary:
        """Take in pictures, texts and ready vectors that a program gives, under ids of its own.

        They have no files: results have their id and no path, they are never missing, and updates of folders
        leave them alone, until `remove_items` forgets them. Pictures themselves are not kept, so that a
        further model cannot encode them. Items of an id that is there are replaced. Each batch is one
        transaction: stored in full, or not at all.

        Args:
            items: Asked for batch by batch.
            fetch: Whether to fetch pictures whose address on the web (http or https) is given: within 30
                seconds and 64 MB, and from no host of a private network.
            batch_size: Items encoded and stored at a time; the encoder's own choice if None.

        Raises:
            UsageError: an item is none, or its vector is not as the model gives them; the batches before it
                are stored.
            ImageError: a picture cannot be read or fetched.
            CollectionBusy: another process is writing.
        """
        from diptych.engine.items import add_items

        return add_items(self, items, fetch=fetch, batch_size=batch_size)

    def remove_items(self, ids: Iterable[str]) -> int:
        """Forget items that a program gave, by their ids; returns how many were there."""
        from diptych.engine.items import remove_items

        return remove_items(self, ids)

    # Its models

    def add_model(
        self,
        model: str | Encoder,
        *,
        batch_size: int | None = None,
        max_pixels: int | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Filled:
        """Make the vectors of a further model beside those that are there, while searches go on.

        May be interrupted at any moment: `add` and a further call go on, and `add` keeps it current. An
        `Encoder` of a program's own is known only to that program, so that it alone can go on.

        Args:
            model: A system's name, or an `Encoder`.
            batch_size: Pictures encoded and stored at a time; the encoder's own choice if None.
            max_pixels: As for `add`.
            on_progress: Called after every batch.

        Returns:
            What was made, and what could not be.

        Raises:
            UsageError: nothing is indexed yet, it is the default model already, or it gives no vectors of
                pictures.
            WrongModel: there are vectors of a system of that name which do not compare with its own.
            UnknownName, MissingData, MissingExtra: there is no such system, or it needs what is not there.
            CollectionBusy: another process is writing.
        """
        from diptych.engine.columns import add_model

        return add_model(self, model, batch_size=batch_size, max_pixels=max_pixels, on_progress=on_progress)

    def set_default_model(self, model: str | Encoder) -> None:
        """Make one of the models the one that searches use if they name none; that before it stays.

        Raises:
            UsageError: there are no vectors of it.
        """
        from diptych.engine.columns import set_default

        set_default(self, model)

    def drop_model(self, model: str | Encoder) -> None:
        """Forget the vectors and codes of a further model.

        Raises:
            UsageError: there are no vectors of it, or it is the default.
        """
        from diptych.engine.columns import drop_model

        drop_model(self, model)

    # Out

    def export(
        self, to: str | Path, *, side: Side | None = None, codes: bool = False, single: bool = False
    ) -> Exported:
        """Write vectors with what they are of, page by page; those of a further model after `using`.

        Args:
            to: A name that is free. Ending in ``.npy``, the vectors (n, d) of a side, with a line for each
                in a ``.jsonl`` beside it (id, side, text, captions, fields), and codes (n, bits / 8) in a
                ``.codes.npy``. In ``.parquet``, all this in one table. A folder, without an ending, as
                clip-retrieval lays it out: row i of ``img_emb``, ``text_emb`` and ``metadata`` are a
                picture and one of its captions, so that `diptych.open_data` reads it.
            side: "image" or "text", for the items of one side only, each once.
            codes: Also the binary codes of the pictures.
            single: In single precision; else in half, as they are kept.

        Raises:
            UsageError: there is nothing to write, something of that name is there, or no such form.
            MissingExtra: Parquet needs a package that is not installed.
            CollectionError: the disk does not take it.
        """
        from diptych.engine.export import export

        if side is not None:
            check_side("side", side)
        return export(self, to, side=side, codes=codes, single=single)

    def make_codes(self, by: int | str) -> Mapping[str, Any]:
        """Give the pictures binary codes, so that large collections are searched in two stages.

        Codes are learned from the pictures and from texts (the collection's captions, or else
        everyday ones), and how many candidates each recall needs is calibrated on texts and pictures
        that were held out. `search` uses them from then on.

        Args:
            by: Code length, a multiple of 8; as many as the vectors have dimensions is a good choice. Or the
                run folder of a hashing system that learned from vectors of this collection's model, which
                then makes the codes instead of a learned rotation. In PostgreSQL also "hnsw", a graph of the
                vectors themselves.

        Returns:
            What the collection records of them.

        Raises:
            UsageError: nothing is indexed yet, the bits are no multiple of 8, the model has codes itself,
                or the hashing system learned from something else.
            MissingData: there is no such run folder.
        """
        column = self.home.column
        if column is not None and column.similarity != "cosine":
            raise UsageError(
                f"codes are made of vectors that compare by cosine; {self.model} has {column.similarity}"
            )
        with self.writing():
            return self.home.make_codes(by, self.loaded().encode_texts)


open = open_collection  # as `diptych.open`; it shadows the builtin, so nothing here calls it
