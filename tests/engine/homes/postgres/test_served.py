"""A collection on a server is served as one in a folder is."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from diptych.engine.collection import open_collection
from diptych.engine.items import NewItem
from diptych.errors import MissingData, UsageError
from diptych.server import running
from diptych.testing import Colours
from servers import Server


def test_addresses_are_served_beside_folders(postgres: Server, tmp_path: Path) -> None:
    one, two = postgres.address("served1"), postgres.address("served2")
    for address in (one, two):
        with open_collection(address, model=Colours(), folder=tmp_path) as collection:
            collection.add_items([NewItem("x", vector=[1, 2, 3])])
    collections, empty = running.opened([one, two, tmp_path], trust=False)
    with contextlib.ExitStack() as closing:
        for collection in collections:
            closing.callback(collection.close)
        assert [collection.count() for collection in collections] == [1, 1, 0]
        assert len(empty) == 1
    with pytest.raises(UsageError, match="given twice"):
        running.opened([one, one], trust=False)
    with pytest.raises(MissingData, match="holds no collection yet"):
        running.opened([postgres.address("served3")], trust=False)
