# SPDX-License-Identifier: Apache-2.0
"""Training in several processes: two CPU processes that talk through gloo."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys

import pytest
from tiny import CONFIGS, ROOT, TINY

OBSERVE = """
+imports:
- $import json
+initialize:
- "$os.makedirs(@notes, exist_ok=True)"
notes: {notes}
note: "$os.path.join(@notes, 'process' + os.environ['RANK'] + '.json')"
seen:
  processes: $dist.get_world_size()
  t: $@loss.t
  metrics: "${{name: float(value) for name, value in @validate#evaluator.state.metrics.items()}}"
  cases: $len(@validate#dataset)
  handlers: "$[type(handler).__name__ for handler in @train#trainer#train_handlers]"
finalize:
- "$open(@note, 'w').write(json.dumps(@seen))"
- $dist.barrier()
- $dist.destroy_process_group()
"""


def in_two_processes(*files, **overrides):
    flags = [str(part) for key, value in overrides.items() for part in (f"--{key}", value)]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nnodes=1", "--nproc_per_node=2"]
    bundle = ["-m", "monai.bundle", "run", "training", "--config_file", str([str(file) for file in files])]
    return subprocess.run(
        [sys.executable, *launcher, *bundle, *flags],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory):
    """A finished run with one validation case for two processes, and what each process says of itself."""
    folder = tmp_path_factory.mktemp("two")
    overlay = folder / "observe.yaml"
    overlay.write_text(OBSERVE.format(notes=folder / "notes"))
    settings = {**TINY, "dataset_dir": dataset, "output_dir": folder / "run", "batch_size": 2}
    del settings["device"]
    done = in_two_processes(CONFIGS / "train.yaml", CONFIGS / "multi_gpu_train.yaml", overlay, **settings)
    assert done.returncode == 0, done.stderr[-3000:]
    notes = [json.loads((folder / "notes" / f"process{rank}.json").read_text()) for rank in (0, 1)]
    return folder / "run", notes, done


def test_processes_agree(trained):
    _, notes, _ = trained
    for key in ("processes", "t", "metrics", "cases"):
        assert notes[0][key] == notes[1][key]
    assert notes[0]["processes"] == 2
    assert notes[0]["t"] == pytest.approx(5 * 1.1**50)
    assert {"score", "partial_ce", "dice"} <= set(notes[0]["metrics"])
    assert notes[0]["cases"] == 1  # fewer validation cases than processes: each takes them all


def test_process_0_alone_writes_and_shows_progress(trained):
    out, notes, done = trained
    assert "ProgressBar" in notes[0]["handlers"]
    assert "ProgressBar" not in notes[1]["handlers"]
    assert done.stdout.count("epoch  seconds") == 1
    files = {path.name for path in out.iterdir()}
    expected = {"checkpoint.pt", "model.pt", "model_best.pt", "metrics.csv", "run.json", "snapshots", "tensorboard"}
    assert files == expected
    assert len(list((out / "tensorboard").glob("events*"))) == 1
    rows = list(csv.DictReader((out / "metrics.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert [row["iteration"] for row in rows] == ["2", "4"]  # 8 slices, batches of 2 in each of 2 processes
    assert float(rows[-1]["val_score"]) == notes[0]["metrics"]["score"]


def test_weights_are_evaluated_in_one_process(trained, run_bundle):
    out, _, _ = trained
    run_bundle("train.yaml", "evaluate.yaml", out=out)
    result = json.loads((out / "metrics_summary.json").read_text())
    assert result["n_volumes"] == 1 and 0 <= result["dice"]["mean"] <= 1


def test_run_of_two_processes_is_continued_by_one(trained, run_bundle):
    out, _, _ = trained
    run_bundle("train.yaml", out=out, resume=True, batch_size=2, **{"train#trainer#max_epochs": 3})
    rows = list(csv.DictReader((out / "metrics.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
