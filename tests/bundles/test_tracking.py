# SPDX-License-Identifier: Apache-2.0
"""Handlers that users add to a bundle, in the form of MONAI's documentation: statistics, TensorBoard, MLflow."""

from __future__ import annotations

import csv

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import TINY

CUSTOMARY = """
+train#handlers:
- _target_: StatsHandler
  name: statistics
  tag_name: train_loss
  output_transform: "$monai.handlers.from_engine(['loss'], first=True)"
- _target_: TensorBoardStatsHandler
  log_dir: "$@output_dir + '/mine'"
  tag_name: train_loss
  output_transform: "$monai.handlers.from_engine(['loss'], first=True)"
"""
FAST = {**TINY, "epoch_iterations": 2}


def columns(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [row[name] for row in rows] for name in rows[0]}


def test_statistics_and_tensorboard_in_the_customary_form(run_bundle, tmp_path, capsys):
    overlay = tmp_path / "mine.yaml"
    overlay.write_text(CUSTOMARY)
    _, out = run_bundle("train.yaml", str(overlay), tiny=FAST)
    events = EventAccumulator(str(out / "mine"))
    events.Reload()
    tags = events.Tags()["scalars"]
    assert {"train_loss", "loss", "loss_size", "violation_size", "t"} <= set(tags)
    table = columns(out)
    losses = [event.value for event in events.Scalars("train_loss")]
    assert len(losses) == 4
    means = [float(text) for text in table["loss"]]
    assert [sum(losses[:2]) / 2, sum(losses[2:]) / 2] == pytest.approx(means, rel=1e-5)
    violations = [event.value for event in events.Scalars("violation_size")]
    assert violations == pytest.approx([float(text) for text in table["violation_size"]])
    said = capsys.readouterr().out
    assert "Epoch: 2/2, Iter: 2/2 -- train_loss:" in said
    assert "Epoch[2] Metrics" in said


@pytest.mark.filterwarnings("ignore")
def test_mlflow_follows_training_and_evaluation(run_bundle, tmp_path):
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    _, out = run_bundle("train.yaml", tiny=FAST, tracking="mlflow")
    run_bundle("train.yaml", "evaluate.yaml", tiny=FAST, tracking="mlflow", kind="infer")
    client = mlflow.MlflowClient(f"sqlite:///{out}/mlruns.db")
    (experiment,) = (e for e in client.search_experiments() if e.name == "monai_experiment")
    evaluated, trained = client.search_runs(experiment.experiment_id, order_by=["start_time DESC"])
    assert [run.info.status for run in (trained, evaluated)] == ["FINISHED", "FINISHED"]
    history = [metric.value for metric in client.get_metric_history(trained.info.run_id, "violation_size")]
    assert history == pytest.approx([float(text) for text in columns(out)["violation_size"]])
    assert len(client.get_metric_history(trained.info.run_id, "train_loss")) == 4
    assert {"constraint_satisfaction", "dice", "dice_LV", "t"} <= set(trained.data.metrics)
    measured = evaluated.data.metrics
    assert {"dice", "hd95_mm", "constraint_satisfaction_size", "constraint_satisfaction_size_LV"} <= set(measured)
    assert 0 <= measured["constraint_satisfaction_size"] <= 1
