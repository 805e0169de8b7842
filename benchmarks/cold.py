"""How long a search takes: cold (a fresh process, model included) and warm, in a large collection.

    python benchmarks/cold.py --items 100000 --rounds 5

Prints medians over the rounds: seconds and CPU seconds of a whole process that searches once (target: under
1.5 s), the warm search as a ratio to encoding the query plus a bare exact scan of the same vectors in single
precision (target: under 2), and the CPU time of ``diptych --help`` (limit: 2) and ``diptych search`` beside a
server of the collection (limit: 5) as ratios to that of ``import typer``, each in a fresh process. The
vectors are random; what they cost to scan does not depend on what they mean.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import numpy as np

import diptych
from diptych.engine.collection import Collection
from diptych.similarity import unit

_SEARCH = """
import sys, diptych
with diptych.open(sys.argv[1], create=False) as collection:
    print(len(collection.search(sys.argv[2], k=10)))
"""


def fill(collection: Collection, items: int, seed: int) -> None:
    """Store random pictures, whose files are empty: a search looks whether its hits are there, no further."""
    encoder = collection.encoder
    rng = np.random.default_rng(seed)
    dim = encoder.encode_text(["anything"]).shape[1]
    with collection.writing():
        record = collection.home  # writing founds it
        for start in range(0, items, 10_000):
            vectors = unit(rng.standard_normal((min(10_000, items - start), dim))).astype(np.float16)
            with record.batch():
                record.put_column("main", collection.model, encoder.fingerprint, encoder.similarity, dim)
                for number, vector in enumerate(vectors, start=start):
                    name = f"{number // 1000}/{number}.jpg"
                    (collection.folder / name).parent.mkdir(exist_ok=True)
                    (collection.folder / name).touch()
                    file = record.put_file(name.encode(), 1, 1, number.to_bytes(16, "big"))
                    record.put_image(file, vector.tobytes())


def process(*command: str) -> tuple[float, float]:
    """Wall and CPU seconds of a command."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, capture_output=True)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def seconds(action: Callable[[], Any]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--queries", type=int, default=20, help="warm searches a round")
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, diptych.open(folder, model=options.model) as collection:
        fill(collection, options.items, options.seed)
        first = seconds(lambda: collection.search("warming up"))
        rows, kept = collection.home.vectors_now("image").stored()
        matrix = kept.astype(np.float32)
        encoder = collection.encoder
        print(f"{options.items} items x {matrix.shape[1]}, model {collection.model}, seed {options.seed}")
        print(f"first search in a new collection, building its search files: {first:.2f} s")

        cold = [process("-c", _SEARCH, folder, "two dogs on a beach") for _ in range(options.rounds)]
        print(
            f"cold search: {median(w for w, _ in cold):.2f} s, {median(c for _, c in cold):.2f} s of CPU "
            f"(target under 1.5 s), fastest {min(w for w, _ in cold):.2f} s"
        )

        def bare(text: str) -> Any:
            scores = matrix @ encoder.encode_text([text])[0]
            best = np.argpartition(-scores, 10)[:10]
            return rows[best[np.argsort(-scores[best])]]

        ours, theirs, ratios, agree = [], [], [], 0
        for number in range(options.rounds * options.queries):
            text = f"a picture of number {number}"
            ours.append(seconds(lambda text=text: collection.search(text, k=10)))
            theirs.append(seconds(lambda text=text: bare(text)))
            ratios.append(ours[-1] / theirs[-1])
            found = [result.id for result in collection.search(text, k=10)]
            agree += found == [item.id for item in map(_named(collection), bare(text))]
        print(
            f"warm search: {1000 * median(ours):.1f} ms; encoder and bare exact scan: "
            f"{1000 * median(theirs):.1f} ms; ratio {median(ratios):.2f} (target under 2); "
            f"same ten hits for {agree} of {len(ours)} queries"
        )
        asked = ["-m", "diptych", "search", "two", "dogs", "on", "a", "beach", "--in", folder]
        commands = {
            "import typer": ["-c", "import typer"],
            "diptych --help": ["-m", "diptych", "--help"],
            "diptych search beside a server": asked,
            "diptych search --here": [*asked, "--here"],
        }
        with serving(folder):
            rounds = [[process(*one)[1] for one in commands.values()] for _ in range(options.rounds)]
        medians = [median(times) for times in zip(*rounds, strict=True)]
        for name, own in zip(commands, medians, strict=True):
            limit = {"diptych --help": " (limit 2)", "diptych search beside a server": " (limit 5)"}
            print(f"{name}: {1000 * own:.0f} ms of CPU, ratio {own / medians[0]:.2f}{limit.get(name, '')}")


@contextlib.contextmanager
def serving(folder: str) -> Iterator[None]:
    """A block in which a server of its own process has the collection of a folder."""
    command = [sys.executable, "-m", "diptych", "serve", folder, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            next(line for line in server.stderr if line.startswith("http"))
            process("-m", "diptych", "search", "warming up", "--in", folder)  # waits for the model there
            yield
        finally:
            server.terminate()


def _named(collection: Collection) -> Callable[[int], Any]:
    def named(row: int) -> Any:
        stored = collection.home.items([int(row)])[0]
        return diptych.Item(stored.id)

    return named


if __name__ == "__main__":
    main()
