"""The page of an evaluation tells what was measured, and shows the queries that did best and worst."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from diptych.data.base import Loaded, Split, paired_in_order
from diptych.evaluation import Evaluation, evaluate
from diptych.report.evaluation_page import evaluation_page

CAPTIONS = ["a <b>red</b> one", "green", "blue", "yellow", "black", "white", "pink"]


class Known:
    """Vectors of seven pictures and captions that find each other, but the last two, which are confused."""

    similarity = "cosine"
    name = "known"

    def encode_image(self, images: Any) -> Any:
        return np.stack([np.asarray(image, np.float32) for image in images])

    def encode_text(self, texts: Any) -> Any:
        order = [*range(5), 6, 5]
        return np.stack([np.eye(7, dtype=np.float32)[order[CAPTIONS.index(text)]] for text in texts])


@pytest.fixture(scope="module")
def data() -> Loaded:
    split = Split(np.eye(7, dtype=np.float32), CAPTIONS, None, paired_in_order(7))
    return Loaded("seven", {"test": split})


@pytest.fixture(scope="module")
def found(data: Loaded) -> Evaluation:
    return evaluate(Known(), data, name="known")


def plain(page: str) -> str:
    """The words of a page."""
    return " ".join(re.sub(r"<[^>]+>", " ", page.partition("</style>")[2]).split())


def test_the_numbers_are_those_that_were_measured(found: Evaluation, data: Loaded) -> None:
    assert found.main() == pytest.approx({"image to text": 5 / 7, "text to image": 5 / 7})
    page = plain(evaluation_page(found, data))
    assert "known on seven" in page
    assert "7 queries against 7" in page
    assert re.search(r"R@1 (0?\.71|71)", page)


def test_the_worst_queries_are_those_that_were_confused(found: Evaluation, data: Loaded) -> None:
    page = plain(evaluation_page(found, data))
    section = page[page.index("Best and worst queries, text to image") :]
    best, worst = section[section.index("Best", 10) :].split("Worst", 1)
    for caption in ("white", "pink"):
        assert caption not in best
        assert caption in worst


def test_captions_are_shown_and_not_obeyed(found: Evaluation, data: Loaded) -> None:
    page = evaluation_page(found, data)
    assert "<b>red</b>" not in page
    assert "a &lt;b&gt;red&lt;/b&gt; one" in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)


def test_without_the_data_items_are_named_by_their_ids(found: Evaluation) -> None:
    page = evaluation_page(found)
    assert "yellow" not in plain(page)
    for fold in found.folds["text to image"]:
        assert all(f">{name}<" in page for name in fold.gallery_id[:2])
