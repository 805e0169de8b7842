"""What is measured is what is served: the ranking that an evaluation scores is the one a collection gives."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_helpers import Paint

import diptych
from diptych.core import Item, Run
from diptych.data.base import Loaded, Split
from diptych.engine.collection import Collection, open_collection
from diptych.evaluation import evaluate
from diptych.media.pictures import open_picture
from diptych.pipeline import over
from diptych.testing import Colours

COUNT = 14


class Looks(Colours):
    """The small encoder, for a data set's pictures too."""

    fingerprint = "looks:1"

    def encode_image(self, images: Any) -> Any:
        return super().encode_image(
            [one if isinstance(one, np.ndarray) else open_picture(one) for one in images]
        )


class Reranked(Looks):
    """Finds by colours, and ranks the first hits by how well darkness fits the length of the text."""

    fingerprint = "reranked:1"
    rerank_depth = 5

    def calibrate(self, queries: Any, scores: Any, *, to: str, entries: int) -> Any:
        return np.full(scores.shape, 0.5)

    def score_pairs(self, images: Any, texts: Any, pairs: Any) -> Any:
        dark = [255 - float(np.asarray(open_picture(image).resize((8, 8))).mean()) for image in images]
        return np.array([-abs(dark[i] - 7.1 * len(texts[t])) for i, t in pairs], np.float32)


class Agreeing(Looks):
    """Finds by colours, and puts pictures that find their query first before others."""

    fingerprint = "agreeing:1"
    agree_depth = 6

    def agree(self, lists: Any, others: Any) -> Any:
        found = np.array(lists)
        for query, line in enumerate(found):
            found[query] = sorted(
                line, key=lambda row: list(others[row]).index(query) if query in others[row] else 99
            )
        return found


class Pairs:
    """Scores each pair by itself, without vectors."""

    def score_pairs(self, images: Any, texts: Any, pairs: Any) -> Any:
        return Reranked().score_pairs(images, texts, pairs)


