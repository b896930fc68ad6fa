# SPDX-License-Identifier: Apache-2.0
"""What the conversions of public releases share: the folder that appears whole or not at all, files, and notes."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np

from wss_monai.io.archives import unpack

__all__ = ["Preparation", "opened", "working_folder", "write_volume"]


@dataclass
class Preparation:
    """What came of a conversion.

    Attributes:
        path: the new data set's folder.
        training: number of training patients.
        test: number of test patients.
        cases: number of volumes.
        scribbles: number of volumes with a scribble.
        notes: (patient or case, what was skipped or changed, and why).
    """

    path: Path
    training: int = 0
    test: int = 0
    cases: int = 0
    scribbles: int = 0
    notes: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def working_folder(out: Path) -> Iterator[Path]:
    """Make a working folder beside `out`, on the same disk, and remove it at the end whatever happens.

    Raises:
        FileExistsError: `out` is there already and not empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"'{out}' exists already; remove it, or choose another --out")
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.absolute().parent))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def opened(source: str | os.PathLike[str], folder: Path, wanted: re.Pattern[str]) -> Path:
    """Give a folder with the files of `source`, unpacked to `folder` where it is an archive."""
    if Path(source).is_dir():
        return Path(source)
    unpack(source, folder, lambda name: wanted.search(name) is not None)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_volume(array: np.ndarray, affine: np.ndarray, target: Path) -> str:
    """Write a NIfTI file whose pose is that of the scanner, in mm; give its path in the data set: folder/name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    picture = nib.Nifti1Image(array, affine)
    picture.header.set_xyzt_units("mm")
    picture.set_sform(affine, code=1)
    picture.set_qform(affine, code=1)
    nib.save(picture, target)
    return f"{target.parent.name}/{target.name}"
