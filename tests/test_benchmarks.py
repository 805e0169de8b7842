"""Every benchmark runs to its end at a small size. What it measures is not looked at: machines are busy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
RUNS = {
    "cluster.py --pictures 20 --vectors 2000 --queries 3": "the same ten best: True",
    "cold.py --items 300 --rounds 1 --queries 2": "cold search",
    "engine.py --items 3000 --singles 3": "failed",
    "costs.py --size tiny --pairs 4 --rounds 1 --system vilt vilbert": "times CLIP's towers",
    "duplicates.py many --count 3000": "of 150 near copies",
    "homes.py --items 300 --queries 2 --homes folder,postgresql": "postgresql  first search after removing",
    "index.py ratio --count 20": "indexing reaches",
    "index.py memory --count 60": "MiB",
    "index.py plan --count 300": "MiB",
    "metrics.py recall --images 60 --rounds 1": "same ranks: True",
    "ocr.py rendered --count 1": "words read",
    "ocr.py gate --count 2": "the gate lets",
    "ocr.py found --count 2": "found by word",
    "search.py main --count 4000 --queries 40 --singles 3": "two-stage at 0.98",
    "search.py others --others 3000 --queries 40 --singles 3": "faiss IVF",
    "search.py tiers --count 4000 --queries 40 --singles 3": "8 bits a dimension",
    "search.py growth --count 5000": "of the bandwidth|GB/s",
    "search.py stored --count 3000 --singles 3": "after it came back in pieces, a part mapped",
    "serve.py --items 300 --clients 3 --seconds 2": "of that limit",
    "towers.py --size tiny --pictures 2 --texts 4 --batch 2 --rounds 1": "cold, to the first text",
    "words.py quality --data tests/photographs --split all": "on the other half",
    "words.py speed --count 2000 --queries 3": "1 in 3 allowed",
}


def test_relevance_is_measured(shared_data: Path) -> None:
    small = ("--sizes", "40", "--dev", "60", "--fitted", "0", "--draws", "1")
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "relevance.py"), "--data", str(shared_data), *small],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "builtin, 40 pictures" in done.stdout


def test_languages_are_measured(shared_data: Path) -> None:
    program = str(ROOT / "benchmarks" / "languages.py")
    done = subprocess.run(
        [sys.executable, program, "--data", str(shared_data), "--sets", "--sentences", "20"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "German    target 90" in done.stdout


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("composed.py", ("--count", "6", "--pictures", "150"), "CIReVL without a model"),
        ("dialogue.py", ("--count", "4", "--rounds", "1"), "Hits@10 by round"),
        (
            "grace.py",
            ("--pictures", "6", "--kinds", "atomic", "--set", "memorise_epochs=1", "epochs=1"),
            "GRACE, atomic identifiers: exact match",
        ),
    ],
)
def test_searches_in_words_are_measured(
    shared_data: Path, name: str, given: tuple[str, ...], said: str
) -> None:
    data = shared_data / "coco-photos" if name == "dialogue.py" else shared_data
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / name), "--data", str(data), *given],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert said in done.stdout


@pytest.mark.parametrize("run", RUNS)
def test_it_runs_to_its_end(run: str) -> None:
    name, *arguments = run.split()
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / name), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert any(said in done.stdout for said in RUNS[run].split("|")), done.stdout
