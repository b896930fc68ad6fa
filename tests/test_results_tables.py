# SPDX-License-Identifier: Apache-2.0
"""What a grid of runs writes as CSV is what the pages of results show."""

from __future__ import annotations

import csv
import importlib.util
import json
import runpy
import sys

import pytest
import torch
from tiny import ROOT

from wss_monai.losses import PartialCrossEntropyLoss


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


grid = load("grid")
load("network_arms")
experiments = load("experiments").EXPERIMENTS
make_results = runpy.run_path(str(ROOT / "docs" / "make_results.py"))


def summary(seed, dice, held=None, origin="constant", facts=True):
    """Scores of a run, as metrics_summary.json holds them, with the facts that a grid adds."""
    scores = {"dice": (dice, dice + 0.1), "hd95_mm": (20.0 + seed, 10.0), "volume_error_ml_abs": (3.0, 5.0 + seed)}
    out = {name: {"mean": sum(each) / 2, "RV": each[0], "LV": each[1]} for name, each in scores.items()}
    out["constraint_satisfaction"] = {} if held is None else {"size": {"mean": held, "RV": held, "LV": held}}
    out |= {"n_missed": {"RV": seed, "LV": 0}, "bounds_origin": origin, "seed": seed, "slice_dice": {"mean": dice}}
    run = {"fold": "fold1", "commit": "abc1234-dirty", "device": "CPU, 1 thread(s)", "seconds": "151.5"}
    return out | ({"run": run} if facts else {})


RESULTS = {
    "partial": [summary(seed, 0.6 + 0.01 * seed, origin="none") for seed in range(3)],
    "logbarrier": [summary(seed, 0.7123456 + 0.02 * seed, held=0.9 + 0.03 * seed) for seed in range(3)],
}


def read(file):
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_a_run_makes_a_row_with_its_scores_and_facts(tmp_path):
    grid.write_csv(RESULTS, tmp_path / "new" / "results.csv", ("slice_dice",))
    rows = read(tmp_path / "new" / "results.csv")
    assert [(row["arm"], row["seed"]) for row in rows] == [(arm, str(s)) for arm in RESULTS for s in range(3)]
    expected = {"arm": "logbarrier", "seed": "1", "fold": "fold1", "bounds_origin": "constant", "dice": "0.782346"}
    expected |= {
        "dice_RV": "0.732346",
        "dice_LV": "0.832346",
        "hd95_mm": "15.5",
        "hd95_mm_RV": "21",
        "hd95_mm_LV": "10",
    }
    expected |= {"volume_error_ml_abs": "4.5", "volume_error_ml_abs_RV": "3", "volume_error_ml_abs_LV": "6"}
    expected |= {"satisfied": "0.93", "missed": "1", "slice_dice": "0.732346", "commit": "abc1234-dirty"}
    expected |= {"device": "CPU, 1 thread(s)", "seconds": "151.5"}
    assert rows[4] == expected
    assert {row["satisfied"] for row in rows[:3]} == {""}


def test_facts_that_nobody_noted_stay_empty(tmp_path):
    grid.write_csv({"partial": [summary(0, 0.5, facts=False)]}, tmp_path / "results.csv")
    row = read(tmp_path / "results.csv")[0]
    assert [row[name] for name in ("fold", "commit", "device", "seconds")] == [""] * 4


def test_facts_of_a_run_come_from_its_own_files(tmp_path):
    assert set(grid.run_facts(tmp_path).values()) == {""}
    record = {"device": "CPU, 1 thread(s)", "parameters": 123, "max_epochs": 4, "iterations_per_epoch": 59}
    (tmp_path / "run.json").write_text(json.dumps(record))
    (tmp_path / grid.FACTS).write_text(json.dumps({"commit": "abc1234", "seconds": 12.5, "cpu_seconds": 9.5}))
    expected = {"commit": "abc1234", "device": "CPU, 1 thread(s)", "seconds": "12.5", "cpu_seconds": "9.5"}
    expected |= {"weights": "123", "iterations": "236", "steps_to_satisfy": "", "final_violation": ""}
    assert grid.run_facts(tmp_path) == expected
    (tmp_path / "metrics.csv").write_text("iteration,violation_size\n59,0.5\n118,0.03\n")
    assert grid.run_facts(tmp_path) == {**expected, "steps_to_satisfy": "118", "final_violation": "0.03"}


