"""Fixed extractors: what turns pictures or texts into the features that heads learn from.

One file each, with a card. An extractor is an `Encoder` of one side with three more attributes: `side`
("image" or "text"), `parameters` (JSON; the constructor's arguments) and `fingerprint`. One that is fitted to
training texts (bow, tfidf, lsa, tokens) also has `fit`, `fitted`, `arrays` and `restore`; one whose name may
carry a number (``pixels:96``) says in `variant` which parameter that is. `pixels` and `tokens` give arrays of
integers, for systems with networks of their own for pictures and words.

From names to a trained run and back::

    extractors = named("image=clip:vit-b-32@openai,text=lsa")
    data = Featured(dataset, extractors)      # fits on the training split, then extracts and caches
    save(run / "features", extractors)        # image.json, text.json, text.npz
    Chain(head=head, **load(run / "features"))  # encodes raw pictures and texts

`extract` does one split by hand.
"""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from diptych import catalogue
from diptych.data.base import Dataset, Split
from diptych.errors import BadData, MissingData, UnknownName, UsageError, WrongModel
from diptych.features._standard import Scale, Standard, Standardised
from diptych.features.cache import extract

__all__ = [
    "Extractors",
    "Featured",
    "Scale",
    "Standard",
    "Standardised",
    "extract",
    "load",
    "make",
    "named",
    "save",
]

_SIDES = ("image", "text")
_SCALE = ("mean", "deviation")


class Extractors(dict[str, str]):
    """Name of the extractor by side, as a card records them; the extractors themselves are in `made`.

    Args:
        made: Extractor by side, "image" or "text".
        names: Name of each, by side.
    """

    def __init__(self, made: Mapping[str, Any], names: Mapping[str, str]) -> None:
        super().__init__(names)
        self.made = dict(made)


def named(spec: str) -> Extractors:
    """The extractors that a text names.

    Args:
        spec: ``image=NAME,text=NAME``, or only one of them; or a single NAME, which stands for the one
            side of a feature extractor and for both sides of a system. NAME is a feature extractor ("lsa",
            "vgg19_fc7@vgg19-dcbb9e9d.pth") or an encoder ("clip:vit-b-32@openai").

    Raises:
        UnknownName: nothing is called so.
        UsageError: the text is no such list, or an extractor is of the other side.
        MissingData: a file that an extractor needs is not given or not there.
    """
    wanted: dict[str, str] = {}
    parts = spec.split(",") if spec.startswith(("image=", "text=")) else [spec]
    for part in parts:
        side, equals, name = part.strip().partition("=")
        if (equals or len(parts) > 1) and (side not in _SIDES or side in wanted or not name):
            raise UsageError(f"{spec!r} names no features; write image=NAME,text=NAME, or one NAME")
        if equals:
            wanted[side] = name
        else:
            feature = catalogue.parse(side).system in _features()
            wanted |= dict.fromkeys([_class(side).side] if feature else _SIDES, side)
    return Extractors({side: make(name, side=side) for side, name in wanted.items()}, wanted)


def make(name: str, *, side: str, **parameters: Any) -> Any:
    """One extractor, not yet fitted.

    Args:
        name: Of a feature extractor, with its file after "@", or of an encoder.
        side: "image" or "text".
        parameters: Over the extractor's own.

    Raises:
        UnknownName, UsageError, MissingData: as for `named`.
    """
    parts = catalogue.parse(name)
    known = _features()
    if parts.system not in known:
        if parts.system not in catalogue.names("system") and not (Path(name) / "card.json").is_file():
            raise UnknownName("feature extractor or encoder", name, [*known, *catalogue.names("system")])
        return _class("dual")(name=name, side=side)
    kind = _class(parts.system)
    if kind.side != side:
        raise UsageError(f"{parts.system} makes features of {kind.side}s, not of {side}s")
    takes_file = "weights" in inspect.signature(kind).parameters
    if takes_file and not parts.weights and not getattr(kind, "file_optional", False):
        raise MissingData(f"{parts.system} reads its weights from a file of yours: {parts.system}@FILE")
    if parts.weights and not takes_file:
        raise UsageError(f"{parts.system} reads no file, but {parts.weights!r} was given after '@'")
    chosen = {**({"weights": parts.weights} if parts.weights else {}), **_varied(kind, parts), **parameters}
    return kind(**catalogue.checked(kind, chosen))


def _varied(kind: Any, parts: catalogue.Name) -> dict[str, int]:
    """What the text after ":" sets: the one number that the extractor's `variant` names."""
    if parts.variant is None:
        return {}
    name = getattr(kind, "variant", None)
    if name is None:
        raise UsageError(f"{parts.system} has no variants, but {parts.variant!r} was given after ':'")
    if not parts.variant.isdecimal():
        raise UsageError(f"{parts.system}:{parts.variant} must have a number after ':', its {name}")
    return {name: int(parts.variant)}


