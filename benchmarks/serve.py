"""A server under load: clients that search all the time, beside what the encoder alone can do.

    python benchmarks/serve.py --items 100000 --clients 50 --seconds 60

A collection of vectors drawn at random, as if the built-in model had made them, is served by `diptych serve`
in a process of its own. Clients in this one ask for texts that differ; the server encodes each with the
built-in model, searches, and looks at the first hits, whose files are there. Told are searches a second, the
times of the answers, errors, and the memory of the server at the start, after each quarter and at the end,
with what it grew by in the second half: memory that is flat does not. In the same run the bare encoder
encodes such texts, one at a time and in batches: of the size that the server had on average, and of all
clients at once, which is the limit of what any server could reach. As others may use the machine, processor
times are told beside: of the server for each answer, of the encoder for each text, of the clients.
With `--keep FOLDER` the collection stays there for the next run.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

import diptych
from diptych.engine.collection import Collection

_BATCH = 10_000
_FOLDER = 1_000  # files in each
_WORDS = (
    *("dog", "cat", "horse", "bird", "boat", "car", "train", "bridge", "beach"),
    *("mountain", "forest", "street", "market", "kitchen", "garden", "field"),
)


def filled(folder: Path, items: int) -> None:
    """A collection of vectors (items, d) with a file each."""
    rng = np.random.default_rng(0)
    with diptych.open(folder) as collection:
        (folder / "first").mkdir()
        from PIL import Image

        Image.new("RGB", (32, 32), "red").save(folder / "first" / "red.jpg")
        collection.add()
        dimensions = collection.vectors("image")[1].shape[1]
        for start in range(0, items, _BATCH):
            with collection.home.batch():
                for number in range(start, min(start + _BATCH, items)):
                    if number % _FOLDER == 0:
                        (folder / f"{number // _FOLDER:04}").mkdir()
                    _put(collection, folder, number, rng.standard_normal(dimensions))


def _put(collection: Collection, folder: Path, number: int, vector: np.ndarray) -> None:
    path = folder / f"{number // _FOLDER:04}" / f"{number % _FOLDER:04}.jpg"
    path.touch()
    file = collection.home.put_file(collection.home.key(path), 0, 0, number.to_bytes(16, "big"))
    unit = vector / np.linalg.norm(vector)
    collection.home.put_image(file, unit.astype(np.float16).tobytes())


def texts() -> Iterator[str]:
    """Texts that differ."""
    for number in itertools.count():
        words = (_WORDS[number * step % len(_WORDS)] for step in (1, 7, 11, 13))
        yield f"a {' '.join(words)} {number}"


@contextlib.contextmanager
def server(folder: Path) -> Iterator[tuple[str, int]]:
    """Address and process number of a server of a folder."""
    started = subprocess.Popen(
        [sys.executable, "-m", "diptych", "serve", str(folder), "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert started.stderr is not None
    address = ""
    for line in started.stderr:
        if found := re.match(r"(http://localhost:\d+)/", line):
            address = found[1].replace("localhost", "127.0.0.1")
            break
    assert address, "the server did not start"
    try:
        yield address, started.pid
    finally:
        started.send_signal(signal.SIGTERM)
        assert started.wait(30) == 0, "the server did not stop as it should"
        started.stderr.close()


def memory(pid: int) -> float:
    """MiB that a process holds of its own."""
    told = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(found) for found in re.findall(r"Private_\w+:\s+(\d+)", told)) / 1024


def processor(pid: int) -> float:
    """Seconds of processor time that a process has taken, all of its threads."""
    facts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(facts[11]) + int(facts[12])) / os.sysconf("SC_CLK_TCK")


def asked(
    address: str, clients: int, seconds: float, pid: int
) -> tuple[list[float], Counter[str], list[float]]:
    """Seconds of each answer, errors by their kinds, and memory now and then."""
    times: list[float] = []
    errors: Counter[str] = Counter()
    question, lock, until = texts(), threading.Lock(), time.monotonic() + seconds

    def ask() -> None:
        with diptych.Client(address) as client:
            while time.monotonic() < until:
                with lock:
                    text = next(question)
                started = time.perf_counter()
                try:
                    client.search(text, k=10)
                except diptych.DiptychError as error:
                    errors[str(getattr(error, "kind", type(error).__name__))] += 1
                else:
                    times.append(time.perf_counter() - started)

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    held = [memory(pid)]
    while any(thread.is_alive() for thread in threads):
        time.sleep(min(1.0, seconds / 10))
        held.append(memory(pid))
    for thread in threads:
        thread.join()
    return times, errors, held


def encoded(batch: int, seconds: float) -> tuple[float, float]:
    """Texts a second that the encoder alone encodes in batches, and processor milliseconds of each."""
    encoder, question, count = diptych.load("builtin"), texts(), 0
    encoder.encode_text([next(question)])
    started, used = time.perf_counter(), time.process_time()
    while time.perf_counter() - started < seconds:
        encoder.encode_text([next(question) for _ in range(batch)])
        count += batch
    return count / (time.perf_counter() - started), 1000 * (time.process_time() - used) / count


def batch_size(client: diptych.Client) -> float:
    """Texts that the server encoded together on average."""
    import urllib.request

    with urllib.request.urlopen(f"{client.address}/metrics") as answer:
        told = answer.read().decode()
    total, count = (
        float(re.search(rf"^diptych_encoded_batch_size_{name} (\S+)$", told, re.MULTILINE)[1])  # type: ignore[index]
        for name in ("sum", "count")
    )
    return total / max(count, 1)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--items", type=int, default=100_000)
    arguments.add_argument("--clients", type=int, default=50)
    arguments.add_argument("--seconds", type=float, default=60.0)
    arguments.add_argument("--keep", type=Path)
    given = arguments.parse_args()
    with contextlib.ExitStack() as cleaning:
        place = given.keep or Path(cleaning.enter_context(tempfile.TemporaryDirectory()))
        os.environ["DIPTYCH_HOME"] = str(place.resolve() / "home")
        folder = place / "pictures"
        if not folder.is_dir():
            folder.mkdir(parents=True)
            filled(folder, given.items)
        with server(folder) as (address, pid), diptych.Client(address) as client:
            while not client.health()["ready"]:
                time.sleep(0.1)
            items = client.count()
            for text in itertools.islice(texts(), 3):
                client.search(text)
            before, own = processor(pid), time.process_time()
            times, errors, held = asked(address, given.clients, given.seconds, pid)
            served, own = processor(pid) - before, time.process_time() - own
            size = batch_size(client)
    part = max(1.0, given.seconds / 6)
    tell(given, items, times, errors, held)
    alone, alone_used = encoded(1, part)
    together, together_used = encoded(max(1, round(size)), part)
    most, most_used = encoded(given.clients, part)
    rate = len(times) / given.seconds
    print(f"encoded        {size:.1f} texts together on average")
    print(
        f"encoder alone  {alone:.1f} texts a second one by one, {together:.1f} in such batches, "
        f"{most:.1f} in batches of {given.clients}"
    )
    print(f"of that limit  {rate / alone:.0%}, {rate / together:.0%}, {rate / most:.0%}")
    print(
        f"processor      server {1000 * served / len(times):.1f} ms an answer, clients "
        f"{1000 * own / len(times):.1f}; encoder alone {alone_used:.1f} ms a text one by one, "
        f"{together_used:.1f} in such batches, {most_used:.1f} in batches of {given.clients}"
    )


def tell(
    given: argparse.Namespace, items: int, times: list[float], errors: Counter[str], held: list[float]
) -> None:
    """Print what clients saw, and what the server held."""
    p50, p95, p99 = (1000 * float(np.quantile(times, at)) for at in (0.5, 0.95, 0.99))
    load = os.getloadavg()[0]
    rate = len(times) / given.seconds
    cores = f"{os.cpu_count()} cores, load {load:.1f}"
    print(f"{items:,} items, {given.clients} clients, {given.seconds:g} s, {cores}")
    print(
        f"answers        {len(times):,}: {rate:.1f} a second; p50 {p50:.0f}, p95 {p95:.0f}, p99 {p99:.0f} ms"
    )
    print(f"errors         {sum(errors.values())} {dict(errors) or ''}")
    start, *quarters, end = (held[round(at * (len(held) - 1))] for at in (0, 0.25, 0.5, 0.75, 1))
    half = held[len(held) // 2 :]
    minutes = np.arange(len(half)) * given.seconds / 60 / max(len(held) - 1, 1)
    slope = float(np.polyfit(minutes, half, 1)[0])
    between = ", ".join(f"{one:.0f}" for one in quarters)
    print(
        f"memory         {start:.0f} MiB at the start, {between} after each quarter, {end:.0f} at the end, "
        f"at most {max(held):.0f}; {slope:+.1f} MiB a minute in the second half"
    )


if __name__ == "__main__":
    main()
