# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import stat

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from wss_monai.handlers import TrainingCheckpoint
from wss_monai.handlers.checkpoint import read_checkpoint, save_atomically


def trainer(folder, epochs, scores=(), stop_in=None, features=2, **settings):
    """Run a trainer whose network adds 1 to its bias in every iteration (2 an epoch), and give it back."""
    network = nn.Linear(features, 1)
    nn.init.zeros_(network.bias)
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
    engine.state.epoch_length = 2
    TrainingCheckpoint(folder, {"network": network}, evaluator, **settings).attach(engine)
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
    state = read_checkpoint(tmp_path / "checkpoint.pt")["random"]["cpu"]
    torch.set_rng_state(state)
    assert torch.equal(torch.rand(3), expected)


def test_continuing_a_finished_run_does_nothing_and_says_so(tmp_path, caplog):
    trainer(tmp_path, 2)
    _, network, _ = trainer(tmp_path, 2, resume=True)
    assert network.bias.item() == 4
    assert "nothing to continue" in caplog.text


def test_continuing_to_another_length_works_and_says_so(tmp_path, caplog):
    trainer(tmp_path, 2)
    _, network, _ = trainer(tmp_path, 3, resume=True)
    assert network.bias.item() == 6
    assert "planned for 2 epochs and is continued to 3" in caplog.text


def test_an_interrupted_run_is_not_lost_by_mistake(tmp_path):
    trainer(tmp_path, 3, stop_in=2)
    with pytest.raises(ValueError, match="stopped after epoch 1 of 3: continue it with --resume true"):
        trainer(tmp_path, 3)


def test_a_new_run_in_the_folder_of_a_finished_one_leaves_no_foreign_best_weights(tmp_path):
    trainer(tmp_path, 2, scores=(0.5,))
    trainer(tmp_path, 1)
    assert bias(tmp_path / "model.pt") == 2
    assert not (tmp_path / "model_best.pt").exists()


def test_failure_while_writing_leaves_the_former_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "model.pt"
    save_atomically({"bias": torch.tensor(1.0)}, path)

    def breaks(content, file):
        file.write(b"half")
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", breaks)
        with pytest.raises(OSError, match="no space"):
            save_atomically({"bias": torch.tensor(2.0)}, path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            save_atomically({"bias": torch.tensor(3.0)}, path)
    assert bias(path) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["model.pt"]


def test_others_may_read_what_the_umask_lets_them(tmp_path):
    (tmp_path / "plain").write_text("")
    save_atomically({}, tmp_path / "model.pt")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "model.pt")]
    assert modes[0] == modes[1]


def test_a_killed_process_leaves_the_former_checkpoint(tmp_path):
    trainer(tmp_path, 3, stop_in=2)
    (tmp_path / ".checkpoint.pt.part").write_bytes(b"half of a file")
    _, network, _ = trainer(tmp_path, 3, resume=True)
    assert network.bias.item() == 6
    assert not (tmp_path / ".checkpoint.pt.part").exists()


def test_resume_without_a_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint .*checkpoint\.pt to resume; start without --resume"):
        trainer(tmp_path, 1, resume=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not a checkpoint", r"cannot read the checkpoint .*checkpoint\.pt .*choose another --output_dir"),
        (b"", r"cannot read the checkpoint"),
        ({"bias": torch.zeros(1)}, r"not a training checkpoint of this package"),
        ({"format": 0, "epoch": 1}, r"not a training checkpoint of this package \(format 1\)"),
        (torch.zeros(3), r"not a training checkpoint"),
        ({"format": 1, "epoch": 1, "max_epochs": 2, "objects": {}, "best": {}}, "has no 'network': .*another config"),
    ],
)
def test_what_is_no_checkpoint_is_refused(tmp_path, content, message):
    path = tmp_path / "checkpoint.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match=message):
        trainer(tmp_path, 2, resume=True)


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "evil"),)

    torch.save({"format": 1, "objects": Evil()}, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="cannot read"):
        trainer(tmp_path, 2, resume=True)
    assert not (tmp_path / "evil").exists()


def test_checkpoint_of_another_network_is_refused_by_name(tmp_path):
    trainer(tmp_path, 2, stop_in=2)
    with pytest.raises(ValueError, match=r"checkpoint\.pt does not fit the 'network' of this configuration: .*size"):
        trainer(tmp_path, 2, features=3, resume=True)
