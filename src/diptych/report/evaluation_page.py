"""An evaluation as one HTML page: all measures, three charts, and the best and worst queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from diptych.core import DIRECTIONS
from diptych.data.base import Dataset, Split
from diptych.errors import DiptychError
from diptych.evaluation import Evaluation, Fold
from diptych.metrics import Measured
from diptych.report import page as html
from diptych.report.style import safe
from diptych.report.values import meaningful, number, spans

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["evaluation_page"]

_SHOWN = 5  # queries and hits of each kind


def evaluation_page(found: Evaluation, dataset: Dataset | None = None) -> str:
    """The page as HTML.

    Args:
        found: With its rankings.
        dataset: Where pictures and captions of the best and worst queries come from; without it they are
            named by their ids.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    facts = found.facts
    title = f"{facts['system']} on {found.data}"
    about = (
        f"protocol {facts['protocol']}, relevant by {facts['relevance']}, similarity "
        f"{facts['similarity'] or 'of its own'}, "
        + (f"seed {facts['seed']}, " if facts.get("seed") is not None else "")
        + (f"{facts['pairs']}, " if str(facts.get("pairs", "")).startswith("paired") else "")
        + f"{'split' if len(facts['splits_sha256']) == 1 else 'splits'} "
        f"{', '.join(sha256[:10] for sha256 in facts['splits_sha256'])}, "
        f"Diptych {facts['versions']['diptych']}, commit {str(facts['commit'] or 'unknown')[:10]}"
    )
    if used := facts.get("matches"):
        about += f", matches of {' and '.join(one['file'] for one in used.values())}"
    cases = list(dataset.cases(str(facts["protocol"]))) if dataset is not None else []
    parts = [
        f'<p class="note">{safe(about)}</p>',
        _numbers(found),
        html.section("Curves", html.charts(_precision_recall(found), _recall(found), _histogram(found))),
    ]
    for direction, folds in found.folds.items():
        parts.append(_queries(direction, folds, found, cases[0] if cases else None))
    words = [[name, text] for name, text in facts["definitions"].items()]
    parts.append(html.section("What the measures mean", html.table(("measure", "definition"), words)))
    return html.page(title, *parts)


def _numbers(found: Evaluation) -> str:
    """A column a direction; below each value its interval, and orders of ties that decide anything."""
    intervals = {direction: one.intervals() for direction, one in found.measured.items()}
    ties = spans(found)
    rows = []
    for name in meaningful(found):
        row: list[Any] = [name]
        for direction, one in found.measured.items():
            interval, orders = (_span(name, ends[direction].get(name), one) for ends in (intervals, ties))
            below = (interval, f"ties {orders}" if orders else "")
            row.append(html.Value(number(name, one[name], one), tuple(filter(None, below))))
        rows.append(row)
    headings = ["measure", *(f"{direction} ({DIRECTIONS[direction]})" for direction in found.measured)]
    counts = "; ".join(
        f"{direction}: {one.queries} queries against {one.gallery // one.folds}"
        + (f" in {one.folds} folds" if one.folds > 1 else "")
        + (f", {one.without_relevant} without a relevant entry" if one.without_relevant else "")
        for direction, one in found.measured.items()
    )
    note = f"{counts}. Below each value its 95 % interval"
    note += ", and its values in the worst and the best order of ties." if any(ties.values()) else "."
    return html.section("Measures", html.table(headings, rows), note=note)


def _span(name: str, ends: tuple[float, float] | None, one: Measured) -> str:
    """Both ends on one line; nothing, if there are none."""
    if ends is None:
        return ""
    return "\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}".join(number(name, end, one) for end in ends)


def _precision_recall(found: Evaluation) -> str:
    def draw(axes: Axes) -> None:
        for direction, one in found.measured.items():
            if one.curve is not None:
                axes.plot(*one.curve, marker=".", label=direction)
        axes.set(xlabel="recall", ylabel="precision (interpolated)", xlim=(0, 1), ylim=(0, 1.02))
        axes.legend()

    return html.chart(draw, alt="Mean interpolated precision at each recall, both directions")