@pytest.fixture
def pictures(photos: Path, paint: Paint) -> tuple[list[Path], list[str]]:
    """Pictures of colours, each with words that name some."""
    rng = np.random.default_rng(4)
    paths, texts = [], []
    for number in range(COUNT):
        colour = rng.integers(0, 256, 3)
        paths.append(paint(f"{number:02}.png", tuple(colour.tolist())))
        names = (["red", "green", "blue"][channel] for channel in np.argsort(-colour))
        texts.append(" ".join(f"{name} " * int(1 + colour[0] // 60) for name in names)[: 12 + number])
    return paths, texts


def measured(system: Any, paths: list[Path], texts: list[str]) -> np.ndarray:
    """The ranking of pictures for each text that an evaluation scores."""
    split = Split(paths, texts, None, np.stack([np.arange(COUNT)] * 2, axis=1))
    found = evaluate(system, Loaded("pictures", {"test": split}))
    return found.folds["text to image"][0].hits.rows


@pytest.mark.parametrize("kind", [Looks, Reranked, Agreeing])
def test_a_collection_answers_as_an_evaluation_ranks(
    kind: type[Looks], photos: Path, pictures: tuple[list[Path], list[str]]
) -> None:
    paths, texts = pictures
    with open_collection(photos, model=kind()) as collection:
        collection.add()
        answers = collection.search_many(texts, k=COUNT)
        few = collection.search_many(texts, k=3)
    served = np.array([[paths.index(result.path) for result in results] for results in answers])
    np.testing.assert_array_equal(served, measured(kind(), paths, texts))
    assert [[r.path for r in results] for results in few] == [[r.path for r in one[:3]] for one in answers]
    plain = measured(Looks(), paths, texts)
    assert (served != plain).any() == (kind is not Looks)


def test_pairs_are_scored_alike_in_a_collection_and_in_an_evaluation(
    photos: Path, pictures: tuple[list[Path], list[str]]
) -> None:
    paths, texts = pictures
    with open_collection(photos, model=Looks()) as collection:
        collection.add()
        gallery = collection.gallery("image")
        run = over(Pairs(), gallery, COUNT)(Run([Item(text=text) for text in texts], gallery))
        assert run.hits is not None
        served = [[paths.index(gallery[row].image) for row in line] for line in run.hits.rows]
    np.testing.assert_array_equal(served, measured(Pairs(), paths, texts))


def test_scores_of_a_second_stage_have_no_percentile(
    photos: Path, pictures: tuple[list[Path], list[str]]
) -> None:
    with open_collection(photos, model=Reranked()) as collection:
        collection.add()
        found = collection.search(pictures[1][0], k=8)
        assert {(result.percentile, result.word) for result in found} == {(None, "not calibrated")}
        assert not found.nothing_matches
        scores = [result.score for result in found]
        assert scores == sorted(scores, reverse=True)
        assert min(scores[:5]) > max(1.0, *scores[5:])  # no cosines, so they are not cut off where these end
        # A picture that asks for pictures has no pairs to score.
        like = collection.search(pictures[0][3], k=3, itself=True)
        assert like[0].path == pictures[0][3]
        assert {result.percentile for result in like} == {50}


def test_a_query_alone_keeps_the_order_of_the_search(
    photos: Path, pictures: tuple[list[Path], list[str]]
) -> None:
    with open_collection(photos, model=Agreeing()) as collection:
        collection.add()
        alone = [[r.path for r in collection.search(text, k=COUNT)] for text in pictures[1]]
    plain = measured(Looks(), *pictures)
    assert [[pictures[0].index(path) for path in one if path] for one in alone] == plain.tolist()


@pytest.fixture
def filled(photos: Path, pictures: tuple[list[Path], list[str]]) -> Any:
    with open_collection(photos, model=Looks()) as collection:
        collection.add()
        yield collection


def test_a_picture_may_be_given_in_any_way(
    filled: Collection, pictures: tuple[list[Path], list[str]]
) -> None:
    path = pictures[0][5]
    expected = [result.path for result in filled.search(path, itself=True)]
    assert expected[0] == path
    picture = open_picture(path)
    for given in (path.read_bytes(), picture, np.asarray(picture), Item(image=path)):
        assert [result.path for result in filled.search(given, itself=True)] == expected
    for given in (str(path), path, [path], path.read_bytes(), picture):
        assert [result.path for result in filled.search(image=given, itself=True)] == expected
    both = filled.search_many([path, picture], itself=True)
    assert [[r.path for r in one] for one in both] == [expected, expected]
    # A `str` is words, whatever they look like.
    with_words = filled.search(str(path))
    assert [r.score for r in with_words] != [r.score for r in filled.search(path, itself=True)]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"query": ["red", "blue"]}, "a list cannot be searched for; give words, or a picture"),
        ({"query": 3}, "an int cannot be searched for"),
        ({"image": 3}, "an int cannot be searched for"),
        ({"query": "red", "negative": [Path("x")]}, "said in words, not by a PosixPath"),
        ({"query": "red", "text_weight": float("nan")}, "text part must be a finite number, not nan"),
        ({"query": "red", "k": 2.5}, "k must be at least 1, not 2.5"),
        ({"query": "red", "k": True}, "k must be at least 1, not True"),
    ],
)
def test_what_cannot_be_asked_is_said(filled: Collection, how: dict[str, Any], message: str) -> None:
    with pytest.raises(diptych.DiptychError, match=message):
        filled.search(**how)


def test_lists_of_queries(filled: Collection) -> None:
    assert filled.search_many([]) == []
    with pytest.raises(diptych.DiptychError, match="takes a list of queries"):
        filled.search_many("red")  # type: ignore[arg-type]
    assert len(filled.search("red", k=10**9)) == COUNT


# Whoever asks what a system is, beside `over`, would be a second road.
_ASKED = {
    "encode_image",
    "encode_text",
    "score",
    "score_pairs",
    "rerank_depth",
    "agree",
    "agree_depth",
    "over",
}
_ALLOWED = {"core.py", "pipeline/over.py", "pipeline/rankings.py", "chain.py"}


def test_over_is_the_only_dispatch() -> None:
    root = Path(diptych.__file__).parent
    found = []
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            asks = node.func.id in {"hasattr", "getattr", "offered"} and len(node.args) > 1
            literal = node.args[1].value if asks and isinstance(node.args[1], ast.Constant) else None
            kinds = (
                {part.id for part in ast.walk(node.args[1]) if isinstance(part, ast.Name)}
                if (node.func.id == "isinstance" and len(node.args) > 1)
                else set()
            )
            if literal in _ASKED or kinds & {"Encoder", "Scorer", "Retriever"}:
                found.append((name, node.lineno))
    strange = [one for one in found if one[0] not in _ALLOWED and not one[0].startswith("testing/")]
    assert strange == []
    assert any(name == "pipeline/over.py" for name, _ in found)
