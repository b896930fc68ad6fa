# SPDX-License-Identifier: Apache-2.0
"""Training in several processes: two CPU processes that talk through gloo."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from forked import in_forked_processes
from ignite.engine import Events
from test_kill_resume import kill_resume
from test_mutual_information_bundle import BUNDLE, TINY_MI, weights_of
from tiny import CONFIGS, ROOT, TINY, flags, make_dataset, run_workflow

from wss_monai.handlers.checkpoint import read_checkpoint

HERE = Path(__file__).parent
OBSERVE = """
+imports:
- $import json
- $import watch
+initialize:
- "$os.makedirs(@notes, exist_ok=True)"
notes: {notes}
note: "$os.path.join(@notes, 'process' + os.environ['RANK'] + '.json')"
watch:
  _target_: watch.Watch
  loss: '@loss'
+train#handlers: ['$@watch']
seen:
  processes: $dist.get_world_size()
  t: $@watch.t
  slices: $@watch.slices
  metrics: "${{name: float(value) for name, value in @validate#evaluator.state.metrics.items()}}"
  best: $@validate#evaluator.state.best_metric
  weights: "$[float(value.double().sum()) for value in @network_def.state_dict().values()]"
  cases: $len(@validate#dataset)
  handlers: "$[type(handler).__name__ for handler in @train#trainer#train_handlers]"
finalize:
- "$open(@note, 'w').write(json.dumps(@seen))"
- $dist.barrier()
- $dist.destroy_process_group()
"""
SETTINGS = {**TINY, "batch_size": 2, "train#trainer#max_epochs": 3, "network_def#dropout": 0.1}
del SETTINGS["device"]
SLICES = 10  # of two training volumes; five an epoch and process, in three steps


def launched(*arguments):
    """By torchrun, as a user does."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nnodes=1", "--nproc_per_node=2"]
    environment = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, *launcher, *(str(part) for part in arguments)],
        cwd=ROOT,
        env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, HERE.parent, HERE)))},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def in_two_processes(folder, *words, fails=False):
    done = in_forked_processes(2, folder, *words, path=[str(HERE.parent), str(HERE)])
    assert (done.returncode != 0) == fails, done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    """Five slices a volume, so that the processes' batches are not of one size; one validation case for both."""
    return make_dataset(tmp_path_factory.mktemp("five"), slices=5)


@pytest.fixture(scope="module")
def trained(volumes, tmp_path_factory):
    """A finished run from the command line, and what each process says of itself."""
    folder = tmp_path_factory.mktemp("two")
    overlay = folder / "observe.yaml"
    overlay.write_text(OBSERVE.format(notes=folder / "notes"))
    files = str([str(CONFIGS / "train.yaml"), str(CONFIGS / "multi_gpu_train.yaml"), str(overlay)])
    settings = {**SETTINGS, "dataset_dir": volumes, "output_dir": folder / "run"}
    done = launched("-m", "monai.bundle", "run", "training", "--config_file", files, *flags(**settings))
    notes = [json.loads((folder / "notes" / f"process{rank}.json").read_text()) for rank in (0, 1)]
    return folder / "run", notes, done


def rows_of(folder):
    return list(csv.DictReader((folder / "metrics.csv").open()))


def test_processes_agree(trained):
    _, notes, _ = trained
    for key in ("processes", "t", "metrics", "best", "weights", "cases"):
        assert notes[0][key] == notes[1][key], key
    assert notes[0]["processes"] == 2
    assert list(notes[0]["t"].values()) == pytest.approx([5, 5 * 1.1**25, 5 * 1.1**50])
    assert {"score", "partial_ce", "dice"} <= set(notes[0]["metrics"])
    assert notes[0]["cases"] == 1  # fewer validation cases than processes: each takes them all


def once_an_epoch(notes, epochs):
    """Every slice is in one batch of one process, in each of the epochs."""
    seen = [Counter(notes[0]["slices"][epoch] + notes[1]["slices"][epoch]) for epoch in epochs]
    assert all(len(slices) == SLICES and set(slices.values()) == {1} for slices in seen)
    assert all(slices == seen[0] for slices in seen)
    assert all(set(note["slices"]) == set(epochs) and len(note["slices"][epochs[0]]) == 5 for note in notes)


def test_every_slice_once_an_epoch_over_the_processes(trained):
    _, notes, _ = trained
    once_an_epoch(notes, ["1", "2", "3"])
    assert notes[0]["slices"]["1"] != notes[0]["slices"]["2"]


