"""A small collection of coloured pictures, and an application that serves it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

import diptych
from diptych.engine.collection import Collection
from diptych.server.app import create_app
from diptych.server.settings import Settings
from diptych.testing import Colours

COLOURS = ("red", "green", "blue", "yellow", "white", "black")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for at, name in enumerate(COLOURS):
        path = folder / ("more" if at > 3 else "") / f"{name}.png"
        Image.new("RGB", (60 + at, 40), name).save(path)
    (folder / "red.txt").write_text("a red wall\n")
    return folder


@pytest.fixture
def collection(photos: Path) -> Collection:
    found = diptych.open(photos, model=Colours())
    found.add()
    return found


@pytest.fixture
def served(collection: Collection) -> Iterator[Callable[..., TestClient]]:
    """Makes a client of the application, with settings."""
    made: list[Any] = []

    def make(
        *, base_url: str = "http://localhost:8765", caller: str = "127.0.0.1", **settings: Any
    ) -> TestClient:
        app = create_app([collection], Settings(**settings))
        client = TestClient(app, base_url=base_url, client=(caller, 50000), raise_server_exceptions=False)
        client.__enter__()
        made.append(client)
        return client

    yield make
    for client in made:
        client.__exit__(None, None, None)
