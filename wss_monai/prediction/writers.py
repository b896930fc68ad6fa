# SPDX-License-Identifier: Apache-2.0
"""Masks as files that viewers show with the names and colours of their classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import nibabel as nib
import numpy as np
from nibabel.imageglobals import LoggingOutputSuppressor

from wss_monai.io.atomic_files import replacing
from wss_monai.io.nifti_files import save_image, write_volume
from wss_monai.prediction.prediction import Prediction
from wss_monai.report.palette import class_colour

__all__ = ["ENDINGS", "LABELS", "write_entropy", "write_label_file", "write_mask"]

ENDINGS = {"nifti": ".nii.gz", "nrrd": ".seg.nrrd", "dicom-seg": ".dcm"}
"""Of the masks, by format."""
LABELS = "itksnap.label"
"""Names and colours of the classes for ITK-SNAP (Segmentation, Import Label Descriptions)."""
NIFTI = (".nii", ".nii.gz")
CARET = 30
"""Code of the NIFTI extension in which Connectome Workbench and others keep names and colours of labels."""
DESCRIPTION = 79
"""Characters of ``descrip`` in a NIfTI header."""
TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def write_mask(prediction: Prediction, path: Path) -> Path:
    """Write a mask in the format of the path's ending.

    Raises:
        ValueError: another ending, or a file of the image.
    """
    lower = path.name.lower()
    if path.resolve() in {Path(file).resolve() for file in prediction.files}:
        raise ValueError(f"{path} is a file of the image, which stays as it is: choose another name")
    path.parent.mkdir(parents=True, exist_ok=True)
    if lower.endswith(NIFTI):
        _write_nifti(prediction, prediction.mask, path, True)
    elif lower.endswith(ENDINGS["nrrd"]):
        _write_segmentation(prediction, path)
    elif lower.endswith(ENDINGS["dicom-seg"]):
        from wss_monai.prediction.dicom_seg import write_dicom_seg

        write_dicom_seg(prediction, path)
    else:
        raise ValueError(f"{path}: masks are written as .nii, .nii.gz, .seg.nrrd or .dcm")
    return path


def write_entropy(prediction: Prediction, path: Path) -> Path:
    """Write the entropy as float32 NIfTI.

    Raises:
        ValueError: it was not computed.
    """
    if prediction.entropy is None:
        raise ValueError("the entropy was not computed: make the predictor with uncertainty=True")
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_nifti(prediction, prediction.entropy.astype(np.float32), path, False)
    return path


def write_label_file(class_names: Sequence[str], path: Path) -> Path:
    """Write the label descriptions of ITK-SNAP."""
    lines = ["# ITK-SnAP Label Description File", "# IDX  -R-  -G-  -B-  -A--  VIS  MSH  LABEL"]
    lines.append('    0     0    0    0        0    0    0    "Clear Label"')
    for index, name in enumerate(class_names[1:], start=1):
        red, green, blue = class_colour(index)
        shown = name.replace('"', "'")
        lines.append(f'{index:5d} {red:5d} {green:4d} {blue:4d}        1    1    1    "{shown}"')
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        part.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _write_nifti(prediction: Prediction, array: np.ndarray, path: Path, labels: bool) -> None:
    """Write with the header of the image where that is NIfTI: its unit, sform, qform and their codes."""
    source = prediction.files[0]
    if not source.lower().endswith(NIFTI):
        flat = array.ndim == 2
        affine = prediction.affine
        if not labels and not flat:
            write_volume(array, affine, path)
            return
        picture: Any = nib.Nifti1Image(array, affine)
        picture.header.set_xyzt_units("mm", "sec")
        picture.set_sform(affine, code=1)
        picture.set_qform(affine, code=1)
    else:
        with LoggingOutputSuppressor():
            like: Any = nib.load(source)
        header = like.header.copy()
        header.extensions.clear()
        header.set_data_dtype(array.dtype)
        header.set_slope_inter(1, 0)
        header["cal_min"] = header["cal_max"] = 0
        header["intent_code"] = 0
        picture = type(like)(array.reshape(like.shape), None, header)
    if labels:
        _name_classes(picture, prediction.class_names)
    save_image(picture, path)


def _name_classes(picture: Any, names: Sequence[str]) -> None:
    """Put the names of the classes into the header."""
    said = " ".join(f"{index}={name}" for index, name in enumerate(names) if index)
    picture.header["descrip"] = said.encode("ascii", "replace")[:DESCRIPTION]
    picture.header.set_intent("label")
    rows = []
    for index, name in enumerate(names):
        red, green, blue = (part / 255 for part in (class_colour(index) if index else (0, 0, 0)))
        rows.append(
            f'<Label Key="{index}" Red="{red:.4f}" Green="{green:.4f}" Blue="{blue:.4f}" Alpha="{int(index > 0)}">'
            f"{escape(name)}</Label>"
        )
    text = (
        '<?xml version="1.0" encoding="UTF-8"?><CaretExtension><VolumeInformation Index="0"><LabelTable>'
        f"{''.join(rows)}</LabelTable><VolumeType>Label</VolumeType></VolumeInformation></CaretExtension>"
    )
    picture.header.extensions.append(nib.nifti1.Nifti1Extension(CARET, text.encode()))


def _write_segmentation(prediction: Prediction, path: Path) -> None:
    """Write a segmentation as 3D Slicer does: one layer, a value, a name and a colour a segment."""
    import SimpleITK as sitk

    mask = prediction.mask if prediction.mask.ndim == 3 else prediction.mask[..., None]
    image = sitk.GetImageFromArray(np.ascontiguousarray(mask.T))
    affine = TO_LPS @ prediction.affine
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(edges.tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection((affine[:3, :3] / edges).ravel().tolist())
    whole = " ".join(f"0 {n - 1}" for n in mask.shape)
    for index, name in enumerate(prediction.class_names[1:], start=1):
        colour = " ".join(f"{part / 255:.6f}" for part in class_colour(index))
        for field, value in {
            "ID": f"Segment_{index}", "Name": name, "Color": colour, "LabelValue": str(index), "Layer": "0",
            "Extent": whole, "NameAutoGenerated": "0", "ColorAutoGenerated": "0",
        }.items():  # fmt: skip
            image.SetMetaData(f"Segment{index - 1}_{field}", value)
    image.SetMetaData("Segmentation_MasterRepresentation", "Binary labelmap")
    image.SetMetaData("Segmentation_ContainedRepresentationNames", "Binary labelmap|")
    image.SetMetaData("Segmentation_ReferenceImageExtentOffset", "0 0 0")
    with replacing(path) as part:
        sitk.WriteImage(image, str(part), useCompression=True)
