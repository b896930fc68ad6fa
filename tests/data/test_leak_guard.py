# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools

import pytest

from wss_monai.data.leak_guard import check_no_leak, patient_key

SAME = [
    ["patient001", "Patient_1", "sub-001", "001", "1", "PATIENT-0001", "pat1", "Case 1", "subject01", "sub-patient001"],
    [
        "patient001",
        "patient001_frame12",
        "patient001_frame01_gt.nii.gz",
        "patient001_ED",
        "patient001-es",
        "patient1ES",
    ],
    ["sub-07", "sub-07_ses-1", "sub-07_ses-02_run-1", "patient7_visit3", "７"],
    ["siteA_001", "SiteA-1", "sitea/1", "siteA_patient001", "siteA_001_phase2"],
    ["Smith", "smith_ED", "smith_frame04"],
    ["patient_ED", "patient ed"],
]
DIFFERENT = [
    ["patient1", "patient11", "patient10", "patient01_2", "patient2"],
    ["siteA_001", "siteB_001", "001", "site_001"],
    ["P1", "S1", "1", "A1", "1A"],
    ["patient_ED", "patient_ES"],
    ["frame01", "frame02"],
    ["hospital1_12", "hospital12_1", "hospital11_2"],
    ["brats_2013_pat0004_1", "brats_2013_pat0005_1", "brats_2013_pat0004_2"],
    ["subj006", "subj016"],
    ["control01", "patient01"],
    ["--", "__"],
]


@pytest.mark.parametrize(("a", "b"), [pair for names in SAME for pair in itertools.combinations(names, 2)])
def test_spellings_of_one_patient(a, b):
    assert patient_key(a) == patient_key(b)
    with pytest.raises(ValueError, match="leak: one patient on two sides") as error:
        check_no_leak(training=[{"patient": a}], test=[{"patient": b}])
    assert f"'{a}' in training" in str(error.value)
    assert f"'{b}' in test" in str(error.value)


@pytest.mark.parametrize(("a", "b"), [pair for names in DIFFERENT for pair in itertools.combinations(names, 2)])
def test_names_of_different_patients(a, b):
    assert patient_key(a) != patient_key(b)
    assert check_no_leak(training=[{"patient": a}], validation=[{"patient": b}]) is None


def test_one_side_may_hold_many_cases_of_a_patient():
    cases = [{"patient": "patient001"}, {"patient": "Patient_1"}, {"patient": "patient001"}]
    assert check_no_leak(training=cases, validation=[], test=[{"patient": "patient002"}]) is None


@pytest.mark.parametrize("part", ["validation", "test"])
def test_plain_names_and_every_pair_of_parts(part):
    parts = {"training": ["a1", "a2"], "validation": ["a3"], "test": ["a4"]}
    assert check_no_leak(**parts) is None
    parts[part] = [*parts[part], "A_02"]
    with pytest.raises(ValueError, match=f"'a2' in training and 'A_02' in {part}"):
        check_no_leak(**parts)


@pytest.mark.parametrize("image", ["/d/x.nii.gz", ["/d/t1.nii.gz", "/d/x.nii.gz"]])
def test_one_image_under_two_patients(image):
    one, two = {"patient": "anna", "image": "/d/x.nii.gz"}, {"patient": "berta", "image": image}
    with pytest.raises(ValueError, match=r"leak: the image '/d/x.nii.gz' belongs to patient 'anna' in training and to"):
        check_no_leak(training=[one], test=[two])
    assert check_no_leak(training=[one, two], test=[{"patient": "carla", "image": None}]) is None


def test_no_false_alarm_on_real_data(real_data):
    from wss_monai.data import read_dataset

    for name in ("acdc", "hippocampus", "brats2013_flair_t1c", "prostate_zones"):
        patients = {case["patient"] for case in read_dataset(real_data(name)).training}
        assert len({patient_key(patient) for patient in patients}) == len(patients)
