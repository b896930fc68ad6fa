# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from wss_monai.transforms import FarBackgroundd, WeakTagsd

NAMES = ["background", "A", "B"]


def file_of(tmp_path, reach=(4.0, 8.0), **changes):
    classes = {name: {"position": {"reach": r}} for name, r in zip(NAMES[1:], reach, strict=True)}
    content = {"format": "wss_monai estimated bounds 1", "dense": 3, "patients": ["p1"]}
    content |= {"terms": {"extent": {"classes": classes}}, **changes}
    path = tmp_path / "bounds.json"
    path.write_text(json.dumps(content))
    return path


def case(undrawn_means_absent=True, spacing=2.0):
    """One drawn voxel of A in slice 0, of A and B in slice 1, nothing in slice 2, all known in slice 3."""
    weak = torch.full((1, 21, 21, 4), 255, dtype=torch.uint8)
    weak[0, 10, 10, 0] = 1
    weak[0, 10, 10, 1] = 1
    weak[0, 10, 20, 1] = 2
    weak[..., 3] = 0
    affine = torch.diag(torch.tensor([spacing, spacing, 5.0, 1.0])).double()
    data = {"case": "c", "weak_label": MetaTensor(weak, affine=affine), "undrawn_means_absent": undrawn_means_absent}
    return WeakTagsd(3)(data | {"tags": [-1, -1, -1], "slice_axis": 2})


def filled(tmp_path, data, **options):
    return FarBackgroundd(file_of(tmp_path), NAMES, **options)(data)["far_background"][0].as_tensor().numpy()


def test_what_is_farther_than_the_reach_is_background(tmp_path):
    weak = filled(tmp_path, case())
    # A reaches 4 mm, and a voxel of 2 mm is allowed for: three voxels of 2 mm
    x, y = np.meshgrid(np.arange(21), np.arange(21), indexing="ij")
    near = np.hypot(x - 10, y - 10) <= 3
    assert np.array_equal(weak[..., 0] == 255, near) and (weak[..., 0][~near] == 0).all()


def test_a_plain_distance_needs_no_file():
    transform = FarBackgroundd(None, NAMES, mm=4)
    weak = transform(case())["far_background"][0].as_tensor().numpy()
    x, y = np.meshgrid(np.arange(21), np.arange(21), indexing="ij")
    assert np.array_equal(weak[..., 0] == 255, np.hypot(x - 10, y - 10) <= 3)
    assert np.array_equal(weak[..., 1] == 0, (np.hypot(x - 10, y - 10) > 3) & (np.hypot(x - 10, y - 20) > 3))
    assert transform.origin == "extent constant (4 mm)"
    with pytest.raises(ValueError, match="far_mm: give a distance in mm above 0, got -1"):
        FarBackgroundd(None, NAMES, mm=-1)


def test_the_reaches_of_all_drawn_classes_are_joined(tmp_path):
    weak = filled(tmp_path, case())
    x, y = np.meshgrid(np.arange(21), np.arange(21), indexing="ij")
    near = (np.hypot(x - 10, y - 10) <= 3) | (np.hypot(x - 10, y - 20) <= 5)
    assert np.array_equal(weak[..., 1] == 0, ~near)


def test_a_class_of_unknown_presence_forbids_any_conclusion(tmp_path):
    weak = filled(tmp_path, case(undrawn_means_absent=False))
    assert (weak[..., 0] == 0).sum() == 0 and (weak[..., 1] == 0).sum() > 0


def test_slices_without_a_drawing_and_dense_slices_say_nothing(tmp_path):
    weak = filled(tmp_path, case())
    assert (weak[..., 2:] == 255).all()


def test_distances_are_in_mm(tmp_path):
    assert (filled(tmp_path, case(spacing=1.0))[..., 0] == 255).sum() > (filled(tmp_path, case())[..., 0] == 255).sum()


def test_two_dimensions(tmp_path):
    data = case()
    flat = {**data, "weak_label": MetaTensor(data["weak_label"].as_tensor()[..., 0], affine=data["weak_label"].affine)}
    flat["slice_tags"] = data["slice_tags"][:1]
    weak = FarBackgroundd(file_of(tmp_path), NAMES)(flat)["far_background"][0]
    assert np.array_equal(np.asarray(weak), filled(tmp_path, data)[..., 0])


@pytest.mark.parametrize(
    ("changes", "options", "match"),
    [
        ({"terms": {"size": {"classes": {}}}}, {}, "not 'extent'; fit it with --terms extent"),
        ({}, {"unseen": ["p1"]}, "whom this run is scored on"),
        ({}, {"class_names": ["background", "A", "C"]}, "says nothing of"),
    ],
)
def test_files_that_do_not_fit(tmp_path, changes, options, match):
    with pytest.raises(ValueError, match=match):
        FarBackgroundd(**{"file": file_of(tmp_path, **changes), "class_names": NAMES, **options})
