"""Vectors and scores that are there already are measured as anything else is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io

from diptych import evaluate, metrics
from diptych.data.given import read_scores, read_vectors, scores, vectors
from diptych.errors import BadData, MissingData, UnknownName, UsageError

# Three images, in whose eyes text 0 is best for the first, text 1 second best for the second, text 2 last for
# the third; asked from the texts: ranks 1, 1 and 3.
MATRIX = np.array([[9, 3, 2], [7, 5, 8], [6, 4, 1]])


def ranks(found: Any, direction: str) -> list[float]:
    return found.measured[direction].per_query["MeanR"].tolist()


@pytest.mark.parametrize("kind", [float, np.float32, np.float16, np.int8, np.uint8, np.uint16, np.uint64])
def test_scores_of_any_type_by_hand(kind: Any) -> None:
    found = evaluate(*scores(MATRIX.astype(kind)))
    assert ranks(found, "image to text") == [1, 3, 3]
    assert ranks(found, "text to image") == [1, 1, 3]
    assert found.main() == {"image to text": pytest.approx(1 / 3), "text to image": pytest.approx(2 / 3)}
    assert found.measured["image to text"]["MAP@ALL"] == pytest.approx((1 + 1 / 3 + 1 / 3) / 3)
    assert found.facts["protocol"] == "pairs"


def test_scores_of_bits() -> None:
    found = evaluate(*scores(np.eye(4, dtype=bool)))
    assert found.main() == {"image to text": 1.0, "text to image": 1.0}


def test_five_captions_an_image_and_labels_by_hand() -> None:
    image = np.eye(2)
    text = np.repeat(image, 5, axis=0)
    text[9] = [1, -0.5]  # the last caption of the second image looks like the first
    found = evaluate(*vectors(image, text))
    assert found.main() == {"image to text": 1.0, "text to image": pytest.approx(0.9)}
    labels = np.array([0, 1])
    found = evaluate(*vectors(image, text, labels=labels))
    assert found.facts["measure"] == "MAP@ALL"
    # The second image ranks its own four first, and its fifth last of ten, behind five of the other in order.
    assert evaluate(*vectors(image, text, labels=labels), "pairs").main()["text to image"] == pytest.approx(
        0.9
    )
    assert found.main()["image to text"] == pytest.approx((1 + (4 + 5 / 10) / 5) / 2)
    assert found.main()["text to image"] == pytest.approx((9 + 1 / 2) / 10)
    found = evaluate(*vectors(image, text, labels=labels), "pairs")
    assert found.main()["text to image"] == pytest.approx(0.9)


class Mixed:
    """Mixes features of both sides by matrices."""

    def __init__(self, similarity: str) -> None:
        rng = np.random.default_rng(1)
        self.similarity, self.image, self.text = (
            similarity,
            rng.standard_normal((6, 4)),
            rng.standard_normal((5, 4)),
        )

    def encode_image(self, values: Any) -> Any:
        return self._coded(np.asarray(values) @ self.image)

    def encode_text(self, values: Any) -> Any:
        return self._coded(np.asarray(values) @ self.text)

    def _coded(self, found: Any) -> Any:
        return np.where(found > 0, 1, -1).astype(np.float32) if self.similarity == "hamming" else found


@pytest.mark.parametrize("similarity", ["cosine", "dot", "hamming"])
@pytest.mark.parametrize("labels", [None, np.arange(20) % 3])
def test_the_numbers_are_those_of_a_system_that_gives_the_vectors(similarity: str, labels: Any) -> None:
    rng = np.random.default_rng(0)
    system = Mixed(similarity)
    _, dataset = vectors(rng.standard_normal((20, 5)), rng.standard_normal((100, 5)), labels=labels)
    split = dataset.split("all")
    object.__setattr__(split, "image", rng.standard_normal((20, 6)).astype(np.float32))
    image, text = system.encode_image(split.image), system.encode_text(split.text)
    want = evaluate(system, dataset)
    encoder, given = vectors(
        image, text, labels=labels, similarity=None if similarity == "hamming" else similarity
    )
    assert encoder.similarity == similarity
    compare = {"cosine": metrics.Embedded(image, text, "cosine"), "dot": metrics.Embedded(image, text, "dot")}
    matrix = compare.get(similarity, metrics.Embedded(image, text, "hamming")).block(0, 20)
    for found in (evaluate(encoder, given), evaluate(*scores(matrix, labels=labels))):
        for direction, one in want.measured.items():
            assert found.measured[direction].values() == pytest.approx(one.values(), abs=1e-6)
            for name, kinds in one.bounds.items():
                assert found.measured[direction].bounds[name] == pytest.approx(kinds, abs=1e-6)


@pytest.mark.parametrize("scale", [1, 1e-36, 1e-25, 1e19, 1e30])
def test_cosine_is_the_same_at_every_scale(scale: float) -> None:
    image = np.random.default_rng(0).standard_normal((50, 16))
    assert set(evaluate(*vectors(image * scale, image * scale)).main().values()) == {1.0}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"image": np.eye(3) * 1e20, "similarity": "dot"},
            "image row 0, the longest, has the length 1e\\+20",
        ),
        ({"text": np.eye(3) * 1e-20, "similarity": "dot"}, "text row 0, the longest, has the length 1e-20"),
        ({"image": np.eye(3) * 1e-60}, "given image row 0 holds only numbers below 1e-38"),
        ({"image": np.eye(3) * 1e60}, "given image row 0 holds 1e\\+60, which single precision cannot hold"),
        ({"text": np.diag([1, np.nan, 1])}, "given text row 1 is not finite: it holds nan"),
        ({"text": np.eye(3) * 2, "similarity": "hamming"}, "row 0 holds 2.0 in column 0, but codes hold"),
        ({"text": np.eye(3)[:, :2]}, r"image vectors \(3,\) and text vectors \(2,\) must have one length"),
        ({"text": np.eye(4)[:, :3]}, "3 images and 4 texts do not pair up by themselves"),
        ({"labels": np.array([0, 1, np.nan])}, "given: image label row 2 is nan"),
        ({"image": np.zeros((0, 3))}, "given has 0 images and 3 texts"),
    ],
)
def test_what_cannot_be_compared_is_named(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadData, match=sentence):
        evaluate(*vectors(**{"image": np.eye(3), "text": np.eye(3), **change}))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (np.array([[1, 2], [np.nan, 1]]), "scores row 1 column 0 is nan"),
        (np.array([[1, 2], [1, np.inf]]), "scores row 1 column 1 is inf"),
        (np.array([[1, 1e39], [1, 2]]), r"scores row 0 column 1 is 1e\+39"),
        (np.ones(3), r"scores must be \(images, texts\), not of the shape \(3,\)"),
        (np.ones((2, 2), complex), "scores must be numbers, not complex128"),
        (np.ones((10, 2)), "given has 10 rows and 2 columns; rows are images"),
    ],
)
def test_what_is_no_matrix_of_scores_is_named(values: Any, sentence: str) -> None:
    with pytest.raises(BadData, match=sentence):
        scores(values)


def test_what_was_not_ranked_comes_last() -> None:
    found = evaluate(*scores(np.array([[-np.inf, -5.0], [2.0, -np.inf]]), pairs=np.array([[0, 1], [1, 0]])))
    assert found.main() == {"image to text": 1.0, "text to image": 1.0}


def test_mistakes_in_asking() -> None:
    eye = np.eye(3)
    with pytest.raises(UsageError, match="either pairs or the number of captions"):
        vectors(eye, eye, pairs=np.arange(3), captions=1)
    with pytest.raises(UsageError, match="at least 1 caption, not 0"):
        vectors(eye, eye, captions=0)
    with pytest.raises(UsageError, match="labels of the texts alone"):
        vectors(eye, eye, text_labels=np.arange(3))
    with pytest.raises(UnknownName, match="similarity 'cosin' of given vectors; did you mean cosine"):
        vectors(eye, eye, similarity="cosin")


def test_files_in_every_form(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    given = {"image": rng.standard_normal((4, 3)), "text": rng.standard_normal((4, 3))}
    given |= {"pairs": np.array([[0, 1], [1, 0], [2, 3], [3, 2]]), "labels": np.array([1, 1, 2, 2])}
    for name, array in given.items():
        np.save(tmp_path / f"{name}.npy", array)
    np.savez(tmp_path / "all.npz", **given)
    scipy.io.savemat(tmp_path / "all.mat", given)
    with h5py.File(tmp_path / "all.h5", "w") as file:
        for name, array in given.items():
            file[name] = array
    pairs, labels = tmp_path / "pairs.npy", tmp_path / "labels.npy"
    parts = [tmp_path / "image.npy", tmp_path / "text.npy"]
    want = evaluate(*read_vectors(parts, pairs=pairs, labels=[labels])).main()
    alone = evaluate(*read_vectors(parts, pairs=pairs)).main()
    for ending in ("npz", "mat", "h5"):
        together = tmp_path / f"all.{ending}"
        assert evaluate(*read_vectors([together])).main() == want
        assert evaluate(*read_vectors([together, together], pairs=together)).main() == alone
        assert evaluate(*read_vectors([together]), "pairs").main() == alone
    np.savez(tmp_path / "s.npz", scores=MATRIX, pairs=np.array([0, 2, 1]))
    np.save(tmp_path / "s.npy", MATRIX)
    assert evaluate(*read_scores(tmp_path / "s.npy")).main()["text to image"] == pytest.approx(2 / 3)
    assert ranks(evaluate(*read_scores(tmp_path / "s.npz")), "image to text") == [1, 1, 2]


def test_a_file_of_several_splits_keeps_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    file = tmp_path / "f.npz"
    shapes = {"query": 3, "database": 8}
    content = {
        f"{s}_{side}": rng.standard_normal((n, 4)) for s, n in shapes.items() for side in ("image", "text")
    }
    np.savez(file, **content, query_label=np.arange(3) % 2, database_label=np.arange(8) % 2)
    found = evaluate(*read_vectors([file]))
    assert (found.measured["image to text"].queries, found.measured["image to text"].gallery) == (3, 8)
    with pytest.raises(UsageError, match="holds the splits query, database; name pairs and labels inside it"):
        read_vectors([file], captions=5)


def test_an_error_that_asks_for_pairs_names_their_argument() -> None:
    rng = np.random.default_rng(0)
    image, text = rng.standard_normal((30, 4)), rng.standard_normal((70, 4))
    with pytest.raises(BadData, match="30 images and 70 texts do not pair up") as unpaired:
        vectors(image, text)
    with pytest.raises(BadData, match="repeats each row 5 times") as repeated:
        vectors(np.repeat(image[:4], 5, axis=0), text[:20])
    with pytest.raises(BadData, match="turn the matrix round") as turned:
        scores(rng.standard_normal((20, 4)))
    assert {error.value.argument for error in (unpaired, repeated, turned)} == {"pairs"}


def test_files_that_do_not_say_what_they_hold(tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", a=np.eye(2), b=np.eye(2))
    with pytest.raises(BadData, match=r"f\.npz must hold one array, or one called scores; it holds a, b"):
        read_scores(tmp_path / "f.npz")
    with pytest.raises(BadData, match="holds no arrays that say which split and side they are"):
        read_vectors([tmp_path / "f.npz"])
    np.savez(tmp_path / "g.npz", image=np.eye(2))
    with pytest.raises(BadData, match=r"g\.npz lacks text; it holds image"):
        read_vectors([tmp_path / "g.npz"])
    with pytest.raises(MissingData, match=r"no\.npy is not there"):
        read_vectors([tmp_path / "no.npy"] * 2)
    with pytest.raises(UsageError, match="in one file or in two, of images and of texts, not in 3"):
        read_vectors([tmp_path / "g.npz"] * 3)
