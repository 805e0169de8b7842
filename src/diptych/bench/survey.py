"""The survey's tables beside ours: what was printed, what the paper says, what Diptych measures here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from diptych.bench.cells import Cell
from diptych.bench.fill import Filled, Wanted
from diptych.bench.plan import Plan, ours
from diptych.bench.report import Notes
from diptych.bench.tables import Published, Row
from diptych.core import DIRECTIONS
from diptych.report.bench_page import Chart, Table

__all__ = ["Found", "found_rows", "reference_table", "survey_content", "survey_table", "wanted"]

Found = Mapping[int, list[float] | str]
"""Our values, or the reason why there are none, by number of the row."""


def wanted(table: Published) -> Iterator[Wanted]:
    """The cells of one of the survey's tables, with seed 0; the row is (number of the row)."""
    plan = ours()
    for number, row in enumerate(table.rows):
        for cell in _cells(row, plan):
            bits = cell.settings.get("bits")
            yield Wanted(
                cell,
                entry=row.dataset,
                system=row.name,
                row=(number,),
                label=f"{row.system} on {row.dataset}" + (f" {bits} bits" if bits else ""),
            )


def _cells(row: Row, plan: Plan) -> list[Cell]:
    """One cell, or one for each code length; settings are those of our own table where it has the data."""
    entry = next((entry for entry in plan.entries if entry.data == row.dataset), None)
    if row.name and entry is not None and entry.protocol == row.protocol:
        return [plan.cell(entry, row.name, bits=0, seed=0)]
    bits = [column for column in row.columns if isinstance(column, int)]
    settings: list[dict[str, int]] = [{"bits": length} for length in bits] or [{}]
    return [Cell(row.name, row.dataset, row.protocol, settings=one) for one in settings]


def found_rows(table: Published, filled: Filled) -> Found:
    """Our values of each row, or why there are none; a row that lacks one value has none."""
    found: dict[int, list[float] | str] = {}
    for number, row in enumerate(table.rows):
        if (number,) in filled.reasons:
            found[number] = filled.reasons[number,]
            continue
        direction = next(name for name, short in DIRECTIONS.items() if short == row.direction)
        values = [result["results"][direction]["values"] for result in filled.results[number,]]
        if row.metric == "R@n":
            found[number] = [float(values[0][str(column)]) for column in row.columns]
        else:
            found[number] = [float(one["MAP@ALL"]) for one in values]
    return found


def survey_table(table: Published, found: Found) -> Table:
    """Printed, the paper's and our value side by side; a row's code lengths or measures in one line."""
    rows: list[list[Any]] = []
    notes = Notes()
    for number, row in enumerate(table.rows):
        own = found[number]
        other = row.paper_metric and row.paper_metric != row.metric
        rows.append(
            [
                row.system,
                row.printed_dataset,
                row.direction,
                _columns(row.columns),
                _values(row.survey),
                _values(row.paper) + (f" ({row.paper_metric})" if other else "") if row.paper else None,
                notes.mark(own) if isinstance(own, str) else _values(own),
                None
                if isinstance(own, str)
                else " / ".join(f"{a - b:+.3f}" for a, b in zip(own, row.survey, strict=True)),
                "; ".join(part for part in (row.remark, row.paper_source) if part),
            ]
        )
    headings = ["system", "data", "direction", "column", "survey", "paper", "ours", "ours - survey", "remark"]
    charts = [_chart(table, found, direction) for direction in DIRECTIONS.values()]
    title = "The survey's values, the papers' own, and ours"
    return Table(title, headings, rows, f"Source: {table.source}.", table.remarks, charts, notes.lines())


def reference_table(table: Published) -> Table:
    """Values of others on the same ground."""
    rows = [
        [
            one.system,
            data,
            direction,
            _columns(one.columns),
            _values(values),
            one.metric,
            one.source,
            one.remark,
        ]
        for one in table.references
        for direction, by_data in (("IqT", one.IqT), ("TqI", one.TqI))
        for data, values in by_data.items()
    ]
    headings = ["system", "data", "direction", "column", "value", "measure", "source", "remark"]
    return Table("Values of others, to judge these by", headings, rows)


def _columns(columns: Sequence[str | int]) -> str:
    return " / ".join(map(str, columns)) + (" bits" if isinstance(columns[0], int) else "")


def _values(values: Sequence[float]) -> str:
    """Three digits, or four where a fourth was printed."""
    return " / ".join(
        f"{value:.3f}" if abs(value - round(value, 3)) < 1e-9 else f"{value:.4f}" for value in values
    )


def _chart(table: Published, found: Found, direction: str) -> Chart:
    """One direction at the most bits, or by the first measure."""
    bits = isinstance(table.rows[0].columns[0], int)
    at = -1 if bits else 0
    series: dict[str, tuple[list[Any], list[float]]] = {
        name: ([], []) for name in ("survey", "paper", "ours")
    }
    for number, row in enumerate(table.rows):
        if row.direction != direction:
            continue
        own = found[number]
        values = {"survey": row.survey, "paper": row.paper, "ours": () if isinstance(own, str) else own}
        for name, given in values.items():
            if given:
                series[name][0].append(f"{row.system}, {row.printed_dataset}")
                series[name][1].append(given[at])
    points = {name: one for name, one in series.items() if one[0]}
    shown = str(table.rows[0].columns[at])
    if bits:
        return Chart(f"{direction}, {shown} bits", points, y=table.rows[0].metric, dots=True)
    return Chart(direction, points, y=shown, dots=True)


def survey_content(table: Published, found: Found) -> dict[str, Any]:
    """All of it for programs, as JSON has it."""
    rows = [
        {
            "system": row.system,
            "name": row.name or None,
            "dataset": row.dataset,
            "printed_dataset": row.printed_dataset,
            "protocol": row.protocol,
            "direction": row.direction,
            "metric": row.metric,
            "columns": list(row.columns),
            "survey": list(row.survey),
            "paper": list(row.paper) or None,
            "paper_metric": row.paper_metric or None,
            "paper_source": row.paper_source or None,
            "ours": None if isinstance(found[number], str) else found[number],
            "missing": found[number] if isinstance(found[number], str) else None,
            "remark": row.remark or None,
        }
        for number, row in enumerate(table.rows)
    ]
    return {
        "name": table.name,
        "title": table.title,
        "source": table.source,
        "remarks": list(table.remarks),
        "rows": rows,
        "references": [asdict(one) for one in table.references],
    }
