from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych import catalogue
from diptych.data.base import Loaded, Protocol, Split, multi_hot, paired_in_order
from diptych.data.sets.planted import Planted
from diptych.data.views import HeldOut
from diptych.errors import BadData, BadParameter, TrainingError, UnknownName, UsageError
from diptych.evaluation import evaluate, score
from diptych.training.parameters import choose_parameters, parse_settings
from diptych.training.run import learning_parts, train

DATA = Planted(train=80, val=20, test=40)
QUICK: dict[str, Any] = {"hidden_dim": 16, "dim": 8, "epochs": 2, "lr": 1e-3}


class Fixed:
    """An encoder whose vectors are its features."""

    similarity = "dot"

    def encode_image(self, images: Any) -> Any:
        return np.asarray(images, np.float32)

    encode_text = encode_image


def test_settings_become_values() -> None:
    words = ["lr=1e-4", "epochs=3", "adversarial=false", "sizes=(3, 4)", "loss=tl", "clip-norm=None", "a=b=c"]
    assert parse_settings(words) == {
        "lr": 1e-4,
        "epochs": 3,
        "adversarial": False,
        "sizes": (3, 4),
        "loss": "tl",
        "clip_norm": None,
        "a": "b=c",
    }
    assert parse_settings(["margin=-inf"]) == {"margin": -np.inf}
    for wrong in ("lr", "=3"):
        with pytest.raises(BadParameter, match="key=value"):
            parse_settings([wrong])


@pytest.mark.parametrize("word", ["lr=nan", "lr=inf", "lr=1e999", "lr=-Infinity"])
def test_settings_that_are_not_finite_are_refused(word: str) -> None:
    with pytest.raises(BadParameter, match=r"lr of DSCMR must be finite like 0\.0001, not -?(nan|inf)"):
        catalogue.load("dscmr", **parse_settings([word]))


def test_sequences_of_settings_are_finite() -> None:
    class Sized:
        def __init__(self, sizes: tuple[float, ...] = (1.0, 2.0), limit: float = np.inf) -> None: ...

    assert catalogue.checked(Sized, {"limit": np.inf, "sizes": [1, 2]}) == {"limit": np.inf, "sizes": (1, 2)}
    with pytest.raises(BadParameter, match="sizes of Sized must be finite"):
        catalogue.checked(Sized, {"sizes": (1.0, np.nan)})


def test_parameters_are_variant_then_recipe_then_data_then_settings() -> None:
    learn = DATA.split("train")
    found = choose_parameters("dscmr", "wikipedia", learn, {"epochs": 7})
    assert found["image_scaling"] == "global"  # the recipe's
    assert (found["image_dim"], found["text_dim"], found["classes"]) == (32, 24, 5)
    assert found["epochs"] == 7
    assert "image_scaling" not in choose_parameters("dscmr", "planted", learn, {})
    tiny = catalogue.load("dscmr:tiny", **choose_parameters("dscmr:tiny", "wikipedia", learn, {}))
    assert tiny.hyperparameters["image_scaling"] == "standard"


def test_what_does_not_exist_is_refused_before_data_are_read(tmp_path: Path) -> None:
    class Unread(Planted):
        def split(self, name: str) -> Split:
            raise AssertionError("read")

    for name, settings, kind, said in (
        ("dscmr", {"epoch": 3}, BadParameter, "'epoch' of .*; did you mean epochs"),
        ("dscmr", {"epochs": "many"}, BadParameter, "must be a whole number like 500, not 'many'"),
        ("dscmr:papre", {}, UnknownName, "variant 'papre' of dscmr; did you mean paper"),
        ("dscrm", {}, UnknownName, "dscrm"),
    ):
        with pytest.raises(kind, match=said):
            train(name, Unread(), tmp_path, settings=settings)


