"""A real small language model: real tokens, log-probabilities, time-outs and HTTP, once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from diptych.errors import NoReply
from diptych.llm import Timed, asked
from diptych.llm.gguf import GGUF
from diptych.llm.openai_api import OpenAICompatible
from small_model import small


@pytest.fixture(scope="module")
def model() -> Iterator[GGUF]:
    return GGUF(small(), context=1024, threads=1)


@pytest.mark.slow
def test_it_says_something_and_the_same_twice(model: GGUF) -> None:
    prompt = asked("What colour is the sky on a clear day?", max_tokens=12)
    first, second = model.reply(prompt), model.reply(prompt)
    assert "sky" in first.text.lower()
    assert first.text == second.text
    assert first.usage.reply_tokens > 0
    assert first.usage.prompt_tokens > 10


@pytest.mark.slow
def test_it_tells_log_probabilities(model: GGUF) -> None:
    token = model.reply(asked("Is snow white? Answer yes or no.", max_tokens=1, top=5)).tokens[0]
    assert len(token.top) == 5
    assert max(token.top.values()) == pytest.approx(token.logprob)
    assert token.logprob < 0


@pytest.mark.slow
def test_what_it_cannot_take_is_one_sentence(model: GGUF) -> None:
    with pytest.raises(NoReply, match="too long for") as caught:
        model.reply(asked("word " * 3000))
    assert caught.value.reason == "context_overflow"
    with pytest.raises(NoReply, match="does not see pictures") as caught:
        model.reply(asked("?", b"a picture"))
    assert caught.value.reason == "pictures"
    with pytest.raises(NoReply, match="did not reply within") as caught:
        Timed(model, 0.02).reply(asked("Tell a long story.", max_tokens=60))
    assert caught.value.reason == "timeout"


@pytest.mark.slow
def test_the_adapter_for_servers_talks_to_a_real_one(model: GGUF) -> None:
    model.reply(asked("Hello", max_tokens=1))
    address, key = model.serving
    over = OpenAICompatible(address, key=key)
    assert len(over.models()) == 1
    prompt = asked("What colour is the sky on a clear day?", max_tokens=12, top=2)
    heard: list[str] = []
    plain = over.reply(prompt)
    streamed = over.reply(asked("What colour is the sky on a clear day?", max_tokens=12, heard=heard.append))
    assert plain.text == streamed.text == "".join(heard) == model.reply(prompt).text
    assert len(plain.tokens) == plain.usage.reply_tokens
    assert streamed.usage.reply_tokens == plain.usage.reply_tokens
    with pytest.raises(NoReply, match="too long") as caught:
        over.reply(asked("word " * 3000))
    assert caught.value.reason == "context_overflow"
    with pytest.raises(NoReply, match="refuses the key") as caught:
        OpenAICompatible(address, key="wrong").reply(asked("Hello"))
    assert caught.value.reason == "key"