def save(
    folder: Path, extractors: Extractors | Mapping[str, Any], scales: Mapping[str, Scale] | None = None
) -> None:
    """Write what is needed to make the same extractors again.

    Args:
        folder: Made if need be; gets a JSON file a side, and an ``.npz`` of what a fitted one has learned.
        extractors: From `named`, or extractors by side.
        scales: By side, of features that are standardised.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for side, extractor in _made(extractors).items():
        record = {
            "feature": type(extractor).__module__.rpartition(".")[2],
            "parameters": extractor.parameters,
            "fingerprint": extractor.fingerprint,
        }
        if hasattr(extractor, "arrays"):
            np.savez_compressed(folder / f"{side}.npz", **extractor.arrays())
        (folder / f"{side}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

    if scales:
        arrays = {f"{side}_{k}": getattr(one, k) for side, one in scales.items() for k in _SCALE}
        np.savez(folder / "scale.npz", **arrays)


def load(folder: Path) -> dict[str, Any]:
    """The extractors that `save` wrote, by side; they standardise where that was done.

    Raises:
        MissingData: there are none, or a file of weights is gone.
        BadData: the files are damaged.
        WrongModel: the weights are no longer those that were used.
    """
    found: dict[str, Any] = {}
    for side in _SIDES:
        path = folder / f"{side}.json"
        if path.is_file():
            found[side] = _restored(path)
    if not found:
        raise MissingData(f"{folder} holds no extractors; it should hold image.json or text.json")
    path = folder / "scale.npz"
    if path.is_file():
        try:
            with np.load(path, allow_pickle=False) as arrays:
                for side in {key.partition("_")[0] for key in arrays}:
                    scale = Scale(*(arrays[f"{side}_{k}"] for k in _SCALE))
                    found[side] = Standard(found[side], scale)
        except (ValueError, KeyError, OSError, EOFError, BadZipFile) as error:
            raise BadData(f"{path} is damaged ({error}); train again") from error
    return found


def _restored(path: Path) -> Any:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        kind = _class(record["feature"])
        extractor = kind(**catalogue.checked(kind, record["parameters"]))
        if hasattr(extractor, "restore"):
            with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
                extractor.restore(dict(arrays))
    except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
        raise BadData(f"{path} and what belongs to it are damaged ({error}); train again") from error
    if extractor.fingerprint != record["fingerprint"]:
        raise WrongModel(
            f"{path} was written with other weights of {record['feature']} than those there now; "
            "bring back the original file or train again"
        )
    return extractor


class Featured(Dataset):
    """A data set seen through extractors: its splits hold features.

    Args:
        inner: The data set of pictures and texts.
        extractors: From `named`, or extractors by side; those to be fitted are fitted on the training split
            of the default protocol. A side without extractor stays as it is.
        progress: Called with the numbers of done and all items while features are extracted.
    """

    def __init__(
        self,
        inner: Dataset,
        extractors: Extractors | Mapping[str, Any],
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.inner, self.extractors, self.progress = inner, _made(extractors), progress
        self.name, self.splits, self.class_names = inner.name, inner.splits, inner.class_names
        self.protocols = inner.protocols
        self._done: dict[str, Split] = {}

    def split(self, name: str) -> Split:
        """One split with features, from the cache if they were extracted before.

        Raises:
            UnknownName, MissingData, BadData: as the data set's own.
            UsageError: a side that has an extractor holds features already.
        """
        if name not in self._done:
            self.check_split(name)
            self._fit()
            self._done[name] = extract(self.inner.split(name), progress=self.progress, **self.extractors)
        return self._done[name]

    def _fit(self) -> None:
        for side, extractor in self.extractors.items():
            if getattr(extractor, "fitted", True):
                continue
            training: Any = getattr(self.inner.split(self.inner.protocol().train), side)
            if isinstance(training, np.ndarray):
                raise UsageError(
                    f"the {side}s of {self.name} are features already; give no extractor for them"
                )
            extractor.fit(training)


def _made(extractors: Extractors | Mapping[str, Any]) -> dict[str, Any]:
    return extractors.made if isinstance(extractors, Extractors) else dict(extractors)


def _features() -> list[str]:
    """What may stand in a text; dual towers go by the names of their systems."""
    return [name for name in catalogue.names("feature") if name != "dual"]


def _class(name: str) -> Any:
    module = importlib.import_module(catalogue.card("feature", catalogue.parse(name).system).module)
    return getattr(module, module.__all__[0])
