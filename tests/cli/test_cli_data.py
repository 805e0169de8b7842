"""`diptych data` on made folders."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from diptych.cli.data import app
from diptych.errors import BadData, MissingData, UnknownName, UsageError

runner = CliRunner()


@pytest.fixture
def wikipedia(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Made-up features in the shape of the real ones."""
    monkeypatch.setenv("DIPTYCH_DATA", str(tmp_path / "sets"))
    random = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 2173), ("test", 693)):
        arrays[f"{split}_image"] = random.random((count, 128), np.float32)
        arrays[f"{split}_text"] = random.random((count, 10), np.float32)
        arrays[f"{split}_label"] = np.arange(count) % 10
    (tmp_path / "from").mkdir()
    np.savez(tmp_path / "from" / "wikipedia_sift128_lda10.npz", **arrays)
    return tmp_path / "from"


def run(*arguments: str) -> str:
    result = runner.invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_prepare_then_list_info_and_verify(wikipedia: Path) -> None:
    told = json.loads(run("prepare", "wikipedia", "--from", str(wikipedia), "--json"))
    assert told["variant"] == "sift"
    assert told["splits"]["test-462"]["images"] == 462
    listed = {row["name"]: row for row in json.loads(run("list", "--json"))}
    assert listed["wikipedia"]["ready"] == ["sift (train, test, val, test-462)"]
    assert listed["flickr30k"]["ready"] == []
    info = json.loads(run("info", "wikipedia", "--json"))
    assert info["splits"]["train"]["texts"] == 2173
    assert info["protocols"]["official"]["relevance"] == "label"
    assert info["needs"][0]["files"]["array train_image of wikipedia_sift128_lda10.npz"] is True
    assert "official: test, relevant by label" in run("info", "wikipedia")
    assert "as recorded" in run("verify", "wikipedia")
    assert "2,173 images" in run("prepare", "wikipedia")


def test_verify_fails_on_a_changed_file(wikipedia: Path) -> None:
    run("prepare", "wikipedia:sift", "--from", str(wikipedia))
    path = wikipedia / "wikipedia_sift128_lda10.npz"
    arrays = dict(np.load(path))
    arrays["test_text"] = arrays["test_text"][:, ::-1]
    np.savez(path, **arrays)
    result = runner.invoke(app, ["verify", "wikipedia", "--json"])
    assert result.exit_code == 1
    assert any(not check["ok"] and "changed" in check["detail"] for check in json.loads(result.output))


def test_info_of_a_set_that_is_not_there(wikipedia: Path) -> None:
    text = run("info", "flickr30k")
    assert "train: not here" in text
    assert "missing dataset_flickr30k.json" in text
    assert "Home: " in text


def test_info_of_a_path_and_of_planted_data(wikipedia: Path) -> None:
    assert "test: 693 images" in run("info", str(wikipedia / "wikipedia_sift128_lda10.npz"))
    assert "train: 200 images" in run("info", "planted")


def test_list_is_a_table(wikipedia: Path) -> None:
    assert "wikipedia" in run("list")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["prepare", "rsicd"], MissingData, "It comes from: GitHub"),
        (["prepare", "planted"], UsageError, "needs no preparation"),
        (["verify", "xmedia"], MissingData, "signed form"),
        (["info", "wikpedia"], UnknownName, "did you mean wikipedia"),
    ],
)
def test_errors_reach_the_caller(
    arguments: list[str], error: type[Exception], message: str, wikipedia: Path
) -> None:
    with pytest.raises(error, match=message):
        runner.invoke(app, arguments, catch_exceptions=False)


def test_half_missing_is_refused(wikipedia: Path) -> None:
    path = wikipedia / "wikipedia_sift128_lda10.npz"
    arrays = dict(np.load(path))
    del arrays["train_image"]
    np.savez(path, **arrays)
    with pytest.raises(BadData, match=r"array train_image of wikipedia_sift128_lda10\.npz missing"):
        runner.invoke(app, ["prepare", "wikipedia", "--from", str(wikipedia)], catch_exceptions=False)


def test_a_damaged_file_hides_no_other_set(wikipedia: Path) -> None:
    """`list` and `info` are for finding out what is wrong, so they must not fail at it."""
    run("prepare", "wikipedia", "--from", str(wikipedia))
    path = wikipedia / "wikipedia_sift128_lda10.npz"
    whole = path.read_bytes()
    arrays = dict(np.load(path))
    np.savez(path, **{**arrays, "test_label": arrays["test_label"] + 100})
    assert "test: cannot be used: " in run("info", "wikipedia")
    path.write_bytes(whole[: len(whole) // 2])
    rows = {row["name"]: row for row in json.loads(run("list", "--json"))}
    assert "cannot be read" in rows["wikipedia"]["damaged"]
    assert rows["planted"]["ready"] == ["train", "val", "test"]
    assert "cannot be read" in " ".join(run("list").split())
