"""Find pictures with words and words with pictures; train, measure and serve cross-modal retrieval.

Example:
    >>> import diptych
    >>> with diptych.open(pictures, model=model) as collection:
    ...     summary = collection.add(pictures)
    ...     best = collection.search("something red", k=1)[0]
    >>> summary.added, best.path.name
    (2, 'red.png')
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from diptych._version import __version__

if TYPE_CHECKING:
    from diptych.catalogue import load as load
    from diptych.core import Hits as Hits
    from diptych.core import Item as Item
    from diptych.core import Run as Run
    from diptych.engine.collection import Collection as Collection
    from diptych.engine.collection import open_collection as open
    from diptych.errors import DiptychError as DiptychError
    from diptych.pipeline.over import over as over

# Public name -> module that holds it; resolved on first use, so that `import diptych` stays light.
_PUBLIC = {
    "Collection": "diptych.engine.collection",
    "DiptychError": "diptych.errors",
    "Hits": "diptych.core",
    "Item": "diptych.core",
    "Run": "diptych.core",
    "load": "diptych.catalogue",
    "open": "diptych.engine.collection",
    "over": "diptych.pipeline",
}

__all__ = ["Collection", "DiptychError", "Hits", "Item", "Run", "__version__", "load", "open", "over"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'diptych' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return __all__
