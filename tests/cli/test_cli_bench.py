"""`diptych bench`, as a user types it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from diptych import __main__
from diptych.bench import produce
from diptych.bench.plan import Entry, ours


def main(arguments: list[str]) -> int:
    """The exit code of the whole program, called as from a shell."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["diptych", *arguments])
        try:
            __main__.main()
        except SystemExit as ended:
            return int(ended.code or 0)
    return 0


@pytest.fixture
def _tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our table with two closed forms on planted data, three seeds of one of them; and an empty folder."""
    plan = replace(
        ours(),
        systems={"real": ("cca", "random"), "hashing": ()},
        entries=(Entry("planted", "planted", "label", "real", "made here"),),
        settings=(),
    )
    monkeypatch.setattr(produce, "ours", lambda: plan)
    monkeypatch.setenv("DIPTYCH_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_tiny")
def test_a_table_is_filled_written_and_collected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--system", "cca"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("# Ours")
    assert "1 of 4 cells finished." in shown.out
    assert "not run yet" not in shown.out
    assert "| cca |" in shown.out
    assert "random" not in shown.out
    assert shown.err.count("planted cca seed 0: MAP@ALL image to text 0.") == 1
    assert shown.err.splitlines()[-3:] == ["bench/ours.md", "bench/ours.json", "bench/ours.html"]
    written = (tmp_path / "bench" / "ours.md").read_text()
    assert "not run yet" in written
    assert "| random |" in written
    assert main(["bench", "--system", "cca", "--json", "--quiet"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert [cell["system"] for cell in content["cells"]] == ["cca"]
    assert content["missing"] == []

    assert main(["bench", "ours", "--json", "--quiet"]) == 0
    shown = capsys.readouterr()
    content = json.loads(shown.out)
    assert content == json.loads((tmp_path / "bench" / "ours.json").read_text())
    assert (content["finished"], content["asked"]) == (4, 4)
    assert [(cell["system"], len(cell["seeds"])) for cell in content["cells"]] == [("cca", 1), ("random", 3)]
    assert "seed" not in shown.err

    assert main(["bench", "--collect"]) == 0
    assert "4 of 4 cells finished." in capsys.readouterr().out


@pytest.mark.usefixtures("_tiny")
def test_a_finished_table_is_not_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--quiet"]) == 0
    before = (tmp_path / "bench" / "ours.md").read_text()
    (tmp_path / "bench" / "results.jsonl").rename(tmp_path / "elsewhere")
    capsys.readouterr()
    assert main(["bench", "--collect"]) == 0
    shown = capsys.readouterr()
    assert "0 of 4 cells finished." in shown.out
    assert "bench/ours.md is kept as it was, with more than the 0 of 4 cells" in shown.err
    assert (tmp_path / "bench" / "ours.md").read_text() == before


@pytest.mark.usefixtures("_tiny")
def test_tables_of_others_say_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    for table in ("table2", "ablations"):
        assert main(["bench", table, "--collect", "--out", "found"]) == 0
        shown = capsys.readouterr()
        assert "cells finished." in shown.out
        assert "is not in" in shown.out
        assert f"found/{table}.md" in shown.err


@pytest.mark.usefixtures("_tiny")
@pytest.mark.parametrize("table", ["table2", "table3", "ablations", "curves"])
def test_only_what_was_chosen_is_printed(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", table, "--collect", "--quiet", "--json"]) == 0
    whole = json.loads(capsys.readouterr().out)
    rows = whole["missing"] if table == "curves" else whole["rows"]
    key = "name" if table.startswith("table") else "system"
    system = next(row[key] for row in rows if row[key])
    chosen = ["--system", system, "--collect", "--quiet"]
    assert main(["bench", table, *chosen, "--json"]) == 0
    some = json.loads(capsys.readouterr().out)
    shown = some["missing"] if table == "curves" else some["rows"]
    assert shown == [row for row in rows if row[key] == system]
    assert 0 < len(shown) < len(rows)
    assert json.loads(Path("bench", f"{table}.json").read_text()) == whole
    assert main(["bench", table, *chosen]) == 0
    printed = capsys.readouterr().out
    assert printed != Path("bench", f"{table}.md").read_text()
    others = {row[key] for row in rows if row[key]} - {system}
    assert not [one for one in others if f"| {one} |" in printed]


@pytest.mark.usefixtures("_tiny")
def test_unknown_names_are_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    for wrong, nearest in (("tabel2", "table2"), ("--system=ccca", "cca"), ("--data=plantd", "planted")):
        assert main(["bench", wrong]) == 2
        assert nearest in capsys.readouterr().err
