# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
import os
import random
import stat

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.utils import set_determinism
from torch import nn

from wss_monai.bundle.interruption import interrupted
from wss_monai.handlers import TrainingCheckpoint, checkpoint
from wss_monai.handlers.checkpoint import read_checkpoint, save_atomically
from wss_monai.handlers.random_state import random_state, set_random_state


def trainer(folder, epochs, scores=(), stop_in=None, features=2, schedule=None, also=None, **settings):
    """Run a trainer whose network adds 1 to its bias in every iteration (2 an epoch), and give it back."""
    network = nn.Linear(features, 1)
    nn.init.zeros_(network.bias)
    objects = {"network": network}
    if schedule is not None:
        objects["optimizer"] = torch.optim.Adam(network.parameters(), **{"lr": 0.1, **schedule})
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(objects["optimizer"], T_max=epochs)
        objects["lr_scheduler"] = cosine
    objects |= also or {}
    evaluator = Engine(lambda *_: None)
    evaluator.state.best_metric, evaluator.state.best_metric_epoch = -1.0, -1

    def step(engine, _):
        if engine.state.epoch == stop_in:
            raise KeyboardInterrupt
        network.bias.data += 1

    def validate(engine):
        score = dict(enumerate(scores, start=1)).get(engine.state.epoch, -2.0)
        if score > evaluator.state.best_metric:
            evaluator.state.best_metric, evaluator.state.best_metric_epoch = score, engine.state.epoch

    engine = Engine(step)
    engine.add_event_handler(Events.EPOCH_COMPLETED, validate)
    if schedule is not None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, lambda _: (objects["optimizer"].step(), cosine.step()))
    engine.state.epoch_length = 2
    TrainingCheckpoint(folder, objects, evaluator, **settings).attach(engine)
    engine.state.max_epochs = epochs
    try:
        engine.run([0, 1], max_epochs=epochs)
    except KeyboardInterrupt:
        assert stop_in is not None
    return engine, network, evaluator


def bias(path):
    return float(torch.load(path, weights_only=True)["bias"])


def test_writes_the_last_weights_and_the_best(tmp_path):
    trainer(tmp_path / "run", 3, scores=(0.1, 0.5, 0.2))
    assert bias(tmp_path / "run" / "model.pt") == 6
    assert bias(tmp_path / "run" / "model_best.pt") == 4
    content = read_checkpoint(tmp_path / "run" / "checkpoint.pt")
    assert (content["epoch"], content["iteration"], content["best"]) == (3, 6, {"metric": 0.5, "epoch": 2})
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["checkpoint.pt", "model.pt", "model_best.pt"]


def test_interval_and_last_epoch(tmp_path):
    seen = []
    for epochs, stop in ((5, 4), (5, None)):
        trainer(tmp_path, epochs, scores=(0.1, 0.2, 0.9), stop_in=stop, interval=2, resume=bool(seen))
        seen.append((read_checkpoint(tmp_path / "checkpoint.pt")["epoch"], bias(tmp_path / "model_best.pt")))
    assert seen == [(2, 6), (5, 6)]  # the best weights, of epoch 3, are written although no checkpoint is


def test_resume_keeps_epoch_weights_random_state_and_best_metric(tmp_path):
    torch.manual_seed(7)
    trainer(tmp_path, 4, scores=(0.1, 0.8), stop_in=3)
    expected = torch.rand(3)
    torch.manual_seed(0)
    engine, network, evaluator = trainer(tmp_path, 4, scores=(0, 0, 0.5, 0.7), resume=True)
    assert network.bias.item() == 8
    assert (engine.state.epoch, engine.state.iteration) == (4, 8)
    assert (evaluator.state.best_metric, evaluator.state.best_metric_epoch) == (0.8, 2)
    assert bias(tmp_path / "model_best.pt") == 4
    state = read_checkpoint(tmp_path / "checkpoint.pt")["random"]
    torch.set_rng_state(state[0]["cpu"])
    assert torch.equal(torch.rand(3), expected)


def test_generators_of_numpy_and_python_go_on_where_they_were():
    set_determinism(5)
    random.gauss(0, 1)
    np.random.randn()
    state = random_state()
    expected = [random.gauss(0, 1), random.random(), *np.random.randn(3), *np.random.rand(3), float(torch.rand(()))]
    set_determinism(6)
    set_random_state(state)
    again = [random.gauss(0, 1), random.random(), *np.random.randn(3), *np.random.rand(3), float(torch.rand(()))]
    assert again == expected
    set_determinism(None)


