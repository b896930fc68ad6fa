# SPDX-License-Identifier: Apache-2.0
"""Modalities of a folder's cases that lie on different grids: said, or resampled into the folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from wss_monai.data.releases.modalities import check_label_grid, on_one_grid
from wss_monai.data.releases.volumes import copy_image, load_volume
from wss_monai.data.simulated_tags import file_word
from wss_monai.io.grids import Grid, read_grid, same_grid

__all__ = ["RESAMPLED", "cases_on_several_grids", "resample_cases"]

RESAMPLED = "resampled"
"""The folder, beside dataset.json, that resampled modalities are written to."""
NIFTI = (".nii", ".nii.gz")


def cases_on_several_grids(root: Path, cases: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name the cases whose modalities differ in shape or affine, by their headers; files that cannot be read do not."""
    return [case["case"] for case in cases if isinstance(case["image"], list) and not _one_grid(root, case["image"])]


def resample_cases(
    root: Path, cases: Sequence[dict[str, Any]], modalities: Sequence[str], names: Sequence[str]
) -> list[tuple[str, str]]:
    """Bring the modalities of some cases to the grid of the first one; new files go to `RESAMPLED` in the folder.

    Args:
        root: the folder.
        cases: entries of dataset.json; `image` of those that are resampled is changed.
        modalities: names, in the order of each case's images.
        names: the cases to look at.

    Returns:
        (case, what was resampled).

    Raises:
        ValueError: a modality lies in another frame or is no NIfTI file, or a label map is not on the first one's
            grid; names case and file. Nothing has been written then.
    """
    notes = []
    with TemporaryDirectory(prefix=f".{RESAMPLED}.", dir=root) as work:
        for case in (case for case in cases if case["case"] in set(names)):
            try:
                notes += [(case["case"], what) for what in _resample(root, case, modalities, Path(work))]
            except ValueError as error:
                raise ValueError(f"case '{case['case']}': {error}") from error
        (root / RESAMPLED).mkdir(exist_ok=True)
        for file in Path(work).glob("*/*"):
            os.replace(file, root / RESAMPLED / file.name)
    return notes


def _resample(root: Path, case: dict[str, Any], modalities: Sequence[str], work: Path) -> list[str]:
    """Resample the modalities of a case into a folder of `work`; say what was done."""
    files = {name: root / path for name, path in zip(modalities, case["image"], strict=True)}
    if other := [file.name for file in files.values() if not file.name.lower().endswith(NIFTI)]:
        raise ValueError(f"{other[0]} is no NIfTI file; resample or convert it by hand")
    images, notes = on_one_grid(files)
    first = modalities[0]
    for role in ("label", "weak_label"):
        if str(case.get(role, "")).lower().endswith(NIFTI):
            label = root / case[role]
            check_label_grid(load_volume(label)[0], label, images[first], files[first])
    case["image"] = [
        path
        if image.get_filename()
        else copy_image(image, work / RESAMPLED / f"{case['case']}_{file_word(name)}.nii.gz")
        for path, (name, image) in zip(case["image"], images.items(), strict=True)
    ]
    return notes


def _one_grid(root: Path, paths: Sequence[str]) -> bool:
    grids: list[Grid] = []
    for path in paths:
        try:
            grids.append(read_grid(str(root / path)))
        except ValueError:  # loading and `check` say what is wrong
            return True
    same = (g.shape == grids[0].shape and same_grid(g.affine, grids[0].affine, g.shape) for g in grids)
    return all(same)
