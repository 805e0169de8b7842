"""Produces a whole report: which table, its cells, and the facts that stand above them; and writes it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diptych.bench import ablations, curves, survey
from diptych.bench.fill import Filled, Filler, Wanted
from diptych.bench.plan import Plan, ours, read_plan
from diptych.bench.report import ours_content, ours_tables
from diptych.bench.tables import PUBLISHED, published
from diptych.errors import MissingData, UnknownName
from diptych.evaluation import definitions
from diptych.files import write as write_file
from diptych.provenance import commit, versions
from diptych.report.bench_page import as_html, as_markdown

if TYPE_CHECKING:
    from diptych.report.bench_page import Table

Rows = Collection[tuple[Any, ...]]
"""Rows of a table, as `Wanted` names them."""

Told = tuple[list["Table"], Mapping[str, Any]]
"""Tables to show, and their content as JSON has it."""

__all__ = ["TABLES", "Report", "produce", "write"]

TABLES = ("ours", *PUBLISHED, "ablations", "curves")

_FINISHED = re.compile(r"^- (\d+) of \d+ cells finished\.$", re.MULTILINE)


@dataclass(frozen=True)
class Report:
    """A result table, ready to be written.

    Args:
        title: Of the report.
        facts: Lines above the tables.
        tables: What it shows.
        content: All of it as JSON text.
        reasons: Why results were not compared with their data.
        finished, asked: Numbers of cells that have a result, and of all.
        chosen: The same of the entries and systems alone that were chosen; None if none were.
    """

    title: str
    facts: list[str]
    tables: list[Table]
    content: str
    finished: int
    asked: int
    reasons: Sequence[str] = ()
    chosen: Report | None = None

    def markdown(self) -> str:
        """All of it as Markdown."""
        return as_markdown(self.title, self.tables, facts=self.facts, reasons=self.reasons)

    def html(self) -> str:
        """All of it as a page, with charts."""
        return as_html(self.title, self.tables, facts=self.facts, reasons=self.reasons)


def produce(
    table: str,
    folder: Path,
    *,
    entries: Collection[str] = (),
    systems: Collection[str] = (),
    root: Path | None = None,
    compute: bool = True,
    tell: Callable[[str], None] = lambda _: None,
) -> Report:
    """Fill a table as far as it can be filled here.

    Args:
        table: One of `TABLES`, or the path of a file that `read_plan` reads.
        folder, entries, systems, root, compute, tell: See `Filler`.

    Raises:
        UnknownName: no such table, entry or system.
        MissingData: there is no such file.
        BadData: the file is no table.
    """
    own = None
    if table.endswith(".toml"):
        path = Path(table)
        if not path.is_file():
            raise MissingData(f"{table} does not exist; give a table in TOML, or one of {', '.join(TABLES)}")
        own = read_plan(path.read_text(encoding="utf-8"), table)
    elif table not in TABLES:
        raise UnknownName("result table", table, TABLES)
    filler = Filler(folder, root=root, entries=entries, systems=systems, compute=compute, tell=tell)
    if own is not None:
        return _ours(filler, own)
    if table in PUBLISHED:
        return _survey(table, filler)
    if table == "ours":
        return _ours(filler, ours())
    return {"ablations": _ablations, "curves": _curves}[table](filler)


def _survey(table: str, filler: Filler) -> Report:
    printed = published(table)
    filled, rows = _filled(filler, table, survey.wanted(printed))
    facts = ["Ours: seed 0, on data and features that are here; otherwise the cell says what is missing."]

    def told(rows: Rows | None) -> Told:
        one, found = printed, survey.found_rows(printed, filled)
        if rows is not None:
            numbers = [number for number in found if (number,) in rows]
            found = {place: found[number] for place, number in enumerate(numbers)}
            one = replace(printed, rows=[printed.rows[number] for number in numbers], references=())
        tables = [survey.survey_table(one, found)]
        if one.references:
            tables.append(survey.reference_table(one))
        return tables, survey.survey_content(one, found)

    return _report(table, printed.title, facts, filled, told, rows)


def _ablations(filler: Filler) -> Report:
    filled, rows = _filled(filler, "the ablations", ablations.wanted())

    def told(rows: Rows | None) -> Told:
        found = ablations.found_rows(filled)
        if rows is not None:
            found = {row: one for row, one in found.items() if row in rows}
        return [ablations.ablation_table(found)], ablations.ablation_content(found)

    return _report("ablations", ablations.ablations()[0], [], filled, told, rows)


def _curves(filler: Filler) -> Report:
    title, seeds, _ = curves.curves()
    filled, rows = _filled(filler, "the learning curves", curves.wanted())
    facts = [f"Mean and standard deviation over seeds {', '.join(map(str, seeds))}; one thread; CPU."]

    def told(rows: Rows | None) -> Told:
        some = filled if rows is None else filled.only(rows)
        return curves.curve_tables(some), curves.curve_content(some)

    return _report("curves", title, facts, filled, told, rows)


def _ours(filler: Filler, plan: Plan) -> Report:
    filled, rows = _filled(filler, "our table" if plan.name == "ours" else plan.name, plan.wanted())
    facts = [
        f"Mean and standard deviation over seeds {', '.join(map(str, plan.seeds))}; one thread; CPU.",
        f"MAP@ALL: {definitions()['MAP@ALL']}. R@n: {definitions()['R@n']}.",
        f"Ties: {definitions()['ties']}.",
    ]

    def told(rows: Rows | None) -> Told:
        if rows is None:
            return ours_tables(plan, filled), ours_content(plan, filled)
        # With the baselines' results, which the others are compared with.
        return ours_tables(plan.only(rows), filled), ours_content(plan, filled.only(rows))

    return _report(plan.name, plan.title, facts, filled, told, rows)


def _filled(filler: Filler, table: str, wanted: Iterable[Wanted]) -> tuple[Filled, Rows | None]:
    """What there is of a table, and which of its rows were chosen, if not all."""
    cells = list(wanted)
    return filler.fill(table, cells), filler.chosen(cells)


def _report(
    name: str,
    title: str,
    facts: list[str],
    filled: Filled,
    told: Callable[[Rows | None], Told],
    rows: Rows | None,
) -> Report:
    made = f"Command: diptych bench {name}. Commit {(commit() or 'unknown')[:10]}, "
    made += ", ".join(f"{package} {version}" for package, version in versions().items()) + "."
    facts = [*facts, f"{filled.finished} of {filled.asked} cells finished."]
    if filled.unchecked:
        facts.append(
            f"Results on {', '.join(filled.unchecked)} are those that are kept, not compared with their "
            "data, which are not here."
        )
    reasons = [f"{data}: {why}" for data, why in filled.unchecked.items()]
    numbers = {"finished": filled.finished, "asked": filled.asked}

    def of(rows: Rows | None, chosen: Report | None = None) -> Report:
        tables, content = told(rows)
        text = json.dumps({**content, **numbers}, indent=1) + "\n"
        return Report(title, [*facts, made], tables, text, filled.finished, filled.asked, reasons, chosen)

    return of(None, None if rows is None else of(rows))


def write(report: Report, folder: Path, name: str) -> list[Path]:
    """Write the report as Markdown, JSON and a page; a table that has more results than it is kept.

    Args:
        report: From `produce`.
        folder: Made if need be; gets ``NAME.md``, ``NAME.json`` and ``NAME.html``.
        name: Of the table.

    Returns:
        What was written; nothing, if this report lacks cells, and the Markdown file there has more of them
        or does not say how many it has.
    """
    former = folder / f"{name}.md"
    if former.is_file() and report.finished < min(_finished(former), report.asked):
        return []
    texts = {"md": report.markdown(), "json": report.content, "html": report.html()}
    for ending, text in texts.items():
        write_file(folder / f"{name}.{ending}", text)
    return [folder / f"{name}.{ending}" for ending in texts]


def _finished(path: Path) -> float:
    """How many cells a report says that it has finished; infinitely many, if it does not say."""
    found = _FINISHED.search(path.read_text(encoding="utf-8"))
    return int(found[1]) if found else float("inf")