def test_the_checkpoint_is_the_last_thing_written_of_an_epoch(tmp_path):
    """Also when a handler that writes something is attached later."""
    order = []
    engine = Engine(lambda *_: None)
    engine.state.epoch_length = 1
    TrainingCheckpoint(tmp_path, {"network": nn.Linear(1, 1)}).attach(engine)
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda e: order.append((tmp_path / "checkpoint.pt").is_file()))
    engine.run([0], max_epochs=2)
    assert order == [False, True]
    engine.run([0], max_epochs=4)
    assert len(engine._event_handlers[Events.EPOCH_COMPLETED]) == 2  # not attached twice


def test_continuing_a_finished_run_does_nothing_and_says_so(tmp_path, caplog):
    trainer(tmp_path, 2)
    _, network, _ = trainer(tmp_path, 2, resume=True)
    assert network.bias.item() == 4
    assert "nothing to continue" in caplog.text


def test_continuing_to_another_length_follows_its_schedule_and_says_so(tmp_path, caplog):
    trainer(tmp_path, 2, schedule={})
    trainer(tmp_path, 4, schedule={}, stop_in=3, resume=True)
    assert "planned for 2 epochs and is continued to 4" in caplog.text
    rates = []
    for epoch in (3, 4):
        trainer(tmp_path, 4, schedule={}, stop_in=epoch + 1, resume=True)
        rates.append(read_checkpoint(tmp_path / "checkpoint.pt")["objects"]["optimizer"]["param_groups"][0]["lr"])
    assert rates == pytest.approx([0.1 * (1 + math.cos(math.pi * 3 / 4)) / 2, 0])
    assert bias(tmp_path / "model.pt") == 8


@pytest.mark.parametrize(
    ("write", "epoch"), [((1, "model.pt"), 0), ((2, "model.pt"), 1), ((2, "checkpoint.pt"), 2), ((3, "model.pt"), 2)]
)
def test_the_way_on_names_the_epoch_that_the_file_holds_whenever_a_signal_comes(tmp_path, monkeypatch, write, epoch):
    writes = []

    def save_and_stop(content, path):
        save_atomically(content, path)
        writes.append(path.name)
        if (writes.count("model.pt"), path.name) == write:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save_atomically", save_and_stop)
    trainer(tmp_path, 3, stop_in=9)
    path = tmp_path / "checkpoint.pt"
    expected = f"{path} holds epoch {epoch}; the same command with --resume true goes on from there."
    if not epoch:
        expected = f"{tmp_path} holds no whole epoch yet; start the same command again."
    assert interrupted() == f"Interrupted: {expected}"
    monkeypatch.undo()
    _, network, _ = trainer(tmp_path, 3, resume=True)
    assert network.bias.item() == 6


def test_the_way_on_of_a_run_in_the_place_of_another_takes_the_option_back(tmp_path):
    trainer(tmp_path, 3)
    trainer(tmp_path, 3, stop_in=3, overwrite=True)
    way = "holds epoch 2; the same command with --resume true instead of --overwrite true goes on from there."
    assert interrupted() == f"Interrupted: {tmp_path / 'checkpoint.pt'} {way}"


def test_an_interrupted_run_is_not_lost_by_mistake(tmp_path):
    trainer(tmp_path, 3, stop_in=2)
    with pytest.raises(ValueError, match="stopped after epoch 1 of 3: continue it with --resume true"):
        trainer(tmp_path, 3)


def test_a_new_run_in_the_folder_of_a_finished_one_leaves_no_foreign_best_weights(tmp_path):
    trainer(tmp_path, 2, scores=(0.5,))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=r"finished its 2 epochs: choose another --output_dir, or .* --overwrite true"):
        trainer(tmp_path, 1)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    trainer(tmp_path, 1, overwrite=True)
    assert bias(tmp_path / "model.pt") == 2
    assert not (tmp_path / "model_best.pt").exists()


def test_others_may_read_what_the_umask_lets_them(tmp_path):
    (tmp_path / "plain").write_text("")
    save_atomically({}, tmp_path / "model.pt")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "model.pt")]
    assert modes[0] == modes[1]


