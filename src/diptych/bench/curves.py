"""How much more training data would bring: systems of our table on growing parts of its data."""

from __future__ import annotations

import statistics
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any

from diptych.bench.fill import Filled, Wanted
from diptych.bench.plan import ours
from diptych.bench.report import Notes, main_values, spread, told
from diptych.core import DIRECTIONS
from diptych.report.bench_page import Chart, Table, bench_command

__all__ = ["Curve", "curve_content", "curve_tables", "curves", "wanted"]


@dataclass(frozen=True)
class Curve:
    """Systems on parts of one data set.

    Args:
        entry: Data set of our table.
        systems: Names.
        limits: Numbers of training photographs, drawn with seed 0, so that a smaller part lies in a larger.
        bits: Code length; 0 for real values.
    """

    entry: str
    systems: Sequence[str]
    limits: Sequence[int]
    bits: int = 0


def curves() -> tuple[str, Sequence[int], list[Curve]]:
    """Title, seeds and curves, as the package has them."""
    text = resources.files("diptych.bench").joinpath("curves.toml").read_text(encoding="utf-8")
    content = tomllib.loads(text)
    return content["title"], content["seeds"], [Curve(**one) for one in content["curve"]]


def wanted() -> Iterator[Wanted]:
    """All cells; the row is (entry, system), the part (limit)."""
    _, seeds, found = curves()
    plan = ours()
    for curve in found:
        entry = next(entry for entry in plan.entries if entry.id == curve.entry)
        for system in curve.systems:
            for limit in curve.limits:
                for seed in seeds[:1] if system in plan.deterministic else seeds:
                    yield Wanted(
                        replace(plan.cell(entry, system, curve.bits, seed), limit=limit),
                        entry=curve.entry,
                        system=system,
                        row=(curve.entry, system),
                        part=(limit,),
                        label=f"{curve.entry} {system} {limit} photographs seed {seed}",
                    )


def curve_tables(filled: Filled) -> list[Table]:
    """One table and one chart a data set: the mean of both directions, and its deviation over seeds."""
    tables = []
    for curve in curves()[2]:
        systems = [one for one in curve.systems if filled.has((curve.entry, one))]
        if systems:
            tables.append(_table(replace(curve, systems=systems), filled))
    return tables


def _table(curve: Curve, filled: Filled) -> Table:
    rows: list[list[Any]] = []
    notes = Notes()
    lines: dict[str, tuple[list[Any], list[float]]] = {}
    spreads: dict[str, list[float]] = {}
    measure = ""
    for system in curve.systems:
        row: list[Any] = [system]
        for limit in curve.limits:
            results = filled.results.get((curve.entry, system, limit), ())
            if not results:
                row.append(None)
                continue
            measure = str(results[0]["measure"])
            sides = [main_values(results, direction, measure, curve.bits) for direction in DIRECTIONS]
            values = [statistics.fmean(pair) for pair in zip(*sides, strict=True)]
            row.append(spread(values))
            at, means = lines.setdefault(system, ([], []))
            at.append(limit)
            means.append(statistics.fmean(values))
            spreads.setdefault(system, []).append(statistics.stdev(values) if len(values) > 1 else 0.0)
        if len(row) > 1 and row[1:] == [None] * len(curve.limits):
            row[1] = notes.mark(filled.reasons[curve.entry, system])
        rows.append(row)
    what = f"{measure or 'quality'}, mean of both directions" + (f", {curve.bits} bits" if curve.bits else "")
    chart = Chart(f"{curve.entry}: {what}", lines, "training photographs", measure, spread=spreads)
    return Table(
        curve.entry,
        ["system", *(f"{limit}" for limit in curve.limits)],
        rows,
        f"{what}, by number of training photographs; a tenth of them chooses epochs and settings.",
        charts=[chart] if lines else [],
        reasons=notes.lines(),
        best=range(1, 1 + len(curve.limits)),
        command=bench_command("curves", curve.entry),
    )


def curve_content(filled: Filled) -> Mapping[str, Any]:
    """All of it for programs, as JSON has it."""
    cells = [
        {"entry": entry, "system": system, "photographs": limit, "seeds": [told(one) for one in found]}
        for (entry, system, limit), found in filled.results.items()
    ]
    missing = [
        {"entry": row[0], "system": row[1], "reason": reason} for row, reason in filled.reasons.items()
    ]
    return {"title": curves()[0], "cells": cells, "missing": missing}
