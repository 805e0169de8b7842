"""What a collection does, it does in every home: the same operations with the same results."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import diptych
from diptych.engine.collection import Collection, open_collection
from diptych.engine.items import NewItem
from diptych.errors import CollectionBusy, CollectionError, MissingData, UsageError, WrongModel
from diptych.testing import Colours

Opening = Callable[..., Collection]
Paint = Callable[..., Path]
DIMENSIONS = 32
OF_RECORDS = pytest.mark.parametrize("kind", ["folder", "postgresql"], indirect=True)
"""What a collection in Milvus leaves to its record, which is one of these."""


class Given(Colours):
    """An encoder whose vectors of texts are drawn by what they say."""

    name, fingerprint = "given", "given:1"

    def encode_image(self, images: Any) -> Any:
        return np.stack([drawn(str(np.asarray(one).sum())) for one in images])

    def encode_text(self, texts: Any) -> Any:
        return np.stack([drawn(text) for text in texts])


class Bits(Given):
    name, fingerprint, similarity = "bits", "bits:1", "hamming"

    def encode_image(self, images: Any) -> Any:
        return np.where(super().encode_image(images) > 0, 1, -1).astype(np.float32)

    def encode_text(self, texts: Any) -> Any:
        return np.where(super().encode_text(texts) > 0, 1, -1).astype(np.float32)


def drawn(text: str) -> Any:
    seed = np.frombuffer(text.encode().ljust(8, b"_"), np.uint8).astype(np.uint32)
    return np.random.default_rng(seed).standard_normal(DIMENSIONS).astype(np.float32)


def paint_some(paint: Paint) -> None:
    for name in ("red", "green", "blue", "yellow"):
        paint(f"{name}.png", name)
    paint("sub/copy.png", "red")
    (paint("sub/dog.png", "purple").parent / "dog.txt").write_text("a running dog, red and blue\nanother\n")


def ids(results: Any) -> list[str]:
    return [result.id for result in results]


def alike(one: Any, two: Any) -> bool:
    """Whether results are the same but for the order of those whose scores differ by rounding only."""
    scores = {result.id: result.score for result in (*two, *one)}
    return len(one) == len(two) and all(
        a.id == b.id or abs(scores[a.id] - scores[b.id]) < 2e-6 for a, b in zip(one, two, strict=True)
    )


def test_an_empty_one_is_founded_only_when_something_is_added(
    opening: Opening, where: str, photos: Path
) -> None:
    with opening() as collection:
        assert len(collection) == 0
        assert collection.search("red") == []
        assert collection.folder == photos
    with pytest.raises(MissingData, match="index"):
        open_collection(where, create=False)


def test_pictures_and_texts_are_indexed_and_found(opening: Opening, paint: Paint, photos: Path) -> None:
    paint_some(paint)
    with opening() as collection:
        summary = collection.add(photos)
        assert (summary.added, summary.encoded) == (6, 8)
        assert ids(collection.search("green", k=2)) == ["green.png", "yellow.png"]
        assert ids(collection.search("dogs", by="words")) == ["sub/dog.png"]
        assert ids(collection.search(photos / "red.png", k=1)) == ["sub/copy.png"]
        assert [one.text for one in collection.search("red and blue", to="text", k=1)] == [
            "a running dog, red and blue"
        ]
        assert collection.search("red", k=1)[0].copies == ("sub/copy.png",)
        assert collection.info()["check"] == "ok"
        assert collection.info()["bytes"] > 0
    with opening() as collection:
        assert (collection.count("image"), collection.count("text")) == (6, 2)
        again = collection.add(photos)
        assert (again.unchanged, again.encoded) == (6, 0)


def test_changes_moves_and_removals_are_followed(opening: Opening, paint: Paint, photos: Path) -> None:
    paint_some(paint)
    with opening() as collection:
        collection.add(photos)
        (photos / "red.png").rename(photos / "sub" / "moved.png")
        (photos / "green.png").unlink()
        paint("blue.png", "white")
        (photos / "sub" / "dog.txt").write_text("a cat\n")
        summary = collection.add(photos)
        assert (summary.moved, summary.removed, summary.changed) == (1, 1, 2)
        assert ids(collection.search("cat", by="words")) == ["sub/dog.png"]
        assert collection.search("running", by="words") == []
        assert collection.count(where="folder = 'sub'") == 3
        assert collection.remove(photos / "sub") == 3
        assert collection.add(photos).left_out == 3
        assert sorted(ids(collection.newest(k=9))) == ["blue.png", "yellow.png"]


def test_filters_and_facets(opening: Opening) -> None:
    with opening(model=Given()) as collection:
        collection.add_items(
            NewItem(
                f"one{number}",
                vector=drawn(str(number)),
                meta={
                    "tag": ["Dog", "beach"] if number % 2 else ["cat"],
                    "rating": number % 5,
                    "weight": number / 4,
                    "date": f"20{10 + number:02d}-0{1 + number % 9}-11",
                    "said": "O'Hara; DROP TABLE item --" if number == 7 else "50%_\\ of it",
                },
            )
            for number in range(20)
        )
        for where, count in {
            "tag = 'dog'": 10,
            "not tag = 'dog'": 10,
            "tag in (DOG, cat)": 20,
            "tag like 'b%'": 10,
            "rating >= 3 and tag = cat": 4,
            "rating between 1 and 2 or rating = 4": 12,
            "weight = 1.5": 1,
            "weight = 2": 1,
            "weight < 0": 0,
            "weight < 'a'": 0,
            "date = 2015": 1,
            "date >= 2015-06 and date < 2020-01-01": 5,
            "date > 2028": 1,
            "said = 'o''hara; drop table item --'": 1,
            "said like '50\\%\\_\\\\ of%'": 19,
            "said like '%\\'": 0,
            "said > 'a'": 1,
            "missing is null": None,
            "rating is not null and not (rating = 0 or rating = 1)": 12,
            "name like 'one1%'": 11,
            "size > 0": 0,
        }.items():
            if count is None:
                with pytest.raises(UsageError, match="no picture here has a field"):
                    collection.count(where=where)
            else:
                assert collection.count(where=where) == count, where
        assert collection.facets("tag") == {"beach": 10, "Dog": 10, "cat": 10}
        assert list(collection.facets("rating")) == [0, 1, 2, 3, 4]
        assert collection.facets("rating", where="tag = cat") == dict.fromkeys(range(5), 2)
        assert collection.facets("year")[2015] == 1
        assert collection.facets("weight")[0.25] == 1
        assert [type(value) for value in collection.facets("weight")][:2] == [float, float]
        found = collection.search("anything", k=20, where="rating = 3", by="vectors")
        assert {result.meta["rating"] for result in found} == {3}


@pytest.mark.parametrize("model", [Given, Bits])
def test_it_answers_as_a_folder_does(
    model: Any, opening: Opening, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["dog", "cat", "beach", "snow", "running", "a", "the", "Ähre", "2024", "night-time", "dog dog"]
    rng = np.random.default_rng(3)

    def items() -> Any:
        draw = np.random.default_rng(5)
        for number in range(300):
            said = [" ".join(draw.choice(words, 4)) for _ in range(number % 3)]
            vector = model().encode_text([f"picture {number % 280}"])[0]  # some have twins
            yield NewItem(f"{number}", vector=vector, texts=said, meta={"rating": number % 4})

    other = tmp_path / "other"
    other.mkdir()
    with opening(model=model()) as mine, open_collection(other, model=model()) as folder:
        for collection in (mine, folder):
            collection.add_items(items(), batch_size=64)
            collection.remove_items([str(number) for number in range(40, 60)])
        asked = [" ".join(rng.choice(words, 2)) for _ in range(12)]
        for how in (
            {"by": "vectors"},
            {"by": "both"},
            {"by": "words"},
            {"by": "vectors", "where": "rating = 2"},
            {"by": "both", "where": "rating != 2", "to": "text"},
            {"by": "both", "offset": 5, "fold": None},
            {"by": "vectors", "diverse": 0.3} if model is Given else {"by": "vectors"},
        ):
            both = [collection.search_many(asked, k=8, **how) for collection in (mine, folder)]
            for query, one, two in zip(asked, *both, strict=True):
                assert alike(one, two), (query, how)
                for a, b in zip(one, two, strict=True):
                    assert abs(a.score - b.score) < 2e-6
                    if a.id == b.id:
                        assert (a.text, a.by, a.words, a.found_in) == (b.text, b.by, b.words, b.found_in)
        for side in ("image", "text"):
            (names, vectors), (same, expected) = mine.vectors(side), folder.vectors(side)
            assert names == same
            np.testing.assert_array_equal(vectors, expected)


def test_many_queries_at_once_answer_as_one_by_one(opening: Opening) -> None:
    with opening(model=Given()) as collection:
        collection.add_items(NewItem(str(n), vector=drawn(str(n))) for n in range(100))
        asked = [f"query {number}" for number in range(40)]
        together = collection.search_many(asked, k=5, by="vectors")
        for query, found in zip(asked, together, strict=True):
            assert ids(found) == ids(collection.search(query, k=5, by="vectors"))


def test_further_models(opening: Opening, paint: Paint, photos: Path) -> None:
    paint_some(paint)
    with opening() as collection:
        collection.add(photos)
        filled = collection.add_model(Given())
        assert filled.lacking == 0
        assert [model.name for model in collection.models()] == ["colours", "given"]
        assert len(collection.search("red", model="given", by="vectors", k=9, fold=None)) == 6
        collection.set_default_model("given")
        assert collection.models()[0].name == "given"
        collection.drop_model("colours")
        assert [model.name for model in collection.models()] == ["given"]


@OF_RECORDS
def test_settings_skipped_files_and_inscriptions(opening: Opening, paint: Paint, photos: Path) -> None:
    paint_some(paint)
    (photos / "broken.png").write_bytes(b"nothing")
    with opening() as collection:
        collection.exclude("*.tmp", "/sub/")
        summary = collection.add(photos)
        assert (summary.added, len(summary.skipped)) == (4, 1)
        assert collection.excludes == ("*.tmp", "/sub/")
        assert list(collection.info()["skipped"]) == [str(photos / "broken.png")]
        home = collection.home
        ((digest, name),) = home.unread(b"", 1)
        with collection.writing(), home.batch(changes=False):
            home.put_inscription(digest, "read", "Exit \0 here")
        assert home.count_unread() == 3
        assert ids(collection.search("exit", by="words")) == [name.decode()]
        assert collection.search("exit", by="words")[0].found_in == "read"


@OF_RECORDS
def test_a_batch_is_whole_or_not_at_all(opening: Opening, paint: Paint, photos: Path) -> None:
    paint_some(paint)
    with opening() as collection:
        collection.add(photos)
        home, before = collection.home, collection.home.state

        def fails() -> None:
            with collection.writing(), home.batch():
                home.remove_file(b"red.png")
                assert home.file(b"red.png") is None
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fails()
        assert home.state == before
        assert home.file(b"red.png") is not None
        with collection.writing(), home.batch():
            home.remove_file(b"red.png")
        assert home.state.generation == before.generation + 1
        assert home.knows(before)


def test_a_reader_keeps_its_state_while_another_writes(opening: Opening, paint: Paint, photos: Path) -> None:
    paint_some(paint)
    with opening() as collection, opening() as other:
        collection.add(photos)
        with collection.home.snapshot():
            assert collection.count() == 6
            thread = threading.Thread(target=lambda: other.remove(photos / "sub"))
            thread.start()
            thread.join()
            assert collection.count() == 6
        assert collection.count() == 4
        assert len(collection.search("red", k=9, by="vectors", fold=None)) == 4


@OF_RECORDS
def test_only_one_writes(opening: Opening, paint: Paint, photos: Path) -> None:
    paint_some(paint)
    with opening() as collection, opening() as other:
        collection.add(photos)
        with (
            collection.writing(),
            pytest.raises(CollectionBusy, match=r"is being indexed by another process \(.*process \d+ on "),
        ):
            other.add(photos)
        assert other.add(photos).unchanged == 6


@OF_RECORDS
def test_another_model_is_refused(opening: Opening, paint: Paint, photos: Path) -> None:
    paint_some(paint)
    with opening() as collection:
        collection.add(photos)
    with opening(model=Given()) as collection, pytest.raises(WrongModel, match="was indexed with colours"):
        collection.add(photos)


def test_a_vector_of_other_dimensions_is_refused(opening: Opening) -> None:
    with opening(model=Given()) as collection:
        with pytest.raises(UsageError, match="must be 32 finite numbers"):
            collection.add_items([NewItem("x", vector=np.ones(5))])
        collection.add_items([NewItem("x", vector=np.ones(32))])
        assert collection.count() == 1


@OF_RECORDS
def test_an_odd_name_survives(opening: Opening, paint: Paint, photos: Path) -> None:
    name = b"odd \xff '\"\\ %s; name.png"
    path = photos / "plain.png"
    paint("plain.png", "red")
    path.rename(photos / name.decode("utf-8", "surrogateescape"))
    with opening() as collection:
        collection.add(photos)
        (found,) = collection.search("red")
        assert bytes(found.path).endswith(name)


def test_a_closed_one_says_so(opening: Opening, paint: Paint, photos: Path) -> None:
    paint_some(paint)
    with opening() as collection:
        collection.add(photos)
    with pytest.raises(CollectionError, match="is closed"):
        collection.count()


def test_the_command_line_takes_any_place(
    where: str, photos: Path, paint: Paint, run: Callable[..., tuple[int, str, str]]
) -> None:
    paint("cat.png", "red")
    code, _, said = run("index", str(photos), "--in", where)
    assert code == 0, said
    code, out, _ = run("search", "a", "cat", "--in", where, "--json")
    assert [one["id"] for one in json.loads(out)["results"]] == ["cat.png"]
    assert run("info", where, "--json")[0] == 0
    assert run("remove", str(photos / "cat.png"), "--in", where)[0] == 0


def test_an_address_of_no_server_is_refused() -> None:
    with pytest.raises(UsageError, match="begins with postgresql://"):
        diptych.open("mysql://somewhere/photos")


@OF_RECORDS
def test_pictures_of_a_storage_are_kept_under_their_addresses(opening: Opening, tmp_path: Path) -> None:
    bucket = tmp_path / "bucket"
    bucket.mkdir()
    for colour in ("red", "green"):
        Image.new("RGB", (20, 16), colour).save(bucket / f"{colour}.png")
    (bucket / "bad.png").write_text("no picture")
    address = bucket.as_uri()
    with opening() as collection:
        summary = collection.add(address)
        assert (summary.added, [one.path for one in summary.skipped]) == (2, [f"{address}/bad.png"])
        best = collection.search("green", k=1)[0]
        assert (best.id, best.path) == (f"{address}/green.png", None)
        assert collection.add(address).unchanged == 2
        (bucket / "red.png").unlink()
        assert collection.add(address).removed == 1
        assert list(collection.info()["skipped"]) == [f"{address}/bad.png"]


@pytest.mark.parametrize("by", [64, "hnsw"])
def test_codes_keep_what_they_promise(by: Any, opening: Opening, kind: str) -> None:
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((20, DIMENSIONS))

    def items(first: int, last: int) -> Any:
        for number in range(first, last):
            vector = centres[number % 20] + 0.4 * rng.standard_normal(DIMENSIONS)
            yield NewItem(str(number), vector=vector, meta={"rating": number % 3})

    with opening(model=Given()) as collection:
        collection.add_items(items(0, 1500), batch_size=500)
        if kind == "folder" and by == "hnsw":
            with pytest.raises(UsageError, match="in PostgreSQL"):
                collection.make_codes(by)
            return
        facts = collection.make_codes(by)
        assert {(one["side"], one["recall"]) for one in facts["calibrations"]} >= {("image", 0.98)}
        collection.add_items(items(1500, 1600), batch_size=100)
        collection.remove_items(map(str, range(100)))
        for where in (None, "rating = 1", "name = '1550'"):
            found = 0
            for number in range(30):
                asked: Any = {"k": 10, "by": "vectors", "where": where, "fold": None}
                said = f"query {number}"
                quick, exact = collection.search(said, **asked), collection.search(said, **asked, exact=True)
                assert len(quick) == len(exact)
                found += len({*ids(quick)} & {*ids(exact)}) / max(len(exact), 1)
            assert found / 30 > 0.93, where
        assert collection.info()["codes"]["bits"] == (64 if by == 64 else 0)
        packed = collection.home.packed()
        assert (packed is None) == (by == "hnsw")
