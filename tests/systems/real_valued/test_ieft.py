"""IEFT: the specification's numbers, its enhancement, and that it is a scorer of pairs."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
import torch

from diptych import catalogue
from diptych.core import Encoder, Scorer
from diptych.data.base import Split
from diptych.data.extracted import extract
from diptych.data.sets.planted import Planted
from diptych.errors import BadParameter
from diptych.features import named
from diptych.pipeline import score_matrix
from diptych.systems.real_valued import ieft
from diptych.testing.materials import drawn
from diptych.training.trainer import Batch, Trainer

pytestmark = pytest.mark.slow


def test_the_rank_loss() -> None:
    assert ieft.rank_loss(torch.zeros(3, 16)).item() == pytest.approx(math.log(16))
    scores = torch.zeros(1, 16)
    scores[0, 0] = 2
    assert ieft.rank_loss(scores).item() == pytest.approx(1.1086, abs=1e-4)


def test_a_caption_tells_its_image_from_those_that_met_it() -> None:
    # Image 0 met texts 0 and 1, image 1 texts 1 and 2, image 2 texts 2 and 0.
    texts = torch.tensor([[0, 1], [1, 2], [2, 0]])
    scores = torch.tensor([[2.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    # Text 0: own 2 against 0 of image 2; text 1: own 1 against 1; text 2: own 0 against 0.
    expected = (math.log(1 + math.exp(-2)) + 2 * math.log(2)) / 3
    assert ieft.image_loss(scores, texts).item() == pytest.approx(expected)


def test_symmetric_sees_what_is_added_to_all_scores_of_an_image() -> None:
    """The paper's loss does not: a constant of an image cancels among its captions."""
    scores, texts = torch.randn(4, 4), (torch.arange(4)[:, None] + torch.arange(4)) % 4
    moved = scores + torch.tensor([[9.0], [0.0], [0.0], [0.0]])
    assert ieft.rank_loss(moved).item() == pytest.approx(ieft.rank_loss(scores).item(), abs=1e-5)
    assert ieft.image_loss(moved, texts).item() > ieft.image_loss(scores, texts).item() + 1

    rows = torch.arange(20)
    batch = Batch(rows, rows, rows, torch.randn(20, 32), torch.randn(20, 24), torch.zeros(20, 0))
    system = catalogue.load("ieft:tiny", seed=0, symmetric=True, false_texts=19)
    torch.nn.init.zeros_(system.joint.rank.weight)
    assert system.objective(batch)["rank"].item() == pytest.approx(math.log(20))


def released_rate(step: int, steps: int) -> float:
    """get_polynomial_decay_schedule_with_warmup of power 1 down to 0, with int(.1 steps) to warm up."""
    warm = int(steps * 0.1)
    if step < warm:
        return step / max(1, warm)
    return 0.0 if step > steps else 1 - (step - warm) / (steps - warm)


def test_the_rate_rises_from_nothing_for_a_tenth_and_falls_to_nothing() -> None:
    assert [ieft.rate(done, 20) for done in (0, 1, 2, 11, 19)] == pytest.approx([0, 0.5, 1, 0.5, 1 / 18])
    assert ieft.rate(0, 5) == 1  # too few steps to warm up
    for steps in (5, 20, 137):
        found = [ieft.rate(done, steps) for done in range(steps)]
        assert found == pytest.approx([released_rate(done, steps) for done in range(steps)])


def test_steps_are_made_at_these_rates() -> None:
    split = Planted(train=40).split("train")
    system, seen = catalogue.load("ieft:tiny", epochs=10, batch_size=20), list[float]()

    class Watching(Trainer):
        def step(self, optimizer: torch.optim.Optimizer, *rest: Any, **named: Any) -> None:
            seen.extend({group["lr"] for group in optimizer.param_groups})
            super().step(optimizer, *rest, **named)

    system.fit(split, Watching(quiet=True, device="cpu"))
    assert seen == pytest.approx([4e-3 * released_rate(step, 20) for step in range(20)])


