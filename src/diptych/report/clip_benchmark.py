"""Results as CLIP_benchmark writes them: ours in its form, and its files beside ours.

A result is a JSON object with ``dataset``, ``model``, ``pretrained``, ``task``, ``language`` and ``metrics``;
its command ``build`` joins them in a CSV with a column for each
(LAION-AI/CLIP_benchmark@016068f:clip_benchmark/cli.py). Of retrieval the metrics are
``image_retrieval_recall@k``, texts asking for images, and ``text_retrieval_recall@k``; one right entry among
the first k is enough there, as it is for our R@k.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych.catalogue.naming import parse
from diptych.core import DIRECTIONS
from diptych.errors import BadData, MissingData, UsageError
from diptych.evaluation import Evaluation

__all__ = ["Given", "as_csv", "as_json", "beside", "read"]

_PREFIX = dict(zip(DIRECTIONS, ("text_retrieval_recall@", "image_retrieval_recall@"), strict=True))
_TASK = "zeroshot_retrieval"


@dataclass(frozen=True)
class Given:
    """What a file says of one model on one data set.

    Args:
        model: Its architecture and weights.
        data: The data set, as CLIP_benchmark calls it.
        values: R@k in [0, 1] by direction and measure.
    """

    model: str
    data: str
    values: Mapping[str, Mapping[str, float]]


def as_json(found: Evaluation, *, language: str = "en") -> dict[str, Any]:
    """An evaluation of pairs as one of its results.

    Args:
        found: From `diptych.evaluate`.
        language: Of the texts, which an evaluation does not know.

    Raises:
        UsageError: it is one by labels, which has no recall.
    """
    if found.facts["relevance"] != "pair":
        raise UsageError(
            f"{found.data} was measured by labels (protocol {found.facts['protocol']}), and CLIP_benchmark's "
            "retrieval is of pairs only; evaluate with a protocol of pairs"
        )
    name = parse(str(found.facts["system"]))
    model = f"{name.system}:{name.variant}" if name.variant else name.system
    metrics = {
        f"{_PREFIX[direction]}{measure.removeprefix('R@')}": value
        for direction, one in found.measured.items()
        for measure, value in one.values().items()
        if measure.startswith("R@")
    }
    return {
        "dataset": found.data,
        "model": model,
        "pretrained": name.weights or "",
        "task": _TASK,
        "metrics": metrics,
        "language": language,
    }


def as_csv(results: Sequence[Mapping[str, Any]]) -> str:
    """Results of `as_json` as its command ``build`` joins them, a row each under a heading."""
    rows = [
        {
            **one["metrics"],
            **{name: value for name, value in one.items() if name != "metrics"},
            "model_fullname": f"{one['model']} {one['pretrained']}",
        }
        for one in results
    ]
    file = io.StringIO()
    table = csv.DictWriter(
        file, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n"
    )
    table.writeheader()
    table.writerows(rows)
    return file.getvalue()


def read(path: Path) -> list[Given]:
    """What a file of CLIP_benchmark, ``.json`` or ``.csv``, says of retrieval; other tasks are passed over.

    Raises:
        MissingData: there is no such file.
        BadData: it is none of that form, or says nothing of retrieval.
    """
    if not path.is_file():
        raise MissingData(f"there is no file {path}; give a result of CLIP_benchmark, .json or .csv")
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text))) if path.suffix.lower() == ".csv" else [_flat(text)]
    except (ValueError, csv.Error) as error:  # of Unicode and JSON, too
        raise BadData(f"{path} is no result of CLIP_benchmark ({error})") from error
    given = [_given(row, path) for row in rows]
    if found := [one for one in given if any(one.values.values())]:
        return found
    raise BadData(
        f"{path} has no {_PREFIX['text to image']}k and no {_PREFIX['image to text']}k, so it says nothing "
        f"of retrieval; give what `clip_benchmark eval --task {_TASK}` or its `build` wrote"
    )


def beside(found: Evaluation, given: Given) -> dict[str, dict[str, tuple[float, float]]]:
    """Our value and the file's, by direction and measure, where both have one."""
    ours = {direction: one.values() for direction, one in found.measured.items()}
    return {
        direction: {
            name: (ours[direction][name], value) for name, value in values.items() if name in ours[direction]
        }
        for direction, values in given.values.items()
        if direction in ours
    }


def _flat(text: str) -> dict[str, Any]:
    """One result with its metrics beside the other fields, as a row of the CSV has them."""
    result = json.loads(text)
    if not isinstance(result, dict) or not isinstance(result.get("metrics"), dict):
        raise ValueError('it must be an object with "metrics"')
    return {**result["metrics"], **{name: value for name, value in result.items() if name != "metrics"}}


def _given(row: Mapping[str, Any], path: Path) -> Given:
    values: dict[str, dict[str, float]] = {}
    for direction, prefix in _PREFIX.items():
        values[direction] = {
            f"R@{name.removeprefix(prefix)}": _share(value, f"{path}: {name}")
            for name, value in row.items()
            if name is not None and name.startswith(prefix) and value not in (None, "")
        }
    model = " ".join(str(row.get(name) or "") for name in ("model", "pretrained")).strip()
    return Given(model or path.stem, str(row.get("dataset") or ""), values)


def _share(value: Any, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number <= 1:
        raise BadData(f"{where} must be a number from 0 to 1, not {value!r}")
    return number
