# SPDX-License-Identifier: Apache-2.0
"""Who is labelled, who is not: by count, ratio, name, split file; by patient and by scan."""

from __future__ import annotations

import json
import logging
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from wss_monai.data import CASE_KEYS, load_cases, load_semi_supervised
from wss_monai.data.splits import read_split_file
from wss_monai.transforms import LoadCased, WeakTagsd

GROUPS = ["DCM", "HCM", "NOR"]
PUBLISHED = [36, 21, 9, 103, 67, 117, 47, 172]
"""What sklearn's train_test_split(range(174), test_size=0.95, random_state=0) leaves for training."""
SSL4MIS = Path(__file__).parents[2] / "benchmarks" / "splits" / "ssl4mis_acdc.json"


def make(folder, n=12, tests=3, names=None, lacking=(), **changes):
    """Patients of three groups with two cases each; `lacking` cases have neither a dense nor a weak label."""
    folder.mkdir(exist_ok=True)
    names = names or [f"p{i:02d}" for i in range(n + tests)]
    cases = []
    for i, patient in enumerate(names):
        for phase in ("ED", "ES"):
            name = f"{patient}_{phase}"
            case = {"patient": patient, "group": GROUPS[i % 3], "phase": phase, "image": f"{name}.nii.gz"}
            if name not in lacking and patient not in lacking:
                case |= {"label": f"{name}_gt.nii.gz", "weak_label": f"{name}_weak.nii.gz"}
            for key in ("image", "label", "weak_label"):
                if key in case:
                    (folder / case[key]).write_bytes(b"never opened")
            cases.append(case | {"tags": [-1, 1], "slice_tags": [[-1, 0], [-1, 1]]})
    border = 2 * (len(names) - tests)
    content = {
        "name": "hearts",
        "labels": {"0": "background", "10": "RV"},
        "weak_label": {
            "kind": "points",
            "values": {"0": "unlabelled", "1": "background", "2": "RV"},
            "undrawn_means_absent": True,
        },
        "training": cases[:border],
        "test": cases[border:],
        **changes,
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def write_split(folder, **content):
    (folder / "split.json").write_text(json.dumps(content))
    return "split.json"


@pytest.fixture
def hearts(tmp_path):
    return make(tmp_path / "d")


def ids(*numbers):
    return [f"p{i:02d}" for i in numbers]


def sizes(split):
    return {part: len(patients) for part, patients in split.patients.items()}


class TestByPatient:
    def test_a_number_of_patients(self, hearts):
        split = load_semi_supervised(hearts, labelled=3, validation=3)
        assert sizes(split) == {"training": 9, "validation": 3, "test": 3, "labelled": 3, "unlabelled": 6}
        parts = split.patients
        people = parts["labelled"] + parts["unlabelled"] + parts["validation"] + parts["test"]
        assert sorted(people) == ids(*range(15))
        assert split.training == split.labelled + split.unlabelled
        assert len(split.labelled) == 6 and len(split.unlabelled) == 12
        assert all(tuple(case) == CASE_KEYS for case in split.training)

    def test_test_and_validation_are_those_of_load_cases_and_keep_everything(self, hearts):
        split, plain = load_semi_supervised(hearts, labelled=3, split_seed=4), load_cases(hearts, seed=4)
        assert (split.validation, split.test) == (plain.validation, plain.test)
        assert split.class_names == plain.class_names
        assert all(case["label"] and case["weak_label"] and case["slice_tags"] for case in split.validation)

    def test_the_draw_is_stratified_by_group(self, hearts):
        for split_seed in range(5):
            split = load_semi_supervised(hearts, labelled=3, validation=3, split_seed=split_seed)
            for cases in (split.labelled, split.unlabelled):
                assert len(set(Counter(case["group"] for case in cases).values())) == 1
        part = load_semi_supervised(hearts, labelled=3, unlabelled=3, validation=3)
        assert Counter(case["group"] for case in part.unlabelled) == dict.fromkeys(GROUPS, 2)

    def test_the_split_seed_decides_and_the_training_seed_does_not(self, hearts):
        drawn = [load_semi_supervised(hearts, labelled=3, seed=seed).patients for seed in range(4)]
        assert all(patients == drawn[0] for patients in drawn)
        others = [load_semi_supervised(hearts, labelled=3, split_seed=s).patients for s in range(8)]
        assert len({tuple(patients["labelled"]) for patients in others}) > 3
        assert len({tuple(patients["validation"]) for patients in others}) > 3

    def test_global_random_state_and_order_of_the_file_do_not_matter(self, hearts):
        before = load_semi_supervised(hearts, labelled=4, unlabelled=3)
        np.random.seed(7)
        content = json.loads((hearts / "dataset.json").read_text())
        content["training"].reverse()
        (hearts / "dataset.json").write_text(json.dumps(content))
        after = load_semi_supervised(hearts, labelled=4, unlabelled=3)
        assert (after.labelled, after.unlabelled) == (before.labelled, before.unlabelled)

    @pytest.mark.parametrize(("ratio", "number"), [(0.01, 1), (0.25, 3), (0.5, 6)])
    def test_a_ratio_of_the_training_patients(self, hearts, ratio, number):
        assert sizes(load_semi_supervised(hearts, labelled=ratio, validation=0))["labelled"] == number

    def test_ratios_that_add_up_to_one_use_everybody(self, tmp_path):
        split = load_semi_supervised(make(tmp_path / "d", n=10), labelled=0.05, unlabelled=0.95, validation=0)
        assert (sizes(split)["labelled"], sizes(split)["unlabelled"]) == (1, 9)

    def test_names(self, hearts):
        split = load_semi_supervised(hearts, labelled=ids(4, 1), unlabelled=ids(2), validation=0)
        assert split.patients["labelled"] == ids(1, 4) and split.patients["unlabelled"] == ids(2)
        assert split.patients["training"] == ids(1, 2, 4)
        assert [case["case"] for case in split.training][:3] == ["p01_ED", "p01_ES", "p04_ED"]

    def test_unlabelled_patients_are_drawn_and_the_rest_left_out(self, hearts, caplog):
        with caplog.at_level(logging.INFO):
            split = load_semi_supervised(hearts, labelled=2, unlabelled=3, validation=0)
        assert sizes(split) == {"training": 5, "validation": 0, "test": 3, "labelled": 2, "unlabelled": 3}
        assert not set(split.patients["labelled"]) & set(split.patients["unlabelled"])
        assert "left out 7 patients, neither labelled nor unlabelled" in caplog.text

    def test_all_is_the_upper_bound(self, hearts):
        split = load_semi_supervised(hearts, labelled="all", validation=2)
        assert sizes(split) == {"training": 10, "validation": 2, "test": 3, "labelled": 10, "unlabelled": 0}
        with pytest.raises(ValueError, match=r"mode 'uda' learns from unlabelled cases, but all 20 training cases"):
            split.require_unlabelled("uda")
        load_semi_supervised(hearts, labelled=1).require_unlabelled("uda")

    def test_all_once_more_without_labels(self, hearts):
        split = load_semi_supervised(hearts, labelled="all", unlabelled="all", validation=0)
        assert [case["case"] for case in split.labelled] == [case["case"] for case in split.unlabelled]
        assert len(split.labelled) == 24 and len(split.training) == 48
        assert all(case["label"] for case in split.labelled)
        assert not any(case["label"] or case["weak_label"] for case in split.unlabelled)
        few = load_semi_supervised(hearts, labelled=2, unlabelled="all", validation=0)
        assert len(few.labelled) == 4 and len(few.unlabelled) == 24

    def test_by_default_those_with_labels_of_all_their_cases(self, tmp_path, caplog):
        hearts = make(tmp_path / "d", lacking=("p00", "p02", "p05", "p07_ES"))
        with caplog.at_level(logging.INFO):
            split = load_semi_supervised(hearts, validation=0)
        assert split.patients["unlabelled"] == ids(0, 2, 5, 7)
        assert split.patients["labelled"] == ids(1, 3, 4, 6, 8, 9, 10, 11)
        assert "1 patients have dense labels of some cases only and cannot be labelled: ['p07']" in caplog.text

    def test_only_those_with_labels_are_drawn(self, tmp_path):
        hearts = make(tmp_path / "d", lacking=ids(0, 1, 2, 3, 4, 5, 6, 7))
        for split_seed in range(3):
            split = load_semi_supervised(hearts, labelled=4, validation=0, split_seed=split_seed)
            assert split.patients["labelled"] == ids(8, 9, 10, 11)
        with pytest.raises(
            ValueError, match=r"labelled=5 asks for 5, but it must be from 1 to 4, .* with dense labels"
        ):
            load_semi_supervised(hearts, labelled=5, validation=0)
        with pytest.raises(ValueError, match=r"asks for all 12 training patients, but 4 have dense labels.*'p00'"):
            load_semi_supervised(hearts, labelled="all", validation=0)
        with pytest.raises(ValueError, match=r"labelled names \['p00'\], who are no training patients with dense"):
            load_semi_supervised(hearts, labelled=["p00", "p08"], validation=0)

    def test_validation_patients_have_labels(self, tmp_path):
        hearts = make(tmp_path / "d", lacking=ids(0, 1, 2, 3, 4, 5, 6, 7))
        for split_seed in range(4):
            split = load_semi_supervised(hearts, validation=0.25, split_seed=split_seed)
            assert sizes(split) == {"training": 11, "validation": 1, "test": 3, "labelled": 3, "unlabelled": 8}
            assert split.patients["unlabelled"] == ids(*range(8))
        with pytest.raises(ValueError, match="validation=4 takes 4 of the 4 training patients with dense labels"):
            load_semi_supervised(hearts, validation=4)

    def test_a_fold_for_validation(self, tmp_path):
        hearts = make(tmp_path / "d", n=15, tests=0)
        split = load_semi_supervised(hearts, labelled=2, validation="fold2", fold="fold1", split_seed=3)
        plain = load_cases(hearts, validation="fold2", fold="fold1", seed=3)
        assert (split.validation, split.test) == (plain.validation, plain.test)


class TestLabels:
    def test_dense(self, hearts):
        split, plain = load_semi_supervised(hearts, labelled=3), load_cases(hearts)
        before = {case["case"]: case for case in plain.training}
        for case in split.labelled:
            assert case == {**before[case["case"]], "weak_label": None, "weak_kind": "dense"}

    def test_weak(self, hearts):
        split, plain = load_semi_supervised(hearts, labelled=3, labels="weak"), load_cases(hearts)
        before = {case["case"]: case for case in plain.training}
        for case in split.labelled:
            assert case == {**before[case["case"]], "label": None}
            assert case["weak_label"] and case["weak_kind"] == "points"

    def test_weak_labels_are_enough_where_they_are_asked_for(self, hearts):
        content = json.loads((hearts / "dataset.json").read_text())
        for case in content["training"]:
            del case["label" if case["patient"] < "p04" else "weak_label"]
        (hearts / "dataset.json").write_text(json.dumps(content))
        assert load_semi_supervised(hearts, validation=0, labels="weak").patients["labelled"] == ids(0, 1, 2, 3)
        assert load_semi_supervised(hearts, validation=0).patients["labelled"] == ids(*range(4, 12))

    def test_an_unlabelled_case_says_nothing(self, hearts):
        for case in load_semi_supervised(hearts, labelled=3).unlabelled:
            assert (case["label"], case["weak_label"], case["weak_kind"]) == (None, None, "nothing")
            assert case["tags"] == [-1, -1] and case["slice_tags"] == [[-1, -1], [-1, -1]]
            assert not case["undrawn_means_absent"]

    @pytest.mark.parametrize("labels", ["dense", "weak"])
    @pytest.mark.parametrize("rows", [True, False], ids=["slice tags", "no slice tags"])
    def test_as_the_pipeline_reads_it(self, tmp_path, labels, rows):
        folder = make(tmp_path / "d", n=4)
        content = json.loads((folder / "dataset.json").read_text())
        for case in content["training"]:
            del case["tags"]
            if not rows:
                del case["slice_tags"]
            nib.save(nib.Nifti1Image(np.random.rand(6, 5, 2).astype(np.float32), np.eye(4)), folder / case["image"])
        (folder / "dataset.json").write_text(json.dumps(content))
        split = load_semi_supervised(folder, labelled=ids(1), labels=labels, validation=0)
        dense = np.zeros((6, 5, 2), dtype=np.uint8)
        dense[2:4, 2:4, 1] = 10
        drawn = np.where(dense == 10, 2, 1).astype(np.uint8)
        drawn[:, :2] = 0
        for case in split.labelled:
            for key, values in (("label", dense), ("weak_label", drawn)):
                if case[key]:
                    nib.save(nib.Nifti1Image(values, np.eye(4)), case[key])
        load, tag = LoadCased(num_classes=2), WeakTagsd(num_classes=2)
        case = tag(load(split.unlabelled[0]))  # whose label files cannot be read
        assert bool((case["label"] == 255).all()) and bool((case["weak_label"] == 255).all())
        assert case["tags"].tolist() == [-1, -1] and case["slice_tags"].tolist() == [[-1, -1]] * 2
        known = tag(load(split.labelled[0]))
        assert known.keys() == case.keys()
        assert int((known["weak_label"] == 1).sum()) == 4
        assert bool((known["weak_label"] == 255).any()) == (labels == "weak")
        assert torch.equal(known["label"], known["weak_label"]) == (labels == "dense")
        assert load(split.unlabelled[0]).keys() == load(split.labelled[0]).keys()


class TestSplitFile:
    def test_a_number_that_the_file_lists_takes_that_list(self, hearts):
        name = write_split(
            hearts,
            training=ids(*range(8)),
            validation=ids(8),
            test=ids(12, 13),
            labelled={"2": ids(6, 1), "few": ids(3)},
        )
        for split_seed in range(3):
            split = load_semi_supervised(hearts, split=name, labelled=2, split_seed=split_seed)
            assert split.patients["labelled"] == ids(1, 6)
        assert split.patients["unlabelled"] == ids(0, 2, 3, 4, 5, 7)
        assert (split.patients["validation"], split.patients["test"]) == (ids(8), ids(12, 13))
        assert load_semi_supervised(hearts, split=name, labelled="few").patients["labelled"] == ids(3)
        drawn = [load_semi_supervised(hearts, split=name, labelled=3, split_seed=s).patients for s in range(6)]
        assert len({tuple(patients["labelled"]) for patients in drawn}) > 1
        with pytest.raises(ValueError, match=r"labelled='many' is neither 'all' .*\['2', 'few'\]"):
            load_semi_supervised(hearts, split=name, labelled="many")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ({"training": ids(0, 1), "labelled": {"1": ids(2)}}, r"'labelled' 1 names \['p02'\], .* not in 'training'"),
            ({"training": ids(0, 1), "labelled": {"2": ids(1)}}, r"'labelled' 2 lists 1 patients"),
            ({"training": ids(0, 1), "labelled": {"few": []}}, r"'labelled' few lists 0 patients"),
            ({"training": ids(0, 1), "labelled": ids(1)}, "'labelled' must be an object of lists"),
            ({"training": ids(0, 1), "labelled": {"2": ids(1, 1)}}, r"names \['p01'\] twice"),
            ({"folds": [ids(0), ids(1)], "labelled": {"1": ids(1)}}, "'labelled' goes with an explicit split"),
        ],
    )
    def test_bad_lists(self, hearts, content, message):
        with pytest.raises(ValueError, match=message):
            load_semi_supervised(hearts, split=write_split(hearts, **content))

    def test_ssl4mis(self):
        file = read_split_file(SSL4MIS)
        assert {part: len(set(patients)) for part, patients in file.parts.items()} == {
            "training": 70,
            "validation": 10,
            "test": 20,
        }
        assert sorted(patient for part in file.parts.values() for patient in part) == [
            f"patient{i:03d}" for i in range(1, 101)
        ]
        assert file.labelled["3"] == ["patient099", "patient038", "patient050"]
        assert file.labelled["7"] == file.labelled["3"] + ["patient100", "patient058", "patient021", "patient049"]

    def test_ssl4mis_on_the_full_release(self, tmp_path):
        acdc = make(tmp_path / "d", names=[f"patient{i:03d}" for i in range(1, 101)], tests=0)
        split = load_semi_supervised(acdc, split=SSL4MIS, labelled=3, split_seed=5)
        assert sizes(split) == {"training": 70, "validation": 10, "test": 20, "labelled": 3, "unlabelled": 67}
        assert split.patients["labelled"] == ["patient038", "patient050", "patient099"]

    def test_ssl4mis_names_who_is_missing(self, tmp_path):
        acdc = make(tmp_path / "d", names=[f"patient{i:03d}" for i in range(1, 41)], tests=0)
        with pytest.raises(ValueError, match=r"split file .*ssl4mis_acdc.json names") as caught:
            load_semi_supervised(acdc, split=SSL4MIS, labelled=3)
        for i in range(41, 101):
            assert f"'patient{i:03d}'" in str(caught.value)
        assert "60 of 100 names (it has 40 patients, e.g. ['patient001'" in str(caught.value)