def test_process_0_alone_writes_and_shows_progress(trained):
    out, notes, done = trained
    assert "ProgressBar" in notes[0]["handlers"]
    assert "ProgressBar" not in notes[1]["handlers"]
    assert done.stdout.count("epoch  seconds") == 1
    files = {path.name for path in out.iterdir()}
    expected = {"checkpoint.pt", "model.pt", "model_best.pt", "metrics.csv", "run.json", "log.txt"}
    expected |= {"snapshots", "tensorboard", "configuration.json", "prediction.json"}
    assert files == expected
    assert len(list((out / "tensorboard").glob("events*"))) == 1
    rows = rows_of(out)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [row["iteration"] for row in rows] == ["3", "6", "9"]
    assert float(rows[-1]["val_score"]) == notes[0]["metrics"]["score"]


def test_weights_are_evaluated_in_one_process(trained, run_bundle, volumes):
    out, _, _ = trained
    run_bundle("train.yaml", "evaluate.yaml", folder=volumes, out=out, **{"network_def#dropout": 0.1})
    result = json.loads((out / "metrics_summary.json").read_text())
    assert result["n_volumes"] == 1 and 0 <= result["dice"]["mean"] <= 1


EVALUATION = ("train.yaml", "evaluate.yaml", "multi_gpu_evaluate.yaml")


def evaluated_by_two(volumes, out, part, model, **more):
    files = str([str(CONFIGS / name) for name in EVALUATION])
    settings = {**SETTINGS, "dataset_dir": volumes, "output_dir": out, "evaluate_on": part, "ckpt_path": model}
    words = ["monai.bundle", "run", "evaluating", "--config_file", files, *flags(**settings)]
    return in_two_processes(out.parent, *words, **more)


def test_cases_are_scored_by_two_processes_as_by_one(trained, run_bundle, volumes, tmp_path):
    """All files of the evaluation but its log, byte for byte; the table is printed once."""
    model = trained[0] / "model.pt"
    alone, together = tmp_path / "alone", tmp_path / "together"
    settings = {"network_def#dropout": 0.1, "evaluate_on": "training", "ckpt_path": str(model)}
    run_bundle("train.yaml", "evaluate.yaml", folder=volumes, out=alone, **settings)
    done = evaluated_by_two(volumes, together, "training", model)
    assert done.stdout.count("written to") == 1
    one, two = (
        {
            path.relative_to(folder): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and path.name != "log.txt"
        }
        for folder in (alone, together)
    )
    assert one == two
    assert json.loads((together / "metrics_summary.json").read_text())["n_volumes"] == 2


def test_fewer_cases_than_processes_are_refused(trained, volumes, tmp_path):
    done = evaluated_by_two(volumes, tmp_path / "few", "test", trained[0] / "model.pt", fails=True)
    assert "1 cases are too few for 2 processes: lower --nproc_per_node" in done.stderr


@pytest.fixture
def run_alone(run_bundle, volumes):
    """One process on the same data, stopped in an epoch if told so."""

    def run(out, stop_in=None, **more):
        flow, _ = run_bundle("train.yaml", folder=volumes, out=out, run=False, **SETTINGS, **more)
        if stop_in:

            def stop(engine):
                if engine.state.epoch == stop_in:
                    raise KeyboardInterrupt

            flow.parser.get_parsed_content("train#trainer").add_event_handler(Events.ITERATION_COMPLETED, stop)
            with pytest.raises(KeyboardInterrupt):
                flow.run()
        else:
            flow.run()

    return run


def shapes(value):
    """Types, names and shapes of a checkpoint's content, without the values."""
    if isinstance(value, dict):
        return {key: shapes(part) for key, part in value.items()}
    if isinstance(value, list):
        return [shapes(part) for part in value]
    return tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__


