"""Trains a system on a data set into a run folder, and evaluates it in both directions.

What `diptych train` and the benchmark share. Parameters come from three places, later over earlier: the
variant, the recipe for the data set, and what the user sets; the data decide the dimensions.
"""

from __future__ import annotations

import ast
import importlib
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from diptych import catalogue
from diptych.chain import Standard, join
from diptych.data.base import Dataset, Split, hold_out, input_kind
from diptych.data.views import Featured, HeldOut, Standardised
from diptych.errors import BadParameter, UnknownName, UsageError
from diptych.evaluation import Evaluation, evaluate, measure_of, score
from diptych.features import named

__all__ = [
    "Trained",
    "choose_parameters",
    "labelled",
    "learning_parts",
    "parse_settings",
    "train",
    "train_builtin",
]


# A matrix of images by classes has a byte for each: 400 MB.
_MOST_CLASSES = 20_000


@dataclass(frozen=True)
class Trained:
    """What came out of a training.

    Args:
        run: The run folder.
        learner: The trained system, a `Learner` or the built-in model.
        dataset: The data as the learner saw them, features in place of pictures and texts.
        seed: Its seed.
        metrics: Measure by direction ("image to text", "text to image") on the protocol's test data.
        measure: What was measured, such as "MAP@ALL" or "R@1".
        evaluation: All that was measured.
        epochs: How many were run.
        seconds: How long they took.
    """

    run: Path
    learner: Any
    dataset: Dataset
    seed: int
    metrics: Mapping[str, float]
    measure: str
    epochs: int
    seconds: float
    evaluation: Evaluation
    held_out: Mapping[str, Any] = field(default_factory=dict)


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """Values by name from words like ``lr=1e-4``: numbers, true, false, none, tuples, else text.

    Raises:
        BadParameter: a word without "=".
    """
    found: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise BadParameter(f"--set takes key=value, such as lr=1e-4, not {setting!r}")
        found[key.strip().replace("-", "_")] = _value(text.strip())
    return found


