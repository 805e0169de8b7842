"""Loads any system, extractor, chain or run by its one name."""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, Self

from diptych.catalogue.chains import extractors_of, name_in
from diptych.catalogue.listing import card, cards, module_of, named_by, needing
from diptych.catalogue.naming import Name, parse
from diptych.catalogue.parameters import checked
from diptych.catalogue.saving import read_card
from diptych.chain import join
from diptych.core import CAPABILITIES, Capabilities, Encoder, Floats
from diptych.errors import MissingData, MissingExtra, UnknownName, UsageError

__all__ = ["System", "declares", "load", "variant"]


class System(Encoder, Capabilities, Protocol):
    """Whatever `load` gives. Each has only what its kind has: an extractor encodes one side, a scorer has no
    vectors, what comes ready trained has no `fit`; `diptych.core.offered` asks for the rest.
    """

    @property
    def hyperparameters(self) -> Mapping[str, Any]:
        """Hyper-parameters by name."""
        ...

    def encode_image(self, images: Any) -> Floats:
        """Vectors (n, d) float32 of pictures, or of the features (n, image_dim) that a head takes."""
        ...

    def encode_text(self, texts: Any) -> Floats:
        """Vectors (n, d) float32 of texts, or of the features (n, text_dim) that a head takes."""
        ...

    def fit(self, split: Any, trainer: Any = None) -> Self:
        """Learn from a `diptych.data.base.Split`; returns the system."""
        ...

    def save(self, folder: Path | str, **facts: Any) -> None:
        """Write what `load` makes the same system of."""
        ...

    def score_pairs(self, images: Any, texts: Any, pairs: Any) -> Any:
        """Scores (p,) float32 of the pairs (p, 2), image row and text row."""
        ...


def load(name: str | Path, *, seed: int = 0, **parameters: Any) -> System:
    """The system or extractor of that name, ready to encode, score or be trained.

    Args:
        name: ``system[:variant][@weights]``, or the path of a run folder.
        seed: Draws the first weights of systems that have any.
        parameters: Hyper-parameters, over those of the variant.

    Raises:
        UsageError: no name at all.
        UnknownName: no such system, extractor or variant.
        BadParameter: a hyper-parameter that the system does not have.
        MissingData: the weights are not there.
        MissingExtra: it needs a package that is not installed; says which extra brings it.
        BadData: a run folder that is not whole.
        WrongModel: the weights of an extractor of a run are no longer those that it was trained with.
    """
    with needing(str(name)):
        loaded: System = _loaded(name, seed, parameters)
    return loaded


def _loaded(name: str | Path, seed: int, parameters: Mapping[str, Any]) -> Any:
    if not isinstance(name, str | Path):
        raise UsageError(f"a system is loaded by its name or its folder, not by {name!r}")
    name = str(name)
    if _is_path(name):
        return _run(Path(name).expanduser(), parameters)
    parts = parse(name)
    systems, extractors = cards("system"), cards("feature")
    if parts.weights and (Path(parts.weights).expanduser() / "card.json").is_file():
        folder = Path(parts.weights).expanduser()
        if parts.variant is not None and declares(name, "space"):
            # What the run was trained with stays; the variant says how texts are read.
            known = read_card(folder / "card.json").get("parameters") or {}
            more = {key: value for key, value in variant(str(parts)).items() if key not in known}
            parameters = {**more, **parameters}
        return _run(folder, parameters, expected=parts.system)
    if parts.system in systems:
        return _system(parts, seed, parameters)
    if parts.system in extractors:
        return _extractor(parts, parameters)
    raise UnknownName("system or feature extractor", parts.system, [*systems, *extractors])


def variant(name: str) -> Mapping[str, Any]:
    """The hyper-parameters that a system's variant sets; those of its first one, if the name has none.

    Raises:
        UnknownName: no such system or variant.
        MissingExtra: the system needs a package that is not installed.
    """
    parts = parse(name)
    variants: Mapping[str, Mapping[str, Any]] = module_of(card("system", parts.system)).VARIANTS
    if parts.variant is not None and parts.variant not in variants:
        raise UnknownName(f"variant of {parts.system}", parts.variant, variants)
    return variants[parts.variant or next(iter(variants))]


def declares(name: str, capability: str) -> bool:
    """Whether the class of a system has one of `diptych.core.CAPABILITIES`; the system is not built.

    Args:
        name: As for `load`; False if it is no system's or the path of a run folder.
    """
    assert capability in CAPABILITIES, capability
    system = parse(name).system
    return system in cards("system") and hasattr(named_by(card("system", system)), capability)


def _system(parts: Name, seed: int, parameters: Mapping[str, Any]) -> Any:
    try:
        kind = named_by(card("system", parts.system))
    except MissingExtra as error:
        if parts.weights is None:
            raise
        # Published weights need all that the extra brings, and torch is only the first that is missed.
        raise MissingExtra(str(parts), "towers") from error
    chosen = {**variant(str(parts)), **parameters}
    with _seeded(seed):
        if parts.weights is None:
            return kind(**checked(kind, chosen))
        if not hasattr(kind, "from_weights"):
            raise UsageError(f"{parts.system} takes no weights, but {parts.weights!r} was given after '@'")
        return kind.from_weights(parts.weights, **chosen)


def _extractor(parts: Name, parameters: Mapping[str, Any]) -> Any:
    """A fixed extractor: after "@" stands its file, after ":" the number that its `variant` names."""
    kind = named_by(card("feature", parts.system))
    takes_file = "weights" in inspect.signature(kind).parameters
    if takes_file and not parts.weights and not getattr(kind, "file_optional", False):
        raise MissingData(f"{parts.system} reads its weights from a file of yours: {parts.system}@FILE")
    if parts.weights and not takes_file:
        raise UsageError(f"{parts.system} reads no file, but {parts.weights!r} was given after '@'")
    chosen: dict[str, Any] = {"weights": parts.weights} if parts.weights else {}
    if parts.variant is not None:
        number = getattr(kind, "variant", None)
        if number is None:
            raise UsageError(f"{parts.system} has no variants, but {parts.variant!r} was given after ':'")
        if not parts.variant.isdecimal():
            raise UsageError(f"{parts.system}:{parts.variant} must have a number after ':', its {number}")
        chosen[number] = int(parts.variant)
    return kind(**checked(kind, {**chosen, **parameters}))


def _run(folder: Path, parameters: Mapping[str, Any], *, expected: str | None = None) -> Any:
    """What a run folder holds: the head that its card names, joined with the extractors that it names."""
    if not (folder / "card.json").is_file():
        raise MissingData(
            f"{folder} is not a run folder: it has no card.json; "
            "give the folder that `diptych train` wrote, or a system's name"
        )
    record = read_card(folder / "card.json")
    system = name_in(record, folder / "card.json")
    if expected and expected != system:
        raise UsageError(f"{folder} holds {system}, not {expected}; use {system}@{folder}")
    head = named_by(card("system", system)).from_weights(str(folder), **parameters)
    return join(head, **extractors_of(folder / "features")) if record.get("features") else head


def _is_path(name: str) -> bool:
    return (Path(name) / "card.json").is_file() or (
        "@" not in name and ("/" in name or "\\" in name or name.startswith((".", "~")))
    )


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed torch for what is built inside.

    Only a system's own module imports torch, and it does so before its class can be built; where nobody has
    imported torch, nothing draws from it.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
