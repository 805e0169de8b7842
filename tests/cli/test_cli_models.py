"""`diptych index --add-model`, `search --model` and `models`, with two systems that load by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

FIRST, SECOND = "builtin", "builtin:concepts"


@pytest.fixture
def indexed(tmp_path: Path, run: Any) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("red", "green", "blue"):
        Image.new("RGB", (64, 48), name).save(folder / f"{name}.png")
    (folder / "red.txt").write_text("a red wall\n")
    code, _, err = run("index", str(folder), "--add-model", SECOND)
    assert code == 0
    assert f"{SECOND}: 4 pictures and texts encoded" in err
    return folder


def test_two_models_are_listed_asked_changed_and_dropped(indexed: Path, run: Any) -> None:
    def models(*more: str) -> list[tuple[str, bool, int, int]]:
        code, out, _ = run("models", str(indexed), "--json", *more)
        assert code == 0
        return [(one["name"], one["default"], one["images"], one["texts"]) for one in json.loads(out)]

    def asked(*more: str) -> dict[str, Any]:
        code, out, _ = run("search", "a red wall", "--in", str(indexed), "--json", *more)
        assert code == 0
        return dict(json.loads(out))

    assert models() == [(FIRST, True, 3, 1), (SECOND, False, 3, 1)]
    first, second = asked(), asked("--model", SECOND)
    assert (first["model"], second["model"]) == (FIRST, SECOND)
    assert len(first["results"]) == len(second["results"]) == 3
    assert first["results"] != second["results"]
    _, out, _ = run("info", str(indexed))
    assert f"beside    {SECOND}" in out
    assert models("--default", SECOND) == [(SECOND, True, 3, 1), (FIRST, False, 3, 1)]
    assert asked()["results"] == second["results"]
    code, _, err = run("models", str(indexed), "--drop", SECOND)
    assert (code, "default model" in err) == (2, True)
    assert models("--drop", FIRST) == [(SECOND, True, 3, 1)]
    code, _, err = run("search", "x", "--in", str(indexed), "--model", FIRST)
    assert code == 2
    assert f"no vectors of {FIRST}, but of {SECOND}" in err
    assert "--add-model" in err


def test_a_graph_is_told_as_one_and_not_as_codes_of_no_bits(
    indexed: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = {"bits": 0, "made_with": "hnsw, m = 16"}  # as in a collection in PostgreSQL or Milvus
    monkeypatch.setattr("diptych.engine.homes.local.home.Local.codes", facts)
    assert "codes     a graph (hnsw, m = 16)" in run("info", str(indexed))[1]
    out = run("models", str(indexed))[1]
    assert "a graph" in out
    assert "0 bits" not in out


def test_a_new_picture_gets_a_vector_of_each(indexed: Path, run: Any) -> None:
    Image.new("RGB", (64, 48), "white").save(indexed / "white.png")
    code, out, _ = run("index", str(indexed), "--json")
    assert code == 0
    (told,) = json.loads(out)["models"]
    assert (told["model"], told["encoded"], told["lacking"]) == (SECOND, 1, 0)
    _, out, _ = run("models", str(indexed))
    assert [line.split()[-3:] for line in out.splitlines()[1:]] == [["4", "1", "512"]] * 2 or out


def test_vectors_are_exported_and_measured(indexed: Path, run: Any, tmp_path: Path) -> None:
    code, _, err = run("export", str(indexed), "--to", str(tmp_path / "out"), "--model", SECOND)
    assert code == 0
    assert "1 rows of" in err
    assert "2 pictures have no captions" in err
    code, out, _ = run("export", str(indexed), "--to", str(tmp_path / "all.npy"), "--json")
    facts = json.loads(out)
    assert (code, facts["rows"], facts["type"]) == (0, 3, "float16")
    code, out, _ = run("data", "info", str(tmp_path / "out"))
    assert code == 0
    assert "all: 1 images, 1 texts, 1 pairs" in out


def test_another_language_is_told_and_read_by_the_same_vectors(indexed: Path, run: Any) -> None:
    asked = ("search", "eine rote Wand", "--in", str(indexed), "--by", "vectors")
    code, _, err = run(*asked)
    assert code == 0
    assert "and this looks like German; builtin:languages reads other languages" in err
    code, _, err = run(*asked, "--model", "builtin:languages")
    assert code == 0
    assert "German" not in err
    _, out, _ = run(*asked, "--model", "builtin:languages", "--json")
    assert json.loads(out)["model"] == "builtin:languages"
    code, out, _ = run("models", str(indexed), "--default", "builtin:languages", "--json")
    assert code == 0
    assert [one["name"] for one in json.loads(out)] == ["builtin:languages", SECOND]
