"""BLIP-2: the numbers of the specification, masks, hard negatives, both stages, and checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from diptych import catalogue
from diptych.core import Item, Run
from diptych.data.base import Split
from diptych.errors import BadData, BadParameter
from diptych.evaluation import score
from diptych.index.best_token import BestToken
from diptych.nets.qformer import QFormer
from diptych.pipeline import Rerank, over, scores_of
from diptych.systems.mllm.blip2 import contrast, hard
from diptych.testing.materials import drawn, read
from diptych.training.trainer import Trainer

IMAGES = torch.tensor([[[1.0, 0], [0.6, 0.8]], [[0, 1], [-0.6, 0.8]]])
TEXTS = torch.tensor([[1.0, 0], [0, 1]])


def test_the_best_query_counts() -> None:
    assert contrast(IMAGES, TEXTS).numpy() == pytest.approx(np.array([[1, 0.8], [0, 1]]))
    mean = torch.einsum("bqd,cd->bcq", IMAGES, TEXTS).mean(dim=2)
    assert mean.numpy() == pytest.approx(np.array([[0.8, 0.4], [-0.3, 0.9]]))


def test_the_index_gives_the_same() -> None:
    found = BestToken(IMAGES.numpy()).search(TEXTS[:, None].numpy(), 2)
    assert found.rows.tolist() == [[0, 1], [1, 0]]
    assert found.scores == pytest.approx(np.array([[1, 0], [1, 0.8]]))
    draw = np.random.default_rng(0)
    gallery, queries = draw.standard_normal((30, 4, 6)), draw.standard_normal((5, 3, 6))
    index = BestToken(gallery)
    literal = np.einsum("qmd,ntd->qnmt", queries, gallery).max(axis=(2, 3))
    assert index.compared(queries).values == pytest.approx(literal, abs=1e-5)
    for k, within in ((7, None), (50, None), (3, np.array([2, 9, 4, 17]))):
        hits = index.search(queries, k, within)
        allowed = np.arange(30) if within is None else np.sort(within)
        for rows, line in zip(hits.rows, literal, strict=True):
            wanted = allowed[np.argsort(-line[allowed], kind="stable")][:k]
            assert rows[: len(wanted)].tolist() == wanted.tolist()
            assert (rows[len(wanted) :] == -1).all()
    assert BestToken(np.zeros((0, 2, 3))).search(np.ones((1, 1, 3)), 2).rows.tolist() == [[-1, -1]]


class _Matches:
    """Matching scores by entry; those of entries that must not be looked at are not there."""

    def __init__(self, scores: Sequence[float | None]) -> None:
        self.given = scores

    def score_pairs(self, images: Sequence[Any], texts: Sequence[Any], pairs: Any) -> Any:
        found = [self.given[int(images[row])] for row, _ in pairs.tolist()]
        assert None not in found
        return np.array(found, np.float32)


def _ranked(itm: Sequence[float | None], k: int) -> tuple[list[int], list[float]]:
    gallery = [Item(str(row), image=row) for row in range(3)]
    itc = np.array([[[0.5]], [[0.48]], [[0.1]]], np.float32)
    hits = BestToken(itc).search(np.ones((1, 1, 1), np.float32), 3)
    run = Run([Item("q", text="q")], gallery).with_hits(hits)
    done = Rerank(_Matches(itm), k, weight=0.5)(run).hits
    assert done is not None
    return done.rows[0].tolist(), done.scores[0].tolist()


def test_both_scores_are_added_for_the_best_alone() -> None:
    rows, scores = _ranked((0.2, 1.5, None), 2)  # the third is never matched
    assert rows == [1, 0, 2]
    assert scores[0] - scores[1] == pytest.approx((1.98 - 0.70) / 2)
    rows, scores = _ranked((0.2, 1.5, 9.0), 3)
    assert rows == [2, 1, 0]
    assert np.diff(scores) == pytest.approx([(1.98 - 9.1) / 2, (0.70 - 1.98) / 2])


@pytest.fixture(scope="module")
def former() -> QFormer:
    torch.manual_seed(0)
    return QFormer(seen=12, pieces=20, queries=3, width=16, layers=4, heads=2, length=8, dropout=0.0).eval()


def test_who_sees_whom(former: QFormer) -> None:
    picture, text = torch.randn(1, 5, 12), torch.tensor([[1, 5, 6, 7, 2, 0]])
    other = torch.tensor([[1, 5, 9, 7, 2, 0]])
    with torch.no_grad():
        for mask, same in (("apart", True), ("together", False), ("causal", True)):
            ours, theirs = (former(picture, one, mask)[0] for one in (text, other))
            assert torch.equal(ours, theirs) is same, mask
        # Contrast: words do not see the picture either.
        assert torch.equal(former(picture, text, "apart")[1], former(2 * picture, text, "apart")[1])
        assert torch.allclose(former(None, text)[1], former(picture, text, "apart")[1], atol=1e-6)
        # Captioning: what changes at a place changes nothing before it, and the picture counts.
        ours, theirs = (former(picture, one, "causal")[1] for one in (text, other))
        assert torch.equal(ours[:, :2], theirs[:, :2])
        assert not torch.equal(ours[:, 2:], theirs[:, 2:])
        assert not torch.equal(ours, former(2 * picture, text, "causal")[1])


def test_filling_changes_nothing(former: QFormer) -> None:
    picture, text = torch.randn(1, 5, 12), torch.tensor([[1, 5, 6, 2]])
    longer = torch.tensor([[1, 5, 6, 2, 0, 0, 0]])
    with torch.no_grad():
        for mask in ("apart", "together", "causal"):
            ours, theirs = former(picture, text, mask), former(picture, longer, mask)
            assert torch.allclose(ours[0], theirs[0], atol=1e-6)
            assert torch.allclose(ours[1], theirs[1][:, :4], atol=1e-6)


def test_hard_negatives_are_of_another_picture() -> None:
    torch.manual_seed(0)
    logits = torch.tensor([[9.0, 8, 0, 0], [9, 8, 0, 0], [0, 0, 5, 30], [0, 0, 5, 5]])
    same = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=torch.bool)
    drawn_rows = torch.stack([hard(logits, same) for _ in range(50)])
    assert set(drawn_rows[:, :2].flatten().tolist()) == {2, 3}
    assert (drawn_rows[:, 2] == 3).all()  # by far the likest
    assert not same.gather(1, drawn_rows.T).any()


def learned() -> tuple[Any, Split, Split]:
    learn, ask = read("image=regions:3,text=tokens:24")
    system = catalogue.load("blip2:tiny", epochs=6, pretrain_epochs=6)
    return system.fit(learn, Trainer(seed=0, quiet=True, device="cpu")), learn, ask


@pytest.fixture(scope="module")
def trained() -> tuple[Any, Split, Split]:
    return learned()


def test_it_learns_to_find_both_ways(trained: tuple[Any, Split, Split]) -> None:
    system, _, ask = trained
    for direction, found in score(system, ask, ask, "label").items():
        assert found >= 0.45, (direction, found)  # chance is 0.25


def test_what_is_measured_is_what_is_searched(trained: tuple[Any, Split, Split]) -> None:
    system, _, ask = trained
    for to, by in (("image", "text"), ("text", "image")):
        gallery, queries = ask.items(to), ask.items(by)
        stage = over(system, gallery, 6, to=to)
        done = stage(Run(queries, gallery)).hits
        assert done is not None
        matrix = scores_of(stage, Run(queries, gallery))
        from diptych.metrics.scores import score_blocks

        whole = np.concatenate([block for _, _, block in score_blocks(matrix)])
        assert np.array_equal(done.rows, np.argsort(-whole, axis=1, kind="stable")[:, :6])


def test_beyond_the_depth_the_first_stage_ranks(trained: tuple[Any, Split, Split]) -> None:
    system, _, ask = trained
    gallery, queries = ask.items("image"), ask.items("text")
    first = BestToken(system.vectors("image", gallery)).search(system.vectors("text", queries), len(ask))
    depth, system.depth = system.depth, 3
    try:
        done = over(system, gallery, len(ask))(Run(queries, gallery)).hits
    finally:
        system.depth = depth
    assert done is not None
    assert np.array_equal(done.rows[:, 3:], first.rows[:, 3:])
    assert np.array_equal(np.sort(done.rows[:, :3]), np.sort(first.rows[:, :3]))


def test_the_run_reads_pictures_and_words(trained: tuple[Any, Split, Split], tmp_path: Path) -> None:
    from diptych.catalogue.extractors import named
    from diptych.chain import RetrieverChain, join

    system, _, ask = trained
    raw_learn, raw = drawn()
    readers = named("image=regions:3,text=tokens:24")
    readers["text"].fit(raw_learn.text)
    chain = join(system, **readers)
    assert isinstance(chain, RetrieverChain)
    catalogue.save(chain, tmp_path)
    again = catalogue.load(tmp_path)
    assert again.fingerprint == chain.fingerprint
    gallery = [Item(str(row), image=picture) for row, picture in enumerate(raw.image)]
    queries = [Item(text, text=text) for text in raw.text]
    ours = over(again, gallery, 5)(Run(queries, gallery)).hits
    theirs = over(system, ask.items("image"), 5)(Run(ask.items("text"), ask.items("image"))).hits
    assert ours is not None
    assert theirs is not None
    assert np.array_equal(ours.rows, theirs.rows)


def test_bad_settings() -> None:
    with pytest.raises(BadParameter, match="at least one query"):
        catalogue.load("blip2:tiny", queries=0)
    with pytest.raises(BadParameter, match="do not divide a width"):
        catalogue.load("blip2:tiny", heads=5)
    with pytest.raises(BadParameter, match="blip2@FOLDER"):
        catalogue.load("blip2:tiny", checkpoint="somewhere")


@pytest.mark.parametrize("kind", ["blip-2", "blip"])
def test_a_checkpoint_gives_what_transformers_gives(kind: str, tmp_path: Path) -> None:
    model = _checkpoint(kind, tmp_path)
    draw = np.random.default_rng(0)
    pictures = [Image.fromarray(draw.integers(0, 255, (40, 30 + row, 3), dtype=np.uint8)) for row in range(4)]
    texts = ["a red dog", "the grass", "a dog on the red grass"]
    system = catalogue.load(f"blip2@{tmp_path}", depth=2)
    pixels = torch.from_numpy(np.stack([system.prepare_image(one) for one in pictures]))
    ids = system.net.tokenizer(texts, padding=True, return_tensors="pt")
    given = {"pixel_values": pixels, "input_ids": ids["input_ids"], "attention_mask": ids["attention_mask"]}
    flag, out = (
        ("use_image_text_matching_head", "logits_per_image")
        if kind == "blip-2"
        else ("use_itm_head", "itm_score")
    )
    with torch.no_grad():
        itc = model(**given, **{flag: False})[out].numpy()
        itm = np.stack(
            [
                model(
                    pixel_values=pixels[row : row + 1].expand(3, -1, -1, -1),
                    input_ids=ids["input_ids"],
                    attention_mask=ids["attention_mask"],
                    **{flag: True},
                )[out][:, 1].numpy()
                for row in range(4)
            ]
        )
    gallery = [Item(str(row), image=one) for row, one in enumerate(pictures)]
    queries = [Item(one, text=one) for one in texts]
    found = BestToken(system.vectors("image", gallery)).compared(system.vectors("text", queries)).values
    assert found == pytest.approx(itc.T, abs=1e-5)
    pairs = np.array([[image, text] for image in range(4) for text in range(3)])
    assert system.score_pairs(pictures, texts, pairs) == pytest.approx(itm.reshape(-1), abs=1e-5)
    done = over(system, gallery, 4)(Run(queries, gallery)).hits
    assert done is not None
    for at, rows in enumerate(done.rows.tolist()):
        first = np.argsort(-itc.T[at], kind="stable").tolist()
        best = sorted(first[:2], key=lambda row: -(itm[row, at] + itc[row, at]))
        assert rows == [*best, *first[2:]]


def test_another_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(BadData, match="type 'clip'; what can be used here: blip-2, blip"):
        catalogue.load(f"blip2@{tmp_path}")


def _checkpoint(kind: str, folder: Path) -> Any:
    """A tiny one of drawn weights, and what is beside it."""
    import transformers as t

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "dog", "the", "grass", "on"]
    (folder / "vocab.txt").write_text("\n".join(words))
    t.BertTokenizerFast(vocab_file=str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    vision = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
              "image_size": 32, "patch_size": 8}  # fmt: skip
    if kind == "blip-2":
        former = {
            "vocab_size": 40, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
            "intermediate_size": 32, "encoder_hidden_size": 32, "use_qformer_text_input": True,
        }  # fmt: skip
        config = t.Blip2Config(
            vision_config=vision, qformer_config=former, num_query_tokens=4, image_text_hidden_size=16
        )
        config.image_token_index = None
        model = t.Blip2ForImageTextRetrieval(config)
    else:
        text = {
            "vocab_size": 30524, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
            "intermediate_size": 32, "encoder_hidden_size": 32, "max_position_embeddings": 40,
        }  # fmt: skip
        config = t.BlipConfig(
            vision_config=vision, text_config=text, projection_dim=16, image_text_hidden_size=16
        )
        model = t.BlipForImageTextRetrieval(config)
    model.eval().save_pretrained(folder)
    t.BlipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return model
