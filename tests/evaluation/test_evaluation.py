"""Evaluations through each kind of system, and rankings that are scored again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych.core import Hits, Run, Stage
from diptych.data.base import Loaded, Protocol, Split
from diptych.data.sets.planted import Planted
from diptych.errors import BadData, MissingData, UsageError
from diptych.evaluation import evaluate, matched, rescore, score
from diptych.pipeline import over


class Projection:
    """An encoder that cuts features to their first dimensions."""

    similarity = "cosine"
    name = "projection"

    def encode_image(self, images: Any) -> Any:
        return np.asarray(images)[:, :8]

    def encode_text(self, texts: Any) -> Any:
        return np.asarray(texts)[:, :8]


class Pairwise:
    """The same as a scorer."""

    def score_pairs(self, images: Any, texts: Any, pairs: Any) -> Any:
        one, two = Projection().encode_image(images), Projection().encode_text(texts)
        length = np.linalg.norm(one, axis=1)[:, None] * np.linalg.norm(two, axis=1)
        return (one @ two.T / length).astype(np.float32)[pairs[:, 0], pairs[:, 1]]


VECTORS = np.random.default_rng(1).standard_normal((30, 12)).astype(np.float32)


class Piped:
    """A retriever; a text is the number of its vector."""

    def over(self, gallery: Any, k: int, to: Any) -> Stage:
        return _Ranks(gallery, k)


class _Ranks(Stage):
    def __init__(self, gallery: Any, k: int) -> None:
        self.gallery, self.k = gallery, k

    def __call__(self, run: Run) -> Run:
        def vectors(items: Any) -> Any:
            rows = np.stack([VECTORS[int(item.text)] if item.image is None else item.image for item in items])
            return rows / np.linalg.norm(rows, axis=1, keepdims=True)

        scores = vectors(run.queries) @ vectors(self.gallery).T
        order = np.argsort(-scores, axis=1, kind="stable")[:, : self.k]
        return run.with_hits(Hits(order, np.take_along_axis(scores, order, 1).astype(np.float32)))


def data(relevance: Any = "label", folds: int = 1) -> Loaded:
    rng = np.random.default_rng(0)
    image = rng.standard_normal((60, 12)).astype(np.float32)
    text = (np.repeat(image, 2, axis=0) + rng.standard_normal((120, 12))).astype(np.float32)
    label = np.eye(5, dtype=np.uint8)[rng.integers(0, 5, 60)]
    pairs = np.stack([np.arange(120) // 2, np.arange(120)], 1)
    split = Split(image=image, text=text, label=label, pairs=pairs)
    protocols = {"own": Protocol("test", "test", relevance, train="test", folds=folds)}
    return Loaded("toy", {"test": split}, protocols=protocols)


@pytest.mark.parametrize("relevance", ["label", "pair"])
def test_encoder_and_scorer_agree(relevance: Any) -> None:
    one, two = (evaluate(system, data(relevance)) for system in (Projection(), Pairwise()))
    for direction in ("image to text", "text to image"):
        assert one.measured[direction].values() == pytest.approx(two.measured[direction].values())
    split = data(relevance).split("test")
    assert score(Projection(), split, split, relevance) == pytest.approx(one.main())


@pytest.mark.parametrize("relevance", ["label", "pair"])
@pytest.mark.parametrize("folds", [1, 3])
def test_a_saved_ranking_gives_the_same_measures(tmp_path: Path, relevance: Any, folds: int) -> None:
    found = evaluate(Projection(), data(relevance, folds), facts={"seed": 3})
    found.save(tmp_path / "run")
    again = rescore(tmp_path / "run")
    assert again.facts == json.loads(json.dumps(found.facts))
    for direction, one in found.measured.items():
        assert one.folds == folds
        assert again.measured[direction].values() == pytest.approx(one.values())
        for name, kinds in one.bounds.items():
            assert again.measured[direction].bounds[name] == pytest.approx(kinds)
    assert rescore(tmp_path / "run" / "ranking.npz", cuts=(7,)).measured["image to text"]["MAP@7"] > 0
    card = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    for key in ("protocol", "definitions", "versions", "splits_sha256", "commit", "results", "seed"):
        assert key in card
    low, high = card["results"]["image to text"]["interval_95"]["R@5"]
    assert low <= card["results"]["image to text"]["values"]["R@5"] <= high


def test_other_matches_measure_a_saved_ranking(tmp_path: Path) -> None:
    """ECCV-Caption and CxC: only listed queries, by what their file says, without system and data."""
    evaluate(Projection(), data("pair")).save(tmp_path / "run")
    saved = rescore(tmp_path / "run")
    listed = {"7": [14, 15, 80], "31": [62]}
    file = tmp_path / "eccv_image_to_caption.json"
    file.write_text(json.dumps(listed))
    found = matched(saved, [file])
    ranking = saved.folds["image to text"][0].hits.rows
    one = found.measured["image to text"]
    assert (one.queries, one.gallery, list(found.measured)) == (2, 120, ["image to text"])
    for at, (query, positives) in enumerate(listed.items()):
        hits = np.isin(ranking[int(query)], positives)
        total = len(positives)
        literal = sum(hits[: i + 1].sum() / (i + 1) for i in range(total) if hits[i]) / total
        assert one.per_query["mAP@R"][at] == pytest.approx(literal)
        assert one.per_query["R@5"][at] == hits[:5].any()
    assert found.main() == {"image to text": one["mAP@R"]}
    used = found.facts["matches"]["image to text"]
    assert used["pairs"] == 4
    assert used["left_out"] == {"queries": {"listed": 2, "here": 2}, "matches": {"listed": 4, "here": 4}}
    file.write_text(json.dumps({**listed, "31": [62, 4711], "815": [1]}))
    assert matched(saved, [file]).facts["matches"]["image to text"]["left_out"] == {
        "queries": {"listed": 3, "here": 2},
        "matches": {"listed": 6, "here": 4},
    }
    found.save(tmp_path / "again")
    assert rescore(tmp_path / "again").measured["image to text"].values() == pytest.approx(one.values())
    wrong = tmp_path / "eccv.json"
    wrong.write_text("{}")
    with pytest.raises(UsageError, match="must tell its direction by its name"):
        matched(saved, [wrong])
    with pytest.raises(UsageError, match="not 3 folds"):
        matched(evaluate(Projection(), data("pair", 3)), [file])


def test_results_name_the_variant() -> None:
    """Also through what wraps a data set, such as features."""

    class Variant(Loaded):
        variant = "cnn"

    class Wrapper(Loaded):
        inner = Variant("toy", {"test": data().split("test")})

    parts = {"test": data().split("test")}
    assert evaluate(Projection(), Wrapper("toy", parts)).data == "toy:cnn"
    assert evaluate(Projection(), Loaded("toy", parts)).data == "toy"


def test_a_cut_ranking_counts_what_it_lacks(tmp_path: Path) -> None:
    whole = evaluate(Projection(), data())
    evaluate(Projection(), data(), keep=20).save(tmp_path)
    cut = rescore(tmp_path)
    for direction, one in whole.measured.items():
        assert cut.measured[direction]["P@10"] == pytest.approx(one["P@10"])
        assert cut.measured[direction]["R@10"] == pytest.approx(one["R@10"])
        assert cut.measured[direction]["MAP@ALL"] < one["MAP@ALL"]


def test_a_retriever_is_measured_through_its_pipeline() -> None:
    pairs = np.stack([np.arange(30)] * 2, 1)
    split = Split(image=VECTORS, text=[str(row) for row in range(30)], label=None, pairs=pairs)
    found = evaluate(Piped(), Loaded("toy", {"test": split}))
    assert found.main() == {"image to text": 1.0, "text to image": 1.0}


class _OneWay(Projection):
    """Finds texts by vectors, and pictures in a way of its own."""

    def over(self, gallery: Any, k: int, to: Any) -> Stage:
        return over(Projection(), gallery, k, to=to) if to == "text" else _InOrder(len(gallery), k)


class _InOrder(Stage):
    def __init__(self, n: int, k: int) -> None:
        self.rows = np.arange(n)[:k]

    def __call__(self, run: Run) -> Run:
        rows = np.tile(self.rows, (len(run.queries), 1))
        return run.with_hits(Hits(rows, -rows.astype(np.float32)))


def test_each_direction_is_measured_with_its_own_stage() -> None:
    found = evaluate(_OneWay(), data("pair")).measured
    plain = evaluate(Projection(), data("pair")).measured
    assert found["image to text"]["R@1"] == plain["image to text"]["R@1"]
    assert found["text to image"]["R@1"] == pytest.approx(1 / 60)
    assert plain["text to image"]["R@1"] > 0.1


def test_the_protocol_named_is_the_one_that_was_run(tmp_path: Path) -> None:
    """A set without its test split falls back on another protocol, and says so."""

    class Half(Loaded):
        def protocol(self, name: str | None = None) -> Protocol:
            return super().protocol(name or "dev")

    split = data().split("test")
    protocols = {"1k": Protocol("test", "test", "pair"), "dev": Protocol("dev", "dev", "pair")}
    found = evaluate(Projection(), Half("toy", {"dev": split}, protocols=protocols))
    assert found.facts["protocol"] == "dev"
    assert evaluate(Projection(), data(), "own").facts["protocol"] == "own"


def test_planted_data_are_far_above_chance() -> None:
    found = evaluate(Projection(), Planted())
    assert set(found.main()) == {"image to text", "text to image"}
    assert found.measured["image to text"].without_relevant == 0


def test_bad_input_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no encoder, scorer or retriever"):
        evaluate(object(), data())
    with pytest.raises(UsageError, match="at least 1 rank is kept"):
        evaluate(Projection(), data(), keep=0)
    with pytest.raises(MissingData, match="is not there"):
        rescore(tmp_path)
    (tmp_path / "ranking.npz").write_bytes(b"not one")
    with pytest.raises(BadData, match="evaluate again"):
        rescore(tmp_path)

    class Broken(Projection):
        def encode_image(self, images: Any) -> Any:
            return np.full((len(images), 8), np.nan)

    with pytest.raises(BadData, match="Broken: image vector 0 is not finite, it holds nan"):
        evaluate(Broken(), data())
