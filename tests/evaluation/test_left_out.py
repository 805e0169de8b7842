"""One picture that cannot be read does not end what the others are used for; it is left out and counted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from coloured import Colour, files
from damaged_pictures import bomb
from diptych import __main__
from diptych.core import Floats
from diptych.data.base import Loaded, Pictures, Split, captioned
from diptych.data.extracted import extract
from diptych.data.readable import ORPHANED
from diptych.errors import BadData, ImageError
from diptych.evaluation import evaluate
from diptych.media.pictures import Unread
from diptych.media.report import Report

COLOURS = [(250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0), (0, 250, 250), (250, 0, 250), (9, 9, 9)]
BAD = {1: "cut.jpg", 3: "gone.png", 4: "huge.png", 6: "folder.png"}
REASONS = {"damaged or of a kind that is not supported", "cannot be read", "too large", "is a folder"}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))


def folder(place: Path) -> Pictures:
    place.mkdir(exist_ok=True)
    names = []
    for row, colour in enumerate(COLOURS):
        names.append(BAD.get(row, f"{row}.png"))
        if row not in BAD:
            Image.new("RGB", (20, 20), colour).save(place / names[-1])
    whole = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(whole).save(place / "cut.jpg")
    (place / "cut.jpg").write_bytes((place / "cut.jpg").read_bytes()[:200])
    (place / "huge.png").write_bytes(bomb(20_000, 20_000))
    (place / "folder.png").mkdir(exist_ok=True)
    return Pictures.from_folder(place, names)


def split_in(place: Path) -> Split:
    """Two texts a picture, its row; the first of the damaged one is of a whole one, too."""
    found = captioned(folder(place), [[str(row), str(row)] for row in range(len(COLOURS))])
    more = np.concatenate([found.pairs, [[0, 2]]])
    return Split(found.image, found.text, None, more, image_id=found.image_id, text_id=found.text_id)


class Both(Colour):
    """Mean colours, and those that a text names."""

    def encode_text(self, texts: Sequence[str]) -> Floats:
        return np.array([COLOURS[int(text)] for text in texts], np.float32)


class Scores:
    """A scorer of the same, which is no encoder."""

    def score_pairs(self, images: Any, texts: Any, pairs: Any) -> Floats:
        image, text = Both().encode_image(images), Both().encode_text(texts)
        return -np.abs(image[pairs[:, 0]] - text[pairs[:, 1]]).sum(axis=1)


@pytest.mark.parametrize("system", [Both(), Scores()])
def test_an_evaluation_goes_on_without_pictures_that_cannot_be_read(tmp_path: Path, system: Any) -> None:
    data = Loaded("mine", {"test": split_in(tmp_path / "in")})
    found = evaluate(system, data)
    there, back = found.measured["image to text"], found.measured["text to image"]
    # Of seven pictures three are left; of fourteen texts their six and the one that describes one of them.
    assert (there.queries, there.gallery) == (3, 7)
    assert (back.queries, back.gallery) == (7, 3)
    assert there["R@1"] == 1
    assert back["R@1"] == pytest.approx(6 / 7)  # what a damaged picture shows is not what the whole one does
    left = {one["reason"].partition(" (")[0]: one for one in found.facts["read"]["not_used"]}
    assert {reason.partition(":")[0] for reason in left} == REASONS | {ORPHANED}
    pictures = [one for one in left.values() if one["what"] == "pictures"]
    assert sorted(name for one in pictures for name in one["first"]) == sorted(
        str(tmp_path / "in" / name) for name in BAD.values()
    )
    assert left[ORPHANED]["count"] == 7
    assert found.folds["image to text"][0].query_id == ("0", "2", "5")
    with pytest.raises(ImageError, match=r"cut\.jpg: damaged"):
        evaluate(system, data, strict=True)


def test_what_is_left_out_changes_no_number_of_the_others(tmp_path: Path) -> None:
    split = split_in(tmp_path / "in")
    whole = split.select([0, 2, 5], [0, 1, 2, 4, 5, 10, 11])
    with_damage = evaluate(Both(), Loaded("mine", {"test": split}))
    without = evaluate(Both(), Loaded("mine", {"test": whole}))
    for direction, one in with_damage.measured.items():
        assert one.values() == without.measured[direction].values()
    assert with_damage.facts["splits_sha256"] == without.facts["splits_sha256"]
    assert "read" not in without.facts


def test_features_are_of_the_pictures_that_can_be_read(tmp_path: Path) -> None:
    split, report, colour = split_in(tmp_path / "in"), Report(), Colour()
    found = extract(split, image=colour, report=report)
    assert found.image.shape == (3, 3)
    np.testing.assert_allclose(found.image, [COLOURS[row] for row in (0, 2, 5)])
    assert found.image_id == ("0", "2", "5")
    assert sum(one.count for one in report.left if one.what == "pictures") == len(BAD)
    assert len(colour.asked) == 1

    colour, again = Colour(), Report()
    same = extract(split, image=colour, report=again)
    assert colour.asked == []
    np.testing.assert_array_equal(same.image, found.image)
    assert again.as_dict() == report.as_dict()

    with pytest.raises(ImageError, match=r"gone\.png: cannot be read"):
        extract(split, image=Colour())


def test_a_file_of_features_never_stands_for_other_pictures(tmp_path: Path) -> None:
    split = split_in(tmp_path / "in")
    extract(split, image=Colour(), report=Report())
    Image.new("RGB", (20, 20), COLOURS[3]).save(tmp_path / "in" / "gone.png")
    Image.new("RGB", (20, 20), COLOURS[1]).save(tmp_path / "in" / "cut.jpg", quality=100)
    colour = Colour()
    found = extract(split, image=colour, report=Report())
    np.testing.assert_allclose(found.image, [COLOURS[row] for row in (0, 1, 2, 3, 5)], atol=2)
    assert colour.asked == [5]


def test_features_of_another_decoder_are_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = split_in(tmp_path / "in").take([0, 2])
    extract(split, image=Colour())
    monkeypatch.setattr("diptych.data.extracted.DECODING", "another")
    again = Colour()
    extract(split, image=again)
    assert again.asked == [2]


def test_what_is_not_the_pictures_fault_is_tried_again(tmp_path: Path) -> None:
    class Lacks(Colour):
        def prepare_image(self, picture: Any) -> Any:
            if np.asarray(picture)[0, 0, 1] > 200:
                raise Unread("green.png", "needs an optional package")
            return picture

    whole = captioned(Pictures.from_folder(tmp_path / "in", folder(tmp_path / "in").names[:3:2]), [["a"]] * 2)
    Image.new("RGB", (20, 20), COLOURS[1]).save(tmp_path / "in" / "0.png")
    report = Report()
    assert len(extract(whole, image=Lacks(), report=report)) == 1
    assert str(report.left[0]) == "1 picture not used: needs an optional package (green.png)"
    assert [file.suffix for file in files()] == [".npy"]
    assert len(extract(whole, image=Colour(), report=Report())) == 2


def test_nothing_to_go_on_with_is_refused(tmp_path: Path) -> None:
    bad = split_in(tmp_path / "in").take([1, 3, 4, 6])
    with pytest.raises(BadData, match=r"none of these 4 pictures can be read, .* the first: "):
        evaluate(Both(), Loaded("mine", {"test": bad}))
    with pytest.raises(BadData, match=r"none of these 4 pictures can be read, .* the first: "):
        extract(bad, image=Colour(), report=Report())


def test_the_command_line_names_and_counts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", ["diptych", *arguments])
        try:
            __main__.main()
        except SystemExit as ended:
            return int(ended.code or 0)
        return 0

    monkeypatch.chdir(tmp_path)
    place = tmp_path / "in"
    place.mkdir()
    for row in range(12):
        pixels = np.random.default_rng(row).integers(0, 255, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(place / f"{row}.jpg")
        (place / f"{row}.txt").write_text(f"a picture of thing {row}\n")
    (place / "5.jpg").write_bytes((place / "5.jpg").read_bytes()[:200])

    assert main("evaluate", "builtin", "--data", "in", "--json", "--out", "out") == 0
    said = capsys.readouterr()
    lines = "1 picture not used: damaged or of a kind that is not supported (", "/5.jpg)"
    assert all(said.err.count(line) == 1 for line in lines)
    assert f"1 caption not used: {ORPHANED} (a picture of thing 5)" in said.err
    facts = json.loads(said.out)
    assert facts["read"]["used"]["pictures"] == facts["read"]["used"]["captions"] == 11
    assert [one["count"] for one in facts["read"]["not_used"]] == [1, 1]
    assert facts["results"]["image to text"]["queries"] == 11
    saved = json.loads((tmp_path / "out" / "evaluation.json").read_text(encoding="utf-8"))
    assert saved["read"] == facts["read"]
    assert main("evaluate", "builtin", "--data", "in", "--strict") == 1
    assert "5.jpg: damaged" in capsys.readouterr().err

    asked = ["train", "cca", "--data", "in", "--features", "builtin", "--quiet", "--json"]
    assert main(*asked, "--out", "run") == 0
    said = capsys.readouterr()
    assert all(said.err.count(line) == 1 for line in lines)
    (trained,) = json.loads(said.out)
    assert trained["read"] == facts["read"]
    assert json.loads((tmp_path / "run" / "card.json").read_text(encoding="utf-8"))["read"] == facts["read"]
    assert main(*asked, "--out", "strict", "--strict") == 1
    assert "5.jpg: damaged" in capsys.readouterr().err
