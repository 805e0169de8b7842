"""Finds systems, data sets and other parts by file name, and loads what can be loaded by its one name.

A name is ``system[:variant][@weights]``: ``dscmr``, ``clip:vit-b-32@openai``, ``dscmr@runs/pascal``; the path
of a run folder is a name too. A card is a module's docstring: it is read without importing the module, so
that listing costs milliseconds and never loads torch.

`listing` reads the cards, `plugins` finds what other packages announce, `naming` takes names apart,
`parameters` checks hyper-parameters, `saving` writes one part (a head, an extractor) and makes it again from
its card, `chains` does so with all that a run folder holds, `loading` finds any of them by its name, and
`extractors` by a text that names one for each side.
"""

from __future__ import annotations

from diptych.catalogue.chains import extractors_of, name_of, save, write_extractors
from diptych.catalogue.listing import Card, Kind, card, cards, faults, module_of, named_by, names
from diptych.catalogue.loading import System, declares, load, variant
from diptych.catalogue.naming import Name, parse
from diptych.catalogue.parameters import checked
from diptych.catalogue.plugins import GROUPS
from diptych.catalogue.saving import read_card, restored, write

__all__ = [
    "GROUPS",
    "Card",
    "Kind",
    "Name",
    "System",
    "card",
    "cards",
    "checked",
    "declares",
    "extractors_of",
    "faults",
    "load",
    "module_of",
    "name_of",
    "named_by",
    "names",
    "parse",
    "read_card",
    "restored",
    "save",
    "variant",
    "write",
    "write_extractors",
]
