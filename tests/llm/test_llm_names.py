"""From a name to a model."""

from __future__ import annotations

from pathlib import Path

import pytest

from diptych.errors import BadData, MissingData, UsageError
from diptych.llm import Budgeted, Cached, asked, default_name, named, ready
from diptych.testing import Scripted
from llm_servers import serving


def test_a_server_is_named_by_address_and_model() -> None:
    assert named("llm:http://127.0.0.1:8080#small").name == "llm:http://127.0.0.1:8080/v1#small"
    assert named("llm:https://host.example/api/v2#org/model:7b").name.endswith("/api/v2#org/model:7b")


@pytest.mark.parametrize("name", ["", "llm:", "gpt", "model:x"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="names no language model; write llm:URL#MODEL") as caught:
        named(name)
    assert caught.value.argument == "llm"


def test_what_is_not_there_is_missed(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="neither a folder nor a GGUF file"):
        named(f"llm:{tmp_path}/nothing")
    with pytest.raises(MissingData, match="is not there; give the path of a GGUF file"):
        named(f"llm:{tmp_path}/nothing.gguf")
    with pytest.raises(MissingData, match=r"holds no config\.json"):
        named(f"llm:{tmp_path}")


def test_a_gguf_file_that_is_cut_short_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "cut.gguf").write_bytes(b"GGUF" + b"\x03\x00\x00\x00" + b"\x00" * 50)
    model = named(f"llm:{tmp_path}/cut.gguf")
    with pytest.raises(BadData, match="cannot be loaded: it is cut short"):
        model.reply(asked("?"))


def test_the_environment_names_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIPTYCH_LLM", raising=False)
    assert default_name() is None
    with pytest.raises(UsageError, match="needs a language model, and none is named") as caught:
        ready()
    assert caught.value.argument == "llm"
    monkeypatch.setenv("DIPTYCH_LLM", "llm:http://127.0.0.1:9#m")
    assert ready().name == "llm:http://127.0.0.1:9/v1#m"


def test_ready_means_bounded_and_remembered(tmp_path: Path) -> None:
    inner = Scripted("yes")
    model = ready(inner, budget={"calls": 2}, cache=tmp_path)
    assert isinstance(model, Cached)
    assert isinstance(model.inner, Budgeted)
    assert [model.reply(asked("?")).text for _ in range(5)] == ["yes"] * 5
    assert len(inner.prompts) == 1


def test_the_price_of_a_server_is_set_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPTYCH_LLM_PRICE", "1000000,2000000")
    with serving(lambda request: request.say("yes")) as (url, _):
        assert named(f"llm:{url}#m").reply(asked("?")).usage.money == 11 + 6
    monkeypatch.setenv("DIPTYCH_LLM_PRICE", "cheap")
    with pytest.raises(UsageError, match=r"such as 0\.1,0\.4, not 'cheap'"):
        named("llm:http://127.0.0.1:9#m")
