"""The terms of everything that Diptych brings or needs are stated."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).parents[1] / "tools" / "licences.py"


def test_everything_has_terms() -> None:
    done = subprocess.run([sys.executable, TOOL, "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = {one["what"]: one for one in json.loads(done.stdout)}
    assert told["numpy"]["for"] == "always"
    assert told["torch"]["for"] == "train"
    assert told["pydantic-core"]["for"] == "always", "what a dependency needs is a dependency, too"
    assert told["image tower"]["terms"] == "Apache-2.0"
    assert all(one["terms"] for one in told.values())
