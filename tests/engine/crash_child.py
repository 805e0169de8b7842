"""A process that does one thing to a collection, and dies at a given moment of it.

Moments are counted at everything that changes what is on disk: SQL statements, fsync, renames and removals
of files, before and after each. Run by `crash_harness`; prints ``ready``, then the state of the collection
after every batch, then how many moments there were.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

BATCH = 4


class Tiny:
    """Random projection of a small copy; texts by their check sum. In whole numbers, which BLAS cannot round.

    Args:
        name: "tiny", or "other" for a model with other and longer vectors.
        pause: Seconds that every batch of pictures takes.
    """

    similarity, image_size, batch_size = "cosine", 32, BATCH

    def __init__(self, name: str = "tiny", pause: float = 0.0) -> None:
        self.name, self.pause, self.fingerprint = name, pause, f"{name}:1"
        self.dimensions = {"tiny": 32, "other": 48}[name]
        self.matrix = np.random.default_rng(self.dimensions).integers(-9, 10, (192, self.dimensions))

    @staticmethod
    def prepare_image(picture: Any) -> NDArray[np.uint8]:
        return np.asarray(picture.convert("RGB").resize((8, 8)), np.uint8)

    def encode_image(self, images: Any) -> NDArray[np.float32]:
        time.sleep(self.pause)
        rows = [one if isinstance(one, np.ndarray) else self.prepare_image(one) for one in images]
        found = (np.stack(rows).reshape(len(rows), 192).astype(np.int64) - 128) @ self.matrix
        return found.astype(np.float32)

    def encode_text(self, texts: Any) -> NDArray[np.float32]:
        rows = [np.random.default_rng(crc32(t.encode())).standard_normal(self.dimensions) for t in texts]
        return np.array(rows, np.float32)


def state(database: sqlite3.Connection) -> dict[str, Any]:
    """Identity, model and codes of a collection, and content of every file of it, as one reader sees them."""
    database.execute("BEGIN")
    try:
        found = dict(database.execute("SELECT name, value FROM setting"))
        if int(found["schema"]) > 1:
            named = database.execute("SELECT model FROM vector_column WHERE name = 'main'").fetchone()
            found["model"] = named[0] if named else None
        files = {
            os.fsdecode(path): [digest.hex(), images, texts]
            for path, digest, images, texts in database.execute(
                "SELECT path, hash, (SELECT count(*) FROM item WHERE file = f.id AND side = 'image'), "
                "(SELECT count(*) FROM item WHERE file = f.id AND side = 'text') FROM file f"
            )
        }
    finally:
        database.execute("ROLLBACK")
    told = json.loads(found.get("codes", "null"))
    return {"id": found.get("id"), "model": found.get("model"), "codes": told is not None, "files": files}


class Moments:
    """Counts moments, and ends the process at one of them.

    Args:
        last: Number of the moment to die at; 0 for none.
    """

    def __init__(self, last: int) -> None:
        self.last, self.count = last, 0

    def __call__(self) -> None:
        self.count += 1
        if self.count == self.last:
            sys.stdout.flush()
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **how: Any) -> Any:
            self()
            done = real(*args, **how)
            self()
            return done

        return call

    def watch(self) -> None:
        """From now on, count everything that changes what is on disk."""
        for name in ("fsync", "replace", "rename", "unlink", "truncate"):
            setattr(os, name, self.around(getattr(os, name)))
        shutil.rmtree = self.around(shutil.rmtree)  # type: ignore[assignment]
        moment = self

        class Watched(sqlite3.Connection):
            def execute(self, *args: Any) -> Any:
                return moment.around(super().execute)(*args)

            def executemany(self, *args: Any) -> Any:
                return moment.around(super().executemany)(*args)

            def backup(self, *args: Any, **how: Any) -> Any:
                return moment.around(super().backup)(*args, **how)

        real = sqlite3.connect
        sqlite3.connect = lambda *a, **how: real(*a, **{**how, "factory": Watched})  # type: ignore[assignment]


def compact(opened: Any, gone: list[Path]) -> None:
    """Remove files, and give back even the least room that this leaves."""
    from diptych.engine.homes.local import database, record

    database._LITTLE, record._FREE_SHARE = 0, 0.0
    opened.remove(*gone)
    for side in ("image", "text"):
        opened.home.search_files(side).squeeze()
        opened.search("red", k=5, to=side)


def main(op: str, folder: Path, model: str, last: int, pause: float, names: list[str]) -> None:
    """Do one thing.

    Args:
        op: "index", "update", "remove", "compact" (remove, and leave no room unused), "codes", "rebuild",
            "change" (a rebuild with another model), "beside" (another model is added), "migrate" or "search".
        folder: Whose collection.
        model: Name of the model that is used.
        last: Moment to die at; 0 for none.
        pause: Seconds that every batch of pictures takes.
        names: Files to remove.
    """
    connect = sqlite3.connect
    moments = Moments(last)
    moments.watch()
    from diptych.engine.collection import open_collection
    from diptych.engine.rebuild import rebuilding

    print("ready", flush=True)
    eye: list[sqlite3.Connection] = []

    def told(_: Any) -> None:
        if not eye:
            path = folder / ".diptych" / "collection.sqlite"
            eye.append(connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None))
        print(json.dumps(state(eye[0])), flush=True)

    encoder = Tiny(model, pause)
    if op in ("rebuild", "change"):
        with rebuilding(folder, model=encoder) as fresh:
            fresh.add(batch_size=BATCH, on_progress=told)
    else:
        with open_collection(folder, model=encoder) as opened:
            if op in ("index", "update"):
                opened.add(batch_size=BATCH, on_progress=told)
            elif op == "remove":
                opened.remove(*[folder / name for name in names])
            elif op == "beside":
                other = Tiny("other" if model == "tiny" else "tiny", pause)
                opened.add_model(other, batch_size=BATCH, on_progress=told)
            elif op == "compact":
                compact(opened, [folder / name for name in names])
            elif op == "codes":
                opened.make_codes(64)
            else:
                for query in ("red", "a dog"):
                    opened.search(query, k=5)
                    opened.search(query, k=5, to="text")
    print(f"moments {moments.count}", flush=True)


if __name__ == "__main__":
    op, folder, model, last, pause, *names = sys.argv[1:]
    main(op, Path(folder), model, int(last), float(pause), names)
