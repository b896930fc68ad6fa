# SPDX-License-Identifier: Apache-2.0
"""Drawings thinned out: what is drawn stays in every n-th slice of a volume, as if nobody had drawn in the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from tqdm import tqdm

from wss_monai.data.dataset import Dataset
from wss_monai.data.schema import UNLABELLED_NAME
from wss_monai.functional import UNLABELLED
from wss_monai.functional.weak.generators import every_nth
from wss_monai.functional.weak.strategies import case_seed
from wss_monai.io.nifti_files import write_like

__all__ = ["keep_slices", "thin_out"]


def thin_out(
    dataset: Dataset,
    cases: Sequence[Mapping[str, Any]],
    axis: int,
    every: int,
    seed: int,
    targets: Mapping[str, Path],
) -> tuple[tuple[int, int], dict[str, str]]:
    """Write the weak labels of the cases as they are in every n-th slice, and unlabelled in the others.

    Args:
        dataset: of the cases.
        cases: entries of dataset.json with a weak label.
        axis: of the slices, in the stored files.
        every: n.
        seed: of the draw of the first slice; each case has its own.
        targets: name of a case -> the file to write, NIfTI.

    Returns:
        The number of slices with a drawing, before and after, and what was wrong with the cases that failed, by name.

    Raises:
        ValueError: every case failed, and says what was wrong with the first; or nothing is drawn in any.
    """
    before = after = 0
    failed: dict[str, str] = {}
    for case in tqdm(cases, desc="weaken", unit="case"):
        name = case["case"]
        try:
            R = np.random.RandomState(case_seed(seed, name))
            drawn, kept = keep_slices(dataset, case, axis, every, R, targets[name])
        except (ValueError, EOFError, MemoryError) as error:
            failed[name] = str(error)
        else:
            before, after = before + drawn, after + kept
    if len(failed) == len(cases):
        raise ValueError(next(iter(failed.values())))
    if not before:
        raise ValueError(f"{dataset.path}: no slice of any weak label shows a drawing, so that there is none to keep")
    return (before, after), failed


def keep_slices(
    dataset: Dataset, case: Mapping[str, Any], axis: int, every: int, R: np.random.RandomState, target: Path
) -> tuple[int, int]:
    """Write the weak label of a case as it is in every n-th slice, and unlabelled in the others.

    Values keep their meaning, so that boxes, and cases with a meaning of their own, go through as they are.

    Args:
        dataset: of the case.
        case: an entry of dataset.json with a weak label.
        axis: of the slices, in the stored file.
        every: n; the first slice is drawn among the first n.
        R: source of that draw.
        target: the file to write, NIfTI.

    Returns:
        The number of slices with a drawing, before and after.

    Raises:
        ValueError: the weak label is no NIfTI volume, has values without a meaning, or no value means unlabelled.
    """
    file = str(dataset.file_of(case, "weak_label"))
    where = f"case '{case['case']}', {file}"
    if not file.lower().endswith((".nii", ".nii.gz")):
        raise ValueError(f"{where}: drawings are kept by slices in NIfTI files; save it as .nii.gz")
    image: Any = nib.load(file)
    drawn = np.asarray(image.dataobj)
    if drawn.ndim != 3:
        raise ValueError(f"{where} has the shape {drawn.shape}; slices are kept of volumes with three axes")
    empty = unlabelled_values(dataset, case)
    if len(strange := np.setdiff1d(drawn, list(dataset.weak_of(case).values))):
        raise ValueError(
            f"{where} holds the values {strange[:5].tolist()}, which 'weak_label.values' in {dataset.path} lacks"
        )
    kept = np.zeros(drawn.shape[axis], bool)
    kept[every_nth(drawn.shape[axis], every, R)] = True
    thinned = np.where(kept.reshape([-1 if a == axis else 1 for a in range(3)]), drawn, empty[-1])
    small = thinned.astype(np.uint8)
    write_like(small if np.array_equal(small, thinned) else thinned, image, target)
    return drawn_slices(drawn, empty, axis), drawn_slices(thinned, empty, axis)


def unlabelled_values(dataset: Dataset, case: Mapping[str, Any]) -> list[int]:
    """List the file values of what is not labelled in the weak label of a case, ascending.

    Raises:
        ValueError: there is none.
    """
    values = sorted(value for value, meant in dataset.weak_of(case).values.items() if meant == UNLABELLED_NAME)
    if not values:
        raise ValueError(
            f"case '{case['case']}': no value of its weak label means '{UNLABELLED_NAME}'; add one to "
            f'\'weak_label.values\' in {dataset.path}, such as "{UNLABELLED}": "{UNLABELLED_NAME}"'
        )
    return values


def drawn_slices(drawn: np.ndarray, empty: Sequence[int], axis: int) -> int:
    """Count the slices along `axis` that show any other value than those of `empty`."""
    others = tuple(a for a in range(drawn.ndim) if a != axis)
    return int((~np.isin(drawn, empty)).any(axis=others).sum())
