"""Published ONNX checkpoints give the vectors of transformers, whatever the shape of a picture or text."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from checkpoints import MAKERS, for_immich, for_transformers_js
from diptych.errors import BadData, BadParameter, MissingData
from diptych.towers.exported import ExportedTowers
from diptych.towers.transformers import DualTowers

KINDS = ("clip", "siglip", "siglip2")
SIZES = [(40, 30), (30, 60), (33, 33), (300, 500), (101, 17), (3, 200), (1, 1), (35, 38)]
WORDS = ("a red dog", "cat", "a green green cat", "A Red CAT, a dog!", "", "two  dogs\n and one cat")


def pictures() -> list[Image.Image]:
    random = np.random.default_rng(0)
    return [Image.fromarray(random.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in SIZES]


def texts(context: int) -> list[str]:
    """Some short ones, and of one token less than, as many as, and more than the context."""
    return [*WORDS, *(" ".join(["cat"] * (context + more)) for more in (-3, -2, -1, 0, 1, 40))]


def made(kind: str) -> tuple[Any, Any, Any]:
    torch.manual_seed(0)
    return MAKERS[kind]()


def reference(parts: Sequence[Any]) -> DualTowers:
    return DualTowers(*parts, device="cpu", batch_size=4)


def towers(folder: Path, **options: Any) -> ExportedTowers:
    return ExportedTowers(folder, **{"device": "auto", "batch_size": 4, "threads": 1, **options})


def equal(found: ExportedTowers, expected: DualTowers) -> None:
    words = texts(found.context)
    assert found.context == expected.context
    assert found.dim == expected.dim
    assert found.image_size == expected.image_size
    image, text = found.encode_image(pictures()), found.encode_text(words)
    assert image.dtype == text.dtype == np.float32
    np.testing.assert_allclose(image, expected.encode_image(pictures()), atol=1e-4, rtol=0)
    np.testing.assert_allclose(text, expected.encode_text(words), atol=1e-4, rtol=0)
    assert np.abs(image[0] - image[1]).max() > 1e-3
    assert np.abs(text[0] - text[1]).max() > 1e-3


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp(kind)
    for_transformers_js(place, kind, made(kind))
    return place


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("clip")
    for_transformers_js(place, "clip", made("clip"))
    return place


@pytest.fixture
def copy(clip: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(clip, tmp_path / "copy"))


def test_split_graphs_equal_transformers(folder: Path, kind: str) -> None:
    equal(towers(folder), reference(made(kind)))


@pytest.mark.parametrize("kind", ["clip", "siglip"], scope="function")
def test_a_joint_graph_equals_transformers(kind: str, tmp_path: Path) -> None:
    for_transformers_js(tmp_path, kind, made(kind), joint=True)
    equal(towers(tmp_path), reference(made(kind)))


SQUASH = {
    "size": 24,
    "mean": [0.5] * 3,
    "std": [0.5] * 3,
    "interpolation": "bicubic",
    "resize_mode": "squash",
}
SHORTEST = {
    "size": [32, 32],
    "mode": "RGB",
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
    "interpolation": "bicubic",
}


@pytest.mark.parametrize(("kind", "preprocess"), [("clip", SHORTEST), ("siglip", SQUASH)], scope="function")
def test_immichs_layout_equals_transformers(kind: str, preprocess: dict[str, Any], tmp_path: Path) -> None:
    for_immich(tmp_path, kind, made(kind), preprocess=preprocess)
    found, expected = towers(tmp_path), reference(made(kind))
    # open_clip's and transformers' middles of a picture differ where they lie between two pixels.
    even = [picture for picture in pictures() if kind != "clip" or picture.width == picture.height]
    np.testing.assert_allclose(found.encode_image(even), expected.encode_image(even), atol=1e-4, rtol=0)
    words = texts(found.context)
    cleaned = (
        words
        if kind == "clip"
        else [" ".join(w.replace(",", "").replace("!", "").lower().split()) for w in words]
    )
    np.testing.assert_allclose(
        found.encode_text(words),
        expected.encode_text([" ".join(w.split()) for w in cleaned]),
        atol=1e-4,
        rtol=0,
    )
    assert found.dim == expected.dim


def test_one_by_one_and_in_any_company_a_vector_stays(folder: Path) -> None:
    system, many = towers(folder), towers(folder, batch_size=32)
    image, text = many.encode_image(pictures()), many.encode_text(WORDS)
    np.testing.assert_allclose(system.encode_image(pictures()), image, atol=1e-5)
    np.testing.assert_allclose(system.encode_text(WORDS), text, atol=1e-5)
    for row, (picture, word) in enumerate(zip(pictures()[:6], WORDS, strict=True)):
        np.testing.assert_allclose(
            system.encode_image([system.prepare_image(picture)])[0], image[row], atol=1e-5
        )
        np.testing.assert_allclose(system.encode_text([word])[0], text[row], atol=1e-5)
    assert system.encode_image([]).shape == system.encode_text([]).shape == (0, system.dim)
    np.testing.assert_allclose(np.linalg.norm(np.concatenate([image, text]), axis=1), 1, atol=1e-5)


def test_long_text_is_cut_with_one_warning(clip: Path, caplog: pytest.LogCaptureFixture) -> None:
    system = towers(clip)
    with caplog.at_level(logging.WARNING, "diptych"):
        cut = system.encode_text(["short", "b" * 75 + "cut"])
        system.encode_text(["c" * 200])
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "80 tokens is cut to 77" in caplog.text
    np.testing.assert_allclose(cut[1], system.encode_text(["b" * 75 + "else"])[0], atol=1e-6)


def test_number_formats_are_chosen_and_stay_near(copy: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    for name in ("vision_model", "text_model"):
        whole, small = (copy / "onnx" / f"{name}{suffix}.onnx" for suffix in ("", "_quantized"))
        quantize_dynamic(whole, small, weight_type=QuantType.QUInt8)
    exact, small = towers(copy), towers(copy, form="quantized")
    assert exact.digest() != small.digest()
    for encode, items in (("encode_image", pictures()), ("encode_text", list(WORDS))):
        near = getattr(small, encode)(items)
        assert ((near * getattr(exact, encode)(items)).sum(axis=1) > 0.99).all()
        # Its scale is that of a whole batch, so that company would change a vector.
        alone = np.concatenate([getattr(small, encode)([one]) for one in items])
        np.testing.assert_allclose(near, alone, atol=1e-5)
    (copy / "onnx" / "text_model.onnx").unlink()
    assert towers(copy).digest() == small.digest()


def test_half_precision_graphs_run(copy: Path) -> None:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    expected = towers(copy)
    for name in ("vision_model", "text_model"):
        whole = onnx.load(copy / "onnx" / f"{name}.onnx")
        onnx.save(convert_float_to_float16(whole), copy / "onnx" / f"{name}_fp16.onnx")
    half = towers(copy, form="fp16")
    np.testing.assert_allclose(half.encode_image(pictures()), expected.encode_image(pictures()), atol=5e-3)
    np.testing.assert_allclose(half.encode_text(WORDS), expected.encode_text(WORDS), atol=5e-3)


def external(folder: Path, name: str = "vision_model.onnx_data") -> None:
    """Move the weights of the image tower into a file of their own."""
    import onnx

    path = folder / "onnx" / "vision_model.onnx"
    onnx.save(onnx.load(path), path, save_as_external_data=True, location=name, size_threshold=64)


def test_weights_beside_a_graph_are_used_and_counted(copy: Path) -> None:
    before, expected = towers(copy), towers(copy).encode_image(pictures())
    external(copy)
    beside = towers(copy)
    np.testing.assert_allclose(beside.encode_image(pictures()), expected, atol=1e-6)
    digest = beside.digest()
    assert digest != before.digest()
    data = copy / "onnx" / "vision_model.onnx_data"
    content = bytearray(data.read_bytes())
    content[100] ^= 1
    data.write_bytes(content)
    assert towers(copy).digest() != digest


def change(path: Path, **values: Any) -> None:
    found = json.loads(path.read_text())
    for name, value in values.items():
        found.pop(name, None) if value is None else found.update({name: value})
    path.write_text(json.dumps(found))


def test_settings_are_part_of_the_digest(copy: Path) -> None:
    first = towers(copy).digest()
    assert towers(copy).digest() == first != towers(copy).digest(prompt="a photo of {}")
    change(copy / "preprocessor_config.json", resample=2)
    assert towers(copy).digest() != first


def test_folders_that_will_not_do(copy: Path, tmp_path: Path) -> None:
    def refused(said: str, kind: type[Exception] = BadData, folder: Path = copy) -> None:
        with pytest.raises(kind, match=said):
            towers(folder).encode_image(pictures())

    (tmp_path / "empty").mkdir()
    refused("holds no dual encoder: of its 0 ONNX graphs", folder=tmp_path / "empty")
    graphs = {name: copy / "onnx" / f"{name}.onnx" for name in ("vision_model", "text_model")}
    content = {name: path.read_bytes() for name, path in graphs.items()}
    for name, path in graphs.items():
        path.unlink()
        side = "picture" if name == "vision_model" else "text"
        refused(rf"but no {side} tower beside it; fetch onnx/{name}\.onnx, too")
        path.write_bytes(content[name][:-200])
        refused(rf"{name}\.onnx is damaged or cut off; fetch it again")
        path.write_bytes(content[name])
    for file, said in (
        ("preprocessor_config.json", "how pictures are prepared"),
        ("tokenizer.json", "which makes tokens of texts"),
        ("tokenizer_config.json", "how texts are cut"),
        ("config.json", "what the model is"),
    ):
        kept = (copy / file).read_bytes()
        (copy / file).unlink()
        refused(rf"{file} is not there, which .*{said.removeprefix('which ')}", MissingData)
        (copy / file).write_bytes(b"{")
        refused(rf"{file} is (damaged|no tokenizer)")
        (copy / file).write_bytes(kept)
    graphs["text_model"].write_bytes(content["vision_model"])
    refused("is no tower of texts: it takes pixel_values")


def test_models_that_are_no_dual_encoders(copy: Path, tmp_path: Path) -> None:
    from checkpoints import export

    change(copy / "config.json", model_type="bert")
    with pytest.raises(
        BadData, match="holds a model of type 'bert'; dual encoders that run from ONNX here: clip"
    ):
        towers(copy)
    change(copy / "config.json", model_type="clip")
    model = made("clip")[0]
    pixels = torch.zeros(2, 3, 32, 32)
    path = copy / "onnx" / "vision_model.onnx"

    def unprojected(network: Any, values: Any) -> Any:
        return network.vision_model(values).pooler_output

    export(model, unprojected, {"pixel_values": pixels}, ["pooler_output"], path)
    with pytest.raises(
        BadData, match="it gives pooler_output, but not image_embeds or embedding; export it with"
    ):
        towers(copy).encode_image(pictures())
    export(model, unprojected, {"pixel_values": pixels}, ["image_embeds"], path)
    with pytest.raises(BadData, match="its picture tower gives 32 dimensions, its text tower 16"):
        towers(copy).encode_image(pictures())


def test_what_another_runtime_made_is_named(copy: Path) -> None:
    import onnx

    path = copy / "onnx" / "vision_model.onnx"
    graph = onnx.load(path)
    graph.opset_import[0].version = 999
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(BadData, match=r"cannot be run by ONNX Runtime .*999.*; export it with operators"):
        towers(copy).encode_image(pictures())


def test_weights_that_are_not_beside_their_graph(copy: Path) -> None:
    external(copy)
    data = copy / "onnx" / "vision_model.onnx_data"
    content = data.read_bytes()
    data.unlink()
    with pytest.raises(
        BadData, match=r"keeps its weights in vision_model\.onnx_data, which is not beside it"
    ):
        towers(copy)
    data.write_bytes(content[:100])
    with pytest.raises(BadData, match="cannot be run by ONNX Runtime"):
        towers(copy).encode_image(pictures())


def test_a_wrong_tokenizer_is_found(copy: Path, tmp_path: Path) -> None:
    path = copy / "tokenizer.json"
    kept = path.read_text()
    made("siglip")[1].save_pretrained(tmp_path / "other")
    path.write_bytes((tmp_path / "other" / "tokenizer.json").read_bytes())
    change(copy / "tokenizer_config.json", pad_token="[PAD]")
    with pytest.raises(BadData, match=r"is not this model's tokenizer: it has 9 tokens, the model 514"):
        towers(copy)
    change(copy / "config.json", text_config={"eos_token_id": 513, "max_position_embeddings": 77})
    with pytest.raises(BadData, match="it ends texts with token 3, the model with 513"):
        towers(copy)
    path.write_text(kept)
    change(copy / "tokenizer_config.json", pad_token="<|nothing|>")
    with pytest.raises(
        BadData, match=r"fills texts up with '<\|nothing\|>', which tokenizer\.json does not have"
    ):
        towers(copy)
    larger = json.loads(kept)
    larger["added_tokens"].append({**larger["added_tokens"][0], "id": 514, "content": "<more>"})
    path.write_text(json.dumps(larger))
    change(copy / "tokenizer_config.json", pad_token="<|endoftext|>")
    with pytest.raises(BadData, match="the text tower does not know its token 514"):
        towers(copy)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"image_processor_type": "JinaCLIPImageProcessor"}, "asks for JinaCLIPImageProcessor; known are"),
        ({"image_processor_type": None}, "asks for no kind of preparation"),
        ({"size": None}, "does not say size"),
        ({"size": {"shortest_edge": 0}}, "says 0 for size"),
        ({"size": {"shortest_edge": 32, "longest_edge": 64}}, "limits the longer side"),
        ({"resample": None}, "does not say resample"),
        ({"resample": 9}, "says 9 for resample; known are nearest"),
        ({"image_mean": [0.5]}, "must be a number a channel"),
        ({"image_std": [0, 1, 1]}, "by which values are divided"),
        ({"do_center_crop": False}, "leaves pictures in different shapes"),
        ({"do_pad": True}, "asks for do_pad True"),
        ({"crop_size": 24}, "takes pictures of 32 x 32 pixels, but the file that says .* makes them 24 x 24"),
    ],
)
def test_preparations_that_leave_something_open(copy: Path, values: dict[str, Any], said: str) -> None:
    change(copy / "preprocessor_config.json", **values)
    with pytest.raises(BadData, match=said):
        towers(copy).encode_image(pictures())


def test_parameters_are_checked(clip: Path) -> None:
    with pytest.raises(BadParameter, match="run on the processor; use auto or cpu, not 'cuda'"):
        towers(clip, device="cuda")
    with pytest.raises(BadParameter, match="at least 1"):
        towers(clip, batch_size=0)


def test_a_tower_that_minds_its_padding_gets_it(copy: Path) -> None:
    from checkpoints import export

    model = made("clip")[0]

    def mean(network: Any, ids: Any) -> Any:
        return network.text_projection(network.text_model.embeddings(ids).mean(dim=1))

    ids = torch.full((2, 77), 5)
    export(model, mean, {"input_ids": ids}, ["text_embeds"], copy / "onnx" / "text_model.onnx")
    found = towers(copy)
    words = found._texts.words
    cut = words.ids(WORDS)[0]
    filled = torch.tensor([ids + [words.pad] * (77 - len(ids)) for ids in cut])
    expected = mean(model, filled).detach().numpy()
    np.testing.assert_allclose(
        found.encode_text(WORDS), expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-4
    )


def test_graphs_that_scale_pictures_themselves_get_pixels(copy: Path) -> None:
    from checkpoints import export

    expected = towers(copy).encode_image(pictures())
    model = made("clip")[0]
    said = json.loads((copy / "preprocessor_config.json").read_text())
    mean, deviation = (torch.tensor(said[name]) for name in ("image_mean", "image_std"))

    def sees(network: Any, pixels: Any) -> Any:
        values = ((pixels.float() / 255 - mean) / deviation).permute(0, 3, 1, 2)
        return network.get_image_features(pixel_values=values).pooler_output

    pixels = torch.zeros(2, 32, 32, 3, dtype=torch.uint8)
    export(model, sees, {"pixel_values": pixels}, ["image_embeds"], copy / "onnx" / "vision_model.onnx")
    found = towers(copy)
    assert found.prepare_image(pictures()[0]).dtype == np.uint8
    np.testing.assert_allclose(found.encode_image(pictures()), expected, atol=1e-4)


def test_immichs_files_that_contradict_each_other(tmp_path: Path) -> None:
    for_immich(tmp_path, "siglip", made("siglip"), preprocess=SQUASH)
    change(tmp_path / "config.json", text_cfg={"context_length": 12})
    with pytest.raises(BadData, match=r"takes texts of 16 tokens, but the files beside it say 12"):
        towers(tmp_path)
    change(tmp_path / "config.json", text_cfg=None)
    with pytest.raises(BadData, match="has no text_cfg"):
        towers(tmp_path)
    change(tmp_path / "config.json", text_cfg={"context_length": 16})
    change(tmp_path / "visual" / "preprocess_cfg.json", size=32)
    with pytest.raises(BadData, match="takes pictures of 24 x 24 pixels"):
        towers(tmp_path).encode_image(pictures())
    (tmp_path / "visual" / "preprocess_cfg.json").unlink()
    with pytest.raises(MissingData, match=r"preprocess_cfg\.json is not there"):
        towers(tmp_path)
    (tmp_path / "visual" / "model.onnx").unlink()
    with pytest.raises(BadData, match=r"holds textual/model\.onnx but no picture tower beside it"):
        towers(tmp_path)


def test_a_graph_of_a_fixed_number_is_refused(copy: Path) -> None:
    from checkpoints import export

    def sees(network: Any, values: Any) -> Any:
        return network.get_image_features(pixel_values=values).pooler_output

    pixels = {"pixel_values": torch.zeros(4, 3, 32, 32)}
    export(made("clip")[0], sees, pixels, ["image_embeds"], copy / "onnx" / "vision_model.onnx", fixed=True)
    for count in (1, 3):
        with pytest.raises(
            BadData, match="takes a fixed number of items at a time; export it for any number"
        ):
            towers(copy).encode_image(pictures()[:count])
