from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from diptych import catalogue
from diptych.data.base import Split, paired_in_order
from diptych.data.sets.planted import Planted
from diptych.errors import BadData, MissingData, UsageError
from diptych.systems.real_valued.acmr import ACMR
from diptych.systems.real_valued.dscmr import DSCMR
from diptych.training.learner import Learner
from diptych.training.parameters import dimensions
from diptych.training.trainer import Trainer

SPLIT = Planted(train=60).split("train")


def tiny(seed: int = 0) -> DSCMR:
    built = catalogue.load("dscmr:tiny", seed=seed, epochs=2)
    assert isinstance(built, DSCMR)
    return built


def trained() -> DSCMR:
    return tiny().fit(SPLIT, Trainer(quiet=True, device="cpu"))


def test_hyper_parameters_are_readable_and_rebuild_the_system() -> None:
    system = tiny()
    assert system.hyperparameters["hidden_dim"] == 64
    assert system.hyperparameters["lr"] == 2e-3
    assert "image_net" not in system.hyperparameters
    assert DSCMR(**system.hyperparameters).hyperparameters == system.hyperparameters


def test_the_seed_decides_the_weights() -> None:
    assert tiny(0).fingerprint == tiny(0).fingerprint != tiny(1).fingerprint


def test_the_fingerprint_knows_parameters_and_weights() -> None:
    system = tiny()
    before = system.fingerprint
    system.pairwise_weight = 0.5
    assert system.fingerprint != before
    system = tiny()
    with torch.no_grad():
        next(system.image_net.parameters())[0, 0] += 1e-6
    assert system.fingerprint != before


def test_networks_and_what_they_train() -> None:
    system = tiny()
    assert list(system.networks) == ["image_net", "text_net", "label_net"]
    assert len(system.trainable()) == 8  # the shared layer counts once
    assert len(system.trainable("label_net")) == 2


def test_fit_gives_the_learner_back_in_evaluation_mode() -> None:
    system = tiny()
    assert system.fit(SPLIT, Trainer(quiet=True, device="cpu")) is system
    assert not any(net.training for net in system.networks.values())


def test_data_of_other_dimensions_are_refused() -> None:
    other = Planted(train=20, image_dim=16, classes=3).split("train")
    with pytest.raises(UsageError, match=r"built with image_dim=32, but the training data have 16"):
        tiny().fit(other, Trainer(quiet=True))
    unlabelled = Split(SPLIT.image, SPLIT.text, None, SPLIT.pairs)
    with pytest.raises(UsageError, match=r"classes=5, but the training data have none"):
        tiny().fit(unlabelled, Trainer(quiet=True))


def test_dimensions_are_read_off_a_split() -> None:
    assert dimensions(SPLIT) == {"image_dim": 32, "text_dim": 24, "classes": 5}
    assert dimensions(Split(["a.png"], ["a"], None, paired_in_order(1))) == {}


def test_vectors_are_unit_rows_and_nothing_gives_nothing() -> None:
    system = trained()
    found = system.encode_image(SPLIT.image)
    assert found.dtype == np.float32
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert system.encode_text(np.zeros((0, 24), np.float32)).shape == (0, 32)


def test_large_inputs_are_encoded_in_parts() -> None:
    system = trained()
    many = np.tile(np.asarray(SPLIT.image), (20, 1))  # 1,200 rows, in parts of 1,024
    found = system.encode_image(many)
    assert np.allclose(found[-60:], system.encode_image(SPLIT.image), atol=1e-6)


def test_codes_are_signs_and_zero_is_minus_one() -> None:
    system = tiny()
    object.__setattr__(system, "similarity", "hamming")
    found = system.as_vectors(np.array([[0.5, 0, -2]], np.float32))
    assert found.tolist() == [[1, -1, -1]]