def _recall(found: Evaluation) -> str:
    def draw(axes: Axes) -> None:
        for direction, one in found.measured.items():
            ranks = one.per_query["MeanR"]
            most = max(one.gallery // one.folds, 1)
            lengths = np.unique(np.round(np.geomspace(1, most, 60)).astype(int))
            axes.plot(lengths, [(ranks <= n).mean() for n in lengths], label=direction)
        axes.set(xlabel="n", ylabel="R@n", xscale="log", ylim=(0, 1.02))
        axes.legend()

    return html.chart(draw, alt="Recall at n, both directions")


def _histogram(found: Evaluation) -> str:
    def draw(axes: Axes) -> None:
        most = max(float(one.per_query["MeanR"].max(initial=1)) for one in found.measured.values())
        edges = np.unique(np.round(np.geomspace(1, most + 1, 18)))
        values = [one.per_query["MeanR"] for one in found.measured.values()]
        axes.hist(values, bins=edges.tolist(), label=list(found.measured))
        axes.set(xlabel="rank of the best relevant entry", ylabel="queries", xscale="log")
        axes.legend()

    return html.chart(draw, alt="Histogram of the rank of the best relevant entry, both directions")


def _queries(
    direction: str, folds: Sequence[Fold], found: Evaluation, case: tuple[Split, Split] | None
) -> str:
    """The best and the worst queries of the first fold, with their first hits."""
    fold = folds[0]
    one = found.measured[direction]
    name = "MAP@ALL" if "MAP@ALL" in one.per_query else str(found.facts["measure"])
    values = one.per_query[name][: len(fold.query_id)]
    # By the measure, and among equals by rank, so that a failure is shown by its worst case.
    ranks = one.per_query["MeanR"][: len(values)]
    order = np.lexsort((ranks, -values))
    asked = order[fold.relevance.totals()[order] > 0]
    groups = {"Best": asked[:_SHOWN], "Worst": asked[::-1][:_SHOWN]}
    parts = []
    for heading, queries in groups.items():
        parts.append(f"<h3>{heading}</h3>")
        parts += [_query(direction, int(query), fold, float(values[query]), name, case) for query in queries]
    note = "Relevant entries are marked ✓ and have a border of their own."
    return html.section(f"Best and worst queries, {direction}", *parts, note=note)


def _query(
    direction: str, query: int, fold: Fold, value: float, name: str, case: tuple[Split, Split] | None
) -> str:
    sides = ("image", "text") if direction == "image to text" else ("text", "image")
    match = fold.relevance.block(query, query + 1)[0]
    asked = _shown(None if case is None else getattr(case[0], sides[0]), query, fold.query_id)
    hits = []
    for row, score in zip(fold.hits.rows[query, :_SHOWN], fold.hits.scores[query, :_SHOWN], strict=True):
        if row < 0:
            continue
        entry = _shown(None if case is None else getattr(case[1], sides[1]), int(row), fold.gallery_id)
        yes, mark = (" yes", '<b title="relevant">✓</b> ') if match[row] else ("", "")
        hits.append(f'<div class="hit{yes}">{entry}<div>{mark}{score:.3f}</div></div>')
    about = f"{name} {value:.3f}, {int(match.sum())} relevant"
    return (
        f'<div class="row"><div class="asked">{asked}<div class="note">{safe(about)}</div></div>'
        f'<div class="hits">{"".join(hits)}</div></div>'
    )


def _shown(side: Any, row: int, names: Sequence[str]) -> str:
    """A picture, a caption, or the name of what has neither."""
    label = names[row] if len(names) else str(row)
    if side is None or isinstance(side, np.ndarray):
        return f"<div>{safe(label)}</div>"
    try:
        content = side[row]
    except DiptychError as error:
        return f"<div>{safe(label)}: {safe(error)}</div>"
    if isinstance(content, str):
        return f"<div>{safe(content)}</div>"
    return html.picture(content, label) if hasattr(content, "thumbnail") else f"<div>{safe(label)}</div>"
