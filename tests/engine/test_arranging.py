"""Diverse results and hubs taken back, by hand, by a slow literal version, and in a collection."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_helpers import Paint, names

from diptych import similarity
from diptych.engine import diversity, hubness
from diptych.engine.collection import Collection, open
from diptych.engine.diversity import diversified
from diptych.engine.hubness import bias
from diptych.errors import UsageError
from diptych.testing import Colours


def literal(scores: Any, vectors: Any, diverse: float) -> list[int]:
    """Carbonell and Goldstein's formula, pair by pair, over scores brought to one scale."""
    relevance = (scores - scores.min()) / (scores.max() - scores.min())
    pairs = [[float(a @ b) for b in vectors] for a in vectors]
    low = min(min(line) for line in pairs)
    alike = [[(value - low) / (1 - low) for value in line] for line in pairs]
    chosen = [int(np.argmax(relevance))]
    while len(chosen) < len(scores):
        left = [one for one in range(len(scores)) if one not in chosen]
        gains = [
            (1 - diverse) * relevance[one] - diverse * max(alike[one][c] for c in chosen) for one in left
        ]
        chosen.append(left[int(np.argmax(gains))])
    return chosen


@pytest.mark.parametrize("diverse", [0.0, 0.1, 0.3, 0.7, 1.0])
def test_diversity_is_the_paper_s(diverse: float) -> None:
    rng = np.random.default_rng(1)
    vectors = similarity.unit(rng.standard_normal((25, 6)))
    scores = np.sort(rng.random(25))[::-1]
    found = diversified(scores, vectors, diverse).tolist()
    assert found == literal(scores, vectors, diverse)
    assert sorted(found) == list(range(25))
    if diverse == 0:
        assert found == list(range(25))


def test_diversity_by_hand() -> None:
    """Two alike at .9 and .8, one unlike both at .5: relevance 1, .75, 0, and likeness 1 and 0."""
    vectors = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    scores = np.array([0.9, 0.8, 0.5])
    assert diversified(scores, vectors, 0.4).tolist() == [0, 1, 2]  # .6 * .75 - .4 > 0
    assert diversified(scores, vectors, 0.5).tolist() == [0, 2, 1]  # .5 * .75 - .5 < 0
    assert diversified(scores[:0], vectors[:0], 0.5).tolist() == []
    assert diversified(np.ones(2), vectors[:2], 0.5).tolist() == [0, 1]


def test_bias_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubness, "NEAREST", 2)
    bank = np.array([[1, 0], [0.6, 0.8], [0, 1]], np.float32)
    # The first is a query of the bank itself, which does not count: .6 and 0. The second has .8, .96 and .6.
    vectors = np.array([[1, 0], [0.8, 0.6]], np.float32)
    assert bias(bank, vectors) == pytest.approx([0.5 * 0.3, 0.5 * 0.88])
    assert bias(bank[:1], vectors[1:]) == pytest.approx([0.5 * 0.8])


@pytest.fixture
def collection(photos: Path, encoder: Colours, paint: Paint) -> Iterator[Collection]:
    """Ten pictures that are nearly red, and others."""
    for number in range(10):
        paint(f"red {number}.png", (250, number, 0))
    rng = np.random.default_rng(5)
    for number in range(40):
        paint(f"{number}.png", tuple(int(value) for value in rng.integers(0, 256, 3)))
    (photos / "0.txt").write_text("\n".join(f"{'red ' * number}green blue" for number in range(12)))
    with open(photos, model=encoder) as opened:
        opened.add()
        yield opened


def test_diverse_results_are_of_several_kinds(collection: Collection) -> None:
    plain, diverse = (collection.search("red", k=5, diverse=weight) for weight in (0.0, 0.8))
    assert sum("red" in name for name in names(plain)) == 5
    assert names(diverse)[0] == names(plain)[0]
    assert sum("red" in name for name in names(diverse)) < 3
    assert names(plain) == names(collection.search("red", k=5))


