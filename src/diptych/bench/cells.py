"""One cell of a result table: train a system on a data set with one seed, measure it, remember the result.

A cell is known by its fingerprint: system, settings, seed, data, features, protocol, and the code that
computes it. A finished cell is never computed twice, and a changed one never taken for the old one.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from diptych import catalogue
from diptych.data import open_data
from diptych.data.base import Dataset
from diptych.data.views import Cut
from diptych.errors import DiptychError, MissingData, UnknownName

__all__ = ["Cell", "Store", "open_cell_data", "run"]


@dataclass(frozen=True)
class Cell:
    """What is computed.

    Args:
        system: ``name[:variant]``; "sign:NAME" is the real-valued system NAME with the signs of its vectors.
        data: ``name[:variant]``.
        protocol: Of the data.
        seed: Of the training.
        features: See `diptych.features.named`; "" for data that have their own.
        validation: Split to choose the epoch by; "" holds one image in ten out of the training data.
        limit: Learn from so many images only, drawn with seed 0; 0 learns from all.
        pairs: Hide the labels, so that a system learns from pairs alone.
        standardise: Give each feature the mean 0 and the deviation 1 over the training data.
        settings: Hyper-parameters over those of variant and recipe.
    """

    system: str
    data: str
    protocol: str
    seed: int = 0
    features: str = ""
    validation: str = ""
    limit: int = 0
    pairs: bool = False
    standardise: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)

    def key(self, dataset: Dataset) -> str:
        """The fingerprint: equal only if the same would be computed."""
        chosen = dataset.protocol(self.protocol)
        parts = [dataset.split(name).sha256() for name in dict.fromkeys((chosen.train, chosen.query))]
        content = {**asdict(self), "splits": parts, "code": _code(self.system)}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


class Store:
    """Results by fingerprint, one JSON line each; a line is on disk when `put` returns.

    Args:
        path: The file; made when the first result comes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._found: dict[str, dict[str, Any]] = {}
        if path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    entry = json.loads(line)
                except json.JSONDecodeError:
                    continue  # a line that was cut off when the program was killed; it is computed again
                self._found[entry["key"]] = entry

    def get(self, key: str) -> dict[str, Any] | None:
        """The result of that fingerprint."""
        return self._found.get(key)

    def put(self, entry: dict[str, Any]) -> None:
        """Append a result."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        whole = not self.path.is_file() or self.path.read_bytes()[-1:] in (b"\n", b"")
        with self.path.open("a", encoding="utf-8") as file:
            file.write(("" if whole else "\n") + json.dumps(entry) + "\n")
        self._found[entry["key"]] = entry


def open_cell_data(cell: Cell, root: Path | None = None) -> Dataset:
    """The cell's data, cut and stripped as it says, before features.

    Raises:
        UnknownName: no such data set, variant or protocol.
        MissingData: a split that the protocol needs is not here.
    """
    dataset: Dataset = open_data(cell.data, root)
    chosen = dataset.protocol(cell.protocol)
    dataset = Cut(dataset, chosen.train, cell.limit, cell.pairs) if cell.limit or cell.pairs else dataset
    for name in dict.fromkeys((chosen.train, chosen.query, chosen.gallery)):
        dataset.split(name)
    return dataset


def run(cell: Cell, dataset: Dataset, folder: Path, *, quiet: bool = True) -> dict[str, Any]:
    """Train and measure.

    Args:
        cell: What.
        dataset: From `open_cell_data`.
        folder: Run folders are kept here, under the cell's fingerprint.

    Returns:
        What `Store` keeps: the cell, its key, values, tie bounds and curves by direction, times, versions.

    Raises:
        DiptychError: the training failed.
    """
    from diptych.training.run import train

    key = cell.key(dataset)
    name = cell.system.removeprefix("sign:")
    run_folder = folder / key
    if (run_folder / "card.json").exists():  # trained before, but killed before the result was written
        import shutil

        shutil.rmtree(run_folder)
    started = time.process_time()
    done = train(
        name,
        dataset,
        run_folder,
        settings=cell.settings,
        seed=cell.seed,
        features=cell.features or None,
        standardise=cell.standardise,
        protocol=cell.protocol,
        validation=cell.validation or None,
        quiet=quiet,
        device="cpu",
    )
    found = done.evaluation
    if cell.system.startswith("sign:"):
        from diptych.bench.signs import signs_of
        from diptych.evaluation import evaluate

        found = evaluate(
            signs_of(done, cell.protocol), done.dataset, cell.protocol, name=cell.system, rank=False
        )
    results = {}
    for direction, one in found.measured.items():
        results[direction] = {
            "values": {name: round(value, 6) for name, value in one.values().items()},
            "ties": {name: {k: round(v, 6) for k, v in kinds.items()} for name, kinds in one.bounds.items()},
            "queries": one.queries,
            "gallery": one.gallery // one.folds,
            "without_relevant": one.without_relevant,
        }
        if one.curve is not None:
            results[direction]["curve"] = [np.round(side, 5).tolist() for side in one.curve]
    facts = found.facts
    return {
        "key": key,
        "cell": asdict(cell),
        "measure": facts["measure"],
        "results": results,
        "epochs": done.epochs,
        "cpu_seconds": round(time.process_time() - started, 1),
        "splits_sha256": facts["splits_sha256"],
        "versions": facts["versions"],
        "commit": facts["commit"],
    }


def missing(cell: Cell, root: Path | None) -> str:
    """Why a cell cannot be computed here, in one sentence; "" if it can."""
    name = catalogue.parse(cell.system.removeprefix("sign:")).system
    if name not in catalogue.names("system"):
        return f"Diptych has no system {name} yet" if name else "Diptych has no such system"
    try:
        open_cell_data(cell, root)
    except (MissingData, UnknownName) as error:
        return str(error)
    except DiptychError as error:
        return f"the data cannot be read: {error}"
    return ""


def _code(system: str) -> str:
    """Fingerprint of the source that computes a cell: the system's file, the blocks it uses, the loop."""
    name = catalogue.parse(system.removeprefix("sign:")).system
    root = Path(__file__).parents[1]
    own = catalogue.card("system", name).path
    files = [own, root / "training" / "learner.py", root / "training" / "trainer.py", *_blocks(own, root)]
    digest = hashlib.sha256()
    for path in sorted(set(files)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _blocks(path: Path, root: Path) -> Iterable[Path]:
    """The files of `diptych.nets` that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("diptych.nets."):
            spec = importlib.util.find_spec(str(node.module))
            if spec is not None and spec.origin is not None:
                yield Path(spec.origin)
                yield from _blocks(Path(spec.origin), root)
