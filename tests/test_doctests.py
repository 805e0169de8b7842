"""The examples in the documentation run."""

from __future__ import annotations

import doctest
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent / "engine"))
from fake_encoder import Colours


@pytest.mark.parametrize(
    "module",
    [
        "diptych",
        "diptych.chain",
        "diptych.data.sets.planted",
        "diptych.engine.collection",
        "diptych.files",
        "diptych.index.flat",
        "diptych.metrics",
        "diptych.metrics.gain",
        "diptych.metrics.precision",
        "diptych.optional",
        "diptych.training.trainer",
    ],
)
def test_examples_run(module: str, tmp_path: Path) -> None:
    for name in ("red", "green"):
        Image.new("RGB", (32, 24), name).save(tmp_path / f"{name}.png")
    known = {"pictures": tmp_path, "model": Colours(), "np": np}
    loaded = importlib.import_module(module)
    found = doctest.testmod(loaded, extraglobs=known, optionflags=doctest.ELLIPSIS)
    assert found.attempted > 0
    assert found.failed == 0
