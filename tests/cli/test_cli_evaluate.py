"""`diptych evaluate`, as a user types it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from diptych import __main__


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
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "dscmr:tiny", "--data", "planted", "--set", "epochs=2", "--quiet"]) == 0
    return tmp_path / "runs" / "dscmr-tiny-planted"


def test_numbers_ranking_and_report(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run), "--data", "planted", "--plots", "--out", "found"]) == 0
    shown = capsys.readouterr()
    assert "MAP@ALL" in shown.out
    assert "IqT" in shown.out
    assert "TqI" in shown.out
    saved = json.loads((tmp_path / "found" / "evaluation.json").read_text())
    assert saved["seed"] == 0
    for one in saved["results"].values():  # vectors drawn at random reach 0.41 on these data
        assert one["values"]["MAP@ALL"] > 0.6
    page = (tmp_path / "found" / "report.html").read_text()
    assert page.count("<svg") == 3
    assert "Best and worst queries, text to image" in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)  # nothing is fetched from anywhere

    assert main(["evaluate", "--run", "found", "--json", "--cut", "5"]) == 0
    again = json.loads(capsys.readouterr().out)
    for direction, one in saved["results"].items():
        values = again["results"][direction]["values"]
        assert values["MAP@ALL"] == pytest.approx(one["values"]["MAP@ALL"])
        assert "MAP@5" in values

    file = tmp_path / "cxc_caption_to_image.json"
    with np.load(tmp_path / "found" / "ranking.npz") as ranking:
        texts, images = (ranking[f"text to image/0/{side}_id"].tolist() for side in ("query", "gallery"))
    file.write_text(json.dumps({texts[3]: images[3:5], texts[8]: images[8:9]}))
    assert main(["evaluate", "--run", "found", "--matches", str(file), "--out", "other", "--plots"]) == 0
    shown = capsys.readouterr()
    assert "2 queries against" in shown.out
    assert "matches of cxc_caption_to_image.json" in " ".join(shown.out.split())
    assert "matches of cxc_caption_to_image.json" in (tmp_path / "other" / "report.html").read_text()
    assert json.loads((tmp_path / "other" / "evaluation.json").read_text())["measure"] == "mAP@R"


def test_own_data_are_measured_by_what_was_held_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    image, text = rng.standard_normal((2, 40, 8))
    np.savez("own.npz", image=image, text=text)
    train = ["train", "clip4cmr:tiny", "--data", "own.npz", "--set", "epochs=2", "--quiet", "--out", "run"]
    assert main(train) == 0
    assert "measured on 4 images held out of 'all', not learned from" in capsys.readouterr().out
    assert main(["evaluate", "run", "--data", "own.npz", "--json"]) == 0
    shown = capsys.readouterr()
    assert "learned from these data: measured on the 4 images" in shown.err
    assert json.loads(shown.out)["results"]["image to text"]["queries"] == 4
    np.savez("own.npz", image=image[1:], text=text[1:])
    assert main(["evaluate", "run", "--data", "own.npz", "--json"]) == 0
    shown = capsys.readouterr()
    assert "may have been learned from" in shown.err
    assert json.loads(shown.out)["results"]["image to text"]["queries"] == 39


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["evaluate"], "evaluate needs a system and --data"),
        (["evaluate", "x", "--run", "found"], "give no system"),
        (["evaluate", "builtin", "--data", "planted", "--cut", "3"], "--cut goes with --run"),
        (["evaluate", "builtin", "--data", "planted", "--matches", "x"], "--matches goes with --run"),
        (["evaluate", "builtin", "--data", "planted", "--protocol", "tset"], "protocol of planted 'tset'"),
        (["evaluate", "--run", "nowhere"], "is not there"),
        (["evaluate", "nosuch", "--data", "planted"], "there is no system or feature extractor 'nosuch'"),
    ],
)
def test_mistakes_get_a_sentence(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) != 0
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
