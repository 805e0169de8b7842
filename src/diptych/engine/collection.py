"""Collections: pictures and texts of a folder, kept current and searched.

Example:
    >>> with open_collection(pictures, model=model) as collection:
    ...     summary = collection.add(pictures)
    ...     [result.path.name for result in collection.search("green", k=1)]
    ['green.png']
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diptych.core import Encoder, Item, Scorer, Side
from diptych.engine import ignoring
from diptych.engine.conditions import Condition
from diptych.engine.contents import Contents
from diptych.engine.gallery import Gallery
from diptych.engine.hubness import Hubness
from diptych.engine.listing import Fold
from diptych.engine.looks import ALIKE
from diptych.engine.parts import Parts, liked, weighted
from diptych.engine.place import default_home, discard, find
from diptych.engine.query import Options, check_side, composed
from diptych.engine.results import (
    By,
    Exported,
    Filled,
    ModelFacts,
    Progress,
    Result,
    Results,
    Skipped,
    Summary,
    Word,
)
from diptych.engine.search import search_many
from diptych.engine.where import where_of
from diptych.errors import UsageError
from diptych.pipeline import DEPTH

if TYPE_CHECKING:
    from diptych.cluster import Cluster
    from diptych.engine.assisted import Assistant
    from diptych.engine.duplicates import Duplicates
    from diptych.engine.items import NewItem
    from diptych.engine.reranking import Calibrated
    from diptych.engine.why import Why
    from diptych.llm import LanguageModel
    from diptych.media.pictures import Source

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
            ``?collection=name`` for one of several there.
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


class Collection(Contents):
    """Pictures and texts of a folder, with the vectors that one model made of them; see `open_collection`.

    `Contents` is what it holds: here is what fills and searches it.
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
            batch_size: Pictures encoded and stored at a time; the encoder's own choice if None.
            on_progress: Called after every batch.

        Raises:
            UsageError: a path that does not exist, or a captioner that describes nothing.
            MissingExtra: text is to be read, or a cluster or storage used, without the package for it.
            Unreachable: a cluster or storage does not answer; what was stored before is kept.
            CollectionBusy: another process is writing.
        """
        from diptych.engine.update import How, update

        if max_pixels is not None and max_pixels < 1:
            raise UsageError(f"a picture has at least 1 pixel, so max_pixels cannot be {max_pixels}")
        how = How(recursive, texts, follow_links, check, forget_missing, max_pixels, ocr, cluster, caption)
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

    # Searching

    def search(
        self,
        query: Source | Item | None = None,
        *,
        text: Parts[str] = (),
        image: Parts[Source] = (),
        like: Parts[str | Path] = (),
        negative: Parts[str] = (),
        text_weight: float = 1.0,
        image_weight: float = 1.0,
        negative_weight: float = 0.5,
        to: Side = "image",
        k: int = 10,
        min_score: float | Word | None = None,
        exact: bool = False,
        recall: float | None = None,
        model: str | Encoder | None = None,
        where: str | Condition | None = None,
        by: By = "both",
        offset: int = 0,
        fold: Fold | None = "exact",
        itself: bool = False,
        diverse: float | None = None,
        hubness: Hubness | None = None,
        rerank: str | Scorer | Encoder | None = None,
        depth: int = DEPTH,
    ) -> Results:
        """The k best matches, best first.

        Args:
            query: Words (a `str` always is), a picture (a `Path`, the bytes of a file, a PIL picture or an
                array), or a ready `Item`.
            text: Words to look for, also. These and the following are one or a list, and each may be a pair
                of its own weight and what it is, such as ``(2, "cat")``.
            image: Pictures to look like, also: as above, but a `str` is a path.
            like: Pictures of the collection to look like, also, by path or `id`; their vectors are there, so
                that nothing is decoded or encoded. Of a file of texts, its texts.
            negative: Words to keep away from.
            text_weight, image_weight, negative_weight: Weights of words, of each picture, and of each of the
                words to keep away from, where they have none of their own.
            to: "image" or "text".
            k: Most results wanted.
            min_score: Leave out results that score lower than a number, or that are less than "strong",
                "good" or "fair".
            exact: Compare with every picture even if there are codes.
            recall: With codes, the share of the ten best that must be found; 0.98 if None.
            model: The one of the collection's models whose vectors are compared; the default if None.
            where: What the pictures' fields must fulfil, such as ``"date >= 2024 and tag = 'dog'"`` or
                ``(diptych.where.date >= 2024) & (diptych.where.tag == "dog")``; only among these is searched.
            by: "vectors" compares vectors, "words" looks for the query's words in captions, names of files
                and folders, "both" puts both into one order (`diptych.engine.fusion`). Of a query with
                pictures only the vectors count; words to keep away from leave out what has all words of one.
            offset: Results that are passed over. Pages of one size k neither repeat a result nor leave one
                out, as long as the collection stays as it is.
            fold: Which copies are told under the best of them instead of by themselves: "exact" for files of
                the same content, "near" for nearly the same pictures, too; None for no folding.
            itself: Whether pictures of the collection that are asked with are found, too, when pictures are
                searched. Their copies always are.
            diverse: Weight in [0, 1] of being unlike the results before, beside matching; 0.3 is a good one.
                The best hundred are ordered by it, then the next.
            hubness: "nnn" corrects the order of the best 200 where some are near to everything, by how near
                they are to the collection's captions, or to its pictures where a picture asks; see
                `diptych.engine.hubness`.
            rerank: A scorer of pairs, or another encoder, or its name, that ranks the first hits anew. What
                it says counts with the search's own scores, by a weight; see `diptych.pipeline.Hybrid`. It
                reads the pictures, so that it takes time: `Results.reranked` says how much.
            depth: First hits that it ranks anew; the others stay behind them.

        Raises:
            UsageError: nothing was asked or nothing that can be, k is not positive, a recall is asked of a
                collection without codes, there are no vectors of the model, or the filter is none.
            ImageError: a picture of the query cannot be read.
        """
        item = self._asked(
            query,
            text=text,
            image=image,
            like=like,
            negative=negative,
            text_weight=text_weight,
            image_weight=image_weight,
            negative_weight=negative_weight,
        )
        options = Options(
            to, k, min_score, exact, recall, model, where, by, offset, fold, itself, diverse, hubness, rerank,
            depth,
        )  # fmt: skip
        return search_many(self, [item], options)[0]

    def _asked(
        self,
        query: Source | Item | None,
        *,
        like: Parts[str | Path] = (),
        image_weight: float = 1.0,
        **parts: Any,
    ) -> Item:
        """The parts of a query as one item; see `search`."""
        known = [
            (weight, liked(self.home, name, self.folder))
            for weight, name in weighted(like, image_weight, "image")
        ]
        return composed(query, like=known, image_weight=image_weight, **parts)

    def search_many(
        self,
        queries: Sequence[Source | Item],
        *,
        to: Side = "image",
        k: int = 10,
        min_score: float | Word | None = None,
        exact: bool = False,
        recall: float | None = None,
        model: str | Encoder | None = None,
        where: str | Condition | None = None,
        by: By = "both",
        offset: int = 0,
        fold: Fold | None = "exact",
        itself: bool = False,
        diverse: float | None = None,
        hubness: Hubness | None = None,
        rerank: str | Scorer | Encoder | None = None,
        depth: int = DEPTH,
    ) -> list[Results]:
        """The k best matches of each query, each as the first argument of `search`.

        A system that makes the lists of both directions agree sees the queries together.
        """
        options = Options(
            to, k, min_score, exact, recall, model, where, by, offset, fold, itself, diverse, hubness, rerank,
            depth,
        )  # fmt: skip
        return search_many(self, queries, options)

    def why(self, name: str | Path, query: Source | Item | None = None, **parts: Any) -> Why:
        """Why a result matches: which parts of its picture, and which words of its texts.

        Parts of the picture are encoded by themselves, and texts without one of their words, so that it takes
        as long as encoding 37 pictures.

        Args:
            name: The result's `id`, or its file.
            query: As for `search`.
            parts: Also `text`, `image`, `like`, `negative` and their weights, as for `search`.

        Raises:
            UsageError: it is not in the collection, or nothing that can be was asked.
            ImageError: its picture or one of the query cannot be read.
        """
        from diptych.engine.why import why

        found = self.get(name)
        if found is None:
            raise UsageError(
                f"{self.folder} has no {os.fspath(name)!r} indexed; name it by the `id` that results have"
            )
        return why(self, found, self._asked(query, **parts))

    def calibrate_rerank(self, rerank: str | Scorer | Encoder, *, depth: int = DEPTH) -> Calibrated:
        """Learn from the collection's captions how much a re-ranker has to say, and what its scores mean.

        Two hundred captions ask for their pictures and as many pictures for their captions: the weight is
        that with which the right ones rank best. Things that no caption names ask, too, so that results which
        were ranked anew can be told in words. `search` uses both from then on.

        Args:
            rerank, depth: As for `search`.

        Raises:
            UsageError: there are too few captioned pictures, or the system can rank nothing anew.
            CollectionBusy: another process is writing.
        """
        from diptych.engine.reranking import calibrate

        return calibrate(self, rerank, depth)

    def newest(
        self,
        *,
        where: str | Condition | None = None,
        to: Side = "image",
        k: int = 10,
        offset: int = 0,
        fold: Fold | None = "exact",
    ) -> Results:
        """The newest, by the field "date", and after those with one the others by their files' time.

        Nothing is compared, so that their score is 0 and no model is loaded.

        Args:
            where, to, k, offset, fold: As for `search`.

        Raises:
            UsageError: k is not positive, or the filter is none.
        """
        from diptych.engine.modelless import newest

        return newest(self, Options(to, k, where=where, offset=offset, fold=fold))

    def assisted(
        self,
        llm: str | LanguageModel | None = None,
        *,
        captioner: str | LanguageModel | None = None,
        seconds: float = 30.0,
        budget: Mapping[str, float] | None = None,
    ) -> Assistant:
        """What searches this collection with the help of a language model.

        Args:
            llm: The model or its name (`diptych.llm.named`); None for the one that the environment sets.
            captioner: Describes pictures that are asked with: as `llm`; None leaves it to `llm`.
            seconds: For a reply.
            budget: The most of "calls", "tokens", "seconds" and "money" that it may use.

        Raises:
            UsageError: no model is named anywhere.
            MissingData, MissingExtra: the model needs what is not there.
        """
        from diptych.engine.assisted import Assistant

        return Assistant(self, llm, captioner=captioner, seconds=seconds, budget=budget)

    def allow_pictures(self, host: str, *, allow: bool = True) -> None:
        """Record whether pictures of this collection may be sent to a host's language model.

        Until it is recorded, no picture leaves this machine.

        Args:
            host: Such as "api.openai.com".
            allow: Whether they may, from now on.

        Raises:
            UsageError: there is no such host.
            CollectionBusy: another process is writing.
        """
        from diptych.engine.assisted import allow_pictures

        allow_pictures(self, host, allow=allow)

    def duplicates(
        self,
        *,
        threshold: float | None = ALIKE,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Duplicates:
        """Copies among the pictures: files of the same content, and nearly the same pictures, kept apart.

        Nearly the same is what differs by size, compression, brightness, contrast or colour, or is a part of
        three quarters of each side or more. Each picture is compared with the nearest by vectors; pictures
        are read for it, but not encoded.

        Args:
            threshold: Likeness, above 0 and at most 1, from which pictures are nearly the same; None compares
                content only.
            on_progress: Called now and then.

        Raises:
            UsageError: the threshold is none.
        """
        from diptych.engine.duplicates import find as found

        return found(self, threshold=threshold, on_progress=on_progress)

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
