# SPDX-License-Identifier: Apache-2.0
"""The official PROMISE12 release (Litjens et al., Medical Image Analysis 2014, doi:10.1016/j.media.2013.12.002)."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import MetaTensor

from wss_monai.data.releases.preparation import Entry, Preparation, opened, preparation, refuse_missing
from wss_monai.io.grids import same_grid
from wss_monai.io.nifti_files import write_volume
from wss_monai.io.volumes import UnreadableVolume, read_volume

__all__ = ["prepare_promise12"]

LABELS = {"0": "background", "1": "prostate"}
IN_PLANE_MM, SLICE_MM, SIDES = (0.27, 0.75), (2.2, 4.0), (256, 320, 384, 512)
"""Spacings and in-plane sizes of the release; a case outside of them is kept with a note."""
_ARCHIVE = r"(?i)\.(zip|tar|tar\.gz|tgz)$"
_PART = r"(?<![A-Za-z])(?i:test|train)|Test|Train"
"""What a folder's name says of its cases: test_data and TestData, but not latest."""
_WANTED = re.compile(r"(^|/)[^/.][^/]*\.(mhd|raw|zraw)$", re.I)
_CASE = re.compile(r"(Case\d+)(_segmentation)?\.mhd", re.I)


@dataclass
class _Case:
    """One case of the release, not read yet."""

    name: str
    test: bool
    folder: str
    image: Path | None = None
    mask: Path | None = None


def prepare_promise12(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    patients: Sequence[str] | None = None,
) -> Preparation:
    """Convert the official release to a folder with `dataset.json`, images/ and labels/ in NIfTI on their own spacing.

    Every case is a patient of its own: CaseXX.mhd with its CaseXX.raw, and CaseXX_segmentation.mhd with its .raw. A
    folder or archive whose name holds "test" gives test cases, whose segmentation may be missing. A test case with the
    number of a training case is called by its folder as well, as in `test_data_Case00`. A case whose files are
    missing, unreadable or contradict each other is skipped with a note, and so is one whose image is that of another.
    Unusual spacings and sizes are noted. The result appears under `out` complete or not at all.

    Args:
        source: one or several of: a zip or tar archive, a folder with cases at any depth, a folder with such archives.
        out: the folder to make.
        patients: convert these only; each must be there and sound.

    Returns:
        Counts and notes.

    Raises:
        FileExistsError: `out` is there already and not empty.
        FileNotFoundError: a source is missing.
        ValueError: an archive is unsafe or damaged, a case is there twice, none is left, or one asked for cannot be
            converted.
    """
    sources = [Path(path) for path in ([source] if isinstance(source, (str, os.PathLike)) else source)]
    for path in sources:
        advice = (
            "give the PROMISE12 release as its organisers distribute it (data/README.md says how to get it), or the "
            "folder it was unpacked to"
        )
        refuse_missing(path, advice)
    with preparation(out) as done:
        cases = _find(sources, done.work / "source")
        parts = done.convert(
            {name: "test" if case.test else "training" for name, case in cases.items()},
            lambda name: [_convert(cases[name], done)],
            patients,
        )
        done.finish(_description(parts))
    return done


def _find(sources: Sequence[Path], unpacked: Path) -> dict[str, _Case]:
    """Find the files of each case in folders and archives, by the case's name."""
    found: dict[tuple[str, str], _Case] = {}
    for number, source in enumerate(sources):
        archives = [source]
        if source.is_dir():
            archives = sorted(path for path in source.rglob("*") if path.is_file() and _is_archive(path))
            _collect(source, source.absolute().name, found)
        for place, archive in enumerate(archives):
            name = re.sub(_ARCHIVE, "", archive.name)
            _collect(opened(archive, unpacked / f"{number}_{place}", _WANTED), name, found)
    if not found:
        shown = ", ".join(f"'{path}'" for path in sources)
        raise ValueError(f"{shown} does not look like the PROMISE12 release: there is no file CaseXX.mhd")
    times = Counter(case.name for case in found.values())
    cases: dict[str, _Case] = {}
    for case in found.values():
        if case.test and times[case.name] > 1:
            case.name = f"{case.folder}_{case.name}"
        if case.name in cases:
            raise ValueError(
                f"the source holds {case.name} twice, in the folders '{cases[case.name].folder}' and '{case.folder}'; "
                "give each case once"
            )
        cases[case.name] = case
    return cases


def _collect(root: Path, name: str, found: dict[tuple[str, str], _Case]) -> None:
    """Add the cases under a folder, which is called `name` in the release."""
    for file in sorted(root.rglob("*")):
        match = _CASE.fullmatch(file.name)
        if not match or not file.is_file():
            continue
        folders = [name, *file.parent.relative_to(root).parts]
        key = match[1].capitalize()
        case = found.setdefault((str(file.parent), key), _Case(key, _is_test(folders), folders[-1]))
        if match[2]:
            case.mask = file
        else:
            case.image = file


