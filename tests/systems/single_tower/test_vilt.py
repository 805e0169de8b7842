"""ViLT: transport plans, objectives, and that it computes what transformers and the authors compute."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from diptych import catalogue
from diptych.core import Encoder, Run, Scorer
from diptych.errors import BadData, BadParameter
from diptych.pipeline import Exhaustive, Rerank, Search, over
from diptych.systems.single_tower import vilt
from diptych.systems.single_tower.vilt import ViLT
from diptych.testing.materials import drawn, read
from diptych.training.pair_learner import Others
from diptych.training.trainer import Batch, Trainer

pytestmark = pytest.mark.slow

READERS = vilt.FEATURES["tiny"]


def cost(*rows: list[float]) -> torch.Tensor:
    """Of words (rows) and patches (columns)."""
    return torch.tensor([rows])


def plan(costs: torch.Tensor, steps: int) -> Any:
    all_of = [torch.ones(1, n, dtype=torch.bool) for n in costs.shape[1:]]
    return vilt.transport(costs, all_of[0], all_of[1], steps=steps)[0]


def distance(costs: torch.Tensor, steps: int) -> float:
    return float((costs[0] @ plan(costs, steps)).trace())


@pytest.mark.parametrize(
    ("steps", "diagonal", "far"), [(1, 0.440399, 0.119203), (2, 0.491007, 0.017986), (3, 0.498764, 0.002473)]
)
def test_the_plan_in_closed_form(steps: int, diagonal: float, far: float) -> None:
    costs = cost([0.0, 1.0], [1.0, 0.0])
    assert plan(costs, steps)[0, 0].item() == pytest.approx(0.5 / (1 + math.exp(-2 * steps)), abs=1e-6)
    assert plan(costs, steps)[0, 0].item() == pytest.approx(diagonal, abs=1e-6)
    assert distance(costs, steps) == pytest.approx(far, abs=1e-6)


def test_the_plan_of_the_specification() -> None:
    costs = cost([0.1, 0.9], [0.8, 0.3])
    expected = [[0.388031, 0.102353], [0.111969, 0.397647]]
    assert plan(costs, 1).tolist() == [pytest.approx(row, abs=1e-6) for row in expected]
    found = [distance(costs, steps) for steps in (1, 2, 5, 50)]
    assert found == pytest.approx([0.340752, 0.245541, 0.200996, 0.2], abs=1e-6)
    crossed = cost([0.1, 0.2], [0.15, 0.9])
    found = [distance(crossed, steps) for steps in (1, 5, 10, 50)]
    assert found == pytest.approx([0.265473, 0.187770, 0.175557, 0.175], abs=1e-6)


def test_what_a_word_carries_is_its_share_after_every_step() -> None:
    costs = torch.rand(1, 5, 7, generator=torch.Generator().manual_seed(0))
    for steps in (1, 3, 50):
        assert plan(costs, steps).sum(dim=0).tolist() == pytest.approx([1 / 5] * 5, abs=1e-5)
    assert plan(costs, 3000).sum(dim=1).tolist() == pytest.approx([1 / 7] * 7, abs=1e-3)


def test_what_is_not_counted_changes_no_plan() -> None:
    random = torch.Generator().manual_seed(1)
    costs = torch.rand(1, 3, 4, generator=random)
    wide = torch.zeros(1, 5, 6)
    wide[:, :3, :4] = costs
    words, patches = torch.arange(5)[None] < 3, torch.arange(6)[None] < 4
    found = vilt.transport(wide, words, patches)[0]
    assert torch.allclose(found[:4, :3], plan(costs, 50), atol=1e-6)
    assert found.sum().item() == pytest.approx(found[:4, :3].sum().item())
    nothing = vilt.transport(torch.zeros(1, 5, 6), torch.zeros(1, 5, dtype=torch.bool), patches)
    assert nothing.abs().sum() == 0


def test_the_cost_is_that_of_a_literal_loop_and_moves_only_through_the_vectors() -> None:
    torch.manual_seed(0)
    words, patches = torch.randn(2, 4, 8, requires_grad=True), torch.randn(2, 5, 8)
    counted = torch.tensor([[False, True, True, False], [False, True, False, False]])
    found = vilt.carrying_cost(words, counted, patches)
    for row in range(2):
        some = words[row][counted[row]].detach()
        costs = torch.stack([1 - functional.cosine_similarity(w[None], patches[row]) for w in some])
        assert found[row].item() == pytest.approx(distance(costs[None], 50), abs=1e-5)
    (gradient,) = torch.autograd.grad(found.sum(), words)
    assert gradient[counted].abs().sum() > 0
    assert gradient[~counted].abs().sum() == 0


@pytest.fixture(scope="module")
def tiny() -> ViLT:
    made: ViLT = catalogue.load("vilt:tiny", seed=0)
    made.joint.eval()
    return made


def texts(*lengths: int) -> torch.Tensor:
    rows = torch.zeros(len(lengths), 24, dtype=torch.long)
    for row, length in enumerate(lengths):
        rows[row, :length] = torch.arange(length) * 7 % 300 + 3
    return rows


def pixels(count: int, height: int = 32, width: int = 32) -> torch.Tensor:
    random = torch.Generator().manual_seed(count + height)
    return torch.randint(256, (count, 3, height, width), generator=random, dtype=torch.uint8)


def score(system: ViLT, image: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return system.pair_scores(system.image_states(image), system.text_states(text))


@pytest.mark.parametrize(("height", "width"), [(32, 32), (24, 40), (48, 16)])
def test_equal_to_transformers_on_pictures_of_any_shape(tiny: ViLT, height: int, width: int) -> None:
    import transformers

    theirs = transformers.ViltForImageAndTextRetrieval(tiny.joint.vilt.config).eval()
    theirs.load_state_dict({k: v for k, v in tiny.joint.state_dict().items() if k in theirs.state_dict()})
    image, text = pixels(3, height, width), texts(5, 24, 9)
    with torch.no_grad():
        expected = theirs(
            input_ids=text,
            attention_mask=(text != 0).long(),
            pixel_values=image.float() / 127.5 - 1,
            pixel_mask=torch.ones(3, height, width, dtype=torch.long),
        ).logits[:, 0]
    assert torch.allclose(score(tiny, image, text), expected, atol=1e-5)


def test_equal_to_transformers_where_it_pads_pictures(tiny: ViLT) -> None:
    import transformers

    theirs = transformers.ViltForImageAndTextRetrieval(tiny.joint.vilt.config).eval()
    theirs.load_state_dict({k: v for k, v in tiny.joint.state_dict().items() if k in theirs.state_dict()})
    small, text = pixels(1, 24, 16), texts(6)
    padded, mask = torch.zeros(1, 3, 40, 32), torch.zeros(1, 40, 32, dtype=torch.long)
    padded[:, :, :24, :16], mask[:, :24, :16] = small.float() / 127.5 - 1, 1
    with torch.no_grad():
        expected = theirs(
            input_ids=text, attention_mask=(text != 0).long(), pixel_values=padded, pixel_mask=mask
        )
    assert torch.allclose(score(tiny, small, text), expected.logits[:, 0], atol=1e-5)


def test_what_fills_up_a_text_changes_nothing(tiny: ViLT) -> None:
    short = texts(6)
    assert torch.allclose(score(tiny, pixels(1), short), score(tiny, pixels(1), short[:, :6]), atol=1e-5)


def test_as_many_parameters_as_transformers_counts() -> None:
    with torch.device("meta"):
        system = ViLT(mask_piece=103)
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in system.joint.named_children()}
    assert counts["vilt"] + counts["rank_output"] == 111_595_777
    assert counts["itm_score"] == 2 * 769


def official(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors under the names and in the shapes of the authors' checkpoints."""
    found: dict[str, torch.Tensor] = {
        "text_embeddings.position_ids": torch.arange(40)[None],
        "vqa_classifier.0.weight": torch.zeros(4, 4),
    }
    renames = {
        "embeddings.patch_embeddings.projection": "transformer.patch_embed.proj",
        "embeddings.cls_token": "transformer.cls_token",
        "embeddings.position_embeddings": "transformer.pos_embed",
        "embeddings.text_embeddings": "text_embeddings",
        "embeddings.token_type_embeddings": "token_type_embeddings",
        "layernorm": "transformer.norm",
        "pooler": "pooler",
    }
    inner = {
        "layernorm_before": "norm1",
        "layernorm_after": "norm2",
        "attention.output.dense": "attn.proj",
        "intermediate.dense": "mlp.fc1",
        "output.dense": "mlp.fc2",
    }
    for key, value in state.items():
        body = key.removeprefix("vilt.")
        if body.startswith("encoder.layer."):
            _, _, number, *rest = body.split(".")
            name, kind = ".".join(rest[:-1]), rest[-1]
            block = f"transformer.blocks.{number}"
            if name in inner:
                found[f"{block}.{inner[name]}.{kind}"] = value
            elif name.endswith("query"):
                head = key.rpartition("query")[0]
                parts = [state[f"{head}{part}.{kind}"] for part in ("query", "key", "value")]
                found[f"{block}.attn.qkv.{kind}"] = torch.cat(parts)
        elif body != key:
            start = next(name for name in renames if body.startswith(name))
            found[renames[start] + body.removeprefix(start)] = value
        else:
            found[key.replace("itm_score.", "itm_score.fc.")] = value
    return found


