from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from diptych.data.base import Split, paired_in_order
from diptych.data.sets.planted import Planted
from diptych.errors import BadData, BadParameter, MissingExtra, TrainingError
from diptych.training import checkpoint
from diptych.training.trainer import Trainer
from diptych.training.view import Progress

SPLIT = Planted(train=60, captions=2).split("train")  # 60 images, 120 pairs


class PowerCut(Exception):
    pass


def trainer(run: Path | None = None, **options: Any) -> Trainer:
    return Trainer(run, **{"quiet": True, "device": "cpu", "checkpoint_seconds": 0.0, **options})


class Job:
    """A training that keeps one thing of every kind."""

    def __init__(self) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.net = nn.Sequential(
                nn.Linear(32, 16), nn.BatchNorm1d(16), nn.Dropout(0.2), nn.Linear(16, 24)
            )
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=0.01)
        self.schedule = torch.optim.lr_scheduler.StepLR(self.optimizer, 1, gamma=0.9)
        self.codes = torch.zeros(len(SPLIT.pairs))
        self.counts = np.zeros(len(SPLIT.pairs), np.int64)
        self.draw = np.random.default_rng(5)
        self.torch_draw = torch.Generator().manual_seed(8)

    def keep(self) -> tuple[Any, ...]:
        return (
            self.net,
            self.optimizer,
            self.schedule,
            self.codes,
            self.counts,
            self.draw,
            self.torch_draw,
        )

    def run(self, verbs: Trainer, *, epochs: int = 4, cut_at: int | None = None) -> Job:
        for _ in verbs.epochs(epochs, keep=self.keep()):
            for batch in verbs.batches(SPLIT, 50):
                if verbs.steps == cut_at:
                    raise PowerCut
                noise = float(self.draw.random()) + float(torch.rand((), generator=self.torch_draw))
                out = self.net(batch.image) + 0.01 * noise
                verbs.step(self.optimizer, {"fit": (out - batch.text).square().mean()})
                self.codes[batch.index] = out.detach().mean(dim=1)
                self.counts[batch.index.numpy()] += 1
            self.schedule.step()
        return self

    def state(self) -> list[Any]:
        return checkpoint.capture(self.keep())


