"""Public checks of systems, indexes, data sets and metrics, and an encoder and models to try things with.

`check_system("mine")` runs every check that applies and says which failed; `system_checks("mine")` yields
them, so that each can be a test of its own.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diptych.testing.fake import Colours as Colours
    from diptych.testing.parts import check_dataset as check_dataset
    from diptych.testing.parts import check_index as check_index
    from diptych.testing.parts import check_metric as check_metric
    from diptych.testing.parts import dataset_checks as dataset_checks
    from diptych.testing.parts import index_checks as index_checks
    from diptych.testing.parts import metric_checks as metric_checks
    from diptych.testing.scripted import Faulty as Faulty
    from diptych.testing.scripted import Scripted as Scripted
    from diptych.testing.system import check_system as check_system
    from diptych.testing.system import system_checks as system_checks
    from diptych.testing.talking import Talks as Talks

# Public name -> module that holds it; resolved on first use, so that the encoder needs no torch.
_PUBLIC = {
    "Colours": "diptych.testing.fake",
    "Faulty": "diptych.testing.scripted",
    "Scripted": "diptych.testing.scripted",
    "Talks": "diptych.testing.talking",
    "check_dataset": "diptych.testing.parts",
    "check_index": "diptych.testing.parts",
    "check_metric": "diptych.testing.parts",
    "check_system": "diptych.testing.system",
    "dataset_checks": "diptych.testing.parts",
    "index_checks": "diptych.testing.parts",
    "metric_checks": "diptych.testing.parts",
    "system_checks": "diptych.testing.system",
}

__all__ = [
    "Colours",
    "Faulty",
    "Scripted",
    "Talks",
    "check_dataset",
    "check_index",
    "check_metric",
    "check_system",
    "dataset_checks",
    "index_checks",
    "metric_checks",
    "system_checks",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'diptych.testing' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return __all__
