"""The stages of a search, and `over`, which makes one of any system."""

from diptych.pipeline.stages import (
    Exhaustive,
    Fuse,
    PairScores,
    Repeat,
    Rerank,
    Rewrite,
    Search,
    Select,
    encode,
    over,
)

__all__ = [
    "Exhaustive",
    "Fuse",
    "PairScores",
    "Repeat",
    "Rerank",
    "Rewrite",
    "Search",
    "Select",
    "encode",
    "over",
]
