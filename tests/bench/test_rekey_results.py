"""tools/rekey_results.py: results get today's keys only where today's code is shown to compute the same."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import diptych
from diptych.bench.fill import Filler
from diptych.bench.plan import Plan
from diptych.bench.store import Store

pytestmark = pytest.mark.slow

SOURCE = Path(diptych.__file__).parents[1]
TOOL = Path(__file__).parents[2] / "tools" / "rekey_results.py"


@pytest.fixture(scope="module")
def tool() -> Any:
    """The tool as a module."""
    spec = importlib.util.spec_from_file_location("rekey_results", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["rekey_results"] = module  # where dataclasses look for their module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def results(plan: Plan, tmp_path: Path) -> Path:
    """Three results: one of CCA, two of random vectors."""
    small = replace(plan, systems={"real": ("ridge", "random"), "hashing": ()}, entries=plan.entries[:1])
    assert Filler(tmp_path).fill("our table", small.wanted()).finished == 3
    return tmp_path / "results.jsonl"


def run(tool: Any, monkeypatch: pytest.MonkeyPatch, results: Path, *more: str) -> list[dict[str, Any]]:
    """What is kept after the tool ran, with this very source as the former one."""
    monkeypatch.setattr("sys.argv", ["rekey", str(results), "--before", str(SOURCE), "--write", *more])
    tool.main()
    return [dict(one) for one in Store(results)]


def rewrite(results: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change every result of random vectors that is kept."""
    kept = [json.loads(line) for line in results.read_text().splitlines()]
    for one in kept:
        if one["cell"]["system"] == "random":
            change(one)
    results.write_text("".join(json.dumps(one) + "\n" for one in kept))


def test_equal_results_get_keys_that_say_where_they_come_from(
    tool: Any, monkeypatch: pytest.MonkeyPatch, results: Path
) -> None:
    before = [dict(one) for one in Store(results)]
    after = run(tool, monkeypatch, results)
    for old, new in zip(before, after, strict=True):
        how = {"from": old["key"], "by": "tools/rekey_results.py", "shown": "equal to what is kept"}
        assert new == {**old, "rekeyed": how}
    assert len(list(Store(results.with_name("proofs.jsonl")))) == 2  # one a family


def test_other_values_are_removed_and_listed(
    tool: Any, monkeypatch: pytest.MonkeyPatch, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(results, lambda one: one["results"]["image to text"]["values"].update({"MAP@ALL": 0.9}))
    assert [one["cell"]["system"] for one in run(tool, monkeypatch, results)] == ["ridge"]
    shown = capsys.readouterr().out
    assert shown.count("results image to text values MAP@ALL: 0.9 is kept") == 2
    assert "1 of 3 results may have today's keys" in shown


def test_a_tie_that_falls_otherwise_here_is_judged_by_the_former_source(
    tool: Any, monkeypatch: pytest.MonkeyPatch, results: Path
) -> None:
    def nudge(one: dict[str, Any]) -> None:
        one["results"]["image to text"]["values"]["MAP@ALL"] += 0.0002

    rewrite(results, nudge)
    after = run(tool, monkeypatch, results)
    assert len(after) == 3
    assert after[1]["rekeyed"]["shown"].startswith("equal to the former source on this machine")
    rewrite(results.with_name("proofs.jsonl"), lambda one: one.update({"former": {"epochs": 99}}))
    assert len(run(tool, monkeypatch, results)) == 1


def test_results_of_another_source_or_without_time_are_removed(
    tool: Any, monkeypatch: pytest.MonkeyPatch, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(results, lambda one: one.update({"key": f"{one['cell']['seed']:016}"}))
    assert [one["cell"]["system"] for one in run(tool, monkeypatch, results)] == ["ridge"]
    assert capsys.readouterr().out.count("the former source gives it another key") == 2
    results.with_name("proofs.jsonl").unlink()
    assert run(tool, monkeypatch, results, "--seconds", "0") == []
    assert "no time" in capsys.readouterr().out


def test_families_differ_in_seed_and_code_length_only(tool: Any) -> None:
    cell = {"system": "dcmh", "seed": 0, "settings": {"bits": 16, "lr": 1.0}}
    assert tool.family(cell) == tool.family({**cell, "seed": 1, "settings": {"bits": 64, "lr": 1.0}})
    assert tool.family(cell) != tool.family({**cell, "settings": {"bits": 16, "lr": 2.0}})
    assert tool.family(cell) != tool.family({**cell, "settings": {"lr": 1.0}})


def test_differences_are_found_anywhere(tool: Any) -> None:
    kept = {"a": {"b": [[0.5, 1.0], [2.0]]}, "n": 3}
    assert tool.difference(kept, json.loads(json.dumps(kept))) == ""
    now = {"a": {"b": [[0.5, 1.0], [2.001]]}, "n": 3}
    assert tool.difference(kept, now) == "a b: 2.0 is kept, 2.001 comes out now"
    assert tool.difference(kept, now, within=0.001) == ""
    assert tool.difference(kept, {**now, "n": 4}, within=0.001) == "n: 3 is kept, 4 comes out now"
    assert tool.difference(kept, {"n": 3}) != ""
