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
    from diptych import errors as errors
    from diptych.catalogue import load as load
    from diptych.core import Encoder as Encoder
    from diptych.core import Hits as Hits
    from diptych.core import Item as Item
    from diptych.core import Retriever as Retriever
    from diptych.core import Run as Run
    from diptych.core import Scorer as Scorer
    from diptych.core import Stage as Stage
    from diptych.data import open_data as open_data
    from diptych.engine.collection import Collection as Collection
    from diptych.engine.collection import open_collection as open
    from diptych.engine.conditions import where as where
    from diptych.engine.items import NewItem as NewItem
    from diptych.engine.results import Result as Result
    from diptych.engine.results import Results as Results
    from diptych.engine.results import Summary as Summary
    from diptych.errors import BadData as BadData
    from diptych.errors import BadParameter as BadParameter
    from diptych.errors import CollectionBusy as CollectionBusy
    from diptych.errors import CollectionError as CollectionError
    from diptych.errors import ConnectionLost as ConnectionLost
    from diptych.errors import DiptychError as DiptychError
    from diptych.errors import ImageError as ImageError
    from diptych.errors import MissingData as MissingData
    from diptych.errors import MissingExtra as MissingExtra
    from diptych.errors import NoReply as NoReply
    from diptych.errors import PluginError as PluginError
    from diptych.errors import ServerError as ServerError
    from diptych.errors import TooNew as TooNew
    from diptych.errors import TrainingError as TrainingError
    from diptych.errors import UnknownName as UnknownName
    from diptych.errors import Unreachable as Unreachable
    from diptych.errors import UsageError as UsageError
    from diptych.errors import WrongModel as WrongModel
    from diptych.evaluation import evaluate as evaluate
    from diptych.llm import LanguageModel as LanguageModel
    from diptych.pipeline import Rerank as Rerank
    from diptych.pipeline.over import over as over
    from diptych.server.client import Client as Client
    from diptych.training.learner import Learner as Learner
    from diptych.training.run import train as train
    from diptych.training.trainer import Trainer as Trainer

# Public name -> where it is; resolved on first use, so that `import diptych` stays light.
_PUBLIC = {
    "BadData": "diptych.errors:BadData",
    "BadParameter": "diptych.errors:BadParameter",
    "Client": "diptych.server.client:Client",
    "Collection": "diptych.engine.collection:Collection",
    "CollectionBusy": "diptych.errors:CollectionBusy",
    "CollectionError": "diptych.errors:CollectionError",
    "ConnectionLost": "diptych.errors:ConnectionLost",
    "DiptychError": "diptych.errors:DiptychError",
    "Encoder": "diptych.core:Encoder",
    "Hits": "diptych.core:Hits",
    "ImageError": "diptych.errors:ImageError",
    "Item": "diptych.core:Item",
    "LanguageModel": "diptych.llm:LanguageModel",
    "Learner": "diptych.training.learner:Learner",
    "MissingData": "diptych.errors:MissingData",
    "MissingExtra": "diptych.errors:MissingExtra",
    "NewItem": "diptych.engine.items:NewItem",
    "NoReply": "diptych.errors:NoReply",
    "PluginError": "diptych.errors:PluginError",
    "Rerank": "diptych.pipeline:Rerank",
    "Result": "diptych.engine.results:Result",
    "Results": "diptych.engine.results:Results",
    "Retriever": "diptych.core:Retriever",
    "Run": "diptych.core:Run",
    "Scorer": "diptych.core:Scorer",
    "ServerError": "diptych.errors:ServerError",
    "Stage": "diptych.core:Stage",
    "Summary": "diptych.engine.results:Summary",
    "TooNew": "diptych.errors:TooNew",
    "Trainer": "diptych.training.trainer:Trainer",
    "TrainingError": "diptych.errors:TrainingError",
    "UnknownName": "diptych.errors:UnknownName",
    "Unreachable": "diptych.errors:Unreachable",
    "UsageError": "diptych.errors:UsageError",
    "WrongModel": "diptych.errors:WrongModel",
    "evaluate": "diptych.evaluation:evaluate",
    "load": "diptych.catalogue:load",
    "open": "diptych.engine.collection:open_collection",
    "open_data": "diptych.data:open_data",
    "over": "diptych.pipeline:over",
    "train": "diptych.training.run:train",
    "where": "diptych.engine.conditions:where",
}

__all__ = [
    "BadData",
    "BadParameter",
    "Client",
    "Collection",
    "CollectionBusy",
    "CollectionError",
    "ConnectionLost",
    "DiptychError",
    "Encoder",
    "Hits",
    "ImageError",
    "Item",
    "LanguageModel",
    "Learner",
    "MissingData",
    "MissingExtra",
    "NewItem",
    "NoReply",
    "PluginError",
    "Rerank",
    "Result",
    "Results",
    "Retriever",
    "Run",
    "Scorer",
    "ServerError",
    "Stage",
    "Summary",
    "TooNew",
    "Trainer",
    "TrainingError",
    "UnknownName",
    "Unreachable",
    "UsageError",
    "WrongModel",
    "__version__",
    "errors",
    "evaluate",
    "load",
    "open",
    "open_data",
    "over",
    "train",
    "where",
]


def __getattr__(name: str) -> Any:
    if name == "errors":
        import diptych.errors

        return diptych.errors
    if name not in _PUBLIC:
        raise AttributeError(f"module 'diptych' has no attribute {name!r}")
    module, _, found = _PUBLIC[name].partition(":")
    return getattr(importlib.import_module(module), found)


def __dir__() -> list[str]:
    return __all__
