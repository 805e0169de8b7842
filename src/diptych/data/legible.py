"""Data for what reads pictures by itself, without those that cannot be read.

Extractors leave such pictures out while they read (`diptych.data.views.Featured`). A learner that no
extractor reads for is given its splits without them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from diptych.data.base import Absent, Dataset, Split, hold_out
from diptych.data.readable import left_out
from diptych.data.reading import report_of
from diptych.data.views import HeldOut, View
from diptych.errors import BadData
from diptych.media.ahead import Trouble, ahead
from diptych.media.report import Report

__all__ = ["Legible"]


class Legible(View):
    """A data set without the pictures that cannot be read; each is read once to see that.

    Args:
        inner: The data set.
        encoder: Reads the pictures: may offer `prepare_image` and `image_size`.
        protocol: By which will be measured, and which learns; the default one, if None.
        strict: Refuse a picture that cannot be read, and not leave it out.

    Attributes:
        report: What was read of the data set, and what was left out of it.
    """

    def __init__(
        self, inner: Dataset, encoder: Any, *, protocol: str | None = None, strict: bool = False
    ) -> None:
        super().__init__(inner)
        self.encoder, self.protocol_name, self.strict = encoder, protocol, strict
        self.report = Report().join(report_of(inner))

    def make(self, name: str) -> Split:
        """One split without them.

        Raises:
            BadData: none of the pictures can be read.
            ImageError: one cannot, and that is not allowed.
        """
        split = self.inner.split(name)
        if isinstance(split.image, np.ndarray | Absent):
            return split
        trouble = Trouble()
        for _, more in ahead(split.image, self.encoder):
            trouble |= more
            if trouble.lost and self.strict:
                raise next(iter(trouble.lost.values()))
        learned = self._learned(name, split, trouble)
        partly = {row: reason for row, reason in trouble.partly.items() if row in learned}
        try:
            return left_out(split, Trouble(trouble.lost, partly), self.report)
        except BadData as error:
            raise BadData(f"split {name!r} of {self.name}: {error}") from error

    def _learned(self, name: str, split: Split, trouble: Trouble) -> set[int]:
        """Rows that nothing is measured on; of the others the measurement tells what it met."""
        rows = [row for row in range(len(split)) if row not in trouble.lost]
        chosen = self.inner.protocol(self.protocol_name)
        if HeldOut.needed(self.inner, self.protocol_name):
            whole = replace(split, image_id=[str(row) for row in range(len(split))])
            return {int(row) for row in hold_out(whole.take(rows))[0].image_id or ()} if rows else set()
        return set() if name in (chosen.query, chosen.gallery) else set(rows)
