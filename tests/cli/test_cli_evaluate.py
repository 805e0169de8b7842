"""`diptych evaluate`, as a user types it."""

from __future__ import annotations

import csv
import io
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
    assert '<b title="relevant">✓</b>' in (tmp_path / "found" / "report.html").read_text()
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
    assert "are left out" not in shown.err
    assert "2 queries against" in shown.out
    assert "matches of cxc_caption_to_image.json" in " ".join(shown.out.split())
    assert "matches of cxc_caption_to_image.json" in (tmp_path / "other" / "report.html").read_text()
    assert json.loads((tmp_path / "other" / "evaluation.json").read_text())["measure"] == "mAP@R"


def test_two_evaluations_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    image, noise = rng.standard_normal((2, 100, 16))
    np.save("image.npy", image)
    for name, much in (("good", 0.5), ("bad", 2.0)):
        np.save(f"{name}.npy", image + much * noise)
        assert main(["evaluate", "--embeddings", "image.npy", f"{name}.npy", "--out", name]) == 0
    capsys.readouterr()
    assert main(["evaluate", "good", "bad", "--plots"]) == 0
    shown = capsys.readouterr()
    assert "image to text (IqT)" in shown.out
    assert re.search(r"R@1 +1\.00\d +0\.\d+ +\+0\.\d{4} +\+0\.\d{4} to \+0\.\d{4} +0\.0010", shown.out)
    assert "saved comparison.json and report.html in evaluations/good-against-bad" in shown.err
    assert "95 % interval" in Path("evaluations/good-against-bad/report.html").read_text()
    assert main(["evaluate", "good", "bad", "--json", "--out", "here"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads(Path("here/comparison.json").read_text())
    one = found["differences"]["text to image"]["R@1"]
    assert one["difference"] == pytest.approx(one["first"] - one["second"])
    assert 0 < one["interval_95"][0] < one["difference"] < one["interval_95"][1]
    assert main(["evaluate", "bad", "good", "--csv", "--out", "here"]) == 0
    table = {
        (row["direction"], row["measure"]): row
        for row in csv.DictReader(io.StringIO(capsys.readouterr().out))
    }
    assert float(table["TqI", "R@1"]["difference"]) == pytest.approx(-one["difference"])
    assert main(["evaluate", "--run", "bad", "--clip-benchmark"]) == 0
    assert "saved clip_benchmark.json and clip_benchmark.csv in bad" in capsys.readouterr().err
    assert main(["evaluate", "good", "bad/clip_benchmark.csv", "--json"]) == 0
    theirs = json.loads(capsys.readouterr().out)
    assert {row["measure"] for row in theirs} == {"R@1", "R@5", "R@10"}
    assert next(row for row in theirs if row["measure"] == "R@1")["second"] == "given vectors"
    assert main(["evaluate", "good", "bad/clip_benchmark.json"]) == 0
    assert "given vectors on" in capsys.readouterr().out
    for arguments, said in (
        (["good", "bad/clip_benchmark.json", "--plots"], "--plots and --out go with two evaluations"),
        (["good", "bad", "--clip-benchmark"], "--clip-benchmark goes with"),
        (["good", "nowhere"], "nowhere is not there; give the ranking.npz (or its folder)"),
        (
            ["good", "bad", "--data", "planted"],
            "--data goes with a system and --data, not with two evaluations",
        ),
        (["--run", "good", "x", "y"], "'y' has no place after --run"),
    ):
        assert main(["evaluate", *arguments]) in (1, 2)
        assert said in " ".join(capsys.readouterr().err.split())


def test_what_a_file_of_matches_lists_beyond_the_ranking_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("scores.npy", np.eye(3))
    assert main(["evaluate", "--scores", "scores.npy", "--out", "found"]) == 0
    capsys.readouterr()
    Path("cxc_image_to_caption.json").write_text(json.dumps({"0": ["0", "7"], "2": ["9"], "5": ["1"]}))
    arguments = ["evaluate", "--run", "found", "--matches", "cxc_image_to_caption.json"]
    assert main([*arguments, "--json"]) == 0
    shown = capsys.readouterr()
    sentence = "cxc_image_to_caption.json: 1 of 3 queries, 1 of 4 matches are in this ranking"
    assert sentence in shown.err
    assert json.loads(shown.out)["matches"]["image to text"]["left_out"] == {
        "queries": {"listed": 3, "here": 1},
        "matches": {"listed": 4, "here": 1},
    }


def test_vectors_and_scores_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    image = np.random.default_rng(0).standard_normal((30, 8))
    text = np.repeat(image, 5, axis=0)
    text[:5] = -text[:5]  # the first image and its captions are as far as can be
    np.save("image.npy", image)
    np.save("text.npy", text)
    np.save("labels.npy", np.arange(30) % 4)
    arguments = ["evaluate", "--embeddings", "image.npy", "text.npy"]
    assert main([*arguments, "--plots"]) == 0
    shown = capsys.readouterr()
    assert "paired 5 texts an image, in order, compared by cosine" in shown.out
    assert "\nP@10 " in shown.out
    assert "\nP@50" not in shown.out  # of 30
    assert "ties" not in shown.out
    assert "evaluations/image-text" in shown.err
    page = (tmp_path / "evaluations" / "image-text" / "report.html").read_text()
    assert ">P@50<" not in page
    assert "order of ties" not in page.partition("Best and worst")[0]
    assert re.search(r'R@1</td><td class="number">0.97<small>', page)  # 29 of 30, in two digits

    assert main([*arguments, "--csv", "--out", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    found = {(row["direction"], row["measure"]): row for row in rows}
    assert float(found["IqT", "R@1"]["value"]) == pytest.approx(29 / 30)
    assert float(found["TqI", "R@1"]["value"]) == pytest.approx(145 / 150)
    assert found["TqI", "R@1"]["queries"] == "150"
    assert float(found["TqI", "R@1"]["low"]) < 145 / 150 < float(found["TqI", "R@1"]["high"])

    np.save(
        "scores.npy", image @ text.T / np.linalg.norm(image, axis=1)[:, None] / np.linalg.norm(text, axis=1)
    )
    for asked in (["--embeddings", "image.npy", "text.npy"], ["--scores", "scores.npy"]):
        assert main(["evaluate", *asked, "--labels", "labels.npy", "--json", "--out", "json"]) == 0
        result = json.loads(capsys.readouterr().out)
        assert result["measure"] == "MAP@ALL"
        assert result["pairs"] == "paired 5 texts an image, in order"
    assert main(["evaluate", "--run", "json", "--csv"]) == 0
    again = {
        (row["direction"], row["measure"]): row
        for row in csv.DictReader(io.StringIO(capsys.readouterr().out))
    }
    value = result["results"]["image to text"]["values"]["MAP@ALL"]
    assert float(again["IqT", "MAP@ALL"]["value"]) == pytest.approx(value)


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
    card = tmp_path / "run" / "card.json"
    whole = json.loads(card.read_text())
    for part in ({"held_out": 4}, {"held_out": {"images": 4}}, {"data": ["own"]}):
        card.write_text(json.dumps({**whole, **part}))
        assert main(["evaluate", "run", "--data", "own.npz"]) == 1
        (name,) = part
        told = " ".join(capsys.readouterr().err.split())
        assert f"card.json is damaged ({name} must hold" in told


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["evaluate"], "evaluate needs a system and --data"),
        (["evaluate", "x", "--run", "found"], "give no system"),
        (["evaluate", "builtin", "--data", "planted", "--cut", "3"], "--cut goes with --run"),
        (["evaluate", "builtin", "--data", "planted", "--matches", "x"], "--matches goes with --run"),
        (["evaluate", "builtin", "--data", "planted", "--protocol", "tset"], "protocol 'tset' of planted"),
        (["evaluate", "--run", "nowhere"], "is not there"),
        (
            ["evaluate", "--run", "found", "--pairs", "x"],
            "--pairs goes with --embeddings or --scores, not with --run",
        ),
        (
            ["evaluate", "builtin", "--data", "planted", "--similarity", "dot"],
            "--similarity goes with --embeddings",
        ),
        (["evaluate", "--scores", "x.npy", "--data", "planted"], "--data goes with a system and --data, not"),
        (["evaluate", "--scores", "x.npy", "y.npy"], "--scores takes one file, so y.npy has no place"),
        (["evaluate", "--embeddings", "x.npy", "y.npy"], "x.npy is not there"),
        (["evaluate", "--run", "found", "--json", "--csv"], "give one of --json and --csv"),
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
