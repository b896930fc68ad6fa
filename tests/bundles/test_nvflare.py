# SPDX-License-Identifier: Apache-2.0
"""docs/how-to/federated.md on NVIDIA FLARE's simulator: scribbles at one site, points and bounds at the other."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from tiny import ROOT, TINY, command_here, make_dataset

PAGE = ROOT / "docs" / "how-to" / "federated.md"
SITES = {"north": ("scribble", "partial"), "south": ("points", "logbarrier")}
SMALL = {
    **{key: value for key, value in TINY.items() if key in ("pixdim", "crop", "window", "batch_size", "validation")},
    "network_def#features": [4, 4, 4, 4, 4, 4],
    "field": [32, 32, -1],
    "epoch_iterations": 3,
    "val_interval": 1,
    "schedule_epochs": 2,
}
pytestmark = pytest.mark.slow


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)


def make_site(folder: Path, name: str) -> None:
    """A third of the patients each, without dense training labels; the kind of the labels is the site's."""
    content = json.loads((make_dataset(folder, patients=7) / "dataset.json").read_text())
    content["weak_label"]["kind"] = SITES[name][0]
    mine = ("p1", "p2", "p3") if name == "north" else ("p4", "p5", "p6")
    content["training"] = [
        {key: value for key, value in case.items() if key != "label"}
        for case in content["training"]
        if case["patient"] in mine
    ]
    (folder / "dataset.json").write_text(json.dumps(content))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the page: bundles, data of both sites, and the files of the page, with a tiny network."""
    (tmp_path / "bundles").symlink_to(ROOT / "bundles")
    (tmp_path / "federated").mkdir()
    for name, body in zip([*SITES, "same"], blocks("yaml"), strict=True):
        settings = yaml.safe_load(body) | (SMALL if name == "same" else {})
        (tmp_path / "federated" / f"{name}.yaml").write_text(yaml.safe_dump(settings))
    client, job, _ = blocks("python")
    (tmp_path / "federated" / "client.py").write_text(client)
    assert "ROUNDS, EPOCHS = 10, 2\n" in job
    (tmp_path / "federated" / "job.py").write_text(job.replace("ROUNDS, EPOCHS = 10, 2\n", "ROUNDS, EPOCHS = 2, 1\n"))
    for name in SITES:
        make_site(tmp_path / "data" / name.upper(), name)
    return tmp_path


def test_the_settings_of_the_sites_differ_in_labels_alone():
    north, south, same = (yaml.safe_load(body) for body in blocks("yaml"))
    assert (north["mode"], south["mode"]) == tuple(mode for _, mode in SITES.values())
    assert not {*same} & {*north, *south}
    rounds, epochs = map(int, re.search(r"ROUNDS, EPOCHS = (\d+), (\d+)", blocks("python")[1]).groups())
    assert same["schedule_epochs"] == rounds * epochs


@pytest.mark.skipif(importlib.util.find_spec("nvflare") is None, reason="nvflare is not installed")
def test_the_job_of_the_page_runs(folder, monkeypatch):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-W", "ignore", "federated/job.py"]
    with (folder / "job.log").open("w") as log:
        done = subprocess.run(command, cwd=folder, env=environment, stdout=log, stderr=log, timeout=900, check=False)
    assert done.returncode == 0, (folder / "job.log").read_text()[-5000:]
    runs = folder / "runs" / "federated"
    local = {}
    for name, (_, mode) in SITES.items():
        rows = list(csv.DictReader((runs / name / "metrics.csv").open()))
        assert [row["epoch"] for row in rows] == ["1", "2"]
        assert bool(rows[1].get("violation_size")) == (mode == "logbarrier")
        record = json.loads((runs / name / "run.json").read_text())
        mine = ("p1", "p2", "p3") if name == "north" else ("p4", "p5", "p6")
        assert {*record["patients"]["training"], *record["patients"]["validation"]} == {*mine}
        local[name] = torch.load(runs / name / "model.pt", weights_only=True)
    monkeypatch.chdir(folder)
    exec(blocks("python")[2], {})
    shared = torch.load(runs / "global.pt", weights_only=True)
    assert any(not torch.equal(local["north"][key], local["south"][key]) for key in shared)
    for key, value in shared.items():  # as many iterations at both sites
        mean = (local["north"][key].double() + local["south"][key].double()) / 2
        torch.testing.assert_close(value.double(), mean, rtol=0, atol=1e-5)
    line = next(line for line in "\n".join(blocks("sh")).splitlines() if "evaluating" in line)
    files = re.search(r'--config_file "(.*?)"', line)[1]
    done = command_here(
        "run", "evaluating", "--config_file", files, "--ckpt_path", "runs/federated/global.pt", cwd=folder
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((runs / "north" / "metrics_summary.json").read_text())
