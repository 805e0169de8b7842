"""Measures word for word, without arrays, and the data that the tests share."""

from __future__ import annotations

from typing import Any

import numpy as np

from diptych.metrics import ByLabel, ByPairs

# The self-test data of the DCMH and SSAH authors.
SIGN = {"+": 1.0, "-": -1.0}
QUERY = np.array([[SIGN[c] for c in row] for row in ("+-++", "---+", "++-+", "+++-")])
DATABASE = np.array([[SIGN[c] for c in row] for row in ("+-+-", "--+-", "--+-", "++--", "-+--", "++-+")])
QUERY_LABELS = np.array([[int(c) for c in row] for row in ("0100", "1100", "1001", "0101")])
DATABASE_LABELS = np.array(
    [[int(c) for c in row] for row in ("1001", "1100", "0110", "0010", "1000", "0010")]
)
RELEVANCE = ByLabel(QUERY_LABELS, DATABASE_LABELS)


def literal_ap(relevant: Any, k: int | None, denominator: str, total: int | None = None) -> float:
    """Word for word, without arrays."""
    relevant = list(map(bool, relevant))
    total = sum(relevant) if total is None else total
    k = len(relevant) if k is None else k
    precisions = [sum(relevant[: i + 1]) / (i + 1) for i in range(len(relevant)) if relevant[i]]
    if denominator == "port":
        chosen = precisions[: min(k, total)]
        return sum(chosen) / min(k, total) if total else 0.0
    inside = sum(relevant[:k])
    by = {"retrieved": inside, "total": total, "min": min(k, total)}[denominator]
    return sum(precisions[:inside]) / by if by else 0.0


def toy_captions() -> tuple[np.ndarray, ByPairs]:
    scores = np.array([[0.9, 0.2, 0.3, 0.8], [0.1, 0.95, 0.5, 0.4]])
    return scores, ByPairs(np.array([[0, 0], [0, 1], [1, 2], [1, 3]]), (2, 4))
