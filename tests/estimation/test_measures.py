# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from wss_monai.estimation import audit_bounds, fit_bounds, measure_cases

NAMES = ["background", "A"]


def make_case(folder, name, patient, side=4, drawn=True, flip=False):
    """A block of side x side voxels of 2 x 1 mm in slices 1 and 2 of 4, its corner voxel drawn."""
    label = np.zeros((16, 16, 4), np.uint8)
    label[4 : 4 + side, 4 : 4 + side, 1:3] = 1
    weak = np.full(label.shape, 255, np.uint8)
    weak[0, 0] = 0
    weak[4, 4, 1:3] = 1
    affine = np.diag([-2.0 if flip else 2.0, 1.0, 8.0, 1.0])
    files = {
        "image": np.random.RandomState(0).rand(*label.shape).astype(np.float32),
        "label": label,
        "weak_label": weak,
    }
    case = {"case": name, "patient": patient, "undrawn_means_absent": True, "weak_kind": "scribble"}
    for key, array in files.items():
        path = folder / f"{name}_{key}.nii.gz"
        nib.save(nib.Nifti1Image(array, affine), path)
        case[key] = str(path)
    case |= {"label_values": {0: 0, 1: 1}, "weak_values": {0: 0, 1: 1, 255: 255}, "tags": [-1, -1], "slice_tags": None}
    return {**case, "slice_axis": 2, "weak_label": case["weak_label"] if drawn else None}


@pytest.mark.parametrize("flip", [False, True])
def test_measures_by_hand(tmp_path, flip):
    (case,) = measure_cases([make_case(tmp_path, "a", "p", flip=flip)], 2, 2)
    assert case.kind == "scribble" and case.thickness == 8.0
    assert case.present[:, 1].tolist() == [False, True, True, False]
    assert case.area[:, 1].tolist() == [0, 32, 32, 0]  # 16 voxels of 2 mm2
    assert case.volume[1] == pytest.approx(0.512)  # 32 voxels of 16 mm3
    # centre of the block: 1.5 voxels from its corner along both axes, 3 mm and 1.5 mm
    assert np.allclose(case.offset[1:3, 1], 3.0, atol=1e-4) and np.isnan(case.offset[0, 1])
    assert case.volume_offset[1] == pytest.approx(3.0, abs=1e-4)
    # opposite corner: 3 voxels along both axes, 6 mm and 3 mm
    assert np.allclose(case.extent[1:3, 1], np.hypot(6, 3)) and np.isnan(case.extent[3, 1])


def test_extent_and_size_from_case_to_audit(tmp_path):
    sides = [3, 4, 5, 4, 3, 5]
    cases = measure_cases([make_case(tmp_path, f"c{i}", f"p{i}", side) for i, side in enumerate(sides)], 2, 2)
    fitted = fit_bounds(cases[:4], NAMES, ["extent", "size"])
    # the largest of the four patients' extents: 4 voxels along both axes
    assert fitted["extent"]["classes"]["A"]["scribble"]["reach"] == pytest.approx(np.hypot(8, 4))
    audit = audit_bounds(fitted, cases[4:], NAMES)
    assert audit["extent"][0] | {"patients": 2, "n": 4, "coverage": 1.0} == audit["extent"][0]
    assert audit["size"][0]["n"] == 4


def test_without_a_weak_label_position_is_all_there_is(tmp_path):
    case = make_case(tmp_path, "a", "p", drawn=False)
    with pytest.raises(ValueError, match="case 'a' has a dense label but no weak one"):
        measure_cases([case], 2, 2)
    assert measure_cases([case], 2, 2, "position")[0].kind == "position"