def test_further_facts_are_columns_where_an_experiment_wants_them(tmp_path):
    known = summary(0, 0.5)
    known["run"] |= {"weights": "123", "cpu_seconds": "9.5"}
    grid.write_csv({"partial": [known]}, tmp_path / "results.csv", facts_too=("weights", "cpu_seconds"))
    assert (
        read(tmp_path / "results.csv")[0] | {"weights": "123", "cpu_seconds": "9.5"}
        == read(tmp_path / "results.csv")[0]
    )
    shown = make_results["render"](f"{tmp_path / 'results.csv'} | weights | CPU s = cpu_seconds")
    assert shown.splitlines()[-1] == "| 123 | 10 |"


def test_a_setting_that_the_command_line_would_ignore_is_refused():
    assert grid.command("training", (), {"train#augment": "$None"})[-1] == "$None"
    with pytest.raises(ValueError, match=r"'\$None' for \['train#augment'\]"):
        grid.command("training", (), {"train#augment": None})


def test_a_command_is_charged_its_own_cpu_seconds(tmp_path, monkeypatch):
    busy = "import time; t = time.process_time()\nwhile time.process_time() < t + 0.3: pass"
    monkeypatch.setattr(grid, "command", lambda *words: [sys.executable, "-c", busy])
    used = [grid.run_bundle("a", "training", (), {"output_dir": tmp_path}, 1, "b") for _ in range(2)]
    assert all(0.3 <= seconds < 3 for seconds in used)
    monkeypatch.setattr(grid, "command", lambda *words: [sys.executable, "-c", "raise SystemExit(2)"])
    with pytest.raises(RuntimeError, match=r"training\.log"):
        grid.run_bundle("a", "training", (), {"output_dir": tmp_path}, 1, "b")


def test_deep_supervision_is_a_mean_of_the_losses_of_the_heads():
    loss = load("deep_supervision").DeepSupervision({"dense": [PartialCrossEntropyLoss(target_key="label"), 1.0]})
    heads = torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    target = {"label": torch.zeros(2, 1, 8, 8, dtype=torch.uint8)}
    each = [loss(head, target) for head in heads.unbind(1)]
    torch.testing.assert_close(loss(heads, target), (each[0] + each[1] / 2 + each[2] / 4) / 1.75)
    torch.testing.assert_close(loss.parts["dense"], each[0])


def test_a_run_that_is_there_keeps_its_commit(tmp_path):
    (tmp_path / "metrics_summary.json").write_text("{}")
    (tmp_path / grid.FACTS).write_text(json.dumps({"commit": "old", "seconds": 1.0}))
    settings = {"output_dir": tmp_path, "fold": "fold1", "validation": "fold2", "evaluate_on": "validation"}
    run = grid.run_one("there", (), settings, 1)["run"]
    assert (run["commit"], run["fold"]) == ("old", "fold2")
    assert grid.run_one("there", (), {**settings, "evaluate_on": "test"}, 1)["run"]["fold"] == "fold1"


def test_the_page_shows_the_table_that_the_grid_prints(tmp_path):
    grid.write_csv(RESULTS, tmp_path / "results.csv", ("slice_dice",))
    shown = make_results["render"](str(tmp_path / "results.csv"))
    assert shown.strip() == grid.table(RESULTS, ("slice_dice",))


def test_rows_and_columns_that_a_page_asks_for(tmp_path):
    render = make_results["render"]
    (tmp_path / "a.csv").write_text("k,name,least,largest\n3,RV,1,2\n5,RV,,\n5,LV,3,4\n")
    words = f"{tmp_path / 'a.csv'} where k=5 | class = name | range = **{{least}}** ({{largest}})"
    assert render(words) == "| class | range |\n|---|---|\n| RV |  |\n| LV | **3** (4) |\n"
    (tmp_path / "b.csv").write_text(f'what\n"{{{tmp_path / "a.csv"}: k=5, name=LV: largest}}"\n')
    assert render(str(tmp_path / "b.csv")) == "| what |\n|---|\n| 4 |\n"
    with pytest.raises(ValueError, match="2 rows"):
        make_results["looked_up"](f"{{{tmp_path / 'a.csv'}: k=5: largest}}")
    (tmp_path / "c.csv").write_text("a,b\n1\n")
    with pytest.raises(ValueError, match="line 2"):
        render(str(tmp_path / "c.csv"))


@pytest.mark.parametrize("name", experiments)
def test_experiments_name_files_that_exist(name):
    experiment = experiments[name]
    for overlays, _ in (*experiment.arms.values(), *experiment.tried.values()):
        for file in ("train.yaml", *overlays):
            assert (ROOT / "bundles" / experiment.bundle / "configs" / file).is_file()
    assert experiment.split is None or (ROOT / "benchmarks" / "splits" / experiment.split).is_file()
