# SPDX-License-Identifier: Apache-2.0
"""How long a bundle trains: epochs of a fixed length, whatever the data; the log, early ends, and all patients."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from this_process import run_module
from tiny import CONFIGS, ROOT, TINY, command_here, flags, interrupt, make_dataset, user_error, workflow

from wss_monai.__main__ import main

SHORT = {key: value for key, value in TINY.items() if key not in ("train#trainer#max_epochs", "epoch_iterations")}
SHORT |= {"mode": "partial", "network_def#dropout": 0.1}


@pytest.fixture(autouse=True)
def from_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def make(data: Path, out: Path, **more):
    flow = workflow("train.yaml", folder=data, out=out, tiny=SHORT, **more)
    flow.initialize()
    return flow


def trained(data: Path, out: Path, **more) -> dict:
    make(data, out, **more).run()
    return json.loads((out / "run.json").read_text())


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("patients", [3, 6])
def test_an_epoch_is_as_long_for_few_patients_as_for_many(tmp_path, patients):
    data = make_dataset(tmp_path / "data", patients=patients, slices=2)
    record = trained(data, tmp_path / "run", max_epochs=2, epoch_iterations=3)
    assert (record["max_epochs"], record["iterations_per_epoch"]) == (2, 3)
    assert [row["iteration"] for row in rows(tmp_path / "run")] == ["3", "6"]


def test_iterations_in_all(dataset, tmp_path):
    record = trained(dataset, tmp_path / "run", iterations=3, val_interval=3)
    assert (record["max_epochs"], record["iterations_per_epoch"]) == (3, 1)
    assert "3 epochs of 1 iterations, 3 in all" in (tmp_path / "run" / "log.txt").read_text()


def test_a_stopped_run_ends_where_the_uninterrupted_one_does(dataset, tmp_path):
    how = {"max_epochs": 3, "epoch_iterations": 5}  # of 4 slices each: across passes through 8 slices
    trained(dataset, tmp_path / "whole", **how)
    interrupt(make(dataset, tmp_path / "parts", **how), 2)
    trained(dataset, tmp_path / "parts", resume=True, **how)
    whole, parts = (torch.load(tmp_path / name / "model.pt") for name in ("whole", "parts"))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    log = (tmp_path / "parts" / "log.txt").read_text()
    assert "15 in all\n" in log and "15 in all, the first 1 of them done" in log and "3/3" in log


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"epoch_iterations": 4}, "iterations_per_epoch is 2 there and 4 here"),
        ({"epoch_iterations": "null"}, "iterations_per_epoch is 2 there and None here"),
    ],
)
def test_a_run_is_not_resumed_with_epochs_of_another_length(dataset, tmp_path, more, message):
    trained(dataset, tmp_path, max_epochs=1, epoch_iterations=2)
    with pytest.raises(Exception) as caught:
        trained(dataset, tmp_path, **{"max_epochs": 2, "resume": True, **more})
    assert message in user_error(caught.value)


def test_iterations_and_epochs_of_one_pass_exclude_each_other(dataset, tmp_path):
    with pytest.raises(Exception) as caught:
        trained(dataset, tmp_path, iterations=5, epoch_iterations="null")
    assert "--iterations 5 needs epochs of a fixed length" in user_error(caught.value)


def test_early_stopping_ends_and_stays_ended(dataset, tmp_path):
    how = {"max_epochs": 30, "epoch_iterations": 1, "early_stopping": {"patience": 1, "min_delta": 5.0}}
    record = trained(dataset, tmp_path, **how)
    assert record["max_epochs"] == 30 and len(rows(tmp_path)) == 2  # the second is not better by 5
    trained(dataset, tmp_path, resume=True, **how)
    assert len(rows(tmp_path)) == 2


def test_all_patients_train(dataset, tmp_path):
    """The data set's own test set stays one; nobody validates."""
    record = trained(dataset, tmp_path, fold="all", max_epochs=1, epoch_iterations=1)
    assert record["patients"] == {"training": ["p1", "p2", "p3"], "validation": [], "test": ["p0"]}


def test_one_patient_is_told_what_to_do_and_trains_alone(tmp_path):
    data = make_dataset(tmp_path / "data", patients=2, slices=2)
    content = json.loads((data / "dataset.json").read_text())
    del content["test"]
    (data / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(Exception) as caught:
        trained(data, tmp_path / "run")
    assert "train on this one alone with --fold all" in user_error(caught.value)
    record = trained(data, tmp_path / "run", fold="all", max_epochs=1, epoch_iterations=1)
    assert record["patients"]["training"] == ["p1"]


def test_a_quiet_run_prints_nothing(dataset, tmp_path):
    settings = {**SHORT, "dataset_dir": dataset, "output_dir": tmp_path / "run", "max_epochs": 1, "epoch_iterations": 1}
    settings |= {"quiet": "true", "validation": 0}
    config = str(CONFIGS / "train.yaml")
    done = command_here("run", "training", "--config_file", config, **settings)
    assert done.returncode == 0, done.stderr
    assert "loss" not in done.stdout and "1/1" not in done.stdout
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "1/1" in log and "WARNING" in log and "1 iterations are a short training" in log


def test_wss_monai_run_is_monais_without_its_warning(dataset, tmp_path):
    settings = {**SHORT, "dataset_dir": dataset, "output_dir": tmp_path / "run", "max_epochs": 1, "epoch_iterations": 1}
    words = ["run", "training", "--config_file", str(CONFIGS / "train.yaml"), *flags(**settings)]
    done = run_module("wss_monai", *words, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "1/1" in done.stdout and "input summary" not in done.stdout and "> dataset_dir" not in done.stdout
    assert "parsing config_file" not in done.stderr and "Setting logging" not in done.stdout
    assert (tmp_path / "run" / "model.pt").is_file()


def test_wss_monai_run_asks_for_a_configuration(capsys):
    assert main(["run", "training", "--max_epochs", "1"]) == 2
    assert "--config_file is missing" in capsys.readouterr().err
