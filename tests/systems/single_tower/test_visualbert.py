"""VisualBERT: packed captions, objectives, and that it computes what transformers computes."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from diptych import catalogue
from diptych.data.base import Split
from diptych.errors import BadData, BadParameter
from diptych.systems.single_tower.visualbert import VisualBERT, packed
from diptych.training.pair_learner import Others
from diptych.training.trainer import Batch, Trainer

D = 12


def small(**parameters: Any) -> VisualBERT:
    settings = {"image_dim": 4 * (D + 4), "regions": 4, "text_length": 10, "vocabulary": 60, "false_texts": 3}
    made: VisualBERT = catalogue.load("visualbert:tiny", seed=0, **{**settings, **parameters})
    made.joint.eval()
    return made


def lesson(captions: int = 2, images: int = 12) -> Split:
    """Pictures of four regions (the last of some is missing), each with several captions of its own words."""
    random = np.random.default_rng(0)
    image = random.random((images, 4, D + 4)).astype(np.float32)
    image[..., D : D + 2], image[..., D + 2 :] = 0.1, 0.6
    image[::3, 3] = 0
    text = np.zeros((images * captions, 10), np.uint32)
    for row in range(len(text)):
        length = int(random.integers(4, 10))
        text[row, :length] = [1, *random.integers(3, 60, length - 2), 2]
    pairs = np.stack([np.repeat(np.arange(images), captions), np.arange(len(text))], axis=1)
    return Split(image.reshape(images, -1), text, None, pairs)


def batch_of(split: Split, count: int | None = None) -> Batch:
    pairs = split.pairs[:count]
    image, text = (torch.from_numpy(side[pairs[:, at]]) for at, side in enumerate((split.image, split.text)))
    rows = torch.from_numpy(pairs)
    return Batch(
        torch.arange(len(pairs)), rows[:, 0], rows[:, 1], image, text.long(), torch.zeros(len(pairs), 0)
    )


def score(system: VisualBERT, image: Any, text: Any) -> Any:
    with torch.no_grad():
        return system.pair_scores(
            system.image_states(torch.as_tensor(image)), system.text_states(torch.as_tensor(text).long())
        )


def test_two_captions_become_one_text() -> None:
    first, second = (
        torch.tensor([[1, 5, 6, 2, 0], [1, 7, 2, 0, 0]]),
        torch.tensor([[1, 8, 2, 0], [1, 9, 10, 2]]),
    )
    words, sentence, at = packed(first, second)
    assert words.tolist() == [[1, 5, 6, 2, 8, 2, 0, 0], [1, 7, 2, 9, 10, 2, 0, 0]]
    assert sentence.tolist() == [[0, 0, 0, 0, 1, 1, 0, 0], [0, 0, 0, 1, 1, 1, 0, 0]]
    full = packed(torch.tensor([[1, 5, 2]]), torch.tensor([[1, 6, 2]]))[0]
    assert full.tolist() == [[1, 5, 2, 6, 2]]
    both = torch.cat([first, second], dim=1).gather(1, at)
    assert torch.equal(both[words != 0], words[words != 0])


def test_equal_to_transformers() -> None:
    import transformers

    system, split = small(geometry=0), lesson()
    theirs = transformers.VisualBertForPreTraining(system.joint.visual_bert.config).eval()
    own = {k: v for k, v in system.joint.state_dict().items() if not k.startswith("rank_output")}
    theirs.load_state_dict(own)
    text = torch.from_numpy(split.text[:3].astype(np.int64))
    seen = torch.from_numpy(split.image[:3]).view(3, 4, -1)
    with torch.no_grad():
        logits = theirs(
            input_ids=text,
            attention_mask=(text != 0).long(),
            visual_embeds=seen[..., :D],
            visual_attention_mask=(seen[..., D + 2] > 0).long(),
            visual_token_type_ids=torch.zeros(3, 4, dtype=torch.long),
        ).seq_relationship_logits
    system.joint.rank_by_matching(1)
    assert torch.allclose(score(system, split.image[:3], text), logits[:, 1] - logits[:, 0], atol=1e-5)


def test_as_many_parameters_as_transformers_counts() -> None:
    with torch.device("meta"):
        system = VisualBERT(image_dim=36 * 2052, regions=36, mask_piece=103)
    inner = sum(p.numel() for p in system.joint.visual_bert.parameters())
    assert inner == 111_450_624
    heads = {
        id(p): p.numel() for p in (*system.joint.visual_bert.parameters(), *system.joint.cls.parameters())
    }
    assert sum(heads.values()) == 112_074_812


def test_regions_have_no_order_and_missing_ones_change_nothing() -> None:
    system, split = small(), lesson()
    image, text = split.image[:3].reshape(3, 4, -1), split.text[:3]
    expected = score(system, split.image[:3], text.astype(np.int64))
    turned = image[:, [3, 1, 0, 2]].reshape(3, -1).copy()
    assert torch.allclose(score(system, turned, text.astype(np.int64)), expected, atol=1e-5)
    filled = image.copy()
    filled[0, 3, :D] = 100  # without width it is none
    assert torch.allclose(score(system, filled.reshape(3, -1), text.astype(np.int64)), expected, atol=1e-6)


def test_second_captions_are_of_the_same_picture_half_of_the_time() -> None:
    split = lesson(captions=3)
    others, batch, share = Others(split), batch_of(split), list[float]()
    for _ in range(6):
        rows = others.siblings(batch)
        assert torch.equal(others.pairs[rows][:, 0], batch.image_row)
        assert not (rows == batch.index).any()  # another caption, as there is one
    counts = Counter(int(others.siblings(batch)[0]) for _ in range(60))
    assert set(counts) == {1, 2}
    alone = Others(lesson(captions=1))
    assert torch.equal(alone.siblings(batch_of(lesson(captions=1))), torch.arange(12))

    system = small()
    system.others = others
    torch.manual_seed(0)
    seen = list[tuple[Any, Any]]()
    real = torch.nn.functional.cross_entropy
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "torch.nn.functional.cross_entropy", lambda a, b, **o: seen.append((a, b)) or real(a, b, **o)
        )
        for _ in range(8):
            system.pretraining(batch)
    labels = [b for a, b in seen if a.shape == (36, 2)]
    share = [float(label.float().mean()) for label in labels]
    assert len(labels) == 8
    assert 0.4 < np.mean(share) < 0.6


def test_both_tasks_of_pretraining_begin_at_chance() -> None:
    system, split = small(), lesson()
    system.others = Others(split)
    head = system.joint.cls.seq_relationship
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    terms = system.pretraining(batch_of(split))
    assert terms["sip"].item() == pytest.approx(math.log(2), abs=1e-5)
    assert terms["mlm"].item() > 1


def published_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As the authors name them, with what their files hold besides."""
    found = {"bert.bert.embeddings.position_ids": torch.arange(5)}
    for key, value in state.items():
        name = key.replace("visual_token_type_embeddings", "token_type_embeddings_visual")
        name = name.replace("visual_position_embeddings", "position_embeddings_visual")
        name = name.replace("visual_projection", "projection").replace("visual_bert.", "bert.bert.")
        found["bert." + name if name.startswith("cls.") else name] = value
    return found