def test_what_is_decayed_as_the_released_names_have_it() -> None:
    """There a parameter is free if one of its list of names is a part of its own."""
    system = catalogue.load("ieft:raw-tiny")
    optimizer = system.optimizer()
    assert [(group["eps"], group["betas"]) for group in optimizer.param_groups] == [(1e-8, (0.9, 0.98))] * 2
    decayed, plain = ({id(p) for p in group["params"]} for group in optimizer.param_groups)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01, 0]
    free = ("bias", "LayerNorm.weight", "norm.weight", "norm1.weight", "norm2.weight")
    for net in system.networks.values():
        for name, parameter in net.named_parameters():
            theirs = re.sub(r"enhance\.(\d)\.norm\.", r"local_net.\1.norm2.body.", name)
            mine = id(parameter) in plain
            assert mine == any(part in theirs for part in free), name
            assert mine != (id(parameter) in decayed)


def layer_norm(x: Any, norm: Any, eps: float) -> Any:
    found = np.empty_like(x)
    for row, values in enumerate(x):
        mean = sum(values) / len(values)
        variance = sum((value - mean) ** 2 for value in values) / len(values)
        found[row] = (values - mean) / np.sqrt(variance + eps) * norm.weight.numpy() + norm.bias.numpy()
    return found


def affine(x: Any, weight: Any, bias: Any) -> Any:
    return np.array([[float(r @ row) for r in weight.numpy()] for row in x]) + bias.numpy()


def gelu(x: Any) -> Any:
    return np.vectorize(lambda value: 0.5 * value * (1 + math.erf(value / math.sqrt(2))))(x)


def vit_block(layer: Any, x: Any, there: list[bool]) -> Any:
    """One block on the tokens (n, width) of one pair: head by head, token by token."""
    width, heads = x.shape[1], layer.self_attn.num_heads
    size = width // heads
    y = layer_norm(x, layer.norm1, 1e-6)
    q, k, v = np.split(affine(y, layer.self_attn.in_proj_weight, layer.self_attn.in_proj_bias), 3, axis=1)
    mixed = np.zeros_like(x)
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        for token in range(len(x)):
            scores = [
                math.exp(q[token, part] @ k[o, part] / math.sqrt(size)) * there[o] for o in range(len(x))
            ]
            mixed[token, part] = sum(s * v[o, part] for o, s in enumerate(scores)) / sum(scores)
    x = x + affine(mixed, layer.self_attn.out_proj.weight, layer.self_attn.out_proj.bias)
    y = gelu(affine(layer_norm(x, layer.norm2, 1e-6), layer.linear1.weight, layer.linear1.bias))
    return x + affine(y, layer.linear2.weight, layer.linear2.bias)


def gdfn(gate: Any, x: Any) -> Any:
    """The gated convolution of channels (width, h, w), output by output."""
    expand, deep, project = (
        getattr(gate, name).weight.numpy() for name in ("expand", "depthwise", "project")
    )
    _, height, wide = x.shape
    grown = np.einsum("oc,chw->ohw", expand[:, :, 0, 0], x)
    spread = np.zeros_like(grown)
    for channel in range(len(grown)):
        for row in range(height):
            for column in range(wide):
                for a in range(3):
                    for b in range(3):
                        r, c = row + a - 1, column + b - 1
                        if 0 <= r < height and 0 <= c < wide:
                            spread[channel, row, column] += deep[channel, 0, a, b] * grown[channel, r, c]
    half = len(spread) // 2
    return np.einsum("oc,chw->ohw", project[:, :, 0, 0], gelu(spread[:half]) * spread[half:])


