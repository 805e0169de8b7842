"""CLIP trains from the start, and whichever part of a checkpoint is named; its run is a checkpoint again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from diptych import catalogue
from diptych.errors import BadParameter, UnknownName, UsageError
from diptych.nets.contrastive import info_nce, others_of_the_same, pairwise_sigmoid
from diptych.systems.dual_tower.clip import CLIP
from diptych.testing.materials import drawn
from diptych.towers.transformers import DualTowers, tiny_parts
from diptych.training.trainer import Batch, Trainer
from diptych.training.tuning import _cropped, _Ready


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint to fine-tune."""
    place = tmp_path_factory.mktemp("start")
    torch.manual_seed(1)
    for part in tiny_parts():
        part.save_pretrained(place)
    return place


def quiet(**options: Any) -> Trainer:
    return Trainer(seed=0, quiet=True, device="cpu", **options)


def changed(start: Path, **parameters: Any) -> set[str]:
    """Names of the tensors that a fine-tuning changes."""
    system = CLIP.from_weights(str(start), device="cpu", epochs=1, pairs=16, lr=1e-2, **parameters)
    before = {name: tensor.clone() for name, tensor in system.towers.model.state_dict().items()}
    system.fit(drawn(32, 8)[0], quiet())
    after = system.towers.model.state_dict()
    assert after.keys() == before.keys()
    assert not any(p.requires_grad for p in system.towers.model.parameters())
    return {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}


HEADS = {
    *("logit_scale", "visual_projection.weight", "text_projection.weight"),
    *(f"text_model.final_layer_norm.{part}" for part in ("weight", "bias")),
    *(f"vision_model.post_layernorm.{part}" for part in ("weight", "bias")),
}


def test_the_heads_alone(start: Path) -> None:
    assert changed(start, tune="heads") == HEADS


def test_the_last_layers_and_what_follows_them(start: Path) -> None:
    found = changed(start, tune="last", layers=1)
    blocks = {name for name in found if ".layers." in name}
    assert found - blocks == HEADS
    assert {name.split(".layers.")[1].partition(".")[0] for name in blocks} == {"1"}
    assert {name.partition(".")[0] for name in blocks} == {"vision_model", "text_model"}


def test_adapters_are_added_to_the_attention_they_adapt(start: Path) -> None:
    found = changed(start, tune="lora", rank=2)
    assert found - {"logit_scale"} == {
        f"{tower}.encoder.layers.{layer}.self_attn.{part}_proj.weight"
        for tower in ("vision_model", "text_model")
        for layer in (0, 1)
        for part in ("q", "v")
    }


def test_a_change_by_adapters_has_their_rank(start: Path) -> None:
    system = CLIP.from_weights(str(start), device="cpu", tune="lora", rank=2, epochs=1, pairs=16, lr=1e-2)
    name = "vision_model.encoder.layers.0.self_attn.q_proj.weight"
    before = system.towers.model.state_dict()[name].clone()
    system.fit(drawn(32, 8)[0], quiet())
    change = (system.towers.model.state_dict()[name] - before).double()
    values = torch.linalg.svdvals(change)
    assert values[1] > 1e-6
    assert values[2] < 1e-4 * values[0]


def test_all_of_it(start: Path) -> None:
    found = changed(start)
    assert {"vision_model.embeddings.patch_embedding.weight", "logit_scale"} <= found
    assert len(found) > 60


def test_the_batch_may_be_larger_than_what_goes_through_a_tower(start: Path) -> None:
    """The same weights, to rounding, whether a batch of 32 goes through in one part or in eight."""
    learn = drawn(32, 8)[0]
    weights = []
    for size in (32, 4):
        system = CLIP.from_weights(str(start), device="cpu", epochs=2, pairs=32, lr=1e-4, batch_size=size)
        system.fit(learn, quiet())
        weights.append(system.towers.model.state_dict())
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, atol=1e-5, rtol=1e-3)


