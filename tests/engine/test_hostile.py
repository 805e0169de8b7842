"""A folder of everything that goes wrong: good pictures are indexed, bad ones listed with their reason."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_helpers import Paint, content
from PIL import Image

from damaged_pictures import bomb, truncations
from diptych.engine import looking, scan
from diptych.engine.collection import Collection, open
from diptych.errors import CollectionError, UsageError
from diptych.testing import Colours


@pytest.fixture
def collection(photos: Path, encoder: Colours) -> Any:
    with open(photos, model=encoder) as opened:
        yield opened


def held(collection: Collection) -> set[Path]:
    return {collection.folder / name for side, name, _, _ in content(collection) if side == "image"}


def test_nothing_is_lost(collection: Collection, photos: Path, paint: Paint, tmp_path: Path) -> None:
    good = {
        paint("plain.jpg"),
        paint("with space and 'quotes\".jpg"),
        paint("ünï çødé 猫.jpg"),
        paint("really_png.jpg", format="PNG"),
        paint("really_jpeg.png", format="JPEG"),
        paint("LOUD.JPG"),
        paint("strip.png", size=(65_500, 1)),
        paint("tower.jpg", size=(1, 65_500)),
        paint("below/deep/er/a.webp"),
        paint("a[1]*.png"),
        paint("comma,semi;colon.gif"),
    }
    good |= {paint(f"{mode}.png", "red") for mode in ("twin1", "twin2")}  # two files of one content
    if sys.platform != "win32":
        good |= {paint("new\nline\tand\x07bell.jpg"), paint("-dash.jpg"), paint("back\\slash.png")}
        odd = photos / os.fsdecode(b"latin1-\xe9t\xe9-\xff.jpg")
        Image.new("RGB", (5, 5)).save(tmp_path / "odd.jpg")
        (tmp_path / "odd.jpg").rename(odd)
        good.add(odd)
        os.symlink(photos, photos / "loop")
        os.symlink(photos / "below", photos / "below" / "deep" / "up")
        os.symlink(photos / "below" / "deep", photos / "aa_link")
    bad: set[Path] = set()
    whole = (photos / "plain.jpg").read_bytes()
    for length in truncations(whole[: whole.index(b"\xff\xda")]):
        path = photos / f"cut{length:06}.jpg"
        path.write_bytes(whole[:length])
        bad.add(path)
    for name, data in {
        "bomb.png": bomb(30_000, 30_000),
        "bomb_as.jpg": bomb(15_000, 15_000),
        "page.jpg": b"<html><body>404</body></html>",
        "zeros.jpg": bytes(5_000),
        "film.gif": b"GIF89a" + bytes(20),
        "noise.webp": np.random.default_rng(0).bytes(3_000),
        "drawing.svg": b"<svg",
    }.items():
        (photos / name).write_bytes(data)
        bad.add(photos / name)
    if sys.platform != "win32":
        os.symlink(photos / "nowhere", photos / "dangling.jpg")
        os.symlink("circle.jpg", photos / "circle.jpg")
        os.mkfifo(photos / "pipe.jpg")
        bad |= {photos / "dangling.jpg", photos / "circle.jpg", photos / "pipe.jpg"}
    if hasattr(os, "geteuid") and os.geteuid() != 0:
        locked = paint("locked.jpg")
        locked.chmod(0)
        bad.add(locked)
    paint(".hidden.jpg")
    paint(".git/objects.jpg")
    (photos / "notes.pdf").write_bytes(b"%PDF")
    (photos / "folder.jpg").mkdir()

    summary = collection.add()
    assert {skipped.path for skipped in summary.skipped} == bad
    assert all(skipped.reason and "\n" not in skipped.reason for skipped in summary.skipped)
    assert held(collection) == good
    assert summary.added == len(good)
    again = collection.add()
    assert {skipped.path for skipped in again.skipped} == bad
    assert (again.unchanged, again.added, again.encoded) == (len(good), 0, 0)
    found = collection.search("red", k=100, fold=None)
    assert {result.path for result in found} == good


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="this system has no permissions of this kind")
def test_permission_denied_is_listed_and_tried_again(
    collection: Collection, photos: Path, paint: Paint, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, folder = paint("locked.jpg"), photos / "closed"
    paint("closed/inside.jpg", "blue")
    if os.geteuid() == 0:
        pytest.skip("the superuser may read everything")
    path.chmod(0)
    folder.chmod(0)
    try:
        reasons = {skipped.path: skipped.reason for skipped in collection.add().skipped}
    finally:
        path.chmod(0o644)
        folder.chmod(0o755)
    assert set(reasons) == {path, folder}
    assert all("permission denied" in reason.lower() for reason in reasons.values())
    assert collection.add().added == 2


def test_refused_reading_is_listed_and_tried_again(
    collection: Collection, photos: Path, paint: Paint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same as a superuser, who cannot be denied anything: the operating system's answers are played."""
    path = paint("locked.jpg")
    paint("closed/inside.jpg", "blue")
    collection.add(photos / "closed")
    real_open, real_scan = Path.open, os.scandir

    def refuse(name: str) -> None:
        if name in ("locked.jpg", "closed"):
            raise PermissionError(13, "Permission denied")

    def open_file(self: Path, *args: Any, **how: Any) -> Any:
        refuse(self.name)
        return real_open(self, *args, **how)

    def list_folder(folder: Any) -> Any:
        refuse(Path(folder).name)
        return real_scan(folder)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", open_file)
        patched.setattr(os, "scandir", list_folder)
        summary = collection.add()
    reasons = {skipped.path: skipped.reason for skipped in summary.skipped}
    assert set(reasons) == {path, photos / "closed"}
    assert all("permission denied" in reason.lower() for reason in reasons.values())
    assert summary.removed == 0  # what is behind a closed door is not gone
    assert collection.add().added == 1
    assert held(collection) == {path, photos / "closed" / "inside.jpg"}