def test_a_killed_process_leaves_the_former_checkpoint(tmp_path):
    trainer(tmp_path, 3, stop_in=2)
    (tmp_path / ".part-checkpoint.pt").write_bytes(b"half of a file")
    _, network, _ = trainer(tmp_path, 3, resume=True)
    assert network.bias.item() == 6
    assert not (tmp_path / ".part-checkpoint.pt").exists()


def test_resume_without_a_checkpoint_starts_from_the_beginning_and_says_so(tmp_path, caplog):
    _, network, _ = trainer(tmp_path / "run", 1, resume=True)
    assert network.bias.item() == 2
    assert "no checkpoint" in caplog.text and "from the beginning" in caplog.text


def test_weights_without_a_checkpoint_are_not_written_over(tmp_path):
    trainer(tmp_path, 1)
    (tmp_path / "checkpoint.pt").unlink()
    with pytest.raises(ValueError, match=r"holds the weights of a run, .*model\.pt: .* --overwrite true"):
        trainer(tmp_path, 1)
    with pytest.raises(ValueError, match="exclude each other"):
        trainer(tmp_path, 1, overwrite=True, resume=True)


def test_a_run_that_replaces_a_finished_one_and_dies_early_is_not_taken_for_it(tmp_path):
    trainer(tmp_path, 2)
    trainer(tmp_path, 2, stop_in=1, overwrite=True)
    assert not (tmp_path / "model.pt").exists()
    _, network, _ = trainer(tmp_path, 2, resume=True)
    assert network.bias.item() == 4


def test_an_engine_that_runs_on_by_itself_keeps_its_weights_and_files(tmp_path):
    """As in rounds of federated learning: ``max_epochs`` is raised and ``run`` called again."""
    engine, network, _ = trainer(tmp_path, 1, scores=(0.5,))
    engine.state.max_epochs = 2
    network.bias.data.zero_()
    engine.run([0, 1])
    assert network.bias.item() == 2
    assert read_checkpoint(tmp_path / "checkpoint.pt")["epoch"] == 2
    assert bias(tmp_path / "model_best.pt") == 2


def test_the_scale_of_mixed_precision_goes_on(tmp_path):
    scales = []
    for resume in (False, True):
        engine = Engine(lambda *_: None)
        engine.state.epoch_length = 1
        engine.scaler = torch.amp.GradScaler("cpu", init_scale=8.0 if resume else 2.0)
        TrainingCheckpoint(tmp_path, {"network": nn.Linear(1, 1)}, resume=resume).attach(engine)
        engine.run([0], max_epochs=1)
        scales.append(engine.scaler.state_dict()["scale"])
    assert scales == [2, 2]


def test_processes_that_see_different_checkpoints_stop(tmp_path, monkeypatch):
    trainer(tmp_path, 2, stop_in=2)
    monkeypatch.setattr(checkpoint, "of_all_processes", lambda value: [value, 0])
    with pytest.raises(ValueError, match=r"the processes do not see the same .*checkpoint\.pt: .* \[1, 0\]"):
        trainer(tmp_path, 2, resume=True)


class Averaged:
    """Any object with a state."""

    def __init__(self):
        self.value = torch.zeros(1)

    def state_dict(self):
        return {"value": self.value}

    def load_state_dict(self, state):
        self.value = state["value"]


def refused_resume(folder, message, **settings):
    """The resume is refused, and neither a file nor the network is touched."""
    before = {path: path.read_bytes() for path in folder.rglob("*")}
    with pytest.raises(ValueError, match=message):
        trainer(folder, 2, resume=True, **settings)
    assert {path: path.read_bytes() for path in folder.rglob("*")} == before


