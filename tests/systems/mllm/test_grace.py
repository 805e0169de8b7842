"""GRACE: the trie of the specification, identifiers, memorising, and what was not memorised."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych import catalogue
from diptych.core import Run
from diptych.data import open_data
from diptych.data.base import Split
from diptych.errors import BadParameter, UsageError
from diptych.pipeline import over
from diptych.systems.mllm.grace import GRACE, Trie, _clustered, beam_search
from diptych.training.trainer import Trainer

pytestmark = pytest.mark.slow

A, B, C, D = (1, 3), (1, 4), (2, 3), (2, 5)
IDENTIFIERS = {A: 0, B: 1, C: 2, D: 3}
# Probabilities of 1, 2, 3, 4, 5 and of the end, after each prefix.
TABLE = {
    (): (0.30, 0.25, 0.40, 0.03, 0.01, 0.01),
    (1,): (0.02, 0.03, 0.20, 0.10, 0.60, 0.05),
    (2,): (0.02, 0.03, 0.05, 0.25, 0.60, 0.05),
    **dict.fromkeys((A, B, C), (0.02, 0.02, 0.02, 0.02, 0.02, 0.90)),
    D: (0.14, 0.14, 0.14, 0.14, 0.14, 0.30),
}


def told(prefixes: Sequence[tuple[int, ...]]) -> Any:
    with np.errstate(divide="ignore"):
        return np.log([[TABLE[one][5], *TABLE[one][:5]] for one in prefixes])


def search(beam: int = 10, **how: Any) -> list[tuple[int, float]]:
    return beam_search(told, Trie(IDENTIFIERS), beam=beam, **{"renormalise": False, **how})


def test_the_trie_of_the_specification_without_renormalising() -> None:
    found = search()
    assert [row for row, _ in found] == [0, 3, 1, 2]
    assert np.exp([score for _, score in found]) == pytest.approx([0.054, 0.045, 0.027, 0.01125])
    assert [score for _, score in found] == pytest.approx([-2.9188, -3.1011, -3.6119, -4.4874], abs=1e-4)
    by_one = search(length_power=1.0)
    assert [score for _, score in by_one] == pytest.approx([-0.9729, -1.0337, -1.2040, -1.4958], abs=1e-4)
    by_minus_two = search(length_power=-2.0)
    assert [score for _, score in by_minus_two] == pytest.approx(
        [-26.2689, -27.9098, -32.5073, -40.3865], abs=1e-3
    )


def test_renormalising_changes_the_order() -> None:
    found = search(renormalise=True)
    assert [row for row, _ in found] == [3, 0, 1, 2]
    probabilities = np.exp([score for _, score in found])
    assert probabilities == pytest.approx([0.419580, 0.363636, 0.181818, 0.034965], abs=1e-6)
    assert probabilities.sum() == pytest.approx(1)
    assert [score for _, score in found] == pytest.approx([-0.8685, -1.0116, -1.7047, -3.3534], abs=1e-4)
    # One beam takes the better first step, and so misses the best whole.
    assert [row for row, _ in search(1, renormalise=True)] == [0]
    assert search(2, renormalise=True)[0][0] == 3


def test_every_identifier_comes_once() -> None:
    draw = np.random.default_rng(0)
    rows = {
        tuple(one): row for row, one in enumerate(sorted({tuple(draw.integers(1, 6, 3)) for _ in range(40)}))
    }
    trie = Trie(rows)

    def drawn_logs(prefixes: Sequence[tuple[int, ...]]) -> Any:
        return np.stack([np.random.default_rng(sum(one) + len(one)).standard_normal(6) for one in prefixes])

    found = beam_search(drawn_logs, trie, beam=len(rows), renormalise=True)
    assert sorted(row for row, _ in found) == list(range(len(rows)))
    assert sum(np.exp(score) for _, score in found) == pytest.approx(1)
    assert all(np.diff([score for _, score in found]) <= 0)


def test_an_identifier_may_begin_another() -> None:
    trie = Trie({(1,): 0, (1, 2): 1})
    assert trie.children((1,)) == [0, 2]
    flat = beam_search(lambda some: np.zeros((len(some), 3)), trie, beam=4, renormalise=True)
    assert dict(flat) == pytest.approx({0: np.log(0.5), 1: np.log(0.5)})
    with pytest.raises(UsageError, match="no identifiers"):
        Trie({})


def test_structured_identifiers_part_all_pictures() -> None:
    draw = np.random.default_rng(0)
    vectors = draw.standard_normal((200, 8)).astype(np.float32)
    vectors[100:130] = vectors[99]  # more copies of one picture than a leaf takes
    paths = dict(_clustered(vectors, np.arange(200), 4, 8))
    assert sorted(paths) == list(range(200))
    assert len(set(paths.values())) == 200
    assert not any(a != b and b[: len(a)] == a for a in paths.values() for b in paths.values())
    assert max(map(len, paths.values())) <= 9
    near = [paths[row][0] for row in range(100, 130)]
    assert len(set(near)) == 1


@pytest.fixture(scope="module")
def pictures() -> Split:
    """A dozen photographs with captions."""
    data = open_data(Path(__file__).parents[2] / "photographs")
    return data.split(data.splits[0])


def trained(split: Split, **settings: Any) -> GRACE:
    grace: GRACE = catalogue.load("grace:tiny", **settings)
    return grace.fit(split, Trainer(seed=0, quiet=True, device="cpu"))


def exact(grace: GRACE, split: Split) -> float:
    vectors = grace._dual.encode_image(split.image)
    found = grace.generate(vectors, "image")
    return float(np.mean([one[0][0] == row for row, one in enumerate(found)]))


@pytest.mark.parametrize("kind", ["structured", "atomic", "numeric", "string", "semantic"])
def test_it_returns_what_it_memorised(kind: str, pictures: Split) -> None:
    grace = trained(pictures, identifier=kind, epochs=20)
    assert exact(grace, pictures) == 1
    found = grace.generate(grace._dual.encode_image(pictures.image), "image")
    assert all(len(one) == 10 and len({row for row, _ in one}) == 10 for one in found)
    # And what it learned to retrieve.
    gallery = pictures.items("image")
    run = over(grace, gallery, 3)(Run(pictures.items("text"), gallery))
    assert run.hits is not None
    owner = dict(pictures.pairs[:, ::-1].tolist())
    first = [rows[0] == owner[text] for text, rows in enumerate(run.hits.rows.tolist())]
    assert np.mean(first) >= 0.9


def test_new_pictures_go_through_the_tower(pictures: Split) -> None:
    grace = trained(pictures.take(np.arange(6)), epochs=2)
    gallery, count = pictures.items("image"), len(pictures)
    run = over(grace, gallery, count)(Run(pictures.items("text"), gallery))
    assert run.hits is not None
    assert all(sorted(rows) == list(range(count)) for rows in run.hits.rows.tolist())
    assert {note["generated"] for note in run.notes} == {6}
    # Of the pictures that are new, the order is the tower's.
    tower = over(grace._dual, gallery, count)(Run(pictures.items("text"), gallery))
    assert tower.hits is not None
    for ours, theirs in zip(run.hits.rows.tolist(), tower.hits.rows.tolist(), strict=True):
        assert [row for row in ours if row >= 6] == [row for row in theirs if row >= 6]


def test_a_picture_that_is_gone_is_not_generated(pictures: Split) -> None:
    grace = trained(pictures, epochs=1)
    left = pictures.take([3, 5, 8]).items("image")
    run = over(grace, left, 2)(Run(pictures.items("text"), left))
    assert run.hits is not None
    assert run.hits.rows.shape[1] == 2
    assert set(run.hits.rows.ravel().tolist()) <= {0, 1, 2}


def test_pictures_without_texts_are_memorised_too(pictures: Split) -> None:
    texts = int(pictures.pairs[pictures.pairs[:, 0] < 6].shape[0])
    silent = Split(pictures.image, list(pictures.text), None, pictures.pairs[pictures.pairs[:, 0] < 6])
    assert texts
    assert exact(trained(silent, epochs=1), pictures) == 1
    with pytest.raises(UsageError, match="pictures have none; name a captioner"):
        trained(silent, identifier="semantic")


def test_texts_are_found_by_the_tower(pictures: Split) -> None:
    grace = trained(pictures, memorise_epochs=1, epochs=1)
    gallery = pictures.items("text")
    ours = over(grace, gallery, 3, to="text")(Run(pictures.items("image"), gallery))
    theirs = over(grace._dual, gallery, 3, to="text")(Run(pictures.items("image"), gallery))
    assert ours.hits is not None
    assert theirs.hits is not None
    assert np.array_equal(ours.hits.rows, theirs.hits.rows)


def test_saved_and_loaded(pictures: Split, tmp_path: Path) -> None:
    grace = trained(pictures, memorise_epochs=2, epochs=1)
    grace.save(tmp_path)
    again = catalogue.load(f"grace@{tmp_path}")
    assert again.fingerprint == grace.fingerprint
    vectors = grace._dual.encode_text(list(pictures.text[:3]))
    assert again.generate(vectors, "text") == grace.generate(vectors, "text")


def test_bad_settings_and_data(pictures: Split) -> None:
    with pytest.raises(BadParameter, match="one of structured, atomic"):
        GRACE(identifier="words")
    with pytest.raises(BadParameter, match="heads that divide"):
        GRACE(heads=7)
    features = Split(np.zeros((2, 4), np.float32), ["a", "b"], None, np.array([[0, 0], [1, 1]]))
    with pytest.raises(UsageError, match="these data are features"):
        GRACE(captioner="").fit(features)