def test_a_run_is_a_checkpoint_that_transformers_reads(start: Path, tmp_path: Path) -> None:
    learn, ask = drawn(32, 8)
    system = CLIP.from_weights(str(start), device="cpu", epochs=1, pairs=16, prompt="see {}")
    system.fit(learn, quiet())
    system.save(tmp_path, seed=0)
    again = catalogue.load(str(tmp_path))
    assert again.fingerprint == system.fingerprint
    assert again.hyperparameters["prompt"] == "see {}"
    np.testing.assert_array_equal(again.encode_text(ask.text), system.encode_text(ask.text))
    model = transformers.AutoModel.from_pretrained(tmp_path).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    inputs = tokenizer([f"see {text}" for text in ask.text], return_tensors="pt", padding=True)
    with torch.no_grad():
        vectors = model.get_text_features(**inputs).pooler_output
    found = torch.nn.functional.normalize(vectors).numpy()
    np.testing.assert_allclose(system.encode_text(ask.text), found, atol=1e-5)
    finer = catalogue.load(f"clip@{tmp_path}", prompt="{}")
    assert finer.fingerprint != system.fingerprint


def test_the_loss_is_the_papers(start: Path) -> None:
    system = CLIP.from_weights(str(start), device="cpu")
    split = drawn(8, 8)[0]
    rows = torch.tensor([0, 1, 2, 1])
    batch = Batch(
        index=torch.arange(4),
        image_row=rows,
        text_row=torch.arange(4),
        image=[split.image[row] for row in rows],
        text=list(split.text[:4]),
        label=torch.zeros(4, 0),
    )
    found = system.objective(batch, _Ready(system.prepare_image, 8), quiet())
    image, text = system.encode_image(batch.image), system.encode_text(batch.text)
    scores = torch.from_numpy(image @ text.T) * system.towers.model.logit_scale.detach().exp()
    expected = sum(info_nce(scores, others_of_the_same(rows))) / 2
    assert found["contrast"].item() == pytest.approx(expected.item(), abs=1e-5)


def test_the_scale_stays_bounded(start: Path) -> None:
    system = CLIP.from_weights(str(start), device="cpu", epochs=1, pairs=16, lr=1e-3)
    with torch.no_grad():
        system.towers.model.logit_scale.fill_(6.0)
    system.fit(drawn(32, 8)[0], quiet())
    assert 4.59 < system.towers.model.logit_scale.item() <= 4.605171


def test_siglip_learns_by_its_own_loss() -> None:
    _, tokenizer, processor = tiny_parts()
    layers = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    words = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    config = transformers.SiglipConfig(
        text_config={**layers, **words, "vocab_size": 514, "max_position_embeddings": 77},
        vision_config={**layers, "image_size": 32, "patch_size": 8},
    )
    torch.manual_seed(0)
    system = CLIP(architecture="tiny", device="cpu", epochs=6, pairs=16, lr=3e-3)
    model = transformers.SiglipModel(config)
    system.towers = DualTowers(model, tokenizer, processor, device="cpu", batch_size=8)
    image, text = torch.eye(3, 32), torch.eye(3, 32).roll(1, 0)
    left_out = others_of_the_same(torch.tensor([0, 0, 1]))
    found = system.loss(image, text, left_out)
    logits = model.logit_scale.exp() * image @ text.T + model.logit_bias
    assert found.keys() == {"sigmoid"}
    assert found["sigmoid"].item() == pytest.approx(pairwise_sigmoid(logits, left_out).item())
    bias, trainer = model.logit_bias.item(), quiet()
    system.fit(drawn(32, 8)[0], trainer)
    assert trainer.history[-1]["terms"]["sigmoid"] < trainer.history[0]["terms"]["sigmoid"]
    assert model.logit_bias.item() != bias


