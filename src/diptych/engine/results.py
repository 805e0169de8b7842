"""What a collection answers with: results of a search, and the summary of an update."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from diptych.media.report import Report

if TYPE_CHECKING:
    from diptych.core import Side

__all__ = [
    "By",
    "Exported",
    "Filled",
    "FoundBy",
    "Inscriptions",
    "ModelFacts",
    "Progress",
    "Reranked",
    "Result",
    "Results",
    "Skipped",
    "Summary",
    "Word",
]

Word = Literal["strong", "good", "fair", "weak", "not calibrated"]

By = Literal["vectors", "words", "both"]

FoundBy = Literal["vectors", "words", "both", "date"]


@dataclass(frozen=True, slots=True)
class Result:
    """One hit of a search.

    Args:
        rank: 1 for the best.
        score: Similarity in the units of the model, a cosine in [-1, 1]; larger is better. 0 of the
            newest, where nothing was compared.
        percentile: Of a hundred queries for things that nothing in a collection of this size shows, how many
            have a best hit that is less relevant than this one; None where that is not calibrated.
        word: The percentile in a plain word (`diptych.engine.calibration` states the thresholds).
        side: "image" or "text": what was found.
        id: Its name in the collection: the path of its file, relative to the collection's folder if it lies
            there.
        path: The file: the picture, the picture that the text describes, or the text's own file; None of an
            item that a program gave, see `Collection.add_items`.
        text: The text found; for a picture its captions, one a line; None if there are none.
        meta: The fields of its file by name, see `diptych.media.metadata`: a text or a number, a list of them
            for "tag" and for what has many. For a text also its "source": "sidecar", "list", "generated" by a
            captioner, or "own" for a picture's own fields.
        by: Whether its vector, its words or both found it; "date" of what was asked for as the newest.
        words: Part of the query's words that it has, in [0, 1], rare ones counting more; 0 where words were
            not looked for.
        found_in: Where these words stand: the source of a text of it, "tag" for tags and other fields,
            "read" for text inside the picture, "name" for the names of its file and folders; empty if it was
            not found by words.
        copies: The `id` of what is told under this: that of the same content, or nearly the same pictures,
            too, where that was asked for.
        item: Its number in the collection, which no other item ever had or gets; other content has another.
    """

    rank: int
    score: float
    percentile: float | None
    word: Word
    side: Side
    id: str
    path: Path | None
    text: str | None
    meta: Mapping[str, Any] = field(default_factory=dict)
    by: FoundBy = "vectors"
    words: float = 0.0
    found_in: str = ""
    copies: tuple[str, ...] = ()
    item: int = 0

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON has it: paths as text, the score with six digits, the percentile with two."""
        return {
            "rank": self.rank,
            "score": round(self.score, 6),
            "percentile": None if self.percentile is None else round(self.percentile, 2),
            "word": self.word,
            "side": self.side,
            "id": self.id,
            "path": None if self.path is None else str(self.path),
            "text": self.text,
            "meta": dict(self.meta),
            "by": self.by,
            "words": round(self.words, 4),
            "found_in": self.found_in,
            "copies": list(self.copies),
            "item": self.item,
        }

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Result:
        """The result of which `as_dict` told; what a later version tells beside it is passed over."""
        known = {one.name: told[one.name] for one in fields(cls) if one.name in told}
        path = None if told["path"] is None else Path(told["path"])
        return cls(**{**known, "path": path, "copies": tuple(told["copies"])})


