"""CLIP loads every dual encoder from a folder, and says in one sentence why it cannot."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from diptych import catalogue
from diptych.errors import BadData, BadParameter, ImageError, MissingData, MissingExtra, UnknownName
from diptych.systems.dual_tower import clip
from diptych.systems.dual_tower.clip import CLIP
from diptych.towers.checkpoint import WHOLE, folder_of
from diptych.towers.transformers import tiny_parts

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "green", "dog", "cat"]
TEXT = {
    "vocab_size": len(WORDS),
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
}
VISION = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
TEXTS = ["a red dog", "cat", "a green green cat"]


def words_tokenizer(length: int) -> Any:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing

    tokenizer = Tokenizer(WordLevel({word: row for row, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=length,
    )


def a_clip() -> tuple[Any, Any, Any]:
    return tiny_parts()


def a_siglip() -> tuple[Any, Any, Any]:
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    config = transformers.SiglipConfig(
        text_config={**TEXT, "max_position_embeddings": 16},
        vision_config={**VISION, "image_size": 24, "patch_size": 8},
    )
    processor = SiglipImageProcessorPil(size={"height": 24, "width": 24})
    return transformers.SiglipModel(config), words_tokenizer(16), processor


def a_siglip2() -> tuple[Any, Any, Any]:
    from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil

    config = transformers.Siglip2Config(
        text_config={**TEXT, "max_position_embeddings": 16},
        vision_config={**VISION, "num_patches": 16, "patch_size": 8},
    )
    processor = Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16)
    return transformers.Siglip2Model(config), words_tokenizer(16), processor


def an_align() -> tuple[Any, Any, Any]:
    from transformers.models.efficientnet.image_processing_pil_efficientnet import (
        EfficientNetImageProcessorPil,
    )

    config = transformers.AlignConfig(
        text_config={**TEXT, "max_position_embeddings": 128},
        vision_config={
            "image_size": 32,
            "width_coefficient": 0.1,
            "depth_coefficient": 0.1,
            "hidden_dim": 32,
            "num_block_repeats": [1],
            "kernel_sizes": [3],
            "in_channels": [32],
            "out_channels": [320],
            "strides": [1],
            "expand_ratios": [1],
            "depthwise_padding": [],
        },
        projection_dim=32,
    )
    processor = EfficientNetImageProcessorPil(
        size={"height": 36, "width": 36}, crop_size={"height": 32, "width": 32}
    )
    return transformers.AlignModel(config), words_tokenizer(128), processor


MAKERS = {"clip": a_clip, "siglip": a_siglip, "siglip2": a_siglip2, "align": an_align}


@pytest.fixture(scope="module", params=sorted(MAKERS))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    for part in MAKERS[request.param]():
        part.save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("one")
    torch.manual_seed(1)
    for part in a_clip():
        part.save_pretrained(place)
    return place


def pictures() -> list[Image.Image]:
    random = np.random.default_rng(0)
    sizes = ((40, 30), (30, 60), (33, 33))
    return [Image.fromarray(random.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes]


def test_any_dual_encoder_loads_from_a_folder_by_name(folder: Path, tmp_path: Path) -> None:
    system = catalogue.load(f"clip@{folder}", device="cpu")
    image, text = system.encode_image(pictures()), system.encode_text(TEXTS)
    assert image.dtype == text.dtype == np.float32
    assert image.shape == text.shape == (3, image.shape[1])
    np.testing.assert_allclose(np.linalg.norm(np.concatenate([image, text]), axis=1), 1, atol=1e-5)
    assert np.abs(image[0] - image[1]).max() > 1e-4
    path = tmp_path / "a.png"
    pictures()[0].save(path)
    np.testing.assert_allclose(system.encode_image([path, str(path)]), image[[0, 0]], atol=1e-5)
    ready = [system.prepare_image(picture) for picture in pictures()]
    assert all(isinstance(one, np.ndarray) and one.dtype == np.float32 for one in ready)
    np.testing.assert_allclose(system.encode_image(ready), image, atol=1e-5)
    for row in range(3):  # one at a time: padding and batching change nothing
        np.testing.assert_allclose(system.encode_text(TEXTS[row : row + 1])[0], text[row], atol=1e-5)
        np.testing.assert_allclose(system.encode_image(pictures()[row : row + 1])[0], image[row], atol=1e-5)
    assert system.encode_text([]).shape == (0, text.shape[1])
    assert not system.towers.model.training
    assert all(p.grad is None and not p.requires_grad for p in system.towers.model.parameters())
    assert system.image_size >= 24


def test_it_equals_the_model_called_as_its_authors_do(folder: Path) -> None:
    system = CLIP.from_weights(str(folder), device="cpu")
    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    padding: dict[str, Any] = {"padding": True}
    if system.towers.kind != "clip":
        padding = {"padding": "max_length", "max_length": system.towers.context}
    inputs = {
        **tokenizer(TEXTS, return_tensors="pt", **padding),
        **processor(images=pictures(), return_tensors="pt"),
    }
    with torch.no_grad():
        expected = model(**inputs)
    np.testing.assert_allclose(
        system.encode_image(pictures()), expected.image_embeds.numpy(), atol=2e-5, rtol=0
    )
    np.testing.assert_allclose(system.encode_text(TEXTS), expected.text_embeds.numpy(), atol=2e-5, rtol=0)


def test_the_fingerprint_tells_weights_and_prompts_apart(clip_folder: Path) -> None:
    first, again, other = (CLIP.from_weights(str(clip_folder)) for _ in range(3))
    assert first.fingerprint == again.fingerprint
    with torch.no_grad():
        other.towers.model.visual_projection.weight[0, 0] += 1
    assert other.fingerprint != first.fingerprint
    prompted = CLIP.from_weights(str(clip_folder), prompt="a photo of {}")
    assert prompted.fingerprint != first.fingerprint
    np.testing.assert_allclose(
        prompted.encode_text(["a cat"]), first.encode_text(["a photo of a cat"]), atol=1e-6
    )


def test_long_text_is_cut_with_one_warning(clip_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    system = CLIP.from_weights(str(clip_folder))
    with caplog.at_level(logging.WARNING):
        cut = system.encode_text(["short", "b" * 75 + "cut"])
        system.encode_text(["c" * 200])
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "80 tokens is cut to 77" in caplog.text
    np.testing.assert_allclose(cut[1], system.encode_text(["b" * 75 + "else"])[0], atol=1e-6)


def test_braces_in_a_text_are_only_text(clip_folder: Path) -> None:
    system = CLIP.from_weights(str(clip_folder), prompt="see {}")
    assert system.encode_text(["{0} and {name}"]).shape == (1, 16)


def test_tags_of_known_architectures_name_repositories(
    monkeypatch: pytest.MonkeyPatch, clip_folder: Path
) -> None:
    asked = []

    def fetched(repository: str, _: Any) -> Path:
        asked.append(repository)
        return clip_folder

    monkeypatch.setattr(clip, "folder_of", fetched)
    for name in ("clip", "clip:vit-b-32@openai", "clip:vit-l-14@laion2b", "clip@owner/name"):
        catalogue.load(name)
    assert asked == [
        "openai/clip-vit-base-patch32",
        "openai/clip-vit-base-patch32",
        "laion/CLIP-ViT-L-14-laion2B-s32B-b82K",
        "owner/name",
    ]
    with pytest.raises(UnknownName, match="did you mean openai"):
        catalogue.load("clip:vit-b-32@opnai")


def test_every_variant_has_weights() -> None:
    for variant, chosen in clip.VARIANTS.items():
        if variant not in ("tiny", "small"):
            assert clip._checkpoint(chosen["architecture"], "")


def test_weights_out_of_reach_are_reported_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # A fresh process, since the hub's library reads its settings when imported.
    code = (
        "from diptych.errors import MissingData\n"
        "from diptych.systems.dual_tower.clip import CLIP\n"
        "try: CLIP.from_weights('openai')\n"
        "except MissingData as error: print(error)\n"
    )
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("openai/clip-vit-base-patch32 is no folder here, and the hub did not give")
    assert "give its folder" in done.stdout


def test_a_pickle_only_repository_is_taken_from_the_hubs_conversion(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clip_folder: Path
) -> None:
    import huggingface_hub

    asked = []

    def download(repository: str, *, revision: str | None, **_: Any) -> str:
        asked.append((repository, revision))
        return str(clip_folder if revision else tmp_path)

    class Hub:
        def get_repo_discussions(self, repository: str, **wanted: str) -> Any:
            assert wanted == {"author": "SFconvertbot", "discussion_type": "pull_request"}
            return iter([type("Proposal", (), {"git_reference": "refs/pr/21"})])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    assert folder_of("owner/old", WHOLE) == clip_folder
    assert asked == [("owner/old", None), ("owner/old", "refs/pr/21")]


def test_folders_that_will_not_do(tmp_path: Path, clip_folder: Path) -> None:
    with pytest.raises(MissingData, match="there is no folder"):
        CLIP.from_weights(str(tmp_path / "nowhere"))
    with pytest.raises(BadData, match=r"holds no config\.json"):
        CLIP.from_weights(str(tmp_path))
    config = tmp_path / "config.json"
    config.write_text("{")
    with pytest.raises(BadData, match="is damaged"):
        CLIP.from_weights(str(tmp_path))
    config.write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(BadData, match="a model of type 'bert'"):
        CLIP.from_weights(str(tmp_path))
    config.write_text((clip_folder / "config.json").read_text())
    (tmp_path / "pytorch_model.bin").write_bytes(b"anything")
    with pytest.raises(BadData, match=r"no safetensors \(other weights: pytorch_model\.bin\)"):
        CLIP.from_weights(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes((clip_folder / "model.safetensors").read_bytes()[:5000])
    with pytest.raises(BadData, match="is not a whole clip checkpoint"):
        CLIP.from_weights(str(tmp_path))


def test_weights_that_lack_a_tensor_are_refused(tmp_path: Path, clip_folder: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(clip_folder, tmp_path / "part")
    tensors = load_file(tmp_path / "part" / "model.safetensors")
    del tensors["visual_projection.weight"]
    save_file(tensors, tmp_path / "part" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadData, match="lacks 1 tensors of its clip model, the first visual_projection"):
        CLIP.from_weights(str(tmp_path / "part"))


def test_parameters_are_checked(clip_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadParameter, match="prompt must hold"):
        CLIP.from_weights(str(clip_folder), prompt="no place")
    with pytest.raises(BadParameter, match="no device 'warp'"):
        CLIP.from_weights(str(clip_folder), device="warp")
    with pytest.raises(ImageError, match="cannot be read"):
        CLIP.from_weights(str(clip_folder)).encode_image([tmp_path / "gone.jpg"])


def test_without_transformers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtra, match=r"diptych\[hub\]"):
        CLIP(architecture="tiny")


def test_tiny_is_quick() -> None:
    started = time.process_time()
    catalogue.load("clip:tiny")
    assert time.process_time() - started < 5
