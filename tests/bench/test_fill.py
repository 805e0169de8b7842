"""Filling tables: nothing is computed twice or lost, and what is missing or stale is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from diptych.bench import fill
from diptych.bench.fill import Filled, Filler, Wanted
from diptych.bench.plan import Plan, Settings
from diptych.bench.produce import Report, write
from diptych.bench.report import ours_content, ours_tables
from diptych.bench.store import Store
from diptych.errors import TrainingError, UnknownName
from diptych.report.bench_page import as_html, as_markdown

pytestmark = pytest.mark.slow


def filled(plan: Plan, folder: Path, **options: Any) -> Filled:
    """The table, filled in that folder."""
    return Filler(folder, **options).fill("our table", plan.wanted())


def small(plan: Plan) -> Plan:
    """Two closed forms on one data set, three cells."""
    return replace(plan, systems={"real": ("cca", "ridge"), "hashing": ()}, entries=plan.entries[:1])


def test_filling_caches_and_says_what_is_missing(plan: Plan, tmp_path: Path) -> None:
    told: list[str] = []
    first = filled(plan, tmp_path, tell=told.append)
    assert len(told) == 2 * 3 + 1 + 2 * 2 * 3
    assert (first.finished, first.asked) == (19, 26)
    again: list[str] = []
    second = filled(plan, tmp_path, tell=again.append)
    assert not again
    assert second == first
    assert "pascal_sentence" in first.reasons["absent", "cca"]
    shown = ours_tables(plan, first)
    text = as_markdown("toy", shown)
    assert "± 0.000" in text
    assert text.count("- [1] ") == 4 + 1  # the reason of four rows stands there once
    assert as_html("toy", shown).count("<svg") == 1 + 6
    content = ours_content(plan, first)
    assert {cell["bits"] for cell in content["cells"]} == {None, 16, 32}


def test_only_what_is_chosen_is_computed(plan: Plan, tmp_path: Path) -> None:
    part = filled(small(plan), tmp_path, systems=["ridge"])
    assert set(part.results) == {("planted", "ridge", 0)}
    assert part.reasons == {("planted", "cca"): "not run yet"}
    assert filled(small(plan), tmp_path, compute=False) == part
    with pytest.raises(UnknownName, match="system 'nobody' of our table"):
        filled(plan, tmp_path, systems=["nobody"])
    with pytest.raises(UnknownName, match="data set 'nothing' of our table"):
        filled(plan, tmp_path, entries=["nothing"])


def test_failures_are_told_and_do_not_stop_the_table(plan: Plan, tmp_path: Path) -> None:
    systems = {"real": ("dscmr:tiny", "cca"), "hashing": ()}
    bad = replace(plan, systems=systems, settings=(Settings(["dscmr:tiny"], ["planted"], {"nonsense": 1}),))
    told: list[str] = []
    found = filled(bad, tmp_path, tell=told.append)
    assert "nonsense" in found.reasons["planted", "dscmr:tiny"]
    assert sum("failed" in line for line in told) == 1  # the second seed is not tried
    assert len(found.results["planted", "cca", 0]) == 2


def test_a_failed_cell_that_two_rows_show_is_tried_once(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def fails(*_: Any) -> Any:
        tried.append(1)
        raise TrainingError("no")

    monkeypatch.setattr(fill, "run", fails)
    cell = next(small(plan).wanted()).cell
    rows = [Wanted(cell, entry="planted", system="cca", row=(n,)) for n in range(2)]
    assert Filler(tmp_path).fill("a table", rows).reasons == {(0,): "failed: no", (1,): "failed: no"}
    assert len(tried) == 1


def test_systems_that_do_not_exist_are_said_before_their_data(plan: Plan, tmp_path: Path) -> None:
    odd = replace(plan, systems={"real": ("blip9", "cca"), "hashing": ()}, entries=plan.entries[1:2])
    reasons = filled(odd, tmp_path).reasons
    assert reasons["absent", "blip9"] == "Diptych has no system blip9 yet"
    assert "pascal_sentence" in reasons["absent", "cca"]


def rewritten(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """The store with other results, which other keys belong to."""
    path = folder / "results.jsonl"
    kept = [change(json.loads(line)) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({**one, "key": str(at)}) + "\n" for at, one in enumerate(kept)))


def depending(**parts: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A result as if it had been computed from something else."""
    return lambda one: {**one, "depends": {**one["depends"], **parts}, "commit": "12345678901234"}


@pytest.mark.parametrize(("what", "said"), [("code", "the code has"), ("data", "the data have")])
def test_stale_results_are_called_stale(plan: Plan, tmp_path: Path, what: str, said: str) -> None:
    filled(small(plan), tmp_path)
    rewritten(tmp_path, depending(**{what: "other"}))
    found = filled(small(plan), tmp_path, compute=False)
    reason = f"stale: made with commit 1234567890, and {said} changed since"
    assert found.reasons == {("planted", "cca"): reason, ("planted", "ridge"): reason}
    assert found.finished == 0
    told: list[str] = []
    assert filled(small(plan), tmp_path, tell=told.append).finished == 3
    assert len(told) == 3


def test_results_from_before_dependencies_were_kept_are_stale(plan: Plan, tmp_path: Path) -> None:
    filled(small(plan), tmp_path)
    rewritten(tmp_path, lambda one: {name: value for name, value in one.items() if name != "depends"})
    reason = filled(small(plan), tmp_path, compute=False).reasons["planted", "cca"]
    assert reason.endswith("kept without saying what it depends on")


def test_results_stay_when_their_data_are_away(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = filled(small(plan), tmp_path)
    monkeypatch.setattr(fill, "_opened", lambda cell, root: "they are away")
    found = filled(small(plan), tmp_path)
    assert found.results == whole.results
    assert found.unchecked == {"planted": "they are away"}
    rewritten(tmp_path, depending(code="other"))
    found = filled(small(plan), tmp_path)
    assert found.finished == 0
    assert found.reasons["planted", "cca"].startswith("stale: made with commit 1234567890")
    assert found.reasons["planted", "cca"].endswith("; they are away")


def report(finished: int, asked: int) -> Report:
    """So many cells of so many."""
    return Report("t", [f"{finished} of {asked} cells finished."], [], "{}\n", finished, asked)


def test_a_table_is_not_replaced_by_one_with_fewer_cells(tmp_path: Path) -> None:
    path = tmp_path / "toy.md"
    assert [one.name for one in write(report(2, 3), tmp_path, "toy")] == ["toy.md", "toy.json", "toy.html"]
    before = path.read_text()
    assert write(report(1, 3), tmp_path, "toy") == []
    assert write(report(0, 3), tmp_path, "toy") == []
    assert path.read_text() == before
    assert write(report(2, 3), tmp_path, "toy")
    assert write(report(1, 1), tmp_path, "toy")  # the table itself became smaller, and this is all of it
    path.write_text("# a table of before\n")
    assert write(report(2, 3), tmp_path, "toy") == []
    assert write(report(3, 3), tmp_path, "toy")


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
    assert len(list(again)) == 2
