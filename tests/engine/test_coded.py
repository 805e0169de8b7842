"""Collections with codes: searches in two stages, and what happens when something is missing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

import diptych
from diptych.engine import collection as engine
from diptych.engine.homes.local.coded import everyday_queries
from diptych.errors import UsageError

pytestmark = pytest.mark.slow


class Colours:
    """Pictures by their mean colour, texts by their letters, both turned into 64 dimensions."""

    similarity = "cosine"
    name = "colours"
    fingerprint = "colours:1"
    image_size = 8

    def __init__(self) -> None:
        self._turn = np.random.default_rng(0).standard_normal((3, 64))
        self._letters = np.random.default_rng(1).standard_normal((26, 64))

    def encode_image(self, images: Any) -> Any:
        rows = []
        for image in images:
            picture = image if isinstance(image, Image.Image) else Image.open(image)
            rows.append(np.asarray(picture.convert("RGB"), np.float64).mean(axis=(0, 1)) / 255 - 0.5)
        return _unit(np.tanh(3 * np.asarray(rows) @ self._turn))

    def encode_text(self, texts: Any) -> Any:
        counts = np.array([[text.count(chr(97 + c)) for c in range(26)] for text in texts], float)
        return _unit(np.tanh(counts @ self._letters / 3) + 0.5)


def _unit(rows: Any) -> Any:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(300):
        colour = tuple(rng.integers(0, 256, 3).tolist())
        Image.new("RGB", (8, 8), colour).save(folder / f"{number:03}.png")
    return folder


def coded_of(opened: Any) -> Any:
    return opened.home.coded(opened.home.get("codes"))


def found(opened: Any, query: Any, **options: Any) -> list[str]:
    return [result.path.name for result in opened.search(query, k=10, itself=True, **options)]


def test_two_stages_find_what_exact_search_finds(pictures: Path) -> None:
    with diptych.open(pictures, model=Colours()) as opened:
        opened.add(pictures)
        facts = opened.make_codes(64)
        assert facts["pictures"] == 300
        assert {one["side"] for one in facts["calibrations"]} == {"text", "image"}
        assert all(one["low"] >= one["recall"] or one["candidates"] == 300 for one in facts["calibrations"])
        assert {one["queries"] for one in facts["calibrations"] if one["side"] == "image"} == {150}
        shares = []
        for query in everyday_queries()[::7]:
            exact, quick = found(opened, query, exact=True), found(opened, query, recall=0.98)
            shares.append(len(set(exact) & set(quick)) / 10)
        assert np.mean(shares) >= 0.98
        # Pictures as queries are calibrated apart.
        path = pictures / "007.png"
        assert found(opened, path)[0] == "007.png"
        assert opened.info()["codes"]["bits"] == 64


def test_codes_outlive_the_process_and_follow_the_folder(pictures: Path) -> None:
    with diptych.open(pictures, model=Colours()) as opened:
        opened.add(pictures)
        opened.make_codes(64)
    (pictures / "000.png").unlink()
    Image.new("RGB", (8, 8), (255, 0, 255)).save(pictures / "new.png")
    with diptych.open(pictures, model=Colours()) as opened:
        opened.add(pictures)
        hits = found(opened, pictures / "new.png")
        assert hits[0] == "new.png"
        assert "000.png" not in hits
        assert coded_of(opened).usable


def test_deleted_or_damaged_caches_cost_nothing(pictures: Path) -> None:
    with diptych.open(pictures, model=Colours()) as opened:
        opened.add(pictures)
        opened.make_codes(64)
        expected = found(opened, "red", recall=0.995)
        cache = opened.place / "search" / "image.codes"
    whole = cache.read_bytes()
    for damage in (b"", b"damaged", whole[: len(whole) // 2], whole[:-40]):
        cache.write_bytes(damage)
        with diptych.open(pictures, model=Colours()) as opened:
            assert found(opened, "red", recall=0.995) == expected
        assert cache.read_bytes() == whole
    shutil.rmtree(cache.parent)
    with diptych.open(pictures, model=Colours()) as opened:
        assert found(opened, "red", recall=0.995) == expected
        assert coded_of(opened).usable
    assert cache.read_bytes() == whole


def test_codes_are_a_bit_a_bit_and_memory_mapped(pictures: Path) -> None:
    with diptych.open(pictures, model=Colours()) as opened:
        opened.add(pictures)
        opened.make_codes(64)
    with diptych.open(pictures, model=Colours()) as opened:
        found(opened, "red")
        codes = coded_of(opened)._index().codes
        assert codes.shape == (300, 8)
        assert isinstance(codes.base, np.memmap)


def test_codes_made_again_are_not_mixed_with_older_ones(pictures: Path) -> None:
    """The same bits, the same number of pictures, another rotation."""
    with diptych.open(pictures, model=Colours()) as opened, diptych.open(pictures, model=Colours()) as other:
        opened.add(pictures)
        opened.make_codes(64)
        found(opened, "red")
        found(other, "red")
        for number in range(60):
            (pictures / f"{number:03}.png").unlink()
            Image.new("RGB", (8, 8), (4 * number, 0, 9)).save(pictures / f"new{number}.png")
        opened.add(pictures)
        opened.make_codes(64)
        for one in (opened, other):  # the other process takes them up as well
            found(one, "red")
            rows, vectors = one.home.vectors_now("image").stored()
            coded = coded_of(one)
            assert (coded._index().codes == coded._codes.encode(vectors, "image")).all()
            assert len(rows) == 300


def test_much_that_is_new_is_calibrated_again(pictures: Path) -> None:
    with diptych.open(pictures, model=Colours()) as opened:
        opened.add(pictures)
        before = opened.make_codes(64)
        for number in range(60):
            Image.new("RGB", (8, 8), (4 * number, 250, 0)).save(pictures / f"more{number}.png")
        opened.add(pictures)
        assert opened.info()["codes"] == before
        assert len(coded_of(opened)._index()) == 360
        for number in range(60, 120):
            Image.new("RGB", (8, 8), (0, number, 2 * number)).save(pictures / f"more{number}.png")
        opened.add(pictures)
        after = opened.info()["codes"]
        assert (after["pictures"], after["bits"]) == (420, 64)
        assert {one["gallery"] for one in after["calibrations"]} == {420}


def test_few_pictures_promise_nothing_and_are_searched_exactly(pictures: Path) -> None:
    for number in range(3, 300):
        (pictures / f"{number:03}.png").unlink()
    with diptych.open(pictures, model=Colours()) as opened:
        opened.add(pictures)
        facts = opened.make_codes(64)
        assert {one["side"] for one in facts["calibrations"]} == {"text"}
        assert len(found(opened, pictures / "001.png")) == 3
        assert len(found(opened, "red")) == 3
        opened.remove(pictures)
        assert found(opened, "red") == []


@pytest.mark.parametrize("when", ["kept", "calibrated"])
def test_killed_while_codes_are_made_the_older_ones_stay(
    when: str, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever moment a process dies at, the record holds one rotation with its own calibrations."""
    from diptych.engine.homes.local import coded

    class Killed(BaseException):
        pass

    def killed(*_: object, **__: object) -> None:
        raise Killed

    with diptych.open(pictures, model=Colours()) as opened:
        opened.add(pictures)
        before = opened.make_codes(64)
        monkeypatch.setattr(coded, "_keep" if when == "kept" else "calibrations", killed)
        with pytest.raises(Killed):
            opened.make_codes(16)
        monkeypatch.undo()
    with diptych.open(pictures, model=Colours()) as opened:
        facts = opened.info()["codes"]
        assert facts["bits"] == 16 if when == "kept" else facts == before
        assert coded_of(opened)._codes.bits == facts["bits"]
        exact, quick = found(opened, "red", exact=True), found(opened, "red", recall=0.995)
        assert len(set(exact) & set(quick)) >= 9


