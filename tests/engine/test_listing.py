"""Which hits are listed: pages, copies under one of them, and not the picture that was asked with."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_helpers import Paint, names

from diptych.core import Item
from diptych.engine.collection import Collection, open
from diptych.engine.homes.entries import Stored
from diptych.engine.listing import in_order, listing
from diptych.errors import UsageError
from diptych.testing import Colours


@pytest.fixture
def collection(photos: Path, encoder: Colours, paint: Paint) -> Iterator[Collection]:
    """Sixty pictures, of which the reddest is there three times and the next twice."""
    rng = np.random.default_rng(3)
    for number in range(57):
        paint(f"{number:02}.png", tuple(int(value) for value in rng.integers(0, 200, 3)))
    paint("first.png", (255, 0, 0))
    paint("second.png", (250, 9, 0))
    for name, of in (
        ("first copy.png", "first.png"),
        ("sub/first.png", "first.png"),
        ("two.png", "second.png"),
    ):
        (photos / name).parent.mkdir(exist_ok=True)
        shutil.copy(photos / of, photos / name)
    with open(photos, model=encoder) as opened:
        opened.add()
        yield opened


def told(results: Any) -> list[tuple[str, list[str]]]:
    return [(r.id, list(r.copies)) for r in results]


@pytest.mark.parametrize("k", [1, 2, 7, 25])
@pytest.mark.parametrize("fold", ["exact", None])
def test_pages_are_the_whole_list_in_parts(collection: Collection, k: int, fold: Any) -> None:
    whole = collection.search("red", k=62, fold=fold)
    assert len(whole) == (59 if fold else 62)
    pages = [collection.search("red", k=k, offset=start, fold=fold) for start in range(0, 70, k)]
    joined = [result for page in pages for result in page]
    assert told(joined) == told(whole)
    assert [result.rank for result in joined] == list(range(1, len(whole) + 1))
    assert [result.score for result in joined] == pytest.approx([result.score for result in whole])


def test_copies_are_told_under_the_first(collection: Collection) -> None:
    found = collection.search("red", k=2)
    assert [len(one.copies) for one in found] == [2, 1]
    assert {found[0].id, *found[0].copies} == {"first.png", "first copy.png", "sub/first.png"}
    assert found[0].as_dict()["copies"] == list(found[0].copies)
    apart = collection.search("red", k=5, fold=None)
    assert [one.copies for one in apart] == [()] * 5
    assert {one.id for one in apart[:3]} == {found[0].id, *found[0].copies}


def test_a_copy_stands_in_for_one_that_is_gone(collection: Collection) -> None:
    first, *copies = collection.search("red", k=1)[0].copies
    gone = collection.search("red", k=1)[0].path
    gone.unlink()
    found = collection.search("red", k=1)
    assert found[0].id in (first, *copies)
    assert len(found[0].copies) == 1
    assert found.missing == 1


def test_same_words_of_copies_are_one_text_and_of_others_are_not(photos: Path, paint: Paint) -> None:
    paint("a.png", "red")
    shutil.copy(photos / "a.png", photos / "b.png")
    paint("c.png", "blue")
    for name in "abc":
        (photos / f"{name}.txt").write_text("a red wall")
    with open(photos, model=Colours()) as opened:
        opened.add()
        found = opened.search("red", to="text")
        assert sorted(len(one.copies) for one in found) == [0, 1]
        assert len(opened.search("red", to="text", fold=None)) == 3


def test_the_picture_asked_with_is_not_found_but_its_copies_are(collection: Collection) -> None:
    path = collection.folder / "first.png"
    found = collection.search(path, k=2)
    assert "first.png" not in [found[0].id, *found[0].copies]
    assert len(found[0].copies) == 1
    assert names(found)[1] in ("second.png", "two.png")
    for query in (
        Item(image=str(path)), collection.get("first.png"), collection.gallery("image")[0],
        collection.folder / "sub" / ".." / "first.png",
    ):  # fmt: skip
        hits = collection.search_many([query], k=100, fold=None)[0]
        assert len(hits) == 61, query
    assert len(collection.search(path, k=100, fold=None, itself=True)) == 62
    # What the picture is, only its file says.
    assert len(collection.search(path.read_bytes(), k=100, fold=None)) == 62


def test_a_link_to_the_picture_is_the_picture(collection: Collection, tmp_path: Path) -> None:
    link = tmp_path / "link.png"
    link.symlink_to(collection.folder / "07.png")
    assert "07.png" not in names(collection.search(image=link, k=100))


def test_what_is_kept_away_from_may_be_found(collection: Collection) -> None:
    path = collection.folder / "07.png"
    query = Item(terms=((1.0, Item(text="red")), (-0.5, Item(image=path))))
    assert "07.png" in names(collection.search(query, k=100))
    assert "07.png" not in names(collection.search("red", image=path, k=100))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"offset": -1}, "passed over, a whole number from 0 on, not -1"),
        ({"offset": 1.5}, "passed over, a whole number from 0 on, not 1.5"),
        ({"offset": True}, "passed over, a whole number from 0 on, not True"),
        ({"fold": "all"}, r"folded as exact or near, or not at all \(None\), not as 'all'"),
    ],
)
def test_what_is_no_page(collection: Collection, how: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        collection.search("red", **how)


def test_what_words_find_is_listed_in_pages_and_once(photos: Path, paint: Paint) -> None:
    for number in range(7):
        paint(f"{number}.png", (number, 9, 9))
        (photos / f"{number}.txt").write_text("a red wall")
    shutil.copy(photos / "3.png", photos / "again.png")
    (photos / "again.txt").write_text("a red wall")
    with open(photos, model=Colours()) as opened:
        opened.add()
        for by in ("words", "both"):
            whole = opened.search("red wall", k=8, by=by)
            assert len(whole) == 7
            assert sum(len(one.copies) for one in whole) == 1
            pages = [
                one for start in range(0, 9, 3) for one in opened.search("red wall", k=3, offset=start, by=by)
            ]
            assert told(pages) == told(whole)
            assert {one.by for one in whole} == {by}
        assert len(opened.search("red wall", k=9, fold=None, by="words")) == 8
        with pytest.raises(UsageError, match="vectors say; search by both, or leave these out"):
            opened.search("red wall", by="words", diverse=0.3)


def test_beyond_the_last_page_there_is_nothing(collection: Collection) -> None:
    assert list(collection.search("red", offset=1000)) == []


def test_a_deeper_search_adds_at_the_end() -> None:
    """Over codes a deeper search finds better entries, which an earlier page did not have."""
    seen: list[int] = []
    assert in_order(seen, np.array([4, 9, 2])).tolist() == [0, 1, 2]
    assert in_order(seen, np.array([7, 4, 9, 5, 2])).tolist() == [1, 2, 4, 0, 3]
    assert seen == [4, 9, 2, 7, 5]


def test_a_list_is_complete_when_what_follows_changes_nothing() -> None:
    def hit(row: int, digest: bytes) -> tuple[int, Stored]:
        return row + 1, Stored(row, "image", "a", Path("a"), None, "", hash=digest)  # one before is missing

    hits = [hit(0, b"x"), hit(1, b"y"), hit(2, b"y"), hit(3, b"z")]
    whole = [listing(hits[:n], n + 1, 2) for n in range(5)]
    assert [one.complete for one in whole] == [False, False, True, True, True]
    assert [[e.entry.row for e in one.entries] for one in whole] == [[], [0], [0, 1], [0, 1], [0, 1]]
    assert [one.missing for one in whole] == [1] * 5
    assert listing(iter(hits), 5, 2, fold=None).complete
    assert [e.entry.row for e in listing(hits, 5, 2, without={0}).entries] == [1, 3]


def test_no_more_is_read_than_is_listed_where_nothing_tells_what_looks_alike(collection: Collection) -> None:
    def hits() -> Iterator[tuple[int, Stored]]:
        for row in range(3):
            yield row, Stored(row, "image", "a", Path("a"), None, "", hash=bytes([row]))
        raise AssertionError("what follows changes nothing")

    assert listing(hits(), 100, 2, fold="near").complete
    newest = collection.newest(k=2, fold="near")
    assert [one.id for one in newest] == [one.id for one in collection.newest(k=2)]
