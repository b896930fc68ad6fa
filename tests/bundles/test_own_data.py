# SPDX-License-Identifier: Apache-2.0
"""One's own data through `plan`: what it writes trains, and is evaluated, in 2D and in 3D."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from tiny import ROOT, command_here, user_error, workflow

from wss_monai.__main__ import main
from wss_monai.io.volumes import read_array

sys.path.append(str(Path(__file__).resolve().parents[1] / "planning"))
from test_plan import make_data

THIN = {"weak_2d": {"network_def#features": [4, 4, 4, 4, 4, 4]}, "weak_3d": {"network_def#channels": [4, 4, 4, 4]}}
SHAPES = {
    "weak_2d": {"shape": (60, 40, 5), "spacing": (2.0, 2.0, 8.0)},
    "weak_3d": {"shape": (60, 40, 20), "spacing": (1.0, 1.0, 1.2)},
}


@pytest.mark.slow
@pytest.mark.parametrize("bundle", THIN)
def test_the_file_of_plan_trains_and_is_evaluated(bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    data, file, out = (
        make_data(tmp_path / "data", patients=3, **SHAPES[bundle]),
        tmp_path / "mine.yaml",
        tmp_path / "run",
    )
    assert main(["plan", str(data), "--out", str(file), "--device", "cpu", "--run", str(out)]) == 0
    configs = f"bundles/{bundle}/configs"
    assert configs in file.read_text()
    more = {**THIN[bundle], "iterations": 2, "device": "cpu"}
    done = command_here("run", "training", "--config_file", str([f"{configs}/train.yaml", str(file)]), **more)
    assert done.returncode == 0, done.stderr
    record = json.loads((out / "run.json").read_text())
    assert (record["bundle"], record["mode"], record["iterations_per_epoch"]) == (bundle, "pseudo", 1)
    files = str([f"{configs}/train.yaml", f"{configs}/evaluate.yaml", str(file)])
    done = command_here("run", "evaluating", "--config_file", files, **more)
    assert done.returncode == 0, done.stderr
    (mask,) = (out / "evaluation" / "predictions").glob("*.nii.gz")
    values = np.unique(read_array(str(mask))[0])
    assert set(values) <= {0, 1} and read_array(str(mask))[0].shape == SHAPES[bundle]["shape"]
    assert "== evaluation done" in (out / "log.txt").read_text()


@pytest.mark.parametrize("bundle", THIN)
def test_classes_of_ones_own_are_asked_for_by_name(bundle, tmp_path, monkeypatch):
    """Nothing is known of sizes: no bound of another organ is in the way."""
    monkeypatch.chdir(ROOT)
    data = make_data(tmp_path / "data", patients=2, organ="spleen", **SHAPES[bundle])
    for names in (["background", "organ"], ["background", "spleen"]):
        flow = workflow(
            "train.yaml", folder=data, out=tmp_path / "run", bundle=bundle, tiny={"validation": 0}, class_names=names
        )
        flow.parser["data#folds"] = 2
        flow.initialize()
        if "spleen" in names:
            assert flow.parser.get_parsed_content("bounds").origin == "tag"
            continue
        with pytest.raises(Exception) as caught:
            flow.parser.get_parsed_content("data")
        assert "Override class_names with the data set's names" in user_error(caught.value)


def test_the_defaults_are_those_that_were_measured():
    for bundle in THIN:
        config = yaml.safe_load((ROOT / "bundles" / bundle / "configs" / "train.yaml").read_text())
        assert (config["mode"], config["keep_largest"], config["epoch_iterations"]) == ("pseudo", False, 200)