def test_a_run_folder_holds_everything_and_repeats(tmp_path: Path) -> None:
    first = train("dscmr", DATA, tmp_path / "a", settings=QUICK, quiet=True, device="cpu", command="typed")
    again = train("dscmr", DATA, tmp_path / "b", settings=QUICK, quiet=True, device="cpu")
    assert first.metrics == again.metrics
    assert sorted(path.name for path in first.run.iterdir()) == [
        "card.json",
        "curves.png",
        "log.jsonl",
        "weights.safetensors",
    ]
    card = json.loads((first.run / "card.json").read_text())
    assert card["metrics"] == first.metrics
    assert (card["measure"], card["seed"], card["command"]) == ("MAP@ALL", 0, "typed")
    assert card["data"] == {"name": "planted", "sha256": DATA.split("train").sha256(), "pairs": 80}
    assert card["checkpoint"] == "chosen by split 'val'"
    assert "validation" in json.loads((first.run / "log.jsonl").read_text().splitlines()[0])
    assert evaluate(catalogue.load(str(first.run)), DATA).main() == first.metrics


def test_a_finished_run_is_not_overwritten(tmp_path: Path) -> None:
    train("dscmr", DATA, tmp_path, settings=QUICK, quiet=True, device="cpu")
    with pytest.raises(UsageError, match="holds a finished training; choose another folder"):
        train("dscmr", DATA, tmp_path, settings=QUICK, quiet=True, device="cpu")


def test_an_interrupted_run_goes_on_and_another_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diptych.training.learner import Learner

    def cut(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    whole = train("dscmr", DATA, tmp_path / "whole", settings=QUICK, quiet=True, device="cpu")
    with monkeypatch.context() as patch:
        patch.setattr(Learner, "save", cut)
        with pytest.raises(KeyboardInterrupt):
            train("dscmr", DATA, tmp_path / "cut", settings=QUICK, quiet=True, device="cpu")
    with pytest.raises(TrainingError, match="holds another training"):
        train("dscmr", DATA, tmp_path / "cut", settings={**QUICK, "dim": 9}, quiet=True, device="cpu")
    again = train("dscmr", DATA, tmp_path / "cut", settings=QUICK, quiet=True, device="cpu")
    assert again.learner.fingerprint == whole.learner.fingerprint


def test_without_a_validation_split_a_tenth_is_held_out() -> None:
    split = DATA.split("train")
    data = Loaded("own", {"train": split}, protocols={"all": Protocol("train", "train", "label")})
    learn, check, how = learning_parts(data, None, None)
    assert (len(learn), len(check)) == (72, 8)
    assert not set(learn.image_id or ()) & set(check.image_id or ())
    assert "8 images held out of 'train'" in how
    learn, check, how = learning_parts(DATA, "label", "test")
    assert (len(learn), len(check)) == (80, 40)


def test_what_was_learned_is_not_measured(tmp_path: Path) -> None:
    split = DATA.split("train")
    data = Loaded("own", {"all": split}, protocols={"all": Protocol("all", "all", "label", train="all")})
    done = train("dscmr", data, tmp_path / "run", settings=QUICK, quiet=True, device="cpu")
    assert {one.queries for one in done.evaluation.measured.values()} == {8}
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    held = HeldOut(data).split("held-out")
    assert card["held_out"] == {"of": "all", "images": 8, "sha256": held.sha256()}
    again = score(done.learner, held, held, "label")
    assert again == pytest.approx(card["metrics"])
    # Data that ask about another split than they learn from stay as they are.
    assert HeldOut.needed(data)
    assert not HeldOut.needed(DATA, "label")


def test_map_and_recall_worked_out_by_hand() -> None:
    # Scores of image 0 with the texts: .9 .5 .1; of image 1: .2 .3 .8; of image 2: .4 .7 .6
    image = np.array([[0.9, 0.5, 0.1], [0.2, 0.3, 0.8], [0.4, 0.7, 0.6]], np.float32)
    label = multi_hot([0, 0, 1], 2)
    split = Split(image, np.eye(3, dtype=np.float32), label, paired_in_order(3))
    found = score(Fixed(), split, split, "label")
    # ranked relevance: image 0: 1 1 0; image 1: 0 1 1; image 2: 0 1 0
    assert found["image to text"] == pytest.approx((1 + (1 / 2 + 2 / 3) / 2 + 1 / 2) / 3)
    # text 0 ranks images 0 2 1: 1 0 1; text 1: 2 0 1: 0 1 1; text 2: 1 2 0: 0 1 0
    assert found["text to image"] == pytest.approx(((1 + 2 / 3) / 2 + (1 / 2 + 2 / 3) / 2 + 1 / 2) / 3)
    pairs = score(Fixed(), split, split, "pair")
    assert pairs == {"image to text": pytest.approx(1 / 3), "text to image": pytest.approx(1 / 3)}


def test_a_constant_scorer_recalls_nothing() -> None:
    split = Split(np.ones((3, 2), np.float32), np.ones((3, 2), np.float32), None, paired_in_order(3))
    assert score(Fixed(), split, split, "pair") == {"image to text": 0, "text to image": 0}


def test_a_head_on_extracted_features_loads_as_a_chain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diptych.chain import Chain
    from diptych.testing.materials import drawn

    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))

    def seen(split: Split) -> Split:
        colours = np.stack([np.asarray(picture).mean(axis=(0, 1)) for picture in split.image])
        return Split(colours, split.text, split.label, split.pairs)

    learn, test = map(seen, drawn(train=40, test=12))
    data = Loaded(
        "drawn",
        {"train": learn, "val": test, "test": test},
        protocols={"label": Protocol("test", "test", "label", validation="val")},
    )
    settings = {"hidden_dim": 64, "dim": 16, "epochs": 60, "lr": 1e-2, "image_scaling": "standard"}
    found = train(
        "dscmr", data, tmp_path / "run", settings=settings, features="text=bow", quiet=True, device="cpu"
    )
    assert min(found.metrics.values()) > 0.9
    assert json.loads((tmp_path / "run" / "card.json").read_text())["features"] == {"text": "bow"}
    loaded = catalogue.load(str(tmp_path / "run"))
    assert isinstance(loaded, Chain)
    assert score(loaded, test, test, "label") == pytest.approx(found.metrics)


