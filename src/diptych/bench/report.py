"""What the results say: our table with means over seeds, and the survey's tables beside ours."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from diptych.bench.fill import Filled
from diptych.bench.per_query import difference
from diptych.bench.plan import Entry, Plan
from diptych.bench.store import Result
from diptych.core import DIRECTIONS
from diptych.report.bench_page import Chart, Table, bench_command

__all__ = ["Notes", "Results", "main_values", "ours_content", "ours_tables", "spread", "told"]

Results = Mapping[tuple[Any, ...], Sequence[Result]]
"""Finished cells by (entry, system, bits), one a seed."""

Reasons = Mapping[tuple[Any, ...], str]
"""Why cells of (entry, system) are not there."""


class Notes:
    """Reasons why cells are empty, each once below the table, with a number that stands in the cells."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def mark(self, reason: str) -> str:
        """What stands in a cell that is empty for that reason."""
        return f"- [{self._numbers.setdefault(reason, len(self._numbers) + 1)}]"

    def lines(self) -> list[str]:
        """What stands below the table."""
        return [f"[{number}] {reason}" for reason, number in self._numbers.items()]


_INTERVAL = "difference, 95 % interval over queries and seeds"
_KINDS = {
    "Above": _INTERVAL,
    "Not told apart from": _INTERVAL,
    "Below": _INTERVAL,
    "Unsure against": "difference; what each query reached was not kept",
}
_FLOOR = {"real": "cca", "hashing": "cca_itq"}


def ours_tables(plan: Plan, filled: Filled) -> list[Table]:
    """One table for each data set of ours.

    Args:
        plan: Which cells there are.
        filled: Those that are finished, and why others are not.
    """
    shown = {"real": _real, "hashing": _hashing}
    return [shown[entry.half](plan, entry, filled.results, filled.reasons) for entry in plan.entries]


def ours_content(plan: Plan, filled: Filled) -> dict[str, Any]:
    """All cells with their results, and the reasons for those that are not there, as JSON has it."""
    cells = [
        {
            "entry": entry,
            "system": system,
            "bits": bits or None,
            "command": bench_command(plan.name, entry, system),
            "seeds": [told(one) for one in found],
        }
        for (entry, system, bits), found in filled.results.items()
    ]
    missing = [
        {"entry": entry, "system": system, "reason": reason}
        for (entry, system), reason in filled.reasons.items()
    ]
    return {"title": plan.title, "cells": cells, "missing": missing}


def told(one: Result) -> dict[str, Any]:
    """A result without what each query reached, which is kept to be computed with."""
    results = {
        direction: {name: value for name, value in side.items() if name != "per_query"}
        for direction, side in one["results"].items()
    }
    return {**one, "results": results}


def _real(plan: Plan, entry: Entry, results: Results, reasons: Reasons) -> Table:
    measure = _measure(entry, results)
    headings = ["system", *(f"{short} {measure}" for short in DIRECTIONS.values())]
    headings += ["R@10 IqT", "R@10 TqI", "seeds", "CPU s"]
    rows: list[list[Any]] = []
    notes = Notes()
    bars: dict[str, tuple[list[Any], list[float]]] = {}
    deviations: dict[str, float] = {}
    for system in plan.asked(entry):
        found = results.get((entry.id, system, 0), ())
        if not found:
            rows.append([system, notes.mark(reasons[entry.id, system]), *[None] * 5])
            continue
        values = [_values(found, direction, measure) for direction in DIRECTIONS]
        recalls = [_mean(_values(found, direction, "R@10")) for direction in DIRECTIONS]
        seconds = _mean([float(one["cpu_seconds"]) for one in found])
        rows.append([system, *map(spread, values), *recalls, len(found), f"{seconds:.0f}"])
        both = [_mean(pair) for pair in zip(*values, strict=True)]
        bars[system] = ([""], [_mean(both)])
        if len(both) > 1:
            deviations[system] = statistics.stdev(both)
    title = f"{entry.id}: {measure}, mean of both directions"
    chart = Chart(
        f"{title}, deviation over seeds" if deviations else title, bars, y=measure, spread=deviations
    )
    return Table(
        entry.id,
        headings,
        rows,
        entry.note,
        _against(plan, entry, results, measure, 0),
        [chart] if bars else [],
        notes.lines(),
        best=range(1, 5),
        command=bench_command(plan.name, entry.id),
    )


def _hashing(plan: Plan, entry: Entry, results: Results, reasons: Reasons) -> Table:
    headings, lengths = ["system"], plan.lengths(entry)
    for short in DIRECTIONS.values():
        headings += [f"{short} {bits} bits" for bits in lengths]
    headings += ["ties at fewest bits (worst to best, IqT)", "seeds"]
    rows: list[list[Any]] = []
    notes = Notes()
    for system in plan.asked(entry):
        row: list[Any] = [system]
        for direction in DIRECTIONS:
            for bits in lengths:
                found = results.get((entry.id, system, bits), ())
                row.append(spread(_tied(found, direction, "expected")) if found else None)
        first = results.get((entry.id, system, lengths[0]), ())
        if first:
            low, high = (_mean(_tied(first, "image to text", kind)) for kind in ("worst", "best"))
            row += [f"{low:.3f} to {high:.3f}", len(first)]
        else:
            row += [notes.mark(reasons[entry.id, system]), None]
        rows.append(row)
    remarks = []
    for bits in lengths:
        remarks += _against(plan, entry, results, "MAP@ALL", bits)
    note = f"{entry.note} MAP@ALL, expected over all orders of ties."
    charts, best = _code_charts(plan, entry, results), range(1, 1 + len(DIRECTIONS) * len(lengths))
    return Table(
        entry.id,
        headings,
        rows,
        note,
        remarks,
        charts,
        notes.lines(),
        best,
        command=bench_command(plan.name, entry.id),
    )


