# SPDX-License-Identifier: Apache-2.0
"""Names and values in `dataset.json` that no run could use: `check` says so, and reading refuses them."""

from __future__ import annotations

import json

import pytest

from wss_monai.data import read_dataset
from wss_monai.data.checks.dataset import check_dataset
from wss_monai.data.splits import patient_count


def write(folder, change):
    (folder / "a.nii").write_bytes(b"x")
    content = {"name": "x", "labels": {"0": "background", "1": "LV"}, "training": [{"patient": "p", "image": "a.nii"}]}
    change(content)
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def case(**entries):
    return lambda content: content["training"][0].update(entries)


def top(**entries):
    return lambda content: content.update(entries)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (case(case="a\0b"), "'case' holds a control character"),
        (case(case="a\nb"), "'case' holds a control character"),
        (case(case="a\x1b[2J"), "'case' holds a control character"),
        (case(case="a\ud800"), "'case' holds half of a character"),
        (case(case="x" * 300), "'case' has 300 bytes"),
        (case(patient="p\n1"), "'patient' holds a control character"),
        (case(group="g\ud800"), "'group' holds half of a character"),
        (case(case="c", image="x" * 5000), "'image' names 'xxx.*File name too long"),
        (top(slice_axis=1.0), "'slice_axis' must be 0, 1 or 2"),
        (top(labels={"0": "background", "1": "LV", "01": "RV"}), "'labels' says twice what 1 is"),
        (top(labels={"0": "background", "9" * 5000: "LV"}), "'labels' must map file values"),
        (
            top(labels={str(k): f"c{k}" if k else "background" for k in range(300)}),
            "names 300 classes; there",
        ),
        (top(labels={"0": "background", "1": "LV#2"}), "'#' there begins a reference.*rename the class"),
        (top(labels={"0": "background", "1": "a@b"}), "'@' there begins a reference.*rename the class"),
        (top(labels={"0": "background", "1": "$LV"}), "'\\$' there begins a reference.*rename the class"),
        (top(labels={"0": "background", "1": "L\nV"}), "'labels' names a class 'L\\\\nV', which holds a control"),
    ],
)
def test_they_are_refused_and_checked(tmp_path, change, match):
    folder = write(tmp_path, change)
    with pytest.raises(ValueError, match=match) as caught:
        read_dataset(folder)
    assert str(folder / "dataset.json") in str(caught.value) and len(str(caught.value)) < 2000
    assert check_dataset(folder, quick=True).count("error") >= 1


@pytest.mark.parametrize("name", ["LV 50 $", "100 %", "left:ventricle", "C+", "\u5de6\u5fc3\u5ba4", "=LV"])
def test_other_signs_in_class_names_are_well(tmp_path, name):
    assert read_dataset(write(tmp_path, top(labels={"0": "background", "1": name}))).class_names[1] == name


def test_a_fraction_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="validation must be a number of patients"):
        patient_count(float("nan"), 8, "validation")
