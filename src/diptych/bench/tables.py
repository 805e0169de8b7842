"""The survey's result tables as data: every printed cell, the paper's own value where known, and remarks."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from diptych.errors import BadData, UnknownName

__all__ = ["PUBLISHED", "Published", "Reference", "Row", "published", "read"]

PUBLISHED = ("table2", "table3", "table4")


@dataclass(frozen=True)
class Row:
    """One system on one data set in one direction.

    Args:
        system: As printed.
        dataset: Our name, with the variant.
        printed_dataset: As printed.
        protocol: Of our data set.
        direction: "IqT" or "TqI", which is not always what is printed.
        metric: What the survey says was measured.
        columns: Code lengths, measures or cuts.
        survey: Values as printed, one a column.
        name: Of our system; "" where Diptych has none.
        paper: The authors' own values, one a column; empty if none could be verified.
        paper_metric: What they measured.
        paper_source: Where they were read.
        remark: What is wrong or uncertain about the row.
    """

    system: str
    dataset: str
    printed_dataset: str
    protocol: str
    direction: str
    metric: str
    columns: Sequence[str | int]
    survey: Sequence[float]
    name: str = ""
    paper: Sequence[float] = ()
    paper_metric: str = ""
    paper_source: str = ""
    remark: str = ""

    def __post_init__(self) -> None:
        where = f"the row of {self.system} on {self.dataset} ({self.direction})"
        if self.direction not in ("IqT", "TqI"):
            raise BadData(f"{where} has the direction {self.direction!r}; it must be IqT or TqI")
        for values in (self.survey, self.paper):
            if values and len(values) != len(self.columns):
                raise BadData(f"{where} has {len(values)} values for {len(self.columns)} columns")


@dataclass(frozen=True)
class Reference:
    """Values of one system that the survey does not print, to judge its own by.

    Args:
        system: As printed.
        source: Where they were read.
        metric: What was measured.
        columns: Code lengths or measures.
        IqT, TqI: Values by data set, one a column.
        remark: What to know about them.
    """

    system: str
    source: str
    metric: str
    columns: Sequence[str | int]
    IqT: Mapping[str, Sequence[float]]
    TqI: Mapping[str, Sequence[float]]
    remark: str = ""

    def __post_init__(self) -> None:
        for values in (*self.IqT.values(), *self.TqI.values()):
            if len(values) != len(self.columns):
                raise BadData(
                    f"the reference {self.system} ({self.source}) has {len(values)} values for "
                    f"{len(self.columns)} columns"
                )


@dataclass(frozen=True)
class Published:
    """One table.

    Args:
        name, title, source: What it is and where it was printed.
        remarks: What concerns all of it.
        rows: In the order of print.
        references: Values of others on the same ground.
    """

    name: str
    title: str
    source: str
    remarks: Sequence[str]
    rows: Sequence[Row]
    references: Sequence[Reference] = ()

    def cells(self) -> Iterator[tuple[Row, str | int, float, float | None]]:
        """Row, column, printed value, and the paper's own or None."""
        for row in self.rows:
            papers: Sequence[float | None] = row.paper or [None] * len(row.columns)
            yield from ((row, *cell) for cell in zip(row.columns, row.survey, papers, strict=True))


def published(name: str) -> Published:
    """One of the survey's tables.

    Raises:
        UnknownName: there is no such table.
    """
    if name not in PUBLISHED:
        raise UnknownName("table of the survey", name, PUBLISHED)
    return read(resources.files("diptych.bench").joinpath(f"published/{name}.toml").read_text("utf-8"))


def read(text: str) -> Published:
    """A table from TOML.

    Raises:
        BadData: it is not one.
    """
    try:
        content = tomllib.loads(text)
        rows = [Row(**row) for row in content.pop("row")]
        references = [Reference(**one) for one in content.pop("reference", ())]
        return Published(rows=rows, references=references, **content)
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise BadData(
            f"this is no result table: {error}; see the files in diptych/bench/published"
        ) from error
