"""CLIP_benchmark's results: ours say in its form what its own loop would, and its files are read."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych import evaluate
from diptych.data import given
from diptych.errors import BadData, MissingData, UsageError
from diptych.evaluation import Evaluation
from diptych.report import clip_benchmark


@pytest.fixture(scope="module")
def scores() -> Any:
    return np.random.default_rng(1).standard_normal((12, 36))


@pytest.fixture(scope="module")
def found(scores: Any) -> Evaluation:
    """12 images with 3 texts each."""
    system, data = given.scores(scores, captions=3)
    return evaluate(system, data, name="clip:vit-b-32@laion2b")


def by_its_loop(scores: Any, right: Any, k: int) -> float:
    """What that tool computes: is the share of right entries found among the first k above zero?"""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    one_hot = np.zeros((*best.shape, scores.shape[1]))
    for query, entries in enumerate(best):
        for place, entry in enumerate(entries):
            one_hot[query, place, entry] = 1
    recall = (one_hot * right[:, None, :]).sum(axis=(1, 2)) / right.sum(axis=1)
    return float((recall > 0).mean())


def test_ours_is_what_its_loop_computes_under_its_names(scores: Any, found: Evaluation) -> None:
    result = clip_benchmark.as_json(found)
    right = np.repeat(np.eye(12), 3, axis=1)
    for k in (1, 5, 10):
        metrics = result["metrics"]
        assert metrics[f"text_retrieval_recall@{k}"] == pytest.approx(by_its_loop(scores, right, k))
        assert metrics[f"image_retrieval_recall@{k}"] == pytest.approx(by_its_loop(scores.T, right.T, k))
    del result["metrics"]
    assert result == {
        "dataset": found.data, "model": "clip:vit-b-32", "pretrained": "laion2b",
        "task": "zeroshot_retrieval", "language": "en",
    }  # fmt: skip


@pytest.mark.parametrize("suffix", ["json", "csv"])
def test_what_is_written_is_read_again(found: Evaluation, tmp_path: Path, suffix: str) -> None:
    result, path = clip_benchmark.as_json(found), tmp_path / f"result.{suffix}"
    path.write_text(json.dumps(result) if suffix == "json" else clip_benchmark.as_csv([result]))
    (one,) = clip_benchmark.read(path)
    assert (one.model, one.data) == ("clip:vit-b-32 laion2b", found.data)
    pairs = clip_benchmark.beside(found, one)
    assert set(pairs["image to text"]) == {"R@1", "R@5", "R@10"}
    assert all(ours == theirs for values in pairs.values() for ours, theirs in values.values())


def test_a_table_of_many_keeps_what_is_of_retrieval(tmp_path: Path) -> None:
    path = tmp_path / "benchmark.csv"
    path.write_text(
        "dataset,image_retrieval_recall@5,acc1,model,pretrained\n"
        "cars,,0.7,ViT-B-32,openai\nflickr30k,0.83,,ViT-B-32,openai\nflickr8k,0.8,,ViT-B-32,\n"
    )
    found = clip_benchmark.read(path)
    assert [(one.data, one.model) for one in found if one.values["text to image"]] == [
        ("flickr30k", "ViT-B-32 openai"), ("flickr8k", "ViT-B-32"),
    ]  # fmt: skip
    assert len(found) == 2
    assert found[0].values == {"image to text": {}, "text to image": {"R@5": 0.83}}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.json", "[1]", 'must be an object with "metrics"'),
        ("a.json", "{", "is no result of CLIP_benchmark"),
        ("a.json", '{"metrics": {"acc1": 0.5}}', "says nothing of retrieval"),
        ("a.json", '{"metrics": {"image_retrieval_recall@5": "x"}}', "must be a number from 0 to 1, not 'x'"),
        ("a.csv", "image_retrieval_recall@5\n83\n", "must be a number from 0 to 1, not '83'"),
    ],
)
def test_what_is_no_result_is_refused(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(BadData, match=said):
        clip_benchmark.read(tmp_path / name)


def test_what_is_not_there_and_what_has_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"no file .*nowhere\.json"):
        clip_benchmark.read(tmp_path / "nowhere.json")
    by_labels = evaluate(*given.vectors(np.eye(4), np.eye(4), labels=[0, 0, 1, 1]))
    with pytest.raises(UsageError, match="was measured by labels"):
        clip_benchmark.as_json(by_labels)


def test_the_table_is_csv_with_the_name_that_it_builds(found: Evaluation) -> None:
    (row,) = csv.DictReader(io.StringIO(clip_benchmark.as_csv([clip_benchmark.as_json(found)])))
    assert row["model_fullname"] == "clip:vit-b-32 laion2b"
