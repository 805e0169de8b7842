"""Flickr30K: 31,014 everyday pictures with five captions each (Young et al., TACL 2014), Karpathy's split.

Home: https://shannon.cs.illinois.edu/DenotationGraph (University of Illinois), by a form; the split is
  dataset_flickr30k.json of https://cs.stanford.edu/people/karpathy/deepimagesent
Files: dataset_flickr30k.json and the pictures in flickr30k-images/ (or images/, or a ZIP of either name)
Licence: the pictures belong to their Flickr owners; non-commercial research and education
Counts: 29,000 train, 1,014 validation, 1,000 test pictures; 145,000, 5,070 and 5,000 captions
Relevance: the paired captions
"""

from __future__ import annotations

from collections.abc import Mapping

from diptych.data.base import Protocol, Split
from diptych.data.originals import Files, Layout, Originals
from diptych.data.readers import karpathy

__all__ = ["Flickr30K"]

_PICTURES = "flickr30k-images|flickr30k_images|images|flickr30k-images.zip|images.zip"


def _read(files: Files, _: str) -> Mapping[str, Split]:
    return karpathy.splits(files["dataset_flickr30k.json"], files[_PICTURES])


class Flickr30K(Originals):
    """The Flickr30K set; see the module's docstring, and `Originals` for the arguments."""

    name = "flickr30k"
    variants: Mapping[str, tuple[Layout, ...]] = {
        "karpathy": (
            Layout(
                "Karpathy's JSON and the pictures",
                dict.fromkeys(("train", "val", "test"), ()),
                _read,
                shared=("dataset_flickr30k.json", _PICTURES),
                sizes={"train": (29000, 145000), "val": (1014, 5070), "test": (1000, 5000)},
            ),
        ),
    }
    protocols_of: Mapping[str, Mapping[str, Protocol]] = {
        "karpathy": {"1k": Protocol("test", "test", "pair", validation="val", captions=5)},
    }
