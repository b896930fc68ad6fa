# SPDX-License-Identifier: Apache-2.0
"""A training that is killed, or stopped by a full disk, at any moment ends where the uninterrupted one ends."""

from __future__ import annotations

import importlib.util
import os
import random
import resource
import sys

import pytest
from ignite.engine import Events
from tiny import ROOT, TINY

from wss_monai.handlers.checkpoint import read_checkpoint
from wss_monai.io import atomic_files as whole_file

FILE = ROOT / "benchmarks" / "kill_resume.py"
spec = importlib.util.spec_from_file_location("kill_resume", FILE)
kill_resume = importlib.util.module_from_spec(spec)
sys.modules["kill_resume"] = kill_resume
spec.loader.exec_module(kill_resume)
SETTINGS = {**TINY, "network_def#dropout": 0.1}


@pytest.fixture(scope="module", autouse=True)
def quick_pictures():
    """Not here: the snapshots of other processes are compared byte for byte."""


def same(whole, broken, epochs):
    wrong = {name: found for name, found in kill_resume.compare(whole, broken, epochs).items() if found}
    assert wrong == {}


@pytest.fixture(scope="module")
def killed(dataset, tmp_path_factory):
    """Three kills of the command line: in an epoch, while the weights are written, while the last checkpoint is."""
    folder = tmp_path_factory.mktemp("kills")
    bundle = kill_resume.Bundle(folder / "run", {**SETTINGS, "dataset_dir": dataset, "train#trainer#max_epochs": 5})
    R = random.Random(0)
    aims = ("training", "half a file", kill_resume.LAST)
    rows = [kill_resume.kill_one(bundle, aim, number > 0, 5, R) for number, aim in enumerate(aims)]
    bundle.run(resume=True)
    return folder / "run", rows


def test_three_kills(killed, run_bundle, tmp_path):
    broken, rows = killed
    assert all(row["phase"] not in ("ended before", "finished") for row in rows), kill_resume.table(rows)
    assert rows[-1]["saved"] == 4  # killed before the checkpoint of the last epoch was there
    _, whole = run_bundle("train.yaml", out=tmp_path / "whole", **{**SETTINGS, "train#trainer#max_epochs": 5})
    same(whole, broken, 5)


def test_comparison_finds_what_differs(killed, tmp_path):
    import torch

    one = {"a": torch.tensor([0.0, 1.0]), "b": [1, {"c": float("nan")}]}
    assert list(kill_resume.differences(one, {"a": torch.tensor([0.0, 1.0]), "b": [1, {"c": float("nan")}]})) == []
    for other in (
        {"a": torch.tensor([-0.0, 1.0]), "b": one["b"]},
        {"a": one["a"].double(), "b": one["b"]},
        {"a": one["a"], "b": [1, {"c": 0.0}]},
        {"a": one["a"], "b": [1]},
        {"a": one["a"]},
    ):
        assert list(kill_resume.differences(one, other))


def test_the_kills_of_a_plan_reach_every_phase():
    plan = kill_resume.aims(20, random.Random(0))
    assert len(plan) == 20 and plan[-2:] == [kill_resume.LAST, "finished"]
    assert set(kill_resume.AIMS) <= set(plan)
    assert kill_resume.aims(3, random.Random(0)) == ["training", "half a file", kill_resume.LAST]


def test_stopped_before_any_of_the_files_takes_its_place(run_bundle, tmp_path, monkeypatch):
    """The first file, the first checkpoint and every file of the last epoch, one after the other; in this process."""
    _, whole = run_bundle("train.yaml", out=tmp_path / "whole", **SETTINGS)
    replace, names = os.replace, []

    def run(folder, stop, **more):
        names.clear()

        def counted(source, target):
            names.append(os.path.basename(target))
            if len(names) == stop:
                raise KeyboardInterrupt
            replace(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(whole_file.os, "replace", counted)
            run_bundle("train.yaml", out=folder, **SETTINGS, **more)

    run(tmp_path / "all", None)
    files = list(names)
    assert files[0] == "run.json" and files[-1] == "checkpoint.pt"
    assert {"metrics.csv", "model.pt", "model_best.pt", "epoch_0002.png"} <= set(files)
    first = files.index("checkpoint.pt") + 1
    for number in (1, *range(first, len(files) + 1)):
        folder = tmp_path / f"stopped{number}"
        with pytest.raises(KeyboardInterrupt):
            run(folder, number)
        run(folder, None, resume=True)
        same(whole, folder, 2)


def limit_files(size):
    """A limit of the size of files does to a writer what a full disk does; -1: none."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def test_a_disk_that_fills_leaves_the_former_checkpoint(run_bundle, tmp_path):
    settings = {**SETTINGS, "train#trainer#max_epochs": 3}
    _, whole = run_bundle("train.yaml", out=tmp_path / "whole", **settings)
    flow, out = run_bundle("train.yaml", out=tmp_path / "full", run=False, **settings)
    trainer = flow.parser.get_parsed_content("train#trainer")
    trainer.add_event_handler(Events.EPOCH_COMPLETED(once=2), lambda _: limit_files(3000))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    with pytest.raises(Exception) as caught:
        try:
            flow.run()
        finally:  # it is also one of the file that pytest may write its report to
            limit_files(before)
    error = caught.value
    while error.__cause__ is not None and str(out) not in str(error):
        error = error.__cause__
    assert "cannot write (File too large; the former file is whole): make room" in str(error)
    assert f"{out}/model" in str(error)
    assert read_checkpoint(out / "checkpoint.pt")["epoch"] == 1
    assert not list(out.rglob(".part-*"))
    run_bundle("train.yaml", out=out, resume=True, **settings)
    same(whole, out, 3)
