"""Kills a process that works on a collection, again and again, and looks whether anything was lost.

A child (`crash_child`) indexes, updates, removes, compacts, makes codes, adds a second model, rebuilds,
changes the model, migrates from any earlier format or searches, and dies by SIGKILL: at a random time, or at
its n-th statement, fsync, rename or removal. After every kill: SQLite finds the file whole; nothing stands
twice; every vector is that of the content it is stored for; the collection opens; every file that a second
reader or the progress callback had seen is still there; a removal and a rebuild happened whole or not at
all; searches answer for exactly what is stored, with the scores of a plain product. From time to time the
work is finished and compared, with its searches, with an uninterrupted index of a copy of the files.

    make crash                                              # 200 kills; fails on any loss
    python tests/engine/crash_harness.py --kills 10 --seed 3
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from crash_child import Tiny, state
from numpy.typing import NDArray
from PIL import Image

from diptych.engine.collection import Collection, open_collection
from diptych.engine.homes.local.migrations import MIGRATIONS, SCHEMA_VERSION
from diptych.engine.homes.wording import words_of_name

OPS = (
    "index", "update", "update", "update", "remove", "compact", "codes", "beside", "rebuild", "change",
    "migrate", "migrate", "search",
)  # fmt: skip
QUERIES = ("red", "a dog", "blue 7")
PICTURES = 40
COLUMNS_BESIDE = 5  # the first format that has them
REMOVED = 7  # at a time
TOLERANCE = 2e-3  # of scores of vectors in half precision

State = dict[str, Any]


def look(folder: Path) -> State | None:
    """What a second reader sees of the collection of a folder; None where there is nothing to see."""
    path = folder / ".diptych" / "collection.sqlite"
    if not path.is_file():
        return None
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)) as database:
            return state(database)
    except sqlite3.Error:  # killed while it was being founded
        return None


def digest_of(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def to_format(path: Path, number: int) -> None:
    """Make a collection's file one of an earlier format, as the version of that time wrote it."""
    old = path.with_name("old.sqlite")
    old.unlink(missing_ok=True)
    with closing(sqlite3.connect(old, isolation_level=None)) as database:
        for one in range(1, number + 1):
            for statement in MIGRATIONS[one]:
                database.execute(statement)
        database.execute("ATTACH ? AS now", (str(path),))
        database.execute("BEGIN")
        for table in _tables(database, "main"):
            if table not in _tables(database, "now"):
                continue
            there = _columns(database, "now", table)
            both = [name for name in _columns(database, "main", table) if name in there]
            database.execute(f"DELETE FROM main.{table}")
            database.execute(_copied(table, both, with_vector=number == 1))
        if 1 < number < COLUMNS_BESIDE:
            database.execute("DELETE FROM main.vector_column WHERE name != 'main'")
            database.execute(
                "DELETE FROM main.vector WHERE vector_column NOT IN (SELECT id FROM main.vector_column)"
            )
        if number == 1:
            database.execute(
                "INSERT INTO setting SELECT 'generation', max(generation) FROM now.batch UNION "
                "SELECT 'model', model FROM now.vector_column WHERE name = 'main' UNION "
                "SELECT 'fingerprint', fingerprint FROM now.vector_column WHERE name = 'main' UNION "
                "SELECT 'similarity', similarity FROM now.vector_column WHERE name = 'main'"
            )
        database.execute("DELETE FROM main.sqlite_sequence")  # no row is given twice
        database.execute(
            "INSERT INTO main.sqlite_sequence SELECT * FROM now.sqlite_sequence WHERE name IN "
            "(SELECT name FROM main.sqlite_master WHERE sql LIKE '%AUTOINCREMENT%')"
        )
        database.execute("INSERT OR REPLACE INTO main.setting VALUES ('schema', ?)", (str(number),))
        database.execute("COMMIT")
    for ending in ("-wal", "-shm"):
        path.with_name(f"{path.name}{ending}").unlink(missing_ok=True)
    os.replace(old, path)