def test_a_folder_holds_card_and_weights_and_loads_again(tmp_path: Path) -> None:
    system = trained()
    system.save(tmp_path / "run", variant="tiny", seed=0)
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    assert card["name"] == "dscmr"
    assert card["parameters"] == system.hyperparameters
    assert card["fingerprint"] == system.fingerprint
    assert (card["variant"], card["seed"]) == ("tiny", 0)
    assert set(card["versions"]) == {"diptych", "python", "torch", "numpy"}
    for name in (str(tmp_path / "run"), f"dscmr@{tmp_path / 'run'}"):
        again = catalogue.load(name)
        assert again.fingerprint == system.fingerprint
        assert np.array_equal(again.encode_text(SPLIT.text), system.encode_text(SPLIT.text))


def test_tuples_come_back_as_tuples(tmp_path: Path) -> None:
    system = catalogue.load("acmr:tiny")
    system.save(tmp_path)
    assert ACMR.from_weights(str(tmp_path)).image_sizes == (64, 16)


def test_loading_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    tiny().save(tmp_path)
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    DSCMR.from_weights(str(tmp_path))
    assert torch.equal(torch.rand(3), expected)


def test_a_folder_that_is_not_whole_is_named(tmp_path: Path) -> None:
    system = tiny()
    with pytest.raises(MissingData, match=r"has no card\.json"):
        DSCMR.from_weights(str(tmp_path))
    system.save(tmp_path)
    with pytest.raises(BadData, match="does not fit the parameters of DSCMR"):
        DSCMR.from_weights(str(tmp_path), hidden_dim=8)
    (tmp_path / "weights.safetensors").write_bytes(b"no weights")
    with pytest.raises(BadData, match="is damaged"):
        DSCMR.from_weights(str(tmp_path))
    (tmp_path / "weights.safetensors").unlink()
    with pytest.raises(MissingData, match=r"has no weights\.safetensors"):
        DSCMR.from_weights(str(tmp_path))


def test_an_unfinished_save_is_not_taken_for_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("diptych.files.write", cut)
    with pytest.raises(KeyboardInterrupt):
        tiny().save(tmp_path)
    assert not (tmp_path / "card.json").exists()


def test_a_system_without_objective_says_so() -> None:
    with pytest.raises(NotImplementedError, match="Learner has no single objective"):
        Learner().objective(None)  # type: ignore[arg-type]


def test_another_process_trains_the_same_weights() -> None:
    code = (
        "import torch; torch.set_num_threads(1)\n"
        "from diptych import catalogue\n"
        "from diptych.data.sets.planted import Planted\n"
        "from diptych.training.trainer import Trainer\n"
        "system = catalogue.load('dscmr:tiny', epochs=2)\n"
        "system.fit(Planted(train=60).split('train'), Trainer(quiet=True, device='cpu'))\n"
        "print(system.fingerprint)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == trained().fingerprint


@pytest.mark.parametrize("name", ["dscmr", "acmr", "dcmh:tiny", "cca", "sm"])
def test_one_line_trains_on_any_split(name: str) -> None:
    quick = {} if name in ("cca", "sm") else {"epochs": 1}
    found = catalogue.load(name, **quick).fit(SPLIT)
    assert found.encode_image(SPLIT.image).shape == found.encode_text(SPLIT.text[: len(SPLIT.image)]).shape
    wanted = {key: value for key, value in dimensions(SPLIT).items() if hasattr(found, key)}
    assert wanted.items() <= found.hyperparameters.items()
    said = catalogue.load(name, seed=0, **wanted, **quick).fit(SPLIT, Trainer(seed=0, quiet=True))
    assert said.fingerprint == found.fingerprint  # as if the dimensions had been said


def test_what_was_said_or_learned_is_not_thrown_away() -> None:
    with pytest.raises(UsageError, match=r"was built with image_dim=16, .* construct it with image_dim=32"):
        catalogue.load("dscmr", image_dim=16).fit(SPLIT)
    learned = catalogue.load("cca").fit(Planted(train=60).split("train"))
    other = Split(np.ones((4, 6), np.float32), np.ones((4, 5), np.float32), None, paired_in_order(4))
    with pytest.raises(UsageError, match="was built with image_dim=32"):
        learned.fit(other)


def test_a_loaded_learner_keeps_its_networks(tmp_path: Path) -> None:
    tiny().save(tmp_path)
    assert not DSCMR.from_weights(str(tmp_path))._untouched
    assert not trained()._untouched
