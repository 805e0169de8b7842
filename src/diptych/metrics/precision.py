r"""Average precision, with its denominators by name, and its exact values over all orders of ties.

AP@K = (1/D) sum_{i=1..K} P@i rel_i, where P@i is the share of relevant entries among the first i. The
literature uses four readings of what is summed and of D:

- ``retrieved``: D is the number of relevant entries among the first K (DSCMR, ACMR, CLIP4CMR, UCMFH, HMAH,
  DCHUC code). Can fall when K grows.
- ``total``: D is the number of relevant entries R in the gallery.
- ``min``: D = min(K, R).
- ``port``: the first min(K, R) relevant entries of the whole ranking, wherever they are, averaged (the
  PyTorch port of DCMH, DCHMT, DSPH). Not a truncation at all.

At K = ALL the four are one. A query without a relevant entry has AP 0 and counts (the rule of DCMH).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from diptych.core import Rows
from diptych.errors import UnknownName, UsageError
from diptych.metrics.relevance import Bools, yes_or_no

__all__ = [
    "Denominator",
    "Doubles",
    "TieGroups",
    "average_precision",
    "check_cut",
    "grouped",
    "precision_at",
    "ranked",
]

Denominator = Literal["retrieved", "total", "min", "port"]
Doubles = NDArray[np.float64]


def average_precision(
    relevant: NDArray[Any],
    *,
    k: int | None = None,
    denominator: Denominator = "retrieved",
    total: NDArray[Any] | None = None,
) -> Doubles:
    """AP of each query, (q,), from relevance in rank order.

    Args:
        relevant: (q, m) of 0 and 1 or bool, whether the entry at each rank is relevant; m may be less than
            the gallery.
        k: Cut; None for the whole list.
        denominator: See the module.
        total: (q,) relevant entries in the gallery; those in the list, when not given.

    Raises:
        BadData: relevance that is neither 0 nor 1.
        UsageError: k is not positive, or "port" of a list that is not the whole ranking.

    Example:
        >>> ranked = [[1, 0, 1, 0, 0, 1]]
        >>> average_precision(ranked, k=4).round(4)
        array([0.8333])
        >>> average_precision(ranked, k=4, denominator="total").round(4)
        array([0.5556])
    """
    relevant = yes_or_no(relevant, "relevance")
    check_cut(k, denominator)
    found = relevant.sum(axis=1)
    total = found if total is None else np.asarray(total)
    ranks = np.arange(1, relevant.shape[1] + 1)
    precision = np.cumsum(relevant, axis=1) / ranks
    if denominator == "port":
        if (found < np.minimum(total, k or total)).any():
            raise UsageError('the denominator "port" needs the whole ranking, but it was cut before its end')
        wanted = np.minimum(total, k) if k else total
        used = relevant & (np.cumsum(relevant, axis=1) <= wanted[:, None])
        return _divided((precision * used).sum(axis=1), wanted)
    used = relevant[:, :k]
    return _divided((precision[:, :k] * used).sum(axis=1), _divisor(used.sum(axis=1), total, k, denominator))


def precision_at(relevant: NDArray[Any], n: int) -> Doubles:
    """P@n of each query, (q,): relevant entries among the first n, over n (even where fewer exist)."""
    if n < 1:
        raise UsageError(f"precision at n needs n of at least 1, not {n}")
    return np.asarray(yes_or_no(relevant, "relevance")[:, :n].sum(axis=1) / n, np.float64)


@dataclass(frozen=True)
class TieGroups:
    """How many entries, and how many relevant ones, have each score; all that tie bounds depend on.

    Args:
        sizes: (q, g) entries of each group, best group first; 0 is allowed.
        hits: (q, g) relevant ones among them.
    """

    sizes: Rows
    hits: Rows

    def average_precision(
        self, *, k: int | Rows | None = None, denominator: Denominator = "retrieved"
    ) -> dict[str, Doubles]:
        """Best, worst and expected AP of each query, (q,) each, over all orders inside the groups.

        Sums over a group are in closed form through harmonic numbers: with N entries and P relevant ones
        before it, relevant entries at its ranks N + 1 .. N + r give
        sum_j (P + j) / (N + j) = r + (P - N) (H(N + r) - H(N)).

        Args:
            k: Cut; one for all, or (q,) one for each query. None for the whole list.
            denominator: See the module.

        Returns:
            Values by "best", "worst" and "expected" (every order equally likely).
        """
        check_cut(k, denominator)
        queries = len(self.sizes)
        total = self.hits.sum(axis=1)
        before, above = _before(self.sizes), _before(self.hits)
        harmonic = _harmonic(int(self.sizes.sum(axis=1).max(initial=0)))
        group = _Sums(self.sizes, self.hits, before, above, harmonic)
        if k is None:
            sums = {"best": group.first(self.hits), "worst": group.last(self.hits), "expected": group.mean()}
            return {name: _divided(part.sum(axis=1), total) for name, part in sums.items()}
        if denominator == "port":
            return self._port(group, np.minimum(total, k))
        room = np.clip(_column(k) - before, 0, self.sizes)
        if denominator in ("total", "min"):
            divisor = total if denominator == "total" else np.minimum(total, k)
            best = group.first(np.minimum(self.hits, room))
            spared = np.minimum(self.sizes - self.hits, room)
            worst = group.after(spared, room - spared)
            return {
                "best": _divided(best.sum(axis=1), divisor),
                "worst": _divided(worst.sum(axis=1), divisor),
                "expected": _divided(group.mean(room).sum(axis=1), divisor),
            }
        whole = room == self.sizes
        cut = np.where(whole.all(axis=1), -1, whole.argmin(axis=1))
        sums = {
            "best": np.where(whole, group.first(self.hits), 0).sum(axis=1),
            "worst": np.where(whole, group.last(self.hits), 0).sum(axis=1),
            "expected": np.where(whole, group.mean(), 0).sum(axis=1),
        }
        result = {name: _divided(part, total) for name, part in sums.items()}
        for query in range(queries):
            if (at := int(cut[query])) >= 0:
                found = _cut_group(
                    int(self.sizes[query, at]),
                    int(self.hits[query, at]),
                    int(before[query, at]),
                    int(above[query, at]),
                    int(room[query, at]),
                    {name: float(part[query]) for name, part in sums.items()},
                    harmonic,
                )
                for name, value in found.items():
                    result[name][query] = value
        return result

    def hits_within(self, k: int | Rows) -> dict[str, Doubles]:
        """Best, worst and expected number of relevant entries among the first k, (q,) each; k as above.

        Over k it is P@k, and with k the number of relevant entries R-precision.
        """
        check_cut(k, "total")
        room = np.clip(_column(k) - _before(self.sizes), 0, self.sizes)
        share = np.divide(self.hits, self.sizes, out=np.zeros(self.sizes.shape), where=self.sizes > 0)
        found = {
            "best": np.minimum(self.hits, room),
            "worst": np.maximum(room - (self.sizes - self.hits), 0),
            "expected": share * room,
        }
        return {name: np.asarray(part.sum(axis=1), np.float64) for name, part in found.items()}

    def _port(self, group: _Sums, wanted: Rows) -> dict[str, Doubles]:
        taken = np.clip(wanted[:, None] - group.above, 0, self.hits)
        whole = taken == self.hits
        expected = np.where(whole, group.mean(), 0.0).sum(axis=1)
        for query, at in zip(*np.nonzero(~whole & (taken > 0)), strict=True):
            expected[query] += _first_few(
                int(self.sizes[query, at]),
                int(self.hits[query, at]),
                int(group.before[query, at]),
                int(group.above[query, at]),
                int(taken[query, at]),
            )
        return {
            "best": _divided(group.first(taken).sum(axis=1), wanted),
            "worst": _divided(group.after(self.sizes - self.hits, taken).sum(axis=1), wanted),
            "expected": _divided(expected, wanted),
        }


def grouped(ordered: NDArray[Any], kinds: NDArray[Any], count: int) -> Rows:
    """How many entries of each kind have each score, (q, g, count); g is the most scores that a query has.

    Args:
        ordered: (q, m) scores in rank order.
        kinds: (q, m) from 0 to count - 1; what is -1 is not counted.
        count: Of kinds.
    """
    group = np.zeros(ordered.shape, np.int64)
    np.cumsum(ordered[:, 1:] != ordered[:, :-1], axis=1, out=group[:, 1:])
    groups = int(group.max(initial=0)) + 1
    place = (group + groups * np.arange(len(group))[:, None]) * count + kinds
    found = np.bincount(place[kinds >= 0], minlength=len(group) * groups * count)
    return found.reshape(len(group), groups, count)


@dataclass(frozen=True)
class _Sums:
    """Sums of P@i over relevant entries of each group, (q, g)."""

    sizes: Rows
    hits: Rows
    before: Rows
    above: Rows
    harmonic: Doubles

    def first(self, count: Rows) -> Doubles:
        """The first `count` places are relevant."""
        return self.after(np.zeros_like(count), count)

    def last(self, count: Rows) -> Doubles:
        """The last `count` places are relevant."""
        return self.after(self.sizes - count, count)

    def after(self, skipped: Rows, count: Rows) -> Doubles:
        """`count` relevant places follow `skipped` irrelevant ones."""
        start = self.before + skipped
        span = self.harmonic[start + count] - self.harmonic[start]
        return np.asarray(count + (self.above - start) * span, np.float64)

    def mean(self, room: Rows | None = None) -> Doubles:
        """Expected over all orders, of the first `room` places."""
        room = self.sizes if room is None else room
        return _expected(self.sizes, self.hits, self.before, self.above, room, self.harmonic)


def check_cut(k: int | Rows | None, denominator: str) -> None:
    """Refuse a cut, or one of many, or a denominator that does not exist."""
    if denominator not in get_args(Denominator):
        raise UnknownName("denominator of average precision", denominator, get_args(Denominator))
    if k is not None and np.min(k, initial=1) < 1:
        raise UsageError(f"a ranking can be cut at 1 or later, not at {np.min(k)}")


def _expected(n: Any, r: Any, before: Any, above: Any, room: Any, harmonic: Doubles) -> Doubles:
    """E of the sum over the first `room` of n places, r of which are relevant.

    A place holds a relevant entry with probability r / n, and then the i - 1 places before it in the group
    hold (i - 1) (r - 1) / (n - 1) others on average.
    """
    n, r = np.asarray(n, np.float64), np.asarray(r, np.float64)
    slope = np.divide(r - 1, n - 1, out=np.zeros(np.broadcast(n, r).shape), where=n > 1)
    span = harmonic[np.asarray(before + room)] - harmonic[np.asarray(before)]
    inner = room * slope + (above + 1 - slope - slope * before) * span
    share = np.divide(r, n, out=np.zeros(np.broadcast(n, r).shape), where=n > 0)
    return np.asarray(share * inner, np.float64)


def _cut_group(
    n: int, r: int, before: int, above: int, room: int, sums: dict[str, float], harmonic: Doubles
) -> dict[str, float]:
    """AP with D = retrieved, where the cut falls inside a group, so that D itself depends on the order.

    With h of the `room` places relevant, every arrangement of them is equally likely, and h is
    hypergeometric.
    """
    h = np.arange(max(0, room - (n - r)), min(room, r) + 1)
    found = np.maximum(above + h, 1)
    best = h + (above - before) * (harmonic[before + h] - harmonic[before])
    late = before + room - h
    worst = h + (above - late) * (harmonic[late + h] - harmonic[late])
    middle = _expected(np.full(len(h), room), h, before, above, np.full(len(h), room), harmonic)
    chances = np.exp(_log_choose(r, h) + _log_choose(n - r, room - h) - _log_choose(n, room))
    return {
        "best": float(((sums["best"] + best) / found).max()),
        "worst": float(((sums["worst"] + worst) / found).min()),
        "expected": float((chances * (sums["expected"] + middle) / found).sum()),
    }


def _first_few(n: int, r: int, before: int, above: int, count: int) -> float:
    """E of the sum over the first `count` of r relevant entries among n places.

    The j-th of them is at place x with probability C(x-1, j-1) C(n-x, r-j) / C(n, r).
    """
    x = np.arange(1, n + 1)[:, None]
    j = np.arange(1, count + 1)
    possible = (x >= j) & (n - x >= r - j)
    left = _log_choose(x - 1, np.minimum(j - 1, x - 1))
    right = _log_choose(n - x, np.minimum(r - j, n - x))
    chances = np.where(possible, np.exp(left + right - _log_choose(n, r)), 0)
    return float((chances * (above + j) / (before + x)).sum())


def _log_choose(n: Any, k: Any) -> Any:
    n, k = np.asarray(n), np.asarray(k)
    table = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, max(int(n.max(initial=0)), 1) + 1)))])
    return table[n] - table[k] - table[n - k]


def _harmonic(n: int) -> Doubles:
    """H(0) .. H(n)."""
    return np.concatenate([[0.0], np.cumsum(1 / np.arange(1, n + 1))])


def _column(k: int | Rows) -> Any:
    """A cut for each query, against its groups."""
    return np.asarray(k).reshape(-1, 1)


def _before(counts: Rows) -> Rows:
    """Sum of the groups before each."""
    return np.asarray(np.cumsum(counts, axis=1) - counts, np.int64)


def _divisor(found: Any, total: Any, k: int | None, denominator: str) -> Any:
    if denominator == "retrieved":
        return found
    return np.minimum(total, k) if denominator == "min" and k is not None else total


def _divided(sums: Any, by: Any) -> Doubles:
    return np.asarray(np.divide(sums, by, out=np.zeros(len(sums)), where=np.asarray(by) > 0), np.float64)


def ranked(relevant: Bools, order: Rows) -> Bools:
    """Relevance (q, n) in the order of rows (q, m); a row -1 is not relevant."""
    found = np.take_along_axis(relevant, np.maximum(order, 0), axis=1)
    return np.asarray(found & (order >= 0))
