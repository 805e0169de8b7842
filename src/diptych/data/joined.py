"""Several data sets as one, for systems that learn from pairs of more than one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from diptych.data.base import Dataset, Split, concat
from diptych.errors import BadData

__all__ = ["Joined"]


class Joined(Dataset):
    """Data sets one below the other, split by split.

    Classes are left out, since each set has its own. What is named in an id is named behind its set's name.

    Args:
        parts: At least one; the splits are those that all have, the protocols those of pairs of the first.

    Raises:
        BadData: they have no split in common that a protocol of pairs of the first asks about.
    """

    def __init__(self, parts: Sequence[Dataset]) -> None:
        self.parts = tuple(parts)
        self.name = "+".join(part.name for part in parts)
        self.splits = tuple(name for name in parts[0].splits if all(name in part.splits for part in parts))
        self.protocols = {
            key: one
            for key, one in parts[0].protocols.items()
            if one.relevance == "pair" and {one.query, one.gallery, one.train} <= {*self.splits}
        }
        if not self.protocols:
            raise BadData(
                f"{self.name} cannot be one data set: no protocol of pairs of {parts[0].name} asks about "
                f"splits that all of them have ({', '.join(self.splits) or 'there are none'})"
            )

    def split(self, name: str) -> Split:
        """One split.

        Raises:
            UnknownName: they have none of that name in common.
            MissingData, BadData: as each set's own.
        """
        self.check_split(name)
        return concat([_named(part.name, part.split(name)) for part in self.parts])


def _named(name: str, split: Split) -> Split:
    """A split without classes, whose ids begin with the name of its set."""
    return replace(
        split,
        label=None,
        text_label=None,
        image_id=[f"{name}/{one}" for one in split.image_id or ()],
        text_id=[f"{name}/{one}" for one in split.text_id or ()],
    )
