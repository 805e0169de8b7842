"""What goes wrong between a collection and its server: nothing lost, nothing stored twice, no secret told."""

from __future__ import annotations

import itertools
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych.engine.collection import Collection, open_collection
from diptych.engine.homes.postgres import database, schema
from diptych.engine.homes.postgres.vectors import Exact
from diptych.engine.items import NewItem
from diptych.errors import CollectionBusy, CollectionError, ConnectionLost, DiptychError, TooNew
from diptych.testing import Colours
from servers import Server, postgres_server

_numbers = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server of these tests' own, as they end it."""
    with postgres_server() as server:
        yield server


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Busy machines take their time."""
    monkeypatch.setattr(database, "PATIENCE", 120.0)


@pytest.fixture
def address(server: Server) -> str:
    return server.address(f"faults{next(_numbers)}")


@pytest.fixture
def collection(address: str, tmp_path: Path) -> Iterator[Collection]:
    with open_collection(address, model=Colours(), folder=tmp_path) as collection:
        collection.add_items(some(0, 20))
        yield collection


def some(first: int, last: int) -> Iterator[NewItem]:
    for number in range(first, last):
        yield NewItem(str(number), vector=np.arange(3) + number % 7 + 1.0, texts=[f"text {number}"])


def cut_off(server: Server) -> None:
    """End all connections but our own."""
    server.say(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'diptych%'"
    )


def whole(collection: Collection, count: int) -> None:
    names, vectors = collection.vectors("image")
    assert sorted(map(int, names)) == list(range(count))
    assert len(vectors) == count == collection.count("text")
    assert collection.info()["check"] == "ok"


def test_a_server_that_is_killed_while_it_is_written_to(server: Server, collection: Collection) -> None:
    def items() -> Iterator[NewItem]:
        for number, item in enumerate(some(20, 60)):
            if number == 17:
                server.kill()
                threading.Timer(0.5, server.start).start()
            yield item

    collection.add_items(items(), batch_size=5)
    whole(collection, 60)


def test_a_connection_that_is_lost_within_a_batch(
    server: Server, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, real = collection.home, type(collection.home).put_captions
    calls = itertools.count()

    def cutting(self: Any, *given: Any) -> None:
        if next(calls) in (3, 9):
            cut_off(server)
        real(self, *given)

    monkeypatch.setattr(type(home), "put_captions", cutting)
    collection.add_items(some(20, 40), batch_size=10)
    whole(collection, 40)


def test_a_batch_whose_answer_is_lost_is_not_stored_twice(
    server: Server, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, lost = database._commit, iter([True])
    before = collection.home.state.generation

    def losing(connection: Any) -> None:
        real(connection)
        if next(lost, False):
            cut_off(server)
            connection.execute("SELECT 1")

    monkeypatch.setattr(database, "_commit", losing)
    collection.add_items(some(20, 30), batch_size=100)
    whole(collection, 30)
    assert collection.home.state.generation == before + 1


def test_whoever_wrote_meanwhile_is_not_written_over(
    server: Server, collection: Collection, address: str, tmp_path: Path
) -> None:
    def items() -> Iterator[NewItem]:
        yield from some(20, 30)
        cut_off(server)
        with open_collection(address, model=Colours()) as other:
            other.add_items(some(100, 101))
        yield from some(30, 40)

    with pytest.raises(CollectionBusy, match="somebody else wrote to it meanwhile"):
        collection.add_items(items(), batch_size=10)
    assert collection.count() == 31
    collection.add_items(some(30, 40))
    assert collection.count() == 41


def test_a_connection_that_is_lost_within_a_search(
    server: Server, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = collection.search("red", k=5)
    real, cut = Exact.search, iter([True, True])

    def cutting(self: Any, *given: Any) -> Any:
        if next(cut, False):
            cut_off(server)
        return real(self, *given)

    monkeypatch.setattr(Exact, "search", cutting)
    assert [one.id for one in collection.search("red", k=5)] == [one.id for one in expected]


def test_a_server_that_stays_away_is_told_and_found_again(
    server: Server, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "PATIENCE", 0.3)
    server.kill()
    try:
        with pytest.raises(ConnectionLost, match=r"look whether the server runs|was lost"):
            collection.search("red")
        with pytest.raises(ConnectionLost):
            collection.add_items(some(20, 30))
    finally:
        server.start()
    monkeypatch.setattr(database, "PATIENCE", 120.0)
    assert len(collection.search("red", k=5)) == 5
    collection.add_items(some(20, 30))
    whole(collection, 30)


def test_a_full_disk_of_the_server(server: Server, collection: Collection, address: str) -> None:
    name = address.rpartition("=")[2]
    server.say(
        f"CREATE FUNCTION {name}.full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF new.row > 55 THEN "
        "RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END IF; RETURN new; END $$",
        f"CREATE TRIGGER full_disk BEFORE INSERT ON {name}.item FOR EACH ROW EXECUTE FUNCTION {name}.full()",
    )
    with pytest.raises(CollectionError, match=r"the disk of postgresql:.* is full; make room"):
        collection.add_items(some(20, 90), batch_size=5)
    stored = collection.count()
    assert stored % 5 == 0
    server.say(f"DROP TRIGGER full_disk ON {name}.item")
    collection.add_items(some(stored, 90))
    whole(collection, 90)


def test_a_format_that_is_newer(server: Server, collection: Collection, address: str) -> None:
    server.say(f"UPDATE {address.rpartition('=')[2]}.setting SET value = '99' WHERE name = 'schema'")
    with pytest.raises(TooNew, match="format 99, this one knows up to"):
        open_collection(address)


def test_a_schema_of_something_else_and_one_in_pieces(server: Server, address: str) -> None:
    name = address.rpartition("=")[2]
    server.say(f"CREATE SCHEMA {name}", f"CREATE TABLE {name}.bills (id int)")
    with pytest.raises(CollectionError, match="holds something else; name another"):
        open_collection(address)
    server.say(f"DROP SCHEMA {name} CASCADE")
    with open_collection(address, model=Colours(), folder="/") as collection:
        collection.add_items(some(0, 3))
        server.say(f"DROP TABLE {name}.item CASCADE")
        with pytest.raises(CollectionError, match="holds no whole collection"):
            collection.count()


def test_a_vector_of_other_dimensions(collection: Collection) -> None:
    def put() -> None:
        with collection.writing(), collection.home.batch():
            file = collection.home.put_file(b"x", 1, 1, b"hash")
            collection.home.put_image(file, np.ones(5, np.float16).tobytes())

    with pytest.raises(CollectionError, match="vector of 5 dimensions does not go into a column of 3"):
        put()
    assert collection.home.file(b"x") is None


def test_a_name_that_is_too_long(collection: Collection) -> None:
    name = np.random.default_rng(0).integers(65, 90, 4000).astype(np.uint8).tobytes()
    with (
        pytest.raises(CollectionError, match="takes no name of a file or text as long as"),
        collection.writing(),
        collection.home.batch(),
    ):
        collection.home.put_file(name, 1, 1, b"hash")


def test_wrong_credentials_are_refused_and_never_told(
    server: Server, run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = server.folder / "pg_hba.conf"
    before = rules.read_text()
    server.say("CREATE ROLE guest LOGIN PASSWORD 'right'", "CREATE DATABASE guests")
    rules.write_text("local all guest scram-sha-256\n" + before)
    server.say("SELECT pg_reload_conf()")
    place = server.uri.partition("?")[2]
    try:
        for secret in ("tops3cret", "a%40b%2Fc-secret"):
            address = f"postgresql://guest:{secret}@/guests?{place}"
            code, out, said = run("info", address)
            assert (code, "refuses user and password" in said) == (1, True)
            with pytest.raises(CollectionError) as raised:
                open_collection(address)
            told = out + said + "".join(traceback.format_exception(raised.value))
            assert secret not in told
            assert "a@b/c-secret" not in told
        address = f"postgresql://guest:right@/guests?{place}"
        code, _, said = run("index", str(Path(__file__).parent), "--in", address)
        assert (code, "CREATE EXTENSION vector" in said, "right" in said) == (1, True, False)
        for odd in ("postgresql://guest:tops3cret@/guests?host=%zz", "postgresql://x:tops3cret@[::1/db"):
            with pytest.raises(DiptychError, match=r"address|does not answer") as odder:
                open_collection(odd)
            assert "tops3cret" not in "".join(traceback.format_exception(odder.value))
        code, _, said = run("info", f"postgresql://postgres@/nowhere?{place}")
        assert (code, "does not exist" in said) == (1, True)
        code, _, said = run("info", "postgresql://postgres@/postgres?host=/nowhere/at/all")
        assert (code, "look whether the server runs" in said) == (1, True)
    finally:
        rules.write_text(before)
        server.say("SELECT pg_reload_conf()")


def test_an_extension_that_is_missing_or_too_old(
    server: Server, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(schema, "EXTENSION", "no_such_extension")
        with (
            open_collection(address, model=Colours(), folder="/") as collection,
            pytest.raises(CollectionError, match=r"has no pgvector, .* install pgvector 0.8 or later"),
        ):
            collection.add_items(some(0, 1))
    server.say("CREATE DATABASE old")
    old = Server.__new__(Server)
    old.uri = server.uri.replace("/postgres?", "/old?")
    old.say(
        "CREATE EXTENSION vector", "UPDATE pg_extension SET extversion = '0.6.2' WHERE extname = 'vector'"
    )
    with (
        open_collection(old.address("x"), model=Colours(), folder="/") as collection,
        pytest.raises(CollectionError, match=r"has pgvector 0.6.2, and a collection needs 0.8"),
    ):
        collection.add_items(some(0, 1))
