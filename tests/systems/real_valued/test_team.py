"""TEAM: the specification's numbers, and what its score may depend on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from diptych import catalogue
from diptych.data.base import Split
from diptych.data.extracted import extract
from diptych.data.sets.planted import Planted
from diptych.errors import BadParameter
from diptych.evaluation import evaluate
from diptych.features import named
from diptych.pipeline import score_matrix
from diptych.systems.real_valued import team
from diptych.testing.materials import drawn
from diptych.training.trainer import Batch, Trainer


def test_word_score_leaves_padding_out() -> None:
    words = torch.tensor([[[1.0, 0], [1, 0], [1, 0]]])
    rebuilt = torch.tensor([[[0.8, 0.6], [0.4, 0.84**0.5], [0.9, 0.19**0.5]]])
    padding = torch.tensor([[False, False, True]])
    assert float(team.word_score(rebuilt, words, padding)) == pytest.approx(0.6)


def test_token_loss() -> None:
    scores = torch.tensor([[[0.6, 0.1, 0.2]]])
    assert float(team.token_loss(scores, 10.0)) == pytest.approx(0.02474, abs=1e-5)
    assert float(team.token_loss(scores, 1 / 0.07)) == pytest.approx(0.00408, abs=1e-5)
    assert float(team.token_loss(scores.expand(6, 1, 3), 10.0)) == pytest.approx(0.1485, abs=1e-4)


def test_scales_start_at_14_and_stop_at_100() -> None:
    scales = team._Scales(2.66)
    assert scales.of(0).item() == pytest.approx(14.296, abs=1e-3)
    scales.log.data.fill_(9)
    assert scales.of(1).item() == 100


def test_other_texts_of_an_image_are_no_negatives() -> None:
    """One direction of the specification's toy: rows are queries, items 1 and 3 have the same image."""
    logits = torch.tensor([[5.0, 2, 4], [1, 6, 0], [4, 0, 5]])
    same = torch.tensor([[True, False, True], [False, True, False], [True, False, True]])
    target = torch.arange(3)
    plain = torch.nn.functional.cross_entropy(logits, target)
    assert float(plain) == pytest.approx(0.2255, abs=1e-4)
    for mask, expected in (("zero", 0.0258), ("remove", 0.0215)):
        others = same & ~torch.eye(3, dtype=torch.bool)
        filled = logits.masked_fill(others, 0.0 if mask == "zero" else -torch.inf)
        row = torch.nn.functional.cross_entropy(filled, target)
        column = torch.nn.functional.cross_entropy(filled.T, target)
        assert float(row) == pytest.approx(expected, abs=1e-4)
        assert float(team.global_loss(logits, same, mask)) == pytest.approx(float(row + column) / 2)


def alignment() -> Any:
    torch.manual_seed(0)
    return team._Alignment(64, 32, 2, 0.1).eval()


def test_the_score_depends_on_words_and_image_only() -> None:
    blocks = alignment()
    text, image = torch.randn(2, 5, 64), torch.randn(2, 7, 64)
    padding = torch.tensor([[False] * 4 + [True]] * 2)
    found = blocks(text, image, padding)
    other = text.clone()
    other[:, 4] = 9
    assert torch.allclose(blocks(other, image, padding), found, atol=1e-5)
    assert torch.allclose(blocks(text, image[:, torch.randperm(7)], padding), found, atol=1e-5)
    assert not torch.allclose(blocks(text, image.flip(0), padding), found, atol=1e-5)
    for block in blocks.blocks:
        torch.nn.init.zeros_(block.across.out_proj.weight)
        torch.nn.init.zeros_(block.across.out_proj.bias)
    blind = blocks(text, image, padding)
    assert torch.allclose(blocks(text, image.flip(0), padding), blind)


