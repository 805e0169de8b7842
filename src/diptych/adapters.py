"""Encoders of other libraries as encoders here, and encoders of here as other libraries take them.

Nothing of those libraries is needed to import this; the objects handed in know how to do their part.

Example:
    >>> import numpy as np
    >>> class Lengths:  # in place of SentenceTransformer("clip-ViT-B-32")
    ...     similarity_fn_name = "cosine"
    ...     def encode(self, inputs, **options):
    ...         return np.array([[len(one), 1.0] for one in inputs])
    >>> from_sentence_transformers(Lengths(), name="lengths").encode_text(["ab"])
    array([[2., 1.]], dtype=float32)
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from diptych.core import SIDES, Floats, encodes, offered
from diptych.errors import BadData, UsageError
from diptych.media.pictures import open_picture

__all__ = ["ForMteb", "FromSentenceTransformers", "for_mteb", "from_sentence_transformers"]

_COMPARED = ("cosine", "dot")


class FromSentenceTransformers:
    """What `from_sentence_transformers` gives: an `Encoder`.

    Attributes:
        name: What a collection remembers.
        fingerprint: Of the weights, so that only vectors of the same model are compared.
        similarity: "cosine" or "dot", as the model has it.
        batch_size: Pictures encoded at a time.
    """

    def __init__(self, model: Any, text_model: Any, name: str, batch_size: int) -> None:
        self.name, self.batch_size = name, batch_size
        self._model, self._text_model = model, text_model
        self.similarity = str(getattr(model, "similarity_fn_name", None) or "cosine")
        self._fingerprint = ""

    @property
    def fingerprint(self) -> str:
        """Over all weights of both models, computed once; of models that show none, their name."""
        if not self._fingerprint:
            models = [self._model] + ([] if self._text_model is self._model else [self._text_model])
            self._fingerprint = f"{self.name}:{_digest(models)}"
        return self._fingerprint

    def encode_image(self, images: Sequence[Any]) -> Floats:
        """Vectors (n, d) float32 of pictures, each whatever `diptych.media.pictures.open_picture` takes.

        Raises:
            BadData: the model does not give one vector a picture.
            ImageError: a picture cannot be read.
        """
        parts = [
            _vectors(
                self._model, [open_picture(one) for one in images[start : start + self.batch_size]], self
            )
            for start in range(0, len(images), self.batch_size)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)

    def encode_text(self, texts: Sequence[str]) -> Floats:
        """Vectors (n, d) float32 of texts.

        Raises:
            BadData: the model does not give one vector a text.
        """
        return _vectors(self._text_model, list(texts), self)


def from_sentence_transformers(
    model: Any, *, text_model: Any = None, name: str = "", batch_size: int = 16
) -> FromSentenceTransformers:
    """A model of sentence-transformers for `diptych.evaluate`, `diptych.open(model=...)` and `over`.

    Args:
        model: A `SentenceTransformer` that reads pictures and texts, such as "clip-ViT-B-32"; or anything
            with its `encode`.
        text_model: What reads the texts, where that is another, as "clip-ViT-B-32-multilingual-v1" is.
        name: What collections and results call it; by default what it was loaded by, as far as it knows.
        batch_size: Pictures encoded at a time.

    Raises:
        UsageError: it has no `encode`, compares by neither cosine nor inner product, or has no name.
    """
    text_model = model if text_model is None else text_model
    for one in (model, text_model):
        if not callable(getattr(one, "encode", None)):
            raise UsageError(
                f"{type(one).__name__} has no method encode; give a SentenceTransformer, or an object like it"
            )
        if (similarity := getattr(one, "similarity_fn_name", None) or "cosine") not in _COMPARED:
            raise UsageError(
                f"{type(one).__name__} compares by {similarity!r}, and vectors are compared by "
                f"{' or '.join(_COMPARED)} here; set its similarity_fn_name to one of them"
            )
    name = name or str(getattr(getattr(model, "model_card_data", None), "base_model", None) or "")
    if not name:
        raise UsageError(
            "the model does not say what it was loaded by; give it a name, such as name='clip-b-32'"
        )
    return FromSentenceTransformers(model, text_model, name, batch_size)


class ForMteb:
    """What `for_mteb` gives: mteb's `EncoderProtocol` around an encoder."""

    def __init__(self, encoder: Any, name: str, revision: str) -> None:
        self._encoder, self._name, self._revision = encoder, name, revision

    @property
    def mteb_model_meta(self) -> Any:
        """What mteb writes into results: name, revision, how vectors are compared, and what is read.

        Raises:
            UsageError: mteb is not installed.
        """
        try:
            meta: Any = importlib.import_module("mteb.models.model_meta")
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "mteb":
                raise
            raise UsageError("only mteb itself can be told what a model is: pip install mteb") from None
        compared = "cosine" if self._encoder.similarity == "cosine" else "dot"
        return meta.ModelMeta.create_empty(
            {
                "name": self._name,
                "revision": self._revision,
                "similarity_fn_name": meta.ScoringFunction(compared),
                "modalities": [side for side in SIDES if encodes(self._encoder, side)],
            }
        )

    def encode(self, inputs: Iterable[Mapping[str, Any]], **task: Any) -> Floats:
        """Vectors (n, d) float32 of mteb's batches.

        Args:
            inputs: Batches, each with "image" (PIL pictures), "text" (strings), or both: of an item with
                both, the vectors are added, as mteb's own CLIP models do.
            task: What mteb tells of the task, of which nothing changes a vector.

        Raises:
            UsageError: a batch has a side that the encoder does not read, or neither.
        """
        return np.concatenate([self._batch(batch) for batch in inputs])

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Scores (n, m) of every pair."""
        first, second = self._scaled(embeddings1), self._scaled(embeddings2)
        return first @ second.T

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Scores (n,) of row i with row i."""
        return (self._scaled(embeddings1) * self._scaled(embeddings2)).sum(axis=1)

    def _batch(self, batch: Mapping[str, Any]) -> Floats:
        parts = []
        for side in ("image", "text"):
            if batch.get(side) is None:
                continue
            if not encodes(self._encoder, side):
                raise UsageError(f"{self._name} does not read {side}s, which this task of mteb has")
            parts.append(getattr(self._encoder, f"encode_{side}")(list(batch[side])))
        if not parts:
            raise UsageError(
                f"a task of mteb has {', '.join(batch) or 'nothing'}, and images and texts are read"
            )
        return np.asarray(sum(parts[1:], start=parts[0]), np.float32)

    def _scaled(self, vectors: Any) -> Floats:
        """Vectors (n, d), of length one where they are compared by cosine."""
        rows = np.atleast_2d(np.asarray(vectors, np.float32))
        if self._encoder.similarity != "cosine":
            return rows
        scaled: Floats = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        return scaled


