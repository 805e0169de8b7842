"""Answers of a collection as JSON: the same keys everywhere, nothing that JSON cannot hold."""

from __future__ import annotations

import json
from pathlib import Path

from diptych.engine.results import Captioned, Filled, Inscriptions, Result, Results, Skipped, Summary


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


def test_what_is_told_of_a_summary_is_all_of_it() -> None:
    lost = [Skipped(Path("bad.png"), "is damaged"), Skipped("s3://photos/bad.png", "is damaged", known=True)]
    whole = Summary(
        added=2, left_out=3, skipped=lost, in_part=lost[:1], encoded=4, lent=1, seconds=1.5,
        models=[Filled("clip", 1, 2, lost[:1])], inscriptions=Inscriptions(1, 2, lost[:1], 3),
        captioned=Captioned(1, 2, lost[:1], 3),
    )  # fmt: skip
    assert Summary.from_dict(json.loads(json.dumps(whole.as_dict()))) == whole
