"""Cells: their fingerprint changes with everything that decides their result, and with nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import diptych
from diptych.bench.cells import Cell, open_cell_data
from diptych.bench.run import run
from diptych.bench.signs import signs_of
from diptych.data.base import Loaded, Protocol, Split, paired_in_order
from diptych.data.views import Cut
from diptych.errors import MissingData

pytestmark = pytest.mark.slow

PROTOCOL = "label"
CELL = Cell("ridge", "planted", PROTOCOL)


def parts() -> dict[str, Split]:
    """Features of two sides and three classes, in four splits."""
    drawn = np.random.default_rng(0)
    return {
        name: Split(
            drawn.random((30, 8)), drawn.random((30, 6)), np.eye(3)[np.arange(30) % 3], paired_in_order(30)
        )
        for name in ("train", "val", "test", "gallery", "spare")
    }


def key(changed: dict[str, Split] | None = None, cell: Cell = CELL, **protocol: Any) -> str:
    """The cell's fingerprint on these parts, some of them changed."""
    chosen = Protocol(**{"query": "test", "gallery": "gallery", "relevance": "label", **protocol})
    return cell.key(Loaded("own", {**parts(), **(changed or {})}, protocols={PROTOCOL: chosen}))


def test_a_cell_changes_with_what_it_says() -> None:
    dataset = open_cell_data(CELL)
    before = CELL.key(dataset)
    assert before == Cell("ridge", "planted", PROTOCOL).key(dataset)
    for other in (
        replace(CELL, seed=1),
        replace(CELL, system="cca"),
        replace(CELL, settings={"penalty": 1.0}),
        replace(CELL, limit=50),
    ):
        assert other.key(open_cell_data(other)) != before


@pytest.mark.parametrize("name", ["train", "test", "gallery"])
@pytest.mark.parametrize("side", ["image", "text"])
def test_a_cell_changes_with_the_features_of_each_split_it_uses(name: str, side: str) -> None:
    split = parts()[name]
    other = replace(split, **{side: getattr(split, side) + 0.001})
    assert other.sha256() == split.sha256()
    assert key({name: other}) != key()


def test_a_cell_changes_with_the_validation_split() -> None:
    by_val = key(validation="val")
    assert by_val != key()
    assert key(cell=replace(CELL, validation="val")) not in (by_val, key())
    split = parts()["val"]
    other = replace(split, image=split.image + 0.001)
    assert key({"val": other}, validation="val") != by_val
    assert key({"val": other}) == key()


def test_a_cell_changes_with_the_rules_and_not_with_notes_or_other_splits() -> None:
    assert key(gallery="test") != key()
    assert key(relevance="pair") != key()
    assert key(captions=1) != key()
    assert key(note="as in the paper") == key()
    split = parts()["spare"]
    assert key({"spare": replace(split, image=split.image + 1)}) == key()


def test_a_split_that_is_not_here_has_no_fingerprint() -> None:
    class Half(Loaded):
        def split(self, name: str) -> Split:
            if name == "val":
                raise MissingData("val is not here")
            return super().split(name)

    half = Half("half", parts(), protocols={PROTOCOL: Protocol("test", "test", "label", validation="val")})
    with pytest.raises(MissingData, match="val is not here"):
        CELL.key(half)


def test_extractors_and_their_weights_count() -> None:
    named = replace(CELL, features="text=bow")
    assert named.code() != CELL.code()
    assert named.code() == replace(CELL, features="bow").code()
    assert replace(CELL, features="text=lsa").code() != named.code()
    # What a variant reads through by itself counts like what is named.
    assert replace(CELL, system="dcmh:cnn_f").code() != replace(CELL, system="dcmh").code()


PRINT = """
import json
from diptych.bench.cells import Cell, open_cell_data
cell = Cell("ridge", "planted", "label")
print(json.dumps(cell.depends(open_cell_data(cell))))
"""


def depends(source: Path) -> dict[str, str]:
    """What the package in that folder says that a cell depends on."""
    environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PRINT], capture_output=True, text=True, env=environment, check=True
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package's source that may be changed."""
    place = tmp_path_factory.mktemp("src")
    here = Path(diptych.__file__).parent
    shutil.copytree(here, place / "diptych", ignore=shutil.ignore_patterns("__pycache__", "*.onnx", "*.npz"))
    return place


@pytest.fixture(scope="module")
def before(source: Path) -> dict[str, str]:
    """What a cell depends on there before any change."""
    return depends(source)


