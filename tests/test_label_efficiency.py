# SPDX-License-Identifier: Apache-2.0
"""What benchmarks/run.py label-efficiency counts and draws, by hand on a tiny data set."""

from __future__ import annotations

import argparse
import csv
import json
from importlib import import_module
from itertools import pairwise

import pytest
from tiny import ROOT, make_dataset

from wss_monai.__main__ import main
from wss_monai.data import load_cases


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return import_module


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Four slices; the first has no RV, so that 3 x 4 + 3 drawings and 3 x 3 + 2 organs are in a case."""
    return make_dataset(tmp_path_factory.mktemp("label_efficiency") / "data", patients=8)


def weaken(data, words, out):
    if not out.exists():
        assert main(["weaken", "--data", str(data), "--out", str(out), *words]) == 0


def split_of(folder, patients=8):
    file = folder / "split.json"
    names = [f"p{i}" for i in range(patients)]
    file.write_text(json.dumps({"test": {"fold1": names[:2], "fold2": names[2:]}}))
    return file


def settings(data, folder):
    return {"dataset_dir": data, "split": split_of(folder), "fold": "fold1", "validation": 0}


def test_drawings_and_minutes(module, data, tmp_path):
    efficiency, arms = module("label_efficiency"), module("label_arms")
    common = settings(data, tmp_path)
    count = {
        name: efficiency.counted(
            arms.ARMS[name],
            {**common, "dataset_dir": efficiency.draw(arms.ARMS[name].drawing, data, tmp_path / "out", weaken)},
            0,
        )
        for name in ("scribbles_partial", "points_normal", "boxes_partial", "tags_pseudo", "dense_full", "dense_3_full")
    }
    assert count["scribbles_partial"] == {"scribble": efficiency.Drawn(6, 24, 6 * 15)}
    assert count["points_normal"] == {"points": efficiency.Drawn(6, 24, 6 * 15)}
    assert count["boxes_partial"] == {"box": efficiency.Drawn(6, 24, 6 * 11)}
    assert count["tags_pseudo"] == {"tags": efficiency.Drawn(6, 24, 6 * 4 * 3)}
    assert count["dense_full"] == {"dense": efficiency.Drawn(6, 24, 6 * 11)}
    assert count["dense_3_full"] == {"dense": efficiency.Drawn(3, 12, 3 * 11)}
    head = efficiency.head_of(arms.ARMS["dense_3_full"], count["dense_3_full"])
    assert (head["minutes"], head["minutes_photographs"]) == ("11.0", "43.6")  # 33 x 20 s, 33 x 79.2 s
    head = efficiency.head_of(arms.ARMS["scribbles_partial"], count["scribbles_partial"])
    assert head["minutes"] == head["minutes_photographs"] == "16.4"  # 90 x 10.9 s
    head = efficiency.head_of(arms.ARMS["points_normal"], count["points_normal"])
    assert head["minutes"] == "3.6"  # 90 x 2.4 s


def test_dense_patients_besides_cost_their_minutes(module, data, tmp_path):
    efficiency, arms = module("label_efficiency"), module("label_arms")
    found = efficiency.counted(arms.ARMS["scribbles_dense5"], settings(data, tmp_path), 0)
    assert found == {"scribble": efficiency.Drawn(6, 24, 90), "dense": efficiency.Drawn(5, 20, 55)}
    minutes = 90 * 10.9 / 60 + 55 * 20 / 60
    assert efficiency.head_of(arms.ARMS["scribbles_dense5"], found)["minutes"] == f"{minutes:.1f}"


def test_every_third_slice_is_drawn_on_the_points(module, data, tmp_path):
    efficiency, arms = module("label_efficiency"), module("label_arms")
    folder = efficiency.draw("points_third", data, tmp_path, weaken)
    assert folder == tmp_path / "weak" / "points_third" and (tmp_path / "weak" / "points").is_dir()
    drawn = efficiency.counted(arms.ARMS["points_third_normal"], {**settings(data, tmp_path), "dataset_dir": folder}, 0)
    assert 6 <= drawn["points"].slices <= 12 and drawn["points"].drawings < 4 * drawn["points"].slices + 1


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_few_patients_are_among_the_more(module, data, tmp_path, seed):
    efficiency, arms = module("label_efficiency"), module("label_arms")
    common = settings(data, tmp_path)
    few = [efficiency.drawn_patients(arms.Drawing("dense", "", patients=n), common, seed) for n in (1, 2, 3, 4, 5, 6)]
    assert all(set(a) < set(b) for a, b in pairwise(few))
    efficiency.restricted(common, few[2], tmp_path / "few.json")
    split = load_cases(data, split=tmp_path / "few.json", fold="fold1", validation=0)
    assert split.patients == {"training": few[2], "validation": [], "test": ["p0", "p1"]}


def test_settings_of_a_run(module, data, tmp_path):
    efficiency, arms = module("label_efficiency"), module("label_arms")
    fitted = []

    def fit(words, common, seed, out):
        fitted.append((words, common["dataset_dir"], seed, out))

    common = settings(data, tmp_path)
    overlays, found = efficiency.settings_of(arms.ARMS["points_estimated"], common, data, 3, tmp_path, fit)
    assert overlays == ("cpu.yaml",) and "split" not in found and "epoch_iterations" not in found
    assert fitted == [(arms.FIT, data, 3, tmp_path / "bounds" / "points_s3.json")]
    assert found["bounds_file"] == str(tmp_path / "bounds" / "points_s3.json")
    _, found = efficiency.settings_of(arms.ARMS["scribbles_5_pseudo"], common, data, 3, tmp_path, fit)
    assert found["epoch_iterations"] == 79 and len(fitted) == 1
    assert len(json.loads(found["split"].read_text())["patients"]) == 5 + 2


def test_rows_made_before(module):
    efficiency, arms = module("label_efficiency"), module("label_arms")
    results = ROOT / "docs" / "results"
    rows = efficiency.known_rows(arms.ARMS, [0, 1], results)
    assert {seed for _, seed in rows} == {0, 1} and rows["points_normal", 0]["dice"] == "0.811398"
    assert all(row["arm"] == name for (name, _), row in rows.items())
    assert {name for name, _ in rows} == {name for name, arm in arms.ARMS.items() if arm.known}


def test_the_table_and_the_figure(module, tmp_path):
    """Two seeds of an arm make one line and one mark."""
    efficiency, picture = module("label_efficiency"), module("picture_label_efficiency")
    row = {"drawn": "points", "method": "partial", "patients": 32, "slices": 600, "minutes": "90.0",
           "minutes_photographs": "90.0", "hd95_mm": "10", "dice_largest": "0.7"}  # fmt: skip
    rows = [{**row, "arm": "points_partial", "seed": seed, "dice": dice} for seed, dice in ((0, "0.6"), (1, "0.7"))]
    rows.append({**row, "arm": "dense_full", "seed": 0, "dice": "0.9", "minutes_photographs": "360.0"})
    assert "| points | partial | 32 | 600 | 90 | 0.650 | 0.600 / 0.700 | 10.0 | 0.700 |" in efficiency.table(rows)
    with (tmp_path / "rows.csv").open("w", newline="") as lines:
        writer = csv.DictWriter(lines, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    marks = picture.read_marks(tmp_path / "rows.csv", "dice")
    assert [(mark.name, mark.least, mark.largest) for mark in marks] == [
        ("points_partial", 0.6, 0.7),
        ("dense_full", 0.9, 0.9),
    ]
    axis = picture.draw(marks).axes[0]
    words = {text.get_text() for text in axis.texts}
    assert "dense masks of all patients" in words and axis.get_xscale() == "log"


def test_pathologies_are_split_by_group(module, data, tmp_path, monkeypatch):
    """Of 4 patients of group A 3 train and 1 is scored; the others' sizes come from B, where nobody is scored."""
    pathology = module("pathology")
    monkeypatch.setattr(pathology, "TRAINING", 3)
    split = split_of(tmp_path)
    files = pathology.write_splits(data, split, "A", 0, tmp_path / "splits")
    own, others = (json.loads(files[origin].read_text()) for origin in ("own", "others"))
    assert sorted(own["training"] + own["test"]) == ["p0", "p2", "p4", "p6"] and len(own["test"]) == 1
    assert others == {"training": ["p1", "p3", "p5", "p7"], "test": own["test"]}
    with pytest.raises(SystemExit, match="--tune"):
        pathology.run_pathology(argparse.Namespace(tune=True), weaken, None)