def for_mteb(encoder: Any, *, name: str = "", revision: str = "") -> ForMteb:
    """An encoder of here, as `mteb.evaluate` takes a model.

    Args:
        encoder: Such as `diptych.load("builtin")`; codes of +1 and -1 are compared by their inner product,
            which orders them as the Hamming distance does.
        name: ORGANISATION/MODEL, as mteb names models; by default "diptych/" and the encoder's own.
        revision: By default the encoder's fingerprint.

    Raises:
        UsageError: it gives a vector a token, or no vectors at all.
    """
    known = str(offered(encoder, "name", type(encoder).__name__))
    if not (encodes(encoder, "image") or encodes(encoder, "text")):
        raise UsageError(f"{known} encodes neither images nor texts; mteb measures what gives vectors")
    if encoder.similarity not in (*_COMPARED, "hamming"):
        raise UsageError(
            f"{known} compares by {encoder.similarity!r}; mteb is given one vector an item, compared by "
            "cosine, dot or hamming"
        )
    return ForMteb(
        encoder,
        name or f"diptych/{known.replace('/', '-')}",
        revision or str(offered(encoder, "fingerprint", "0")),
    )


def _vectors(model: Any, inputs: list[Any], encoder: FromSentenceTransformers) -> Floats:
    found = np.asarray(model.encode(inputs, show_progress_bar=False, convert_to_numpy=True), np.float32)
    if found.ndim != 2 or len(found) != len(inputs):
        raise BadData(
            f"{encoder.name} gave vectors of shape {found.shape} of {len(inputs)} items, not (n, d)"
        )
    return found


def _digest(models: Sequence[Any]) -> str:
    """A hash of the weights and prompts of models; empty where they show none."""
    weights = hashlib.sha256()
    for model in models:
        state = model.state_dict() if callable(getattr(model, "state_dict", None)) else {}
        for key in sorted(state):
            weights.update(key.encode())
            weights.update(state[key].detach().cpu().float().numpy().tobytes())
        weights.update(repr(sorted((getattr(model, "prompts", None) or {}).items())).encode())
    return weights.hexdigest()[:16]
