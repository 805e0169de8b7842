"""Every system trains and encodes on another device than the processor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from device_card import CARD, MixedDevices, card

from diptych import catalogue
from diptych.testing.subject import Subject
from diptych.training.learner import Learner
from diptych.training.trainer import Trainer

pytestmark = pytest.mark.slow

SYSTEMS = [
    name
    for name in catalogue.names("system")
    if issubclass(catalogue.named_by(catalogue.card("system", name)), Learner)
]


def trained(subject: Subject, device: str | torch.device) -> Any:
    learner = subject.build(**subject.epochs(1))
    return learner.fit(subject.few, Trainer(seed=0, quiet=True, device=device))


def outputs(subject: Subject, learner: Any) -> list[Any]:
    images, texts = subject.data[0].image, subject.data[0].text
    found = []
    if hasattr(learner, "encode_image"):
        found += [learner.encode_image(images[:9]), learner.encode_text(texts[:9])]
    if hasattr(learner, "score_pairs"):
        scores = learner.score_pairs(images[:4], texts[:4], np.array([[0, 1], [3, 2], [1, 2]]))
        # A loss over differences of scores has no gradient for what they share: that is rounding's to choose.
        found.append(scores - scores.mean())
    if hasattr(learner, "encode_pair"):
        found += list(learner.encode_pair(images[:9], texts[:9]))
    return found


@pytest.mark.parametrize("name", SYSTEMS)
def test_it_trains_and_encodes_on_a_card_as_on_the_processor(name: str) -> None:
    subject = Subject(f"{name}:tiny", {})
    here = outputs(subject, trained(subject, "cpu"))
    with card():
        learner = trained(subject, CARD)
        assert learner.device == CARD
        there = outputs(subject, learner)
    for ours, theirs in zip(there, here, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_the_stand_in_notices_what_a_card_would() -> None:
    with card():
        on, off = torch.ones(3, device=CARD), torch.ones(3)
        assert (on + on).device == CARD
        assert (on + 1 + torch.tensor(2.0)).tolist() == [4, 4, 4]
        with pytest.raises(MixedDevices, match="in main memory"):
            on + off
        with pytest.raises(MixedDevices, match="indexes"):
            off[torch.zeros(1, dtype=torch.long, device=CARD)]
        with pytest.raises(TypeError, match="numpy"):
            on.numpy()
        with pytest.raises(MixedDevices, match="generator of the processor"):
            torch.randn(3, device=CARD, generator=torch.Generator())
        on.copy_(off)
        on[1] = 5
        assert on[torch.tensor([0, 2])].cpu().numpy().tolist() == [1, 1]
        assert on[[1]].tolist() == [5]
