"""A package of somebody else is built, installed, found, trained and put into a table."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
