# SPDX-License-Identifier: Apache-2.0
"""A data set of this package as a raw data set of nnU-Net v2, in which what is not drawn has the ignore label."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from wss_monai.data.datalist import load_cases
from wss_monai.data.splits import kfold
from wss_monai.functional import UNLABELLED
from wss_monai.functional.weak.kinds import traits_of
from wss_monai.io.grids import read_grid
from wss_monai.io.nifti_files import save_image, write_volume
from wss_monai.io.tables import write_json
from wss_monai.io.volumes import read_volume
from wss_monai.io.whole_folder import refuse_taken, working_folder
from wss_monai.transforms import LoadCased

__all__ = ["Exported", "export_nnunet"]

ENDING = ".nii.gz"
FOLDS = 5
NAME = re.compile(r"Dataset\d{3}_.+")


@dataclass
class Exported:
    """What was written.

    Attributes:
        path: the new data set of nnU-Net.
        training, test: number of cases.
        ignored: whether any voxel has the ignore label.
        notes: (case, why it was left out).
    """

    path: Path
    training: int = 0
    test: int = 0
    ignored: bool = False
    notes: list[tuple[str, str]] = field(default_factory=list)


def export_nnunet(data: str | os.PathLike[str], out: str | os.PathLike[str], dense: int = 0, seed: int = 0) -> Exported:
    """Write imagesTr, labelsTr, imagesTs, labelsTs, `dataset.json` and `splits_final.json`; whole or not at all.

    A training case gets its weak label, with the ignore label (the highest value) where nothing is drawn, or its dense
    label where it has no weak one. Cases without either are left out, and so are boxes, whose inside is no label. Files
    in ``.nii.gz`` are copied as they are. `splits_final.json` has five folds by patient, stratified by group; nnU-Net
    reads it in its preprocessed folder, and would otherwise put two scans of one patient on both sides.

    Args:
        data: folder with a `dataset.json`.
        out: the folder to make, called DatasetXXX_NAME with a number of three digits.
        dense: training patients whose dense label takes the place of the weak one.
        seed: of their draw and of the folds.

    Raises:
        FileNotFoundError: the data set or a file of it is missing.
        FileExistsError: ``out`` is there already.
        ValueError: a name that nnU-Net would not find, a class called ignore, pictures in 2D, a label that does not fit
            its image, or no case with labels.
    """
    out = Path(out)
    if not NAME.fullmatch(out.name):
        raise ValueError(f"--out: nnU-Net finds data sets by names such as Dataset501_MINE, got '{out.name}'")
    refuse_taken(out)
    cases = load_cases(data, fold="all", validation=0, dense=dense, seed=seed)
    if "ignore" in cases.class_names:
        raise ValueError("a class is called 'ignore', which is nnU-Net's word for what is not labelled: rename it")
    done = Exported(out)
    with working_folder(out) as work:
        result = work / "result"
        kept = [case for case in cases.training if _training_case(case, len(cases.class_names), result, done)]
        if not kept:
            raise ValueError(f"no training case of '{data}' has voxels that are labelled: {done.notes[:3]}")
        for case in cases.test:
            _test_case(case, result)
        done.training, done.test = len(kept), len(cases.test)
        labels = {name: number for number, name in enumerate(cases.class_names)}
        content = {
            "name": cases.dataset.name,
            "channel_names": _channels(cases.dataset.raw, kept[0]),
            "labels": labels | ({"ignore": len(labels)} if done.ignored else {}),
            "numTraining": len(kept),
            "file_ending": ENDING,
        }
        write_json(result / "dataset.json", content)
        write_json(result / "splits_final.json", _folds(kept, seed))
        os.replace(result, out)
    return done


def _training_case(case: Mapping[Any, Any], classes: int, result: Path, done: Exported) -> bool:
    """Write a case, or note why not."""
    traits = traits_of(case["weak_kind"])
    if traits.boxes:
        done.notes.append((case["case"], "has boxes, whose inside is no label; left out"))
        return False
    loaded = LoadCased(["image", "weak_label"])({**case})
    label = loaded["weak_label"][0].numpy().astype(np.uint8)
    unknown = label == UNLABELLED
    if unknown.all():
        done.notes.append((case["case"], "has no labelled voxel; left out"))
        return False
    done.ignored |= bool(unknown.any())
    _write(case, np.where(unknown, classes, label).astype(np.uint8), "Tr", result)
    return True


def _test_case(case: Mapping[Any, Any], result: Path) -> None:
    label = None
    if case["label"] is not None:
        label = LoadCased(["image", "label"])({**case})["label"][0].numpy()
        label = np.where(label == UNLABELLED, 0, label).astype(np.uint8)
    _write(case, label, "Ts", result)


def _write(case: Mapping[Any, Any], label: np.ndarray | None, part: str, result: Path) -> None:
    """Write the channels of a case and its label map, which takes the pose of the first one."""
    paths = case["image"] if isinstance(case["image"], list) else [case["image"]]
    folder = result / f"images{part}"
    folder.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(map(str, paths)):
        target = folder / f"{case['case']}_{number:04d}{ENDING}"
        if path.lower().endswith(ENDING):
            shutil.copyfile(path, target)
            axes = len(read_grid(str(target)).shape)
        else:
            image = read_volume(path)
            axes = image.dim()
            if axes == 3:
                write_volume(_compact(image.numpy()), np.asarray(image.affine), target)
        if axes != 3:
            raise ValueError(f"case '{case['case']}': {path} has {axes} axes; nnU-Net's NIfTI has three")
    if label is not None:
        like: Any = nib.load(folder / f"{case['case']}_0000{ENDING}")
        header = nib.Nifti1Header.from_header(like.header)
        header.set_data_dtype(np.uint8)
        header.set_slope_inter(1, 0)
        save_image(nib.Nifti1Image(label, like.affine, header), result / f"labels{part}" / f"{case['case']}{ENDING}")


def _compact(values: np.ndarray) -> np.ndarray:
    """The values as int16 where nothing is lost by it, else as float32."""
    small = np.clip(values, -32768, 32767).astype(np.int16)
    return small if np.array_equal(small, values) else values.astype(np.float32)


def _channels(raw: Mapping[str, Any], case: Mapping[Any, Any]) -> dict[str, str]:
    """Names of the channels; nnU-Net normalises one that is called CT in its own way."""
    names = [str(name) for _, name in sorted((raw.get("modality") or {}).items())]
    count = len(case["image"]) if isinstance(case["image"], list) else 1
    names = names if len(names) == count else [f"channel{number}" for number in range(count)]
    return {str(number): name for number, name in enumerate(names)}


def _folds(cases: Sequence[Mapping[str, Any]], seed: int) -> list[dict[str, list[str]]]:
    """nnU-Net's list of folds, by patient; with one patient alone it is on both sides."""
    groups = {str(case["patient"]): case["group"] for case in cases}
    names = sorted(str(case["case"]) for case in cases)
    if len(groups) < 2:
        return [{"train": names, "val": names}]
    found = []
    for held in kfold(groups, groups, min(FOLDS, len(groups)), seed):
        apart = sorted(str(case["case"]) for case in cases if case["patient"] in held)
        found.append({"train": [name for name in names if name not in apart], "val": apart})
    return found