def literal_attention(net: Any, query: Any, key: Any, value: Any, padding: Any) -> torch.Tensor:
    """One text's attention (l, width), head by head and word by word, with no dropout."""
    width, size = query.shape[1], query.shape[1] // net.num_heads
    weights, biases = net.in_proj_weight.split(width), net.in_proj_bias.split(width)
    q, k, v = (x @ w.T + b for x, w, b in zip((query, key, value), weights, biases, strict=True))
    mixed = torch.zeros_like(query)
    for head in range(net.num_heads):
        part = slice(head * size, (head + 1) * size)
        for word in range(len(query)):
            scores = torch.stack([q[word, part] @ one[part] / size**0.5 for one in k])
            if padding is not None:
                scores[padding] = -torch.inf
            for share, one in zip(scores.softmax(dim=0), v, strict=True):
                mixed[word, part] += share * one[part]
    return mixed @ net.out_proj.weight.T + net.out_proj.bias


def test_a_block_that_learns_equals_the_released_one_in_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five dropouts, in this order, and none within the attentions: each here is a factor of its own."""
    torch.manual_seed(0)
    block = team._Block(128, 0.3).train().requires_grad_(False)
    state, text, image = torch.randn(3, 4, 128), torch.randn(3, 4, 128), torch.randn(3, 6, 128)
    padding = torch.tensor([[False] * 4, [False, False, True, True], [False] * 3 + [True]])
    factors = iter((0.5, 0.7, 1.3, 0.9, 1.2))

    def drop(x: torch.Tensor, p: float, *_: Any) -> torch.Tensor:
        assert p == 0.3
        return x * next(factors)

    monkeypatch.setattr(torch.nn.functional, "dropout", drop)
    found = block(state, text, image, padding)
    assert next(factors, None) is None
    res = block.norms[0](state)
    query = text + res
    own = [literal_attention(block.own, query[b], query[b], res[b], padding[b]) for b in range(3)]
    state = state + 0.5 * torch.stack(own)
    query = text + block.norms[1](state)
    seen = [literal_attention(block.across, query[b], image[b], image[b], None) for b in range(3)]
    state = state + 0.7 * torch.stack(seen)
    first, second = block.forward_net[0], block.forward_net[3]
    hidden = torch.nn.functional.gelu(block.norms[2](state) @ first.weight.T + first.bias)
    state = state + 1.2 * 0.9 * (1.3 * hidden @ second.weight.T + second.bias)
    assert torch.allclose(found, state, atol=1e-4)


def test_no_negatives_in_a_batch_of_one_image() -> None:
    system = catalogue.load("team:tiny")
    assert system._negatives(torch.zeros(2, 2), torch.ones(2, 2, dtype=torch.bool)) is None
    images, texts = system._negatives(torch.zeros(3, 3), torch.eye(3, dtype=torch.bool))
    assert (images != torch.arange(3)).all()
    assert (texts != torch.arange(3)).all()


@pytest.mark.parametrize("mask", ["zero", "remove"])
def test_both_terms_in_loops_where_images_repeat(mask: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three texts of one image and two of another; with "zero" it is the released code."""
    split = Planted(train=4, captions=3).split("train")
    rows = np.array([0, 1, 4, 2, 9, 11, 7])
    (whole,) = Trainer(quiet=True).batches(split, 12, shuffle=False)
    fields = (getattr(whole, name)[rows] for name in ("index", "image_row", "text_row", "image"))
    batch = Batch(*fields, text=whole.text[rows], label=whole.label[rows])
    images = [0, 0, 1, 0, 3, 3, 2]
    assert batch.image_row.tolist() == images
    torch.manual_seed(0)
    system: Any = catalogue.load("team:tiny", seed=0, dropout=0.0, mask=mask)
    drawn_for, asked = system._negatives, []

    def watched(logits: torch.Tensor, same: torch.Tensor) -> Any:
        asked.append(drawn_for(logits, same))
        return asked[0]

    monkeypatch.setattr(system, "_negatives", watched)
    terms = {name: term.item() for name, term in system.objective(batch).items()}
    other_images, other_texts = (part.tolist() for part in asked[0])
    for own in range(7):
        assert images[other_images[own]] != images[own] != images[other_texts[own]]

    with torch.no_grad():
        v, t = system.image_net.states(batch.image), system.text_net.states(batch.text)
        seen, read = (
            [net.project(one[0]) for one in x] for net, x in ((system.image_net, v), (system.text_net, t))
        )
        seen, read = ([one / one.norm() for one in side] for side in (seen, read))
        scale = float(np.exp(2.66))
        total = 0.0
        for own in range(7):
            for ask, answers in ((read[own], seen), (seen[own], read)):
                below = 0.0
                for other in range(7):
                    logit = scale * float(ask @ answers[other])
                    if other != own and images[other] == images[own]:
                        if mask == "remove":
                            continue
                        logit *= 0
                    below += np.exp(logit)
                total += np.log(below) - scale * float(ask @ answers[own])
        assert terms["global"] == pytest.approx(total / 7 / 2, rel=1e-4)

        token = 0.0
        for own in range(7):
            kinds = ((own, own), (own, other_images[own]), (other_texts[own], own))
            scores = [system.alignment(t[[text]], v[[image]])[:, 0] for text, image in kinds]
            for block in range(2):
                logits = [scale * float(score[block]) for score in scores]
                token += (np.log(sum(np.exp(logits))) - logits[0]) / 7
        assert terms["token"] == pytest.approx(token, rel=1e-4)


