"""CIRR, CIRCO, FashionIQ and dialogues: from the authors' forms, and the real annotations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from diptych.data.composed import READERS, Composed, ComposedQuery, circo, cirr, fashioniq
from diptych.data.dialogues import dialogues
from diptych.errors import BadData, MissingData


def test_the_authors_files_are_read(tmp_path: Path) -> None:
    rows = [{"reference": "a", "target_hard": "b", "caption": "red", "img_set": {"members": ["a", "b", "c"]}}]
    (tmp_path / "cap.rc2.val.json").write_text(json.dumps(rows))
    (tmp_path / "split.rc2.val.json").write_text(json.dumps({"a": "./a.png", "b": "./b.png"}))
    found = cirr(tmp_path)
    assert found == Composed(
        "CIRR val", [ComposedQuery("a", "red", ("b",), ("a", "b", "c"))], {"": ["a", "b"]}
    )
    (tmp_path / "annotations").mkdir()
    rows = [{"reference_img_id": 1, "relative_caption": "two", "gt_img_ids": [2, 3]}]
    (tmp_path / "annotations" / "val.json").write_text(json.dumps(rows))
    assert circo(tmp_path).queries == [ComposedQuery("1", "two", ("2", "3"))]
    for one in ("dress", "shirt", "toptee"):
        rows = [{"candidate": f"{one}1", "target": f"{one}2", "captions": ["is red ", "and long"]}]
        (tmp_path / f"cap.{one}.val.json").write_text(json.dumps(rows))
        (tmp_path / f"split.{one}.val.json").write_text(json.dumps([f"{one}1", f"{one}2"]))
    found = fashioniq(tmp_path)
    assert found.queries[0] == ComposedQuery("dress1", "is red and and long", ("dress2",), (), "dress")
    assert found.gallery["toptee"] == ["toptee1", "toptee2"]


@pytest.mark.parametrize("content", ["{}", '[{"reference": 1}]', "[3]", "not json", '[{"img_set": 3}]'])
def test_what_is_no_such_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "cap.rc2.val.json").write_text(content)
    with pytest.raises(BadData, match=r"no list of queries|not as its authors give it|not JSON"):
        cirr(tmp_path)
    (tmp_path / "dialogues.json").write_text(content)
    with pytest.raises(BadData, match=r"no list of dialogues|a dialogue has img|not JSON"):
        dialogues(tmp_path / "dialogues.json")


def test_what_is_not_there_says_where_it_comes_from(tmp_path: Path) -> None:
    for read in READERS.values():
        with pytest.raises(MissingData, match="from where the set's authors give it"):
            read(tmp_path)
    with pytest.raises(MissingData, match="from where the dialogues' authors give it"):
        dialogues(tmp_path / "none.json")


@pytest.mark.data
def test_the_real_annotations(shared_data: Path) -> None:
    folder = shared_data / "composed-retrieval"
    found = cirr(folder)
    assert (len(found.queries), len(found.gallery[""])) == (4181, 2297)
    assert found.queries[0].change == "show three bottles of soft drink"
    assert all(query.targets[0] in query.subset for query in found.queries)
    assert len(cirr(folder, "test1").queries) == 4148
    assert not cirr(folder, "test1").queries[0].targets
    found = circo(folder)
    assert (len(found.queries), found.queries[0].targets) == (220, ("355099", "528417", "534704"))
    assert len(circo(folder, "test").queries) == 800
    found = fashioniq(folder)
    assert len(found.queries) == 6016
    assert found.queries[0].change == "is shiny and silver with shorter sleeves and fit and flare"
    assert all(query.targets[0] in set(found.gallery[query.category]) for query in found.queries[::50])


@pytest.mark.data
def test_the_real_dialogues(shared_data: Path) -> None:
    folder = shared_data / "dialogue-retrieval"
    found = dialogues(folder / "VisDial_v1.0_queries_val.jsonl.gz")
    assert len(found) == 2064
    assert {len(one.turns) for one in found} == {10}
    assert found[0].at(1).endswith("busy computer desk, is the photo in color? yes")
    assert found[0].at(0) == found[0].caption
    assert len(dialogues(folder / "ChatGPT_BLIP2.jsonl.gz")) == 2064
