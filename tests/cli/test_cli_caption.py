"""``diptych caption`` and ``diptych index --caption``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from diptych import catalogue
from diptych.llm import Abilities
from diptych.nets.captioner import CaptionNet, exported
from diptych.testing import Scripted

PHOTOGRAPHS = Path(__file__).parents[1] / "photographs"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("cat", "coffee"):
        with Image.open(PHOTOGRAPHS / f"{name}.jpg") as picture:
            picture.resize((96, 96)).save(tmp_path / f"{name}.jpg")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    return tmp_path


@pytest.fixture(scope="module")
def by(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A captioner of drawn weights: what it says is words, if of no sense."""
    torch.manual_seed(0)
    net = CaptionNet(pieces=9, width=16, layers=1, heads=2, length=6)
    captioner = catalogue.load("captioner", threads=1)
    captioner._learned = exported(net, {"pieces": "0 101 102 100 1037 2417 3899 4937 2015", "length": "6"})
    folder = tmp_path_factory.mktemp("captioner")
    captioner.save(folder)
    return f"captioner@{folder}"


def test_captions_go_to_the_terminal(photos: Path, by: str, run) -> None:
    code, out, err = run("caption", str(photos), "--captioner", by)
    assert code == 0
    lines = dict(line.split(": ") for line in out.splitlines())
    assert {Path(name).name for name in lines} == {"cat.jpg", "coffee.jpg"}
    assert all(text.strip() for text in lines.values())
    assert "not described" in err
    assert "broken.jpg" in err


def test_json_marks_what_was_generated(photos: Path, by: str, run) -> None:
    code, out, _ = run("caption", str(photos / "cat.jpg"), "--json", "--captioner", by)
    told = json.loads(out)
    assert code == 0
    assert told["skipped"] == []
    (one,) = told["captions"]
    assert (one["source"], one["by"].partition(":")[0]) == ("generated", "captioner")
    path = photos / "lines.jsonl"
    assert run("caption", str(photos), "--jsonl", str(path), "--captioner", by)[:2] == (0, "")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert one in rows
    assert len(rows) == 2


def test_sidecars_never_replace_what_is_there(photos: Path, by: str, run) -> None:
    (photos / "cat.txt").write_text("my cat\n")
    code, out, err = run("caption", str(photos), "--sidecars", "--captioner", by)
    assert (code, out) == (0, "")
    assert (photos / "cat.txt").read_text() == "my cat\n"
    assert "left as they are" in err
    assert (photos / "coffee.txt").read_text().strip()


def test_index_describes_and_search_finds(photos: Path, by: str, run) -> None:
    code, out, _ = run("index", str(photos), "--caption", "--captioner", by, "--json")
    assert code == 0
    assert json.loads(out)["captioned"] == {"described": 2, "silent": 0, "failed": [], "away": 0}
    code, out, _ = run(
        "search", "--image", str(photos / "cat.jpg"), "--to", "text", "--in", str(photos), "--json"
    )
    found = json.loads(out)["results"]
    assert {one["meta"]["source"] for one in found} == {"generated"}
    code, _, err = run("index", str(photos), "--caption", "--captioner", by)
    assert "captions: 0 pictures described" in err


def test_a_model_that_sees_may_describe(photos: Path, run, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Scripted("A cat!", name="llm:https://far.example/v1#m", abilities=Abilities(pictures=1))
    monkeypatch.setattr("diptych.engine.captioning.ready", lambda name: model)
    code, _, err = run("caption", str(photos / "cat.jpg"), "--captioner", model.name)
    assert code == 2
    assert "nobody has allowed to send it pictures (option --captioner)" in err
    code, out, _ = run("caption", str(photos / "cat.jpg"), "--captioner", model.name, "--send-pictures")
    assert (code, out.rpartition(": ")[2].strip()) == (0, "A cat!")
    code, _, err = run("index", str(photos), "--caption", "--captioner", model.name)
    assert code == 2
    assert "nobody has allowed" in err


def test_wrong_input(photos: Path, by: str, run) -> None:
    for given, said in {
        ("caption",): "nothing to describe",
        ("caption", str(photos / "none.jpg")): "does not exist",
        ("caption", str(photos), "--captioner", "builtin"): "builtin describes no pictures",
        ("index", str(photos), "--captioner", "captioner"): "give both",
    }.items():
        code, out, err = run(*given)
        assert (code, out, err.count("\n")) == (2, "", 1), given
        assert said in err
    code, out, _ = run("caption", str(photos / "cat.jpg"))  # by the packaged one
    assert code == 0
    assert len(out.partition(": ")[2].split()) >= 4
    code, _, err = run("caption", str(photos / "broken.jpg"), "--captioner", by)
    assert code == 1
    assert "not described" in err
    empty = photos / "empty"
    empty.mkdir()
    assert run("caption", str(empty))[0] == 2
