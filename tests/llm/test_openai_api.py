"""The adapter for servers, asked against a real one that answers well and badly."""

from __future__ import annotations

import base64
import io
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diptych.errors import NoReply, UsageError
from diptych.llm import Usage, asked, assistant, user
from diptych.llm.openai_api import KEY, OpenAICompatible
from llm_servers import Request, drip, hang, serving

SECRET = "sk-very-secret-0123456789"


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (KEY, "OPENAI_API_KEY", "GEMINI_API_KEY", "DIPTYCH_LLM"):
        monkeypatch.delenv(name, raising=False)


def test_it_says_what_the_api_wants_and_reads_what_it_says() -> None:
    with serving(lambda request: request.say("a red car")) as (url, seen):
        model = OpenAICompatible(url, "small", price=(1e6, 2e6))
        prompt = asked("What is it?", system="Be short.", max_tokens=7, stop=("\n",), top=3)
        reply = model.reply(prompt.then(assistant("a car"), user("And its colour?")))
    assert reply.text == "a red car"
    assert (reply.usage.calls, reply.usage.prompt_tokens, reply.usage.reply_tokens) == (1, 11, 3)
    assert reply.usage.money == 11 + 6
    assert reply.usage.seconds > 0
    body = seen[0].body
    assert seen[0].path == "/v1/chat/completions"
    assert [one["role"] for one in body["messages"]] == ["system", "user", "assistant", "user"]
    wanted = {"model": "small", "max_tokens": 7, "temperature": 0.0, "stop": ["\n"], "top_logprobs": 3}
    assert wanted.items() <= body.items()
    assert "stream" not in body
    assert "Authorization" not in seen[0].headers


def test_pictures_go_as_small_jpegs_in_their_order(tmp_path: Path) -> None:
    Image.new("RGB", (3000, 1000), "red").save(tmp_path / "red.png")
    with serving(lambda request: request.say("yes")) as (url, seen):
        array = np.zeros((20, 30, 3), np.uint8)
        OpenAICompatible(url, "m").reply(asked("Which?", tmp_path / "red.png", "or", array))
    parts = seen[0].body["messages"][0]["content"]
    assert [part["type"] for part in parts] == ["text", "image_url", "text", "image_url"]
    head, _, data = parts[1]["image_url"]["url"].partition(",")
    assert head == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as sent:
        assert sent.size == (768, 256)


def test_log_probabilities_are_read() -> None:
    one = {"token": "Yes", "logprob": -0.1, "top_logprobs": [{"token": "Yes", "logprob": -0.1}]}
    with serving(lambda request: request.say("Yes", logprobs={"content": [one]})) as (url, _):
        reply = OpenAICompatible(url, "m").reply(asked("?", top=1))
    assert reply.tokens[0].top == {"Yes": -0.1}
    assert reply.tokens[0].logprob == -0.1


def test_a_stream_is_heard_piece_by_piece() -> None:
    events = [
        '{"choices": [{"delta": {"role": "assistant", "content": null}}]}',
        '{"choices": [{"delta": {"content": "a red"}}]}',
        '{"choices": [{"delta": {"content": " car"}, "finish_reason": "length"}]}',
        '{"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}',
        "[DONE]",
    ]
    content = "".join(f"data: {event}\n\n" for event in events).encode()
    heard: list[str] = []
    with serving(lambda request: request.send(content, kind="text/event-stream")) as (url, seen):
        reply = OpenAICompatible(url, "m").reply(asked("?", heard=heard.append))
    assert seen[0].body["stream"] is True
    assert heard == ["a red", " car"]
    assert (reply.text, reply.finish, reply.usage.prompt_tokens) == ("a red car", "length", 5)


def test_a_server_that_does_not_stream_is_understood_all_the_same() -> None:
    with serving(lambda request: request.say("a red car")) as (url, _):
        assert OpenAICompatible(url, "m").reply(asked("?", heard=print)).text == "a red car"


def test_without_a_name_the_first_model_of_the_server_replies() -> None:
    def answer(request: Request) -> None:
        if request.path.endswith("/models"):
            request.json({"data": [{"id": "first"}, {"id": "second"}]})
        else:
            request.say("yes")

    with serving(answer) as (url, seen):
        model = OpenAICompatible(url.removesuffix("/v1"))
        assert model.models() == ["first", "second"]
        model.reply(asked("?"))
    assert seen[-1].body["model"] == "first"


def test_a_server_that_wants_the_newer_name_of_the_limit_gets_it() -> None:
    def answer(request: Request) -> None:
        if "max_tokens" in request.body:
            request.json({"error": {"message": "Use 'max_completion_tokens' instead."}}, 400)
        else:
            request.say("yes")

    with serving(answer) as (url, seen):
        model = OpenAICompatible(url, "m")
        assert [model.reply(asked("?")).text for _ in range(2)] == ["yes", "yes"]
    assert len(seen) == 3