def test_it_over_fits_what_it_saw_and_reranking_keeps_the_first_hits() -> None:
    split = Planted().split("train").take(np.arange(64))
    system = catalogue.load("team:tiny", seed=0, epochs=60, batch_size=32, dropout=0.0)
    system.fit(split, Trainer(seed=0, quiet=True))
    scores = score_matrix(system, split.image, split.text)
    truth = np.zeros_like(scores, dtype=bool)
    truth[split.pairs[:, 0], split.pairs[:, 1]] = True
    assert (truth[np.arange(64), scores.argmax(axis=1)]).mean() >= 0.95
    pairs = np.array([[3, 5], [0, 1]])
    assert system.score_pairs(split.image, split.text, pairs) == pytest.approx(
        scores[[3, 0], [5, 1]], abs=1e-4
    )
    assert evaluate(system, Planted(), rank=False).main()["image to text"] > 0


def raw(size: int, **counts: int) -> tuple[Split, Split]:
    """Drawn pictures with captions as pixels and word pieces, to learn from and to be asked."""
    learn, ask = drawn(**counts, size=48)
    readers = named(f"image=pixels:{size},text=tokens:24")
    readers["text"].fit(learn.text)
    return extract(learn, **readers), extract(ask, **readers)


@pytest.fixture(scope="module")
def asked() -> tuple[Any, Split]:
    """An untrained system that reads pixels and tokens, and something to ask it."""
    return catalogue.load("team:raw-tiny", seed=0), raw(32, train=32, test=6)[1]


def test_padded_words_change_no_score(asked: tuple[Any, Split]) -> None:
    system, split = asked
    assert (np.asarray(split.text) == 0).any()
    before = score_matrix(system, split.image, split.text), system.encode_text(split.text)
    kept = system.text_net.tokens.embed.weight[0].clone()
    with torch.no_grad():
        system.text_net.tokens.embed.weight[0] = 5.0
    after = score_matrix(system, split.image, split.text), system.encode_text(split.text)
    with torch.no_grad():
        system.text_net.tokens.embed.weight[0] = kept
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-5)


