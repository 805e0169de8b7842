"""The towers give what transformers' CLIP gives, learn at their own rate, and refuse what does not fit."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from diptych.errors import BadData, BadParameter, MissingData, MissingExtra
from diptych.features.tokens import Tokens
from diptych.nets.clip_towers import ClipTowers, clip_towers, rates

TEXTS = ["a red circle on the left", "hi! there", "", "a long text of many more letters than that"]


@pytest.fixture(scope="module")
def towers(tiny_clip: Path) -> ClipTowers:
    found = clip_towers(str(tiny_clip), "")
    assert found is not None
    return found


@pytest.fixture(scope="module")
def original(tiny_clip: Path) -> Any:
    return transformers.CLIPModel.from_pretrained(tiny_clip).eval()


def pieces(folder: Path, texts: list[str] = TEXTS, length: int = 32) -> torch.Tensor:
    tokens = Tokens(length=length, weights=str(folder)).encode_text(texts)
    return torch.from_numpy(tokens.astype(np.int64))


def altered(folder: Path, to: Path, **text: Any) -> Path:
    """A copy of the checkpoint with other settings of the text tower."""
    shutil.copytree(folder, to)
    config = json.loads((to / "config.json").read_text())
    config["text_config"] |= text
    (to / "config.json").write_text(json.dumps(config))
    return to


def test_pictures_have_the_vectors_of_transformers(
    towers: ClipTowers, original: Any, tiny_clip: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32), dtype=np.uint8)
    processor = transformers.AutoImageProcessor.from_pretrained(tiny_clip, backend="pil")
    images = [Image.fromarray(one.transpose(1, 2, 0)) for one in pixels]
    with torch.no_grad():
        expected = original.get_image_features(**processor(images=images, return_tensors="pt")).pooler_output
        found = towers.image(torch.from_numpy(pixels))
    assert found.shape == (3, towers.dim)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("length", [32, 77])
def test_texts_have_the_vectors_of_transformers_however_they_are_filled_up(
    towers: ClipTowers, original: Any, tiny_clip: Path, length: int
) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_clip)
    inputs = tokenizer(TEXTS, padding=True, truncation=True, max_length=length, return_tensors="pt")
    tokens = pieces(tiny_clip, length=length)
    with torch.no_grad():
        expected = original.get_text_features(**inputs).pooler_output
        found = towers.text(tokens)
        short = towers.text(pieces(tiny_clip, TEXTS[2:3], length=3))
        otherwise = towers.text(torch.where(tokens == 0, 7, tokens)[2:3])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(found[2:3], short, atol=1e-6)
    np.testing.assert_allclose(found[2:3], otherwise, atol=1e-6)


def test_configurations_from_before_the_end_token_was_named(
    towers: ClipTowers, tiny_clip: Path, tmp_path: Path
) -> None:
    old = clip_towers(str(altered(tiny_clip, tmp_path / "old", eos_token_id=2)), "")
    assert old is not None
    assert old.text.end_token == towers.text.end_token == 513
    tokens = pieces(tiny_clip)
    assert old.text.ends(tokens).tolist() == [20, 9, 1, 31]
    with torch.no_grad():
        np.testing.assert_allclose(old.text(tokens), towers.text(tokens), atol=1e-6)


def test_a_configuration_alone_gives_the_shape(towers: ClipTowers) -> None:
    again = clip_towers("", towers.config)
    assert again is not None
    assert again.config == towers.config
    for net, twin in ((towers.image, again.image), (towers.text, again.text)):
        shapes, others = ({k: v.shape for k, v in one.state_dict().items()} for one in (net, twin))
        assert shapes == others
        twin.load_state_dict(net.state_dict())
    assert towers.log_scale == pytest.approx(2.6592)
    assert clip_towers("", "") is None


def test_loading_draws_nothing(tiny_clip: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    clip_towers(str(tiny_clip), "")
    assert torch.equal(torch.rand(4), expected)


def test_towers_and_heads_have_their_own_rates(towers: ClipTowers) -> None:
    head = torch.nn.Linear(towers.dim, 2)
    heads, inside = rates(torch.nn.Sequential(towers.image, head), towers.text, tower_lr=0.25)
    assert heads == {"params": [head.weight, head.bias]}
    assert inside["lr"] == 0.25
    assert len(inside["params"]) == len([*towers.image.parameters(), *towers.text.parameters()])
    assert rates(head, tower_lr=0.25) == [heads]
    assert all(parameter.requires_grad for parameter in inside["params"])


def test_nothing_gives_no_vectors(towers: ClipTowers) -> None:
    assert towers.image(torch.zeros((0, 3, 224, 224), dtype=torch.uint8)).shape == (0, towers.dim)
    assert towers.text(torch.zeros((0, 1), dtype=torch.int64)).shape == (0, towers.dim)


def test_inputs_that_do_not_fit(towers: ClipTowers, tiny_clip: Path) -> None:
    with pytest.raises(BadParameter, match=r"sees 3 x 32 x 32 pixels, not .*image=pixels:32"):
        towers.image(torch.zeros((1, 3, 224, 224), dtype=torch.uint8))
    with pytest.raises(BadParameter, match="reads 77 word pieces, not 80"):
        towers.text(pieces(tiny_clip, length=80))
    with pytest.raises(BadParameter, match=r"its end token, 513, is missing.*tokenizer\.json"):
        towers.text(torch.tensor([[1, 5, 2, 0], [512, 5, 513, 0]]))
    with pytest.raises(BadParameter, match="numbers above 513"):
        towers.text(torch.tensor([[512, 900, 513, 0]]))


def test_checkpoints_that_will_not_do(tiny_clip: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    with pytest.raises(MissingData, match="there is no folder"):
        clip_towers(str(tmp_path / "nowhere"), "")
    with pytest.raises(BadData, match=r"no config\.json, so it is no checkpoint"):
        clip_towers(str(tmp_path), "")
    config = tmp_path / "config.json"
    config.write_text("{")
    with pytest.raises(BadData, match="is damaged"):
        clip_towers(str(tmp_path), "")
    config.write_text('{"model_type": "siglip"}')
    with pytest.raises(BadData, match="type 'siglip'; what can be used here: clip"):
        clip_towers(str(tmp_path), "")
    config.write_text((tiny_clip / "config.json").read_text())
    (tmp_path / "pytorch_model.bin").write_bytes(b"anything")
    with pytest.raises(BadData, match=r"holds no safetensors .*pickled weights can run code"):
        clip_towers(str(tmp_path), "")
    whole = (tiny_clip / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:5000])
    with pytest.raises(BadData, match="is not a whole clip checkpoint"):
        clip_towers(str(tmp_path), "")
    tensors = load_file(tiny_clip / "model.safetensors")
    del tensors["text_projection.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadData, match="lacks 1 tensors of its clip model, the first text_projection"):
        clip_towers(str(tmp_path), "")
    with pytest.raises(MissingData, match=r"there is no .*tokenizer\.json"):
        Tokens(weights=str(tmp_path))


@pytest.mark.parametrize("config", ["nonsense", "[1]", '{"projection_dim": 16, "text_config": {}}'])
def test_configurations_that_will_not_do(config: str) -> None:
    with pytest.raises(BadParameter, match=r"is no configuration of a CLIP; .* as clip=FOLDER"):
        clip_towers("", config)


def test_values_of_a_configuration_are_checked(towers: ClipTowers) -> None:
    config = json.loads(towers.config)
    config["text_config"]["hidden_size"] = "wide"
    with pytest.raises(BadParameter, match="is no configuration of a CLIP"):
        clip_towers("", json.dumps(config))


def test_without_transformers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tiny_clip: Path) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtra, match=r"diptych\[towers\]"):
        clip_towers(str(tiny_clip), "")


def test_a_repository_of_the_hub_stands_for_a_folder(
    monkeypatch: pytest.MonkeyPatch, tiny_clip: Path, tmp_path: Path
) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    asked = []

    def download(repository: str, *, revision: str | None, allow_patterns: list[str], **_: Any) -> str:
        asked.append((repository, revision, allow_patterns))
        if repository == "owner/gone":
            raise LocalEntryNotFoundError("no connection")
        # Like old repositories, "owner/old" itself holds a pickle only.
        return str(tmp_path if repository == "owner/old" and revision is None else tiny_clip)

    class Hub:
        def get_repo_discussions(self, repository: str, **_: str) -> Any:
            return iter([type("Proposal", (), {"git_reference": "refs/pr/21"})])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    assert clip_towers("owner/old", "") is not None
    assert Tokens(weights="owner/new").fitted
    files = ["*.json", "*.safetensors"]
    assert asked == [
        ("owner/old", None, files),
        ("owner/old", "refs/pr/21", files),
        ("owner/new", None, ["tokenizer.json"]),
    ]
    with pytest.raises(MissingData, match=r"owner/gone is no folder here, and the hub did not give it"):
        clip_towers("owner/gone", "")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtra, match=r"diptych\[hub\]"):
        Tokens(weights="owner/new")