def test_the_joint_pass_equals_the_released_code_in_loops() -> None:
    """Small inputs, of whose variance the layer norms' epsilons are a part, and texts of two lengths."""
    system = catalogue.load("ieft:raw-tiny", seed=0, expansion=1.3)
    joint = system.joint.double().eval().requires_grad_(False)
    for norm in joint.modules():
        if isinstance(norm, torch.nn.LayerNorm):
            torch.nn.init.normal_(norm.weight)
            torch.nn.init.normal_(norm.bias)
    torch.manual_seed(1)
    image, words = 2e-3 * torch.randn(2, 10, 48).double(), 2e-3 * torch.randn(2, 24, 48).double()
    joint.kind.mul_(0.1)
    padding = torch.zeros(2, 24, dtype=torch.bool)
    padding[1, 5:] = True
    found = joint(image, words, padding)
    for pair in range(2):
        kind = joint.kind.numpy()
        x = np.concatenate([words[pair].numpy() + kind[0], image[pair].numpy() + kind[1]])
        there = [not empty for empty in padding[pair].tolist()] + 10 * [True]
        for number, layer in enumerate(joint.blocks):
            if number in (1, 2):
                enhance, patches = joint.enhance[number - 1], x[25:]
                patches = vit_block(enhance.channels, patches.T.copy(), 48 * [True]).T
                square = layer_norm(patches, enhance.norm, 1e-5).T.reshape(48, 3, 3)
                patches = patches + gdfn(enhance.gate, square).reshape(48, 9).T
                x = np.concatenate([x[:25], patches])
            x = vit_block(layer, x, there)
        pooled = np.tanh(affine(layer_norm(x[:1], joint.norm, 1e-6), joint.pool.weight, joint.pool.bias))
        score = affine(pooled, joint.rank.weight, joint.rank.bias)[0, 0]
        assert found[pair].item() == pytest.approx(score, rel=1e-9)


def test_attention_weights_are_not_dropped() -> None:
    """Without its other dropouts a block that learns is the block that is asked."""
    layer, x = ieft.block(48, 3, 0.5), torch.randn(2, 7, 48)
    dropped = [module for module in layer.modules() if isinstance(module, torch.nn.Dropout)]
    assert [module.p for module in dropped] == [0.5, 0.5, 0.5]
    assert not torch.allclose(layer.train()(x), layer.eval()(x), atol=1e-3)
    for module in dropped:
        module.p = 0.0
    assert torch.allclose(layer.train()(x), layer.eval()(x), atol=1e-5)


def test_sizes_of_the_paper() -> None:
    gate = ieft.GatedConvolution(768, 2.66)
    assert gate.project.in_channels == 2042
    assert sum(p.numel() for p in gate.parameters()) == 4_741_524
    channels = ieft.block(144, 12, 0.1)
    assert sum(p.numel() for p in channels.parameters()) == 250_704


def test_a_gate_that_projects_nothing_is_the_identity() -> None:
    system = catalogue.load("ieft:tiny")
    enhance = system.joint.enhance[0].eval()
    torch.nn.init.zeros_(enhance.gate.project.weight)
    patches = torch.randn(2, 9, 48)
    expected = enhance.channels(patches.transpose(1, 2)).transpose(1, 2)
    assert torch.allclose(enhance(patches), expected)


def test_the_loss_starts_at_chance_with_a_zero_head() -> None:
    system = catalogue.load("ieft:tiny", seed=0)
    torch.nn.init.zeros_(system.joint.rank.weight)
    rows = torch.arange(20)
    batch = Batch(rows, rows, rows, torch.randn(20, 32), torch.randn(20, 24), torch.zeros(20, 0))
    assert system.objective(batch)["rank"].item() == pytest.approx(math.log(5))


def test_it_scores_pairs_and_has_no_vectors() -> None:
    system = catalogue.load("ieft:tiny")
    assert isinstance(system, Scorer)
    assert not isinstance(system, Encoder)
    with pytest.raises(BadParameter, match="channel_heads that divide"):
        catalogue.load("ieft:tiny", channel_heads=2)


def test_it_over_fits_eight_pairs() -> None:
    split = Planted().split("train").take(np.arange(8))
    system = catalogue.load("ieft:tiny", seed=0, epochs=120, batch_size=8, dropout=0.0)
    system.fit(split, Trainer(seed=0, quiet=True))
    scores = score_matrix(system, split.image, split.text)
    assert (scores.argmax(axis=1) == np.arange(8)).all()
    assert (scores.argmax(axis=0) == np.arange(8)).all()
    pairs = np.array([[3, 5], [0, 1]])
    found = system.score_pairs(split.image, split.text, pairs)
    assert found == pytest.approx(scores[[3, 0], [5, 1]], abs=1e-4)


