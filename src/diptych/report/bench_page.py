"""Result tables as Markdown and as one HTML page with charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from diptych.errors import MissingExtra
from diptych.report import page as html
from diptych.report.style import COLOURS, safe

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Chart", "Table", "as_html", "as_markdown", "bench_command"]


@dataclass(frozen=True)
class Chart:
    """Lines over a common axis, or bars if there is one value each, or dots.

    Args:
        title: Of the chart.
        series: Points by name: (x values, y values); one point each makes bars.
        x, y: Labels of the axes.
        dots: x are names, each a line of the chart, on which every series has a dot at y.
        spread: Standard deviation by name: of a bar, or of each point of a line.
    """

    title: str
    series: Mapping[str, tuple[Sequence[Any], Sequence[float]]]
    x: str = ""
    y: str = ""
    dots: bool = False
    spread: Mapping[str, float] | Mapping[str, Sequence[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """One table of a report.

    Args:
        title: Its heading.
        headings: Of the columns.
        rows: Entries; numbers, text or None.
        note: What a reader must know before reading it.
        remarks: What follows from it, or is wrong with it.
        charts: Shown below it in HTML.
        reasons: Why entries are empty; folded away in HTML.
        best: Columns whose largest value is the best, which is set in bold.
        command: What computes it.
    """

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""
    remarks: Sequence[str] = ()
    charts: Sequence[Chart] = field(default_factory=tuple)
    reasons: Sequence[str] = ()
    best: Sequence[int] = ()
    command: str = ""

    def marked(self) -> list[list[Any]]:
        """The rows, the best values of the columns `best` as `Value`."""
        rows = [list(row) for row in self.rows]
        for column in self.best:
            means = {at: mean for at, row in enumerate(rows) if (mean := _mean(row[column])) is not None}
            for at, mean in means.items():
                if len(means) > 1 and mean == max(means.values()):
                    rows[at][column] = html.Value(_plain(rows[at][column]), best=True)
        return rows


def bench_command(table: str, data: str, system: str = "") -> str:
    """What computes the cells of a data set, or of a system on it."""
    return f"diptych bench {table} --data {data}" + (f" --system {system}" if system else "")


def as_markdown(
    title: str, tables: Sequence[Table], *, facts: Sequence[str] = (), reasons: Sequence[str] = ()
) -> str:
    """The report as Markdown, without charts; facts and reasons at its head."""
    lines = [f"# {title}", "", *(f"- {fact}" for fact in (*facts, *reasons)), ""]
    for table in tables:
        lines += [f"## {table.title}", ""]
        if table.note:
            lines += [table.note, ""]
        lines.append("| " + " | ".join(map(_plain, table.headings)) + " |")
        lines.append("|" + "---|" * len(table.headings))
        lines += ["| " + " | ".join(map(_bold, row)) + " |" for row in table.marked()]
        lines += ["", *(f"- {_plain(remark)}" for remark in (*table.remarks, *table.reasons)), ""]
        if table.command:
            lines += [f"Command: `{table.command}`", ""]
    return "\n".join(lines).rstrip() + "\n"


def as_html(
    title: str, tables: Sequence[Table], *, facts: Sequence[str] = (), reasons: Sequence[str] = ()
) -> str:
    """The report as one self-contained page.

    Args:
        title: Its heading.
        tables: One below the other; one without any value is folded away.
        facts: What holds for all of it.
        reasons: Why results could not be compared with their data; folded away.

    Where matplotlib is not installed it has no charts, and says so.
    """
    parts = [f'<p class="note">{safe(fact)}</p>' for fact in facts]
    parts += [html.collapsed("Where the data come from that are not here", _list(reasons))] if reasons else []
    for table in tables:
        shown = html.table(table.headings, table.marked())
        why = html.collapsed(f"Why entries are empty ({len(table.reasons)})", _list(table.reasons))
        if not any(_mean(value) is not None for row in table.rows for value in row):
            shown = html.collapsed("No result of this table is here; its empty rows", shown)
        parts.append(
            html.section(
                table.title,
                shown,
                _list(table.remarks) if table.remarks else "",
                why if table.reasons else "",
                _charts(table.charts),
                f'<p class="note">Command: <code>{safe(table.command)}</code></p>' if table.command else "",
                note=table.note,
            )
        )
    return html.page(title, *parts)


def _list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{safe(line)}</li>" for line in lines) + "</ul>"


def _charts(charts: Sequence[Chart]) -> str:
    if not charts:
        return ""
    try:
        return html.charts(*map(_chart, charts))
    except MissingExtra as error:  # the tables are worth having without
        return f'<p class="note">{safe(error)}</p>'


def _chart(chart: Chart) -> str:
    bars = not chart.dots and all(len(x) == 1 for x, _ in chart.series.values())
    names = list(dict.fromkeys(name for x, _ in chart.series.values() for name in x)) if chart.dots else []

    def draw(axes: Axes) -> None:
        if chart.dots:
            _dots(axes, chart, names)
        elif bars:
            _bars(axes, chart)
        else:
            for number, (name, (x, y)) in enumerate(chart.series.items()):
                # More systems than colours: the second round is dashed.
                dashed = number // len(COLOURS) % 2
                axes.errorbar(
                    x,
                    y,
                    yerr=chart.spread.get(name),
                    marker=".",
                    capsize=2,
                    elinewidth=0.8,
                    label=name,
                    linestyle="--" if dashed else "-",
                )
            axes.set(xlabel=chart.x, ylabel=chart.y)
            # Below the axes: a dozen lines leave no room among them.
            axes.figure.legend(loc="outside lower center", fontsize="x-small", ncols=5, handlelength=3)
        axes.set_title(chart.title, fontsize="medium")

    count = len(names) if chart.dots else len(chart.series)
    height = max(2.6, 0.24 * count + 1) if bars or chart.dots else 4.2
    return html.chart(draw, alt=chart.title, height=height)


def _bars(axes: Axes, chart: Chart) -> None:
    """Horizontal bars, the first on top; two directions of one system share a label."""
    names = list(chart.series)
    places = np.arange(len(names))[::-1]
    axes.barh(
        places,
        [y[0] for _, y in chart.series.values()],
        xerr=[chart.spread.get(name, 0.0) for name in names] if chart.spread else None,
        ecolor="#87837c",
        color=COLOURS[0],
        height=0.7,
    )
    axes.set_yticks(places, names, fontsize="x-small")
    axes.set_xlabel(chart.y)
    axes.grid(visible=False, axis="y")


def _dots(axes: Axes, chart: Chart, names: Sequence[str]) -> None:
    """A line for each name, the first on top, with a dot of each series."""
    place = {name: len(names) - 1 - at for at, name in enumerate(names)}
    for at, (name, (x, y)) in enumerate(chart.series.items()):
        # Rings of falling size, so that equal values are seen as such.
        size = max(9 - 3 * at, 3)
        axes.plot(
            y,
            [place[one] for one in x],
            linestyle="",
            marker="o",
            fillstyle="none",
            markersize=size,
            label=name,
        )
    axes.set_yticks(list(place.values()), list(place), fontsize="x-small")
    axes.set_xlabel(chart.y)
    axes.legend(fontsize="x-small")


def _mean(value: Any) -> float | None:
    """The number that an entry begins with: the mean, where a deviation follows it."""
    try:
        return float(str(value).partition(" ")[0])
    except ValueError:  # a dash, or a word
        return None


def _bold(value: Any) -> str:
    return f"**{_plain(value)}**" if isinstance(value, html.Value) and value.best else _plain(value)


def _plain(value: Any) -> str:
    if value is None:
        return "-"
    shown = f"{value:.4f}" if isinstance(value, float) else str(value)
    return shown.replace("|", "\\|").replace("\n", " ")
