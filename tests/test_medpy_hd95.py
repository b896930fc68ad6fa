# SPDX-License-Identifier: Apache-2.0
"""HD95 as medpy defines it, by hand and beside the package itself where it is installed."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from tiny import ROOT

from wss_monai.metrics import volume_metrics


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import medpy_hd95

    return medpy_hd95


def line(*places, length=12):
    mask = np.zeros((length, 1), bool)
    mask[list(places)] = True
    return mask


def test_distances_of_both_directions_are_thrown_together(benchmark):
    reference, predicted = line(0), line(*range(10))
    # from the prediction 0 to 9, from the reference 0: of 0 0 1 2 ... 9 the 95th percentile lies between 8 and 9
    assert benchmark.hd95_medpy(predicted, reference, (1.0, 1.0)) == pytest.approx(8.5)
    assert benchmark.hd95_medpy(reference, predicted, (2.0, 1.0)) == pytest.approx(17.0)
    ours = volume_metrics(predicted.astype(np.uint8), reference.astype(np.uint8), (1.0, 1.0), ["background", "organ"])
    assert ours[0]["hd95_mm"] == pytest.approx(8.55)  # of 0 1 2 ... 9 alone


def test_a_missed_organ_counts_as_in_our_other_distances(benchmark):
    nothing = np.zeros((3, 4), bool)
    assert benchmark.hd95_medpy(nothing, nothing, (1.0, 1.0)) == 0
    assert benchmark.hd95_medpy(nothing, ~nothing, (2.0, 2.0)) == 10  # the diagonal of 6 x 8 mm


def blobs(seed):
    R = np.random.RandomState(seed)
    smooth = [ndimage.gaussian_filter(R.randn(24, 20, 8), (3, 3, 1)) for _ in range(2)]
    return smooth[0] > 0, smooth[0] + 0.7 * smooth[1] > 0


@pytest.mark.parametrize("seed", range(5))
def test_the_package_itself_says_the_same(benchmark, seed):
    binary = pytest.importorskip("medpy.metric.binary", reason="medpy is compared with where it is installed")
    predicted, reference = blobs(seed)
    for spacing in ((1.0, 1.0, 1.0), (1.4, 1.5, 10.0)):
        theirs = binary.hd95(predicted, reference, voxelspacing=spacing)
        assert benchmark.hd95_medpy(predicted, reference, spacing) == pytest.approx(theirs, rel=1e-12)


def test_a_run_is_scored_by_class(benchmark, tmp_path):
    label, prediction = np.zeros((6, 6, 2), np.uint8), np.zeros((6, 6, 2), np.uint8)
    label[1, 1], prediction[1, 3] = 1, 1  # two voxels, two pixels of 1.5 mm apart
    label[4, 4], prediction[4, 4] = 2, 2
    (folder := tmp_path / "evaluation" / "predictions").mkdir(parents=True)
    affine = np.diag([1.5, 1.5, 8, 1])
    for array, file in ((label, tmp_path / "label.nii.gz"), (prediction, folder / "a.nii.gz")):
        nib.save(nib.Nifti1Image(array, affine), file)
    nib.save(nib.Nifti1Image(label.astype(np.float32), affine), tmp_path / "image.nii.gz")
    case = {"case": "a", "image": str(tmp_path / "image.nii.gz"), "label": str(tmp_path / "label.nii.gz")}
    case |= {"label_values": {"0": 0, "1": 1, "2": 2}}
    (tmp_path / "evaluation" / "cases.json").write_text(json.dumps([case]))
    (tmp_path / "run.json").write_text(json.dumps({"class_names": ["background", "RV", "LV"]}))
    assert benchmark.score_medpy(tmp_path) == {"mean": 1.5, "RV": 3.0, "LV": 0.0}
