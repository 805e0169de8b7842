"""Searches limited by the fields of pictures, counts and facets: exact, and told where they are wrong."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_helpers import Paint
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import diptych
from diptych import where
from diptych.engine.collection import Collection, open_collection
from diptych.engine.conditions import AllOf, AnyOf, Condition, Negation, Test
from diptych.engine.filters import checked, parsed
from diptych.engine.homes.folding import folded
from diptych.engine.homes.local.record import Record
from diptych.errors import UsageError
from diptych.testing import Colours

PICTURES: dict[str, dict[str, Any]] = {
    "trips/Alps/a.jpg": {"date": "2023:12:31 23:59:59", "camera": "X100", "tag": "Dog;snow", "stars": 5},
    "trips/b.jpg": {"date": "2024:01:01 00:00:00", "camera": "x100", "tag": "beach", "stars": 3},
    "Ärger/c.jpg": {
        "date": "2024:05:01 10:30:00",
        "camera": "D750",
        "place": "Österreich",
        "when": "2020-02-29",
    },
    "d.jpg": {"tag": "dog;beach", "code": "0012", "when": "unknown", "stars": 3.5},
    "e.jpg": {},
}
SIZE = {"e.jpg": (30, 40)}


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collection]:
    folder = tmp_path_factory.mktemp("photos")
    columns = ["camera", "tag", "stars", "place", "when", "code"]
    lines = ["image," + ",".join(columns)]
    for at, (name, facts) in enumerate(PICTURES.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        if "date" in facts:
            exif.get_ifd(0x8769)[0x9003] = facts["date"]
        Image.new("RGB", SIZE.get(name, (40, 30)), (50 * at, 200, 100)).save(path, exif=exif)
        lines.append(name + "," + ",".join(str(facts.get(column, "")) for column in columns))
        moment = datetime.datetime(2020 + at, 6, 15, 12).timestamp()
        os.utime(path, (moment, moment))
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with open_collection(folder, model=Colours()) as opened:
        opened.add()
        yield opened


def found(collection: Collection, condition: str | Condition) -> str:
    """The pictures that fulfil a condition, each by its letter; a search and a count must agree."""
    results = collection.search("green", k=10, where=condition)
    assert collection.count(where=condition) == len(results)
    return "".join(sorted(result.path.stem for result in results))


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("date = 2024", "bc"),
        ("date = 2024-01", "b"),
        ("date = '2024-05-01 10:30'", "c"),
        ("date > 2023", "bc"),
        ("date >= 2023-12-31", "abc"),
        ("date < 2024", "a"),
        ("date <= 2024-01", "ab"),
        ("date between 2023-12 and 2024-01-01", "ab"),
        ("year in (2023, 2025)", "a"),
        ("date is null", "de"),
        ("date is not null", "abc"),
        ("not date = 2024", "ade"),
        ("date != 2024", "ade"),
        ("camera = 'X100'", "ab"),
        ("camera = x100 and not date = 2024", "a"),
        ("camera <> 'X100'", "cde"),
        ("camera in ('d750', 'X100') and date >= 2024-01-01", "bc"),
        ("camera not in ('X100')", "cde"),
        ("camera > 'D750'", "ab"),
        ("camera < 'E'", "c"),
        ("camera like '%50'", "c"),
        ("camera like 'X1__'", "ab"),
        ("camera not like 'X%'", "cde"),
        ("camera like 'X1\\_0'", ""),
        ("tag = dog", "ad"),
        ("tag = dog and tag = beach", "d"),
        ("tag = dog or tag = beach", "abd"),
        ("tag in (dog, beach) and not tag = beach", "a"),
        ("tag != 'dog'", "bce"),
        ("folder = 'trips'", "b"),
        ("folder like 'trips/%'", "a"),
        ("folder like 'trips%'", "ab"),
        ("folder = ''", "de"),
        ("folder = 'ÄRGER'", "c"),
        ("name like '%.JPG'", "abcde"),
        ("name = 'E.JPG'", "e"),
        ("stars >= 3 and stars < 5", "bd"),
        ("rating = 3.5", "d"),
        ("rating between 3.2 and 5", "ad"),
        ("width < 40", "e"),
        ("orientation = portrait", "e"),
        ("format = JPEG and size > 0", "abcde"),
        ("size = 0 or size > 1e9", ""),
        ("modified = 2021", "b"),
        ("modified >= 2022-06-15", "cde"),
        ("modified > 2022-06-15 and modified <= 2023-06", "d"),
        ("modified between 2020 and 2021", "ab"),
        ("modified = '2020-06-15 12:00'", "a"),
        ("modified < 9999 and modified > '0001'", "abcde"),
        ("place = 'österreich'", "c"),
        ('"place" = "ÖSTERREICH"', "c"),
        ("when > 2000-01-01", "c"),
        ("when = 2020-02", "c"),
        ("when = 'unknown'", "d"),
        ("when is not null and not when like 'un%'", "c"),
        ("code = '0012'", "d"),
        ("code = 12", ""),
        ("(camera = X100 or tag = dog) and (stars > 4 or stars < 3.6) and not (name = 'b.jpg')", "ad"),
        ("latitude > 0", ""),
    ],
)
def test_what_fulfils_a_condition(collection: Collection, condition: str, expected: str) -> None:
    assert found(collection, condition) == expected


def test_python_says_the_same(collection: Collection) -> None:
    assert found(collection, (where.date >= 2024) & ~where.tag.is_in("dog", "beach")) == "c"
    assert found(collection, (where.camera == "x100") | where.date.is_null()) == "abde"
    assert (
        found(collection, where.date.between(datetime.date(2024, 1, 1), datetime.datetime(2024, 5, 2)))
        == "bc"
    )
    assert found(collection, where["stars"] >= np.float32(3.5)) == "ad"
    assert found(collection, (where.camera != "X100") & where.folder.like("är%")) == "c"
    assert found(collection, (where.rating < 4) & (where.rating > 3) & (where.rating <= 9)) == "d"
    text = repr((where.date >= 2024) & ~(where.tag == "it's") | where.camera.is_null())
    assert repr(parsed(text)) == text


def test_conditions_say_how_they_are_combined() -> None:
    with pytest.raises(UsageError, match=r"with &, \| and ~"):
        _ = (where.date >= 2024) and (where.camera == "X")
    with pytest.raises(UsageError, match="is no condition"):
        _ = (where.date >= 2024) & True  # type: ignore[operator]
    with pytest.raises(UsageError, match="a list"):
        _ = where.tag == ["a"]


@pytest.mark.parametrize(
    ("condition", "what", "place"),
    [
        ("camra = 'X'", "no picture here has a field 'camra'; did you mean camera", 0),
        ("date = 2024 and plaace = 'x'", "did you mean place", 16),
        ("zzz = 1", "there are camera, city", 0),
        ("width > wide", "width is compared with numbers, and 'wide' is none", 0),
        ("date > soon", "date is compared with dates such as 2024", 0),
        ("date = 2024-13", "'2024-13' is none", 0),
        ("size like '1%'", "size is no text", 0),
        ("camera =", "expected a number, a date such as 2024-05-01 or a text in '...'", 8),
        ("camera = 'X' tag = dog", "expected and, or", 13),
        ("(camera = 'X'", "expected )", 13),
        ("date >= 2024; drop table file", "expected and, or", 12),
        ("tag in ()", "expected a number", 8),
        ("camera like 5", "expected a text", 12),
    ],
)
def test_an_error_points_at_the_place(collection: Collection, condition: str, what: str, place: int) -> None:
    with pytest.raises(UsageError, match="the filter cannot be used") as caught:
        collection.count(where=condition)
    said, (line, mark) = str(caught.value), caught.value.__notes__
    assert f"character {place + 1} on" in said
    assert what in said
    assert line == f"  {condition}"
    assert mark == "  " + " " * place + "^"


def test_other_filters_that_are_none(collection: Collection) -> None:
    for wrong, what in (
        (" ", "empty"),
        ("a" * 20_001, "at most 20,000"),
        (5, "not a int|not an int|not int"),
    ):
        with pytest.raises(UsageError, match=what):
            collection.search("green", where=wrong)  # type: ignore[arg-type]
    deep = "tag = a or (" * 60 + "tag = b" + " and tag = c)" * 60
    with pytest.raises(UsageError, match="at most 50 levels"):
        collection.count(where=deep)
    assert collection.count(where="not " * 4_000 + "tag = dog") == 2


def test_a_long_text_is_shown_around_the_place(collection: Collection) -> None:
    condition = " or ".join(["tag = 'dog'"] * 30) + " or tagg = 'x'"
    with pytest.raises(UsageError, match="did you mean tag") as caught:
        collection.count(where=condition)
    line, mark = caught.value.__notes__
    assert line[len(mark) - 1 :].startswith("tagg")
    assert len(line) < 150


def test_nothing_of_a_filter_reaches_the_database_but_values(collection: Collection) -> None:
    before = len(collection)
    for value in ("x'; DROP TABLE fact; --", "%' OR 1=1 --", "' UNION SELECT 1 --"):
        literal = value.replace("'", "''")
        assert collection.count(where=f"camera = '{literal}' or camera like '{literal}'") == 0
    for value in ("\0", "x" * 1_001, "\ud800"):
        with pytest.raises(UsageError, match="camera cannot be compared with"):
            collection.count(where=where.camera == value)
    assert len(collection) == before


def test_facets_are_exact_and_follow_the_filter(collection: Collection) -> None:
    assert collection.facets("camera") == {"X100": 2, "D750": 1, None: 2}
    assert collection.facets("tag") == {"beach": 2, "Dog": 2, "snow": 1, None: 2}
    assert list(collection.facets("year").items()) == [(2024, 2), (2023, 1), (None, 2)]
    assert collection.facets("folder") == {"": 2, "trips": 1, "trips/Alps": 1, "Ärger": 1}
    assert collection.facets("camera", where="date >= 2024") == {"X100": 1, "D750": 1}
    assert collection.facets("stars", where="tag = beach") == {3: 1, 3.5: 1}
    assert collection.facets("city") == {None: 5}
    for name, what in (("size", "a size of its own"), ("camra", "did you mean camera")):
        with pytest.raises(UsageError, match=what):
            collection.facets(name)


def test_a_folder_inside_counts_its_own(collection: Collection) -> None:
    with diptych.open(collection.folder / "trips", model=Colours()) as inside:
        assert inside.count(where="tag is not null") == 2
        assert inside.facets("year") == {2023: 1, 2024: 1}
        assert found(inside, "date = 2024") == "b"


def test_texts_are_found_by_the_fields_of_their_pictures(
    photos: Path, paint: Paint, encoder: Colours
) -> None:
    for name in ("a", "b"):
        paint(f"{name}.png", "red")
        (photos / f"{name}.txt").write_text("red\nalso red\n")
    (photos / "metadata.csv").write_text("image,owner\na.png,Ann\nb.png,Bob\n")
    with open_collection(photos, model=encoder) as collection:
        collection.add()
        texts = collection.search("red", to="text", where="owner = ann")
        assert {result.id for result in texts} == {"a.png"}
        assert collection.count("text", where="owner = ann") == 2
        assert collection.facets("owner", side="text") == {"Ann": 2, "Bob": 2}


def test_what_changes_is_seen_at_once(photos: Path, paint: Paint, encoder: Colours) -> None:
    paint("a.png", "red"), paint("b.png", "blue")
    with open_collection(photos, model=encoder) as collection, diptych.open(photos, model=encoder) as reader:
        collection.add()
        for stars, expected in (("a.png,1\nb.png,5\n", "b"), ("a.png,5\nb.png,5\n", "ab"), ("a.png,4\n", "")):
            (photos / "metadata.csv").write_text("image,stars\n" + stars)
            collection.add()
            assert found(collection, "stars = 5") == found(reader, "stars = 5") == expected


# Against a slow reading of the same rules

VALUES = {
    "camera": ["x", "Y", "z"],
    "tag": ["a", "B", "c"],
    "rating": [1, 2, 3.5],
    "date": ["2023", "2024-05-01"],
}


def conditions() -> st.SearchStrategy[Condition]:
    def test(name: str) -> st.SearchStrategy[Condition]:
        value = st.sampled_from(VALUES[name])
        compared = st.builds(
            lambda operator, one: Test(name, operator, (one,)),
            st.sampled_from(["=", "<", "<=", ">", ">="]),
            value,
        )
        between = st.builds(lambda one, two: Test(name, "between", (one, two)), value, value)
        return st.one_of(compared, between, st.just(Test(name, "known")))

    return st.recursive(
        st.sampled_from(sorted(VALUES)).flatmap(test),
        lambda inner: st.one_of(
            st.builds(lambda *parts: AllOf(parts), inner, inner),
            st.builds(lambda *parts: AnyOf(parts), inner, inner),
            st.builds(Negation, inner),
        ),
        max_leaves=8,
    )


def fulfils(condition: Condition, fields: dict[str, tuple[Any, ...]]) -> bool:
    if isinstance(condition, Negation):
        return not fulfils(condition.of, fields)
    if isinstance(condition, AllOf | AnyOf):
        every = [fulfils(part, fields) for part in condition.parts]
        return all(every) if isinstance(condition, AllOf) else any(every)
    assert isinstance(condition, Test)
    return any(passes(condition, value) for value in fields.get(condition.field, ()))


def passes(test: Test, value: Any) -> bool:
    if test.operator == "known":
        return True
    first, last = test.values[0], test.values[-1]
    if isinstance(value, str):
        value, first, last = folded(value), folded(str(first)), folded(str(last))
        if test.field == "date":  # as far as the shorter of the two says
            low, high = value[: len(first)], value[: len(last)]
            order = {
                "=": low == first,
                "<": low < first,
                "<=": high <= last,
                ">": high > last,
                ">=": low >= first,
            }
            return bool(low >= first and high <= last if test.operator == "between" else order[test.operator])
    order = {"=": value == first, "<": value < first, "<=": value <= first, ">": value > first}
    order |= {">=": value >= first, "between": first <= value <= last}
    return bool(order[test.operator])


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Record, dict[int, Any]]]:
    folder = tmp_path_factory.mktemp("record")
    record = Record(folder / "collection.sqlite", folder)
    rng, known = np.random.default_rng(0), {}
    dates = ["2023-01-01 00:00:00", "2024-05-01 10:00:00", "2024-05-02 00:00:00", "2022-12-31 23:59:59"]
    with record.batch():
        record.put_column("main", "m", "f", "cosine", 1)
        for number in range(200):
            fields: dict[str, tuple[Any, ...]] = {}
            for name, values in {**VALUES, "date": dates}.items():
                count = int(rng.integers(0, 3 if name == "tag" else 2))
                if count:
                    fields[name] = tuple(values[at] for at in rng.permutation(len(values))[:count])
            file = record.put_file(f"{number}.png".encode(), 1, 1, b"h")
            record.put_fields(file, fields)
            record.put_image(file, b"\0\0")
            known[record.rows_of(f"{number}.png".encode())[0]] = fields
        record.remove_file(b"7.png")
    del known[8]
    yield record, known
    record.close()


@settings(max_examples=200, deadline=None)
@given(conditions())
def test_any_condition_gives_what_a_slow_reading_gives(record: Any, condition: Condition) -> None:
    home, known = record
    rows = home.matching("image", checked(condition, home.field_names()))
    assert rows.tolist() == [row for row, fields in known.items() if fulfils(condition, fields)]
    facets = home.facets("image", "tag", rows)
    tags = [folded(tag) for row in rows for tag in known[row].get("tag", ())]
    assert {folded(tag): n for tag, n in facets.items() if tag} == {tag: tags.count(tag) for tag in set(tags)}


def test_with_a_filter_alone_the_newest_come_first(collection: Collection) -> None:
    def names(**how: Any) -> str:
        return "".join(Path(result.id).stem for result in collection.newest(**how))

    assert names() == "cbaed"  # those without a date after those with one, by their files' time
    assert names(where="tag = beach") == "bd"
    assert names(k=2) + names(k=2, offset=2) + names(k=2, offset=4) == "cbaed"
    assert names(where="date = 1999") == ""
    found = collection.newest(where="camera = d750")[0]
    assert (found.by, found.score, found.percentile, found.meta["date"][:10]) == (
        "date",
        0,
        None,
        "2024-05-01",
    )
    with pytest.raises(UsageError, match="at least 1"):
        collection.newest(k=0)


def test_the_newest_of_a_folder_inside_are_its_own(collection: Collection) -> None:
    with open_collection(collection.folder / "trips", create=False) as inside:
        assert [result.id for result in inside.newest(where="tag is not null")] == [
            "trips/b.jpg",
            "trips/Alps/a.jpg",
        ]