def _copied(table: str, columns: Sequence[str], *, with_vector: bool) -> str:
    names = ", ".join(columns)
    if table == "item" and with_vector:
        return (
            f"INSERT INTO main.item ({names}, vector) SELECT {', '.join(f'item.{one}' for one in columns)}, "
            "vector FROM now.item JOIN now.vector ON vector.row = item.row "
            "JOIN now.vector_column ON vector_column.id = vector_column AND name = 'main'"
        )
    return f"INSERT INTO main.{table} ({names}) SELECT {names} FROM now.{table}"


def _tables(database: sqlite3.Connection, schema: str) -> list[str]:
    """Tables that are filled by themselves: no virtual ones, nor what these keep."""
    found = database.execute(f"PRAGMA {schema}.table_list").fetchall()
    return [name for _, name, kind, *_ in found if kind == "table" and not name.startswith("sqlite_")]


def _columns(database: sqlite3.Connection, schema: str, table: str) -> list[str]:
    return [name for _, name, *_ in database.execute(f"PRAGMA {schema}.table_info({table})")]


class Harness:
    """One folder of pictures, its collection, and what was found wrong with it.

    Args:
        root: Folder to work in.
        seed: Of everything random.

    Attributes:
        folder: The pictures.
        losses: A sentence for everything that was wrong.
        kills: How many children of each kind were killed.
        formats: How often a migration began from each earlier format.
        compared: How often the work was finished and compared with that of an uninterrupted index.
    """

    def __init__(self, root: Path, seed: int = 0) -> None:
        self.root, self.folder, self.seed = root, root / "photos", seed
        self.rng = random.Random(seed)
        self.losses: list[str] = []
        self.kills: Counter[str] = Counter()
        self.formats: Counter[int] = Counter()
        self.compared = 0
        self._painted = 0
        self._finished = 0
        self._moments: dict[str, int] = {}
        self._seconds: dict[str, float] = {}
        self._expected: dict[tuple[str, str], NDArray[np.float32]] = {}

    def loss(self, what: str, op: str) -> None:
        """Note that something is wrong after a kill."""
        self.losses.append(f"kill {self.kills.total()} ({op}): {what}")

    # Files

    def make(self, count: int = PICTURES) -> None:
        """The folder, with captions, a copy, a damaged picture and a list of texts."""
        self.folder.mkdir(parents=True)
        for number in range(count):
            path = self._paint(f"{'sub/' if number % 5 == 0 else ''}{number:03}.png")
            if number % 3 == 0:
                self._caption(path, number)
        shutil.copy(self.folder / "001.png", self.folder / "copy.png")
        (self.folder / "bad.jpg").write_bytes(b"junk")
        (self.folder / "list.txt").write_text("a\nb\nc\n")
        (self.folder / "sub" / "index.html").touch()  # an empty folder would count as away

    def _paint(self, name: str) -> Path:
        self._painted += 1
        rng = np.random.default_rng((self.seed, self._painted))
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)).save(path)
        return path

    def _caption(self, path: Path, number: int) -> None:
        path.with_suffix(".txt").write_text(f"red {number}\nblue {self.rng.randrange(99)}\n")

    def pictures(self) -> list[Path]:
        return sorted(self.folder.rglob("*.png"))

    def change(self) -> None:
        """New, changed, moved, exchanged, removed, newly captioned and copied files."""
        rng = self.rng
        for path in rng.sample(self.pictures(), 12):
            what = rng.choice(("new", "new", "changed", "moved", "swapped", "gone", "captioned", "copied"))
            name = path.with_name(f"{what}{self._painted:05}-{rng.randrange(10**6)}.png")
            if what == "new":
                self._paint(name.name)
            elif not path.exists():
                continue
            elif what == "changed":
                self._paint(str(path.relative_to(self.folder)))
            elif what == "moved":
                path.rename(name)
            elif what == "swapped":
                other = rng.choice(self.pictures())
                if other != path:
                    between = self.folder / "between.tmp"
                    path.rename(between)
                    other.rename(path)
                    between.rename(other)
            elif what == "gone" and len(self.pictures()) > PICTURES // 2:
                path.unlink()
            elif what == "captioned":
                self._caption(path, rng.randrange(99))
            elif what == "copied":
                shutil.copy(path, name)

    # Children

    def run(self, op: str, model: str, names: Sequence[str] = (), *, kill: bool) -> tuple[State | None, bool]:
        """Start a child; returns what was last seen of the collection, and whether the child was killed."""
        by_time = self.rng.random() < 0.4
        last = 0
        if kill and not by_time:
            last = self.rng.randrange(1, max(2, int(self._moments.get(op, 100) * 1.05)))
        pause = self.rng.choice((0.0, 0.0, 0.003))
        child = [sys.executable, str(Path(__file__).with_name("crash_child.py")), op, str(self.folder), model]
        process = subprocess.Popen(
            [*child, str(last), str(pause), *names], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stderr is not None
        seen: list[State] = []
        said: list[str] = []
        ready = threading.Event()

        def read() -> None:
            for line in process.stdout:  # type: ignore[union-attr]
                if line == "ready\n":
                    ready.set()
                elif line.startswith("{") and line.endswith("\n"):
                    seen.append(json.loads(line))
                else:
                    said.append(line)
            ready.set()

        reader = threading.Thread(target=read)
        reader.start()
        if kill and by_time and self.rng.random() < 0.05:  # while it is still being loaded
            time.sleep(self.rng.uniform(0, 0.3))
            process.send_signal(signal.SIGKILL)
        else:
            ready.wait(60)
            began = time.perf_counter()
            if kill and by_time:
                time.sleep(self.rng.uniform(0, self._seconds.get(op, 0.5)))
                found = look(self.folder)
                seen += [] if found is None else [found]
                process.send_signal(signal.SIGKILL)
        errors = process.stderr.read()
        code = process.wait(timeout=300)
        reader.join()
        process.stdout.close()
        process.stderr.close()
        if code == 0:
            self._seconds[op] = time.perf_counter() - began
            self._moments[op] = int(next(line.split()[1] for line in said if line.startswith("moments")))
        elif code != -signal.SIGKILL:
            self.loss(f"the child ended by itself ({code}): {errors[-700:]}", op)
        return (seen[-1] if seen else None), code == -signal.SIGKILL

    # Looking

    @contextmanager
    def _opened(self, folder: Path, model: str) -> Iterator[Collection]:
        with open_collection(folder, model=Tiny(model)) as opened:
            yield opened

    def whole(self, op: str) -> None:
        """SQLite's verdict, and nothing twice, without vector or without file."""
        path = self.folder / ".diptych" / "collection.sqlite"
        if not path.is_file():
            return
        with closing(sqlite3.connect(path)) as database:
            verdict = database.execute("PRAGMA integrity_check").fetchall()
            if verdict != [("ok",)]:
                self.loss(f"SQLite says: {verdict[:3]}", op)
            if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'vector'").fetchone():
                return  # killed while it was founded or migrated
            if database.execute("PRAGMA foreign_key_check").fetchall():
                self.loss("something refers to what is not there", op)
            twice = database.execute(
                "SELECT file, text, count(*) FROM item GROUP BY file, side, text HAVING count(*) > 1"
            ).fetchall()
            if twice:
                self.loss(f"doubled: {twice[:3]}", op)
            bare = database.execute(
                "SELECT count(*) FROM item WHERE row NOT IN (SELECT row FROM vector "
                "JOIN vector_column ON vector_column.id = vector_column AND name = 'main')"
            )
            if number := bare.fetchone()[0]:
                self.loss(f"{number} items have no vector", op)

    def content(self, opened: Collection) -> list[Any]:
        """Side, file, text and vector of everything that is stored."""
        home: Any = opened.home
        found = []
        for side in ("image", "text"):
            for row, vector in home.vectors(side):
                item = home.items([row])[0]
                found.append((side, item.id, item.text, vector.hex()))
        return sorted(found, key=repr)

    def vectors(self, opened: Collection, op: str) -> None:
        """Every stored vector is that of the content that the record names."""
        encoder = Tiny(opened.model)
        now = look(self.folder)
        assert now is not None
        for side, name, text, vector in self.content(opened):
            if side == "text":
                expected = _unit(encoder.encode_text([text])[0])
            else:
                data = (self.folder / name).read_bytes() if (self.folder / name).exists() else b""
                digest = now["files"][name][0]
                if digest_of(data) == digest:
                    with Image.open(self.folder / name) as picture:
                        self._expected[opened.model, digest] = _unit(encoder.encode_image([picture])[0])
                known = self._expected.get((opened.model, digest))
                if known is None:  # content that has been overwritten and that nobody else has
                    continue
                expected = known
            kept = np.frombuffer(bytes.fromhex(vector), np.float16)
            if kept.shape != expected.shape or not np.allclose(kept, expected, atol=TOLERANCE):
                self.loss(f"the {side} {text or name} has another vector than its content", op)

    def words(self, opened: Collection, op: str) -> None:
        """What can be found by words is what the record names."""
        home: Any = opened.home
        for side in ("image", "text"):
            for item in home.items(home.rows(side)):
                told = item.text if side == "text" else words_of_name(home.key(item.path))
                if not told:
                    continue
                found = home.words(side, told, within=np.array([item.row]))
                if found.shares.tolist() != [1]:
                    self.loss(f"words do not find the {side} {item.id}: {told!r}", op)
        named = {row for (row,) in home._db.every("SELECT rowid FROM picture_words")}
        if named != set(home.rows("image")):
            self.loss("there are words of other pictures than there are", op)

    def answers(self, opened: Collection, op: str) -> dict[str, list[Any]]:
        """What searches answer, after a comparison with a plain product over what is there of the record."""
        home: Any = opened.home
        said: dict[str, list[Any]] = {}
        for side in ("image", "text"):
            kept = [one for one in home.vectors(side) if home.items([one[0]])[0].path.exists()]
            vectors = np.array([np.frombuffer(one, np.float16) for _, one in kept], np.float32)
            for query in QUERIES:
                results = home_results(opened, query, side, exact=True)
                if len(results) != len(kept):
                    self.loss(f"a search finds {len(results)} of {len(kept)} {side} items", op)
                if kept:
                    asked = opened.encoder.encode_text([query])[0]
                    expected = np.sort(vectors @ (asked / np.linalg.norm(asked)))[::-1]
                    got = np.sort([score for _, _, score in results])[::-1]
                    if len(got) == len(expected) and not np.allclose(got, expected, atol=TOLERANCE):
                        self.loss(f"scores of {side} differ from the record's", op)
                said[f"{side} {query}"] = sorted((one, text, round(score, 3)) for one, text, score in results)
                near = {(one, text): score for one, text, score in results}
                for one, text, score in home_results(
                    opened, query, side, k=7
                ):  # by codes, where there are some
                    if abs(near.get((one, text), 9) - score) > TOLERANCE:
                        self.loss(f"{one} scores {score:.3f} in two stages", op)
        return said

    def after(
        self, op: str, before: State | None, last: State | None, removed: Set[str] = frozenset()
    ) -> None:
        """Compare what is there after a kill with what was there before it and what was seen meanwhile."""
        self.whole(op)
        model = (before or last or {"model": None})["model"] or "tiny"
        current = look(self.folder)
        if current is not None and current["model"]:
            model = current["model"]
        try:
            with self._opened(self.folder, model) as opened:
                if (verdict := opened.info()["check"]) != "ok":
                    self.loss(f"info says {verdict}", op)
                if opened.count("image"):
                    for beside in opened.models():
                        view = opened.using(Tiny(beside.name))
                        self.vectors(view, op)
                        self.answers(view, op)
                    self.words(opened, op)
                if before is not None and current is not None and current["id"] != before["id"]:
                    self._replaced(opened, op)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a loss
            self.loss(f"{type(error).__name__}: {error}", op)
        now = look(self.folder)
        for then in (before, last):
            if then is None or not then["files"]:
                continue
            if now is None:
                self.loss("the collection is gone", op)
            elif now["id"] == then["id"]:
                self._kept(op, then, now, removed)
            elif op not in ("rebuild", "change"):
                self.loss("the collection is another one", op)
            elif then["codes"] and not now["codes"] and any(images for _, images, _ in now["files"].values()):
                self.loss("codes were not made again", op)
        if op in ("remove", "compact") and before is not None and now is not None:
            there = removed & set(before["files"]) & set(now["files"])
            if there and there != removed & set(before["files"]):
                self.loss(f"half a removal: {len(there)} of {len(removed)} are still there", op)

    def _kept(self, op: str, then: State, now: State, removed: Set[str]) -> None:
        if then["codes"] and not now["codes"]:
            self.loss("codes were forgotten", op)
        contents = {digest for digest, *_ in now["files"].values()}
        for name, (digest, images, _) in then["files"].items():
            got, path = now["files"].get(name), self.folder / name
            if got is not None and got[0] == digest and got[1] == images:
                continue
            if name in removed or (op in ("index", "update") and not path.exists()):
                continue
            if got is not None and path.exists() and got[0] == digest_of(path.read_bytes()):
                continue  # brought up to date
            if got is None and op in ("index", "update") and digest in contents:
                continue  # taken for moved, as other content has its name now
            self.loss(f"{name} was stored and is {'gone' if got is None else 'another'}", op)

    def _replaced(self, opened: Collection, op: str) -> None:
        """A rebuild that took the old one's place must be whole, but for what was removed before."""
        removed = {os.fsdecode(key) for key in opened.home.removed()}
        with self._fresh(opened.model) as other:
            expected = [one for one in self.content(other) if one[1] not in removed]
            self._same(self.content(opened), expected, op)

    @contextmanager
    def _fresh(self, model: str) -> Iterator[Collection]:
        fresh = self.root / "fresh"
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(self.folder, fresh, ignore=shutil.ignore_patterns(".diptych"))
        with self._opened(fresh, model) as other:
            other.add()
            yield other

    def _same(self, mine: list[Any], theirs: list[Any], op: str) -> None:
        if mine != theirs:
            lost, more = Counter(theirs) - Counter(mine), Counter(mine) - Counter(theirs)
            self.loss(
                f"{len(theirs)} items expected, {len(mine)} there; missing "
                f"{[one[:3] for one in lost][:3]}, too many {[one[:3] for one in more][:3]}",
                op,
            )

    def finish(self, op: str) -> None:
        """Complete the work, and compare with an index that nobody disturbed."""
        self.compared += 1
        now = look(self.folder)
        model = (now or {"model": None})["model"] or "tiny"
        try:
            with self._opened(self.folder, model) as opened, self._fresh(model) as other:
                opened.add(self.folder, *self.pictures())  # named, the removed come again
                self._same(self.content(opened), self.content(other), op)
                if self.answers(opened, op) != self.answers(other, op):
                    self.loss("searches answer otherwise than after an uninterrupted index", op)
                again = opened.add()
                if again.added + again.changed + again.moved + again.removed:
                    self.loss(f"a second run still changes something: {again}", op)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a loss
            self.loss(f"{type(error).__name__}: {error}", op)
        self.whole(op)
        if parts := list((self.folder / ".diptych").rglob("*.part")):
            self.loss(f"left behind: {parts[:3]}", op)

    # Killing

    def calibrate(self) -> None:
        """Do each thing once to its end, so that it is known how long it takes; leaves a whole collection."""
        for op in ("index", "codes", "search"):
            self.run(op, "tiny", kill=False)
        self.change()
        self.run("update", "tiny", kill=False)
        self.run("remove", "tiny", self.some(), kill=False)
        self.run("beside", "tiny", kill=False)
        self.run("change", "other", kill=False)
        self.run("rebuild", "other", kill=False)
        self.run("compact", "other", self.some(), kill=False)
        self.earlier(1)
        self.run("migrate", "other", kill=False)
        self.finish("calibration")

    def earlier(self, number: int) -> None:
        """Make the collection one of an earlier format."""
        database = self.folder / ".diptych" / "collection.sqlite"
        with closing(sqlite3.connect(database)) as opened:
            opened.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        to_format(database, number)

    def some(self) -> list[str]:
        """Names of some pictures."""
        return [str(path.relative_to(self.folder)) for path in self.rng.sample(self.pictures(), REMOVED)]

    def go(self, kills: int) -> None:
        """Kill so many children, and look after each."""
        self.make()
        self.calibrate()
        turns: list[str] = []
        until_finish = self.rng.randrange(2, 6)
        while self.kills.total() < kills:
            turns = turns or self.rng.sample(OPS, len(OPS))
            if self.once(turns[-1]):
                turns.pop()
            if self.kills.total() and (until_finish := until_finish - 1) <= 0:
                self.finish("finish")
                until_finish = self.rng.randrange(2, 6)
        self.finish("the end")

    def once(self, op: str) -> bool:
        """Let one child work and die; false if it came to its end, so that it is that thing's turn again."""
        database = self.folder / ".diptych" / "collection.sqlite"
        if op == "index":
            shutil.rmtree(database.parent, ignore_errors=True)
        before = look(self.folder)
        if op in ("codes", "beside", "rebuild", "change", "migrate", "remove", "compact") and not (
            before and before["files"]
        ):
            self.finish("finish")  # or its turn would pass without a kill
            return False
        model = (before or {"model": None})["model"] or "tiny"
        names: list[str] = []
        if op == "update":
            self.change()
        elif op in ("remove", "compact"):
            names = self.some()
        elif op == "migrate":
            format_then = self.rng.randrange(1, SCHEMA_VERSION)
            self.earlier(format_then)
            self.formats[format_then] += 1
        elif op == "change":
            model = "other" if model == "tiny" else "tiny"
        elif op == "search" and self.rng.random() < 0.5:
            shutil.rmtree(database.parent / "search", ignore_errors=True)
        last, killed = self.run(op, model, names, kill=True)
        if not killed:
            self._finished += 1
            assert self._finished < 5 * self.kills.total() + 50, "children finish before they are killed"
            return False
        self.kills[op] += 1
        self.after(op, before, last, set(names))
        return True


def home_results(
    opened: Collection, query: str, side: Any, *, k: int = 100_000, exact: bool = False
) -> list[tuple[str, str | None, float]]:
    """Id, text and score of every hit by vector, copies among them."""
    found = opened.search(query, to=side, k=k, exact=exact, by="vectors", fold=None)
    return [(one.id, one.text if side == "text" else None, one.score) for one in found]


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    return vector / np.linalg.norm(vector)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="crash-") as root:
        os.environ["DIPTYCH_HOME"] = str(Path(root) / "home")
        harness = Harness(Path(root).resolve(), given.seed)
        harness.go(given.kills)
    for loss in harness.losses:
        print("LOSS", loss)
    kinds = ", ".join(f"{count} {op}" for op, count in sorted(harness.kills.items()))
    formats = ", ".join(f"{count} from {number}" for number, count in sorted(harness.formats.items()))
    print(
        f"{harness.kills.total()} kills ({kinds}; formats migrated: {formats}), {harness.compared} "
        f"comparisons with an uninterrupted index, {len(harness.losses)} losses, "
        f"{time.perf_counter() - began:.0f} s"
    )
    sys.exit(bool(harness.losses))


if __name__ == "__main__":
    main()
