"""Parts and whole systems are saved and made again by their cards, those of former versions too."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from diptych import catalogue
from diptych.chain import Chain, Scale, Standard, join
from diptych.errors import BadData, BadParameter, MissingData, UnknownName, UsageError
from diptych.features.bow import BoW
from diptych.features.pixels import Pixels

TEXTS = ["a red dog", "a green car"]


@pytest.fixture
def former(tmp_path: Path) -> Path:
    """What the version of November 2026 wrote: a run on standardised features, and extractors."""
    with zipfile.ZipFile(Path(__file__).with_name("former.zip")) as archive:
        archive.extractall(tmp_path)
    return tmp_path / "former"


def test_a_run_folder_of_a_former_version_gives_the_same_vectors(former: Path) -> None:
    expected = json.loads((former / "expected.json").read_text())
    loaded = catalogue.load(str(former / "dscmr"))
    assert isinstance(loaded, Chain)
    assert isinstance(loaded.text, Standard)
    np.testing.assert_allclose(loaded.encode_text(TEXTS), expected["text"], atol=1e-6)
    picture = Image.new("RGB", (16, 16), (200, 30, 30))
    np.testing.assert_allclose(loaded.encode_image([picture]), expected["image"], atol=1e-3)
    assert loaded.fingerprint == expected["fingerprint"]  # collections remember it


@pytest.mark.parametrize("folder", ["bow", "tfidf", "extractors"])
def test_extractors_of_a_former_version_are_what_they_were(folder: str, former: Path) -> None:
    found = catalogue.extractors_of(former / folder)
    for side, extractor in found.items():
        card = json.loads((former / folder / f"{side}.json").read_text())
        assert extractor.fingerprint == card["fingerprint"]
        assert catalogue.name_of(extractor).partition(":")[0] == card["feature"]


def test_a_chain_is_saved_whole_and_comes_back(former: Path, tmp_path: Path) -> None:
    loaded = catalogue.load(str(former / "dscmr"))
    catalogue.save(loaded, tmp_path / "copy", seed=3)
    card = json.loads((tmp_path / "copy" / "card.json").read_text())
    assert (card["name"], card["seed"], card["standardised"]) == ("dscmr", 3, True)
    assert card["features"] == {"image": "builtin_image", "text": "lsa"}
    again = catalogue.load(str(tmp_path / "copy"))
    assert again.fingerprint == loaded.fingerprint
    np.testing.assert_array_equal(again.encode_text(TEXTS), loaded.encode_text(TEXTS))


class Half:
    """A head without networks, saved like any other part."""

    similarity = "dot"
    arrays_file = "half.npz"

    def __init__(self, *, sizes: tuple[int, ...] = (1, 2), start: str = "") -> None:
        self.sizes, self.start = sizes, start
        self.factor = np.array(0.25)

    @property
    def hyperparameters(self) -> dict[str, Any]:
        return {"sizes": self.sizes, "start": self.start}

    @property
    def fingerprint(self) -> str:
        return f"half:{self.sizes}:{self.factor}"

    def arrays(self) -> dict[str, Any]:
        return {"factor": self.factor}

    def restore(self, arrays: Any) -> None:
        self.factor = arrays["factor"]

    def encode_text(self, features: Any) -> Any:
        return features * self.factor


def test_a_part_is_a_card_and_what_it_learned(tmp_path: Path) -> None:
    half = Half(sizes=(3, 4))
    half.factor = np.array(0.5)
    catalogue.write(half, tmp_path / "card.json", note="a fact")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["card.json", "half.npz"]
    again = catalogue.restored(Half, tmp_path / "card.json")
    assert (again.fingerprint, again.sizes) == (half.fingerprint, (3, 4))  # JSON made a list of the sizes
    assert catalogue.restored(Half, tmp_path / "card.json", sizes=[5]).sizes == (5,)
    with pytest.raises(BadParameter, match="did you mean sizes"):
        catalogue.restored(Half, tmp_path / "card.json", size=5)
    (tmp_path / "half.npz").write_bytes(b"half")
    with pytest.raises(BadData, match=r"half\.npz is damaged"):
        catalogue.restored(Half, tmp_path / "card.json")
    (tmp_path / "half.npz").unlink()
    with pytest.raises(MissingData, match=r"has no half\.npz"):
        catalogue.restored(Half, tmp_path / "card.json")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"[]", "is no mapping"),
        (b'{"parameters": 3}', "names no parameters"),
        (b'{"name": "half"', "not JSON"),
        (b'{"a": ' * 90 + b"1" + b"}" * 90, "names no parameters"),
        (b'{"a": ' * 5000 + b"1" + b"}" * 5000, "too deep"),
        (b'{"a": ' + b"1" * 5000 + b"}", "not JSON that can be read"),
        ('{"name": "hälf"}'.encode("latin-1"), "not UTF-8"),
        (b"\0" * 5000, "not text"),
    ],
)
def test_a_damaged_card_is_one_sentence(tmp_path: Path, content: bytes, fault: str) -> None:
    (tmp_path / "card.json").write_bytes(content)
    with pytest.raises(BadData, match=rf"card\.json is damaged \(.*{fault}.*\); train again") as told:
        catalogue.restored(Half, tmp_path / "card.json")
    assert len(str(told.value).splitlines()) == 1
    with pytest.raises(BadData, match=r"card\.json is damaged"):
        catalogue.load(str(tmp_path))


def test_writing_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue.write(Half(), tmp_path / "card.json")
    before = (tmp_path / "half.npz").read_bytes()

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", full)
    half = Half()
    half.factor = np.array(9)
    with pytest.raises(OSError, match="no space left"):
        catalogue.write(half, tmp_path / "card.json")
    assert (tmp_path / "half.npz").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["card.json", "half.npz"]


def test_extractors_are_written_with_their_scale(tmp_path: Path) -> None:
    bow = BoW()
    bow.fit(TEXTS)
    scale = Scale.of(bow.encode_text(TEXTS))
    catalogue.write_extractors(tmp_path, {"image": Pixels(size=4), "text": Standard(bow, scale)})
    again = catalogue.extractors_of(tmp_path)
    assert isinstance(again["text"], Standard)
    np.testing.assert_array_equal(again["text"].encode_text(TEXTS), scale(bow.encode_text(TEXTS)))
    assert again["text"].fingerprint == Standard(bow, scale).fingerprint
    assert {side: catalogue.name_of(one) for side, one in again.items()} == {
        "image": "pixels:4",
        "text": "bow",
    }


def test_an_encoder_of_one_side_is_an_encoder() -> None:
    bow = catalogue.load("bow", size=3)
    assert isinstance(bow, BoW)
    assert bow.size == 3
    assert isinstance(catalogue.load("pixels:12"), Pixels)
    assert catalogue.load("pixels:12").encode_image([Image.new("RGB", (20, 30))]).shape == (1, 3, 12, 12)
    for name, error, message in (
        ("bwo", UnknownName, "did you mean bow"),
        ("bow:3", UsageError, "bow has no variants"),
        ("bow@file", UsageError, "reads no file"),
        ("pixels:large", UsageError, "must have a number"),
        ("word_vectors", MissingData, "word_vectors@FILE"),
    ):
        with pytest.raises(error, match=message):
            catalogue.load(name)


def test_no_extractor_is_called_like_a_system() -> None:
    assert not set(catalogue.names("system")) & set(catalogue.names("feature"))


def test_a_head_and_an_extractor_join(tmp_path: Path) -> None:
    bow = BoW()
    bow.fit(TEXTS)
    catalogue.save(join(Half(), text=bow), tmp_path)
    assert catalogue.extractors_of(tmp_path / "features")["text"].fingerprint == bow.fingerprint
    assert catalogue.restored(Half, tmp_path / "card.json").fingerprint == Half().fingerprint
