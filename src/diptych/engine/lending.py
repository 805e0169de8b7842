"""Vectors that another program made of the same files, taken where the model would make the same."""

from __future__ import annotations

import itertools

import numpy as np

from diptych import similarity
from diptych.engine.decoding import prepared
from diptych.engine.homes.rclip import Rclip
from diptych.engine.model import Model
from diptych.engine.scan import Found
from diptych.errors import ImageError, MissingData, WrongModel

__all__ = ["Lent"]

_TRIED = 8  # pictures that both are compared by
_SAME = 0.95
"""Cosine that two vectors of one picture by the same weights have at least: other runtimes, decoders and
number formats give a little less than 1, and models that learned apart have no reason to agree."""


class Lent:
    """What rclip kept, for a collection.

    Args:
        kept: Its database.
        model: The collection's.

    Raises:
        WrongModel: another model made them; says which it was.
        MissingData: none of its pictures is there as it was, so that nothing can be compared.
    """

    def __init__(self, kept: Rclip, model: Model) -> None:
        self._kept, self._model = kept, model
        least = min(self._compared(), default=None)
        if least is None:
            raise MissingData(
                f"none of the pictures that {kept.path} knows is where it was and as it was, so its vectors "
                "are of no use; index without them"
            )
        if least < _SAME:
            raise WrongModel(
                f"the vectors in {kept.path} were made by another model than {model.name} (of the same "
                f"picture they agree to {max(least, 0):.2f} of 1): this format of rclip came with "
                f"{kept.made_by}; index with that as the model, or without these vectors",
                argument="model",
            )

    def vector(self, found: Found) -> bytes | None:
        """The vector of a picture as a home keeps it; None if it is to be encoded."""
        vector = self._kept.vector(found.path, found.size, found.mtime_ns)
        return None if vector is None else self._model.kept(vector[None])[0]

    def _compared(self) -> list[float]:
        """Cosines of kept vectors with those that the model makes of the same pictures."""
        cosines = []
        for path, vector in itertools.islice(self._kept.some(), _TRIED):
            try:
                picture, *_ = prepared(
                    self._model.encoder, path.read_bytes(), name=str(path), max_pixels=None
                )
            except ImageError:
                continue  # the update will say so
            ours = np.asarray(self._model.encoder.encode_image([picture]), np.float32)
            if ours.shape[1] != len(vector):
                return [0.0]
            cosines.append(float((similarity.unit(ours) @ similarity.unit(vector[None]).T)[0, 0]))
        return cosines