WHOLE = {"format": 2, "epoch": 1, "iteration": 2, "max_epochs": 2, "settings": {}, "kinds": {}, "objects": {}}
WHOLE |= {"random": [], "best": {}, "scaler": None}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not a checkpoint", r"cannot read .*checkpoint\.pt .*choose another --output_dir, or remove the file"),
        (b"", r"cannot read .*checkpoint\.pt \(it is empty\)"),
        ({"bias": torch.zeros(1)}, r"no training checkpoint of this package: it holds \['bias'\]"),
        ({"model": {}, "optimizer": {}, "trainer": {}}, r"it holds \['model', 'optimizer', 'trainer'\]"),
        ({"format": 1, "epoch": 1, "objects": {}}, r"written by an older version .*\(format 1, here 2\)"),
        ({"format": 3, "epoch": 1, "objects": {}}, r"newer or unknown version .*\(format 3, here 2\)"),
        ({"epoch": 1, "objects": {}}, r"no training checkpoint of this package"),
        (torch.zeros(3), r"it holds a Tensor"),
        ([], r"it holds a list"),
        ({key: value for key, value in WHOLE.items() if key != "random"}, r"it lacks \['random'\]"),
        (WHOLE, r"does not fit the 'network' of this configuration: there is none in the file"),
    ],
)
def test_what_is_no_checkpoint_is_refused(tmp_path, content, message):
    path = tmp_path / "checkpoint.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    refused_resume(tmp_path, message)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
def test_truncated_checkpoint_is_refused(tmp_path, part):
    trainer(tmp_path, 2, stop_in=2)
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    refused_resume(tmp_path, r"cannot read .*checkpoint\.pt")
    with pytest.raises(ValueError, match=r"cannot read .*checkpoint\.pt"):
        trainer(tmp_path, 2)  # nor is it replaced without a word


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "evil"),)

    torch.save({"format": 1, "objects": Evil()}, tmp_path / "checkpoint.pt")
    refused_resume(tmp_path, "cannot read")
    assert not (tmp_path / "evil").exists()


def test_checkpoint_of_another_network_is_refused_by_name(tmp_path):
    trainer(tmp_path, 2, stop_in=2)
    both = r"3 weights in 2 tensors in the file, 4 weights in 2 tensors in this Linear"
    first = r"weight is \(1, 2\) in the file and \(1, 3\) here"
    refused_resume(tmp_path, rf"checkpoint\.pt does not fit the 'network' .*: {both}; {first}\. Resume", features=3)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            {"settings": {"mode": "partial", "seed": 0, "patients": {"test": ["p1"]}}},
            {"settings": {"mode": "quadratic", "seed": 0, "patients": {"test": ["p2"]}}},
            r"other settings: mode is 'partial' there and 'quadratic' here; patients is .*'p1'.* there and .*'p2'",
        ),
        ({"schedule": {}}, {"schedule": {"lr": 0.2}}, r"initial_lr \(the learning rate\) is 0.1 in the file and 0.2"),
        ({"schedule": {}}, {"schedule": {"weight_decay": 0.2}}, r"'optimizer' .*weight_decay is 0 in the file and 0.2"),
        ({"schedule": {}}, {}, r"'optimizer' of this configuration: there is none here"),
        ({}, {"also": {"averaged": Averaged()}}, r"'averaged' of this configuration: there is none in the file"),
        (
            {"also": {"averaged": Averaged()}},
            {"also": {"averaged": nn.Identity()}},
            r"it is a Averaged in the file and a Identity here",
        ),
    ],
)
def test_checkpoint_of_another_run_is_refused(tmp_path, before, after, message):
    trainer(tmp_path, 2, stop_in=2, **before)
    refused_resume(tmp_path, message, **after)


def test_state_that_does_not_load_names_the_object(tmp_path):
    class Strict(Averaged):
        def load_state_dict(self, state):
            raise RuntimeError("shapes\n differ")

    trainer(tmp_path, 2, stop_in=2, also={"averaged": Strict()})
    refused_resume(
        tmp_path, r"does not fit the 'averaged' of this configuration: shapes differ\.", also={"averaged": Strict()}
    )


def test_settings_may_be_what_yaml_gives(tmp_path):
    settings = {"crop": (32, 32), "bounds": {"RV": [None, 3.0]}, "path": tmp_path, 1: None}
    trainer(tmp_path, 2, stop_in=2, settings=settings)
    _, network, _ = trainer(tmp_path, 2, resume=True, settings=settings)
    assert network.bias.item() == 4


def test_a_file_in_the_place_of_the_output_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        for resume in (False, True):
            with pytest.raises(
                ValueError, match=rf"cannot write to the output folder {folder} .*choose another --output"
            ):
                trainer(folder, 1, resume=resume)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder that nobody can write to")
def test_an_output_folder_that_cannot_be_written():
    with pytest.raises(ValueError, match=r"cannot write to the output folder /proc/self/run \(.*: /proc/self\)"):
        trainer("/proc/self/run", 1)
