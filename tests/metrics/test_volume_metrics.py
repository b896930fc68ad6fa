# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from itertools import product

import numpy as np
import pytest
import torch
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance

from wss_monai.metrics import summarize_volumes, volume_metrics

NAMES = ["background", "A", "B"]


def surface_points(mask, spacing):
    """Brute force: voxels of the mask with a face neighbour outside it, as points in mm (axes of one voxel ignored)."""
    axes = [axis for axis, n in enumerate(mask.shape) if n > 1]
    points = []
    for voxel in product(*map(range, mask.shape)):
        if not mask[voxel]:
            continue
        for axis, step in product(axes, (-1, 1)):
            near = list(voxel)
            near[axis] += step
            if not 0 <= near[axis] < mask.shape[axis] or not mask[tuple(near)]:
                points.append([index * size for index, size in zip(voxel, spacing, strict=True)])
                break
    return np.array(points)


def brute_force(a, b, spacing):
    p, q = surface_points(a, spacing), surface_points(b, spacing)
    pairs = np.sqrt(((p[:, None] - q[None]) ** 2).sum(-1))
    there, back = pairs.min(1), pairs.min(0)
    return max(np.percentile(there, 95), np.percentile(back, 95)), np.concatenate([there, back]).mean()


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [
        ((12, 11, 7), (0.9, 1.6, 8.0)),
        ((9, 10, 6), (1.0, 1.0, 1.0)),
        ((20, 17), (0.5, 2.0)),
        ((14, 15, 1), (1.2, 0.7, 10.0)),
        ((1, 12, 9), (5.0, 1.0, 1.5)),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_distances_equal_brute_force(shape, spacing, seed):
    R = np.random.RandomState(seed)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)

    def blob():
        centre = [R.randint(0, n) for n in shape]  # often touches the edge of the image
        return (np.abs(grid - centre).sum(-1) <= R.randint(1, 5)) & (R.rand(*shape) > 0.2)

    a, b = blob(), blob()
    a.flat[R.randint(a.size)] = b.flat[R.randint(b.size)] = True
    row = volume_metrics(a.astype(np.uint8), b.astype(np.uint8), spacing, NAMES)[0]
    hd95, asd = brute_force(a, b, spacing)
    assert row["hd95_mm"] == pytest.approx(hd95, rel=1e-6)
    assert row["asd_mm"] == pytest.approx(asd, rel=1e-6)
    assert row["dice"] == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_values_by_hand():
    prediction, label = np.zeros((2, 10, 8, 4), dtype=np.uint8)
    label[2:5, 3, 1] = 1
    prediction[3:6, 3, 1] = 1  # the row shifted by one voxel of 2 mm: 2 of 3 voxels in common
    row = volume_metrics(prediction, label, (2, 3, 5), NAMES)[0]
    assert row["dice"] == pytest.approx(2 / 3)
    assert row["asd_mm"] == pytest.approx(4 / 6)  # distances 0, 0, 2 both ways
    assert row["hd95_mm"] == pytest.approx(np.percentile([0, 0, 2], 95))
    assert (row["volume_ml"], row["reference_ml"], row["volume_error_ml"]) == pytest.approx((0.09, 0.09, 0))
    assert (row["empty"], row["missed"]) == (0, 0)


@pytest.mark.parametrize("side", ["prediction", "label"])
def test_one_empty_mask_costs_the_diagonal(side):
    volumes = {"prediction": np.zeros((3, 4, 12), np.uint8), "label": np.zeros((3, 4, 12), np.uint8)}
    volumes[side][0, 0, :5] = 2
    a, b = volume_metrics(**volumes, spacing=(1, 1, 1), class_names=NAMES)
    assert b["hd95_mm"] == b["asd_mm"] == pytest.approx(13.0)
    assert (b["dice"], b["missed"], b["empty"]) == (0, 1, 0)
    assert b["volume_error_ml"] == pytest.approx(0.005 if side == "prediction" else -0.005)
    assert (a["dice"], a["hd95_mm"], a["asd_mm"], a["missed"], a["empty"]) == (1, 0, 0, 0, 1)


def test_unknown_voxels_belong_to_neither_mask():
    label = np.array([[1, 1, 255, 255], [0, 0, 0, 255]], dtype=np.uint8)
    prediction = np.array([[1, 1, 1, 1], [0, 0, 0, 2]], dtype=np.uint8)
    a, b = volume_metrics(prediction, label, (1, 1), NAMES)
    assert (a["dice"], a["hd95_mm"], a["volume_ml"]) == (1, 0, pytest.approx(0.002))
    assert b["empty"] == 1


