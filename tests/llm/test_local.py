"""Models of transformers in a folder: a tiny one with drawn weights replies as the library itself would."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import transformers
from PIL import Image

from diptych.errors import BadData, NoReply
from diptych.llm import asked, named
from diptych.llm.local import LocalModel
from tiny_chat import save_seeing, text_config, tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("chat")
    words = tokenizer()
    words.save_pretrained(path)
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(text_config(len(words)))
    with torch.no_grad():
        model.lm_head.weight[:4] = 0  # so that it does not end at once
    model.save_pretrained(path)
    return path


def test_it_replies_what_the_library_generates(folder: Path) -> None:
    model = named(f"llm:{folder}")
    assert (model.abilities.pictures, model.abilities.local) == (0, True)
    reply = model.reply(asked("w1 w2", system="w3", max_tokens=5, top=3))
    words = transformers.AutoTokenizer.from_pretrained(folder)
    reference = transformers.AutoModelForCausalLM.from_pretrained(folder)
    ids = words("<system> w3 <user> w1 w2 <assistant> ", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        out = reference.generate(ids, max_new_tokens=5, do_sample=False)[0, ids.shape[1] :]
        logits = reference(ids).logits[0, -1]
    assert reply.text == words.decode(out, skip_special_tokens=True)
    assert (reply.usage.prompt_tokens, reply.usage.reply_tokens) == (ids.shape[1], len(out))
    best = torch.topk(torch.log_softmax(logits, -1), 3)
    assert list(reply.tokens[0].top.values()) == pytest.approx(best.values.tolist(), abs=1e-5)
    assert reply.tokens[0].logprob == pytest.approx(float(best.values[0]), abs=1e-5)
    assert len(reply.tokens) == reply.usage.reply_tokens


def test_it_ends_where_it_is_told_to(folder: Path) -> None:
    model = LocalModel(folder)
    said = {f"w{at}": model.reply(asked(f"w{at}", max_tokens=6)).text.split() for at in range(20)}
    question, whole = next((question, words) for question, words in said.items() if len(set(words[:2])) == 2)
    ended = model.reply(asked(question, max_tokens=6, stop=(whole[1],)))
    assert ended.text.split() == whole[:1]
    assert ended.finish == "stop"
    assert model.reply(asked(question, max_tokens=1)).finish == "length"


def test_what_it_cannot_take_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    model = LocalModel(folder)
    with pytest.raises(NoReply, match="does not see pictures") as caught:
        model.reply(asked("w1", Image.new("RGB", (8, 8))))
    assert caught.value.reason == "pictures"
    with pytest.raises(NoReply, match=r"too long for .*it has room for 64") as caught:
        model.reply(asked("w1 " * 80))
    assert caught.value.reason == "context_overflow"
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(BadData, match="holds no chat model that can be loaded"):
        LocalModel(tmp_path).reply(asked("w1"))


def test_without_a_template_nobody_can_talk_to_it(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        if "template" not in file.name:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(BadData, match="has no chat template"):
        LocalModel(tmp_path).reply(asked("w1"))


def test_one_that_sees_is_shown_the_pictures(tmp_path: Path) -> None:
    save_seeing(tmp_path)
    model = named(f"llm:{tmp_path}")
    assert model.abilities.pictures
    prompt = asked("w1", Image.new("RGB", (40, 30), "red"), max_tokens=3, top=2)
    seen = model.reply(prompt)
    other = model.reply(asked("w1", Image.new("RGB", (40, 30), "blue"), max_tokens=3, top=2))
    assert seen.usage.prompt_tokens == other.usage.prompt_tokens
    assert seen.tokens[0].top != other.tokens[0].top
    assert model.reply(asked("w1", max_tokens=1)).usage.reply_tokens == 1


def test_how_likely_a_reply_is(folder: Path) -> None:
    model, question = LocalModel(folder), asked("w1 w2", max_tokens=3, top=1)
    said = model.reply(question)
    with torch.inference_mode():
        whole = model.log_likelihood(question, said.text).item()
    # The reply was cut off; what is generated behind it is another reply.
    assert whole < sum(token.logprob for token in said.tokens)
    net, words = model.loaded
    ids = words("<user> w1 w2 <assistant>  w5 <end>", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        log = net(ids).logits[0].log_softmax(-1)
        by_hand = log[-3, ids[0, -2]] + log[-2, ids[0, -1]]
        assert model.log_likelihood(asked("w1 w2"), "w5").item() == pytest.approx(by_hand.item(), abs=1e-5)
    with pytest.raises(NoReply, match="does not see pictures"):
        model.log_likelihood(asked("w1", Image.new("RGB", (8, 8))), "w5")
