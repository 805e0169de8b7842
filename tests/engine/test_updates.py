"""What an update reads, encodes, keeps and lets go of; an update always equals a rebuild."""

from __future__ import annotations

import builtins
import gc
import io
import itertools
import os
import random
import shutil
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from engine_helpers import Paint, content, names
from PIL import Image

from diptych.engine import decoding
from diptych.engine.collection import Collection, find, open
from diptych.engine.results import Progress
from diptych.errors import (
    CollectionBusy,
    CollectionError,
    MissingData,
    TooNew,
    UsageError,
    WrongModel,
)
from diptych.testing import Colours

pytestmark = pytest.mark.slow


@pytest.fixture
def collection(photos: Path, encoder: Colours) -> Any:
    with open(photos, model=encoder) as opened:
        encoder.pictures = 0  # one was encoded to try the model
        yield opened


@pytest.fixture
def opened_files(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of files that were opened for reading since."""
    names: list[str] = []
    original = io.open

    def counting(file: Any, *args: Any, **how: Any) -> Any:
        names.append(os.fspath(file) if not isinstance(file, int) else "")
        return original(file, *args, **how)

    monkeypatch.setattr(io, "open", counting)
    monkeypatch.setattr(builtins, "open", counting)
    return names


def rebuilt(folder: Path) -> list[tuple[str, str, str | None, bytes]]:
    """What a collection made from nothing would hold."""
    copy = folder.parent / f"rebuilt{random.random()}"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns(".diptych"), symlinks=True)
    with open(copy, model=Colours()) as fresh:
        fresh.add(texts=True)
        return content(fresh)


def test_first_run_takes_everything(collection: Collection, paint: Paint, encoder: Colours) -> None:
    for number in range(10):
        paint(f"{number}.png", (number * 20, 0, 0))
    steps: list[Progress] = []
    summary = collection.add(on_progress=steps.append)
    assert (summary.added, summary.encoded, summary.skipped) == (10, 10, [])
    assert [step.done for step in steps] == [4, 8, 10]
    assert {step.total for step in steps} <= {None, 10}  # None until it is counted
    assert steps[-1].total == 10
    assert encoder.pictures == 10


def test_unchanged_files_are_not_read(
    collection: Collection, paint: Paint, encoder: Colours, opened_files: list[str]
) -> None:
    paint("a.png").with_suffix(".txt").write_text("a red square")
    paint("b.png", "blue")
    (paint("c.png").parent / "captions.csv").write_text("file,caption\nb.png,blue thing\n")
    (paint("d.png").parent / "list.txt").write_text("words\n")
    collection.add(texts=True)
    assert any(name.endswith("a.png") for name in opened_files)
    opened_files.clear()
    before = encoder.pictures, encoder.texts
    summary = collection.add(texts=True)
    assert (summary.unchanged, summary.added, summary.changed) == (5, 0, 0)
    assert [name for name in opened_files if ".diptych" not in name] == []
    assert (encoder.pictures, encoder.texts) == before


def test_moved_and_renamed_files_are_not_encoded(
    collection: Collection, paint: Paint, photos: Path, encoder: Colours
) -> None:
    for number in range(6):
        paint(f"{number}.png", (number * 20, 0, 0)).with_suffix(".txt").write_text(f"number {number} red")
    (photos / "words.txt").write_text("one\ntwo\n")
    collection.add(texts=True)
    before = encoder.pictures, encoder.texts
    (photos / "below").mkdir()
    for number in range(3):
        for ending in ("png", "txt"):
            (photos / f"{number}.{ending}").rename(photos / "below" / f"new{number}.{ending}")
    (photos / "words.txt").rename(photos / "below" / "words.txt")
    summary = collection.add(texts=True)
    assert (summary.moved, summary.unchanged) == (4, 3)
    assert (summary.added, summary.changed, summary.removed, summary.encoded) == (0, 0, 0, 0)
    assert (encoder.pictures, encoder.texts) == before
    assert content(collection) == rebuilt(photos)


def test_the_whole_folder_may_be_moved(paint: Paint, photos: Path, tmp_path: Path, encoder: Colours) -> None:
    paint("a.png")
    with open(photos, model=encoder) as collection:
        collection.add()
    photos.rename(tmp_path / "elsewhere")
    with open(tmp_path / "elsewhere", model=encoder) as collection:
        assert collection.add().unchanged == 1
        assert collection.search("red")[0].path == tmp_path / "elsewhere" / "a.png"


def test_names_that_change_places(
    collection: Collection, paint: Paint, photos: Path, encoder: Colours
) -> None:
    """Renumbering: 1 becomes 2, 2 becomes 3 ...; each name exists before and after, with other content."""
    for number in range(1, 8):
        paint(f"{number}.png", (number * 30, 0, 9), size=(30 + number, 20))
    collection.add()
    before = encoder.pictures
    for number in range(7, 0, -1):
        (photos / f"{number}.png").rename(photos / f"{number + 1}.png")
    paint("1.png", "green")
    collection.add()
    assert content(collection) == rebuilt(photos)
    assert encoder.pictures == before + 1
    (photos / "3.png").rename(photos / "x")
    (photos / "5.png").rename(photos / "3.png")
    (photos / "x").rename(photos / "5.png")
    collection.add()
    assert content(collection) == rebuilt(photos)
    assert encoder.pictures == before + 1


def test_copies_are_not_encoded(collection: Collection, paint: Paint, photos: Path, encoder: Colours) -> None:
    paint("a.png")
    collection.add()
    shutil.copy(photos / "a.png", photos / "b.png")
    summary = collection.add()
    assert (summary.added, summary.encoded, encoder.pictures) == (1, 0, 1)
    assert content(collection) == rebuilt(photos)


def test_a_text_file_of_the_same_content_is_no_picture(collection: Collection, photos: Path) -> None:
    (photos / "a.txt").write_text("words")
    collection.add()
    (photos / "b.jpg").write_text("words")
    assert [skipped.path.name for skipped in collection.add().skipped] == ["b.jpg"]


def test_changed_and_removed_files(
    collection: Collection, paint: Paint, photos: Path, encoder: Colours
) -> None:
    for name in ("a.png", "b.png", "c.png"):
        paint(name, (name[0] == "a" and "red") or "green")
    collection.add()
    paint("a.png", "blue", size=(50, 50))
    (photos / "b.png").unlink()
    os.utime(photos / "c.png", ns=(1, 1))
    summary = collection.add()
    assert (summary.changed, summary.removed, summary.unchanged) == (1, 1, 1)
    assert names(collection.search("blue", k=1)) == ["a.png"]
    assert content(collection) == rebuilt(photos)


def test_what_became_unreadable_is_forgotten_and_comes_back(
    collection: Collection, paint: Paint, photos: Path
) -> None:
    path = paint("a.png")
    whole = path.read_bytes()
    collection.add()
    path.write_bytes(whole[:60])
    summary = collection.add()
    assert [(one.path, bool(one.reason)) for one in summary.skipped] == [(path, True)]
    assert content(collection) == []
    path.write_bytes(whole)
    os.utime(path, ns=(5, 5))
    assert collection.add().added == 1
    assert collection.info()["skipped"] == {}


def test_skipped_files_are_listed_again_but_read_only_when_they_change(
    collection: Collection, photos: Path, opened_files: list[str]
) -> None:
    path = photos / "bad.jpg"
    path.write_bytes(b"junk")
    first = collection.add().skipped
    opened_files.clear()
    assert collection.add().skipped == first
    assert str(path) not in opened_files
    path.unlink()
    assert collection.add().skipped == []
    assert collection.info()["skipped"] == {}


def test_what_an_extra_would_read_is_tried_again(
    collection: Collection, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "a.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "resvg_py", None)
        assert "diptych[svg]" in collection.add().skipped[0].reason
    assert collection.add().added == 1


def test_random_changes_equal_a_rebuild(collection: Collection, paint: Paint, photos: Path) -> None:
    rng = random.Random(0)
    for _ in range(12):
        for _ in range(rng.randrange(1, 6)):
            there = sorted(path for path in photos.rglob("*.*") if ".diptych" not in path.parts)
            pick = rng.choice(there) if there else None
            what = rng.random()
            if pick is None or what < 0.5:
                name = f"{rng.choice(['', 'x/', 'y/'])}{rng.randrange(12)}.png"
                paint(name, (rng.randrange(256), rng.randrange(256), 0), size=(rng.randrange(5, 50), 9))
            elif what < 0.65:
                pick.unlink()
            elif what < 0.8:
                pick.rename(pick.with_name(f"{rng.randrange(12)}{pick.suffix}"))
            elif what < 0.9:
                pick.with_suffix(".txt").write_text(rng.choice(["red", "green and blue", "nothing\nmore"]))
            else:
                shutil.copy(pick, photos / f"{rng.randrange(12)}{pick.suffix}")
        collection.add()
        assert content(collection) == rebuilt(photos)


# Where collections are


def test_an_inner_folder_uses_the_outer_collection(paint: Paint, photos: Path, encoder: Colours) -> None:
    paint("a.png")
    paint("below/b.png", "blue")
    with open(photos, model=encoder) as outer:
        outer.add()
    assert find(photos / "below") == photos
    with open(photos / "below", model=encoder) as inner:
        assert names(inner.search("red", k=5)) == ["b.png"]
    assert not (photos / "below" / ".diptych").exists()


def test_opening_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="does not exist"):
        open(tmp_path / "none")
    with pytest.raises(MissingData, match="diptych index"):
        open(tmp_path, create=False)


def test_a_folder_that_cannot_be_written_has_its_collection_at_home(
    paint: Paint, photos: Path, encoder: Colours, monkeypatch: pytest.MonkeyPatch
) -> None:
    paint("a.png")
    # The tests may run as a user who may write everywhere, so a file stands where the folder should go.
    (photos / ".diptych").write_text("")
    with open(photos, model=encoder) as collection:
        collection.add()
    with open(photos, model=Colours()) as collection:
        assert Path(os.environ["DIPTYCH_HOME"]) in collection.place.parents
        assert names(collection.search("red")) == ["a.png"]


def test_adding_what_is_not_there(collection: Collection, photos: Path) -> None:
    for path, message in {photos / "none": "does not exist", photos / "*.jpg": "matches nothing"}.items():
        with pytest.raises(UsageError, match=message):
            collection.add(path)


def test_single_files_and_patterns(collection: Collection, paint: Paint, photos: Path) -> None:
    for name in ("a.png", "b.png", "c.gif", "d.png"):
        paint(name)
    paint("e.strange", format="PNG")
    assert collection.add(photos / "a.png", photos / "e.strange").added == 2
    assert collection.add(photos / "*.gif", photos / "c.gif").added == 1
    assert collection.info()["images"] == 3
    assert collection.remove(photos / "a.png") == 1
    assert collection.remove(photos / "a.png") == 0
    summary = collection.add(recursive=False)
    assert (summary.added, summary.left_out) == (2, 1)
    assert collection.add(photos / "a.png").added == 1


def test_a_vanished_folder_is_not_taken_for_an_empty_one(
    collection: Collection, paint: Paint, photos: Path
) -> None:
    paint("below/a.png")
    collection.add()
    shutil.rmtree(photos / "below")
    with pytest.raises(UsageError, match="does not exist"):
        collection.add(photos / "below")
    assert collection.info()["images"] == 1
    assert collection.add(forget_missing=True).removed == 1


# Who may open and write


def test_a_second_writer_is_turned_away_and_readers_are_not(
    collection: Collection, paint: Paint, photos: Path, encoder: Colours
) -> None:
    paint("a.png")
    collection.add()
    with collection.writing(), open(photos, model=Colours()) as other:
        # In the middle of a transaction of the writer, a reader opens, searches and sees what was there.
        with collection.home.batch(), open(photos, model=Colours()) as reader:
            assert names(reader.search("red")) == ["a.png"]
        with pytest.raises(CollectionBusy, match=f"process {os.getpid()}"):
            other.add()
        with pytest.raises(CollectionBusy, match="another process"):
            other.remove(photos / "a.png")
    assert collection.add().unchanged == 1


def test_another_model_is_refused_with_the_way_out(paint: Paint, photos: Path, encoder: Colours) -> None:
    class Others(Colours):
        name = "others"
        fingerprint = "others:1"

    paint("a.png")
    with open(photos, model=encoder) as collection:
        collection.add()
    with open(photos, model=Others()) as collection, pytest.raises(WrongModel) as caught:
        collection.search("red")
    assert all(word in str(caught.value) for word in ("colours:1", "others:1", "rebuild the collection"))
    with pytest.raises(WrongModel, match=r"indexed with colours, not builtin.*rebuild it with builtin"):
        open(photos, model="builtin")


def test_a_collection_from_the_future_is_refused(paint: Paint, photos: Path, encoder: Colours) -> None:
    paint("a.png")
    with open(photos, model=encoder) as collection:
        collection.add()
        place = collection.place / "collection.sqlite"
    database = sqlite3.connect(place)
    database.execute("UPDATE setting SET value = '99' WHERE name = 'schema'")
    database.commit()
    database.close()
    with pytest.raises(TooNew, match="format 99"):
        open(photos, model=encoder)


def test_a_damaged_database_is_one_sentence(paint: Paint, photos: Path, encoder: Colours) -> None:
    (photos / ".diptych").mkdir()
    (photos / ".diptych" / "collection.sqlite").write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 20)
    with pytest.raises(CollectionError, match="delete it and index again"):
        open(photos, model=encoder)


def test_settings_of_the_record_are_durable(collection: Collection) -> None:
    values = [collection.home._db.one(f"PRAGMA {name}")[0] for name in
              ("journal_mode", "synchronous", "foreign_keys")]  # fmt: skip
    assert values == ["wal", 2, 1]


def test_memory_does_not_hold_the_pictures(
    collection: Collection, paint: Paint, encoder: Colours, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more pictures are decoded ahead than three batches."""
    alive = most = 0
    prepare = encoder.prepare_image

    class Counted:
        def __init__(self, data: Any) -> None:
            nonlocal alive, most
            self.data = data
            alive += 1
            most = max(most, alive)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    encode = encoder.encode_image
    monkeypatch.setattr(encoder, "prepare_image", lambda picture: Counted(prepare(picture)))
    monkeypatch.setattr(encoder, "encode_image", lambda images: encode([image.data for image in images]))
    for number in range(60):
        paint(f"{number}.png", (number, 0, 0))
    assert collection.add(batch_size=4).added == 60
    assert most <= 4 * 3 + 2 * 4
    assert alive == 0


def test_interrupted_by_the_keyboard_keeps_what_is_done(
    collection: Collection, paint: Paint, photos: Path, encoder: Colours, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(12):
        paint(f"{number:02}.png", (number, 0, 0))
    encode = encoder.encode_image

    def interrupted(images: Any) -> Any:
        if encoder.pictures == 8:
            raise KeyboardInterrupt
        return encode(images)

    with monkeypatch.context() as patched:
        patched.setattr(encoder, "encode_image", interrupted)
        with pytest.raises(KeyboardInterrupt):
            collection.add()
    assert collection.info()["images"] == 8
    summary = collection.add()
    assert (summary.added, summary.unchanged) == (4, 8)
    assert content(collection) == rebuilt(photos)


def test_pictures_that_show_the_query_side(collection: Collection, paint: Paint, photos: Path) -> None:
    paint("a.png", "red")
    query = paint("b.png", "blue")
    collection.add()
    assert names(collection.search(query, k=1, itself=True)) == ["b.png"]
    assert names(collection.search(image=Image.new("RGB", (3, 3), "blue"), k=1)) == ["b.png"]
    assert names(collection.search("red", image=[query], image_weight=0.1, k=1, itself=True)) == ["a.png"]
    assert names(collection.search(negative="red", image=query, k=1, itself=True)) == ["b.png"]


def test_what_is_hashed_is_what_is_decoded(
    collection: Collection, paint: Paint, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a file written in between would keep its new vector under the hash of the old content."""
    old = paint("a.png", "red").read_bytes()
    decode = decoding.read_described

    def write_then_decode(file: Any, **how: Any) -> Any:
        paint("a.png", "blue")
        return decode(file, **how)

    with monkeypatch.context() as patched:
        patched.setattr(decoding, "read_described", write_then_decode)
        collection.add()
    (photos / "copy.png").write_bytes(old)
    collection.add()
    found = {result.path.name: result.score for result in collection.search(photos / "copy.png", itself=True)}
    assert found["copy.png"] == pytest.approx(1, abs=1e-3)
    assert found["a.png"] < 0.9


def test_the_total_is_counted_on_a_walk_ahead(
    collection: Collection, paint: Paint, photos: Path, encoder: Colours, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(40):
        paint(f"{number:02}.png", (number, 0, 0))
    encode = encoder.encode_image

    def slow(images: Any) -> Any:
        time.sleep(0.05)
        return encode(images)

    monkeypatch.setattr(encoder, "encode_image", slow)
    steps: list[Progress] = []
    collection.add(batch_size=2, on_progress=steps.append)
    totals = [step.total for step in steps]
    assert 40 in totals[:10]  # long before the walk that does the work has come to its end
    assert set(totals) <= {None, 40}


def test_planning_holds_no_list_of_files(
    collection: Collection, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many files there are, one listing and one page of known files are held."""
    from diptych.engine import plan

    for number in range(5_000):
        folder = photos / f"{number // 200:03}"
        folder.mkdir(exist_ok=True)
        (folder / f"{number:05}.txt").write_text(f"{number}")
    collection.add(texts=True, batch_size=512)
    held: list[int] = []
    compared, count = plan.Plan._compared, itertools.count(1)

    def looking(self: Any, *arguments: Any) -> Any:
        if next(count) % 700 == 0:
            held.append(sum(type(one) in (plan.Found, plan.Known) for one in gc.get_objects()))
        return compared(self, *arguments)

    monkeypatch.setattr(plan.Plan, "_compared", looking)
    assert collection.add(texts=True).unchanged == 5_000
    assert len(held) == 7
    assert max(held) < 1_300


# What size and time do not tell


def test_content_that_changed_with_size_and_time_kept_is_found_when_asked(
    collection: Collection, paint: Paint, photos: Path, encoder: Colours
) -> None:
    path = paint("a.bmp", "red")
    paint("b.bmp", "blue")
    path.with_suffix(".txt").write_text("a red wall")
    collection.add()
    times = path.stat()
    paint("a.bmp", "green")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert path.stat().st_size == times.st_size
    assert collection.add().unchanged == 2
    assert names(collection.search("red", k=1)) == ["a.bmp"]
    summary = collection.add(check=True)
    assert (summary.changed, summary.unchanged, summary.encoded) == (1, 1, 1)
    assert names(collection.search("green", k=1)) == ["a.bmp"]
    assert content(collection) == rebuilt(photos)
    assert collection.add(check=True).unchanged == 2


def test_a_check_looks_again_at_what_could_not_be_read(
    collection: Collection, paint: Paint, photos: Path
) -> None:
    whole = paint("a.bmp", "red").read_bytes()
    path = photos / "a.bmp"
    path.write_bytes(bytes(len(whole)))
    times = path.stat()
    assert len(collection.add().skipped) == 1
    path.write_bytes(whole)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert len(collection.add().skipped) == 1
    summary = collection.add(check=True)
    assert (summary.added, summary.skipped) == (1, [])


# Links


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_links_lead_out_only_if_asked(
    collection: Collection, paint: Paint, photos: Path, tmp_path: Path
) -> None:
    for name in ("../outside/album/a.png", "../outside/b.png", "below/inner.png"):
        paint(name, (9 * len(name), 0, 0))
    outside = tmp_path / "outside"
    (photos / "album").symlink_to(outside / "album")
    (photos / "b.png").symlink_to(outside / "b.png")
    (photos / "up.png").symlink_to("../outside/b.png")
    (photos / "inner.png").symlink_to("below/inner.png")
    (photos / "again").symlink_to("below")
    (photos / "photos2").mkdir()  # a name that begins as another's does
    summary = collection.add()
    assert summary.added == 2
    assert sorted(one.path.name for one in summary.skipped) == ["album", "b.png", "up.png"]
    assert {one.reason for one in summary.skipped} == {
        "is a link out of the folder, and such links are followed only if that is asked for"
    }
    assert collection.add(follow_links=True).added == 3
    assert len(collection.search("red", k=9, fold=None)) == 5
    summary = collection.add()  # what was taken once is kept up to date or left alone, not forgotten
    assert (summary.removed, summary.away) == (0, 0)
    assert len(collection.search("red", k=9, fold=None)) == 5


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_a_link_that_is_named_is_followed(
    collection: Collection, paint: Paint, photos: Path, tmp_path: Path
) -> None:
    paint("../outside/a.png")
    (photos / "album").symlink_to(tmp_path / "outside")
    (photos / "a.png").symlink_to(tmp_path / "outside" / "a.png")
    assert collection.add(photos / "album").added == 1
    assert collection.add(photos / "a.png").added == 1


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_links_within_the_collection_are_followed_from_a_part_of_it(
    collection: Collection, paint: Paint, photos: Path
) -> None:
    paint("2019/a.png")
    (photos / "best").mkdir()
    (photos / "best" / "a.png").symlink_to("../2019/a.png")
    assert collection.add(photos / "best").added == 1
