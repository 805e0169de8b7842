"""Codes of a collection's pictures: made once, searched in two stages, exact scores at the end.

Codes come from a learned rotation, or from a hashing system that learned from the vectors of the collection's
own model. The rotation, what the codes were made with and how many candidates each recall needs stand in the
record, written in one transaction. The codes themselves are a cache, memory-mapped: if they are missing or
out of date they are made again from the vectors.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import json
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych import catalogue, similarity
from diptych.core import Floats, Hits, Rows, Side
from diptych.engine.homes.base import Home
from diptych.engine.homes.entries import State
from diptych.engine.homes.local.record import Record
from diptych.engine.homes.local.search_files import SearchFiles
from diptych.errors import DiptychError, UsageError
from diptych.files import replacing
from diptych.index import half
from diptych.index.codes import Codes, Packed
from diptych.index.two_stage import TwoStage, calibrations

__all__ = [
    "DEFAULT_RECALL",
    "FEWEST",
    "HELD_OUT",
    "Asked",
    "Coded",
    "check",
    "everyday_queries",
    "like_asked",
    "make_codes",
    "needed",
]

DEFAULT_RECALL = 0.98
RECALLS = (0.9, 0.95, 0.98, 0.99, 0.995)
FEWEST = 100  # queries of a kind without which no recall is promised for it
HELD_OUT = 500  # queries of each kind that the candidates are calibrated on
_TEACH = 20_000  # pictures that a rotation is learned from
_TEXTS = 2000  # captions that codes learn from and are calibrated on, at most
_BLOCK = 8192  # vectors that are encoded at a time
_FORMAT = 2  # of the file of codes
_LINE = 64  # its first line is a multiple of so many bytes, so that what follows is aligned


def check(by: int | str) -> None:
    """Look whether codes can be made at all, before hours of indexing.

    Raises:
        UsageError: bits that are no multiple of 8, or no run folder.
    """
    if isinstance(by, int):
        if by < 8 or by % 8:
            raise UsageError(f"codes have a multiple of 8 bits, not {by}; take 64, 128, 256 or 512")
    elif by == "hnsw":
        raise UsageError(
            "graphs (hnsw) are made in PostgreSQL and Milvus; in a folder codes of 512 bits do what they are "
            "for"
        )
    elif not (Path(by).expanduser() / "card.json").is_file():
        raise UsageError(
            f"{by} is neither a number of bits, such as 512, nor the run folder of a hashing system; train "
            "one, such as dchmt, on features of the collection's model"
        )


def make_codes(
    record: Record, files: SearchFiles, folder: Path, *, by: int | str, texts: NDArray[Any], seed: int = 0
) -> dict[str, Any]:
    """Learn codes for the pictures of a collection, calibrate them and write both down.

    Args:
        record: Gets the facts.
        files: The image side.
        folder: Gets the codes.
        by: Code length of a learned rotation, a multiple of 8; or a hashing system's run folder.
        texts: (m, d) vectors of texts like those that will be asked; half teach the codes where texts lie,
            half are held out for calibration.
        seed: Of every draw.

    Returns:
        What the record now says of the codes.

    Raises:
        UsageError: there is no picture yet, the bits are no multiple of 8, or the system does not fit.
    """
    check(by)
    files.squeeze()
    rows, vectors = files.snapshot().stored()
    if not len(rows):
        raise UsageError("codes are learned from pictures, and none is indexed yet; index a folder first")
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(texts))
    learn, held = texts[order[: len(texts) // 2]], texts[order[len(texts) // 2 :]][:HELD_OUT]
    # Pictures that a rotation was learned from suit it better than the next picture will.
    order = rng.permutation(len(vectors))
    count = min(HELD_OUT, len(vectors) // 2)
    places, teach = np.sort(order[:count]), np.sort(order[count:][:_TEACH])
    column = record.column
    assert column is not None, "vectors are of a column"
    fingerprint = column.fingerprint
    codes = (
        Codes.fit(by, vectors[teach], learn, seed=seed) if isinstance(by, int) else Hashed(by, fingerprint)
    )
    encodes: dict[str, Any] = {side: functools.partial(codes.encode, side=side) for side in ("image", "text")}
    index = TwoStage(codes.encode(vectors, "image"), vectors, rows, encode=encodes["image"])
    queries = {"text": (np.asarray(held, np.float32), None), "image": (vectors[places], places)}
    calibrated = [
        one.as_dict()
        for side, (asked, own) in queries.items()
        if len(asked) >= FEWEST
        for one in calibrations(
            index.asked(encode=encodes[side], candidates=0), asked, RECALLS, side=side, own=own
        )
    ]
    rotation = codes.to_bytes() if isinstance(codes, Codes) else b""
    facts = {
        "bits": codes.bits,
        "made_with": codes.made_with,
        "id": hashlib.blake2b(rotation or codes.made_with.encode(), digest_size=16).hexdigest(),
        "pictures": len(rows),
        "last_row": int(rows[-1]),
        "texts": len(texts),
        "fingerprint": fingerprint,
        "calibrations": calibrated,
    }
    if isinstance(codes, Hashed):
        facts["system"] = codes.path
    with record.batch(changes=False):
        record.set(record.of_column("codes"), json.dumps(facts))
        record.set(record.of_column("codes_rotation"), base64.b64encode(rotation).decode("ascii"))
    _keep(_cache(record, folder), index.codes, rows, _made(facts), record.state)
    return facts


class Hashed:
    """Codes of a hashing system that learned from the vectors of the collection's own model.

    Args:
        path: Its run folder.
        fingerprint: Of the collection's model.

    Raises:
        UsageError: no hashing system, or one that learned from something else.
        MissingData, BadData: the run folder is gone or damaged.
    """

    def __init__(self, path: str, fingerprint: str) -> None:
        self.path = str(Path(path).expanduser().resolve())
        loaded = catalogue.load(self.path)
        self._head: Any = getattr(loaded, "head", loaded)
        name = getattr(self._head, "name", type(self._head).__name__)
        if self._head.similarity != "hamming":
            raise UsageError(
                f"{path} holds {name}, which makes no binary codes; give a run of a hashing system"
            )
        self._scales: dict[str, Any] = {}
        for side in ("image", "text"):
            extractor: Any = getattr(loaded, side, None)
            if hasattr(extractor, "scale"):  # its features were standardised before they were learned from
                self._scales[side], extractor = extractor.scale, extractor.inner
            learned = getattr(extractor, "fingerprint", "")
            if learned != f"dual:{side}:{fingerprint}":
                raise UsageError(
                    f"{path} learned from {learned or 'feature files'}, but this collection has vectors of "
                    f"{fingerprint}; train {name} on features of the collection's model"
                )
        self.bits = int(self._head.bits)
        if self.bits % 8:
            raise UsageError(f"{path} makes codes of {self.bits} bits; codes here have a multiple of 8")
        self.made_with = f"{name}, {self._head.fingerprint}"

    def encode(self, vectors: NDArray[Any], side: str) -> Packed:
        """Packed codes (n, bits / 8) of vectors (n, d) of "image" or "text"."""
        rows = np.asarray(vectors, np.float32)
        rows = self._scales[side](rows) if side in self._scales else rows
        found = self._head.encode_image(rows) if side == "image" else self._head.encode_text(rows)
        return similarity.pack(found)


def like_asked(home: Home, encode_texts: Callable[[Sequence[str]], Floats]) -> Floats:
    """Vectors of texts like those that are asked for: the captions of a home, or everyday ones."""
    _, captions = home.vectors_now("text").stored()
    if len(captions) >= 2 * FEWEST:  # half of them teach, half calibrate
        return np.asarray(captions[:: max(1, len(captions) // _TEXTS)], np.float32)
    named = np.asarray(encode_texts(everyday_queries()), np.float32)
    return named if not len(captions) else np.concatenate([named, np.asarray(captions, np.float32)])


def everyday_queries() -> list[str]:
    """Texts like those that people ask for, for collections that have no captions of their own."""
    subjects = (
        "a dog", "a cat", "a child", "a group of friends", "a man with a hat", "a woman", "a baby", "a horse",
        "a bird", "a red car", "a bicycle", "a train", "a boat", "a house", "a church", "a bridge", "flowers",
        "a tree", "a birthday cake", "food on a plate", "a mountain", "a screenshot", "a document",
        "a sunset",
    )  # fmt: skip
    places = (
        "", "at the beach", "in the snow", "in a city street", "in the garden", "at night", "indoors",
        "in a forest", "near water", "from above", "in black and white", "close up", "at a party",
        "in the kitchen", "on a table", "in the distance",
    )  # fmt: skip
    return [f"{subject} {place}".strip() for subject in subjects for place in places]


class Coded:
    """Search in two stages over the pictures of a collection.

    Args:
        record: Says what the codes are; see `make_codes`.
        files: The image side.
        folder: Where the codes are.
    """

    def __init__(self, record: Record, files: SearchFiles, folder: Path) -> None:
        self._record, self._files, self._folder = record, files, folder
        self._now: tuple[State, TwoStage] | None = None
        self.told = record.get(record.of_column("codes"))
        self.facts: dict[str, Any] = _facts(self.told)

    @property
    def usable(self) -> bool:
        """Whether there are codes of the vectors that are stored now."""
        return self._codes is not None

    @property
    def outgrown(self) -> bool:
        """Whether so many pictures came since the codes were made that these should be made again."""
        new = np.count_nonzero(self._files.rows > self.facts.get("last_row", 0))
        return bool(new > self.facts.get("pictures", 0) / 4)

    def get_ready(self) -> None:
        """Bring the codes up to date, so that the next search finds them."""
        self._index()

    def packed(self) -> tuple[Rows, Packed]:
        """Rows (n,) of the pictures, ascending, and their codes (n, bits / 8), brought up to date."""
        rows, vectors = self._files.snapshot().stored()
        return rows, self._packed(rows, vectors)

    def candidates(self, side: str, recall: float, k: int) -> int | None:
        """How many candidates a recall needs; None if only exact search promises it.

        Args:
            side: Of the query, "text" or "image".
            recall: Asked for.
            k: Hits wanted; calibrated is the recall of ten.
        """
        return needed(self.facts, side, recall, k, lambda: len(self._index())) if self.usable else None

    def asked(self, sides: Sequence[Side], recall: float | None, k: int) -> Asked | None:
        """What searches for queries of these sides; None if only exact search promises the recall.

        Args:
            sides: What each query is.
            recall: Share of the ten best that must be found; 0.98 if None.
            k: Hits wanted.
        """
        codes, recall = self._codes, recall or DEFAULT_RECALL
        parts: dict[Side, TwoStage] = {}
        for side in dict.fromkeys(sides):
            count = self.candidates(side, recall, k)
            if codes is None or count is None:
                return None
            encode = functools.partial(codes.encode, side=side)
            parts[side] = self._index().asked(encode=encode, candidates=count)
        return Asked(parts, list(sides))

    @functools.cached_property
    def _codes(self) -> Codes | Hashed | None:
        column = self._record.column
        if not self.facts or column is None or self.facts.get("fingerprint") != column.fingerprint:
            return None
        try:
            if "system" not in self.facts:
                return Codes.from_bytes(
                    base64.b64decode(self._record.get(self._record.of_column("codes_rotation")) or "")
                )
            if not self._record.believed:
                return None  # nobody else says here what is loaded
            found = Hashed(self.facts["system"], column.fingerprint)
        except (DiptychError, ValueError):
            return None  # damaged, deleted, moved or trained anew; exact search serves as well
        return found if found.made_with == self.facts["made_with"] else None

    def _index(self) -> TwoStage:
        state = self._record.state
        if self._now is None or self._now[0] != state:
            assert self._codes is not None
            now = self._files.snapshot()
            encode = functools.partial(self._codes.encode, side="image")
            packed = self._packed(now.all_rows, now.vectors)
            self._now = (state, TwoStage(packed, now.vectors, now.all_rows, encode=encode, alive=now.alive))
        return self._now[1]

    def _packed(self, rows: Rows, vectors: NDArray[Any]) -> Packed:
        """Codes of all pictures in the search files: those in the cache, and new ones for the rest."""
        assert self._codes is not None
        path, made = _cache(self._record, self._folder), _made(self.facts)
        state, known, codes = _kept(path, self._codes.bits // 8, made)
        if not self._record.knows(state):  # a copy of the record went another way
            known, codes = known[:0], codes[:0]
        if np.array_equal(known, rows):
            return codes
        packed = np.empty((len(rows), self._codes.bits // 8), np.uint8)
        there = np.isin(rows, known, assume_unique=True)
        packed[there] = codes[np.searchsorted(known, rows[there])]
        new = np.flatnonzero(~there)
        for start in range(0, len(new), _BLOCK):
            part = new[start : start + _BLOCK]
            packed[part] = self._codes.encode(half.taken(vectors, part), "image")
        del codes  # lets go of the mapping before the file is replaced
        _keep(path, packed, rows, made, self._record.state)
        return packed


def needed(
    facts: Mapping[str, Any], side: str, recall: float, k: int, entries: Callable[[], int]
) -> int | None:
    """How many candidates a recall needs, as it was calibrated; None if only exact search promises it.

    Args:
        facts: What is known of codes or a graph.
        side, recall, k: As for `Coded.candidates`.
        entries: Tells how many pictures there are now.
    """
    known = [one for one in facts.get("calibrations", []) if one["side"] == side and one["recall"] >= recall]
    if not known or k > 10 * known[0]["k"]:
        return None
    chosen = min(known, key=lambda one: one["recall"])
    # A collection that grew needs as many more; more hits than were calibrated need more, too.
    grown: float = entries() / max(chosen["gallery"], 1)
    more: float = max(1.0, k / max(chosen["k"], 1))
    count: int = chosen["candidates"]
    return math.ceil(count * max(grown, 1.0) * more)


class Asked:
    """A `Searchable` for one batch of queries, each searched as its own side was calibrated.

    Args:
        parts: What searches for queries of a side.
        sides: (q) sides of the queries.
    """

    def __init__(self, parts: Mapping[Side, TwoStage], sides: Sequence[Side]) -> None:
        self.parts, self.sides = parts, sides

    def search(self, vectors: NDArray[Any], k: int, within: Rows | None = None) -> Hits:
        """The k best rows of each query (q, d), in the order of `sides`; only rows of `within`, if given."""
        vectors = np.asarray(vectors)
        hits = Hits(np.full((len(vectors), k), -1, np.int64), np.full((len(vectors), k), -np.inf, np.float32))
        with half.one_thread():
            for side, part in self.parts.items():
                lines = np.flatnonzero([one == side for one in self.sides])
                found = part.search(vectors[lines], k, within)
                hits.rows[lines], hits.scores[lines] = found.rows, found.scores
        return hits


def _cache(record: Record, folder: Path) -> Path:
    return folder / f"{record.of_column('image')}.codes"


def _facts(told: str | None) -> dict[str, Any]:
    """What the record says of codes; nothing where that is odd, as exact search serves as well."""
    try:
        facts = json.loads(told or "{}")
    except ValueError:
        return {}
    if not isinstance(facts, dict) or not {"bits", "fingerprint", "made_with"} <= set(facts):
        return {}
    calibrations = facts.get("calibrations", [])
    whole = isinstance(calibrations, list) and all(
        isinstance(one, dict) and {"side", "recall", "candidates", "gallery", "k"} <= set(one)
        for one in calibrations
    )
    return facts if whole and isinstance(facts["bits"], int) and facts["bits"] > 0 else {}


def _made(facts: dict[str, Any]) -> list[Any]:
    """Changes whenever codes of the same vectors would."""
    return [facts.get("id"), facts["bits"], facts["fingerprint"]]


def _keep(path: Path, codes: Packed, rows: Rows, made: list[Any], state: State) -> None:
    """Write codes (n, bits / 8) and their rows (n,) to a file, which is replaced as a whole.

    Args:
        path: The file: a line of facts, then the codes, then the rows.
        codes, rows: What to keep.
        made: What the codes were made with.
        state: Of the record whose rows they are.
    """
    codes, rows = np.ascontiguousarray(codes), np.ascontiguousarray(rows)
    total = zlib.crc32(rows.data, zlib.crc32(codes.data))
    facts = {"format": _FORMAT, "made": made, "state": [state.generation, state.token], "sum": total}
    line = json.dumps({**facts, "count": len(rows), "width": codes.shape[1]}).encode()
    line += b" " * (-(len(line) + 1) % _LINE) + b"\n"
    # In a folder that cannot be written to, the codes in memory serve as well.
    with contextlib.suppress(OSError), replacing(path) as part, part.open("wb") as file:
        for data in (line, codes.data, rows.data):
            file.write(data)


def _kept(path: Path, width: int, made: list[Any]) -> tuple[State, Rows, Packed]:
    """State, rows (n,) and memory-mapped codes (n, width) of a file of `_keep`.

    None of either if there is no such file, it is damaged, or its codes were made with something else.
    """
    try:
        with path.open("rb") as file:
            facts = json.loads(file.readline(64 * _LINE))
            start, count = file.tell(), int(facts["count"])
            if facts["format"] == _FORMAT and facts["made"] == made and facts["width"] == width and count > 0:
                codes = np.memmap(path, np.uint8, mode="r", offset=start, shape=(count, width))
                file.seek(start + codes.nbytes)
                rows = np.frombuffer(file.read(), np.int64)
                total = zlib.crc32(rows.data, zlib.crc32(codes.data))
                if len(rows) == count and total == facts["sum"]:
                    generation, token = facts["state"]
                    return State(int(generation), str(token)), rows, codes
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        pass  # no cache, or a damaged one
    return State(-1, ""), np.zeros(0, np.int64), np.zeros((0, width), np.uint8)