@pytest.mark.parametrize("how", [{"diverse": 0.4}, {"hubness": "nnn"}, {"diverse": 0.4, "hubness": "nnn"}])
def test_pages_are_parts_of_one_list_in_any_order(
    collection: Collection, monkeypatch: pytest.MonkeyPatch, how: dict[str, Any]
) -> None:
    monkeypatch.setattr(hubness, "FEWEST", 10)
    monkeypatch.setattr(diversity, "AMONG", 8)
    monkeypatch.setattr(hubness, "AMONG", 12)
    whole = [r.id for r in collection.search("red", k=4, offset=0, **how)]
    for start in range(4, 60, 4):
        whole += [r.id for r in collection.search("red", k=4, offset=start, **how)]
    assert len(whole) == len(set(whole)) == 50
    plain = [r.id for r in collection.search("red", k=50)]
    for start in range(0, 12, 12 if how.get("hubness") else 8):
        assert set(whole[start : start + 24]) == set(plain[start : start + 24])
    assert whole != plain


def test_hubs_lose_places(photos: Path, paint: Paint, monkeypatch: pytest.MonkeyPatch) -> None:
    """What every caption is near to comes after what only this query is near to."""

    class Given(Colours):
        """The hub is a little nearer to "a" than its own picture is, and much nearer to all else."""

        def encode_image(self, images: Any) -> Any:
            red = [np.asarray(one)[0, 0, 0] > 200 for one in images]
            return np.array([(1.0, 0.0, 0.0) if one else (0.72, 0.72, 0.0) for one in red], np.float32)

        def encode_text(self, texts: Any) -> Any:
            return np.array([(0.9, 0.4, 0.0) if one == "a" else (0.1, 1.0, 0.0) for one in texts], np.float32)

        def score_pairs(self, images: Any, texts: Any, pairs: Any) -> Any:
            return np.zeros(len(pairs), np.float32)

    paint("own.png", (255, 0, 0))
    paint("hub.png", (0, 0, 255))
    (photos / "hub.txt").write_text("\n".join(f"caption {number}" for number in range(20)))
    with open(photos, model=Given()) as opened:
        opened.add()
        with pytest.raises(
            UsageError, match="with captions of the collection, and there are 20; with less than 200"
        ):
            opened.search("a", hubness="nnn")
        monkeypatch.setattr(hubness, "FEWEST", 20)
        plain, corrected = opened.search("a"), opened.search("a", hubness="nnn")
        assert names(plain) == ["hub.png", "own.png"]
        assert names(corrected) == ["own.png", "hub.png"]
        assert {r.id: r.score for r in plain} == pytest.approx({r.id: r.score for r in corrected})
        # Nothing was ranked anew for a query of two parts, so its hubs count as any other's.
        opened.encoder.rerank_depth = 2
        twice = opened.search(text=["a", "a"], hubness="nnn")
        assert names(twice) == ["own.png", "hub.png"]
        with pytest.raises(UsageError, match="with pictures of the collection, and there are 2;"):
            opened.search(photos / "own.png", hubness="nnn")


def test_hubness_is_for_cosines(photos: Path, paint: Paint) -> None:
    class Dots(Colours):
        similarity = "dot"
        fingerprint = "dots:1"

    paint("a.png")
    with open(photos, model=Dots()) as opened:
        opened.add()
        with pytest.raises(UsageError, match="where vectors compare by cosine; colours has dot"):
            opened.search("red", hubness="nnn")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"diverse": -0.1}, r"from 0 \(by score alone\) to 1, such as 0.3, not -0.1"),
        ({"diverse": 1.5}, r"to 1, such as 0.3, not 1.5"),
        ({"diverse": float("nan")}, r"such as 0.3, not nan"),
        ({"diverse": "much"}, r"such as 0.3, not 'much'"),
        ({"hubness": "csls"}, r"corrected by nnn, or not at all \(None\), not by 'csls'"),
    ],
)
def test_what_is_no_order(collection: Collection, how: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        collection.search("red", **how)