@pytest.fixture(scope="module")
def published_one() -> ViLT:
    """Of a size whose heads have 64 dimensions, as published ones have."""
    torch.manual_seed(3)
    return ViLT(
        image_size=32, patch=8, text_length=24, vocabulary=512, width=128, heads=2, layers=2, mask_piece=103
    )


def test_a_folder_of_transformers_is_taken_with_its_shapes(published_one: ViLT, tmp_path: Path) -> None:
    state = published_one.joint.state_dict()
    kept = {key: value for key, value in state.items() if key.startswith(("vilt.", "rank_output."))}
    save_file(kept, tmp_path / "model.safetensors")
    found = ViLT(checkpoint=str(tmp_path))
    assert (found.width, found.layers, found.heads, found.patch, found.image_size) == (128, 2, 2, 8, 32)
    assert (found.text_length, found.vocabulary, found.mask) == (24, 512, 103)
    image, text = pixels(2), texts(5, 8)
    for system in (found, published_one):
        system.joint.eval()
    assert torch.equal(score(found, image, text), score(published_one, image, text))


def test_the_authors_checkpoint_is_translated(published_one: ViLT, tmp_path: Path) -> None:
    state = official(published_one.joint.state_dict())
    assert state["transformer.blocks.1.attn.qkv.weight"].shape == (3 * 128, 128)
    ranked = tmp_path / "ranked.ckpt"
    torch.save({"state_dict": state, "epoch": 9}, ranked)
    found = ViLT(checkpoint=str(ranked))
    expected = published_one.joint.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in found.joint.state_dict().items())

    # Pre-trained only: it ranks by the match logit.
    del state["rank_output.weight"], state["rank_output.bias"]
    torch.save({"state_dict": state}, ranked)
    matching = ViLT(checkpoint=str(ranked)).joint
    assert torch.equal(matching.rank_output.weight[0], published_one.joint.itm_score.weight[1])


