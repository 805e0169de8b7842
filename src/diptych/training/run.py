"""Trains a system on a data set into a run folder, and evaluates it in both directions.

What `diptych train` and the benchmark share. The data are seen in this order, so that nothing has looked at
what is measured on:

1. Where the protocol asks about the very split that it learns from, one image in ten is held out to measure
   by (`HeldOut`).
2. Extractors turn pictures and texts into features; those that learn (a vocabulary) learn from what is left
   of the training split (`Featured`).
3. The features are standardised over the same items (`Standardised`).
4. A tenth of the training split is kept to choose the epoch by, and the settings that a system wants chosen
   (`Learner.choices`), unless the data have a split for that. What is solved at once has no epochs: it then
   learns from the whole training split, with the settings chosen.
5. Where a system learns from classes and there are none, each image becomes a class of its own.
"""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diptych import catalogue
from diptych.catalogue.extractors import named
from diptych.chain import Standard, join
from diptych.core import offered
from diptych.data.base import Dataset, Split, as_dataset, hold_out, input_kind
from diptych.data.legible import Legible
from diptych.data.views import Featured, HeldOut, Standardised
from diptych.errors import TrainingError, UsageError
from diptych.evaluation import Evaluation, evaluate, measure_of, score
from diptych.training.choosing import Choice, choose, open_grid
from diptych.training.parameters import choose_parameters, module_of, takes, trained_kind

if TYPE_CHECKING:
    from diptych.training.trainer import Trainer

__all__ = ["Trained", "labelled", "learning_parts", "train"]


# A matrix of images by classes has a byte for each: 400 MB.
_MOST_CLASSES = 20_000

# Trainings that settings are chosen by, within the run folder.
_CANDIDATES = "candidates"
_QUIETLY = {"quiet": True, "tensorboard": False}


@dataclass(frozen=True)
class Trained:
    """What came out of a training.

    Args:
        run: The run folder.
        learner: The trained system, without the extractors that it learned through.
        dataset: The data as the learner saw them, features in place of pictures and texts.
        seed: Its seed.
        metrics: Measure by direction ("image to text", "text to image") on the protocol's test data.
        measure: What was measured, such as "MAP@ALL" or "R@1".
        epochs: How many were run.
        seconds: How long they took.
        evaluation: All that was measured.
        held_out: What is known of the images that were kept to measure by; empty if the data have a split
            for that.
        chosen: Which settings were chosen on validation data, from what and by what, see `Choice.as_dict`;
            empty if none were.
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
    chosen: Mapping[str, Any] = field(default_factory=dict)

    @property
    def read(self) -> Mapping[str, Any]:
        """What was used of the data and what was left out, see `Report.as_dict`; empty if nobody counted."""
        found: Mapping[str, Any] = self.evaluation.facts.get("read", {})
        return found

    def as_dict(self) -> dict[str, Any]:
        """What was trained and how well it does, as JSON has it; seconds with one digit."""
        return {
            "run": str(self.run),
            "seed": self.seed,
            "measure": self.measure,
            **self.metrics,
            "epochs": self.epochs,
            "seconds": round(self.seconds, 1),
            **({"chosen": dict(self.chosen)} if self.chosen else {}),
        }


def train(
    name: str,
    dataset: Dataset,
    run: str | Path,
    *,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    features: str | None = None,
    standardise: bool = False,
    protocol: str | None = None,
    validation: str | None = None,
    strict: bool = False,
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
        features: What turns pictures and texts into features, see `diptych.catalogue.extractors.named`; None
            takes what the variant reads (pixels, for a network of pictures), or else trains on what the data
            set has.
        standardise: Give each extracted feature the mean 0 and the deviation 1 over the training items.
        protocol, validation: See `learning_parts`.
        strict: Refuse a picture that cannot be read. Otherwise it is left out with the texts that are its
            alone, and counted in the card.
        command: What the user typed, for the card.
        options: Of `diptych.training.trainer.Trainer`.

    Raises:
        ImageError: a picture cannot be read, and `strict`.
        UsageError: the folder holds a finished training, the data are not of the system's kind, or there are
            no extracted features to standardise.
        BadParameter, UnknownName, TrainingError: see `choose_parameters` and `Trainer`.
    """
    from diptych.training.trainer import Trainer

    dataset, run = as_dataset(dataset), Path(run)
    if (run / "card.json").exists():
        raise UsageError(
            f"{run} holds a finished training; choose another folder or remove it", argument="run"
        )
    chosen = dict(settings or {})
    # The catalogue checks all parameters; what the user says is checked before pictures are read for hours.
    kind = trained_kind(name)
    catalogue.checked(kind, chosen)
    catalogue.variant(name)
    if offered(kind, "prepare_image") is not None:
        dataset = Legible(dataset, kind, protocol=protocol, strict=strict)
    seen = _seen(name, dataset, chosen, features, standardise, protocol, validation, strict)
    relevance = seen.dataset.protocol(seen.protocol).relevance

    def fitted(lesson: _Lesson, some: Mapping[str, Any], folder: Path, **more: Any) -> tuple[Any, Trainer]:
        learner, check = _built(name, seen, lesson, some, seed), lesson.check
        trainer = Trainer(
            folder,
            seed=seed,
            identity=_identity(name, learner, seen, lesson),
            validate=None if check is None else lambda: _mean(score(learner, check, check, relevance)),
            **{**options, **more},
        )
        learner.fit(lesson.learn, trainer)
        return learner, trainer

    lesson = _lesson(name, seen, validation)
    grid = open_grid(name, _parameters(name, seen, lesson, chosen))
    choice: Choice | None = None
    if grid:
        lesson = _lesson(name, seen, validation, unasked=True)

        def validated(number: int, some: Mapping[str, Any]) -> float:
            found = fitted(lesson, {**chosen, **some}, run / _CANDIDATES / str(number), **_QUIETLY)
            best = found[1].best
            if best is None:
                raise TrainingError(f"{name} validates nothing, so its settings cannot be chosen; set them")
            return best

        choice = choose(grid, _defaults(kind), validated)
        chosen |= choice.settings
    by = lesson.checkpoint
    if getattr(kind, "solved", False):
        lesson = _whole(name, seen)
    learner, trainer = fitted(lesson, chosen, run)
    found = evaluate(learner, seen.dataset, seen.protocol, rank=False, strict=strict, facts={"seed": seed})
    measure = measure_of(relevance)
    done = Trained(
        run,
        learner,
        seen.dataset,
        seed,
        found.main(),
        measure,
        len(trainer.history),
        sum(entry["seconds"] for entry in trainer.history),
        found,
        seen.held_out,
        choice.as_dict(measure, by.removeprefix("chosen by ")) if choice else {},
    )
    if trainer.main:
        _write(done, trainer, name, seen, lesson, command)
    return done