def test_files_that_vanish_between_walk_and_reading(
    collection: Collection, photos: Path, paint: Paint, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        paint(f"{number}.png", (number * 40, 0, 0))
    collection.add()
    for number in range(6):
        paint(f"{number}.png", (0, number * 40, 0), size=(9, 9))
    ahead = looking.ahead

    def lose_then_read(pool: Any, read: Any, waiting: Any, window: int) -> Any:
        waiting = list(waiting)
        (photos / "2.png").unlink()
        return ahead(pool, read, waiting, window)

    with monkeypatch.context() as patched:
        patched.setattr(looking, "ahead", lose_then_read)
        summary = collection.add()
    assert [(one.path.name, one.reason) for one in summary.skipped] == [
        ("2.png", "cannot be read: there is no such file")
    ]
    collection.add()
    assert {path.name for path in held(collection)} == {"0.png", "1.png", "3.png", "4.png", "5.png"}
    assert collection.info()["skipped"] == {}


def test_an_encoder_failure_names_nobody_else(
    collection: Collection, photos: Path, paint: Paint, encoder: Colours, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of the model is not a fault of the pictures: it ends the run, and nothing is marked as bad."""
    paint("a.png")

    def broken(images: Any) -> Any:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patched:
        patched.setattr(encoder, "encode_image", broken)
        with pytest.raises(CollectionError, match=r"colours failed on 1 pictures.*out of memory"):
            collection.add()
    assert collection.add().added == 1


# The walk itself


def walked(*paths: Path, **how: Any) -> list[str]:
    return [found.path.name for found in scan.walk(list(paths), **how)]


def test_the_walk_is_ordered_and_passes_over_what_is_hidden(photos: Path, paint: Paint) -> None:
    for name in ("b.png", "a.jpg", "c/d.gif", ".h.png", ".diptych/x.png", "z.jpg"):
        paint(name)
    (photos / "a.txt").write_text("caption of a")
    (photos / "list.txt").write_text("texts")
    assert walked(photos) == ["a.jpg", "b.png", "d.gif", "list.txt", "z.jpg"]
    assert walked(photos, recursive=False) == ["a.jpg", "b.png", "list.txt", "z.jpg"]


def test_files_given_twice_are_walked_once(photos: Path, paint: Paint) -> None:
    path = paint("c/a.png")
    assert walked(photos, path, photos / "c") == ["a.png"]
    assert walked(path, photos) == ["a.png"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_a_link_never_takes_the_place_of_the_real_folder(photos: Path, paint: Paint) -> None:
    paint("real/a.png")
    os.symlink(photos / "real", photos / "also")
    outside = photos.parent / "outside"
    outside.mkdir()
    Image.new("RGB", (3, 3)).save(outside / "o.png")
    os.symlink(outside, photos / "out")
    found = [found.path.relative_to(photos).as_posix() for found in scan.walk([photos], follow_links=True)]
    assert found == ["real/a.png", "out/o.png"]


def test_expanding_patterns(photos: Path, paint: Paint) -> None:
    for name in ("a.png", "b.png", "c/d.png", "e[1].png"):
        paint(name)
    assert [path.name for path in scan.expand([photos / "*.png"])] == ["a.png", "b.png", "e[1].png"]
    assert [path.name for path in scan.expand([str(photos / "**" / "d*")])] == ["d.png"]
    assert [path.name for path in scan.expand([photos / "e[1].png"])] == ["e[1].png"]
    with pytest.raises(UsageError, match="matches nothing"):
        scan.expand([photos / "*.jpg"])


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names of files are text there")
def test_a_file_whose_name_is_no_utf_8_is_asked_for_by_its_id(photos: Path, paint: Paint) -> None:
    odd = photos / os.fsdecode(b"\xe9t\xe9.png")
    paint("red.png").rename(odd)
    with open(photos, model=Colours()) as opened:
        opened.add()
        (best,) = opened.search("red")
        for name in (best.id, odd):
            item = opened.get(name)
            assert item is not None
            assert item.image == odd
            assert [one.id for one in opened.search(like=name, itself=True)] == [best.id]
        assert opened.get("half a character \ud800") is None