def test_runs_are_continued_with_another_number_of_processes(trained, run_alone, volumes, tmp_path):
    """1 -> 2 and 2 -> 1 processes go on; 2 -> 2 ends where the uninterrupted run of two ends, bit for bit."""
    whole, alone, together = trained[0], tmp_path / "alone", tmp_path / "together"
    run_alone(alone, stop_in=2)
    shutil.copytree(alone, tmp_path / "alone_before")
    jobs = [
        {"out": together, "stop_after": 1, "overrides": {}},
        {"out": together, "stop_after": 2, "overrides": {"resume": True}},
        {"out": alone, "stop_after": 2, "overrides": {"resume": True}},
        {"out": together, "stop_after": None, "overrides": {"resume": True}},
    ]
    jobs = [{**job, "out": str(job["out"]), "folder": str(volumes)} for job in jobs]
    for job in jobs:
        job["overrides"] |= SETTINGS
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    in_two_processes(tmp_path, "watch", tmp_path / "jobs.json", tmp_path)
    seen = [[json.loads((tmp_path / f"job{n}_process{r}.json").read_text()) for r in (0, 1)] for n in range(len(jobs))]

    wrong = {name: found for name, found in kill_resume.compare(whole, together, 3).items() if found}
    assert wrong == {}  # 2 -> 2 -> 2

    once_an_epoch(seen[2], ["2"])  # 1 -> 2
    assert [note["epoch"] for note in seen[2]] == [2, 2]
    assert seen[2][0]["t"] == seen[2][1]["t"] == {"2": pytest.approx(5 * 1.1**25)}
    before, after = (read_checkpoint(folder / "checkpoint.pt") for folder in (tmp_path / "alone_before", alone))
    assert (before["epoch"], after["epoch"]) == (1, 2)
    assert (len(before.pop("random")), len(after.pop("random"))) == (1, 2)
    assert shapes(before) == shapes(after)

    run_alone(alone, resume=True)  # -> 1
    assert read_checkpoint(alone / "checkpoint.pt")["epoch"] == 3
    rows = rows_of(alone)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [row["iteration"] for row in rows] == ["5", "6", "15"]  # as many steps an epoch as the processes make


def test_batches_of_labelled_and_unlabelled_slices_are_other_ones_of_one_sequence(six_patients, tmp_path, monkeypatch):
    """And their run goes on in one process; its weights are those of the network alone."""
    tiny = {key: value for key, value in TINY_MI.items() if key != "device"}
    jobs = []
    for mode in ("udaiic", "meanteacher"):
        overrides = {"bundle": BUNDLE, "tiny": tiny, "mode": mode, "train#trainer#max_epochs": 3}
        stop = 2 if mode == "udaiic" else None
        jobs.append(
            {"folder": str(six_patients), "out": str(tmp_path / mode), "stop_after": stop, "overrides": overrides}
        )
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    in_two_processes(tmp_path, "watch", tmp_path / "jobs.json", tmp_path)
    for number, job in enumerate(jobs):
        seen = [json.loads((tmp_path / f"job{number}_process{rank}.json").read_text()) for rank in (0, 1)]
        slices = [Counter(note["slices"]["1"]) for note in seen]
        assert all(sum(count.values()) == 2 * 5 for count in slices) and slices[0] != slices[1]
        assert [row["iteration"] for row in rows_of(Path(job["out"]))] == ["2", "4", "6"][: 2 + number]
        assert not any(name.startswith(("module", "network")) for name in weights_of(Path(job["out"])))
    monkeypatch.chdir(ROOT)
    out, more = tmp_path / "udaiic", {"resume": True, "train#trainer#max_epochs": 3}
    run_workflow("train.yaml", folder=six_patients, out=out, bundle=BUNDLE, tiny=TINY_MI, **more)
    assert [row["epoch"] for row in rows_of(out)] == ["1", "2", "3"]


def test_two_decoders_are_trained_together_and_continued(volumes, tmp_path):
    """Bit for bit, the second decoder included, whose gradients are shared as those of the network are."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    settings = {**SETTINGS, "mode": "pseudo", "pseudo_teacher": "decoder", "pseudo_start": 0.0}
    jobs = [{"out": whole, "stop_after": None}, {"out": broken, "stop_after": 2}, {"out": broken, "stop_after": None}]
    jobs = [{**job, "out": str(job["out"]), "folder": str(volumes), "overrides": dict(settings)} for job in jobs]
    jobs[2]["overrides"] |= {"resume": True}
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    in_two_processes(tmp_path, "watch", tmp_path / "jobs.json", tmp_path)
    assert {name: found for name, found in kill_resume.compare(whole, broken, 3).items() if found} == {}
    objects = read_checkpoint(whole / "checkpoint.pt")["objects"]
    assert set(objects["network"]) == set(torch.load(whole / "model.pt", weights_only=True))
    assert "final_conv.weight" in objects["second_decoder"]
    assert all(float(row["loss_pseudo"]) > 0 for row in rows_of(whole)[1:])
