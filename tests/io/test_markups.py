# SPDX-License-Identifier: Apache-2.0
"""Markups files of 3D Slicer: coordinates in RAS and mm, and what is wrong with a file."""

from __future__ import annotations

import json

import numpy as np
import pytest

from wss_monai.io.label_files import read_label_file
from wss_monai.io.markups import MarkedBox, MarkedPoint, read_markups


def write(folder, *nodes, name="F.mrk.json"):
    (folder / name).write_text(json.dumps({"@schema": "markups-schema-v1.0.3.json#", "markups": list(nodes)}))
    return folder / name


def points(*where, **more):
    listed = [{"label": f"LV-{n + 1}", "position": list(p)} for n, p in enumerate(where)]
    return {"type": "Fiducial", "controlPoints": listed, **more}


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"coordinateSystem": "LPS"}, (1.0, 2.0, 3.0)),
        ({}, (1.0, 2.0, 3.0)),
        ({"coordinateSystem": "RAS"}, (-1.0, -2.0, 3.0)),
        ({"coordinateSystem": "0"}, (-1.0, -2.0, 3.0)),
        ({"coordinateSystem": "LPS", "coordinateUnits": "um"}, (0.001, 0.002, 0.003)),
        ({"coordinateSystem": "LPS", "coordinateUnits": ["mm", "UCUM", "millimeter"]}, (1.0, 2.0, 3.0)),
    ],
)
def test_points_are_given_in_ras_and_mm(tmp_path, more, expected):
    (point,) = read_markups(write(tmp_path, points((-1, -2, 3), **more)))
    assert isinstance(point, MarkedPoint)
    assert point.position.tolist() == pytest.approx(expected)
    assert (point.names, point.label) == (("LV", "F"), "LV-1")


def test_points_that_were_not_placed_are_left_out_and_lists_have_names(tmp_path):
    node = points((0, 0, 0), (1, 1, 1), (2, 2, 2), name="heart")
    node["controlPoints"][0]["positionStatus"] = "undefined"
    node["controlPoints"][1]["positionStatus"] = "defined"
    node["controlPoints"][2]["label"] = ""
    found = read_markups(write(tmp_path, node))
    assert [point.names for point in found] == [("LV", "heart", "F"), ("heart", "F")]


def test_a_box_keeps_its_axes_when_it_is_turned_into_ras(tmp_path):
    """A ROI of Slicer's along RAS is written with the diagonal (-1, -1, 1) in LPS."""
    node = {"type": "ROI", "coordinateSystem": "LPS", "center": [-10, 20, 30], "size": [4, 6, 8]}
    (box,) = read_markups(write(tmp_path, {**node, "orientation": [-1, 0, 0, 0, -1, 0, 0, 0, 1]}))
    assert isinstance(box, MarkedBox)
    assert box.centre.tolist() == [10, -20, 30]
    assert np.array_equal(box.axes, np.eye(3))
    # its first edge along (.8, .6, 0) in RAS is (-.8, -.6, 0) in LPS, the first column
    turned = [-0.8, 0.6, 0, -0.6, -0.8, 0, 0, 0, 1]
    (box,) = read_markups(write(tmp_path, {**node, "orientation": turned}))
    assert np.allclose(box.axes, [[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ({"type": "Line"}, "draw lines and areas as segments"),
        ({"type": "Fiducial", "coordinateSystem": "IJK"}, "must be LPS or RAS"),
        ({"type": "Fiducial", "coordinateUnits": "cm"}, "must be mm or um"),
        (points((1, 2)), "'position' must be 3 numbers"),
        (points((1, 2, 1e300)), "'position' must be 3 numbers"),
        (points((1, 2, "x")), "'position' must be 3 numbers"),
        ({"type": "Fiducial", "controlPoints": [1]}, "must be a list of objects"),
        ({"type": "ROI", "center": [0, 0, 0], "size": [0, 0, 0]}, "which is no box"),
        ({"type": "ROI", "center": [0, 0, 0], "size": [1, 1, -1]}, "which is no box"),
        ({"type": "ROI", "size": [1, 1, 1]}, "'center' must be 3 numbers"),
        ({"type": "ROI", "center": [0, 0, 0], "size": [1, 1, 1], "orientation": [1] * 9}, "is no rotation"),
        ({"type": "ROI", "center": [0, 0, 0], "size": [1, 1, 1], "insideOut": True}, "inside out"),
        ("x", "must be an object"),
    ],
)
def test_what_is_wrong_is_said_with_the_file(tmp_path, node, words):
    with pytest.raises(ValueError, match=rf"F\.mrk\.json.*{words}"):
        read_markups(write(tmp_path, node))


def test_other_json_is_refused(tmp_path):
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(ValueError, match="has no list 'markups'"):
        read_markups(tmp_path / "a.json")


def test_label_files_of_itk_snap(tmp_path):
    from wss_monai.prediction.writers import write_label_file

    write_label_file(["background", "LV", "right ventricle"], tmp_path / "itksnap.label")
    assert read_label_file(tmp_path / "itksnap.label") == {1: "LV", 2: "right ventricle"}
    (tmp_path / "b.label").write_text('# IDX\n 0 0 0 0 0 0 0 "Clear Label"\n 3 255 0 0 0.5 1 1 "LV"\n')
    assert read_label_file(tmp_path / "b.label") == {3: "LV"}
    (tmp_path / "b.label").write_text("1 LV\n")
    with pytest.raises(ValueError, match="line 1: is no label description"):
        read_label_file(tmp_path / "b.label")
    (tmp_path / "b.label").write_text("# none\n")
    with pytest.raises(ValueError, match="describes no label"):
        read_label_file(tmp_path / "b.label")
