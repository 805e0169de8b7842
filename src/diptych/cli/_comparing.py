"""What ``diptych evaluate A B`` does: two saved evaluations, or one and a result of CLIP_benchmark."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

from diptych.cli._terminal import say, say_json, shown

if TYPE_CHECKING:
    from diptych.evaluation import Evaluation

__all__ = ["compare_saved", "write_clip_benchmark"]


def compare_saved(
    first: Path, second: Path, out: Path | None, *, plots: bool, as_json: bool, as_csv: bool
) -> None:
    """Compare, save and print.

    Args:
        first, second: Folders that `diptych evaluate` wrote; the second may be a result of CLIP_benchmark.
        out: Gets ``comparison.json`` and the page; a folder named after both, if None.
        plots: Write a page, too.
        as_json, as_csv: Print in that form.

    Raises:
        MissingData, BadData: a folder holds no saved evaluation.
        UsageError: the two were not asked the same; or a page is wanted of what has no values of queries.
    """
    if second.suffix.lower() in (".json", ".csv"):
        _beside_result(first, second, out, plots=plots, as_json=as_json, as_csv=as_csv)
        return
    from rich.console import Console
    from rich.table import Table

    from diptych.core import DIRECTIONS
    from diptych.evaluation import compare, rescore
    from diptych.files import write
    from diptych.report import comparison

    found = compare(rescore(first), rescore(second))
    folder = out or Path("evaluations") / f"{first.resolve().name}-against-{second.resolve().name}"
    write(folder / "comparison.json", json.dumps(found.as_json(), indent=2) + "\n")
    if plots:
        write(folder / "report.html", comparison.comparison_page(found))
    if as_json:
        say_json(found.as_json())
        return
    if as_csv:
        say(*comparison.comparison_csv(found).splitlines())
        return
    console = Console(soft_wrap=True)
    for direction in found.differences:
        title = f"{' against '.join(comparison.names(found))}, {direction} ({DIRECTIONS[direction]})"
        table = Table(box=None, pad_edge=False, title=shown(title), title_justify="left")
        for at, heading in enumerate(comparison.HEADINGS):
            table.add_column(heading, justify="right" if at else "left")
        for row in comparison.rows(found, direction):
            table.add_row(*row)
        console.print(table)
    console.print(shown(comparison.note(found), "dim"), highlight=False)
    say(f"saved comparison.json{' and report.html' if plots else ''} in {folder}", err=True)


def write_clip_benchmark(found: Evaluation, folder: Path) -> None:
    """Write ``clip_benchmark.json`` and ``.csv`` of an evaluation of pairs."""
    from diptych.files import write
    from diptych.report import clip_benchmark

    result = clip_benchmark.as_json(found)
    write(folder / "clip_benchmark.json", json.dumps(result) + "\n")
    write(folder / "clip_benchmark.csv", clip_benchmark.as_csv([result]))
    say(f"saved clip_benchmark.json and clip_benchmark.csv in {folder}", err=True)


def _beside_result(
    first: Path, second: Path, out: Path | None, *, plots: bool, as_json: bool, as_csv: bool
) -> None:
    """Print values of an evaluation with those of a file, which has no values of queries to compare by."""
    from diptych.errors import UsageError
    from diptych.evaluation import rescore
    from diptych.report import clip_benchmark

    if plots or out is not None:
        raise UsageError(
            f"--plots and --out go with two evaluations; {second} has no values of single queries to compare "
            "by, so its numbers are only printed beside the others (also with --json or --csv)"
        )
    found, given = rescore(first), clip_benchmark.read(second)
    rows = [
        {
            "first": found.facts["system"], "second": one.model,
            "first_data": found.data, "second_data": one.data, "direction": direction, "measure": name,
            "first_value": ours, "second_value": theirs, "difference": ours - theirs,
        }
        for one in given
        for direction, values in clip_benchmark.beside(found, one).items()
        for name, (ours, theirs) in values.items()
    ]  # fmt: skip
    if not rows:
        raise UsageError(
            f"{first} and {second} share no measure; CLIP_benchmark has recall of pairs, at the ranks given "
            "with its option recall_k: 1, 5 and 10 are ours"
        )
    if as_json:
        say_json(rows)
        return
    if as_csv:
        file = io.StringIO()
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
        say(*file.getvalue().splitlines())
        return
    for row in rows:
        sides = (
            f"{row[f'{one}_value']:.4f} {row[one]} on {row[f'{one}_data']}" for one in ("first", "second")
        )
        say(f"{row['direction']}  {row['measure']}  {'  '.join(sides)}  {row['difference']:+.4f}")
    say("the file has no values of single queries, so there is no interval", err=True)
