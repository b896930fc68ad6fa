# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from wss_monai.handlers import RunRecord, SetEpoch


def start(folder, settings=None):
    engine = Engine(lambda *_: None)
    engine.state.device = torch.device("cpu")
    patients = {"training": ("p1", "p2"), "validation": [], "test": ["p3"]}
    RunRecord(folder, nn.Linear(3, 2), patients, ("background", "LV"), settings or {"mode": "partial"}).attach(engine)
    engine.run([0, 0, 0], max_epochs=2)


def test_says_what_the_run_was(tmp_path):
    start(tmp_path / "new" / "run", {"bundle": "b", "mode": "partial", "seed": 3, "bounds_origin": "none"})
    record = json.loads((tmp_path / "new" / "run" / "run.json").read_text())
    assert (record["bundle"], record["mode"], record["seed"], record["bounds_origin"]) == ("b", "partial", 3, "none")
    assert record["patients"] == {"training": ["p1", "p2"], "validation": [], "test": ["p3"]}
    assert record["class_names"] == ["background", "LV"]
    assert (record["parameters"], record["max_epochs"], record["iterations_per_epoch"]) == (8, 2, 3)
    assert record["device"].startswith("CPU")
    assert {"wss_monai", "monai", "torch", "numpy"} <= set(record["versions"])


def test_only_process_0_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    start(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_numbers_that_json_does_not_know_are_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        start(tmp_path, {"weight": float("nan")})


def test_loader_is_told_the_epoch_before_it_is_asked():
    class Loader:
        asked = []

        def set_epoch(self, epoch):
            self.epoch = epoch

        def __iter__(self):
            self.asked.append(self.epoch)
            return iter([0])

        def __len__(self):
            return 1

    loader, engine = Loader(), Engine(lambda *_: None)
    SetEpoch(loader).attach(engine)
    engine.run(loader, max_epochs=3)
    assert loader.asked == [1, 2, 3]
