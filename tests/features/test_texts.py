"""Extractors of texts against hand counts and scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diptych.errors import BadData, BadParameter, MissingData, UsageError
from diptych.features._words import words
from diptych.features.bow import BoW
from diptych.features.lsa import Lsa
from diptych.features.tfidf import TfIdf
from diptych.features.word_vectors import WordVectors

TEXTS = ["A dog, a DOG!", "the cat's dog", "a red car", "the red red house"]


def test_words_are_lower_case_without_punctuation() -> None:
    assert words("Über-Dogs, isn't_it? 42") == ["über", "dogs", "isn't", "it", "42"]


def test_counts_by_hand() -> None:
    bag = BoW(min_texts=2)
    bag.fit(TEXTS)
    assert bag.vocabulary == ["a", "dog", "red", "the"]
    np.testing.assert_array_equal(
        bag.encode_text([*TEXTS, "unknown"]),
        [[2, 2, 0, 0], [0, 1, 0, 1], [1, 0, 1, 0], [0, 0, 2, 1], [0, 0, 0, 0]],
    )
    assert bag.encode_text(TEXTS).dtype == np.float32
    binary = BoW(min_texts=2, binary=True)
    binary.fit(TEXTS)
    assert binary.encode_text(TEXTS).max() == 1
    assert binary.fingerprint != bag.fingerprint


def test_limits_of_the_vocabulary() -> None:
    def kept(**limits: float) -> list[str]:
        bag = BoW(**limits)  # type: ignore[arg-type]
        bag.fit(["a b", "a b", "a c", "a d"])
        return bag.vocabulary

    assert kept() == ["a", "b", "c", "d"]
    assert kept(size=3) == ["a", "b", "c"]  # c before d by alphabet
    assert kept(max_share=0.75) == ["b", "c", "d"]
    assert kept(min_texts=2) == ["a", "b"]
    with pytest.raises(UsageError, match="no word of 4 texts"):
        kept(min_texts=3, max_share=0.5)
    with pytest.raises(BadParameter, match="max_share"):
        BoW(max_share=0)
    with pytest.raises(UsageError, match="no vocabulary yet"):
        BoW().encode_text(["a"])


def test_tf_idf_equals_scikit_learns() -> None:
    from sklearn.feature_extraction import text as reference

    ours, theirs = TfIdf(), reference.TfidfVectorizer(tokenizer=words, token_pattern=None)
    ours.fit(TEXTS)
    expected = theirs.fit_transform(TEXTS).toarray()
    assert ours.vocabulary == list(theirs.get_feature_names_out())
    np.testing.assert_allclose(ours.encode_text(TEXTS), expected, atol=1e-6)


def corpus(count: int = 120) -> list[str]:
    random = np.random.default_rng(0)
    vocabulary = [f"w{number}" for number in range(60)]
    return [" ".join(random.choice(vocabulary, 12)) for _ in range(count)]


def test_lsa_is_the_truncated_decomposition() -> None:
    texts = corpus()
    ours, tfidf = Lsa(dim=7, min_texts=1), TfIdf(size=3000)
    ours.fit(texts)
    tfidf.fit(texts)
    rows = tfidf.encode_text(texts).astype(np.float64)
    _, _, right = np.linalg.svd(rows, full_matrices=False)
    expected = rows @ right[:7].T
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    found = ours.encode_text(texts)
    assert found.shape == (120, 7)
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=2e-5)  # signs are arbitrary
    assert not ours.encode_text(["nothing known"]).any()
    few = Lsa(dim=50, min_texts=1)
    few.fit(["a b", "b c"])
    assert few.encode_text(["a"]).shape == (1, 2)  # rank 2


@pytest.mark.parametrize("kind", [BoW, TfIdf, Lsa])
def test_what_was_fitted_can_be_restored(kind: type[BoW]) -> None:
    texts = corpus(40)
    first = kind(size=30)
    assert not first.fitted
    first.fit(texts)
    second = kind(**first.hyperparameters)
    second.restore({name: array.copy() for name, array in first.arrays().items()})
    assert second.fitted
    assert second.fingerprint == first.fingerprint
    np.testing.assert_array_equal(second.encode_text(texts), first.encode_text(texts))
    other = kind(size=30)
    other.fit(texts[1:])
    assert other.fingerprint != first.fingerprint


@pytest.mark.parametrize("header", ["", "3 2\n"])
def test_means_of_word_vectors(tmp_path: Path, header: str) -> None:
    path = tmp_path / "glove.txt"
    path.write_text(f"{header}dog 1 2\ncat 3 6\nthe 0 -1\n", encoding="utf-8")
    vectors = WordVectors(weights=str(path))
    found = vectors.encode_text(["Dog, cat?", "the", "unknown", ""])
    np.testing.assert_allclose(found, [[2, 4], [0, -1], [0, 0], [0, 0]])
    assert found.dtype == np.float32
    np.savez(tmp_path / "v.npz", words=["dog", "cat", "the"], vectors=[[1, 2], [3, 6], [0, -1]])
    assert WordVectors(weights=str(tmp_path / "v.npz")).fingerprint == vectors.fingerprint


def test_files_that_hold_no_word_vectors(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="there is no file"):
        WordVectors(weights=str(tmp_path / "gone.txt"))
    path = tmp_path / "bad.txt"
    for content, message in (
        ("dog 1 2\ncat 3\n", "line 2 has 1 numbers"),
        ("dog one two\n", "line 1: not a word and its numbers"),
        ("", "is empty"),
    ):
        path.write_text(content)
        with pytest.raises(BadData, match=message):
            WordVectors(weights=str(path))
    np.savez(tmp_path / "bad.npz", words=["a"])
    with pytest.raises(BadData, match="words and vectors"):
        WordVectors(weights=str(tmp_path / "bad.npz"))
