# SPDX-License-Identifier: Apache-2.0
"""Cases that are handed over as a list, in the place of a dataset.json."""

from __future__ import annotations

import json

import pytest

from wss_monai.data import load_cases, load_semi_supervised

NAMES = ["background", "LV", "RV"]


def put(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def images(cases):
    return [case["image"].rsplit("/", 1)[1] for case in cases]


def test_a_list_of_images_and_labels_trains_as_it_is(tmp_path):
    put(tmp_path, "a.nii.gz", "b.nii.gz", "labels/a.nii.gz", "labels/b.nii.gz")
    given = [{"image": str(tmp_path / f"{n}.nii.gz"), "label": str(tmp_path / f"labels/{n}.nii.gz")} for n in "ba"]
    data = load_cases(tmp_path / "elsewhere", NAMES, validation=0, datalist=given)
    assert [case["case"] for case in data.training] == ["a", "b"]
    assert data.patients == {"training": ["a", "b"], "validation": [], "test": []}
    assert data.class_names == NAMES
    assert data.training[0]["label_values"] == {0: 0, 1: 1, 2: 2}
    assert data.training[0]["weak_kind"] == "dense"


def test_drawings_have_the_meaning_that_the_list_gives_them(tmp_path):
    put(tmp_path, "a.nii.gz", "s/a.nii.gz", "b.nii.gz", "s/b.nii.gz")
    given = {
        "label_is": "weak_label",
        "weak_label": {"kind": "scribble", "values": {"0": "unlabelled", "1": "background", "2": "LV", "3": "RV"}},
        "training": [{"image": "a.nii.gz", "label": "s/a.nii.gz"}],
        "validation": [
            {"image": "b.nii.gz", "label": "s/b.nii.gz", "weak_labels": {"values": {"0": "unlabelled", "7": "RV"}}}
        ],
    }
    data = load_cases(tmp_path, NAMES, datalist=given)
    assert data.training[0]["label"] is None
    assert data.training[0]["weak_label"].endswith("s/a.nii.gz")
    assert data.training[0]["weak_values"] == {0: 255, 1: 0, 2: 1, 3: 2}
    assert data.validation[0]["weak_values"] == {0: 255, 7: 2}
    assert data.patients == {"training": ["a"], "validation": ["b"], "test": []}


def test_weak_labels_without_a_meaning_are_class_indices_with_255_for_what_is_not_drawn(tmp_path):
    put(tmp_path, "a.nii.gz", "s.nii.gz")
    data = load_cases(tmp_path, NAMES, validation=0, datalist=[{"image": "a.nii.gz", "weak_label": "s.nii.gz"}])
    assert data.training[0]["weak_values"] == {0: 0, 1: 1, 2: 2, 255: 255}
    assert data.training[0]["weak_kind"] == "scribble"


def test_images_of_one_name_are_told_apart_by_their_folders_and_a_file_holds_the_list(tmp_path):
    put(tmp_path, "anna/t1.nii.gz", "berta/t1.nii.gz", "c.nii.gz", "l.nii.gz")
    cases = [{"image": f"{who}/t1.nii.gz", "label": "l.nii.gz"} for who in ("anna", "berta")]
    content = {"training": cases, "testing": [{"image": "c.nii.gz"}]}
    (tmp_path / "list.json").write_text(json.dumps(content))
    data = load_cases(tmp_path, NAMES, validation=1, datalist=str(tmp_path / "list.json"))
    assert {case["case"] for case in data.training + data.validation} == {"anna_t1", "berta_t1"}
    assert images(data.test) == ["c.nii.gz"]
    assert data.dataset.path == (tmp_path / "list.json").resolve()


def test_a_key_of_a_case_reaches_no_transform(tmp_path):
    put(tmp_path, "a.nii.gz", "l.nii.gz")
    given = [{"image": "a.nii.gz", "label": "l.nii.gz", "image_id": "7", "image_path": "x", "patient": "anna"}]
    case = load_cases(tmp_path, NAMES, validation=0, datalist=given).training[0]
    assert case["patient"] == "anna"
    assert not [key for key in case if key.startswith("image_")]


def test_unlabelled_images_of_a_list_teach_semi_supervision(tmp_path):
    put(tmp_path, *(f"{n}.nii.gz" for n in "abcl"))
    given = [{"image": "a.nii.gz", "label": "l.nii.gz"}, {"image": "b.nii.gz"}, {"image": "c.nii.gz"}]
    data = load_semi_supervised(tmp_path, NAMES, validation=0, datalist=given)
    assert images(data.labelled) == ["a.nii.gz"]
    assert images(data.unlabelled) == ["b.nii.gz", "c.nii.gz"]


def test_validation_cases_of_a_list_stay_apart_in_semi_supervision(tmp_path):
    put(tmp_path, *(f"{n}.nii.gz" for n in "abcl"))
    label = {"label": "l.nii.gz"}
    given = {
        "training": [{"image": "a.nii.gz", **label}, {"image": "b.nii.gz"}],
        "validation": [{"image": "c.nii.gz", **label}],
    }
    data = load_semi_supervised(tmp_path, NAMES, validation=1, datalist=given)
    assert (images(data.labelled), images(data.unlabelled), images(data.validation)) == (
        ["a.nii.gz"],
        ["b.nii.gz"],
        ["c.nii.gz"],
    )


@pytest.mark.parametrize(
    ("given", "names", "words"),
    [
        ([], NAMES, "lists no case for training"),
        ([{"image": "a.nii.gz"}], None, "set class_names"),
        ({"training": {"a": 1}}, NAMES, "'training' must be a list"),
        (["a.nii.gz"], NAMES, "must be an object"),
        ([{"image": "none.nii.gz"}], NAMES, "missing file 'none.nii.gz'"),
        ({"label_is": "drawn", "training": [{"image": "a.nii.gz"}]}, NAMES, "label_is"),
        ("no.json", NAMES, "no file 'no.json'"),
        ({"training": [{"image": "a.nii.gz"}], "validation": [{"image": "a.nii.gz", "case": "b"}]}, NAMES, "leak"),
        ([{"image": "a.nii.gz"}, {"image": "a.nii.gz"}], NAMES, "same case id"),
    ],
)
def test_what_is_wrong_with_a_list_is_said(tmp_path, given, names, words):
    put(tmp_path, "a.nii.gz")
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        load_cases(tmp_path, names, validation=0, datalist=given)
