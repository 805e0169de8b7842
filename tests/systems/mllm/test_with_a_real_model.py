"""All four systems on a real small language model, once: real tokens, log-probabilities, odd replies."""

from __future__ import annotations

import pytest
from drawn_scenes import GALLERY, SCENES, Words, captioner, picture

from diptych.core import Item, Run
from diptych.llm import Budgeted
from diptych.llm.gguf import GGUF
from diptych.systems.mllm.chatir import STOCK, ChatIR
from diptych.systems.mllm.cirevl import CIReVL, plain
from diptych.systems.mllm.eiirwqr import EIIRwQR
from diptych.systems.mllm.gemini import Gemini
from diptych.testing import Faulty
from small_model import small


@pytest.mark.slow
def test_every_system_runs_end_to_end_on_real_tokens() -> None:
    model = Budgeted(GGUF(small(), context=2048, threads=1), calls=40)
    query = Item(text="a red dog in the snow")
    captioned = [Item(one.id, image=one.image, text=one.id) for one in GALLERY]

    change = Item(image=picture("a red dog in the snow"), text="it is blue")
    run = CIReVL(Words(), model, captioner()).over(GALLERY, 5, "image")(Run([change], GALLERY))
    text = run.notes[0]["rewritten"]
    assert text == plain("a red dog in the snow", "it is blue") or run.notes[0]["usage"]["reply_tokens"] > 0
    assert "<<<" not in text
    assert run.hits is not None
    fallback = CIReVL(Words(), Faulty(["timeout"]), captioner()).over(GALLERY, 5, "image")(
        Run([change], GALLERY)
    )
    assert fallback.notes[0]["rewritten"] == "a red dog in the snow, it is blue"

    def dogs(asked: Item, shown: object) -> list[bool]:
        return ["dog" in item.id for item in shown]  # type: ignore[attr-defined]

    system = EIIRwQR(Words(), model, feedback=dogs, shown=4, rounds=2)
    run = system.over(captioned, 8, "image")(Run([query], captioned))
    assert run.hits is not None
    assert len(set(run.hits.rows[0].tolist())) == 8
    assert len(run.notes[0]["queries"]) == 2

    def truth(asked: Item, question: str) -> str:
        assert question.endswith("?")
        return "it is in the snow"

    chat = ChatIR(Words(), model, truth, rounds=1, form="rewritten", alike=2.0)
    run = chat.over(GALLERY, 5, "image")(Run([query], GALLERY))
    ((question, _),) = run.notes[0]["dialogue"]
    assert question not in STOCK, "few-shot prompts make even a small model ask"
    assert run.hits is not None

    run = Gemini(Words(), model, depth=4).over(captioned, 8, "image")(Run([query], captioned))
    assert run.hits is not None
    assert run.notes[0]["usage"]["calls"] == 4
    assert "degraded" not in run.notes[0], "yes and no are among the likeliest tokens"
    first = Gemini(Words(), Faulty(["timeout"]), depth=4).over(captioned, 8, "image")(Run([query], captioned))
    assert first.hits is not None
    assert set(first.hits.rows[0, :4]) == set(run.hits.rows[0, :4])
    assert SCENES[first.hits.rows[0, 0]] == "a red dog in the snow"
    assert model.spent.reply_tokens > 20