def test_half_precision_learns_too(start: Path) -> None:
    learn = drawn(32, 8)[0]
    system = CLIP.from_weights(str(start), device="cpu", epochs=4, pairs=16, lr=3e-3)
    trainer = quiet(precision="bf16")
    system.fit(learn, trainer)
    assert trainer.history[-1]["terms"]["contrast"] < trainer.history[0]["terms"]["contrast"]
    assert all(tensor.dtype != torch.bfloat16 for tensor in system.towers.model.state_dict().values())


def test_a_crop_is_a_square_of_the_picture_at_its_size() -> None:
    """Of a picture whose values are its places, so that each crop says where it was taken."""
    torch.manual_seed(0)
    side = 33
    across = torch.linspace(-1, 1, side).expand(side, side)
    pixels = torch.stack([across, across.T]).expand(500, 2, side, side)
    found = _cropped(pixels, 0.25)
    wide = found[:, 0, 16, -1] - found[:, 0, 16, 0]
    high = found[:, 1, -1, 16] - found[:, 1, 0, 16]
    torch.testing.assert_close(wide, high, atol=1 / side, rtol=0)  # half a pixel at the edge has no more
    share = (wide / 2).square()
    assert share.min() > 0.24
    assert share.max() > 0.9
    assert found.abs().max() <= 1
    torch.testing.assert_close(_cropped(pixels, 1.0), pixels, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"tune": "some"}, "tune must be one of all, last, heads, lora, not 'some'"),
        ({"pairs": 0}, "pairs must be at least 1, not 0"),
        ({"crop": 0.0}, "crop must be above 0"),
    ],
)
def test_values_that_cannot_be_are_refused(parameters: dict[str, Any], said: str) -> None:
    with pytest.raises(BadParameter, match=said):
        CLIP(architecture="tiny", **parameters)


def test_features_are_refused() -> None:
    split = drawn(8, 8)[0]
    features = replace(split, image=np.zeros((8, 4), np.float32))
    with pytest.raises(UsageError, match="which it reads by itself, but these are features"):
        CLIP(architecture="tiny").fit(features)


def test_weights_are_drawn_where_that_is_asked_for() -> None:
    small = catalogue.load("clip:small", device="cpu")
    assert small.encode_text(["a cat", "a dog"]).shape == (2, 128)
    assert small.encode_image([np.zeros((80, 50, 3), np.uint8)]).shape == (1, 128)
    with pytest.raises(UnknownName, match="architecture whose weights can be drawn 'siglip-b-16'"):
        catalogue.load("clip:siglip-b-16@drawn")


@pytest.mark.parametrize("system", ["clip:tiny", "align:tiny"])
def test_a_run_on_pictures_of_ones_own_is_indexed_searched_and_evaluated(
    system: str, tmp_path: Path, run: Any
) -> None:
    learn = drawn(48, 8)[0]
    photos = tmp_path / "photos"
    photos.mkdir()
    lines = ["image,caption"]
    for row, (picture, caption) in enumerate(zip(learn.image, learn.text, strict=True)):
        picture.save(photos / f"{row}.png")
        lines.append(f"{row}.png,{caption}")
    (photos / "broken.png").write_bytes(b"no picture")
    lines.append("broken.png,a picture that cannot be read")
    (photos / "captions.csv").write_text("\n".join(lines), encoding="utf-8")
    trained = tmp_path / "run"
    fast = ["--set", "epochs=2", "--device", "cpu", "--quiet"]
    code, out, err = run("train", system, "--data", str(photos), "--out", str(trained), *fast)
    assert code == 0, err
    assert "measured on 4 images held out" in out + err
    assert "broken.png" in err
    code, _, err = run("index", str(photos), "--model", str(trained))
    assert code == 0, err
    code, out, err = run("search", "a red circle on the left", "--in", str(photos), "--json")
    assert code == 0, err
    assert len(json.loads(out)["results"]) >= 3
    code, out, err = run("evaluate", str(trained), "--data", str(photos), "--json")
    assert code == 0, err
