# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import logging
from collections import Counter

import numpy as np
import pytest

from wss_monai.data import CASE_KEYS, load_cases

NAMES = ["background", "RV", "LV"]
GROUPS = ["DCM", "HCM", "NOR"]


def make(folder, n=12, tests=0, reverse=False, **changes):
    """A data set of n patients (two cases each) and some test patients, in three groups."""
    folder.mkdir(exist_ok=True)
    cases = []
    for i in range(n + tests):
        for phase in ("ED", "ES"):
            name = f"p{i:02d}_{phase}"
            for kind in ("", "_gt", "_weak"):
                (folder / f"{name}{kind}.nii.gz").write_bytes(b"never opened")
            cases.append({"patient": f"p{i:02d}", "group": GROUPS[i % 3], "phase": phase, "image": f"{name}.nii.gz"})
    for case in cases[::4]:
        name = case["image"].removesuffix(".nii.gz")
        case |= {"label": f"{name}_gt.nii.gz", "weak_label": f"{name}_weak.nii.gz"}
    training, test = cases[: 2 * n], cases[2 * n :]
    content = {
        "name": "hearts",
        "labels": {"0": "background", "10": "RV", "20": "LV"},
        "slice_axis": 1,
        "weak_label": {"kind": "points", "values": {"1": "background", "2": "LV", "0": "unlabelled"}},
        "training": training[::-1] if reverse else training,
        "test": test,
        **changes,
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def edit(folder, index, **changes):
    content = json.loads((folder / "dataset.json").read_text())
    content["training"][index] |= changes
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def write_split(folder, content, name="split.json"):
    (folder / name).write_text(json.dumps(content))
    return name


def ids(*numbers):
    return [f"p{i:02d}" for i in numbers]


def sizes(split):
    return {part: len(patients) for part, patients in split.patients.items()}


def test_every_key_in_every_case(tmp_path):
    split = load_cases(make(tmp_path / "d"))
    cases = split.training + split.validation + split.test
    assert len(cases) == 24
    assert all(tuple(case) == CASE_KEYS for case in cases)
    case = next(case for case in cases if case["case"] == "p00_ED")
    root = tmp_path / "d"
    assert case == {
        "case": "p00_ED",
        "patient": "p00",
        "group": "DCM",
        "phase": "ED",
        "image": str(root / "p00_ED.nii.gz"),
        "label": str(root / "p00_ED_gt.nii.gz"),
        "weak_label": str(root / "p00_ED_weak.nii.gz"),
        "label_values": {0: 0, 10: 1, 20: 2},
        "label_segments": {"background": 0, "RV": 1, "LV": 2},
        "weak_values": {1: 0, 2: 2, 0: 255},
        "weak_segments": {"background": 0, "RV": 1, "LV": 2, "unlabelled": 255},
        "tags": [-1, -1, -1],
        "slice_tags": None,
        "slice_axis": 1,
        "undrawn_means_absent": False,
        "weak_kind": "points",
    }
    plain = next(case for case in cases if case["case"] == "p00_ES")
    assert plain["label"] is plain["weak_label"] is None
    assert plain["weak_kind"] == "nothing"
    assert split.class_names == NAMES
    assert split.dataset.name == "hearts"


def test_classes_are_mapped_by_name(tmp_path):
    folder = edit(make(tmp_path / "d"), 0, tags=[1, 0, -1], slice_tags=[[1, 1, 0], [1, 0, -1]])
    split = load_cases(folder, class_names=["background", "LV", "RV"], validation=0)
    case = next(case for case in split.training + split.test if case["case"] == "p00_ED")
    assert split.class_names == ["background", "LV", "RV"]
    assert case["label_values"] == {0: 0, 10: 2, 20: 1}
    assert case["weak_values"] == {1: 0, 2: 1, 0: 255}
    assert case["tags"] == [1, -1, 0]
    assert case["slice_tags"] == [[1, 0, 1], [1, -1, 0]]


def test_a_case_declares_what_it_has(tmp_path):
    own = {"kind": "box", "values": {"9": "RV"}, "segments": {"ring": "LV"}, "undrawn_means_absent": True}
    folder = edit(make(tmp_path / "d", segments={"chamber": "RV"}), 0, weak_labels=own)
    split = load_cases(folder, class_names=["background", "LV", "RV"], validation=0)
    case = next(case for case in split.training + split.test if case["case"] == "p00_ED")
    assert (case["weak_kind"], case["undrawn_means_absent"], case["weak_values"]) == ("box", True, {9: 2})
    assert case["weak_segments"] == {"background": 0, "LV": 1, "RV": 2, "unlabelled": 255, "ring": 1}
    assert case["label_segments"] == {"background": 0, "LV": 1, "RV": 2, "chamber": 2}


def test_labels_of_a_case_override_those_of_the_data_set(tmp_path):
    own = {"0": "background", "5": "LV", "6": "RV", "7": "background"}
    folder = edit(make(tmp_path / "d"), 0, labels=own, tags=[1, 1, 0])
    split = load_cases(folder, class_names=NAMES, validation=0)
    case = next(case for case in split.training + split.test if case["case"] == "p00_ED")
    assert case["label_values"] == {0: 0, 5: 2, 6: 1, 7: 0}
    assert case["tags"] == [1, 0, 1], "tags follow the order of the case's own labels: background, LV, RV"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["background", "RV", "LV", "Myo"], r"lacks \['Myo'\], class_names lacks \[\]. Override class_names"),
        (["background", "RV"], r"lacks \[\], class_names lacks \['LV'\]. Override class_names"),
        (["background", "rv", "LV"], r"\['background', 'RV', 'LV'\].*\['background', 'rv', 'LV'\].*lacks \['rv'\]"),
        (["RV", "LV"], r"must start with 'background' and name each class once, got \['RV', 'LV'\]"),
        (["background", "RV", "RV"], "name each class once"),
        ([], r"must start with 'background'.*got \[\]"),
        ("background", "must be a list of names, got the text 'background'"),
    ],
)
def test_classes_that_do_not_match(tmp_path, names, message):
    with pytest.raises(ValueError, match=message):
        load_cases(make(tmp_path / "d"), class_names=names)