class TestByScan:
    @pytest.fixture
    def archive(self, tmp_path):
        """87 patients of two scans, as many as those of the published split, and test patients."""
        return make(tmp_path / "d", names=[f"patient{i:03d}" for i in range(1, 101)], tests=13)

    def test_the_published_split(self, archive, caplog):
        split = load_semi_supervised(archive, labelled=0.05, by="scan", validation=5)
        scans = sorted(case["case"] for case in load_cases(archive, validation=0).training)
        assert len(scans) == 174
        assert sorted(case["case"] for case in split.labelled) == sorted(scans[i] for i in PUBLISHED)
        assert len(split.unlabelled) == 166
        rest = [scan for scan in scans if scan not in {case["case"] for case in split.labelled}]
        five = sorted(rest[i] for i in np.random.RandomState(1).permutation(166)[:5])
        assert [case["case"] for case in split.validation] == five
        assert set(five) <= {case["case"] for case in split.unlabelled}
        assert all(case["label"] for case in split.validation)
        assert not any(case["label"] for case in split.unlabelled)
        assert "this split is by scan, not by patient" in caplog.text
        assert "not comparable with those of a split by patient" in caplog.text
        for position in PUBLISHED:
            assert scans[position].split("_")[0] in caplog.text

    def test_a_number_and_another_seed(self, archive):
        eight = load_semi_supervised(archive, labelled=8, by="scan", validation=0)
        ratio = load_semi_supervised(archive, labelled=0.05, by="scan", validation=0)
        assert eight.labelled == ratio.labelled and eight.validation == []
        other = load_semi_supervised(archive, labelled=8, by="scan", validation=0, split_seed=1)
        assert other.labelled != eight.labelled

    def test_test_patients_stay_apart(self, archive):
        split = load_semi_supervised(archive, labelled=8, by="scan", validation=0)
        assert not set(split.patients["test"]) & set(split.patients["training"])
        name = write_split(archive, training=["patient001", "patient002"], test=["patient003"])
        with pytest.raises(ValueError, match="leak: the image"):
            content = json.loads((archive / "dataset.json").read_text())
            content["training"][4] |= {"image": content["training"][0]["image"], "case": "another"}
            (archive / "dataset.json").write_text(json.dumps(content))
            load_semi_supervised(archive, split=name, labelled=1, by="scan", validation=0)

    def test_scans_by_name(self, hearts, caplog):
        split = load_semi_supervised(hearts, labelled=["p00_ED", "p00_ES"], by="scan", validation=0)
        assert [case["case"] for case in split.labelled] == ["p00_ED", "p00_ES"]
        assert "by scan" not in caplog.text  # nobody is on two sides
        part = load_semi_supervised(hearts, labelled=2, unlabelled=["p03_ED"], by="scan", validation=1)
        assert [case["case"] for case in part.validation] == ["p03_ED"]

    def test_too_many_validation_scans(self, hearts):
        with pytest.raises(ValueError, match="validation=25 asks for 25 scans, but there are 22"):
            load_semi_supervised(hearts, labelled=2, by="scan", validation=25)
        with pytest.raises(ValueError, match="validation='fold1': by scan"):
            load_semi_supervised(hearts, labelled=2, by="scan", validation="fold1")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labelled": 0}, "labelled=0 asks for 0, but it must be from 1 to 10"),
        ({"labelled": 11}, "labelled=11 asks for 11, but it must be from 1 to 10"),
        ({"labelled": -1}, "labelled must be a number of patients or a fraction below 1, got -1"),
        ({"labelled": True}, "labelled must be a number of patients"),
        ({"labelled": 1.0}, "labelled=1.0: write 'all'"),
        ({"labelled": 1.5}, "labelled=1.5 is no fraction"),
        ({"labelled": "some"}, "labelled='some' is neither 'all' .*it has none"),
        ({"labelled": []}, "labelled names no patient"),
        ({"labelled": ["p99"]}, r"labelled names \['p99'\], who are no training patients"),
        ({"labelled": 4, "unlabelled": 7}, "unlabelled=7 asks for 7, but there are 6 training patients"),
        ({"labelled": ids(2), "unlabelled": ids(2)}, r"unlabelled names \['p02'\], who are no training patients that"),
        ({"labelled": 4, "unlabelled": "each"}, "unlabelled must be null"),
        ({"by": "slice"}, "by must be one of"),
        ({"labels": "soft"}, "labels must be one of"),
    ],
)
def test_bad_options(hearts, options, message):
    with pytest.raises(ValueError, match=message):
        load_semi_supervised(hearts, **{"labelled": 3, "validation": 2, **options})


def test_nobody_has_labels(tmp_path):
    hearts = make(tmp_path / "d", n=4, lacking=ids(*range(7)))
    with pytest.raises(ValueError, match=r"none of the 4 training patients of .*dataset.json has dense labels"):
        load_semi_supervised(hearts, validation=0)
