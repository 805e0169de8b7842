from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from diptych.cli.train import command
from diptych.errors import BadParameter, UsageError

pytestmark = pytest.mark.slow

QUICK = [
    "--set",
    "hidden_dim=16",
    "--set",
    "dim=8",
    "--set",
    "epochs=2",
    "--set",
    "lr=1e-3",
    "--device",
    "cpu",
]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    app = typer.Typer()
    app.command("train")(command)
    monkeypatch.chdir(tmp_path)

    def called(*arguments: str) -> str:
        result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    return called


def test_it_trains_and_prints_both_directions(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    out = run("dscmr", "--data", "planted", *QUICK)
    assert "image to text MAP@ALL" in out
    assert "text to image MAP@ALL" in out
    folder = tmp_path / "runs" / "dscmr-planted"
    assert (folder / "card.json").is_file()
    card = json.loads((folder / "card.json").read_text())
    assert f"{card['metrics']['image to text']:.4f}" in out


def test_codes_are_told_as_expected_over_ties(run) -> None:  # type: ignore[no-untyped-def]
    arguments = ("cca_itq:tiny", "--data", "planted", "--device", "cpu")
    out = run(*arguments, "--out", "a")
    found = json.loads(run(*arguments, "--out", "b", "--json"))[0]
    for direction in ("image to text", "text to image"):
        assert f"{found[direction]:.4f}" in out
    assert "expected over all orders of equal distances" in out


def test_train_evaluate_validation_and_bench_tell_one_number(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """MAP of codes with many ties; the order of rows would give others."""
    from diptych import catalogue
    from diptych.bench.cells import Cell, open_cell_data
    from diptych.bench.run import run as computed
    from diptych.cli.evaluate import command as evaluate
    from diptych.data import open_data
    from diptych.evaluation import score

    chosen = {"bits": 8, "dim": 32, "ridge": 0.01}
    settings = [part for key, value in chosen.items() for part in ("--set", f"{key}={value}")]
    settings += ["--device", "cpu"]
    trained = json.loads(run("cca_itq", "--data", "planted", *settings, "--out", "a", "--json"))[0]
    printed = run("cca_itq", "--data", "planted", *settings, "--out", "b")
    app = typer.Typer()
    app.command("evaluate")(evaluate)
    done = CliRunner().invoke(app, ["a", "--data", "planted", "--json"], catch_exceptions=False)
    evaluated = json.loads(done.stdout)["results"]
    cell = Cell("cca_itq", "planted", "label", settings=chosen)
    stored = computed(cell, open_cell_data(cell), tmp_path / "bench")["results"]
    test = open_data("planted").split("test")
    validated = score(catalogue.load("cca_itq@a"), test, test, "label")
    for direction, value in validated.items():
        assert trained[direction] == pytest.approx(value, abs=1e-12)
        assert f"{value:.4f}" in printed
        assert evaluated[direction]["values"]["MAP@ALL"] == pytest.approx(value, abs=1e-12)
        assert stored[direction]["values"]["MAP@ALL"] == pytest.approx(value, abs=5e-7)
        ties = evaluated[direction]["ties"]["MAP@ALL"]
        assert ties["expected"] == pytest.approx(value, abs=1e-12)
        assert ties["worst"] + 0.01 < value < ties["best"] - 0.01


def test_seeds_have_folders_of_their_own_and_a_mean(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    out = run("dscmr", "--data", "planted", "--seeds", "2", "--out", "here", *QUICK)
    cards = [json.loads((tmp_path / "here" / f"seed{n}" / "card.json").read_text()) for n in (0, 1)]
    assert [card["seed"] for card in cards] == [0, 1]
    assert cards[0]["fingerprint"] != cards[1]["fingerprint"]
    mean = sum(card["metrics"]["text to image"] for card in cards) / 2
    assert f"{mean:.4f} ±" in out


def test_json_holds_what_the_table_does(run) -> None:  # type: ignore[no-untyped-def]
    (row,) = json.loads(run("acmr:tiny", "--data", "planted", "--json", "--set", "epochs=1"))
    assert row["measure"] == "MAP@ALL"
    assert set(row) >= {"run", "seed", "image to text", "text to image", "epochs", "seconds"}


def test_a_wrong_setting_names_the_nearest(run) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(BadParameter, match="did you mean"):
        run("dscmr", "--data", "planted", "--set", "epoch=3")


def test_the_builtin_model_is_trained_without_pictures_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diptych.data import open_data
    from diptych.data.base import hold_out
    from diptych.errors import ImageError

    app = typer.Typer()
    app.command("train")(command)
    monkeypatch.chdir(tmp_path)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    random = np.random.default_rng(0)
    for row in range(40):
        noise = random.integers(0, 255, (40, 40, 3), np.uint8)
        Image.fromarray(noise).save(pictures / f"{row:02}.jpg")
        (pictures / f"{row:02}.txt").write_text(f"a picture of noise, number {row}\n")
    whole = (pictures / "07.jpg").read_bytes()
    learned, held = (list(part.image_id or ()) for part in hold_out(open_data(str(pictures)).split("all")))
    # One that is learned from and one that is measured on are lost.
    for lost in (learned[0], held[0]):
        (pictures / lost).write_bytes(whole[:150])
    wanted = ["builtin", "--data", str(pictures), "--device", "cpu", "--set", "epochs=1", "--json"]
    done = CliRunner().invoke(app, [*wanted, "--out", "run"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    (row,) = json.loads(done.stdout)
    (pictures_lost, captions_lost) = row["read"]["not_used"]
    assert (pictures_lost["what"], pictures_lost["count"]) == ("pictures", 2)
    assert sorted(pictures_lost["first"]) == sorted(str(pictures / name) for name in (learned[0], held[0]))
    assert (captions_lost["what"], captions_lost["count"]) == ("captions", 2)
    assert row["read"]["used"]["pictures"] == row["read"]["used"]["captions"] == 38
    assert f"2 pictures not used: {pictures_lost['reason']}" in done.stderr
    card = json.loads(Path("run", "card.json").read_text())
    assert card["read"] == row["read"]
    assert (card["images"], card["captions"], card["held_out"]["images"]) == (35, 35, 3)
    refused = CliRunner().invoke(app, [*wanted, "--out", "strict", "--strict"])
    assert isinstance(refused.exception, ImageError)


def test_pictures_that_are_cut_short_are_counted_once(tmp_path: Path) -> None:
    from diptych import train
    from diptych.data import open_data

    random = np.random.default_rng(0)
    for row in range(40):
        noise = random.integers(0, 255, (64, 64, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{row:02}.jpg")
        data = (tmp_path / f"{row:02}.jpg").read_bytes()
        (tmp_path / f"{row:02}.jpg").write_bytes(data[: len(data) * 3 // 4])
        (tmp_path / f"{row:02}.txt").write_text(f"a picture of noise, number {row}\n")
    data = open_data(str(tmp_path))
    done = train("builtin", data, tmp_path / "run", settings={"epochs": 1}, quiet=True, device="cpu")
    (partly,) = done.read["used_in_part"]
    assert (partly["what"], partly["count"]) == ("pictures", 40)


def test_the_builtin_model_is_trained_like_any_other(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    lines = ["image,caption"]
    for row in range(24):
        colour = ("red", "green", "blue")[row % 3]
        Image.new("RGB", (32, 32), colour).save(pictures / f"{row}.png")
        lines.append(f"{row}.png,a {colour} square number {row}")
    (pictures / "captions.csv").write_text("\n".join(lines) + "\n")
    (row,) = json.loads(run("builtin", "--data", str(pictures), "--json", "--device", "cpu"))
    assert row["epochs"] == 7  # as many as were run, not a number from elsewhere
    card = json.loads((Path(row["run"]) / "card.json").read_text())
    assert card["parameters"]["epochs"] == 7
    with pytest.raises(BadParameter, match=r"'epoch' of .*; did you mean epochs"):
        run("builtin", "--data", str(pictures), "--out", "other", "--set", "epoch=3")
    with pytest.raises(BadParameter, match="epochs of builtin must be at least 1, not 0"):
        run("builtin", "--data", str(pictures), "--out", "other", "--set", "epochs=0")
    with pytest.raises(UsageError, match="which it reads by itself, and these data are features"):
        run("builtin", "--data", "planted", "--device", "cpu")


def test_importing_the_command_loads_no_torch() -> None:
    code = "import sys, diptych.cli.train; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_several_processes_are_of_one_command(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in ("WORLD_SIZE", "RANK")}
    arguments = [
        "train",
        "dscmr",
        "--data",
        "planted",
        "--processes",
        "2",
        "--out",
        str(tmp_path / "run"),
        "--json",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "diptych", *arguments, *QUICK],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)) == 1  # only one of them prints
    assert (tmp_path / "run" / "weights.safetensors").is_file()
