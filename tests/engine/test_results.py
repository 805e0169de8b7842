"""Answers of a collection as JSON: the same keys everywhere, nothing that JSON cannot hold."""

from __future__ import annotations

import json
from pathlib import Path

from diptych.engine.results import Result, Results, Skipped, Summary


def test_results_as_json() -> None:
    found = Result(
        1, 0.123456789, 99.87654, "strong", "image", "a/b.png", Path("/x/a/b.png"), None, {"width": 3},
        "both", 0.66667, "own", ("c.png",),
    )  # fmt: skip
    plain = Result(2, -1.5, None, "not calibrated", "text", "note.txt", Path("note.txt"), "a dog")
    results = Results(
        [found, plain], nothing_matches=True, best=found, unknown_words=["xyz"], seconds=0.123456
    )
    told = results.as_dict()
    assert json.loads(json.dumps(told)) == told
    assert told == {
        "nothing_matches": True,
        "best": found.as_dict(),
        "unknown_words": ["xyz"],
        "remark": "",
        "missing": 0,
        "rerank": None,
        "notes": {},
        "seconds": 0.1235,
        "results": [
            {
                "rank": 1,
                "score": 0.123457,
                "percentile": 99.88,
                "word": "strong",
                "side": "image",
                "id": "a/b.png",
                "path": str(Path("/x/a/b.png")),
                "text": None,
                "meta": {"width": 3},
                "by": "both",
                "words": 0.6667,
                "found_in": "own",
                "copies": ["c.png"],
                "item": 0,
            },
            {
                "rank": 2,
                "score": -1.5,
                "percentile": None,
                "word": "not calibrated",
                "side": "text",
                "id": "note.txt",
                "path": "note.txt",
                "text": "a dog",
                "meta": {},
                "by": "vectors",
                "words": 0.0,
                "found_in": "",
                "copies": [],
                "item": 0,
            },
        ],
    }


def test_a_summary_as_json() -> None:
    told = Summary(added=2, skipped=[Skipped(Path("bad.png"), "is damaged")], seconds=1.23456).as_dict()
    assert json.loads(json.dumps(told)) == told
    assert told["skipped"] == [{"path": "bad.png", "reason": "is damaged", "known": False}]
    counts = {"added": 2, "changed": 0, "moved": 0, "unchanged": 0, "removed": 0, "encoded": 0}
    assert {name: told[name] for name in counts} == counts
    assert told["seconds"] == 1.235
