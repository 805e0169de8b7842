"""The hybrid: an encoder searches everything, a scorer of pairs ranks its first hits anew.

The first of the directions that the survey names: what compares vectors is fast and looks at each side alone,
what looks at both together is slow. A hybrid is a system like any other, so that `over` makes its stages and
evaluations, collections and servers know nothing else of it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diptych.core import SIDES, Floats, Forwards, Rows, Side, encodes, offered, scores_pairs
from diptych.errors import UsageError
from diptych.pipeline.stages import PairScores
from diptych.towers.second_look import SecondLine

__all__ = ["DEPTH", "EQUAL", "Cost", "Hybrid"]

DEPTH = 128
"""First hits that are ranked anew, unless somebody says how many."""

EQUAL: Mapping[Side, float] = dict.fromkeys(SIDES, 0.5)
"""Weights of the pairs where nobody has calibrated any: both have as much to say."""


@dataclass(slots=True)
class Cost:
    """What a scorer had to do.

    Args:
        pairs: That it scored.
        seconds: Wall time, reading pictures included.
    """

    pairs: int = 0
    seconds: float = 0.0

    @property
    def milliseconds_a_pair(self) -> float:
        """0 while there is none."""
        return 1000 * self.seconds / self.pairs if self.pairs else 0.0


class Hybrid(Forwards):
    """An encoder, and a scorer that ranks its first hits anew; see `diptych.pipeline.Rerank`.

    Its vectors are the encoder's, its second stage the scorer's, which takes the place of one that the
    encoder may bring. Scores of pairs and of the search are standardised for each query and added, those of
    pairs with a weight.

    Args:
        encoder: Searches.
        scorer: Scores pairs; another encoder scores them by its vectors.
        depth: First hits that it scores.
        weights: Of the scorer against the encoder, above 0 and at most 1, by the side that is searched. None
            takes those that the scorer brings for that encoder, or else `EQUAL`; those that pairs give, see
            `diptych.pipeline.weighing`, are better.

    Attributes:
        cost: What the scorer had to do so far.
        rerank_lines: How relevant hits are that were ranked anew, by the side that is searched, where the
            scorer brings that or somebody sets it.
        knows_each_other: Whether the scorer brings weights for that encoder.

    Raises:
        UsageError: the scorer scores no pairs and encodes no two sides, or the depth is none.
    """

    def __init__(
        self, encoder: Any, scorer: Any, depth: int = DEPTH, *, weights: Mapping[Side, float] | None = None
    ) -> None:
        if isinstance(depth, bool) or not isinstance(depth, int) or depth < 1:
            raise UsageError(f"the depth is how many hits are ranked anew, at least 1, not {depth!r}")
        if not scores_pairs(scorer):
            if not all(encodes(scorer, side) for side in SIDES):
                raise UsageError(
                    f"{offered(scorer, 'name', type(scorer).__name__)} neither scores pairs nor encodes "
                    "pictures and texts, so it ranks nothing anew; re-rank by a scorer such as vilt"
                )
            scorer = PairScores(scorer)
        self.encoder, self.scorer = encoder, scorer
        self.similarity: str = encoder.similarity
        self.knows_each_other = bool(self._own_weights())
        self.rerank_depth = depth
        self.rerank_weights = weights or {**EQUAL, **self._own_weights()}
        self.rerank_lines: Mapping[Side, SecondLine] = {}
        if self.knows_each_other and not weights:
            self.rerank_lines = offered(self.scorer, "rerank_lines", {})
        self.cost = Cost()
        for side in SIDES:
            if encodes(encoder, side):
                setattr(self, f"encode_{side}", getattr(encoder, f"encode_{side}"))

    def _own_weights(self) -> Mapping[Side, float]:
        """What the scorer brings for that encoder, of which it is the second stage; none for any other."""
        own = offered(self.scorer, "fingerprint")
        known = own is not None and own == offered(self.encoder, "fingerprint")
        found: Mapping[Side, float] = offered(self.scorer, "rerank_weights", {}) if known else {}
        return found

    @property
    def fingerprint(self) -> str:
        """The encoder's: it says which vectors compare."""
        own = offered(self.encoder, "name", type(self.encoder).__name__)
        return str(offered(self.encoder, "fingerprint", own))

    def offering(self, capability: str) -> Any:
        """All but second stages and what is said of scores, which is the matter of the two together."""
        second = {
            "rerank_depth",
            "rerank_weights",
            "rerank_lines",
            "agree",
            "agree_depth",
            "score",
            "calibrate",
        }
        return None if capability in second else self.encoder

    def score_pairs(self, images: Sequence[Any], texts: Sequence[Any], pairs: Rows) -> Floats:
        """Scores (p,) of the pairs (p, 2), by the scorer."""
        started = time.perf_counter()
        found: Floats = self.scorer.score_pairs(images, texts, pairs)
        self.cost.seconds += time.perf_counter() - started
        self.cost.pairs += len(pairs)
        return found