def test_seeded_folds_where_nothing_else_is_said(tmp_path):
    folder = make(tmp_path / "d", n=12)
    splits = [load_cases(folder, fold=fold, folds=4, validation=0) for fold in range(4)]
    tests = [split.patients["test"] for split in splits]
    assert sorted(p for test in tests for p in test) == ids(*range(12))
    assert all(Counter(case["group"] for case in split.test) == dict.fromkeys(GROUPS, 2) for split in splits)
    assert load_cases(folder, folds=4, validation=0).patients == splits[0].patients
    assert load_cases(folder, fold="fold2", folds=4, validation=0).patients == splits[1].patients
    by_name = load_cases(folder, fold="fold1", folds=4, validation="fold2")
    assert by_name.patients["validation"] == tests[1]
    assert sizes(by_name) == {"training": 6, "validation": 3, "test": 3}


def test_the_split_is_deterministic_and_independent_of_the_order(tmp_path):
    one, two = make(tmp_path / "one"), make(tmp_path / "two", reverse=True)
    np.random.seed(1)
    first = load_cases(one, seed=3)
    np.random.seed(2)
    second = load_cases(two, seed=3)
    assert first.patients == second.patients
    assert [case["case"] for case in first.training] == [case["case"] for case in second.training]
    assert first.patients != load_cases(one, seed=4).patients


def test_both_phases_of_a_patient_stay_together(tmp_path):
    split = load_cases(make(tmp_path / "d"), validation=3)
    for cases in (split.training, split.validation, split.test):
        assert set(Counter(case["patient"] for case in cases).values()) == {2}
    names = [case["case"] for case in split.training]
    assert names == sorted(names)


def test_test_cases_of_the_data_set_are_the_test_set(tmp_path, caplog):
    folder = make(tmp_path / "d", n=8, tests=3)
    split = load_cases(folder, validation=2)
    assert split.patients["test"] == ids(8, 9, 10)
    assert sizes(split) == {"training": 6, "validation": 2, "test": 3}
    with caplog.at_level(logging.WARNING):
        assert load_cases(folder, fold="fold1", validation=2).patients == split.patients
    assert "fold='fold1' is not used" in caplog.text


