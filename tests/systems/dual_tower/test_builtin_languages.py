"""The variant `languages` of the built-in model: the same pictures, texts of other languages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diptych import catalogue
from diptych.core import space_of
from diptych.data.base import Split, paired_in_order
from diptych.errors import UsageError
from diptych.systems.dual_tower.builtin import Builtin

SENTENCES = {
    "a dog runs along the beach": (
        "ein Hund läuft am Strand entlang",
        "un chien court le long de la plage",
        "pes běží po pláži",
    ),
    "two children play in the snow": (
        "zwei Kinder spielen im Schnee",
        "deux enfants jouent dans la neige",
        "dvě děti si hrají ve sněhu",
    ),
    "a man rides a red bicycle": (
        "ein Mann fährt ein rotes Fahrrad",
        "un homme fait du vélo rouge",
        "muž jede na červeném kole",
    ),
    "a woman drinks a cup of coffee": (
        "eine Frau trinkt eine Tasse Kaffee",
        "une femme boit une tasse de café",
        "žena pije šálek kávy",
    ),
    "people walk down a busy street": (
        "Leute gehen eine belebte Straße entlang",
        "des gens marchent dans une rue animée",
        "lidé jdou po rušné ulici",
    ),
    "a boat on a lake in the mountains": (
        "ein Boot auf einem See in den Bergen",
        "un bateau sur un lac de montagne",
        "loďka na jezeře v horách",
    ),
}


@pytest.fixture(scope="module")
def english() -> Builtin:
    return Builtin(threads=1)


@pytest.fixture(scope="module")
def languages() -> Builtin:
    return Builtin(threads=1, languages=True)


def test_pictures_are_those_of_the_built_in_model(english: Builtin, languages: Builtin) -> None:
    named = catalogue.load("builtin:languages")
    assert named.fingerprint == languages.fingerprint != english.fingerprint
    assert languages.fingerprint.startswith(english.fingerprint.replace("builtin:", "builtin:languages:"))
    assert space_of(named) == space_of(english) == english.fingerprint
    pictures = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3)).astype(np.uint8)
    np.testing.assert_array_equal(
        languages.encode_image(list(pictures)), english.encode_image(list(pictures))
    )


def test_translations_lie_nearest_to_their_own_sentence(english: Builtin, languages: Builtin) -> None:
    own = english.encode_text(list(SENTENCES))
    right, blind = [], []
    for row, translated in enumerate(SENTENCES.values()):
        right += ((languages.encode_text(translated) @ own.T).argmax(axis=1) == row).tolist()
        blind += ((english.encode_text(translated) @ own.T).argmax(axis=1) == row).tolist()
    assert np.mean(right) >= 0.9  # chance 1/6
    assert np.mean(blind) < np.mean(right)
    np.testing.assert_allclose(languages.encode_text(list(SENTENCES)), own, atol=1e-6)  # plainly English


def test_queries_have_a_calibration_of_their_own(english: Builtin, languages: Builtin) -> None:
    assert languages.calibrate is not None
    assert english.calibrate is not None
    assert languages.calibrate.lines != english.calibrate.lines


def test_heads_of_a_run_are_read_in_other_languages_too(tmp_path: Path, english: Builtin) -> None:
    run = Builtin(threads=1, epochs=3)
    arrays = dict(english.arrays())
    arrays["text0.bias"] = arrays["text0.bias"] + np.float16(0.1)
    run.restore(arrays)
    run.save(tmp_path / "run")
    plain, other = (
        catalogue.load(str(tmp_path / "run")),
        catalogue.load(f"builtin:languages@{tmp_path / 'run'}"),
    )
    assert space_of(other) == plain.fingerprint != english.fingerprint
    assert other.hyperparameters["epochs"] == 3
    found, own = other.encode_text(["zwei Kinder spielen im Schnee"]), plain.encode_text(list(SENTENCES))
    assert int((found @ own.T).argmax()) == 1


def test_it_says_what_it_reads(english: Builtin, languages: Builtin) -> None:
    assert english.remark("a dog") == languages.remark("a dog") == ""
    told = english.remark("ein Hund am Strand")
    assert told.startswith("the built-in model reads English, and this looks like German; builtin:languages")
    assert english.remark("Hund").startswith("the built-in model reads English; builtin:languages reads")
    assert languages.remark("ein Hund am Strand") == ""
    assert languages.unknown_words("ein Hund") == ()
    told = languages.remark("砂浜の犬")
    assert told.startswith("this looks like Japanese, and builtin:languages was measured in English, German,")
    assert "builtin:languages" not in Builtin(heads=False).remark("Hund")


def test_it_has_nothing_to_learn(languages: Builtin) -> None:
    pictures = [np.zeros((224, 224, 3), np.uint8)] * 30
    with pytest.raises(
        UsageError, match=r"train builtin, and the run reads other languages as builtin:langu"
    ):
        languages.fit(Split(pictures, ["a"] * 30, None, paired_in_order(30, 1)))
