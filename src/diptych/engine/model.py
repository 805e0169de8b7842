"""A collection's model: tried before anything is stored, fingerprinted once, its vectors as they are kept."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diptych import catalogue, similarity
from diptych.core import Floats, Side, encodes, offered, space_of
from diptych.engine.homes.base import Home
from diptych.engine.homes.entries import Caption, VectorColumn
from diptych.engine.results import Summary
from diptych.errors import (
    BadData,
    CollectionError,
    DiptychError,
    MissingData,
    MissingExtra,
    UnknownName,
    UsageError,
    WrongModel,
)

__all__ = [
    "DEFAULT_MODEL",
    "Model",
    "adopt",
    "check_fingerprint",
    "model_name",
    "named_in",
    "reading_the_same",
    "refuse_name",
]

DEFAULT_MODEL = "builtin"
"""Name of the system that a collection gets if none is asked for."""

_HELD = ("cosine", "dot", "hamming")


class Model:
    """An encoder under the name that a collection remembers.

    Args:
        system: An encoder, or the name of a system, which is then loaded.

    Attributes:
        name: What the collection remembers: of a run folder, the whole path.
        encoder: The encoder.
        source: What makes the same elsewhere: the name that was given, or the encoder.
        fingerprint: Equal only if vectors compare (`diptych.core.space_of`).
        similarity: What compares them.
        dimensions: Of a collection's vectors, which every further one must have; None while there are none.

    Raises:
        UnknownName: no system has that name.
        MissingData, MissingExtra: the system needs what is not there.
    """

    def __init__(self, system: Any) -> None:
        if isinstance(system, str):
            self.name = model_name(system)
            self.encoder: Any = catalogue.load(self.name)
            self.source: Any = self.name
        else:
            self.name = str(offered(system, "name", type(system).__name__))
            self.encoder = self.source = system
        # Computed once: a learner hashes all its weights for it.
        self.fingerprint = str(space_of(self.encoder) or self.name)
        self.similarity = str(getattr(self.encoder, "similarity", ""))
        self.dimensions: int | None = None

    def try_pictures(self) -> int:
        """Encode one small picture; returns the dimensions of its vector.

        Raises:
            UsageError: the system gives no vectors of pictures, or none that a collection can hold.
        """
        refusal = f"{self.name} gives no vectors of pictures, so it cannot index them"
        if not encodes(self.encoder, "image"):
            raise UsageError(
                f"{refusal}; a system that scores pairs ranks anew what another one finds, so index with "
                "an encoder and give this one to its searches as the re-ranker"
            )
        if self.similarity == "maxsim":
            raise UsageError(f"{self.name} gives a vector a token, which a collection cannot hold")
        if self.similarity not in _HELD:
            raise UsageError(
                f"{self.name} has the similarity {self.similarity!r}, which a collection cannot compare by; "
                f"its attribute `similarity` must be one of {', '.join(_HELD)}"
            )
        from PIL import Image

        picture = Image.linear_gradient("L").resize((64, 64)).convert("RGB")
        prepare = offered(self.encoder, "prepare_image")
        try:
            content = picture if prepare is None else prepare(picture)
            vectors = np.asarray(self.encoder.encode_image([content]), np.float32)
        except (MissingExtra, MissingData, BadData):
            raise
        except Exception as error:  # whatever a foreign encoder raises where it gets no features
            raise UsageError(
                f"{refusal} ({_said(error)}); a run that learned from feature files takes nothing but such "
                "features: train it on features of an encoder, and it takes pictures"
            ) from error
        if vectors.ndim != 2 or len(vectors) != 1 or not vectors.size:
            raise UsageError(
                f"{refusal}: one picture should give numbers of shape (1, d), but gave shape {vectors.shape}"
            )
        if not np.isfinite(vectors).all():
            raise UsageError(f"{refusal}: one picture should give finite numbers, but gave NaN or infinity")
        return int(vectors.shape[1])

    def stored(self, side: Side, content: Sequence[Any]) -> list[bytes]:
        """Vectors of pictures or texts as a home keeps them: codes packed, anything else in half precision.

        Raises:
            CollectionError: the model fails, or what it gives are no finite vectors.
        """
        if not content:
            return []
        return self.kept(self._encoded(side, content))

    def kept(self, vectors: Floats) -> list[bytes]:
        """Finite vectors (n, d) as a home keeps them."""
        if self.similarity == "hamming":
            return [row.tobytes() for row in similarity.pack(vectors)]
        if self.similarity == "cosine":
            vectors = similarity.unit(vectors)
        return [row.tobytes() for row in vectors.astype(np.float16)]

    def captions(
        self, home: Home, sources: Mapping[bytes, Mapping[str, str]], summary: Summary
    ) -> dict[bytes, list[Caption]]:
        """Texts as they are stored, by the name of their file; those that are stored anywhere have a vector.

        Args:
            home: What is stored.
            sources: Of each file its texts, with their sources.
            summary: Counts those that had to be encoded.
        """
        vectors, new = self.text_vectors(home, (text for found in sources.values() for text in found))
        summary.encoded += new
        return {
            key: [Caption(text, vectors.get(text), source) for text, source in found.items()]
            for key, found in sources.items()
        }

    def text_vectors(
        self, home: Home, texts: Iterable[str], known: Mapping[str, bytes] | None = None
    ) -> tuple[dict[str, bytes], int]:
        """Vectors of texts as a home keeps them, and how many were made: not of those stored anywhere.

        Args:
            home: What is stored.
            texts: Each gets one, if the model encodes texts or it has one.
            known: Vectors of some that are no longer stored.
        """
        each = list(dict.fromkeys(texts))
        found = {**home.text_vectors(each), **(known or {})}
        new = [text for text in each if text not in found] if encodes(self.encoder, "text") else []
        return found | dict(zip(new, self.stored("text", new), strict=True)), len(new)

    def encode_texts(self, texts: Sequence[str]) -> Floats:
        """Vectors (n, d) of texts, as the encoder gives them."""
        return self._encoded("text", texts)

    def _encoded(self, side: Side, content: Sequence[Any]) -> Floats:
        what = f"{len(content)} {'pictures' if side == 'image' else 'texts'}"
        with self.named(what):
            vectors = np.asarray(getattr(self.encoder, f"encode_{side}")(content), np.float32)
        if vectors.ndim != 2 or len(vectors) != len(content) or not np.isfinite(vectors).all():
            raise CollectionError(
                f"{self.name} gave no finite vectors for {what}, but shape {vectors.shape}; what was stored "
                "before is kept"
            )
        self.check_dimensions(vectors, what)
        return vectors

    def check_dimensions(self, vectors: Floats, what: str) -> None:
        """See that vectors have as many dimensions as the collection's.

        Raises:
            CollectionError: they have others, as where an encoder's two sides do not share a space.
        """
        if self.dimensions is not None and vectors.shape[-1] != self.dimensions:
            raise CollectionError(
                f"{self.name} gave {vectors.shape[-1]} dimensions for {what}, but the collection's vectors "
                f"have {self.dimensions}; pictures and texts must be encoded into one space"
            )

    @contextlib.contextmanager
    def named(self, what: str) -> Iterator[None]:
        """A block that calls the encoder; what that raises, which may be anything, leaves it as a sentence.

        Args:
            what: Is encoded.

        Raises:
            CollectionError: the encoder fails.
        """
        try:
            yield
        except DiptychError:
            raise
        except Exception as error:
            raise CollectionError(
                f"{self.name} failed on {what} ({_said(error)}); what was stored before is kept"
            ) from error


def named_in(folder: Path, name: str) -> Model:
    """The model of a collection, by the name that it remembers.

    Raises:
        WrongModel: it was an encoder of some program's own, which has no name that can be loaded.
    """
    try:
        return Model(name)
    except UnknownName as error:
        raise WrongModel(
            f"{folder} was indexed with {name}, an encoder of a program's own, which no name here loads; "
            "open the collection in Python with that encoder as its model, or rebuild it with another"
        ) from error


def adopt(home: Home, model: Model) -> None:
    """Make a model that of a home that has no vectors yet; it is tried first.

    Raises:
        UsageError: it gives no vectors of pictures.
    """
    dimensions = model.dimensions = model.try_pictures()
    with home.batch(changes=False):
        home.put_column("main", model.name, model.fingerprint, model.similarity, dimensions)


def reading_the_same(columns: Sequence[VectorColumn], name: str) -> tuple[VectorColumn, Model] | None:
    """The column whose vectors a model of another name compares with, and that model; None if there is none.

    Such a model reads texts differently and gives the same vectors of pictures. Only one whose system says so
    (`diptych.core.Capabilities.space`) is loaded.

    Args:
        columns: Those of a collection.
        name: Of the model.
    """
    if not columns or not catalogue.declares(name, "space"):
        return None
    model = Model(name)
    return next(((one, model) for one in columns if one.fingerprint == model.fingerprint), None)


def refuse_name(folder: Path, column: VectorColumn, asked: str) -> WrongModel:
    """What to say where a collection is opened with another model than its own."""
    return WrongModel(
        f"{folder} was indexed with {column.model}, not {asked}; leave the model unnamed, or "
        f"rebuild it with {asked}"
    )


def check_fingerprint(home: Home, folder: Path, model: Model) -> None:
    """See that a model gives such vectors as a collection holds.

    Raises:
        WrongModel: they do not compare.
    """
    column = home.column
    if column is not None and column.fingerprint not in ("", model.fingerprint):
        raise WrongModel(
            f"{folder} was indexed with {column.model} ({column.fingerprint}), which now is "
            f"{model.fingerprint}; their vectors do not compare, so rebuild the collection"
        )


def model_name(name: str) -> str:
    """The name of a system as a collection remembers it: of a run folder, the whole path."""
    return os.path.abspath(name) if "@" not in name and os.path.isfile(Path(name) / "card.json") else name


def _said(error: Exception) -> str:
    """An error in one line; that of another library with its kind, without which it may say nothing."""
    kind = "" if isinstance(error, DiptychError) else f"{type(error).__name__}: "
    return " ".join(f"{kind}{error}".split())[:300]