@pytest.mark.parametrize(
    ("validation", "n"), [(0, 0), (0.0, 0), (1, 1), (3, 3), (0.125, 1), (0.25, 2), (0.01, 1), (0.5, 4)]
)
def test_validation_by_number_and_fraction(tmp_path, validation, n):
    split = load_cases(make(tmp_path / "d", n=8, tests=1), validation=validation)
    assert sizes(split) == {"training": 8 - n, "validation": n, "test": 1}


def test_validation_is_stratified_by_group(tmp_path):
    split = load_cases(make(tmp_path / "d", n=12, tests=1), validation=6)
    assert Counter(case["group"] for case in split.validation) == dict.fromkeys(GROUPS, 4)


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        (8, "takes 8 of 8 training patients"),
        (-1, "validation must be a number of patients"),
        (1.0, "no fraction below 1"),
        (True, "validation must be a number of patients"),
        ("fold2", "names a fold, but there are none"),
    ],
)
def test_impossible_validation(tmp_path, validation, message):
    with pytest.raises(ValueError, match=message):
        load_cases(make(tmp_path / "d", n=8, tests=1), validation=validation)


@pytest.mark.parametrize("key", ["test", "folds"])
def test_split_file_with_folds(tmp_path, monkeypatch, key):
    folder = make(tmp_path / "d", n=6)
    folds = {"first": ids(0, 1), "second": ids(2, 3), "third": ids(4)}
    name = write_split(folder, {key: folds})
    monkeypatch.chdir(tmp_path)
    split = load_cases(folder, split=name, fold="second", validation=0)
    assert split.patients == {"training": ids(0, 1, 4, 5), "validation": [], "test": ids(2, 3)}
    assert load_cases(folder, split=name, fold=1, validation=0).patients == split.patients
    assert load_cases(folder, split=folder / name, validation=0).patients["test"] == ids(0, 1)
    monkeypatch.chdir(folder)
    assert load_cases("../d", split=name, fold=2, validation="first").patients == {
        "training": ids(2, 3, 5), "validation": ids(0, 1), "test": ids(4),
    }  # fmt: skip
    with pytest.raises(ValueError, match="validation='third' is the test fold"):
        load_cases(folder, split=name, fold="third", validation="third")
    with pytest.raises(ValueError, match=r"no fold 'fold1' in the split file .*\['first', 'second', 'third'\]"):
        load_cases(folder, split=name, fold="fold1")
    with pytest.raises(ValueError, match="no fold 'fold9' in the folds of this split"):
        load_cases(folder, split=name, validation="fold9")


def test_split_file_that_lists_its_patients_leaves_the_others_out(tmp_path, caplog):
    folder = make(tmp_path / "d", n=6, tests=2)
    name = write_split(folder, {"patients": ids(0, 1, 2, 3), "test": {"fold1": ids(0), "fold2": ids(1)}})
    with caplog.at_level(logging.INFO):
        split = load_cases(folder, split=name, validation=0)
    assert split.patients == {"training": ids(1, 2, 3), "validation": [], "test": ids(0)}
    assert "left out 4 patients" in caplog.text
    assert "'p07'" in caplog.text


def test_explicit_split_file(tmp_path, caplog):
    folder = make(tmp_path / "d", n=6, tests=1)
    name = write_split(folder, {"training": ids(0, 1, 6), "validation": ids(2), "test": ids(3)})
    with caplog.at_level(logging.INFO):
        split = load_cases(folder, split=name, fold=2)
    assert split.patients == {"training": ids(0, 1, 6), "validation": ids(2), "test": ids(3)}
    assert "left out 2 patients" in caplog.text
    assert "fold=2 is not used" in caplog.text
    name = write_split(folder, {"training": ids(0, 1, 2, 4), "test": ids(3)})
    assert sizes(load_cases(folder, split=name, validation=1)) == {"training": 3, "validation": 1, "test": 1}