def learning_parts(
    dataset: Dataset, protocol: str | None, validation: str | None, *, unasked: bool = False
) -> tuple[Split, Split, str]:
    """What to learn from, what to choose the epoch by, and a sentence about the latter.

    Args:
        dataset: The data.
        protocol: Its default, if None.
        validation: A split to choose by; None takes the protocol's, or else one image in ten of the training
            data, which are then not learned from.
        unasked: Do not take the protocol's, if that is what its queries are from.
    """
    chosen = dataset.protocol(protocol)
    usual = None if unasked and chosen.validation == chosen.query else chosen.validation
    train, name = dataset.split(chosen.train), validation or usual
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
    if learn.label is not None or not takes(trained_kind(name), "classes"):
        return learn, "as in the data"
    if len(learn.image) > _MOST_CLASSES:
        raise UsageError(
            f"{name} learns from classes, and these {len(learn.image)} images have none; as classes of their "
            f"own there may be at most {_MOST_CLASSES}. Take a system that learns from pairs, or label them"
        )
    return replace(learn, label=np.eye(len(learn.image), dtype=np.uint8)), "each image is a class of its own"


@dataclass(frozen=True)
class _Seen:
    """The data as the learner sees them, and through what."""

    dataset: Dataset
    protocol: str | None
    extractors: Mapping[str, Any]
    held_out: Mapping[str, Any]


@dataclass(frozen=True)
class _Lesson:
    """What is learned from, what is chosen by (None where nothing is), and a sentence about each."""

    learn: Split
    check: Split | None
    checkpoint: str
    labels: str


def _seen(
    name: str,
    dataset: Dataset,
    settings: Mapping[str, Any],
    features: str | None,
    standardise: bool,
    protocol: str | None,
    validation: str | None,
    strict: bool,
) -> _Seen:
    """Steps 1 to 3."""
    held_out: dict[str, Any] = {}
    if validation is None and HeldOut.needed(dataset, protocol):
        dataset = whole = HeldOut(dataset, protocol)
        held, protocol = whole.split("held-out"), None
        held_out = {"of": whole.of, "images": len(held), "sha256": held.sha256()}
    train = dataset.protocol(protocol).train
    extractors = _extractors(name, dataset.split(train), features, settings)
    if extractors:
        dataset = Featured(dataset, extractors, strict=strict)
    if standardise:
        if not extractors:
            raise UsageError(
                "only extracted features are standardised, and none are extracted; name extractors, or "
                "train without standardising",
                argument="features",
            )
        sides = [side for side in _of_features(dataset.split(train)) if side in extractors]
        dataset = scaled = Standardised(dataset, train, sides)
        standard = {side: Standard(extractors[side], scale) for side, scale in scaled.scales.items()}
        extractors = {**extractors, **standard}
    return _Seen(dataset, protocol, extractors, held_out)


