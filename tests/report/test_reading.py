# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest

from wss_monai.report.run_folder import read_run, read_runs


def test_a_run_is_read_as_written(make_run):
    run = read_run(make_run())
    assert (run.last("seconds"), run.last("t"), run.last("loss")) == (75.0, None, pytest.approx(1 / 3))
    assert run.case_ids == {"p1_ED", "p1_ES", "p2_ED"}
    assert run.has_dense_labels and not run.is_oracle
    row = run.constraints[0]
    assert (row["class"], row["lower"], row["upper"], row["state"]) == ("RV", 0.1, 1.5, "slack")
    assert "lower" not in run.constraints[1]


@pytest.mark.parametrize(
    ("file", "error", "match"),
    [
        ("run.json", FileNotFoundError, r"run\.json is missing"),
        ("metrics_summary.json", FileNotFoundError, r"metrics_summary\.json is missing"),
        ("evaluation/cases.csv", FileNotFoundError, r"cases\.csv is missing"),
        ("evaluation/cases.json", FileNotFoundError, r"cases\.json is missing"),
    ],
)
def test_a_missing_file_is_named(make_run, file, error, match):
    run = make_run()
    (run / file).unlink()
    with pytest.raises(error, match=match):
        read_run(run)


@pytest.mark.parametrize("file", ["metrics.csv", "evaluation/constraints.csv"])
def test_files_that_may_be_absent(make_run, file):
    run = make_run()
    (run / file).unlink()
    assert read_run(run).summary is not None


def test_folders_without_anything_to_show(make_run, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        read_run(tmp_path / "nowhere")
    run = make_run(evaluated=False)
    (run / "metrics.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"neither metrics\.csv nor evaluation/"):
        read_run(run)


@pytest.mark.parametrize(
    ("file", "text", "match"),
    [
        ("run.json", "{", r"run\.json: not a JSON file"),
        ("run.json", "{}", r"run\.json has no class_names"),
        ("metrics.csv", "epoch,loss\n1,often\n", r"metrics\.csv, line 2, column loss: 'often'"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(make_run, file, text, match):
    run = make_run()
    (run / file).write_text(text)
    with pytest.raises(ValueError, match=match):
        read_run(run)


def test_different_cases_are_refused(make_run):
    runs = [make_run("a"), make_run("b", cases=("p1_ED", "p3_ED"))]
    with pytest.raises(ValueError, match=r"different cases \(only in .*a: p1_ES, p2_ED; only in .*b: p3_ED\)"):
        read_runs(runs)


def test_different_classes_are_refused(make_run):
    with pytest.raises(ValueError, match="different classes"):
        read_runs([make_run("a"), make_run("b", names=["background", "RV", "Myo"])])


def test_the_same_folder_twice_is_refused(make_run):
    run = make_run()
    with pytest.raises(ValueError, match="more than once"):
        read_runs([run, run / ".." / "run"])
    with pytest.raises(ValueError, match="runs is empty"):
        read_runs([])


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ([{"mode": "full"}, {"mode": "partial"}], ["full", "partial"]),
        ([{"seed": 0}, {"seed": 1}], ["partial, seed 0", "partial, seed 1"]),
        ([{"seed": 0}, {"seed": 0}], ["run0", "run1"]),
    ],
)
def test_names_tell_runs_apart(make_run, settings, names):
    runs = [make_run(f"run{i}", evaluated=False, **these) for i, these in enumerate(settings)]
    assert [run.name for run in read_runs(runs)] == names


def test_training_alone_can_be_read(make_run):
    """Where the evaluation is under way or of other cases, and is not asked for."""
    runs = [make_run("a"), make_run("b", mode="full", cases=("p3_ED",))]
    (runs[0] / "metrics_summary.json").unlink()
    read = read_runs(runs, scores=False)
    assert [(run.name, run.summary, run.cases, len(run.epochs)) for run in read] == [
        ("partial", None, [], 3),
        ("full", None, [], 3),
    ]
    (runs[0] / "metrics.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"a holds no metrics\.csv: there is nothing to show"):
        read_runs(runs, scores=False)


def test_slices_are_read_where_they_are(make_run):
    run = make_run()
    assert read_run(run).slices == []
    (run / "evaluation" / "slices.csv").write_text("case,slice,class,dice\np1_ED,0,RV,0.5\n")
    assert read_run(run).slices == [{"case": "p1_ED", "slice": "0", "class": "RV", "dice": 0.5}]


def test_scores_of_classes_that_the_run_does_not_name(make_run):
    folder = make_run("partial")
    record = json.loads((folder / "run.json").read_text())
    record["class_names"][-1] = "another"
    (folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"cases\.csv scores \[.*\], which are no classes of run\.json"):
        read_run(folder)
