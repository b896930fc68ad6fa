# SPDX-License-Identifier: Apache-2.0
"""The overlays with constraints across cases and across slices, on generated hearts in ED and ES."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
import torch
from tiny import UNET_3D, interrupt, user_error

from wss_monai.__main__ import main

OVERLAYS = {"equal_volume": "equal_volume.yaml", "smooth_areas": "smooth_areas.yaml"}
HEART = {"pixdim": [6.0, 6.0, -1.0], "train#trainer#max_epochs": 2, "epoch_iterations": 2}


@pytest.fixture(scope="module")
def hearts(tmp_path_factory) -> Path:
    """Four patients, each in ED and ES, with scribbles."""
    folder = tmp_path_factory.mktemp("hearts") / "data"
    assert main(["synthesize", "cardiac", "--patients", "4", "--out", str(folder)]) == 0
    return folder


def _headings(page: str) -> str:
    return " ".join(re.findall(r"<h3>(.*?)</h3>", page))


def rows_of(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "metrics.csv").open()))


@pytest.mark.parametrize("mode", ["quadratic", "logbarrier", "constrained", "pseudo"])
@pytest.mark.parametrize("term", OVERLAYS)
def test_each_mode_has_the_term(run_bundle, hearts, term, mode):
    _, out = run_bundle("train.yaml", OVERLAYS[term], folder=hearts, mode=mode, **HEART)
    rows = rows_of(out)
    assert all(float(row[f"violation_{term}"]) >= 0 for row in rows)
    assert len(rows) == 2 and f"loss_{term}" in rows[0]


@pytest.mark.parametrize("term", OVERLAYS)
def test_resumed_run_ends_where_the_uninterrupted_run_ends(run_bundle, hearts, tmp_path, term):
    """With multipliers of pairs, or of slices and the next one."""
    settings = {**HEART, "mode": "constrained", "enforcer": "primal_dual", "folder": hearts, "enforcer_weight": 0.5}
    settings |= {"train#trainer#max_epochs": 3, "equal_volume": {"LV": 0.05}, "smooth_areas": {"LV": [None, 1]}}
    settings.pop({"equal_volume": "smooth_areas", "smooth_areas": "equal_volume"}[term])
    _, whole = run_bundle("train.yaml", OVERLAYS[term], out=tmp_path / "whole", **settings)
    flow, broken = run_bundle("train.yaml", OVERLAYS[term], out=tmp_path / "broken", run=False, **settings)
    interrupt(flow, 3)
    run_bundle("train.yaml", OVERLAYS[term], out=broken, resume=True, **settings)
    first, second = (torch.load(f / "checkpoint.pt", weights_only=True)["objects"] for f in (whole, broken))
    assert all(torch.equal(first["network"][key], second["network"][key]) for key in first["network"])
    states = [objects["loss"][f"terms.{term}.penalty._extra_state"] for objects in (first, second)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert float(states[0]["multiplier"].max()) > 0


def test_both_at_once_and_their_evaluation(run_bundle, hearts):
    """The evaluation measures how smooth the areas of each predicted volume are."""
    files = ("train.yaml", "smooth_areas.yaml", "equal_volume.yaml")
    _, out = run_bundle(*files, folder=hearts, mode="logbarrier", **HEART)
    assert {"violation_equal_volume", "violation_smooth_areas", "violation_size"} <= set(rows_of(out)[0])
    run_bundle(*files, "evaluate.yaml", folder=hearts, out=out, mode="logbarrier", **HEART)
    rows = list(csv.DictReader((out / "evaluation" / "constraints.csv").open()))
    steps = [row for row in rows if row["term"] == "smooth_areas"]
    assert {row["class"] for row in steps} <= {"RV", "Myo", "LV"} and {row["unit"] for row in steps} == {"mm2/mm"}
    assert {row["component"] for row in steps} == {"0"} and len({row["slice"] for row in steps}) > 1
    pairs = [row for row in rows if row["term"] == "equal_volume"]
    assert pairs and {row["class"] for row in pairs} == {"Myo"}
    volumes = {r["case"]: float(r["volume_ml"]) for r in csv.DictReader((out / "evaluation" / "cases.csv").open())
               if r["class"] == "Myo"}  # fmt: skip
    for row in pairs:
        assert row["case"].rsplit("_", 1)[0] == row["other"].rsplit("_", 1)[0] and row["case"] != row["other"]
        assert float(row["measure"]) == pytest.approx(volumes[row["case"]], rel=1e-4)
        assert float(row["upper"]) == pytest.approx(volumes[row["other"]] * 1.3, rel=1e-4)
        assert float(row["lower"]) == pytest.approx(volumes[row["other"]] / 1.3, rel=1e-4)
    summary = json.loads((out / "metrics_summary.json").read_text())
    assert summary["bounds_origin"] == "constant, smooth areas constant, equal volume stated"
    held = [row["state"] != "violated" for row in pairs]
    assert summary["constraint_satisfaction"]["equal_volume"] == {
        "mean": sum(held) / len(held),
        "Myo": sum(held) / len(held),
    }
    assert main(["report", "html", "--runs", str(out), "--out", str(out / "report.html")]) == 0
    page = (out / "report.html").read_text()
    assert "equal_volume (ml)" in page and "smooth_areas (mm2/mm)" in page and "component" not in _headings(page)


def test_shares_of_the_mean_area(run_bundle, hearts):
    settings = {"smooth_areas_relative": True, "smooth_areas": {"LV": [None, 0.001]}, "mode": "quadratic"}
    _, out = run_bundle("train.yaml", "smooth_areas.yaml", folder=hearts, **HEART, **settings)
    assert float(rows_of(out)[-1]["violation_smooth_areas"]) > 0


def test_pseudo_labels_alone_have_no_bounds_on_size(run_bundle, hearts):
    flow, _ = run_bundle("train.yaml", "equal_volume.yaml", folder=hearts, mode="pseudo", run=False, **HEART)
    assert flow.parser.get_parsed_content("bounds_origin") == "equal volume stated"


@pytest.mark.parametrize(
    ("files", "settings", "message"),
    [
        (("equal_volume.yaml",), {"equal_volume": {"heart": 0.1}}, "equal_volume names the class 'heart'"),
        (("equal_volume.yaml", "smooth_areas.yaml"), {}, "set volume_sampler to a"),
        (("smooth_areas.yaml",), {"smooth_areas": {"LV": [None, -1]}}, "bounds of 'area_change' for class 'LV'"),
    ],
)
def test_impossible_settings_are_refused(run_bundle, hearts, files, settings, message):
    with pytest.raises(RuntimeError) as error:
        run_bundle("train.yaml", *files, folder=hearts, mode="quadratic", **HEART, **settings)
    assert message in user_error(error.value)


def test_smooth_areas_are_about_slices(run_bundle):
    patches = {"patch_size": [24, 24, 4], "window": [24, 24, 4], "pixdim": [2.0, 2.0, 8.0], "crop": [-1, -1, -1]}
    files = ("train.yaml", "smooth_areas.yaml", "train_3d.yaml")
    with pytest.raises(RuntimeError) as error:
        run_bundle(*files, mode="quadratic", network_def=UNET_3D, **patches)
    assert "smooth areas need batches of slices" in user_error(error.value)


def test_patients_with_one_case_are_refused(run_bundle):
    with pytest.raises(RuntimeError) as error:
        run_bundle("train.yaml", "equal_volume.yaml", mode="quadratic")
    assert "training patients has two" in user_error(error.value)
