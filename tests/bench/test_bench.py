"""Result tables: the printed ones are whole, cells are cached by fingerprint, and gaps say why."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from diptych import catalogue
from diptych.bench import cells, produce, run, survey, tables
from diptych.bench.cells import Cell, Store, open_cell_data
from diptych.bench.plan import Entry, Plan, ours
from diptych.bench.report import ours_tables
from diptych.data import open_data
from diptych.data.originals import Originals
from diptych.errors import BadData, UnknownName
from diptych.report.bench_page import as_html, as_markdown

LATER = {"blip2", "grace"}

PLAN = Plan(
    title="toy",
    seeds=(0, 1),
    systems={"real": ("random", "cca", "ridge", "dscmr:tiny"), "hashing": ("lsh", "cca_itq", "dsph:tiny")},
    baselines=("random", "cca", "ridge", "lsh", "cca_itq"),
    deterministic=("ridge",),
    bits=(16, 32),
    entries=(
        Entry("planted", "planted", "test", "real", "a note"),
        Entry("absent", "pascal_sentence", "official", "real", ""),
        Entry("syn", "planted:syn", "query", "hashing", "codes"),
    ),
    settings=(),
)


@pytest.fixture(autouse=True)
def _no_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DIPTYCH_DATA", str(tmp_path / "data"))


def plan() -> Plan:
    """With the protocols that the planted data have."""
    entries = [replace(entry, protocol=next(iter(open_data(entry.data).protocols))) for entry in PLAN.entries]
    return replace(PLAN, entries=entries)


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
    with pytest.raises(UnknownName, match="table of the survey"):
        tables.published("table5")


def test_filling_caches_and_says_what_is_missing(tmp_path: Path) -> None:
    told: list[str] = []
    first = run.fill(plan(), tmp_path, tell=told.append)
    assert len(told) == 2 * 3 + 1 + 2 * 2 * 3
    again: list[str] = []
    second = run.fill(plan(), tmp_path, tell=again.append)
    assert not again
    assert second.results == first.results
    assert "pascal_sentence" in first.reasons["absent", "cca"]
    shown = ours_tables(plan(), first.results, first.reasons)
    text = as_markdown("toy", shown)
    assert "± 0.000" in text
    assert "pascal_sentence" in text
    assert "trained systems are above" in text or "Not above" in text
    page = as_html("toy", shown)
    assert page.count("<svg") == 1 + 6
    content = json.loads(run.as_json(plan(), first))
    assert {cell["bits"] for cell in content["cells"]} == {None, 16, 32}


def test_a_cell_changes_with_what_it_depends_on(tmp_path: Path) -> None:
    entry = plan().entries[0]
    base = Cell("ridge", entry.data, entry.protocol)
    dataset = open_cell_data(base)
    key = base.key(dataset)
    assert key == Cell("ridge", entry.data, entry.protocol).key(dataset)
    for other in (
        replace(base, seed=1),
        replace(base, system="cca"),
        replace(base, settings={"penalty": 1.0}),
        replace(base, limit=50),
    ):
        assert other.key(open_cell_data(other)) != key


def test_a_result_that_was_cut_off_is_computed_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "results.jsonl")
    store.put({"key": "a", "n": 1})
    with store.path.open("a") as file:
        file.write('{"key": "b", "n"')
    store = Store(store.path)
    assert store.get("b") is None
    store.put({"key": "b", "n": 2})
    again = Store(store.path)
    assert (again.get("a"), again.get("b")) == ({"key": "a", "n": 1}, {"key": "b", "n": 2})


def test_labels_can_be_hidden_and_training_cut() -> None:
    entry = plan().entries[0]
    cut = open_cell_data(Cell("cca", entry.data, entry.protocol, limit=40, pairs=True))
    train = cut.split(cut.protocol(entry.protocol).train)
    assert len(train) == 40
    assert train.label is None


def test_signs_are_centred_on_their_own_modality(tmp_path: Path) -> None:
    entry = plan().entries[0]
    cell = Cell("sign:dscmr:tiny", entry.data, entry.protocol, settings={"dim": 16, "epochs": 2})
    found = cells.run(cell, open_cell_data(cell), tmp_path)
    assert found["results"]["image to text"]["values"]["MAP@ALL"] > 0.2


def test_failures_are_told_and_do_not_stop_the_table(tmp_path: Path) -> None:
    bad = replace(plan(), systems={"real": ("dscmr:tiny", "cca"), "hashing": ()})
    from diptych.bench.plan import Settings

    bad = replace(bad, settings=(Settings(["dscmr:tiny"], ["planted"], {"nonsense": 1}),))
    told: list[str] = []
    filled = run.fill(bad, tmp_path, tell=told.append)
    assert "nonsense" in filled.reasons["planted", "dscmr:tiny"]
    assert filled.results["planted", "cca", 0]
    with pytest.raises(UnknownName, match="row of systems"):
        run.fill(bad, tmp_path, systems=["nobody"])
    with pytest.raises(UnknownName, match="data set of this table"):
        run.fill(bad, tmp_path, entries=["nothing"])


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
    with pytest.raises(UnknownName, match=f"system of {name} 'nobody'"):
        produce.produce(name, tmp_path, systems=["nobody"])
    with pytest.raises(UnknownName, match=f"data set of {name} 'nothing'"):
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
        assert {name.removeprefix("sign:") for name in half} <= known
    for entry in found.entries:
        open_data(entry.data).protocol(entry.protocol)
    ids = {entry.id for entry in found.entries}
    for settings in found.settings:
        assert set(settings.entries) <= ids
        for name in set(settings.systems) - LATER:
            assert name in known


def test_ablations_name_what_exists_and_say_what_is_missing(tmp_path: Path) -> None:
    from diptych.bench import ablations

    _, _, wanted = ablations.ablations()
    for one in wanted:
        module = __import__(catalogue.card("system", one.name).module, fromlist=["x"])
        system = getattr(module, module.__all__[0])
        for _, settings in one.rows():
            catalogue.checked(system, settings)
    report = produce.produce("ablations", tmp_path)
    assert len(report.tables[0].rows) == sum(1 + len(one.without) for one in wanted)
    assert all("is not in" in row[2] for row in report.tables[0].rows)
    with pytest.raises(UnknownName, match="system of the ablations"):
        ablations.compute(tmp_path, systems=["nobody"])
