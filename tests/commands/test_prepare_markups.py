# SPDX-License-Identifier: Apache-2.0
"""`prepare markups`: from points and boxes of 3D Slicer to a data set that loads."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from wss_monai.__main__ import main
from wss_monai.data import load_cases
from wss_monai.transforms import LoadCased

OBLIQUE = np.array([[1.6, -1.8, 0, 10], [1.2, 2.4, 0, 20], [0, 0, 5, 30], [0, 0, 0, 1]])
"""Voxels of 2 x 3 x 5 mm, turned about the third axis."""
TURNED = [-0.8, 0.6, 0, -0.6, -0.8, 0, 0, 0, 1]
"""The axes of that image as a ROI in LPS has them."""
LABELS = '{"0": "background", "1": "LV", "2": "RV"}'
BY_FOLDER = {"image": r"(?P<patient>\w+)/image\.nii\.gz", "markups": r"(?P<patient>\w+)/.*\.mrk\.json"}


def lps(*voxel):
    x, y, z = (OBLIQUE @ [*voxel, 1])[:3]
    return [-x, -y, z]


def put(folder, patient, **lists):
    """An image, and Markups: name of the file -> points as (label, voxel), or a box as (centre, size)."""
    (folder / patient).mkdir(parents=True, exist_ok=True)
    image = np.random.RandomState(len(patient)).rand(8, 6, 4).astype(np.float32)
    nib.save(nib.Nifti1Image(image, OBLIQUE), folder / patient / "image.nii.gz")
    for name, marks in lists.items():
        if isinstance(marks, dict):
            node = {"type": "ROI", "orientation": TURNED, **marks}
        else:
            node = {"type": "Fiducial", "controlPoints": [{"label": a, "position": lps(*b)} for a, b in marks]}
        content = {"markups": [{"coordinateSystem": "LPS", **node}]}
        (folder / patient / f"{name}.mrk.json").write_text(json.dumps(content))


def box(centre, size):
    return {"center": lps(*centre), "size": size}


def prepare(folder, out, *more, image=BY_FOLDER["image"], markups=BY_FOLDER["markups"], labels=LABELS):
    words = ["--source", str(folder), "--out", str(out), "--image", image, "--markups", markups, "--labels", labels]
    return main(["prepare", "markups", *words, *more])


def loaded(out, patient, **options):
    cases = load_cases(out, fold="all", validation=0).training
    return LoadCased(["image", "weak_label"], **options)(next(case for case in cases if case["patient"] == patient))


def test_points_of_several_files_become_a_map_on_the_image(tmp_path, capsys):
    put(tmp_path / "in", "anna", LV=[("LV-1", (2, 1, 3)), ("LV-2", (4, 2, 0))], bg=[("background-1", (7, 5, 3))])
    put(tmp_path / "in", "berta", points=[("lv-1", (1, 1, 1)), ("Right-2", (5, 5, 1))])
    put(tmp_path / "in", "carlotta")
    assert prepare(tmp_path / "in", tmp_path / "out", "--words", '{"right": "RV"}') == 0
    said = capsys.readouterr().out
    assert "3 cases, 5 points and 0 boxes" in said
    assert "cases without markups: 1 (carlotta)" in said
    case = loaded(tmp_path / "out", "anna")
    weak = case["weak_label"][0].numpy()
    assert {tuple(v): weak[tuple(v)] for v in np.argwhere(weak != 255).tolist()} == {
        (2, 1, 3): 1,
        (4, 2, 0): 1,
        (7, 5, 3): 0,
    }
    weak = loaded(tmp_path / "out", "berta")["weak_label"][0].numpy()
    assert {tuple(v): weak[tuple(v)] for v in np.argwhere(weak != 255).tolist()} == {(1, 1, 1): 1, (5, 5, 1): 2}
    content = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert content["weak_label"]["kind"] == "points"
    assert content["training"][0]["image"] == "../in/anna/image.nii.gz"
    assert main(["check", str(tmp_path / "out")]) == 0


def test_the_pattern_may_name_the_class(tmp_path):
    put(tmp_path / "in", "anna", RV=[("F-1", (2, 1, 3))], background=[("F-2", (0, 0, 0))])
    assert prepare(tmp_path / "in", tmp_path / "out", markups=r"(?P<patient>\w+)/(?P<class>\w+)\.mrk\.json") == 0
    weak = loaded(tmp_path / "out", "anna")["weak_label"][0]
    assert (weak[2, 1, 3], weak[0, 0, 0]) == (2, 0)


def test_boxes_become_boxes_that_overlap(tmp_path, capsys):
    put(tmp_path / "in", "anna", LV=box((3, 2, 1), [6, 6, 0]), RV=box((4, 2, 1), [6, 0.3, 0]))
    put(tmp_path / "in", "berta", points=[("LV-1", (1, 1, 1))])
    assert prepare(tmp_path / "in", tmp_path / "out") == 0
    assert "1 points and 2 boxes" in capsys.readouterr().out
    boxes = loaded(tmp_path / "out", "anna")["boxes"].numpy()
    lv = np.zeros((8, 6, 4), bool)
    lv[2:5, 1:4, 1] = True
    rv = np.zeros((8, 6, 4), bool)
    rv[3:6, 2, 1] = True
    assert np.array_equal(boxes[1] > 0, lv)
    assert np.array_equal(boxes[2] > 0, rv)
    assert (loaded(tmp_path / "out", "berta")["boxes"] == 255).all()
    kinds = {
        case["patient"]: case["weak_kind"] for case in load_cases(tmp_path / "out", fold="all", validation=0).training
    }
    assert kinds == {"anna": "box", "berta": "points"}


@pytest.mark.parametrize(
    ("marks", "words"),
    [
        ({"F": [("F-1", (0, 0, 0))]}, "called 'F', which is no class of"),
        ({"LV": [("LV-1", (-3, 0, 0))]}, "lies outside of the image"),
        ({"LV": [("LV-1", (0, 0, 0))], "RV": [("RV-1", (0, 0, 0))]}, "touches a point of another class"),
        ({"LV": [("LV-1", (0, 0, 0))], "RV": box((3, 2, 1), [4, 4, 4])}, "points and boxes in one case"),
        ({"background": box((3, 2, 1), [4, 4, 4])}, "box of the background"),
        ({"LV": {**box((3, 2, 1), [9, 9, 9]), "orientation": [-1, 0, 0, 0, -1, 0, 0, 0, 1]}}, "turned against"),
        ({"LV": []}, "holds no point that was placed"),
    ],
)
def test_a_case_that_cannot_be_drawn_is_named_and_left_out(tmp_path, capsys, marks, words):
    put(tmp_path / "in", "anna", LV=[("LV-1", (2, 1, 3))])
    put(tmp_path / "in", "berta", **marks)
    assert prepare(tmp_path / "in", tmp_path / "out") == 1
    said = capsys.readouterr()
    assert words in said.out + said.err
    assert "berta" in said.out + said.err
    assert [case["patient"] for case in load_cases(tmp_path / "out", fold="all").training] == ["anna"]


@pytest.mark.parametrize(
    ("more", "changes", "words"),
    [
        ((), {"markups": r"(?P<patient>x)\.mrk\.json"}, "matches the whole path of no Markups file"),
        ((), {"markups": r"\w+/.*\.mrk\.json"}, "has no group named patient"),
        ((), {"labels": '{"0": "background", "1": "lv", "2": "LV"}'}, "differ in capitals alone"),
        (("--words", '{"F": "aorta"}'), {}, "--words names ['aorta']"),
        (("--words", "F"), {}, "--words must be JSON"),
        (("--radius", "-1"), {}, "--radius must be mm"),
    ],
)
def test_options_that_do_not_fit_are_refused_and_nothing_is_written(tmp_path, capsys, more, changes, words):
    put(tmp_path / "in", "anna", LV=[("LV-1", (2, 1, 3))])
    assert prepare(tmp_path / "in", tmp_path / "out", *more, **changes) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_markups_that_fit_two_images_are_refused_and_an_existing_folder_stays(tmp_path, capsys):
    put(tmp_path / "in", "anna", LV=[("LV-1", (2, 1, 3))])
    (tmp_path / "in" / "anna" / "image.nii.gz").rename(tmp_path / "in" / "anna" / "ED.nii.gz")
    put(tmp_path / "in", "anna")
    (tmp_path / "in" / "anna" / "image.nii.gz").rename(tmp_path / "in" / "anna" / "ES.nii.gz")
    image = r"(?P<patient>\w+)/(?P<phase>E.)\.nii\.gz"
    assert prepare(tmp_path / "in", tmp_path / "out", image=image) == 2
    assert "fits 2 images" in capsys.readouterr().err
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    assert prepare(tmp_path / "in", tmp_path / "out", image=image) == 2
    assert "exists already" in capsys.readouterr().err
