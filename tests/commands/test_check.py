# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tiny import make_dataset

from wss_monai.__main__ import main
from wss_monai.commands.check import make_text
from wss_monai.data.checks.dataset import CheckResult
from wss_monai.data.checks.problem import Problem


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    """A terminal in which no cell of a table breaks where a test looks at it."""
    monkeypatch.setenv("COLUMNS", "160")


@pytest.fixture
def data(tmp_path):
    return make_dataset(tmp_path / "data", patients=3)


def test_a_healthy_data_set(data, tmp_path, capsys):
    out = tmp_path / "new" / "check.json"
    assert main(["check", str(data), "--json", str(out)]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[-1] == f"{data / 'dataset.json'}: 3 cases of 3 patients, 0 errors, 0 warnings"
    assert "dense labels" in text
    written = json.loads(out.read_text())
    assert (written["errors"], written["warnings"], written["problems"]) == (0, 0, [])
    assert (written["cases"], written["patients"], written["name"], written["quick"]) == (3, 3, "discs", False)
    assert list(written["classes"]) == ["RV", "Myo", "LV"]


def test_faults_are_printed_and_written_and_the_code_is_1(data, tmp_path, capsys):
    image = nib.load(data / "images/p1_ED.nii.gz")
    array = np.asarray(image.dataobj, dtype=np.float32).copy()
    array[0, 0, 0] = np.nan
    nib.save(nib.Nifti1Image(array, image.affine), data / "images/p1_ED.nii.gz")
    (data / "labels/p2_ED.nii.gz").unlink()
    out = tmp_path / "check.json"
    assert main(["check", str(data), "--json", str(out), "--jobs", "2"]) == 1
    text = capsys.readouterr().out
    assert "2 errors, 0 warnings of 2 kinds" in text
    assert "not finite" in text
    written = json.loads(out.read_text(), parse_constant=lambda word: pytest.fail(f"{word} in JSON"))
    assert written["errors"] == 2
    assert {(p["severity"], p["kind"], p["case"], p["file"]) for p in written["problems"]} == {
        ("error", "missing", "p2_ED", "labels/p2_ED.nii.gz"),
        ("error", "not_finite", "p1_ED", "images/p1_ED.nii.gz"),
    }
    assert all(p["problem"] and p["todo"] for p in written["problems"])


def test_json_to_copy_is_printed_once_in_one_piece():
    piece = '"segments": {"left ventricle": "?", "right ventricle": "?", "a very long name": "?"}'
    todo = f"add {piece} to the case, in the words of labels"
    problems = [Problem("error", "segments", case, f"{case}.nrrd", "has others", todo) for case in ("a", "b")]
    text = make_text(CheckResult("mine", Path("dataset.json"), 2, 2, False, problems, {}), width=100)
    assert text.count(piece) == 1
    assert piece in text.split("to copy:\n")[1].splitlines()


def test_warnings_alone_leave_the_code_0(data, capsys):
    content = json.loads((data / "dataset.json").read_text())
    content["test"] = []
    (data / "dataset.json").write_text(json.dumps(content))
    assert main(["check", str(data), "--quick"]) == 0
    text = capsys.readouterr().out
    assert "0 errors, 1 warning of 1 kind (headers only)" in text
    assert "too few for the default 5 folds" in " ".join(text.split())


def test_a_file_that_is_no_json_is_one_error(data, capsys):
    (data / "dataset.json").write_text("{,}")
    assert main(["check", str(data)]) == 1
    assert "is not a JSON file" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{data}/gone"], "no data set folder"),
        (["{data}/images"], "no dataset.json in"),
        (["{data}", "--split", "gone.json"], "no split file 'gone.json'"),
        (["{data}", "--jobs", "0"], "jobs must be 1 or more, got 0"),
        (["{data}", "--json", "{data}"], "Is a directory"),
    ],
)
def test_misuse_is_code_2(data, capsys, arguments, message):
    assert main(["check", *(word.format(data=data) for word in arguments)]) == 2
    assert message in capsys.readouterr().err


def result(*problems: Problem) -> CheckResult:
    return CheckResult("x", "f.json", 9, 9, False, list(problems), {})


def test_like_problems_share_a_row_unless_all_are_wanted():
    warnings = [Problem("warning", "spacing", f"c{i}", f"c{i}.nii", f"spacing {i} mm", "check") for i in range(4)]
    same = [Problem("error", "values", f"c{i}", f"c{i}.nii", "holds 4", "explain it") for i in range(3)]
    other = Problem("error", "values", "c8", "c8.nii", "holds 5", "explain it")
    lines = make_text(result(*same, other, *warnings), width=160).splitlines()
    assert [line.split()[0] for line in lines if line.startswith(("error", "warning"))] == ["error", "error", "warning"]
    assert "c0 and 2 more" in lines[1]
    assert "c0.nii and 2 more" in lines[1]
    assert "c8  " in lines[2]
    assert "c0 and 3 more" in lines[3]
    assert "spacing 0 mm (the others alike)" in lines[3]
    rows = make_text(result(*same, other, *warnings), every=True, width=160).splitlines()
    assert sum(line.startswith(("error", "warning")) for line in rows) == 8


def test_long_texts_are_wrapped_and_nothing_is_lost():
    words = " ".join(f"word{i}" for i in range(60))
    text = make_text(result(Problem("error", "k", "a" * 30, "b" * 40, words, words)), width=120)
    assert max(map(len, text.splitlines())) <= 120
    assert all(text.count(f"word{i} ") + text.count(f"word{i}\n") >= 2 for i in range(60))
    assert text.count("a") >= 30


def test_many_classes_are_cut_off():
    row = {"cases": 1, "of": 1, "volume_ml": {"min": 1.0, "median": 1.0, "max": 1.0}, "weak_cases": 0, "weak_voxels": 0}
    many = CheckResult("x", "f.json", 1, 1, False, [], {f"c{i}": row for i in range(33)})
    text = make_text(many)
    assert "and 13 classes more" in text
    assert "weak labels" not in text
