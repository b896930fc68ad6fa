# SPDX-License-Identifier: Apache-2.0
"""Constraints with multipliers in two CPU processes: they agree, are in the checkpoint, and go on from there."""

from __future__ import annotations

import json

import pytest
import torch
from test_kill_resume import kill_resume
from test_multi_gpu import SETTINGS, SLICES, in_two_processes, rows_of
from tiny import make_dataset

from wss_monai.handlers.checkpoint import read_checkpoint

DUAL = {
    **SETTINGS,
    "mode": "constrained",
    "enforcer": "primal_dual",
    "enforcer_weight": 1.0,
    "size_bounds": {"RV": [10, 100], "Myo": [10, 100], "LV": [10, 100]},
}
ROWS = "terms.size.penalty._extra_state"


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("five"), slices=5)


@pytest.mark.parametrize("per", ["sample", "set"])
def test_processes_share_their_multipliers_and_go_on_from_the_checkpoint(volumes, tmp_path, per):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    settings = {**DUAL, "enforcers#primal_dual#per": per}
    jobs = [{"out": whole, "stop_after": None}, {"out": broken, "stop_after": 2}, {"out": broken, "stop_after": None}]
    jobs = [{**job, "out": str(job["out"]), "folder": str(volumes), "overrides": dict(settings)} for job in jobs]
    jobs[2]["overrides"] |= {"resume": True}
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    in_two_processes(tmp_path, "watch", tmp_path / "jobs.json", tmp_path)
    seen = [[json.loads((tmp_path / f"job{n}_process{r}.json").read_text()) for r in (0, 1)] for n in range(3)]
    for first, second in seen:
        assert (
            first["slices"] != second["slices"]
        )  # each process has seen other slices, and knows the multipliers of all
        assert first["multipliers"] == second["multipliers"]
    assert seen[2][0]["multipliers"] == seen[0][0]["multipliers"] != seen[1][0]["multipliers"]

    saved = read_checkpoint(whole / "checkpoint.pt")["objects"]["loss"][ROWS]
    for name, rows in seen[0][0]["multipliers"]["size"].items():
        assert torch.equal(saved[name], torch.tensor(rows))
    assert len(saved["multiplier"]) == (SLICES if per == "sample" else 1)
    assert float(saved["multiplier"].max()) > 0
    if per == "sample":
        assert bool((saved["met"].flatten(1).amax(1) > 0).all())  # every slice, whichever process it came to
    assert {name: found for name, found in kill_resume.compare(whole, broken, 3).items() if found} == {}
    assert [row["epoch"] for row in rows_of(broken)] == ["1", "2", "3"]
