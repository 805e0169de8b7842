"""What goes wrong between a record and its copy in Milvus: nothing lost, nothing double, no secret told."""

from __future__ import annotations

import itertools
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

import diptych
from diptych.engine.collection import Collection, open_collection
from diptych.engine.homes.address import address_of
from diptych.engine.homes.milvus import connecting, vectors
from diptych.engine.homes.milvus.home import Milvus as Home
from diptych.engine.homes.milvus.mirror import Mirror
from diptych.engine.items import NewItem
from diptych.errors import CollectionError, ConnectionLost, MissingData, MissingExtra, UsageError
from diptych.testing import Colours
from servers import Milvus, Server

_numbers = itertools.count()
DIMENSIONS = 8


class Drawn(Colours):
    """An encoder whose vectors of texts are drawn by what they say."""

    name, fingerprint = "drawn", "drawn:1"

    def encode_image(self, images: Any) -> Any:
        return np.ones((len(images), DIMENSIONS))

    def encode_text(self, texts: Any) -> Any:
        return np.stack([drawn(text) for text in texts])


def drawn(text: str) -> Any:
    return np.random.default_rng(list(text.encode())).standard_normal(DIMENSIONS)


def some(first: int, last: int) -> Iterator[NewItem]:
    for number in range(first, last):
        yield NewItem(str(number), vector=drawn(str(number)), texts=[f"text {number}"])


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Busy machines take their time."""
    monkeypatch.setattr(connecting, "PATIENCE", 120.0)


@pytest.fixture
def record(tmp_path: Path) -> Path:
    (tmp_path / "record").mkdir()
    return tmp_path / "record"


@pytest.fixture
def address(milvus: Milvus, record: Path) -> str:
    return milvus.address(f"faults{next(_numbers)}", record)


@pytest.fixture
def collection(address: str) -> Iterator[Collection]:
    with open_collection(address, model=Drawn()) as collection:
        collection.add_items(some(0, 20))
        yield collection


def mirrors(collection: Collection) -> list[Mirror]:
    home: Any = collection.home
    assert isinstance(home, Home)
    return list(home._mirrors.values())


def found(collection: Collection, text: str, **how: Any) -> list[str]:
    results = collection.search(text, k=500, by="vectors", fold=None, **how)
    return [result.id for result in results]


def whole(collection: Collection, names: Any) -> None:
    """See that the copy finds what the record has, each once, as a folder would."""
    for text in ("red", "green"):
        expected = sorted(map(int, names), key=lambda one: -near(text, one))
        assert found(collection, text) == list(map(str, expected))
    for mirror in mirrors(collection):
        assert mirror._count() == 2 * len(expected)
        for side in ("image", "text"):
            assert mirror.there(side).tolist() == collection.home.row_numbers(side).tolist()


def near(text: str, number: int) -> float:
    kept = drawn(str(number))
    kept = (kept / np.linalg.norm(kept)).astype(np.float16).astype(np.float64)
    asked = drawn(text)
    return float(kept @ asked / np.linalg.norm(asked))


def test_a_server_that_is_killed_and_comes_back_is_waited_for(
    milvus: Milvus, collection: Collection, address: str
) -> None:
    milvus.kill()
    back = threading.Timer(1.0, milvus.start)
    back.start()
    try:
        collection.add_items(some(20, 40), batch_size=5)
    finally:
        back.join()
    whole(collection, range(40))
    with open_collection(address, model=Drawn()) as other:
        whole(other, range(40))


def test_a_server_that_is_away_is_one_sentence_and_nothing_is_lost(
    milvus: Milvus, record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "PATIENCE", 0.5)
    with diptych.open(record, model=Drawn()) as folder:
        folder.add_items(some(0, 5))
    away = f"milvus://me:hidden%21@127.0.0.1:9/?record={record}&token=alsohidden"
    with open_collection(away, model=Drawn()) as collection:
        assert collection.home.name == f"milvus://me@127.0.0.1:9/?record={record}"
        assert [one.id for one in collection.search("text 3", by="words", k=1)] == ["3"]
        for doing in (
            lambda: collection.search("red", by="vectors"),
            lambda: collection.add_items(some(5, 9)),
        ):
            with pytest.raises(ConnectionLost, match=r"does not answer .* whether the server runs") as told:
                doing()
            assert "hidden" not in str(told.value)
            assert "\n" not in str(told.value)
        assert collection.count() == 5
    with open_collection(milvus.address(f"faults{next(_numbers)}", record), model=Drawn()) as collection:
        collection.add_items(some(5, 9))
        whole(collection, range(9))


def test_a_server_that_was_emptied_is_filled_again(collection: Collection, address: str) -> None:
    whole(collection, range(20))
    home: Any = collection.home
    (mirror,) = mirrors(collection)
    mirror._drop()
    whole(collection, range(20))
    home.server.ask(lambda client: client.delete(mirror.form.name, ids=[3, 5]))
    with open_collection(address, model=Drawn()) as other:
        whole(other, range(20))


def test_whoever_is_stopped_half_way_leaves_nothing_double(
    collection: Collection, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole(collection, range(20))
    with monkeypatch.context() as patched:

        def stopped(*_: Any) -> None:
            raise KeyboardInterrupt

        patched.setattr(Mirror, "_say", stopped)
        with pytest.raises(KeyboardInterrupt):
            collection.add_items(some(20, 30))
    collection.remove_items(["2", "25"])  # of which one came only now
    left = [number for number in range(30) if number not in (2, 25)]
    with open_collection(address, model=Drawn()) as other:
        whole(other, left)
    whole(collection, left)


def test_a_reader_of_an_earlier_state_finds_what_was_removed_since(
    collection: Collection, address: str
) -> None:
    whole(collection, range(20))

    def change() -> None:
        with open_collection(address, model=Drawn()) as other:
            other.remove_items(["1", "7"])
            other.add_items(some(20, 25))
            whole(other, [number for number in range(25) if number not in (1, 7)])

    with collection.home.snapshot():
        thread = threading.Thread(target=change)
        thread.start()
        thread.join()
        assert set(found(collection, "red")) == set(map(str, range(20)))
    whole(collection, [number for number in range(25) if number not in (1, 7)])


def test_a_record_that_was_put_back_from_a_copy_is_followed(
    milvus: Milvus, record: Path, tmp_path: Path
) -> None:
    address = milvus.address(f"faults{next(_numbers)}", record)
    with open_collection(address, model=Drawn()) as collection:
        collection.add_items(some(0, 10))
    shutil.copytree(record, tmp_path / "saved")
    with open_collection(address, model=Drawn()) as collection:
        collection.add_items(some(10, 20))
    shutil.rmtree(record)
    shutil.copytree(tmp_path / "saved", record)
    with open_collection(address, model=Drawn()) as collection:
        collection.add_items(some(30, 40))  # under the same numbers of rows as those that are gone
        whole(collection, [*range(10), *range(30, 40)])


def test_filters_are_pushed_down_where_that_is_sensible(
    milvus: Milvus, record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_collection(milvus.address(f"faults{next(_numbers)}", record), model=Drawn()) as collection:
        collection.add_items(
            NewItem(str(number), vector=drawn(str(number)), meta={"tenth": number % 10})
            for number in range(400)
        )
        asked: list[Any] = []
        real = Mirror.search

        def watched(self: Any, *given: Any, **how: Any) -> Any:
            asked.append(how.get("within"))
            return real(self, *given, **how)

        monkeypatch.setattr(Mirror, "search", watched)
        for few, most, expected in ((4096, 16384, []), (10, 16384, [False]), (10, 60, [True])):
            monkeypatch.setattr(vectors, "_FEW", few)
            monkeypatch.setattr(vectors, "MOST", most)
            asked.clear()
            results = collection.search("red", k=5, by="vectors", where="tenth = 3")
            assert [one.id for one in results] == [
                str(one) for one in sorted(range(3, 400, 10), key=lambda one: -near("red", one))[:5]
            ]
            assert [within is not None for within in asked] == expected
        monkeypatch.setattr(vectors, "MOST", 20)  # so that all are compared here
        assert len(collection.search("red", k=50, by="vectors")) == 50


def test_copies_of_models_that_were_dropped_go(collection: Collection) -> None:
    home: Any = collection.home
    collection.make_codes("hnsw")
    before = set(names(home))
    assert len(before) == 2
    collection.add_model(Other())
    collection.set_default_model("other")
    collection.drop_model("drawn")
    collection.home.tidy()
    assert not before & set(names(home))


class Other(Drawn):
    name, fingerprint = "other", "other:1"


class Long(Drawn):
    def encode_image(self, images: Any) -> Any:
        return np.ones((len(images), 40_000))


def names(home: Any) -> list[str]:
    every = home.server.ask(lambda client: client.list_collections())
    return [name for name in every if name.startswith(home._prefix)]


def test_the_record_may_live_in_postgresql(milvus: Milvus, postgres: Server, tmp_path: Path) -> None:
    inner = quote(postgres.address(f"record{next(_numbers)}"), safe="")
    address = milvus.address(f"faults{next(_numbers)}", inner)
    with open_collection(address, model=Drawn(), folder=tmp_path) as collection:
        collection.add_items(some(0, 30))
        collection.remove_items(["4"])
        whole(collection, [number for number in range(30) if number != 4])
        collection.make_codes("hnsw")
        assert len(collection.search("red", k=5, by="vectors", recall=0.9)) == 5
    with open_collection(postgres.address(f"record{next(_numbers) - 2}"), model=Drawn()) as alone:
        assert alone.count() == 29


def test_a_missing_client_is_said(record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with (
        open_collection(f"milvus://127.0.0.1/?record={record}", model=Drawn()) as collection,
        pytest.raises(MissingExtra, match=r"pip install 'diptych\[milvus\]'"),
    ):
        collection.add_items(some(0, 1))


def test_what_milvus_refuses_is_a_sentence() -> None:
    class Client:
        def list_collections(self, **_: Any) -> None:
            raise ValueError(said)

        def close(self) -> None:
            pass

    address = address_of("milvus://me:s3cret@db/?record=photos")
    assert address is not None
    server = connecting.Server(address)
    server._client, server._errors = Client(), (ValueError,)
    said = "auth check failure, please check api key or s3cret is correct"
    with pytest.raises(CollectionError, match=r"refuses user and password \(auth .*MILVUS_PASSWORD") as told:
        server.connect()
    assert "s3cret" not in str(told.value)
    said = "something\nnew with s3cret"
    with pytest.raises(CollectionError, match=r"could not do what was asked \(something new with \*\*\*\)"):
        server.connect()


def test_vectors_beyond_what_milvus_takes_are_refused(record: Path, milvus: Milvus) -> None:
    address = milvus.address("long", record)
    with (
        pytest.raises(UsageError, match="at most 32768 dimensions"),
        open_collection(address, model=Long()) as collection,
    ):
        collection.add_items([NewItem("x", vector=np.ones(40_000))])


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("milvus://db", "says where the record lives"),
        ("milvus:///?record=x", "names its machine"),
        ("milvus://db/?record=milvus://db/", "in a folder or in PostgreSQL, not there"),
        ("milvus://db/?record=x&secure=1", "says nothing of secure"),
        ("milvus://db/?record=x&collection=A-b", "named by small letters"),
        ("milvus://db:x/?record=x", "cannot be read"),
        ("milvus://db/?record=mysql://x", "begins with postgresql://"),
    ],
)
def test_addresses_that_are_none(address: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        address_of(address)


def test_what_an_address_says() -> None:
    given = "milvus://me:a%40b@db:1/other?record=postgresql://you:hid@pg/p%3Fsslmode%3Drequire&tls=yes&collection=c"
    found = address_of(given)
    assert found is not None
    assert (found.url, found.user, found.password, found.database) == ("https://db:1", "me", "a@b", "other")
    assert found.record == "postgresql://you:hid@pg/p?sslmode=require"
    assert found.shown == "milvus://me@db:1/other?record=postgresql://you@pg/p?sslmode=require&collection=c"
    assert address_of("milvus://db/?record=photos").url == "http://db:19530"  # type: ignore[union-attr]
    with pytest.raises(MissingData, match="is not a folder; make it first"):
        diptych.open("milvus://db/?record=no/such/folder")
