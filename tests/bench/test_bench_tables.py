"""Result tables: the printed ones are whole, our own name what exists, and gaps say why."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych import catalogue
from diptych.bench import ablations, curves, produce, survey, tables
from diptych.bench.fill import Filled
from diptych.bench.per_query import difference, packed, unpacked
from diptych.bench.plan import Plan, ours
from diptych.bench.report import ours_content, ours_tables
from diptych.data import open_data
from diptych.data.originals import Originals
from diptych.errors import BadData, UnknownName
from diptych.report.bench_page import Chart, Table, as_html, as_markdown

LATER = {"blip2", "grace"}


@pytest.mark.parametrize(("name", "rows"), [("table2", 36), ("table3", 30), ("table4", 14)])
def test_every_printed_cell_is_there(name: str, rows: int) -> None:
    table = tables.published(name)
    assert len(table.rows) == rows
    for row, _, printed, paper in table.cells():
        assert 0 < printed <= 1
        assert paper is None or 0 < paper <= 1
        assert row.name in {"", *catalogue.names("system"), *LATER}
        dataset = open_data(row.dataset)
        assert isinstance(dataset, Originals)
        dataset.protocol(row.protocol)


def test_printed_values_and_their_errors() -> None:
    found = {(r.system, r.printed_dataset, r.direction): r for r in tables.published("table2").rows}
    assert found["ACMR", "Wikipedia", "IqT"].survey == [0.468]
    assert found["DSCMR", "Pascal Sentence", "TqI"].paper == [0.722]
    assert found["CLIP4CMR", "Xmedia", "TqI"].dataset == "xmedia:xmedianet"
    found = {(r.system, r.printed_dataset, r.direction): r for r in tables.published("table3").rows}
    assert found["DCMH", "MIRFlickr-25K", "IqT"].paper == [0.7410, 0.7465, 0.7485]
    assert found["HMAH", "MS-COCO", "IqT"].paper_metric == "MAP@500"
    for data in ("MIRFlickr-25K", "NUS-WIDE", "MS-COCO"):
        copy = found["DCHUC", data, "TqI"]
        assert copy.survey == found["DCMH", data, "TqI"].survey
        assert "repeats the DCMH row" in copy.remark
    grace = [r for r in tables.published("table4").rows if r.system == "GRACE"]
    assert {r.direction for r in grace} == {"TqI"}


def test_values_of_others_stand_below_the_surveys() -> None:
    found = {(one.system, one.source.split(" (")[0]): one for one in tables.published("table3").references}
    again = found["DCHMT", "re-run by MITH's authors"]
    assert again.IqT["MIRFlickr-25K"] == [0.8217, 0.8262, 0.8280]
    assert again.TqI["MS-COCO"] == [0.6088, 0.6140, 0.6308]
    assert found["SSAH", "SSAH paper with VGG-19"].TqI["NUS-WIDE"] == [0.653, 0.676, 0.683]
    assert found["UDCMH", "as quoted in CCAH's table"].metric == "MAP@50"
    lower = tables.published("table2").references[0]
    assert (lower.system, lower.IqT["Wikipedia"], lower.TqI["XMediaNet"]) == ("DSCMR", [0.515], [0.632])


def test_broken_tables_get_a_sentence() -> None:
    good = (
        '[[row]]\nsystem="x"\ndataset="d"\nprinted_dataset="D"\nprotocol="p"\ndirection="IqT"\nmetric="m"\n'
    )
    head = 'name="t"\ntitle="T"\nsource="s"\nremarks=[]\n'
    with pytest.raises(BadData, match="2 values for 1 columns"):
        tables.read(head + good + "columns=[16]\nsurvey=[0.1, 0.2]\n")
    with pytest.raises(BadData, match="must be IqT or TqI"):
        tables.read(head + good.replace("IqT", "ItQ") + "columns=[16]\nsurvey=[0.1]\n")
    reference = '[[reference]]\nsystem="x"\nsource="s"\nmetric="m"\ncolumns=[16]\nTqI={}\nIqT={"D"=[1, 2]}\n'
    with pytest.raises(BadData, match=r"reference x \(s\) has 2 values for 1 columns"):
        tables.read(head + good + "columns=[16]\nsurvey=[0.1]\n" + reference)
    with pytest.raises(BadData, match="no result table"):
        tables.read("rows = 3")
    with pytest.raises(UnknownName, match="table 'table5' of the survey"):
        tables.published("table5")


@pytest.mark.parametrize("name", ["table2", "table3", "table4"])
def test_the_surveys_tables_say_what_each_cell_needs(name: str, tmp_path: Path) -> None:
    report = produce.produce(name, tmp_path)
    rows: list[dict[str, Any]] = json.loads(report.content)["rows"]
    assert all(row["missing"] for row in rows)
    text = as_markdown(report.title, report.tables, facts=report.facts)
    assert "survey" in text
    page = as_html(report.title, report.tables, facts=report.facts)
    assert page.count("<svg") == 2
    assert len(report.tables[0].rows) == len(rows)
    with pytest.raises(UnknownName, match=f"system 'nobody' of {name}"):
        produce.produce(name, tmp_path, systems=["nobody"])
    with pytest.raises(UnknownName, match=f"data set 'nothing' of {name}"):
        produce.produce(name, tmp_path, entries=["nothing"])
    with pytest.raises(UnknownName, match="result table"):
        produce.produce("table9", tmp_path)


def test_printed_paper_and_own_values_stand_side_by_side() -> None:
    table = tables.published("table3")
    found: dict[int, list[float] | str] = dict.fromkeys(range(len(table.rows)), "not run yet")
    shown = survey.survey_table(table, {**found, 0: [0.7, 0.8, 0.731]})
    row = dict(zip(shown.headings, shown.rows[0], strict=True))
    assert row["column"] == "16 / 32 / 64 bits"
    assert row["survey"] == "0.724 / 0.731 / 0.731"
    assert row["paper"] == "0.741 / 0.7465 / 0.7485"
    assert row["ours"] == "0.700 / 0.800 / 0.731"
    assert row["ours - survey"] == "-0.024 / +0.069 / +0.000"
    chart = shown.charts[0]
    assert {name: (x[0], y[0]) for name, (x, y) in chart.series.items()} == {
        name: ("DCMH, MIRFlickr-25K", value)
        for name, value in (("survey", 0.731), ("paper", 0.7485), ("ours", 0.731))
    }


def test_our_own_plan_names_what_exists() -> None:
    found = ours()
    known = {*catalogue.names("system"), *LATER}
    for half in found.systems.values():
        for name in (one.removeprefix("sign:") for one in half):
            assert catalogue.parse(name).system in known
            catalogue.variant(name)
    for entry in found.entries:
        open_data(entry.data).protocol(entry.protocol)
        assert set(entry.systems) <= set(found.systems[entry.half])
    ids = {entry.id for entry in found.entries}
    for settings in found.settings:
        assert set(settings.entries) <= ids
        for name in set(settings.systems) - LATER:
            assert name in known


def test_ablations_name_what_exists_and_say_what_is_missing(tmp_path: Path) -> None:
    _, _, wanted = ablations.ablations()
    for one in wanted:
        module = __import__(catalogue.card("system", one.name).module, fromlist=["x"])
        system = getattr(module, module.__all__[0])
        for _, settings in one.rows():
            catalogue.checked(system, settings)
    report = produce.produce("ablations", tmp_path)
    assert len(report.tables[0].rows) == sum(1 + len(one.without) for one in wanted)
    assert all(row[3].startswith("- [") for row in report.tables[0].rows)
    assert all("is not in" in reason for reason in report.tables[0].reasons)
    with pytest.raises(UnknownName, match="system 'nobody' of the ablations"):
        produce.produce("ablations", tmp_path, systems=["nobody"])
    with pytest.raises(UnknownName, match="data set 'nothing' of the ablations"):
        produce.produce("ablations", tmp_path, entries=["nothing"])


def result(first: float, second: float, spread: float | None = None) -> dict[str, Any]:
    """A finished cell of that MAP in the two directions; of each query, too, so far around it at random."""
    sides = {}
    for direction, value in (("image to text", first), ("text to image", second)):
        kinds = dict.fromkeys(("best", "worst", "expected"), value)
        values = {"MAP@ALL": value, "R@10": 0.5, "P@1": value}
        sides[direction] = {"values": values, "ties": {"MAP@ALL": kinds}}
        if spread is not None:
            around = np.random.default_rng(0).uniform(-spread, spread, 200)
            sides[direction]["per_query"] = packed(value + around - around.mean())
    return {"measure": "MAP@ALL", "results": sides, "cpu_seconds": 1.0, "splits_sha256": ["a"]}


def remarks(plan: Plan, results: dict[Any, Any]) -> list[str]:
    """What the first table says below its values, without reasons for gaps."""
    reasons = {(entry.id, system): "gone" for entry in plan.entries for system in plan.systems[entry.half]}
    shown = ours_tables(plan, Filled(results, reasons, {}, 9))[0].remarks
    return [remark for remark in shown if not remark.startswith("[")]


def test_trained_systems_are_compared_with_the_baselines_in_both_directions(plan: Plan) -> None:
    base = {("planted", "cca", 0): [result(0.3, 0.3, 0.1)]}
    assert remarks(plan, base) == []
    lost = {**base, ("planted", "dscmr:tiny", 0): [result(0.4, 0.2, 0.1)]}
    about = "(difference, 95 % interval over queries and seeds)"
    # The same queries are hard for both, so that resampling moves nothing.
    assert remarks(plan, lost) == [
        f"Above cca {about}: dscmr:tiny IqT +0.100 [+0.100, +0.100].",
        f"Below cca {about}: dscmr:tiny TqI -0.100 [-0.100, -0.100].",
    ]
    seeds = {**base, ("planted", "dscmr:tiny", 0): [result(0.2, 0.5, 0.1), result(0.5, 0.4, 0.1)]}
    found = remarks(plan, seeds)
    assert found[1] == f"Not told apart from cca {about}: dscmr:tiny IqT +0.050 [-0.100, +0.200]."
    assert found[0] == f"Above cca {about}: dscmr:tiny TqI +0.150 [+0.100, +0.200]."
    ridge = {**seeds, ("planted", "ridge", 0): [result(0.7, 0.7, 0.1)]}
    assert remarks(plan, ridge)[2].startswith(f"Below ridge {about}: dscmr:tiny IqT -0.350 [-0.500, -0.200]")


def test_results_without_values_by_query_have_no_interval(plan: Plan) -> None:
    base, own = result(0.3, 0.3, 0.1), result(0.4, 0.2)
    found = remarks(plan, {("planted", "cca", 0): [base], ("planted", "dscmr:tiny", 0): [own]})
    assert found == [
        "Unsure against cca (difference; what each query reached was not kept): dscmr:tiny IqT +0.100, "
        "dscmr:tiny TqI -0.100."
    ]
    other = {**result(0.4, 0.2, 0.1), "splits_sha256": ["b"]}
    assert difference([other], [base], "image to text") is None


def test_values_by_query_are_kept_in_a_byte() -> None:
    values = np.random.default_rng(0).random(1000)
    found = unpacked(packed(values))
    assert np.abs(found - values).max() <= 0.5 / 255 + 1e-12
    assert abs(found.mean() - values.mean()) < 2e-4
    assert unpacked(packed(np.array([0.0, 1.0]))).tolist() == [0, 1]
    with pytest.raises(BadData, match="between 0 and 1"):
        packed(np.array([0.5, np.nan]))


def test_values_gaps_and_their_reasons_are_shown_once(plan: Plan) -> None:
    results = {("planted", "cca", 0): [result(0.25, 0.5), result(0.75, 0.5)]}
    reasons = {(entry.id, system): "gone" for entry in plan.entries for system in plan.systems[entry.half]}
    filled = Filled(results, {**reasons, ("planted", "ridge"): "failed: no"}, {}, 9)
    table = ours_tables(plan, filled)[0]
    assert table.rows[0] == ["random", "- [1]", *[None] * 5]
    assert table.rows[1] == ["cca", "0.500 ± 0.354", "0.500 ± 0.000", 0.5, 0.5, 2, "1"]
    assert table.rows[2][1] == "- [2]"
    assert list(table.reasons) == ["[1] gone", "[2] failed: no"]
    content = ours_content(plan, filled)
    assert [(cell["entry"], cell["system"], cell["bits"]) for cell in content["cells"]] == [
        ("planted", "cca", None)
    ]
    assert {"entry": "planted", "system": "ridge", "reason": "failed: no"} in content["missing"]


def test_an_entry_may_ask_few_systems(plan: Plan) -> None:
    entries = [replace(entry, systems=("dsph:tiny", "cca", "lsh")) for entry in plan.entries]
    few = replace(plan, entries=entries)
    asked: dict[str, list[str]] = {entry.id: [] for entry in few.entries}
    for one in few.wanted():
        if one.system not in asked[one.entry]:
            asked[one.entry].append(one.system)
    assert asked == {"planted": ["cca"], "absent": ["cca"], "syn": ["lsh", "dsph:tiny"]}
    reasons = {(entry, system): "gone" for entry, systems in asked.items() for system in systems}
    found = {
        table.title: [row[0] for row in table.rows] for table in ours_tables(few, Filled({}, reasons, {}, 9))
    }
    assert found == asked


def test_precision_at_more_than_there_are_is_not_drawn(plan: Plan) -> None:
    found = result(0.25, 0.5)
    for one in found["results"].values():
        one["values"] |= {"P@10": 0.5, "P@50": 0.1}
        one["gallery"] = 30
    entry = plan.entries[2]
    results = {(entry.id, "lsh", bits): [found] for bits in plan.lengths(entry)}
    reasons = {(one.id, system): "gone" for one in plan.entries for system in plan.systems[one.half]}
    charts = ours_tables(plan, Filled(results, reasons, {}, 9))[2].charts
    drawn = [chart.series["lsh"] for chart in charts if "precision at N" in chart.title]
    assert drawn == [([1, 10], [0.25, 0.5]), ([1, 10], [0.5, 0.5])]


def test_learning_curves_name_what_exists_and_grow() -> None:
    _, seeds, found = curves.curves()
    plan = ours()
    halves = {entry.id: entry.half for entry in plan.entries}
    assert all(len(one.systems) == 5 and list(one.limits) == sorted(set(one.limits)) for one in found)
    for one in found:
        assert set(one.systems) <= set(plan.systems[halves[one.entry]])
    cells = [one.cell for one in curves.wanted() if one.row == ("rsicd-codes", "dcmh")]
    assert sorted({cell.limit for cell in cells}) == [75, 150, 300, 600, 1200]
    assert {cell.settings["bits"] for cell in cells} == {32}
    assert len(cells) == 5 * len(seeds)


def test_learning_curves_have_means_deviations_and_reasons() -> None:
    done = {("rsicd-scene", "acmr", 75): [result(0.25, 0.5), result(0.75, 0.5)]}
    reasons = {(one.row[0], one.system): "gone" for one in curves.wanted()}
    table = curves.curve_tables(Filled(done, reasons, {}, 9))[0]
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["acmr"] == ["0.500 ± 0.177", None, None, None, None]
    assert rows["cca"] == ["- [1]", None, None, None, None]
    assert list(table.reasons) == ["[1] gone"]
    (chart,) = table.charts
    assert chart.series == {"acmr": ([75], [0.5])}
    assert chart.spread == {"acmr": [pytest.approx(0.1767767)]}


def test_every_table_says_its_command(plan: Plan) -> None:
    results = {("planted", "cca", 0): [result(0.25, 0.5)]}
    reasons = {(entry.id, system): "gone" for entry in plan.entries for system in plan.systems[entry.half]}
    filled = Filled(results, reasons, {}, 9)
    command = "diptych bench ours --data planted"
    assert f"Command: `{command}`" in as_markdown("t", ours_tables(plan, filled))
    assert f"<code>{command}</code>" in as_html("t", ours_tables(plan, filled))
    assert ours_content(plan, filled)["cells"][0]["command"] == f"{command} --system cca"


def test_lines_have_error_bars() -> None:
    lines = {"x": ([16, 32], [0.3, 0.4]), "y": ([16, 32], [0.2, 0.1])}
    plain, spread = (
        as_html("t", [Table("t", ["a"], [[1]], charts=[Chart("c", lines, spread=deviations)])])
        for deviations in ({}, {"x": [0.1, 0.2]})
    )
    assert "LineCollection" not in plain
    assert "LineCollection" in spread


def test_a_page_without_matplotlib_has_its_tables_and_says_what_draws_charts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    chart = Chart("c", {"x": ([""], [0.3])})
    page = as_html("t", [Table("t", ["a"], [[0.25]], charts=[chart])])
    assert "0.2500" in page
    assert "diptych[plots]" in page
