# SPDX-License-Identifier: Apache-2.0
"""Confusion matrix of label volumes, and the IoU of all their voxels together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from wss_monai.functional import UNLABELLED
from wss_monai.metrics.volumes import checked_label, checked_map

__all__ = ["confusion_matrix", "summarize_confusion"]


def confusion_matrix(prediction: np.ndarray, label: np.ndarray, num_classes: int) -> np.ndarray:
    """Count the voxels of each pair of classes; voxels with the label 255 are left out.

    Args:
        prediction: class indices (X, Y[, Z]), integers 0..K-1.
        label: reference class indices of the same shape, 0..K-1 or 255.
        num_classes: K, background included.

    Returns:
        (K, K) int64: voxels of the reference's class (row) that were predicted as the class of the column. Matrices of
        several volumes are added.

    Raises:
        ValueError: shapes or class indices that do not fit.
    """
    prediction = checked_map("prediction", prediction, num_classes, ())
    label = checked_label(label, prediction, num_classes)
    known = label != UNLABELLED
    pairs = label[known].astype(np.int64) * num_classes + prediction[known].astype(np.int64)
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def summarize_confusion(matrix: np.ndarray, class_names: Sequence[str], drop_missed: bool = False) -> dict[str, Any]:
    """IoU of each class over all voxels of all volumes, background included, as PASCAL VOC counts it.

    A class without a true positive has the IoU 0 and stays in the mean, also where neither the references nor the
    predictions show it: it is then named in ``classes_never_seen``.

    Args:
        matrix: (K, K) sum of `confusion_matrix` over the volumes.
        class_names: names of the K classes, background first.
        drop_missed: leave classes without a true positive out of the mean, as the code published with Seed, Expand and
            Constrain does, which makes it larger.

    Returns:
        ``iou_pooled`` ``{"mean": ..., "<class>": ...}`` over all K classes, ``confusion`` (rows: reference, columns:
        prediction, in the order of the names) and ``classes_never_seen`` (names).

    Raises:
        ValueError: a matrix that is not K x K.
    """
    matrix = np.asarray(matrix)
    if matrix.shape != (len(class_names),) * 2:
        raise ValueError(f"the confusion matrix must be {len(class_names)} x {len(class_names)}, got {matrix.shape}.")
    right = matrix.diagonal()
    union = matrix.sum(0) + matrix.sum(1) - right
    iou = (right / np.maximum(union, 1)).tolist()
    counted = [value for value in iou if value > 0 or not drop_missed]
    return {
        "iou_pooled": {"mean": sum(counted) / max(len(counted), 1), **dict(zip(class_names, iou, strict=True))},
        "confusion": matrix.tolist(),
        "classes_never_seen": [name for name, n in zip(class_names, union.tolist(), strict=True) if n == 0],
    }
