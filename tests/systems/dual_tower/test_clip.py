"""CLIP loads every dual encoder from a folder, and says in one sentence why it cannot."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from checkpoints import MAKERS, a_clip, for_transformers_js
from diptych import catalogue
from diptych.errors import (
    BadData,
    BadParameter,
    ImageError,
    MissingData,
    MissingExtra,
    UnknownName,
    UsageError,
    WrongModel,
)
from diptych.systems.dual_tower import clip
from diptych.systems.dual_tower.clip import CLIP
from diptych.towers.checkpoint import WHOLE, folder_of
from diptych.towers.exported import ExportedTowers
from diptych.towers.layouts import files_in

TEXTS = ["a red dog", "cat", "a green green cat"]


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


class FakeHub:
    """A hub whose repositories hold what is given, instead of the real one's interface.

    Args:
        repositories: OWNER/NAME -> a folder with its files.
        cache: Where files are put, as the hub's library does.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cache: Path, repositories: dict[str, Path]) -> None:
        import huggingface_hub
        from huggingface_hub import constants

        self.asked: list[str] = []
        self.conversions: dict[str, str] = {}
        self.cache, self.repositories = cache, repositories
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda: self)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", self.download)

    def model_info(self, name: str, *, revision: str, **_: Any) -> Any:
        self.asked.append(name if revision == "main" else f"{name}@{revision}")
        folder = self.repositories[name if revision == "main" else f"{name}@{revision}"]
        files = [
            SimpleNamespace(rfilename=file, size=(folder / file).stat().st_size) for file in files_in(folder)
        ]
        return SimpleNamespace(sha=revision.replace("/", "-"), siblings=files)

    def download(self, name: str, *, revision: str, allow_patterns: list[str], **_: Any) -> str:
        source = self.repositories[name if revision == "main" else f"{name}@{revision.replace('-', '/')}"]
        place = self.cache / f"models--{name.replace('/', '--')}" / "snapshots" / revision
        for file in allow_patterns:
            (place / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / file, place / file)
        return str(place)

    def get_repo_discussions(self, name: str, **wanted: str) -> Any:
        assert wanted == {"author": "SFconvertbot", "discussion_type": "pull_request"}
        return iter([SimpleNamespace(git_reference=self.conversions[name])])


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of `clip_folder` in ONNX."""
    place = tmp_path_factory.mktemp("exported")
    torch.manual_seed(1)
    for_transformers_js(place, "clip", a_clip())
    return place


def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "transformers", None)


def test_tags_of_known_architectures_name_repositories(
    monkeypatch: pytest.MonkeyPatch, clip_folder: Path, exported: Path, tmp_path: Path
) -> None:
    named = {whole: clip_folder for tags in clip._HUB.values() for whole, _ in tags.values() if whole}
    graphs = {name: exported for tags in clip._HUB.values() for _, name in tags.values() if name}
    both = {"owner/both": tmp_path / "both", "owner/name": clip_folder}
    shutil.copytree(exported, tmp_path / "both")
    shutil.copy(clip_folder / "model.safetensors", tmp_path / "both")
    hub = FakeHub(monkeypatch, tmp_path / "cache", {**named, **graphs, **both})
    expected = {
        "clip": ("openai/clip-vit-base-patch32", False),
        "clip:vit-l-14@laion2b": ("laion/CLIP-ViT-L-14-laion2B-s32B-b82K", False),
        "clip@owner/name": ("owner/name", False),
        "clip@owner/both": ("owner/both", False),
        "clip:vit-b-32@onnx": ("Xenova/clip-vit-base-patch32", True),
        "clip:mobileclip-s2": ("Xenova/mobileclip_s2", True),
    }
    for name, (repository, graph) in expected.items():
        hub.asked.clear()
        system = catalogue.load(name)
        assert hub.asked == [repository]
        assert isinstance(system.towers, ExportedTowers) == graph
    with pytest.raises(UnknownName, match="did you mean openai"):
        catalogue.load("clip:vit-b-32@opnai")
    without_torch(monkeypatch)
    hub = FakeHub(monkeypatch, tmp_path / "other", {**named, **graphs, **both})
    for name, repository in (
        ("clip", "Xenova/clip-vit-base-patch32"),
        ("clip:siglip2-b-16", "onnx-community/siglip2-base-patch16-224-ONNX"),
        ("clip@owner/both", "owner/both"),
    ):
        hub.asked.clear()
        assert isinstance(catalogue.load(name).towers, ExportedTowers)
        assert hub.asked == [repository]
    for name in ("clip:vit-b-16@laion2b", "clip@owner/name", f"clip@{clip_folder}", "clip:tiny"):
        with pytest.raises(MissingExtra, match=r"diptych\[towers\]"):
            catalogue.load(name)


def test_a_collection_of_one_runtime_goes_on_with_it(
    monkeypatch: pytest.MonkeyPatch, clip_folder: Path, exported: Path, tmp_path: Path
) -> None:
    repositories = {"openai/clip-vit-base-patch32": clip_folder, "Xenova/clip-vit-base-patch32": exported}
    FakeHub(monkeypatch, tmp_path, repositories)
    with monkeypatch.context() as context:
        without_torch(context)
        before = catalogue.load("clip:vit-b-32").fingerprint
    # Torch has been installed since; the weights that are here are gone on with.
    assert catalogue.load("clip:vit-b-32").fingerprint == before
    assert catalogue.load("clip:vit-b-32", runtime="transformers").fingerprint != before


def test_what_runs_a_folder_is_seen_or_said(clip_folder: Path, exported: Path, tmp_path: Path) -> None:
    both = Path(shutil.copytree(exported, tmp_path / "both"))
    shutil.copy(clip_folder / "model.safetensors", both)
    found = {
        runtime: CLIP.from_weights(str(both), runtime=runtime) for runtime in ("auto", "onnx", "transformers")
    }
    assert isinstance(found["onnx"].towers, ExportedTowers)
    assert found["auto"].fingerprint == found["transformers"].fingerprint != found["onnx"].fingerprint
    np.testing.assert_allclose(
        found["onnx"].encode_image(pictures()), found["auto"].encode_image(pictures()), atol=1e-4
    )
    assert CLIP.from_weights(str(exported)).fingerprint == found["onnx"].fingerprint
    with pytest.raises(BadParameter, match="form is of ONNX graphs"):
        CLIP.from_weights(str(both), form="fp16")
    with pytest.raises(BadParameter, match="runtime must be one of auto, onnx, transformers, not 'tvm'"):
        CLIP.from_weights(str(both), runtime="tvm")
    with pytest.raises(UnknownName, match="did you mean fp16"):
        CLIP.from_weights(str(exported), form="fp61")
    with pytest.raises(BadData, match="holds no dual encoder in fp16"):
        CLIP.from_weights(str(exported), form="fp16")


def test_an_index_of_one_runtime_is_refused_by_the_other(
    clip_folder: Path, exported: Path, tmp_path: Path
) -> None:
    import diptych

    place = tmp_path / "clip"
    shutil.copytree(exported, place)
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, picture in enumerate(pictures()):
        picture.save(photos / f"{number}.png")
    with diptych.open(photos, model=f"clip@{place}") as collection:
        collection.add(photos)
        assert len(collection.search("a dog")) == 3
    shutil.copy(clip_folder / "model.safetensors", place)
    with diptych.open(photos) as collection, pytest.raises(WrongModel, match="vectors do not compare"):
        collection.search("a dog")


def test_nothing_is_indexed_with_what_cannot_run(exported: Path, tmp_path: Path) -> None:
    import diptych

    place = Path(shutil.copytree(exported, tmp_path / "cut"))
    graph = place / "onnx" / "vision_model.onnx"
    graph.write_bytes(graph.read_bytes()[:-200])
    photos = tmp_path / "photos"
    photos.mkdir()
    pictures()[0].save(photos / "a.png")
    with (
        pytest.raises(BadData, match=r"vision_model\.onnx is damaged or cut off; fetch it again$"),
        diptych.open(photos, model=f"clip@{place}") as collection,
    ):
        collection.add(photos)
    with diptych.open(photos) as collection:
        assert len(collection) == 0


def test_every_variant_has_weights() -> None:
    for variant, chosen in clip.VARIANTS.items():
        if variant not in ("tiny", "small", "packaged"):
            assert any(clip._repositories(chosen["architecture"], ""))
    for tags in clip._HUB.values():
        assert any(exported for _, exported in tags.values())


def test_a_pickle_only_repository_is_taken_from_the_hubs_conversion(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clip_folder: Path
) -> None:
    old = tmp_path / "old"
    old.mkdir()
    (old / "pytorch_model.bin").write_bytes(b"anything")
    hub = FakeHub(monkeypatch, tmp_path / "cache", {"owner/old": old, "owner/old@refs/pr/21": clip_folder})
    hub.conversions["owner/old"] = "refs/pr/21"
    expected = CLIP.from_weights(str(clip_folder)).fingerprint
    for _ in range(2):
        assert CLIP.from_weights("owner/old").fingerprint == expected
    assert hub.asked == ["owner/old", "owner/old@refs/pr/21"]


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


def test_training_takes_the_hubs_conversion_of_pickles(
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
    with pytest.raises(BadData, match=r"published in ONNX only"):
        CLIP(architecture="mobileclip-s2", runtime="transformers")
    with pytest.raises(BadData, match=r"published for transformers only"):
        CLIP(architecture="vit-b-16", weights="laion2b", runtime="onnx")
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


def test_tiny_is_quick() -> None:
    started = time.process_time()
    catalogue.load("clip:tiny")
    assert time.process_time() - started < 5


def test_an_export_is_saved_as_a_run_and_not_trained(exported: Path, tmp_path: Path) -> None:
    system = CLIP.from_weights(str(exported), prompt="a photo of {}")
    system.save(tmp_path / "run")
    again = catalogue.load(str(tmp_path / "run"))
    assert (again.fingerprint, again.prompt) == (system.fingerprint, "a photo of {}")
    split = SimpleNamespace(image=pictures(), text=TEXTS, pairs=np.array([[0, 0], [1, 1]]))
    with pytest.raises(UsageError, match="is run by ONNX Runtime here, which does not train"):
        system.check(split)