def test_a_checkpoint_that_is_not_whole_is_refused(published_one: ViLT, tmp_path: Path) -> None:
    state = published_one.joint.state_dict()
    path = tmp_path / "half.ckpt"
    torch.save({k: v for k, v in state.items() if "layer.1.output" not in k}, path)
    with pytest.raises(BadData, match=r"lacks 2 tensors, the first vilt\.encoder\.layer\.1\.output"):
        ViLT(checkpoint=str(path))
    torch.save({"pooler.dense.weight": torch.zeros(3, 3)}, path)
    with pytest.raises(BadData, match="no whole ViLT checkpoint: it lacks"):
        ViLT(checkpoint=str(path))
    path.write_bytes(b"not weights at all")
    with pytest.raises(BadData, match="no weights that can be read"):
        ViLT(checkpoint=str(path))
    torch.save({"state_dict": {"epoch": 3}}, path)
    with pytest.raises(BadData, match="something else than named tensors"):
        ViLT(checkpoint=str(path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadData, match="holds no weights"):
        ViLT(checkpoint=str(tmp_path / "empty"))


def test_by_its_weights_it_reads_pictures_and_texts_itself(published_one: ViLT, tmp_path: Path) -> None:
    learn, ask = drawn(20, 4)
    words: Any = catalogue.load("tokens:24")
    words.fit(learn.text)
    tokenizer = words.arrays()["tokenizer"].tobytes().decode()
    (tmp_path / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
    save_file(dict(published_one.joint.state_dict()), tmp_path / "model.safetensors")
    loaded: Any = catalogue.load(f"vilt@{tmp_path}")
    pairs = np.array([[0, 0], [1, 3]])
    found = loaded.score_pairs(ask.image, ask.text, pairs)
    image = catalogue.load("pixels:32").encode_image(ask.image)
    expected = published_one.score_pairs(image, words.encode_text(ask.text), pairs)
    assert found == pytest.approx(expected, abs=1e-5)


def batch_of(split: Any, count: int) -> Batch:
    rows = torch.arange(count)
    image, text = (torch.from_numpy(np.asarray(side[:count])) for side in (split.image, split.text))
    return Batch(rows, rows, rows, image, text.long(), torch.zeros(count, 0))


def test_sixteen_ways_begin_at_ln_16() -> None:
    learn, _ = read(READERS)
    system = catalogue.load("vilt:tiny", false_texts=15)
    system.others = Others(learn)
    torch.nn.init.zeros_(system.joint.rank_output.weight)
    assert system.objective(batch_of(learn, 8))["rank"].item() == pytest.approx(math.log(16), abs=1e-5)


def test_false_pairs_are_of_other_pictures_and_other_words() -> None:
    learn, _ = read(READERS)
    others, batch = Others(learn), batch_of(learn, 30)
    rows = others.draw(batch, 40)
    words = others.texts(rows, torch.device("cpu"))
    assert rows.shape == (30, 40)
    assert not (others.pairs[rows][..., 0] == batch.image_row[:, None]).any()
    assert not (words == batch.text[:, None]).all(dim=2).any()
    assert len(rows.unique()) > 50  # of 64


def test_pretraining_shows_half_of_a_batch_a_false_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    learn, _ = read(READERS)
    system, batch, targets = catalogue.load("vilt:tiny", seed=0), batch_of(learn, 10), list[Any]()
    system.others = Others(learn)
    shown = list[Any]()
    patches = system.joint.patches
    monkeypatch.setattr(system.joint, "patches", lambda image: shown.append(image) or patches(image))
    real = functional.cross_entropy
    monkeypatch.setattr(functional, "cross_entropy", lambda a, b, **o: targets.append(b) or real(a, b, **o))
    terms = system.pretraining(batch)
    assert set(terms) == {"itm", "mlm", "wpa"}
    own = (shown[0] == batch.image).flatten(1).all(dim=1)
    assert own.sum() == 5
    assert torch.equal(own.long(), targets[0])
    assert torch.equal(shown[1], batch.image)  # words are guessed beside their own picture


def test_alignment_pulls_matches_and_pushes_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    learn, _ = read(READERS)
    system, batch = catalogue.load("vilt:tiny", seed=0), batch_of(learn, 4)
    system.others = Others(learn)
    monkeypatch.setattr(vilt, "carrying_cost", lambda *_: torch.tensor([3.0, 3.0, 3.0, 3.0]))
    assert system.pretraining(batch)["wpa"].item() == pytest.approx(0)
    system.wpa_negative_weight = 0
    assert system.pretraining(batch)["wpa"].item() == pytest.approx(0.1 * 3 * 2 / 4)


def test_ranking_begins_with_the_order_of_matching(tiny: ViLT) -> None:
    system = catalogue.load("vilt:tiny", seed=5)
    system.joint.eval()
    system.begin_ranking(read(READERS)[0])
    image, text = pixels(8), texts(*range(3, 11))
    with torch.no_grad():
        pooled = system.joint(system.joint.patches(image), text)[1]
        logits = system.joint.itm_score(pooled)
    assert torch.allclose(score(system, image, text), logits[:, 1])
    assert not any(p.requires_grad for p in system.joint.itm_score.parameters())


def test_pretraining_looks_at_some_patches_only(tiny: ViLT) -> None:
    patches = tiny.joint.patches(pixels(2))
    tiny.max_patches = 5
    try:
        some = tiny._some(patches)
    finally:
        tiny.max_patches = 200
    assert some.shape == (2, 6, 48)
    for row in range(2):
        places = (some[row][:, None] == patches[row][None]).all(dim=2)
        assert places.any(dim=1).all()
        assert places[0, 0]
        assert len(places.int().argmax(dim=1).unique()) == 6


def test_it_learns_to_tell_sixteen_captions_apart() -> None:
    learn, _ = read(READERS)
    trainer = Trainer(seed=0, quiet=True, device="cpu")
    catalogue.load("vilt:tiny", seed=0, false_texts=15, pretrain_epochs=2, epochs=80).fit(learn, trainer)
    ranking = [entry["terms"]["rank"] for entry in trainer.history[2:]]
    assert ranking[0] == pytest.approx(math.log(16), abs=0.05)
    assert ranking[-1] < 0.3


def test_it_ranks_what_another_found_as_it_would_alone(tiny: ViLT) -> None:
    system, ask = tiny, read(READERS)[1]
    assert isinstance(system, Scorer)
    assert not isinstance(system, Encoder)
    gallery, queries = ask.items("text"), ask.items("image")[:6]
    stage = over(system, gallery, 5, to="text")
    assert isinstance(stage, Exhaustive)
    everything = stage(Run(queries, gallery)).hits

    class First:
        similarity = "dot"

        def encode_image(self, images: Any) -> Any:
            return np.ones((len(images), 1), np.float32)

        def encode_text(self, texts: Any) -> Any:
            return np.arange(len(texts), dtype=np.float32)[:, None]

    first = over(First(), gallery, len(gallery), to="text")
    assert isinstance(first, Search)
    reranked = (first >> Rerank(system, len(gallery), k=5, to="text"))(Run(queries, gallery)).hits
    assert everything is not None
    assert reranked is not None
    assert np.array_equal(everything.rows, reranked.rows)


def test_what_it_cannot_read_is_told(tiny: ViLT) -> None:
    with pytest.raises(BadParameter, match="heads that divide the width"):
        catalogue.load("vilt:tiny", heads=5)
    with pytest.raises(BadParameter, match="patches that fill a picture"):
        catalogue.load("vilt:tiny", patch=5)
    with pytest.raises(BadParameter, match="whole patches of 8 pixels"):
        score(tiny, pixels(1, 30, 32), texts(4))
    with pytest.raises(BadParameter, match=r"numbers below 513, not 24 with numbers up to 914"):
        score(tiny, pixels(1), texts(4) + 890)