def same(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


@pytest.mark.parametrize("cut_at", [0, 2, 4, 8, 11])
def test_a_stopped_training_goes_on_bit_for_bit(tmp_path: Path, cut_at: int) -> None:
    whole_verbs = trainer(tmp_path / "whole")
    whole = Job().run(whole_verbs)
    with pytest.raises(PowerCut):
        Job().run(trainer(tmp_path / "cut"), cut_at=cut_at)
    torch.rand(7)  # the resumed training must not depend on what the process drew before
    verbs = trainer(tmp_path / "cut")
    again = Job().run(verbs)
    assert same(again.state(), whole.state())
    assert verbs.steps == whole_verbs.steps == 12

    def lines(name: str) -> list[dict[str, Any]]:
        text = (tmp_path / name / "log.jsonl").read_text().splitlines()
        return [{**json.loads(line), "seconds": 0} for line in text]

    assert lines("cut") == lines("whole")
    assert [entry["epoch"] for entry in lines("cut")] == [0, 1, 2, 3]


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    first = Job().run(trainer(tmp_path))
    verbs = trainer(tmp_path)
    again = Job().run(verbs, cut_at=12)
    assert same(first.state(), again.state())
    assert len(verbs.history) == 4


def test_stages_resume_each_where_they_stood(tmp_path: Path) -> None:
    def run(verbs: Trainer, cut_at: int | None = None) -> tuple[list[Any], list[tuple[int, int]]]:
        teacher, student, seen = Job(), Job(), []
        for stage, job in enumerate((teacher, student)):
            for epoch in verbs.epochs(2, keep=job.keep()):
                seen.append((stage, epoch))
                for batch in verbs.batches(SPLIT, 60):
                    if verbs.steps == cut_at:
                        raise PowerCut
                    target = batch.text if job is teacher else teacher.net(batch.image).detach()
                    verbs.step(job.optimizer, {"fit": (job.net(batch.image) - target).square().mean()})
        return [*teacher.state(), *student.state()], seen

    whole, _ = run(trainer())
    with pytest.raises(PowerCut):
        run(trainer(tmp_path), cut_at=7)
    rest, seen = run(trainer(tmp_path))
    assert same(rest, whole)
    assert seen == [(1, 1)]


def test_training_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(4)
    torch.manual_seed(1)
    Job().run(trainer())
    assert torch.equal(torch.rand(4), expected)


def test_a_pass_has_every_pair_once_in_an_order_of_its_own() -> None:
    verbs, orders = trainer(), []
    for _ in verbs.epochs(2):
        for _ in range(2):
            orders.append(torch.cat([batch.index for batch in verbs.batches(SPLIT, 50)]).tolist())
    assert all(sorted(order) == list(range(120)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    again = trainer()
    for _ in again.epochs(1):
        assert torch.cat([batch.index for batch in again.batches(SPLIT, 50)]).tolist() == orders[0]


def test_a_batch_holds_the_rows_of_its_pairs() -> None:
    for batch in trainer().batches(SPLIT, 50):
        pairs = SPLIT.pairs[batch.index.numpy()]
        assert np.array_equal(batch.image_row.numpy(), pairs[:, 0])
        assert np.array_equal(batch.text_row.numpy(), pairs[:, 1])
        assert np.array_equal(batch.image.numpy(), np.asarray(SPLIT.image)[pairs[:, 0]])
        assert np.array_equal(batch.text.numpy(), np.asarray(SPLIT.text)[pairs[:, 1]])
        assert SPLIT.label is not None
        assert np.array_equal(batch.label.numpy(), SPLIT.label[pairs[:, 0]])
        assert batch.label.dtype == torch.float32


def test_batches_of_pictures_and_captions_are_lists_without_labels() -> None:
    split = Split(["a.png", "b.png"], ["one", "two"], None, paired_in_order(2))
    (batch,) = trainer().batches(split, 5, shuffle=False)
    assert (batch.image, batch.text) == (["a.png", "b.png"], ["one", "two"])
    assert batch.label.shape == (2, 0)
    assert len(batch) == 2


def test_order_can_be_kept_and_a_short_last_batch_dropped() -> None:
    kept = list(trainer().batches(SPLIT, 50, shuffle=False, drop_last=True))
    assert [len(batch) for batch in kept] == [50, 50]
    assert torch.cat([batch.index for batch in kept]).tolist() == list(range(100))


def test_batches_can_each_be_drawn_from_all_pairs() -> None:
    passes = []
    for _ in (verbs := trainer()).epochs(2):
        passes += [[batch.index.tolist() for batch in verbs.batches(SPLIT, 50, anew=True)] for _ in range(2)]
    assert all([len(rows) for rows in one] == [50, 50] for one in passes)
    assert all(len(set(rows)) == 50 for one in passes for rows in one)
    # Two draws of 50 among 120 share about 21 pairs: each was made from all of them.
    assert all(5 < len(set(first) & set(second)) < 40 for first, second in passes)
    assert len({tuple(one[0]) for one in passes}) == 4
    few = SPLIT.take(list(range(7)))
    (batch,) = trainer().batches(few, 50, anew=True)
    assert sorted(batch.index.tolist()) == list(range(len(few.pairs)))


def test_nothing_to_learn_from_is_an_error() -> None:
    empty = SPLIT.take([])
    with pytest.raises(TrainingError, match="no batch of 5 pairs"):
        next(trainer().batches(empty, 5))
    with pytest.raises(TrainingError, match="no batch of 121 pairs"):
        next(trainer().batches(SPLIT, 121, drop_last=True))
    with pytest.raises(BadParameter, match="at least 1, not 0"):
        next(trainer().batches(SPLIT, 0))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_term_that_is_not_finite_is_named_and_changes_nothing(value: float) -> None:
    weight = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    with pytest.raises(TrainingError, match=rf"'triplet' became {value} in epoch 0, step 0"):
        trainer().step(optimizer, {"match": weight.sum(), "triplet": weight.sum() * value})
    assert weight.item() == 1


def test_terms_without_a_gradient_are_refused() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
    with pytest.raises(TrainingError, match="none of the terms a, b depends on what is trained"):
        trainer().step(optimizer, {"a": torch.ones(()), "b": torch.ones(())})
    with pytest.raises(TrainingError, match="no loss terms"):
        trainer().step(optimizer, {})


def test_a_step_moves_only_its_own_parameters_and_leaves_others_no_gradient() -> None:
    mine, other = nn.Parameter(torch.tensor([2.0])), nn.Parameter(torch.tensor([3.0]))
    verbs = trainer()
    verbs.step(
        torch.optim.SGD([mine], lr=0.1), {"product": (mine * other).sum(), "square": mine.square().sum()}
    )
    assert mine.item() == pytest.approx(2 - 0.1 * (3 + 2 * 2))
    assert other.item() == 3
    assert other.grad is None
    verbs.step(torch.optim.SGD([mine], lr=0.1), {"product": mine.sum()})
    assert mine.item() == pytest.approx(1.3 - 0.1)  # no gradient is left over from the first step


def test_clipping_bounds_the_norm_of_all_gradients_together() -> None:
    weights = nn.Parameter(torch.zeros(2))
    trainer(clip=1.0).step(
        torch.optim.SGD([weights], lr=1.0), {"far": (torch.tensor([30.0, 40.0]) * weights).sum()}
    )
    assert weights.tolist() == pytest.approx([-0.6, -0.8], abs=1e-5)


def test_the_log_holds_means_of_terms_steps_and_validation(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.tensor(2.0))
    optimizer = torch.optim.SGD([weight], lr=0.5)
    verbs = trainer(tmp_path, validate=lambda: -abs(weight.item()))
    for _ in verbs.epochs(1, keep=(weight, optimizer)):
        verbs.step(optimizer, {"w": weight * 1, "twice": weight * 2})
        verbs.step(optimizer, {"w": weight * 1, "twice": weight * 2})
        verbs.record({"seen": torch.tensor(7.0)})
    (entry,) = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert entry.pop("seconds") >= 0
    assert entry == {
        "stage": 0,
        "epoch": 0,
        "steps": 2,
        "terms": {"w": 1.25, "twice": 2.5, "seen": 7.0},  # w was 2, then 0.5
        "validation": -1.0,
    }


def test_it_stops_early_and_puts_the_best_epoch_back(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.tensor(0.0))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    # The weight counts epochs; the best validation is at 3.
    verbs = trainer(tmp_path, validate=lambda: -abs(weight.item() - 3), patience=2)
    for _ in verbs.epochs(50, keep=(weight, optimizer)):
        verbs.step(optimizer, {"down": -weight})
    assert weight.item() == 3
    assert verbs.best == 0
    assert [entry["validation"] for entry in verbs.history] == [-2, -1, 0, -1, -2]


def test_early_stopping_survives_a_restart(tmp_path: Path) -> None:
    def run(verbs: Trainer, cut_at: int | None = None) -> float:
        weight = nn.Parameter(torch.tensor(0.0))
        verbs.validate = lambda: -abs(weight.item() - 3)
        optimizer = torch.optim.SGD([weight], lr=1.0)
        for _ in verbs.epochs(50, keep=(weight, optimizer)):
            if verbs.steps == cut_at:
                raise PowerCut
            verbs.step(optimizer, {"down": -weight})
        return weight.item()

    with pytest.raises(PowerCut):
        run(trainer(tmp_path, patience=2), cut_at=4)
    verbs = trainer(tmp_path, patience=2)
    assert run(verbs) == 3
    assert len(verbs.history) == 5


def test_a_stage_may_go_without_validation_and_validation_may_be_rarer() -> None:
    verbs = trainer(validate=lambda: 1.0, validate_every=2)
    list(verbs.epochs(2, validate=False))
    list(verbs.epochs(5))
    assert ["validation" in entry for entry in verbs.history] == [
        False,
        False,
        False,
        True,
        False,
        True,
        True,
    ]


def test_a_validation_that_is_no_number_is_an_error() -> None:
    with pytest.raises(TrainingError, match="the validation gave nan after epoch 0"):
        list(trainer(validate=lambda: float("nan")).epochs(1))


def test_validation_draws_nothing_from_the_training() -> None:
    def run(**options: Any) -> list[Any]:
        return Job().run(trainer(**options)).state()

    calls = iter(range(100))

    def rising() -> float:
        torch.rand(5)
        return float(next(calls))

    assert same(run(), run(validate=rising))


def test_modules_train_inside_the_loop_and_evaluate_after_it() -> None:
    net = nn.Dropout()
    net.eval()
    inside = [net.training for _ in trainer().epochs(1, keep=(net,))]
    assert inside == [True]
    assert not net.training


def test_another_trainings_folder_is_refused(tmp_path: Path) -> None:
    Job().run(trainer(tmp_path, identity="dscmr on wikipedia"))
    with pytest.raises(TrainingError, match=r"another training \(dscmr on wikipedia, seed 0\), not unnamed"):
        Job().run(trainer(tmp_path))
    with pytest.raises(TrainingError, match="choose another folder or remove it"):
        Job().run(trainer(tmp_path, identity="dscmr on wikipedia", seed=1))


def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    Job().run(trainer(tmp_path))
    with pytest.raises(TrainingError, match="holds 7 objects, but 1 are to be restored"):
        list(trainer(tmp_path).epochs(4, keep=(nn.Linear(1, 1),)))
    other = Job()
    other.net = nn.Sequential(nn.Linear(3, 2))
    with pytest.raises(TrainingError, match="does not fit Sequential"):
        other.run(trainer(tmp_path))


def test_a_damaged_checkpoint_or_log_is_named(tmp_path: Path) -> None:
    Job().run(trainer(tmp_path))
    (tmp_path / "log.jsonl").write_text("")
    with pytest.raises(BadData, match="shorter than its checkpoint says"):
        Job().run(trainer(tmp_path))
    (tmp_path / "checkpoints" / "stage0.pt").write_bytes(b"broken")
    with pytest.raises(TrainingError, match=r"stage0\.pt is damaged"):
        Job().run(trainer(tmp_path))


def test_a_crash_while_writing_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "stage0.pt"
    checkpoint.write(path, {"epoch": 1})

    def fails(*_: object) -> None:
        raise PowerCut

    monkeypatch.setattr("diptych.files.os.replace", fails)
    with pytest.raises(PowerCut):
        checkpoint.write(path, {"epoch": 2})
    assert checkpoint.read(path) == {"epoch": 1}


def test_what_cannot_be_kept_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="int cannot be kept"):
        list(trainer(tmp_path).epochs(1, keep=(3,)))


def test_bad_options_are_refused() -> None:
    with pytest.raises(BadParameter, match="fp32, bf16 or fp16, not 'fp8'"):
        trainer(precision="fp8")
    with pytest.raises(BadParameter, match="at least 1"):
        trainer(patience=0)
    with pytest.raises(BadParameter, match="4 processes were asked for, but 1 were started"):
        trainer(processes=4)
    with pytest.raises(BadParameter, match="at least 1, not 0"):
        trainer(processes=0)


def test_curves_are_drawn_of_terms_and_validation(tmp_path: Path) -> None:
    from PIL import Image

    verbs = trainer(tmp_path, validate=lambda: 0.5)
    assert verbs.draw() is None
    Job().run(verbs)
    path = verbs.draw()
    assert path == tmp_path / "curves.png"
    with Image.open(path) as picture:
        assert picture.size[0] > 300
    assert trainer().draw() is None


def test_progress_names_the_terms_and_the_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(3)
    progress.terms({"J1": 0.25, "J2": 1e-5})
    progress.epoch(0, {"J1": 0.125})
    progress.close()
    out, err = capsys.readouterr()
    assert out == ""
    assert "epoch 1/3" in err
    assert "J1 0.125" in err
    assert "left" in err


def test_there_is_no_bar_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    Job().run(trainer(quiet=False))
    assert capsys.readouterr() == ("", "")
    assert not Progress.wanted(False)


def test_epochs_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="diptych.training.trainer"):
        Job().run(trainer(), epochs=1)
    assert "stage 0 epoch 0: {'fit':" in caplog.text


def test_tensorboard_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(MissingExtra, match=r"pip install 'diptych\[tensorboard\]'"):
        trainer(tmp_path, tensorboard=True)


def test_tensorboard_gets_terms_and_validation(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    Job().run(trainer(tmp_path, tensorboard=True, validate=lambda: 0.5))
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert set(events.Tags()["scalars"]) == {"stage0/fit", "stage0/validation"}
    assert len(events.Scalars("stage0/fit")) == 4


def test_mixed_precision_computes_in_half_and_keeps_weights_whole() -> None:
    net = nn.Linear(32, 24)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    verbs, seen = trainer(precision="bf16"), []
    for _ in verbs.epochs(3, keep=(net, optimizer)):
        for batch in verbs.batches(SPLIT, 60):
            out = net(batch.image)
            seen.append(out.dtype)
            verbs.step(optimizer, {"fit": (out.float() - batch.text).square().mean()})
    assert set(seen) == {torch.bfloat16}
    assert net.weight.dtype == torch.float32
    assert verbs.history[-1]["terms"]["fit"] < verbs.history[0]["terms"]["fit"]
    assert net(torch.zeros(1, 32)).dtype == torch.float32  # the context ends with the loop


_TWO = """
import json, sys, pathlib, torch
import torch.nn as nn
from diptych.nets.contrastive import info_nce, others_of_the_same
from diptych.training.trainer import Trainer
from diptych.data.sets.planted import Planted
torch.set_num_threads(1)
split = Planted(train=61).split("train")
processes, run = int(sys.argv[1]), pathlib.Path(sys.argv[2])
torch.manual_seed(0)
net = nn.Linear(32, 24)
trainer = Trainer(run, processes=processes, device="cpu", quiet=True)
if processes > 1 and trainer._processes.rank == 1:
    nn.init.zeros_(net.weight)  # every process starts from the first one's weights all the same
optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
torch.manual_seed(1)
towers = nn.ModuleList([nn.Linear(32, 8), nn.Linear(24, 8), nn.Linear(1, 1, bias=False)])
contrast = torch.optim.Adam(towers.parameters(), lr=0.01)
rows = torch.zeros(61)
trainer.validate = lambda: float(-net.weight.square().sum())
for _ in trainer.epochs(3, keep=(net, optimizer, towers, contrast, rows)):
    for batch in trainer.batches(split, 20):
        error = (net(batch.image) - batch.text).square().mean(dim=1)
        trainer.step(optimizer, {"fit": error.mean()})
        rows[batch.index] = error.detach()
        vectors = (nn.functional.normalize(one(x)) for one, x in zip(towers, (batch.image, batch.text)))
        image, text, shown = (trainer.gathered(batch, one) for one in (*vectors, batch.image_row))
        assert len(image) == batch.whole
        there, back = info_nce(towers[2].weight.exp() * image @ text.T, others_of_the_same(shown))
        trainer.step(contrast, {"contrast": there + back})
weights = net.weight.flatten().tolist()
rank = trainer._processes.rank
towers = torch.cat([one.flatten() for one in towers.parameters()]).tolist()
(run / f"result{rank}.json").write_text(
    json.dumps({"weights": weights, "rows": rows.tolist(), "towers": towers})
)
if processes > 1:
    torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_train_what_one_does(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(_TWO)

    def run(processes: int) -> list[dict[str, Any]]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        folder = tmp_path / f"run{processes}"
        folder.mkdir()
        started = []
        for rank in range(processes):
            more = {
                "WORLD_SIZE": str(processes),
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
            }
            environment = {**os.environ, **(more if processes > 1 else {})}
            command = [sys.executable, str(script), str(processes), str(folder)]
            started.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
        for process in started:
            _, errors = process.communicate(timeout=240)
            assert process.returncode == 0, errors
        assert len((folder / "log.jsonl").read_text().splitlines()) == 3
        return [json.loads((folder / f"result{rank}.json").read_text()) for rank in range(processes)]

    (alone,), (first, second) = run(1), run(2)
    assert first == second
    assert first["weights"] == pytest.approx(alone["weights"], abs=1e-5)
    assert first["rows"] == pytest.approx(alone["rows"], abs=1e-4)
    assert first["towers"] == pytest.approx(alone["towers"], abs=1e-5)  # each pair is told from all others
    logs = [(tmp_path / f"run{count}" / "log.jsonl").read_text().splitlines() for count in (1, 2)]
    terms = [[json.loads(line)["terms"]["contrast"] for line in lines] for lines in logs]
    assert terms[1] == pytest.approx(terms[0], abs=1e-5)
