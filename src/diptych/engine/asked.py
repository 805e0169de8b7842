"""What a collection answers: searches, and what goes with them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diptych.core import Encoder, Item, Scorer, Side
from diptych.engine.conditions import Condition
from diptych.engine.contents import Contents
from diptych.engine.hubness import Hubness
from diptych.engine.listing import Fold
from diptych.engine.looks import ALIKE
from diptych.engine.parts import liked
from diptych.engine.query import Options, composed
from diptych.engine.results import By, Progress, Results, Word
from diptych.engine.search import search_many
from diptych.engine.weights import Parts, weighted
from diptych.errors import UsageError
from diptych.pipeline import DEPTH

if TYPE_CHECKING:
    from diptych.engine.assisted import Assistant
    from diptych.engine.duplicates import Duplicates
    from diptych.engine.reranking import Calibrated
    from diptych.engine.why import Why
    from diptych.llm import LanguageModel
    from diptych.media.pictures import Source

__all__ = ["Asked"]


class Asked(Contents):
    """A collection that is searched; see `Collection`."""

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
            where, to, k, offset, fold: As for `search`; as nothing is compared, "near" is as "exact" here.

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
            captioner: Describes pictures that are asked with: as `llm`; None leaves it to `llm` if that sees
                and may be shown them, and else to the packaged captioner.
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