def test_scores_of_pictures_literally(asked: tuple[Any, Split]) -> None:
    """Word by word, [CLS] and [SEP] included; the order of the image's tokens, [CLS] first, is no matter."""
    system, split = asked
    pixels = torch.from_numpy(np.array(split.image))
    numbers = torch.from_numpy(np.array(split.text).astype(np.int64))
    nets = (system.image_net.eval(), system.text_net.eval())
    system.alignment.eval()
    with torch.no_grad():
        image, text = nets[0].states(pixels[:1]), nets[1].states(numbers[:1])
        assert image.shape == (1, 1 + 16, 64)
        count = int((numbers[0] != 0).sum())
        total = 0.0
        state = torch.zeros(1, count, 64)
        for block in system.alignment.blocks:  # only the words that there are
            state = block(state, text[:, :count], image[:, torch.randperm(17)], None)
            rebuilt, word = system.alignment.rebuilt(state), system.alignment.word(text[:, :count])
            total += float(torch.nn.functional.cosine_similarity(rebuilt, word, dim=-1).mean())
    assert float(score_matrix(system, split.image[:1], split.text[:1])[0, 0]) == pytest.approx(
        total, abs=1e-5
    )


def test_large_galleries_are_scored_part_by_part(
    asked: tuple[Any, Split], monkeypatch: pytest.MonkeyPatch
) -> None:
    system, split = asked
    pairs = np.array([[5, 1], [0, 0], [3, 5], [0, 2], [5, 1]])
    whole = system.score_pairs(split.image, split.text, pairs)
    monkeypatch.setattr(team, "_FLOATS", 2 * 17 * 64)  # two pictures
    np.testing.assert_allclose(system.score_pairs(split.image, split.text, pairs), whole, atol=1e-5)
    assert system.score_pairs(split.image, split.text, pairs[:0]).shape == (0,)


def test_places_of_patches_and_words_matter(asked: tuple[Any, Split]) -> None:
    system, split = asked
    turned = np.ascontiguousarray(np.array(split.image)[..., ::-1])
    assert not np.allclose(system.encode_image(turned), system.encode_image(split.image), atol=1e-3)
    text = np.array(split.text)
    text[:, [1, 2]] = text[:, [2, 1]]
    assert not np.allclose(system.encode_text(text), system.encode_text(split.text), atol=1e-3)


def test_other_texts_bring_their_own_padding(asked: tuple[Any, Split]) -> None:
    """The negatives are scored as the pairs that they are."""
    system, split = asked
    rows = torch.arange(4)
    numbers = torch.from_numpy(np.array(split.text).astype(np.int64))[:4]
    numbers[1, 3:] = 0
    pixels = torch.from_numpy(np.array(split.image))[:4]
    system.alignment.eval()
    others = torch.tensor([1, 2, 3, 0])
    system._negatives = lambda logits, same: (others, others)
    found = system.objective(Batch(rows, rows, rows, pixels, numbers, torch.zeros(4, 0)))["token"]
    del system._negatives
    texts = np.asarray(numbers.numpy(), np.uint32)
    images = np.asarray(pixels.numpy())
    place = np.arange(4)
    kinds = [(place, place), (others.numpy(), place), (place, others.numpy())]
    with torch.no_grad():
        scores = []
        for image, text in kinds:
            states = system.image_net.states(torch.from_numpy(images[image]))
            read = torch.from_numpy(texts[text].astype(np.int64))
            padding = system.text_net.padding(read)
            scores.append(system.alignment(system.text_net.states(read), states, padding))
        expected = team.token_loss(torch.stack(scores, dim=-1), system.scales.of(1))
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)


def test_sizes_of_the_paper() -> None:
    with torch.device("meta"):
        system = team.TEAM(**team.VARIANTS["raw"])
    assert system.reads == {"image": "pixels", "text": "tokens"}
    assert (system.image_net.count, system.text_net.count) == (257, 30)
    blocks = 12 * 7_087_872  # of DeiT-B and of BERT-base
    for tower, own in ((system.image_net, 2 * 768), (system.text_net, 0)):
        assert sum(p.numel() for p in tower.encoder.parameters()) == blocks + own


def test_other_inputs_are_refused() -> None:
    with pytest.raises(BadParameter, match="features or raw"):
        team.TEAM(inputs="pixels")
