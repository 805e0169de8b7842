"""How a comparison of two systems looks: as rows, as CSV and as a page."""

from __future__ import annotations

import csv
import io

from diptych.core import DIRECTIONS
from diptych.evaluation import Comparison
from diptych.report.bench_page import Table, as_html
from diptych.report.values import meaningful, number

__all__ = ["HEADINGS", "comparison_csv", "comparison_page", "names", "note", "rows"]

HEADINGS = ("measure", "first", "second", "difference", "95 % interval", "p")
_COLUMNS = (
    "first", "second", "protocol", "direction", "measure", "first_value", "second_value", "difference", "low",
    "high", "p", "queries",
)  # fmt: skip


def names(found: Comparison) -> tuple[str, str]:
    """What the two systems are called; with their data where they are not the same."""
    sides = (found.first, found.second)
    if found.first.data == found.second.data:
        first, second = (str(one.facts["system"]) for one in sides)
    else:
        first, second = (f"{one.facts['system']} on {one.data}" for one in sides)
    return first, second


def note(found: Comparison) -> str:
    """What was compared and how."""
    queries = ", ".join(
        f"{direction} {found.first.measured[direction].queries} queries" for direction in found.differences
    )
    return (
        f"first: {names(found)[0]}; second: {names(found)[1]}; {found.first.data}, protocol "
        f"{found.first.facts['protocol']}: {queries}. Paired bootstrap over queries, {found.samples} "
        "samples; an interval that holds 0 does not tell the two apart."
    )


def rows(found: Comparison, direction: str) -> list[list[str]]:
    """One a measure, under `HEADINGS`."""
    one, other = (side.measured[direction] for side in (found.first, found.second))
    part = found.differences[direction]
    shown = []
    for name in (name for name in meaningful(found.first) if name in part):
        values = [number(name, side[name], side) for side in (one, other)]
        signed = [f"{value:+.4f}" for value in (part[name].value, part[name].low, part[name].high)]
        shown.append([name, *values, signed[0], f"{signed[1]} to {signed[2]}", f"{part[name].p:.4f}"])
    return shown


def comparison_csv(found: Comparison) -> str:
    """A row for each direction and measure, with all digits, under a heading."""
    file = io.StringIO()
    table = csv.writer(file, lineterminator="\n")
    table.writerow(_COLUMNS)
    for direction, part in found.differences.items():
        one, other = (side.measured[direction] for side in (found.first, found.second))
        for name in (name for name in meaningful(found.first) if name in part):
            gap = part[name]
            facts = [*names(found), found.first.facts["protocol"], DIRECTIONS[direction], name]
            table.writerow([*facts, one[name], other[name], gap.value, gap.low, gap.high, gap.p, one.queries])
    return file.getvalue()


def comparison_page(found: Comparison) -> str:
    """One self-contained page of HTML."""
    tables = [
        Table(f"{direction} ({DIRECTIONS[direction]})", HEADINGS, rows(found, direction))
        for direction in found.differences
    ]
    return as_html(" against ".join(names(found)), tables, facts=[note(found)])
