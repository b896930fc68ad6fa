# SPDX-License-Identifier: Apache-2.0
"""The published recipes of weak labels through the command `weaken`: per slice, volume and connected component."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from wss_monai.__main__ import main
from wss_monai.functional.weak.drawing import ellipsoid

SHAPE = (60, 44, 5)


def dense() -> np.ndarray:
    """A: two discs, one of them of radius 13 and in four slices; B: a thin ring around nothing."""
    x, y, z = np.indices(SHAPE)
    label = np.zeros(SHAPE, np.uint8)
    label[(np.hypot(x - 15, y - 15) <= 13) & (z > 0)] = 1
    label[(np.hypot(x - 45, y - 12) <= 7) & (z == 2)] = 1
    radius = np.hypot(x - 44, y - 31)
    label[(radius <= 11) & (radius >= 9) & (z >= 1) & (z <= 3)] = 2
    return label


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dense")
    affine = np.diag([1.0, 1.0, 4.0, 1.0])
    nib.save(nib.Nifti1Image(dense(), affine), folder / "label.nii.gz")
    nib.save(nib.Nifti1Image(dense().astype(np.float32), affine), folder / "image.nii.gz")
    content = {
        "name": "shapes",
        "labels": {"0": "background", "1": "A", "2": "B"},
        "slice_axis": 2,
        "training": [{"patient": "p", "case": "c", "image": "image.nii.gz", "label": "label.nii.gz"}],
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def weaken(data, out, strategy, scope, *options):
    """The weak label, and the pairs (mask of a class or component, weak mask in it) where it is drawn."""
    words = ["--slice-axis", "none"] if "volume" in scope else []
    options = (*options, "per_component=true") if "component" in scope else options
    words += [word for option in options for word in ("--option", option)]
    assert main(["weaken", "--data", str(data), "--out", str(out), "--strategy", strategy, *words]) == 0
    weak, label = np.asarray(nib.load(out / "weak_labels" / "c.nii.gz").dataobj), dense()
    maps = [(label, weak)] if "volume" in scope else [(label[..., z], weak[..., z]) for z in range(SHAPE[2])]
    pairs = []
    for k in (1, 2):
        for whole, drawn in maps:
            mask = whole == k
            parts, count = ndimage.label(mask, np.ones((3,) * mask.ndim)) if "component" in scope else (mask, 1)
            pairs += [(parts == n, (drawn == k) & (parts == n)) for n in range(1, count + 1) if (parts == n).any()]
    return weak, pairs


SCOPES = {"slice": 7, "volume": 2, "slice component": 8, "volume component": 3}
RECIPES = {
    "random, width 4": ("random_blob", "width=4"),
    "random, width 5": ("random_blob", "width=5"),
    "centroid": ("centroid_blob", "width=4"),
    "centroid with jitter": ("centroid_blob", "width=4", "jitter=3"),
    "erosion, 10 times": ("erosion", "iterations=10"),
    "erosion, 9 times": ("erosion", "iterations=9"),
}


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("recipe", RECIPES)
def test_drawn_in_each_class_within_it_and_no_bigger(data, tmp_path, recipe, scope):
    strategy, *options = RECIPES[recipe]
    weak, pairs = weaken(data, tmp_path / "weak", strategy, scope, *options)
    assert len(pairs) == SCOPES[scope]
    assert np.array_equal(dense()[weak != 255], weak[weak != 255])  # inside the class
    assert all(0 < drawn.sum() <= mask.sum() for mask, drawn in pairs)
    blob = ellipsoid((2,) * pairs[0][0].ndim)
    for mask, drawn in pairs:
        if strategy == "random_blob":
            assert drawn.sum() <= blob.sum()
        elif strategy == "erosion":
            assert np.array_equal(drawn, eroded(mask, int(options[0].partition("=")[2])))
        elif drawn.sum() == mask.sum() > blob.sum():  # the full mask, where a ring leaves nothing at its centre
            centre = np.rint(ndimage.center_of_mass(mask)).astype(int)
            assert not mask[tuple(slice(c - 2, c + 3) for c in centre)].any() or "jitter=3" in options
        else:
            away = np.abs(np.subtract(ndimage.center_of_mass(drawn), ndimage.center_of_mass(mask))).max()
            assert drawn.sum() <= blob.sum() and away <= (1 if options == ["width=4"] else 6)
    if strategy == "centroid_blob" and "jitter=3" not in options and "volume" not in scope:
        assert {int(drawn.sum()) for mask, drawn in pairs if mask.sum() > 500} == {21}


def eroded(mask, most):
    """As many erosions, at most ``most``, as leave something."""
    for times in range(most, 0, -1):
        smaller = ndimage.binary_erosion(mask, np.ones((3,) * mask.ndim), iterations=times)
        if smaller.any():
            return smaller
    return mask


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("margin", [0, 5, 10])
def test_boxes_with_margins(data, tmp_path, margin, scope):
    weak, _ = weaken(data, tmp_path / "weak", "box", scope, f"margin={margin}", "classes=[2]")
    three = "volume" in scope
    low, high = np.array([33, 20, 1]), np.array([55, 42, 3])
    grown = np.array([margin, margin, margin if three else 0])
    low, high = np.maximum(low - grown, 0), np.minimum(high + grown + 1, SHAPE)
    expected = np.full(SHAPE, 255)
    expected[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = 2
    assert np.array_equal(weak, expected)
