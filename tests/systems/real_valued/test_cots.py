"""Closed-form values of COTS's losses, its queues, its momentum and its filter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from diptych import catalogue
from diptych.data.base import Split
from diptych.data.extracted import extract
from diptych.data.sets.planted import Planted
from diptych.errors import BadParameter
from diptych.features import named
from diptych.nets.tokens import Words
from diptych.systems.real_valued.cots import (
    COTS,
    VARIANTS,
    PatchCodes,
    Queues,
    disagreement,
    follow,
    log_match,
    trusted,
)
from diptych.testing.materials import drawn
from diptych.training.trainer import Trainer

TINY: dict[str, Any] = {
    "image_dim": 32,
    "text_dim": 24,
    "tokens": 5,
    "width": 16,
    "layers": 1,
    "heads": 2,
    "dim": 8,
}


def test_values_worked_out_by_hand() -> None:
    p = log_match(torch.eye(3)[:1], torch.tensor([[0.8, 0, 0]]), torch.tensor([[0.2, 0, 0], [0, 0, 0]]),
                  temperature=0.5)  # fmt: skip
    q = log_match(torch.eye(3)[:1], torch.tensor([[0.8, 0, 0]]), torch.tensor([[0.4, 0, 0], [-0.2, 0, 0]]),
                  temperature=0.5)  # fmt: skip
    assert p.exp()[0].tolist() == pytest.approx([0.6653, 0.2004, 0.1343], abs=1e-4)
    assert q.exp()[0].tolist() == pytest.approx([0.6310, 0.2835, 0.0854], abs=1e-4)
    assert (-p[0, 0].item(), -q[0, 0].item()) == pytest.approx((0.4075, 0.4604), abs=1e-4)
    assert disagreement(p, q).item() == pytest.approx(0.026417, abs=2e-6)


def test_rows_that_differ_by_a_constant_agree() -> None:
    logits = torch.tensor([[0.8, 0.2, -0.4]])
    same = [torch.log_softmax(logits + shift, dim=1) for shift in (0, 3)]
    assert disagreement(*same).item() == pytest.approx(0, abs=1e-6)


def test_queues_stay_aligned_when_they_wrap() -> None:
    queues = Queues(5, 1)
    for start in (0, 3):
        keys = torch.arange(start, start + 3.0)[:, None]
        assert not queues.full
        queues.add(keys, keys + 10)
    assert queues.full
    assert queues.image.flatten().tolist() == [5, 1, 2, 3, 4]
    assert torch.equal(queues.text, queues.image + 10)
    many = torch.arange(7.0)[:, None]
    queues.add(many, many)
    assert sorted(queues.image.flatten().tolist()) == [2, 3, 4, 5, 6]


@pytest.mark.parametrize("momentum", [0.0, 1.0, 0.5])
def test_momentum(momentum: float) -> None:
    key, net = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    expected = momentum * key.weight.detach() + (1 - momentum) * net.weight.detach()
    follow(key, net, momentum=momentum)
    assert torch.allclose(key.weight, expected)


def test_filter() -> None:
    recent = torch.tensor([0.2, 0.4])  # mean .3, deviation .1
    values = torch.tensor([0.15, 0.25, 0.9])
    assert trusted(values, recent, kappa=1.0).tolist() == [False, True, True]
    assert trusted(values, recent, kappa=float("inf")).all()
    assert trusted(values, recent[:0], kappa=1.0).all()


def test_masked_pieces_are_not_seen() -> None:
    torch.manual_seed(0)
    net = COTS(**TINY, queue=4, scaling="none").image_net
    first = torch.randn(1, 32)
    second = first.clone()
    second[:, :7] += 1  # the first of five pieces of 7
    masked = torch.tensor([[True, False, False, False, False]])
    assert torch.equal(net.hidden(first, masked), net.hidden(second, masked))  # type: ignore[operator]
    assert not torch.allclose(net(first), net(second))


def test_task_level_waits_for_full_queues_and_keys_get_no_gradient() -> None:
    torch.manual_seed(0)
    system = COTS(**TINY, queue=30, batch_size=20, epochs=1)
    trainer = Trainer(quiet=True, device="cpu")
    system.fit(Planted(train=20).split("train"), trainer)
    assert set(trainer.history[0]["terms"]) == {"instance", "token"}
    assert not system.queues.full
    system.queues.add(torch.eye(8).repeat(2, 1), torch.eye(8).repeat(2, 1))
    keys = torch.eye(8)[:3]
    terms = system.terms(torch.randn(3, 32), torch.randn(3, 24), keys, keys)
    assert set(terms) == {"instance", "token", "task"}
    sum(terms.values()).backward()  # type: ignore[union-attr]
    assert all(p.grad is None for p in system.image_key.parameters())
    assert all(p.grad is not None for p in system.image_net.parameters())


def unit(x: Any) -> Any:
    return x / np.sqrt((x**2).sum())


def shares(logits: Any) -> Any:
    return np.exp(logits) / np.exp(logits).sum()


def test_every_term_equals_the_cards_equations_in_loops() -> None:
    """There is no released code, so this second version of all of them stands for it.

    Full queues that are longer than the batch, three texts of one image, and weights of the levels.
    """
    torch.manual_seed(0)
    system = COTS(**TINY, codes=7, queue=11, temperature=0.2, token_weight=0.7, task_weight=0.4,
                  image_masked=0.4, text_masked=0.2)  # fmt: skip
    system.queues.add(*(functional.normalize(torch.randn(11, 8)) for _ in range(2)))
    image, text = torch.randn(4, 32), torch.randn(4, 24)
    image[2] = image[1] = image[0]
    keys = [functional.normalize(torch.randn(4, 8)) for _ in range(2)]
    torch.manual_seed(5)
    found = system.terms(image, text, *keys)
    torch.manual_seed(5)
    hidden = [
        net.hide(x, share) for net, x, share in ((system.image_net, image, 0.4), (system.text_net, text, 0.2))
    ]
    assert [part.sum(dim=1).tolist() for part in hidden] == [[2] * 4, [1] * 4]

    sides = ((system.image_net, system.image_guess, image), (system.text_net, system.text_guess, text))
    with torch.no_grad():
        plain = [net(x).double().numpy() for net, _, x in sides]
        states = [net.hidden(x, at).double().numpy() for (net, _, x), at in zip(sides, hidden, strict=True)]
    f, g = ([unit(row) for row in side] for side in plain)
    rows = [
        [row.double().numpy() for row in part] for part in (*keys, system.queues.image, system.queues.text)
    ]
    instance, task = 0.0, 0.0
    for pair in range(4):
        p = shares(np.array([f[pair] @ key for key in (rows[1][pair], *rows[3])]) / 0.2)
        q = shares(np.array([g[pair] @ key for key in (rows[0][pair], *rows[2])]) / 0.2)
        instance -= (np.log(p[0]) + np.log(q[0])) / 4
        task += sum(a * np.log(a / b) + b * np.log(b / a) for a, b in zip(p, q, strict=True)) / 2 / 4

    token = 0.0
    for (net, guess, x), at, outputs, other in zip(sides, hidden, states, (g, f), strict=True):
        pieces, losses = net.reader.pieces(x).numpy(), []
        for item, place in at.nonzero().tolist():
            distances = [
                ((pieces[item, place] - code) ** 2).sum() for code in net.codes.codebook[place].numpy()
            ]
            state = outputs[item, 1 + place] + guess.partner.weight.detach().double().numpy() @ other[item]
            with torch.no_grad():
                logits = guess.head(torch.from_numpy(state).float()).double().numpy()
            losses.append(-np.log(shares(logits)[int(np.argmin(distances))]))
        token += sum(losses) / len(losses)
    literal = {"instance": instance, "token": 0.7 * token, "task": 0.4 * task}
    assert {name: term.item() for name, term in found.items()} == pytest.approx(literal, rel=1e-4)


def test_the_algorithm_in_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Filter, losses, step, slow copies, queues, in this order: what a second version of `fit` ends with."""
    # Adam makes whole steps of what is rounding in the gradient of an attention's biases.
    monkeypatch.setattr(COTS, "optimizer", lambda self: torch.optim.SGD(self.trainable(), lr=0.05))
    split = Planted(train=14, captions=2).split("train")
    settings = {**TINY, "queue": 9, "momentum": 0.6, "kappa": 0.5, "epochs": 3, "batch_size": 10}
    torch.manual_seed(0)
    system = COTS(**settings)
    torch.manual_seed(0)
    other = COTS(**settings)
    batches = list[tuple[int, Any]]()

    class Watching(Trainer):
        def batches(self, *rest: Any, **named: Any) -> Any:
            for batch in super().batches(*rest, **named):
                # The state of the draws, which hide tokens, is that of the training at this point.
                batches.append((self._epoch, (batch, torch.get_rng_state())))
                yield batch

    system.fit(split, Watching(quiet=True, device="cpu"))
    other.study(split)
    optimizer = other.optimizer()
    image_ring, text_ring = other.queues.image.clone(), other.queues.text.clone()
    positives, added, left_out = list[float](), 0, 0
    for epoch, (batch, drawn_from) in batches:
        with torch.no_grad():
            f, g = (functional.normalize(net(x)) for net, x in
                    ((other.image_net, batch.image), (other.text_net, batch.text)))  # fmt: skip
            values = [float(a @ b) for a, b in zip(f, g, strict=True)]
            recent = positives[-9:]
            kept = list(range(len(values)))
            if epoch > 0:
                mean = sum(recent) / len(recent)
                deviation = (sum((value - mean) ** 2 for value in recent) / len(recent)) ** 0.5
                kept = [row for row, value in enumerate(values) if value >= mean - 0.5 * deviation]
            positives += values
            left_out += len(values) - len(kept)
            image, text = batch.image[kept], batch.text[kept]
            keys = [functional.normalize(net(x)) for net, x in
                    ((other.image_key, image), (other.text_key, text))]  # fmt: skip
        other.queues.image.copy_(image_ring)
        other.queues.text.copy_(text_ring)
        other.queues.added.fill_(added)
        torch.set_rng_state(drawn_from)
        loss = torch.stack(list(other.terms(image, text, *keys).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for slow, fast in ((other.image_key, other.image_net), (other.text_key, other.text_net)):
                for one, new in zip(slow.parameters(), fast.parameters(), strict=True):
                    one.copy_(0.6 * one + 0.4 * new)
            for row in range(len(kept)):
                image_ring[added % 9], text_ring[added % 9] = keys[0][row], keys[1][row]
                added += 1
    assert left_out > 0
    assert added > 2 * 9
    assert torch.allclose(system.queues.image, image_ring, atol=1e-4)
    assert torch.allclose(system.queues.text, text_ring, atol=1e-4)
    for name in ("image_net", "text_net", "image_key", "text_key", "image_guess", "text_guess"):
        for one, two in zip(
            system.networks[name].parameters(), other.networks[name].parameters(), strict=True
        ):
            assert torch.allclose(one, two, atol=1e-4), name


def test_impossible_parameters_are_refused() -> None:
    with pytest.raises(BadParameter, match="tokens of COTS"):
        COTS(image_dim=4, text_dim=4, tokens=5)
    with pytest.raises(BadParameter, match="queue >= 1"):
        COTS(**TINY, queue=0)


def test_filter_finds_shuffled_pairs() -> None:
    train = Planted(train=400).split("train")
    wrong = np.random.default_rng(0).choice(400, 80, replace=False)
    text = np.array(train.text)
    text[wrong] = text[np.roll(wrong, 1)]
    system = catalogue.load("cots:tiny", seed=0, epochs=5)
    system.fit(Split(train.image, text, train.label, train.pairs), Trainer(quiet=True, device="cpu"))
    positive = (system.encode_image(train.image) * system.encode_text(text)).sum(axis=1)
    out = ~trusted(torch.from_numpy(positive), system.queues.recent(), kappa=1.0).numpy()
    assert out[wrong].mean() > 2 * np.delete(out, wrong).mean()


def raw(size: int, **counts: int) -> tuple[Split, Split]:
    """Drawn pictures with captions as pixels and word pieces, to learn from and to be asked."""
    learn, ask = drawn(**counts, size=48)
    readers = named(f"image=pixels:{size},text=tokens:24")
    readers["text"].fit(learn.text)
    return extract(learn, **readers), extract(ask, **readers)


TEXTS = torch.tensor(
    [[1, 7, 8, 9, 2, 0, 0], [1, 9, 2, 0, 0, 0, 0], [1, 5, 6, 7, 8, 9, 2], [1, 2, 0, 0, 0, 0, 0]]
)


def words() -> Any:
    torch.manual_seed(0)
    return catalogue.load("cots:raw-tiny", text_length=7, vocabulary=10).text_net.eval()


def test_only_words_are_hidden() -> None:
    tower = words()
    for share in (0.0, 0.15, 0.5, 1.0):
        for _ in range(20):
            masked = tower.hide(TEXTS, share)
            assert not masked[TEXTS <= 2].any()  # padding, and the two special pieces
            expected = [max(1, round(share * count)) for count in (3, 1, 5)] + [0]
            assert masked.sum(dim=1).tolist() == expected
    shares = torch.stack([tower.hide(TEXTS, 0.2)[2] for _ in range(400)]).float().mean(dim=0)
    assert shares[1:6].tolist() == pytest.approx([0.2] * 5, abs=0.08)


def test_a_hidden_word_is_guessed_from_the_others() -> None:
    tower = words()
    masked = torch.zeros_like(TEXTS, dtype=torch.bool)
    masked[0, 2] = masked[2, 4] = True
    other = TEXTS.clone()
    other[0, 2], other[2, 4] = 3, 4
    assert torch.equal(tower.hidden(TEXTS, masked), tower.hidden(other, masked))
    assert not torch.allclose(tower.hidden(TEXTS), tower.hidden(other))
    assert tower.codes(tower.reader.pieces(TEXTS), masked).tolist() == [8, 8]


def test_padding_changes_nothing() -> None:
    tower = words()
    before = tower(TEXTS)
    with torch.no_grad():
        tower.reader.embed.weight[0] = 5.0
    assert torch.allclose(tower(TEXTS), before, atol=1e-5)


def test_the_loss_of_words_literally() -> None:
    system = catalogue.load("cots:raw-tiny", text_length=7, vocabulary=10, seed=1)
    partner = torch.randn(4, 32)
    torch.manual_seed(3)
    found = system.text_guess(system.text_net, TEXTS, partner, 0.4)
    torch.manual_seed(3)
    masked = system.text_net.hide(TEXTS, 0.4)
    states = system.text_net.hidden(TEXTS, masked)
    terms = []
    for row, place in masked.nonzero().tolist():
        guess = system.text_guess.head(states[row, place] + system.text_guess.partner(partner[row]))
        terms.append(-guess.log_softmax(dim=0)[TEXTS[row, place]])
    assert found.item() == pytest.approx(torch.stack(terms).mean().item(), rel=1e-5)
    nothing = system.text_guess(system.text_net, TEXTS[3:], partner[3:], 0.4)
    assert nothing.item() == 0


def test_the_token_of_a_patch_is_the_nearest_training_patch() -> None:
    codes = PatchCodes(3, 2)
    rows = np.arange(6, dtype=np.uint8)[:, None]  # pictures of two patches: the number, and its square
    codes.take(rows, lambda x: torch.stack([x.repeat(1, 2), (x.int() ** 2).repeat(1, 2)], dim=1).float())
    assert codes.codebook.tolist() == [[0, 0], [4, 4], [25, 25]]  # patches 0, 5 and 11 of twelve
    pieces = torch.tensor([[[1.0, 1], [30, 20]], [[2.5, 2.5], [14, 14]]])
    masked = torch.tensor([[True, True], [True, False]])
    assert codes(pieces, masked).tolist() == [0, 2, 1]


def test_training_patches_are_taken() -> None:
    learn, _ = raw(32, train=8, test=1)
    system = catalogue.load("cots:raw-tiny")
    system.study(learn)
    pieces = system.image_net.reader.pieces(torch.from_numpy(np.array(learn.image)))
    codebook = system.image_net.codes.codebook
    assert torch.equal(codebook[0], pieces[0, 0])
    assert torch.equal(codebook[-1], pieces[-1, -1])
    assert torch.equal(system.image_key.codes.codebook, codebook)


def test_sizes_of_the_paper() -> None:
    with torch.device("meta"):
        system = COTS(**VARIANTS["raw"])
    assert system.reads == {"image": "pixels", "text": "tokens"}
    assert isinstance(system.text_net.reader, Words)
    assert system.image_net.reader.count == 196
    blocks = 12 * 7_087_872  # of ViT-B and of BERT-base
    for tower, own in ((system.image_net, 2 * 768), (system.text_net, 0)):
        assert sum(p.numel() for p in tower.encoder.parameters()) == blocks + own
    assert system.image_guess.head[2].out_features == 8192
    assert system.text_guess.head[2].out_features == 30522


def test_other_inputs_are_refused() -> None:
    with pytest.raises(BadParameter, match="features or raw"):
        COTS(inputs="pixels")
    with pytest.raises(BadParameter, match="patches of 5"):
        catalogue.load("cots:raw-tiny", patch=5)
