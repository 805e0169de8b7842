"""A package of somebody else is built, installed, found, trained and put into a table."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow
EXAMPLE = Path(__file__).parents[1] / "examples" / "diptych-example"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process that has the package."""
    place = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--no-deps", "--target", str(place), str(EXAMPLE)], check=True)
    former = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*([former] if former else []), str(place)])}


def ran(environment: dict[str, str], *command: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, *command], env=environment, cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_it_brings_is_listed(installed: dict[str, str], tmp_path: Path) -> None:
    diptych = ("-m", "diptych")
    assert "Deep Cross-Modal Projection Learning" in ran(
        installed, *diptych, "list", "systems", "cmpm", cwd=tmp_path
    )
    assert "drawn clocks" in ran(installed, *diptych, "data", "list", cwd=tmp_path)
    assert "grey levels" in ran(installed, *diptych, "list", "features", "grey", cwd=tmp_path)


def test_its_system_passes_the_conformance_suite(installed: dict[str, str], tmp_path: Path) -> None:
    told = ran(
        installed, "-c", "from diptych.testing import check_system; check_system('cmpm')", cwd=tmp_path
    )
    assert told.count("passed") > 20
    assert "failed" not in told


def test_its_system_learns_its_data_and_stands_in_a_table(installed: dict[str, str], tmp_path: Path) -> None:
    shutil.copy(EXAMPLE / "table.toml", tmp_path)
    shown = ran(installed, "-m", "diptych", "bench", "table.toml", cwd=tmp_path)
    rows = {row.split(" | ")[0].strip("| "): row for row in shown.splitlines() if row.startswith("| ")}
    ours, by_lot = (float(rows[name].split(" | ")[1].strip("* ")) for name in ("cmpm:tiny", "random"))
    assert ours > 0.4 > 0.2 > by_lot


def test_its_index_home_and_language_model_are_listed(installed: dict[str, str], tmp_path: Path) -> None:
    for kind, name, says in (
        ("indexes", "signs", "whose signs are most like"),
        ("homes", "example", "example:///FOLDER"),
        ("llms", "script", "script:FILE"),
    ):
        assert says in ran(installed, "-m", "diptych", "list", kind, name, cwd=tmp_path)
    assert "index signs (diptych-example 1.0)" in ran(installed, "-m", "diptych", "doctor", cwd=tmp_path)


def test_its_index_passes_the_suite_and_what_it_costs_is_measured(
    installed: dict[str, str], tmp_path: Path
) -> None:
    ran(
        installed,
        "-c",
        "from diptych.testing import check_index; from diptych_example.signs import Signs; "
        "check_index(lambda: Signs(32), recall=0.8)",
        cwd=tmp_path,
    )
    image, noise = np.random.default_rng(0).standard_normal((2, 300, 32)).astype(np.float32)
    np.save(tmp_path / "image.npy", image)
    np.save(tmp_path / "text.npy", image + noise)
    asked = ("-m", "diptych", "evaluate", "--embeddings", "image.npy", "text.npy", "--json")
    exact = json.loads(ran(installed, *asked, cwd=tmp_path))
    signs = json.loads(ran(installed, *asked, "--index", "signs", "--depth", "2", cwd=tmp_path))
    assert signs["index"] == {"kind": "signs", "depth": 2}
    found, truth = (one["results"]["text to image"]["values"]["R@1"] for one in (signs, exact))
    assert 0.5 * truth < found < truth


def test_its_home_holds_a_collection(installed: dict[str, str], tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("red", "blue"):
        Image.new("RGB", (32, 32), name).save(photos / f"{name}.png")
    address = f"example://{tmp_path}/kept?collection=colours"
    environment = {**installed, "DIPTYCH_HOME": str(tmp_path / "home")}
    ran(environment, "-m", "diptych", "index", "-q", str(photos), "--in", address, cwd=tmp_path)
    assert (tmp_path / "kept" / "colours" / "collection.sqlite").is_file()
    assert not (photos / ".diptych").exists()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    found = json.loads(
        ran(environment, "-m", "diptych", "search", "red", "--in", address, "--json", cwd=elsewhere)
    )
    assert found["results"][0]["id"] == "red.png"
    ran(environment, "-m", "diptych", "remove", str(photos / "red.png"), "--in", address, cwd=elsewhere)
    told = json.loads(ran(environment, "-m", "diptych", "info", address, "--json", cwd=elsewhere))
    assert told["images"] == 1


def test_its_language_model_replies(installed: dict[str, str], tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (32, 32), "red").save(photos / "red.png")
    (tmp_path / "replies.txt").write_text("Caption: a red wall\n")
    ran(installed, "-m", "diptych", "index", "-q", str(photos), cwd=tmp_path)
    asked = ("search", "wall", "--expand", "--llm", "script:replies.txt", "--in", "photos", "--json")
    found = json.loads(ran(installed, "-m", "diptych", *asked, cwd=tmp_path))
    assert "a red wall" in json.dumps(found["notes"])
