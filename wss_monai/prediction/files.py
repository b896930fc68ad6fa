# SPDX-License-Identifier: Apache-2.0
"""Predict files and folders: masks, a table of volumes, and pictures, in a folder of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wss_monai.bundle.case_errors import NO_MEMORY, raise_failures, reason_of
from wss_monai.io.folder_lock import release, take
from wss_monai.io.tables import write_csv
from wss_monai.prediction.inputs import Case, endings_of, find_cases
from wss_monai.prediction.predictor import Predictor
from wss_monai.prediction.writers import ENDINGS, LABELS, write_entropy, write_label_file, write_mask

__all__ = ["VOLUMES", "Plan", "plan_of", "predict"]

VOLUMES = "volumes.csv"
"""A row a file and class."""
SHOWN = 3
MOST_TOLD = 6
"""Classes whose volumes are told of each case; the table has all."""
NO_SERIES = "it is no DICOM series, so that no DICOM-SEG can refer to it: choose --format nifti or nrrd"


@dataclass(frozen=True)
class Plan:
    """What is predicted to where.

    Attributes:
        out: the folder.
        cases: what is predicted.
        masks: file of each case's mask.
        left: files that are no images.
        format: of the masks.
    """

    out: Path
    cases: list[Case]
    masks: list[Path]
    left: list[str]
    format: str


def plan_of(
    predictor: Predictor,
    inputs: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    format: str = "nifti",
    endings: Sequence[str] = (),
    overwrite: bool = False,
) -> Plan:
    """Find what is there to predict, and name the masks; nothing is read or written.

    Args:
        predictor: whose modalities say which files belong together.
        inputs: volume files, DICOM series as folders, and folders of both.
        out: the folder of the masks; sub-folders of the inputs are kept.
        format: nifti, nrrd (.seg.nrrd) or dicom-seg.
        endings: of the file names of each modality, before the ending of their format.
        overwrite: replace masks that are there.

    Raises:
        FileNotFoundError: an input is not there.
        ValueError: no volume; two that would share a mask; a mask that is there or that lies among the inputs.
    """
    if format not in ENDINGS:
        raise ValueError(f"--format: must be one of {', '.join(ENDINGS)}, got '{format}'")
    if format == "dicom-seg":
        from wss_monai.prediction.dicom_seg import check_highdicom

        check_highdicom()
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out: '{out}' is a file; give a folder")
    for path in (Path(path) for path in inputs):
        if path.is_dir() and out.resolve().is_relative_to(path.resolve()):
            raise ValueError(f"--out: '{out}' lies in the input folder '{path}', where masks would count as images")
    run = predictor.first
    cases, left = find_cases(inputs, endings_of(run.modalities, run.channels, endings) if run.channels > 1 else ((),))
    if format == "dicom-seg":
        cases = [case if Path(case.files[0]).is_dir() else replace(case, fault=NO_SERIES) for case in cases]
    ending = ENDINGS[format] if format == "nrrd" else f"_seg{ENDINGS[format]}"
    masks = [out / f"{case.name}{ending}" for case in cases]
    taken: dict[str, Case] = {}
    for case, mask in zip(cases, masks, strict=True):
        other = taken.setdefault(os.path.normcase(mask.resolve()), case)
        if other is not case and not (case.fault or other.fault):
            raise ValueError(
                f"{other.shown} and {case.shown} would share the mask {mask}: predict them into two folders"
            )
    there = [mask for mask in masks if mask.exists()]
    if there and not overwrite:
        shown = ", ".join(map(str, there[:SHOWN])) + (" ..." if len(there) > SHOWN else "")
        raise ValueError(f"--out: {len(there)} of {len(masks)} masks are there already ({shown}); pass --overwrite")
    files = {Path(file).resolve() for case in cases for file in case.files}
    if hit := next((mask for mask in masks if mask.resolve() in files), None):
        raise ValueError(f"--out: the mask {hit} would replace an image; choose another folder")
    return Plan(out, cases, masks, left, format)


def predict(
    predictor: Predictor,
    plan: Plan,
    *,
    preview: bool = False,
    progress: Callable[[Iterable[Any], int], Iterable[Any]] = lambda cases, total: cases,
    tell: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
    """Predict all cases of a plan; one that cannot be read does not stop the others.

    Writes the masks, ``volumes.csv`` (a row a case and class), a label description for ITK-SNAP, and on request an
    entropy map and a picture beside each mask.

    Args:
        predictor: of one run or several.
        plan: of ``plan_of``.
        preview: a picture of each case.
        progress: wraps the cases for a progress bar.
        tell: gets warnings, and the volumes of each case.

    Returns:
        The rows of ``volumes.csv``.

    Raises:
        CasesFailedError: some cases could not be predicted; each is printed, the others are done.
    """
    plan.out.mkdir(parents=True, exist_ok=True)
    take(plan.out, "prediction")
    try:
        return _predict(predictor, plan, preview, progress, tell)
    finally:
        release(plan.out)


def _predict(predictor: Predictor, plan: Plan, preview: bool, progress: Any, tell: Any) -> list[dict[str, Any]]:
    failed: dict[str, str] = {case.shown: case.fault for case in plan.cases if case.fault}
    todo = [(case, mask) for case, mask in zip(plan.cases, plan.masks, strict=True) if not case.fault]
    if predictor.needs_all and todo:
        predictor.solve([case.files for case, _ in todo])
    rows: list[dict[str, Any]] = []
    write_label_file(predictor.first.class_names, plan.out / LABELS)
    for case, mask in progress(todo, len(todo)):
        try:
            prediction = predictor(case.files)
            for warning in prediction.warnings:
                tell(f"warning: {case.shown}: {warning}")
            write_mask(prediction, mask)
            beside = plan.out / case.name
            if prediction.entropy is not None:
                write_entropy(prediction, beside.with_name(f"{beside.name}_entropy.nii.gz"))
            if preview:
                from wss_monai.prediction.preview import write_preview

                write_preview(prediction, beside.with_name(f"{beside.name}_preview.png"))
        except Exception as error:
            reason = _reason(error)
            if reason is None:
                raise
            failed[case.shown] = reason
            continue
        about = {"file": case.shown, "patient": patient_of(case), "mask": mask.relative_to(plan.out).as_posix()}
        found = prediction.rows()
        volumes = ", ".join(f"{row['class']} {row['ml']:.4g} ml" for row in found[:MOST_TOLD])
        tell(f"{case.shown}: {volumes}")
        rows += [{**about, **row} for row in found]
        write_csv(plan.out / VOLUMES, rows, wait=False)
    if rows:
        write_csv(plan.out / VOLUMES, rows)
    raise_failures(failed, len(plan.cases), "have no mask")
    return rows


def _reason(error: Exception) -> str | None:
    """Why a case has no mask; None for what is wrong with this program."""
    import torch

    if isinstance(error, torch.cuda.OutOfMemoryError):
        return f"{NO_MEMORY} of the GPU; try --device cpu"
    return reason_of(error)


def patient_of(case: Case) -> str:
    """The patient's id in a DICOM header, else nothing."""
    path = Path(case.files[0])
    if not path.is_dir() and path.suffix.lower() != ".dcm":
        return ""
    import SimpleITK as sitk

    from wss_monai.io.volumes import quiet_itk

    with quiet_itk():
        files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path)) if path.is_dir() else (str(path),)
        reader = sitk.ImageFileReader()
        reader.SetFileName(files[0])
        reader.ReadImageInformation()
        return str(reader.GetMetaData("0010|0020")).strip() if reader.HasMetaDataKey("0010|0020") else ""