def test_a_query_of_several_parts_is_searched_exactly(pictures: Path) -> None:
    with diptych.open(pictures, model=Colours()) as opened:
        opened.add(pictures)
        opened.make_codes(64)
        both = opened.search("red", image=pictures / "003.png", k=5)
        again = opened.search("red", image=pictures / "003.png", k=5, exact=True)
        assert [r.path for r in both] == [r.path for r in again]


def test_bad_input_gets_a_sentence(pictures: Path, tmp_path: Path) -> None:
    with diptych.open(pictures, model=Colours()) as opened:
        with pytest.raises(UsageError, match="none is indexed yet"):
            opened.make_codes(64)
        opened.add(pictures)
        with pytest.raises(UsageError, match="has no codes"):
            opened.search("red", recall=0.9)
        with pytest.raises(UsageError, match="multiple of 8"):
            opened.make_codes(12)
        with pytest.raises(UsageError, match="dchmt is neither a number of bits"):
            opened.make_codes("dchmt")
        opened.make_codes(32)
        with pytest.raises(UsageError, match="not 98"):
            opened.search("red", recall=98)
        with pytest.raises(UsageError, match="either exact or a recall"):
            opened.search("red", recall=0.9, exact=True)
    assert engine.find(pictures) is not None


class TestCodesOfAHashingSystem:
    @pytest.fixture
    def run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A run folder whose head learned from standardised vectors of `Colours`."""
        from diptych import catalogue
        from diptych.catalogue import chains
        from diptych.chain import Scale, Standard, join

        monkeypatch.setattr(chains, "_extractor", lambda path: Side(path.stem))
        folder = tmp_path / "run"
        head = catalogue.load("dchmt:tiny", image_dim=64, text_dim=64, bits=32, classes=5)
        scale = Scale(np.full(64, 0.1), np.full(64, 0.5))
        sides = {side: Standard(Side(side), scale) for side in ("image", "text")}
        catalogue.save(join(head, **sides), folder)
        return folder

    def test_takes_the_place_of_the_rotation(self, run: Path, pictures: Path) -> None:
        with diptych.open(pictures, model=Colours()) as opened:
            opened.add(pictures)
            facts = opened.make_codes(str(run))
            assert (facts["bits"], facts["system"]) == (32, str(run))
            assert facts["made_with"].startswith("dchmt, dchmt:")
        with diptych.open(pictures, model=Colours()) as opened:
            shares = []
            for query in everyday_queries()[::7]:
                exact, quick = found(opened, query, exact=True), found(opened, query, recall=0.9)
                shares.append(len(set(exact) & set(quick)) / 10)
            assert np.mean(shares) >= 0.9
            assert coded_of(opened).usable

    def test_codes_are_the_heads_own_of_standardised_vectors(self, run: Path) -> None:
        from diptych import catalogue, similarity
        from diptych.engine.homes.local.coded import Hashed

        vectors = Colours().encode_text(["red", "a blue boat"])
        codes = Hashed(str(run), "colours:1").encode(vectors, "text")
        expected = catalogue.load(str(run)).head.encode_text(((vectors - 0.1) / 0.5).astype(np.float32))
        np.testing.assert_array_equal(codes, similarity.pack(expected))

    def test_a_run_that_is_gone_leaves_exact_search(self, run: Path, pictures: Path) -> None:
        with diptych.open(pictures, model=Colours()) as opened:
            opened.add(pictures)
            opened.make_codes(str(run))
            expected = found(opened, "red", exact=True)
        (run / "card.json").unlink()
        with diptych.open(pictures, model=Colours()) as opened:
            assert found(opened, "red") == expected

    def test_other_models_and_real_values_are_refused(
        self, run: Path, pictures: Path, tmp_path: Path
    ) -> None:
        from diptych import catalogue
        from diptych.engine.homes.local.coded import Hashed

        with pytest.raises(UsageError, match=r"learned from dual:image:colours:1, but .* other:1"):
            Hashed(str(run), "other:1")
        real = tmp_path / "real"
        catalogue.load("dscmr:tiny").save(real)
        with pytest.raises(UsageError, match="holds dscmr, which makes no binary codes"):
            Hashed(str(real), "colours:1")


class Side(Colours):
    """One side of `Colours`, as a run's features remember it."""

    name = "colours"
    hyperparameters: ClassVar[dict[str, int]] = {}

    def __init__(self, side: str) -> None:
        super().__init__()
        self.fingerprint = f"dual:{side}:colours:1"