def test_standardised_features_are_standardised_again_by_what_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diptych.chain import Standard
    from diptych.testing.materials import drawn

    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))
    learn, test = drawn(train=40, test=12)
    data = Loaded(
        "drawn",
        {"train": learn, "val": test, "test": test},
        protocols={"label": Protocol("test", "test", "label", validation="val")},
    )
    run = tmp_path / "run"
    found = train(
        "lsh", data, run, features="image=builtin_image,text=bow", standardise=True,
        settings={"bits": 32}, quiet=True, device="cpu",
    )  # fmt: skip
    seen = np.asarray(found.dataset.split("train").text)
    np.testing.assert_allclose(seen.mean(axis=0), 0, atol=1e-5)
    deviations = seen.std(axis=0)
    assert np.all((abs(deviations - 1) < 1e-4) | (deviations == 0))  # a constant feature becomes 0
    loaded = catalogue.load(str(run))
    assert isinstance(loaded.image, Standard)
    assert loaded.image.image_size == loaded.image.inner.image_size
    own = found.learner.encode_text(found.dataset.split("test").text)
    np.testing.assert_array_equal(loaded.encode_text(test.text), own)
    assert score(loaded, test, test, "label") == pytest.approx(found.metrics)
    (run / "features" / "scale.npz").write_bytes(b"damaged")
    with pytest.raises(BadData, match=r"scale\.npz is damaged"):
        catalogue.load(str(run))
    with pytest.raises(UsageError, match="only extracted features are standardised"):
        train("lsh", data, tmp_path / "other", standardise=True, quiet=True)


def test_raw_pictures_for_a_head_say_what_is_missing(tmp_path: Path) -> None:
    from diptych.testing.materials import drawn

    learn, test = drawn(train=8, test=4)
    data = Loaded("drawn", {"train": learn, "test": test})
    with pytest.raises(UsageError, match="extract features first, by an extractor or encoder") as caught:
        train("dscmr", data, tmp_path, quiet=True)
    assert caught.value.argument == "features"


