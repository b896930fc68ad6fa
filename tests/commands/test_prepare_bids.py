# SPDX-License-Identifier: Apache-2.0
"""`prepare bids`: from a BIDS data set and its derivatives to a dataset.json."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from wss_monai.__main__ import main
from wss_monai.data import load_cases

TABLE = "index\tname\tcolor\n0\tBackground\t#000000\n1\tanterior\t#ff0000\n2\tposterior\t#00ff00\n"
MANUAL = "derivatives/manual"


def put(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(np.zeros((3, 3, 2), np.uint8), np.diag([1, 1, 2, 1])), root / path)
    return root


@pytest.fixture
def bids(tmp_path):
    root = put(
        tmp_path / "study",
        "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz",
        "sub-01/ses-b/anat/sub-01_ses-b_T1w.nii.gz",
        "sub-02/anat/sub-02_T1w.nii",
        "sub-03/anat/sub-03_acq-fast_T1w.nii.gz",
        f"{MANUAL}/sub-01/ses-a/anat/sub-01_ses-a_space-T1w_desc-manual_dseg.nii.gz",
        f"{MANUAL}/sub-02/anat/sub-02_dseg.nii.gz",
        f"{MANUAL}/sub-09/anat/sub-09_dseg.nii.gz",
        "derivatives/strokes/sub-03/anat/sub-03_acq-fast_desc-strokes_dseg.nii.gz",
        "sourcedata/sub-04/anat/sub-04_T1w.nii.gz",
        "sub-02/anat/notes_T1w.nii.gz",
    )
    (root / MANUAL / "dseg.tsv").write_text(TABLE)
    people = (
        "participant_id\tsex\tdiagnosis\nsub-01\tF\tpatient\nsub-02\tM\tn/a\nsub-03\tF\tcontrol\nsub-07\tM\tcontrol\n"
    )
    (root / "participants.tsv").write_text(people)
    return root


def prepare(root, *more):
    return main(["prepare", "bids", "--source", str(root), "--out", str(root.parent / "data"), *more])


def test_subjects_are_patients_and_tables_say_what_labels_mean(bids, capsys):
    more = ["--weak-label", "derivatives/strokes", "--weak-values", '{"0": "unlabelled", "1": "background"}']
    assert prepare(bids, "--label", MANUAL, "--group", "diagnosis", *more) == 0
    said = capsys.readouterr().out
    assert "images (T1w): 4 cases of 3 subjects" in said
    assert "dense labels: 2; cases without: 2 (sub-01_ses-b, sub-03_acq-fast)" in said
    assert "dense labels without an image, left out: 1" in said
    assert "subjects without a group: 1 (sub-02)" in said
    assert "participants without an image: 1 (sub-07)" in said
    content = json.loads((bids.parent / "data" / "dataset.json").read_text())
    assert content["labels"] == {"0": "background", "1": "anterior", "2": "posterior"}
    first, _, third, fourth = content["training"]
    assert first == {
        "case": "sub-01_ses-a",
        "patient": "sub-01",
        "session": "ses-a",
        "group": "patient",
        "image": "../study/sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz",
        "label": f"../study/{MANUAL}/sub-01/ses-a/anat/sub-01_ses-a_space-T1w_desc-manual_dseg.nii.gz",
    }
    assert "group" not in third
    assert fourth["weak_label"].endswith("sub-03_acq-fast_desc-strokes_dseg.nii.gz")
    split = load_cases(bids.parent / "data", folds=3, validation=0)
    sides = [{case["patient"] for case in part} for part in (split.training, split.test)]
    assert not sides[0] & sides[1]
    assert len(split.training) + len(split.test) == 4


def test_several_suffixes_are_refused_or_chosen(bids, capsys):
    put(bids, "sub-01/ses-a/anat/sub-01_ses-a_FLAIR.nii.gz", "sub-02/anat/sub-02_FLAIR.nii.gz")
    assert prepare(bids, "--label", MANUAL) == 2
    assert "several suffixes, FLAIR (2), T1w (4): choose by --suffix" in capsys.readouterr().err
    assert prepare(bids, "--label", MANUAL, "--suffix", "T1w", "FLAIR") == 0
    assert "left out: 'sub-03' lacks ['FLAIR']" in capsys.readouterr().out
    content = json.loads((bids.parent / "data" / "dataset.json").read_text())
    assert content["modality"] == {"0": "T1w", "1": "FLAIR"}
    assert [case["case"] for case in content["training"]] == ["sub-01_ses-a", "sub-02"]
    assert [path.rsplit("_", 1)[1] for path in content["training"][0]["image"]] == ["T1w.nii.gz", "FLAIR.nii.gz"]


def test_runs_are_cases_of_one_patient_or_one_is_chosen(bids, capsys):
    put(bids, "sub-04/anat/sub-04_run-1_T1w.nii.gz", "sub-04/anat/sub-04_run-2_T1w.nii.gz")
    put(bids, "sub-04/anat/sub-04_FLAIR.nii.gz")
    assert prepare(bids, "--label", MANUAL, "--suffix", "T1w", "FLAIR") == 2
    assert "two images of one suffix for 'sub-04'" in capsys.readouterr().err
    assert prepare(bids, "--label", MANUAL, "--suffix", "T1w") == 0
    content = json.loads((bids.parent / "data" / "dataset.json").read_text())
    assert [c["case"] for c in content["training"] if c["patient"] == "sub-04"] == ["sub-04_run-1", "sub-04_run-2"]


def test_two_labels_of_an_image_are_told_apart_by_an_entity(bids, capsys):
    put(bids, f"{MANUAL}/sub-02/anat/sub-02_desc-auto_dseg.nii.gz")
    assert prepare(bids, "--label", MANUAL) == 2
    assert "two labels for 'sub-02'" in capsys.readouterr().err
    assert prepare(bids, "--label", MANUAL, "--label-entity", "desc=auto") == 0
    assert "dense labels: 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ((), "--labels is needed"),
        (("--label", "derivatives/none"), "no folder"),
        (("--label", MANUAL, "--label-suffix", "mask"), "see --label-suffix"),
        (("--label", MANUAL, "--suffix", "T2w"), "has no such images"),
        (("--label", MANUAL, "--suffix", "T1w", "T1w"), "name each once"),
        (("--label", MANUAL, "--entity", "acq"), "--entity must be KEY=LABEL"),
        (("--label", MANUAL, "--entity", "acq=slow"), "holds no volume"),
        (("--label", MANUAL, "--group", "age"), "has no column 'age'"),
        (("--label", MANUAL, "--weak-label", "derivatives/strokes"), "--weak-values is needed"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(bids, capsys, more, words):
    assert prepare(bids, *more) == 2
    assert words in capsys.readouterr().err
    assert not (bids.parent / "data").exists()


def test_tables_that_differ_and_other_folders_are_refused(bids, capsys, tmp_path):
    (bids / MANUAL / "sub-02" / "anat" / "sub-02_dseg.tsv").write_text("index\tname\n1\tother\n")
    assert prepare(bids, "--label", MANUAL) == 2
    assert "look-up tables differ" in capsys.readouterr().err
    (bids / "participants.tsv").unlink()
    assert prepare(bids, "--label", MANUAL, "--labels", '{"0": "background", "1": "organ"}', "--group", "sex") == 2
    assert "--group: no file" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert prepare(tmp_path / "empty", "--labels", '{"0": "background", "1": "organ"}') == 2
    assert "holds no volume such as" in capsys.readouterr().err
