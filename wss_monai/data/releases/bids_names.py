# SPDX-License-Identifier: Apache-2.0
"""Names of files in the Brain Imaging Data Structure (BIDS): sub-01_ses-2_acq-fast_T1w.nii.gz."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wss_monai.data.releases.preparation import visible_files

__all__ = ["BidsFile", "list_files", "parse_name"]

VOLUMES = (".nii.gz", ".nii")
ELSEWHERE = ("derivatives", "sourcedata", "code", "stimuli", "models")
"""Folders of a data set that hold no raw images."""
_PART = re.compile(r"([A-Za-z0-9]+)-([A-Za-z0-9+]+)")


@dataclass(frozen=True)
class BidsFile:
    """A volume.

    Attributes:
        path: the file.
        entities: key -> label, such as sub -> 01.
        suffix: what it shows, such as T1w or dseg.
    """

    path: Path
    entities: Mapping[str, str]
    suffix: str

    @property
    def scan(self) -> tuple[str, str]:
        """Subject and session, which is empty where there is none."""
        return self.entities["sub"], self.entities.get("ses", "")

    @property
    def name(self) -> str:
        """All entities, as the file is called."""
        return "_".join(f"{key}-{label}" for key, label in self.entities.items())


def parse_name(path: Path) -> BidsFile | None:
    """Read a file's name; None where it is no volume, or not called as BIDS says."""
    ending = next((ending for ending in VOLUMES if path.name.endswith(ending)), None)
    if ending is None:
        return None
    *parts, suffix = path.name[: -len(ending)].split("_")
    matches = [_PART.fullmatch(part) for part in parts]
    if not parts or not all(matches) or not re.fullmatch("[A-Za-z0-9]+", suffix):
        return None
    entities = {match[1]: match[2] for match in matches if match}
    return BidsFile(path, entities, suffix) if "sub" in entities else None


def list_files(root: Path) -> list[BidsFile]:
    """List the volumes of a raw data set or of a derivative, sorted by path.

    Those in another subject's or session's folder than their name says are left out with the raw data of others: a
    file belongs to `sub-*` folders directly below ``root``.
    """
    found = []
    for folder, names in visible_files(root):
        parts = folder.relative_to(root).parts
        if not parts or parts[0] in ELSEWHERE or not parts[0].startswith("sub-"):
            continue
        found += [file for name in names if (file := parse_name(folder / name))]
    return sorted(found, key=lambda file: file.path)