def _extractors(name: str, learn: Split, features: str | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The extractors asked for, by side, and on other sides those that the variant reads through by itself.

    A system's module may say in `FEATURES` through what each variant reads, such as
    ``{"cnn_f": "image=pixels,text=bow"}``; a name in braces is the value of that hyper-parameter.

    Raises:
        UsageError: that hyper-parameter is not set.
    """
    made = named(features) if features else {}
    usual: str = getattr(module_of(name), "FEATURES", {}).get(catalogue.parse(name).variant, "")
    values = {**catalogue.variant(name), **settings}
    for part in filter(None, usual.split(",")):
        side = part.partition("=")[0]
        if side in made or isinstance(getattr(learn, side), np.ndarray):
            continue
        try:
            made |= named(part.format_map(values))
        except KeyError as error:
            raise UsageError(
                f"{name} needs a value of {error.args[0]}; see `diptych info {name}`", argument="settings"
            ) from None
    return made


def _of_features(split: Split) -> list[str]:
    """The sides that hold features; pixels and tokens have no scale to change."""
    sides = {side: getattr(split, side) for side in ("image", "text")}
    return [
        s for s, value in sides.items() if isinstance(value, np.ndarray) and input_kind(value) == "features"
    ]


def _lesson(name: str, seen: _Seen, validation: str | None, *, unasked: bool = False) -> _Lesson:
    """Steps 4 and 5."""
    learn, check, checkpoint = learning_parts(seen.dataset, seen.protocol, validation, unasked=unasked)
    learn, labels = labelled(name, learn)
    return _Lesson(learn, check, checkpoint, labels)


def _whole(name: str, seen: _Seen) -> _Lesson:
    """All training data to learn from, and nothing to choose by."""
    train = seen.dataset.protocol(seen.protocol).train
    learn, labels = labelled(name, seen.dataset.split(train))
    return _Lesson(learn, None, f"solved at once from all of {train!r}", labels)


def _built(name: str, seen: _Seen, lesson: _Lesson, settings: Mapping[str, Any], seed: int) -> Any:
    """The system, with networks of the data's dimensions."""
    return catalogue.load(name, seed=seed, **_parameters(name, seen, lesson, settings))


def _parameters(name: str, seen: _Seen, lesson: _Lesson, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What recipe, data and settings say."""
    words: Any = seen.extractors.get("text")
    facts = {"vocabulary": words.vocabulary_size} if hasattr(words, "vocabulary_size") else {}
    return choose_parameters(name, seen.dataset.name, lesson.learn, settings, facts=facts)


def _defaults(kind: type) -> dict[str, Any]:
    """The constructor's own values."""
    return {name: one.default for name, one in inspect.signature(kind).parameters.items()}


def _identity(name: str, learner: Any, seen: _Seen, lesson: _Lesson) -> str:
    """What two trainings must share so that one can go on where the other stopped."""
    read = {side: catalogue.name_of(one) for side, one in seen.extractors.items()}
    content = lesson.learn.fingerprint, lesson.check.fingerprint if lesson.check else ""
    return json.dumps([name, learner.hyperparameters, seen.dataset.name, read, *content], default=str)


def _write(done: Trained, trainer: Trainer, name: str, seen: _Seen, lesson: _Lesson, command: str) -> None:
    """Curves, weights and card."""
    trainer.draw()
    learn = lesson.learn
    catalogue.save(
        join(done.learner, **seen.extractors) if seen.extractors else done.learner,
        done.run,
        variant=catalogue.parse(name).variant or "paper",
        seed=done.seed,
        data={"name": done.dataset.name, "sha256": learn.sha256(), "pairs": len(learn.pairs)},
        labels=lesson.labels,
        checkpoint=lesson.checkpoint,
        steps=trainer.steps,
        measure=done.measure,
        metrics=done.metrics,
        command=command,
        **({"held_out": seen.held_out} if seen.held_out else {}),
        **({"read": done.read} if done.read else {}),
        **({"chosen": done.chosen} if done.chosen else {}),
    )
    # They only serve to go on, and the card says that nothing is left to do.
    shutil.rmtree(done.run / "checkpoints")
    shutil.rmtree(done.run / _CANDIDATES, ignore_errors=True)


def _mean(metrics: Mapping[str, float]) -> float:
    return sum(metrics.values()) / len(metrics)