def _code_charts(plan: Plan, entry: Entry, results: Results) -> list[Chart]:
    charts, lengths = [], plan.lengths(entry)
    for direction, short in DIRECTIONS.items():
        lines: dict[str, tuple[list[Any], list[float]]] = {}
        spreads: dict[str, list[float]] = {}
        curves: dict[str, tuple[list[Any], list[float]]] = {}
        lists: dict[str, tuple[list[Any], list[float]]] = {}
        middle = lengths[len(lengths) // 2]
        for system in plan.asked(entry):
            done = [bits for bits in lengths if results.get((entry.id, system, bits))]
            if done:
                found = [_tied(results[entry.id, system, bits], direction, "expected") for bits in done]
                lines[system] = (done, [_mean(values) for values in found])
                spreads[system] = [statistics.stdev(values) if len(values) > 1 else 0.0 for values in found]
            for one in results.get((entry.id, system, middle), ())[:1]:
                first = one["results"][direction]
                if "curve" in first:
                    curves[system] = (first["curve"][0], first["curve"][1])
                at = {int(k[2:]): v for k, v in first["values"].items() if k.startswith("P@")}
                # Of fewer entries, precision says how many there are.
                at = {n: v for n, v in at.items() if n <= first.get("gallery", n)}
                lists[system] = (sorted(at), [at[n] for n in sorted(at)])
        if lines:
            if len(lengths) > 1:
                charts.append(_against_bits(f"{entry.id} {short}", lines, spreads))
            charts += [
                Chart(f"{entry.id} {short}: precision-recall, {middle} bits", curves, "recall", "precision"),
                Chart(f"{entry.id} {short}: precision at N, {middle} bits", lists, "N", "P@N"),
            ]
    return charts


def _against_bits(where: str, lines: Mapping[str, Any], spreads: Mapping[str, Sequence[float]]) -> Chart:
    title = f"{where}: MAP against bits, deviation over seeds"
    return Chart(title, lines, "bits", "MAP@ALL", spread=spreads)


def _against(plan: Plan, entry: Entry, results: Results, measure: str, bits: int) -> list[str]:
    """How far the trained systems are from the baselines, in words: above, below, or not to be told apart."""
    floors = [_FLOOR[entry.half], *(("ridge", "sm") if entry.half == "real" else ("lsh",))]
    trained = [name for name in plan.asked(entry) if name not in plan.baselines]
    remarks = []
    for floor in floors:
        base = results.get((entry.id, floor, bits), ())
        done = [name for name in trained if results.get((entry.id, name, bits))]
        if not base or not done:
            continue
        said: dict[str, list[str]] = {kind: [] for kind in _KINDS}
        for name in done:
            own = results[entry.id, name, bits]
            for direction, short in DIRECTIONS.items():
                sides = (_mean(main_values(one, direction, measure, bits)) for one in (own, base))
                value = next(sides) - next(sides)
                found = difference(own, base, direction)
                kind = list(_KINDS)[-1 if found is None else 1 - found.sign]
                ends = "" if found is None else f" [{found.low:+.3f}, {found.high:+.3f}]"
                said[kind].append(f"{name} {short} {value:+.3f}{ends}")
        where = f" at {bits} bits" if bits else ""
        remarks += [
            f"{kind} {floor}{where} ({_KINDS[kind]}): {', '.join(names)}."
            for kind, names in said.items()
            if names
        ]
    return remarks


def main_values(found: Sequence[Result], direction: str, measure: str, bits: int) -> list[float]:
    """What is compared, one value a seed: the measure, or of codes what MAP is expected over all ties."""
    return _tied(found, direction, "expected") if bits else _values(found, direction, measure)


def _measure(entry: Entry, results: Results) -> str:
    for (name, _, _), found in results.items():
        if name == entry.id and found:
            return str(found[0]["measure"])
    return "R@1" if entry.pairs else "MAP@ALL"


def _values(found: Sequence[Result], direction: str, name: str) -> list[float]:
    return [float(one["results"][direction]["values"][name]) for one in found]


def _tied(found: Sequence[Result], direction: str, kind: str) -> list[float]:
    return [float(one["results"][direction]["ties"]["MAP@ALL"][kind]) for one in found]


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if values else 0.0


def spread(values: Sequence[float], sign: str = "") -> str:
    """Mean and standard deviation over seeds; `sign` "+" also writes that of a positive mean."""
    deviation = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{_mean(values):{sign}.3f}{deviation}"
