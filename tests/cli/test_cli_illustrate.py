"""``diptych illustrate``: pictures of a collection in a text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from diptych.report.article import blocks, page, with_pictures
from diptych.testing import Scripted

TEXT = """# Walls & <b>more</b>

A red wall stands in the sun.

```
code

stays
```

The sea is blue.
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos") / "my pictures"
    folder.mkdir()
    for name in ("red", "green", "blue"):
        Image.new("RGB", (64, 48), name).save(folder / f"{name} wall.png")
        (folder / f"{name} wall.txt").write_text(f"a {name} wall\n")
    return folder


@pytest.fixture
def text(photos: Path, tmp_path: Path, run) -> Path:
    assert run("index", str(photos), "-q")[0] == 0
    path = tmp_path / "walls.md"
    path.write_text(TEXT)
    return path


def test_blocks_and_markdown(tmp_path: Path) -> None:
    parts = blocks(TEXT)
    assert len(parts) == 4
    assert parts[2] == "```\ncode\n\nstays\n```"
    written = with_pictures(parts, {1: ("a [red] wall", tmp_path / "a b.png")}, tmp_path / "texts")
    assert "sun.\n\n![a \\[red\\] wall](../a%20b.png)\n\n```" in written
    assert blocks(with_pictures(parts, {}, tmp_path)) == parts


def test_the_page_carries_nothing_out(tmp_path: Path) -> None:
    shown = page("t", blocks(TEXT), {0: ('"><script>', tmp_path / "a.png")}, tmp_path)
    assert "<script>" not in shown
    assert "<b>" not in shown
    assert '<img alt="&quot;&gt;&lt;script&gt;" src="a.png">' in shown
    assert "<h1>" in shown


def test_without_a_model_sentences_ask(text: Path, photos: Path, run) -> None:
    out = text.parent / "out.md"
    code, said, err = run("illustrate", str(text), "--in", str(photos), "--out", str(out), "--pictures", "2")
    assert (code, said) == (0, "")
    assert "no language model is set" in err
    written = out.read_text()
    assert written.count("![") == 2
    assert "my%20pictures/" in written
    code, said, _ = run("illustrate", str(text), "--in", str(photos), "--json", "--pictures", "1")
    found = json.loads(said)
    assert code == 0
    assert (found[0]["after"], Path(found[0]["image"]).parent) == (0, photos)


def test_a_model_places_describes_and_selects(
    text: Path, photos: Path, run, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Scripted(["2", "a red wall", "A"])
    monkeypatch.setattr("diptych.engine.assisted.ready", lambda *given, **how: model)
    out = text.parent / "out.html"
    code, _, err = run("illustrate", str(text), "--in", str(photos), "--out", str(out), "--llm", "llm:any")
    assert (code, err) == (0, "")
    written = out.read_text()
    assert written.count("<figure>") == 1
    assert "my%20pictures/" in written
    assert "<figcaption>a red wall</figcaption>" in written
    assert len(model.prompts[2].pictures) == 3


def test_wrong_input(text: Path, photos: Path, run) -> None:
    code, _, err = run("illustrate", str(text.parent / "none.md"), "--in", str(photos))
    assert (code, err.count("\n")) == (2, 1)
    assert "cannot be read" in err
    empty = text.parent / "empty.md"
    empty.write_text("\n\n")
    code, _, err = run("illustrate", str(empty), "--in", str(photos))
    assert (code, err.count("\n")) == (2, 1)
    assert "holds no text" in err
    folder = text.parent / "folder"
    folder.mkdir()
    code, _, err = run("illustrate", str(text), "--in", str(photos), "--out", str(folder))
    assert code == 2
    assert "cannot be written" in err