def raw(size: int, **counts: int) -> tuple[Split, Split]:
    """Drawn pictures with captions as pixels and word pieces, to learn from and to be asked."""
    learn, ask = drawn(**counts, size=48)
    readers = named(f"image=pixels:{size},text=tokens:24")
    readers["text"].fit(learn.text)
    return extract(learn, **readers), extract(ask, **readers)


def test_it_over_fits_eight_pictures_and_their_captions() -> None:
    """The specification's tiny configuration: pictures of 96 points in patches of 32."""
    learn, _ = raw(96, train=48, test=1)
    texts = np.asarray(learn.text)
    rows = np.sort(np.unique(texts, axis=0, return_index=True)[1])[:8]
    split = learn.take(rows)
    system = catalogue.load("ieft:raw-tiny", seed=0, epochs=140, batch_size=8, false_texts=7)
    system.fit(split, Trainer(seed=0, quiet=True))
    scores = score_matrix(system, split.image, split.text)
    assert (scores.argmax(axis=1) == np.arange(8)).all()
    assert (scores.argmax(axis=0) == np.arange(8)).all()
    # What stands where no word is changes nothing, whatever was learned.
    assert (np.asarray(split.text) == 0).any()
    with torch.no_grad():
        system.text_net.embed.weight[0] = 5.0
    np.testing.assert_allclose(score_matrix(system, split.image, split.text), scores, atol=1e-5)
    assert score_matrix(system, split.image[:0], split.text).shape == (0, 8)


def test_the_same_words_are_no_false_caption() -> None:
    """With a zero head the loss is the logarithm of one more than the false captions of every image."""
    system = catalogue.load("ieft:raw-tiny", seed=0, vocabulary=10)
    torch.nn.init.zeros_(system.joint.rank.weight)
    texts = torch.zeros(4, 24, dtype=torch.int64)
    texts[:, :4] = torch.tensor([[1, 5, 2, 0], [1, 5, 2, 0], [1, 6, 7, 2], [1, 8, 2, 0]])
    pixels = torch.zeros(4, 3, 96, 96, dtype=torch.uint8)

    def loss(rows: list[int]) -> float:
        own = torch.arange(len(rows))
        batch = Batch(own, own, own, pixels[rows], texts[rows], torch.zeros(len(rows), 0))
        return system.objective(batch)["rank"].item()

    assert loss([0, 2, 3]) == pytest.approx(math.log(3))
    assert loss([0, 1, 2, 3]) == pytest.approx(math.log(3))  # not ln 4
    assert loss([0, 1, 2]) == pytest.approx(math.log(2))
    assert loss([0, 1]) == pytest.approx(0)


def test_patches_lie_on_their_grid() -> None:
    """The convolution sees a neighbour in the picture, above and beside, and nothing further."""
    system = catalogue.load("ieft:raw-tiny", seed=0)
    enhance = system.joint.enhance[0].eval()
    for name in ("expand", "depthwise", "project"):
        torch.nn.init.constant_(getattr(enhance.gate, name).weight, 0.1)
    square = torch.randn(1, 9, 48)
    other = square.clone()
    other[0, 0] += torch.randn(48)  # above, on the left
    with torch.no_grad():
        changed = [
            enhance.gate(part.transpose(1, 2).unflatten(2, (3, 3))).flatten(2) for part in (square, other)
        ]
    moved = (changed[0] != changed[1]).any(dim=1)[0]
    assert moved.tolist() == [True, True, False, True, True, False, False, False, False]


def test_sizes_of_the_paper_for_pictures() -> None:
    with torch.device("meta"):
        system = ieft.IEFT(**ieft.VARIANTS["raw"])
    assert system.reads == {"image": "pixels", "text": "tokens"}
    assert (system.image_net.count, system.grid, system.words) == (144, 12, 40)
    assert sum(p.numel() for p in system.joint.blocks.parameters()) == 6 * 7_087_872
    assert len(system.joint.enhance) == 3
    assert system.joint.place is None


def test_other_inputs_are_refused() -> None:
    with pytest.raises(BadParameter, match="features or raw"):
        ieft.IEFT(inputs="pixels")
    with pytest.raises(BadParameter, match="patches of 40"):
        catalogue.load("ieft:raw-tiny", patch=40, channel_heads=1)
