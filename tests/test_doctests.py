"""The examples in the documentation run."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diptych.testing import Colours

SOURCE = Path(__file__).parents[1] / "src"


def modules() -> list[str]:
    """Every module whose text has an example."""
    found = []
    for path in sorted((SOURCE / "diptych").rglob("*.py")):
        if ">>> " in path.read_text(encoding="utf-8"):
            found.append(".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"))
    return found


@pytest.mark.parametrize("module", modules())
def test_examples_run(module: str, tmp_path: Path) -> None:
    for name in ("red", "green"):
        Image.new("RGB", (32, 24), name).save(tmp_path / f"{name}.png")
    known = {"pictures": tmp_path, "model": Colours(), "np": np}
    loaded = importlib.import_module(module)
    found = doctest.testmod(loaded, extraglobs=known, optionflags=doctest.ELLIPSIS)
    assert found.attempted > 0
    assert found.failed == 0


def test_examples_are_found() -> None:
    assert {"diptych", "diptych.metrics", "diptych.training.trainer"} <= set(modules())