@pytest.mark.parametrize("whose", ["authors", "library"])
def test_a_checkpoint_is_taken_with_its_shapes(whose: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    made = VisualBERT(
        image_dim=4 * (20 + 4),
        regions=4,
        text_length=10,
        vocabulary=60,
        width=128,
        heads=2,
        layers=2,
        mask_piece=9,
    )
    state = {k: v for k, v in made.joint.state_dict().items() if not k.startswith("rank_output")}
    if whose == "authors":
        del state["cls.predictions.decoder.bias"]
        torch.save(published_names(state), tmp_path / "model.th")
        found = VisualBERT(checkpoint=str(tmp_path / "model.th"), regions=4)
    else:
        for tied in ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias"):
            del state[tied]
        save_file(state, tmp_path / "model.safetensors")
        found = VisualBERT(checkpoint=str(tmp_path), regions=4)
    assert (found.width, found.layers, found.heads, found.image_dim, found.mask) == (128, 2, 2, 96, 103)
    expected = made.joint.state_dict()
    for key, value in found.joint.state_dict().items():
        if not key.startswith("rank_output"):
            assert torch.equal(value, expected[key]), key

    # Never taught to rank: the caption is both sentences, and the match is weighed against the mismatch.
    assert found.repeated
    split = lesson()
    image = np.random.default_rng(0).random((3, 96)).astype(np.float32)
    text = torch.from_numpy(split.text[:3].astype(np.int64))
    found.joint.eval()
    twice, sentence, _ = packed(text, text)
    with torch.no_grad():
        logits = found.joint.cls.seq_relationship(
            found.joint(*found.image_states(torch.from_numpy(image)), twice, sentence)[1]
        )
    assert torch.allclose(score(found, image, text), logits[:, 1] - logits[:, 0], atol=1e-5)


def test_which_column_means_a_match_is_decided_by_evidence(tmp_path: Path) -> None:
    split = lesson()
    system = small()
    system.others, system.repeated, system.checkpoint = Others(split), True, "published"
    scores = iter([np.array([1.0]), np.array([2.0])])  # true pairs score lower in column 1
    system.score_pairs = lambda *_: next(scores)  # type: ignore[method-assign]
    system.begin_ranking(split)
    assert system.match_column == 0
    assert not system.repeated
    head = system.joint.cls.seq_relationship.weight
    assert torch.equal(system.joint.rank_output.weight[0], head[0] - head[1])


def test_ranking_learns_and_keeps_what_it_does_not_rank_by() -> None:
    split = lesson()
    system = small(pretrain_epochs=1, epochs=150)
    trainer = Trainer(seed=0, quiet=True, device="cpu")
    system.fit(split, trainer)
    terms = [entry["terms"] for entry in trainer.history]
    assert set(terms[0]) == {"mlm", "sip"}
    assert terms[-1]["rank"] < 0.5 * math.log(4)
    assert system.joint.visual_bert.embeddings.word_embeddings.weight.requires_grad


def test_what_it_cannot_be_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadParameter, match="a geometry of 0 or 6"):
        small(geometry=5)
    with pytest.raises(BadParameter, match="cannot hold 7 regions"):
        small(regions=7)
    system = small()
    with pytest.raises(BadParameter, match=r"numbers below 61, not up to 99"):
        score(system, lesson().image[:1], torch.tensor([[1, 99, 2]]))
    torch.save({"bert.cls.predictions.bias": torch.zeros(3)}, tmp_path / "half.th")
    with pytest.raises(BadData, match=r"no whole VisualBERT checkpoint: it lacks visual_bert\.embeddings"):
        VisualBERT(checkpoint=str(tmp_path / "half.th"))
