"""A server that is killed under load has lost nothing that it said it had taken."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

from PIL import Image

import diptych


def started(folder: Path) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "diptych", "serve", str(folder), "--port", "0", "--write"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.match(r"(http://localhost:\d+)/", line):
            return process, found[1].replace("localhost", "127.0.0.1")
    raise AssertionError(process.wait())


def ended(process: subprocess.Popen[str], how: signal.Signals) -> int:
    assert process.stderr is not None
    os.kill(process.pid, how)
    code = process.wait(60)
    process.stderr.close()
    return code


def test_what_was_accepted_is_there_after_a_kill(photos: Path) -> None:
    with diptych.open(photos) as collection:
        collection.add()
    taken: list[str] = []
    searched: list[int] = []
    ends: list[str] = []

    def write(client: diptych.Client) -> None:
        try:
            for number in range(10_000):
                name = f"note/{number}"
                picture = Image.new("RGB", (20, 20), (number % 256, 0, 0)) if number % 3 == 0 else None
                client.add_items([diptych.NewItem(name, image=picture, texts=[f"the note number {number}"])])
                taken.append(name)
        except diptych.ServerError as error:
            ends.append(error.kind)

    def search(client: diptych.Client) -> None:
        try:
            while True:
                searched.append(len(client.search("a note", to="text", k=5)))
        except diptych.ServerError as error:
            ends.append(error.kind)

    for round_ in (1, 2):
        process, address = started(photos)
        enough = 6 * round_
        with diptych.Client(address, timeout=30) as client:
            threads = [threading.Thread(target=write, args=(client,))]
            threads += [threading.Thread(target=search, args=(client,)) for _ in range(2)]
            for thread in threads:
                thread.start()
            while len(taken) < enough and threads[0].is_alive():
                threads[0].join(0.05)
            ended(process, signal.SIGKILL)
            for thread in threads:
                thread.join()
        assert len(taken) >= enough
    assert searched
    assert set(ends) == {"Away"}
    process, address = started(photos)
    with diptych.Client(address) as client:
        for name in taken:
            assert client.get(name) is not None, name
        assert client.count("image") >= 6
    assert ended(process, signal.SIGTERM) == 0
    with diptych.open(photos) as collection:
        assert collection.info()["check"] == "ok"
