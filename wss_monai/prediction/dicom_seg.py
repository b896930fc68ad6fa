# SPDX-License-Identifier: Apache-2.0
"""Masks as DICOM-SEG, by highdicom, which is an extra: ``pip install "wss_monai[dicom-seg]"``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wss_monai import __version__
from wss_monai.io.atomic_files import replacing
from wss_monai.prediction.prediction import Prediction
from wss_monai.report.palette import class_colour

__all__ = ["check_highdicom", "write_dicom_seg"]

SCHEME = "99WSSMONAI"
"""A private coding scheme: which SNOMED code a class has nobody has said."""
FAMILY = ("123110", "DCM", "Artificial Intelligence")
"""Kind of algorithm (CID 7162)."""


def check_highdicom() -> Any:
    """Import highdicom.

    Raises:
        ValueError: it is not installed.
    """
    try:
        import highdicom
    except ImportError as error:
        raise ValueError(
            '--format dicom-seg needs highdicom, which is not installed: pip install "wss_monai[dicom-seg]" (or '
            "highdicom), or choose nifti or nrrd"
        ) from error
    return highdicom


def write_dicom_seg(prediction: Prediction, path: Path) -> None:
    """Write a mask as DICOM-SEG beside whose series it is shown; segments have names, colours and a private code.

    Raises:
        ValueError: highdicom is not installed; an image that is no DICOM series; nothing is segmented.
    """
    hd = check_highdicom()
    import pydicom
    import SimpleITK as sitk
    from pydicom.uid import generate_uid

    source = Path(prediction.files[0])
    if not prediction.mask.any():
        raise ValueError(f"{source}: no voxel is segmented, and a DICOM-SEG cannot be empty")
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(source))
    images = [pydicom.dcmread(file) for file in files]
    frame = generate_uid()
    for image in images:
        _complete(image, frame, prediction.grid.spacing[2])
    frames = np.ascontiguousarray(prediction.mask.transpose(2, 1, 0))  # (slices, rows, columns), as the files are read
    try:
        found = _segmentation(hd, images, frames, prediction.class_names)
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # what else such a file needs of the series
        raise ValueError(f"{source}: highdicom makes no DICOM-SEG of this series: {error}") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        found.save_as(str(part))


def _segmentation(hd: Any, images: list[Any], frames: np.ndarray, class_names: Sequence[str]) -> Any:
    """The segmentation of frames (slices, rows, columns) as highdicom has it."""
    from pydicom.uid import generate_uid

    algorithm = hd.AlgorithmIdentificationSequence("wss_monai", hd.sr.CodedConcept(*FAMILY), __version__)
    segments = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=name[:64],
            segmented_property_category=hd.sr.CodedConcept("123037004", "SCT", "Anatomical Structure"),
            segmented_property_type=hd.sr.CodedConcept(str(number), SCHEME, name[:64]),
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
            display_color=hd.color.CIELabColor.from_rgb(*class_colour(number)),
        )
        for number, name in enumerate(class_names[1:], start=1)
    ]
    return hd.seg.Segmentation(
        source_images=images,
        pixel_array=frames,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=segments,
        series_instance_uid=generate_uid(),
        series_number=1000,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="wss_monai",
        manufacturer_model_name="wss_monai",
        software_versions=__version__,
        device_serial_number="0",
        series_description="wss_monai segmentation",
    )


def _complete(image: Any, frame: str, thickness: float) -> None:
    """Fill in what a segmentation repeats of its series, where an anonymiser or a converter left it out."""
    image.SliceThickness = image.get("SliceThickness") or thickness
    image.SpacingBetweenSlices = thickness  # of the positions, which count; converters write 1 here
    if not image.get("FrameOfReferenceUID"):
        image.FrameOfReferenceUID = frame
    for name in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"):
        if name not in image:
            setattr(image, name, "")
    for name in ("StudyDate", "StudyTime", "ReferringPhysicianName"):
        if name not in image:
            setattr(image, name, "")
