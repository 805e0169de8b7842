"""Pictures in object storage: listed, read, kept under their addresses, kept current."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from PIL import Image

from diptych.engine import storage
from diptych.engine.collection import Collection, open_collection
from diptych.errors import MissingExtra, Unreachable, UsageError
from diptych.testing import Colours


def picture(colour: Any) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (20, 16), colour).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def memory() -> Iterator[Any]:
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


def put(system: Any, path: str, content: bytes) -> None:
    with system.open(path, "wb") as file:
        file.write(content)


@pytest.fixture
def collection(tmp_path: Path) -> Iterator[Collection]:
    with open_collection(tmp_path, model=Colours()) as opened:
        yield opened


def ids(collection: Collection) -> list[str]:
    home = collection.home
    return [one.id for one in home.items(home.rows("image"))]


def test_pictures_are_taken_under_their_addresses_with_the_captions_beside_them(
    memory: Any, collection: Collection
) -> None:
    put(memory, "/photos/red.png", picture("red"))
    put(memory, "/photos/red.txt", b"something red\n")
    put(memory, "/photos/far/green.png", picture("green"))
    put(memory, "/photos/notes.pdf", b"%PDF")
    put(memory, "/photos/.hidden/blue.png", picture("blue"))
    summary = collection.add("memory://photos", batch_size=1)
    assert (summary.added, summary.encoded, dict(summary.passed_over)) == (2, 3, {".pdf": 1})
    assert ids(collection) == ["memory:///photos/red.png", "memory:///photos/far/green.png"]
    best = collection.search("green", k=1)[0]
    assert (best.id, best.path) == ("memory:///photos/far/green.png", None)
    red = collection.search("red", k=1)[0]
    assert red.text == "something red"
    again = collection.add("memory://photos")
    assert (again.unchanged, again.added, again.encoded) == (2, 0, 0)


def test_what_changed_moved_or_went_is_found(memory: Any, collection: Collection) -> None:
    for name in ("red", "green", "blue"):
        put(memory, f"/photos/{name}.png", picture(name))
    collection.add("memory://photos/")
    put(memory, "/photos/red.png", picture("yellow"))
    put(memory, "/photos/copy.png", picture("green"))
    put(memory, "/photos/blue.png.txt", b"the sea\n")
    memory.rm("/photos/green.png")
    summary = collection.add("memory://photos")
    assert (summary.added, summary.changed, summary.removed, summary.encoded) == (1, 2, 1, 2)
    assert sorted(ids(collection)) == [f"memory:///photos/{name}.png" for name in ("blue", "copy", "red")]
    memory.rm("/photos", recursive=True)
    put(memory, "/photos/other.png", picture("white"))
    assert collection.add("memory://photos").away == 3  # as where another bucket has the name
    assert len(ids(collection)) == 4
    assert collection.add("memory://photos", forget_missing=True).removed == 3
    with pytest.raises(UsageError, match=r"memory:///?nowhere does not exist, or holds nothing"):
        collection.add("memory://nowhere")


def test_what_cannot_be_read_is_told_once_and_taken_when_it_is_mended(
    memory: Any, collection: Collection
) -> None:
    put(memory, "/photos/bad.png", b"no picture at all")
    put(memory, "/photos/fine.png", picture("red"))
    put(memory, "/photos/fine.txt", b"\x00\xff\xfe\x00")
    summary = collection.add("memory://photos")
    assert [(one.path, one.known) for one in summary.skipped] == [("memory:///photos/bad.png", False)]
    assert "fine.txt, are not used" in summary.in_part[0].reason
    assert [one.known for one in collection.add("memory://photos").skipped] == [True]
    assert list(collection.info()["skipped"]) == ["memory:///photos/bad.png"]
    collection.add()  # files are no concern of it
    assert list(collection.info()["skipped"]) == ["memory:///photos/bad.png"]
    put(memory, "/photos/bad.png", picture("green"))
    assert collection.add("memory://photos").added == 1
    assert collection.info()["skipped"] == {}


def test_patterns_count_from_the_address(memory: Any, collection: Collection) -> None:
    for name in ("a", "private/b", "private/deep/c", "d"):
        put(memory, f"/photos/{name}.png", picture("red"))
    collection.exclude("private/", "d.*")
    summary = collection.add("memory://photos")
    assert ids(collection) == ["memory:///photos/a.png"]
    assert sum(one.count for one in summary.excluded.left) == 3


def test_a_further_model_reads_them_again(memory: Any, collection: Collection) -> None:
    put(memory, "/photos/red.png", picture("red"))
    collection.add("memory://photos")

    class Other(Colours):
        name = fingerprint = "others"

    assert collection.add_model(Other()).encoded == 1


def test_a_rebuild_reads_them_anew_and_keeps_the_others(memory: Any, tmp_path: Path) -> None:
    from diptych.engine.rebuild import rebuilding

    put(memory, "/photos/red.png", picture("red"))
    put(memory, "/others/blue.png", picture("blue"))
    with open_collection(tmp_path, model=Colours()) as collection:
        collection.add("memory://photos", "memory://others")
    put(memory, "/photos/red.png", picture("green"))
    with rebuilding(tmp_path, model=Colours()) as fresh:
        fresh.add("memory://photos")
    with open_collection(tmp_path, model=Colours()) as collection:
        assert sorted(ids(collection)) == ["memory:///others/blue.png", "memory:///photos/red.png"]
        best = collection.search("green", k=1)[0]
        assert (best.id, round(best.score, 2)) == ("memory:///photos/red.png", 1.0)
        with pytest.raises(UsageError, match="lies in a storage, which tells of no changes"):
            next(collection.watch("memory://photos"))


def test_what_is_no_storage_is_refused(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="is a page of the web, which cannot be listed"):
        collection.add("https://example.org/photos")
    with pytest.raises(UsageError, match="no storage is known by nonsense://"):
        collection.add("nonsense://photos")
    monkeypatch.setitem(__import__("sys").modules, "s3fs", None)
    with pytest.raises(MissingExtra, match=r"diptych\[objects\]"):
        collection.add("s3://photos")
    assert not storage.is_address("photos/a.png")
    assert not storage.is_address("C:/photos")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A storage like S3, with a bucket "photos"."""
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": address,
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    system = s3fs.S3FileSystem()
    system.mkdir("photos")
    yield system
    server.stop()
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_bucket_is_indexed_and_its_end_is_told(bucket: Any, collection: Collection) -> None:
    for name in ("red", "green"):
        bucket.pipe(f"photos/{name}.png", picture(name))
    assert collection.add("s3://photos").added == 2
    assert sorted(ids(collection)) == ["s3://photos/green.png", "s3://photos/red.png"]
    bucket.pipe("photos/red.png", picture("blue"))
    summary = collection.add("s3://photos")
    assert (summary.changed, summary.unchanged) == (1, 1)
    with pytest.raises(UsageError, match="s3://photos/none does not exist"):
        collection.add("s3://photos/none")


@pytest.mark.slow
def test_a_storage_that_does_not_answer_is_one_sentence(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not to be told")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(Unreachable, match="s3://photos cannot be read") as told:
        collection.add("s3://photos")
    assert "not to be told" not in str(told.value)
    s3fs.S3FileSystem.clear_instance_cache()
