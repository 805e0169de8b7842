"""Why a result matches: which parts of a picture, and which words of what is written about it.

No gradients are needed, so that any encoder can be asked. Parts of the picture are cut out, encoded by
themselves and compared with the query; of a text each word is left out, and counts by how much less similar
the rest is (occlusion: Zeiler and Fergus, ECCV 2014, section 4.2). Beside these stand the words that a search
by words finds, with endings and accents made equal.

Cutting out was chosen over covering: of twelve collages of four photographs each, the largest value lay in
the one asked for in 11, against 7 with windows of the mean colour or of a blurred copy.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diptych import similarity
from diptych.core import Floats, Item, encodes, offered
from diptych.engine.fusion import in_words
from diptych.engine.parts import vectors_of
from diptych.engine.query import decoded

if TYPE_CHECKING:
    from PIL.Image import Image

    from diptych.engine.opening import Opened

__all__ = ["GRID", "Line", "Why", "why"]

GRID = 8
"""Parts of a picture's width and of its height that a map tells apart."""

_WINDOW = 3  # parts of each side that are cut out at a time, so that neighbouring windows overlap
_SIDE = 320  # pixels a picture is made smaller to where an encoder does not say how large it looks
_MOST_WORDS = 40  # of a text that are left out one after the other
_BATCH = 16  # pictures encoded at a time where an encoder does not say how many


@dataclass(frozen=True, slots=True)
class Line:
    """A text of a result, with what in it matched.

    Args:
        text: As it is written.
        found: Spans (start, end) in characters of the words that are words of the query.
        meaning: Spans of its words, each with the part of the similarity that it takes along, in [0, 1] of
            the one that takes most; empty where the encoder reads no texts.
    """

    text: str
    found: tuple[tuple[int, int], ...] = ()
    meaning: tuple[tuple[int, int, float], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON has it."""
        return {
            "text": self.text,
            "found": [list(span) for span in self.found],
            "meaning": [[start, end, round(part, 3)] for start, end, part in self.meaning],
        }


@dataclass(frozen=True, slots=True)
class Why:
    """Why a result matches.

    Args:
        id: Of the result.
        score: Similarity of the whole, as results have it; None where no vectors were compared.
        relevance: (GRID, GRID) from top left, how similar the parts of the picture are by themselves, larger
            is more; only their differences mean something. None where no picture can be looked at.
        texts: The result's texts.
        reason: Why there is no map, in a sentence; empty if there is one.
    """

    id: str
    score: float | None
    relevance: Floats | None
    texts: tuple[Line, ...]
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON has it; numbers with four digits."""
        return {
            "id": self.id,
            "score": None if self.score is None else round(self.score, 4),
            "relevance": None
            if self.relevance is None
            else np.round(self.relevance.astype(float), 4).tolist(),
            "texts": [line.as_dict() for line in self.texts],
            "reason": self.reason,
        }


def why(opened: Opened, found: Item, query: Item) -> Why:
    """Why an item of a collection answers a query; see `Collection.why`."""
    worded = in_words(query)
    lines = [line for line in (found.text or "").split("\n") if line.strip()]
    spans = _found(lines, worded.text) if worded else [()] * len(lines)
    encoder = opened.loaded().encoder
    asked = vectors_of(encoder, [decoded(query, encoder)], opened.home)
    compare = similarity.named(encoder.similarity)
    reads = encodes(encoder, "text")
    texts = tuple(
        Line(line, span, _meaning(line, asked, encoder, compare) if reads else ())
        for line, span in zip(lines, spans, strict=True)
    )
    if not isinstance(found.image, str | os.PathLike):
        reason = "it is a text" if found.image is None else "its picture is not kept"
        score = float(compare(asked, encoder.encode_text([lines[0]]))[0, 0]) if lines and reads else None
        return Why(found.id, score, None, texts, f"There is no map, as {reason}.")
    score, relevance = _map(Path(found.image), asked, encoder, compare)
    return Why(found.id, score, relevance, texts)


def _map(path: Path, asked: Floats, encoder: Any, compare: Any) -> tuple[float, Floats]:
    """The similarity of a picture, and that of its parts (GRID, GRID), each the mean of the windows over it.

    Raises:
        ImageError: the picture cannot be read.
    """
    from diptych.media.raw import open_any

    side = int(offered(encoder, "image_size", _SIDE))
    # So large that a window is seen as sharp as the whole picture was, where the file is.
    picture = open_any(path, size=side * GRID // _WINDOW)
    corners = [(row, column) for row in range(GRID - _WINDOW + 1) for column in range(GRID - _WINDOW + 1)]
    pictures = [picture, *(_window(picture, row, column) for row, column in corners)]
    size = int(offered(encoder, "batch_size", _BATCH))
    vectors = [
        np.asarray(encoder.encode_image(pictures[start : start + size]), np.float32)
        for start in range(0, len(pictures), size)
    ]
    scores = compare(asked, np.concatenate(vectors))[0]
    total, count = np.zeros((GRID, GRID)), np.zeros((GRID, GRID))
    for (row, column), score in zip(corners, scores[1:], strict=True):
        part = np.s_[row : row + _WINDOW, column : column + _WINDOW]
        total[part] += score
        count[part] += 1
    return float(scores[0]), (total / count).astype(np.float32)


def _window(picture: Image, row: int, column: int) -> Image:
    """A part of a picture, `_WINDOW` of `GRID` parts wide and high, from a row and a column on."""
    ends = (column, row, column + _WINDOW, row + _WINDOW)
    sides = (picture.width, picture.height) * 2
    left, top, right, bottom = (end * side // GRID for end, side in zip(ends, sides, strict=True))
    return picture.crop((left, top, max(right, left + 1), max(bottom, top + 1)))


def _meaning(line: str, asked: Floats, encoder: Any, compare: Any) -> tuple[tuple[int, int, float], ...]:
    """The words of a text, each with the part of the similarity that leaving it out takes away."""
    words = [one.span() for one in re.finditer(r"\w+(?:['’-]\w+)*", line)][:_MOST_WORDS]
    if len(words) < 2:
        return ()
    without = [f"{line[:start]}{line[end:]}" for start, end in words]
    scores = compare(asked, np.asarray(encoder.encode_text([line, *without]), np.float32))[0]
    falls = np.maximum(scores[0] - scores[1:], 0)
    parts = falls / falls.max() if falls.max() > 0 else falls
    return tuple((start, end, float(part)) for (start, end), part in zip(words, parts, strict=True))


def _found(lines: Sequence[str], text: str) -> list[tuple[tuple[int, int], ...]]:
    """Where in each text words of a query stand."""
    from diptych.engine.homes.local.words import spans

    return spans(lines, text)