def test_crop_is_exact_far_from_the_origin():
    a, b = np.zeros((2, 40, 40, 9), dtype=np.uint8)
    a[30:36, 31:35, 4:7], b[29:35, 30:36, 3:6] = 1, 1
    far = volume_metrics(a, b, (1.1, 0.8, 6), NAMES)[0]
    near = volume_metrics(a[28:37, 29:37], b[28:37, 29:37], (1.1, 0.8, 6), NAMES)[0]
    assert far == pytest.approx(near)


def test_without_a_label_only_the_volume_is_given():
    prediction = np.ones((2, 5, 5), dtype=np.uint8)
    rows = volume_metrics(prediction, None, (1, 2, 2), NAMES)
    assert rows == [{"class": "A", "volume_ml": pytest.approx(0.2)}, {"class": "B", "volume_ml": 0}]
    assert summarize_volumes(rows, NAMES) == {"n_volumes": 1, "n_labelled": 0}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"label": np.zeros((2, 3, 5), np.uint8)}, r"\(2, 3, 4\).*\(2, 3, 5\)"),
        ({"label": np.full((2, 3, 4), 7)}, r"label holds the values \[7\].*0..2 or 255"),
        ({"prediction": np.full((2, 3, 4), 255)}, r"prediction holds the values \[255\]"),
        ({"prediction": np.zeros((2, 3, 4))}, "integer array.*float64"),
        ({"spacing": (1, 1)}, r"spacing must be 3 positive.*\(1, 1\)"),
        ({"spacing": (1, 0, 1)}, "spacing must be 3 positive"),
    ],
)
def test_misfits_are_refused(change, match):
    good = {"prediction": np.zeros((2, 3, 4), np.uint8), "label": np.zeros((2, 3, 4), np.uint8), "spacing": (1, 1, 1)}
    with pytest.raises(ValueError, match=match):
        volume_metrics(**{**good, **change}, class_names=NAMES)


def row(name, dice, error, empty=0, missed=0):
    return {
        "class": name, "dice": dice, "iou": dice / (2 - dice), "hd95_mm": 2.0, "asd_mm": 1.0,
        "volume_ml": 1.0, "reference_ml": 1.0 - error, "volume_error_ml": error, "empty": empty, "missed": missed,
    }  # fmt: skip


def test_summary_means_volumes_first_then_classes():
    rows = [row("A", 0.5, -2), row("A", 0.7, 4), row("A", 0.9, 1, missed=1), row("B", 1.0, 0, empty=1)]
    summary = summarize_volumes(rows, NAMES)
    assert summary["dice"] == pytest.approx({"mean": 0.85, "A": 0.7, "B": 1.0})  # not the mean of four rows
    assert summary["volume_error_ml"] == pytest.approx({"mean": 0.5, "A": 1.0, "B": 0.0})
    assert summary["volume_error_ml_abs"] == pytest.approx({"mean": 7 / 6, "A": 7 / 3, "B": 0.0})
    assert (summary["n_volumes"], summary["n_empty"], summary["n_missed"]) == (3, {"A": 0, "B": 1}, {"A": 1, "B": 0})
    assert summary["iou"]["B"] == 1 and summary["iou"]["A"] == pytest.approx((0.5 / 1.5 + 0.7 / 1.3 + 0.9 / 1.1) / 3)
    json.dumps(summary, allow_nan=False)


def test_summary_of_mixed_cases_averages_the_labelled_ones():
    rows = [row("A", 0.5, 0), row("B", 0.7, 0), {"class": "A", "volume_ml": 3.0}, {"class": "B", "volume_ml": 3.0}]
    summary = summarize_volumes(rows, NAMES)
    assert (summary["n_volumes"], summary["n_labelled"], summary["dice"]["mean"]) == (2, 1, pytest.approx(0.6))


@pytest.mark.parametrize(
    ("rows", "match"), [([row("C", 1, 0)], r"classes \['C'\]"), ([row("A", float("nan"), 0)], "class 'A' is nan")]
)
def test_summary_refuses_what_it_cannot_average(rows, match):
    with pytest.raises(ValueError, match=match):
        summarize_volumes(rows, NAMES)


def test_agrees_with_monai():
    R = np.random.RandomState(3)
    a, b = (np.pad(R.rand(8, 9, 5) > 0.6, 3) for _ in range(2))
    hot = [torch.from_numpy(np.stack([~m, m])[None].astype(np.float32)) for m in (a, b)]
    row = volume_metrics(a.astype(np.uint8), b.astype(np.uint8), (0.8, 1.1, 6), NAMES)[0]
    hd95 = compute_hausdorff_distance(*hot, percentile=95, spacing=[0.8, 1.1, 6.0])
    asd = compute_average_surface_distance(*hot, symmetric=True, spacing=[0.8, 1.1, 6.0])
    assert (row["hd95_mm"], row["asd_mm"]) == pytest.approx((hd95.item(), asd.item()), rel=1e-5)
