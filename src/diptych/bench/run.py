"""Computes one cell: trains the system, measures it in both directions, and says what it was made with."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diptych.bench.cells import Cell
from diptych.bench.per_query import packed
from diptych.data.base import Dataset

if TYPE_CHECKING:
    from diptych.metrics import Measured

__all__ = ["run"]


def run(cell: Cell, dataset: Dataset, folder: Path, *, quiet: bool = True) -> dict[str, Any]:
    """Train and measure.

    Args:
        cell: What.
        dataset: From `open_cell_data`.
        folder: Run folders are kept here, under the cell's fingerprint.
        quiet: Show no progress.

    Returns:
        The cell, its key and what it depends on, values, tie bounds, curves and what each query reached by
        direction, settings that were chosen on validation data, times, versions.

    Raises:
        DiptychError: the training failed.
    """
    from diptych.training.run import train

    key = cell.key(dataset)
    run_folder = folder / key
    if (run_folder / "card.json").exists():  # trained before, but killed before the result was written
        import shutil

        shutil.rmtree(run_folder)
    started = time.process_time()
    done = train(
        cell.trained,
        dataset,
        run_folder,
        settings=cell.settings,
        seed=cell.seed,
        features=cell.features or None,
        standardise=cell.standardise,
        protocol=cell.protocol,
        validation=cell.validation or None,
        strict=True,  # a published set is compared as a whole
        quiet=quiet,
        device="cpu",
    )
    found = done.evaluation
    if cell.system != cell.trained:
        from diptych.bench.signs import signs_of
        from diptych.evaluation import evaluate

        found = evaluate(
            signs_of(done, cell.protocol), done.dataset, cell.protocol, name=cell.system, rank=False
        )
    return {
        "key": key,
        "cell": asdict(cell),
        "depends": cell.depends(dataset),
        "measure": found.facts["measure"],
        "results": {
            direction: _rounded(one, str(found.facts["measure"])) for direction, one in found.measured.items()
        },
        "chosen": dict(done.chosen),
        "epochs": done.epochs,
        "cpu_seconds": round(time.process_time() - started, 1),
        **{name: found.facts[name] for name in ("splits_sha256", "versions", "commit")},
    }


def _rounded(one: Measured, measure: str) -> dict[str, Any]:
    """What is kept of one direction; the main measure of each query, too."""
    kept: dict[str, Any] = {
        "values": {name: round(value, 6) for name, value in one.values().items()},
        "ties": {name: {k: round(v, 6) for k, v in kinds.items()} for name, kinds in one.bounds.items()},
        "queries": one.queries,
        "gallery": one.gallery // one.folds,
        "without_relevant": one.without_relevant,
        "per_query": packed(one.per_query[measure]),
    }
    if one.curve is not None:
        kept["curve"] = [np.round(side, 5).tolist() for side in one.curve]
    return kept
