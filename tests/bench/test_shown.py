"""Kept results as the page of the server shows them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from diptych.bench.shown import cells
from diptych.errors import MissingData

KEPT = Path(__file__).parents[2] / "docs" / "results" / "results.jsonl"


def test_our_kept_results_are_flat_and_say_what_computes_them() -> None:
    found = cells(KEPT)
    assert len(found) == len(KEPT.read_text("utf-8").splitlines())
    json.dumps(found, allow_nan=False)
    one = next(cell for cell in found if cell["system"] == "acmr" and cell["data"] == "wikipedia:cnn")
    assert (one["family"], one["bits"], one["entry"]) == ("real_valued", 0, "wikipedia-cnn")
    assert one["command"] == "diptych bench ours --data wikipedia-cnn --system acmr"
    assert one["measure"] == "MAP@ALL"
    assert 0 < one["IqT"]["values"]["MAP@ALL"] < 1
    assert len(one["TqI"]["curve"][0]) == len(one["TqI"]["curve"][1])
    assert one["IqT"]["queries"] > 0
    assert {cell["family"] for cell in found} >= {"baselines", "real_valued"}
    assert all(cell["command"] for cell in found)


def test_of_codes_the_value_is_what_is_expected_over_all_orders_of_ties() -> None:
    coded = [cell for cell in cells(KEPT) if cell["bits"]]
    assert {16, 128} <= {cell["bits"] for cell in coded}
    assert any(cell["system"].startswith("sign:") for cell in coded)
    for cell in coded:
        worst, best = cell["IqT"]["ties"]
        assert worst <= cell["IqT"]["values"]["MAP@ALL"] <= best
    raw = {json.loads(line)["key"]: json.loads(line) for line in KEPT.read_text("utf-8").splitlines()}
    expected = {
        round(one["results"]["image to text"]["ties"]["MAP@ALL"]["expected"], 6)
        for one in raw.values()
        if one["cell"]["settings"].get("bits")
    }
    assert expected <= {cell["IqT"]["values"]["MAP@ALL"] for cell in coded}


def test_a_cell_that_no_table_of_ours_has_is_shown_by_its_data(tmp_path: Path) -> None:
    one = json.loads(KEPT.read_text("utf-8").splitlines()[0])
    one["cell"]["limit"] = 7
    del one["results"]["text to image"]
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps(one) + "\n{cut off", encoding="utf-8")
    (found,) = cells(path)
    assert (found["entry"], found["command"], found["limit"]) == ("wikipedia:cnn", "", 7)
    assert "TqI" not in found


def test_where_there_are_none_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"no results at .*; give a results\.jsonl"):
        cells(tmp_path / "results.jsonl")
