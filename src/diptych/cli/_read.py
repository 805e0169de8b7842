"""What was read of the data that a command was given, and what was left out of them on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from diptych.cli._terminal import say

if TYPE_CHECKING:
    from diptych.data.base import Dataset

__all__ = ["say_left_out", "say_read"]


def say_read(dataset: Dataset) -> Mapping[str, Any]:
    """Say what was read of somebody's files; gives it as JSON has it, empty for a set with a known home."""
    from diptych.data.reading import report_of

    report = report_of(dataset)
    if report is None:
        return {}
    say(*report.lines(), err=True)
    return report.as_dict()


def say_left_out(read: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    """Say what was left out since.

    Args:
        read: All that was read and left out, see `diptych.media.report.Report.as_dict`.
        before: What of it was said.
    """
    from diptych.media.report import IN_PART, Left

    for part, how in {"not_used": "not used", "used_in_part": IN_PART}.items():
        for one in read.get(part, []):
            if one not in before.get(part, []):
                say(Left(**one).told(how), err=True)
