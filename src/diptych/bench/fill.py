"""Fills tables: every cell that can be computed here is, once, and every other one says why not."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from diptych import catalogue
from diptych.bench.cells import Cell, open_cell_data
from diptych.bench.run import run
from diptych.bench.store import Result, Store
from diptych.data.base import Dataset
from diptych.errors import DiptychError, MissingData, UnknownName

__all__ = ["Filled", "Filler", "Wanted"]

Place = tuple[Any, ...]
"""Where a result is shown."""


@dataclass(frozen=True)
class Wanted:
    """One cell that a table asks for.

    Args:
        cell: What to compute; its system is "" where Diptych has none.
        entry, system: The names that a user chooses it by.
        row: The row of the table. When one of its cells fails, the rest of the row is not tried.
        part: The cells within the row that are shown together.
        label: What a person is told that it is.
    """

    cell: Cell
    entry: str
    system: str
    row: Place
    part: Place = ()
    label: str = ""

    @property
    def place(self) -> Place:
        """Row and part."""
        return self.row + self.part


@dataclass(frozen=True)
class Filled:
    """What there is of a table.

    Args:
        results: Finished cells by place, in the order in which they were asked for.
        reasons: Why a row lacks cells: the first reason there was.
        unchecked: Data that are not here, and why; results on them are those that are kept, and nobody
            could look whether these are the data that they were made from.
        asked: Number of cells of the table.
    """

    results: Mapping[Place, list[Result]]
    reasons: Mapping[Place, str]
    unchecked: Mapping[str, str]
    asked: int

    @property
    def finished(self) -> int:
        """Number of cells that have a result."""
        return sum(map(len, self.results.values()))

    def only(self, rows: Collection[Place]) -> Filled:
        """The same of some rows alone; the numbers of cells stay those of the whole table."""
        return replace(
            self,
            results={place: found for place, found in self.results.items() if _row(place, rows)},
            reasons={row: reason for row, reason in self.reasons.items() if row in rows},
        )

    def has(self, row: Place) -> bool:
        """Whether anything is known of a row."""
        return row in self.reasons or any(_row(place, [row]) for place in self.results)


def _row(place: Place, rows: Collection[Place]) -> bool:
    return any(place[:end] in rows for end in range(1, len(place) + 1))


class _GapError(Exception):
    """Why a cell has no result."""


@dataclass(frozen=True)
class Filler:
    """Fills tables from what is kept in one folder, and computes what is missing.

    Args:
        folder: `results.jsonl` and run folders.
        root: Folder of the data sets, if not where `diptych data` puts them.
        entries, systems: Compute only these; all, if empty. What is finished is collected in any case.
        compute: False only collects.
        tell: Is told of each cell that is computed.
    """

    folder: Path
    root: Path | None = None
    entries: Collection[str] = ()
    systems: Collection[str] = ()
    compute: bool = True
    tell: Callable[[str], None] = lambda _: None
    _opened: dict[tuple[Any, ...], Dataset | str] = field(default_factory=dict, init=False, repr=False)
    _failed: dict[str, str] = field(default_factory=dict, init=False, repr=False)

    def fill(self, table: str, wanted: Iterable[Wanted]) -> Filled:
        """Compute what is missing of a table and collect all of it.

        Args:
            table: What to call it.
            wanted: Its cells.

        Raises:
            UnknownName: an entry or a system was chosen that the table does not have.
        """
        cells = list(wanted)
        self._check(f"system of {table}", self.systems, {one.system for one in cells if one.system})
        self._check(f"data set of {table}", self.entries, {one.entry for one in cells})
        store = Store(self.folder / "results.jsonl")
        results: dict[Place, list[Result]] = {}
        reasons: dict[Place, str] = {}
        unchecked: dict[str, str] = {}
        for one in cells:
            try:
                found = self._found(one, store, unchecked, wanted=one.row not in reasons)
            except _GapError as gap:
                reasons.setdefault(one.row, str(gap))
            else:
                results.setdefault(one.place, []).append(found)
        return Filled(results, reasons, unchecked, len(cells))

    def chosen(self, wanted: Iterable[Wanted]) -> set[Place] | None:
        """The rows of the entries and systems that were chosen; None if none were, which are all."""
        if not (self.entries or self.systems):
            return None
        return {one.row for one in wanted if self._is_chosen(one)}

    def _is_chosen(self, one: Wanted) -> bool:
        return all(
            not allowed or name in allowed
            for name, allowed in ((one.system, self.systems), (one.entry, self.entries))
        )

    @staticmethod
    def _check(kind: str, chosen: Collection[str], known: Collection[str]) -> None:
        for name in chosen:
            if name not in known:
                raise UnknownName(kind, name, known)

    def _found(self, one: Wanted, store: Store, unchecked: dict[str, str], *, wanted: bool) -> Result:
        """The result of a cell, from the store or computed.

        Raises:
            _GapError: there is none; the message says why.
        """
        cell = one.cell
        _check_system(catalogue.parse(cell.trained).system)
        dataset = self._data(cell)
        latest = store.latest(cell)
        if isinstance(dataset, str):
            if latest is None:
                raise _GapError(dataset)
            if latest.get("depends", {}).get("code") != cell.code():
                raise _GapError(f"{_stale(latest, cell)}; {dataset}")
            unchecked[cell.data] = dataset
            return latest
        key = cell.key(dataset)
        found = store.get(key)
        if found is not None:
            return found
        if key in self._failed:
            raise _GapError(self._failed[key])
        if wanted and self.compute and self._is_chosen(one):
            return self._computed(one, key, dataset, store)
        raise _GapError("not run yet" if latest is None else _stale(latest, cell))

    def _computed(self, one: Wanted, key: str, dataset: Dataset, store: Store) -> Result:
        try:
            found = run(one.cell, dataset, self.folder / "runs")
        except DiptychError as error:
            # The other systems' cells are still worth computing; the table says what was wrong here.
            self._failed[key] = f"failed: {error}"
            self.tell(f"{one.label}: failed: {error}")
            raise _GapError(self._failed[key]) from error
        store.put(found)
        values = ", ".join(
            f"{direction} {side['values'][found['measure']]:.4f}"
            for direction, side in found["results"].items()
        )
        self.tell(f"{one.label}: {found['measure']} {values} ({found['cpu_seconds']:.0f} s)")
        return found

    def _data(self, cell: Cell) -> Dataset | str:
        """The data of a cell, opened once; or why they cannot be had."""
        which = (cell.data, cell.protocol, cell.limit, cell.pairs, cell.validation, cell.features)
        if which not in self._opened:
            self._opened[which] = _opened(cell, self.root)
        return self._opened[which]


def _opened(cell: Cell, root: Path | None) -> Dataset | str:
    try:
        dataset = open_cell_data(cell, root)
        cell.key(dataset)  # asks for everything that the cell needs
    except (MissingData, UnknownName) as error:
        return str(error)
    except DiptychError as error:
        return f"the data cannot be read: {error}"
    return dataset


@cache
def _systems() -> frozenset[str]:
    return frozenset(catalogue.names("system"))


def _check_system(name: str) -> None:
    if name not in _systems():
        raise _GapError(f"Diptych has no system {name} yet" if name else "Diptych has no such system")


def _stale(result: Result, cell: Cell) -> str:
    """What is wrong with a result that is kept under another fingerprint than the cell's."""
    made = f"stale: made with commit {(result.get('commit') or 'unknown')[:10]}, and"
    known = result.get("depends")
    if known is None:
        return f"{made} kept without saying what it depends on"
    return f"{made} the {'code has' if known['code'] != cell.code() else 'data have'} changed since"
