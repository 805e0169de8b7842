"""Dialogues over HTTP: told as they go on, beside searches, and never longer than their deadline."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

from starlette.testclient import TestClient

from llm_servers import Request
from llm_servers import serving as llm_serving

Made = Callable[..., TestClient]


def events(client: TestClient, **said: Any) -> list[tuple[str, Any]]:
    """What is told of a turn, in its order."""
    answer = client.post("/api/v1/chat/events", json=said)
    assert answer.status_code == 200, answer.text
    blocks = [block.split("\n") for block in answer.text.split("\n\n") if block.startswith("event: ")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in blocks]


class Scripted:
    """A model behind a URL that replies as soon as it is let go: asks, or once green is said describes."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self, request: Request) -> None:
        if request.body is None:
            request.json({"data": [{"id": "scripted"}]})
            return
        self.begun.set()
        self.go.wait(20)
        said = "Description: a green wall" if "green" in str(request.body) else "Is it light?"
        request.say(said)


def test_a_turn_is_told_step_by_step(served: Made) -> None:
    model = Scripted()
    model.go.set()
    with llm_serving(model) as (address, _):
        client = served(llm=f"llm:{address}#scripted")
        told = events(client, say="red", k=2)
        assert [name for name, _ in told] == ["step", "step", "end"]
        assert told[0][1] == {"step": "describing", "said": "red", "searched": "", "found": None}
        assert told[1][1]["step"] == "found"
        assert told[1][1]["found"]["results"][0]["id"] == "red.png"
        ended = told[2][1]
        assert ended["found"] == told[1][1]["found"]
        assert ended["turns"][0]["ask"] == "Is it light?"
        after = events(client, say="no, green", chat=ended["chat"])
        assert after[1][1]["searched"] == "a green wall"
        assert events(client, chat=ended["chat"])[0][0] == "end"  # nothing was said: as it stands
        gone = client.post("/api/v1/chat/events", json={"chat": "gone", "say": "red"})
        assert (gone.status_code, gone.json()["error"]["kind"]) == (404, "NotFound")
        wrong = client.post("/api/v1/chat/events", json={"chat": ended["chat"], "more": [99]})
        assert (wrong.status_code, wrong.json()["error"]["kind"]) == (400, "UsageError")


def test_slow_models_hold_no_search_up(served: Made) -> None:
    model = Scripted()
    with llm_serving(model) as (address, _):
        client = served(llm=f"llm:{address}#scripted", threads=1, waiting=1)
        talks = [
            threading.Thread(target=client.post, args=("/api/v1/chat",), kwargs={"json": {"say": "red"}})
            for _ in range(3)
        ]
        for talk in talks:
            talk.start()
        assert model.begun.wait(20)
        found = client.get("/api/v1/search?q=green&k=1").json()["results"]
        assert [one["id"] for one in found] == ["green.png"]
        assert all(talk.is_alive() for talk in talks)
        model.go.set()
        for talk in talks:
            talk.join()


def test_a_turn_takes_its_model_no_longer_than_the_deadline(served: Made) -> None:
    model = Scripted()
    with llm_serving(model) as (address, _):
        client = served(llm=f"llm:{address}#scripted", deadline=4.0)
        first = client.post("/api/v1/chat", json={"say": "red", "k": 1}).json()
        assert [one["id"] for one in first["found"]["results"]] == ["red.png"]
        (turn,) = first["turns"]
        assert turn["ask"]  # one of a list
        assert turn["degraded"] == "the question is one of a list (the model took too long)"
        model.go.set()
        after = client.post("/api/v1/chat", json={"chat": first["chat"], "say": "a green wall"}).json()
        assert after["turns"][1]["searched"] == "a green wall"  # each turn has its own time


def test_a_model_server_that_is_gone_costs_its_help_and_no_turn(served: Made) -> None:
    model = Scripted()
    model.go.set()
    with llm_serving(model) as (address, _):
        client = served(llm=f"llm:{address}#scripted", deadline=3.0)
        name = client.post("/api/v1/chat", json={"say": "red"}).json()["chat"]
    after = client.post("/api/v1/chat", json={"chat": name, "say": "and green", "k": 1}).json()
    assert [turn["said"] for turn in after["turns"]] == ["red", "and green"]
    assert after["found"]["results"]
    assert "as it stands (the model cannot be reached)" in after["turns"][1]["degraded"]