@dataclass(frozen=True, slots=True)
class Reranked:
    """How the first hits of a search were ranked anew.

    Args:
        system: The scorer.
        depth: Hits that it looks at, at most.
        weight: Of what it says against the search.
        calibrated: Whether that weight was chosen on held-out pairs.
        pairs: That it scored for one query.
        milliseconds_a_pair: What each took, reading the picture included.
        degraded: Why it did not look at this query's hits; empty if it did.
    """

    system: str
    depth: int
    weight: float
    calibrated: bool
    pairs: int
    milliseconds_a_pair: float
    degraded: str = ""

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON has it; milliseconds with four digits."""
        return {**asdict(self), "milliseconds_a_pair": round(self.milliseconds_a_pair, 4)}


class Results(list[Result]):
    """The hits of one query, best first.

    Args:
        results: The hits.
        nothing_matches: True if there are no hits, or not even the best is more than weak, so that all are
            only the least bad; never of hits that are not calibrated.
        best: The best hit, also where it was left out because it scores too low; None if there is none.
        unknown_words: Words of the query that the model does not know, as those of another language.
        remark: What the model has to say of the query's language, in a sentence; "" for nothing.
        missing: How many hits, as good as these, were left out because their files are not there now.
        reranked: How the first hits were ranked anew; None where that was not asked for.
        seconds: Wall time of the search, without loading the model.

    Attributes:
        notes: What a language model had to do with it: "model", the text that was searched ("rewritten"),
            "usage", and why it could not help ("degraded" in a sentence, "reason" in a word); none if none
            was asked.
    """

    def __init__(
        self,
        results: Iterable[Result] = (),
        *,
        nothing_matches: bool = False,
        best: Result | None = None,
        unknown_words: Iterable[str] = (),
        remark: str = "",
        missing: int = 0,
        reranked: Reranked | None = None,
        seconds: float = 0.0,
    ) -> None:
        super().__init__(results)
        self.nothing_matches = nothing_matches
        self.best = best
        self.unknown_words = tuple(unknown_words)
        self.remark = remark
        self.missing = missing
        self.reranked = reranked
        self.seconds = seconds
        self.notes: Mapping[str, Any] = {}

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON has it; seconds with four digits."""
        return {
            "nothing_matches": self.nothing_matches,
            "best": None if self.best is None else self.best.as_dict(),
            "unknown_words": list(self.unknown_words),
            "remark": self.remark,
            "missing": self.missing,
            "rerank": None if self.reranked is None else self.reranked.as_dict(),
            "seconds": round(self.seconds, 4),
            "notes": dict(self.notes),
            "results": [result.as_dict() for result in self],
        }

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Results:
        """The results of which `as_dict` told."""
        found = cls(
            map(Result.from_dict, told["results"]),
            nothing_matches=told["nothing_matches"],
            best=None if told["best"] is None else Result.from_dict(told["best"]),
            unknown_words=told["unknown_words"],
            remark=told["remark"],
            missing=told["missing"],
            reranked=None if told["rerank"] is None else Reranked(**told["rerank"]),
            seconds=told["seconds"],
        )
        found.notes = told["notes"]
        return found


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that could not be taken.

    Args:
        path: As the user named it; an address for what lies in a storage.
        reason: Why, in a few words.
        known: Whether an earlier update met the same.
    """

    path: Path | str
    reason: str
    known: bool = field(default=False, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON has it."""
        return {"path": str(self.path), "reason": self.reason, "known": self.known}


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A model of a collection, and how many vectors of it there are.

    Args:
        name: Of the system.
        default: Whether searches use it if they name none.
        fingerprint: Equal only if vectors compare; empty as long as nothing was encoded.
        similarity: What compares its vectors.
        dimensions: Of its vectors; 0 as long as nothing was encoded.
        images, texts: Vectors of it.
        codes: What is known of the pictures' binary codes; None if there are none.
    """

    name: str
    default: bool
    fingerprint: str
    similarity: str
    dimensions: int
    images: int
    texts: int
    codes: Mapping[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON has it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written of a collection.

    Args:
        path: Where.
        rows: Vectors, or pairs of them.
        dimensions: Of a vector.
        type: "float16" or "float32".
        bits: Of a code; 0 if none were written.
        left_out: Pictures that are not among the pairs, as they have no captions.
    """

    path: Path
    rows: int
    dimensions: int
    type: str
    bits: int = 0
    left_out: int = 0

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON has it."""
        return {**asdict(self), "path": str(self.path)}


@dataclass(slots=True)
class Filled:
    """What was made of the vectors that a further model of a collection lacked.

    Args:
        model: Its name.
        encoded: Pictures and texts that it encoded.
        lacking: Pictures and texts that still have no vector of it.
        skipped: Pictures that could not be read for it, each with path and reason; tried again next time.
        reason: Why nothing was done at all, in a sentence; empty if something was, or nothing was to be done.
    """

    model: str
    encoded: int = 0
    lacking: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON has it."""
        return {
            "model": self.model,
            "encoded": self.encoded,
            "lacking": self.lacking,
            "skipped": [skipped.as_dict() for skipped in self.skipped],
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an update is, or a comparison of pairs of pictures, for a progress bar.

    Args:
        done: Files dealt with, of those that are new or changed.
        total: Files that are new or changed; None until a walk ahead has counted them.
        skipped: Of those dealt with, how many could not be taken.
        path: The file dealt with last; an address for what lies in a storage.
        seconds: Wall time since the update began.
    """

    done: int
    total: int | None
    skipped: int
    path: Path | str | None
    seconds: float


@dataclass(slots=True)
class Inscriptions:
    """What was read inside pictures, this time; the numbers count contents.

    Args:
        read: Had text.
        nothing: Had none that could be read.
        failed: Could not be looked at for text, each with path and reason; not tried again.
        away: Whose files could not be read now; tried again.
    """

    read: int = 0
    nothing: int = 0
    failed: list[Skipped] = field(default_factory=list)
    away: int = 0

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON has it."""
        return {
            "read": self.read,
            "nothing": self.nothing,
            "failed": [one.as_dict() for one in self.failed],
            "away": self.away,
        }


@dataclass(slots=True)
class Captioned:
    """What a captioner described, this time.

    Args:
        described: Contents of pictures that got a caption.
        silent: Those of which the captioner said nothing; it is asked again.
        failed: Pictures that could not be looked at, each with path and reason.
        away: Whose files could not be read now; tried again.
    """

    described: int = 0
    silent: int = 0
    failed: list[Skipped] = field(default_factory=list)
    away: int = 0

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON has it."""
        return {
            "described": self.described,
            "silent": self.silent,
            "failed": [one.as_dict() for one in self.failed],
            "away": self.away,
        }


@dataclass(slots=True)
class Summary:
    """What an update did; the numbers count files, but `encoded`.

    Args:
        added: New in the collection (a copy of a known file counts, but was not encoded).
        changed: Known, with new content.
        moved: Known content under a new path; not encoded.
        unchanged: Known and the same.
        removed: No longer there.
        left_out: Were removed from the collection before, and have not been named since.
        excluded: Files and folders that were left out by a pattern or a ``.diptychignore``, with the rule; no
            folder that is left out is looked into.
        away: Not there, as the folder that held them is gone, empty or cannot be read; kept.
        skipped: Could not be taken, each with path and reason; tried again when the file changes.
        in_part: Were taken as far as they are there, each with path and reason; told when they are read.
        passed_over: How many files were met that are no pictures by their names, by ending (lower case, with
            its dot; empty for none).
        encoded: Pictures and texts that the model had to encode.
        lent: Pictures whose vectors another program had made.
        captions: What was read, this time, of the captions beside pictures and in lists, and what was not
            used of them; also the files of loose texts that nobody asked for.
        models: What was made for the further models of the collection, of each that lacked anything.
        inscriptions: What was read inside pictures; None if that was not asked for.
        captioned: What a captioner described; None if that was not asked for.
        seconds: Wall time.
    """

    added: int = 0
    changed: int = 0
    moved: int = 0
    unchanged: int = 0
    removed: int = 0
    away: int = 0
    left_out: int = 0
    excluded: Report = field(default_factory=Report)
    skipped: list[Skipped] = field(default_factory=list)
    in_part: list[Skipped] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)
    encoded: int = 0
    lent: int = 0
    captions: Report = field(default_factory=Report)
    models: list[Filled] = field(default_factory=list)
    inscriptions: Inscriptions | None = None
    captioned: Captioned | None = None
    seconds: float = 0.0

    @property
    def per_second(self) -> float:
        """Files that were new or changed, per second of the update."""
        return (self.added + self.changed) / self.seconds if self.seconds > 0 else 0.0

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON has it; seconds with three digits."""
        return {
            "added": self.added,
            "changed": self.changed,
            "moved": self.moved,
            "unchanged": self.unchanged,
            "removed": self.removed,
            "away": self.away,
            "left_out": self.left_out,
            "excluded": self.excluded.as_dict()["not_used"],
            "encoded": self.encoded,
            "lent": self.lent,
            "captions": self.captions.as_dict(),
            "skipped": [skipped.as_dict() for skipped in self.skipped],
            "in_part": [one.as_dict() for one in self.in_part],
            "passed_over": dict(self.passed_over.most_common()),
            "models": [filled.as_dict() for filled in self.models],
            "inscriptions": None if self.inscriptions is None else self.inscriptions.as_dict(),
            "captioned": None if self.captioned is None else self.captioned.as_dict(),
            "seconds": round(self.seconds, 3),
        }

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Summary:
        """The summary of which `as_dict` told."""
        numbers = ("added", "changed", "moved", "unchanged", "removed", "away", "left_out", "encoded", "lent")
        inscribed, captioned = (
            None if one is None else one | {"failed": _skipped(one["failed"])}
            for one in (told["inscriptions"], told["captioned"])
        )
        return cls(
            **{name: told[name] for name in (*numbers, "seconds")},
            excluded=Report.from_dict({"not_used": told["excluded"]}),
            skipped=_skipped(told["skipped"]),
            in_part=_skipped(told["in_part"]),
            passed_over=Counter(told["passed_over"]),
            captions=Report.from_dict(told["captions"]),
            models=[Filled(**one | {"skipped": _skipped(one["skipped"])}) for one in told["models"]],
            inscriptions=None if inscribed is None else Inscriptions(**inscribed),
            captioned=None if captioned is None else Captioned(**captioned),
        )


def _skipped(told: Iterable[Mapping[str, Any]]) -> list[Skipped]:
    return [
        # Of an address, a path would make one slash of two.
        Skipped(path if "://" in (path := one["path"]) else Path(path), one["reason"], one["known"])
        for one in told
    ]
