# SPDX-License-Identifier: Apache-2.0
"""Values of a map of boxes may stand for several classes: in dataset.json, in the list of cases, in `check`."""

from __future__ import annotations

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from tiny import make_dataset

from wss_monai.data.checks.dataset import check_dataset
from wss_monai.data.datalist import load_cases
from wss_monai.data.schema import read_dataset
from wss_monai.transforms import LoadCased

VALUES = {"0": "background", "1": "RV", "2": "Myo", "4": ["LV", "Myo"], "5": ["RV", "Myo", "LV"], "255": "unlabelled"}


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    """Boxes of case p1_ED: Myo with LV in it, and RV over a part of both; the others have scribbles."""
    folder = make_dataset(tmp_path_factory.mktemp("box_values") / "data")
    path = folder / "scribbles" / "p1_ED.nii.gz"
    stored = nib.load(path)
    drawn = np.full(stored.shape, 255, np.uint8)
    drawn[8:28, 6:24, 1:], drawn[12:22, 10:20, 1:] = 2, 4
    drawn[2:10, 8:20, 1:] = np.where(drawn[2:10, 8:20, 1:] == 2, 5, 1)
    nib.save(nib.Nifti1Image(drawn, stored.affine), path)
    content = json.loads((folder / "dataset.json").read_text())
    content["training"][0]["weak_labels"] = {"kind": "box", "values": VALUES}
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def data(healthy, tmp_path):
    shutil.copytree(healthy, tmp_path / "data")
    return tmp_path / "data"


def change(folder, edit):
    content = json.loads((folder / "dataset.json").read_text())
    edit(content)
    (folder / "dataset.json").write_text(json.dumps(content))


def test_the_list_of_cases_has_the_indices(healthy):
    dataset = read_dataset(healthy)
    assert dataset.weak_of(dataset.training[0]).values[4] == ("LV", "Myo")
    cases = {case["case"]: case for case in load_cases(healthy, validation=0).training}
    assert cases["p1_ED"]["weak_values"] == {0: 0, 1: 1, 2: 2, 4: [3, 2], 5: [1, 2, 3], 255: 255}
    turned = load_cases(healthy, ["background", "LV", "Myo", "RV"], validation=0).training[0]
    assert turned["weak_values"][4] == [1, 2]


def test_overlapping_boxes_are_loaded(healthy):
    case = next(case for case in load_cases(healthy, validation=0).training if case["case"] == "p1_ED")
    boxes = LoadCased()(case)["boxes"].numpy()
    assert boxes.shape == (4, 36, 34, 4)
    assert not boxes[:, ..., 0].any()
    expected = np.zeros((4, 36, 34))
    # the value 5 says that LV too reaches to where RV's box ends: its two parts touch, so that they are one box
    expected[1, 2:10, 8:20], expected[2, 8:28, 6:24] = 1, 1
    np.testing.assert_array_equal(boxes[:3, ..., 1], expected[:3])
    assert boxes[3, 12:22, 10:20, 1].all()


@pytest.mark.parametrize("kind", ["scribble", "points", "slices"])
def test_only_boxes_overlap(data, kind):
    def edit(content):
        content["training"][0]["weak_labels"]["kind"] = kind

    change(data, edit)
    with pytest.raises(ValueError, match=rf"'4' stands for several classes .* only boxes can .*this is '{kind}'"):
        read_dataset(data)


def test_values_that_a_kind_inherits_are_not_meant_for_it(data):
    def edit(content):
        content["weak_label"] = {"kind": "box", "values": VALUES | {"3": "LV"}}
        for case in content["training"][1:] + content["test"]:
            case["weak_labels"] = {"kind": "scribble"}
        content["training"][0]["weak_labels"] = {"kind": "box"}

    change(data, edit)
    cases = {case["case"]: case for case in load_cases(data, validation=0).training}
    assert 4 in cases["p1_ED"]["weak_values"]
    assert 4 not in cases["p2_ED"]["weak_values"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "'4' must list the classes whose boxes overlap there"),
        (["LV", "background"], "each once and without 'background' and 'unlabelled'"),
        (["LV", "LV"], "each once"),
        (["LV", 3], "'4' must list the classes"),
        (["LV", "Aorta"], r"names \['Aorta'\], which are no class of 'labels'"),
    ],
)
def test_wrong_lists(data, names, message):
    def edit(content):
        content["training"][0]["weak_labels"]["values"]["4"] = names

    change(data, edit)
    with pytest.raises(ValueError, match=message):
        read_dataset(data)


def test_one_class_in_a_list_is_that_class(data):
    def edit(content):
        content["training"][0]["weak_labels"]["values"]["2"] = ["Myo"]

    change(data, edit)
    dataset = read_dataset(data)
    assert dataset.weak_of(dataset.training[0]).values[2] == "Myo"


def test_check_knows_what_overlaps(healthy):
    report = check_dataset(healthy)
    assert not [p for p in report.problems if p.severity == "error" or p.case == "p1_ED"]


def test_check_compares_tags_with_all_classes_of_a_voxel(data):
    def edit(content):
        content["training"][0]["tags"] = [-1, 1, 1, 0]

    change(data, edit)
    problems = [p for p in check_dataset(data).problems if p.file.startswith("scribbles")]
    assert ["'tags' says that 'LV' is absent, but shown" in p.problem for p in problems] == [True]


def test_check_names_values_without_meaning(data):
    def edit(content):
        del content["training"][0]["weak_labels"]["values"]["5"]

    change(data, edit)
    (problem,) = [p for p in check_dataset(data).problems if p.severity == "error"]
    assert "does not name 5 (" in problem.problem
    assert '"4": ["LV", "Myo"]' in problem.todo