def _bad(status: int, message: str = "", **headers: str) -> Callable[[Request], None]:
    return lambda request: request.json({"error": {"message": message}}, status, **headers)


BAD = {
    "hangs": (hang, "timeout", "did not reply in time"),
    "drips": (drip, "timeout", "did not reply in time"),
    "html": (
        lambda r: r.send(b"<html>hello</html>", kind="text/html"),
        "parse",
        "no OpenAI-compatible server",
    ),
    "other json": (lambda r: r.json({"hello": 1}), "parse", "does not answer with a completion"),
    "no text": (lambda r: r.json({"choices": [{"message": {"content": 3}}]}), "parse", "a completion"),
    "a list": (lambda r: r.json([]), "parse", "a completion"),
    "deep": (lambda r: r.send(b"[" * 200_000), "parse", "does not answer with JSON"),
    "10 MB": (lambda r: r.say("x" * 10_000_000), "parse", "more than 4 MB"),
    "picture": (
        _bad(400, "this model does not support image input"),
        "pictures",
        "does not take the picture",
    ),
    "picture of llama.cpp": (_bad(500, "image input is not supported, mmproj"), "pictures", "one that sees"),
    "too long": (_bad(400, "exceeds the available context size"), "context_overflow", "too long for m"),
    "unknown": (_bad(404, "no such model"), "rejected", "has no model 'm'"),
    "rejected": (_bad(422, "no"), "rejected", r"rejects what is asked \(422: no\)"),
    "busy": (_bad(429, "slow down"), "unreachable", "try again later"),
    "broken": (_bad(500), "unreachable", r"cannot reply now \(500\)"),
    "no key": (_bad(401, "key missing"), "key", f"asks for a key \\(401\\); put the right one into {KEY}"),
}


@pytest.mark.parametrize("kind", BAD)
def test_whatever_a_server_does_is_one_sentence(kind: str) -> None:
    answer, reason, said = BAD[kind]
    with serving(answer) as (url, _):
        model = OpenAICompatible(url, "m", seconds=0.3 if reason == "timeout" else 20)
        with pytest.raises(NoReply, match=said) as caught:
            model.reply(asked("?"))
    assert caught.value.reason == reason
    assert "\n" not in str(caught.value)
    assert (caught.value.again is not None) == (reason in ("timeout", "unreachable"))


def test_a_server_says_when_to_ask_again() -> None:
    busy = _bad(429, "slow down", Retry_After="7")
    with serving(busy) as (url, _), pytest.raises(NoReply, match="429") as caught:
        OpenAICompatible(url, "m").reply(asked("?"))
    assert caught.value.again == 7


def test_nobody_listens_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(NoReply, match=r"cannot be reached .* start the server") as caught:
        OpenAICompatible(f"http://127.0.0.1:{port}").reply(asked("?"))
    assert caught.value.reason == "unreachable"


def test_a_server_that_dies_in_mid_reply_is_one_sentence() -> None:
    def answer(request: Request) -> None:
        request.handler.send_response(200)
        request.handler.send_header("Content-Length", "1000")
        request.handler.end_headers()
        request.handler.wfile.write(b'{"choices": [')
        request.handler.wfile.flush()
        request.handler.connection.shutdown(socket.SHUT_RDWR)

    with serving(answer) as (url, _), pytest.raises(NoReply, match="cannot be reached") as caught:
        OpenAICompatible(url, "m").reply(asked("?"))
    assert caught.value.again is not None


@pytest.mark.parametrize("status", [200, 400, 401, 403, 500])
def test_the_key_is_sent_and_told_to_nobody(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, SECRET)
    with serving(_bad(status, f"your key {SECRET} is odd")) as (url, seen):
        model = OpenAICompatible(url, "m")
        with pytest.raises(NoReply, match=r"127\.0\.0\.1") as caught:
            model.reply(asked("?"))
    assert seen[0].headers["Authorization"] == f"Bearer {SECRET}"
    for shown in (str(caught.value), repr(caught.value), repr(model), model.name):
        assert SECRET not in shown


def test_a_provider_s_key_goes_to_that_provider_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with serving(lambda request: request.say("yes")) as (url, seen):
        OpenAICompatible(url, "m").reply(asked("?"))
    assert "Authorization" not in seen[0].headers


@pytest.mark.parametrize(
    "url", ["ftp://host/v1", "http://", "nonsense", "http://user:pass@host/v1", "http://[x"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="address of a language model") as caught:
        OpenAICompatible(url)
    assert "pass@" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("localhost", True), ("[::1]", True), ("192.168.1.2", False), ("a.example", False)],
)
def test_only_this_machine_is_local(host: str, local: bool) -> None:
    assert OpenAICompatible(f"http://{host}:80/v1", "m").abilities.local is local


def test_usage_without_numbers_is_a_call() -> None:
    with serving(lambda r: r.json({"choices": [{"message": {"content": "yes"}}]})) as (url, _):
        usage = OpenAICompatible(url, "m").reply(asked("?")).usage
    assert usage == Usage(1, seconds=usage.seconds)