def _is_test(folders: Sequence[str]) -> bool:
    """Tell by the names of folders, outermost first, whether test cases lie there; the innermost name decides."""
    said = (re.search(_PART, folder) for folder in reversed(folders))
    return next((match[0].lower() == "test" for match in said if match), False)


def _convert(case: _Case, done: Preparation) -> Entry:
    """Check both files of a case, then write them; ValueError says why it cannot be converted."""
    if case.image is None:
        raise ValueError(f"{case.mask and case.mask.name} has no image beside it")
    if case.mask is None and not case.test:
        raise ValueError(
            f"{case.image.stem}_segmentation.mhd is missing; test cases belong in a folder or archive with 'test' in "
            "its name"
        )
    image = _read(case.image)
    mask = None if case.mask is None else _read_mask(case.mask, image)
    done.claim({case.name: image.numpy()})
    done.notes += [(case.name, what) for what in _unusual(image)]
    entry = {"case": case.name, "patient": case.name}
    affine, file = np.asarray(image.affine), f"{case.name}.nii.gz"
    entry["image"] = write_volume(_compact(image), affine, done.result / "images" / file)
    if mask is None:
        done.notes.append((case.name, "has no segmentation; kept without 'label'"))
    else:
        entry["label"] = write_volume(mask, affine, done.result / "labels" / file)
    return entry


def _read(file: Path) -> MetaTensor:
    """Read a volume whose voxels lie in one file beside its header.

    Raises:
        ValueError: the voxels are missing or elsewhere, or the volume cannot be read or has not three axes.
    """
    with file.open("rb") as stream:
        header = stream.read(4096).decode("utf-8", errors="replace")
    named = re.search(r"^ElementDataFile *= *(.*?)\s*$", header, re.M)
    if named is None or Path(named[1]).name != named[1] or named[1] in ("LOCAL", "LIST", ""):
        raise ValueError(f"{file.name} names no file beside it that holds its voxels (ElementDataFile)")
    if not (file.parent / named[1]).is_file():
        raise ValueError(f"{named[1]}, which {file.name} names, is missing")
    try:
        volume = read_volume(file)
    except UnreadableVolume as error:
        reason = str(error).replace(f"{file.parent}{os.sep}", "")
        raise ValueError(f"{reason}; is {named[1]} whole?") from error
    if volume.dim() != 3:
        raise ValueError(f"{file.name} has the shape {tuple(volume.shape)}; a case has three axes")
    return volume


def _read_mask(file: Path, image: MetaTensor) -> np.ndarray:
    """Read a segmentation and check it against its image; uint8 (X, Y, Z)."""
    mask = _read(file)
    if mask.shape != image.shape:
        raise ValueError(f"{file.name} has the shape {tuple(mask.shape)}, its image {tuple(image.shape)}")
    if not same_grid(np.asarray(mask.affine), np.asarray(image.affine), image.shape):
        raise ValueError(f"{file.name} has another affine than its image: spacing, origin or direction differ")
    values = mask.unique().tolist()
    if strange := [value for value in values if value not in (0, 1)]:
        raise ValueError(f"{file.name} holds the values {strange[:5]}; allowed are 0 (background) and 1 (prostate)")
    return mask.numpy().astype(np.uint8)


def _unusual(image: MetaTensor) -> list[str]:
    """Say what no case of the release has."""
    *plane, thick = (float(length) for length in image.pixdim)
    said, (low, high) = [], IN_PLANE_MM
    if not all(low <= length <= high for length in plane):
        said.append(f"pixels of {plane[0]:.4g} x {plane[1]:.4g} mm; the release has {low} to {high}")
    if not SLICE_MM[0] <= thick <= SLICE_MM[1]:
        said.append(f"slices {thick:.4g} mm apart; the release has {SLICE_MM[0]} to {SLICE_MM[1]}")
    if not set(image.shape[:2]) <= set(SIDES):
        said.append(f"slices of {image.shape[0]} x {image.shape[1]} pixels; the release has sides of {list(SIDES)}")
    return said


def _compact(image: MetaTensor) -> np.ndarray:
    """Give the values as int16 where nothing is lost by it, else as float32."""
    values = image.numpy()
    small = values.astype(np.int16)
    return small if np.array_equal(small, values) else values


def _description(parts: dict[str, list[Entry]]) -> dict[str, Any]:
    return {
        "name": "PROMISE12",
        "description": "T2-weighted MRI of the prostate; made from the official release",
        "reference": "G. Litjens et al., Medical Image Analysis 18(2):359-373, 2014, doi:10.1016/j.media.2013.12.002",
        "modality": {"0": "MRI (T2)"},
        "labels": LABELS,
        "slice_axis": 2,
        **parts,
    }


def _is_archive(path: Path) -> bool:
    return re.search(_ARCHIVE, path.name) is not None