def test_comments_and_docstrings_do_not_count(source: Path, before: dict[str, str]) -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in (source / "diptych").rglob("*.py")}
    for path, text in texts.items():
        path.write_text(text + '\n# a comment\n"""A sentence."""\n', encoding="utf-8")
    after = depends(source)
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    assert after == before


@pytest.mark.parametrize(
    ("module", "counts"),
    [
        ("metrics/precision.py", True),
        ("evaluation/__init__.py", True),
        ("training/run.py", True),
        ("training/trainer.py", True),
        ("data/split.py", True),
        ("bench/run.py", True),
        ("systems/baselines/ridge.py", True),
        ("systems/baselines/cca.py", False),
        ("report/page.py", False),
        ("training/view.py", False),
        ("data/sets/fashion.py", False),
    ],
)
def test_code_counts_where_a_number_can_depend_on_it(
    source: Path, before: dict[str, str], module: str, counts: bool
) -> None:
    path = source / "diptych" / module
    text = path.read_text(encoding="utf-8")
    path.write_text(text + "\nCHANGED = 1\n", encoding="utf-8")
    try:
        after = depends(source)
    finally:
        path.write_text(text, encoding="utf-8")
    assert (after["code"] != before["code"]) == counts
    assert after["data"] == before["data"]


LOADED = """
import json, sys, tempfile
from pathlib import Path
from diptych.bench import code
from diptych.bench.cells import Cell, _modules, open_cell_data
from diptych.bench.run import run
cell = Cell(**json.loads(sys.argv[1]))
run(cell, open_cell_data(cell), Path(tempfile.mkdtemp()))
reached = code.closure(*_modules(cell.trained, cell.features))
loaded = [name for name in sys.modules if name.startswith("diptych.") and sys.modules[name] is not None]
print(json.dumps([name for name in loaded if name not in reached and not code._outside(name)]))
"""


@pytest.mark.parametrize("system", ["sign:clip4cmr:tiny", "dsph:tiny", "acmr:tiny", "pictures"])
def test_whatever_a_cell_loads_counts_or_is_left_out_with_a_reason(tmp_path: Path, system: str) -> None:
    cell: dict[str, Any] = {
        "system": system,
        "data": "planted",
        "protocol": PROTOCOL,
        "settings": {"epochs": 1},
    }
    if system == "pictures":
        for number in range(40):
            Image.new("RGB", (8, 8), (6 * number, 99, 50)).save(tmp_path / f"{number:02}.png")
            (tmp_path / f"{number:02}.txt").write_text(f"picture {number} of {number % 3} kinds")
        features = "image=builtin_image,text=lsa"
        cell = {"system": "ridge", "data": str(tmp_path), "protocol": "all", "features": features}
    arguments = [sys.executable, "-c", LOADED, json.dumps(cell)]
    environment = {**os.environ, "PYTHONPATH": str(Path(diptych.__file__).parents[1])}
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_labels_can_be_hidden_and_training_cut() -> None:
    cut = open_cell_data(Cell("cca", "planted", PROTOCOL, limit=40, pairs=True))
    train = cut.split(cut.protocol(PROTOCOL).train)
    assert isinstance(cut, Cut)
    assert len(train) == 40
    assert train.label is None


def test_signs_are_taken_around_each_modalitys_own_mean() -> None:
    class Shifted:
        """Encodes features as they are, images far above zero and texts far below."""

        similarity = "cosine"

        def encode_image(self, images: Any) -> Any:
            return np.asarray(images) + np.float32(10)

        def encode_text(self, texts: Any) -> Any:
            return np.asarray(texts) - np.float32(10)

    dataset = Loaded("own", parts(), protocols={PROTOCOL: Protocol("test", "test", "label")})
    done: Any = SimpleNamespace(learner=Shifted(), dataset=dataset)
    signs = signs_of(done, PROTOCOL)
    train, test = dataset.split("train"), dataset.split("test")
    for encode, ours, learned in (
        (signs.encode_image, test.image, train.image),
        (signs.encode_text, test.text, train.text),
    ):
        codes = encode(ours)
        assert set(np.unique(codes)) == {-1, 1}
        np.testing.assert_array_equal(codes, np.where(ours > np.mean(learned, axis=0), 1, -1))


def test_signs_of_a_trained_system_are_codes_that_find(tmp_path: Path) -> None:
    cell = Cell("sign:dscmr:tiny", "planted", PROTOCOL, settings={"dim": 16, "epochs": 2})
    found = run(cell, open_cell_data(cell), tmp_path)
    assert found["depends"] == cell.depends(open_cell_data(cell))
    for one in found["results"].values():  # codes drawn at random reach 0.25 in 40 draws
        assert one["values"]["MAP@ALL"] > 0.45
