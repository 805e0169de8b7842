"""Settings chosen on validation data: which are tried, which is taken, what is learned from at the end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diptych import catalogue
from diptych.data.base import Loaded, Protocol, Split
from diptych.data.sets.planted import Planted
from diptych.errors import TrainingError
from diptych.evaluation import score
from diptych.systems.real_valued.dscmr import DSCMR
from diptych.training import run as training
from diptych.training.choosing import choose, open_grid
from diptych.training.run import learning_parts, train
from diptych.training.trainer import Trainer

QUIET: dict[str, Any] = {"quiet": True, "device": "cpu"}


def without_validation(**parts: Any) -> Loaded:
    """Planted data to learn from and to ask, and nothing else."""
    data = Planted(**{"train": 100, "val": 0, "test": 60, **parts})
    splits = {name: data.split(name) for name in ("train", "test")}
    return Loaded("own", splits, protocols={"label": Protocol("test", "test", "label")})


def test_the_best_of_all_combinations_is_taken() -> None:
    values = {(1, "a"): 0.1, (1, "b"): 0.4, (2, "a"): 0.3, (2, "b"): 0.2}
    asked: list[int] = []

    def validated(number: int, settings: Mapping[str, Any]) -> float:
        asked.append(number)
        return values[settings["n"], settings["s"]]

    found = choose({"n": (1, 2), "s": ("a", "b")}, {"n": 2, "s": "b", "other": 3}, validated)
    assert (found.settings, found.value, asked) == ({"n": 1, "s": "b"}, 0.4, [0, 1, 2, 3])
    assert found.tried[0] == ({"n": 2, "s": "b"}, 0.2)  # the default comes first
    assert {tuple(settings.values()): value for settings, value in found.tried} == values


def test_among_equals_the_default_is_taken_and_else_the_first() -> None:
    assert choose({"n": (1, 2, 3)}, {"n": 2}, lambda *_: 0.5).settings == {"n": 2}
    assert choose({"n": (1, 2, 3)}, {"n": 9}, lambda *_: 0.5).settings == {"n": 1}


def test_a_training_that_cannot_go_on_is_told_and_the_others_are_tried() -> None:
    def validated(_: int, settings: Mapping[str, Any]) -> float:
        if settings["lr"] > 1:
            raise TrainingError("it became nan")
        return -float(settings["lr"])

    found = choose({"lr": (10.0, 1.0, 0.1)}, {}, validated)
    assert found.settings == {"lr": 0.1}
    assert found.tried[0] == ({"lr": 10.0}, "it became nan")
    with pytest.raises(TrainingError, match="it became nan"):
        choose({"lr": (10.0, 20.0)}, {}, validated)


def test_what_variant_or_user_set_is_not_chosen() -> None:
    assert set(open_grid("cca", {})) == {"ridge", "dim"}
    assert set(open_grid("cca", {"dim": 3})) == {"ridge"}
    assert set(open_grid("cca:tiny", {})) == {"ridge"}
    assert not open_grid("cca", {"dim": 3, "ridge": 0.1})
    assert not open_grid("random", {})


def test_a_solved_system_is_chosen_without_the_asked_and_learns_from_all(tmp_path: Path) -> None:
    data = without_validation()
    done = train("cca", data, tmp_path / "run", **QUIET)
    learn, check, how = learning_parts(data, None, None)
    grid = catalogue.load("cca").choices  # type: ignore[attr-defined]
    values = {}
    for ridge in grid["ridge"]:
        for dim in grid["dim"]:
            one = catalogue.load("cca", ridge=ridge, dim=dim).fit(learn, Trainer(seed=0, **QUIET))
            values[ridge, dim] = float(np.mean(list(score(one, check, check, "label").values())))
    best = max(values.values())
    chosen = done.chosen["settings"]
    assert done.chosen["value"] == pytest.approx(best) == values[chosen["ridge"], chosen["dim"]]
    assert len({round(value, 9) for value in values.values()}) > 5
    assert done.chosen["by"] == "10 images held out of 'train'"
    assert how == f"chosen by {done.chosen['by']}"
    # Solved anew, from all that there is to learn from.
    whole = catalogue.load("cca", **chosen).fit(data.split("train"), Trainer(seed=0, **QUIET))
    assert done.learner.fingerprint == whole.fingerprint
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    assert card["data"]["pairs"] == 100
    assert card["checkpoint"] == "solved at once from all of 'train'"
    assert card["chosen"]["settings"] == chosen == {key: card["parameters"][key] for key in chosen}
    assert len(card["chosen"]["tried"]) == 24
    assert not (tmp_path / "run" / "candidates").exists()


def test_where_nothing_is_to_be_chosen_nothing_is_held_out(tmp_path: Path, monkeypatch: Any) -> None:
    def held(*_: object, **__: object) -> float:
        raise AssertionError("validated")

    monkeypatch.setattr(training, "score", held)
    data = without_validation()
    fixed: dict[str, dict[str, Any]] = {"cca": {"dim": 4, "ridge": 0.5}, "random": {}}
    for name, settings in fixed.items():
        done = train(name, data, tmp_path / name, settings=settings, **QUIET)
        assert not done.chosen
        assert "chosen" not in json.loads((tmp_path / name / "card.json").read_text())
        same = catalogue.load(name, **settings).fit(data.split("train"), Trainer(seed=0, **QUIET))
        assert done.learner.fingerprint == same.fingerprint


def test_a_named_validation_split_chooses_and_is_never_learned_from(tmp_path: Path) -> None:
    data = Planted(train=100, val=40, test=60)
    done = train("ridge", data, tmp_path / "run", **QUIET)
    assert done.chosen["by"] == "split 'val'"
    settings = done.chosen["settings"]
    same = catalogue.load("ridge", **settings).fit(data.split("train"), Trainer(seed=0, **QUIET))
    assert done.learner.fingerprint == same.fingerprint


def test_settings_are_not_chosen_by_what_is_asked(tmp_path: Path) -> None:
    whole = Planted(train=100).split("train")
    data = Loaded("own", {"all": whole}, protocols={"all": Protocol("all", "all", "label", train="all")})
    done = train("pls", data, tmp_path / "run", **QUIET)
    assert done.held_out["images"] == 10
    assert done.chosen["by"] == "9 images held out of 'learned'"
    named = train("pls", data, tmp_path / "named", validation="all", **QUIET)
    assert named.chosen["by"] == "split 'all'"


def test_a_trained_system_with_a_grid_keeps_what_it_chooses_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DSCMR, "choices", {"lr": (1e-7, 3e-3)})
    data = without_validation()
    quick = {"hidden_dim": 16, "dim": 8, "epochs": 5}
    done = train("dscmr", data, tmp_path / "run", settings=quick, **QUIET)
    assert done.chosen["settings"] == {"lr": 3e-3}
    fixed = train("dscmr", data, tmp_path / "fixed", settings={**quick, "lr": 3e-3}, **QUIET)
    assert not fixed.chosen
    assert fixed.learner.fingerprint == done.learner.fingerprint
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    assert card["data"]["pairs"] == 90
    assert card["checkpoint"] == f"chosen by {done.chosen['by']}"


def test_an_interrupted_choice_goes_on_with_what_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DSCMR, "choices", {"lr": (1e-3, 3e-3)})
    data, quick = without_validation(), {"hidden_dim": 16, "dim": 8, "epochs": 2}
    whole = train("dscmr", data, tmp_path / "whole", settings=quick, **QUIET)
    steps: list[float] = []
    step = Trainer.step

    def counted(trainer: Trainer, *arguments: Any, **more: Any) -> None:
        steps.append(1)
        if len(steps) == 3:  # in the second candidate: one step an epoch
            raise KeyboardInterrupt
        step(trainer, *arguments, **more)

    monkeypatch.setattr(Trainer, "step", counted)
    with pytest.raises(KeyboardInterrupt):
        train("dscmr", data, tmp_path / "cut", settings=quick, **QUIET)
    again = train("dscmr", data, tmp_path / "cut", settings=quick, **QUIET)
    assert len(steps) == 3 + 2 + 2  # the second candidate, and the final training
    assert again.chosen == whole.chosen
    assert again.learner.fingerprint == whole.learner.fingerprint


def test_directions_are_limited_by_the_items(tmp_path: Path) -> None:
    split = Planted(train=6, captions=2).split("train")
    for name in ("cca", "pls"):
        few = catalogue.load(name).fit(split)
        assert few.encode_image(split.image).shape == (6, 5)
        few.save(tmp_path / name)
        again = catalogue.load(str(tmp_path / name))
        assert again.fingerprint == few.fingerprint
    for name in ("lsh", "cca_itq"):
        codes = catalogue.load(name, bits=32).fit(split).encode_text(split.text)
        assert codes.shape == (12, 32)


def test_hidden_labels_choose_by_pairs(tmp_path: Path) -> None:
    data = without_validation(captions=2)
    bare = {name: replace(part, label=None, text_label=None) for name, part in data.parts.items()}
    pairs = Loaded("own", bare, protocols={"pair": Protocol("test", "test", "pair")})
    done = train("ridge", pairs, tmp_path / "run", **QUIET)
    assert done.chosen["measure"] == "R@1"
    # Each image is a class of its own: ninety to choose, all hundred in the end.
    assert done.learner.hyperparameters["classes"] == 100
    assert isinstance(done.dataset.split("train"), Split)
