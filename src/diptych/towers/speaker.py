"""Says what a picture shows: the captioner's two graphs in ONNX Runtime, and a beam search, without torch."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.core import Floats, Rows
from diptych.errors import BadData
from diptych.towers.onnx import WEIGHTS, session

__all__ = ["FACTS", "Said", "Speaker"]

FACTS = "pieces"
"""Name under which ``say`` holds the numbers of its word pieces in the packaged tokeniser."""

_PAD, _BEGIN, _END, _UNKNOWN = range(4)  # as in `diptych.nets.captioner`
_JOINED = re.compile(r"(?<=\w) (['-]) (?=\w)")


@dataclass(frozen=True, slots=True)
class Said:
    """A caption, and how likely it is.

    Args:
        text: In lower case, as the packaged tokeniser has it.
        log_probability: Natural, of all its pieces and its end.
    """

    text: str
    log_probability: float


@dataclass
class _Beam:
    """What is known of one picture's captions: those that are whole, by their score."""

    whole: list[tuple[float, float, list[int]]] = field(default_factory=list)


class Speaker:
    """The network of a captioner.

    Args:
        look: ONNX graph, cells (b, 49, 1280) to what the decoder asks of them, (2 layers, b, heads, 49, d).
        say: ONNX graph of one step of the decoder; see `diptych.nets.captioner.CaptionNet.step`.
        threads: Threads of one run; None for every core.

    Raises:
        BadData: they are no such graphs.
    """

    def __init__(self, look: bytes, say: bytes, threads: int | None = None) -> None:
        try:
            self._look, self._say = session(look, threads), session(say, threads)
            told = self._say.get_modelmeta().custom_metadata_map
            self.pieces, self.length = [int(one) for one in told[FACTS].split()], int(told["length"])
        except Exception as error:  # ONNX Runtime has no base class of its errors
            raise BadData(
                f"these are no graphs of a captioner ({error}); train again or restore them"
            ) from error

    def __call__(self, grids: Floats, *, beam: int, count: int = 1, alpha: float = 1.0) -> list[list[Said]]:
        """The likeliest captions of each picture, best first.

        Args:
            grids: (n, 1280, 7, 7), see `diptych.towers.onnx.GridTower`.
            beam: Captions that are followed at a time; more find likelier ones.
            count: Captions of each picture, at most `beam`.
            alpha: The log-probability is divided by the number of pieces to this power; 0 prefers short ones.
        """
        if not len(grids):
            return []
        cells = np.ascontiguousarray(grids.reshape(len(grids), grids.shape[1], -1).transpose(0, 2, 1))
        (memory,) = self._look.run(None, {"grid": cells})
        return [
            [Said(self._text(pieces), total) for _, total, pieces in one.whole[:count]]
            for one in self._searched(memory, beam, alpha)
        ]

    def _searched(self, memory: Floats, beam: int, alpha: float) -> list[_Beam]:
        layers, shown, heads, _, each = memory.shape
        past: Any = np.zeros((layers, shown, beam, heads, 0, each), np.float32)
        piece = np.full((shown, beam), _BEGIN, np.int64)
        totals = np.full((shown, beam), -np.inf)
        totals[:, 0] = 0  # all beams begin alike, so one of them goes on
        told: Rows = np.zeros((shown, beam, 0), np.int64)
        found = [_Beam() for _ in range(shown)]
        at_beam = np.arange(shown)[:, None]
        for at in range(self.length):
            feed = {"piece": piece, "place": np.array([at], np.int64), "past": past, "memory": memory}
            logits, past = self._say.run(None, feed)
            steps = totals[:, :, None] + _log_softmax(logits, at == 0)
            size = steps.shape[2]
            flat = steps.reshape(shown, -1)
            best = np.argsort(-flat, axis=1, kind="stable")[:, : 2 * beam]
            source, piece = np.zeros((shown, beam), np.int64), np.full((shown, beam), _PAD, np.int64)
            totals = np.full((shown, beam), -np.inf)
            last = at + 1 == self.length
            for row, one in enumerate(found):
                if len(one.whole) >= beam:
                    continue
                kept = 0
                for place in best[row].tolist():
                    total = float(flat[row, place])
                    parent, new = divmod(place, size)
                    if total == -np.inf or kept == beam:
                        break
                    if new == _END or last:
                        ids = told[row, parent].tolist() + ([] if new == _END else [new])
                        one.whole.append((total / (at + 1) ** alpha, total, ids))
                    else:
                        source[row, kept], piece[row, kept], totals[row, kept] = parent, new, total
                        kept += 1
            if all(len(one.whole) >= beam for one in found):
                break
            past = past[:, at_beam, source]
            told = np.concatenate([told[at_beam, source], piece[:, :, None]], axis=2)
        for one in found:
            one.whole.sort(key=lambda whole: -whole[0])
        return found

    def _text(self, pieces: list[int]) -> str:
        text: str = self._tokenizer.decode([self.pieces[one] for one in pieces])
        return _JOINED.sub(r"\1", text).strip()

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        return Tokenizer.from_file(str(WEIGHTS / "tokenizer.json"))


def _log_softmax(logits: NDArray[Any], first: bool) -> NDArray[Any]:
    """Log-probabilities (b, w, pieces) of what may come next: no filling, and no end at first."""
    logits = logits.astype(np.float64)
    logits[..., [_PAD, _BEGIN, _UNKNOWN, *([_END] if first else [])]] = -np.inf
    logits -= logits.max(axis=2, keepdims=True)
    return np.asarray(logits - np.log(np.exp(logits).sum(axis=2, keepdims=True)))
