# SPDX-License-Identifier: Apache-2.0
"""What a run does to its folder: nothing of a former run is lost or taken for its own, and a fault is named."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from ignite.engine import Events
from test_acdc_logbarrier import EVALUATE, TRAIN, refused
from tiny import CONFIGS, ROOT, TINY, command_here, flags

from wss_monai.io.folder_lock import LOCK


def test_a_finished_run_is_replaced_when_told_so_and_its_scores_with_it(run_bundle):
    _, out = run_bundle(*TRAIN)
    run_bundle(*EVALUATE, out=out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    digest = hashlib.sha256(before[out / "model.pt"]).hexdigest()
    assert json.loads(before[out / "metrics_summary.json"])["weights"] == {"file": "model.pt", "sha256": digest}
    with refused(r"holds a run that has finished its 2 epochs: .* --overwrite true"):
        run_bundle(*TRAIN, out=out, mode="partial")
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    run_bundle(*TRAIN, out=out, mode="partial", overwrite=True)
    assert not (out / "evaluation").exists() and not (out / "metrics_summary.json").exists()
    assert json.loads((out / "run.json").read_text())["mode"] == "partial"
    assert (out / "model.pt").read_bytes() != before[out / "model.pt"]


def test_a_loss_that_is_not_finite_ends_the_run_and_the_last_epoch_stays(run_bundle):
    flow, out = run_bundle(*TRAIN, run=False)
    trainer = flow.parser.get_parsed_content("train#trainer")
    kept = {}

    def spoil(engine):
        if engine.state.epoch == 2:
            kept.update({name: (out / name).read_bytes() for name in ("model.pt", "checkpoint.pt", "metrics.csv")})
            next(iter(engine.network.parameters())).data.fill_(float("nan"))

    trainer.add_event_handler(Events.EPOCH_STARTED, spoil)
    with refused(r"the loss is not finite: epoch 2, iteration \d+, in the term"):
        flow.run()
    assert kept and {name: (out / name).read_bytes() for name in kept} == kept
    assert not (out / LOCK).exists()


def test_weights_that_are_not_finite_are_not_evaluated(run_bundle, tmp_path):
    _, out = run_bundle(*TRAIN)
    weights = torch.load(out / "model.pt", weights_only=True)
    name = next(name for name, value in weights.items() if value.is_floating_point())
    torch.save({**weights, name: weights[name] * float("inf")}, tmp_path / "other.pt")
    with refused(rf"other\.pt holds weights that are not finite \('{name}'\)"):
        run_bundle(*EVALUATE, out=tmp_path / "scores", ckpt_path=str(tmp_path / "other.pt"))
    assert not (tmp_path / "scores").exists()


def test_a_case_that_cannot_be_read_is_named_and_the_others_are_scored(run_bundle, dataset, tmp_path, capsys):
    _, out = run_bundle(*TRAIN)
    run_bundle(*EVALUATE, out=out, evaluate_on="training")
    whole = {path.name: path.read_bytes() for path in (out / "evaluation" / "predictions").iterdir()}
    broken = shutil.copytree(dataset, tmp_path / "data")
    (first, *others) = sorted(whole)
    (broken / "images" / first).write_bytes((broken / "images" / first).read_bytes()[:300])
    capsys.readouterr()
    with refused(rf"1 of {len(whole)} cases failed, named above, and have no scores"):
        run_bundle(*EVALUATE, folder=broken, out=out, evaluate_on="training")
    case = first.removesuffix(".nii.gz")
    assert f"failed: {case}: " in capsys.readouterr().err
    summary = json.loads((out / "metrics_summary.json").read_text())
    assert list(summary["failed"]) == [case] and first in summary["failed"][case]
    assert [
        entry["case"] + ".nii.gz" for entry in json.loads((out / "evaluation" / "cases.json").read_text())
    ] == others
    assert {name: (out / "evaluation" / "predictions" / name).read_bytes() for name in others} == {
        name: whole[name] for name in others
    }


def test_an_image_whose_prediction_is_not_finite_has_no_scores(run_bundle):
    _, out = run_bundle(*TRAIN)
    flow, _ = run_bundle(*EVALUATE, out=out, run=False)
    network = flow.parser.get_parsed_content("network_def")
    network.register_forward_hook(lambda module, given, logits: logits * float("nan"))
    with refused(r"p0_ED: the network's output is not finite for .*p0_ED\.nii\.gz"):
        flow.run()
    assert not (out / "metrics_summary.json").exists()


@pytest.fixture
def training(dataset, tmp_path):
    """A long training in a process of its own, after its first epoch."""
    out = tmp_path / "run"
    settings = {**TINY, "train#trainer#max_epochs": 5000, "dataset_dir": dataset, "output_dir": out}
    words = ["-m", "monai.bundle", "run", "training", "--config_file", str(CONFIGS / "train.yaml"), *flags(**settings)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    process = subprocess.Popen(
        [sys.executable, *words],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while not (out / "checkpoint.pt").is_file() and process.poll() is None:
        time.sleep(0.05)
    yield process, out
    process.kill()
    process.wait()
    process.stderr.close()


@pytest.mark.parametrize(
    ("number", "word", "codes"),
    [(signal.SIGINT, "Interrupted", (130, -signal.SIGINT)), (signal.SIGTERM, "Terminated", (143,))],
)
def test_a_run_that_is_stopped_says_in_one_line_how_to_go_on(training, run_bundle, number, word, codes):
    process, out = training
    with refused(rf"{out} is in use: process {process.pid} on host .* \(training\)"):
        run_bundle(*TRAIN, out=out, resume=True, **{"train#trainer#max_epochs": 5000})
    with refused(rf"{out} is in use: process {process.pid}"):
        run_bundle(*EVALUATE, out=out)
    process.send_signal(number)
    said = process.communicate()[1]
    assert process.returncode in codes
    epoch = torch.load(out / "checkpoint.pt", weights_only=True)["epoch"]
    lines = [line for line in said.splitlines() if "checkpoint.pt" in line]
    expected = f"{word}: {out / 'checkpoint.pt'} holds epoch {epoch}; the same command with --resume true goes on"
    assert len(lines) == 1 and lines[0].startswith(expected), said[-2000:]
    other = "\n".join(line for line in said.splitlines() if "ignite.engine" not in line)  # where it was, in its log
    assert "Traceback" not in said and "Error" not in other and "ERROR" not in other
    assert not [path for path in out.rglob("*") if path.name.startswith((".part-", LOCK))]


def predicted(images, out, weights, **more):
    settings = {"window": [32, 32], "pixdim": [2.0, 2.0, -1.0], "network_def#features": [4, 4, 4, 4, 4, 4], **more}
    places = {"dataset_dir": images, "output_dir": out, "ckpt_path": weights}
    return command_here("run", "--config_file", str(CONFIGS / "inference.yaml"), **places, **settings)


def test_masks_have_their_names_when_whole_and_no_two_images_share_one(dataset, run_bundle, tmp_path, monkeypatch):
    _, out = run_bundle(*TRAIN)
    images = shutil.copytree(dataset / "images", tmp_path / "new")
    named, replace = [], os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (named.append((Path(a).name, Path(b).name)), replace(a, b)))
    assert predicted(images, tmp_path / "masks", out / "model.pt").returncode == 0
    masks = sorted(path.name for path in (tmp_path / "masks").iterdir())
    assert masks == [f"p{i}_ED_seg.nii.gz" for i in range(4)]
    assert [pair for pair in named if pair[1] in masks] == [(f".part-{name}", name) for name in masks]
    (images / "p1_ED.nii").write_bytes(gzip.decompress((images / "p1_ED.nii.gz").read_bytes()))
    for place, pattern, message in (
        (tmp_path / "two", "*.nii*", f"two images would share the mask {tmp_path / 'two' / 'p1_ED_seg'}"),
        (images, "*.nii.gz", "is the folder of the images"),
    ):
        done = predicted(images, place, out / "model.pt", pattern=pattern)
        assert done.returncode == 1 and message in done.stderr.splitlines()[-1]
    assert not (tmp_path / "two").exists() and len(list(images.iterdir())) == 5
