# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine, Events
from monai.handlers import LrScheduleHandler

from wss_monai.handlers import EpochLog


def run(folder, losses, first=1, epochs=None, t=5.0, parts=True, validated=(), tensorboard=False, stop_in=None):
    """Log a trainer with two iterations an epoch; ``losses`` of each iteration, from epoch ``first`` on."""
    values = iter(losses)
    loss = SimpleNamespace(parts={}, violations={}, t=t)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.25)
    evaluator = Engine(lambda *_: None)
    evaluator.state.epoch, evaluator.state.metrics = 0, {}

    def step(engine, _):
        if engine.state.epoch == stop_in:
            raise KeyboardInterrupt
        value = torch.tensor(next(values))
        if parts:
            loss.parts, loss.violations = {"partial": value * 2}, {"size": value * 0}
        return {"loss": value}

    engine = Engine(step)
    engine.add_event_handler(Events.STARTED, lambda e: setattr(e.state, "epoch", first - 1))

    def validate(e):
        if e.state.epoch in validated:
            evaluator.state.epoch = e.state.epoch
            evaluator.state.metrics = {"score": 0.5, "constraint_satisfaction": 1.0, "dice_LV": 0.1 * e.state.epoch}

    engine.add_event_handler(Events.EPOCH_COMPLETED, validate)
    EpochLog(folder, loss, optimizer, evaluator, tensorboard=tensorboard).attach(engine)
    try:
        engine.run([0, 1], max_epochs=epochs or first - 1 + len(losses) // 2)
    except KeyboardInterrupt:
        assert stop_in is not None
    return list(csv.DictReader((folder / "metrics.csv").open()))


def test_rows_are_means_of_the_epoch(tmp_path, capsys):
    rows = run(tmp_path, [1.0, 3.0, 5.0, 7.0], validated=[2])
    assert [row["epoch"] for row in rows] == ["1", "2"] and [row["iteration"] for row in rows] == ["2", "4"]
    assert [float(row["loss"]) for row in rows] == [2.0, 6.0]
    assert [float(row["loss_partial"]) for row in rows] == [4.0, 12.0]
    assert [row["violation_size"] for row in rows] == ["0.0", "0.0"]
    assert [(row["lr"], row["t"]) for row in rows] == [("0.25", "5.0")] * 2
    assert (rows[0]["val_score"], rows[1]["val_score"], rows[1]["val_dice_LV"]) == ("", "0.5", "0.2")
    assert all(value.lower() != "nan" for row in rows for value in row.values())


def test_the_rate_is_the_one_that_was_trained_with(tmp_path):
    """Not the one of the epoch to come, to which the schedule has stepped when the row is written."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.25)
    loss = SimpleNamespace(parts={}, violations={}, t=None)

    def step(*_):
        optimizer.step()
        return {"loss": torch.tensor(1.0)}

    engine = Engine(step)
    LrScheduleHandler(torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5), print_lr=False).attach(engine)
    EpochLog(tmp_path, loss, optimizer, tensorboard=False).attach(engine)
    engine.run([0, 1], max_epochs=3)
    rows = list(csv.DictReader((tmp_path / "metrics.csv").open()))
    assert [float(row["lr"]) for row in rows] == [0.25, 0.125, 0.0625]


def test_without_a_barrier_t_is_empty_and_not_shown(tmp_path, capsys):
    rows = run(tmp_path, [1.0, 1.0], t=None, parts=False)
    assert rows[0]["t"] == ""
    assert capsys.readouterr().out.split("\n")[0].split() == ["epoch", "seconds", "loss"]


def test_console_names_the_columns_once_and_validation_on_a_line_of_its_own(tmp_path, capsys):
    run(tmp_path, [1.0] * 8, validated=[2, 4])
    lines = capsys.readouterr().out.splitlines()
    assert [number for number, line in enumerate(lines) if "epoch" in line] == [0]
    assert [line.split()[0] for line in lines[1:]] == ["1/4", "2/4", "val_score=0.5", "3/4", "4/4", "val_score=0.5"]
    assert lines[3].split()[1:] == ["val_constraint_satisfaction=1"]
    assert len(lines[4].split()) == len(lines[0].split())


def test_the_console_fits_100_columns_and_says_what_it_leaves_out(tmp_path, capsys):
    log = EpochLog(tmp_path, SimpleNamespace(), SimpleNamespace())
    layers = {f"loss_mutual_information_model.{'1.submodule.' * 3}{i}": 0.5 for i in range(5)}
    row = {"epoch": 1, "iteration": 5, "seconds": 1.0, "loss": 1.25, **layers, "loss_partial": 2.5}
    lines = log._line({**row, **{f"val_{'x' * 20}{i}": 0.125 for i in range(9)}}, 100).splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0].split()[:4] == ["epoch", "seconds", "loss", "loss_partial"]
    assert lines[0].endswith("(+5 in metrics.csv)")
    assert lines[1].split() == ["1/100", "1.0", "1.25", "2.5"]
    assert sum(line.count("=0.125") for line in lines[2:]) == 9
    assert len(log._line({**row, "epoch": 2}, 100).splitlines()) == 1


def test_resumed_run_keeps_the_rows_of_the_epochs_before(tmp_path):
    run(tmp_path, [1.0, 1.0, 2.0, 2.0, 9.0, 9.0], epochs=4, stop_in=4, validated=[2])
    rows = run(tmp_path, [3.0, 3.0, 4.0, 4.0], first=3)
    assert [(row["epoch"], float(row["loss"])) for row in rows] == [("1", 1.0), ("2", 2.0), ("3", 3.0), ("4", 4.0)]
    assert [row["val_score"] for row in rows] == ["", "0.5", "", ""]
    assert [float(row["seconds"]) for row in rows] == sorted(float(row["seconds"]) for row in rows)


def test_new_run_starts_a_new_file(tmp_path):
    run(tmp_path, [1.0] * 6)
    assert len(run(tmp_path, [2.0, 2.0])) == 1


def test_tensorboard_gets_the_scalars(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(tmp_path, [1.0, 3.0, 5.0, 7.0], validated=[2], tensorboard=True)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 2.0), (2, 6.0)]
    assert [e.step for e in events.Scalars("val/score")] == [2]


@pytest.mark.parametrize("rank", [0, 1])
def test_several_processes_log_their_mean_and_process_0_writes(tmp_path, monkeypatch, rank):
    def all_reduce(total):  # the other process had three times the values
        total += 3 * total

    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: rank)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    if rank:
        with pytest.raises(FileNotFoundError):
            run(tmp_path, [1.0, 3.0], tensorboard=True)
        assert list(tmp_path.iterdir()) == []
    else:
        (row,) = run(tmp_path, [1.0, 3.0])
        assert (float(row["loss"]), float(row["loss_partial"])) == (4.0, 8.0)