def test_split_file_with_strangers_or_missing(tmp_path):
    folder = make(tmp_path / "d", n=6)
    name = write_split(folder, {"training": ids(0), "test": ["p99"]})
    with pytest.raises(ValueError, match=r"names \['p99'\], who are not in .*dataset.json"):
        load_cases(folder, split=name)
    with pytest.raises(FileNotFoundError, match=r"no split file 'none.json', neither in the current folder nor in"):
        load_cases(folder, split="none.json")


def test_a_subset_of_the_patients(tmp_path):
    folder = make(tmp_path / "d", n=6, tests=2)
    split = load_cases(folder, patients=ids(0, 2, 6), validation=0)
    assert split.patients == {"training": ids(0, 2), "validation": [], "test": ids(6)}
    name = write_split(folder, {"test": {"fold1": ids(0, 1), "fold2": ids(2, 3)}})
    split = load_cases(folder, split=name, patients=ids(0, 2, 4), validation="fold2")
    assert split.patients == {"training": ids(4), "validation": ids(2), "test": ids(0)}
    with pytest.raises(ValueError, match=r"patients names \['p77'\], who are not in"):
        load_cases(folder, patients=["p77"])
    with pytest.raises(ValueError, match="patients must be a list of names, got the text 'p00'"):
        load_cases(folder, patients="p00")


def test_nobody_left_for_training(tmp_path):
    folder = make(tmp_path / "d", n=4, tests=1)
    with pytest.raises(ValueError, match=r"no patient of .* is left for training"):
        load_cases(folder, patients=ids(4), validation=0)


def test_too_few_patients_for_the_folds(tmp_path):
    with pytest.raises(ValueError, match=r"number of patients, 3; got 5; pass --data#folds 3 or fewer"):
        load_cases(make(tmp_path / "d", n=3))


def test_a_patient_in_training_and_test_is_a_leak(tmp_path):
    folder = make(tmp_path / "d", n=4, tests=1)
    with pytest.raises(ValueError, match=r"leak: patients \['p04'\] are in 'training' and in 'test'"):
        load_cases(edit(folder, 0, patient="p04", group="HCM"))


def test_one_patient_under_two_spellings_is_a_leak(tmp_path):
    folder = edit(edit(make(tmp_path / "d", n=4, tests=1), 0, patient="P-4"), 1, patient="P-4")
    with pytest.raises(ValueError, match="leak: one patient on two sides of the split, 'P-4' in training and 'p04' in"):
        load_cases(folder, validation=0)


def test_splitting_by_scan_is_a_leak(tmp_path):
    folder = make(tmp_path / "d", n=6)
    for i in range(12):
        edit(folder, i, patient=f"p{i // 2:02d}_frame{i % 2}", group="all")
    with pytest.raises(ValueError, match="leak: one patient on two sides of the split"):
        load_cases(folder, folds=2)


def test_a_patient_with_two_groups(tmp_path):
    with pytest.raises(ValueError, match=r"patient 'p00' has the groups 'NOR' and 'DCM'"):
        load_cases(edit(make(tmp_path / "d"), 0, group="NOR"))


def test_a_group_on_one_case_counts_for_the_patient(tmp_path):
    folder = make(tmp_path / "d", n=6, tests=1)
    reference = load_cases(folder, validation=3).patients
    assert load_cases(edit(folder, 0, group=None), validation=3).patients == reference


def test_cases_without_an_image_cannot_be_listed(tmp_path):
    folder = edit(make(tmp_path / "d"), 0, image=None)
    with pytest.raises(ValueError, match=r"case 'p00_ED_gt' in .* has no 'image'"):
        load_cases(folder, validation=0)


def test_real_folds(real_data):
    split = load_cases(
        real_data("acdc"), ["background", "RV", "Myo", "LV"], split="dev_folds.json", fold="fold1", validation="fold2"
    )
    assert sizes(split) == {"training": 24, "validation": 8, "test": 8}
    assert len(split.training) == 48
    assert set(Counter(case["group"] for case in split.test).values()) <= {2, 4}
    assert {case["phase"] for case in split.test} == {"ED", "ES"}


def test_real_pairs_of_hippocampi_stay_together(real_data):
    folder = real_data("hippocampus")
    for seed in range(3):
        assert sizes(load_cases(folder, seed=seed)) == {"training": 28, "validation": 4, "test": 8}