def choose_parameters(
    name: str,
    dataset: str,
    train: Split,
    settings: Mapping[str, Any],
    *,
    facts: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """All hyper-parameters that differ from the constructor's defaults.

    Args:
        name: ``system[:variant]``.
        dataset: Name of the data set, for its recipe.
        train: Decides the dimensions.
        settings: What the user sets.
        facts: What else the data say, such as the number of word pieces.

    Raises:
        UnknownName: no such system or variant.
        UsageError: the system is not trained by `fit`.
        BadParameter: a setting that the system does not have, or of the wrong type.
    """
    from diptych.training.learner import dimensions

    parts = catalogue.parse(name)
    module, system = _system(parts.system)
    if parts.variant is not None and parts.variant not in module.VARIANTS:
        raise UnknownName(f"variant of {parts.system}", parts.variant, module.VARIANTS)
    variant = module.VARIANTS[parts.variant or next(iter(module.VARIANTS))]
    # A recipe is what the paper changes for a data set; variants other than the first bring their own values.
    recipe = module.RECIPES.get(dataset, {}) if parts.variant in (None, next(iter(module.VARIANTS))) else {}
    fields = system.__dataclass_fields__
    said = {**dimensions(train), **(facts or {})}
    shape = {key: value for key, value in said.items() if key in fields}
    return catalogue.checked(system, {**variant, **recipe, **shape, **settings})


def learning_parts(
    dataset: Dataset, protocol: str | None, validation: str | None
) -> tuple[Split, Split, str]:
    """What to learn from, what to choose the epoch by, and a sentence about the latter.

    Args:
        dataset: The data.
        protocol: Its default, if None.
        validation: A split to choose by; None takes the protocol's, or else one image in ten of the training
            data, which are then not learned from.
    """
    chosen = dataset.protocol(protocol)
    train, name = dataset.split(chosen.train), validation or chosen.validation
    if name:
        return train, dataset.split(name), f"chosen by split {name!r}"
    learned, held = hold_out(train)
    return learned, held, f"chosen by {len(held)} images held out of {chosen.train!r}"


def labelled(name: str, learn: Split) -> tuple[Split, str]:
    """Training data with the labels that a system asks for, and a sentence about where they come from.

    A user's captioned pictures have no classes. A system that learns from classes then learns with each
    image, and its texts, as a class of its own: what belongs together is what is paired.

    Raises:
        UsageError: there are too many images for that.
    """
    _, system = _system(catalogue.parse(name).system)
    if learn.label is not None or "classes" not in system.__dataclass_fields__:
        return learn, "as in the data"
    if len(learn.image) > _MOST_CLASSES:
        raise UsageError(
            f"{name} learns from classes, and these {len(learn.image)} images have none; as classes of their "
            f"own there may be at most {_MOST_CLASSES}. Take a system that learns from pairs, or label them"
        )
    return replace(learn, label=np.eye(len(learn.image), dtype=np.uint8)), "each image is a class of its own"


def train(
    name: str,
    dataset: Dataset,
    run: Path,
    *,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    features: str | None = None,
    standardise: bool = False,
    protocol: str | None = None,
    validation: str | None = None,
    command: str = "",
    **options: Any,
) -> Trained:
    """Train one system with one seed into a run folder, or go on where that folder stands, and evaluate it.

    Args:
        name: ``system[:variant]``.
        dataset: The data.
        run: Gets card, weights, log and curves.
        settings: Hyper-parameters over those of variant and recipe.
        seed: Decides weights, order and every draw.
        features: What turns pictures and texts into features, see `diptych.features.named`; None takes what
            the variant reads (pixels, for a network of pictures), or else trains on what the data set has.
        standardise: Give each extracted feature the mean 0 and the deviation 1 over the training items.
        protocol, validation: See `learning_parts`.
        command: What the user typed, for the card.
        options: Of `diptych.training.trainer.Trainer`.

    Raises:
        UsageError: the folder holds a finished training, the data are not of the system's kind, or there are
            no extracted features to standardise.
        BadParameter, UnknownName, TrainingError: see `choose_parameters` and `Trainer`.
    """
    from diptych.training.trainer import Trainer

    if (run / "card.json").exists():
        raise UsageError(f"{run} holds a finished training; choose another --out or remove it")
    if validation is None and HeldOut.needed(dataset, protocol):
        dataset, protocol = HeldOut(dataset, protocol), None
    held_out = _held_out(dataset)
    chosen = dataset.protocol(protocol)
    names = _readers(name, dataset, features, settings or {}, chosen.train)
    if standardise and not names:
        raise UsageError(
            "--standardise is for extracted features; name some with --features, or leave it out"
        )
    if names:
        dataset = Featured(dataset, names)
    if standardise:
        sides = [side for side in _of_features(dataset.split(chosen.train)) if side in names]
        dataset = standard = Standardised(dataset, chosen.train, sides)
        scaled = {side: Standard(names[side], scale) for side, scale in standard.scales.items()}
        names = {**names, **scaled}
    learn, check, how = learning_parts(dataset, protocol, validation)
    learn, labels = labelled(name, learn)
    words: Any = names.get("text")
    facts = {"vocabulary": words.vocabulary_size} if hasattr(words, "vocabulary_size") else {}
    parameters = choose_parameters(name, dataset.name, learn, settings or {}, facts=facts)
    learner: Any = catalogue.load(name, seed=seed, **parameters)
    learner.check(learn)
    read = {side: catalogue.name_of(one) for side, one in names.items()}
    identity = json.dumps([name, learner.hyperparameters, dataset.name, read, learn.sha256()], default=str)
    trainer = Trainer(
        run,
        seed=seed,
        identity=identity,
        validate=lambda: _mean(score(learner, check, check, chosen.relevance)),
        **options,
    )
    learner.fit(learn, trainer)
    found = evaluate(learner, dataset, protocol, rank=False, facts={"seed": seed})
    if trainer.main:
        trainer.draw()
        catalogue.save(
            join(learner, **names) if names else learner,
            run,
            variant=catalogue.parse(name).variant or "paper",
            seed=seed,
            data={"name": dataset.name, "sha256": learn.sha256(), "pairs": len(learn.pairs)},
            labels=labels,
            checkpoint=how,
            steps=trainer.steps,
            measure=measure_of(chosen.relevance),
            metrics=found.main(),
            command=command,
            **({"held_out": held_out} if held_out else {}),
        )
        # They only serve to go on, and the card says that nothing is left to do.
        shutil.rmtree(run / "checkpoints")
    seconds = sum(entry["seconds"] for entry in trainer.history)
    metrics = found.main()
    epochs = len(trainer.history)
    measure = measure_of(chosen.relevance)
    return Trained(run, learner, dataset, seed, metrics, measure, epochs, seconds, found, held_out)


def _readers(
    name: str, dataset: Dataset, features: str | None, settings: Mapping[str, Any], train: str
) -> dict[str, Any]:
    """The extractors asked for, by side, and on other sides those that the variant reads through by itself.

    A system's module may say in `FEATURES` through what each variant reads, such as
    ``{"cnn_f": "image=pixels,text=bow"}``; a name in braces is the value of that hyper-parameter.

    Raises:
        UsageError: that hyper-parameter is not set.
    """
    made = named(features) if features else {}
    parts = catalogue.parse(name)
    module = _system(parts.system)[0]
    usual: str = getattr(module, "FEATURES", {}).get(parts.variant, "")
    values = {**module.VARIANTS.get(parts.variant, {}), **settings}
    learn = dataset.split(train)
    for part in filter(None, usual.split(",")):
        side = part.partition("=")[0]
        if side in made or isinstance(getattr(learn, side), np.ndarray):
            continue
        try:
            made |= named(part.format_map(values))
        except KeyError as error:
            raise UsageError(f"{name} needs --set {error.args[0]}=..., see `diptych info {name}`") from None
    return made


def _held_out(dataset: Dataset) -> dict[str, Any]:
    """What a card says of the images that were kept to measure by."""
    if not isinstance(dataset, HeldOut):
        return {}
    held = dataset.split("held-out")
    return {"of": dataset.of, "images": len(held), "sha256": held.sha256()}


def _of_features(split: Split) -> list[str]:
    """The sides that hold features; pixels and tokens have no scale to change."""
    sides = {side: getattr(split, side) for side in ("image", "text")}
    return [
        s for s, value in sides.items() if isinstance(value, np.ndarray) and input_kind(value) == "features"
    ]


def train_builtin(
    dataset: Dataset,
    run: Path,
    *,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    protocol: str | None = None,
    command: str = "",
) -> Trained:
    """Train heads of the built-in model on captioned pictures into a run folder, and evaluate them.

    Args:
        dataset, run, seed, protocol, command: As for `train`.
        settings: `epochs` or `batch_size`.

    Raises:
        UsageError: the folder holds a finished training, or the data are too few.
        BadParameter: another setting, or of the wrong type.
    """
    from diptych.builtin.train import train as train_heads

    if (run / "card.json").exists():
        raise UsageError(f"{run} holds a finished training; choose another --out or remove it")
    allowed = {"epochs": 14, "batch_size": 1024}
    for key, value in (settings or {}).items():
        if key not in allowed:
            raise BadParameter(str(UnknownName("parameter of builtin", key, allowed)))
        if type(value) is not int or value < 1:
            raise BadParameter(f"{key} of builtin must be a positive int like {allowed[key]}, not {value!r}")
    if HeldOut.needed(dataset, protocol):
        dataset, protocol = HeldOut(dataset, protocol), None
    chosen = dataset.protocol(protocol)
    learn = dataset.split(chosen.train)
    held_out = _held_out(dataset)
    started = time.perf_counter()
    facts = {
        **({"held_out": held_out} if held_out else {}),
        "seed": seed,
        "data": {"name": dataset.name, "sha256": learn.sha256(), "pairs": len(learn.pairs)},
        "command": command,
    }
    train_heads(learn, run, seed=seed, facts=facts, **(settings or {}))
    seconds = time.perf_counter() - started
    system = catalogue.load(f"builtin@{run}")
    epochs = int((settings or {}).get("epochs", allowed["epochs"]))
    found = evaluate(system, dataset, protocol, rank=False, facts={"seed": seed})
    measure = measure_of(chosen.relevance)
    return Trained(run, system, dataset, seed, found.main(), measure, epochs, seconds, found, held_out)


def _system(name: str) -> tuple[Any, Any]:
    """Module and class of a system that is trained by `fit`."""
    from diptych.training.learner import Learner

    module = importlib.import_module(catalogue.card("system", name).module)
    system = getattr(module, module.__all__[0])
    if not (isinstance(system, type) and issubclass(system, Learner)):
        raise UsageError(f"{name} is not trained by `diptych train`; see `diptych info {name}`")
    return module, system


def _mean(metrics: Mapping[str, float]) -> float:
    return sum(metrics.values()) / len(metrics)


def _value(text: str) -> Any:
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
