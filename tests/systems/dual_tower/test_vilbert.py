"""ViLBERT: its layers and their order, its losses, and what is computed once a text."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from diptych import catalogue
from diptych.data.base import Split
from diptych.errors import BadData, BadParameter, MissingData
from diptych.systems.dual_tower import vilbert
from diptych.systems.dual_tower.vilbert import ViLBERT
from diptych.training.pair_learner import Others
from diptych.training.trainer import Batch, Trainer

D = 6


def lesson(images: int = 32) -> Split:
    """Pictures of three random regions (the last of some is missing), each with a caption of its own."""
    random = np.random.default_rng(0)
    image = random.random((images, 3, D + 4)).astype(np.float32)
    image[..., D : D + 2], image[..., D + 2 :] = 0.2, 0.7
    image[::3, 2] = 0
    text = np.zeros((images, 8), np.uint32)
    text[:, 0], text[:, 1:5], text[:, 5] = 1, random.integers(3, 30, (images, 4)), 2
    return Split(image.reshape(images, -1), text, None, np.stack([np.arange(images)] * 2, axis=1))


def small(**parameters: Any) -> ViLBERT:
    shape = {"image_dim": 3 * (D + 4), "regions": 3, "text_length": 8, "vocabulary": 30, "region_classes": 5}
    made: ViLBERT = catalogue.load("vilbert:tiny", seed=0, **{**shape, **parameters})
    made.joint.eval()
    return made


def batch_of(split: Split) -> Batch:
    rows = torch.arange(len(split.pairs))
    image, text = torch.from_numpy(split.image), torch.from_numpy(split.text.astype(np.int64))
    return Batch(rows, rows, rows, image, text, torch.zeros(len(rows), 0))


def test_as_many_parameters_as_the_published_configuration() -> None:
    with torch.device("meta"):
        net = ViLBERT(image_dim=36 * 2052, regions=36, mask_piece=103).joint
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in net.named_children()}
    assert count["text_layers"] == 85_054_464
    assert count["visual_layers"] == 37_810_176
    assert count["co_layers"] == 85_060_608
    assert sum(count[name] for name in ("words", "place", "segment", "word_norm")) == 23_837_184
    assert sum(count[name] for name in ("feature", "box", "visual_norm")) == 2_106_368
    assert count["text_pool"] + count["visual_pool"] == 1_837_056
    heads = ("alignment", "vil_logit", "mlm", "region")
    assert sum(value for name, value in count.items() if name not in heads) == 235_705_856


def test_the_order_of_the_layers() -> None:
    system, order = small(layers=6, visual_layers=3), list[str]()
    for name in ("text_layers", "visual_layers", "co_layers"):
        for number, layer in enumerate(getattr(system.joint, name)):
            layer.register_forward_hook(lambda *_, said=f"{name[0]}{number}": order.append(said))
    split = lesson(2)
    system.score_pairs(split.image, split.text, np.array([[0, 0]]))
    before, after = order[:3], order[3:]
    assert before == ["t0", "t1", "t2"]
    assert [one for one in after if one[0] != "t"] == ["c0", "v0", "c1", "v1", "c2", "v2"]
    assert [one for one in after if one[0] != "v"] == ["c0", "t3", "c1", "t4", "c2", "t5"]


def test_a_text_is_computed_before_its_pictures_and_once() -> None:
    system, split = small(), lesson()
    text = torch.from_numpy(split.text[:1].astype(np.int64))
    calls = list[int]()
    system.joint.text_layers[0].register_forward_hook(lambda *args: calls.append(len(args[2])))
    pairs = np.array([[0, 0], [1, 0], [2, 0], [0, 1]])
    together = system.score_pairs(split.image, split.text, pairs)
    assert calls == [2]
    states = system.text_states(text)
    assert torch.equal(states[0], system.joint.alone(text))
    alone = [system.score_pairs(split.image, split.text, pair[None])[0] for pair in pairs]
    assert together == pytest.approx(alone, abs=1e-6)

    with torch.no_grad():
        shown = [system.image_states(torch.from_numpy(split.image[row : row + 1])) for row in (0, 1)]
        met = [system.joint.co_layers[0](*image, *states)[1] for image in shown]
    assert not torch.allclose(met[0], met[1], atol=1e-4)


def literal(layer: Any, image: torch.Tensor, text: torch.Tensor, said: list[bool]) -> torch.Tensor:
    """What the image (n, v) takes from the words (m, w) of one pair before its perceptron, head by head."""
    q = layer.of_image(image)[:, : layer.to_image.in_features]
    _, k, v = layer.of_text(text).chunk(3, dim=1)
    size = q.shape[1] // layer.heads
    found = torch.zeros_like(q)
    for head in range(layer.heads):
        part = slice(head * size, (head + 1) * size)
        for row in range(len(image)):
            logits = [float(q[row, part] @ k[at, part]) / math.sqrt(size) for at in range(len(text))]
            weights = [math.exp(value) * there for value, there in zip(logits, said, strict=True)]
            for at, weight in enumerate(weights):
                found[row, part] += weight / sum(weights) * v[at, part]
    return layer.image_norm(image + layer.to_image(found))


def test_the_image_asks_the_words() -> None:
    torch.manual_seed(0)
    layer = small().joint.co_layers[0]
    image, text = torch.randn(1, 4, 64), torch.randn(1, 5, 48)
    said = [True, True, True, False, False]
    with torch.no_grad():
        found = layer(image, torch.ones(1, 4, dtype=torch.bool), text, torch.tensor([said]))[0][0]
        expected = layer.image_net(literal(layer, image[0], text[0], said))
    assert torch.allclose(found, expected, atol=1e-5)


def test_what_is_not_there_changes_nothing() -> None:
    system, split = small(), lesson()
    pairs = np.array([[0, 0], [3, 1]])
    expected = system.score_pairs(split.image, split.text, pairs)
    filled = split.image.reshape(32, 3, -1).copy()
    filled[::3, 2, :D] = 50
    assert system.score_pairs(filled.reshape(32, -1), split.text, pairs) == pytest.approx(expected, abs=1e-6)
    turned = split.image.reshape(32, 3, -1)[:, [1, 2, 0]].reshape(32, -1)
    assert system.score_pairs(turned, split.text, pairs) == pytest.approx(expected, abs=1e-5)


def test_the_whole_picture_comes_first() -> None:
    system = small()
    image = torch.from_numpy(lesson().image[:1])  # two regions, the third is missing
    with torch.no_grad():
        found = system.image_states(image)[0][0, 0]
        features = system.seen(image).features[0, :2].mean(dim=0)
        joint = system.joint
        expected = joint.visual_norm(joint.feature(features) + joint.box(torch.tensor([0.0, 0, 1, 1, 1])))
    assert torch.allclose(found, expected, atol=1e-6)


def test_alignment_trains_every_layer_of_both_streams() -> None:
    split, system = lesson(), small()
    system.study(split)
    system.others = Others(split)
    system.pretraining(batch_of(split))["align"].backward()
    for part in ("text_layers", "visual_layers", "co_layers"):
        for name, parameter in getattr(system.joint, part).named_parameters():
            # The biases of keys change no attention.
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


def test_the_losses_begin_at_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    split, system = lesson(), small()
    system.study(split)
    system.others = Others(split)
    for head in (system.joint.alignment, system.joint.vil_logit):
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
    assert system.pretraining(batch_of(split))["align"].item() == pytest.approx(math.log(2), abs=1e-5)
    assert system.objective(batch_of(split))["rank"].item() == pytest.approx(math.log(4), abs=1e-5)
    # Class 0 is a match.
    with torch.no_grad():
        system.joint.alignment.bias.copy_(torch.tensor([50.0, 0.0]))
    monkeypatch.setattr(torch, "rand", lambda *size, **_: torch.zeros(size))  # all match
    assert system.pretraining(batch_of(split))["align"].item() == pytest.approx(0, abs=1e-5)


def test_the_divergence_by_hand() -> None:
    guesses, truth = (
        torch.log(torch.tensor([[0.5, 0.5], [0.9, 0.1]])),
        torch.tensor([[0.25, 0.75], [0.9, 0.1]]),
    )
    expected = (0.25 * math.log(0.5) + 0.75 * math.log(1.5)) / 2
    assert vilbert.divergence(guesses, truth).item() == pytest.approx(expected, abs=1e-6)
    assert vilbert.divergence(torch.zeros(0, 2), torch.zeros(0, 2)).item() == 0


@pytest.mark.parametrize("masked", [True, False])
def test_pairs_that_do_not_match_have_something_to_guess_only_in_the_released_code(
    masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    split, system = lesson(), small(mask_mismatched=masked, words_hidden=1.0, regions_hidden=1.0)
    system.study(split)
    system.others = Others(split)
    real = torch.rand
    # The matches are drawn first: none.
    monkeypatch.setattr(
        torch, "rand", lambda *size, **k: torch.ones(size) if size == (32,) else real(*size, **k)
    )
    terms = system.pretraining(batch_of(split))
    assert (terms["mlm"].item() == 0) == masked
    assert (terms["region"].item() == 0) == masked


def test_neighbours_are_the_nearest_others() -> None:
    points = np.array([[0.0, 0], [1, 0], [5, 0], [5.5, 0]], np.float32)
    assert vilbert.neighbours(points, 1).tolist() == [[1], [0], [3], [2]]
    assert vilbert.neighbours(points, 100).shape == (4, 3)
    assert vilbert.neighbours(points[:1], 5).tolist() == [[0]]


@pytest.mark.parametrize("slot", ["caption", "image"])
def test_the_four_choices(slot: str, monkeypatch: pytest.MonkeyPatch) -> None:
    split, system = lesson(), small(hard_slot=slot, neighbours=1)
    system.study(split)
    system.others, batch, asked = Others(split), batch_of(split), list[tuple[Any, Any]]()
    monkeypatch.setattr(system, "image_states", lambda image: image)
    monkeypatch.setattr(system, "text_states", lambda text: text)
    monkeypatch.setattr(
        system, "pair_scores", lambda image, text: asked.append((image, text)) or torch.zeros(len(text))
    )
    system.objective(batch)
    image, text = asked[0][0].view(32, 4, -1), asked[0][1].view(32, 4, -1)
    own_image = (image == batch.image[:, None]).all(dim=2)
    own_text = (text == batch.text[:, None]).all(dim=2)
    hard = [True, False] if slot == "caption" else [False, True]
    assert own_image.tolist() == [[True, True, False, hard[0]]] * 32
    assert own_text.tolist() == [[True, False, True, hard[1]]] * 32
    near = system.near[:, 0]
    expected = batch.text[near] if slot == "caption" else batch.image[near]
    assert torch.equal((text if slot == "caption" else image)[:, 3], expected)


def test_it_learns_four_ways() -> None:
    trainer = Trainer(seed=0, quiet=True, device="cpu")
    small(pretrain_epochs=1, epochs=60).fit(lesson(), trainer)
    assert trainer.history[-1]["terms"]["rank"] < 0.2


def test_what_it_cannot_be_is_told() -> None:
    with pytest.raises(BadParameter, match="heads that divide the widths"):
        small(visual_heads=5)
    with pytest.raises(BadParameter, match="layers of text as visual ones"):
        small(layers=1)
    with pytest.raises(BadParameter, match="must be caption or image, not 'both'"):
        small(hard_slot="both")
    with pytest.raises(MissingData, match="no folder somewhere"):
        small(checkpoint="somewhere")
    with pytest.raises(BadParameter, match="numbers below 31"):
        small().joint.alone(torch.tensor([[1, 99, 2]]))


def published_state(system: ViLBERT) -> dict[str, torch.Tensor]:
    """A network's tensors as the authors' code saves them, written out from its class definitions."""
    net, found = system.joint, {}

    def keep(name: str, module: Any) -> None:
        found.update({f"{name}.{part}": value for part, value in module.state_dict().items()})

    def three(name: str, end: str, weight: torch.Tensor, bias: torch.Tensor) -> None:
        parts = zip(("query", "key", "value"), weight.chunk(3), bias.chunk(3), strict=True)
        for part, w, b in parts:
            found[f"{name}.{part}{end}.weight"], found[f"{name}.{part}{end}.bias"] = w, b

    for name, module in (
        ("bert.embeddings.word_embeddings", net.words), ("bert.embeddings.position_embeddings", net.place),
        ("bert.embeddings.token_type_embeddings", net.segment), ("bert.embeddings.LayerNorm", net.word_norm),
        ("bert.v_embeddings.image_embeddings", net.feature), ("bert.v_embeddings.LayerNorm", net.visual_norm),
        ("bert.v_embeddings.image_location_embeddings", net.box), ("bert.t_pooler.dense", net.text_pool),
        ("bert.v_pooler.dense", net.visual_pool), ("cls.bi_seq_relationship", net.alignment),
        ("cls.predictions", net.mlm), ("vil_logit", net.vil_logit),
        ("cls.imagePredictions.transform.dense", net.region[0]),
        ("cls.imagePredictions.transform.LayerNorm", net.region[2]),
        ("cls.imagePredictions.decoder", net.region[3]),
    ):  # fmt: skip
        keep(name, module)
    for kind, layers in (("layer", net.text_layers), ("v_layer", net.visual_layers)):
        for number, layer in enumerate(layers):
            name = f"bert.encoder.{kind}.{number}"
            three(f"{name}.attention.self", "", layer.self_attn.in_proj_weight, layer.self_attn.in_proj_bias)
            keep(f"{name}.attention.output.dense", layer.self_attn.out_proj)
            keep(f"{name}.attention.output.LayerNorm", layer.norm1)
            keep(f"{name}.intermediate.dense", layer.linear1)
            keep(f"{name}.output.dense", layer.linear2)
            keep(f"{name}.output.LayerNorm", layer.norm2)
    for number, meeting in enumerate(net.co_layers):
        name = f"bert.encoder.c_layer.{number}"
        for end, asks in (("1", meeting.of_image), ("2", meeting.of_text)):
            three(f"{name}.biattention", end, asks.weight, asks.bias)
        keep(f"{name}.biOutput.dense1", meeting.to_image)
        keep(f"{name}.biOutput.LayerNorm1", meeting.image_norm)
        keep(f"{name}.biOutput.dense2", meeting.to_text)
        keep(f"{name}.biOutput.LayerNorm2", meeting.text_norm)
        keep(f"{name}.biOutput.q_dense1", meeting.to_image)  # which their code has and does not use
        for side, net_of in (("v", meeting.image_net), ("t", meeting.text_net)):
            keep(f"{name}.{side}_intermediate.dense", net_of.up)
            keep(f"{name}.{side}_output.dense", net_of.down)
            keep(f"{name}.{side}_output.LayerNorm", net_of.norm)
    return {key: value.detach().clone() for key, value in found.items()}


SHAPE = {"width": 128, "heads": 2, "visual_width": 256, "visual_heads": 2, "layers": 3, "visual_layers": 2}


@pytest.mark.parametrize("ranks", [True, False])
def test_a_published_checkpoint_is_taken_with_its_shapes(tmp_path: Any, ranks: bool) -> None:
    torch.manual_seed(1)
    whole, split = small(**SHAPE), lesson(4)
    for parameter in whole.joint.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    state = published_state(whole)
    if not ranks:
        del state["vil_logit.weight"], state["vil_logit.bias"]
    torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / "pytorch_model.bin")
    found = ViLBERT(checkpoint=str(tmp_path / "pytorch_model.bin"), regions=3, text_length=8, dropout=0.0)
    assert (found.width, found.visual_width, found.layers, found.visual_layers) == (128, 256, 3, 2)
    assert (found.image_dim, found.mask, found.region_classes) == (3 * (D + 4), 103, 5)
    pairs = np.array([[picture, text] for picture in range(4) for text in range(4)])
    scores = found.score_pairs(split.image, split.text, pairs)
    if ranks:
        np.testing.assert_allclose(scores, whole.score_pairs(split.image, split.text, pairs), rtol=1e-4)
        return
    with torch.no_grad():  # as much aligned as the head of pre-training says
        image = whole.image_states(torch.from_numpy(split.image[pairs[:, 0]]))
        text = whole.text_states(torch.from_numpy(split.text[pairs[:, 1]].astype(np.int64)))
        told = torch.softmax(whole.joint.alignment(whole.joint(*image, *text)[2]), dim=1)[:, 0].numpy()
    assert np.argsort(scores).tolist() == np.argsort(told).tolist()


def test_checkpoints_that_cannot_be_taken_are_refused(tmp_path: Any) -> None:
    state, path = published_state(small(**SHAPE)), tmp_path / "model.bin"

    def refused(changed: dict[str, torch.Tensor]) -> str:
        torch.save(changed, path)
        with pytest.raises(BadData) as told:
            ViLBERT(checkpoint=str(path), regions=3, text_length=8)
        return str(told.value)

    tasks = {**state, "bert.embeddings.task_embeddings.weight": torch.zeros(20, 128)}
    assert "twelve tasks at once" in refused(tasks)
    fewer = {key: value for key, value in state.items() if ".c_layer.1." not in key}
    assert "1 meetings of 2 visual layers" in refused(fewer)
    lacking = {key: value for key, value in state.items() if "word_embeddings" not in key}
    assert "lacks words.weight" in refused(lacking)
    broken = {key: value for key, value in state.items() if "t_pooler" not in key}
    assert "it lacks 2 tensors, the first text_pool.bias" in refused(broken)