def test_data_without_classes_make_each_image_its_own(tmp_path: Path) -> None:
    from diptych.training import run as training

    whole = Planted(train=30, captions=2).split("train")
    bare = Split(whole.image, whole.text, None, whole.pairs)
    found, how = training.labelled("dscmr", bare)
    assert np.array_equal(found.label, np.eye(30))
    assert found.text_label is not None
    assert found.text_label.argmax(axis=1).tolist() == np.repeat(np.arange(30), 2).tolist()
    assert how == "each image is a class of its own"
    assert training.labelled("dscmr", whole) == (whole, "as in the data")
    data = Loaded("own", {"train": bare, "test": bare})
    settings = {"hidden_dim": 64, "dim": 32, "epochs": 80, "lr": 3e-3}
    done = train("dscmr", data, tmp_path, settings=settings, protocol="test", quiet=True, device="cpu")
    assert done.measure == "R@1"
    assert min(done.metrics.values()) > 0.2  # chance is 1 in 30
    assert json.loads((tmp_path / "card.json").read_text())["labels"] == how


def test_too_many_images_without_classes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from diptych.training import run as training

    monkeypatch.setattr(training, "_MOST_CLASSES", 10)
    whole = Planted(train=11).split("train")
    with pytest.raises(UsageError, match="these 11 images have none"):
        training.labelled("dscmr", Split(whole.image, whole.text, None, whole.pairs))


def test_what_is_not_trained_by_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "named_by", lambda card: Fixed)
    with pytest.raises(UsageError, match="dscmr is not trained, it has no fit"):
        choose_parameters("dscmr", "planted", DATA.split("train"), {})


@pytest.mark.parametrize("system", ["team:tiny", "ieft:tiny"])
def test_a_loaded_run_ranks_as_the_one_that_was_trained(
    system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diptych.testing.materials import drawn

    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))
    learn, test = drawn(train=40, test=12)
    data = Loaded(
        "drawn",
        {"train": learn, "val": test, "test": test},
        protocols={"pair": Protocol("test", "test", "pair", validation="val")},
    )
    run = tmp_path / "run"
    found = train(
        system, data, run, features="image=builtin_image,text=bow", settings={"epochs": 2},
        quiet=True, device="cpu",
    )  # fmt: skip
    loaded = catalogue.load(str(run))
    assert score(loaded, test, test, "pair") == pytest.approx(found.metrics)
    pairs = np.array([[0, 1], [3, 2]])
    split = found.dataset.split("test")
    np.testing.assert_allclose(
        loaded.score_pairs(test.image, test.text, pairs),
        found.learner.score_pairs(split.image, split.text, pairs),
        rtol=1e-4,
    )
    assert hasattr(loaded, "encode_image") == (system == "team:tiny")
    assert getattr(loaded, "rerank_depth", 0) == getattr(found.learner, "rerank_depth", 0)


def test_a_run_of_the_same_items_with_other_features_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diptych.training.learner import Learner

    def cut(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    def data(train: Split, val: Split) -> Loaded:
        parts = {"train": train, "val": val, "test": DATA.split("test")}
        return Loaded("own", parts, protocols={"label": Protocol("test", "test", "label", validation="val")})

    own, val = DATA.split("train"), DATA.split("val")
    with monkeypatch.context() as patch:
        patch.setattr(Learner, "save", cut)
        with pytest.raises(KeyboardInterrupt):
            train("dscmr", data(own, val), tmp_path, settings=QUICK, quiet=True, device="cpu")
    others = [replace(split, image=np.asarray(split.image) + np.float32(1e-6)) for split in (own, val)]
    assert others[0].sha256() == own.sha256()  # ids, labels and pairs are the same
    for changed in (data(others[0], val), data(own, others[1])):
        with pytest.raises(TrainingError, match="holds another training"):
            train("dscmr", changed, tmp_path, settings=QUICK, quiet=True, device="cpu")
    train("dscmr", data(own, val), tmp_path, settings=QUICK, quiet=True, device="cpu")


def test_a_name_is_no_data_set(tmp_path: Path) -> None:
    for call in (
        lambda: train("dscmr:tiny", "planted", tmp_path / "run"),
        lambda: evaluate(object(), "planted"),
    ):
        with pytest.raises(UsageError, match=r"must be a data set, not 'planted'; .*open_data gives one"):
            call()
