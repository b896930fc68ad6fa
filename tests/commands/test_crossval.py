# SPDX-License-Identifier: Apache-2.0
"""`wss-monai crossval`: every patient scored once by a run that has not seen it; goes on where it was stopped."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from tiny import CONFIGS, ROOT, TINY, flags, make_dataset

from wss_monai.__main__ import main
from wss_monai.commands import crossval
from wss_monai.prediction import Predictor
from wss_monai.report.run_folder import read_run

SETTINGS = {**TINY, "mode": "partial", "validation": 0, "device": "cpu", "epoch_iterations": 2, "iterations": 2}
del SETTINGS["train#trainer#max_epochs"]


@pytest.fixture(scope="module")
def patients(tmp_path_factory) -> Path:
    """Three patients to train on, one of a test set of its own."""
    return make_dataset(tmp_path_factory.mktemp("discs"), patients=4, slices=2)


def words(data: Path, out: Path, **more) -> list[str]:
    settings = {**SETTINGS, "dataset_dir": data, "output_dir": out, **more}
    return ["crossval", "--config_file", str(CONFIGS / "train.yaml"), "--folds", "3", *flags(**settings)]


@pytest.mark.slow
def test_every_patient_is_scored_once_and_a_stopped_one_goes_on(patients, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    out, run, seen = tmp_path / "cv", crossval._execute, []

    def stop_in_the_second_fold(files, settings):
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append((Path(settings["output_dir"]).name, len(files)))
        run(files, settings)

    monkeypatch.setattr(crossval, "_execute", stop_in_the_second_fold)
    assert main(words(patients, out)) == 130
    assert seen == [("fold1", 1), ("fold1", 2), ("fold2", 1)]
    weights = [(out / name / "model.pt").read_bytes() for name in ("fold1", "fold2")]
    monkeypatch.setattr(crossval, "_execute", lambda files, settings: seen.append(settings) or run(files, settings))
    assert main(words(patients, out)) == 0
    assert len(seen) == 6  # the scores of the second fold, and the third
    assert [(out / name / "model.pt").read_bytes() for name in ("fold1", "fold2")] == weights
    tests = [json.loads((out / f"fold{n}" / "run.json").read_text())["patients"]["test"] for n in (1, 2, 3)]
    assert sorted(patient for part in tests for patient in part) == [
        "p1",
        "p2",
        "p3",
    ]  # p0 is of the data set's own test set
    assert "out of fold" in (out / "run.json").read_text()
    whole = read_run(out)
    assert whole.case_ids == {"p1_ED", "p2_ED", "p3_ED"}
    with (out / "evaluation" / "cases.csv").open() as file:
        dice = [float(row["dice"]) for row in csv.DictReader(file)]
    parts = [json.loads((out / f"fold{n}" / "metrics_summary.json").read_text())["dice"]["mean"] for n in (1, 2, 3)]
    assert whole.summary["dice"]["mean"] == pytest.approx(sum(dice) / 9) == pytest.approx(sum(parts) / 3)
    assert whole.summary["n_volumes"] == 3
    assert len(list((out / "evaluation" / "predictions").glob("*.nii.gz"))) == 3
    assert (out / "ensemble.txt").read_text().split() == [str(out / f"fold{n}") for n in (1, 2, 3)]
    assert f"predict --run {out} " in capsys.readouterr().out
    assert [run.folder for run in Predictor(out).settings] == [out / f"fold{n}" for n in (1, 2, 3)]
    assert main(words(patients, out, learning_rate=0.1)) == 2
    assert "with other settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--folds", "1"], "--folds must be a whole number of at least 2, got 1"),
        (["--folds", "9"], "folds must lie between 2 and the number of patients, 3; got 9; pass --folds 3 or fewer"),
        (["--fold", "fold1"], "--fold is set by crossval itself"),
        (["--learning_rte", "1"], "did you mean '--learning_rate'"),
        (["--mode"], "--mode has no value"),
        (["mode"], "'mode' is no setting"),
        (["--bundle", "weak_2d"], "name the configuration"),
    ],
)
def test_what_does_not_fit_is_refused(patients, tmp_path, monkeypatch, capsys, more, message):
    monkeypatch.chdir(ROOT)
    assert main([*words(patients, tmp_path / "cv"), *more]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "cv" / "fold1").exists()


def test_a_folder_of_something_else_is_refused(patients, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    (tmp_path / "notes.txt").write_text("mine")
    assert main(words(patients, tmp_path)) == 2
    assert "holds something else" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_evaluate_yaml_comes_behind_the_bundles_files_and_before_the_users(tmp_path):
    configs = CONFIGS.relative_to(ROOT)
    files = [str(configs / "train.yaml"), str(configs / "cpu.yaml"), "mine.yaml"]
    assert crossval._scoring(files) == [*files[:2], str(configs / "evaluate.yaml"), "mine.yaml"]
